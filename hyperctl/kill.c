#include "hyperctl/object.h"

struct kill_options {
	const char *signal;
};
static const struct option options[] = {
	STRING('s', "signal", struct kill_options, signal, "SIGNAL", "Name or number",
	       .initial = "KILL"),
	OPTIONS_END,
};

static int kill_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	const struct kill_options *o = arg;
	autostr struct str query = STR_INIT;

	query_add(&query, "signal", o->signal);
	return object_act(ctl, "POST", name, "kill", str_text(&query), NULL, err);
}

static int kill_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, true, kill_one, given);
}

const struct command command_kill = {
	.name = "kill",
	.group = "Pods and containers",
	.usage = "[OPTIONS] NAME...",
	.summary = "Send a signal to containers, or to all containers of pods",
	.options = options,
	.options_size = sizeof(struct kill_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = kill_main,
};
