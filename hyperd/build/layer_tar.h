#pragma once
/*
 * A layer being written: a tar of what is put on top of an image's files. It remembers what it
 * holds already, so that names are resolved as they will be in the finished image: links of the
 * image and of the layer itself are followed, always with the image's root as "/". Directories that
 * lead to an entry are put in before it, as overlayfs would copy them up.
 *
 * All calls block: they are for jobs. Errors are told once the first happened, and stay.
 */
#include <jansson.h>
#include <stdint.h>

#include "hyperd/build/tree.h"
#include "hyperd/image/tar.h"

struct layer_tar {
	struct tree *base; /* borrowed: what is below */
	int fd;            /* borrowed */
	uint64_t bytes, max_bytes;
	uint64_t entries;
	json_t *made; /* owned: path → what this layer has there: "d", "f", "l<target>" */
};

struct layer_owner {
	uint32_t uid, gid;
};

int layer_tar_init(struct layer_tar *tar, struct tree *base, int fd, uint64_t max_bytes,
		   struct error *err);
void layer_tar_done(struct layer_tar *tar);

enum layer_path_kind { LAYER_PATH_NONE, LAYER_PATH_DIRECTORY, LAYER_PATH_OTHER };
/*
 * PATH without links, "" for the root, with its end followed too; what does not exist stays as it
 * is written.
 */
int layer_tar_resolve(struct layer_tar *tar, const char *path, char ret[PATH_MAX],
		      enum layer_path_kind *ret_kind, struct error *err);

/* The directory PATH (resolved) and those above it, where they are missing: 0755 and OWNER's. */
int layer_tar_make_dirs(struct layer_tar *tar, const char *path, const struct layer_owner *owner,
			struct error *err);
/*
 * One entry; ENTRY's path is a resolved one. The directories above it are put in as they are.
 * CONTENT: -1 but for files, whose size counts.
 */
int layer_tar_put(struct layer_tar *tar, const struct tar_entry *entry, int content,
		  struct error *err);
/* Ends the archive. */
int layer_tar_finish(struct layer_tar *tar, struct error *err);
