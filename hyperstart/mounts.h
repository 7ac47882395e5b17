#pragma once
/* Mounting into a container's root: option words, binds and fresh file systems onto descriptors. */
#include <stdbool.h>

#include "base/error.h"
#include "base/mount_options.h"

/* Mounts a new file system onto what TARGET_FD is. WHAT is for messages. */
int mount_new(int target_fd, const char *source, const char *type, unsigned long flags,
	      const char *data, const char *what, struct error *err);
/* Binds SOURCE_FD's file or directory onto PATH in the root (TARGET_FD being its descriptor), then
 * applies FLAGS. */
int mount_bind(int root_fd, int source_fd, int target_fd, const char *path, unsigned long flags,
	       bool recursive, const char *what, struct error *err);
/* Makes what is mounted at PATH read-only, keeping its other flags. */
int mount_set_read_only(int fd, const char *what, struct error *err);
