#pragma once
/*
 * The files of an image, or of a build context, as a container would see them: layers' directories
 * on the host, the upper hiding the lower by overlayfs's rules (a character device 0:0 is a
 * whiteout, trusted.overlay.opaque hides what is below). Only read, never mounted; symbolic links
 * are resolved here, with the tree's own root as "/", so that none leads out of it.
 *
 * All calls block: they are for jobs. A tree belongs to one thread at a time.
 */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "hyperd/image/image.h"

struct tree;

/* What a path leads to. */
struct tree_node {
	struct stat st;
	char path[PATH_MAX]; /* without links, without a leading slash; "" is the root */
	/* The layers that it can be seen in, the topmost first; others than directories have one.
	 */
	uint8_t layers[IMAGE_MAX_LAYERS];
	unsigned layer_count;
};

/* IMAGE is borrowed for the tree's life; NULL: an empty tree. */
int tree_of_image(const struct image *image, struct tree **ret, struct error *err);
/* DIRECTORY_FD is duplicated. */
int tree_of_directory(int directory_fd, struct tree **ret, struct error *err);
void tree_free(struct tree *tree);
DEFINE_CLEANUP(tree_free, struct tree *);

/* 0, or -ENOENT, -ENOTDIR, -ELOOP, … Links on the way are followed, the last one when FOLLOW. */
int tree_lookup(struct tree *tree, const char *path, bool follow, struct tree_node *ret);
/* The entry NAME of the directory DIR, no link followed. */
int tree_child(struct tree *tree, const struct tree_node *dir, const char *name,
	       struct tree_node *ret);
/* The names in it, sorted as bytes; *ret is a strv of the caller's. */
int tree_list(struct tree *tree, const struct tree_node *dir, char ***ret);
/* A regular file for reading, or -errno. */
int tree_open(struct tree *tree, const struct tree_node *node);
int tree_read_link(struct tree *tree, const struct tree_node *node, char target[PATH_MAX]);
/* A small regular file's content ("/etc/passwd"), NUL-terminated; -ENOENT when there is none. */
int tree_read_file(struct tree *tree, const char *path, size_t max, char **ret);
/* The value of the extended attribute NAME of a file; its length, or -errno. */
ssize_t tree_xattr(struct tree *tree, const struct tree_node *node, const char *name, void *value,
		   size_t size);
