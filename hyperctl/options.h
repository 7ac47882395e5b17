#pragma once
/*
 * Command line options from tables, in the manner of Docker's: short clusters (-dit), values
 * attached or apart (-eA=1, -e A=1, --env=A=1), flags with values (--rm=false), repeated options,
 * "--". A table's rows name members of the command's own option struct by offset, so a value
 * arrives typed and checked; nothing of the parser is left when the command runs.
 *
 * Strings are borrowed from argv; only lists own memory (options_done).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum option_kind {
	OPTION_FLAG,     /* bool */
	OPTION_STRING,   /* const char *, NULL: not given */
	OPTION_LIST,     /* struct option_list */
	OPTION_NUMBER,   /* long long */
	OPTION_SIZE,     /* uint64_t: bytes, from "512m" */
	OPTION_CPUS,     /* uint64_t: billionths of a CPU, from "1.5" */
	OPTION_DURATION, /* uint64_t: nanoseconds, from "1m30s" */
	OPTION_TABLE,    /* the rows of another table, its struct at OFFSET */
};

struct option_list {
	const char **items; /* owned array of borrowed strings, NULL-terminated */
	size_t count;
};

struct option {
	enum option_kind kind;
	char letter; /* 0: none */
	const char *name;
	size_t offset;
	const char *value; /* what the value is called in the help */
	const char *help;
	const char *initial;        /* as if given first; NULL: zero */
	long long min, max;         /* NUMBER; both 0: any */
	const struct option *table; /* TABLE */
	bool hidden; /* another spelling: not in the help, the manual, the completion */
};

/* Rows: FLAG('d', "detach", struct run_options, detach, "Run in the background"). A table ends with
 * OPTIONS_END. */
#define OPTION_ROW(k, l, n, type, member, v, h, ...)                                       \
	{                                                                                  \
		.kind = (k), .letter = (l), .name = (n), .offset = offsetof(type, member), \
		.value = (v), .help = (h), ##__VA_ARGS__                                   \
	}
#define FLAG(l, n, type, member, h, ...) \
	OPTION_ROW(OPTION_FLAG, l, n, type, member, NULL, h, ##__VA_ARGS__)
#define STRING(l, n, type, member, v, h, ...) \
	OPTION_ROW(OPTION_STRING, l, n, type, member, v, h, ##__VA_ARGS__)
#define LIST(l, n, type, member, v, h, ...) \
	OPTION_ROW(OPTION_LIST, l, n, type, member, v, h, ##__VA_ARGS__)
#define NUMBER(l, n, type, member, v, h, ...) \
	OPTION_ROW(OPTION_NUMBER, l, n, type, member, v, h, ##__VA_ARGS__)
#define SIZE(l, n, type, member, v, h, ...) \
	OPTION_ROW(OPTION_SIZE, l, n, type, member, v, h, ##__VA_ARGS__)
#define CPUS(l, n, type, member, v, h, ...) \
	OPTION_ROW(OPTION_CPUS, l, n, type, member, v, h, ##__VA_ARGS__)
#define DURATION(l, n, type, member, v, h, ...) \
	OPTION_ROW(OPTION_DURATION, l, n, type, member, v, h, ##__VA_ARGS__)
#define TABLE(t, type, member)                                                       \
	{                                                                            \
		.kind = OPTION_TABLE, .offset = offsetof(type, member), .table = (t) \
	}
#define OPTIONS_END \
	{           \
		0   \
	}
static inline bool option_is_end(const struct option *option)
{
	return !option->name && !option->table;
}

/*
 * Reads options from ARGS (NULL-terminated, without the command's name) into BASE, a zeroed struct.
 * The arguments that are no options are moved to the front of ARGS, which ends there with NULL.
 * MIXED: options may follow arguments; else the first argument ends the options, as `run` and
 * `exec` want it. `--help` and `-h` (where the table has no -h) set *ret_help and end the parsing.
 * Errors are ERROR_INVALID.
 */
int options_parse(const struct option *table, void *base, char **args, bool mixed, bool *ret_help,
		  struct error *err);
void options_done(const struct option *table, void *base);

int option_list_add(struct option_list *list, const char *item);

/* Calls FN for each row that is not hidden, tables in tables included, in the order of the table.
 */
void options_each(const struct option *table, void (*fn)(const struct option *option, void *arg),
		  void *arg);
/* The "Options:" part of a help text, sorted by name. */
void options_print_help(const struct option *table, FILE *out);
