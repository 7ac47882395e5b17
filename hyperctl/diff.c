#include "hyperctl/command.h"
#include "hyperctl/table.h"

static int diff_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	static const char letters[] = "CAD";
	autofree char *name = path_encode(args[0]);
	autofree char *path = name ? strf("/containers/%s/changes", name) : NULL;
	autojson json_t *changes = NULL;
	json_t *change;
	size_t i;
	int r;

	(void)given;
	if (!path)
		return error_nomem(err);
	r = client_call(&ctl->client, "GET", path, NULL, NULL, &changes, err);
	if (r < 0)
		return r;
	json_array_foreach(changes, i, change) {
		autostr struct str safe = STR_INIT;
		const char *where = NULL;
		int64_t kind = 0;

		r = json_get_string(change, "Path", &where, err);
		if (r == 0)
			r = json_get_int(change, "Kind", &kind, err);
		if (r < 0)
			return r;
		/* The names are the container's. */
		text_add_safe(&safe, where ? where : "");
		printf("%c %s\n", kind >= 0 && kind < 3 ? letters[kind] : '?', str_text(&safe));
	}
	return 0;
}

const struct command command_diff = {
	.name = "diff",
	.group = "Files",
	.usage = "CONTAINER",
	.summary = "List what a container has changed in its image's files",
	.details = "C: changed, A: added, D: deleted.",
	.min_args = 1,
	.max_args = 1,
	.run = diff_main,
};
