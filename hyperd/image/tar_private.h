#pragma once
/* The inside of the tar reader, for tar_read.c and tar_sparse.c alone. */
#include <stdbool.h>

#include "hyperd/image/tar.h"

struct tar_part {
	uint64_t offset, len;
};

/* What pax and GNU headers say about the entry that follows them. */
struct tar_overrides {
	char *path, *link; /* owned */
	bool has_size, has_uid, has_gid, has_mtime;
	uint64_t size_bytes, uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns;
	unsigned sparse_major, sparse_minor;
	bool has_sparse, has_real_size;
	uint64_t real_size_bytes, sparse_offset;
};

struct tar_reader {
	tar_source_fn *read;
	void *arg;
	unsigned char *buffer; /* owned */
	size_t start, end;     /* of what is in the buffer */
	bool finished;

	struct tar_overrides over;
	struct tar_entry entry;
	char *path, *link; /* owned */
	struct tar_xattr *xattrs;
	size_t xattr_count;

	uint64_t stored_left; /* bytes of the entry still to come from the stream */
	size_t padding;
	struct tar_part *parts; /* owned: of a sparse file, else NULL */
	size_t part_count, part;
	uint64_t offset; /* of the next data byte in the file (in the part when sparse) */
};

struct tar_block {
	unsigned char raw[TAR_BLOCK_BYTES];
};

int tar_malformed(struct error *err, const char *what);
/* Exactly LEN bytes into OUT (NULL: passed over). *ret_eof (may be NULL) tells an end before the
 * first. */
int tar_take(struct tar_reader *t, void *out, uint64_t len, bool *ret_eof, struct error *err);
/* A header field: octal with blanks and NULs around it, or base 256. */
int tar_number(const unsigned char *field, size_t len, bool negative_allowed, int64_t *ret,
	       struct error *err);
int tar_pax_number(const char *key, const char *value, uint64_t *ret, struct error *err);
/* Replaces *TO by a copy; a NUL in it is an error that names WHAT. */
int tar_set_text(char **to, const char *what, const char *value, size_t len, struct error *err);

/* A pax record GNU.sparse.KEY. */
int tar_pax_sparse(struct tar_reader *t, const char *key, const char *value, size_t len,
		   struct error *err);
/* Reads what describes the sparse file of header H; takes its length off *stored. */
int tar_set_sparse(struct tar_reader *t, const struct tar_block *h, uint64_t *stored,
		   struct error *err);
