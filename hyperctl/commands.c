#include <stdarg.h>
#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/table.h"

const struct command *const commands[] = {
	&command_run,     &command_create,  &command_start,      &command_stop,   &command_restart,
	&command_kill,    &command_pause,   &command_unpause,    &command_rename, &command_rm,
	&command_wait,

	&command_list,    &command_inspect, &command_logs,       &command_attach, &command_exec,
	&command_top,     &command_stats,   &command_events,

	&command_cp,      &command_diff,    &command_export,

	&command_images,  &command_load,    &command_import,     &command_save,   &command_tag,
	&command_rmi,     &command_history, &command_build,      &command_commit, &command_pull,
	&command_push,    &command_login,   &command_logout,

	&command_network, &command_ports,

	&command_volume,

	&command_info,    &command_version, &command_completion, &command_help,   NULL,
};

/* Whether the words in LIST, apart by spaces, hold NAME. */
static bool words_have(const char *list, const char *name)
{
	size_t n = strlen(name);

	while (list && *list) {
		size_t len = strcspn(list, " ");

		if (len == n && memcmp(list, name, n) == 0)
			return true;
		list += len;
		list += strspn(list, " ");
	}
	return false;
}

const struct command *command_find(const char *name)
{
	for (size_t i = 0; commands[i]; i++)
		if (strcmp(commands[i]->name, name) == 0 || words_have(commands[i]->aliases, name))
			return commands[i];
	return NULL;
}

/* Edits that turn A into B: insertions, deletions, replacements, swaps of neighbours. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][32], n = strlen(a), m = strlen(b);

	if (n >= 32 || m >= 32)
		return 32;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);

			best = last[j] + 1 < best ? last[j] + 1 : best;
			best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
	}
	return rows[n % 3][m];
}

const struct command *command_suggest(const char *name)
{
	size_t limit = strlen(name) <= 3 ? 1 : 2, best = limit + 1;
	const struct command *found = NULL;

	for (size_t i = 0; commands[i]; i++) {
		size_t d = distance(name, commands[i]->name);

		if (strlen(name) >= 3 && str_starts(commands[i]->name, name))
			d = 1;
		if (d < best) {
			best = d;
			found = commands[i];
		}
	}
	return found;
}

void command_print_help(const struct command *command, FILE *out)
{
	const char *usage = command->usage, *heading = "Usage: ";

	while (usage) {
		size_t len = strcspn(usage, "\n");

		fprintf(out, "%s hyperctl %s %.*s\n", heading, command->name, (int)len, usage);
		heading = "       ";
		usage = usage[len] ? usage + len + 1 : NULL;
	}
	fprintf(out, "\n%s\n", command->summary);
	if (command->details)
		fprintf(out, "\n%s\n", command->details);
	if (command->aliases)
		fprintf(out, "\nAliases: %s\n", command->aliases);
	if (command->options)
		options_print_help(command->options, out);
}

void commands_print_help(FILE *out)
{
	const char *group = "";

	fputs("Usage:  hyperctl [-H HOST] COMMAND [ARG...]\n\n"
	      "Pods and containers isolated by a hypervisor\n",
	      out);
	for (size_t i = 0; commands[i]; i++) {
		const struct command *c = commands[i];

		if (!c->group)
			continue;
		if (strcmp(group, c->group) != 0)
			fprintf(out, "\n%s:\n", c->group);
		group = c->group;
		fprintf(out, "  %-12s%s\n", c->name, c->summary);
	}
	fputs("\nGlobal options:\n"
	      "  -H, --host HOST   Where hyperd listens: unix:///PATH or tcp://HOST:PORT\n"
	      "                    (default $HYPER_HOST, else " CLIENT_HOST_DEFAULT ")\n"
	      "  -h, --help        Show this text\n"
	      "  -v, --version     Show the version of hyperctl\n"
	      "\nRun 'hyperctl COMMAND --help' for more about a command.\n",
	      out);
}

void complain(const char *fmt, ...)
{
	autostr struct str text = STR_INIT, safe = STR_INIT;
	autostrv char **lines = NULL;
	va_list ap;

	va_start(ap, fmt);
	str_addvf(&text, fmt, ap);
	va_end(ap);
	lines = strv_split(str_text(&text), '\n');
	strv_for_each(line, lines) {
		if (line != lines)
			str_addc(&safe, '\n');
		text_add_safe(&safe, *line);
	}
	fflush(stdout);
	fprintf(stderr, "hyperctl: %s\n", str_text(&safe));
}

int for_each_name(struct ctl *ctl, char *const *names, bool print,
		  int (*fn)(struct ctl *ctl, const char *name, const void *arg, struct error *err),
		  const void *arg)
{
	int code = 0;

	strv_for_each(name, names) {
		struct error err = { 0 };

		if (fn(ctl, *name, arg, &err) < 0) {
			complain("%s", err.message);
			code = 1;
		} else if (print) {
			puts(*name);
		}
	}
	return code;
}
