#include "hyperstart/mounts.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "hyperstart/root.h"

int mount_new(int target_fd, const char *source, const char *type, unsigned long flags,
	      const char *data, const char *what, struct error *err)
{
	if (mount(source, fd_path(target_fd).text, type, flags, data) < 0)
		return error_errno(err, errno, "mounting %s '%s' at '%s'", type, source, what);
	return 0;
}

/* The flags a mount has, as a remount must repeat them. */
static unsigned long current_flags(int fd)
{
	static const struct {
		unsigned long have, flag;
	} map[] = {
		{ ST_RDONLY, MS_RDONLY },     { ST_NOSUID, MS_NOSUID },
		{ ST_NODEV, MS_NODEV },       { ST_NOEXEC, MS_NOEXEC },
		{ ST_NOATIME, MS_NOATIME },   { ST_NODIRATIME, MS_NODIRATIME },
		{ ST_RELATIME, MS_RELATIME },
	};
	unsigned long flags = 0;
	struct statvfs fs;

	if (fstatvfs(fd, &fs) < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (fs.f_flag & map[i].have)
			flags |= map[i].flag;
	return flags;
}

static int change_flags(int fd, unsigned long flags, const char *what, struct error *err)
{
	unsigned long now = current_flags(fd);

	if (flags & (MS_NOATIME | MS_STRICTATIME))
		now &= ~(unsigned long)MS_RELATIME;
	if (mount(NULL, fd_path(fd).text, NULL, MS_REMOUNT | MS_BIND | now | flags, NULL) < 0)
		return error_errno(err, errno, "setting the mount options of '%s'", what);
	return 0;
}

int mount_set_read_only(int fd, const char *what, struct error *err)
{
	return change_flags(fd, MS_RDONLY, what, err);
}

int mount_bind(int root_fd, int source_fd, int target_fd, const char *path, unsigned long flags,
	       bool recursive, const char *what, struct error *err)
{
	autoclose int mounted_fd = -1;

	if (mount(fd_path(source_fd).text, fd_path(target_fd).text, NULL,
		  MS_BIND | (recursive ? MS_REC : 0), NULL) < 0)
		return error_errno(err, errno, "binding onto '%s'", what);
	if (!flags)
		return 0;
	/* The descriptor is still that of what is now covered. */
	mounted_fd = root_open(root_fd, path, O_PATH, 0);
	if (mounted_fd < 0)
		return error_errno(err, -mounted_fd, "opening '%s'", what);
	return change_flags(mounted_fd, flags, what, err);
}
