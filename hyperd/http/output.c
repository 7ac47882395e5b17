/* What waits to be sent to one client. */
#include <fcntl.h>
#include <string.h>

#include "hyperd/http/internal.h"

static int arm(struct http_connection *c, uint32_t events);

int http_output_init(struct http_connection *c)
{
	cond_init(&c->output.drained);
	c->output.fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
	return c->output.fd < 0 ? -errno : 0;
}

void http_output_done(struct http_connection *c)
{
	loop_io_remove(&c->output.io);
	loop_timer_cancel(&c->output.head_timer);
	if (c->output.fd >= 0)
		close(c->output.fd);
	str_done(&c->output.buffer);
}

size_t http_output_pending(const struct http_connection *c)
{
	return c->output.buffer.len - c->output.at;
}

static int fail(struct http_connection *c, int r)
{
	struct http_output *out = &c->output;

	out->error = r;
	str_clear(&out->buffer);
	out->at = 0;
	loop_io_remove(&out->io);
	cond_broadcast(&out->drained);
	http_gone_set(c);
	return r;
}

static void flush(struct http_connection *c)
{
	struct http_output *out = &c->output;

	while (out->at < out->buffer.len) {
		struct iovec iov = { out->buffer.data + out->at, out->buffer.len - out->at };
		uint32_t events = 0;
		ssize_t n = http_transport_write(c, &iov, 1, &events);

		if (n == -EAGAIN) {
			if (arm(c, events) < 0)
				fail(c, -EIO);
			break;
		}
		if (n < 0) {
			fail(c, (int)n);
			return;
		}
		out->at += (size_t)n;
	}
	if (out->at == out->buffer.len) {
		loop_io_remove(&out->io);
		str_clear(&out->buffer);
		out->at = 0;
		if (out->shutdown_wanted)
			http_transport_shutdown(c);
		out->shutdown_wanted = false;
	}
	cond_broadcast(&out->drained);
	if (out->room_wanted && http_output_pending(c) < HTTP_OUTPUT_HIGH_BYTES / 2) {
		out->room_wanted = false;
		if (out->room)
			out->room(out->room_arg);
	}
}

static void writable(struct loop_io *io, uint32_t events)
{
	struct http_output *out = container_of(io, struct http_output, io);

	flush(container_of(out, struct http_connection, output));
}

static int arm(struct http_connection *c, uint32_t events)
{
	if (c->output.io.loop)
		return loop_io_modify(&c->output.io, events);
	return loop_io_add(c->server->loop, &c->output.io, c->output.fd, events, writable);
}

int http_output_append(struct http_connection *c, const struct iovec *iov, int count)
{
	struct http_output *out = &c->output;
	size_t sent = 0;

	if (out->error)
		return out->error;
	if (http_output_pending(c) == 0) {
		uint32_t events = 0;
		ssize_t n = http_transport_write(c, iov, count, &events);

		if (n < 0 && n != -EAGAIN)
			return fail(c, (int)n);
		sent = n > 0 ? (size_t)n : 0;
	} else if (out->at > HTTP_OUTPUT_HIGH_BYTES) {
		str_consume(&out->buffer, out->at);
		out->at = 0;
	}
	for (int i = 0; i < count; i++) {
		size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;

		sent -= skip;
		str_append(&out->buffer, (const char *)iov[i].iov_base + skip,
			   iov[i].iov_len - skip);
	}
	if (out->buffer.failed)
		return fail(c, -ENOMEM);
	if (http_output_pending(c) && !out->io.loop && arm(c, EPOLLOUT) < 0)
		return fail(c, -EIO);
	return 0;
}

int http_output_wait(struct http_connection *c, size_t limit, uint64_t deadline_ns)
{
	while (!c->output.error && http_output_pending(c) > limit) {
		int r = cond_wait(&c->output.drained, deadline_ns);

		if (r < 0)
			return r;
	}
	return c->output.error;
}

size_t http_output_bytes(const struct http_request *request)
{
	return http_output_pending(request->connection);
}

int http_output_flush(struct http_request *request, uint64_t deadline_ns)
{
	return http_output_wait(request->connection, 0, deadline_ns);
}
