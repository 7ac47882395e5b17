#include "hyperctl/run.h"

struct create_options {
	struct container_options container;
	const char *file;
};
static const struct option options[] = {
	TABLE(container_option_table, struct create_options, container),
	STRING('f', "file", struct create_options, file, "FILE",
	       "Create the pod that FILE (JSON or YAML, - for standard input) describes"),
	OPTIONS_END,
};

static int create_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct create_options *o = given;
	autojson json_t *pod = NULL;
	autofree char *id = NULL;
	int r;

	if (!o->file == !args[0])
		return error_set(err, ERROR_INVALID,
				 "expected either an image, or a pod file with -f");
	if (!o->file) {
		r = container_create(&ctl->client, &o->container, args, true, &id, err);
		if (r == 0)
			puts(id);
		return r;
	}
	r = pod_create(&ctl->client, o->file, &o->container, o->container.remove, &pod, err);
	if (r == 0)
		puts(json_string_value(json_object_get(pod, "Id")) ?: "");
	return r;
}

const struct command command_create = {
	.name = "create",
	.group = "Pods and containers",
	.usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]\n[OPTIONS] -f FILE",
	.summary = "Create a container, or a pod from a file, without starting it",
	.options = options,
	.options_size = sizeof(struct create_options),
	.max_args = -1,
	.run = create_main,
};
