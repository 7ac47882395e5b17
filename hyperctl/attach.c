#include "hyperctl/attached.h"
#include "hyperctl/object.h"

struct attach_options {
	bool no_stdin, sig_proxy;
	const char *detach_keys;
};
static const struct option options[] = {
	FLAG(0, "no-stdin", struct attach_options, no_stdin, "Do not pass standard input on"),
	STRING(0, "detach-keys", struct attach_options, detach_keys, "KEYS", "Keys that detach"),
	FLAG(0, "sig-proxy", struct attach_options, sig_proxy, "Pass signals on to the process",
	     .initial = "true"),
	OPTIONS_END,
};

static int check_state(const struct object *object, struct error *err)
{
	json_t *state = json_object_get(object->inspect, "State");

	if (!json_is_true(json_object_get(state, "Running")))
		return error_set(err, ERROR_CONFLICT,
				 "container \"%s\" does not run; start it with 'hyperctl start -a'",
				 object->name);
	if (json_is_true(json_object_get(state, "Paused")))
		return error_set(err, ERROR_CONFLICT,
				 "container \"%s\" is paused; let it go on with 'hyperctl unpause'",
				 object->name);
	return 0;
}

static int attach_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct attach_options *o = given;
	autoobject struct object object = { 0 };
	autoattached struct attached attached = { .client = &ctl->client };
	json_t *config;
	int r = object_find_container(ctl, args[0], &object, err);

	if (r == 0)
		r = check_state(&object, err);
	if (r < 0)
		return r;
	config = json_object_get(object.inspect, "Config");
	attached.path = object.path;
	attached.tty = json_is_true(json_object_get(config, "Tty"));
	attached.input = !o->no_stdin && json_is_true(json_object_get(config, "OpenStdin"));
	attached.pass_signals = o->sig_proxy;
	r = attached_check_terminal(attached.tty, attached.input, err);
	if (r == 0)
		r = attached_open_wait(&attached, "not-running", err);
	if (r == 0)
		r = attached_open(&attached, o->detach_keys, err);
	return r < 0 ? r : attached_run(&attached, err);
}

const struct command command_attach = {
	.name = "attach",
	.group = "Looking inside",
	.usage = "[OPTIONS] CONTAINER",
	.summary = "Attach to a running container's input and output",
	.options = options,
	.options_size = sizeof(struct attach_options),
	.mixed = true,
	.min_args = 1,
	.max_args = 1,
	.run = attach_main,
};
