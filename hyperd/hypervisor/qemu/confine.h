#pragma once
/*
 * The walls around each QEMU. It is taken for hostile: its guest may have taken it over. It keeps
 *
 *	- an unprivileged user and group of its own, no capability, none to be had (no_new_privs,
 *empty bounding set);
 *	- a root of its own: read-only /usr (its program, libraries, firmware), a /proc with nothing
 *but itself, /dev/null, /dev/urandom, and /dev/kvm when it uses that;
 *	- empty network, IPC and host name namespaces, a PID namespace in which it is alone;
 *	- its control group, limits on descriptors, processes, file sizes and no core dumps;
 *	- the descriptors it was given: its sockets, its disks, kernel and initramfs, its memory;
 *	- QEMU's own seccomp filter (-sandbox) on top.
 *
 * One whose pod shares files with the host also serves them (9p). For that, and only then, it has
 * those shares in its root, mounted without devices, set-id bits and execution, and four
 * capabilities, so that files belong to the users that made them in the guest: CHOWN, FOWNER,
 * FSETID, DAC_OVERRIDE. All else that it can name is mounted read-only then, also the files that it
 * was given open for reading (it could open them anew through /proc).
 *
 * It is not tied to the daemon's life: sandboxes survive hyperd.
 */
#include <sys/types.h>

#include "hyperd/cgroup/cgroup.h"

struct confinement_share {
	const char *name; /* below /shares */
	int tree_fd;      /* a detached mount; a number above all that the child is given */
	bool is_directory;
};

struct confinement {
	const char *jail_dir;  /* an empty directory, the mount point of the private root */
	const char *program;   /* absolute path */
	const char *host_name; /* of its namespace; what `ps` and logs show */
	bool kvm;
	uid_t uid;
	uint64_t file_max_bytes;
	const struct cgroup_joining *joining; /* borrowed */
	const struct confinement_share *shares;
	size_t share_count; /* 0: it serves no files */
};

/* What clone flags the child is made with. */
/* HOST_NETWORK: no network namespace of its own, for a stack that speaks for its guest. */
unsigned long confinement_clone_flags(bool host_network);
/* process_options.setup: in the child, as root, between fork and exec; ARG is a struct confinement.
 */
int confinement_enter(void *arg, const char **ret_what);
