#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/download.h"

struct save_options {
	const char *output;
};
static const struct option options[] = {
	STRING('o', "output", struct save_options, output, "FILE",
	       "Where to write the archive (default: standard output)"),
	OPTIONS_END,
};

static int save_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct save_options *o = given;
	autoptr(response_free) struct response *response = NULL;
	autostr struct str query = STR_INIT;
	struct request request = { .method = "GET", .path = "/images/get" };
	int r = download_check(o->output, err);

	if (r < 0)
		return r;
	strv_for_each(name, args)
		query_add(&query, "names", *name);
	request.query = str_text(&query);
	r = client_open(&ctl->client, &request, &response, err);
	return r < 0 ? r : download(response, o->output, err);
}

const struct command command_save = {
	.name = "save",
	.group = "Images",
	.usage = "[OPTIONS] IMAGE...",
	.summary = "Write images to an archive that load reads",
	.options = options,
	.options_size = sizeof(struct save_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = save_main,
};
