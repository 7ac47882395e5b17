#include "hyperd/image/layer_writer.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/clock.h"
#include "base/file.h"
#include "hyperd/image/image.h"

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_META   ".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define PATH_BYTES      (LAYER_MAX_PATH_BYTES + 1)
#define NAME_BYTES      255

struct layer_writer {
	int root_fd; /* borrowed */
	struct layer_limits limits;
	uint64_t bytes, entries;
	struct str opaque;
	/*
	 * The directory that entries go into at present. Making an entry changes its times, so they
	 * are read before and put back when another directory has its turn.
	 */
	int parent_fd; /* owned */
	struct timespec parent_times[2];
	char parent[PATH_BYTES];
	char path[PATH_BYTES]; /* of the entry at hand */
};

int layer_writer_new(int root_fd, const struct layer_limits *limits, struct layer_writer **ret,
		     struct error *err)
{
	struct layer_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return error_nomem(err);
	w->root_fd = root_fd;
	w->limits = *limits;
	w->parent_fd = -1;
	*ret = w;
	return 0;
}

void layer_writer_free(struct layer_writer *w)
{
	if (!w)
		return;
	if (w->parent_fd >= 0)
		close(w->parent_fd);
	str_done(&w->opaque);
	free(w);
}

const struct str *layer_writer_opaque(const struct layer_writer *w)
{
	return &w->opaque;
}

uint64_t layer_writer_bytes(const struct layer_writer *w)
{
	return w->bytes;
}

static int too_deep(const char *name, struct error *err)
{
	return error_set(err, ERROR_LIMIT, "'%.60s…': directories nested deeper than %u", name,
			 LAYER_MAX_DEPTH);
}

int layer_path_clean(const char *name, char *path, size_t size, struct error *err)
{
	size_t len = strlen(name), out = 0;
	const char *p = name;
	unsigned depth = 0;

	if (len == 0)
		return error_set(err, ERROR_INVALID, "an entry with an empty name");
	if (len > LAYER_MAX_PATH_BYTES || len >= size)
		return error_set(err, ERROR_LIMIT, "'%.60s…': a name of %zu bytes, more than %u",
				 name, len, LAYER_MAX_PATH_BYTES);
	if (name[0] == '/')
		return error_set(err, ERROR_INVALID, "'%.200s': an absolute name", name);
	while (*p) {
		const char *end = strchrnul(p, '/');
		size_t n = (size_t)(end - p);

		if (n == 2 && p[0] == '.' && p[1] == '.')
			return error_set(err, ERROR_INVALID,
					 "'%.200s': a name that climbs with '..'", name);
		if (n > NAME_BYTES)
			return error_set(err, ERROR_LIMIT,
					 "'%.60s…': a component of %zu bytes, more than %d", name,
					 n, NAME_BYTES);
		if (n > 0 && !(n == 1 && p[0] == '.')) {
			if (out)
				path[out++] = '/';
			memcpy(path + out, p, n);
			out += n;
			if (++depth > LAYER_MAX_DEPTH)
				return too_deep(name, err);
		}
		p = *end ? end + 1 : end;
	}
	path[out] = '\0';
	return 0;
}

/* The one way that names become descriptors here: beneath the root, whatever the links on the way
 * say. */
static int open_beneath(struct layer_writer *w, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |
					   RESOLVE_NO_XDEV | resolve };
	int fd = (int)syscall(SYS_openat2, w->root_fd, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int explain(int r, const char *path, struct error *err)
{
	switch (r) {
	case -EXDEV:
		return error_set(err, ERROR_INVALID,
				 "'%.200s': a symbolic link on the way leaves the layer", path);
	case -ELOOP:
		return error_set(err, ERROR_INVALID, "'%.200s': symbolic links in a circle", path);
	case -ENOTDIR:
		return error_set(err, ERROR_INVALID,
				 "'%.200s': a file stands where a directory is needed", path);
	default:
		return error_errno(err, -r, "'%.200s'", path);
	}
}

/* Puts the times of the directory back that entries were made in. */
static int leave_parent(struct layer_writer *w, struct error *err)
{
	int fd = steal_fd(&w->parent_fd), r = 0;

	if (fd < 0)
		return 0;
	if (futimens(fd, w->parent_times) < 0)
		r = error_errno(err, errno, "'%.200s': setting its times", w->parent);
	close(fd);
	return r;
}

static int remember_parent(struct layer_writer *w, int fd, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		close(fd);
		return error_errno(err, errno, "'%.200s'", path);
	}
	w->parent_fd = fd;
	w->parent_times[0] = st.st_atim;
	w->parent_times[1] = st.st_mtim;
	snprintf(w->parent, sizeof(w->parent), "%s", path);
	return 0;
}

/*
 * Opens a directory that entries of the archive imply but do not hold; made as root's, 0755 and as
 * old as time, so that the same archive always gives the same tree.
 */
static int make_implied(struct layer_writer *w, char *path, struct error *err)
{
	static const struct timespec epoch[2] = { { 0 }, { 0 } };
	size_t len = strlen(path);

	for (size_t i = 1; i <= len; i++) {
		struct timespec times[2];
		autoclose int above = -1, fd = -1;
		struct stat st;
		char *slash;
		char c = path[i];

		if (c != '/' && c != '\0')
			continue;
		path[i] = '\0';
		fd = open_beneath(w, path, O_RDONLY | O_DIRECTORY, 0);
		if (fd >= 0) {
			path[i] = c;
			continue;
		}
		if (fd != -ENOENT)
			return explain(fd, path, err);
		slash = strrchr(path, '/');
		if (slash)
			*slash = '\0';
		above = open_beneath(w, slash ? path : "", O_RDONLY | O_DIRECTORY, 0);
		if (slash)
			*slash = '/';
		if (above < 0)
			return explain(above, path, err);
		if (fstat(above, &st) < 0 || mkdirat(above, slash ? slash + 1 : path, 0755) < 0)
			/* EEXIST: a dangling link */
			return errno == EEXIST ? explain(-EXDEV, path, err)
					       : error_errno(err, errno, "'%.200s'", path);
		times[0] = st.st_atim;
		times[1] = st.st_mtim;
		if (utimensat(above, slash ? slash + 1 : path, epoch, AT_SYMLINK_NOFOLLOW) < 0 ||
		    futimens(above, times) < 0)
			return error_errno(err, errno, "'%.200s': setting its times", path);
		path[i] = c;
	}
	return 0;
}

/*
 * A link on the way can make a short name a deep place, and a chain of them a tree that nobody
 * could remove again. A name without links is as deep as it looks.
 */
static int check_depth(struct layer_writer *w, int dir_fd, const char *path, struct error *err)
{
	struct stat root, st;
	autoclose int fd = open_beneath(w, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	unsigned depth = 0;

	if (fd >= 0)
		return 0;
	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(w->root_fd, &root) < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "'%.200s'", path);
	while (st.st_ino != root.st_ino || st.st_dev != root.st_dev) {
		int above = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (above < 0 || ++depth > LAYER_MAX_DEPTH) {
			if (above >= 0)
				close(above);
			return too_deep(path, err);
		}
		close(fd);
		fd = above;
		if (fstat(fd, &st) < 0)
			return error_errno(err, errno, "'%.200s'", path);
	}
	return 0;
}

/* Makes the directory of PATH the parent at hand; *ret_name is the last component, in PATH. */
static int enter_parent(struct layer_writer *w, const char *path, const char **ret_name,
			struct error *err)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_BYTES];
	int fd, r;

	*ret_name = slash ? slash + 1 : path;
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	if (w->parent_fd >= 0 && strcmp(parent, w->parent) == 0)
		return 0;
	r = leave_parent(w, err);
	if (r < 0)
		return r;
	fd = open_beneath(w, parent, O_RDONLY | O_DIRECTORY, 0);
	if (fd == -ENOENT) {
		r = make_implied(w, parent, err);
		if (r < 0)
			return r;
		fd = open_beneath(w, parent, O_RDONLY | O_DIRECTORY, 0);
	}
	if (fd < 0)
		return explain(fd, path, err);
	r = check_depth(w, fd, parent, err);
	if (r < 0) {
		close(fd);
		return r;
	}
	return remember_parent(w, fd, parent, err);
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static int mark_opaque(struct layer_writer *w, const char *path, struct error *err)
{
	const char *text = *path ? path : ".";

	str_append(&w->opaque, text, strlen(text) + 1);
	return w->opaque.failed ? error_nomem(err) : 0;
}

/* ".wh.NAME": what lower layers have under NAME is gone. */
static int add_whiteout(struct layer_writer *w, const char *name, struct error *err)
{
	const char *hidden = name + strlen(WHITEOUT_PREFIX);
	autofree char *path = NULL;
	struct stat st;

	if (strcmp(name, WHITEOUT_OPAQUE) == 0)
		return mark_opaque(w, w->parent, err);
	if (str_starts(name, WHITEOUT_META))
		return 0; /* AUFS kept notes of its own under such names; Docker skips them too */
	if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
		return error_set(err, ERROR_INVALID, "'%.200s': a whiteout of nothing", w->path);
	if (fstatat(w->parent_fd, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		/* This layer has made NAME anew: it hides the lower one, a directory as an opaque
		 * one. */
		if (!S_ISDIR(st.st_mode))
			return 0;
		path = strf("%s%s%s", w->parent, *w->parent ? "/" : "", hidden);
		return path ? mark_opaque(w, path, err) : error_nomem(err);
	}
	if (mknodat(w->parent_fd, hidden, S_IFCHR, makedev(0, 0)) < 0)
		return error_errno(err, errno, "'%.200s': making a whiteout", w->path);
	if (utimensat(w->parent_fd, hidden, (struct timespec[2]){ { 0 }, { 0 } },
		      AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "'%.200s': setting its times", w->path);
	return 0;
}

static int set_xattrs(struct layer_writer *w, int fd, const struct tar_entry *e, struct error *err)
{
	for (size_t i = 0; i < e->xattr_count; i++) {
		const struct tar_xattr *x = &e->xattrs[i];

		if (str_starts(x->name, "trusted.") || str_starts(x->name, "user.overlay."))
			return error_set(
				err, ERROR_DENIED,
				"'%.200s': the extended attribute '%s' is not allowed in a layer",
				w->path, x->name);
		if (strcmp(x->name, "security.capability") != 0 && !str_starts(x->name, "user."))
			continue;
		/* The kernel has user.* for files and directories alone. */
		if (fd < 0)
			continue;
		if (fsetxattr(fd, x->name, x->value, x->len, 0) < 0)
			return error_errno(err, errno, "'%.200s': setting '%s'", w->path, x->name);
	}
	return 0;
}

static void entry_times(const struct tar_entry *e, struct timespec times[2])
{
	times[0] = (struct timespec){ .tv_sec = e->mtime_s, .tv_nsec = e->mtime_ns };
	times[1] = times[0];
}

/* Owner first: changing it takes set-id bits and capabilities away. */
static int set_attributes_fd(struct layer_writer *w, int fd, const struct tar_entry *e,
			     struct error *err)
{
	struct timespec times[2];
	int r;

	entry_times(e, times);
	if (fchown(fd, e->uid, e->gid) < 0)
		return error_errno(err, errno, "'%.200s': setting its owner", w->path);
	if (fchmod(fd, e->mode) < 0)
		return error_errno(err, errno, "'%.200s': setting its mode", w->path);
	r = set_xattrs(w, fd, e, err);
	if (r < 0)
		return r;
	if (futimens(fd, times) < 0)
		return error_errno(err, errno, "'%.200s': setting its times", w->path);
	return 0;
}

/* For what cannot be opened: links, devices, fifos. */
static int set_attributes_at(struct layer_writer *w, const char *name, const struct tar_entry *e,
			     struct error *err)
{
	struct timespec times[2];

	entry_times(e, times);
	if (fchownat(w->parent_fd, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "'%.200s': setting its owner", w->path);
	/* We made it a moment ago and nobody else is here; it is no link, so nothing is followed.
	 */
	if (e->type != TAR_SYMLINK && fchmodat(w->parent_fd, name, e->mode, 0) < 0)
		return error_errno(err, errno, "'%.200s': setting its mode", w->path);
	if (utimensat(w->parent_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "'%.200s': setting its times", w->path);
	return set_xattrs(w, -1, e, err);
}

static int write_at(int fd, const char *data, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);

		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int add_file(struct layer_writer *w, const char *name, const struct tar_entry *e,
		    struct tar_reader *reader, struct error *err)
{
	autoclose int fd = -1;
	int r;

	if (e->size_bytes > w->limits.max_bytes - w->bytes)
		return error_set(err, ERROR_LIMIT, "'%.200s': the layer is larger than %llu bytes",
				 w->path, (unsigned long long)w->limits.max_bytes);
	w->bytes += e->size_bytes;
	fd = openat(w->parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "'%.200s': making the file", w->path);
	for (;;) {
		const void *data;
		uint64_t offset;
		size_t len;

		r = tar_data(reader, &data, &len, &offset, err);
		if (r < 0)
			return error_prefix(err, r, "'%.200s'", w->path);
		if (len == 0)
			break;
		r = write_at(fd, data, len, offset);
		if (r < 0)
			return error_errno(err, -r, "'%.200s': writing", w->path);
	}
	if (ftruncate(fd, (off_t)e->size_bytes) < 0)
		return error_errno(err, errno, "'%.200s': writing", w->path);
	return set_attributes_fd(w, fd, e, err);
}

static int add_symlink(struct layer_writer *w, const char *name, const struct tar_entry *e,
		       struct tar_reader *reader, struct error *err)
{
	(void)reader;
	if (!*e->link)
		return error_set(err, ERROR_INVALID, "'%.200s': a symbolic link to nothing",
				 w->path);
	if (symlinkat(e->link, w->parent_fd, name) < 0)
		return error_errno(err, errno, "'%.200s': making a symbolic link", w->path);
	return set_attributes_at(w, name, e, err);
}

static int add_node(struct layer_writer *w, const char *name, const struct tar_entry *e,
		    struct tar_reader *reader, struct error *err)
{
	static const mode_t types[] = {
		[TAR_CHARACTER] = S_IFCHR, [TAR_BLOCK] = S_IFBLK, [TAR_FIFO] = S_IFIFO
	};
	dev_t device = e->type == TAR_FIFO ? 0 : makedev(e->major, e->minor);

	(void)reader;
	if (mknodat(w->parent_fd, name, types[e->type] | 0600, device) < 0)
		return error_errno(err, errno, "'%.200s': making a device node or fifo", w->path);
	return set_attributes_at(w, name, e, err);
}

/* The target was made by this layer, by a name that obeys the same rules. */
static int add_hard_link(struct layer_writer *w, const char *name, const struct tar_entry *e,
			 struct tar_reader *reader, struct error *err)
{
	char target[PATH_BYTES], *slash;
	autoclose int fd = -1;
	struct stat st;
	const char *base;
	int r;

	(void)reader;
	r = layer_path_clean(e->link, target, sizeof(target), err);
	if (r < 0)
		return error_prefix(err, r, "'%.200s': hard link", w->path);
	slash = strrchr(target, '/');
	base = slash ? slash + 1 : target;
	if (slash)
		*slash = '\0';
	fd = open_beneath(w, slash ? target : "", O_PATH | O_DIRECTORY, 0);
	if (fd < 0 || fstatat(fd, base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		r = fd < 0 ? fd : -errno;
		if (r == -ENOENT)
			return error_set(
				err, ERROR_INVALID,
				"'%.200s': a hard link to '%.200s', which the layer does not hold",
				w->path, e->link);
		explain(r, e->link, err);
		return error_prefix(err, r, "'%.200s': hard link", w->path);
	}
	if (S_ISDIR(st.st_mode) || is_whiteout(&st))
		return error_set(err, ERROR_INVALID, "'%.200s': a hard link to '%.200s', no file",
				 w->path, e->link);
	if (linkat(fd, base, w->parent_fd, name, 0) < 0)
		return error_errno(err, errno, "'%.200s': making a hard link", w->path);
	return 0;
}

static int add_directory(struct layer_writer *w, const char *name, const struct tar_entry *e,
			 struct error *err)
{
	autoclose int fd = -1;
	struct stat st;
	int r;

	if (*name && fstatat(w->parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !S_ISDIR(st.st_mode)) {
		if (unlinkat(w->parent_fd, name, 0) < 0)
			return error_errno(err, errno, "'%.200s': replacing", w->path);
		/* Over a whiteout: nothing of the lower directory may show. */
		r = is_whiteout(&st) ? mark_opaque(w, w->path, err) : 0;
		if (r < 0)
			return r;
	}
	if (*name && mkdirat(w->parent_fd, name, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "'%.200s': making the directory", w->path);
	/* It may be the parent at hand, whose times are put back later: from here on, the new ones.
	 */
	r = leave_parent(w, err);
	if (r < 0)
		return r;
	fd = open_beneath(w, w->path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return explain(fd, w->path, err);
	return set_attributes_fd(w, fd, e, err);
}

static int (*const adders[])(struct layer_writer *w, const char *name, const struct tar_entry *e,
			     struct tar_reader *reader, struct error *err) = {
	[TAR_FILE] = add_file,      [TAR_HARD_LINK] = add_hard_link, [TAR_SYMLINK] = add_symlink,
	[TAR_CHARACTER] = add_node, [TAR_BLOCK] = add_node,          [TAR_FIFO] = add_node,
};

int layer_writer_add(struct layer_writer *w, const struct tar_entry *e, struct tar_reader *reader,
		     struct error *err)
{
	const char *name;
	int r;

	if (++w->entries > w->limits.max_entries)
		return error_set(err, ERROR_LIMIT, "the layer has more than %llu entries",
				 (unsigned long long)w->limits.max_entries);
	r = layer_path_clean(e->path, w->path, sizeof(w->path), err);
	if (r < 0)
		return r;
	if (!*w->path)
		return e->type == TAR_DIRECTORY
			       ? add_directory(w, "", e, err)
			       : error_set(err, ERROR_INVALID, "'%.200s': the root is no directory",
					   e->path);
	r = enter_parent(w, w->path, &name, err);
	if (r < 0)
		return r;
	if (str_starts(name, WHITEOUT_PREFIX))
		return add_whiteout(w, name, err);
	if (e->type == TAR_DIRECTORY)
		return add_directory(w, name, e, err);
	/* A later entry replaces an earlier one of the same name, except by linking to itself. */
	r = file_remove_tree(w->parent_fd, name, err);
	if (r < 0)
		return error_prefix(err, r, "'%.200s'", w->path);
	return adders[e->type](w, name, e, reader, err);
}

int layer_writer_finish(struct layer_writer *w, struct error *err)
{
	return leave_parent(w, err);
}
