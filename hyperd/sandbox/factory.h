#pragma once
/*
 * Inside of sandbox/: the factory's state and what its files share. Nothing above includes this.
 *
 * A sandbox has a *place* on the host: its name, a directory for sockets, a control group, a uid.
 * All of it is made by place_new() and removed by place_remove(), and sandbox_factory_sweep()
 * removes the places nobody claims.
 */
#include <sys/types.h>

#include "base/job.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/process.h"
#include "base/task.h"
#include "hyperd/cgroup/cgroup.h"
#include "hyperd/hypervisor/hypervisor.h"
#include "hyperd/hypervisor/kvm_probe.h"
#include "hyperd/sandbox/agent.h"
#include "hyperd/sandbox/sandbox.h"

#define DEFAULT_MEMORY_BYTES       (128ull << 20)
#define DEFAULT_DISK_BYTES         (10ull << 30)
#define DEFAULT_MAX_TEMPLATES      32
#define DEFAULT_TEMPLATE_MAX_BYTES (2ull << 30)

/* The serial of the pod's own disk; layers on disks have others. */
#define POD_DISK_SERIAL "pod"

#define TAP_NAME_BYTES 16 /* IFNAMSIZ */

/* How long an agent may take: to boot under emulation on a loaded machine; to boot or answer under
 * KVM. */
#define BOOT_DEADLINE_MS     120000
#define KVM_BOOT_DEADLINE_MS 8000
#define CLONE_DEADLINE_MS    60000
#define REQUEST_DEADLINE_MS  60000

struct sandbox_factory {
	struct loop *loop;     /* borrowed */
	struct job_pool *jobs; /* borrowed */
	/* The configuration; its strings are owned copies. */
	char *data_root, *run_root, *hyperstart, *hypervisor, *machine, *accel;
	unsigned warm, max_templates;
	uint64_t template_max_bytes, disk_bytes;
	enum sandbox_transport transport;
	bool has_kernel;

	struct cgroup_host *cgroups; /* owned */
	/* One for each of hypervisor_drivers. */
	struct hypervisor_slot {
		struct hypervisor *hypervisor; /* owned; NULL: not opened (yet) */
		struct error missing;          /* why, when it was tried */
	} hypervisors[HYPERVISOR_COUNT];
	struct hypervisor_config hypervisor_config; /* its strings are owned copies */
	struct task_mutex open_mutex;
	const struct hypervisor_driver *driver; /* of pods that do not say; */
	const char *driver_reason;              /* why that one: a literal */
	struct kvm_probe kvm;
	struct error kvm_failed; /* a machine missed its deadline under KVM: not tried again */

	unsigned uid_first, uid_count, uid_next;
	struct list places;    /* of place.node */
	struct list sandboxes; /* of sandbox.node */
	struct list templates; /* of template.node */
	struct task_mutex blank_mutex;
	unsigned counter;  /* makes names of our own unique */
	struct pool *pool; /* owned */
	int hyperstart_fd; /* owned: sealed copy; -1 */
	char *tap_prefix;  /* owned; NULL: no taps */
	bool user_network;
	unsigned tap_counter;
};

/*
 * Task: the one called NAME (NULL or "auto": the daemon's), opened when this is the first that is
 * heard of it. One that could not be opened is tried again by whoever asks next.
 */
int factory_hypervisor(struct sandbox_factory *factory, const char *name, struct hypervisor **ret,
		       struct error *err);

/* ------------------------------------------------------------------ places (place.c) */

struct place {
	struct list node;
	struct sandbox_factory *factory; /* borrowed */
	char *name;                      /* owned */
	char *run_dir;                   /* owned */
	struct cgroup *cgroup;           /* owned */
	uid_t uid;                       /* 0: needs none */
};

int place_new(struct sandbox_factory *factory, const char *name, bool wants_uid, bool delegated,
	      const struct cgroup_limits *limits, struct place **ret, struct error *err);
/* The place of an earlier daemon's sandbox. */
int place_adopt(struct sandbox_factory *factory, const char *name, uid_t uid, bool delegated,
		struct place **ret, struct error *err);
/* Task: ends what still runs in it, removes it all, frees. Takes NULL. */
void place_remove(struct place *place);
/* Frees the struct; everything stays. */
void place_detach(struct place *place);
/* Task: removes the places on the host that no struct place stands for. */
int place_sweep(struct sandbox_factory *factory, struct error *err);
/* The directory all places' directories are in; owned by the caller. */
char *place_parent_dir(const struct sandbox_factory *factory);

/* ------------------------------------------------------------------ disks (disk.c) */

/* Task: a formatted, empty disk, made once for each size; *ret_path is the caller's. */
int disk_blank(struct sandbox_factory *factory, char **ret_path, struct error *err);
/* Task: a sparse copy, opened for reading and writing. */
int disk_copy(struct sandbox_factory *factory, const char *from, const char *to, int *ret_fd,
	      struct error *err);

/* ------------------------------------------------------------------ layers (layers.c) */

/*
 * Task: posts LayerAdd for each layer, streams those that have no disk in SERIALS (NULL: none has),
 * waits. Requests posted before are carried out before.
 */
int layers_add(struct sandbox_factory *factory, struct agent *agent,
	       const struct sandbox_layer *layers, size_t count, char *const *serials,
	       bool directories, uint64_t deadline_ns, struct error *err);
/* The serial number that a layer's disk has: unique and short. */
void layer_serial(const struct sandbox_layer *layer, char out[21]);

/* ------------------------------------------------------------------ templates (template.c) */

/* What a machine is to be: everything that decides whether a saved one will do. */
struct shape {
	struct hypervisor *hypervisor; /* borrowed */
	const char *machine, *accel;
	unsigned vcpus;
	uint64_t memory_bytes;
	const struct sandbox_layer *streamed;
	size_t streamed_count;
	const struct sandbox_layer *on_disk;
	size_t on_disk_count;
	bool disk_mounted; /* the pod's disk is fresh and mounted in the template */
	enum vm_network network;
	/* Of a container made ahead where the disk is mounted; borrowed; no part of the key:
	 * another one is of no use to a pod, and does it no harm. */
	const Hyper__ContainerCreate *prepare;
};

struct template
{
	struct list node;
	struct sandbox_factory *factory; /* borrowed */
	char key[33];
	unsigned refs;
	enum template_state { TEMPLATE_BUILDING, TEMPLATE_READY, TEMPLATE_FAILED } state;
	struct cond changed;
	struct error why;
	char *dir;     /* owned */
	int memory_fd; /* owned: sealed; -1 while not loaded */
	uint64_t memory_bytes, stored_bytes;
	char **layers; /* owned: diff ids in it */
	bool disk_mounted;
	uint64_t used_ns;
	bool forgotten; /* out of the list: gone with its last reference */
};

/* Task: finds or builds it; waits when somebody else builds it. *ret is a reference. */
int template_get(struct sandbox_factory *factory, const struct shape *shape, struct template **ret,
		 bool *ret_built, struct error *err);
void template_unref(struct template *template);
/* It does not work: removed from memory and disk. */
void template_discard(struct template *template);
void template_forget_layer(struct sandbox_factory *factory, const char *diff_id);
/* Registers those kept on disk; removes half-made ones. */
int template_load_all(struct sandbox_factory *factory, struct error *err);
void template_free_all(struct sandbox_factory *factory);
json_t *template_info(struct sandbox_factory *factory);
/* A clone's own descriptor of the device state, and the disk image it goes with. */
int template_open_state(struct template *template, int *ret_fd, struct error *err);
char *template_disk_path(const struct template *template);

/* ------------------------------------------------------------------ machines (machine.c) */

/* A running machine with its agent, in a place: what templates, pods and the pool have in common.
 */
struct machine {
	struct place *place; /* owned */
	struct vm *vm;       /* owned */
	struct agent *agent; /* owned */
	char tap[TAP_NAME_BYTES];
	int tap_fd; /* owned; 0: none here (another daemon made it) */
};

/* Makes a tap with a name of its own; it goes with its last descriptor. */
int tap_open(struct sandbox_factory *factory, char name[TAP_NAME_BYTES], int *ret_fd,
	     struct error *err);

struct machine_options {
	const struct shape *shape;
	const char *name;
	int disk_fd;           /* borrowed: the pod's disk */
	const char *disk_path; /* the same */
	int memory_fd;
	bool memory_shared;
	int state_fd;
	const struct sandbox_share *shares; /* borrowed */
	size_t share_count;
	const char *user_network;         /* borrowed, may be NULL */
	const struct sandbox_disk *disks; /* borrowed */
	size_t disk_count;
	uint64_t deadline_ms;
	const struct agent_events *agent_events;
	const struct vm_events *vm_events;
	void *owner;
	uint64_t *ret_spawned_ns; /* may be NULL */
};

/* Task: started, connected, resumed (entropy and clock). */
int machine_start(struct sandbox_factory *factory, const struct machine_options *options,
		  struct machine *ret, struct error *err);
/* Task: kills it, removes its place. Harmless on an empty struct. */
void machine_end(struct machine *machine);
/* The configuration that a shape's machines have; DISKS has room for one more than its disk layers.
 */
void machine_config(const struct shape *shape, struct vm_disk *disks, char (*serials)[21],
		    struct vm_config *ret);
int machine_post_resume(struct agent *agent, bool clock, struct agent_ticket *ticket,
			struct error *err);
/* PREPARED_OWNER as in struct sandbox_config. */
int machine_setup_disk(struct agent *agent, bool existing, const char *prepared_owner,
		       uint64_t deadline_ns, struct error *err);

/* ------------------------------------------------------------------ sandboxes */

struct sandbox {
	struct list node;
	struct sandbox_factory *factory; /* borrowed */
	const struct sandbox_backend *backend;
	const struct sandbox_events *events; /* borrowed */
	void *owner;
	char *id, *storage;     /* owned */
	struct machine machine; /* VM: all of it; namespace pod: place and agent */
	struct process process; /* namespace pod: its init */
	struct loop_io exit_io;
	unsigned long long start_time;
	char **layers;                /* owned: diff ids it has */
	char **shares;                /* owned: names of those it has */
	struct loop_timer lost_timer; /* the channel broke: wait a moment for a better reason */
	struct error lost_why;
	bool adopted, started, exited, told, stopping, paused;
	struct cond gone; /* exited was set */
	struct sandbox_timing timing;
	uint64_t begin_ns;
	const char *user_network; /* borrowed for the start */
	bool host_network;
};

struct sandbox_backend {
	enum sandbox_isolation isolation;
	/* Task. SANDBOX has id, storage, events; on failure only the struct is left. */
	int (*start)(struct sandbox *sandbox, const struct sandbox_config *config,
		     struct error *err);
	int (*add_layers)(struct sandbox *sandbox, const struct sandbox_layer *layers, size_t count,
			  struct error *err);
	int (*add_share)(struct sandbox *sandbox, const struct sandbox_share *share,
			 struct error *err);
	int (*pause)(struct sandbox *sandbox, bool paused, struct error *err);
	int (*console)(struct sandbox *sandbox, char **ret, size_t *ret_len, struct error *err);
	pid_t (*pid)(const struct sandbox *sandbox);
	/* Task: ends it the hard way and removes its place. */
	void (*end)(struct sandbox *sandbox);
	void (*detach)(struct sandbox *sandbox);
	/* Adds to the record what adopt needs. */
	void (*record)(const struct sandbox *sandbox, json_t *record);
	int (*adopt)(struct sandbox *sandbox, const json_t *record, struct error *err);
};

extern const struct sandbox_backend vm_backend, namespace_backend;
extern const struct agent_events sandbox_agent_events;
extern const struct vm_events sandbox_vm_events;

void sandbox_exited(struct sandbox *sandbox, const struct error *why);
static inline uint64_t sandbox_since(const struct sandbox *sandbox)
{
	return now_ns() - sandbox->begin_ns;
}
int sandbox_remember_layers(struct sandbox *sandbox, const struct sandbox_layer *layers,
			    size_t count, struct error *err);

/* ------------------------------------------------------------------ the pool (pool.c) */

int pool_new(struct sandbox_factory *factory, struct pool **ret, struct error *err);
/* Task: ends the clones it holds. */
void pool_free(struct pool *pool);
