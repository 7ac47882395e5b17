#pragma once
/* Whole files and trees, relative to directory descriptors (AT_FDCWD allowed). All calls block. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Reads a file of at most MAX bytes; *ret is NUL-terminated and owned by the caller.
 * ERROR_NOT_FOUND when missing. */
int file_read(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_len,
	      struct error *err);
/* The same from a descriptor. */
int file_read_fd(int fd, size_t max, char **ret, size_t *ret_len, struct error *err);

/*
 * Replaces PATH as a whole or not at all, also across a crash of this process; with SYNC also
 * across a crash of the machine.
 */
int file_write_atomic(int dir_fd, const char *path, const void *data, size_t len, mode_t mode,
		      bool sync, struct error *err);

/* Makes a directory and its missing parents. */
int file_make_dirs(int dir_fd, const char *path, mode_t mode, struct error *err);

/* Opens a directory, making it and its parents. */
int file_open_dir(int dir_fd, const char *path, mode_t mode, struct error *err);

/* Removes a file or a whole tree, never following links or entering other mounts; a missing one is
 * fine. */
int file_remove_tree(int dir_fd, const char *path, struct error *err);

/* Copies a file's data, keeping holes, sharing blocks where the file system can. */
int file_copy_sparse(int from_fd, int to_fd, struct error *err);

/* Bytes that a file or tree takes on disk. */
int file_tree_usage(int dir_fd, const char *path, uint64_t *ret_bytes, struct error *err);
