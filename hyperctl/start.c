#include "hyperctl/attached.h"
#include "hyperctl/object.h"

struct start_options {
	bool attach, interactive, sig_proxy;
	const char *detach_keys;
};
static const struct option options[] = {
	FLAG('a', "attach", struct start_options, attach, "Show its output, pass signals on"),
	FLAG('i', "interactive", struct start_options, interactive, "Pass standard input on"),
	STRING(0, "detach-keys", struct start_options, detach_keys, "KEYS", "Keys that detach"),
	FLAG(0, "sig-proxy", struct start_options, sig_proxy, "With -a, pass signals on",
	     .initial = "true"),
	OPTIONS_END,
};

static int start_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	return object_act(ctl, "POST", name, "start", NULL, NULL, err);
}

static int start_attached(struct ctl *ctl, const struct start_options *o, const char *name,
			  struct error *err)
{
	autoobject struct object object = { 0 };
	autoattached struct attached attached = { .client = &ctl->client };
	autofree char *path = NULL;
	json_t *config, *host;
	int r = object_find_container(ctl, name, &object, err);

	if (r < 0)
		return r;
	config = json_object_get(object.inspect, "Config");
	host = json_object_get(object.inspect, "HostConfig");
	attached.path = object.path;
	attached.tty = json_is_true(json_object_get(config, "Tty"));
	attached.input = o->interactive && json_is_true(json_object_get(config, "OpenStdin"));
	attached.pass_signals = o->sig_proxy;
	r = attached_check_terminal(attached.tty, attached.input, err);
	if (r == 0)
		r = attached_open(&attached, o->detach_keys, err);
	if (r == 0)
		r = attached_open_wait(&attached,
				       json_is_true(json_object_get(host, "AutoRemove"))
					       ? "removed"
					       : "next-exit",
				       err);
	path = strf("%s/start", object.path);
	if (r == 0)
		r = path ? client_call(&ctl->client, "POST", path, NULL, NULL, NULL, err)
			 : error_nomem(err);
	if (r < 0 && err->kind == ERROR_NOT_MODIFIED)
		r = 0; /* it runs: then this is attach */
	return r < 0 ? r : attached_run(&attached, err);
}

static int start_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct start_options *o = given;

	if (!o->attach && !o->interactive)
		return for_each_name(ctl, args, true, start_one, NULL);
	if (args[1])
		return error_set(err, ERROR_INVALID, "only one container can be attached to");
	return start_attached(ctl, o, args[0], err);
}

const struct command command_start = {
	.name = "start",
	.group = "Pods and containers",
	.usage = "[OPTIONS] NAME...",
	.summary = "Start containers or pods",
	.options = options,
	.options_size = sizeof(struct start_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = start_main,
};
