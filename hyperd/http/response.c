/* Answers: whole, streamed, and from a descriptor. */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/json.h"
#include "base/log.h"
#include "hyperd/http/internal.h"

static const struct {
	int status;
	const char *text;
} reasons[] = {
	{ 200, "OK" },
	{ 201, "Created" },
	{ 202, "Accepted" },
	{ 204, "No Content" },
	{ 304, "Not Modified" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 406, "Not Acceptable" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 413, "Request Entity Too Large" },
	{ 414, "Request URI Too Long" },
	{ 417, "Expectation Failed" },
	{ 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" },
	{ 501, "Not Implemented" },
	{ 503, "Service Unavailable" },
	{ 505, "HTTP Version Not Supported" },
};

static const char *reason(int status)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

int http_error_status(enum error_kind kind)
{
	static const int statuses[ERROR_KIND_COUNT] = {
		[ERROR_NONE] = 500,         [ERROR_FAILED] = 500,       [ERROR_INVALID] = 400,
		[ERROR_UNAUTHORIZED] = 401, [ERROR_DENIED] = 403,       [ERROR_NOT_FOUND] = 404,
		[ERROR_CONFLICT] = 409,     [ERROR_NOT_MODIFIED] = 304, [ERROR_LIMIT] = 413,
		[ERROR_TIMEOUT] = 500,      [ERROR_CANCELED] = 500,     [ERROR_UNSUPPORTED] = 501,
		[ERROR_UNAVAILABLE] = 503,
	};

	return kind < ERROR_KIND_COUNT ? statuses[kind] : 500;
}

int http_add_header(struct http_request *request, const char *name, const char *fmt, ...)
{
	char *value = NULL;
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vasprintf(&value, fmt, ap);
	va_end(ap);
	if (r < 0)
		return -ENOMEM;
	/* A value made of a stranger's text must not begin a header field of its own. */
	for (char *p = value; *p; p++)
		if (*p == '\r' || *p == '\n')
			*p = ' ';
	return http_fields_add(&request->extra, &request->extra_count, strdup(name), value);
}

static bool has_content(int status)
{
	return status != 204 && status != 304 && status >= 200;
}

/* The head, to HEAD. LENGTH -1: streamed. */
static void head_build(struct http_request *request, int status, const char *content_type,
		       int64_t length, struct str *head)
{
	struct http_connection *c = request->connection;
	time_t now = (time_t)(realtime_ns() / NSEC_PER_SEC);
	char date[64];
	struct tm tm;

	request->status = status;
	request->head_sent = true;
	/* An unread body cannot be told from the next request when the client was not asked for it.
	 */
	if (c->expect_continue || c->server->closing || c->gone)
		c->keep_alive = false;
	if (length < 0 && has_content(status)) {
		request->chunked = request->minor >= 1;
		if (!request->chunked)
			c->keep_alive = false;
	}
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	str_addf(head, "HTTP/1.%u %d %s\r\n", request->minor, status, reason(status));
	for (size_t i = 0; i < request->extra_count; i++)
		str_addf(head, "%s: %s\r\n", request->extra[i].name, request->extra[i].value);
	str_addf(head, "Date: %s\r\n", date);
	if (content_type && has_content(status))
		str_addf(head, "Content-Type: %s\r\n", content_type);
	if (length >= 0 && has_content(status))
		str_addf(head, "Content-Length: %lld\r\n", (long long)length);
	if (request->chunked)
		str_add(head, "Transfer-Encoding: chunked\r\n");
	if (!c->keep_alive)
		str_add(head, "Connection: close\r\n");
	else if (request->minor == 0)
		str_add(head, "Connection: keep-alive\r\n");
	str_add(head, "\r\n");
}

int http_respond(struct http_request *request, int status, const char *content_type,
		 const void *data, size_t len)
{
	struct http_connection *c = request->connection;
	autostr struct str head = STR_INIT;
	struct iovec iov[2];
	int r;

	if (request->head_sent)
		return -EALREADY;
	head_build(request, status, content_type, (int64_t)len, &head);
	request->ended = true;
	if (head.failed)
		return -ENOMEM;
	iov[0] = (struct iovec){ head.data, head.len };
	iov[1] = (struct iovec){ (void *)data, len };
	r = http_output_append(c, iov,
			       len && has_content(status) && request->method != HTTP_HEAD_BIT ? 2
											      : 1);
	if (r < 0)
		return r;
	return http_output_wait(c, HTTP_OUTPUT_HIGH_BYTES, deadline_in_ms(HTTP_WRITE_DEADLINE_MS));
}

int http_respond_empty(struct http_request *request, int status)
{
	return http_respond(request, status, NULL, NULL, 0);
}

int http_respond_json(struct http_request *request, int status, json_t *json)
{
	autofree char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	autostr struct str body = STR_INIT;

	json_decref(json);
	if (!text)
		return http_respond(request, 500, "application/json",
				    "{\"message\":\"out of memory\"}\n", 28);
	str_add(&body, text);
	str_addc(&body, '\n'); /* as Go's encoder ends it */
	return http_respond(request, status, "application/json", str_text(&body), body.len);
}

int http_respond_error(struct http_request *request, const struct error *error)
{
	const char *message = *error->message ? error->message : error_kind_name(error->kind);
	json_t *text = json_string(message);

	/* A message may quote a stranger's bytes that are no UTF-8. */
	if (!text)
		text = json_string("the request failed (its message is not valid UTF-8)");
	return http_respond_json(request, http_error_status(error->kind),
				 json_pack("{s:o}", "message", text));
}

int http_stream_begin(struct http_request *request, int status, const char *content_type)
{
	autostr struct str head = STR_INIT;
	struct iovec iov;

	if (request->head_sent)
		return -EALREADY;
	head_build(request, status, content_type, -1, &head);
	if (head.failed)
		return -ENOMEM;
	iov = (struct iovec){ head.data, head.len };
	return http_output_append(request->connection, &iov, 1);
}

int http_stream_push(struct http_request *request, const void *data, size_t len)
{
	struct iovec iov[3];
	char size[24];

	if (!len || request->method == HTTP_HEAD_BIT)
		return 0;
	if (!request->chunked) {
		iov[0] = (struct iovec){ (void *)data, len };
		return http_output_append(request->connection, iov, 1);
	}
	iov[0] = (struct iovec){ size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", len) };
	iov[1] = (struct iovec){ (void *)data, len };
	iov[2] = (struct iovec){ "\r\n", 2 };
	return http_output_append(request->connection, iov, 3);
}

int http_stream_push_json(struct http_request *request, const json_t *json, const char *suffix)
{
	autofree char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
	autostr struct str line = STR_INIT;

	if (!text)
		return -ENOMEM;
	str_add(&line, text);
	str_add(&line, suffix);
	return line.failed ? -ENOMEM : http_stream_push(request, line.data, line.len);
}

int http_stream_write(struct http_request *request, const void *data, size_t len)
{
	int r = http_stream_push(request, data, len);

	if (r < 0)
		return r;
	return http_output_wait(request->connection, HTTP_OUTPUT_HIGH_BYTES, DEADLINE_NEVER);
}

bool http_client_gone(const struct http_request *request)
{
	return request->connection->gone || request->connection->output.error;
}

struct http_answer_pump {
	struct http_request *request; /* borrowed */
	const char *content_type;
	struct task *task;
	int ours, theirs; /* owned */
	int result;
};

static void answer_main(void *arg)
{
	struct http_answer_pump *pump = arg;
	struct http_request *request = pump->request;
	autofree char *piece = malloc(HTTP_INPUT_BYTES);
	int r = piece ? 0 : -ENOMEM;

	while (r == 0) {
		ssize_t n = recv(pump->ours, piece, HTTP_INPUT_BYTES, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			r = task_wait_fd(pump->ours, EPOLLIN, DEADLINE_NEVER, NULL);
			continue;
		}
		if (n <= 0)
			break;
		if (!request->head_sent)
			r = http_stream_begin(request, 200, pump->content_type);
		if (r == 0)
			r = http_stream_write(request, piece, (size_t)n);
	}
	pump->result = r;
	if (r < 0) { /* the client has left: the writer must get EPIPE, not wait for ever */
		close(pump->ours);
		pump->ours = -1;
	}
}

int http_answer_pump_begin(struct http_request *request, const char *content_type,
			   struct http_answer_pump **ret, int *ret_fd, struct error *err)
{
	struct http_answer_pump *pump = calloc(1, sizeof(*pump));
	int fds[2], r;

	if (!pump)
		return error_nomem(err);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		free(pump);
		return error_errno(err, errno, "answering");
	}
	pump->request = request;
	pump->content_type = content_type;
	pump->ours = fds[0];
	pump->theirs = fds[1];
	r = task_spawn(task_loop(), "answer pump", answer_main, pump, &pump->task, err);
	if (r < 0) {
		close(fds[0]);
		close(fds[1]);
		free(pump);
		return r;
	}
	*ret = pump;
	*ret_fd = pump->theirs;
	return 0;
}

int http_answer_pump_end(struct http_answer_pump *pump, int result, struct error *err)
{
	struct http_request *request = pump->request;
	bool old = task_shield(true);

	close(pump->theirs); /* the pump sees the end after all that was written */
	if (result < 0 && !request->head_sent)
		task_cancel(pump->task);
	task_join(pump->task, DEADLINE_NEVER);
	task_unref(pump->task);
	task_shield(old);
	if (pump->ours >= 0)
		close(pump->ours);
	if (result == 0 && pump->result < 0)
		result = error_errno(err, -pump->result, "sending the answer");
	if (result == 0 && !request->head_sent)
		result = http_respond(request, 200, pump->content_type, "", 0);
	free(pump);
	return result;
}
