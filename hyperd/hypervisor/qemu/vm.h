#pragma once
/* One QEMU process, from start (or adoption) to end. See hypervisor.h for what the functions
 * promise. */
#include <sys/stat.h>

#include "base/process.h"
#include "hyperd/hypervisor/hypervisor.h"
#include "hyperd/hypervisor/qemu/command_line.h"
#include "hyperd/hypervisor/qemu/qmp.h"

/* Program, kernel and initramfs. */
#define QEMU_HASHED 3

struct qemu {
	struct hypervisor base;
	struct loop *loop;        /* borrowed */
	struct job_pool *jobs;    /* borrowed */
	char *program;            /* owned: absolute path */
	char *version;            /* owned: what --version says */
	char *jail_dir;           /* owned */
	char *kernel, *initramfs; /* owned */
	struct qemu_host host;
	struct stat hashed[QEMU_HASHED]; /* as they were when hashed */
	char digests[QEMU_HASHED][65];
};

int qemu_vm_start(struct hypervisor *hypervisor, const struct vm_config *config,
		  const struct vm_events *events, void *owner, struct vm **ret, struct error *err);
int qemu_vm_loaded(struct vm *vm, uint64_t deadline_ns, struct error *err);
int qemu_vm_channel(struct vm *vm, int *ret_fd, struct error *err);
int qemu_vm_pause(struct vm *vm, bool paused, struct error *err);
int qemu_vm_save(struct vm *vm, int state_fd, uint64_t deadline_ns, struct error *err);
int qemu_vm_console(struct vm *vm, char **ret, size_t *ret_len, struct error *err);
pid_t qemu_vm_pid(const struct vm *vm);
int qemu_vm_ended(struct vm *vm, uint64_t deadline_ns, struct error *ret_why);
void qemu_vm_end(struct vm *vm);
json_t *qemu_vm_record(const struct vm *vm);
int qemu_vm_adopt(struct hypervisor *hypervisor, const json_t *record,
		  const struct vm_config *config, const struct vm_events *events, void *owner,
		  struct vm **ret, struct error *err);
void qemu_vm_detach(struct vm *vm);
