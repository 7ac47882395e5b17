#include "hyperd/logdriver/logdriver.h"

#include <string.h>

#include "hyperd/logdriver/driver.h"
#include "hyperd/logdriver/options.h"

/* The index of drivers, by name: a new one is a file of its own and a line here. */
static const struct log_driver *const drivers[] = {
	&log_driver_fluentd, &log_driver_gelf, &log_driver_journald, &log_driver_json_file,
	&log_driver_local,   &log_driver_none, &log_driver_syslog,
};

static const struct log_driver *find_driver(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (strcmp(drivers[i]->name, name) == 0)
			return drivers[i];
	return NULL;
}

const char *log_driver_name(size_t index)
{
	return index < ARRAY_SIZE(drivers) ? drivers[index]->name : NULL;
}

int log_driver_check(const char *name, const struct log_option *options, struct error *err)
{
	const struct log_driver *driver = find_driver(name);
	int r;

	if (!driver)
		return error_set(err, ERROR_INVALID,
				 "logger: no log driver named '%s' is registered", name);
	r = log_options_check_common(options, err);
	return r < 0 ? r : driver->check(options, err);
}

int log_driver_open(const char *name, const struct log_config *config, struct log **ret,
		    struct error *err)
{
	const struct log_driver *driver = find_driver(name);
	struct log *log = NULL;
	int r;

	if (!driver)
		return error_set(err, ERROR_INVALID,
				 "logger: no log driver named '%s' is registered", name);
	r = driver->open(config, &log, err);
	if (r < 0)
		return r;
	log->driver = driver;
	log->refs = 1;
	cond_init(&log->grown);
	*ret = log;
	return 0;
}

void log_unref(struct log *log)
{
	if (--log->refs == 0)
		log->driver->free(log);
}

void log_close(struct log *log)
{
	if (!log)
		return;
	log->progress = NULL;
	log->driver->flush(log, NULL);
	log->closed = log->finished = true;
	log->driver->close(log);
	cond_broadcast(&log->grown);
	log_unref(log);
}

bool log_can_read(const struct log *log)
{
	return log->driver->can_read ? log->driver->can_read(log) : log->driver->read != NULL;
}

const char *log_path(const struct log *log)
{
	return log->driver->path ? log->driver->path(log) : NULL;
}

int log_begin(struct log *log, struct error *err)
{
	log->finished = false;
	return log->driver->begin(log, err);
}

void log_write(struct log *log, enum log_stream stream, uint64_t time_ns, const char *data,
	       size_t len)
{
	log->driver->write(log, stream, time_ns, data, len);
}

void log_end(struct log *log, enum log_stream stream, uint64_t time_ns)
{
	log->driver->end(log, stream, time_ns);
}

int log_flush(struct log *log, struct error *err)
{
	int r = log->driver->flush(log, err);

	cond_broadcast(&log->grown);
	return r;
}

void log_on_progress(struct log *log, void (*fn)(void *arg), void *arg)
{
	log->progress = fn;
	log->progress_arg = arg;
}

uint64_t log_stored(const struct log *log, enum log_stream stream)
{
	return log->driver->stored(log, stream);
}

const char *log_partial(const struct log *log, enum log_stream stream, size_t *ret_len)
{
	*ret_len = 0;
	return log->driver->partial ? log->driver->partial(log, stream, ret_len) : "";
}

void log_finish(struct log *log)
{
	log->finished = true;
	if (log->driver->finish)
		log->driver->finish(log);
	cond_broadcast(&log->grown);
}

int log_read(struct log *log, const struct log_query *query,
	     int (*fn)(const struct log_record *record, void *arg), void *arg, struct error *err)
{
	int r;

	if (!log_can_read(log))
		return error_set(err, ERROR_UNSUPPORTED,
				 "configured logging driver does not support reading");
	log->refs++;
	r = log->driver->read(log, query, fn, arg, err);
	log_unref(log);
	return r;
}
