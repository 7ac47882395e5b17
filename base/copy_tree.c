#include "base/copy_tree.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "base/file.h"

/* Deeper trees are no image's. */
#define DEPTH_MAX  128
#define XATTRS_MAX 65536

static int copy_into(int from_fd, int to_fd, unsigned depth);

static void copy_xattrs(int from_fd, int to_fd)
{
	autofree char *names = NULL, *value = NULL;
	ssize_t len = flistxattr(from_fd, NULL, 0);

	if (len <= 0 || len > XATTRS_MAX)
		return;
	names = malloc((size_t)len);
	value = malloc(XATTRS_MAX);
	if (!names || !value)
		return;
	len = flistxattr(from_fd, names, (size_t)len);
	for (char *p = names; len > 0 && p < names + len; p += strlen(p) + 1) {
		ssize_t n = fgetxattr(from_fd, p, value, XATTRS_MAX);

		/* A file system that does not keep this one copies without it, as cp -a does. */
		if (n >= 0 && strncmp(p, "trusted.", 8) != 0)
			fsetxattr(to_fd, p, value, (size_t)n, 0);
	}
}

/* The owner first: changing it takes set-id bits and file capabilities away. */
static int copy_attributes(int from_fd, int to_fd, const struct stat *st)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (fchown(to_fd, st->st_uid, st->st_gid) < 0 || fchmod(to_fd, st->st_mode & 07777) < 0)
		return -errno;
	copy_xattrs(from_fd, to_fd);
	futimens(to_fd, times);
	return 0;
}

static int copy_directory(int from_dir, int to_dir, const char *name, unsigned depth)
{
	autoclose int from_fd =
		openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	autoclose int to_fd = -1;

	if (from_fd < 0 || (mkdirat(to_dir, name, 0700) < 0 && errno != EEXIST))
		return -errno;
	to_fd = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return to_fd < 0 ? -errno : copy_into(from_fd, to_fd, depth + 1);
}

static int copy_file(int from_dir, int to_dir, const char *name)
{
	autoclose int from_fd =
		openat(from_dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
	autoclose int to_fd = -1;
	struct stat st;
	int r;

	if (from_fd < 0 || fstat(from_fd, &st) < 0)
		return -errno;
	to_fd = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to_fd < 0)
		return -errno;
	r = file_copy_sparse(from_fd, to_fd, NULL);
	return r < 0 ? r : copy_attributes(from_fd, to_fd, &st);
}

static int copy_other(int from_dir, int to_dir, const char *name, const struct stat *st)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };
	char target[4096];
	ssize_t n;

	if (!S_ISLNK(st->st_mode)) {
		if (mknodat(to_dir, name, st->st_mode, st->st_rdev) < 0)
			return -errno;
	} else {
		n = readlinkat(from_dir, name, target, sizeof(target) - 1);
		if (n < 0)
			return -errno;
		target[n] = '\0';
		if (symlinkat(target, to_dir, name) < 0)
			return -errno;
	}
	if (fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int copy_into(int from_fd, int to_fd, unsigned depth)
{
	int dir_fd = fcntl(from_fd, F_DUPFD_CLOEXEC, 0), r = 0;
	autoclosedir DIR *dir = dir_fd >= 0 ? fdopendir(dir_fd) : NULL;
	struct dirent *e;
	struct stat st;

	if (!dir || fstat(from_fd, &st) < 0)
		return -errno;
	if (depth > DEPTH_MAX)
		return -ELOOP;
	while (r == 0 && (e = readdir(dir))) {
		struct stat child;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (fstatat(from_fd, e->d_name, &child, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (S_ISDIR(child.st_mode))
			r = copy_directory(from_fd, to_fd, e->d_name, depth);
		else if (S_ISREG(child.st_mode))
			r = copy_file(from_fd, to_fd, e->d_name);
		else
			r = copy_other(from_fd, to_fd, e->d_name, &child);
	}
	return r < 0 ? r : copy_attributes(from_fd, to_fd, &st);
}

int copy_tree(int from_fd, int to_fd, struct error *err)
{
	int r = copy_into(from_fd, to_fd, 0);

	return r < 0 ? error_errno(err, -r, "copying the image's content") : 0;
}
