/* Output that nobody keeps: everything is "stored" as soon as it is written. */
#include <stdlib.h>

#include "hyperd/logdriver/driver.h"

struct none_log {
	struct log log;
	uint64_t written[LOG_STREAM_COUNT];
};

static int none_check(const struct log_option *options, struct error *err)
{
	return 0; /* as Docker: options are not looked at */
}

static int none_open(const struct log_config *config, struct log **ret, struct error *err)
{
	struct none_log *none = calloc(1, sizeof(*none));

	if (!none)
		return error_nomem(err);
	*ret = &none->log;
	return 0;
}

static void none_close(struct log *log)
{
}

static void none_free(struct log *log)
{
	free(container_of(log, struct none_log, log));
}

static int none_begin(struct log *log, struct error *err)
{
	struct none_log *none = container_of(log, struct none_log, log);

	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		none->written[i] = 0;
	return 0;
}

static void none_write(struct log *log, enum log_stream stream, uint64_t time_ns, const char *data,
		       size_t len)
{
	container_of(log, struct none_log, log)->written[stream] += len;
}

static void none_end(struct log *log, enum log_stream stream, uint64_t time_ns)
{
}

static int none_flush(struct log *log, struct error *err)
{
	return 0;
}

static uint64_t none_stored(const struct log *log, enum log_stream stream)
{
	return container_of(log, struct none_log, log)->written[stream];
}

const struct log_driver log_driver_none = {
	.name = "none",
	.check = none_check,
	.open = none_open,
	.close = none_close,
	.free = none_free,
	.begin = none_begin,
	.write = none_write,
	.end = none_end,
	.flush = none_flush,
	.stored = none_stored,
};
