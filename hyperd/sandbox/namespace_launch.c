#include "hyperd/sandbox/namespace_launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Between fork and exec of a process that had threads: system calls only. */

unsigned long namespace_clone_flags(bool host_network)
{
	return CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
	       (host_network ? 0 : CLONE_NEWNET);
}

static const struct directory {
	const char *path;
	mode_t mode;
} directories[] = {
	{ "proc", 0555 },
	{ "sys", 0555 },
	{ "dev", 0755 },
	{ "run", 0755 },
	{ "tmp", 01777 },
	{ NAMESPACE_DISK, 0700 },
	{ NAMESPACE_LAYERS, 0700 },
	{ NAMESPACE_CGROUPS, 0700 },
	{ NAMESPACE_SHARES, 0700 },
};

static const struct device {
	const char *path;
	unsigned major, minor;
} devices[] = {
	{ "dev/null", 1, 3 },   { "dev/zero", 1, 5 },    { "dev/full", 1, 7 },
	{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
};

static int make_device(const struct device *d)
{
	char source[32] = "/";
	int fd;

	if (mknod(d->path, S_IFCHR | 0666, makedev(d->major, d->minor)) == 0)
		return chmod(d->path, 0666) < 0 ? -errno : 0;
	if (errno != EPERM)
		return -errno;
	/* Where device nodes may not be made (in a container): the host's. */
	fd = open(d->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	close(fd);
	strncat(source, d->path, sizeof(source) - 2);
	return mount(source, d->path, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int make_root(const struct namespace_launch *l)
{
	int r = 0;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("hyper", l->jail_dir, "tmpfs", MS_NOSUID, "size=64m,mode=755") < 0 ||
	    chdir(l->jail_dir) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
		if (mkdir(directories[i].path, directories[i].mode) < 0)
			return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(devices) && r == 0; i++)
		r = make_device(&devices[i]);
	if (r < 0)
		return r;
	if (symlink("/proc/self/fd", "dev/fd") < 0 ||
	    mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return -errno;
	/* Refused where the host's own /sys is covered in part; containers then do without. */
	if (mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0)
		/* Read-only here; what a privileged container mounts is the same file system. */
		mount(NULL, "sys", NULL,
		      MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
	return 0;
}

static int make_binds(const struct namespace_launch *l)
{
	for (size_t i = 0; i < l->bind_count; i++) {
		const struct namespace_bind *b = &l->binds[i];

		if (mkdir(b->target, 0755) < 0 && errno != EEXIST)
			return -errno;
		if (mount(b->source, b->target, NULL, MS_BIND, NULL) < 0)
			return -errno;
		if (b->read_only &&
		    mount(NULL, b->target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
			return -errno;
	}
	return 0;
}

static int make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int attach(int tree_fd, const char *target, bool is_file)
{
	int r = is_file                   ? make_file(target)
		: mkdir(target, 0755) < 0 ? (errno == EEXIST ? 0 : -errno)
					  : 0;

	if (r == 0 && move_mount(tree_fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		r = -errno;
	return r;
}

static int make_shares(const struct namespace_launch *l)
{
	int r = chdir(NAMESPACE_SHARES) < 0 ? -errno : 0;

	for (size_t i = 0; i < l->share_count && r == 0; i++)
		r = attach(l->shares[i].tree_fd, l->shares[i].name, !l->shares[i].is_directory);
	return r == 0 && chdir("..") < 0 ? -errno : r;
}

int namespace_enter(void *arg, const char **ret_what)
{
	static const char *const env[] = { "PATH=/", NULL };
	const struct namespace_launch *l = arg;
	int r;

	*ret_what = "joining its control group";
	r = cgroup_join(l->joining);
	if (r < 0)
		return r;
	setsid();
	umask(022);
	*ret_what = "making a private root";
	r = make_root(l);
	if (r < 0)
		return r;
	*ret_what = "mounting into the private root";
	r = make_binds(l);
	if (r < 0)
		return r;
	*ret_what = "mounting shares into the private root";
	r = make_shares(l);
	if (r < 0)
		return r;
	*ret_what = "entering the private root";
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	*ret_what = "executing the init";
	syscall(SYS_execveat, l->program_fd, "", l->argv, env, AT_EMPTY_PATH);
	return -errno;
}

int namespace_add(void *arg, const char **ret_what)
{
	const struct namespace_addition *a = arg;
	int r;

	*ret_what = "entering the pod's mount namespace";
	if (setns(a->mount_ns_fd, CLONE_NEWNS) < 0)
		return -errno;
	*ret_what = "mounting into the pod's root";
	r = attach(a->tree_fd, a->target, a->is_file);
	if (r < 0)
		return r;
	_exit(0);
}
