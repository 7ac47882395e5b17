#include "hyperd/cgroup/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/task.h"

enum controller {
	CPU = 1 << 0,
	CPUACCT = 1 << 1,
	CPUSET = 1 << 2,
	MEMORY = 1 << 3,
	PIDS = 1 << 4,
	FREEZER = 1 << 5,
	DEVICES = 1 << 6,
	BLKIO = 1 << 7,
};

static const struct {
	enum controller bit;
	const char *v1, *v2; /* v2 NULL: not a controller there, but always possible */
} controllers[] = {
	{ CPU, "cpu", "cpu" },          { CPUACCT, "cpuacct", NULL },
	{ CPUSET, "cpuset", "cpuset" }, { MEMORY, "memory", "memory" },
	{ PIDS, "pids", "pids" },       { FREEZER, "freezer", NULL },
	{ DEVICES, "devices", NULL },   { BLKIO, "blkio", "io" },
};

/* What the group of one QEMU needs; the rest only costs time when a process joins. */
#define CONTROLLERS_OF_VM (CPU | CPUACCT | MEMORY | PIDS | FREEZER)

struct hierarchy {
	char *path;  /* owned: mount point and parent */
	char *mount; /* owned */
	unsigned controllers;
	bool unified;
};

struct cgroup_host {
	char *parent; /* owned */
	struct hierarchy hierarchies[CGROUP_HIERARCHIES];
	size_t count;
	int v2;      /* index of the v2 tree, or -1 */
	int primary; /* the hierarchy that decides what belongs to a group */
	bool has_v1;
};

struct cgroup {
	struct cgroup_host *host; /* borrowed */
	char *name;               /* owned */
	bool delegated;
};

/* ------------------------------------------------------------------ the host's layout */

static unsigned v1_controllers(const char *options)
{
	autostrv char **words = strv_split(options, ',');
	unsigned set = 0;

	strv_for_each(word, words)
		for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
			if (strcmp(*word, controllers[i].v1) == 0)
				set |= controllers[i].bit;
	return set;
}

/* mountinfo escapes blanks as \040; cgroup mounts have none in practice, and are skipped if they
 * do. */
static int add_hierarchy(struct cgroup_host *host, const char *mount, bool unified,
			 const char *options)
{
	struct hierarchy *h = &host->hierarchies[host->count];
	unsigned set = unified ? 0 : v1_controllers(options);

	if (host->count == CGROUP_HIERARCHIES || strchr(mount, '\\') || (!unified && !set))
		return 0;
	for (size_t i = 0; i < host->count; i++)
		if (unified ? host->hierarchies[i].unified
			    : (host->hierarchies[i].controllers & set))
			return 0;
	h->path = strf("%s%s", mount, host->parent ? host->parent : "");
	h->mount = strdup(mount);
	if (!h->path || !h->mount)
		return -ENOMEM;
	h->unified = unified;
	h->controllers = set;
	if (unified)
		host->v2 = (int)host->count;
	else
		host->has_v1 = true;
	host->count++;
	return 0;
}

/* proc_pid_mountinfo(5): id parent major:minor root MOUNT options … - TYPE source SUPER-OPTIONS. */
static int read_mountinfo(struct cgroup_host *host, struct error *err)
{
	autofree char *text = NULL;
	autostrv char **lines = NULL;
	int r = file_read(AT_FDCWD, "/proc/self/mountinfo", 16 << 20, &text, NULL, err);

	if (r < 0)
		return r;
	lines = strv_split(text, '\n');
	strv_for_each(line, lines) {
		autostrv char **words = strv_split(*line, ' ');
		size_t n = strv_len(words), dash = 6;

		while (dash < n && strcmp(words[dash], "-") != 0)
			dash++;
		if (dash + 3 >= n)
			continue;
		if (strcmp(words[dash + 1], "cgroup2") == 0)
			r = add_hierarchy(host, words[4], true, "");
		else if (strcmp(words[dash + 1], "cgroup") == 0)
			r = add_hierarchy(host, words[4], false, words[dash + 3]);
		if (r < 0)
			return error_nomem(err);
	}
	return 0;
}

static int write_file(const char *dir, const char *file, const char *text)
{
	autofree char *path = strf("%s/%s", dir, file);
	autoclose int fd = -1;

	if (!path)
		return -ENOMEM;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int write_number(const char *dir, const char *file, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	return write_file(dir, file, text);
}

static int read_text(const char *dir, const char *file, char **ret)
{
	autofree char *path = strf("%s/%s", dir, file);

	return path ? file_read(AT_FDCWD, path, 1 << 20, ret, NULL, NULL) : -ENOMEM;
}

/* Lets the children of a v2 group have what the group has; what cannot be had is left out. */
static void enable_children(const char *dir)
{
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		char word[16];

		if (!controllers[i].v2)
			continue;
		snprintf(word, sizeof(word), "+%s", controllers[i].v2);
		write_file(dir, "cgroup.subtree_control", word);
	}
}

static unsigned v2_controllers(const char *dir)
{
	autofree char *text = NULL;
	autostrv char **words = NULL;
	unsigned set = CPUACCT | FREEZER | DEVICES;

	if (read_text(dir, "cgroup.controllers", &text) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	words = strv_split(text, ' ');
	strv_for_each(word, words)
		for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
			if (str_equal(*word, controllers[i].v2))
				set |= controllers[i].bit;
	return set;
}

/* A v1 cpuset group has no CPUs until it is told which; its children copy this one's. */
static void prepare_cpuset(const struct hierarchy *h, const char *dir, const char *parent)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };

	if (h->unified || !(h->controllers & CPUSET))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		autofree char *text = NULL;

		if (read_text(parent, files[i], &text) == 0)
			write_file(dir, files[i], text);
	}
	write_file(dir, "cgroup.clone_children", "1");
}

static int make_parent(struct hierarchy *h, struct error *err)
{
	autofree char *above = strdup(h->mount), *path = strdup(h->path);
	char *slash = path ? path + strlen(h->mount) : NULL;

	if (!above || !path)
		return error_nomem(err);
	/* Level by level: each hands on what it was given. */
	while (slash) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (h->unified)
			enable_children(above);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return error_errno(err, errno, "making the control group '%s'", path);
		prepare_cpuset(h, path, above);
		free(above);
		above = strdup(path);
		if (!above)
			return error_nomem(err);
		if (slash)
			*slash = '/';
	}
	if (h->unified) {
		enable_children(h->path);
		h->controllers = v2_controllers(h->path);
	}
	return 0;
}

/*
 * The v2 tree where there is one (it kills and freezes a group at once, also when it has no
 * controllers); else the freezer's, else the first.
 */
static int find_primary(const struct cgroup_host *host)
{
	if (host->v2 >= 0)
		return host->v2;
	for (size_t i = 0; i < host->count; i++)
		if (host->hierarchies[i].controllers & FREEZER)
			return (int)i;
	return 0;
}

int cgroup_host_open(const char *parent, struct cgroup_host **ret, struct error *err)
{
	autoptr(cgroup_host_free) struct cgroup_host *host = calloc(1, sizeof(*host));
	size_t kept = 0;
	int r;

	if (!host || !(host->parent = strdup(parent)))
		return error_nomem(err);
	host->v2 = -1;
	r = read_mountinfo(host, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < host->count; i++) {
		struct hierarchy h = host->hierarchies[i];

		/* A hierarchy that is mounted read-only for us is one that we do not have. */
		if (make_parent(&h, err) < 0) {
			if (h.unified)
				host->v2 = -1;
			free(h.path);
			free(h.mount);
			continue;
		}
		if (h.unified)
			host->v2 = (int)kept;
		host->hierarchies[kept++] = h;
	}
	memset(host->hierarchies + kept, 0, (host->count - kept) * sizeof(host->hierarchies[0]));
	host->count = kept;
	if (!kept)
		return error_set(err, ERROR_UNSUPPORTED,
				 "no cgroup hierarchy is mounted and writable");
	error_clear(err);
	host->primary = find_primary(host);
	*ret = steal(host);
	return 0;
}

void cgroup_host_free(struct cgroup_host *host)
{
	if (!host)
		return;
	for (size_t i = 0; i < host->count; i++) {
		free(host->hierarchies[i].path);
		free(host->hierarchies[i].mount);
	}
	free(host->parent);
	free(host);
}

json_t *cgroup_host_info(const struct cgroup_host *host)
{
	json_t *have = json_array(), *missing = json_array();
	unsigned set = 0;

	for (size_t i = 0; i < host->count; i++)
		if (!(host->hierarchies[i].unified && host->has_v1))
			set |= host->hierarchies[i].controllers;
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
		json_array_append_new(set & controllers[i].bit ? have : missing,
				      json_string(controllers[i].v1));
	return json_pack("{s:s, s:s, s:o, s:o}", "layout",
			 !host->has_v1   ? "v2"
			 : host->v2 >= 0 ? "hybrid"
					 : "v1",
			 "parent", host->parent, "controllers", have, "missing", missing);
}

bool cgroup_is_unified(const struct cgroup_host *host)
{
	return !host->has_v1;
}

/* ------------------------------------------------------------------ one group */

static bool takes_part(const struct cgroup *cgroup, const struct hierarchy *h)
{
	return cgroup->delegated || h->unified || (h->controllers & CONTROLLERS_OF_VM);
}

static char *group_path(const struct cgroup *cgroup, const struct hierarchy *h, const char *below)
{
	return strf("%s/%s%s%s", h->path, cgroup->name, *below ? "/" : "", below);
}

#define for_each_hierarchy(h, cgroup)                                      \
	for (struct hierarchy *h = (cgroup)->host->hierarchies;            \
	     h < (cgroup)->host->hierarchies + (cgroup)->host->count; h++) \
		if (takes_part(cgroup, h))

static const struct hierarchy *controller_home(const struct cgroup *cgroup, enum controller bit)
{
	struct cgroup_host *host = cgroup->host;

	for (size_t i = 0; i < host->count; i++) {
		const struct hierarchy *h = &host->hierarchies[i];

		if ((h->controllers & bit) && !(h->unified && host->has_v1))
			return h;
	}
	return NULL;
}

static int set_limit(struct cgroup *cgroup, enum controller bit, const char *v1, const char *v2,
		     uint64_t value)
{
	const struct hierarchy *h = controller_home(cgroup, bit);
	autofree char *dir = h ? group_path(cgroup, h, "") : NULL;

	return dir ? write_number(dir, h->unified ? v2 : v1, value) : 0;
}

static int set_limits(struct cgroup *cgroup, const struct cgroup_limits *limits, struct error *err)
{
	const struct hierarchy *h = controller_home(cgroup, CPU);
	int r = 0;

	if (limits->memory_bytes)
		r = set_limit(cgroup, MEMORY, "memory.limit_in_bytes", "memory.max",
			      limits->memory_bytes);
	if (r == 0 && limits->pids)
		r = set_limit(cgroup, PIDS, "pids.max", "pids.max", limits->pids);
	if (r == 0 && limits->cpu_milli && h) {
		autofree char *dir = group_path(cgroup, h, "");
		char text[48];

		/* Periods of 100 ms. */
		snprintf(text, sizeof(text), "%" PRIu64 "%s", limits->cpu_milli * 100,
			 h->unified ? " 100000" : "");
		r = dir ? write_file(dir, h->unified ? "cpu.max" : "cpu.cfs_quota_us", text)
			: -ENOMEM;
	}
	return r < 0 ? error_errno(err, -r, "limiting the control group '%s'", cgroup->name) : 0;
}

static int make_group(struct cgroup *cgroup, struct hierarchy *h, const char *below,
		      struct error *err)
{
	autofree char *dir = group_path(cgroup, h, below);
	autofree char *parent = NULL;

	if (!dir)
		return error_nomem(err);
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return error_errno(err, errno, "making the control group '%s'", dir);
	parent = strndup(dir, (size_t)(strrchr(dir, '/') - dir));
	if (parent)
		prepare_cpuset(h, dir, parent);
	return 0;
}

int cgroup_open(struct cgroup_host *host, const char *name, bool delegated, struct cgroup **ret,
		struct error *err)
{
	autoptr(cgroup_free) struct cgroup *cgroup = calloc(1, sizeof(*cgroup));

	if (!cgroup || !(cgroup->name = strdup(name)))
		return error_nomem(err);
	cgroup->host = host;
	cgroup->delegated = delegated;
	*ret = steal(cgroup);
	return 0;
}

int cgroup_new(struct cgroup_host *host, const char *name, bool delegated,
	       const struct cgroup_limits *limits, struct cgroup **ret, struct error *err)
{
	struct cgroup *cgroup = NULL;
	int r = cgroup_open(host, name, delegated, &cgroup, err);

	if (r < 0)
		return r;
	for_each_hierarchy(h, cgroup)
	{
		r = r < 0 ? r : make_group(cgroup, h, "", err);
		if (r == 0 && delegated && h->unified) {
			autofree char *dir = group_path(cgroup, h, "");

			if (dir)
				enable_children(dir);
		}
		if (r == 0 && delegated)
			r = make_group(cgroup, h, "agent", err);
		if (r == 0 && delegated)
			r = make_group(cgroup, h, "pod", err);
		if (r == 0 && delegated && h->unified) {
			autofree char *dir = group_path(cgroup, h, "pod");

			if (dir)
				enable_children(dir);
		}
	}
	if (r == 0)
		r = set_limits(cgroup, limits, err);
	if (r < 0) {
		cgroup_destroy(cgroup, 0, NULL);
		cgroup_free(cgroup);
		return r;
	}
	*ret = cgroup;
	return 0;
}

void cgroup_free(struct cgroup *cgroup)
{
	if (!cgroup)
		return;
	free(cgroup->name);
	free(cgroup);
}

const char *cgroup_name(const struct cgroup *cgroup)
{
	return cgroup->name;
}

void cgroup_joining_close(struct cgroup_joining *j)
{
	if (j->birth_fd > 0)
		close(j->birth_fd);
	if (j->early_fd >= 0)
		close(j->early_fd);
	while (j->late_count)
		close(j->late_fds[--j->late_count]);
	j->birth_fd = 0;
	j->early_fd = -1;
}

static int open_for_joining(struct cgroup *cgroup, const struct hierarchy *h, int *ret,
			    struct error *err)
{
	autofree char *dir = group_path(cgroup, h, cgroup->delegated ? "agent" : "");
	autofree char *path = dir ? strf("%s%s", dir, h->unified ? "" : "/cgroup.procs") : NULL;

	if (!path)
		return error_nomem(err);
	*ret = open(path, (h->unified ? O_RDONLY | O_DIRECTORY : O_WRONLY) | O_CLOEXEC);
	return *ret < 0 ? error_errno(err, errno, "opening '%s'", path) : 0;
}

int cgroup_joining_open(struct cgroup *cgroup, struct cgroup_joining *ret, struct error *err)
{
	const struct hierarchy *primary = &cgroup->host->hierarchies[cgroup->host->primary];
	int r = 0;

	*ret = (struct cgroup_joining){ .early_fd = -1 };
	for_each_hierarchy(h, cgroup)
	{
		int fd = -1;

		if (r < 0)
			break;
		r = open_for_joining(cgroup, h, &fd, err);
		if (r < 0)
			break;
		if (h->unified)
			ret->birth_fd = fd;
		else if (h == primary)
			ret->early_fd = fd;
		else
			ret->late_fds[ret->late_count++] = fd;
	}
	if (r < 0)
		cgroup_joining_close(ret);
	return r;
}

int cgroup_join(const struct cgroup_joining *j)
{
	return j->early_fd >= 0 && write(j->early_fd, "0", 1) < 0 ? -errno : 0;
}

static int write_pid(int fd, pid_t pid)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", (int)pid);

	return write(fd, text, (size_t)len) < 0 && errno != ESRCH ? -errno : 0;
}

int cgroup_join_late(const struct cgroup_joining *j, pid_t pid)
{
	int r = 0;

	for (size_t i = 0; i < j->late_count && r == 0; i++)
		r = write_pid(j->late_fds[i], pid);
	return r;
}

int cgroup_move(const struct cgroup_joining *j, pid_t pid)
{
	autoclose int fd = -1;
	int r = 0;

	if (j->birth_fd > 0) {
		fd = openat(j->birth_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
		r = fd < 0 ? -errno : write_pid(fd, pid);
	}
	if (r == 0 && j->early_fd >= 0)
		r = write_pid(j->early_fd, pid);
	return r < 0 ? r : cgroup_join_late(j, pid);
}

int cgroup_delegated_each(struct cgroup *cgroup,
			  int (*fn)(const char *names, const char *path, void *arg), void *arg)
{
	int r = 0;

	for_each_hierarchy(h, cgroup)
	{
		autofree char *dir = group_path(cgroup, h, "pod");
		autostr struct str names = STR_INIT;

		/* The empty tree of a hybrid host limits nothing. */
		if (r < 0 || (h->unified && cgroup->host->has_v1))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(controllers) && !h->unified; i++)
			if (h->controllers & controllers[i].bit)
				str_addf(&names, "%s%s", names.len ? "," : "", controllers[i].v1);
		r = dir ? fn(str_text(&names), dir, arg) : -ENOMEM;
	}
	return r;
}

/* ------------------------------------------------------------------ what is in it */

static int add_pids(const char *dir, pid_t **pids, size_t *count)
{
	autofree char *text = NULL;
	int r = read_text(dir, "cgroup.procs", &text);
	char *end;

	if (r < 0)
		return r;
	for (char *p = text; *p; p = *end == '\n' ? end + 1 : end) {
		long pid = strtol(p, &end, 10);
		pid_t *more;

		if (end == p)
			break;
		more = realloc(*pids, (*count + 2) * sizeof(pid_t));
		if (!more)
			return -ENOMEM;
		*pids = more;
		/* 0 is a process of another pid namespace. */
		if (pid > 0)
			more[(*count)++] = (pid_t)pid;
		more[*count] = 0;
	}
	return 0;
}

/* Calls FN for DIR's subdirectories, deepest first, then for DIR. */
static int each_below(const char *dir, unsigned depth, int (*fn)(const char *dir, void *arg),
		      void *arg)
{
	autoclosedir DIR *d = opendir(dir);
	struct dirent *entry;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (depth < 32 && (entry = readdir(d)) && r >= 0) {
		autofree char *child = NULL;

		/* Not all that begin with a dot: an agent's own group does. */
		if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		child = strf("%s/%s", dir, entry->d_name);
		r = child ? each_below(child, depth + 1, fn, arg) : -ENOMEM;
	}
	return r < 0 ? r : fn(dir, arg);
}

struct pids {
	pid_t *list;
	size_t count;
};

static int collect_pids(const char *dir, void *arg)
{
	struct pids *pids = arg;
	int r = add_pids(dir, &pids->list, &pids->count);

	return r == -ENODEV || r == -ENOENT ? 0 : r; /* removed meanwhile */
}

static int all_pids(struct cgroup *cgroup, struct pids *pids)
{
	autofree char *dir =
		group_path(cgroup, &cgroup->host->hierarchies[cgroup->host->primary], "");

	return dir ? each_below(dir, 0, collect_pids, pids) : -ENOMEM;
}

int cgroup_pids(struct cgroup *cgroup, pid_t **ret, size_t *ret_count, struct error *err)
{
	struct pids pids = { 0 };
	int r = all_pids(cgroup, &pids);

	if (r == 0 && !pids.list && !(pids.list = calloc(1, sizeof(pid_t))))
		r = -ENOMEM;
	if (r < 0) {
		free(pids.list);
		return error_errno(err, -r, "reading the control group '%s'", cgroup->name);
	}
	*ret = pids.list;
	*ret_count = pids.count;
	return 0;
}

int cgroup_find_process(struct cgroup *cgroup, pid_t pid, unsigned long long start_time,
			struct process *ret, struct error *err)
{
	autoclose int pidfd = pid > 1 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	autofree pid_t *pids = NULL;
	unsigned long long start;
	size_t count, i;
	int r;

	/* The descriptor first: from then on the number cannot come to mean another process. */
	if (pidfd < 0 || process_start_time(pid, &start) < 0 || start != start_time)
		return error_set(err, ERROR_NOT_FOUND, "process %d has ended", (int)pid);
	r = cgroup_pids(cgroup, &pids, &count, err);
	if (r < 0)
		return r;
	for (i = 0; i < count && pids[i] != pid; i++)
		;
	if (i == count)
		return error_set(err, ERROR_NOT_FOUND, "process %d is not in the sandbox's group",
				 (int)pid);
	ret->pid = pid;
	ret->pidfd = steal_fd(&pidfd);
	return 0;
}

static uint64_t read_number(const struct cgroup *cgroup, enum controller bit, const char *v1,
			    const char *v2, const char *v2_key)
{
	const struct hierarchy *h = controller_home(cgroup, bit);
	autofree char *dir = h ? group_path(cgroup, h, "") : NULL;
	autofree char *text = NULL;
	const char *at;

	if (!dir || read_text(dir, h->unified ? v2 : v1, &text) < 0)
		return 0;
	at = h->unified && v2_key ? strstr(text, v2_key) : text;
	return at ? strtoull(at + (h->unified && v2_key ? strlen(v2_key) : 0), NULL, 10) : 0;
}

void cgroup_usage(struct cgroup *cgroup, struct cgroup_usage *ret)
{
	const struct hierarchy *h = controller_home(cgroup, CPUACCT);

	ret->cpu_ns = read_number(cgroup, CPUACCT, "cpuacct.usage", "cpu.stat", "usage_usec ");
	if (h && h->unified)
		ret->cpu_ns *= 1000;
	ret->memory_bytes =
		read_number(cgroup, MEMORY, "memory.usage_in_bytes", "memory.current", NULL);
}

void cgroup_host_remove(struct cgroup_host *host)
{
	for (size_t i = 0; i < host->count; i++)
		rmdir(host->hierarchies[i].path);
}

int cgroup_list(struct cgroup_host *host, char ***ret, struct error *err)
{
	autostrv char **names = calloc(1, sizeof(*names));

	if (!names)
		return error_nomem(err);
	/* All hierarchies: a daemon that was killed half way has left some and not others. */
	for (size_t i = 0; i < host->count; i++) {
		autoclosedir DIR *d = opendir(host->hierarchies[i].path);
		struct dirent *entry;

		while (d && (entry = readdir(d))) {
			bool known = false;

			if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
				continue;
			strv_for_each(name, names)
				known |= strcmp(*name, entry->d_name) == 0;
			if (!known && strv_add(&names, entry->d_name) < 0)
				return error_nomem(err);
		}
	}
	*ret = steal(names);
	return 0;
}

/* ------------------------------------------------------------------ freezing and the end */

/* Waits until cgroup.events holds LINE ("populated 0"): the kernel signals changes of that file. */
static int wait_event(const char *dir, const char *line, uint64_t deadline_ns)
{
	autofree char *path = strf("%s/cgroup.events", dir);
	autoclose int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char text[256];
	ssize_t n;
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	for (;;) {
		n = pread(fd, text, sizeof(text) - 1, 0);
		if (n < 0)
			return errno == ENODEV ? 0 : -errno;
		text[n] = '\0';
		if (strstr(text, line))
			return 0;
		if (!task_self() || deadline_ns <= now_ns())
			return -ETIMEDOUT;
		r = task_wait_fd(fd, EPOLLPRI, deadline_ns, NULL);
		if (r < 0)
			return r;
	}
}

/* v1's freezer tells nobody when it is done; it is done as soon as every process has been scheduled
 * once. */
static int freeze_v1(const char *dir, bool frozen, uint64_t deadline_ns)
{
	const char *wanted = frozen ? "FROZEN" : "THAWED";
	int r = write_file(dir, "freezer.state", wanted);

	while (r == 0) {
		autofree char *text = NULL;

		r = read_text(dir, "freezer.state", &text);
		if (r < 0 || str_starts(text, wanted))
			break;
		if (now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		r = task_sleep_until(deadline_in_ms(1));
		if (r == 0 && frozen)
			r = write_file(dir, "freezer.state", wanted);
	}
	return r;
}

int cgroup_freeze(struct cgroup *cgroup, bool frozen, uint64_t deadline_ns, struct error *err)
{
	const struct hierarchy *h = &cgroup->host->hierarchies[cgroup->host->primary];
	autofree char *dir = NULL;
	int r;

	if (!h->unified && !(h->controllers & FREEZER))
		return error_set(err, ERROR_UNSUPPORTED, "this host has no cgroup freezer");
	dir = group_path(cgroup, h, "");
	if (!dir)
		return error_nomem(err);
	if (h->unified) {
		r = write_file(dir, "cgroup.freeze", frozen ? "1" : "0");
		if (r == 0)
			r = wait_event(dir, frozen ? "frozen 1" : "frozen 0", deadline_ns);
	} else {
		r = freeze_v1(dir, frozen, deadline_ns);
	}
	if (r == 0)
		return 0;
	return error_errno(err, -r, "%s the control group '%s'", frozen ? "freezing" : "thawing",
			   cgroup->name);
}

/* A process is signalled by a pidfd that was opened while the group still listed it. */
static int kill_listed(struct cgroup *cgroup, size_t *ret_left)
{
	struct pids before = { 0 }, after = { 0 };
	int *pidfds = NULL;
	int r = all_pids(cgroup, &before);

	*ret_left = before.count;
	if (r == 0 && before.count && !(pidfds = calloc(before.count, sizeof(int))))
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < before.count; i++)
		pidfds[i] = (int)syscall(SYS_pidfd_open, before.list[i], 0);
	if (r == 0 && before.count)
		r = all_pids(cgroup, &after);
	for (size_t i = 0; pidfds && i < before.count; i++) {
		bool listed = false;

		for (size_t j = 0; j < after.count; j++)
			listed |= after.list[j] == before.list[i];
		if (r == 0 && listed && pidfds[i] >= 0)
			syscall(SYS_pidfd_send_signal, pidfds[i], SIGKILL, NULL, 0);
		if (pidfds[i] >= 0)
			close(pidfds[i]);
	}
	free(pidfds);
	free(before.list);
	free(after.list);
	return r;
}

static int end_processes(struct cgroup *cgroup, uint64_t deadline_ns)
{
	const struct hierarchy *h = &cgroup->host->hierarchies[cgroup->host->primary];
	autofree char *dir = group_path(cgroup, h, "");
	size_t left = 0;
	int r;

	if (!dir)
		return -ENOMEM;
	/* Linux 5.14: the whole subtree, frozen or not, at once. */
	if (h->unified && write_file(dir, "cgroup.kill", "1") == 0)
		return wait_event(dir, "populated 0", deadline_ns);
	for (;;) {
		if (!h->unified && (h->controllers & FREEZER))
			write_file(dir, "freezer.state", "THAWED");
		r = kill_listed(cgroup, &left);
		if (r < 0 || !left)
			return r;
		if (!task_self() || now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		/* v1 does not tell when a group becomes empty. */
		r = task_sleep_until(deadline_in_ms(1));
		if (r < 0)
			return r;
	}
}

static int remove_dir(const char *dir, void *arg)
{
	return rmdir(dir) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_groups(struct cgroup *cgroup)
{
	int r = 0;

	/* Also where this kind of group takes no part: an older program may have thought otherwise.
	 */
	for (size_t i = 0; i < cgroup->host->count; i++) {
		autofree char *dir = group_path(cgroup, &cgroup->host->hierarchies[i], "");
		int one = dir ? each_below(dir, 0, remove_dir, NULL) : -ENOMEM;

		r = one < 0 ? one : r;
	}
	return r;
}

int cgroup_destroy(struct cgroup *cgroup, uint64_t deadline_ns, struct error *err)
{
	int r = end_processes(cgroup, deadline_ns);

	while (r == 0) {
		r = remove_groups(cgroup);
		/* A dead process leaves the other hierarchies a moment after the first. */
		if (r != -EBUSY || !task_self() || now_ns() >= deadline_ns)
			break;
		r = task_sleep_until(deadline_in_ms(1));
	}
	return r < 0 ? error_errno(err, -r, "removing the control group '%s'", cgroup->name) : 0;
}
