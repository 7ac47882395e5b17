#pragma once
/*
 * Control groups: one a container, below a root that is the guest's own (cgroup v2) or was prepared
 * by the host for a namespace pod (v2, or a directory for each v1 controller). Sources: the
 * kernel's admin-guide/cgroup-v2.rst and cgroup-v1/; OCI runtime specification, linux.resources.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "hyperstart/proto.h"

#define CGROUP_DIRS_MAX 12

struct cgroup_dir {
	char controller[64]; /* "" in a unified hierarchy */
	int fd;              /* owned */
};

struct cgroup_root {
	bool unified;
	struct cgroup_dir dirs[CGROUP_DIRS_MAX];
	size_t count;
};

/* The guest's own hierarchy, mounted if it is not. */
int cgroup_root_mount(struct cgroup_root *root, struct error *err);
/* What the host prepared. */
int cgroup_root_given(struct cgroup_root *root, const Hyper__CgroupRoot *given, struct error *err);
void cgroup_root_done(struct cgroup_root *root);

struct cgroup {
	bool unified;
	char *name; /* owned: below the root */
	struct cgroup_dir dirs[CGROUP_DIRS_MAX];
	size_t count;
};

/* Makes the group. Without a root (tests, no cgroups on the host) it is empty, and limits are
 * refused. */
int cgroup_new(struct cgroup_root *root, const char *name, struct cgroup **ret, struct error *err);
/* Kills what is left in it and removes it. Takes NULL. */
void cgroup_free(struct cgroup_root *root, struct cgroup *cgroup);

/* The directory that has CONTROLLER's files; -1 when there is none. Borrowed. */
int cgroup_dir_fd(const struct cgroup *cgroup, const char *controller);

/* Moves the calling process into it; async-signal-safe. 0 or -errno. */
int cgroup_enter(const struct cgroup *cgroup);

/* Sets those limits that are said. Rules NULL: no device rules. */
int cgroup_set_limits(struct cgroup *cgroup, const Hyper__Limits *limits, struct error *err);
int cgroup_set_devices(struct cgroup *cgroup, Hyper__DeviceRule *const *rules, size_t count,
		       struct error *err);
/* Waits until it is so, at most a second. */
int cgroup_freeze(struct cgroup *cgroup, bool frozen, struct error *err);
/* Sends SIGNAL to every process in it. */
int cgroup_signal(struct cgroup *cgroup, int signal, struct error *err);
/* The pids in it, as this process sees them; owned by the caller. */
int cgroup_pids(struct cgroup *cgroup, pid_t **ret, size_t *ret_count);
/* How often the kernel's OOM killer struck in it. */
uint64_t cgroup_oom_kills(const struct cgroup *cgroup);
void cgroup_stats(const struct cgroup *cgroup, Hyper__ContainerStatsReply *ret);
