#pragma once
/*
 * What a command is: a row that `hyperctl help` prints, the option parser reads, the manual and the
 * completion are checked against, and main() calls. One file a command, or a pair of them (pause,
 * unpause); hyperctl/commands.c is their index.
 */
#include "base/error.h"
#include "hyperctl/client.h"
#include "hyperctl/options.h"

struct ctl {
	struct client client;
};

struct command {
	const char *name;
	const char *aliases; /* apart by spaces, or NULL */
	const char *group;   /* heading in `hyperctl help`; NULL: not shown */
	const char *usage;   /* after "hyperctl NAME "; several apart by newlines */
	const char *summary; /* one line */
	const char *details; /* more for --help, or NULL */
	const struct option *options;
	size_t options_size;    /* of the struct that the options' offsets are in */
	bool mixed;             /* options may follow arguments */
	int min_args, max_args; /* max -1: any number */
	/*
	 * The exit code, or a negative errno with the error set: main prints it and exits with
	 * error.exit_code, else failure_code, else 1.
	 */
	int (*run)(struct ctl *ctl, const void *options, char **args, struct error *err);
	int failure_code;
};

/* NULL-terminated, in the order of the help. */
extern const struct command *const commands[];
const struct command *command_find(const char *name);
/* The command most like NAME, or NULL when none is near. */
const struct command *command_suggest(const char *name);
void command_print_help(const struct command *command, FILE *out);
void commands_print_help(FILE *out);

/* "hyperctl: …" on standard error; what terminals would obey in it is made harmless. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/*
 * Calls FN for each name and prints the name when it succeeded and PRINT is set, else complains and
 * goes on. The exit code: 1 when one failed.
 */
int for_each_name(struct ctl *ctl, char *const *names, bool print,
		  int (*fn)(struct ctl *ctl, const char *name, const void *arg, struct error *err),
		  const void *arg);

extern const struct command command_attach, command_build, command_commit, command_completion,
	command_cp, command_create, command_diff, command_events, command_exec, command_export,
	command_help, command_history, command_images, command_import, command_info,
	command_inspect, command_kill, command_list, command_load, command_login, command_logout,
	command_logs, command_network, command_pause, command_ports, command_pull, command_push,
	command_rename, command_restart, command_rm, command_rmi, command_run, command_save,
	command_start, command_stats, command_stop, command_tag, command_top, command_unpause,
	command_version, command_volume, command_wait;
