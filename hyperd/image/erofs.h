#pragma once
/*
 * The read-only EROFS file of a layer, made of its unpacked directory by mkfs.erofs (Debian's
 * erofs-utils). Uncompressed, in blocks of 4 KiB, so that a guest can mount it straight from a file
 * and page it in without work; the same tree gives the same bytes. Times, owners and extended
 * attributes (overlayfs's opaque mark among them) are kept.
 */
#include <stdint.h>

#include "base/error.h"

/* Task. In the directory PARENT makes the file NAME of the tree DIRECTORY; DIFF_ID gives the volume
 * its UUID. */
int erofs_build(const char *parent, const char *directory, const char *name, const char *diff_id,
		struct error *err);
