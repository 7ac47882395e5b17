/* One client: requests, one after the other, until somebody has had enough. */
#include <sys/socket.h>

#include "base/log.h"
#include "hyperd/http/internal.h"

/* What a client may still send after an answer that closes the connection, so that it gets to read
 * the answer instead of a reset; and how long. */
#define LINGER_BYTES       (64u << 20)
#define LINGER_DEADLINE_MS 2000

/* 1: a whole head has come, 0: the client is done, -errno. */
static int read_head(struct http_connection *c)
{
	const struct http_server_config *config = c->server->config;
	unsigned idle_ms = config->idle_deadline_ms, head_ms = config->head_deadline_ms;
	uint64_t deadline_ns = deadline_in_ms(idle_ms ? idle_ms : HTTP_IDLE_DEADLINE_MS);
	bool begun = false;

	while (!c->head_done) {
		int r;

		if (c->in_at == c->in_len) {
			ssize_t n = http_input_fill(c, deadline_ns);

			if (n == -ETIMEDOUT && begun) {
				c->refusal = 408;
				c->refusal_text = "the request's header did not come in time";
			}
			if (n <= 0)
				return (int)n;
		}
		if (!begun) {
			begun = true;
			deadline_ns = deadline_in_ms(head_ms ? head_ms : HTTP_HEAD_DEADLINE_MS);
		}
		r = http_parser_feed(c, HTTP_INPUT_BYTES);
		if (r < 0)
			return r;
	}
	/* A request without a body ends with its head: take llhttp's word for it, which consumes
	 * nothing. */
	if (!c->request.has_body)
		c->message_done = true;
	return 1;
}

static void refuse(struct http_connection *c)
{
	json_t *body = json_pack("{s:s}", "message", c->refusal_text);

	c->keep_alive = false;
	if (!c->request.minor && !c->head_done)
		c->request.minor = 1;
	http_respond_json(&c->request, c->refusal, body);
}

static int dispatch(struct http_connection *c, struct error *err)
{
	const struct http_server_config *config = c->server->config;
	struct http_request *request = &c->request;
	int r;

	if (http_query_parse(request) < 0)
		return error_set(err, ERROR_INVALID, "malformed request target");
	if (c->server->closing)
		return error_set(err, ERROR_UNAVAILABLE, "the daemon is shutting down");
	if (config->begin) {
		r = config->begin(request, err);
		if (r < 0)
			return r;
	}
	request->route = http_route_find(config, request, &r);
	if (!request->route) {
		if (r < 0)
			return error_set(err, ERROR_INVALID, "malformed request path");
		return error_set(err, ERROR_NOT_FOUND, "%s",
				 config->not_found_message ? config->not_found_message
							   : "page not found");
	}
	if (request->route->flags & HTTP_ROUTE_CANCEL) {
		c->gone_cancels = true;
		r = http_gone_watch(c);
		if (r < 0)
			return error_errno(err, -r, "watching the connection");
	}
	return request->route->handle(request, err);
}

/* Reads what is left of a body; false when that is too much. */
static bool drain_body(struct http_connection *c)
{
	char piece[4096];
	size_t total = 0;

	if (c->message_done)
		return true;
	if (c->expect_continue || c->body_error ||
	    c->request.content_length > (int64_t)HTTP_DRAIN_BYTES)
		return false;
	while (total < HTTP_DRAIN_BYTES) {
		ssize_t n = http_body_read(&c->request, piece, sizeof(piece), NULL);

		if (n <= 0)
			return n == 0;
		total += (size_t)n;
	}
	return false;
}

/* Handles one request; false when the connection is to be closed. */
static bool serve_one(struct http_connection *c)
{
	struct http_request *request = &c->request;
	struct error err = { 0 };
	uint64_t begun_ns;
	int r;

	http_request_reset(c);
	r = read_head(c);
	if (r <= 0) {
		if (c->refusal)
			refuse(c);
		return false;
	}
	begun_ns = now_ns();
	trace(http, "%s %s", request->method_name, request->target);
	c->busy = true;
	r = dispatch(c, &err);
	http_gone_unwatch(c);
	if (r < 0 && !request->head_sent)
		http_respond_error(request, &err);
	else if (r < 0 && !request->hijacked)
		c->keep_alive = false; /* the missing last chunk tells the client */
	else if (!request->head_sent)
		http_respond_empty(request, 200);
	else if (request->chunked && !request->ended && request->method != HTTP_HEAD_BIT) {
		struct iovec iov = { "0\r\n\r\n", 5 };

		http_output_append(c, &iov, 1);
	}
	trace(http, "%s %s: %d%s%s, %llu us", request->method_name, request->target,
	      request->status, r < 0 ? ": " : "", r < 0 ? err.message : "",
	      (unsigned long long)(now_ns() - begun_ns) / 1000);
	if (task_canceled() || c->output.error || request->hijacked)
		return false;
	return c->keep_alive && drain_body(c);
}

/* Everything sent, then our side's end, then the client's. */
static void close_politely(struct http_connection *c)
{
	uint64_t deadline_ns = deadline_in_ms(LINGER_DEADLINE_MS);
	size_t total = 0;
	ssize_t n;

	if (http_output_wait(c, 0, deadline_in_ms(HTTP_WRITE_DEADLINE_MS)) < 0)
		return;
	http_transport_shutdown(c);
	if (c->in_eof || c->gone)
		return;
	do {
		c->in_at = c->in_len = 0;
		n = http_input_fill(c, deadline_ns);
		total += n > 0 ? (size_t)n : 0;
	} while (n > 0 && total < LINGER_BYTES);
}

static void connection_free(struct http_connection *c)
{
	struct http_server *server = c->server;

	http_gone_unwatch(c);
	http_output_done(c);
	tls_stream_free(c->tls);
	close(c->fd);
	if (c->gone_fd >= 0)
		close(c->gone_fd);
	http_request_reset(c);
	str_done(&c->target);
	str_done(&c->field);
	str_done(&c->value);
	free(c->in);
	list_remove(&c->node);
	task_unref(c->task);
	free(c);
	if (--server->connection_count == 0)
		cond_broadcast(&server->empty);
}

void http_connection_main(void *arg)
{
	struct http_connection *c = arg;

	while (serve_one(c)) {
		c->busy = false;
		if (http_output_wait(c, HTTP_OUTPUT_HIGH_BYTES,
				     deadline_in_ms(HTTP_WRITE_DEADLINE_MS)) < 0)
			break;
	}
	close_politely(c);
	connection_free(c);
}
