/* pause and unpause. */
#include "hyperctl/object.h"

static int pause_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	return object_act(ctl, "POST", name, arg, NULL, NULL, err);
}

static int pause_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, true, pause_one, "pause");
}

static int unpause_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, true, pause_one, "unpause");
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

const struct command command_unpause = {
	.name = "unpause",
	.group = "Pods and containers",
	.usage = "NAME...",
	.summary = "Let frozen containers or pods go on",
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = unpause_main,
};
