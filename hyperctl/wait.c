#include "hyperctl/object.h"

static int wait_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	autojson json_t *answer = NULL;
	const char *message;
	int r = object_act(ctl, "POST", name, "wait", NULL, &answer, err);

	if (r < 0)
		return r;
	message = json_string_value(json_object_get(json_object_get(answer, "Error"), "Message"));
	if (message && *message)
		return error_set(err, ERROR_FAILED, "%s", message);
	printf("%lld\n", (long long)json_integer_value(json_object_get(answer, "StatusCode")));
	fflush(stdout);
	return 0;
}

static int wait_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, false, wait_one, NULL);
}

const struct command command_wait = {
	.name = "wait",
	.group = "Pods and containers",
	.usage = "NAME...",
	.summary = "Wait until containers or pods have ended, and print their exit codes",
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = wait_main,
};
