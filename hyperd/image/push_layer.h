#pragma once
/*
 * The layers of an image, from the layer store to a registry: side by side, each only when the
 * registry does not have it. For push.c alone.
 */
#include "hyperd/image/image_private.h"
#include "hyperd/image/registry_session.h"

/* What a manifest says of a blob. */
struct blob_descriptor {
	const char *media_type; /* a literal */
	char digest[DIGEST_TEXT_BYTES];
	uint64_t size_bytes;
};

struct layer_target {
	struct image_store *images;
	struct registry_session *session;
	const char *path;    /* of the repository */
	char *const *mounts; /* strv: repositories of the same registry that may have it */
	const struct image_progress *progress; /* may be NULL */
};

/*
 * Task. Sends all layers of IMAGE; AS_THEY_ARE: none is compressed. RET has room for all of them:
 * how they are stored at the registry now.
 */
int layers_push(const struct layer_target *target, struct image *image, bool as_they_are,
		struct blob_descriptor *ret, struct error *err);
/* Task. Sends DATA as a blob. */
int blob_push(const struct layer_target *target, const char *digest, const void *data, size_t len,
	      struct error *err);
