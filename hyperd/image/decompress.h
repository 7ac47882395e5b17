#pragma once
/*
 * Decompression of gzip and zstd streams, found by their first bytes; anything else is passed
 * through. Pulls from a source, so memory stays bounded whatever the ratio. Any thread; a
 * decompressor belongs to one.
 */
#include <stddef.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

enum compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD };

/* As tar_source_fn: bytes read, 0 at the end, -errno with the error set. */
typedef ssize_t decompress_source_fn(void *arg, void *buf, size_t len, struct error *err);

struct decompressor;
int decompressor_new(decompress_source_fn *read, void *arg, struct decompressor **ret,
		     struct error *err);
void decompressor_free(struct decompressor *d);
DEFINE_CLEANUP(decompressor_free, struct decompressor *);

/* The next bytes, 0 at the end; a stream that is cut off or followed by garbage is ERROR_INVALID.
 */
ssize_t decompressor_read(struct decompressor *d, void *buf, size_t len, struct error *err);
/* Known after the first read. */
enum compression decompressor_kind(const struct decompressor *d);
