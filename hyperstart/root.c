#include "hyperstart/root.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <linux/openat2.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"

/* Links followed while making what is missing; the kernel's own limit for look-ups. */
#define LINKS_MAX 40

static int open_in_root(int root_fd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve,
	};
	long fd;

	/* EAGAIN: something was renamed meanwhile and the kernel cannot be sure. */
	for (int i = 0; i < 32; i++) {
		fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

int root_open(int root_fd, const char *path, int flags, mode_t mode)
{
	return open_in_root(root_fd, path, flags, mode, 0);
}

int root_open_direct(int root_fd, const char *path, int flags, mode_t mode)
{
	return open_in_root(root_fd, path, flags, mode, RESOLVE_NO_SYMLINKS);
}

/* Splits "a/b/c" into "a/b" and "c", without slashes at the end; false when there is no name. */
static bool split(const char *path, char *parent, char *name)
{
	size_t len = strlen(path), at;

	while (len && path[len - 1] == '/')
		len--;
	at = len;
	while (at && path[at - 1] != '/')
		at--;
	if (at == len || len >= PATH_MAX || len - at > NAME_MAX)
		return false;
	memcpy(parent, path, at);
	parent[at] = '\0';
	memcpy(name, path + at, len - at);
	name[len - at] = '\0';
	return true;
}

static int make_dir(int root_fd, const char *path, mode_t mode, int *links);

/* Where the link PARENT/NAME leads, as a path in the root; owned by the caller. */
static int link_target(const char *parent, int parent_fd, const char *name, int *links, char **ret)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(parent_fd, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	if (--*links < 0)
		return -ELOOP;
	target[n] = '\0';
	*ret = strf("%s%s", target[0] == '/' ? "" : parent, target);
	return !*ret ? -ENOMEM : strlen(*ret) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* A link to what is not there yet: makes its target. */
static int make_link_target(int root_fd, const char *parent, int parent_fd, const char *name,
			    mode_t mode, int *links)
{
	autofree char *path = NULL;
	int r = link_target(parent, parent_fd, name, links, &path);

	return r < 0 ? r : make_dir(root_fd, path, mode, links);
}

static int make_dir(int root_fd, const char *path, mode_t mode, int *links)
{
	int fd = root_open(root_fd, *path ? path : "/", O_PATH | O_DIRECTORY, 0);
	autofree char *parent = NULL;
	autoclose int parent_fd = -1;
	char name[NAME_MAX + 1];

	if (fd != -ENOENT)
		return fd;
	/* On the heap: paths may be as deep as they are long, and this recurses. */
	parent = malloc(strlen(path) + 1);
	if (!parent)
		return -ENOMEM;
	if (!split(path, parent, name))
		return -ENAMETOOLONG;
	parent_fd = make_dir(root_fd, parent, 0755, links);
	if (parent_fd < 0)
		return parent_fd;
	if (mkdirat(parent_fd, name, mode) < 0 && errno != EEXIST)
		return -errno;
	fd = root_open(root_fd, path, O_PATH | O_DIRECTORY, 0);
	if (fd != -ENOENT)
		return fd;
	return make_link_target(root_fd, parent, parent_fd, name, mode, links);
}

int root_make_dir(int root_fd, const char *path, mode_t mode, struct error *err)
{
	int links = LINKS_MAX;
	int fd = strlen(path) < PATH_MAX ? make_dir(root_fd, path, mode, &links) : -ENAMETOOLONG;

	return fd < 0 ? error_errno(err, -fd, "directory '%s' in the container", path) : fd;
}

static int make_file(int root_fd, const char *path, int *links)
{
	int fd = root_open(root_fd, path, O_PATH, 0), r;
	autofree char *parent = NULL, *target = NULL;
	autoclose int parent_fd = -1, made_fd = -1;
	char name[NAME_MAX + 1];

	if (fd != -ENOENT)
		return fd;
	parent = malloc(strlen(path) + 1);
	if (!parent)
		return -ENOMEM;
	if (!split(path, parent, name))
		return -ENAMETOOLONG;
	parent_fd = make_dir(root_fd, parent, 0755, links);
	if (parent_fd < 0)
		return parent_fd;
	made_fd =
		openat(parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (made_fd < 0 && errno != EEXIST)
		return -errno;
	fd = root_open(root_fd, path, O_PATH, 0);
	if (fd != -ENOENT)
		return fd;
	/* As images have it that point /etc/resolv.conf to a file made at run time. */
	r = link_target(parent, parent_fd, name, links, &target);
	return r < 0 ? r : make_file(root_fd, target, links);
}

int root_make_file(int root_fd, const char *path, struct error *err)
{
	int links = LINKS_MAX;
	int fd = strlen(path) < PATH_MAX ? make_file(root_fd, path, &links) : -ENAMETOOLONG;

	return fd < 0 ? error_errno(err, -fd, "file '%s' in the container", path) : fd;
}

int root_read(int root_fd, const char *path, size_t max, char **ret, size_t *ret_len,
	      struct error *err)
{
	/* Not blocking: it may be a pipe that nobody writes to. */
	autoclose int fd = root_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;

	if (fd == -ENOENT || fd == -ENOTDIR)
		return error_set(err, ERROR_NOT_FOUND, "the container has no '%s'", path);
	if (fd < 0)
		return error_errno(err, -fd, "opening the container's '%s'", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, ERROR_FAILED, "the container's '%s' is no regular file",
				 path);
	return file_read_fd(fd, max, ret, ret_len, err);
}

struct fd_path fd_path(int fd)
{
	struct fd_path path;

	snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
	return path;
}

uint32_t fd_file_system(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 ? 0 : (uint32_t)fs.f_type;
}
