#pragma once
/*
 * The log: one line on standard error an entry. Only the edges log (main, the API, background
 * tasks); library layers return errors. And the trace, for people who look into a running program:
 * HYPER_TRACE=qmp,wire switches categories on, HYPER_TRACE=all every one.
 */
#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* The name put at the front of each line; borrowed, a literal. */
void log_open(const char *program, enum log_level level);
/* 0, or -EINVAL when NAME is not one of debug, info, warn, error, fatal. */
int log_level_parse(const char *name, enum log_level *ret);
void log_set_level(enum log_level level);

void log_print(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_print(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_print(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_print(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_print(LOG_LEVEL_DEBUG, __VA_ARGS__)

bool trace_enabled(const char *category);
void trace_print(const char *category, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* trace(qmp, "-> %s", line): the category is a bare word. */
#define trace(category, ...)                                       \
	do {                                                       \
		if (__builtin_expect(trace_enabled(#category), 0)) \
			trace_print(#category, __VA_ARGS__);       \
	} while (0)
