/*
 * hyperstart: pid 1 of a microVM, started by the kernel without arguments, and of a namespace pod,
 * started by hyperd with
 * `--listen FD`, a listening unix socket. README.md says what a namespace pod's launcher prepares.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperstart/agent.h"
#include "hyperstart/channel.h"
#include "hyperstart/init.h"
#include "hyperstart/reaper.h"

static const struct {
	const char *source, *target, *type, *data;
	unsigned long flags;
} vm_mounts[] = {
	{ "devtmpfs", "/dev", "devtmpfs", NULL, MS_NOSUID | MS_NOEXEC },
	{ "proc", "/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", "/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
};

/* Files that a guest's processes may open, as on any server; the kernel gives an init 4096. */
#define VM_FILES_MAX 1048576

/* A container's root is changed with pivot_root, which the first root file system does not allow:
 * leave it. */
static int leave_first_root(struct error *err)
{
	static const char *const dirs[] = { "/dev", "/proc", "/sys", "/run", "/tmp" };
	char path[32];

	/* It holds this program, which /proc/PID/exe of a child that is not yet a container's leads
	 * to: nobody is to write to it. */
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return error_errno(err, errno, "making the first root read-only");
	if (mount("root", "/tmp", "tmpfs", MS_NOSUID, "mode=755,size=90%") < 0)
		return error_errno(err, errno, "mounting the root");
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "/tmp%s", dirs[i]);
		mkdir(path, 0755);
	}
	if (chdir("/tmp") < 0 || mount("/tmp", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return error_errno(err, errno, "changing to the root");
	return 0;
}

static int prepare_vm(struct error *err)
{
	struct rlimit files = { VM_FILES_MAX, VM_FILES_MAX };
	int r = leave_first_root(err);

	setrlimit(RLIMIT_NOFILE, &files);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(vm_mounts); i++)
		if (mount(vm_mounts[i].source, vm_mounts[i].target, vm_mounts[i].type,
			  vm_mounts[i].flags, vm_mounts[i].data) < 0 &&
		    errno != EBUSY)
			r = error_errno(err, errno, "mounting %s", vm_mounts[i].target);
	/*
	 * Received layers: EROFS mounts a file only where pages are read by ->read_folio, which
	 * ramfs has and tmpfs has not. No limit of its own: layer.c looks at free memory.
	 */
	if (r == 0)
		r = file_make_dirs(AT_FDCWD, LAYERS_DIR, 0755, err);
	if (r == 0 && mount("layers", LAYERS_DIR, "ramfs", MS_NOSUID | MS_NODEV, "mode=755") < 0)
		r = error_errno(err, errno, "mounting %s", LAYERS_DIR);
	return r;
}

/* In both kinds of pod, where the agent keeps things. */
static int make_dirs(struct error *err)
{
	static const char *const dirs[] = { HYPER_DIR,  DISK_DIR,
					    LAYERS_DIR, LAYERS_DIR "/empty",
					    ROOT_DIR,   CONTAINERS_DIR,
					    SHM_DIR };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(dirs); i++)
		r = file_make_dirs(AT_FDCWD, dirs[i], 0755, err);
	return r;
}

/* "hyper.channel=NAME" on the kernel's command line; owned by the caller. */
static char *channel_name(void)
{
	autofree char *line = NULL;
	const char *key = "hyper.channel=", *p;

	if (file_read(AT_FDCWD, "/proc/cmdline", 65536, &line, NULL, NULL) < 0)
		return strdup("vport");
	p = strstr(line, key);
	if (!p)
		return strdup("vport");
	p += strlen(key);
	return strndup(p, strcspn(p, " \n"));
}

static int open_channel(struct agent *agent, int listen_fd, struct error *err)
{
	autofree char *name = NULL;

	if (agent->namespace_pod)
		return channel_listen(agent, listen_fd, err);
	name = channel_name();
	return name ? channel_open(agent, name, err) : error_nomem(err);
}

static int run(int listen_fd, struct error *err)
{
	struct agent *agent = NULL;
	int r = 0;

	/* Exec'd processes begin as copies of this one, in the container's /proc. */
	prctl(PR_SET_DUMPABLE, 0);
	umask(0022);
	if (listen_fd < 0)
		r = prepare_vm(err);
	if (r == 0)
		r = make_dirs(err);
	if (r == 0)
		r = agent_new(listen_fd >= 0, &agent, err);
	if (r == 0)
		r = reaper_start(agent, err);
	if (r == 0)
		r = open_channel(agent, listen_fd, err);
	return r == 0 ? loop_run(agent->loop, err) : r;
}

int main(int argc, char **argv)
{
	unsigned long long listen_fd = 0;
	struct error err = { 0 };

	if (argc == 3 && strcmp(argv[1], "--init") == 0)
		return init_main(argv[2]);
	log_open("hyperstart", LOG_LEVEL_INFO);
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		dprintf(STDOUT_FILENO, "hyperstart %s, protocol %d\n", HYPER_VERSION,
			PROTOCOL_VERSION);
		return 0;
	}
	if (argc == 3 && strcmp(argv[1], "--listen") == 0 &&
	    parse_u64(argv[2], 0, 65535, &listen_fd) == 0) {
		run((int)listen_fd, &err);
	} else if (getpid() == 1) {
		/* The kernel hands on words of its command line that it does not know. */
		run(-1, &err);
	} else {
		dprintf(STDERR_FILENO,
			"usage: hyperstart --listen FD | --version\n"
			"It is started by hyperd, or by a guest's kernel as pid 1.\n");
		return 2;
	}
	log_error("%s", err.message);
	return 1;
}
