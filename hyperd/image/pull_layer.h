#pragma once
/*
 * The layers of an image, from a registry into the layer store: side by side, each resumed where
 * its connection broke, its digest computed as it comes. For pull.c alone. Task.
 */
#include "hyperd/image/image_private.h"
#include "hyperd/image/manifest.h"
#include "hyperd/image/registry_session.h"

struct layer_source {
	struct image_store *images;
	struct registry_session *session;
	const char *path; /* of the repository */
	const struct manifest_image *manifest;
	char *const *diff_ids;                 /* strv, as many as the manifest has layers */
	const struct image_progress *progress; /* may be NULL */
};

/*
 * RET has room for all layers; *ret_count references are in it afterwards, also on failure: the
 * caller's.
 */
int layers_pull(const struct layer_source *source, struct layer_entry **ret, size_t *ret_count,
		struct error *err);
