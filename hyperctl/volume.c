#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/format.h"
#include "hyperctl/query.h"
#include "hyperctl/units.h"

struct volume_options {
	const char *driver, *format;
	struct option_list driver_options, labels, filters;
	bool all, force, quiet;
};
#define OPT struct volume_options
static const struct option options[] = {
	STRING('d', "driver", OPT, driver, "NAME", "create: what keeps it", .initial = "local"),
	LIST('o', "opt", OPT, driver_options, "KEY=VALUE", "create: option of the driver"),
	LIST('l', "label", OPT, labels, "KEY[=VALUE]", "create: set a label"),
	LIST(0, "filter", OPT, filters, "KEY=VALUE",
	     "ls, prune: only those (dangling, driver, label, name)"),
	STRING(0, "format", OPT, format, "FORMAT",
	       "ls, inspect: json, a template, or 'table TEMPLATE'"),
	FLAG('q', "quiet", OPT, quiet, "ls: only names"),
	FLAG('f', "force", OPT, force, "rm: a missing one is no failure, nor what its driver says"),
	FLAG('a', "all", OPT, all, "prune: not only anonymous ones"),
	OPTIONS_END,
};
#undef OPT

static char *path_of(const char *name)
{
	autofree char *encoded = path_encode(name);

	return encoded ? strf("/volumes/%s", encoded) : NULL;
}

/* ------------------------------------------------------------------ create */

static int add_pairs(json_t *object, const struct option_list *list, bool needs_value,
		     const char *option, struct error *err)
{
	for (size_t i = 0; i < list->count; i++) {
		const char *text = list->items[i], *equals = strchr(text, '=');
		autofree char *key = strndup(text, equals ? (size_t)(equals - text) : strlen(text));

		if (!key)
			return error_nomem(err);
		if (!*key || (needs_value && !equals))
			return error_set(err, ERROR_INVALID, "%s '%s': expected KEY=VALUE", option,
					 text);
		json_object_set_new(object, key, json_string(equals ? equals + 1 : ""));
	}
	return 0;
}

static int create(struct ctl *ctl, const struct volume_options *o, char **args, struct error *err)
{
	autojson json_t *body = NULL, *answer = NULL, *labels = json_object(),
			*driver_options = json_object();
	int r = add_pairs(labels, &o->labels, false, "--label", err);

	if (r == 0)
		r = add_pairs(driver_options, &o->driver_options, true, "--opt", err);
	if (r < 0)
		return r;
	body = json_pack("{s:s, s:s, s:O, s:O}", "Name", args[0] ?: "", "Driver", o->driver,
			 "DriverOpts", driver_options, "Labels", labels);
	if (!body)
		return error_set(err, ERROR_INVALID, "an argument is not UTF-8");
	r = client_call(&ctl->client, "POST", "/volumes/create", NULL, body, &answer, err);
	if (r == 0)
		puts(json_string_value(json_object_get(answer, "Name")) ?: "");
	return r;
}

/* ------------------------------------------------------------------ ls */

static const struct column columns[] = {
	{ "Driver", "DRIVER" }, { "Name", "VOLUME NAME" }, { "Mountpoint", "MOUNTPOINT" },
	{ "Scope", "SCOPE" },   { "Labels", "LABELS" },    { NULL, NULL },
};

static json_t *row_of(const json_t *volume)
{
	static const char *const same[] = { "Driver", "Name", "Mountpoint", "Scope" };
	autostr struct str labels = STR_INIT;
	json_t *row = json_object(), *value;
	const char *key;

	for (size_t i = 0; i < ARRAY_SIZE(same); i++)
		json_object_set_new(row, same[i],
				    json_string(json_string_value(json_object_get(volume, same[i]))
							?: ""));
	json_object_foreach(json_object_get(volume, "Labels"), key, value)
		str_addf(&labels, "%s%s=%s", labels.len ? "," : "", key,
			 json_string_value(value) ?: "");
	json_object_set_new(row, "Labels", json_string(str_text(&labels)));
	return row;
}

static int list(struct ctl *ctl, const struct volume_options *o, char **args, struct error *err)
{
	autojson json_t *answer = NULL, *rows = json_array();
	autostr struct str query = STR_INIT;
	json_t *one;
	size_t i;
	int r = filters_add(&query, &o->filters, err);

	if (r == 0)
		r = client_call(&ctl->client, "GET", "/volumes", str_text(&query), NULL, &answer,
				err);
	if (r < 0)
		return r;
	json_array_foreach(json_object_get(answer, "Warnings"), i, one)
		complain("warning: %s", json_string_value(one) ?: "");
	json_array_foreach(json_object_get(answer, "Volumes"), i, one)
		json_array_append_new(rows, row_of(one));
	return rows_print(columns, "{{.Driver}}\t{{.Name}}",
			  o->quiet && !o->format ? "{{.Name}}" : o->format, rows, err);
}

/* ------------------------------------------------------------------ inspect */

static int inspect(struct ctl *ctl, const struct volume_options *o, char **args, struct error *err)
{
	autojson json_t *all = json_array();
	int code = 0;

	strv_for_each(name, args) {
		autofree char *path = path_of(*name);
		struct error failed = { 0 };
		json_t *one = NULL;
		int r = path ? client_call(&ctl->client, "GET", path, NULL, NULL, &one, &failed)
			     : error_nomem(&failed);

		if (r == 0 && o->format)
			r = value_print(o->format, one, &failed);
		if (r == 0)
			json_array_append(all, one);
		json_decref(one);
		if (r < 0) {
			complain("%s", failed.message);
			code = 1;
		}
	}
	if (!o->format) {
		json_dumpf(all, stdout, JSON_INDENT(4));
		putchar('\n');
	}
	return code;
}

/* ------------------------------------------------------------------ rm, prune */

static int remove_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	const struct volume_options *o = arg;
	autofree char *path = path_of(name);

	if (!path)
		return error_nomem(err);
	return client_call(&ctl->client, "DELETE", path, o->force ? "force=1" : NULL, NULL, NULL,
			   err);
}

static int remove_all(struct ctl *ctl, const struct volume_options *o, char **args,
		      struct error *err)
{
	return for_each_name(ctl, args, true, remove_one, o);
}

static int prune(struct ctl *ctl, const struct volume_options *o, char **args, struct error *err)
{
	autojson json_t *answer = NULL;
	autostr struct str query = STR_INIT;
	struct option_list filters = { 0 };
	char size[24];
	json_t *name;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < o->filters.count; i++)
		r = option_list_add(&filters, o->filters.items[i]);
	if (r == 0 && o->all)
		r = option_list_add(&filters, "all=true");
	r = r < 0 ? error_nomem(err) : filters_add(&query, &filters, err);
	free(filters.items);
	if (r == 0)
		r = client_call(&ctl->client, "POST", "/volumes/prune", str_text(&query), NULL,
				&answer, err);
	if (r < 0)
		return r;
	json_array_foreach(json_object_get(answer, "VolumesDeleted"), i, name)
		puts(json_string_value(name) ?: "");
	size_human(json_number_value(json_object_get(answer, "SpaceReclaimed")), size);
	printf("Total reclaimed space: %s\n", size);
	return 0;
}

/* ------------------------------------------------------------------ the command */

static const struct verb {
	const char *name, *alias;
	int min_args, max_args;
	int (*run)(struct ctl *ctl, const struct volume_options *o, char **args, struct error *err);
} verbs[] = {
	{ "create", NULL, 0, 1, create },      { "inspect", NULL, 1, -1, inspect },
	{ "ls", "list", 0, 0, list },          { "prune", NULL, 0, 0, prune },
	{ "rm", "remove", 1, -1, remove_all },
};

static int volume_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	int count = (int)strv_len(args + 1);

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		const struct verb *v = &verbs[i];

		if (strcmp(args[0], v->name) != 0 && (!v->alias || strcmp(args[0], v->alias) != 0))
			continue;
		if (count < v->min_args || (v->max_args >= 0 && count > v->max_args))
			return error_set(err, ERROR_INVALID,
					 "'hyperctl volume %s': %s\nSee 'hyperctl volume --help'.",
					 v->name,
					 count < v->min_args ? "expected a name"
							     : "an argument too many");
		return v->run(ctl, given, args + 1, err);
	}
	return error_set(err, ERROR_INVALID,
			 "'hyperctl volume %s': expected create, inspect, ls, prune or rm",
			 args[0]);
}

const struct command command_volume = {
	.name = "volume",
	.aliases = "volumes",
	.group = "Volumes",
	.usage = "create [OPTIONS] [NAME]\n"
		 "ls [OPTIONS]\n"
		 "inspect [OPTIONS] NAME...\n"
		 "rm [OPTIONS] NAME...\n"
		 "prune [OPTIONS]",
	.summary = "Make, show and remove volumes",
	.options = options,
	.options_size = sizeof(struct volume_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = volume_main,
};
