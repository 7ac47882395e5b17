/*
 * The process that copies an image's content into a new volume: hyperd's own program started anew.
 * What it reads came from strangers (names, links, sizes), so it holds nothing but the layers and
 * the volume's directory as descriptors, looks every name up below them without following links,
 * and has
 *
 *   namespaces   mount, network, IPC and PID of its own
 *   capabilities CHOWN, FOWNER, FSETID, MKNOD, SETFCAP (files as the image has them), DAC_OVERRIDE
 *                (directories that are others' by then); the image's mount is made before the rest
 * go
 */
#include "hyperd/volume/fill.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/copy_tree.h"
#include "base/str.h"

const char fill_child_name[] = "hyper-fill-volume";

/* Any directory serves to mount on: the namespace is this process's own. */
#define MOUNT_POINT "/proc"

static int drop_capabilities(struct error *err)
{
	static const int kept[] = { CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,
				    CAP_FSETID, CAP_MKNOD,        CAP_SETFCAP };
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		data[kept[i] / 32].permitted |= 1u << kept[i] % 32;
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		data[i].effective = data[i].permitted;
	if (syscall(SYS_capset, &header, data) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "confining itself");
	return 0;
}

/* Overlayfs takes only what was opened in the mount namespace that it is mounted in. */
static int reopen(int number, struct error *err)
{
	char link[32], path[4096];
	ssize_t n;
	int fd;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", number);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return error_errno(err, errno, "finding a layer");
	path[n] = '\0';
	fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || dup3(fd, number, O_CLOEXEC) < 0)
		return error_errno(err, errno, "opening the layer '%s'", path);
	close(fd);
	return 0;
}

/* The layers as one tree; a single one is that already. */
static int open_image(int count, struct error *err)
{
	autostr struct str options = STR_INIT;
	int fd;

	if (count == 1)
		return FILL_LAYER_FD;
	for (int i = 0; i < count; i++) {
		int r = reopen(FILL_LAYER_FD + i, err);

		if (r < 0)
			return r;
	}
	/* The topmost first. */
	str_add(&options, "lowerdir=");
	for (int i = count - 1; i >= 0; i--)
		str_addf(&options, "/proc/self/fd/%d%s", FILL_LAYER_FD + i, i ? ":" : "");
	if (options.failed)
		return error_nomem(err);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("overlay", MOUNT_POINT, "overlay", MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC,
		  options.data) < 0)
		return error_errno(err, errno, "mounting the image's %d layers", count);
	fd = open(MOUNT_POINT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "opening the image") : fd;
}

static int fill(const char *path, int count, struct error *err)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	int image = open_image(count, err), from, r;

	if (image < 0)
		return image;
	r = drop_capabilities(err);
	if (r < 0)
		return r;
	from = (int)syscall(SYS_openat2, image, path, &how, sizeof(how));
	/* Nothing there, or no directory: the volume begins empty. */
	if (from < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	if (from < 0)
		return error_errno(err, errno, "opening '%s' in the image", path);
	umask(0);
	r = copy_tree(from, FILL_TARGET_FD, err);
	close(from);
	return r;
}

/* Before main(), so that every program that fills volumes, the tests too, can be its own child. */
__attribute__((constructor)) static void become_child(int argc, char **argv)
{
	struct error err = { 0 };

	if (argc != 4 || strcmp(argv[1], fill_child_name) != 0)
		return;
	if (fill(argv[2], atoi(argv[3]), &err) < 0) {
		fprintf(stderr, "%s\n", err.message);
		_exit(1);
	}
	_exit(0);
}
