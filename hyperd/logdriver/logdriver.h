#pragma once
/*
 * Log drivers: where a container's output goes and, for those that can, comes back from. One vtable
 * (driver.h holds it, for those who write a driver); json-file and none today, and the table of
 * drivers in logdriver.c is where syslog, GELF and Fluentd will stand.
 *
 * A `struct log` belongs to one container and is open from its start to its removal. What is
 * written is gathered and goes to the file in log_flush(), which the writer calls once a round of
 * the loop; only what log_stored() counts is safe. json-file remembers across a crash of the
 * daemon, in a small mapped file, how much of each stream is in the log, together with the log's
 * length: so nothing is lost or doubled when the agent sends again from there.
 *
 * Loop thread; log_read() is for tasks.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/job.h"
#include "base/loop.h"

enum log_stream { LOG_STDOUT, LOG_STDERR, LOG_STREAM_COUNT };

struct log_group;

struct log_option {
	const char *key, *value;
};

struct log_config {
	struct loop *loop;
	struct job_pool *jobs;
	struct log_group *group; /* may be NULL: nobody waits for what is still to be sent */
	const char *directory;   /* of this container, made when missing */
	const char *container_id, *container_name, *image_name, *image_id;
	const char *command;              /* entrypoint and arguments; may be NULL */
	const char *hostname;             /* of the machine; may be NULL */
	uint64_t created_ns;              /* realtime, the container's */
	const struct log_option *options; /* key NULL ends; may be NULL */
	const struct log_option *labels;  /* of the container, for the options "labels…" */
	char *const *env;                 /* strv, for "env…" */
};

struct log;

/* The drivers' names in order, for `info`; NULL at the end. */
const char *log_driver_name(size_t index);
/* The logs that are still sending to a receiver elsewhere: closing a log does not wait for that. */
int log_group_new(struct log_group **ret, struct error *err);
/* Task: waits until the closed logs of the group have sent what they had, or the deadline; all must
 * be closed. Then frees. Takes NULL. */
void log_group_end(struct log_group *group, uint64_t deadline_ns);

/* Checks driver and options with Docker's words. OPTIONS may be NULL. */
int log_driver_check(const char *driver, const struct log_option *options, struct error *err);
/* Opens the log, mending what a crash left. Everything in CONFIG is copied. */
int log_driver_open(const char *driver, const struct log_config *config, struct log **ret,
		    struct error *err);
/* Flushes and closes. Takes NULL. */
void log_close(struct log *log);
bool log_can_read(const struct log *log);
/* Of the current file; NULL when the driver has none. */
const char *log_path(const struct log *log);

/* Task. A new process begins: its streams count from 0. Connects to a receiver where Docker does.
 */
int log_begin(struct log *log, struct error *err);
/* Takes all of it. */
void log_write(struct log *log, enum log_stream stream, uint64_t time_ns, const char *data,
	       size_t len);
/* The stream has ended: what it had begun of a line is a record too. */
void log_end(struct log *log, enum log_stream stream, uint64_t time_ns);
/* Brings what was written to where it is kept. An error means that records were lost; the log goes
 * on. */
int log_flush(struct log *log, struct error *err);
/* FN is called when log_stored() grows at another time than in a flush; NULL: nobody is. */
void log_on_progress(struct log *log, void (*fn)(void *arg), void *arg);
/* How many bytes of the process's stream need not be sent again. */
uint64_t log_stored(const struct log *log, enum log_stream stream);
/* What is gathered of a line and not yet a record, borrowed. */
const char *log_partial(const struct log *log, enum log_stream stream, size_t *ret_len);
/* Readers that follow end after what is there. */
void log_finish(struct log *log);

struct log_record {
	enum log_stream stream;
	uint64_t time_ns; /* realtime */
	const char *data; /* with its newline where it had one */
	size_t len;
	const char *details; /* "key=value,…", or "" */
};

struct log_query {
	bool want[LOG_STREAM_COUNT];
	bool follow, details;
	bool until_now; /* end at what is in the log when the reading begins */
	uint64_t since_ns, until_ns;
	int64_t tail; /* records; -1: all */
};

/*
 * Task. Calls FN for each record in order until the end, or FN returns non-zero. A damaged line is
 * passed over. The log may be closed meanwhile: the reading then ends.
 */
int log_read(struct log *log, const struct log_query *query,
	     int (*fn)(const struct log_record *record, void *arg), void *arg, struct error *err);
