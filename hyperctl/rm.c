#include "hyperctl/object.h"

struct rm_options {
	bool force, volumes;
};
static const struct option options[] = {
	FLAG('f', "force", struct rm_options, force, "Kill what runs; a missing one is no failure"),
	FLAG('v', "volumes", struct rm_options, volumes, "Remove its anonymous volumes too"),
	OPTIONS_END,
};

static int rm_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	const struct rm_options *o = arg;
	autostr struct str query = STR_INIT;
	int r;

	if (o->force)
		query_add(&query, "force", "1");
	if (o->volumes)
		query_add(&query, "v", "1");
	r = object_act(ctl, "DELETE", name, "", str_text(&query), NULL, err);
	if (r < 0 && o->force && err->kind == ERROR_NOT_FOUND) {
		complain("%s", err->message);
		return 0;
	}
	return r;
}

static int rm_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, true, rm_one, given);
}

const struct command command_rm = {
	.name = "rm",
	.aliases = "remove",
	.group = "Pods and containers",
	.usage = "[OPTIONS] NAME...",
	.summary = "Remove containers or pods",
	.options = options,
	.options_size = sizeof(struct rm_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = rm_main,
};
