#include "hyperctl/command.h"

struct rmi_options {
	bool force, no_prune;
};
static const struct option options[] = {
	FLAG('f', "force", struct rmi_options, force,
	     "Also when it has several names or is in use"),
	FLAG(0, "no-prune", struct rmi_options, no_prune, "Keep untagged parents"),
	OPTIONS_END,
};

static int rmi_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	const struct rmi_options *o = arg;
	autofree char *encoded = path_encode(name), *path = NULL;
	autostr struct str query = STR_INIT;
	autojson json_t *answer = NULL;
	json_t *item, *value;
	const char *key;
	size_t i;
	int r;

	path = encoded ? strf("/images/%s", encoded) : NULL;
	if (!path)
		return error_nomem(err);
	query_add(&query, "force", o->force ? "1" : NULL);
	query_add(&query, "noprune", o->no_prune ? "1" : NULL);
	r = client_call(&ctl->client, "DELETE", path, str_text(&query), NULL, &answer, err);
	if (r < 0)
		return r;
	json_array_foreach(answer, i, item)
		json_object_foreach(item, key, value)
			printf("%s: %s\n", key, json_string_value(value) ?: "");
	return 0;
}

static int rmi_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, false, rmi_one, given);
}

const struct command command_rmi = {
	.name = "rmi",
	.group = "Images",
	.usage = "[OPTIONS] IMAGE...",
	.summary = "Remove names of images, and images that have none left",
	.options = options,
	.options_size = sizeof(struct rmi_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = rmi_main,
};
