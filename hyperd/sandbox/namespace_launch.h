#pragma once
/*
 * What happens to a namespace pod's init between fork and exec. It gets
 *
 *	- namespaces of its own: mount, PID (it is process 1), network, IPC, host name;
 *	- a root of its own, a small tmpfs with /proc, /sys (read-only), /dev with the harmless
 *devices, and what the table of binds says: the pod's writable directory, its layers read-only, its
 *control groups;
 *	- a copy of its program in sealed memory: nobody who gets hold of /proc/1/exe changes the
 *program on disk.
 *
 * It keeps root and its capabilities, because it makes containers: they get what is left after the
 *agent has applied their process's capabilities, seccomp filter and masks. That is less than a VM
 *gives, as it is with every container runtime.
 */
#include <stdbool.h>
#include <stddef.h>

#include "hyperd/cgroup/cgroup.h"

struct namespace_bind {
	const char *source; /* borrowed */
	char target[64];    /* in the new root, without the first slash; its parent is made by this
			       file */
	bool read_only;
};

/* What of the host its containers mount: a detached mount that appears as shares/NAME. */
struct namespace_share {
	const char *name; /* borrowed */
	int tree_fd;      /* borrowed */
	bool is_directory;
};

struct namespace_launch {
	const char *jail_dir; /* an empty directory, the mount point of the root */
	const struct cgroup_joining *joining;
	const struct namespace_bind *binds;
	size_t bind_count;
	const struct namespace_share *shares;
	size_t share_count;
	int program_fd; /* the sealed copy */
	const char *const *argv;
};

/* Where things are in a namespace pod's root. */
#define NAMESPACE_DISK    "disk"
#define NAMESPACE_LAYERS  "layers"
#define NAMESPACE_CGROUPS "cgroup"
#define NAMESPACE_SHARES  "shares"

/* HOST_NETWORK: no network namespace of its own. */
unsigned long namespace_clone_flags(bool host_network);
/* process_options.setup; ARG is a struct namespace_launch. Does not return when it succeeds. */
int namespace_enter(void *arg, const char **ret_what);

/* A directory, or with IS_FILE a file, that is added to a running pod: TREE_FD (open_tree(2))
 * appears as TARGET in PID's root. */
struct namespace_addition {
	int mount_ns_fd, tree_fd;
	const char *target; /* absolute */
	bool is_file;
};
/* process_options.setup; does not return when it succeeds. */
int namespace_add(void *arg, const char **ret_what);
