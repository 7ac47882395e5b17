/* A tree of the container's files, sent whole: for export and for cp out of it. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "hyperstart/files.h"
#include "hyperstart/root.h"

/* Each level holds a descriptor. */
#define DEPTH_MAX 400

struct reading {
	struct files_child *child;
	struct files_links *links;
	struct str path;
};

static int read_tree(struct reading *r, int dir_fd, unsigned depth, struct error *err);

static int read_one(struct reading *r, int dir_fd, const char *name, unsigned depth,
		    struct error *err)
{
	struct tree_entry entry;
	const char *first;
	autoclose int fd = -1;
	struct stat st;
	int result;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "'%s'", str_text(&r->path));
	first = files_links_seen(r->links, &st, str_text(&r->path));
	if (first) {
		files_entry(&st, &entry);
		entry.type = TREE_HARD_LINK;
		entry.size_bytes = 0;
		entry.path = str_text(&r->path);
		entry.link = first;
		return files_send(r->child, &entry, err);
	}
	result = files_send_named(r->child, dir_fd, name, &st, str_text(&r->path), err);
	if (result < 0 || !S_ISDIR(st.st_mode))
		return result;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
			       ? 0
			       : error_errno(err, errno, "'%s'", str_text(&r->path));
	return read_tree(r, fd, depth + 1, err);
}

static int read_tree(struct reading *r, int dir_fd, unsigned depth, struct error *err)
{
	autostrv char **names = NULL;
	int result = files_names(dir_fd, &names, err);

	if (depth > DEPTH_MAX)
		return error_set(err, ERROR_LIMIT, "directories more than %d deep", DEPTH_MAX);
	strv_for_each(name, names) {
		size_t len = r->path.len;

		if (result < 0)
			break;
		if (len)
			str_addc(&r->path, '/');
		str_add(&r->path, *name);
		if (r->path.failed)
			return error_nomem(err);
		if (r->path.len > TREE_MAX_PATH_BYTES)
			return error_set(err, ERROR_LIMIT,
					 "'%.100s…': a path of more than %u bytes", r->path.data,
					 TREE_MAX_PATH_BYTES);
		result = read_one(r, dir_fd, *name, depth, err);
		r->path.len = len;
		r->path.data[len] = '\0';
	}
	return result;
}

/* ------------------------------------------------------------------ what a path leads to */

/* The directory that the last part of PATH is in, and that part; "." when all of it is meant. */
static int open_place(int root_fd, const char *path, bool follow, char name[NAME_MAX + 1],
		      struct error *err)
{
	const char *slash = strrchr(path, '/');
	autofree char *parent = NULL;
	int fd;

	if (path[0] != '/')
		return error_set(err, ERROR_INVALID, "'%s': expected an absolute path", path);
	if (!slash[1] || strlen(slash + 1) > NAME_MAX)
		follow = true;
	parent = follow ? strdup(path) : strndup(path, (size_t)(slash - path) + 1);
	if (!parent)
		return error_nomem(err);
	strcpy(name, follow ? "." : slash + 1);
	fd = root_open(root_fd, parent, O_PATH | O_DIRECTORY, 0);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return error_set(err, ERROR_NOT_FOUND, "'%s': %s", path, strerror(-fd));
	return fd < 0 ? error_errno(err, -fd, "'%s'", path) : fd;
}

/* Where a symbolic link ends, as the container names it; what leads nowhere is told as far as it
 * goes. */
static void resolve_link(const struct files_child *child, int root_fd, int dir_fd, const char *name,
			 const char *path, char out[PATH_MAX])
{
	autoclose int fd = root_open(root_fd, path, O_PATH, 0);
	char number[16], target[PATH_MAX];
	ssize_t n;

	if (fd >= 0) {
		snprintf(number, sizeof(number), "%d", fd);
		n = readlinkat(child->fds_dir, number, out, PATH_MAX - 1);
	} else {
		n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
		if (n > 0 && target[0] != '/') {
			target[n] = '\0';
			n = snprintf(out, PATH_MAX, "%.*s/%s", (int)(strrchr(path, '/') - path),
				     path, target);
		} else if (n > 0) {
			memcpy(out, target, (size_t)n);
		}
	}
	out[n > 0 && n < PATH_MAX ? n : 0] = '\0';
}

static int send_stat(struct files_child *child, int root_fd, int dir_fd, const char *name,
		     const char *path, const struct stat *st, struct error *err)
{
	char link[PATH_MAX] = "";
	struct tree_entry entry;

	files_entry(st, &entry);
	entry.type = TREE_STAT;
	entry.mode = st->st_mode;
	entry.size_bytes = (uint64_t)st->st_size;
	if (S_ISLNK(st->st_mode))
		resolve_link(child, root_fd, dir_fd, name, path, link);
	entry.link = link;
	return files_send(child, &entry, err);
}

int files_read(struct files_child *child, int root_fd, struct error *err)
{
	bool export = child->ask->task == HYPER__FILES_TASK__FILES_EXPORT;
	struct reading reading = { .child = child, .links = files_links_new() };
	autofree char *path = files_path(child);
	autoclose int dir_fd = -1, fd = -1;
	char name[NAME_MAX + 1];
	struct stat st;
	int r;

	if (!path || !reading.links)
		return error_nomem(err);
	if (export) {
		files_begin(child);
		r = read_tree(&reading, root_fd, 0, err);
		str_done(&reading.path);
		return r;
	}
	dir_fd = open_place(root_fd, path, child->ask->follow, name, err);
	if (dir_fd < 0)
		return dir_fd;
	if (fstatat(dir_fd, strcmp(name, ".") == 0 ? "" : name, &st,
		    AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? error_set(err, ERROR_NOT_FOUND, "'%s': %s", path, strerror(errno))
			       : error_errno(err, errno, "'%s'", path);
	files_begin(child);
	r = send_stat(child, root_fd, dir_fd, name, path, &st, err);
	if (r < 0 || child->ask->task == HYPER__FILES_TASK__FILES_STAT)
		return r;
	if (S_ISDIR(st.st_mode)) {
		/* The path of its own is the tree's top. */
		fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return error_errno(err, errno, "'%s'", path);
		r = files_send_named(child, fd, ".", &st, "", err);
		if (r == 0)
			r = read_tree(&reading, fd, 0, err);
	} else {
		r = files_send_named(child, dir_fd, name, &st, "", err);
	}
	str_done(&reading.path);
	return r;
}
