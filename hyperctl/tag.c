#include <string.h>

#include "hyperctl/command.h"

static int tag_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const char *colon = strrchr(args[1], ':');
	autostr struct str query = STR_INIT;
	autofree char *repository = NULL, *image = path_encode(args[0]), *path = NULL;

	if (colon && strchr(colon, '/'))
		colon = NULL; /* a registry's port */
	repository = colon ? strndup(args[1], (size_t)(colon - args[1])) : strdup(args[1]);
	path = image ? strf("/images/%s/tag", image) : NULL;
	if (!repository || !path)
		return error_nomem(err);
	query_add(&query, "repo", repository);
	query_add(&query, "tag", colon ? colon + 1 : "latest");
	return client_call(&ctl->client, "POST", path, str_text(&query), NULL, NULL, err);
}

const struct command command_tag = {
	.name = "tag",
	.group = "Images",
	.usage = "IMAGE NAME[:TAG]",
	.summary = "Give an image another name",
	.mixed = true,
	.min_args = 2,
	.max_args = 2,
	.run = tag_main,
};
