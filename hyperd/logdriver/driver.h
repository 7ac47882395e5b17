#pragma once
/* What a log driver provides. Private to hyperd/logdriver. */
#include "base/list.h"
#include "base/task.h"
#include "hyperd/logdriver/logdriver.h"

struct log {
	const struct log_driver *driver; /* borrowed */
	unsigned refs;                   /* the owner's, and one for each reader */
	bool finished;
	struct cond grown; /* something was flushed, the log was finished or closed */
	bool closed;
	void (*progress)(void *arg); /* more is stored, outside of a flush; NULL */
	void *progress_arg;
};

struct log_driver {
	const char *name;
	int (*check)(const struct log_option *options, struct error *err);
	/* The driver's struct begins with a `struct log`. */
	int (*open)(const struct log_config *config, struct log **ret, struct error *err);
	void (*close)(struct log *log); /* lets go of files; the struct stays */
	void (*free)(struct log *log);
	int (*begin)(struct log *log, struct error *err);
	void (*write)(struct log *log, enum log_stream stream, uint64_t time_ns, const char *data,
		      size_t len);
	void (*end)(struct log *log, enum log_stream stream, uint64_t time_ns);
	int (*flush)(struct log *log, struct error *err);
	uint64_t (*stored)(const struct log *log, enum log_stream stream);
	/* These may be NULL. */
	const char *(*partial)(const struct log *log, enum log_stream stream, size_t *ret_len);
	const char *(*path)(const struct log *log);
	void (*finish)(struct log *log);
	bool (*can_read)(const struct log *log); /* NULL: when there is a read */
	int (*read)(struct log *log, const struct log_query *query,
		    int (*fn)(const struct log_record *record, void *arg), void *arg,
		    struct error *err);
};

extern const struct log_driver log_driver_fluentd;
extern const struct log_driver log_driver_gelf;
extern const struct log_driver log_driver_journald;
extern const struct log_driver log_driver_json_file;
extern const struct log_driver log_driver_local;
extern const struct log_driver log_driver_none;
extern const struct log_driver log_driver_syslog;

/* For logs that send in the background; GROUP may be NULL. */
void log_group_joined(struct log_group *group, struct list *node);
void log_group_left(struct log_group *group);

void log_unref(struct log *log);
