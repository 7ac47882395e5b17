#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/login_file.h"
#include "hyperctl/progress.h"

struct push_options {
	bool all, quiet;
};
static const struct option options[] = {
	FLAG('a', "all-tags", struct push_options, all, "Every tag of the repository"),
	FLAG('q', "quiet", struct push_options, quiet, "Say only what was pushed"),
	OPTIONS_END,
};

static int push_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct push_options *o = given;
	autoptr(response_free) struct response *response = NULL;
	autofree char *key = login_registry_of(args[0]), *header = NULL, *name = strdup(args[0]);
	autofree char *encoded = NULL, *path = NULL;
	autostr struct str query = STR_INIT;
	struct request request = { .method = "POST" };
	const char *tag = NULL;
	char *colon = name ? strrchr(name, ':') : NULL;
	int r;

	if (!key || !name)
		return error_nomem(err);
	if (colon && !strchr(colon, '/')) {
		*colon = '\0';
		tag = colon + 1;
	}
	if (o->all && tag)
		return error_set(err, ERROR_INVALID, "'%s' names one tag, --all-tags wants all",
				 args[0]);
	r = login_header(key, &header, err);
	if (r < 0)
		return r;
	encoded = path_encode(name);
	path = encoded ? strf("/images/%s/push", encoded) : NULL;
	if (!path)
		return error_nomem(err);
	query_add(&query, "tag", o->all ? NULL : tag ? tag : "latest");
	request.path = path;
	request.query = str_text(&query);
	request.registry_auth = header;
	r = client_open(&ctl->client, &request, &response, err);
	if (r == 0)
		r = progress_show(response, stdout, o->quiet, NULL, err);
	if (r == 0 && o->quiet)
		puts(args[0]);
	return r;
}

const struct command command_push = {
	.name = "push",
	.group = "Images",
	.usage = "[OPTIONS] NAME[:TAG]",
	.summary = "Send an image to a registry",
	.options = options,
	.options_size = sizeof(struct push_options),
	.mixed = true,
	.min_args = 1,
	.max_args = 1,
	.run = push_main,
};
