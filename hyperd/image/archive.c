#include "hyperd/image/archive.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "hyperd/image/decompress.h"
#include "hyperd/image/tar.h"

#define CHUNK_BYTES     (1u << 20)
#define LINKS_MAX_DEPTH 8

struct member {
	char *name; /* owned */
	char *link; /* owned: the member it stands for, or NULL */
};

struct archive {
	struct workdir *work;  /* owned */
	struct job_pool *jobs; /* borrowed */
	uint64_t max_bytes, bytes;
	struct member *members; /* owned; member i is the file "m<i>" */
	size_t count;
	int dir_fd; /* owned: of a directory, else -1 */
	unsigned copies;
};

const struct workdir *archive_workdir(const struct archive *archive)
{
	return archive->work;
}

void archive_free(struct archive *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < a->count; i++) {
		free(a->members[i].name);
		free(a->members[i].link);
	}
	free(a->members);
	if (a->dir_fd >= 0)
		close(a->dir_fd);
	workdir_free(a->work);
	free(a);
}

struct chunk {
	int from, to; /* from -1: what is in the buffer */
	off_t offset;
	char *buf;
	ssize_t len;
	uint64_t max_bytes, bytes;
	struct error *err;
};

static int write_job(void *arg)
{
	struct chunk *c = arg;
	int r = fd_write_all(c->to, c->buf, (size_t)c->len);

	return r < 0 ? error_errno(c->err, -r, "storing the archive") : 0;
}

/* A regular file, whole. */
static int copy_job(void *arg)
{
	struct chunk *c = arg;
	int r = 0;

	while (r == 0) {
		c->len = pread(c->from, c->buf, CHUNK_BYTES, c->offset);
		if (c->len < 0)
			return error_errno(c->err, errno, "reading the archive");
		if (c->len == 0)
			break;
		c->offset += c->len;
		c->bytes += (uint64_t)c->len;
		if (c->bytes > c->max_bytes)
			return error_set(c->err, ERROR_LIMIT,
					 "the archive is larger than %llu bytes",
					 (unsigned long long)c->max_bytes);
		r = write_job(c);
	}
	return r;
}

/* Whatever FD is, our reads of it never wait: the task does. */
static int read_waiting(int fd, char *buf, size_t len, ssize_t *ret, struct error *err)
{
	for (;;) {
		int r = task_wait_fd(fd, EPOLLIN, DEADLINE_NEVER, NULL);

		if (r < 0)
			return error_errno(err, -r, "receiving the archive");
		*ret = fd_read(fd, buf, len);
		if (*ret >= 0)
			return 0;
		if (*ret != -EAGAIN)
			return error_errno(err, (int)-*ret, "receiving the archive");
	}
}

static int spool_waiting(struct job_pool *jobs, int fd, struct chunk *c, struct error *err)
{
	size_t have = 0;
	ssize_t n = 1;
	int r = 0;

	while (r == 0 && n > 0) {
		r = read_waiting(fd, c->buf + have, CHUNK_BYTES - have, &n, err);
		if (r < 0)
			return r;
		have += (size_t)n;
		if (have < CHUNK_BYTES && n > 0)
			continue;
		c->len = (ssize_t)have;
		c->bytes += have;
		have = 0;
		if (c->bytes > c->max_bytes)
			return error_set(err, ERROR_LIMIT, "the archive is larger than %llu bytes",
					 (unsigned long long)c->max_bytes);
		r = job_run(jobs, write_job, c);
	}
	return r;
}

int archive_spool(struct job_pool *jobs, int fd, const struct workdir *work, const char *name,
		  uint64_t max_bytes, struct error *err)
{
	autoclose int to = -1;
	autofree char *buf = malloc(CHUNK_BYTES);
	struct chunk c = { .from = fd, .buf = buf, .max_bytes = max_bytes, .err = err };
	struct stat st;

	if (!buf)
		return error_nomem(err);
	to = openat(work->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0)
		return error_errno(err, errno, "storing the archive");
	c.to = to;
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "reading the archive");
	if (S_ISDIR(st.st_mode))
		return error_set(err, ERROR_INVALID, "expected a tar archive, not a directory");
	if (!S_ISREG(st.st_mode))
		return spool_waiting(jobs, fd, &c, err);
	c.offset = lseek(fd, 0, SEEK_CUR);
	return job_run(jobs, copy_job, &c);
}

struct split {
	struct archive *archive;
	int fd; /* borrowed: a regular file */
	off_t offset;
	struct decompressor *decompressor;
	struct error *err;
};

static ssize_t read_input(void *arg, void *buf, size_t len, struct error *err)
{
	struct split *split = arg;
	ssize_t n = pread(split->fd, buf, len, split->offset);

	if (n < 0)
		return error_errno(err, errno, "reading the archive");
	split->offset += n;
	return n;
}

static ssize_t read_tar(void *arg, void *buf, size_t len, struct error *err)
{
	struct split *split = arg;

	return decompressor_read(split->decompressor, buf, len, err);
}

/* TARGET as seen from NAME's directory; ERROR_INVALID when it leaves the archive. */
static int resolve_link(const char *name, const char *target, char **ret, struct error *err)
{
	const char *slash = strrchr(name, '/');
	autofree char *joined = strf("%.*s%s", slash ? (int)(slash - name + 1) : 0, name, target);
	autostr struct str clean = STR_INIT;
	autostrv char **parts = joined ? strv_split(joined, '/') : NULL;

	if (!parts)
		return error_nomem(err);
	strv_for_each(part, parts) {
		if (!**part || strcmp(*part, ".") == 0)
			continue;
		if (strcmp(*part, "..") != 0) {
			str_addf(&clean, "%s%s", clean.len ? "/" : "", *part);
			continue;
		}
		if (clean.len == 0 || target[0] == '/')
			return error_set(err, ERROR_INVALID,
					 "'%.200s': a symbolic link that leaves the archive", name);
		while (clean.len && clean.data[--clean.len] != '/')
			;
		clean.data[clean.len] = '\0';
	}
	if (target[0] == '/')
		return error_set(err, ERROR_INVALID,
				 "'%.200s': a symbolic link that leaves the archive", name);
	*ret = str_steal(&clean);
	return *ret ? 0 : error_nomem(err);
}

static int add_member(struct archive *a, const char *name, char *link, struct error *err)
{
	struct member *grown;

	if (a->count == ARCHIVE_MAX_MEMBERS) {
		free(link);
		return error_set(err, ERROR_LIMIT, "the archive has more than %u members",
				 ARCHIVE_MAX_MEMBERS);
	}
	grown = reallocarray(a->members, a->count + 1, sizeof(*grown));
	if (!grown) {
		free(link);
		return error_nomem(err);
	}
	a->members = grown;
	grown[a->count] = (struct member){ strdup(name), link };
	return grown[a->count++].name ? 0 : error_nomem(err);
}

static int store_member(struct split *split, struct tar_reader *reader, const struct tar_entry *e,
			struct error *err)
{
	struct archive *a = split->archive;
	autoclose int fd = -1;
	char file[32];

	if (e->size_bytes > a->max_bytes - a->bytes)
		return error_set(err, ERROR_LIMIT,
				 "'%.100s': the archive holds more than %llu bytes", e->path,
				 (unsigned long long)a->max_bytes);
	a->bytes += e->size_bytes;
	snprintf(file, sizeof(file), "m%zu", a->count - 1);
	fd = openat(a->work->fd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "storing '%.100s'", e->path);
	for (;;) {
		const void *data;
		uint64_t offset;
		size_t len;
		int r = tar_data(reader, &data, &len, &offset, err);

		if (r < 0)
			return r;
		if (len == 0)
			break;
		if (lseek(fd, (off_t)offset, SEEK_SET) < 0)
			return error_errno(err, errno, "storing '%.100s'", e->path);
		r = fd_write_all(fd, data, len);
		if (r < 0)
			return error_errno(err, -r, "storing '%.100s'", e->path);
	}
	return ftruncate(fd, (off_t)e->size_bytes) < 0
		       ? error_errno(err, errno, "storing '%.100s'", e->path)
		       : 0;
}

static int split_entry(struct split *split, struct tar_reader *reader, const struct tar_entry *e,
		       struct error *err)
{
	char name[LAYER_MAX_PATH_BYTES + 1], target[LAYER_MAX_PATH_BYTES + 1];
	char *link = NULL;
	int r = layer_path_clean(e->path, name, sizeof(name), err);

	if (r < 0)
		return r;
	switch (e->type) {
	case TAR_FILE:
		r = add_member(split->archive, name, NULL, err);
		return r < 0 ? r : store_member(split, reader, e, err);
	case TAR_HARD_LINK:
		r = layer_path_clean(e->link, target, sizeof(target), err);
		if (r == 0 && !(link = strdup(target)))
			r = error_nomem(err);
		break;
	case TAR_SYMLINK: /* Docker up to 24 saved repeated layers as links */
		r = resolve_link(name, e->link, &link, err);
		break;
	default:
		return 0;
	}
	return r < 0 ? r : add_member(split->archive, name, link, err);
}

static int split_job(void *arg)
{
	struct split *split = arg;
	autoptr(decompressor_free) struct decompressor *decompressor = NULL;
	autoptr(tar_reader_free) struct tar_reader *reader = NULL;
	const struct tar_entry *entry;
	struct error *err = split->err;
	int r = decompressor_new(read_input, split, &decompressor, err);

	split->decompressor = decompressor;
	if (r == 0)
		r = tar_reader_new(read_tar, split, &reader, err);
	while (r == 0) {
		r = tar_next(reader, &entry, err);
		if (r < 0 || !entry)
			break;
		r = split_entry(split, reader, entry, err);
	}
	/* A damaged end of the compressed stream is damage too. */
	if (r == 0)
		r = tar_drain(reader, err);
	return r < 0 ? error_prefix(err, r, "archive") : 0;
}

static int open_tar(struct archive *a, int fd, struct error *err)
{
	struct split split = { .archive = a, .fd = fd, .err = err };
	autoclose int spooled = -1;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "reading the archive");
	if (!S_ISREG(st.st_mode)) {
		r = archive_spool(a->jobs, fd, a->work, "in", a->max_bytes, err);
		if (r < 0)
			return r;
		spooled = openat(a->work->fd, "in", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (spooled < 0)
			return error_errno(err, errno, "reading the archive");
		/* Gone by name: it takes no room any longer than it is read. */
		unlinkat(a->work->fd, "in", 0);
		split.fd = spooled;
	} else {
		split.offset = lseek(fd, 0, SEEK_CUR);
	}
	return job_run(a->jobs, split_job, &split);
}

int archive_open(struct layer_store *layers, struct job_pool *jobs, int fd, uint64_t max_bytes,
		 struct archive **ret, struct error *err)
{
	autoptr(archive_free) struct archive *a = calloc(1, sizeof(*a));
	struct stat st;
	int r;

	if (!a)
		return error_nomem(err);
	a->jobs = jobs;
	a->max_bytes = max_bytes;
	a->dir_fd = -1;
	r = workdir_new(layers, &a->work, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "reading the archive");
	if (S_ISDIR(st.st_mode)) {
		a->dir_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		r = a->dir_fd < 0 ? error_errno(err, errno, "reading the archive") : 0;
	} else {
		r = open_tar(a, fd, err);
	}
	if (r < 0)
		return r;
	*ret = steal(a);
	return 0;
}

static int not_found(const char *name, struct error *err)
{
	return error_set(err, ERROR_NOT_FOUND, "'%.200s' is not in the archive", name);
}

/* The last member of a name counts, as it does when a tar is unpacked. */
static int find(const struct archive *a, const char *name, size_t *ret, struct error *err)
{
	char clean[LAYER_MAX_PATH_BYTES + 1];
	const char *wanted = clean;
	int r = layer_path_clean(name, clean, sizeof(clean), err);

	if (r < 0)
		return r;
	for (unsigned depth = 0; depth < LINKS_MAX_DEPTH; depth++) {
		size_t i = a->count;

		while (i > 0 && strcmp(a->members[i - 1].name, wanted) != 0)
			i--;
		if (i == 0)
			return not_found(name, err);
		*ret = i - 1;
		if (!a->members[i - 1].link)
			return 0;
		wanted = a->members[i - 1].link;
	}
	return error_set(err, ERROR_INVALID, "'%.200s': links in a circle", name);
}

/* A file of a directory, never through a link: the directory may be a stranger's. */
static int open_in_dir(const struct archive *a, const char *name, struct error *err)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
				.resolve =
					RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	struct stat st;
	int fd = (int)syscall(SYS_openat2, a->dir_fd, name, &how, sizeof(how));

	if (fd < 0 && errno == ENOENT)
		return not_found(name, err);
	if (fd < 0)
		return error_errno(err, errno, "'%.200s'", name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return error_set(err, ERROR_INVALID, "'%.200s' is no regular file", name);
	}
	return fd;
}

int archive_read(void *arg, const char *name, size_t max, char **ret, size_t *ret_len,
		 struct error *err)
{
	const struct archive *a = arg;
	autoclose int fd = -1;
	char file[32];
	size_t i;
	int r;

	if (a->dir_fd >= 0) {
		fd = open_in_dir(a, name, err);
		if (fd < 0)
			return fd;
	} else {
		r = find(a, name, &i, err);
		if (r < 0)
			return r;
		snprintf(file, sizeof(file), "m%zu", i);
		fd = openat(a->work->fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			return error_errno(err, errno, "'%.200s'", name);
	}
	r = file_read_fd(fd, max, ret, ret_len, err);
	return r < 0 ? error_prefix(err, r, "'%.200s'", name) : 0;
}

int archive_file(struct archive *a, const char *name, char ret_file[32], struct error *err)
{
	autoclose int from = -1, to = -1;
	size_t i;
	int r;

	if (a->dir_fd < 0) {
		r = find(a, name, &i, err);
		if (r == 0)
			snprintf(ret_file, 32, "m%zu", i);
		return r;
	}
	from = open_in_dir(a, name, err);
	if (from < 0)
		return from;
	snprintf(ret_file, 32, "c%u", __atomic_add_fetch(&a->copies, 1, __ATOMIC_RELAXED));
	to = openat(a->work->fd, ret_file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0)
		return error_errno(err, errno, "storing '%.200s'", name);
	r = file_copy_sparse(from, to, err);
	return r < 0 ? error_prefix(err, r, "'%.200s'", name) : 0;
}
