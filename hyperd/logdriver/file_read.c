/*
 * Reading back: a tail is found from the end without reading what stands before it, and the reading
 * follows the files by number through rotations.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "hyperd/logdriver/file_log.h"

#define BLOCK_BYTES (64u * 1024)

struct reader {
	struct file_log *j;
	const struct log_query *query;
	int (*fn)(const struct log_record *record, void *arg);
	void *arg;
	int fd; /* owned */
	unsigned number;
	uint64_t position;
	uint64_t end_position; /* with until_now: where file end_number ends */
	unsigned end_number;
	struct str text; /* read and not yet taken apart */
	bool skipping;   /* in what is too long to be a record */
	struct file_record record;
};

/* The oldest file that is there. */
static unsigned oldest(struct file_log *j)
{
	unsigned number = j->rotation;

	while (j->rotation - number + 1 < j->max_files && file_number_exists(j, number - 1))
		number--;
	return number;
}

static int go_to(struct reader *rd, unsigned number, uint64_t position, struct error *err)
{
	int fd = file_open_number(rd->j, number);

	if (fd < 0 && fd != -ENOENT)
		return error_errno(err, -fd, "opening the log");
	if (rd->fd >= 0)
		close(rd->fd);
	rd->fd = fd < 0 ? -1 : fd;
	rd->number = number;
	rd->position = position;
	str_clear(&rd->text);
	rd->skipping = false;
	return 0;
}

/* Opens the file and position where the reading begins. */
static int seek_tail(struct reader *rd, struct error *err)
{
	uint64_t left = (uint64_t)rd->query->tail, position = 0;
	struct file_log *j = rd->j;
	int r = go_to(rd, j->rotation, j->size, err);

	if (r < 0 || left == 0)
		return r;
	for (;;) {
		uint64_t end = rd->position;

		if (rd->fd < 0)
			return go_to(rd, rd->number + 1, 0, err);
		r = j->format->find_tail(rd->fd, end, &left, &position, err);
		if (r < 0)
			return r;
		rd->position = position;
		if (left == 0 || rd->j->rotation - rd->number + 1 >= j->max_files)
			return 0;
		r = go_to(rd, rd->number - 1, 0, err);
		if (r < 0)
			return r;
		if (rd->fd >= 0) {
			struct stat st;

			if (fstat(rd->fd, &st) < 0)
				return error_errno(err, errno, "examining the log");
			rd->position = (uint64_t)st.st_size;
		}
	}
}

/* 1: the reading ends here. */
static int give_record(struct reader *rd, const char *line, size_t len)
{
	const struct log_query *q = rd->query;
	struct log_record record;

	if (rd->j->format->parse(line, len, &rd->record) < 0)
		return 0;
	if (q->since_ns && rd->record.time_ns < q->since_ns)
		return 0;
	if (q->until_ns && rd->record.time_ns > q->until_ns)
		return 1;
	if (!q->want[rd->record.stream])
		return 0;
	record = (struct log_record){
		.stream = rd->record.stream,
		.time_ns = rd->record.time_ns,
		.data = str_text(&rd->record.text),
		.len = rd->record.text.len,
		.details = q->details ? str_text(&rd->record.details) : "",
	};
	return rd->fn(&record, rd->arg) ? 1 : 0;
}

/* Takes whole records off the front of what was read. */
static int give_records(struct reader *rd)
{
	size_t done = 0;
	int r = 0;

	while (r == 0 && done < rd->text.len) {
		ssize_t n = rd->j->format->cut(rd->text.data + done, rd->text.len - done);

		/* Nothing more is found in this file, but in the next. */
		if (n < 0) {
			str_clear(&rd->text);
			return 0;
		}
		if (n == 0)
			break;
		if (!rd->skipping)
			r = give_record(rd, rd->text.data + done, (size_t)n);
		rd->skipping = false;
		done += (size_t)n;
	}
	str_consume(&rd->text, done);
	if (rd->text.len > FILE_RECORD_MAX_BYTES) {
		str_clear(&rd->text);
		rd->skipping = true;
	}
	return r;
}

static bool at_end(const struct reader *rd)
{
	return rd->query->until_now &&
	       (rd->number > rd->end_number ||
		(rd->number == rd->end_number && rd->position >= rd->end_position));
}

/* Reads on to the end of the current file; 1: the whole reading is over. */
static int read_file(struct reader *rd, struct error *err)
{
	autofree char *block = malloc(BLOCK_BYTES);
	int r;

	if (!block)
		return error_nomem(err);
	while (rd->fd >= 0 && !at_end(rd)) {
		size_t want = BLOCK_BYTES;
		ssize_t n;

		if (rd->query->until_now && rd->number == rd->end_number &&
		    rd->end_position - rd->position < want)
			want = (size_t)(rd->end_position - rd->position);
		n = pread(rd->fd, block, want, (off_t)rd->position);
		if (n < 0)
			return error_errno(err, errno, "reading the log");
		if (n == 0)
			return 0;
		str_append(&rd->text, block, (size_t)n);
		if (rd->text.failed)
			return error_nomem(err);
		rd->position += (uint64_t)n;
		r = give_records(rd);
		if (r)
			return r;
		/* Others get their turn while a long log is read. */
		r = task_yield();
		if (r < 0)
			return error_errno(err, -r, "reading the log");
	}
	return at_end(rd);
}

/* A following reader waits for more; 1: there will be none. */
static int wait_for_more(struct reader *rd, struct error *err)
{
	uint64_t deadline = DEADLINE_NEVER;
	int r;

	if (!rd->query->follow || rd->j->log.finished)
		return 1;
	if (rd->query->until_ns) {
		uint64_t now = realtime_ns();

		if (now >= rd->query->until_ns)
			return 1;
		deadline = now_ns() + (rd->query->until_ns - now);
	}
	r = cond_wait(&rd->j->log.grown, deadline);
	if (r == -ETIMEDOUT)
		return 1;
	return r < 0 ? error_errno(err, -r, "following the log") : 0;
}

static int read_on(struct reader *rd, struct error *err)
{
	for (;;) {
		int r = read_file(rd, err);

		if (r)
			return r;
		/* At its end, and nothing is added to a file that is no longer the current one. */
		if (rd->j->rotation > rd->number) {
			unsigned next = rd->number + 1, first = oldest(rd->j);

			r = go_to(rd, next < first ? first : next, 0, err);
		} else {
			r = wait_for_more(rd, err);
		}
		if (r)
			return r;
	}
}

int file_log_read(struct log *log, const struct log_query *query,
		  int (*fn)(const struct log_record *record, void *arg), void *arg,
		  struct error *err)
{
	struct file_log *j = file_log(log);
	struct reader rd = { .j = j, .query = query, .fn = fn, .arg = arg, .fd = -1 };
	int r;

	if (log->closed)
		return 0;
	rd.end_number = j->rotation;
	rd.end_position = j->size;
	if (query->tail >= 0)
		r = seek_tail(&rd, err);
	else
		r = go_to(&rd, oldest(j), 0, err);
	if (r == 0)
		r = read_on(&rd, err);
	if (rd.fd >= 0)
		close(rd.fd);
	str_done(&rd.text);
	file_record_done(&rd.record);
	return r < 0 ? r : 0;
}
