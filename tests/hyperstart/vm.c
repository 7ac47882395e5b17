/* Pods in a microVM: cold boot, layers on a disk and streamed, the disk as ext4. */
#include "tests/hyperstart/pod.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define QEMU       "/usr/bin/qemu-system-x86_64"
#define DISK_BYTES (512ll << 20)

static char *kernel, *initramfs;

const char *test_vm_init(const char *dir)
{
	kernel = strf("%s/vmlinux", dir);
	initramfs = strf("%s/initramfs.cpio", dir);
	if (access(kernel, R_OK) < 0 || access(initramfs, R_OK) < 0)
		return "no guest kernel and initramfs (tools/build makes them)";
	if (access(QEMU, X_OK) < 0)
		return "no QEMU at " QEMU;
	if (access("/usr/bin/mkfs.erofs", X_OK) < 0 || access("/sbin/mkfs.ext4", X_OK) < 0)
		return "no mkfs.erofs or mkfs.ext4";
	return NULL;
}

static pid_t spawn(const char *const *argv, bool quiet)
{
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		/* A test that is killed leaves no machine behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, STDIN_FILENO);
		if (quiet)
			dup2(null, STDOUT_FILENO);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	assert_true(pid > 0);
	return pid;
}

static void make_erofs(struct test_pod *pod, const char *name, const char *image)
{
	autofree char *layer = strf("%s/layers/%s", pod->dir, name);
	const char *const argv[] = { "/usr/bin/mkfs.erofs", "--quiet", image, layer, NULL };
	int status;

	assert_int_equal(waitpid(spawn(argv, true), &status, 0) > 0 ? status : -1, 0);
}

static void make_disk(const char *path)
{
	const char *const argv[] = { "/sbin/mkfs.ext4", "-q", "-O", "^has_journal", path, NULL };
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), status;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
	close(fd);
	assert_int_equal(waitpid(spawn(argv, true), &status, 0) > 0 ? status : -1, 0);
}

void test_vm_launch(struct test_pod *pod)
{
	autofree char *disk = test_pod_path(pod, "disk.img"),
		      *layer = test_pod_path(pod, "layer.img"),
		      *agent = strf("socket,id=agent,path=%s,server=on,wait=off", pod->socket),
		      *disk_dev =
			      strf("driver=raw,node-name=disk,file.driver=file,file.filename=%s",
				   disk),
		      *layer_dev = strf("driver=raw,node-name=layer,read-only=on,file.driver=file,"
					"file.filename=%s",
					layer),
		      *console = strf("file:%s/console", pod->dir);
	const char *const argv[] = { QEMU,
				     "-nodefaults",
				     "-no-user-config",
				     "-no-reboot",
				     "-display",
				     "none",
				     "-machine",
				     "microvm,acpi=off,x-option-roms=off,rtc=on,isa-serial=on",
				     "-accel",
				     "tcg",
				     "-cpu",
				     "max,la57=off",
				     "-smp",
				     "1",
				     "-m",
				     "384M",
				     "-global",
				     "virtio-mmio.force-legacy=false",
				     "-kernel",
				     kernel,
				     "-initrd",
				     initramfs,
				     "-append",
				     "console=ttyS0 quiet panic=-1 reboot=t hyper.channel=vport",
				     "-chardev",
				     agent,
				     "-device",
				     "virtio-serial-device,max_ports=2",
				     "-device",
				     "virtserialport,chardev=agent,name=hyper.agent",
				     "-blockdev",
				     disk_dev,
				     "-device",
				     "virtio-blk-device,drive=disk,serial=pod",
				     "-blockdev",
				     layer_dev,
				     "-device",
				     "virtio-blk-device,drive=layer,serial=busybox",
				     "-serial",
				     console,
				     NULL };

	make_disk(disk);
	make_erofs(pod, LAYER, layer);
	pod->pid = spawn(argv, false);
	for (int i = 0; access(pod->socket, F_OK) < 0; i++) {
		/* QEMU makes it before anything else. */
		assert_true(i < 1000 && waitpid(pod->pid, NULL, WNOHANG) == 0);
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
}

static void add_disk_layer(struct test_pod *pod)
{
	Hyper__LayerAdd add = HYPER__LAYER_ADD__INIT;

	add.digest = LAYER;
	add.source_case = HYPER__LAYER_ADD__SOURCE_BLOCK_SERIAL;
	add.block_serial = "busybox";
	client_ok(&pod->client, REQUEST(layer_add, LAYER_ADD, &add));
}

void test_vm_set_up(struct test_pod *pod)
{
	Hyper__Resume resume = HYPER__RESUME__INIT;
	Hyper__PodSetup setup = HYPER__POD_SETUP__INIT;
	Hyper__DiskSetup disk = HYPER__DISK_SETUP__INIT;
	uint8_t entropy[64];

	assert_int_equal(getrandom(entropy, sizeof(entropy), 0), sizeof(entropy));
	resume.entropy.data = entropy;
	resume.entropy.len = sizeof(entropy);
	resume.realtime_ns = realtime_ns();
	client_ok(&pod->client, REQUEST(resume, RESUME, &resume));
	setup.hostname = "testpod";
	setup.loopback = true;
	setup.machine_id = "0123456789abcdef0123456789abcdef";
	client_ok(&pod->client, REQUEST(pod_setup, POD_SETUP, &setup));
	disk.block_serial = "pod";
	client_ok(&pod->client, REQUEST(disk_setup, DISK_SETUP, &disk));
	add_disk_layer(pod);
}

void test_vm_add_layer(struct test_pod *pod, const char *name)
{
	autofree char *image = test_pod_path(pod, "streamed.img"), *data = NULL;
	Hyper__LayerAdd add = HYPER__LAYER_ADD__INIT;
	Hyper__LayerStream source = HYPER__LAYER_STREAM__INIT;
	struct client_stream stream;
	struct error err = { 0 };
	size_t len;
	uint32_t id;

	if (strcmp(name, LAYER) == 0) {
		add_disk_layer(pod);
		return;
	}
	make_erofs(pod, name, image);
	assert_ok(file_read(AT_FDCWD, image, 64u << 20, &data, &len, &err), err);
	client_stream_open(&stream, &pod->client);
	add.digest = (char *)name;
	add.source_case = HYPER__LAYER_ADD__SOURCE_STREAM;
	add.stream = &source;
	source.stream = stream.id;
	source.size_bytes = len;
	id = client_post(&pod->client, REQUEST(layer_add, LAYER_ADD, &add));
	client_stream_send(&stream, data, len);
	mux_stream_end(stream.stream);
	client_expect_ok(&pod->client, id);
	client_stream_close(&stream);
	unlink(image);
}
