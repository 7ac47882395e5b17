#pragma once
/*
 * Logs in files that rotate, whatever the records look like: the writer (file_log.c), rotation
 * (file_rotate.c) and the reader (file_read.c), shared by the drivers json-file and local and by
 * the cache that stands beside a remote driver. A `struct file_format` says how a record is written
 * and found again.
 *
 * Files in the container's directory: NAME, the current one; NAME.1 … NAME.(max_files-1), older
 * ones, the highest number the oldest, each perhaps with ".gz"; NAME.state, what a later daemon
 * must know. Files are numbered by the count of rotations, so a reader that is behind finds its
 * next one whatever its name is by then.
 */
#include "base/str.h"
#include "hyperd/logdriver/driver.h"
#include "hyperd/logdriver/file_record.h"
#include "hyperd/logdriver/lines.h"
#include "hyperd/logdriver/log_state.h"
#include "hyperd/logdriver/log_time.h"

/* Records gathered before they are written without waiting for the round's flush. */
#define FILE_BATCH_BYTES (1u << 20)
/* A record is a piece of a line, each byte escaped as six at the most, and its attributes. */
#define FILE_RECORD_MAX_BYTES (1u << 20)

struct file_log;

struct file_format {
	/* Appends a record to the batch. */
	void (*add)(struct file_log *j, const struct log_line *line);
	/* How long the record at the front of TEXT is: 0 when its end is not there yet, -EINVAL
	 * when there is none and nothing behind it can be found. */
	ssize_t (*cut)(const char *text, size_t len);
	/* A record as cut(): 0, or -EINVAL when it is damaged and to be passed over. */
	int (*parse)(const char *text, size_t len, struct file_record *ret);
	/* Where the last *LEFT records before END begin. When there are fewer, *LEFT is what is
	 * missing and the result is 0. */
	int (*find_tail)(int fd, uint64_t end, uint64_t *left, uint64_t *ret, struct error *err);
	/* A machine that lost power may leave half a record: the next one must be found. */
	int (*mend)(struct file_log *j, struct error *err);
};

struct file_log_options {
	uint64_t max_bytes; /* 0: unlimited */
	unsigned max_files;
	bool compress;
	const char *name; /* of the current file, in the container's directory */
};

struct file_log {
	struct log log;
	const struct file_format *format; /* borrowed */
	struct loop *loop;                /* borrowed */
	struct job_pool *jobs;            /* borrowed */
	char *name, *path;       /* owned; of the current file: in the directory, absolute */
	struct str attrs;        /* what every record says of the container */
	int dir_fd, fd;          /* owned */
	struct log_state *state; /* owned */
	uint64_t max_bytes;      /* 0: unlimited */
	unsigned max_files;
	bool compress, compressing;

	uint64_t size, inode; /* of the current file */
	unsigned rotation;    /* number of the current file */
	struct str batch;     /* records not yet in the file */
	struct {
		struct line_splitter lines;
		uint64_t recorded; /* bytes of the stream in records, those of the batch too */
		uint64_t stored;   /* bytes of the stream in the file */
	} streams[LOG_STREAM_COUNT];
	uint64_t time_ns; /* the time that `time` shows, for formats with a text */
	char time[LOG_TIME_BYTES];
	struct error failure; /* of a write since the last flush that was asked for */
};

static inline struct file_log *file_log(const struct log *log)
{
	return container_of((struct log *)log, struct file_log, log);
}

/* Opens the files. ATTRS is copied. */
int file_log_open(const struct log_config *config, const struct file_format *format,
		  const struct file_log_options *options, const struct str *attrs, struct log **ret,
		  struct error *err);
void file_log_close(struct log *log);
void file_log_free(struct log *log);
int file_log_begin(struct log *log, struct error *err);
void file_log_write(struct log *log, enum log_stream stream, uint64_t time_ns, const char *data,
		    size_t len);
void file_log_end(struct log *log, enum log_stream stream, uint64_t time_ns);
int file_log_flush(struct log *log, struct error *err);
uint64_t file_log_stored(const struct log *log, enum log_stream stream);
const char *file_log_partial(const struct log *log, enum log_stream stream, size_t *ret_len);
int file_log_read(struct log *log, const struct log_query *query,
		  int (*fn)(const struct log_record *record, void *arg), void *arg,
		  struct error *err);

void file_log_save_state(struct file_log *j);

/* Opens the current file, making it. */
int file_open_current(struct file_log *j, struct error *err);
int file_rotate(struct file_log *j, struct error *err);
/* Opens the file with that number for reading: -ENOENT when it is gone. */
int file_open_number(struct file_log *j, unsigned number);
bool file_number_exists(struct file_log *j, unsigned number);
