#include "hyperd/hypervisor/kvm_probe.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/task.h"

#define PROBE_DEADLINE_MS 1000
/* Hardware needs about a nanosecond an instruction; a KVM that emulates each one, several hundred.
 */
#define USABLE_NS    20.0
#define ROUNDS       4096
#define INSTRUCTIONS (2 * ROUNDS + 1)

#define GUEST_BYTES 0x10000
#define GUEST_PML4  0x1000
#define GUEST_PDPT  0x2000
#define GUEST_PD    0x3000
#define GUEST_CODE  0x4000

/* What the child finds out; crosses a pipe. */
struct finding {
	int errnum;
	char step[48];
	int exit_reason;
	uint64_t run_ns;
};

static int found_errno(struct finding *f, const char *step)
{
	f->errnum = errno ? errno : EIO;
	snprintf(f->step, sizeof(f->step), "%s", step);
	return -1;
}

/* `1: dec %rcx; jnz 1b; hlt`, and page tables that map the first 2 MiB. */
static void write_guest(uint8_t *memory)
{
	static const uint8_t code[] = { 0x48, 0xff, 0xc9, 0x75, 0xfb, 0xf4 };
	uint64_t entry;

	entry = GUEST_PDPT | 3;
	memcpy(memory + GUEST_PML4, &entry, 8);
	entry = GUEST_PD | 3;
	memcpy(memory + GUEST_PDPT, &entry, 8);
	entry = 0x83; /* a 2 MiB page */
	memcpy(memory + GUEST_PD, &entry, 8);
	memcpy(memory + GUEST_CODE, code, sizeof(code));
}

/* Long mode straight away: what guests spend their time in. */
static int set_registers(int vcpu, struct finding *f)
{
	struct kvm_sregs s;
	struct kvm_regs r = { .rip = GUEST_CODE, .rcx = ROUNDS, .rflags = 2 };
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = { .limit = 0xffffffff,
				    .selector = 16,
				    .type = 3,
				    .present = 1,
				    .s = 1,
				    .db = 1,
				    .g = 1 };

	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		return found_errno(f, "reading registers");
	s.cr3 = GUEST_PML4;
	s.cr4 = 1 << 5;                /* PAE */
	s.cr0 = 1u << 31 | 1 << 4 | 1; /* paging, protected mode */
	s.efer = 1 << 10 | 1 << 8;     /* long mode, active */
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &r) < 0)
		return found_errno(f, "entering long mode");
	return 0;
}

static int time_guest(int vcpu, const struct kvm_run *run, struct finding *f)
{
	uint64_t begin;

	/* The best of three: the first run also faults in the guest's pages. */
	for (int i = 0; i < 3; i++) {
		if (set_registers(vcpu, f) < 0)
			return -1;
		begin = now_ns();
		if (ioctl(vcpu, KVM_RUN, 0) < 0)
			return found_errno(f, "running a guest");
		begin = now_ns() - begin;
		if (i == 0 || begin < f->run_ns)
			f->run_ns = begin;
		f->exit_reason = (int)run->exit_reason;
		if (f->exit_reason != KVM_EXIT_HLT)
			return 0;
	}
	return 0;
}

/* The child; everything it opens ends with it. */
static int probe(const char *device, struct finding *f)
{
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_BYTES };
	uint8_t *memory;
	struct kvm_run *run;
	int kvm, vm, vcpu, run_bytes;

	kvm = open(device, O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return found_errno(f, "opening it");
	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return found_errno(f, "asking its version");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return found_errno(f, "creating a machine");
	memory = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return found_errno(f, "getting memory");
	write_guest(memory);
	region.userspace_addr = (uintptr_t)memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return found_errno(f, "giving it memory");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		return found_errno(f, "creating a CPU");
	run_bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return found_errno(f, "mapping its CPU");
	return time_guest(vcpu, run, f);
}

static void judge(const char *device, const struct finding *f, struct kvm_probe *ret)
{
	double ns = (double)f->run_ns / INSTRUCTIONS;

	if (f->errnum) {
		snprintf(ret->reason, sizeof(ret->reason), "%s: %s: %s", device, f->step,
			 strerror(f->errnum));
	} else if (f->exit_reason != KVM_EXIT_HLT) {
		snprintf(ret->reason, sizeof(ret->reason),
			 "%s: a guest of three instructions ended with KVM exit %d instead of hlt",
			 device, f->exit_reason);
	} else {
		ret->instruction_ns = ns;
		ret->usable = ns <= USABLE_NS;
		snprintf(ret->reason, sizeof(ret->reason), "%s: %.1f ns an instruction, %s", device,
			 ns,
			 ret->usable ? "as hardware does it"
				     : "so it emulates in software, slower than TCG");
	}
}

void kvm_probe_device(const char *device, uint64_t deadline_ns, struct kvm_probe *ret)
{
	autoclose int pidfd = -1, in = -1, out = -1;
	struct finding finding = { 0 };
	int pipes[2];
	pid_t pid;

	memset(ret, 0, sizeof(*ret));
	if (pipe2(pipes, O_CLOEXEC) < 0) {
		snprintf(ret->reason, sizeof(ret->reason), "pipe: %s", strerror(errno));
		return;
	}
	in = pipes[0];
	out = pipes[1];
	pid = fork();
	if (pid == 0) {
		probe(device, &finding);
		fd_write_all(out, &finding, sizeof(finding));
		_exit(0);
	}
	if (pid > 0)
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		snprintf(ret->reason, sizeof(ret->reason), "fork: %s", strerror(errno));
		return;
	}
	if (task_wait_fd(pidfd, EPOLLIN, deadline_ns, NULL) < 0) {
		/* It may hang where no signal reaches it: it is not waited for, then. */
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		waitpid(pid, NULL, WNOHANG);
		snprintf(ret->reason, sizeof(ret->reason), "%s: no answer within its deadline",
			 device);
		return;
	}
	waitpid(pid, NULL, 0);
	fd_set_nonblocking(in, true);
	if (fd_read(in, &finding, sizeof(finding)) != sizeof(finding)) {
		snprintf(ret->reason, sizeof(ret->reason), "%s: the probe died", device);
		return;
	}
	judge(device, &finding, ret);
}

void kvm_probe_run(struct kvm_probe *ret)
{
	kvm_probe_device("/dev/kvm", deadline_in_ms(PROBE_DEADLINE_MS), ret);
}
