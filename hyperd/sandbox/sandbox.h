#pragma once
/*
 * A sandbox: where one pod runs, a microVM or plain namespaces, with an agent inside. What stands
 * above asks for a started sandbox and talks to its agent; which kind it is, it sees only in
 * `info`, statistics and refusals.
 *
 * A sandbox is made per start of a pod and gone after its stop; what lasts (the writable disk or
 * directory) is the storage directory, named by the caller. All calls on the loop thread, those
 * marked "task" may wait.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/job.h"
#include "base/loop.h"
#include "hyperd/sandbox/agent.h"

struct sandbox;
struct sandbox_factory;

enum sandbox_isolation { ISOLATION_VM, ISOLATION_NAMESPACE };
const char *sandbox_isolation_name(enum sandbox_isolation isolation); /* "vm", "namespace" */

/* How image layers reach a VM. AUTO: by size, the threshold is in docs/transports.md. */
enum sandbox_transport { TRANSPORT_AUTO, TRANSPORT_SERIAL, TRANSPORT_DISK };

/* One image layer in its two forms; all borrowed from the image, which the pod keeps referenced. */
struct sandbox_layer {
	const char *diff_id;
	const char *directory;
	const char *erofs_path;
	uint64_t erofs_bytes;
};

/*
 * Something of the host that a pod's containers mount: the agent finds it at SHARES_DIR/NAME. FD: a
 * detached mount (open_tree(2)), borrowed, already as read-only as it is to be.
 */
#define SHARES_DIR     "/shares"
#define SHARES_TAG     "shares" /* of a VM's folder of shares (PodSetup.shares_tag) */
#define SHARES_MAX     512
#define SHARE_NAME_MAX 64 /* [A-Za-z0-9-] */
struct sandbox_share {
	const char *name;
	int fd;
	bool is_directory;
};

/* A disk that a pod's containers mount by its serial number (wire: Mount.source). VMs only. */
struct sandbox_disk {
	const char *serial; /* at most 20 bytes of [A-Za-z0-9-] */
	const char *path;
	int fd; /* borrowed; O_RDONLY when read_only */
	bool read_only, qcow2, device;
};

struct sandbox_factory_config {
	const char *data_root, *run_root; /* absolute; sub-directories are the factory's */
	const char *kernel, *initramfs;   /* guest kernel (ELF) and initramfs */
	const char *hyperstart;           /* static binary for namespace pods */
	const char *qemu;                 /* program name or path */
	const char *accel;                /* "auto", "kvm" or "tcg" */
	const char *hypervisor;           /* of pods that do not say: "auto" or a driver's name */
	const char *libvirt_uri;          /* of QEMU through libvirt; NULL: found out */
	const char *machine;              /* QEMU's: "microvm" or "q35" */
	unsigned warm;                    /* ready clones kept for each template in recent use */
	unsigned max_templates;           /* kept on disk; 0: the default */
	uint64_t template_max_bytes;      /* of memory held by templates; 0: the default */
	uint64_t disk_bytes;              /* virtual size of a pod's disk; 0: 10 GiB */
	enum sandbox_transport transport;
	unsigned uid_first, uid_count; /* one uid for each QEMU; 0: the default range */
	const char
		*tap_prefix; /* machines' taps are called so, and a number; NULL: they have none */
	bool user_network;   /* their cards end in QEMU's own stack instead */
	const char *cgroup_parent; /* "/hyper" unless set */
};

struct sandbox_config {
	const char *id; /* pod id: [a-z0-9], unique */
	enum sandbox_isolation isolation;
	const char
		*storage; /* absolute directory of the pod's writable storage, made when missing */
	bool storage_existing; /* an earlier sandbox of this pod has used it */
	/* The container that has taken the one made ahead, when that sandbox said so; or NULL. */
	const char *prepared_owner;
	unsigned vcpus;         /* 0: 1 */
	uint64_t memory_bytes;  /* guest memory of a VM, memory limit of a namespace pod; 0: default
				 */
	const char *hypervisor; /* NULL: the factory's */
	const char *machine;    /* NULL: the hypervisor's first, or the factory's */
	enum sandbox_transport transport; /* AUTO: the factory's */
	const struct sandbox_layer
		*layers; /* every layer that its containers need at start, no duplicates */
	size_t layer_count;
	const struct sandbox_share *shares;
	size_t share_count;
	/* A machine gets a card (eth0, up, without an address). A namespace pod has a network
	 * namespace of its own, in which there is nothing but loopback, unless it has the host's.
	 */
	bool network, host_network;
	const char
		*user_network; /* what QEMU's own stack plays (hypervisor.h); NULL: its defaults */
	/* A machine with disks of its own is booted: no template has them. */
	const struct sandbox_disk *disks;
	size_t disk_count;
	/* What a container made ahead in the pod's template is like (wire:
	 * ContainerCreate.prepare); or NULL. Borrowed for the start. */
	const Hyper__ContainerCreate *prepare;
};

struct sandbox_events {
	void (*agent_event)(struct sandbox *sandbox, const Hyper__Event *event, void *owner);
	/* The sandbox has died (QEMU exited, init exited, channel broken): told once. Not told for
	 * sandbox_stop(). */
	void (*died)(struct sandbox *sandbox, const struct error *why, void *owner);
};

/* Milestones of one start, for --timing: monotonic ns since the start was asked for, 0 when it did
 * not happen. */
struct sandbox_timing {
	uint64_t template_ns;  /* the template was there (built or found) */
	uint64_t spawned_ns;   /* the process was started, or a ready clone taken */
	uint64_t connected_ns; /* the agent answered */
	uint64_t layers_ns;    /* the layers are mounted */
	bool template_built, from_pool, retried_with_tcg;
	const char *accel; /* "kvm", "tcg", or "" */
};

/* Task: probes KVM and cgroups, prepares directories, opens templates kept on disk. */
int sandbox_factory_new(struct loop *loop, struct job_pool *jobs,
			const struct sandbox_factory_config *config, struct sandbox_factory **ret,
			struct error *err);
/* Task: ends pooled clones; sandboxes must be gone or detached. */
void sandbox_factory_free(struct sandbox_factory *factory);
/* For `info`: accelerator and reason, machine, QEMU version, templates, pool, cgroup layout, limits
 * missing. */
json_t *sandbox_factory_info(struct sandbox_factory *factory);
/*
 * Can pods of this kind be run here? ERROR_INVALID or ERROR_UNSUPPORTED with a text that names what
 * was asked for and what is lacking. HYPERVISOR and MACHINE may be NULL. It opens nothing: whether
 * the hypervisor is there at all, a start finds out.
 */
int sandbox_check_choice(struct sandbox_factory *factory, enum sandbox_isolation isolation,
			 const char *hypervisor, const char *machine, struct error *err);
/* Drops templates (all, or those that hold LAYER's diff id when it is removed). */
void sandbox_factory_forget_layer(struct sandbox_factory *factory, const char *diff_id);

/*
 * Task: a running sandbox with its agent connected, resumed (entropy, clock), its disk mounted and
 * the layers of CONFIG mounted. EVENTS borrowed for the sandbox's life. Nothing is left behind on
 * failure but the storage directory.
 */
int sandbox_start(struct sandbox_factory *factory, const struct sandbox_config *config,
		  const struct sandbox_events *events, void *owner, struct sandbox **ret,
		  struct error *err);

struct agent *sandbox_agent(struct sandbox *sandbox);
/* The host's end of a machine's card; "" when it has none, or it is QEMU's own stack. */
const char *sandbox_tap(const struct sandbox *sandbox);
/* A namespace pod's network namespace. */
int sandbox_netns(const struct sandbox *sandbox, int *ret_fd, struct error *err);
const struct sandbox_timing *sandbox_timing(const struct sandbox *sandbox);

/* Task: makes further layers usable inside (for containers added later). Streams what is not there
 * yet. */
int sandbox_add_layers(struct sandbox *sandbox, const struct sandbox_layer *layers, size_t count,
		       struct error *err);

/*
 * Task: the same for shares; those that are there already are left as they are. A VM that was
 * started without shares takes none (ERROR_CONFLICT).
 */
int sandbox_add_shares(struct sandbox *sandbox, const struct sandbox_share *shares, size_t count,
		       struct error *err);
/* Also disks, by their serial numbers; they are there from the start on. */
bool sandbox_has_share(const struct sandbox *sandbox, const char *name);

/* Task: stops and continues the vCPUs (VM), or freezes the pod's cgroup. */
int sandbox_pause(struct sandbox *sandbox, bool paused, struct error *err);

/* Task: what the host pays: {"pss_bytes", "private_bytes", "cpu_ns", "pid", …}. */
int sandbox_host_stats(struct sandbox *sandbox, json_t **ret, struct error *err);

/* The guest's console, oldest first, at most what is kept; owned by the caller. VM only, else
 * ERROR_UNSUPPORTED. */
int sandbox_console(struct sandbox *sandbox, char **ret, size_t *ret_len, struct error *err);

/*
 * Task: ordered end: Shutdown to the agent with the deadline, then SIGKILL; frees everything the
 * sandbox had on the host (processes, cgroups, mounts, sockets, uid) but the storage, and the
 * struct.
 */
void sandbox_stop(struct sandbox *sandbox, uint64_t deadline_ms);

/* What a later daemon needs to adopt it (pid and start time, socket paths, …), to be kept in the
 * pod's record. */
json_t *sandbox_record(const struct sandbox *sandbox);
/* Lets go without ending it: for --live-restore and for tests. Frees the struct. */
void sandbox_detach(struct sandbox *sandbox);
/*
 * Task: takes over a sandbox that an earlier daemon left running. ERROR_NOT_FOUND when it died
 * meanwhile: what was left of it has then been cleaned up.
 */
int sandbox_adopt(struct sandbox_factory *factory, const json_t *record,
		  const struct sandbox_events *events, void *owner, struct sandbox **ret,
		  struct error *err);
/*
 * Task, once after all adoptions: ends and removes whatever of earlier daemons with the same roots
 * is left and was not adopted (QEMU processes, namespace inits, cgroups, mounts, sockets).
 */
int sandbox_factory_sweep(struct sandbox_factory *factory, struct error *err);
