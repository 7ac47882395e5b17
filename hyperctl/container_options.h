#pragma once
/* What run and create say about a container, and the body of the create request made from it. */
#include "base/json.h"
#include "hyperctl/client.h"
#include "hyperctl/options.h"

struct container_options {
	const char *name, *entrypoint, *working_dir, *user, *hostname, *domainname;
	const char *restart, *log_driver, *stop_signal;
	const char *volume_driver, *network, *pod, *isolation, *hypervisor, *machine, *transport;
	struct option_list env, env_files, labels, ulimits, sysctls, log_options, tmpfs;
	struct option_list volumes, volumes_from, mounts, publish, aliases, links;
	const char *ip, *ip6, *mac;
	bool publish_all;
	struct option_list cap_add, cap_drop, security, groups, dns, dns_options, dns_search, hosts;
	bool interactive, tty, read_only, init, privileged, remove;
	uint64_t memory_bytes, shm_bytes, cpus_nano;
	long long pids_limit, stop_timeout_s, vcpus;
};
extern const struct option container_option_table[];

/*
 * Docker's create body, with our member "Hyper". ARGS: IMAGE [COMMAND…]. ATTACHED: somebody will
 * be attached from the start.
 */
int container_body(const struct container_options *options, char *const *args, bool attached,
		   json_t **ret, struct error *err);
/* Creates it. *ret_id is owned by the caller; warnings of the daemon go to standard error. */
int container_create(const struct client *client, const struct container_options *options,
		     char *const *args, bool attached, char **ret_id, struct error *err);

/*
 * Environment for a process: files first, then "KEY=VALUE"; a mere "KEY" takes our own value, if
 * there is one.
 */
int env_collect(const struct option_list *files, const struct option_list *env, json_t **ret,
		struct error *err);
