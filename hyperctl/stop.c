/* stop and restart: both take the time that processes get to end by themselves. */
#include "hyperctl/object.h"

struct stop_options {
	long long seconds;
};
static const struct option options[] = {
	NUMBER('t', "time", struct stop_options, seconds, "SECONDS",
	       "How long to wait before killing (else as created with)", .initial = "-1", .min = -1,
	       .max = 1 << 30),
	NUMBER(0, "timeout", struct stop_options, seconds, "SECONDS", "", .initial = "-1",
	       .min = -1, .max = 1 << 30, .hidden = true),
	OPTIONS_END,
};

static int act(struct ctl *ctl, const char *name, const char *verb, const struct stop_options *o,
	       struct error *err)
{
	autostr struct str query = STR_INIT;

	if (o->seconds >= 0)
		query_addf(&query, "t", "%lld", o->seconds);
	return object_act(ctl, "POST", name, verb, str_text(&query), NULL, err);
}

static int stop_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	return act(ctl, name, "stop", arg, err);
}

static int restart_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	return act(ctl, name, "restart", arg, err);
}

static int stop_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, true, stop_one, given);
}

static int restart_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	return for_each_name(ctl, args, true, restart_one, given);
}

const struct command command_stop = {
	.name = "stop",
	.group = "Pods and containers",
	.usage = "[OPTIONS] NAME...",
	.summary = "Stop containers or pods: ask their processes to end, then kill them",
	.options = options,
	.options_size = sizeof(struct stop_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = stop_main,
};

const struct command command_restart = {
	.name = "restart",
	.group = "Pods and containers",
	.usage = "[OPTIONS] NAME...",
	.summary = "Stop containers or pods and start them again",
	.options = options,
	.options_size = sizeof(struct stop_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = restart_main,
};
