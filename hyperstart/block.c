#include "hyperstart/block.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"

/* virtio-blk has it at serial (20 bytes at most); SCSI disks in their unit serial number page. */
static bool serial_is(const char *disk, const char *serial)
{
	autofree char *text = NULL;
	char path[300];
	size_t len, want = strlen(serial);

	snprintf(path, sizeof(path), "/sys/block/%s/serial", disk);
	if (file_read(AT_FDCWD, path, 256, &text, &len, NULL) == 0)
		return len >= want && memcmp(text, serial, want) == 0 &&
		       (text[want] == '\0' || text[want] == '\n');
	snprintf(path, sizeof(path), "/sys/block/%s/device/vpd_pg80", disk);
	if (file_read(AT_FDCWD, path, 256, &text, &len, NULL) < 0)
		return false;
	/* Linux: the page as it came; four bytes of header, the fourth is the length. */
	return len >= 4 + want && (unsigned char)text[3] == want &&
	       memcmp(text + 4, serial, want) == 0;
}

int block_find(const char *serial, char *path, struct error *err)
{
	autoclosedir DIR *dir = opendir("/sys/block");
	struct dirent *e;

	if (!*serial)
		return error_set(err, ERROR_INVALID, "the disk's serial number is empty");
	while (dir && (e = readdir(dir))) {
		if (!str_starts(e->d_name, "vd") && !str_starts(e->d_name, "sd"))
			continue;
		if (!serial_is(e->d_name, serial))
			continue;
		snprintf(path, BLOCK_PATH_MAX, "/dev/%.32s", e->d_name);
		return 0;
	}
	return error_set(err, ERROR_NOT_FOUND, "no disk has the serial number '%s'", serial);
}

int block_flush(const char *path, struct error *err)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, BLKFLSBUF, 0) < 0)
		return error_errno(err, errno, "flushing the cache of '%s'", path);
	return 0;
}
