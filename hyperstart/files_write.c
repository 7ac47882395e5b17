/*
 * Entries that come in and are made below a directory of the container's: cp into it. The names are
 * an API client's, the directories that they lead through the container's, which may exchange them
 * for links meanwhile: each is looked up anew in the container's root, and what is made is made in
 * a directory that is held open.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/fd.h"
#include "base/file.h"
#include "hyperstart/files.h"
#include "hyperstart/identity.h"
#include "hyperstart/root.h"

#define PIECE_BYTES (64u << 10)
/* Directories whose times are put right in the end. */
#define TIMES_MAX (1u << 20)

struct made_dir {
	char *path; /* owned */
	struct timespec mtime;
};

struct writing {
	struct files_child *child;
	int root_fd;
	char *base;           /* owned: the directory's own path in the root */
	struct identity user; /* whose everything is to be, with ask->own */
	int parent_fd;        /* owned: of the last entry, O_PATH */
	char *parent;         /* owned: its path in the tree */
	struct made_dir *dirs;
	size_t dir_count, dir_room;
};

/* ------------------------------------------------------------------ the directory */

static int refuse_read_only(const struct writing *w, int dir_fd, struct error *err)
{
	struct statvfs fs;
	struct stat there, root;

	if (fstatvfs(dir_fd, &fs) < 0 || fstat(dir_fd, &there) < 0 || fstat(w->root_fd, &root) < 0)
		return error_errno(err, errno, "looking at the file system");
	if (!(fs.f_flag & ST_RDONLY))
		return 0;
	/* Docker's texts. */
	return error_set(err, ERROR_DENIED,
			 there.st_dev == root.st_dev ? "container rootfs is marked read-only"
						     : "mounted volume is marked read-only");
}

static int open_base(struct writing *w, struct error *err)
{
	autofree char *path = files_path(w->child);
	char number[16], real[PATH_MAX];
	autoclose int fd = -1;
	ssize_t n;
	int r;

	if (!path)
		return error_nomem(err);
	fd = root_open(w->root_fd, path, O_PATH, 0);
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return error_set(err, ERROR_NOT_FOUND, "'%s': %s", path, strerror(-fd));
	if (fd < 0)
		return error_errno(err, -fd, "'%s'", path);
	close(steal_fd(&fd));
	fd = root_open(w->root_fd, path, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd == -ENOTDIR ? error_set(err, ERROR_INVALID,
						  "extraction point is not a directory")
				      : error_errno(err, -fd, "'%s'", path);
	r = refuse_read_only(w, fd, err);
	if (r < 0)
		return r;
	snprintf(number, sizeof(number), "%d", fd);
	n = readlinkat(w->child->fds_dir, number, real, sizeof(real) - 1);
	if (n <= 0)
		return error_errno(err, errno, "'%s'", path);
	real[n] = '\0';
	w->base = strdup(strcmp(real, "/") == 0 ? "" : real);
	return w->base ? 0 : error_nomem(err);
}

/* The directory that PATH's last part is in, made with its parents when missing; borrowed. */
static int open_parent(struct writing *w, const char *path, const char **ret_name,
		       struct error *err)
{
	const char *slash = strrchr(path, '/');
	autofree char *parent = strndup(path, slash ? (size_t)(slash - path) : 0);
	autofree char *whole = parent ? strf("%s/%s", w->base, parent) : NULL;

	*ret_name = slash ? slash + 1 : path;
	if (!whole)
		return error_nomem(err);
	if (w->parent_fd >= 0 && strcmp(w->parent, parent) == 0)
		return w->parent_fd;
	if (w->parent_fd >= 0)
		close(steal_fd(&w->parent_fd));
	free(w->parent);
	w->parent = steal(parent);
	w->parent_fd = root_make_dir(w->root_fd, whole, 0755, err);
	return w->parent_fd;
}

/* ------------------------------------------------------------------ one entry */

/* What stands where the entry is to be: goes, stays (a directory for a directory), or forbids. */
static int make_room(struct writing *w, int dir_fd, const char *name,
		     const struct tree_entry *entry, bool *ret_there, struct error *err)
{
	bool directory = entry->type == TREE_DIRECTORY;
	struct stat st;

	*ret_there = false;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "'%s'", entry->path);
	if (w->child->ask->keep_kinds && S_ISDIR(st.st_mode) != directory)
		return error_set(err, ERROR_INVALID,
				 directory ? "cannot overwrite non-directory \"%s/%s\" with "
					     "directory \"%s\""
					   : "cannot overwrite directory \"%s/%s\" with "
					     "non-directory \"%s\"",
				 w->base, entry->path, w->base);
	if (S_ISDIR(st.st_mode) && directory) {
		*ret_there = true;
		return 0;
	}
	return file_remove_tree(dir_fd, name, err);
}

static int take_data(int fd, uint64_t left, struct error *err)
{
	static char buf[PIECE_BYTES];
	int failed = 0;

	while (left) {
		size_t want = left < sizeof(buf) ? (size_t)left : sizeof(buf);
		int r = fd_read_exact(STDIN_FILENO, buf, want);

		if (r < 0)
			return error_errno(err, -r, "reading what is to be written");
		if (!failed && fd >= 0)
			failed = fd_write_all(fd, buf, want);
		if (failed < 0)
			return error_errno(err, -failed, "writing");
		left -= want;
	}
	return 0;
}

static int make_file(int dir_fd, const char *name, const struct tree_entry *entry, int *ret_fd,
		     struct error *err)
{
	*ret_fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*ret_fd < 0)
		return error_errno(err, errno, "making a file");
	return take_data(*ret_fd, entry->size_bytes, err);
}

/* The name that a hard link is another one of. */
static int make_hard_link(struct writing *w, int dir_fd, const char *name,
			  const struct tree_entry *entry, struct error *err)
{
	const char *slash = strrchr(entry->link, '/');
	autofree char *whole =
		strf("%s/%.*s", w->base, slash ? (int)(slash - entry->link) : 0, entry->link);
	autoclose int old_dir = -1;

	if (!whole)
		return error_nomem(err);
	old_dir = root_open(w->root_fd, whole, O_PATH | O_DIRECTORY, 0);
	if (old_dir < 0)
		return error_errno(err, -old_dir, "linking to '%s'", entry->link);
	if (linkat(old_dir, slash ? slash + 1 : entry->link, dir_fd, name, 0) < 0)
		return error_errno(err, errno, "linking to '%s'", entry->link);
	return 0;
}

static int make_special(int dir_fd, const char *name, const struct tree_entry *entry,
			struct error *err)
{
	mode_t format = entry->type == TREE_CHARACTER ? S_IFCHR
			: entry->type == TREE_BLOCK   ? S_IFBLK
						      : S_IFIFO;

	/* 0:0 would be a whiteout: it would hide what is below, not be there. */
	if (format == S_IFCHR && !entry->major && !entry->minor)
		return error_set(err, ERROR_INVALID, "a device 0:0");
	if (mknodat(dir_fd, name, format | 0600,
		    format == S_IFIFO ? 0 : makedev(entry->major, entry->minor)) < 0)
		return error_errno(err, errno, "making a device or pipe");
	return 0;
}

/* Owner first: changing it takes set-id bits away. */
static int set_attributes(struct writing *w, int dir_fd, const char *name, int fd,
			  const struct tree_entry *entry, struct error *err)
{
	bool own = w->child->ask->own;
	uid_t uid = own ? w->user.uid : entry->uid;
	gid_t gid = own ? w->user.gid : entry->gid;
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW },
				     { .tv_sec = entry->mtime_s, .tv_nsec = entry->mtime_ns } };

	if (fchownat(dir_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "setting the owner");
	if (fd >= 0) {
		for (size_t i = 0; i < entry->xattr_count; i++)
			fsetxattr(fd, entry->xattrs[i].name, entry->xattrs[i].value,
				  entry->xattrs[i].len, 0);
		if (fchmod(fd, entry->mode & 07777) < 0)
			return error_errno(err, errno, "setting the mode");
	}
	if (entry->type != TREE_DIRECTORY)
		utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static bool xattrs_allowed(const struct tree_entry *entry)
{
	for (size_t i = 0; i < entry->xattr_count; i++) {
		const char *name = entry->xattrs[i].name;

		if (strcmp(name, "security.capability") != 0 &&
		    (!str_starts(name, "user.") || str_starts(name, "user.overlay.")))
			return false;
	}
	return true;
}

static int remember_dir(struct writing *w, const struct tree_entry *entry, struct error *err)
{
	if (w->dir_count == w->dir_room) {
		size_t room = w->dir_room ? w->dir_room * 2 : 64;
		struct made_dir *grown =
			room > TIMES_MAX ? NULL : reallocarray(w->dirs, room, sizeof(*grown));

		if (!grown)
			return error_set(err, ERROR_LIMIT, "too many directories");
		w->dirs = grown;
		w->dir_room = room;
	}
	w->dirs[w->dir_count].path = strf("%s/%s", w->base, entry->path);
	w->dirs[w->dir_count].mtime =
		(struct timespec){ .tv_sec = entry->mtime_s, .tv_nsec = entry->mtime_ns };
	return w->dirs[w->dir_count++].path ? 0 : error_nomem(err);
}

static int make_directory(struct writing *w, int dir_fd, const char *name, bool there,
			  const struct tree_entry *entry, int *ret_fd, struct error *err)
{
	if (!there && mkdirat(dir_fd, name, 0700) < 0)
		return error_errno(err, errno, "making a directory");
	*ret_fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_fd < 0)
		return error_errno(err, errno, "opening a directory");
	return remember_dir(w, entry, err);
}

static int make_entry(struct writing *w, const struct tree_entry *entry, struct error *err)
{
	autoclose int fd = -1;
	const char *name;
	bool there;
	int dir_fd, r;

	if (entry->type >= TREE_SOCKET)
		return error_set(err, ERROR_INVALID, "'%s': nothing that can be made", entry->path);
	/* The directory itself stays as it is. */
	if (!*entry->path)
		return entry->type == TREE_DIRECTORY
			       ? 0
			       : error_set(err, ERROR_INVALID, "an entry without a name");
	if (!xattrs_allowed(entry))
		return error_set(err, ERROR_INVALID, "an attribute that may not be set");
	dir_fd = open_parent(w, entry->path, &name, err);
	if (dir_fd < 0)
		return dir_fd;
	r = make_room(w, dir_fd, name, entry, &there, err);
	if (r < 0)
		return r;
	switch (entry->type) {
	case TREE_FILE:
		r = make_file(dir_fd, name, entry, &fd, err);
		break;
	case TREE_DIRECTORY:
		r = make_directory(w, dir_fd, name, there, entry, &fd, err);
		break;
	case TREE_SYMLINK:
		r = symlinkat(entry->link, dir_fd, name) < 0
			    ? error_errno(err, errno, "making a link")
			    : 0;
		break;
	case TREE_HARD_LINK:
		return make_hard_link(w, dir_fd, name, entry, err);
	default:
		r = make_special(dir_fd, name, entry, err);
		if (r == 0 && fchmodat(dir_fd, name, entry->mode & 07777, 0) < 0)
			r = error_errno(err, errno, "setting the mode");
		break;
	}
	return r < 0 ? r : set_attributes(w, dir_fd, name, fd, entry, err);
}

/* ------------------------------------------------------------------ all of them */

static int take_entry(struct tree_entry *ret, struct error *err)
{
	uint8_t length[TREE_LENGTH_BYTES];
	autofree uint8_t *data = NULL;
	uint32_t len;
	int r = fd_read_exact(STDIN_FILENO, length, sizeof(length));

	if (r == 0)
		r = tree_length(length, &len, err);
	else
		return error_errno(err, -r, "reading what is to be written");
	if (r < 0)
		return r;
	data = malloc(len);
	if (!data)
		return error_nomem(err);
	r = fd_read_exact(STDIN_FILENO, data, len);
	if (r < 0)
		return error_errno(err, -r, "reading what is to be written");
	return tree_decode(data, len, ret, err);
}

/* Making what is in a directory has changed its time. */
static void set_times(struct writing *w)
{
	for (size_t i = w->dir_count; i-- > 0;) {
		struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, w->dirs[i].mtime };
		autoclose int fd =
			root_open_direct(w->root_fd, w->dirs[i].path, O_RDONLY | O_DIRECTORY, 0);

		if (fd >= 0)
			futimens(fd, times);
	}
}

static int write_all(struct writing *w, struct error *err)
{
	for (;;) {
		autotree struct tree_entry entry = { 0 };
		int r = take_entry(&entry, err);

		if (r < 0)
			return r;
		if (entry.type == TREE_END)
			return 0;
		/* Whoever sends has met an error of its own: what came so far stays, as with
		 * Docker. */
		if (entry.type == TREE_FAILED)
			return error_set(err, ERROR_CANCELED, "the archive is incomplete");
		r = make_entry(w, &entry, err);
		if (r < 0)
			return error_prefix(err, r, "'%s'", entry.path);
	}
}

int files_write(struct files_child *child, int root_fd, struct error *err)
{
	const Hyper__FilesServe *ask = child->ask;
	struct writing w = { .child = child, .root_fd = root_fd, .parent_fd = -1 };
	int r = open_base(&w, err);

	if (r == 0 && ask->own)
		r = identity_find(root_fd, ask->user, NULL, 0, &w.user, err);
	if (r < 0)
		return r;
	files_begin(child);
	r = write_all(&w, err);
	set_times(&w);
	if (ask->sync)
		syncfs(root_fd);
	return r;
}
