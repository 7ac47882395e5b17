#pragma once
/*
 * One connection to libvirt, shared by all machines of a driver. It may be lost (libvirtd died) and
 * is then made again, with growing pauses and by whoever needs it; machines go on meanwhile, and
 * what became of them is looked up when it is back. What happens to domains comes as events of
 * libvirt's: nothing polls.
 *
 * Loop thread, but for jobs, which get a connection of their own reference.
 */
#include <pthread.h>

#include "base/list.h"
#include "base/task.h"
#include "hyperd/hypervisor/hypervisor.h"
#include "hyperd/hypervisor/libvirt/domain_xml.h"
#include "hyperd/hypervisor/libvirt/library.h"

struct libvirt;
struct libvirt_job;
struct libvirt_vm;

/* What differs between the hypervisors that libvirt drives. */
struct libvirt_flavour {
	const struct hypervisor_driver *driver;
	int (*xml)(const struct vm_config *config, const struct domain_options *options,
		   struct str *out, struct error *err);
	/* In a job: a descriptor to read the console of a domain from, or -1. NULL: none has. */
	int (*open_console)(struct libvirt_job *job, virDomainPtr domain, const char *run_dir);
	bool hands_over_disks; /* as descriptors; else by path */
	bool tcg;              /* its guests may need the host's TSC frequency */
	const char *package;   /* that has libvirt's driver for it */
};

struct libvirt {
	struct hypervisor base;
	const struct libvirt_flavour *flavour;
	const struct libvirt_library *lib;
	struct loop *loop;        /* borrowed */
	struct job_pool *jobs;    /* borrowed */
	char *uri;                /* owned */
	char *owner;              /* owned: whose domains ours are */
	char *kernel, *initramfs; /* owned: absolute */
	char *emulator;           /* owned; NULL: libvirt's choice */
	bool embedded;            /* in this process, without any daemon of libvirt's */
	unsigned tsc_khz, tb_cache_mib;
	unsigned long version;    /* of the hypervisor, as libvirt counts */
	virConnectPtr connection; /* owned; NULL while there is none */
	struct task_mutex connecting;
	struct task *reconnecting; /* owned */
	struct list vms;           /* of libvirt_vm.node */
	struct event_sink *sink;   /* reference */
	struct loop_io sink_io;
};

/* Task. */
int libvirt_open(const struct libvirt_flavour *flavour, const char *uri,
		 const struct hypervisor_config *config, struct hypervisor **ret,
		 struct error *err);
void libvirt_close(struct hypervisor *hypervisor);
json_t *libvirt_info(struct hypervisor *hypervisor);

/* Runs in a job: ARG is the call's own. */
struct libvirt_job {
	const struct libvirt *libvirt; /* what does not change in it */
	virConnectPtr connection;
	void *arg;
	struct error error;
};
typedef int libvirt_job_fn(struct libvirt_job *job, void *arg);

/* Task: runs FN(job, ARG) in a job, connected. */
int libvirt_run(struct libvirt *libvirt, libvirt_job_fn *fn, void *arg, struct error *err);

/* In a job: the machine's domain, or ERROR_NOT_FOUND; a domain that is not ours is none. */
int libvirt_find_domain(struct libvirt_job *job, const char *uuid, virDomainPtr *ret);
bool libvirt_is_ours(struct libvirt_job *job, virDomainPtr domain);

/* In vm.c: the domain has ended, and how. */
void libvirt_vm_ended_as(struct libvirt_vm *vm, const char *how);
struct libvirt_vm *libvirt_vm_find(struct libvirt *libvirt, const char *uuid);
/* Task, after the connection was lost: have they ended meanwhile? */
int libvirt_vms_check(struct libvirt *libvirt, struct error *err);
