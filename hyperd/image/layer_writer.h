#pragma once
/*
 * Makes a directory tree of a layer's tar entries: the part that faces hostile names. It runs
 * inside the confined child of unpack.c, and does not rely on being confined: every name is
 * resolved beneath the root, no link is followed out of it, and nothing that exists is written
 * through.
 *
 * Whiteouts become what overlayfs wants: ".wh.NAME" a character device 0:0, ".wh..wh..opq" an
 * opaque directory. Setting trusted.overlay.opaque needs CAP_SYS_ADMIN, which the child gives up,
 * so opaque directories are only listed here, and marked by the parent.
 *
 * Kept: owner, mode with set-id bits, times, hard links, device nodes and fifos (as Docker does: a
 * container cannot open them, its device rules say no, and on the host nobody but root gets to the
 * directory), user.* and security.capability. Refused: trusted.* and user.overlay.* (they would
 * steer overlayfs). Dropped: other xattrs (SELinux labels, ACLs and the like belong to the machine
 * they came from).
 */
#include <stdint.h>

#include "base/str.h"
#include "hyperd/image/tar.h"

struct layer_limits {
	uint64_t max_bytes; /* of the files, holes included */
	uint64_t max_entries;
};

struct layer_writer;

/* ROOT_FD: the empty directory, borrowed. */
int layer_writer_new(int root_fd, const struct layer_limits *limits, struct layer_writer **ret,
		     struct error *err);
void layer_writer_free(struct layer_writer *writer);
DEFINE_CLEANUP(layer_writer_free, struct layer_writer *);

int layer_writer_add(struct layer_writer *writer, const struct tar_entry *entry,
		     struct tar_reader *reader, struct error *err);
/* After the last entry: puts the last directory's times right. */
int layer_writer_finish(struct layer_writer *writer, struct error *err);

/* Paths of opaque directories, each with a NUL after it; the root is ".". Borrowed. */
const struct str *layer_writer_opaque(const struct layer_writer *writer);
uint64_t layer_writer_bytes(const struct layer_writer *writer);

/*
 * Cleans a name into path components joined by "/" ("" is the root). ERROR_INVALID for an empty,
 * absolute or climbing one, for components of more than 255 bytes and names of more than
 * LAYER_MAX_PATH_BYTES.
 */
int layer_path_clean(const char *name, char *path, size_t size, struct error *err);
