#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/login_file.h"
#include "hyperctl/progress.h"

struct pull_options {
	bool all, quiet;
	const char *platform;
};
static const struct option options[] = {
	FLAG('a', "all-tags", struct pull_options, all, "Every tag of the repository"),
	STRING(0, "platform", struct pull_options, platform, "OS/ARCH",
	       "Of several images under one name, the one for this"),
	FLAG('q', "quiet", struct pull_options, quiet, "Say only what was pulled"),
	OPTIONS_END,
};

/* Whether NAME says more than a repository: a digest, or a tag after the last slash. */
static bool has_tag(const char *name)
{
	const char *colon = strrchr(name, ':');

	return strchr(name, '@') || (colon && !strchr(colon, '/'));
}

static int pull_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct pull_options *o = given;
	autoptr(response_free) struct response *response = NULL;
	autofree char *key = login_registry_of(args[0]), *header = NULL;
	autostr struct str query = STR_INIT;
	struct request request = { .method = "POST", .path = "/images/create" };
	int r;

	if (!key)
		return error_nomem(err);
	if (o->all && has_tag(args[0]))
		return error_set(err, ERROR_INVALID, "'%s' names one tag, --all-tags wants all",
				 args[0]);
	r = login_header(key, &header, err);
	if (r < 0)
		return r;
	query_add(&query, "fromImage", args[0]);
	query_add(&query, "tag", o->all || has_tag(args[0]) ? NULL : "latest");
	query_add(&query, "platform", o->platform);
	request.query = str_text(&query);
	request.registry_auth = header;
	r = client_open(&ctl->client, &request, &response, err);
	if (r == 0)
		r = progress_show(response, stdout, o->quiet, NULL, err);
	if (r == 0 && o->quiet)
		puts(args[0]);
	return r;
}

const struct command command_pull = {
	.name = "pull",
	.group = "Images",
	.usage = "[OPTIONS] NAME[:TAG|@DIGEST]",
	.summary = "Bring an image in from a registry",
	.options = options,
	.options_size = sizeof(struct pull_options),
	.mixed = true,
	.min_args = 1,
	.max_args = 1,
	.run = pull_main,
};
