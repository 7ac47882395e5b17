/* Request bodies: in pieces, whole, and as a descriptor. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/json.h"
#include "hyperd/http/internal.h"

static int send_continue(struct http_connection *c)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct iovec iov = { (void *)text, sizeof(text) - 1 };

	c->expect_continue = false;
	return http_output_append(c, &iov, 1);
}

static ssize_t body_fail(struct http_connection *c, int r, struct error *err)
{
	c->body_error = r;
	c->keep_alive = false;
	if (r == -ETIMEDOUT)
		error_set(err, ERROR_TIMEOUT, "reading the request's body: nothing came in time");
	else if (r == -ECANCELED)
		error_set(err, ERROR_CANCELED, "reading the request's body: canceled");
	else if (c->refusal)
		error_set(err, ERROR_INVALID, "reading the request's body: %s", c->refusal_text);
	else
		error_set(err, ERROR_INVALID, "reading the request's body: unexpected end");
	return r;
}

static ssize_t body_read(struct http_request *request, void *data, size_t len, uint64_t deadline_ns,
			 struct error *err)
{
	struct http_connection *c = request->connection;
	int r;

	if (c->body_error)
		return body_fail(c, c->body_error, err);
	if (c->expect_continue) {
		r = send_continue(c);
		if (r < 0)
			return body_fail(c, r, err);
	}
	c->body_to = data;
	c->body_len = 0;
	/* Decoded bytes are never more than the raw ones: LEN raw bytes fit into DATA. */
	while (!c->message_done && !c->body_len) {
		if (c->in_at == c->in_len) {
			ssize_t n = http_input_fill(c, deadline_ns);

			if (n <= 0)
				return body_fail(c, n < 0 ? (int)n : -ENODATA, err);
		}
		r = http_parser_feed(c, len);
		if (r < 0)
			return body_fail(c, r, err);
	}
	return (ssize_t)c->body_len;
}

ssize_t http_body_read(struct http_request *request, void *data, size_t len, struct error *err)
{
	return body_read(request, data, len, deadline_in_ms(HTTP_BODY_IDLE_MS), err);
}

int http_body_text(struct http_request *request, size_t max, char **ret, size_t *ret_len,
		   struct error *err)
{
	struct http_connection *c = request->connection;
	unsigned ms = c->server->config->body_deadline_ms;
	uint64_t deadline_ns = deadline_in_ms(ms ? ms : HTTP_BODY_DEADLINE_MS);
	autofree char *piece = malloc(16384);
	autostr struct str text = STR_INIT;
	ssize_t n;

	if (!piece)
		return error_nomem(err);
	if (request->content_length > (int64_t)max)
		return error_set(err, ERROR_LIMIT, "the request's body is larger than %zu bytes",
				 max);
	while ((n = body_read(request, piece, 16384, deadline_ns, err)) > 0) {
		if (text.len + (size_t)n > max) {
			c->keep_alive = false;
			return error_set(err, ERROR_LIMIT,
					 "the request's body is larger than %zu bytes", max);
		}
		str_append(&text, piece, (size_t)n);
	}
	if (n < 0)
		return (int)n;
	if (ret_len)
		*ret_len = text.len;
	*ret = str_steal(&text);
	if (!*ret)
		*ret = strdup("");
	return *ret ? 0 : error_nomem(err);
}

int http_body_json(struct http_request *request, json_t **ret, struct error *err)
{
	autofree char *text = NULL;
	size_t len = 0;
	int r = http_body_text(request, HTTP_MAX_JSON_BYTES, &text, &len, err);

	*ret = NULL;
	if (r < 0)
		return r;
	if (strspn(text, " \t\r\n") == len)
		return 0;
	/* How Go's clients write that there is nothing. */
	if (str_starts(text, "null") && 4 + strspn(text + 4, " \t\r\n") == len)
		return 0;
	return json_parse(text, len, ret, err);
}

struct http_body_pump {
	struct http_request *request; /* borrowed */
	struct task *task;
	int ours, theirs; /* owned */
	int result;
	struct error error;
};

/* Writes all of it to the pump's non-blocking socket. */
static int pump_write(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r;

		if (n >= 0) {
			data += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = task_wait_fd(fd, EPOLLOUT, DEADLINE_NEVER, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

static void pump_main(void *arg)
{
	struct http_body_pump *pump = arg;
	autofree char *piece = malloc(HTTP_INPUT_BYTES);
	ssize_t n = piece ? 1 : error_nomem(&pump->error);

	while (n > 0) {
		n = http_body_read(pump->request, piece, HTTP_INPUT_BYTES, &pump->error);
		if (n > 0) {
			/* A reader that has had enough is not the client's mistake. */
			if (pump_write(pump->ours, piece, (size_t)n) < 0)
				return;
		}
	}
	if (n < 0)
		pump->result = (int)n;
	else
		shutdown(pump->ours, SHUT_WR);
	/*
	 * Our end holds one unread byte (http_body_pump_begin): closing it so makes the reader see
	 * ECONNRESET after the data, unless it has been shut down in order before.
	 */
	if (n < 0) {
		close(pump->ours);
		pump->ours = -1;
	}
}

int http_body_pump_begin(struct http_request *request, struct http_body_pump **ret, int *ret_fd,
			 struct error *err)
{
	struct http_body_pump *pump = calloc(1, sizeof(*pump));
	int fds[2], r;

	if (!pump)
		return error_nomem(err);
	/* Before the handler can begin its answer: a client that waits for "100 Continue" and sees
	 * 200 sends nothing. */
	if (request->connection->expect_continue) {
		r = send_continue(request->connection);
		if (r < 0) {
			free(pump);
			return body_fail(request->connection, r, err);
		}
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		free(pump);
		return error_errno(err, errno, "reading the request's body");
	}
	pump->request = request;
	pump->ours = fds[0];
	pump->theirs = fds[1];
	r = fd_write_all(pump->theirs, "", 1);
	if (r == 0)
		r = task_spawn(task_loop(), "body pump", pump_main, pump, &pump->task, err);
	if (r < 0) {
		close(pump->ours);
		close(pump->theirs);
		free(pump);
		return r;
	}
	*ret = pump;
	*ret_fd = pump->theirs;
	return 0;
}

int http_body_pump_end(struct http_body_pump *pump, struct error *err)
{
	bool old = task_shield(true);
	int r;

	/* Whoever read has ended: a pump that still writes gets EPIPE, one that reads is stopped.
	 */
	close(pump->theirs);
	if (!task_is_done(pump->task))
		task_cancel(pump->task);
	task_join(pump->task, DEADLINE_NEVER);
	task_unref(pump->task);
	task_shield(old);
	if (pump->ours >= 0)
		close(pump->ours);
	r = pump->result;
	if (r == -ECANCELED)
		r = 0;
	if (r < 0)
		error_copy(err, &pump->error);
	free(pump);
	return r;
}
