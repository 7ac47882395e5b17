#include "hyperd/hypervisor/qemu/command_line.h"

#include <inttypes.h>
#include <string.h>

#include "base/str.h"

struct machine {
	const char *name;
	const char *options; /* of -machine */
	const char *tcg_options;
	const char *suffix;  /* of virtio devices: which bus they are on */
	const char *cmdline; /* the kernel's */
	unsigned max_disks;  /* beside the pod's */
};

/*
 * kernel-config/README.md says why each of these. microvm has eight virtio-mmio slots: the agent's
 * serial bus, the pod's disk, a network card, shared files, and four disks of layers.
 */
static const struct machine machines[] = {
	{ "microvm", "microvm,acpi=off,x-option-roms=off,rtc=on,isa-serial=on", ",pit=off,pic=off",
	  "device", " pci=off", 4 },
	{ "q35", "q35,smm=off,sata=off,usb=off,smbus=off,hpet=off,vmport=off,i8042=off", "", "pci",
	  "", 16 },
};

static const struct machine *find_machine(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++)
		if (str_equal(machines[i].name, name))
			return &machines[i];
	return NULL;
}

unsigned qemu_max_disks(const char *machine)
{
	const struct machine *m = find_machine(machine);

	return m ? m->max_disks : 0;
}

/* A strv under construction: remembers that memory ran out, and is checked once. */
struct arguments {
	char **v;
	int r;
};

static void add(struct arguments *a, const char *option, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void add(struct arguments *a, const char *option, const char *fmt, ...)
{
	struct str s = STR_INIT;
	va_list ap;

	if (a->r == 0)
		a->r = strv_add(&a->v, option);
	if (a->r < 0 || !fmt)
		return;
	va_start(ap, fmt);
	str_addvf(&s, fmt, ap);
	va_end(ap);
	a->r = strv_take(&a->v, str_steal(&s));
}

static void add_memory(struct arguments *a, const struct vm_config *c, int fd)
{
	if (c->memory_fd < 0)
		add(a, "-object", "memory-backend-ram,id=memory,size=%" PRIu64, c->memory_bytes);
	else
		/* Opened anew: a sealed memfd opens for writing, and no write or shared mapping
		 * gets through. */
		add(a, "-object",
		    "memory-backend-file,id=memory,size=%" PRIu64
		    ",mem-path=/proc/self/fd/%d,share=%s",
		    c->memory_bytes, fd, c->memory_shared ? "on" : "off");
}

static bool is_tcg(const struct vm_config *c)
{
	return strcmp(c->accel, "tcg") == 0;
}

static void add_cpu(struct arguments *a, const struct vm_config *c, unsigned tb_cache_mib)
{
	if (!is_tcg(c)) {
		add(a, "-accel", "kvm");
		add(a, "-cpu", "host");
		return;
	}
	/* One thread a virtual CPU; translated code is memory that each machine pays for itself. */
	add(a, "-accel", "tcg,thread=multi,tb-size=%u",
	    tb_cache_mib ? tb_cache_mib : QEMU_TB_CACHE_MIB);
	/* Images built for x86-64-v3 must run; with ERMS the kernel copies pages byte by byte. */
	add(a, "-cpu", "max,-erms,-la57");
}

/* Disks have been opened already and are handed over as descriptor sets: QEMU needs to see no file.
 */
static void add_disk(struct arguments *a, const struct vm_config *c, const struct machine *m,
		     size_t i, int fd)
{
	const struct vm_disk *disk = &c->disks[i];

	add(a, "-add-fd", "fd=%d,set=%zu", fd, i + 1);
	add(a, "-blockdev",
	    "driver=%s,node-name=file%zu,filename=/dev/fdset/%zu,locking=off,read-only=%s,"
	    "discard=unmap,cache.direct=off",
	    disk->device ? "host_device" : "file", i, i + 1, disk->read_only ? "on" : "off");
	add(a, "-blockdev", "driver=%s,node-name=disk%zu,file=file%zu,read-only=%s,discard=unmap",
	    disk->qcow2 ? "qcow2" : "raw", i, i, disk->read_only ? "on" : "off");
	add(a, "-device", "virtio-blk-%s,drive=disk%zu,serial=%s,num-queues=1", m->suffix, i,
	    disk->serial);
}

/*
 * The card of a template and of its clones is the same, and so must be what its peer can do: a tap
 * with offloads, also for a template, which has nobody to talk to. The address is the pod's affair.
 */
static void add_network(struct arguments *a, const struct vm_config *c, const struct machine *m,
			int tap)
{
	if (c->network == VM_NETWORK_NONE)
		return;
	if (c->network == VM_NETWORK_TAP)
		add(a, "-netdev", "tap,id=net0,fd=%d,vhost=off", tap);
	else
		add(a, "-netdev", "user,id=net0%s%s", c->user_network ? "," : "",
		    c->user_network ? c->user_network : "");
	add(a, "-device", "virtio-net-%s,netdev=net0,mac=02:00:00:00:00:01%s", m->suffix,
	    strcmp(m->suffix, "pci") == 0 ? ",romfile=" : "");
}

int qemu_command_line(const char *program, const struct vm_config *c, const struct qemu_fds *fds,
		      const struct qemu_host *host, char ***ret, struct error *err)
{
	const struct machine *m = find_machine(c->machine);
	struct arguments a = { 0 };

	if (!m)
		return error_set(err, ERROR_INVALID, "machine '%s': expected microvm or q35",
				 c->machine);
	add(&a, program, NULL);
	add(&a, "-nodefaults", NULL);
	add(&a, "-no-user-config", NULL);
	add(&a, "-no-reboot", NULL);
	add(&a, "-display", "none");
	/* A QEMU that a guest has taken over finds no way to start programs or to change what it
	 * is. */
	add(&a, "-sandbox",
	    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	add(&a, "-machine", "%s%s,memory-backend=memory,dump-guest-core=off", m->options,
	    is_tcg(c) ? m->tcg_options : "");
	add_cpu(&a, c, host->tb_cache_mib);
	add(&a, "-smp", "%u", c->vcpus);
	add(&a, "-m", "%" PRIu64 "M", c->memory_bytes >> 20);
	add_memory(&a, c, fds->memory);
	if (strcmp(m->suffix, "device") == 0)
		add(&a, "-global", "virtio-mmio.force-legacy=false");
	add(&a, "-global", "migration.x-events=on");
	add(&a, "-kernel", "/proc/self/fd/%d", fds->kernel);
	add(&a, "-initrd", "/proc/self/fd/%d", fds->initramfs);
	if (is_tcg(c))
		add(&a, "-append", QEMU_KERNEL_CMDLINE QEMU_KERNEL_CMDLINE_TCG "%s", host->tsc_khz,
		    m->cmdline);
	else
		add(&a, "-append", QEMU_KERNEL_CMDLINE "%s", m->cmdline);

	/* Listening sockets that the daemon made: they outlive it, and the next one connects to
	 * them. */
	add(&a, "-chardev", "socket,id=qmp,fd=%d,server=on,wait=off", fds->qmp);
	add(&a, "-mon", "chardev=qmp,mode=control");
	add(&a, "-chardev", "socket,id=agent,fd=%d,server=on,wait=off", fds->agent);
	add(&a, "-device", "virtio-serial-%s,max_ports=2", m->suffix);
	add(&a, "-device", "virtserialport,chardev=agent,name=hyper.agent");
	/* Bounded by construction, whoever lives or dies. */
	add(&a, "-chardev", "ringbuf,id=" QEMU_CONSOLE_ID ",size=%d", QEMU_CONSOLE_BYTES);
	add(&a, "-serial", "chardev:" QEMU_CONSOLE_ID);
	for (size_t i = 0; i < c->disk_count; i++)
		add_disk(&a, c, m, i, fds->disks[i]);
	/* Owners and modes are the files' own (confine.h). Several file systems of the host become
	 * one of the guest's: inode numbers must not collide. */
	add(&a, "-fsdev",
	    "local,id=shares,path=/" QEMU_SHARES_DIR ",security_model=passthrough,multidevs=remap");
	add(&a, "-device", "virtio-9p-%s,fsdev=shares,mount_tag=" QEMU_SHARES_TAG, m->suffix);
	add_network(&a, c, m, fds->tap);
	if (c->state_fd >= 0)
		add(&a, "-incoming", "defer");

	if (a.r < 0) {
		strv_free(a.v);
		return error_nomem(err);
	}
	*ret = a.v;
	return 0;
}
