#include "hyperstart/rootfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <linux/magic.h>

#include "base/copy_tree.h"
#include "base/file.h"
#include "base/str.h"
#include "hyperstart/agent.h"
#include "hyperstart/block.h"
#include "hyperstart/layer.h"
#include "hyperstart/mounts.h"
#include "hyperstart/prepared.h"
#include "hyperstart/root.h"

#ifndef PROC_SUPER_MAGIC
#define PROC_SUPER_MAGIC 0x9fa0
#endif
#define SHM_DEFAULT_BYTES (64ull << 20)

/* ------------------------------------------------------------------ the overlay */

/* A new upper directory is the container's "/": it takes owner and mode after the image's. */
static int make_upper(const struct container *c, const char *upper, struct error *err)
{
	struct stat st;
	char top[16];

	if (mkdir(upper, 0755) < 0)
		return errno == EEXIST ? 0 : error_errno(err, errno, "making '%s'", upper);
	if (!c->layer_count)
		return 0;
	snprintf(top, sizeof(top), "%u/", layer_number(c->layers[c->layer_count - 1]));
	if (stat(top, &st) < 0 || chown(upper, st.st_uid, st.st_gid) < 0 ||
	    chmod(upper, st.st_mode & 07777) < 0)
		return error_errno(err, errno, "making '%s'", upper);
	return 0;
}

static int mount_overlay(const struct container *c, const char *dir, struct error *err)
{
	autostr struct str options = STR_INIT;
	autofree char *upper = strf("%s/upper", dir), *work = strf("%s/work", dir);
	int r;

	if (!upper || !work)
		return error_nomem(err);
	/* Short names below one directory: 127 layers fit into one page of options. */
	if (chdir(LAYERS_DIR) < 0)
		return error_errno(err, errno, "entering %s", LAYERS_DIR);
	r = make_upper(c, upper, err);
	if (r < 0)
		return r;
	if (mkdir(work, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "making '%s'", work);
	str_add(&options, "lowerdir=");
	for (size_t i = c->layer_count; i > 0; i--)
		str_addf(&options, "%u%s", layer_number(c->layers[i - 1]), i > 1 ? ":" : "");
	if (!c->layer_count)
		str_add(&options, "empty");
	/* Whatever the host's kernel is set to: the upper directory is to hold whole files under
	 * their own names, since it is what commit and diff read. */
	str_addf(&options, ",upperdir=%s,workdir=%s,redirect_dir=off,metacopy=off,index=off", upper,
		 work);
	if (options.failed)
		return error_nomem(err);
	mkdir(ROOT_DIR, 0755);
	if (mount("overlay", ROOT_DIR, "overlay", 0, options.data) < 0)
		return error_errno(err, errno, "mounting the root of %zu layers", c->layer_count);
	return chdir("/") < 0 ? error_errno(err, errno, "chdir") : 0;
}

/* ------------------------------------------------------------------ standard mounts */

static const struct standard_mount {
	const char *path, *type, *data;
	unsigned long flags;
	uint32_t magic; /* of the file system that must then be there */
	enum { ALWAYS, UNIFIED_CGROUP } when;
} standard_mounts[] = {
	{ "/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, PROC_SUPER_MAGIC, ALWAYS },
	{ "/dev", "tmpfs", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME, TMPFS_MAGIC,
	  ALWAYS },
	{ "/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC,
	  DEVPTS_SUPER_MAGIC, ALWAYS },
	{ "/dev/mqueue", "mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0, ALWAYS },
	{ "/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, SYSFS_MAGIC,
	  ALWAYS },
	{ "/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
	  CGROUP2_SUPER_MAGIC, UNIFIED_CGROUP },
};

/* An ordinary directory, not an image's symbolic link to somewhere else. */
static int make_plain_dir(int root_fd, const char *path, struct error *err)
{
	autoclose int fd = root_make_dir(root_fd, path, 0755, err);
	int direct;

	if (fd < 0)
		return fd;
	direct = root_open_direct(root_fd, path, O_PATH | O_DIRECTORY, 0);
	if (direct == -ELOOP)
		return error_set(err, ERROR_INVALID,
				 "'%s' in the image is a symbolic link: it must be a directory",
				 path);
	return direct < 0 ? error_errno(err, -direct, "'%s' in the container", path) : direct;
}

static int mount_standard(int root_fd, const struct standard_mount *m, bool privileged,
			  struct error *err)
{
	autoclose int target = make_plain_dir(root_fd, m->path, err), mounted = -1;
	int r;

	if (target < 0)
		return target;
	r = mount_new(target, m->type, m->type, m->flags & ~(unsigned long)MS_RDONLY, m->data,
		      m->path, err);
	if (r < 0)
		return r;
	mounted = root_open_direct(root_fd, m->path, O_PATH | O_DIRECTORY, 0);
	if (mounted < 0 || (m->magic && fd_file_system(mounted) != m->magic))
		return error_set(err, ERROR_FAILED, "'%s' is not the %s that was mounted", m->path,
				 m->type);
	/* This mount, not the file system: a privileged container shares it, and may write. */
	return m->flags & MS_RDONLY && !privileged ? mount_set_read_only(mounted, m->path, err) : 0;
}

static int mount_shm(const struct container *c, int root_fd, struct error *err)
{
	autoclose int target = make_plain_dir(root_fd, "/dev/shm", err), source = -1;
	uint64_t bytes = c->spec->shm_bytes ? c->spec->shm_bytes : SHM_DEFAULT_BYTES;
	char data[64];

	if (target < 0)
		return target;
	if (c->agent->shm_bytes && !c->spec->shm_bytes) {
		source = open(SHM_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (source < 0)
			return error_errno(err, errno, "opening the pod's shared memory");
		return mount_bind(root_fd, source, target, "/dev/shm", 0, false, "/dev/shm", err);
	}
	snprintf(data, sizeof(data), "mode=1777,size=%llu", (unsigned long long)bytes);
	return mount_new(target, "shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, data, "/dev/shm",
			 err);
}

/* A path in the agent's own root, none of whose parts is a link. */
static int open_source(const char *path)
{
	autoclose int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return root_fd < 0 ? -errno : root_open_direct(root_fd, path, O_PATH, 0);
}

static int mount_cgroup_v1(int root_fd, const struct cgroup_dir *dir, bool writable,
			   struct error *err)
{
	autofree char *path = strf("/sys/fs/cgroup/%s", dir->controller);
	autoclose int target = -1, source = -1;
	char own[PATH_MAX];
	ssize_t n;

	if (!path)
		return error_nomem(err);
	/* By its path: a descriptor that was opened in the agent's mount namespace cannot be bound
	 * in this one. */
	n = readlink(fd_path(dir->fd).text, own, sizeof(own) - 1);
	if (n < 0)
		return error_errno(err, errno, "finding the container's cgroup");
	own[n] = '\0';
	source = open_source(own);
	if (source < 0)
		return error_errno(err, -source, "opening '%s'", own);
	target = root_make_dir(root_fd, path, 0755, err);
	if (target < 0)
		return target;
	return mount_bind(root_fd, source, target, path,
			  MS_NOSUID | MS_NODEV | MS_NOEXEC | (writable ? 0 : MS_RDONLY), false,
			  path, err);
}

/* "cpu,cpuacct" is found as "cpu" and as "cpuacct" too. */
static int link_controllers(int top_fd, const char *names, struct error *err)
{
	autostrv char **each = strv_split(names, ',');

	if (!each)
		return error_nomem(err);
	if (!each[1])
		return 0;
	strv_for_each(name, each) {
		if (symlinkat(names, top_fd, *name) < 0 && errno != EEXIST)
			return error_errno(err, errno, "/sys/fs/cgroup/%s", *name);
	}
	return 0;
}

/* The container's own group of each hierarchy, where programs look for their limits. */
static int mount_cgroups_v1(const struct container *c, int root_fd, struct error *err)
{
	autoclose int target = root_open_direct(root_fd, "/sys/fs/cgroup", O_PATH, 0), top = -1;
	int r;

	if (target == -ENOENT)
		return 0;
	if (target < 0)
		return error_errno(err, -target, "/sys/fs/cgroup");
	r = mount_new(target, "cgroup", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		      "mode=755,size=64k", "/sys/fs/cgroup", err);
	if (r < 0)
		return r;
	top = root_open_direct(root_fd, "/sys/fs/cgroup", O_PATH, 0);
	for (size_t i = 0; r == 0 && i < c->cgroup->count; i++) {
		r = mount_cgroup_v1(root_fd, &c->cgroup->dirs[i], c->spec->privileged, err);
		if (r == 0)
			r = link_controllers(top, c->cgroup->dirs[i].controller, err);
	}
	if (r < 0 || c->spec->privileged)
		return r;
	return top < 0 ? error_errno(err, -top, "/sys/fs/cgroup")
		       : mount_set_read_only(top, "/sys/fs/cgroup", err);
}

static int mount_all_standard(const struct container *c, int root_fd, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(standard_mounts); i++) {
		const struct standard_mount *m = &standard_mounts[i];

		if (m->when == UNIFIED_CGROUP && !(c->cgroup->unified && c->cgroup->count))
			continue;
		r = mount_standard(root_fd, m, c->spec->privileged, err);
		/* A kernel without POSIX message queues has no such file system. */
		if (r == -ENODEV && strcmp(m->type, "mqueue") == 0)
			r = 0;
	}
	if (r == 0 && !c->cgroup->unified && c->cgroup->count)
		r = mount_cgroups_v1(c, root_fd, err);
	return r == 0 ? mount_shm(c, root_fd, err) : r;
}

/* ------------------------------------------------------------------ devices */

static const struct {
	const char *path;
	unsigned major, minor;
} standard_devices[] = {
	{ "null", 1, 3 },   { "zero", 1, 5 },    { "full", 1, 7 },
	{ "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

static const struct {
	const char *name, *target;
} dev_links[] = {
	{ "fd", "/proc/self/fd" },       { "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" },
	{ "core", "/proc/kcore" },       { "ptmx", "pts/ptmx" },
};

static int make_node(int dir_fd, const char *name, mode_t mode, dev_t device, uid_t uid, gid_t gid,
		     struct error *err)
{
	if (mknodat(dir_fd, name, mode, device) < 0 && errno != EEXIST)
		return error_errno(err, errno, "making device '%s'", name);
	/* The umask has had its say. */
	if (fchmodat(dir_fd, name, mode & 07777, 0) < 0 || fchownat(dir_fd, name, uid, gid, 0) < 0)
		return error_errno(err, errno, "making device '%s'", name);
	return 0;
}

static int make_asked_device(int root_fd, const Hyper__Device *d, struct error *err)
{
	autofree char *parent = strdup(d->path);
	autoclose int dir_fd = -1;
	char *slash;

	if (!parent)
		return error_nomem(err);
	slash = strrchr(parent, '/');
	if (d->path[0] != '/' || !slash[1])
		return error_set(err, ERROR_INVALID, "device '%s': expected an absolute path",
				 d->path);
	if (!S_ISCHR(d->mode) && !S_ISBLK(d->mode))
		return error_set(err, ERROR_INVALID,
				 "device '%s': neither character nor block device", d->path);
	*slash = '\0';
	dir_fd = root_make_dir(root_fd, *parent ? parent : "/", 0755, err);
	if (dir_fd < 0)
		return dir_fd;
	return make_node(dir_fd, slash + 1, d->mode & (S_IFMT | 07777), makedev(d->major, d->minor),
			 d->uid, d->gid, err);
}

/* A privileged container has every device that the agent has. */
static void copy_devices(int dev_fd)
{
	autoclosedir DIR *dir = opendir("/dev");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)))
			make_node(dev_fd, e->d_name, st.st_mode, st.st_rdev, st.st_uid, st.st_gid,
				  NULL);
	}
}

static int make_devices(const struct container *c, int root_fd, struct error *err)
{
	autoclose int dev_fd = root_open_direct(root_fd, "/dev", O_RDONLY | O_DIRECTORY, 0);
	int r = dev_fd < 0 ? error_errno(err, -dev_fd, "opening /dev") : 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(standard_devices); i++)
		r = make_node(dev_fd, standard_devices[i].path, S_IFCHR | 0666,
			      makedev(standard_devices[i].major, standard_devices[i].minor), 0, 0,
			      err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(dev_links); i++)
		if (symlinkat(dev_links[i].target, dev_fd, dev_links[i].name) < 0)
			r = error_errno(err, errno, "making /dev/%s", dev_links[i].name);
	if (r == 0 && c->spec->privileged)
		copy_devices(dev_fd);
	for (size_t i = 0; r == 0 && i < c->spec->n_devices; i++)
		r = make_asked_device(root_fd, c->spec->devices[i], err);
	return r;
}

/* ------------------------------------------------------------------ mounts that were asked for */

static const char *const mountable[] = {
	"tmpfs", "9p", "ext4", "erofs", "mqueue", "proc", "sysfs"
};

static int mount_file_system(int root_fd, int target, const Hyper__Mount *m,
			     const struct mount_options *o, struct error *err)
{
	const char *source = *m->source ? m->source : m->type;
	char device[BLOCK_PATH_MAX];
	autoclose int covered = -1;
	bool known = false;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(mountable); i++)
		known |= strcmp(m->type, mountable[i]) == 0;
	if (!known)
		return error_set(err, ERROR_INVALID, "mount '%s': unknown type '%s'",
				 m->destination, m->type);
	if (m->copy_up) {
		covered = root_open(root_fd, m->destination, O_RDONLY | O_DIRECTORY, 0);
		if (covered < 0)
			return error_errno(err, -covered, "mount '%s'", m->destination);
	}
	if (strcmp(m->type, "ext4") == 0 || strcmp(m->type, "erofs") == 0) {
		r = block_find(m->source, device, err);
		if (r < 0)
			return error_prefix(err, r, "mount '%s'", m->destination);
		source = device;
	}
	/* Read-only only after the content has been copied. */
	r = mount_new(target, source, m->type, o->flags & ~(m->copy_up ? MS_RDONLY : 0ul), o->data,
		      m->destination, err);
	if (r == 0 && m->copy_up) {
		autoclose int fresh = root_open(root_fd, m->destination, O_RDONLY | O_DIRECTORY, 0);

		r = fresh < 0 ? error_errno(err, -fresh, "mount '%s'", m->destination)
			      : copy_tree(covered, fresh, err);
		if (r == 0 && o->flags & MS_RDONLY)
			r = mount_set_read_only(fresh, m->destination, err);
	}
	return r;
}

/* Nothing goes over a part of /proc: programs believe what they read there, and masks of ours are
 * in it. Also when an image's link leads there. */
static int check_target(int target, const char *destination, struct error *err)
{
	if (fd_file_system(target) != PROC_SUPER_MAGIC)
		return 0;
	return error_set(err, ERROR_INVALID, "mount '%s': nothing may be mounted in /proc",
			 destination);
}

static int mount_asked(int root_fd, const Hyper__Mount *m, struct error *err)
{
	struct mount_options options;
	autoclose int source = -1, target = -1;
	bool bind = strcmp(m->type, "bind") == 0;
	struct stat st;
	int r;

	if (m->destination[0] != '/')
		return error_set(err, ERROR_INVALID, "mount '%s': expected an absolute path",
				 m->destination);
	if (bind) {
		/* What is on a shared folder or the disk may be a container's links to elsewhere.
		 */
		source = open_source(m->source);
		if (source < 0 || fstat(source, &st) < 0)
			return error_errno(err, source < 0 ? -source : errno,
					   "mount '%s': source '%s'", m->destination, m->source);
	}
	target = bind && !S_ISDIR(st.st_mode) ? root_make_file(root_fd, m->destination, err)
					      : root_make_dir(root_fd, m->destination, 0755, err);
	if (target < 0)
		return error_prefix(err, target, "mount '%s'", m->destination);
	r = check_target(target, m->destination, err);
	if (r < 0)
		return r;
	r = mount_options_parse(m->options, m->n_options, &options, err);
	if (r < 0)
		return r;
	r = bind ? mount_bind(root_fd, source, target, m->destination, options.flags,
			      options.recursive, m->destination, err)
		 : mount_file_system(root_fd, target, m, &options, err);
	mount_options_done(&options);
	return r;
}

/* The directory, made with the image's content when it is new; one that is there is whole. */
static int open_volume(int root_fd, const char *path, const char *destination, struct error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;
	autofree char *unfinished = strf("%s.new", path);
	autoclose int from = -1, to = -1;

	if (fd >= 0)
		return fd;
	if (!unfinished)
		return error_nomem(err);
	r = file_remove_tree(AT_FDCWD, unfinished, err);
	if (r < 0)
		return r;
	from = root_open(root_fd, destination, O_RDONLY | O_DIRECTORY, 0);
	if (from < 0)
		return error_errno(err, -from, "volume '%s'", destination);
	if (mkdir(unfinished, 0755) < 0 ||
	    (to = open(unfinished, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return error_errno(err, errno, "volume '%s'", destination);
	r = copy_tree(from, to, err);
	if (r == 0 && rename(unfinished, path) < 0)
		r = error_errno(err, errno, "volume '%s'", destination);
	return r < 0 ? error_prefix(err, r, "volume '%s'", destination) : steal_fd(&to);
}

/* An anonymous volume lives on the pod's disk and begins with the image's content. */
static int mount_volume(int root_fd, const char *dir, size_t index, const char *destination,
			struct error *err)
{
	autofree char *path = strf("%s/volume-%zu", dir, index);
	autoclose int target = root_make_dir(root_fd, destination, 0755, err), source = -1;
	int r;

	if (target < 0)
		return error_prefix(err, target, "volume '%s'", destination);
	r = check_target(target, destination, err);
	if (r == 0 && !path)
		r = error_nomem(err);
	if (r == 0)
		r = source = open_volume(root_fd, path, destination, err);
	return r < 0 ? r
		     : mount_bind(root_fd, source, target, destination, 0, false, destination, err);
}

/* A file of ours over the image's: it can be written to, and its content is not part of the
 * container's changes. */
static int bind_file(int root_fd, const char *dir, const char *name, const char *text,
		     struct error *err)
{
	autofree char *path = strf("%s/%s", dir, name), *target_path = strf("/etc/%s", name);
	autoclose int source = -1, target = -1;
	int r;

	if (!path || !target_path)
		return error_nomem(err);
	if (!*text)
		return 0;
	r = file_write_atomic(AT_FDCWD, path, text, strlen(text), 0644, false, err);
	if (r < 0)
		return r;
	source = open(path, O_PATH | O_CLOEXEC);
	if (source < 0)
		return error_errno(err, errno, "opening '%s'", path);
	target = root_make_file(root_fd, target_path, err);
	if (target < 0)
		return target;
	return mount_bind(root_fd, source, target, target_path, 0, false, target_path, err);
}

static int bind_machine_id(const struct container *c, int root_fd, struct error *err)
{
	autoclose int target = root_open(root_fd, "/etc/machine-id", O_PATH, 0), source = -1;

	if (!c->agent->has_machine_id || target < 0)
		return 0; /* an image without one does not want one */
	source = open(MACHINE_ID, O_PATH | O_CLOEXEC);
	if (source < 0)
		return error_errno(err, errno, "opening %s", MACHINE_ID);
	return mount_bind(root_fd, source, target, "/etc/machine-id", MS_RDONLY, false,
			  "/etc/machine-id", err);
}

/* ------------------------------------------------------------------ masks */

static int mask(int root_fd, const char *path, struct error *err)
{
	autoclose int target = root_open(root_fd, path, O_PATH, 0), null = -1;
	struct stat st;

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0 || fstat(target, &st) < 0)
		return error_errno(err, target < 0 ? -target : errno, "masking '%s'", path);
	if (S_ISDIR(st.st_mode))
		return mount_new(target, "tmpfs", "tmpfs", MS_RDONLY, "size=0k", path, err);
	null = root_open_direct(root_fd, "/dev/null", O_PATH, 0);
	if (null < 0 || fstat(null, &st) < 0 || st.st_rdev != makedev(1, 3))
		return error_set(err, ERROR_FAILED, "masking '%s': no /dev/null", path);
	return mount_bind(root_fd, null, target, path, 0, false, path, err);
}

static int make_read_only(int root_fd, const char *path, struct error *err)
{
	autoclose int target = root_open(root_fd, path, O_PATH, 0);

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return error_errno(err, -target, "protecting '%s'", path);
	return mount_bind(root_fd, target, target, path, MS_RDONLY, true, path, err);
}

/* ------------------------------------------------------------------ the whole */

static int fill_root(const struct container *c, int root_fd, const char *dir, struct error *err)
{
	const Hyper__ContainerCreate *s = c->spec;
	const char *etc = c->prepared ? PREPARED_DIR : dir;
	int r = mount_all_standard(c, root_fd, err);

	if (r == 0)
		r = make_devices(c, root_fd, err);
	for (size_t i = 0; r == 0 && i < s->n_volumes; i++)
		r = mount_volume(root_fd, dir, i, s->volumes[i], err);
	for (size_t i = 0; r == 0 && i < s->n_mounts; i++)
		r = mount_asked(root_fd, s->mounts[i], err);
	if (r == 0)
		r = bind_file(root_fd, etc, "resolv.conf", s->resolv_conf, err);
	if (r == 0)
		r = bind_file(root_fd, etc, "hosts", s->hosts, err);
	if (r == 0)
		r = bind_file(root_fd, etc, "hostname", s->hostname_file, err);
	if (r == 0)
		r = bind_machine_id(c, root_fd, err);
	for (size_t i = 0; r == 0 && !s->privileged && i < s->n_read_only_paths; i++)
		r = make_read_only(root_fd, s->read_only_paths[i], err);
	for (size_t i = 0; r == 0 && !s->privileged && i < s->n_masked_paths; i++)
		r = mask(root_fd, s->masked_paths[i], err);
	if (r == 0 && s->read_only_root)
		r = mount_set_read_only(root_fd, "/", err);
	return r;
}

static int change_root(int root_fd, struct error *err)
{
	/* The old root comes to lie on the new one and is let go of. */
	if (fchdir(root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return error_errno(err, errno, "changing the root");
	return 0;
}

int rootfs_build(const struct container *c, struct error *err)
{
	autofree char *dir = strf("%s/containers/%s", c->agent->disk_path, c->id);
	autoclose int root_fd = -1;
	int r;

	if (!dir)
		return error_nomem(err);
	umask(0);
	if (c->prepared)
		mkdir(PREPARED_DIR, 0700);
	/* Nothing of ours goes out; what a share is to hear of the host comes in. */
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return error_errno(err, errno, "making mounts private");
	r = mount_overlay(c, dir, err);
	if (r < 0)
		return r;
	root_fd = open(ROOT_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return error_errno(err, errno, "opening the new root");
	r = fill_root(c, root_fd, dir, err);
	if (r == 0)
		r = change_root(root_fd, err);
	umask(0022);
	return r < 0 ? r : steal_fd(&root_fd);
}

int rootfs_open_terminal(int *ret_slave, struct error *err)
{
	autoclose int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	int unlocked = 0, slave;

	if (master >= 0 && fd_file_system(master) != DEVPTS_SUPER_MAGIC)
		return error_set(err, ERROR_FAILED, "the container's /dev/pts is no devpts");
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		return error_errno(err, errno, "making a terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return error_errno(err, errno, "opening the terminal");
	*ret_slave = slave;
	return steal_fd(&master);
}

int rootfs_bind_console(int root_fd, int slave_fd, struct error *err)
{
	autoclose int target = root_make_file(root_fd, "/dev/console", err);

	if (target < 0)
		return target;
	return mount_bind(root_fd, slave_fd, target, "/dev/console", 0, false, "/dev/console", err);
}
