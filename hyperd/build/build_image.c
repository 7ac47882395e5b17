/* A build's images: found, taken from earlier builds, made. */
#include "hyperd/build/build_private.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json.h"
#include "hyperd/pod/names.h"

/* ------------------------------------------------------------------ found */

static struct build_stage *find_stage(struct build *b, const char *name, bool by_index,
				      struct error *err)
{
	unsigned long long index;

	for (size_t i = b->stage; i-- > 0;)
		if (b->stages[i].name && strcasecmp(b->stages[i].name, name) == 0)
			return &b->stages[i];
	if (!by_index || parse_u64(name, 0, DOCKERFILE_MAX_INSTRUCTIONS, &index) < 0)
		return NULL;
	if (index == b->stage)
		error_set(err, ERROR_INVALID, "%s refers to current build stage", name);
	else if (index > b->stage)
		error_set(err, ERROR_INVALID, "index out of bounds");
	return index < b->stage ? &b->stages[index] : NULL;
}

int build_find_image(struct build *b, const char *name, bool by_index, struct image **ret,
		     struct error *err)
{
	struct error why = { 0 };
	struct build_stage *stage = find_stage(b, name, by_index, &why);
	int r;

	if (why.kind) {
		error_copy(err, &why);
		return error_kind_errno(why.kind);
	}
	*ret = NULL;
	if (stage) {
		*ret = stage->image ? image_ref(stage->image) : NULL;
		return 0;
	}
	if (!b->options->pull) {
		r = image_get(b->images, name, ret, &why);
		if (r == 0)
			return 0;
		if (why.kind != ERROR_NOT_FOUND) {
			error_copy(err, &why);
			return r;
		}
	}
	r = b->events->pull(b->arg, name, b->options->platform, err);
	return r < 0 ? r : image_get(b->images, name, ret, err);
}

/* ------------------------------------------------------------------ taken from earlier builds */

struct probe {
	struct build *b;
	const json_t *container_config;
	struct image *found; /* borrowed */
};

static void look_at(struct image *image, void *arg)
{
	struct probe *probe = arg;
	struct build *b = probe->b;
	json_t *made_by = json_object_get(image_config_json(image), "container_config");

	if (!made_by || image_parent(b->images, image) != b->image)
		return;
	if (!run_config_same(made_by, probe->container_config))
		return;
	/* The newest of several. */
	if (!probe->found || image_created_ns(probe->found) < image_created_ns(image))
		probe->found = image;
}

bool build_probe_cache(struct build *b, const json_t *container_config)
{
	struct probe probe = { b, container_config, NULL };

	if (!b->options->no_cache && !b->cache_missed)
		image_each(b->images, look_at, &probe);
	if (!probe.found) {
		b->cache_missed = true;
		return false;
	}
	image_ref(probe.found);
	image_unref(b->image);
	b->image = probe.found;
	build_say(b, " ---> Using cache\n");
	return true;
}

/* ------------------------------------------------------------------ made */

int build_commit(struct build *b, const struct build_result *result, struct error *err)
{
	struct image_derivation from = {
		.parent = b->image,
		.config = b->config,
		.container_config = result->container_config,
		.container_id = result->container_id,
		.author = b->author,
		.created_by = result->created_by,
		.work = b->work,
		.file = result->file,
	};
	struct image *made;
	int r = image_derive(b->images, &from, &made, err);

	if (result->file)
		unlinkat(b->work->fd, result->file, 0);
	if (r < 0)
		return r;
	image_unref(b->image);
	b->image = made;
	return 0;
}

int build_commit_config(struct build *b, const char *comment, struct error *err)
{
	autofree char *created_by = NULL;
	autojson json_t *container_config =
		run_config_with_comment(b->config, comment, false, &created_by);
	struct build_result result = { .container_config = container_config,
				       .created_by = created_by };
	char id[ID_BYTES + 1];
	int r;

	if (!container_config)
		return error_nomem(err);
	if (build_probe_cache(b, container_config))
		return 0;
	/* Docker makes a container for this; only its name is of any use. */
	r = id_make(id, err);
	if (r < 0)
		return r;
	if (strv_add(&b->imaginary, id) < 0)
		return error_nomem(err);
	build_say(b, " ---> Running in %.12s\n", id);
	result.container_id = id;
	return build_commit(b, &result, err);
}
