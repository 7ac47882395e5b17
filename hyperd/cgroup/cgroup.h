#pragma once
/*
 * Control groups of sandboxes: PARENT/NAME in each hierarchy of the host, whichever of the three
 * layouts it has: v1 (a hierarchy a controller), v2 (one tree), or hybrid (v1 controllers beside a
 * v2 tree without any). What is inside a sandbox's group belongs to the sandbox: that, and not a
 * remembered pid, decides what is ended with it.
 *
 * Loop thread; functions marked "task" wait.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/process.h"
#include "base/str.h"

struct cgroup_host;
struct cgroup;

/* Hierarchies that one process can be put into. */
#define CGROUP_HIERARCHIES 16

struct cgroup_limits {
	uint64_t memory_bytes; /* 0: none */
	uint64_t pids;         /* 0: none */
	uint64_t cpu_milli;    /* thousandths of a CPU; 0: none */
};

/* Reads the host's layout and makes PARENT ("/hyper") in it. */
int cgroup_host_open(const char *parent, struct cgroup_host **ret, struct error *err);
void cgroup_host_free(struct cgroup_host *host);
DEFINE_CLEANUP(cgroup_host_free, struct cgroup_host *);
/* Removes PARENT where it is empty; the struct is good for nothing but cgroup_host_free() then. */
void cgroup_host_remove(struct cgroup_host *host);
/* {"layout": "v1" | "v2" | "hybrid", "parent", "controllers": […], "missing": […]} */
json_t *cgroup_host_info(const struct cgroup_host *host);

/*
 * Makes the group NAME. DELEGATED: a namespace pod's, whose agent makes groups of its own:
 * processes join its leaf "agent", and "pod" beside that is the agent's to fill. A limit whose
 * controller is missing is left out.
 */
int cgroup_new(struct cgroup_host *host, const char *name, bool delegated,
	       const struct cgroup_limits *limits, struct cgroup **ret, struct error *err);
/* The group NAME of an earlier daemon. */
int cgroup_open(struct cgroup_host *host, const char *name, bool delegated, struct cgroup **ret,
		struct error *err);
/* Frees the struct; the group stays. Takes NULL. */
void cgroup_free(struct cgroup *cgroup);
DEFINE_CLEANUP(cgroup_free, struct cgroup *);
const char *cgroup_name(const struct cgroup *cgroup);

/*
 * Joining. Moving a process costs many milliseconds when the kernel has been idle (it waits for a
 * grace period), being born in a group costs nothing. So a process is born in its v2 group
 * (process_options.cgroup_fd), or joins the one hierarchy that says what belongs to a sandbox by
 * itself before exec; the others are joined on its behalf while it is busy starting.
 */
struct cgroup_joining {
	int birth_fd; /* for process_options.cgroup_fd; 0: there is no v2 tree */
	int early_fd; /* for cgroup_join(); -1: born in it */
	int late_fds[CGROUP_HIERARCHIES]; /* for cgroup_join_late() */
	size_t late_count;
};

int cgroup_joining_open(struct cgroup *cgroup, struct cgroup_joining *ret, struct error *err);
void cgroup_joining_close(struct cgroup_joining *joining);
/* In the child: async-signal-safe; 0 or -errno. */
int cgroup_join(const struct cgroup_joining *joining);
/* In the parent, on any thread. A process that has ended meanwhile is no error. */
int cgroup_join_late(const struct cgroup_joining *joining, pid_t pid);
/* The same for all hierarchies: a process that somebody else has started. */
int cgroup_move(const struct cgroup_joining *joining, pid_t pid);

/* Calls FN with each directory given to the agent and the controllers it is for ("" for v2's). */
bool cgroup_is_unified(const struct cgroup_host *host);
int cgroup_delegated_each(struct cgroup *cgroup,
			  int (*fn)(const char *controllers, const char *path, void *arg),
			  void *arg);

/* Task: freezes or thaws everything in it. ERROR_UNSUPPORTED without a freezer. */
int cgroup_freeze(struct cgroup *cgroup, bool frozen, uint64_t deadline_ns, struct error *err);

/* The processes in it and below; *ret is the caller's, ended by 0. */
int cgroup_pids(struct cgroup *cgroup, pid_t **ret, size_t *ret_count, struct error *err);

/*
 * Takes hold of a process that an earlier daemon started. A pid alone names nobody: the start time
 * must agree and the group must hold it, else ERROR_NOT_FOUND.
 */
int cgroup_find_process(struct cgroup *cgroup, pid_t pid, unsigned long long start_time,
			struct process *ret, struct error *err);

/* Task: SIGKILLs what is in it until it is empty, then removes it and everything below. */
int cgroup_destroy(struct cgroup *cgroup, uint64_t deadline_ns, struct error *err);

struct cgroup_usage {
	uint64_t cpu_ns, memory_bytes;
};
void cgroup_usage(struct cgroup *cgroup, struct cgroup_usage *ret);

/* The names of all groups under PARENT, as a strv. */
int cgroup_list(struct cgroup_host *host, char ***ret, struct error *err);
