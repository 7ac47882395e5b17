/* Completion for bash, generated from the tables: completion/hyperctl.bash is this command's
 * output. */
#include <string.h>

#include "hyperctl/command.h"

/* What the arguments of a command name. */
enum argument {
	ARGUMENT_NONE,
	ARGUMENT_OBJECT,
	ARGUMENT_RUNNING,
	ARGUMENT_IMAGE,
	ARGUMENT_FILE,
	ARGUMENT_COMMAND
};

static const struct {
	const struct command *command;
	enum argument argument;
} arguments[] = {
	{ &command_run, ARGUMENT_IMAGE },      { &command_create, ARGUMENT_IMAGE },
	{ &command_start, ARGUMENT_OBJECT },   { &command_stop, ARGUMENT_RUNNING },
	{ &command_restart, ARGUMENT_OBJECT }, { &command_kill, ARGUMENT_RUNNING },
	{ &command_pause, ARGUMENT_RUNNING },  { &command_unpause, ARGUMENT_RUNNING },
	{ &command_rename, ARGUMENT_OBJECT },  { &command_rm, ARGUMENT_OBJECT },
	{ &command_wait, ARGUMENT_OBJECT },    { &command_inspect, ARGUMENT_OBJECT },
	{ &command_logs, ARGUMENT_OBJECT },    { &command_attach, ARGUMENT_RUNNING },
	{ &command_exec, ARGUMENT_RUNNING },   { &command_top, ARGUMENT_RUNNING },
	{ &command_stats, ARGUMENT_RUNNING },  { &command_images, ARGUMENT_IMAGE },
	{ &command_load, ARGUMENT_FILE },      { &command_import, ARGUMENT_FILE },
	{ &command_save, ARGUMENT_IMAGE },     { &command_tag, ARGUMENT_IMAGE },
	{ &command_rmi, ARGUMENT_IMAGE },      { &command_pull, ARGUMENT_IMAGE },
	{ &command_push, ARGUMENT_IMAGE },     { &command_help, ARGUMENT_COMMAND },
	{ &command_build, ARGUMENT_FILE },     { &command_history, ARGUMENT_IMAGE },
};

static const char *argument_words(const struct command *command)
{
	static const char *const words[] = {
		[ARGUMENT_NONE] = "",
		[ARGUMENT_OBJECT] = "$(_hyperctl_ask list -a --format '{{.Names}} {{.Pod}}')",
		[ARGUMENT_RUNNING] = "$(_hyperctl_ask list --format '{{.Names}} {{.Pod}}')",
		[ARGUMENT_IMAGE] = "$(_hyperctl_ask images --format '{{.Repository}}:{{.Tag}}')",
		[ARGUMENT_FILE] = "$(compgen -f -- \"$word\")",
		[ARGUMENT_COMMAND] = "$commands",
	};

	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++)
		if (arguments[i].command == command)
			return words[arguments[i].argument];
	return "";
}

static void print_option(const struct option *option, void *arg)
{
	printf(" --%s", option->name);
	if (option->letter)
		printf(" -%c", option->letter);
}

/* Options whose value is one of few words. */
static const struct {
	const char *option, *words;
} values[] = {
	{ "isolation", "vm namespace" },
	{ "hypervisor", "auto qemu libvirt-qemu" },
	{ "machine", "microvm q35" },
	{ "transport", "auto serial disk" },
	{ "restart", "no always on-failure unless-stopped" },
	{ "type", "container pod image" },
	{ "signal", "HUP INT QUIT KILL TERM USR1 USR2 STOP CONT" },
	{ "stop-signal", "HUP INT QUIT KILL TERM USR1 USR2 STOP CONT" },
	{ "pod", "$(_hyperctl_ask list -a --format '{{.Pod}}')" },
};

static const char *value_words(const struct option *option)
{
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (strcmp(values[i].option, option->name) == 0)
			return values[i].words;
	return strcmp(option->value, "FILE") == 0 ? "$(compgen -f -- \"$word\")" : "";
}

/* What stands after an option that takes a value is that value. */
static void print_value(const struct option *option, void *arg)
{
	if (option->kind == OPTION_FLAG)
		return;
	printf("\t\t--%s", option->name);
	if (option->letter)
		printf(" | -%c", option->letter);
	printf(") words=\"%s\" ;;\n", value_words(option));
}

static void print_command(const struct command *command)
{
	printf("\t%s", command->name);
	for (const char *p = command->aliases ?: ""; *p; p++) {
		/* Words apart by single spaces. */
		if (p == command->aliases || p[-1] == ' ')
			fputs(" | ", stdout);
		if (*p != ' ')
			putchar(*p);
	}
	fputs(")\n\t\tcase $before in\n", stdout);
	if (command->options)
		options_each(command->options, print_value, NULL);
	printf("\t\t*) words=\"%s\" ;;\n\t\tesac\n", argument_words(command));
	fputs("\t\t[[ $word == -* ]] && words='--help", stdout);
	if (command->options)
		options_each(command->options, print_option, NULL);
	puts("'\n\t\t;;");
}

static int completion_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	if (args[0] && strcmp(args[0], "bash") != 0)
		return error_set(err, ERROR_UNSUPPORTED, "'%s': only bash is known", args[0]);
	fputs("# Completion of hyperctl for bash. Written by 'hyperctl completion bash'.\n"
	      "_hyperctl_ask() { hyperctl \"${host[@]}\" \"$@\" 2>/dev/null; }\n\n"
	      "_hyperctl() {\n"
	      "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
	      "\tlocal command= words= i host=()\n"
	      "\tlocal commands='",
	      stdout);
	for (size_t i = 0; commands[i]; i++)
		printf("%s%s", i ? " " : "", commands[i]->name);
	puts("'\n"
	     "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	     "\t\tcase ${COMP_WORDS[i]} in\n"
	     "\t\t-H | --host) host=(-H \"${COMP_WORDS[i + 1]}\"); ((i++)) ;;\n"
	     "\t\t-*) ;;\n"
	     "\t\t*) command=${COMP_WORDS[i]}; break ;;\n"
	     "\t\tesac\n"
	     "\tdone\n"
	     "\tcase $command in\n"
	     "\t'') words=\"$commands --host -H --help --version\" ;;");
	for (size_t i = 0; commands[i]; i++)
		print_command(commands[i]);
	puts("\tesac\n"
	     "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
	     "\ttype __ltrim_colon_completions >/dev/null 2>&1 && __ltrim_colon_completions "
	     "\"$word\"\n"
	     "\treturn 0\n"
	     "}\n"
	     "complete -F _hyperctl hyperctl");
	return 0;
}

const struct command command_completion = {
	.name = "completion",
	.group = "The daemon and this program",
	.usage = "[bash]",
	.summary = "Print the completion script for bash",
	.mixed = true,
	.max_args = 1,
	.run = completion_main,
};
