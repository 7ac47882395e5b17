/* The connection's bytes, plain or through TLS. */
#include <sys/socket.h>

#include "hyperd/http/internal.h"

ssize_t http_transport_read(struct http_connection *c, void *data, size_t len, uint32_t *ret_wait)
{
	ssize_t n;

	if (c->tls)
		return tls_read(c->tls, data, len, ret_wait);
	do
		n = recv(c->fd, data, len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	*ret_wait = EPOLLIN;
	return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

ssize_t http_transport_write(struct http_connection *c, const struct iovec *iov, int count,
			     uint32_t *ret_wait)
{
	struct msghdr message = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count };
	ssize_t n;

	if (c->tls) {
		for (; count > 1 && !iov->iov_len; count--)
			iov++;
		if (!iov->iov_len)
			return 0;
		return tls_write(c->tls, iov->iov_base, iov->iov_len, ret_wait);
	}
	do
		n = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	*ret_wait = EPOLLOUT;
	return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

void http_transport_shutdown(struct http_connection *c)
{
	if (c->tls)
		tls_end(c->tls);
	shutdown(c->fd, SHUT_WR);
}
