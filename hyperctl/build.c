#include <limits.h>
#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/context.h"
#include "hyperctl/progress.h"
#include "hyperctl/upload.h"

struct build_options {
	struct option_list tags, arguments, labels, hosts;
	const char *file, *target, *platform, *network, *isolation;
	uint64_t memory_bytes;
	bool no_cache, pull, quiet, remove, force_remove;
};
#define OPT struct build_options
static const struct option options[] = {
	LIST(0, "add-host", OPT, hosts, "NAME:ADDRESS",
	     "Another line in /etc/hosts while it is built"),
	LIST(0, "build-arg", OPT, arguments, "NAME[=VALUE]",
	     "A build argument; without a value, the environment's"),
	STRING('f', "file", OPT, file, "FILE", "The Dockerfile (default DIRECTORY/Dockerfile)"),
	FLAG(0, "force-rm", OPT, force_remove, "Remove the container of a failed step, too"),
	STRING(0, "isolation", OPT, isolation, "KIND",
	       "What RUN runs in: vm or namespace (default: the daemon's)"),
	LIST(0, "label", OPT, labels, "NAME=VALUE", "A label of the image"),
	SIZE('m', "memory", OPT, memory_bytes, "SIZE", "Memory of each step"),
	STRING(0, "network", OPT, network, "NETWORK", "Network of each step"),
	FLAG(0, "no-cache", OPT, no_cache, "Do every step again"),
	STRING(0, "platform", OPT, platform, "OS/ARCH", "Of several base images, the one for this"),
	FLAG(0, "pull", OPT, pull, "Look for newer base images"),
	FLAG('q', "quiet", OPT, quiet, "Say only the image's id"),
	FLAG(0, "rm", OPT, remove, "Remove the containers of steps", .initial = "true"),
	LIST('t', "tag", OPT, tags, "NAME[:TAG]", "A name for the image"),
	STRING(0, "target", OPT, target, "STAGE", "The stage to build"),
	OPTIONS_END,
};
#undef OPT

/* {"NAME": "VALUE"} of NAME=VALUE; a missing value is the environment's, or null. */
static int add_pairs(struct str *query, const char *key, const struct option_list *list,
		     struct error *err)
{
	autojson json_t *object = json_object();
	autofree char *text = NULL;

	for (size_t i = 0; i < list->count; i++) {
		autofree char *name = strndup(list->items[i], strcspn(list->items[i], "="));
		const char *value = strchr(list->items[i], '=');

		if (!name)
			return error_nomem(err);
		value = value ? value + 1 : getenv(name);
		if (json_object_set_new(object, name, value ? json_string(value) : json_null()) < 0)
			return error_set(err, ERROR_INVALID, "'%s' is not valid UTF-8",
					 list->items[i]);
	}
	if (!list->count)
		return 0;
	text = json_dumps(object, JSON_COMPACT);
	if (!text)
		return error_nomem(err);
	query_add(query, key, text);
	return 0;
}

static int make_query(const struct build_options *o, const char *dockerfile, struct str *query,
		      struct error *err)
{
	int r = add_pairs(query, "buildargs", &o->arguments, err);

	if (r == 0)
		r = add_pairs(query, "labels", &o->labels, err);
	for (size_t i = 0; i < o->tags.count; i++)
		query_add(query, "t", o->tags.items[i]);
	for (size_t i = 0; i < o->hosts.count; i++)
		query_add(query, "extrahosts", o->hosts.items[i]);
	query_add(query, "dockerfile", dockerfile);
	query_add(query, "target", o->target);
	query_add(query, "platform", o->platform);
	query_add(query, "networkmode", o->network);
	query_add(query, "isolation", o->isolation);
	query_add(query, "nocache", o->no_cache ? "1" : NULL);
	query_add(query, "pull", o->pull ? "1" : NULL);
	query_add(query, "q", o->quiet ? "1" : NULL);
	query_add(query, "rm", o->remove ? "1" : "0");
	query_add(query, "forcerm", o->force_remove ? "1" : NULL);
	if (o->memory_bytes)
		query_addf(query, "memory", "%llu", (unsigned long long)o->memory_bytes);
	return r;
}

/* The Dockerfile's name below DIRECTORY: FILE is one of the working directory's, or of its own. */
static int name_in_context(const char *directory, const char *file, char **ret, struct error *err)
{
	char top[PATH_MAX], whole[PATH_MAX];
	size_t len;

	if (!realpath(directory, top))
		return error_errno(err, errno, "'%s'", directory);
	if (!file) {
		*ret = strdup("Dockerfile");
		return *ret ? 0 : error_nomem(err);
	}
	if (!realpath(file, whole)) {
		autofree char *inside = strf("%s/%s", directory, file);

		if (!inside || !realpath(inside, whole))
			return error_errno(err, errno, "'%s'", file);
	}
	len = strcmp(top, "/") == 0 ? 0 : strlen(top);
	if (strncmp(whole, top, len) != 0 || whole[len] != '/')
		return error_set(err, ERROR_INVALID,
				 "'%s' is not in '%s': the Dockerfile is sent with the context",
				 file, directory);
	*ret = strdup(whole + len + 1);
	return *ret ? 0 : error_nomem(err);
}

static int send_build(struct ctl *ctl, const struct build_options *o, const char *query, int fd,
		      struct error *err)
{
	autoptr(response_free) struct response *response = NULL;
	struct request request = {
		.method = "POST",
		.path = "/build",
		.query = query,
		.content_type = "application/x-tar",
		.body_read = upload_read,
		.body_arg = &fd,
	};
	int r = client_open(&ctl->client, &request, &response, err);

	return r < 0 ? r : progress_show(response, stdout, false, NULL, err);
}

static int build_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct build_options *o = given;
	bool from_input = strcmp(args[0], "-") == 0;
	struct context context = { .fd = -1 };
	autostr struct str query = STR_INIT;
	autofree char *dockerfile = NULL;
	int r = 0;

	if (from_input)
		dockerfile = strdup(o->file ?: "Dockerfile");
	else
		r = name_in_context(args[0], o->file, &dockerfile, err);
	if (r == 0)
		r = make_query(o, dockerfile, &query, err);
	if (r == 0)
		r = from_input ? upload_open("-", &context.fd, err)
			       : context_begin(args[0], dockerfile, &context, err);
	if (r < 0)
		return r;
	r = send_build(ctl, o, str_text(&query), context.fd, err);
	if (from_input)
		close(context.fd);
	else if (r == 0)
		r = context_end(&context, err);
	else
		context_end(&context, NULL);
	return r;
}

const struct command command_build = {
	.name = "build",
	.group = "Images",
	.usage = "[OPTIONS] DIRECTORY|-",
	.summary = "Build an image from a Dockerfile",
	.details = "DIRECTORY is the context: what COPY and ADD find, but for what its "
		   ".dockerignore leaves out.\n"
		   "With \"-\" it is a tar archive on the standard input.",
	.options = options,
	.options_size = sizeof(struct build_options),
	.mixed = true,
	.min_args = 1,
	.max_args = 1,
	.run = build_main,
};
