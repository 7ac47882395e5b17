#pragma once
/*
 * Hypervisors: one table of functions each. What stands above asks for a virtual machine with a
 * channel to its agent and names what it needs; whether it is one QEMU process or a libvirt domain,
 * only the driver knows.
 *
 * A driver confines what it starts: a process of its own user, namespaces and control group, which
 * gets disks and sockets as open descriptors. Machines outlive the daemon; a later one adopts them
 * by their record.
 *
 * Loop thread; functions marked "task" wait.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/job.h"
#include "base/loop.h"
#include "base/str.h"
#include "hyperd/cgroup/cgroup.h"

struct hypervisor;
struct vm;

struct hypervisor_config {
	struct loop *loop; /* borrowed, as all here */
	struct job_pool *jobs;
	const char *program;  /* QEMU: name or path */
	const char *run_root; /* absolute: of the daemon's sandboxes, and so what tells it apart */
	const char *kernel, *initramfs;
	const char *state_dir; /* an existing directory where a driver keeps what it has measured */
	const char *jail_dir;  /* an empty directory, mount point of each machine's private root */
	const char
		*libvirt_uri; /* of QEMU through libvirt; NULL: libvirtd where it runs, else none */
	unsigned tb_cache_mib; /* TCG: memory for translated code; 0: the default */
};

/* What a driver can do: its word, which the layers above go by and `info` shows. */
enum hypervisor_feature {
	HYPERVISOR_TEMPLATES,    /* saves machines and starts clones of them */
	HYPERVISOR_PAUSE,        /* stops a machine's CPUs and lets them go on */
	HYPERVISOR_CONSOLE,      /* keeps what the guest's console said */
	HYPERVISOR_DISKS,        /* attaches image layers as disks when a machine starts */
	HYPERVISOR_DISK_HOTPLUG, /* … while it runs */
	HYPERVISOR_NETWORK,      /* gives machines interfaces on the host's bridges */
	HYPERVISOR_NETWORK_HOTPLUG,
	HYPERVISOR_QCOW2,        /* attaches disks in QEMU's format, beside raw ones */
	HYPERVISOR_FILE_SHARING, /* shows directories of the host to the guest */
	HYPERVISOR_MEMORY_HOTPLUG,
	HYPERVISOR_CPU_HOTPLUG,
	HYPERVISOR_BALLOON,  /* takes memory back from a running guest */
	HYPERVISOR_CONFINED, /* each machine has a user and walls of its own on the host */
	HYPERVISOR_FEATURES,
};
/* "templates", "disk_hotplug", … */
const char *hypervisor_feature_name(enum hypervisor_feature feature);

struct vm_disk {
	int fd;             /* borrowed; O_RDONLY when read_only */
	const char *path;   /* of the same file, for whoever cannot be given a descriptor */
	const char *serial; /* at most 20 bytes (virtio-blk) */
	bool read_only;
	bool qcow2;  /* else raw */
	bool device; /* the host's block device, no file */
};

/* A file or directory of the host that the guest sees: a detached mount (open_tree(2)). */
struct vm_share {
	const char *name; /* in the folder of shares */
	int fd;           /* borrowed */
	bool is_directory;
};

/* What is at the other end of a machine's network card. */
enum vm_network {
	VM_NETWORK_NONE, /* it has no card */
	VM_NETWORK_TAP,  /* an interface of the host */
	VM_NETWORK_USER, /* a stack inside of the hypervisor, which needs no rights */
};

struct vm_config {
	const char *name;    /* unique among running machines */
	const char *run_dir; /* an existing directory for its sockets */
	const char *machine; /* "microvm", "q35" */
	const char *accel;   /* "kvm", "tcg" */
	unsigned vcpus;
	uint64_t memory_bytes;
	const struct vm_disk *disks;
	size_t disk_count;
	/*
	 * Guest memory: -1 for anonymous, or a memfd of memory_bytes, whose content is written to
	 * (SHARED, while a template is made) or copied on write.
	 */
	int memory_fd;
	bool memory_shared;
	int state_fd; /* device state to go on from; -1: boot */
	const struct vm_share *shares;
	size_t share_count;
	enum vm_network network;
	int tap_fd; /* TAP: borrowed */
	/* USER: what the stack plays, as "net=…,host=…,hostfwd=…"; NULL: its defaults. No part of a
	 * template. Borrowed. */
	const char *user_network;
	uid_t uid; /* also the gid */
	struct cgroup *cgroup;
};

struct vm_events {
	/* It has ended by itself; told once, from the loop. The owner calls vm_end() later, not
	 * from here. */
	void (*exited)(struct vm *vm, const struct error *why, void *owner);
};

struct hypervisor_driver {
	const char *name; /* as users choose it */
	const char *summary;
	bool features[HYPERVISOR_FEATURES];
	/* Machines that it knows, up to a NULL; the first is what a pod gets that does not say. */
	const char *const *machines;
	/* What accelerates its machines, or NULL: QEMU's choice between KVM and emulation. */
	const char *accel;
	/* Disks that a machine can have beside the pod's; 0: none. */
	unsigned (*max_disks)(const char *machine);

	/* Task. */
	int (*open)(const struct hypervisor_config *config, struct hypervisor **ret,
		    struct error *err);
	void (*close)(struct hypervisor *hypervisor);
	/* Task: {"name", "version", …}. */
	json_t *(*info)(struct hypervisor *hypervisor);
	/* Task: adds all that shapes a saved machine of this CONFIG: programs, firmware, command
	 * line. */
	int (*fingerprint)(struct hypervisor *hypervisor, const struct vm_config *config,
			   struct str *out, struct error *err);

	/* Task: starts the machine; does not wait for its guest. */
	int (*start)(struct hypervisor *hypervisor, const struct vm_config *config,
		     const struct vm_events *events, void *owner, struct vm **ret,
		     struct error *err);
	/* Task: waits until a saved state has been loaded. With save() and fingerprint(): of
	 * drivers with templates. */
	int (*loaded)(struct vm *vm, uint64_t deadline_ns, struct error *err);
	/* A new connection to the agent; the machine keeps what is written until its guest reads.
	 */
	int (*channel)(struct vm *vm, int *ret_fd, struct error *err);
	/* Task. */
	int (*pause)(struct vm *vm, bool paused, struct error *err);
	/* Task: writes the device state to STATE_FD and leaves the machine stopped, its memory in
	 * memory_fd. */
	int (*save)(struct vm *vm, int state_fd, uint64_t deadline_ns, struct error *err);
	/* Task: what the guest's console said last. */
	int (*console)(struct vm *vm, char **ret, size_t *ret_len, struct error *err);
	pid_t (*pid)(const struct vm *vm);
	/* Task: waits until it has ended by itself: 0 and why, or -ETIMEDOUT, -ECANCELED. */
	int (*ended)(struct vm *vm, uint64_t deadline_ns, struct error *ret_why);

	/* Task: kills it if it runs, removes what it had, frees the struct. Takes NULL. */
	void (*end)(struct vm *vm);
	json_t *(*record)(const struct vm *vm);
	/* Task: CONFIG gives name, run_dir, cgroup and uid as at the start. ERROR_NOT_FOUND when it
	 * is gone. */
	int (*adopt)(struct hypervisor *hypervisor, const json_t *record,
		     const struct vm_config *config, const struct vm_events *events, void *owner,
		     struct vm **ret, struct error *err);
	/* Frees the struct and leaves the machine running. */
	void (*detach)(struct vm *vm);
	/* Task, after all adoptions: ends machines of this daemon's that it has no struct for.
	 * NULL: what runs in the sandboxes' control groups is all there is. */
	int (*sweep)(struct hypervisor *hypervisor, struct error *err);
};

/* All of them, in the order in which they are shown. */
#define HYPERVISOR_COUNT 2
extern const struct hypervisor_driver *const hypervisor_drivers[HYPERVISOR_COUNT];
extern const struct hypervisor_driver qemu_driver, libvirt_qemu_driver;

/* NULL when nothing is called NAME. */
const struct hypervisor_driver *hypervisor_find(const char *name);
/* "auto", and the same with the names that there are in the error: ERROR_INVALID. */
int hypervisor_check_name(const char *name, struct error *err);
/* What "auto" means on this host; *ret_reason is a literal. */
const struct hypervisor_driver *hypervisor_choose(const char **ret_reason);
bool hypervisor_has_machine(const struct hypervisor_driver *driver, const char *machine);
/* MACHINE is nobody's: names the driver and what it has. */
int hypervisor_check_machine(const struct hypervisor_driver *driver, const char *machine,
			     struct error *err);
/* {"templates": true, …} */
json_t *hypervisor_features(const struct hypervisor_driver *driver);

/* What each driver's own structs begin with. */
struct hypervisor {
	const struct hypervisor_driver *driver;
};
struct vm {
	struct hypervisor *hypervisor;  /* borrowed */
	const struct vm_events *events; /* borrowed */
	void *owner;
};
