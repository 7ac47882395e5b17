#pragma once
/*
 * The json-file driver's innards, shared by its writer (json_file.c), its crash memory
 * (json_state.c), rotation (json_rotate.c) and its reader (json_read.c).
 *
 * Files in the container's directory: NAME, the current one; NAME.1 … NAME.(max_files-1), older
 * ones, the highest number the oldest, each perhaps with ".gz"; NAME.state, what a later daemon
 * must know. Files are numbered by the count of rotations, so a reader that is behind finds its
 * next one whatever its name is by then.
 */
#include "base/str.h"
#include "hyperd/logdriver/driver.h"
#include "hyperd/logdriver/json_record.h"

/* Docker cuts longer lines. */
#define JSON_LINE_BYTES (16u * 1024)
/* Records gathered before they are written without waiting for the round's flush. */
#define JSON_BATCH_BYTES (1u << 20)

struct json_state;

struct json_log {
	struct log log;
	struct loop *loop;        /* borrowed */
	struct job_pool *jobs;    /* borrowed */
	char *name, *path;        /* owned; of the current file: in the directory, absolute */
	char *attrs;              /* owned: `"attrs":{…},` or "" */
	int dir_fd, fd;           /* owned */
	struct json_state *state; /* owned mapping */
	uint64_t max_bytes;       /* 0: unlimited */
	unsigned max_files;
	bool compress, compressing;

	uint64_t size, inode; /* of the current file */
	unsigned rotation;    /* number of the current file */
	struct str batch;     /* records not yet in the file */
	struct {
		struct str line; /* begun, no newline yet */
		uint64_t line_time_ns;
		bool continued;    /* earlier pieces of this line are records already */
		uint64_t recorded; /* bytes of the stream in records, those of the batch too */
		uint64_t stored;   /* bytes of the stream in the file */
	} streams[LOG_STREAM_COUNT];
	uint64_t time_ns; /* the time that `time` shows */
	char time[LOG_TIME_BYTES];
	struct error failure; /* of a write since the last flush that was asked for */
};

static inline struct json_log *json_log(const struct log *log)
{
	return container_of((struct log *)log, struct json_log, log);
}

/* Maps the state file; *ret_known is false when it is new. */
int json_state_open(struct json_log *j, bool *ret_known, struct error *err);
void json_state_close(struct json_log *j);
/* Truncates the current file to what the state says, and takes the streams' offsets from it. */
int json_state_recover(struct json_log *j, struct error *err);
/* Records j->size and what is stored, so that a crash at any instruction leaves the old or the new.
 */
void json_state_save(struct json_log *j);

/* Opens the current file, making it. */
int json_open_current(struct json_log *j, struct error *err);
int json_rotate(struct json_log *j, struct error *err);
/* Opens the file with that number for reading: -ENOENT when it is gone. */
int json_open_number(struct json_log *j, unsigned number);
bool json_number_exists(struct json_log *j, unsigned number);

int json_log_read(struct log *log, const struct log_query *query,
		  int (*fn)(const struct log_record *record, void *arg), void *arg,
		  struct error *err);
