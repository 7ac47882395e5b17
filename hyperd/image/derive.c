#include "hyperd/image/image_private.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

/* What the configuration takes over as it is; the rest is about the container that ran. */
static int copy_members(json_t *root, const struct image *parent, struct error *err)
{
	static const char *const kept[] = { "os.version", "os.features", "variant" };
	const char *architecture = parent ? parent->file.architecture : NULL;

	for (size_t i = 0; parent && i < ARRAY_SIZE(kept); i++) {
		json_t *value = json_object_get(parent->file.root, kept[i]);

		if (value && json_object_set(root, kept[i], value) < 0)
			return error_nomem(err);
	}
	if (json_object_set_new(root, "architecture",
				json_string(architecture ? architecture : "amd64")) < 0 ||
	    json_object_set_new(root, "os", json_string("linux")) < 0)
		return error_nomem(err);
	return 0;
}

static int set_text(json_t *object, const char *key, const char *text, struct error *err)
{
	if (!text || !*text)
		return 0;
	return json_object_set_new(object, key, json_string(text)) < 0
		       ? error_set(err, ERROR_INVALID, "%s: not valid UTF-8", key)
		       : 0;
}

static int add_history(json_t *root, const struct image *parent,
		       const struct image_derivation *from, const char *created, struct error *err)
{
	json_t *old = parent ? json_object_get(parent->file.root, "history") : NULL;
	json_t *history = json_is_array(old) ? json_copy(old) : json_array();
	json_t *entry = json_pack("{s:s}", "created", created);
	int r;

	if (!entry || !history || json_object_set_new(root, "history", history) < 0) {
		json_decref(entry);
		return error_nomem(err);
	}
	r = set_text(entry, "created_by", from->created_by, err);
	if (r == 0)
		r = set_text(entry, "author", from->author, err);
	if (r == 0)
		r = set_text(entry, "comment", from->comment, err);
	if (r == 0 && !from->file)
		json_object_set_new(entry, "empty_layer", json_true());
	if (json_array_append_new(history, entry) < 0)
		return error_nomem(err);
	return r;
}

static int make_config(const struct image *image, const struct image *parent,
		       const struct image_derivation *from, json_t **ret, struct error *err)
{
	autofree char *created = time_format(realtime_ns());
	autojson json_t *root = json_object();
	json_t *diff_ids = json_array();
	int r;

	for (size_t i = 0; i < image->layer_count; i++)
		json_array_append_new(diff_ids, json_string(image->layers[i]->layer.diff_id));
	if (!created || !root ||
	    json_object_set_new(root, "rootfs",
				json_pack("{s:s,s:o}", "type", "layers", "diff_ids", diff_ids)) < 0)
		return error_nomem(err);
	r = copy_members(root, parent, err);
	if (r == 0)
		r = set_text(root, "created", created, err);
	if (r == 0)
		r = set_text(root, "author", from->author, err);
	if (r == 0)
		r = set_text(root, "comment", from->comment, err);
	if (r == 0)
		r = set_text(root, "container", from->container_id, err);
	if (r == 0 && (json_object_set(root, "config", from->config) < 0 ||
		       (from->container_config &&
			json_object_set(root, "container_config", from->container_config) < 0)))
		r = error_nomem(err);
	if (r == 0)
		r = add_history(root, parent, from, created, err);
	if (r == 0)
		*ret = steal(root);
	return r;
}

static int fill_in(struct image *image, const struct image *parent,
		   const struct image_derivation *from, struct error *err)
{
	autojson json_t *root = NULL;
	int r = make_config(image, parent, from, &root, err);

	if (r < 0)
		return r;
	image->config_text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
	if (!image->config_text)
		return error_nomem(err);
	image->config_len = strlen(image->config_text);
	r = digest_data(image->config_text, image->config_len, image->id, err);
	if (r == 0)
		r = config_file_parse(image->config_text, image->config_len, &image->file, err);
	return r;
}

static int take_layers(struct image_store *images, struct image *image, const struct image *parent,
		       const struct image_derivation *from, struct error *err)
{
	size_t count = parent ? parent->layer_count : 0;
	int r;

	if (count + (from->file ? 1 : 0) > IMAGE_MAX_LAYERS)
		return error_set(err, ERROR_LIMIT, "max depth exceeded: more than %d layers",
				 IMAGE_MAX_LAYERS);
	image->layers = calloc(count + 1, sizeof(*image->layers));
	if (!image->layers)
		return error_nomem(err);
	/* By reference: the parent keeps them alive. */
	for (; image->layer_count < count; image->layer_count++) {
		image->layers[image->layer_count] = parent->layers[image->layer_count];
		image->layers[image->layer_count]->refs++;
	}
	if (!from->file)
		return 0;
	r = layer_make(images->layers, NULL, from->work, from->file, NULL, &image->layers[count],
		       err);
	if (r == 0)
		image->layer_count++;
	return r;
}

int image_derive(struct image_store *images, const struct image_derivation *from,
		 struct image **ret, struct error *err)
{
	autoptr(image_unref) struct image *image = NULL, *parent = NULL;
	struct image *have;
	int r = image_new(&image, err);

	if (r < 0)
		return r;
	/* Held across the wait. */
	parent = from->parent ? image_ref(from->parent) : NULL;
	r = take_layers(images, image, parent, from, err);
	if (r == 0)
		r = fill_in(image, parent, from, err);
	have = r == 0 ? image_by_id(images, image->id) : NULL;
	if (have) {
		*ret = image_ref(have);
		return 0;
	}
	/* A parent that was removed meanwhile is none any more. */
	if (r == 0 && parent && image_by_id(images, parent->id))
		memcpy(image->parent, parent->id, sizeof(image->parent));
	if (r == 0)
		r = image_store_add(images, image, err);
	if (r == 0)
		*ret = steal(image);
	return r;
}
