#include "hyperd/logdriver/file_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"

/* ------------------------------------------------------------------ opening and closing */

void file_log_close(struct log *log)
{
	struct file_log *j = file_log(log);

	log_state_close(steal(j->state));
	if (j->fd >= 0)
		close(j->fd);
	if (j->dir_fd >= 0)
		close(j->dir_fd);
	j->fd = j->dir_fd = -1;
}

void file_log_free(struct log *log)
{
	struct file_log *j = file_log(log);

	file_log_close(log);
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		line_splitter_done(&j->streams[i].lines);
	str_done(&j->batch);
	str_done(&j->attrs);
	free(j->name);
	free(j->path);
	free(j);
}

/* What was written after the last save is to come again. */
static int recover(struct file_log *j, struct error *err)
{
	const struct log_progress *known = log_state_get(j->state);

	/* Another inode: the crash came between a rotation and its first record. */
	if (known->inode == j->inode && j->size > known->size) {
		if (ftruncate(j->fd, (off_t)known->size) < 0)
			return error_errno(err, errno, "truncating '%s'", j->path);
		j->size = known->size;
	}
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		j->streams[i].recorded = j->streams[i].stored = known->stored[i];
	return 0;
}

void file_log_save_state(struct file_log *j)
{
	struct log_progress progress = { .inode = j->inode, .size = j->size };

	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		progress.stored[i] = j->streams[i].stored;
	log_state_save(j->state, &progress);
}

static int open_files(struct file_log *j, const char *directory, struct error *err)
{
	autofree char *state = strf("%s.state", j->name);
	bool known = false;
	int r;

	if (!state)
		return error_nomem(err);
	j->dir_fd = file_open_dir(AT_FDCWD, directory, 0700, err);
	if (j->dir_fd < 0)
		return j->dir_fd;
	r = file_open_current(j, err);
	if (r == 0)
		r = log_state_open(j->dir_fd, state, &j->state, &known, err);
	if (r == 0 && known)
		r = recover(j, err);
	if (r == 0 && j->size)
		r = j->format->mend(j, err);
	if (r == 0)
		file_log_save_state(j);
	return r;
}

int file_log_open(const struct log_config *config, const struct file_format *format,
		  const struct file_log_options *options, const struct str *attrs, struct log **ret,
		  struct error *err)
{
	struct file_log *j = calloc(1, sizeof(*j));
	int r = 0;

	if (!j)
		return error_nomem(err);
	j->format = format;
	j->fd = j->dir_fd = -1;
	j->loop = config->loop;
	j->jobs = config->jobs;
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		line_splitter_init(&j->streams[i].lines, (enum log_stream)i);
	j->max_bytes = options->max_bytes;
	j->max_files = options->max_files;
	j->compress = options->compress;
	/* Rotated files of an earlier daemon count as older than this one. */
	j->rotation = options->max_files;
	j->name = strdup(options->name);
	j->path = strf("%s/%s", config->directory, options->name);
	str_append(&j->attrs, str_text(attrs), attrs->len);
	if (!j->name || !j->path || j->attrs.failed)
		r = error_nomem(err);
	if (r == 0)
		r = open_files(j, config->directory, err);
	if (r < 0) {
		file_log_free(&j->log);
		return error_prefix(err, r, "log of container %.12s", config->container_id);
	}
	*ret = &j->log;
	return 0;
}

int file_log_begin(struct log *log, struct error *err)
{
	struct file_log *j = file_log(log);

	for (int i = 0; i < LOG_STREAM_COUNT; i++) {
		line_splitter_clear(&j->streams[i].lines);
		j->streams[i].recorded = j->streams[i].stored = 0;
	}
	file_log_save_state(j);
	return 0;
}

/* ------------------------------------------------------------------ writing */

/* The batch goes out whole or not at all: half a record would spoil the file. */
static int write_batch(struct file_log *j, struct error *err)
{
	int r = 0;

	if (j->batch.len) {
		if (j->batch.failed) {
			r = error_nomem(err);
			str_done(&j->batch);
		} else {
			r = fd_write_all(j->fd, j->batch.data, j->batch.len);
		}
		if (r < 0) {
			error_errno(err, -r, "writing '%s'; output was lost", j->path);
			if (ftruncate(j->fd, (off_t)j->size) < 0)
				trace(log, "truncating '%s': %s", j->path, strerror(errno));
		} else {
			j->size += j->batch.len;
		}
		str_clear(&j->batch);
	}
	/* Lost or not, it is not to come again: the container must be able to go on. */
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		j->streams[i].stored = j->streams[i].recorded;
	file_log_save_state(j);
	return r;
}

static bool is_full(const struct file_log *j)
{
	return j->max_bytes && j->size + j->batch.len >= j->max_bytes && !j->compressing;
}

static void note_failure(struct file_log *j, int r, const struct error *why)
{
	if (r < 0 && j->failure.kind == ERROR_NONE)
		error_copy(&j->failure, why);
}

static void add_record(void *owner, const struct log_line *line)
{
	struct file_log *j = owner;
	struct error err = { 0 };

	/* As Docker: a file is full when it has reached the limit before a record is added. */
	if (is_full(j) && j->size + j->batch.len > 0) {
		note_failure(j, write_batch(j, &err), &err);
		note_failure(j, file_rotate(j, &err), &err);
	}
	j->format->add(j, line);
	j->streams[line->stream].recorded += line->len;
	if (j->batch.len >= FILE_BATCH_BYTES)
		note_failure(j, write_batch(j, &err), &err);
}

void file_log_write(struct log *log, enum log_stream stream, uint64_t time_ns, const char *data,
		    size_t len)
{
	struct file_log *j = file_log(log);

	line_splitter_write(&j->streams[stream].lines, time_ns, data, len, add_record, j);
}

void file_log_end(struct log *log, enum log_stream stream, uint64_t time_ns)
{
	struct file_log *j = file_log(log);

	line_splitter_end(&j->streams[stream].lines, add_record, j);
}

int file_log_flush(struct log *log, struct error *err)
{
	struct file_log *j = file_log(log);
	struct error why = { 0 };
	int r = 0;

	if (j->fd < 0)
		return 0;
	if (j->batch.len)
		note_failure(j, write_batch(j, &why), &why);
	if (j->failure.kind != ERROR_NONE) {
		error_copy(err, &j->failure);
		error_clear(&j->failure);
		r = -EIO;
	}
	return r;
}

uint64_t file_log_stored(const struct log *log, enum log_stream stream)
{
	return file_log(log)->streams[stream].stored;
}

const char *file_log_partial(const struct log *log, enum log_stream stream, size_t *ret_len)
{
	const struct str *line = &file_log(log)->streams[stream].lines.line;

	*ret_len = line->len;
	return str_text(line);
}
