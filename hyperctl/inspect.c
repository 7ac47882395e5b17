#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/format.h"

struct inspect_options {
	const char *format, *type;
	bool size;
};
static const struct option options[] = {
	STRING('f', "format", struct inspect_options, format, "FORMAT", "json or a template"),
	STRING(0, "type", struct inspect_options, type, "TYPE", "container, pod or image"),
	FLAG('s', "size", struct inspect_options, size, "Also how much disk containers use"),
	OPTIONS_END,
};

static const struct {
	const char *type, *prefix;
} kinds[] = {
	{ "container", "/containers/" },
	{ "pod", "/hyper/v1/pods/" },
	{ "image", "/images/" },
};

static int inspect_one(struct ctl *ctl, const struct inspect_options *o, const char *name,
		       json_t **ret, struct error *err)
{
	const char *type = o->type;
	autofree char *encoded = NULL;

	for (size_t i = 0; !type && i < ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i].type);

		/* "pod/web"; but an image may be called "pod/web" too, and then --type says so. */
		if (strncmp(name, kinds[i].type, n) == 0 && name[n] == '/' && i < 2) {
			type = kinds[i].type;
			name += n + 1;
		}
	}
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(err, ERROR_INVALID, "'%s' is no name", name);
	encoded = path_encode(name);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		autofree char *path = NULL;
		int r;

		if (type && strcmp(type, kinds[i].type) != 0)
			continue;
		path = strf("%s%s/json", kinds[i].prefix, encoded);
		if (!path)
			return error_nomem(err);
		r = client_call(&ctl->client, "GET", path, o->size && i == 0 ? "size=1" : NULL,
				NULL, ret, err);
		if (r == 0 || err->kind != ERROR_NOT_FOUND)
			return r;
	}
	return error_set(err, ERROR_NOT_FOUND, "no such %s: %s", type ?: "container, pod or image",
			 name);
}

static int check_type(const char *type, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!type || strcmp(type, kinds[i].type) == 0)
			return 0;
	return error_set(err, ERROR_INVALID, "--type '%s': expected container, pod or image", type);
}

/* Without a format everything found is one JSON array, even if some were not. */
static int inspect_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct inspect_options *o = given;
	autojson json_t *all = json_array();
	int r = check_type(o->type, err), code = 0;

	if (r == 0 && o->format && strcmp(o->format, "json") != 0)
		r = template_check("--format", o->format, err);
	if (r < 0)
		return r;
	strv_for_each(name, args) {
		struct error failed = { 0 };
		json_t *one = NULL;

		r = inspect_one(ctl, o, *name, &one, &failed);
		if (r == 0 && o->format)
			r = value_print(o->format, one, &failed);
		if (r == 0)
			json_array_append(all, one);
		else
			code = 1;
		json_decref(one);
		if (r < 0)
			complain("%s", failed.message);
	}
	if (!o->format) {
		json_dumpf(all, stdout, JSON_INDENT(4));
		putchar('\n');
	}
	return code;
}

const struct command command_inspect = {
	.name = "inspect",
	.group = "Looking inside",
	.usage = "[OPTIONS] NAME...",
	.summary = "Show all that is known about containers, pods or images",
	.options = options,
	.options_size = sizeof(struct inspect_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = inspect_main,
};
