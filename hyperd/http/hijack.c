/* Raw streams on a connection that was HTTP: Docker's attach and exec. */
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "hyperd/http/internal.h"

int http_hijack_head(struct http_request *request, int status, const struct str *head,
		     struct error *err)
{
	struct http_connection *c = request->connection;
	struct iovec iov = { head->data, head->len };
	char unused[1];
	int r;

	if (head->failed)
		return error_nomem(err);
	/* A body that was announced (exec start has one) must have been read to its end: what
	 * follows is the stream. */
	while (!c->message_done) {
		ssize_t n = http_body_read(request, unused, sizeof(unused), err);

		if (n < 0)
			return (int)n;
		if (n > 0)
			return error_set(err, ERROR_INVALID,
					 "a body is not expected in this request");
	}
	request->status = status;
	request->head_sent = request->hijacked = request->ended = true;
	c->keep_alive = false;
	r = http_output_append(c, &iov, 1);
	if (c->unix_peer)
		c->output.head_deadline_ns = deadline_in_ms(HTTP_HEAD_TAKEN_MS);
	if (r == 0)
		r = http_gone_watch(c);
	return r < 0 ? error_errno(err, -r, "answering") : 0;
}

int http_hijack(struct http_request *request, const char *content_type, struct error *err)
{
	autostr struct str head = STR_INIT;

	str_addf(&head, "HTTP/1.%u %s\r\nContent-Type: %s\r\n", request->minor,
		 request->upgrade_tcp ? "101 UPGRADED" : "200 OK", content_type);
	if (request->upgrade_tcp)
		str_add(&head, "Connection: Upgrade\r\nUpgrade: tcp\r\n");
	for (size_t i = 0; i < request->extra_count; i++)
		str_addf(&head, "%s: %s\r\n", request->extra[i].name, request->extra[i].value);
	str_add(&head, "\r\n");
	return http_hijack_head(request, request->upgrade_tcp ? 101 : 200, &head, err);
}

ssize_t http_hijack_read(struct http_request *request, void *data, size_t len)
{
	struct http_connection *c = request->connection;
	size_t n;

	if (c->in_at == c->in_len) {
		ssize_t r;

		if (c->in_eof)
			return 0;
		r = http_input_fill(c, DEADLINE_NEVER);
		if (r <= 0)
			return r;
	}
	n = c->in_len - c->in_at;
	if (n > len)
		n = len;
	memcpy(data, c->in + c->in_at, n);
	c->in_at += n;
	return (ssize_t)n;
}

static void check_head(struct loop_timer *timer)
{
	struct http_output *out = container_of(timer, struct http_output, head_timer);

	cond_broadcast(&out->drained);
	if (out->room_wanted && out->room) {
		out->room_wanted = false;
		out->room(out->room_arg);
	}
}

/* Whether the client has read the head. There is no event for it: a timer looks again. */
static bool head_taken(struct http_connection *c)
{
	struct http_output *out = &c->output;
	int unread = 0;

	if (!out->head_deadline_ns)
		return true;
	if (now_ns() >= out->head_deadline_ns || ioctl(c->fd, SIOCOUTQ, &unread) < 0 || !unread) {
		out->head_deadline_ns = 0;
		return true;
	}
	loop_timer_set(c->server->loop, &out->head_timer, now_ns() + HTTP_HEAD_TAKEN_CHECK_NS,
		       check_head);
	return false;
}

int http_hijack_push(struct http_request *request, const void *header, size_t header_len,
		     const void *data, size_t len)
{
	struct http_connection *c = request->connection;
	struct iovec iov[2] = { { (void *)header, header_len }, { (void *)data, len } };
	int r;

	if (c->gone || c->output.error)
		return -EPIPE;
	if (http_output_pending(c) >= HTTP_OUTPUT_HIGH_BYTES || !head_taken(c)) {
		c->output.room_wanted = true;
		return 0;
	}
	r = http_output_append(c, iov, 2);
	return r < 0 ? r : 1;
}

int http_hijack_write(struct http_request *request, const void *header, size_t header_len,
		      const void *data, size_t len)
{
	struct http_output *out = &request->connection->output;
	int r;

	while ((r = http_hijack_push(request, header, header_len, data, len)) == 0) {
		r = cond_wait(&out->drained, DEADLINE_NEVER);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : 0;
}

void http_hijack_on_room(struct http_request *request, void (*room)(void *arg), void *arg)
{
	request->connection->output.room = room;
	request->connection->output.room_arg = arg;
}

void http_hijack_on_gone(struct http_request *request, void (*gone)(void *arg), void *arg)
{
	struct http_connection *c = request->connection;

	c->on_gone = gone;
	c->on_gone_arg = arg;
	if (c->gone && gone)
		gone(arg);
}

void http_hijack_shutdown(struct http_request *request)
{
	struct http_connection *c = request->connection;

	if (http_output_pending(c))
		c->output.shutdown_wanted = true;
	else
		http_transport_shutdown(c);
}
