#include "hyperstart/pod.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "hyperstart/agent.h"
#include "hyperstart/network.h"

#define HOST_NAME_MAX_BYTES 64
#define SYSCTL_NAME_MAX     200

int pod_write_file(int dir_fd, const char *path, const char *text)
{
	autoclose int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = fd_write(fd, text, strlen(text));
	return n < 0 ? (int)n : 0;
}

/* Only what belongs to the pod's own namespaces. */
static const char *const sysctl_prefixes[] = { "net.", "kernel.shm", "kernel.msg", "fs.mqueue." };
static const char *const sysctl_names[] = { "kernel.sem", "kernel.domainname" };

static bool sysctl_allowed(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(sysctl_names); i++)
		if (strcmp(key, sysctl_names[i]) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(sysctl_prefixes); i++)
		if (str_starts(key, sysctl_prefixes[i]))
			return true;
	return false;
}

static int set_sysctl(const Hyper__KeyValue *sysctl, struct error *err)
{
	char path[SYSCTL_NAME_MAX + 16] = "/proc/sys/";
	size_t at = strlen(path);
	int r;

	if (!sysctl_allowed(sysctl->key) || strlen(sysctl->key) > SYSCTL_NAME_MAX)
		return error_set(err, ERROR_INVALID, "sysctl '%.100s': not one of a pod's own",
				 sysctl->key);
	/* As sysctl(8): dots and slashes change places, so that interface names may hold dots. */
	for (const char *p = sysctl->key; *p; p++) {
		bool slash = *p == '.';

		if (!isalnum((unsigned char)*p) && !strchr("._-/", *p))
			return error_set(err, ERROR_INVALID, "sysctl '%s': bad name", sysctl->key);
		if (slash && (path[at - 1] == '/' || !p[1]))
			return error_set(err, ERROR_INVALID, "sysctl '%s': bad name", sysctl->key);
		path[at++] = slash ? '/' : *p == '/' ? '.' : *p;
		/* "net./" would be "net/.": no name of the kernel's begins with a dot. */
		if (path[at - 1] == '.' && path[at - 2] == '/')
			return error_set(err, ERROR_INVALID, "sysctl '%s': bad name", sysctl->key);
	}
	r = pod_write_file(AT_FDCWD, path, sysctl->value);
	return r < 0 ? error_errno(err, -r, "sysctl '%s'", sysctl->key) : 0;
}

static int loopback_up(struct error *err)
{
	autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo" };

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return error_errno(err, errno, "bringing lo up");
	if (request.ifr_flags & IFF_UP)
		return 0;
	request.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return error_errno(err, errno, "bringing lo up");
	return 0;
}

static int set_names(const Hyper__PodSetup *setup, struct error *err)
{
	if (*setup->hostname && sethostname(setup->hostname, strlen(setup->hostname)) < 0)
		return error_errno(err, errno, "setting the host name");
	if (*setup->domainname && setdomainname(setup->domainname, strlen(setup->domainname)) < 0)
		return error_errno(err, errno, "setting the domain name");
	return 0;
}

static int set_machine_id(struct agent *agent, const char *id, struct error *err)
{
	autofree char *line = NULL;
	int r;

	if (!*id)
		return 0;
	line = strf("%s\n", id);
	if (!line)
		return error_nomem(err);
	/* In place after the first time: prepared containers have it mounted. */
	if (agent->has_machine_id) {
		r = pod_write_file(AT_FDCWD, MACHINE_ID, line);
		return r < 0 ? error_errno(err, -r, "writing %s", MACHINE_ID) : 0;
	}
	agent->has_machine_id = true;
	return file_write_atomic(AT_FDCWD, MACHINE_ID, line, strlen(line), 0444, false, err);
}

/* A second set-up (a clone of a template that had one) may change the size. */
static int make_shared_memory(struct agent *agent, uint64_t bytes, struct error *err)
{
	char data[64];

	if (!bytes)
		return 0;
	snprintf(data, sizeof(data), "mode=1777,size=%llu", (unsigned long long)bytes);
	mkdir(SHM_DIR, 0755);
	if (mount("shm", SHM_DIR, "tmpfs",
		  MS_NOSUID | MS_NODEV | MS_NOEXEC | (agent->shm_bytes ? MS_REMOUNT : 0), data) < 0)
		return error_errno(err, errno, "making /dev/shm of %llu bytes",
				   (unsigned long long)bytes);
	agent->shm_bytes = bytes;
	return 0;
}

/*
 * The host's files, as they are at each moment: what is read and written goes there at once, and
 * names are looked up anew. cache=mmap only lets programs map files for writing.
 */
#define SHARES_OPTIONS "trans=virtio,version=9p2000.L,msize=512000,cache=mmap,directio,access=user"

static int mount_shares(struct agent *agent, const char *tag, struct error *err)
{
	if (!*tag || agent->shares_mounted)
		return 0;
	mkdir(SHARES_DIR, 0755);
	if (mount(tag, SHARES_DIR, "9p", MS_NODEV, SHARES_OPTIONS) < 0)
		return error_errno(err, errno, "mounting the folder of shares");
	agent->shares_mounted = true;
	return 0;
}

static int check_setup(const Hyper__PodSetup *setup, struct error *err)
{
	if (strlen(setup->hostname) > HOST_NAME_MAX_BYTES ||
	    strlen(setup->domainname) > HOST_NAME_MAX_BYTES)
		return error_set(err, ERROR_INVALID,
				 "host and domain name may have at most %d characters",
				 HOST_NAME_MAX_BYTES);
	if (*setup->machine_id && (strlen(setup->machine_id) != 32 ||
				   strspn(setup->machine_id, "0123456789abcdef") != 32))
		return error_set(err, ERROR_INVALID, "machine_id: expected 32 hex digits");
	return 0;
}

int pod_setup_handle(struct request *request, struct error *err)
{
	const Hyper__PodSetup *setup = request->body->pod_setup;
	struct agent *agent = request->agent;
	int r = check_setup(setup, err);

	if (r < 0)
		return r;
	if (setup->cgroup)
		r = cgroup_root_given(&agent->cgroups, setup->cgroup, err);
	else if (!agent->namespace_pod)
		r = cgroup_root_mount(&agent->cgroups, err);
	if (r == 0)
		r = set_names(setup, err);
	if (r == 0)
		r = set_machine_id(agent, setup->machine_id, err);
	/* A clone's is up since its template. */
	if (r == 0 && setup->loopback && !agent->loopback_up) {
		r = loopback_up(err);
		agent->loopback_up = r == 0;
	}
	if (r == 0)
		r = mount_shares(agent, setup->shares_tag, err);
	if (r == 0 && setup->network)
		r = network_prepare(err);
	for (size_t i = 0; r == 0 && i < setup->n_sysctls; i++)
		r = set_sysctl(setup->sysctls[i], err);
	if (r == 0)
		r = make_shared_memory(agent, setup->shm_bytes, err);
	if (r < 0)
		return r;
	agent->pod_ready = true;
	return 0;
}

int memory_trim_handle(struct request *request, struct error *err)
{
	int r;

	if (request->agent->namespace_pod)
		return 0; /* the memory is the host's */
	sync();
	r = pod_write_file(AT_FDCWD, "/proc/sys/vm/drop_caches", "3");
	if (r < 0)
		return error_errno(err, -r, "dropping caches");
	/* A kernel without compaction has no such file. */
	pod_write_file(AT_FDCWD, "/proc/sys/vm/compact_memory", "1");
	return 0;
}
