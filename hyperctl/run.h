#pragma once
/* `run -f`: a pod from its file, shared with `create -f`. */
#include "hyperctl/command.h"
#include "hyperctl/container_options.h"

struct run_options {
	struct container_options container;
	const char *file, *detach_keys;
	bool detach, sig_proxy, timing;
};

/*
 * Creates the pod of FILE ("-": standard input) and prints nothing. *ret is the daemon's answer:
 * Id, Name, Containers. REMOVE: the daemon removes it when it has ended.
 */
int pod_create(const struct client *client, const char *file,
	       const struct container_options *options, bool remove, json_t **ret,
	       struct error *err);
/* Creates, starts, shows its output until it ends. The exit code. */
int pod_run(struct ctl *ctl, const struct run_options *options, struct error *err);
