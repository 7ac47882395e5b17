#pragma once
/*
 * Is KVM worth using here? /dev/kvm can open, create machines and still run guests a hundred times
 * slower than emulation (a software KVM inside a virtual machine), or never come back. So it is
 * proved: a child process runs some thousand instructions of a tiny guest and times them, under a
 * deadline.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct kvm_probe {
	bool usable;
	double instruction_ns; /* 0: not measured */
	char reason[160];      /* for people: why, or why not */
};

/* Task. Always gives an answer within a second or so. */
void kvm_probe_run(struct kvm_probe *ret);
/* The same for another device node and guest length, for tests. */
void kvm_probe_device(const char *device, uint64_t deadline_ns, struct kvm_probe *ret);
