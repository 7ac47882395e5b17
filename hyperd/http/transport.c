/* The connection's bytes, plain or through TLS. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "hyperd/http/internal.h"

static ssize_t tls_result(struct http_connection *c, int n, uint32_t *ret_wait)
{
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		*ret_wait = EPOLLIN;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*ret_wait = EPOLLOUT;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		ERR_clear_error();
		return -ECONNRESET;
	}
}

ssize_t http_transport_read(struct http_connection *c, void *data, size_t len, uint32_t *ret_wait)
{
	ssize_t n;

	if (c->ssl) {
		int r;

		ERR_clear_error();
		r = SSL_read(c->ssl, data, len > INT32_MAX ? INT32_MAX : (int)len);
		return r > 0 ? r : tls_result(c, r, ret_wait);
	}
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

	if (c->ssl) {
		int r;

		for (; count > 1 && !iov->iov_len; count--)
			iov++;
		if (!iov->iov_len)
			return 0;
		ERR_clear_error();
		r = SSL_write(c->ssl, iov->iov_base,
			      iov->iov_len > INT32_MAX ? INT32_MAX : (int)iov->iov_len);
		if (r > 0)
			return r;
		n = tls_result(c, r, ret_wait);
		return n == 0 ? -EPIPE : n;
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
	if (c->ssl) {
		ERR_clear_error();
		SSL_shutdown(c->ssl);
	}
	shutdown(c->fd, SHUT_WR);
}
