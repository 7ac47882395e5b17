#include "hyperd/image/image_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#define IMAGE_KIND        "image"
#define IMAGE_VERSION     1
#define REFERENCE_KIND    "reference"
#define REFERENCE_TABLE   "table"
#define REFERENCE_VERSION 1
#define META_DIR          "image/meta"
#define PREFIX_MIN_DIGITS 1

int image_new(struct image **ret, struct error *err)
{
	struct image *image = calloc(1, sizeof(*image));

	if (!image)
		return error_nomem(err);
	image->refs = 1;
	list_init(&image->node);
	*ret = image;
	return 0;
}

struct image *image_ref(struct image *image)
{
	image->refs++;
	return image;
}

void image_unref(struct image *image)
{
	if (!image || --image->refs)
		return;
	for (size_t i = 0; i < image->layer_count; i++)
		layer_unref(image->layers[i]);
	free(image->layers);
	config_file_done(&image->file);
	free(image->config_text);
	free(image->manifest);
	strv_free(image->tags);
	strv_free(image->digests);
	free(image);
}

const char *image_id(const struct image *image)
{
	return image->id;
}

char *const *image_tags(const struct image *image)
{
	return image->tags;
}

char *const *image_digests(const struct image *image)
{
	return image->digests;
}

const struct image_config *image_config(const struct image *image)
{
	return &image->file.config;
}

const json_t *image_config_json(const struct image *image)
{
	return image->file.root;
}

size_t image_layer_count(const struct image *image)
{
	return image->layer_count;
}

const struct layer *image_layer(const struct image *image, size_t i)
{
	return &image->layers[i]->layer;
}

uint64_t image_size_bytes(const struct image *image)
{
	return image->size_bytes;
}

uint64_t image_created_ns(const struct image *image)
{
	return image->file.created_ns;
}

struct image *image_parent(struct image_store *images, const struct image *image)
{
	return *image->parent ? image_by_id(images, image->parent) : NULL;
}

bool image_has_children(struct image_store *images, const struct image *image)
{
	struct image *other;

	list_for_each_entry(other, &images->images, node)
		if (strcmp(other->parent, image->id) == 0)
			return true;
	return false;
}

struct layer_store *image_store_layers(struct image_store *images)
{
	return images->layers;
}

/* names of an image, as people see them */

char *reference_key(const struct reference *r)
{
	return strf("%s/%s%s%s", r->domain, r->path, r->digest ? "@" : ":",
		    r->digest ? r->digest : r->tag);
}

char **references_of(const struct image_store *images, const char *id)
{
	char **keys = NULL;
	const char *key;
	json_t *value;

	json_object_foreach(images->references, key, value)
		if (str_equal(json_string_value(value), id))
			strv_add(&keys, key);
	return keys;
}

static void refresh_names(struct image_store *images, struct image *image)
{
	autostrv char **keys = references_of(images, image->id);

	strv_free(image->tags);
	strv_free(image->digests);
	image->tags = image->digests = NULL;
	strv_for_each(key, keys) {
		autoreference struct reference reference = { 0 };

		if (reference_parse(*key, &reference, NULL) == 0)
			strv_take(reference.digest ? &image->digests : &image->tags,
				  reference_familiar(&reference));
	}
}

int references_change(struct image_store *images, const json_t *change, struct error *err)
{
	autojson json_t *table = json_copy(images->references), *record = NULL;
	const char *key;
	json_t *value;
	struct image *image;
	int r;

	if (!table)
		return error_nomem(err);
	json_object_foreach((json_t *)change, key, value) {
		if (json_is_null(value))
			json_object_del(table, key);
		else if (json_object_set(table, key, value) < 0)
			return error_nomem(err);
	}
	record = json_pack("{s:O}", "references", table);
	if (!record)
		return error_nomem(err);
	r = record_save(images->store, REFERENCE_KIND, REFERENCE_TABLE, REFERENCE_VERSION, record,
			true, err);
	if (r < 0)
		return r;
	json_decref(images->references);
	images->references = json_incref(table);
	list_for_each_entry(image, &images->images, node)
		refresh_names(images, image);
	return 0;
}

struct image *image_by_id(struct image_store *images, const char *id)
{
	struct image *image;

	list_for_each_entry(image, &images->images, node)
		if (strcmp(image->id, id) == 0)
			return image;
	return NULL;
}

struct image *image_by_reference(struct image_store *images, const struct reference *reference)
{
	autofree char *key = reference_key(reference);
	const char *id = key ? json_string_value(json_object_get(images->references, key)) : NULL;

	return id ? image_by_id(images, id) : NULL;
}

static bool all_hex(const char *s)
{
	return *s && strspn(s, "0123456789abcdef") == strlen(s);
}

/* "sha256:…" or hex digits alone, whole or cut off. */
static int by_prefix(struct image_store *images, const char *name, struct image **ret,
		     struct error *err)
{
	const char *hex = str_starts(name, "sha256:") ? digest_hex(name) : name;
	struct image *image;

	*ret = NULL;
	if (strlen(hex) < PREFIX_MIN_DIGITS || strlen(hex) > DIGEST_HEX_BYTES || !all_hex(hex))
		return 0;
	list_for_each_entry(image, &images->images, node) {
		if (!str_starts(digest_hex(image->id), hex))
			continue;
		if (*ret)
			return error_set(err, ERROR_INVALID, "'%s' names more than one image",
					 name);
		*ret = image;
	}
	return 0;
}

int image_get(struct image_store *images, const char *name, struct image **ret, struct error *err)
{
	autoreference struct reference reference = { 0 };
	struct error why = { 0 };
	struct image *image = NULL;
	bool parsed;
	int r;

	parsed = reference_parse(name, &reference, &why) == 0;
	if (parsed) {
		r = reference_add_default_tag(&reference, err);
		if (r < 0)
			return r;
		image = image_by_reference(images, &reference);
	}
	if (!image) {
		r = by_prefix(images, name, &image, err);
		if (r < 0)
			return r;
	}
	if (!image && !parsed && !all_hex(name) && !str_starts(name, "sha256:")) {
		error_copy(err, &why);
		return error_kind_errno(why.kind);
	}
	if (!image)
		return error_set(err, ERROR_NOT_FOUND, "no such image: %.300s", name);
	*ret = image_ref(image);
	return 0;
}

void image_each(struct image_store *images, void (*fn)(struct image *image, void *arg), void *arg)
{
	struct image *image, *next;

	list_for_each_entry_safe(image, next, &images->images, node)
		fn(image, arg);
}

static void set_size(struct image *image)
{
	image->size_bytes = 0;
	for (size_t i = 0; i < image->layer_count; i++)
		image->size_bytes += image->layers[i]->layer.size_bytes;
}

static int write_meta(struct image_store *images, const char *digest, const char *text, size_t len,
		      struct error *err)
{
	return file_write_atomic(images->meta_fd, digest_hex(digest), text, len, 0600, true, err);
}

int image_store_add(struct image_store *images, struct image *image, struct error *err)
{
	autojson json_t *record = json_object();
	char manifest_digest[DIGEST_TEXT_BYTES];
	int r = write_meta(images, image->id, image->config_text, image->config_len, err);

	if (r == 0 && image->manifest) {
		r = digest_data(image->manifest, image->manifest_len, manifest_digest, err);
		if (r == 0)
			r = write_meta(images, manifest_digest, image->manifest,
				       image->manifest_len, err);
		if (r == 0 &&
		    json_object_set_new(record, "manifest", json_string(manifest_digest)) < 0)
			r = error_nomem(err);
	}
	if (r == 0 && *image->parent &&
	    json_object_set_new(record, "parent", json_string(image->parent)) < 0)
		r = error_nomem(err);
	if (r == 0)
		r = record_save(images->store, IMAGE_KIND, digest_hex(image->id), IMAGE_VERSION,
				record, true, err);
	if (r < 0)
		return error_prefix(err, r, "storing image %s", image->id);
	set_size(image);
	list_append(&images->images, &image_ref(image)->node);
	refresh_names(images, image);
	return 0;
}

void image_store_drop(struct image_store *images, struct image *image)
{
	char digest[DIGEST_TEXT_BYTES];

	record_delete(images->store, IMAGE_KIND, digest_hex(image->id), NULL);
	unlinkat(images->meta_fd, digest_hex(image->id), 0);
	if (image->manifest && digest_data(image->manifest, image->manifest_len, digest, NULL) == 0)
		unlinkat(images->meta_fd, digest_hex(digest), 0);
	list_remove(&image->node);
	image_unref(image);
}

/* from disk */

static int load_layers(struct image_store *images, struct image *image, struct error *err)
{
	image->layers = calloc(strv_len(image->file.diff_ids) + 1, sizeof(*image->layers));
	if (!image->layers)
		return error_nomem(err);
	strv_for_each(id, image->file.diff_ids) {
		struct layer_entry *layer = layer_find(images->layers, *id);

		if (!layer)
			return error_set(err, ERROR_NOT_FOUND, "its layer %s is missing", *id);
		image->layers[image->layer_count++] = layer;
	}
	return 0;
}

static int load_image(struct image_store *images, const char *hex, const json_t *record,
		      struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	const char *manifest, *parent;
	int r = image_new(&image, err);

	if (r < 0)
		return r;
	snprintf(image->id, sizeof(image->id), "sha256:%.*s", DIGEST_HEX_BYTES, hex);
	r = digest_check("image", image->id, err);
	if (r == 0)
		r = json_get_string(record, "manifest", &manifest, err);
	if (r == 0 && manifest)
		r = digest_check("manifest", manifest, err);
	if (r == 0)
		r = json_get_string(record, "parent", &parent, err);
	if (r == 0 && parent)
		r = digest_check("parent", parent, err);
	if (r == 0 && parent)
		snprintf(image->parent, sizeof(image->parent), "%s", parent);
	if (r == 0 && manifest)
		r = file_read(images->meta_fd, digest_hex(manifest), IMAGE_MAX_MANIFEST_BYTES,
			      &image->manifest, &image->manifest_len, err);
	if (r == 0)
		r = file_read(images->meta_fd, hex, IMAGE_MAX_CONFIG_BYTES, &image->config_text,
			      &image->config_len, err);
	if (r == 0)
		r = config_file_parse(image->config_text, image->config_len, &image->file, err);
	if (r == 0)
		r = load_layers(images, image, err);
	if (r < 0)
		return r;
	set_size(image);
	list_append(&images->images, &image->node);
	refresh_names(images, image);
	image = NULL;
	return 0;
}

static void load_record(const char *hex, json_t *record, void *arg)
{
	struct image_store *images = arg;
	struct error err = { 0 };

	if (load_image(images, hex, record, &err) < 0) {
		trace(image, "image %s dropped: %s", hex, err.message);
		record_delete(images->store, IMAGE_KIND, hex, NULL);
	}
}

static int load_references(struct image_store *images, struct error *err)
{
	autojson json_t *record = NULL;
	struct error why = { 0 };
	json_t *table = NULL;
	int r;

	r = record_load(images->store, REFERENCE_KIND, REFERENCE_TABLE, REFERENCE_VERSION, &record,
			&why);
	if (r < 0 && why.kind != ERROR_NOT_FOUND) {
		error_copy(err, &why);
		return r;
	}
	if (record) {
		r = json_get_object(record, "references", &table, err);
		if (r < 0)
			return r;
	}
	images->references = table ? json_incref(table) : json_object();
	return images->references ? 0 : error_nomem(err);
}

int image_store_open(struct store *store, struct job_pool *jobs, struct image_store **ret,
		     struct error *err)
{
	struct image_store *images = calloc(1, sizeof(*images));
	int r;

	if (!images)
		return error_nomem(err);
	images->store = store;
	images->jobs = jobs;
	images->limits = (struct layer_limits){ LAYER_MAX_BYTES_DEFAULT, LAYER_MAX_ENTRIES };
	list_init(&images->images);
	list_init(&images->downloads);
	cond_init(&images->downloads_changed);
	r = images->meta_fd = file_open_dir(store_dir_fd(store), META_DIR, 0700, err);
	if (r >= 0)
		r = layer_store_open(store, jobs, &images->layers, err);
	if (r >= 0)
		r = load_references(images, err);
	if (r >= 0)
		r = record_each(store, IMAGE_KIND, IMAGE_VERSION, load_record, NULL, images, err);
	if (r < 0) {
		image_store_free(images);
		return error_prefix(err, r, "image store");
	}
	*ret = images;
	return 0;
}

/* The layers' counters go unheard here: nothing leaves the disk. */
void image_store_free(struct image_store *images)
{
	struct image *image, *next;

	if (!images)
		return;
	list_for_each_entry_safe(image, next, &images->images, node) {
		list_remove(&image->node);
		image->layer_count = 0;
		image_unref(image);
	}
	layer_store_free(images->layers);
	json_decref(images->references);
	if (images->meta_fd >= 0)
		close(images->meta_fd);
	free(images);
}

void image_store_set_limits(struct image_store *images, uint64_t max_layer_bytes,
			    uint64_t max_layer_entries)
{
	images->limits = (struct layer_limits){ max_layer_bytes, max_layer_entries };
	layer_store_set_limits(images->layers, &images->limits);
}

int image_tag(struct image_store *images, const char *name, const char *new_reference,
	      struct error *err)
{
	autoreference struct reference reference = { 0 };
	autoptr(image_unref) struct image *image = NULL;
	autojson json_t *change = NULL;
	autofree char *key = NULL;
	int r = image_get(images, name, &image, err);

	if (r == 0)
		r = reference_parse(new_reference, &reference, err);
	if (r == 0 && reference.digest)
		r = error_set(err, ERROR_INVALID, "'%.300s': a tag cannot have a digest",
			      new_reference);
	if (r == 0)
		r = reference_add_default_tag(&reference, err);
	if (r < 0)
		return r;
	key = reference_key(&reference);
	change = key ? json_pack("{s:s}", key, image->id) : NULL;
	return change ? references_change(images, change, err) : error_nomem(err);
}

static bool meta_in_use(struct image_store *images, const char *hex)
{
	struct image *image;
	char digest[DIGEST_TEXT_BYTES];

	list_for_each_entry(image, &images->images, node) {
		if (strcmp(digest_hex(image->id), hex) == 0)
			return true;
		if (image->manifest &&
		    digest_data(image->manifest, image->manifest_len, digest, NULL) == 0 &&
		    strcmp(digest_hex(digest), hex) == 0)
			return true;
	}
	return false;
}

static int collect_meta(struct image_store *images, struct error *err)
{
	autoclosedir DIR *dir = NULL;
	struct dirent *e;
	int fd = openat(images->meta_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return error_errno(err, errno, "reading the images' configurations");
	/* No waits in here, so none of these is half made: image_store_add() does not wait either.
	 */
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.' && !meta_in_use(images, e->d_name))
			unlinkat(images->meta_fd, e->d_name, 0);
	return 0;
}

/* Names of images that are gone: from a crash between dropping the one and the other. */
static int collect_references(struct image_store *images, struct error *err)
{
	autojson json_t *change = json_object();
	const char *key;
	json_t *value;

	json_object_foreach(images->references, key, value)
		if (!image_by_id(images, json_string_value(value) ?: ""))
			json_object_set_new(change, key, json_null());
	return json_object_size(change) ? references_change(images, change, err) : 0;
}

int image_store_collect(struct image_store *images, struct error *err)
{
	int r = collect_references(images, err);

	if (r == 0)
		r = collect_meta(images, err);
	return r == 0 ? layer_store_collect(images->layers, err) : r;
}
