#pragma once
/* One domain of libvirt's, from start (or adoption) to end. See hypervisor.h for what the functions
 * promise. */
#include "hyperd/hypervisor/libvirt/connection.h"

int libvirt_vm_start(struct hypervisor *hypervisor, const struct vm_config *config,
		     const struct vm_events *events, void *owner, struct vm **ret,
		     struct error *err);
int libvirt_vm_channel(struct vm *vm, int *ret_fd, struct error *err);
int libvirt_vm_pause(struct vm *vm, bool paused, struct error *err);
int libvirt_vm_console(struct vm *vm, char **ret, size_t *ret_len, struct error *err);
pid_t libvirt_vm_pid(const struct vm *vm);
int libvirt_vm_ended(struct vm *vm, uint64_t deadline_ns, struct error *ret_why);
void libvirt_vm_end(struct vm *vm);
json_t *libvirt_vm_record(const struct vm *vm);
int libvirt_vm_adopt(struct hypervisor *hypervisor, const json_t *record,
		     const struct vm_config *config, const struct vm_events *events, void *owner,
		     struct vm **ret, struct error *err);
void libvirt_vm_detach(struct vm *vm);
int libvirt_vm_sweep(struct hypervisor *hypervisor, struct error *err);
