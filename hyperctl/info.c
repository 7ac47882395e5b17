#include "hyperctl/command.h"
#include "hyperctl/format.h"
#include "hyperctl/table.h"
#include "hyperctl/units.h"

#include <ctype.h>
#include <string.h>

struct info_options {
	const char *format;
};
static const struct option options[] = {
	STRING('f', "format", struct info_options, format, "FORMAT", "json or a template"),
	OPTIONS_END,
};

/* What Docker's part says that ours does not. */
static const struct {
	const char *label, *member;
} docker_lines[] = {
	{ "Name", "Name" },
	{ "Version", "ServerVersion" },
	{ "Containers", "Containers" },
	{ " running", "ContainersRunning" },
	{ " paused", "ContainersPaused" },
	{ " stopped", "ContainersStopped" },
	{ "Images", "Images" },
	{ "Data root", "DockerRootDir" },
	{ "Logging driver", "LoggingDriver" },
	{ "Kernel", "KernelVersion" },
	{ "Operating system", "OperatingSystem" },
	{ "Architecture", "Architecture" },
	{ "CPUs", "NCPU" },
	{ "Total memory", "MemTotal" },
};

/* "TemplatesMaxBytes", "cgroup_layout" → "Templates max bytes", "Cgroup layout". */
static void words_add(struct str *out, const char *name)
{
	for (const char *p = name; *p; p++) {
		bool upper = isupper((unsigned char)*p);

		if (*p == '_' || *p == '-')
			str_addc(out, ' ');
		else if (p == name)
			str_addc(out, (char)toupper((unsigned char)*p));
		else if (upper && islower((unsigned char)p[-1]))
			str_addf(out, " %c", isupper((unsigned char)p[1]) ? *p : tolower(*p));
		else
			str_addc(out, *p);
	}
}

static void scalar_add(struct str *out, const char *name, const json_t *value)
{
	char size[24];

	if (json_is_integer(value) && (str_ends(name, "Bytes") || str_ends(name, "_bytes") ||
				       strcmp(name, "MemTotal") == 0)) {
		size_human_binary((double)json_integer_value(value), size);
		str_add(out, size);
	} else if (json_is_string(value)) {
		text_add_safe(out, *json_string_value(value) ? json_string_value(value) : "-");
	} else if (json_is_boolean(value)) {
		str_add(out, json_is_true(value) ? "yes" : "no");
	} else if (json_is_null(value)) {
		str_add(out, "-");
	} else {
		autofree char *text = json_dumps(value, JSON_ENCODE_ANY);

		text_add_safe(out, text ?: "");
	}
}

static bool is_plain(const json_t *value)
{
	return !json_is_object(value) && !json_is_array(value);
}

/* A member as an indented line, or a heading with its own members below. */
static void tree_add(struct str *out, const char *name, const json_t *value, unsigned depth)
{
	json_t *item;
	const char *key;
	bool plain = json_is_array(value);
	size_t i;

	str_addf(out, "%*s", (int)depth * 2, "");
	words_add(out, name);
	str_addc(out, ':');
	json_array_foreach(value, i, item)
		plain &= is_plain(item);
	if (is_plain(value)) {
		str_addc(out, ' ');
		scalar_add(out, name, value);
		str_addc(out, '\n');
	} else if (plain) {
		json_array_foreach(value, i, item) {
			str_add(out, i ? ", " : " ");
			scalar_add(out, "", item);
		}
		str_add(out, i ? "\n" : " none\n");
	} else if (json_is_array(value)) {
		str_addc(out, '\n');
		json_array_foreach(value, i, item) {
			char number[24];

			snprintf(number, sizeof(number), "%zu", i + 1);
			tree_add(out, number, item, depth + 1);
		}
	} else {
		str_add(out, json_object_size(value) ? "\n" : " none\n");
		json_object_foreach((json_t *)value, key, item)
			tree_add(out, key, item, depth + 1);
	}
}

static int info_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct info_options *o = given;
	autojson json_t *info = NULL;
	autostr struct str out = STR_INIT;
	json_t *hyper, *value, *warning;
	const char *key;
	size_t i;
	int r = client_call(&ctl->client, "GET", "/info", NULL, NULL, &info, err);

	if (r < 0)
		return r;
	if (o->format)
		return value_print(o->format, info, err);
	for (i = 0; i < ARRAY_SIZE(docker_lines); i++) {
		value = json_object_get(info, docker_lines[i].member);
		if (!value)
			continue;
		str_addf(&out, "%s: ", docker_lines[i].label);
		scalar_add(&out, docker_lines[i].member, value);
		str_addc(&out, '\n');
	}
	hyper = json_object_get(info, "Hyper");
	json_object_foreach(hyper, key, value)
		if (strcmp(key, "Version") != 0)
			tree_add(&out, key, value, 0);
	fputs(str_text(&out), stdout);
	json_array_foreach(json_object_get(info, "Warnings"), i, warning)
		complain("%s", json_string_value(warning) ?: "");
	return 0;
}

const struct command command_info = {
	.name = "info",
	.group = "The daemon and this program",
	.usage = "[OPTIONS]",
	.summary = "Show how the daemon is set up: isolation, accelerator, templates, limits",
	.options = options,
	.options_size = sizeof(struct info_options),
	.mixed = true,
	.max_args = 0,
	.run = info_main,
};
