#include "hyperd/hypervisor/qemu/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "hyperd/hypervisor/qemu/command_line.h"

/* Everything here runs between fork and exec in a process that had threads: system calls only. */

#define QEMU_MAX_FDS       256
#define SERVER_MAX_FDS     16384 /* of one that serves files: each open one of the guest's */
#define QEMU_MAX_PROCESSES 128   /* threads: virtual CPUs, block workers */

unsigned long confinement_clone_flags(bool host_network)
{
	return CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
	       (host_network ? 0 : CLONE_NEWNET);
}

struct bind {
	const char *path;
	bool is_file, optional, device;
};

static const struct bind binds[] = {
	{ "usr" },
	/* Symbolic links into /usr on merged systems; directories elsewhere. */
	{ "lib", .optional = true },
	{ "lib64", .optional = true },
	{ "etc/ld.so.cache", .is_file = true, .optional = true },
	{ "dev/null", .is_file = true, .device = true },
	{ "dev/urandom", .is_file = true, .device = true },
};

static int join_path(char *out, size_t size, const char *root, const char *path)
{
	size_t a = strlen(root), b = strlen(path);

	if (a + b + 2 > size)
		return -ENAMETOOLONG;
	memcpy(out, root, a);
	out[a] = '/';
	memcpy(out + a + 1, path, b + 1);
	return 0;
}

/* ROOT/PATH becomes a read-only view of /PATH. The current directory is the new root. */
static int bind_in(const struct bind *b)
{
	char source[512], link[256];
	unsigned long flags = MS_BIND | MS_REMOUNT | MS_NOSUID;
	struct stat st;
	ssize_t n;
	int fd;

	if (join_path(source, sizeof(source), "", b->path) < 0)
		return -ENAMETOOLONG;
	if (lstat(source, &st) < 0)
		return b->optional ? 0 : -errno;
	if (S_ISLNK(st.st_mode)) {
		n = readlink(source, link, sizeof(link) - 1);
		if (n < 0)
			return -errno;
		link[n] = '\0';
		return symlink(link, b->path) < 0 ? -errno : 0;
	}
	if (b->is_file) {
		fd = open(b->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
		close(fd);
	} else if (mkdir(b->path, 0755) < 0) {
		return -errno;
	}
	if (mount(source, b->path, NULL, MS_BIND, NULL) < 0)
		return -errno;
	/* A device node is written to through a mount that is not itself writable, and its owner
	 * and mode stay the host's; nodev would forbid opening. */
	flags |= b->device ? MS_RDONLY | MS_NOEXEC : MS_RDONLY | MS_NODEV;
	return mount(NULL, b->path, NULL, flags, NULL) < 0 ? -errno : 0;
}

/* A program outside /usr (a QEMU of one's own): its directory is there too. */
static int bind_program_dir(const char *program)
{
	char path[512];
	char *slash;

	if (strncmp(program, "/usr/", 5) == 0)
		return 0;
	if (strlen(program) >= sizeof(path))
		return -ENAMETOOLONG;
	strcpy(path, program);
	slash = strrchr(path, '/');
	if (!slash || slash == path)
		return 0;
	*slash = '\0';
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path + 1, 0755);
		*p = '/';
	}
	return bind_in(&(struct bind){ .path = path + 1 });
}

/* The host's node belongs to root and a group; this one to the one user that is to open it. */
static int make_kvm_node(uid_t uid)
{
	struct stat st;

	if (stat("/dev/kvm", &st) < 0 || mknod("dev/kvm", S_IFCHR | 0600, st.st_rdev) < 0 ||
	    lchown("dev/kvm", uid, uid) < 0)
		return -errno;
	return 0;
}

/* The folder of shared files: the current directory is the new root. */
static int make_shares(const struct confinement *c)
{
	if (mkdir(QEMU_SHARES_DIR, 0755) < 0 || chdir(QEMU_SHARES_DIR) < 0)
		return -errno;
	for (size_t i = 0; i < c->share_count; i++) {
		const struct confinement_share *s = &c->shares[i];
		int fd;

		if (s->is_directory) {
			if (mkdir(s->name, 0755) < 0)
				return -errno;
		} else {
			fd = open(s->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
			if (fd < 0)
				return -errno;
			close(fd);
		}
		if (move_mount(s->tree_fd, "", AT_FDCWD, s->name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return -errno;
	}
	return chdir("..") < 0 ? -errno : 0;
}

static int make_root(const struct confinement *c, const char **ret_what)
{
	int r = 0;

	*ret_what = "making a private root";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("hyper", c->jail_dir, "tmpfs", MS_NOSUID, "size=64k,mode=755") < 0 ||
	    chdir(c->jail_dir) < 0 || mkdir("dev", 0755) < 0 || mkdir("etc", 0755) < 0 ||
	    mkdir("proc", 0555) < 0)
		return -errno;
	*ret_what = "mounting into the private root";
	for (size_t i = 0; i < ARRAY_SIZE(binds) && r == 0; i++)
		r = bind_in(&binds[i]);
	if (r == 0 && c->kvm)
		r = make_kvm_node(c->uid);
	if (r == 0)
		r = bind_program_dir(c->program);
	if (r < 0)
		return r;
	*ret_what = "mounting shares";
	r = make_shares(c);
	if (r < 0)
		return r;
	/* Linux 5.8: only processes, no /proc/sys; older kernels get a whole one, read-only. */
	*ret_what = "mounting /proc";
	if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "subset=pid") < 0 &&
	    mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL) < 0)
		return -errno;
	*ret_what = "entering the private root";
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, NULL) < 0)
		return -errno;
	return 0;
}

/* Limits above what this process may have are left as they are. */
static void set_limit(int resource, rlim_t value)
{
	struct rlimit old, limit = { value, value };

	if (getrlimit(resource, &old) == 0 && old.rlim_max != RLIM_INFINITY && old.rlim_max < value)
		limit.rlim_cur = limit.rlim_max = old.rlim_max;
	setrlimit(resource, &limit);
}

/* What it takes to keep owners and modes of shared files; all in the lower word. */
static const int server_capabilities[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID };

/* It passes through exec only as inheritable and ambient. */
static int set_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { kept, kept, kept } };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, data) < 0)
		return -errno;
	for (int cap = 0; cap < 32; cap++)
		if (kept & 1u << cap && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return -errno;
	return 0;
}

static int drop_privileges(uid_t uid, bool serves_files)
{
	uint32_t kept = 0;

	for (size_t i = 0; serves_files && i < ARRAY_SIZE(server_capabilities); i++)
		kept |= 1u << server_capabilities[i];
	for (int cap = 0; cap < 64; cap++)
		if (!(cap < 32 && kept & 1u << cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
		    errno != EINVAL)
			return -errno;
	/* Or they go with the user. */
	if (kept && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return -errno;
	/* The system calls, not glibc's: those signal other threads, of which a forked child has
	 * none. */
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, uid, uid, uid) < 0 ||
	    syscall(SYS_setresuid, uid, uid, uid) < 0)
		return -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return set_capabilities(kept);
}

int confinement_enter(void *arg, const char **ret_what)
{
	const struct confinement *c = arg;
	int r;

	*ret_what = "joining its control group";
	r = cgroup_join(c->joining);
	if (r < 0)
		return r;
	/* Ctrl-C at the daemon's terminal is not for the sandboxes. */
	setsid();
	umask(022);
	r = make_root(c, ret_what);
	if (r < 0)
		return r;
	umask(077);
	*ret_what = "naming its host";
	if (sethostname(c->host_name, strlen(c->host_name)) < 0)
		return -errno;
	set_limit(RLIMIT_CORE, 0);
	set_limit(RLIMIT_NOFILE, c->share_count ? SERVER_MAX_FDS : QEMU_MAX_FDS);
	set_limit(RLIMIT_NPROC, QEMU_MAX_PROCESSES);
	/* How large shared files may become is for the host's file system to say. */
	if (!c->share_count)
		set_limit(RLIMIT_FSIZE, c->file_max_bytes);
	set_limit(RLIMIT_MEMLOCK, 0);
	/* QEMU asks for huge pages for its translated code, most of which an idle pod never fills.
	 */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	*ret_what = "dropping privileges";
	return drop_privileges(c->uid, c->share_count > 0);
}
