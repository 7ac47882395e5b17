#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/progress.h"
#include "hyperctl/upload.h"

struct load_options {
	const char *input;
	bool quiet;
};
static const struct option options[] = {
	STRING('i', "input", struct load_options, input, "FILE",
	       "Archive (tar, also compressed), - for standard input", .initial = "-"),
	FLAG('q', "quiet", struct load_options, quiet, "Say only what was loaded"),
	OPTIONS_END,
};

static int load_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct load_options *o = given;
	autoptr(response_free) struct response *response = NULL;
	autoclose int fd = -1;
	struct request request = {
		.method = "POST",
		.path = "/images/load",
		.query = o->quiet ? "quiet=1" : "quiet=0",
		.content_type = "application/x-tar",
		.body_read = upload_read,
		.body_arg = &fd,
	};
	int r;

	if (args[0] && strcmp(o->input, "-") != 0)
		return error_set(err, ERROR_INVALID, "-i and '%s' both name an archive", args[0]);
	r = upload_open(args[0] ?: o->input, &fd, err);
	if (r == 0)
		r = client_open(&ctl->client, &request, &response, err);
	return r < 0 ? r : progress_show(response, stdout, false, NULL, err);
}

const struct command command_load = {
	.name = "load",
	.group = "Images",
	.usage = "[OPTIONS] [FILE]",
	.summary = "Load images from an archive of docker save, skopeo or hyperctl save",
	.options = options,
	.options_size = sizeof(struct load_options),
	.mixed = true,
	.max_args = 1,
	.run = load_main,
};
