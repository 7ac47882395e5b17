#pragma once
/*
 * Trees of files on their way between host and agent: entries one after the other on a stream, the
 * data of regular files behind them. Not tar: names are bytes with their lengths before them,
 * nothing is encoded in two ways, and what may stand in an entry is checked in one place, since
 * either side may be lying.
 *
 * An entry, little endian: u32 length of what follows; u32 type, mode, uid, gid, major, minor,
 * nanoseconds of the time; i64 seconds of it; u64 size; u16 length of the path, u16 length of the
 * link; u32 number of xattrs; u32 flags; path; link; for each xattr u16 and u32 lengths, name,
 * value. Behind TREE_FILE come size bytes. The last entry is TREE_END or TREE_FAILED.
 * docs/protocol.md has it too.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

#define TREE_LENGTH_BYTES    4
#define TREE_MAX_ENTRY_BYTES (512u * 1024)
#define TREE_MAX_PATH_BYTES  4095u
#define TREE_MAX_XATTRS      1024u

enum tree_type {
	TREE_FILE = 1,
	TREE_DIRECTORY,
	TREE_SYMLINK,
	TREE_HARD_LINK, /* to an earlier entry: its path in the tree */
	TREE_CHARACTER,
	TREE_BLOCK,
	TREE_FIFO,
	TREE_SOCKET,  /* only told of, never made */
	TREE_DELETED, /* what a lower layer has here is gone */
	TREE_OPAQUE,  /* of what lower layers have in this directory nothing is left */
	TREE_STAT,    /* what a path leads to: mode with its type, link where a symbolic one ends */
	TREE_END,
	TREE_FAILED, /* mode: enum error_kind; link: why */
	TREE_TYPE_COUNT
};

/* Flags. Lower layers have something at this path too. */
#define TREE_CHANGED 1u

struct tree_xattr {
	const char *name;
	const void *value;
	size_t len;
};

struct tree_entry {
	enum tree_type type;
	uint32_t flags, mode, uid, gid, major, minor, mtime_ns;
	int64_t mtime_s;
	uint64_t size_bytes;
	/* In the tree: "a/b", neither absolute nor with "." or ".." or empty parts; "" is its top.
	 * Borrowed when it is to be encoded. */
	const char *path;
	const char *link; /* "" when there is none */
	const struct tree_xattr *xattrs;
	size_t xattr_count;
	char *block; /* owned: what a decoded entry points to */
};

/* Appends the entry, its length before it. ERROR_LIMIT when it is too long. */
int tree_encode(const struct tree_entry *entry, struct str *to, struct error *err);

/* The length that stands before an entry; ERROR_INVALID. */
int tree_length(const uint8_t bytes[TREE_LENGTH_BYTES], uint32_t *ret, struct error *err);
/* Decodes and checks one. tree_entry_done() frees what it holds. */
int tree_decode(const uint8_t *data, size_t len, struct tree_entry *ret, struct error *err);
void tree_entry_done(struct tree_entry *entry);
#define autotree __attribute__((cleanup(tree_entry_done)))

/* Whether it is a path as an entry has it. */
bool tree_path_ok(const char *path);
