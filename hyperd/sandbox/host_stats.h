#pragma once
/* What a sandbox costs its host, read from /proc and its control group. */
#include "hyperd/sandbox/factory.h"

/* Task. PID is the sandbox's main process; all processes of its group are counted. */
int host_stats(struct sandbox_factory *factory, struct cgroup *cgroup, pid_t pid, json_t **ret,
	       struct error *err);
