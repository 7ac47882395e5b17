#include "hyperd/image/image_private.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/archive.h"
#include "hyperd/image/changes.h"

/* The configuration of a one-layer image, as Docker's import writes it. */
static json_t *make_config(json_t *config, const char *diff_id, const char *message)
{
	autofree char *created = time_format(realtime_ns());

	if (!created)
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:s, s:O, s:{s:s, s:[s]}, s:[{s:s, s:s}]}",
			 "architecture", "amd64", "os", "linux", "created", created, "comment",
			 message ? message : "", "config", config, "rootfs", "type", "layers",
			 "diff_ids", diff_id, "history", "created", created, "comment",
			 message && *message ? message : "Imported");
}

static int fill_in(struct image *image, json_t *config, const char *message, struct error *err)
{
	autojson json_t *root = make_config(config, image->layers[0]->layer.diff_id, message);
	int r;

	if (!root)
		return error_set(err, ERROR_INVALID, "the message is not valid UTF-8");
	image->config_text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
	if (!image->config_text)
		return error_nomem(err);
	image->config_len = strlen(image->config_text);
	r = digest_data(image->config_text, image->config_len, image->id, err);
	if (r == 0)
		r = config_file_parse(image->config_text, image->config_len, &image->file, err);
	return r;
}

static int import_layer(struct image_store *images, int fd, const struct image_progress *progress,
			struct image *image, struct error *err)
{
	struct workdir *work = NULL;
	bool old;
	int r = workdir_new(images->layers, &work, err);

	image->layers = calloc(1, sizeof(*image->layers));
	if (r == 0 && !image->layers)
		r = error_nomem(err);
	if (r == 0 && progress && progress->update)
		progress->update(progress->arg, "", "Importing", 0, 0);
	if (r == 0)
		r = archive_spool(images->jobs, fd, work, "in", images->limits.max_bytes, err);
	if (r == 0)
		r = layer_make(images->layers, NULL, work, "in", NULL, &image->layers[0], err);
	if (r == 0)
		image->layer_count = 1;
	old = task_shield(true);
	workdir_free(work);
	task_shield(old);
	return r;
}

static int parse_target(const char *text, char **ret_key, struct error *err)
{
	autoreference struct reference reference = { 0 };
	int r;

	if (!text || !*text)
		return 0;
	r = reference_parse(text, &reference, err);
	if (r == 0 && reference.digest)
		r = error_set(err, ERROR_INVALID, "'%.300s': an import cannot have a digest", text);
	if (r == 0)
		r = reference_add_default_tag(&reference, err);
	if (r < 0)
		return r;
	*ret_key = reference_key(&reference);
	return *ret_key ? 0 : error_nomem(err);
}

/* The image is new in every case: its time of creation is part of its id. */
static int write_down(struct image_store *images, struct image *image, const char *key,
		      struct error *err)
{
	autojson json_t *change = key ? json_pack("{s:s}", key, image->id) : NULL;
	bool is_new = !image_by_id(images, image->id);
	int r = is_new ? image_store_add(images, image, err) : 0;

	if (r == 0 && change) {
		r = references_change(images, change, err);
		if (r < 0 && is_new)
			image_store_drop(images, image);
	}
	return r;
}

int image_import(struct image_store *images, int fd, const char *reference, char *const *changes,
		 const char *message, const struct image_progress *progress, struct image **ret,
		 struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	autojson json_t *config = json_object();
	autofree char *key = NULL;
	bool old;
	int r;

	if (!config)
		return error_nomem(err);
	/* All that can be wrong with the words is found before a byte is read. */
	r = parse_target(reference, &key, err);
	if (r == 0)
		r = image_changes_apply(config, changes, err);
	if (r == 0)
		r = image_new(&image, err);
	if (r == 0)
		r = import_layer(images, fd, progress, image, err);
	if (r == 0)
		r = fill_in(image, config, message, err);
	if (r == 0)
		r = write_down(images, image, key, err);
	if (r < 0) {
		image_unref(steal(image));
		old = task_shield(true);
		layer_store_collect(images->layers, NULL);
		task_shield(old);
		return error_prefix(err, r, "importing");
	}
	*ret = image_by_id(images, image->id) == image ? steal(image)
						       : image_ref(image_by_id(images, image->id));
	return 0;
}
