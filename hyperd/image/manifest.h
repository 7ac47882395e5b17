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
	char *config_name;   /* owned: the member that holds the configuration */
	char *config_digest; /* owned, or NULL */
	char *manifest;      /* owned: the OCI manifest's bytes, or NULL */
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

/* "blobs/sha256/…" of a valid digest; new string, NULL when memory ran out. */
char *manifest_blob_name(const char *digest);
