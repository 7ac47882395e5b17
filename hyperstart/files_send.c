/* What every task of files.h sends with. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/fd.h"
#include "hyperstart/files.h"
#include "hyperstart/root.h"

#define SEND_BYTES (64u << 10)
/* A directory with more is nobody's. */
#define NAMES_MAX 1000000u
/* Of all names and values of one file. */
#define XATTR_LIST_MAX 65536
/* Files with several names that are remembered; each further name of another one is a copy. */
#define LINKS_MAX (1u << 20)

static int flush(struct files_child *child, struct error *err)
{
	int r = fd_write_all(STDOUT_FILENO, str_text(&child->sent), child->sent.len);

	str_clear(&child->sent);
	return r < 0 ? error_errno(err, -r, "sending") : 0;
}

int files_send(struct files_child *child, const struct tree_entry *entry, struct error *err)
{
	int r = tree_encode(entry, &child->sent, err);

	return r == 0 && child->sent.len >= SEND_BYTES ? flush(child, err) : r;
}

char *files_path(const struct files_child *child)
{
	const ProtobufCBinaryData *path = &child->ask->path;

	return path->len ? strndup((const char *)path->data, path->len) : strdup("");
}

void files_entry(const struct stat *st, struct tree_entry *ret)
{
	static const struct {
		mode_t format;
		enum tree_type type;
	} types[] = {
		{ S_IFREG, TREE_FILE },    { S_IFDIR, TREE_DIRECTORY }, { S_IFLNK, TREE_SYMLINK },
		{ S_IFBLK, TREE_BLOCK },   { S_IFCHR, TREE_CHARACTER }, { S_IFIFO, TREE_FIFO },
		{ S_IFSOCK, TREE_SOCKET },
	};

	*ret = (struct tree_entry){
		.type = TREE_SOCKET,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime_s = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
		.path = "",
		.link = "",
	};
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((st->st_mode & S_IFMT) == types[i].format)
			ret->type = types[i].type;
	if (ret->type == TREE_FILE)
		ret->size_bytes = (uint64_t)st->st_size;
	if (ret->type == TREE_CHARACTER || ret->type == TREE_BLOCK) {
		ret->major = major(st->st_rdev);
		ret->minor = minor(st->st_rdev);
	}
}

/* Reads the regular file that FD (O_PATH) is; what it was found to be is what is opened. */
static int reopen(const struct files_child *child, int fd, struct error *err)
{
	char name[16];
	int opened;

	snprintf(name, sizeof(name), "%d", fd);
	opened = openat(child->fds_dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return opened < 0 ? error_errno(err, errno, "opening a file") : opened;
}

/* The file may change while it is read: what is missing in the end is filled with zeros. */
static int send_data(struct files_child *child, int fd, uint64_t left, struct error *err)
{
	static char buf[SEND_BYTES];
	int r = flush(child, err);

	while (r == 0 && left) {
		size_t want = left < sizeof(buf) ? (size_t)left : sizeof(buf);
		ssize_t n = fd_read(fd, buf, want);

		if (n < 0)
			return error_errno(err, (int)-n, "reading");
		if (n == 0) {
			memset(buf, 0, want);
			n = (ssize_t)want;
		}
		r = fd_write_all(STDOUT_FILENO, buf, (size_t)n);
		if (r < 0)
			return error_errno(err, -r, "sending");
		left -= (uint64_t)n;
	}
	return r;
}

/* Those that archives keep: the user's own, and a program's privileges. */
static bool xattr_kept(const char *name)
{
	return str_starts(name, "user.") ? !str_starts(name, "user.overlay.")
					 : strcmp(name, "security.capability") == 0;
}

struct xattrs {
	char *names, *values; /* owned */
	struct tree_xattr *all;
};

static void xattrs_done(struct xattrs *x)
{
	free(x->names);
	free(x->values);
	free(x->all);
}

/* FD is a file that was opened; what cannot be read there is left out. */
static void read_xattrs(int fd, struct tree_entry *entry, struct xattrs *x)
{
	ssize_t len = flistxattr(fd, NULL, 0);
	size_t used = 0, count = 0;

	if (len <= 0 || len > XATTR_LIST_MAX)
		return;
	x->names = malloc((size_t)len + 1);
	x->values = malloc(XATTR_LIST_MAX);
	if (!x->names || !x->values)
		return;
	len = flistxattr(fd, x->names, (size_t)len);
	for (char *p = x->names; len > 0 && p < x->names + len; p += strlen(p) + 1) {
		struct tree_xattr *grown;
		ssize_t n;

		if (!xattr_kept(p) || count == TREE_MAX_XATTRS)
			continue;
		n = fgetxattr(fd, p, x->values + used, XATTR_LIST_MAX - used);
		grown = n < 0 ? NULL : reallocarray(x->all, count + 1, sizeof(*grown));
		if (!grown)
			continue;
		x->all = grown;
		grown[count++] = (struct tree_xattr){ p, x->values + used, (size_t)n };
		used += (size_t)n;
	}
	entry->xattrs = x->all;
	entry->xattr_count = count;
}

int files_send_file(struct files_child *child, int dir_fd, const char *name,
		    struct tree_entry *entry, struct error *err)
{
	autoclose int found = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), fd = -1;
	const char *path = entry->path;
	struct xattrs x = { 0 };
	struct stat st;
	int r;

	if (found < 0 || fstat(found, &st) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "opening a file");
	/* It was a file when it was looked at. */
	if (!S_ISREG(st.st_mode))
		return 0;
	fd = reopen(child, found, err);
	if (fd < 0)
		return fd;
	files_entry(&st, entry);
	entry->path = path;
	read_xattrs(fd, entry, &x);
	r = files_send(child, entry, err);
	if (r == 0)
		r = send_data(child, fd, entry->size_bytes, err);
	xattrs_done(&x);
	return r;
}

static int send_directory(struct files_child *child, int dir_fd, const char *name,
			  struct tree_entry *entry, struct error *err)
{
	autoclose int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct xattrs x = { 0 };
	int r;

	if (fd >= 0)
		read_xattrs(fd, entry, &x);
	r = files_send(child, entry, err);
	xattrs_done(&x);
	return r;
}

int files_send_named(struct files_child *child, int dir_fd, const char *name, const struct stat *st,
		     const char *path, struct error *err)
{
	char target[PATH_MAX] = "";
	struct tree_entry entry;
	ssize_t n;
	int r;

	files_entry(st, &entry);
	entry.path = path;
	if (entry.type == TREE_FILE)
		r = files_send_file(child, dir_fd, name, &entry, err);
	else if (entry.type == TREE_DIRECTORY)
		r = send_directory(child, dir_fd, name, &entry, err);
	else if (entry.type == TREE_SOCKET)
		return 0;
	else {
		n = entry.type == TREE_SYMLINK
			    ? readlinkat(dir_fd, name, target, sizeof(target) - 1)
			    : 0;
		if (n < 0)
			return errno == ENOENT || errno == EINVAL
				       ? 0
				       : error_errno(err, errno, "'%s': reading the link", path);
		target[n] = '\0';
		entry.link = target;
		r = files_send(child, &entry, err);
	}
	return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int files_names(int dir_fd, char ***ret, struct error *err)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autoclosedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	autostrv char **names = NULL;
	size_t count = 0, room = 0;
	struct dirent *e;

	if (!dir)
		return error_errno(err, errno, "reading a directory");
	/* Not strv_add(): a directory may hold many. */
	while ((errno = 0, e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (count + 2 > room) {
			char **grown = reallocarray(names, room ? room * 2 : 64, sizeof(*grown));

			if (!grown)
				return error_nomem(err);
			names = grown;
			room = room ? room * 2 : 64;
		}
		names[count] = strdup(e->d_name);
		names[count + 1] = NULL;
		if (!names[count++])
			return error_nomem(err);
		if (count > NAMES_MAX)
			return error_set(err, ERROR_LIMIT, "a directory of more than %u files",
					 NAMES_MAX);
	}
	if (errno)
		return error_errno(err, errno, "reading a directory");
	if (count)
		qsort(names, count, sizeof(*names), by_name);
	*ret = steal(names);
	return 0;
}

/* ------------------------------------------------------------------ hard links */

struct link {
	struct link *next;
	dev_t device;
	ino_t inode;
	char path[];
};

#define BUCKETS 1024

struct files_links {
	struct link *buckets[BUCKETS];
	size_t count;
};

struct files_links *files_links_new(void)
{
	return calloc(1, sizeof(struct files_links));
}

const char *files_links_seen(struct files_links *links, const struct stat *st, const char *path)
{
	struct link **bucket = &links->buckets[(st->st_ino ^ st->st_dev) % BUCKETS], *link;

	if (st->st_nlink < 2 || !S_ISREG(st->st_mode))
		return NULL;
	for (link = *bucket; link; link = link->next)
		if (link->inode == st->st_ino && link->device == st->st_dev)
			return link->path;
	if (links->count++ >= LINKS_MAX)
		return NULL;
	link = malloc(sizeof(*link) + strlen(path) + 1);
	if (!link)
		return NULL;
	link->device = st->st_dev;
	link->inode = st->st_ino;
	strcpy(link->path, path);
	link->next = *bucket;
	*bucket = link;
	return NULL;
}
