#include "hyperctl/object.h"

static int pause_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	return object_act(ctl, "POST", name, "pause", NULL, NULL, err);
}

static int pause_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, true, pause_one, NULL);
}

const struct command command_pause = {
	.name = "pause",
	.group = "Pods and containers",
	.usage = "NAME...",
	.summary = "Freeze containers or pods",
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = pause_main,
};
