#include "hyperstart/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "hyperstart/cgroup_devices.h"
#include "hyperstart/pod.h"

#define CGROUP_MOUNT "/sys/fs/cgroup"
/* Where the agent itself goes in a v2 group of the host's: a group with members may not have
 * controllers. */
#define AGENT_GROUP    ".agent" /* no container's name begins with a dot */
#define FILE_MAX_BYTES (1u << 20)
/* A process in an uninterruptible wait cannot be stopped. */
#define FREEZE_DEADLINE_MS 1000

/* ------------------------------------------------------------------ the root */

/* Lets children have every controller there is; one by one, since one that is missing refuses the
 * whole line. */
static void enable_controllers(int fd)
{
	static const char *const wanted[] = { "+memory", "+cpu", "+cpuset", "+io", "+pids" };

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		pod_write_file(fd, "cgroup.subtree_control", wanted[i]);
}

int cgroup_root_mount(struct cgroup_root *root, struct error *err)
{
	struct cgroup_dir *dir = &root->dirs[0];

	if (root->count)
		return 0;
	mkdir(CGROUP_MOUNT, 0755);
	if (mount("cgroup2", CGROUP_MOUNT, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 &&
	    errno != EBUSY)
		return error_errno(err, errno, "mounting cgroup2");
	dir->fd = open(CGROUP_MOUNT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->fd < 0)
		return error_errno(err, errno, "opening %s", CGROUP_MOUNT);
	root->unified = true;
	root->count = 1;
	enable_controllers(dir->fd);
	return 0;
}

static int leave_for_controllers(int fd, struct error *err)
{
	autoclose int own_fd = -1;
	int r;

	if (mkdirat(fd, AGENT_GROUP, 0755) < 0 && errno != EEXIST)
		return error_errno(err, errno, "making the agent's own cgroup");
	own_fd = openat(fd, AGENT_GROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = own_fd < 0 ? -errno : pod_write_file(own_fd, "cgroup.procs", "0");
	if (r < 0)
		return error_errno(err, -r, "entering the agent's own cgroup");
	enable_controllers(fd);
	return 0;
}

int cgroup_root_given(struct cgroup_root *root, const Hyper__CgroupRoot *given, struct error *err)
{
	if (given->n_directories > CGROUP_DIRS_MAX)
		return error_set(err, ERROR_INVALID, "cgroup: at most %d directories",
				 CGROUP_DIRS_MAX);
	cgroup_root_done(root);
	root->unified = given->unified;
	for (size_t i = 0; i < given->n_directories; i++) {
		const Hyper__KeyValue *kv = given->directories[i];
		struct cgroup_dir *dir = &root->dirs[root->count];

		if (strlen(kv->key) >= sizeof(dir->controller))
			return error_set(err, ERROR_INVALID, "cgroup: controller '%s'", kv->key);
		strcpy(dir->controller, kv->key);
		dir->fd = open(kv->value, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir->fd < 0)
			return error_errno(err, errno, "cgroup '%s'", kv->value);
		root->count++;
	}
	return root->unified && root->count ? leave_for_controllers(root->dirs[0].fd, err) : 0;
}

static void close_dirs(struct cgroup_dir *dirs, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		close(dirs[i].fd);
	*count = 0;
}

void cgroup_root_done(struct cgroup_root *root)
{
	close_dirs(root->dirs, &root->count);
}

/* ------------------------------------------------------------------ one group */

int cgroup_dir_fd(const struct cgroup *g, const char *controller)
{
	for (size_t i = 0; i < g->count; i++) {
		const char *names = g->dirs[i].controller;
		const char *found = strstr(names, controller);
		size_t len = strlen(controller);

		if (g->unified || (found && (found == names || found[-1] == ',') &&
				   (found[len] == '\0' || found[len] == ',')))
			return g->dirs[i].fd;
	}
	return -1;
}

/* A v1 cpuset group cannot have members before it has been told cpus and memory nodes. */
static void inherit_cpuset(int parent_fd, int fd)
{
	static const char *const names[] = { "cpuset.cpus", "cpuset.mems" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		autofree char *text = NULL;

		if (file_read(fd, names[i], 4096, &text, NULL, NULL) == 0 && text[0] > ' ')
			continue;
		free(steal(text));
		if (file_read(parent_fd, names[i], 4096, &text, NULL, NULL) == 0)
			pod_write_file(fd, names[i], text);
	}
}

int cgroup_new(struct cgroup_root *root, const char *name, struct cgroup **ret, struct error *err)
{
	struct cgroup *g = calloc(1, sizeof(*g));
	int r = 0;

	if (!g || !(g->name = strdup(name))) {
		free(g);
		return error_nomem(err);
	}
	g->unified = root->unified;
	for (size_t i = 0; i < root->count; i++) {
		const struct cgroup_dir *parent = &root->dirs[i];
		struct cgroup_dir *dir = &g->dirs[g->count];

		*dir = *parent;
		if (mkdirat(parent->fd, name, 0755) < 0 && errno != EEXIST)
			r = -errno;
		else if ((dir->fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) <
			 0)
			r = -errno;
		if (r < 0) {
			error_errno(err, -r, "making cgroup '%s' (%s)", name, parent->controller);
			cgroup_free(root, g);
			return r;
		}
		g->count++;
		if (!g->unified && strstr(parent->controller, "cpuset"))
			inherit_cpuset(parent->fd, dir->fd);
	}
	*ret = g;
	return 0;
}

static int read_number(int fd, const char *name, uint64_t *ret)
{
	autofree char *text = NULL;

	if (fd < 0 || file_read(fd, name, 256, &text, NULL, NULL) < 0)
		return -ENOENT;
	*ret = str_starts(text, "max") ? UINT64_MAX : strtoull(text, NULL, 10);
	return 0;
}

/* The value after "KEY " at the beginning of a line. */
static uint64_t read_keyed(int fd, const char *name, const char *key)
{
	autofree char *text = NULL;
	size_t len = strlen(key);

	if (fd < 0 || file_read(fd, name, FILE_MAX_BYTES, &text, NULL, NULL) < 0)
		return 0;
	for (const char *p = text; *p; p = strchrnul(p, '\n'), p += *p == '\n')
		if (strncmp(p, key, len) == 0 && p[len] == ' ')
			return strtoull(p + len, NULL, 10);
	return 0;
}

int cgroup_pids(struct cgroup *g, pid_t **ret, size_t *ret_count)
{
	autofree char *text = NULL;
	size_t count = 0, capacity = 0;
	pid_t *pids = NULL;
	int r;

	*ret = NULL;
	*ret_count = 0;
	if (!g->count)
		return -ENOENT;
	r = file_read(g->dirs[0].fd, "cgroup.procs", FILE_MAX_BYTES, &text, NULL, NULL);
	if (r < 0)
		return r;
	for (char *p = text; *p;) {
		long pid = strtol(p, &p, 10);

		if (count == capacity) {
			pid_t *grown =
				reallocarray(pids, capacity = capacity * 2 + 16, sizeof(*pids));

			if (!grown) {
				free(pids);
				return -ENOMEM;
			}
			pids = grown;
		}
		if (pid > 0)
			pids[count++] = (pid_t)pid;
		while (*p == '\n')
			p++;
	}
	*ret = pids;
	*ret_count = count;
	return 0;
}

int cgroup_signal(struct cgroup *g, int signal, struct error *err)
{
	/* What forks while we look is caught by the next look. */
	for (int round = 0; round < 64; round++) {
		autofree pid_t *pids = NULL;
		size_t count;
		int r = cgroup_pids(g, &pids, &count);

		if (r < 0)
			return error_errno(err, -r, "listing the container's processes");
		for (size_t i = 0; i < count; i++)
			kill(pids[i], signal);
		if (!count || signal != SIGKILL)
			return 0;
	}
	return 0;
}

void cgroup_free(struct cgroup_root *root, struct cgroup *g)
{
	if (!g)
		return;
	if (g->count) {
		if (!g->unified || pod_write_file(g->dirs[0].fd, "cgroup.kill", "1") < 0)
			cgroup_signal(g, SIGKILL, NULL);
		cgroup_freeze(g, false, NULL);
	}
	for (size_t i = 0; i < g->count; i++)
		unlinkat(root->dirs[i].fd, g->name, AT_REMOVEDIR);
	close_dirs(g->dirs, &g->count);
	free(g->name);
	free(g);
}

int cgroup_enter(const struct cgroup *g)
{
	for (size_t i = 0; i < g->count; i++) {
		int r = pod_write_file(g->dirs[i].fd, "cgroup.procs", "0");

		if (r < 0)
			return r;
	}
	return 0;
}

/* ------------------------------------------------------------------ limits */

static int set(struct cgroup *g, const char *controller, const char *file, const char *what,
	       struct error *err, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int fd = cgroup_dir_fd(g, controller), r;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r = fd < 0 ? -ENOENT : pod_write_file(fd, file, text);
	if (r == -ENOENT)
		return error_set(err, ERROR_UNSUPPORTED, "%s: this kernel has no '%s' for it", what,
				 file);
	return r < 0 ? error_errno(err, -r, "%s: writing '%s' to %s", what, text, file) : 0;
}

#define SET(controller, file, what, ...)                                       \
	do {                                                                   \
		int set_r_ = set(g, controller, file, what, err, __VA_ARGS__); \
		if (set_r_ < 0)                                                \
			return set_r_;                                         \
	} while (0)

/* The conversion that crun and runc use: [2..262144] to [1..10000]. */
static uint64_t shares_to_weight(uint64_t shares)
{
	return shares < 2 ? 1 : 1 + (shares - 2) * 9999 / 262142;
}

static int set_limits_v2(struct cgroup *g, const Hyper__Limits *l, struct error *err)
{
	int64_t swap = l->memory_swap_bytes;

	if (l->memory_bytes)
		SET("memory", "memory.max", "memory limit", "%llu",
		    (unsigned long long)l->memory_bytes);
	/* Without swap in the guest there is no such file, and the limit holds anyhow. */
	if (swap < 0)
		pod_write_file(cgroup_dir_fd(g, "memory"), "memory.swap.max", "max");
	if (l->memory_bytes && swap > 0 && (uint64_t)swap >= l->memory_bytes) {
		char text[32];

		snprintf(text, sizeof(text), "%llu",
			 (unsigned long long)((uint64_t)swap - l->memory_bytes));
		pod_write_file(cgroup_dir_fd(g, "memory"), "memory.swap.max", text);
	}
	if (l->memory_reservation_bytes)
		SET("memory", "memory.low", "memory reservation", "%llu",
		    (unsigned long long)l->memory_reservation_bytes);
	if (l->cpu_shares)
		SET("cpu", "cpu.weight", "cpu shares", "%llu",
		    (unsigned long long)shares_to_weight(l->cpu_shares));
	if (l->cpu_quota_us > 0)
		SET("cpu", "cpu.max", "cpu quota", "%lld %llu", (long long)l->cpu_quota_us,
		    (unsigned long long)(l->cpu_period_us ? l->cpu_period_us : 100000));
	else if (l->cpu_quota_us < 0)
		SET("cpu", "cpu.max", "cpu quota", "max");
	if (l->pids > 0)
		SET("pids", "pids.max", "pids limit", "%lld", (long long)l->pids);
	else if (l->pids < 0)
		SET("pids", "pids.max", "pids limit", "max");
	return 0;
}

static int set_limits_v1(struct cgroup *g, const Hyper__Limits *l, struct error *err)
{
	if (l->memory_bytes) {
		/* The swap limit may not be below the memory limit at any moment. */
		pod_write_file(cgroup_dir_fd(g, "memory"), "memory.memsw.limit_in_bytes", "-1");
		SET("memory", "memory.limit_in_bytes", "memory limit", "%llu",
		    (unsigned long long)l->memory_bytes);
	}
	if (l->memory_swap_bytes > 0) {
		char text[32];

		/* Swap accounting may be off; the memory limit holds without it. */
		snprintf(text, sizeof(text), "%lld", (long long)l->memory_swap_bytes);
		pod_write_file(cgroup_dir_fd(g, "memory"), "memory.memsw.limit_in_bytes", text);
	}
	if (l->memory_reservation_bytes)
		SET("memory", "memory.soft_limit_in_bytes", "memory reservation", "%llu",
		    (unsigned long long)l->memory_reservation_bytes);
	if (l->oom_kill_disable)
		SET("memory", "memory.oom_control", "oom_kill_disable", "1");
	if (l->cpu_shares)
		SET("cpu", "cpu.shares", "cpu shares", "%llu", (unsigned long long)l->cpu_shares);
	if (l->cpu_period_us)
		SET("cpu", "cpu.cfs_period_us", "cpu period", "%llu",
		    (unsigned long long)l->cpu_period_us);
	if (l->cpu_quota_us)
		SET("cpu", "cpu.cfs_quota_us", "cpu quota", "%lld", (long long)l->cpu_quota_us);
	if (l->pids)
		SET("pids", "pids.max", "pids limit", l->pids < 0 ? "max" : "%lld",
		    (long long)l->pids);
	return 0;
}

int cgroup_set_limits(struct cgroup *g, const Hyper__Limits *l, struct error *err)
{
	int r;

	if (!l)
		return 0;
	if (l->oom_kill_disable && g->unified)
		return error_set(err, ERROR_UNSUPPORTED,
				 "oom_kill_disable: not possible with cgroup v2");
	if (*l->cpuset_cpus)
		SET("cpuset", "cpuset.cpus", "cpuset", "%.200s", l->cpuset_cpus);
	if (*l->cpuset_mems)
		SET("cpuset", "cpuset.mems", "cpuset", "%.200s", l->cpuset_mems);
	r = g->unified ? set_limits_v2(g, l, err) : set_limits_v1(g, l, err);
	return r;
}

int cgroup_set_devices(struct cgroup *g, Hyper__DeviceRule *const *rules, size_t count,
		       struct error *err)
{
	int fd = cgroup_dir_fd(g, "devices");

	if (!count || !g->count)
		return 0;
	if (g->unified)
		return cgroup_devices_attach(g->dirs[0].fd, rules, count, err);
	if (fd < 0)
		return error_set(err, ERROR_UNSUPPORTED, "device rules: no devices controller");
	for (size_t i = 0; i < count; i++) {
		char text[64];
		int r = cgroup_devices_text(rules[i], text, sizeof(text), err);

		if (r < 0)
			return r;
		r = pod_write_file(fd, rules[i]->allow ? "devices.allow" : "devices.deny", text);
		if (r < 0)
			return error_errno(err, -r, "device rule '%s'", text);
	}
	return 0;
}

/* cgroup.events changes when the last process has stopped, and then the descriptor has priority
 * data. */
static int wait_frozen_v2(int dir_fd, bool frozen)
{
	autoclose int fd = openat(dir_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	uint64_t deadline = deadline_in_ms(FREEZE_DEADLINE_MS);
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	for (;;) {
		char text[256];
		ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

		if (n < 0)
			return -errno;
		text[n] = '\0';
		if (strstr(text, frozen ? "frozen 1" : "frozen 0"))
			return 0;
		if (now_ns() >= deadline)
			return -ETIMEDOUT;
		poll(&p, 1, FREEZE_DEADLINE_MS);
	}
}

/* Version 1 tells nobody: it looks when it is asked. */
static int wait_frozen_v1(int dir_fd, const char *state)
{
	uint64_t deadline = deadline_in_ms(FREEZE_DEADLINE_MS);

	for (;;) {
		autofree char *text = NULL;

		if (file_read(dir_fd, "freezer.state", 64, &text, NULL, NULL) < 0)
			return -EIO;
		if (str_starts(text, state))
			return 0;
		if (now_ns() >= deadline)
			return -ETIMEDOUT;
		sched_yield();
	}
}

int cgroup_freeze(struct cgroup *g, bool frozen, struct error *err)
{
	const char *state = frozen ? "FROZEN" : "THAWED";
	int fd = cgroup_dir_fd(g, "freezer"), r;

	if (fd < 0)
		return error_set(err, ERROR_UNSUPPORTED, "pausing needs the freezer cgroup");
	r = g->unified ? pod_write_file(fd, "cgroup.freeze", frozen ? "1" : "0")
		       : pod_write_file(fd, "freezer.state", state);
	if (r == 0)
		r = g->unified ? wait_frozen_v2(fd, frozen) : wait_frozen_v1(fd, state);
	if (r < 0 && frozen)
		cgroup_freeze(g, false, NULL);
	return r < 0 ? error_errno(err, -r, frozen ? "pausing" : "unpausing") : 0;
}

/* ------------------------------------------------------------------ figures */

uint64_t cgroup_oom_kills(const struct cgroup *g)
{
	return read_keyed(cgroup_dir_fd(g, "memory"),
			  g->unified ? "memory.events" : "memory.oom_control", "oom_kill");
}

static void add_io(const char *text, Hyper__ContainerStatsReply *ret)
{
	static const struct {
		const char *key;
		size_t offset;
	} keys[] = {
		{ "rbytes=", offsetof(Hyper__ContainerStatsReply, block_read_bytes) },
		{ "wbytes=", offsetof(Hyper__ContainerStatsReply, block_write_bytes) },
		{ "rios=", offsetof(Hyper__ContainerStatsReply, block_reads) },
		{ "wios=", offsetof(Hyper__ContainerStatsReply, block_writes) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		for (const char *p = text; (p = strstr(p, keys[i].key)); p++)
			if (p == text || p[-1] == ' ')
				*(uint64_t *)((char *)ret + keys[i].offset) +=
					strtoull(p + strlen(keys[i].key), NULL, 10);
}

static void stats_v2(const struct cgroup *g, Hyper__ContainerStatsReply *ret)
{
	int fd = g->dirs[0].fd;
	autofree char *io = NULL;

	ret->cpu_ns = read_keyed(fd, "cpu.stat", "usage_usec") * 1000;
	ret->cpu_user_ns = read_keyed(fd, "cpu.stat", "user_usec") * 1000;
	ret->cpu_system_ns = read_keyed(fd, "cpu.stat", "system_usec") * 1000;
	ret->periods = read_keyed(fd, "cpu.stat", "nr_periods");
	ret->throttled_periods = read_keyed(fd, "cpu.stat", "nr_throttled");
	ret->throttled_ns = read_keyed(fd, "cpu.stat", "throttled_usec") * 1000;
	read_number(fd, "memory.current", &ret->memory_bytes);
	read_number(fd, "memory.peak", &ret->memory_peak_bytes);
	read_number(fd, "memory.max", &ret->memory_limit_bytes);
	ret->memory_cache_bytes = read_keyed(fd, "memory.stat", "file");
	ret->memory_inactive_file_bytes = read_keyed(fd, "memory.stat", "inactive_file");
	if (file_read(fd, "io.stat", FILE_MAX_BYTES, &io, NULL, NULL) == 0)
		add_io(io, ret);
}

static void stats_v1(const struct cgroup *g, Hyper__ContainerStatsReply *ret)
{
	int memory = cgroup_dir_fd(g, "memory"), cpu = cgroup_dir_fd(g, "cpu"),
	    acct = cgroup_dir_fd(g, "cpuacct");

	read_number(acct, "cpuacct.usage", &ret->cpu_ns);
	read_number(acct, "cpuacct.usage_user", &ret->cpu_user_ns);
	read_number(acct, "cpuacct.usage_sys", &ret->cpu_system_ns);
	ret->periods = read_keyed(cpu, "cpu.stat", "nr_periods");
	ret->throttled_periods = read_keyed(cpu, "cpu.stat", "nr_throttled");
	ret->throttled_ns = read_keyed(cpu, "cpu.stat", "throttled_time");
	read_number(memory, "memory.usage_in_bytes", &ret->memory_bytes);
	read_number(memory, "memory.max_usage_in_bytes", &ret->memory_peak_bytes);
	read_number(memory, "memory.limit_in_bytes", &ret->memory_limit_bytes);
	ret->memory_cache_bytes = read_keyed(memory, "memory.stat", "cache");
	ret->memory_inactive_file_bytes = read_keyed(memory, "memory.stat", "inactive_file");
	ret->block_read_bytes =
		read_keyed(cgroup_dir_fd(g, "blkio"), "blkio.throttle.io_service_bytes", "Total");
}

void cgroup_stats(const struct cgroup *g, Hyper__ContainerStatsReply *ret)
{
	struct sysinfo si;

	if (!g->count)
		return;
	if (g->unified)
		stats_v2(g, ret);
	else
		stats_v1(g, ret);
	read_number(cgroup_dir_fd(g, "pids"), "pids.current", &ret->pids);
	read_number(cgroup_dir_fd(g, "pids"), "pids.max", &ret->pids_limit);
	ret->oom_kills = cgroup_oom_kills(g);
	if (sysinfo(&si) == 0) {
		uint64_t total = (uint64_t)si.totalram * si.mem_unit;

		if (!ret->memory_limit_bytes || ret->memory_limit_bytes > total)
			ret->memory_limit_bytes = total;
	}
}
