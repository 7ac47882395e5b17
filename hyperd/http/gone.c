/*
 * Notices a client that leaves while nobody reads from it. Over a Unix socket a full close is told
 * from a half-close (EPOLLHUP); over TCP both look the same, and the end of the client's sending
 * side counts as its leaving, as Go's server has it.
 */
#include <fcntl.h>

#include "hyperd/http/internal.h"

void http_gone_set(struct http_connection *c)
{
	if (c->gone)
		return;
	c->gone = true;
	if (c->gone_cancels)
		task_cancel(c->task);
	if (c->on_gone)
		c->on_gone(c->on_gone_arg);
}

static void left(struct loop_io *io, uint32_t events)
{
	struct http_connection *c = container_of(io, struct http_connection, gone_io);

	loop_io_remove(io);
	http_gone_set(c);
}

int http_gone_watch(struct http_connection *c)
{
	int r;

	if (c->gone_io.loop || c->gone)
		return 0;
	if (c->gone_fd < 0)
		c->gone_fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
	if (c->gone_fd < 0)
		return -errno;
	/* EPOLLHUP and EPOLLERR are always reported. A hijacked stream is half-closed as a rule. */
	r = loop_io_add(c->server->loop, &c->gone_io, c->gone_fd,
			c->unix_peer || c->request.hijacked ? 0 : EPOLLRDHUP, left);
	return r;
}

void http_gone_unwatch(struct http_connection *c)
{
	loop_io_remove(&c->gone_io);
	c->gone_cancels = false;
	c->on_gone = NULL;
}
