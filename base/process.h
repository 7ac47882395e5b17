#pragma once
/*
 * Child processes. A child begins with no descriptor but those named, default signals, and an empty
 * signal mask; a failed exec is reported to the parent as an error. Children are held by pidfd: no
 * pid is ever signalled after its process was reaped.
 */
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct process_fd {
	int source; /* borrowed */
	int target; /* the number it has in the child */
};

struct process_options {
	const char *const *argv;      /* argv[0] is searched in PATH when it has no slash */
	const char *const *env;       /* NULL: the parent's */
	const struct process_fd *fds; /* 0, 1 and 2 are /dev/null unless named here */
	size_t fd_count;
	/*
	 * Runs in the child after the descriptors are in place and before exec; returns 0 or -errno
	 * with the failing step in *ret_what (a literal). Only async-signal-safe calls: the parent
	 * has threads.
	 */
	int (*setup)(void *arg, const char **ret_what);
	void *setup_arg;
	unsigned long clone_flags; /* CLONE_NEWPID, … or 0 */
	int cgroup_fd;             /* directory of the v2 control group it is born in; 0: ours */
	const char *cwd;
};

struct process {
	pid_t pid;
	int pidfd; /* owned */
};
#define PROCESS_INIT                   \
	{                              \
		.pid = -1, .pidfd = -1 \
	}

int process_spawn(const struct process_options *options, struct process *ret, struct error *err);
/* Closes the pidfd; does not end the process. */
void process_done(struct process *process);
int process_signal(const struct process *process, int signal);
/* The exit code, 128+n for a death by signal n. Task: waits (-ETIMEDOUT at the deadline); reaps the
 * child. */
int process_wait(struct process *process, uint64_t deadline_ns, int *ret_code, struct error *err);
/* Reaps without waiting: 0, or -EAGAIN while it runs. */
int process_reap(struct process *process, int *ret_code);

/*
 * Task: runs a program to its end with INPUT on its standard input (may be NULL). An exit code
 * other than 0 is an error that carries the last lines of its standard error. *ret_output (may be
 * NULL) is its standard output, owned by the caller, NUL-terminated, at most MAX_OUTPUT bytes.
 */
int process_run(const struct process_options *options, const char *input, uint64_t deadline_ns,
		size_t max_output, char **ret_output, struct error *err);

/* A process's start time in clock ticks since boot (proc(5) stat, field 22): with the pid it names
 * a process for ever. */
int process_start_time(pid_t pid, unsigned long long *ret);
