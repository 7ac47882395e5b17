/*
 * What a container's upper directory changes in the layers below it: for diff, for commit, and its
 * size. What is there only because something was mounted on it is no change of the container's.
 */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "hyperstart/agent.h"
#include "hyperstart/files.h"

/* As deep as layers may be (hyperd/image). */
#define DEPTH_MAX 256

struct level {
	struct level *up;
	int upper_fd, lower_fd; /* borrowed; lower -1: nothing below */
	const char *name;       /* in the level above */
	size_t path_len;        /* of its path, with which d->path begins while it is walked */
	struct stat st;
	bool sent;
};

struct diff {
	struct files_child *child;
	enum { TELL, SEND, COUNT } mode;
	struct files_links *links;
	struct str path;
	uint64_t bytes;
};

/* ------------------------------------------------------------------ mount points */

static const struct {
	const char *path;
	bool directory;
} mount_points[] = {
	{ "dev", true },        { "proc", true },          { "sys", true },
	{ "etc/hosts", false }, { "etc/hostname", false }, { "etc/resolv.conf", false },
};

/* Made by us (rootfs.c) to mount something on: not the image's, and no file's content. */
static bool is_mount_point(const char *path, const struct stat *st, bool below)
{
	for (size_t i = 0; !below && i < ARRAY_SIZE(mount_points); i++)
		if (strcmp(path, mount_points[i].path) == 0)
			return mount_points[i].directory ? S_ISDIR(st->st_mode)
							 : S_ISREG(st->st_mode) && st->st_size == 0;
	return false;
}

/* Whether it is one of those that mount points are made in. */
static bool is_mount_parent(const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < ARRAY_SIZE(mount_points); i++)
		if (strncmp(mount_points[i].path, path, len) == 0 &&
		    mount_points[i].path[len] == '/')
			return true;
	return false;
}

/* ------------------------------------------------------------------ telling */

static size_t path_push(struct diff *d, const char *name)
{
	size_t len = d->path.len;

	if (len)
		str_addc(&d->path, '/');
	str_add(&d->path, name);
	return len;
}

static void path_pop(struct diff *d, size_t len)
{
	d->path.len = len;
	if (d->path.data)
		d->path.data[len] = '\0';
}

static int tell(struct diff *d, const char *path, enum tree_type type, bool below,
		struct error *err)
{
	struct tree_entry entry = {
		.type = type, .path = path, .link = "", .flags = below ? TREE_CHANGED : 0
	};

	return files_send(d->child, &entry, err);
}

/*
 * The directories on the way to what is changed: Docker tells of all of them, and a layer holds
 * them, so that what they are is known without the layers below.
 */
static int parent_first(struct diff *d, struct level *level, struct error *err)
{
	autofree char *path = NULL;
	int r = 0;

	if (level->sent || !level->up)
		return 0;
	level->sent = true;
	path = strndup(str_text(&d->path), level->path_len);
	if (!path)
		return error_nomem(err);
	r = parent_first(d, level->up, err);
	if (r < 0)
		return r;
	return d->mode == TELL ? tell(d, path, TREE_DIRECTORY, true, err)
			       : files_send_named(d->child, level->up->upper_fd, level->name,
						  &level->st, path, err);
}

static int deleted(struct diff *d, struct level *level, const char *name, struct error *err)
{
	size_t len;
	int r;

	if (d->mode == COUNT)
		return 0;
	r = parent_first(d, level, err);
	len = path_push(d, name);
	if (r == 0)
		r = tell(d, str_text(&d->path), TREE_DELETED, true, err);
	path_pop(d, len);
	return r;
}

static int send_changed(struct diff *d, struct level *level, const char *name,
			const struct stat *st, struct error *err)
{
	const char *first = files_links_seen(d->links, st, d->path.data);
	struct tree_entry entry;

	if (!first)
		return files_send_named(d->child, level->upper_fd, name, st, d->path.data, err);
	files_entry(st, &entry);
	entry.type = TREE_HARD_LINK;
	entry.size_bytes = 0;
	entry.path = d->path.data;
	entry.link = first;
	return files_send(d->child, &entry, err);
}

/* NAME in LEVEL, whose path d->path is, is new or not as it was. */
static int changed(struct diff *d, struct level *level, const char *name, const struct stat *st,
		   bool below, struct error *err)
{
	int r;

	if (d->mode == COUNT) {
		if (S_ISREG(st->st_mode) && !files_links_seen(d->links, st, ""))
			d->bytes += (uint64_t)st->st_size;
		return 0;
	}
	r = parent_first(d, level, err);
	if (r < 0)
		return r;
	if (d->mode == SEND)
		return send_changed(d, level, name, st, err);
	return tell(d, d->path.data, S_ISDIR(st->st_mode) ? TREE_DIRECTORY : TREE_FIFO, below, err);
}

/* ------------------------------------------------------------------ walking */

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static bool is_opaque(int fd)
{
	char value[2];

	return fgetxattr(fd, "trusted.overlay.opaque", value, sizeof(value)) == 1 &&
	       value[0] == 'y';
}

/* Docker's comparison: the times of directories do not count. */
static bool same_attributes(const struct stat *a, const struct stat *b)
{
	return a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid;
}

/* A file that was copied up for somebody who then did not change it. */
static bool same_file(const struct stat *a, const struct stat *b)
{
	return same_attributes(a, b) && a->st_rdev == b->st_rdev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       (a->st_mtim.tv_nsec == b->st_mtim.tv_nsec || !b->st_mtim.tv_nsec ||
		!a->st_mtim.tv_nsec);
}

static int walk(struct diff *d, struct level *level, unsigned depth, struct error *err);

/* What of the lower directory is not in an opaque one is gone. */
static int opaque(struct diff *d, struct level *level, struct error *err)
{
	autostrv char **names = NULL;
	int r;

	if (d->mode == SEND) {
		struct tree_entry entry = { .type = TREE_OPAQUE,
					    .path = str_text(&d->path),
					    .link = "" };

		r = parent_first(d, level, err);
		return r < 0 ? r : files_send(d->child, &entry, err);
	}
	if (d->mode == COUNT)
		return 0;
	r = files_names(level->lower_fd, &names, err);
	strv_for_each(name, names) {
		struct stat st;

		if (r == 0 && fstatat(level->upper_fd, *name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			r = deleted(d, level, *name, err);
	}
	return r;
}

static int directory(struct diff *d, struct level *parent, const char *name, const struct stat *st,
		     const struct stat *below, unsigned depth, struct error *err)
{
	autoclose int upper =
		openat(parent->upper_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	autoclose int lower = below && S_ISDIR(below->st_mode)
				      ? openat(parent->lower_fd, name,
					       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
				      : -1;
	struct level level = { .up = parent,
			       .upper_fd = upper,
			       .lower_fd = lower,
			       .name = name,
			       .path_len = d->path.len,
			       .st = *st };
	bool ours, hidden;
	int r = 0;

	if (upper < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "'%s'", d->path.data);
	if (depth >= DEPTH_MAX)
		return error_set(err, ERROR_LIMIT, "directories more than %d deep", DEPTH_MAX);
	/* One that we made: it counts when something else is in it. */
	ours = !below && (is_mount_parent(d->path.data) || is_mount_point(d->path.data, st, false));
	if (!ours && (!below || !same_attributes(st, below))) {
		r = changed(d, parent, name, st, below != NULL, err);
		level.sent = true;
	}
	hidden = lower >= 0 && is_opaque(upper);
	if (r == 0 && hidden)
		r = opaque(d, &level, err);
	if (hidden && d->mode == SEND)
		level.lower_fd = -1;
	return r < 0 ? r : walk(d, &level, depth + 1, err);
}

static int one(struct diff *d, struct level *level, const char *name, unsigned depth,
	       struct error *err)
{
	struct stat st, below;
	bool is_below;
	size_t len;
	int r = 0;

	if (fstatat(level->upper_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "'%s'", name);
	is_below = level->lower_fd >= 0 &&
		   fstatat(level->lower_fd, name, &below, AT_SYMLINK_NOFOLLOW) == 0;
	if (is_whiteout(&st))
		return is_below ? deleted(d, level, name, err) : 0;
	len = d->path.len;
	path_push(d, name);
	if (d->path.failed)
		r = error_nomem(err);
	else if (d->path.len > TREE_MAX_PATH_BYTES)
		r = error_set(err, ERROR_LIMIT, "'%.100s…': a path of more than %u bytes",
			      d->path.data, TREE_MAX_PATH_BYTES);
	else if (S_ISDIR(st.st_mode))
		r = directory(d, level, name, &st, is_below ? &below : NULL, depth, err);
	else if (!is_mount_point(d->path.data, &st, is_below) &&
		 !(d->mode == TELL && is_below && same_file(&st, &below)))
		r = changed(d, level, name, &st, is_below, err);
	path_pop(d, len);
	return r;
}

static int walk(struct diff *d, struct level *level, unsigned depth, struct error *err)
{
	autostrv char **names = NULL;
	int r = files_names(level->upper_fd, &names, err);

	strv_for_each(name, names) {
		if (r == 0)
			r = one(d, level, *name, depth, err);
	}
	return r;
}

/* ------------------------------------------------------------------ the layers below */

/* All of them as one tree, mounted where only this process sees it. */
static int open_lower(struct files_child *child, struct error *err)
{
	autostr struct str options = STR_INIT;
	const char *path = ROOT_DIR;
	char only[16];
	int fd;

	if (child->layer_count == 0)
		return -1;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
	    chdir(LAYERS_DIR) < 0)
		return error_errno(err, errno, "looking at the layers");
	if (child->layer_count == 1) {
		snprintf(only, sizeof(only), "%u/.", child->layers[0]);
		path = only;
	} else {
		str_add(&options, "lowerdir=");
		for (size_t i = child->layer_count; i > 0; i--)
			str_addf(&options, "%u%s", child->layers[i - 1], i > 1 ? ":" : "");
		if (options.failed)
			return error_nomem(err);
		mkdir(ROOT_DIR, 0755);
		if (mount("overlay", ROOT_DIR, "overlay", MS_RDONLY, options.data) < 0)
			return error_errno(err, errno, "mounting %zu layers", child->layer_count);
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "opening the layers") : fd;
}

int files_diff(struct files_child *child, struct error *err)
{
	static const int modes[] = {
		[HYPER__FILES_TASK__FILES_CHANGES] = TELL,
		[HYPER__FILES_TASK__FILES_LAYER] = SEND,
		[HYPER__FILES_TASK__FILES_USAGE] = COUNT,
	};
	struct diff d = { .child = child, .links = files_links_new() };
	autofree char *upper = strf("%s/upper", child->dir);
	autoclose int upper_fd = -1, lower_fd = -1;
	struct level top = { .lower_fd = -1 };
	int r = 0;

	if (!d.links || !upper)
		return error_nomem(err);
	d.mode = modes[child->ask->task];
	upper_fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (upper_fd < 0 && errno != ENOENT)
		return error_errno(err, errno, "opening the container's files");
	if (d.mode != COUNT && upper_fd >= 0) {
		r = lower_fd = open_lower(child, err);
		if (r < -1 || (r < 0 && child->layer_count))
			return r;
	}
	files_begin(child);
	top.upper_fd = upper_fd;
	top.lower_fd = lower_fd;
	/* One that has never been started has no files of its own. */
	r = upper_fd < 0 ? 0 : walk(&d, &top, 0, err);
	if (r == 0 && d.mode == COUNT) {
		struct tree_entry entry = {
			.type = TREE_STAT, .path = "", .link = "", .size_bytes = d.bytes
		};

		r = files_send(child, &entry, err);
	}
	str_done(&d.path);
	return r;
}
