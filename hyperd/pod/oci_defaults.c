#include "hyperd/pod/oci_defaults.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/str.h"

char *const oci_masked_paths[] = {
	"/proc/asound",
	"/proc/acpi",
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/proc/sched_debug",
	"/proc/scsi",
	"/sys/firmware",
	NULL,
};

char *const oci_read_only_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

/* ------------------------------------------------------------------ capabilities */

static const char *const capability_names[] = {
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_DAC_READ_SEARCH",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_SETGID",
	"CAP_SETUID",
	"CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST",
	"CAP_NET_ADMIN",
	"CAP_NET_RAW",
	"CAP_IPC_LOCK",
	"CAP_IPC_OWNER",
	"CAP_SYS_MODULE",
	"CAP_SYS_RAWIO",
	"CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE",
	"CAP_SYS_PACCT",
	"CAP_SYS_ADMIN",
	"CAP_SYS_BOOT",
	"CAP_SYS_NICE",
	"CAP_SYS_RESOURCE",
	"CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG",
	"CAP_MKNOD",
	"CAP_LEASE",
	"CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL",
	"CAP_SETFCAP",
	"CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN",
	"CAP_SYSLOG",
	"CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ",
	"CAP_PERFMON",
	"CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
};

/* moby/oci/caps/defaults.go */
static const char *const default_capabilities[] = {
	"CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
	"CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
	"CAP_KILL",    "CAP_AUDIT_WRITE",
};

int capability_number(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(capability_names); i++)
		if (strcasecmp(name, capability_names[i]) == 0 ||
		    strcasecmp(name, capability_names[i] + strlen("CAP_")) == 0)
			return (int)i;
	return -1;
}

const char *capability_name(unsigned number)
{
	return number < ARRAY_SIZE(capability_names) ? capability_names[number] : "";
}

static int capability_set(char *const *names, uint64_t *ret, bool *ret_all, struct error *err)
{
	*ret = 0;
	*ret_all = false;
	strv_for_each(name, names) {
		int number = capability_number(*name);

		if (strcasecmp(*name, "ALL") == 0)
			*ret_all = true;
		else if (number < 0)
			return error_set(err, ERROR_INVALID, "invalid capability: \"%s\"", *name);
		else
			*ret |= 1ull << number;
	}
	return 0;
}

int capabilities_make(char *const *add, char *const *drop, bool privileged, uint64_t *ret,
		      struct error *err)
{
	uint64_t added, dropped, defaults = 0;
	bool add_all, drop_all;
	int r = capability_set(add, &added, &add_all, err);

	if (r < 0)
		return error_prefix(err, r, "CapAdd");
	r = capability_set(drop, &dropped, &drop_all, err);
	if (r < 0)
		return error_prefix(err, r, "CapDrop");
	for (size_t i = 0; i < ARRAY_SIZE(default_capabilities); i++)
		defaults |= 1ull << capability_number(default_capabilities[i]);
	if (privileged)
		*ret = CAPABILITIES_ALL;
	else if (add_all)
		*ret = CAPABILITIES_ALL & ~dropped;
	else if (drop_all)
		*ret = added;
	else
		*ret = (defaults & ~dropped) | added;
	return 0;
}

/* ------------------------------------------------------------------ signals */

int signal_parse(const char *text, int *ret, struct error *err)
{
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	unsigned long long number;

	if (parse_u64(text, 1, 64, &number) == 0) {
		*ret = (int)number;
		return 0;
	}
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *known = sigabbrev_np(i);

		if (known && strcasecmp(known, name) == 0) {
			*ret = i;
			return 0;
		}
	}
	if (strncasecmp(name, "RTMIN", 5) == 0 || strncasecmp(name, "RTMAX", 5) == 0) {
		bool min = strncasecmp(name, "RTMIN", 5) == 0;
		const char *rest = name + 5;
		unsigned long long offset = 0;

		if (!*rest ||
		    (*rest == (min ? '+' : '-') && parse_u64(rest + 1, 0, 30, &offset) == 0)) {
			*ret = min ? 34 + (int)offset : 64 - (int)offset;
			return 0;
		}
	}
	return error_set(err, ERROR_INVALID, "Invalid signal: %s", text);
}

/* ------------------------------------------------------------------ devices */

static const struct {
	const char *path;
	uint32_t major, minor;
} default_devices[] = {
	{ "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },    { "/dev/full", 1, 7 },
	{ "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
};

static const struct {
	const char *type;
	int64_t major, minor;
	const char *access;
} default_rules[] = {
	{ "c", -1, -1, "m" }, { "b", -1, -1, "m" }, { "c", 1, 3, "rwm" },    { "c", 1, 5, "rwm" },
	{ "c", 1, 7, "rwm" }, { "c", 1, 8, "rwm" }, { "c", 1, 9, "rwm" },    { "c", 5, 0, "rwm" },
	{ "c", 5, 1, "rwm" }, { "c", 5, 2, "rwm" }, { "c", 136, -1, "rwm" },
};

static Hyper__DeviceRule *make_rule(struct arena *arena, bool allow, const char *type,
				    int64_t major, int64_t minor, const char *access)
{
	Hyper__DeviceRule *rule = arena_message(arena, Hyper__DeviceRule, HYPER__DEVICE_RULE__INIT);

	rule->allow = allow;
	rule->type = (char *)type;
	rule->major = major;
	rule->minor = minor;
	rule->access = (char *)access;
	return rule;
}

void oci_devices(struct arena *arena, Hyper__ContainerCreate *create, bool privileged)
{
	create->devices = arena_alloc(arena, sizeof(void *) * ARRAY_SIZE(default_devices));
	for (size_t i = 0; i < ARRAY_SIZE(default_devices); i++) {
		Hyper__Device *device = arena_message(arena, Hyper__Device, HYPER__DEVICE__INIT);

		device->path = (char *)default_devices[i].path;
		device->mode = S_IFCHR | 0666;
		device->major = default_devices[i].major;
		device->minor = default_devices[i].minor;
		create->devices[create->n_devices++] = device;
	}
	create->device_rules = arena_alloc(arena, sizeof(void *) * (ARRAY_SIZE(default_rules) + 1));
	if (privileged) {
		create->device_rules[create->n_device_rules++] =
			make_rule(arena, true, "a", -1, -1, "rwm");
		return;
	}
	create->device_rules[create->n_device_rules++] =
		make_rule(arena, false, "a", -1, -1, "rwm");
	for (size_t i = 0; i < ARRAY_SIZE(default_rules); i++)
		create->device_rules[create->n_device_rules++] =
			make_rule(arena, true, default_rules[i].type, default_rules[i].major,
				  default_rules[i].minor, default_rules[i].access);
}

/* ------------------------------------------------------------------ limits */

const char *rlimit_name(const char *name)
{
	static const char *const names[][2] = {
		{ "as", "RLIMIT_AS" },
		{ "core", "RLIMIT_CORE" },
		{ "cpu", "RLIMIT_CPU" },
		{ "data", "RLIMIT_DATA" },
		{ "fsize", "RLIMIT_FSIZE" },
		{ "locks", "RLIMIT_LOCKS" },
		{ "memlock", "RLIMIT_MEMLOCK" },
		{ "msgqueue", "RLIMIT_MSGQUEUE" },
		{ "nice", "RLIMIT_NICE" },
		{ "nofile", "RLIMIT_NOFILE" },
		{ "nproc", "RLIMIT_NPROC" },
		{ "rss", "RLIMIT_RSS" },
		{ "rtprio", "RLIMIT_RTPRIO" },
		{ "rttime", "RLIMIT_RTTIME" },
		{ "sigpending", "RLIMIT_SIGPENDING" },
		{ "stack", "RLIMIT_STACK" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i][0], name) == 0)
			return names[i][1];
	return NULL;
}

int sysctl_check(const char *name, struct error *err)
{
	static const char *const allowed[] = {
		"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
	};
	static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789_.-/";

	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
		if (strcmp(name, allowed[i]) == 0)
			return 0;
	if ((str_starts(name, "net.") || str_starts(name, "fs.mqueue.")) &&
	    strspn(name, more) == strlen(name) && !strstr(name, ".."))
		return 0;
	return error_set(err, ERROR_INVALID, "sysctl '%s' is not allowed", name);
}
