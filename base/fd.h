#pragma once
/* Small helpers for descriptors. All retry on EINTR. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Writes all of it to a blocking descriptor; 0 or -errno. */
int fd_write_all(int fd, const void *data, size_t len);
/* Reads exactly LEN bytes; 0, -ENODATA at a premature end, or -errno. */
int fd_read_exact(int fd, void *data, size_t len);
ssize_t fd_read(int fd, void *data, size_t len);        /* read(), or -errno */
ssize_t fd_write(int fd, const void *data, size_t len); /* write(), or -errno; no SIGPIPE guard */
int fd_set_nonblocking(int fd, bool on);
int fd_set_cloexec(int fd, bool on);
