#include <string.h>

#include "hyperctl/command.h"

struct commit_options {
	const char *author, *message;
	struct option_list changes;
	bool pause;
};
static const struct option options[] = {
	STRING('a', "author", struct commit_options, author, "NAME", "Who made the image"),
	LIST('c', "change", struct commit_options, changes, "INSTRUCTION",
	     "Configuration as in a Dockerfile: CMD, ENV, ENTRYPOINT, USER, WORKDIR, LABEL, "
	     "EXPOSE, …"),
	STRING('m', "message", struct commit_options, message, "TEXT", "Comment kept in the image"),
	FLAG('p', "pause", struct commit_options, pause,
	     "Let the container stand still meanwhile (default; --pause=false does not)",
	     .initial = "true"),
	OPTIONS_END,
};

static int commit_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct commit_options *o = given;
	const char *colon = args[1] ? strrchr(args[1], ':') : NULL;
	autofree char *repository = NULL;
	autostr struct str query = STR_INIT;
	autojson json_t *answer = NULL;
	const char *id = NULL;
	int r;

	query_add(&query, "container", args[0]);
	if (args[1]) {
		/* "host:5000/name" has no tag. */
		if (colon && strchr(colon, '/'))
			colon = NULL;
		repository = colon ? strndup(args[1], (size_t)(colon - args[1])) : strdup(args[1]);
		if (!repository)
			return error_nomem(err);
		query_add(&query, "repo", repository);
		query_add(&query, "tag", colon ? colon + 1 : NULL);
	}
	query_add(&query, "author", o->author);
	query_add(&query, "comment", o->message);
	query_add(&query, "pause", o->pause ? "1" : "0");
	for (size_t i = 0; i < o->changes.count; i++)
		query_add(&query, "changes", o->changes.items[i]);
	if (query.failed)
		return error_nomem(err);
	r = client_call(&ctl->client, "POST", "/commit", str_text(&query), NULL, &answer, err);
	if (r == 0)
		r = json_get_string(answer, "Id", &id, err);
	if (r == 0)
		puts(id ? id : "");
	return r;
}

const struct command command_commit = {
	.name = "commit",
	.group = "Images",
	.usage = "[OPTIONS] CONTAINER [NAME[:TAG]]",
	.summary = "Make an image of a container's image and its changes",
	.options = options,
	.options_size = sizeof(struct commit_options),
	.mixed = true,
	.min_args = 1,
	.max_args = 2,
	.run = commit_main,
};
