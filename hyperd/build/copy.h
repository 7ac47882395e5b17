#pragma once
/*
 * COPY and ADD: which files of a tree are meant, what they hash to (so that a later build can tell
 * whether they are still the same), and their way into a layer, by Docker's rules about slashes,
 * directories that exist, owners and times. All calls block: they are for jobs.
 */
#include "hyperd/build/layer_tar.h"
#include "hyperd/image/digest.h"

struct copy_source {
	struct tree *tree;      /* borrowed */
	char *name;             /* owned: as it was asked for; its last component names a copy */
	struct tree_node *node; /* owned: where it really is */
	char hash[DIGEST_HEX_BYTES + 1];
	struct tree *archive; /* owned: what the file holds, to be copied in its place; or NULL */
};

struct copy_plan {
	struct copy_source *sources; /* owned */
	size_t count;
	char *hash; /* owned: "file:…", "dir:…" or "multi:…" of them all */
};

/* PATTERNS: strv of names and shell patterns, below the tree's root. The tree must outlive it. */
int copy_plan_make(struct tree *tree, char *const *patterns, struct copy_plan *ret,
		   struct error *err);
void copy_plan_done(struct copy_plan *plan);
/* What ADD unpacks: a tar as our own readers take it; or what may be one once a program that knows
 * the packing has been over it. */
enum copy_archive { COPY_NO_ARCHIVE, COPY_TAR, COPY_XZ, COPY_BZIP2 };
enum copy_archive copy_source_archive(const struct copy_source *source);
/* Whether a tar, packed or not, begins at FD's position. */
bool copy_is_tar(int fd);

struct copy_options {
	const char *destination; /* absolute; a slash at its end means a directory */
	const char *chown;       /* "user[:group]", or NULL */
	bool keep_owners;        /* else root's, or who CHOWN says */
};
int copy_write(const struct copy_plan *plan, const struct copy_options *options,
	       struct layer_tar *tar, struct error *err);

/* "user[:group]" by the image's own /etc/passwd and /etc/group; numbers need none. */
int copy_find_owner(struct tree *image, const char *text, struct layer_owner *ret,
		    struct error *err);
