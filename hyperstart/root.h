#pragma once
/*
 * Paths inside a container's root, which may be hostile: every look-up stays inside ROOT_FD
 * (openat2 RESOLVE_IN_ROOT), follows symbolic links only within it, never /proc's magic links, and
 * ends in a descriptor, so that what was checked is what is used.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Opens PATH; FLAGS as for open(), O_CLOEXEC is added. A descriptor or -errno. */
int root_open(int root_fd, const char *path, int flags, mode_t mode);
/* The same, refusing any symbolic link on the way. */
int root_open_direct(int root_fd, const char *path, int flags, mode_t mode);

/* An O_PATH descriptor of a directory, made with its parents when missing. */
int root_make_dir(int root_fd, const char *path, mode_t mode, struct error *err);
/* The same for a regular file, made empty when nothing is there. */
int root_make_file(int root_fd, const char *path, struct error *err);

/* Reads a regular file of at most MAX bytes, as file_read(). */
int root_read(int root_fd, const char *path, size_t max, char **ret, size_t *ret_len,
	      struct error *err);

/* "/proc/self/fd/N" for a descriptor: how to give it to mount(2). */
struct fd_path {
	char text[32];
};
struct fd_path fd_path(int fd);

/* The type of the file system FD is on (linux/magic.h), or 0. */
uint32_t fd_file_system(int fd);
