#pragma once
/*
 * The inside of the image store, for load, import, save and remove alone.
 *
 * On disk: a record of kind "image" for each (its id's hex digits), its configuration and OCI
 * manifest as they came in DATA-ROOT/image/meta/HEX, and one record "reference/table" with all
 * names: moving a tag from one image to another is one write, so no crash loses it. An image's
 * record is written last and deleted first.
 */
#include "base/list.h"
#include "hyperd/image/config.h"
#include "hyperd/image/image.h"
#include "hyperd/image/layer_store.h"
#include "hyperd/image/reference.h"

struct image_store {
	struct store *store;        /* borrowed */
	struct job_pool *jobs;      /* borrowed */
	struct layer_store *layers; /* owned */
	struct list images;         /* of struct image, each holding one reference */
	json_t *references;         /* owned: {"docker.io/library/busybox:latest": "sha256:…"} */
	int meta_fd;                /* owned */
	struct layer_limits limits;
	struct list downloads;         /* of pull_layer.c: layers on their way from registries */
	struct cond downloads_changed; /* one of them has ended */
};

struct image {
	unsigned refs;
	struct list node; /* of the store's; alone once the image was removed */
	char id[DIGEST_TEXT_BYTES];
	char parent[DIGEST_TEXT_BYTES]; /* "" when it was not made here */
	char *config_text;              /* owned: the bytes that the id is the digest of */
	size_t config_len;
	char *manifest; /* owned: the OCI manifest it came with, or NULL */
	size_t manifest_len;
	struct config_file file;
	char **tags, **digests;      /* owned strv */
	struct layer_entry **layers; /* owned references */
	size_t layer_count;
	uint64_t size_bytes;
};

/* An empty image to be filled in; freed by image_unref(). */
int image_new(struct image **ret, struct error *err);
/* Writes it down; the store takes a reference of its own. */
int image_store_add(struct image_store *images, struct image *image, struct error *err);
/* Out of the store, and its record with it. Its layers go with the last reference. */
void image_store_drop(struct image_store *images, struct image *image);
/* save.c: whether the manifest that the image came with is about the archives we kept. */
bool image_manifest_fits(const struct image *image);
/* Borrowed; NULL when there is none. */
struct image *image_by_id(struct image_store *images, const char *id);

/* Names. CHANGE: {"name": "sha256:…" or null to take it away}; all of it or nothing. */
int references_change(struct image_store *images, const json_t *change, struct error *err);
/* How a reference stands in the table; new string. */
char *reference_key(const struct reference *reference);
/* The image that NAME (no id) stands for, and its key; borrowed, NULL when there is none. */
struct image *image_by_reference(struct image_store *images, const struct reference *reference);
/* All keys that lead to ID; new strv (NULL when there are none). */
char **references_of(const struct image_store *images, const char *id);
