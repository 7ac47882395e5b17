#include "base/file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <linux/fs.h>

#include "base/cleanup.h"
#include "base/fd.h"

int file_read_fd(int fd, size_t max, char **ret, size_t *ret_len, struct error *err)
{
	autofree char *buf = NULL;
	size_t len = 0, capacity = 0;
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		capacity = (size_t)st.st_size < max ? (size_t)st.st_size + 1 : max + 1;
	for (;;) {
		ssize_t n;

		if (len + 1 >= capacity || !buf) {
			char *grown;

			if (buf)
				capacity = capacity * 2;
			if (capacity < 4096)
				capacity = 4096;
			grown = realloc(buf, capacity + 1);
			if (!grown)
				return error_nomem(err);
			buf = grown;
		}
		n = fd_read(fd, buf + len, capacity - len);
		if (n < 0)
			return error_errno(err, (int)-n, "reading");
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return error_set(err, ERROR_LIMIT, "larger than %zu bytes", max);
	}
	buf[len] = '\0';
	*ret = steal(buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int file_read(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_len,
	      struct error *err)
{
	autoclose int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int r;

	if (fd < 0 && errno == ENOENT)
		return error_set(err, ERROR_NOT_FOUND, "'%s': no such file", path);
	if (fd < 0)
		return error_errno(err, errno, "opening '%s'", path);
	r = file_read_fd(fd, max, ret, ret_len, err);
	return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
}

static int sync_parent(int dir_fd, const char *path)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');
	autoclose int fd = -1;

	if (!slash)
		snprintf(parent, sizeof(parent), ".");
	else if (slash == path)
		snprintf(parent, sizeof(parent), "/");
	else
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	fd = openat(dir_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int file_write_atomic(int dir_fd, const char *path, const void *data, size_t len, mode_t mode,
		      bool sync, struct error *err)
{
	static unsigned counter;
	char temporary[PATH_MAX];
	autoclose int fd = -1;
	int r;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new-%d-%u", path, (int)getpid(),
			     __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED)) >=
	    sizeof(temporary))
		return error_errno(err, ENAMETOOLONG, "writing '%s'", path);
	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return error_errno(err, errno, "writing '%s'", path);
	r = fd_write_all(fd, data, len);
	if (r == 0 && sync && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dir_fd, temporary, dir_fd, path) < 0)
		r = -errno;
	if (r == 0 && sync)
		r = sync_parent(dir_fd, path);
	if (r < 0) {
		unlinkat(dir_fd, temporary, 0);
		return error_errno(err, -r, "writing '%s'", path);
	}
	return 0;
}

int file_make_dirs(int dir_fd, const char *path, mode_t mode, struct error *err)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return error_errno(err, ENAMETOOLONG, "making directory '%s'", path);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdirat(dir_fd, part, i == len ? mode : 0755) < 0 && errno != EEXIST)
			return error_errno(err, errno, "making directory '%s'", part);
	}
	return 0;
}

int file_open_dir(int dir_fd, const char *path, mode_t mode, struct error *err)
{
	int r = file_make_dirs(dir_fd, path, mode, err), fd;

	if (r < 0)
		return r;
	fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "opening directory '%s'", path);
	return fd;
}

/* Removes what DIR holds. Takes dir_fd. Depth is bounded by what the kernel let someone create, so
 * recurse by fd. */
static int remove_children(int dir_fd, dev_t device, unsigned depth)
{
	autoclosedir DIR *dir = fdopendir(dir_fd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		r = -errno;
		close(dir_fd);
		return r;
	}
	if (depth > 4096)
		return -ELOOP;
	while (r == 0 && (errno = 0, e = readdir(dir))) {
		struct stat st;
		int fd;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(dir), e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM)
			return -errno;
		fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (fstat(fd, &st) < 0 || st.st_dev != device) {
			close(fd);
			return -EBUSY; /* a mount: not ours to empty */
		}
		r = remove_children(fd, device, depth + 1);
		if (r == 0 && unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR) < 0)
			r = -errno;
	}
	return r;
}

int file_remove_tree(int dir_fd, const char *path, struct error *err)
{
	struct stat st;
	int r, fd;

	if (unlinkat(dir_fd, path, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return error_errno(err, errno, "removing '%s'", path);
	fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "removing '%s'", path);
	if (fstat(fd, &st) < 0) {
		r = -errno;
		close(fd);
		return error_errno(err, -r, "removing '%s'", path);
	}
	r = remove_children(fd, st.st_dev, 0);
	if (r == 0 && unlinkat(dir_fd, path, AT_REMOVEDIR) < 0)
		r = -errno;
	return r < 0 ? error_errno(err, -r, "removing '%s'", path) : 0;
}

static int copy_range(int from_fd, int to_fd, off_t at, off_t end)
{
	while (at < end) {
		off_t in = at, out = at;
		ssize_t n = copy_file_range(from_fd, &in, to_fd, &out, (size_t)(end - at), 0);

		if (n <= 0) {
			char buf[65536];
			size_t want =
				end - at < (off_t)sizeof(buf) ? (size_t)(end - at) : sizeof(buf);

			n = pread(from_fd, buf, want, at);
			if (n <= 0)
				return n < 0 ? -errno : 0;
			n = pwrite(to_fd, buf, (size_t)n, at);
			if (n < 0)
				return -errno;
		}
		at += n;
	}
	return 0;
}

int file_copy_sparse(int from_fd, int to_fd, struct error *err)
{
	struct stat st;
	off_t at = 0;
	int r = 0;

	if (fstat(from_fd, &st) < 0)
		return error_errno(err, errno, "copying a file");
	if (ioctl(to_fd, FICLONE, from_fd) == 0)
		return 0;
	if (ftruncate(to_fd, st.st_size) < 0)
		return error_errno(err, errno, "copying a file");
	while (r == 0 && at < st.st_size) {
		off_t data = lseek(from_fd, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0) {
			data = at;
			hole = st.st_size;
		} else {
			hole = lseek(from_fd, data, SEEK_HOLE);
			if (hole < 0)
				hole = st.st_size;
		}
		r = copy_range(from_fd, to_fd, data, hole);
		at = hole;
	}
	return r < 0 ? error_errno(err, -r, "copying a file") : 0;
}

static int add_usage(int dir_fd, const char *path, uint64_t *bytes)
{
	autoclosedir DIR *dir = NULL;
	struct dirent *e;
	struct stat st;
	int fd, r = 0;

	if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*bytes += (uint64_t)st.st_blocks * 512;
	if (!S_ISDIR(st.st_mode))
		return 0;
	fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (r == 0 && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = add_usage(dirfd(dir), e->d_name, bytes);
	return r == -ENOENT ? 0 : r;
}

int file_tree_usage(int dir_fd, const char *path, uint64_t *ret_bytes, struct error *err)
{
	int r;

	*ret_bytes = 0;
	r = add_usage(dir_fd, path, ret_bytes);
	return r < 0 ? error_errno(err, -r, "measuring '%s'", path) : 0;
}
