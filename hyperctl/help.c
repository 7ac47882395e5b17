#include "hyperctl/command.h"

static int help_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct command *command;

	if (!args[0]) {
		commands_print_help(stdout);
		return 0;
	}
	command = command_find(args[0]);
	if (!command)
		return error_set(err, ERROR_NOT_FOUND, "'%s' is not a command", args[0]);
	command_print_help(command, stdout);
	return 0;
}

const struct command command_help = {
	.name = "help",
	.group = "The daemon and this program",
	.usage = "[COMMAND]",
	.summary = "Show help on a command",
	.mixed = true,
	.max_args = 1,
	.run = help_main,
};
