#include "hyperctl/object.h"

static int unpause_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	return object_act(ctl, "POST", name, "unpause", NULL, NULL, err);
}

static int unpause_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, true, unpause_one, NULL);
}

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
