#include "hyperctl/object.h"

static int rename_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	autostr struct str query = STR_INIT;

	query_add(&query, "name", args[1]);
	return object_act(ctl, "POST", args[0], "rename", str_text(&query), NULL, err);
}

const struct command command_rename = {
	.name = "rename",
	.group = "Pods and containers",
	.usage = "NAME NEW-NAME",
	.summary = "Give a container or pod another name",
	.mixed = true,
	.min_args = 2,
	.max_args = 2,
	.run = rename_main,
};
