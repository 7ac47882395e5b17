#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/progress.h"
#include "hyperctl/upload.h"

struct import_options {
	struct option_list changes;
	const char *message, *platform;
};
static const struct option options[] = {
	LIST('c', "change", struct import_options, changes, "INSTRUCTION",
	     "Configuration as in a Dockerfile: CMD, ENV, ENTRYPOINT, USER, WORKDIR, LABEL, "
	     "EXPOSE, …"),
	STRING('m', "message", struct import_options, message, "TEXT", "Comment kept in the image"),
	STRING(0, "platform", struct import_options, platform, "OS/ARCH", "What it runs on"),
	OPTIONS_END,
};

/* Where the tag begins in "host:5000/name:tag": the colon after the last slash. */
static const char *tag_of(const char *reference)
{
	const char *colon = strrchr(reference, ':');

	return colon && !strchr(colon, '/') ? colon : NULL;
}

static int import_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct import_options *o = given;
	autoptr(response_free) struct response *response = NULL;
	autostr struct str query = STR_INIT;
	autofree char *last = NULL, *repository = NULL;
	autoclose int fd = -1;
	struct request request = {
		.method = "POST",
		.path = "/images/create",
		.content_type = "application/x-tar",
		.body_read = upload_read,
		.body_arg = &fd,
	};
	int r = upload_open(args[0], &fd, err);

	if (r < 0)
		return r;
	query_add(&query, "fromSrc", "-");
	if (args[1]) {
		const char *colon = tag_of(args[1]);

		repository = colon ? strndup(args[1], (size_t)(colon - args[1])) : strdup(args[1]);
		if (!repository)
			return error_nomem(err);
		query_add(&query, "repo", repository);
		query_add(&query, "tag", colon ? colon + 1 : NULL);
	}
	query_add(&query, "message", o->message);
	query_add(&query, "platform", o->platform);
	for (size_t i = 0; i < o->changes.count; i++)
		query_add(&query, "changes", o->changes.items[i]);
	request.query = str_text(&query);
	r = client_open(&ctl->client, &request, &response, err);
	if (r == 0)
		r = progress_show(response, stderr, true, &last, err);
	if (r == 0)
		puts(last ?: ""); /* the new image's id */
	return r;
}

const struct command command_import = {
	.name = "import",
	.group = "Images",
	.usage = "[OPTIONS] FILE|- [NAME[:TAG]]",
	.summary = "Make an image of a root file system in a tar archive",
	.options = options,
	.options_size = sizeof(struct import_options),
	.mixed = true,
	.min_args = 1,
	.max_args = 2,
	.run = import_main,
};
