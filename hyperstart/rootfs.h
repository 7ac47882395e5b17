#pragma once
/*
 * A container's root file system: overlay of its layers on the pod's disk, the mounts that every
 * container has (OCI runtime specification, config-linux.md, "Default Filesystems"), those it asks
 * for, masks. Runs in the container's first process, in a mount namespace of its own; the image's
 * content is hostile, so every path is resolved inside the root (root.h).
 */
#include "base/error.h"
#include "hyperstart/container.h"

/* Builds it, makes it the root of the calling process, and returns a descriptor of it. */
int rootfs_build(const struct container *container, struct error *err);

/* In the container: the master of a new terminal, and its slave at descriptor *ret_slave. */
int rootfs_open_terminal(int *ret_slave, struct error *err);
/* Binds the terminal onto /dev/console. */
int rootfs_bind_console(int root_fd, int slave_fd, struct error *err);
