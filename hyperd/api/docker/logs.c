/* GET /containers/{name}/logs */
#include <string.h>

#include "base/str.h"
#include "hyperd/api/docker/stream.h"

/* Records are gathered into pieces of about this size: one system call for many lines. */
#define LOGS_PIECE_BYTES (32u << 10)

struct logs {
	struct http_request *request;
	bool tty, timestamps, details;
	struct str piece;
	/* Sends what has been gathered once the reader waits for more. */
	struct loop_deferred flush;
};

static void flush(struct loop_deferred *deferred)
{
	struct logs *logs = container_of(deferred, struct logs, flush);

	if (logs->piece.len)
		http_stream_push(logs->request, logs->piece.data, logs->piece.len);
	str_clear(&logs->piece);
}

static int record(enum stream_kind kind, uint64_t time_ns, const char *data, size_t len,
		  const char *details, void *arg)
{
	struct logs *logs = arg;
	char time[API_TIME_BYTES], prefix[API_TIME_BYTES + 2] = "";
	bool tell = logs->details && details;
	size_t extra;

	if (logs->timestamps)
		snprintf(prefix, sizeof(prefix), "%s ", api_time(time_ns, time));
	extra = strlen(prefix) + (tell ? strlen(details) + 1 : 0);
	if (!logs->tty) {
		unsigned char header[STREAM_HEADER_BYTES];

		stream_header(header, kind, extra + len);
		str_append(&logs->piece, header, sizeof(header));
	}
	str_add(&logs->piece, prefix);
	if (tell) {
		str_add(&logs->piece, details);
		str_addc(&logs->piece, ' ');
	}
	str_append(&logs->piece, data, len);
	if (logs->piece.failed)
		return -ENOMEM;
	if (logs->piece.len < LOGS_PIECE_BYTES &&
	    http_output_bytes(logs->request) < HTTP_OUTPUT_HIGH_BYTES) {
		loop_defer(api_of(logs->request)->loop, &logs->flush, flush);
		return 0;
	}
	flush(&logs->flush);
	return http_stream_write(logs->request, "", 0); /* waits while too much is unsent */
}

static int parse_options(struct http_request *request, struct log_read_options *options,
			 struct error *err)
{
	const char *tail = http_query(request, "tail");
	long long lines;
	int r;

	*options = (struct log_read_options){
		.want_stdout = http_query_bool(request, "stdout", false),
		.want_stderr = http_query_bool(request, "stderr", false),
		.follow = http_query_bool(request, "follow", false),
		.details = http_query_bool(request, "details", false),
		.tail = -1,
	};
	if (!options->want_stdout && !options->want_stderr)
		return error_set(err, ERROR_INVALID,
				 "Bad parameters: you must choose at least one stream");
	r = api_parse_time(http_query(request, "since"), &options->since_ns, err);
	if (r == 0)
		r = api_parse_time(http_query(request, "until"), &options->until_ns, err);
	/* As Docker: what is no number means all of them. */
	if (r == 0 && tail && parse_i64(tail, 0, INT64_MAX, &lines) == 0)
		options->tail = lines;
	return r;
}

int docker_container_logs(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	struct log_read_options options;
	struct logs logs = { .request = request };
	int r = api_container(request, &container, err);

	if (r == 0)
		r = parse_options(request, &options, err);
	if (r == 0)
		r = container_logs_check(container, err);
	if (r < 0)
		return r;
	logs.tty = container_spec(container)->tty;
	logs.timestamps = http_query_bool(request, "timestamps", false);
	logs.details = options.details;
	r = http_stream_begin(request, 200, stream_content_type(request, logs.tty));
	if (r == 0)
		r = container_logs(container, &options, record, &logs, err);
	loop_deferred_cancel(&logs.flush);
	flush(&logs.flush);
	str_done(&logs.piece);
	return r;
}
