#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/fd.h"
#include "base/log.h"
#include "hyperd/logdriver/file_log.h"

#define COPY_BYTES (64u * 1024)

int file_open_current(struct file_log *j, struct error *err)
{
	struct stat st;
	int fd = openat(j->dir_fd, j->name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
			0640);

	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = error_errno(err, errno, "opening '%s'", j->path);

		if (fd >= 0)
			close(fd);
		return r;
	}
	if (j->fd >= 0)
		close(j->fd);
	j->fd = fd;
	j->size = (uint64_t)st.st_size;
	j->inode = st.st_ino;
	return 0;
}

/* Both forms of an older file get their next name; missing ones are fine. */
static void rename_older(struct file_log *j, unsigned from)
{
	static const char *const suffixes[] = { "", ".gz" };

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		autofree char *old = strf("%s.%u%s", j->name, from, suffixes[i]);
		autofree char *new = strf("%s.%u%s", j->name, from + 1, suffixes[i]);

		if (!old || !new)
			continue;
		if (from + 1 >= j->max_files)
			unlinkat(j->dir_fd, old, 0);
		else
			renameat(j->dir_fd, old, j->dir_fd, new);
	}
}

struct compression {
	int dir_fd; /* owned */
	char *from, *to, *temporary;
	struct file_log *j; /* referenced; not for the worker */
};

static int compress_file(int from, int to)
{
	autofree char *buf = malloc(COPY_BYTES);
	gzFile gz = gzdopen(to, "wb6");
	ssize_t n = 0;
	int r = 0;

	if (!gz || !buf) {
		if (gz)
			gzclose(gz);
		else
			close(to);
		return -ENOMEM;
	}
	while (r == 0 && (n = fd_read(from, buf, COPY_BYTES)) > 0)
		if (gzwrite(gz, buf, (unsigned)n) != n)
			r = -EIO;
	if (n < 0)
		r = (int)n;
	if (gzclose(gz) != Z_OK && r == 0)
		r = -EIO;
	return r;
}

static int compress_job(void *arg)
{
	struct compression *c = arg;
	autoclose int from = openat(c->dir_fd, c->from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int to, r;

	if (from < 0)
		return -errno;
	to = openat(c->dir_fd, c->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (to < 0)
		return -errno;
	r = compress_file(from, to);
	if (r == 0 && renameat(c->dir_fd, c->temporary, c->dir_fd, c->to) < 0)
		r = -errno;
	unlinkat(c->dir_fd, r == 0 ? c->from : c->temporary, 0);
	return r;
}

static void compress_task(void *arg)
{
	struct compression *c = arg;
	int r = job_run(c->j->jobs, compress_job, c);

	if (r < 0 && !c->j->log.closed)
		log_warn("compressing the log '%s': %s", c->from, strerror(-r));
	c->j->compressing = false;
	log_unref(&c->j->log);
	close(c->dir_fd);
	free(c->from);
	free(c->to);
	free(c->temporary);
	free(c);
}

/* In the background: until it is done, files keep their names (is_full() says no). */
static void compress_newest(struct file_log *j)
{
	struct compression *c = calloc(1, sizeof(*c));

	if (!c)
		return;
	c->dir_fd = fcntl(j->dir_fd, F_DUPFD_CLOEXEC, 3);
	c->from = strf("%s.1", j->name);
	c->to = strf("%s.1.gz", j->name);
	c->temporary = strf("%s.1.gz.new", j->name);
	c->j = j;
	if (c->dir_fd >= 0 && c->from && c->to && c->temporary &&
	    task_spawn(j->loop, "log-compress", compress_task, c, NULL, NULL) == 0) {
		j->compressing = true;
		j->log.refs++;
		return;
	}
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	free(c->from);
	free(c->to);
	free(c->temporary);
	free(c);
}

int file_rotate(struct file_log *j, struct error *err)
{
	autofree char *first = strf("%s.1", j->name);
	int r;

	if (!first)
		return error_nomem(err);
	for (unsigned i = j->max_files; i > 1; i--)
		rename_older(j, i - 1);
	if (j->max_files < 2)
		r = unlinkat(j->dir_fd, j->name, 0);
	else
		r = renameat(j->dir_fd, j->name, j->dir_fd, first);
	if (r < 0 && errno != ENOENT)
		return error_errno(err, errno, "rotating '%s'", j->path);
	r = file_open_current(j, err);
	if (r < 0)
		return r;
	j->rotation++;
	file_log_save_state(j);
	if (j->compress && j->max_files > 1)
		compress_newest(j);
	return 0;
}

/* ------------------------------------------------------------------ opening for reading */

struct unpacking {
	int from, to; /* borrowed */
};

static int unpack_job(void *arg)
{
	struct unpacking *u = arg;
	autofree char *buf = malloc(COPY_BYTES);
	int dup_fd = fcntl(u->from, F_DUPFD_CLOEXEC, 3);
	gzFile gz = dup_fd >= 0 ? gzdopen(dup_fd, "rb") : NULL;
	int n = 0, r = 0;

	if (!gz || !buf) {
		if (gz)
			gzclose(gz);
		else if (dup_fd >= 0)
			close(dup_fd);
		return -ENOMEM;
	}
	while (r == 0 && (n = gzread(gz, buf, COPY_BYTES)) > 0)
		r = fd_write_all(u->to, buf, (size_t)n);
	if (n < 0)
		r = -EIO;
	gzclose(gz);
	return r;
}

/* A compressed file is read from an unpacked copy without a name. */
static int open_compressed(struct file_log *j, const char *name)
{
	autoclose int from = openat(j->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), to = -1;
	struct unpacking u;
	int r;

	if (from < 0)
		return -errno;
	to = openat(j->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	u = (struct unpacking){ from, to };
	r = job_run(j->jobs, unpack_job, &u);
	return r < 0 ? r : steal_fd(&to);
}

int file_open_number(struct file_log *j, unsigned number)
{
	unsigned age = j->rotation - number;
	autofree char *plain = age ? strf("%s.%u", j->name, age) : strdup(j->name);
	autofree char *packed = strf("%s.%u.gz", j->name, age);
	int fd;

	if (!plain || !packed)
		return -ENOMEM;
	if (j->log.closed)
		return -ENOENT;
	fd = openat(j->dir_fd, plain, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0)
		return fd;
	return errno == ENOENT && age ? open_compressed(j, packed) : -errno;
}

bool file_number_exists(struct file_log *j, unsigned number)
{
	unsigned age = j->rotation - number;
	autofree char *plain = age ? strf("%s.%u", j->name, age) : strdup(j->name);
	autofree char *packed = strf("%s.%u.gz", j->name, age);

	if (!plain || !packed || j->log.closed)
		return false;
	return faccessat(j->dir_fd, plain, F_OK, 0) == 0 ||
	       faccessat(j->dir_fd, packed, F_OK, 0) == 0;
}
