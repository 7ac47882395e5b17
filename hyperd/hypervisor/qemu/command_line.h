#pragma once
/*
 * QEMU's command line. A pure function: it opens nothing and names descriptors by number only.
 * Everything in it but those numbers shapes a template, so its text is part of a template's key.
 */
#include "base/error.h"
#include "hyperd/hypervisor/hypervisor.h"

/* Descriptors under the numbers they have in QEMU; -1: not there. */
struct qemu_fds {
	int agent, qmp, kernel, initramfs, memory;
	const int *disks; /* as many as the configuration has */
	int tap;
};

/* What does not change while the daemon runs. */
struct qemu_host {
	unsigned tb_cache_mib; /* TCG: at most so much translated code; 0: the default */
	unsigned tsc_khz;      /* the frequency of the host's time stamp counter */
};

/* The guest kernel's command line on any QEMU; kernel-config/README.md says why each of these. */
#define QEMU_KERNEL_CMDLINE                                                   \
	"console=ttyS0 quiet panic=-1 reboot=t no_timer_check noreplace-smp " \
	"rcupdate.rcu_expedited=1 hyper.channel=vport"
/* TCG hands the host's TSC through, and a microvm has nothing dependable to measure it with. */
#define QEMU_KERNEL_CMDLINE_TCG " tsc_early_khz=%u lapic_timer_khz=1000000 tsc=reliable"

/* A ceiling; what a machine does not translate costs nothing. docs/hypervisors.md has the
 * measurements. */
#define QEMU_TB_CACHE_MIB 64

/* The QMP id of the console's ring buffer, and how much it keeps. */
#define QEMU_CONSOLE_ID    "console"
#define QEMU_CONSOLE_BYTES 65536

/*
 * The folder of shared files in QEMU's root, and its 9p tag. Every machine has the device, so that
 * templates fit all; what is in the folder is its own pod's.
 */
#define QEMU_SHARES_DIR "shares"
#define QEMU_SHARES_TAG "shares"

/* *ret is a strv, owned by the caller. */
int qemu_command_line(const char *program, const struct vm_config *config,
		      const struct qemu_fds *fds, const struct qemu_host *host, char ***ret,
		      struct error *err);
/* What else stands on a machine's bus beside the pod's disk decides how many disks fit. */
unsigned qemu_max_disks(const char *machine);
