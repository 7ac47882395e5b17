#pragma once
/*
 * What an archive says it holds: Docker's manifest.json, or an OCI layout's index.json with the
 * indexes and manifests it leads to. Reading it gives a list of images to load; nothing is unpacked
 * here. Of an index for several platforms, linux/amd64 is taken. Sources: OCI image
 * specification 1.0 (image-layout.md, image-index.md, manifest.md), Docker image specification 1.2.
 * Any thread.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "hyperd/image/platform.h"

/* Where the files come from. READ returns ERROR_NOT_FOUND for a missing one; *ret is the caller's.
 */
struct manifest_source {
	int (*read)(void *arg, const char *name, size_t max, char **ret, size_t *ret_len,
		    struct error *err);
	void *arg;
};

struct manifest_layer {
	char *name;         /* owned: the member that holds it */
	char *digest;       /* owned: what the member must hash to, or NULL when nothing says so */
	int64_t size_bytes; /* -1 when nothing says so */
};

struct manifest_image {
	char *config_name;    /* owned: the member that holds the configuration */
	char *config_digest;  /* owned, or NULL */
	int64_t config_bytes; /* of the configuration, as the manifest says; -1 when nothing does */
	char *manifest;       /* owned: the OCI manifest's bytes, or NULL */
	size_t manifest_len;
	char *manifest_digest;         /* owned, or NULL */
	struct manifest_layer *layers; /* owned */
	size_t layer_count;
	char **references; /* owned strv, as written; may be empty */
};

struct manifest_list {
	struct manifest_image *images; /* owned */
	size_t count;
};

#define automanifest __attribute__((cleanup(manifest_list_done)))

/* Digests of indexes, manifests and configurations are verified; of layers, when they are unpacked.
 */
int manifest_list_read(const struct manifest_source *source, struct manifest_list *ret,
		       struct error *err);
void manifest_list_done(struct manifest_list *list);

/*
 * A manifest as registries hand it out, one by one, with the media type that its header says (may
 * be NULL). What claims to be an index and an image at a time is refused.
 */
enum manifest_kind { MANIFEST_IMAGE, MANIFEST_INDEX };
int manifest_kind_find(const char *text, size_t len, const char *media_type,
		       enum manifest_kind *ret, struct error *err);
/* An image's: configuration and layers; TEXT is copied. Freed by manifest_image_done(). */
int manifest_image_parse(const char *text, size_t len, struct manifest_image *ret,
			 struct error *err);
void manifest_image_done(struct manifest_image *image);
/*
 * The entry of an index that is for PLATFORM. *ret_digest is the caller's. ERROR_NOT_FOUND when
 * there is none.
 */
int manifest_index_choose(const char *text, size_t len, const struct platform *platform,
			  char **ret_digest, int64_t *ret_bytes, struct error *err);

/* "blobs/sha256/…" of a valid digest; new string, NULL when memory ran out. */
char *manifest_blob_name(const char *digest);
