#pragma once
/*
 * What a pod and its containers are to be: plain data, made from a pod file
 * (hyperd/pod/pod_file.c), from Docker's create body (hyperd/api/docker), or read back from a
 * record. Every pointer is owned by its struct; NULL and 0 mean "not said", and the defaults are
 * filled in when the container is created, from the image's configuration first.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "hyperd/sandbox/sandbox.h"

enum restart_kind { RESTART_NO, RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_UNLESS_STOPPED };

struct restart_policy {
	enum restart_kind kind;
	unsigned max_retries; /* ON_FAILURE only; 0: no limit */
};

/* "no", "always", "on-failure", "on-failure:3", "unless-stopped". */
int restart_policy_parse(const char *text, struct restart_policy *ret, struct error *err);
char *restart_policy_text(const struct restart_policy *policy);

struct spec_pair { /* a label, a sysctl, a log option; arrays end with key NULL */
	char *key, *value;
};

struct spec_ulimit {
	char *name;         /* "nofile" */
	int64_t soft, hard; /* -1: unlimited */
};

struct spec_file {
	char *path;    /* in the container */
	char *content; /* decoded */
	size_t content_bytes;
	uint32_t mode; /* permission bits */
	char *user;    /* "user[:group]", NULL: root */
};

struct spec_mount {
	enum { MOUNT_TMPFS, MOUNT_VOLUME, MOUNT_BIND } type;
	char *source; /* BIND: a path of the host; VOLUME: its name, NULL: an anonymous one is made
		       */
	char *destination;
	char **options; /* strv */
	bool read_only;
	uint64_t size_bytes; /* tmpfs */
	uint32_t mode;       /* tmpfs */
	/* VOLUME: how it is made when it is not there. */
	char *driver;                              /* NULL: local */
	struct spec_pair *driver_options, *labels; /* of the volume */
	char *subpath;                             /* what of the volume is mounted */
	bool disk;                                 /* it is a disk that the VM mounts */
	bool no_copy;                              /* without the image's content */
	bool anonymous;  /* made for this container: removed with it by rm -v and --rm */
	bool image_path; /* asked for by a VOLUME or Config.Volumes: gives way to any other mount */
	/* BIND */
	bool create_source;  /* a missing source is made, as a directory */
	bool non_recursive;  /* without what is mounted below it */
	char *propagation;   /* NULL: rprivate */
	char *mode_text;     /* as Docker's Binds said it, for inspect */
	bool through_mounts; /* tmpfs: asked for by Docker's Mounts, which inspect lists */
};

struct spec_device {
	char *host_path, *path, *access;
};

struct spec_resources {
	uint64_t memory_bytes, memory_reservation_bytes;
	int64_t memory_swap_bytes; /* -1 unlimited */
	double cpus;               /* 0: not limited */
	uint64_t cpu_shares, cpu_period_us;
	int64_t cpu_quota_us;
	char *cpuset_cpus, *cpuset_mems;
	int64_t pids; /* 0 or -1: unlimited */
	uint32_t blkio_weight;
	uint64_t read_bps, write_bps, read_iops, write_iops; /* of the pod disk */
	bool oom_kill_disable;
};

struct spec_health {
	char **test; /* strv: "NONE" | "CMD", … | "CMD-SHELL", command; NULL: the image's */
	uint64_t interval_ns, timeout_ns, start_period_ns;
	unsigned retries;
};

struct spec_network {            /* one network that a pod is in */
	char *network;           /* name or id */
	char **aliases, **links; /* strv; links: "container:alias" */
	char *ipv4, *ipv6, *mac; /* asked for */
};

struct spec_port {                 /* a published port */
	char *host_ip;             /* NULL: the network's */
	int host_first, host_last; /* 0: the kernel's choice */
	int port;
	char *protocol; /* "tcp", "udp", "sctp" */
};

struct container_spec {
	char *name;                      /* without the leading slash */
	char *image;                     /* as the user wrote it */
	char **entrypoint, **cmd, **env; /* strv; entrypoint {""} clears the image's */
	bool entrypoint_set, cmd_set;
	char *working_dir, *user, *hostname, *domainname, *stop_signal;
	int stop_timeout_s; /* -1: default 10 */
	bool tty, open_stdin, stdin_once, read_only, privileged, init, no_new_privileges,
		auto_remove;
	bool publish_all;
	bool joined; /* put into another container's pod (Docker's container:X) */
	struct spec_pair *labels, *sysctls, *log_options;
	char *log_driver;            /* NULL: the daemon's */
	struct spec_ulimit *ulimits; /* name NULL ends */
	size_t file_count, mount_count, device_count;
	struct spec_file *files;
	struct spec_mount *mounts;
	struct spec_device *devices;
	char **volumes_from; /* "CONTAINER[:ro|rw]"; empty once their mounts are in MOUNTS */
	char *volume_driver; /* of volumes that name none; NULL: local */
	char **cap_add, **cap_drop, **group_add, **dns, **dns_options, **dns_search, **extra_hosts;
	char **exposed_ports; /* "80/tcp" */
	char *seccomp; /* NULL: the default profile; "unconfined"; or a profile's JSON text */
	char **masked_paths, **read_only_paths; /* NULL: the OCI list; empty: none */
	uint64_t shm_bytes;
	int oom_score_adj;
	struct spec_resources resources;
	struct restart_policy restart;
	struct spec_health health;
	json_t *docker; /* Docker's create body as it came ({Config…, HostConfig,
			   NetworkingConfig}), for inspect; NULL for pod files */
};

struct pod_spec {
	char *name, *hostname, *domainname;
	struct spec_pair *labels, *sysctls, *log_options;
	char *log_driver;
	enum sandbox_isolation isolation;
	bool isolation_set;
	unsigned vcpus;
	uint64_t memory_bytes;
	bool tty;
	bool auto_remove; /* gone when it has ended */
	char **dns, **dns_options, **dns_search;
	struct restart_policy restart;
	char *hypervisor; /* a driver's name, "auto" or NULL: the daemon's */
	char *machine;    /* "microvm", "q35" or NULL */
	/* "none", "host", or NULL: those in NETWORKS, and when there are none the default one. */
	char *network_mode;
	struct spec_network *networks;
	size_t network_count;
	struct spec_port *ports;
	size_t port_count;
	enum sandbox_transport transport;
	struct container_spec **containers; /* owned array of owned */
	size_t container_count;
};

void container_spec_free(struct container_spec *spec);
void pod_spec_free(struct pod_spec *spec);
struct container_spec *container_spec_new(void);
/* A new, zeroed mount at the end; NULL for want of memory. */
struct spec_mount *container_spec_add_mount(struct container_spec *spec);
void spec_mount_done(struct spec_mount *mount); /* zeroed afterwards */
int spec_mount_copy(const struct spec_mount *from, struct spec_mount *ret);
struct pod_spec *pod_spec_new(void);
/* The new member, to be filled in; NULL when memory ran out. */
struct spec_network *spec_network_add(struct pod_spec *spec, const char *network);
void spec_network_remove(struct pod_spec *spec, size_t i);
struct spec_port *spec_port_add(struct pod_spec *spec, const char *protocol, int port);
void spec_port_remove(struct pod_spec *spec, size_t i);

/* For records. */
json_t *container_spec_to_json(const struct container_spec *spec);
int container_spec_from_json(const json_t *json, struct container_spec **ret, struct error *err);
json_t *pod_spec_to_json(const struct pod_spec *spec); /* without its containers */
int pod_spec_from_json(const json_t *json, struct pod_spec **ret, struct error *err);

/*
 * A pod file's text, JSON or YAML (docs/pod-spec.md). Unknown and wrong fields are refused with
 * their path and what was expected. FILE_DIR: where "file://" contents may be read by the *client*;
 * the daemon passes NULL and refuses them.
 */
int pod_file_parse(const char *text, size_t len, const char *file_dir, struct pod_spec **ret,
		   struct error *err);
