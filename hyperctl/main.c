/* hyperctl: the command line of the Hyper daemon. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "hyperctl/command.h"

/* As Docker's client has it. */
#define EXIT_BAD_OPTION 125

struct global_options {
	const char *host;
	bool version;
};
static const struct option global_options[] = {
	STRING('H', "host", struct global_options, host, "HOST", "Where hyperd listens"),
	FLAG('v', "version", struct global_options, version, "Show the version of hyperctl"),
	OPTIONS_END,
};

static int usage_error(const struct command *command, const char *message)
{
	complain("%s\nSee 'hyperctl %s%s--help'.", message, command ? command->name : "",
		 command ? " " : "");
	return EXIT_BAD_OPTION;
}

static int check_count(const struct command *command, char **args)
{
	int count = (int)strv_len(args);

	if (count >= command->min_args && (command->max_args < 0 || count <= command->max_args))
		return 0;
	if (count < command->min_args)
		complain("'hyperctl %s' needs %s%d argument%s.\nSee 'hyperctl %s "
			 "--help'.\n\nUsage:  "
			 "hyperctl %s %.*s",
			 command->name, command->max_args == command->min_args ? "" : "at least ",
			 command->min_args, command->min_args == 1 ? "" : "s", command->name,
			 command->name, (int)strcspn(command->usage, "\n"), command->usage);
	else
		complain("'hyperctl %s' takes at most %d argument%s, '%s' is one too many.\n"
			 "See 'hyperctl %s --help'.",
			 command->name, command->max_args, command->max_args == 1 ? "" : "s",
			 args[command->max_args], command->name);
	return 1;
}

static int run_command(struct ctl *ctl, const struct command *command, char **args)
{
	static const struct option none[] = { OPTIONS_END };
	const struct option *table = command->options ?: none;
	autofree void *options = calloc(1, command->options_size + 1);
	struct error err = { 0 };
	bool help;
	int code;

	if (!options)
		return 1;
	if (options_parse(table, options, args, command->mixed, &help, &err) < 0) {
		options_done(table, options);
		return usage_error(command, err.message);
	}
	if (help) {
		command_print_help(command, stdout);
		code = 0;
	} else {
		code = check_count(command, args);
		if (code == 0)
			code = command->run(ctl, options, args, &err);
	}
	options_done(table, options);
	if (code >= 0)
		return code;
	if (*err.message)
		complain("%s", err.message);
	return err.exit_code ?: command->failure_code ?: 1;
}

static int unknown_command(const char *name)
{
	const struct command *near = command_suggest(name);

	if (near)
		complain("'%s' is not a command; did you mean '%s'?\nSee 'hyperctl --help'.", name,
			 near->name);
	else
		complain("'%s' is not a command.\nSee 'hyperctl --help'.", name);
	return 1;
}

/* Output that could not be written (a full disk) is a failure too. */
static int finish(int code)
{
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0) {
		complain("writing the output: %s", strerror(errno));
		return 1;
	}
	return code;
}

int main(int argc, char **argv)
{
	struct global_options global = { 0 };
	const struct command *command;
	struct error err = { 0 };
	struct ctl ctl = { 0 };
	char **args = argv + (argc > 0);
	bool help;
	int code;

	log_open("hyperctl", LOG_LEVEL_INFO);
	if (options_parse(global_options, &global, args, false, &help, &err) < 0)
		return usage_error(NULL, err.message);
	if (global.version) {
		puts("hyperctl " HYPER_VERSION);
		return finish(0);
	}
	if (help || !*args) {
		commands_print_help(help ? stdout : stderr);
		return finish(help ? 0 : 1);
	}
	command = command_find(*args);
	if (!command)
		return unknown_command(*args);
	if (client_init(&ctl.client, global.host, &err) < 0) {
		complain("%s", err.message);
		code = EXIT_BAD_OPTION;
	} else {
		code = run_command(&ctl, command, args + 1);
	}
	client_done(&ctl.client);
	return finish(code);
}
