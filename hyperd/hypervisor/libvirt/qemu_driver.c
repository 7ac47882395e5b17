/* QEMU through libvirt: where pods are to be seen by an operator's tools. Without templates. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "hyperd/hypervisor/libvirt/vm.h"
#include "hyperd/hypervisor/run_socket.h"

#define SYSTEM_URI   "qemu:///system"
#define EMBEDDED_URI "qemu:///embed" /* without a root: one of ours */

/* Where libvirtd, or the part of it that is QEMU's, listens. */
static const char *const system_sockets[] = { "/run/libvirt/virtqemud-sock",
					      "/run/libvirt/libvirt-sock" };

static unsigned max_disks(const char *machine)
{
	return DOMAIN_QEMU_MAX_DISKS - 1;
}

static int open_console(struct libvirt_job *job, virDomainPtr domain, const char *run_dir)
{
	int fd = -1;

	return run_socket_connect(run_dir, DOMAIN_CONSOLE_SOCKET, &fd, NULL) < 0 ? -1 : fd;
}

static const struct libvirt_flavour flavour = {
	.driver = &libvirt_qemu_driver,
	.xml = domain_xml_qemu,
	.open_console = open_console,
	.hands_over_disks = true,
	.tcg = true,
	.package = "libvirt-daemon-system",
};

/*
 * libvirt inside this process keeps its state in a directory of ours, which each machine's user
 * must be able to enter. Its QEMU need not log through a daemon of libvirt's, changes no file's
 * owner, and its control groups are ours.
 */
static int prepare_embedded(const char *root, struct error *err)
{
	static const char text[] =
		"user = \"root\"\n" /* of what is not a machine: those have their own */
		"group = \"root\"\n"
		"stdio_handler = \"file\"\n"
		"dynamic_ownership = 0\n"
		"remember_owner = 0\n"
		"cgroup_controllers = []\n"
		"security_default_confined = 0\n";
	autofree char *etc = strf("%s/etc", root), *path = strf("%s/etc/qemu.conf", root);
	int r = etc && path ? file_make_dirs(AT_FDCWD, etc, 0755, err) : error_nomem(err);

	/* An operator's own settings stay. */
	if (r == 0 && access(path, F_OK) < 0)
		r = file_write_atomic(AT_FDCWD, path, text, sizeof(text) - 1, 0644, false, err);
	return r;
}

/* QEMU's control socket is there, and QEMU somebody without rights. */
static int check_enterable(const char *root, struct error *err)
{
	autofree char *path = strdup(root);
	struct stat st;

	if (!path)
		return error_nomem(err);
	for (char *end = path + strlen(path); end > path; *end = '\0') {
		if (stat(path, &st) < 0)
			return error_errno(err, errno, "'%s'", path);
		if (!(st.st_mode & S_IXOTH))
			return error_set(err, ERROR_DENIED,
					 "'%s': each machine's own user must be able to enter it, "
					 "for libvirt keeps its sockets below: chmod o+x",
					 path);
		end = strrchr(path, '/');
	}
	return 0;
}

static const char *system_uri(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(system_sockets); i++)
		if (access(system_sockets[i], F_OK) == 0)
			return SYSTEM_URI;
	return NULL;
}

static int open_qemu(const struct hypervisor_config *config, struct hypervisor **ret,
		     struct error *err)
{
	const char *uri =
		config->libvirt_uri && *config->libvirt_uri ? config->libvirt_uri : system_uri();
	autofree char *root = NULL, *embedded = NULL;
	int r;

	if (uri && !str_equal(uri, EMBEDDED_URI))
		return libvirt_open(&flavour, uri, config, ret, err);
	root = strf("%s/libvirt", config->run_root);
	embedded = strf(EMBEDDED_URI "?root=%s", root ? root : "");
	if (!root || !embedded)
		return error_nomem(err);
	r = prepare_embedded(root, err);
	if (r == 0)
		r = check_enterable(root, err);
	return r < 0 ? r : libvirt_open(&flavour, embedded, config, ret, err);
}

static const char *const machines[] = { "q35", NULL };

const struct hypervisor_driver libvirt_qemu_driver = {
	.name = "libvirt-qemu",
	.summary = "QEMU through libvirt, where virsh shows the pods",
	.features = {
		[HYPERVISOR_PAUSE] = true,
		[HYPERVISOR_CONSOLE] = true,
		[HYPERVISOR_DISKS] = true,
		[HYPERVISOR_CONFINED] = true,
	},
	.machines = machines,
	.max_disks = max_disks,
	.open = open_qemu,
	.close = libvirt_close,
	.info = libvirt_info,
	.start = libvirt_vm_start,
	.channel = libvirt_vm_channel,
	.pause = libvirt_vm_pause,
	.console = libvirt_vm_console,
	.pid = libvirt_vm_pid,
	.ended = libvirt_vm_ended,
	.end = libvirt_vm_end,
	.record = libvirt_vm_record,
	.adopt = libvirt_vm_adopt,
	.detach = libvirt_vm_detach,
	.sweep = libvirt_vm_sweep,
};
