#pragma once
/*
 * Logs that go to a receiver elsewhere. A `struct remote_kind` (syslog.c, gelf.c, fluentd.c,
 * journald.c) turns a line into messages; everything else is here: the queue, the connection that
 * comes and goes, and the cache on disk that lets the log be read.
 *
 * Messages stand in one buffer, each behind a header, and leave it when the receiver has them. In
 * blocking mode only then do their bytes count as stored: a slow receiver so holds the container
 * back by its streams' windows. In non-blocking mode they count at once, and what does not fit into
 * max-buffer-size is dropped, as Docker does. A receiver that is gone makes every mode non-blocking
 * until it is back, but for kinds that have many retries before they say so.
 *
 * One task sends. It lives from a container's start until the queue is empty after its end.
 */
#include "base/list.h"
#include "base/str.h"
#include "hyperd/logdriver/driver.h"
#include "hyperd/logdriver/lines.h"
#include "hyperd/logdriver/link.h"
#include "hyperd/logdriver/log_state.h"

/* Docker's default of max-buffer-size, and what is kept for a receiver that is gone. */
#define REMOTE_BUFFER_BYTES 1000000u

struct remote_log;

struct remote_kind {
	/* Sets target, policy and encoder. */
	int (*prepare)(const struct log_config *config, struct remote_log *r, struct error *err);
	/* Adds the messages of one line with remote_add(); none: the line is not for this receiver.
	 */
	void (*encode)(struct remote_log *r, const struct log_line *line);
	void (*encoder_free)(void *encoder);
	/* What stands at the front of TEXT as an acknowledgement of message *ret_id: how long it
	 * is, 0 when more must come, -EINVAL. NULL: nothing is acknowledged. */
	ssize_t (*acknowledged)(struct remote_log *r, const char *text, size_t len,
				uint64_t *ret_id);
};

/* Between attempts to connect. */
struct remote_retry {
	uint64_t wait_ms, max_wait_ms;
	double factor;
	uint64_t attempts; /* that fail before the receiver counts as gone */
};

struct remote_log {
	struct log log;
	const struct remote_kind *kind; /* borrowed */
	void *encoder;                  /* owned by the kind */
	struct loop *loop;              /* borrowed */
	struct log_group *group;        /* borrowed */
	struct list node;               /* in the group's senders, while there is one */
	struct log *cache;              /* owned; NULL: nothing is kept here */
	struct log_state *state;        /* owned; of the run; NULL between runs */
	char *name;                     /* owned: the container's id, for messages */
	char *directory;                /* owned */

	struct link_target target;
	struct link link;
	struct remote_retry retry;
	uint64_t ack_timeout_ms, write_timeout_ms; /* 0: for ever */
	uint64_t reconnect_ms; /* a connection is not used longer; 0: for ever */
	bool lazy;             /* the start does not wait for a connection */
	bool acks;             /* the receiver acknowledges */
	bool non_blocking;
	uint64_t max_bytes, max_messages; /* of the queue when nothing is held back */

	struct {
		struct line_splitter lines;
		uint64_t stored;
		uint64_t skip, skip_cache; /* bytes that come again and are known */
	} streams[LOG_STREAM_COUNT];

	struct str queue;         /* headers and messages */
	size_t head, next, part;  /* the oldest one; the first not sent, and how much of it is */
	size_t making, last_made; /* while a line is encoded */
	unsigned made;
	uint64_t messages, bytes, next_id;
	uint64_t failures;                 /* attempts since a receiver last took something */
	bool proven;                       /* this connection has taken something */
	uint64_t connected_ns, stalled_ns; /* since when; 0: it takes what it is given */
	bool gone;
	uint64_t lost, lost_told_ns;
	struct task *sender;    /* owned */
	struct cond work;       /* something to send, or an end to come to */
	struct cond ended;      /* the sender has */
	uint64_t linger_end_ns; /* when a closed log gives up; 0: open */
	struct str replies;
};

static inline struct remote_log *remote_log(const struct log *log)
{
	return container_of((struct log *)log, struct remote_log, log);
}

/* For kinds, while they encode: appends to the queue, as one message, what FILL adds. */
struct str *remote_message_begin(struct remote_log *r);
void remote_message_end(struct remote_log *r);
/* The id of the message that is being made: known to acknowledged(). */
uint64_t remote_message_id(const struct remote_log *r);

/* What a driver's vtable holds; remote_open() is called with its own kind. */
int remote_check(const struct log_option *options, struct error *err);
int remote_open(const struct log_config *config, const struct remote_kind *kind, struct log **ret,
		struct error *err);
void remote_close(struct log *log);
void remote_free(struct log *log);
int remote_begin(struct log *log, struct error *err);
void remote_write(struct log *log, enum log_stream stream, uint64_t time_ns, const char *data,
		  size_t len);
void remote_end(struct log *log, enum log_stream stream, uint64_t time_ns);
int remote_flush(struct log *log, struct error *err);
void remote_finish(struct log *log);
uint64_t remote_stored(const struct log *log, enum log_stream stream);
const char *remote_partial(const struct log *log, enum log_stream stream, size_t *ret_len);
bool remote_can_read(const struct log *log);
int remote_read(struct log *log, const struct log_query *query,
		int (*fn)(const struct log_record *record, void *arg), void *arg,
		struct error *err);

#define REMOTE_DRIVER(driver_name, driver_check, driver_open, driver_begin)                  \
	{                                                                                    \
		.name = driver_name, .check = driver_check, .open = driver_open,             \
		.close = remote_close, .free = remote_free, .begin = driver_begin,           \
		.write = remote_write, .end = remote_end, .flush = remote_flush,             \
		.finish = remote_finish, .stored = remote_stored, .partial = remote_partial, \
		.can_read = remote_can_read, .read = remote_read,                            \
	}
