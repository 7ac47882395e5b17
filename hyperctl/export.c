#include "hyperctl/command.h"
#include "hyperctl/download.h"

struct export_options {
	const char *output;
};
static const struct option options[] = {
	STRING('o', "output", struct export_options, output, "FILE",
	       "Where to write the archive (default: standard output)"),
	OPTIONS_END,
};

static int export_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct export_options *o = given;
	autoptr(response_free) struct response *response = NULL;
	autofree char *name = path_encode(args[0]);
	autofree char *path = name ? strf("/containers/%s/export", name) : NULL;
	const struct request request = { .method = "GET", .path = path };
	int r = path ? download_check(o->output, err) : error_nomem(err);

	if (r == 0)
		r = client_open(&ctl->client, &request, &response, err);
	return r < 0 ? r : download(response, o->output, err);
}

const struct command command_export = {
	.name = "export",
	.group = "Files",
	.usage = "[OPTIONS] CONTAINER",
	.summary = "Write a container's root file system to a tar archive",
	.options = options,
	.options_size = sizeof(struct export_options),
	.mixed = true,
	.min_args = 1,
	.max_args = 1,
	.run = export_main,
};
