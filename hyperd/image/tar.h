#pragma once
/*
 * Tar archives of strangers, read strictly, and written plainly. Read: v7, ustar, GNU (long names,
 * old sparse, base-256 numbers) and pax (path, linkpath, size, uid, gid, mtime, SCHILY.xattr,
 * GNU.sparse 0.0 to 1.0). Sources: pax in POSIX.1-2017, "GNU tar internals", and what Go's
 * archive/tar accepts, since Docker's tools write and read with it.
 *
 * Why not libarchive: it turns names into Unicode form C and cuts them at a NUL, so that a layer
 * would not hold what its digest says. Here names are bytes, and a name with a NUL is an error. Any
 * thread; a reader belongs to one.
 */
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

#define TAR_BLOCK_BYTES      512
#define TAR_MAX_SPARSE_PARTS 16384

enum tar_type {
	TAR_FILE = '0',
	TAR_HARD_LINK = '1',
	TAR_SYMLINK = '2',
	TAR_CHARACTER = '3',
	TAR_BLOCK = '4',
	TAR_DIRECTORY = '5',
	TAR_FIFO = '6',
};

struct tar_xattr {
	char *name; /* owned by the reader */
	char *value;
	size_t len;
};

/* Valid until the next call of tar_next(). */
struct tar_entry {
	enum tar_type type;
	const char *path, *link; /* as written; link "" when there is none */
	uint32_t mode;           /* 07777 */
	uint32_t uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t major, minor;
	uint64_t size_bytes; /* of the file, holes included */
	const struct tar_xattr *xattrs;
	size_t xattr_count;
};

/* Returns the number of bytes put into BUF, 0 at the end of the stream, or -errno with the error
 * set. */
typedef ssize_t tar_source_fn(void *arg, void *buf, size_t len, struct error *err);

struct tar_reader;
int tar_reader_new(tar_source_fn *read, void *arg, struct tar_reader **ret, struct error *err);
void tar_reader_free(struct tar_reader *reader);
DEFINE_CLEANUP(tar_reader_free, struct tar_reader *);

/* The next entry, NULL after the last. Data that was not read is passed over. */
int tar_next(struct tar_reader *reader, const struct tar_entry **ret, struct error *err);
/* The next piece of the entry's data and where it belongs; *ret_len is 0 after the last. */
int tar_data(struct tar_reader *reader, const void **ret_data, size_t *ret_len,
	     uint64_t *ret_offset, struct error *err);
/* Reads on to the end of the stream, so that whoever writes it is never left hanging. */
int tar_drain(struct tar_reader *reader, struct error *err);

/*
 * Fills a ustar header: PATH at most 100 bytes. Numbers too large for octal are written in base
 * 256.
 */
int tar_header(unsigned char block[TAR_BLOCK_BYTES], const struct tar_entry *entry,
	       struct error *err);
/* The zero bytes that pad SIZE_BYTES of data to whole blocks. */
size_t tar_padding(uint64_t size_bytes);

/* Takes LEN bytes of an archive; 0, or -errno with the error set. */
typedef int tar_sink_fn(void *arg, const void *buf, size_t len, struct error *err);
/*
 * Everything that stands before an entry's data: its header, and before that a pax header with what
 * does not fit. Times are whole seconds, as Docker writes them.
 */
int tar_write_entry(tar_sink_fn *write, void *arg, const struct tar_entry *entry,
		    struct error *err);
int tar_write_padding(tar_sink_fn *write, void *arg, uint64_t size_bytes, struct error *err);
/* The two empty blocks at the end. */
int tar_write_end(tar_sink_fn *write, void *arg, struct error *err);
