#include "base/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/epoll.h>

struct tls_context {
	SSL_CTX *ssl; /* owned */
};

/* ------------------------------------------------------------------ contexts */

static int tls_error(struct error *err, const char *what, const char *path)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);
	int r = error_set(err, ERROR_INVALID, "TLS: %s '%s': %s", what, path,
			  reason ? reason : "failed");

	ERR_clear_error();
	return r;
}

static struct tls_context *context_new(const SSL_METHOD *method)
{
	struct tls_context *context = calloc(1, sizeof(*context));

	if (!context || !(context->ssl = SSL_CTX_new(method))) {
		free(context);
		return NULL;
	}
	SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION);
	SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(context->ssl,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return context;
}

static int use_certificate(struct tls_context *context, const char *certificate, const char *key,
			   struct error *err)
{
	if (SSL_CTX_use_certificate_chain_file(context->ssl, certificate) != 1)
		return tls_error(err, "certificate", certificate);
	if (SSL_CTX_use_PrivateKey_file(context->ssl, key, SSL_FILETYPE_PEM) != 1)
		return tls_error(err, "key", key);
	if (SSL_CTX_check_private_key(context->ssl) != 1)
		return tls_error(err, "key does not belong to the certificate", key);
	return 0;
}

int tls_server_new(const char *certificate, const char *key, const char *ca, bool verify,
		   struct tls_context **ret, struct error *err)
{
	autoptr(tls_context_free) struct tls_context *context = context_new(TLS_server_method());
	int r;

	if (!context)
		return error_nomem(err);
	r = use_certificate(context, certificate, key, err);
	if (r < 0)
		return r;
	if (ca && SSL_CTX_load_verify_locations(context->ssl, ca, NULL) != 1)
		return tls_error(err, "CA", ca);
	if (ca && verify)
		SSL_CTX_set_client_CA_list(context->ssl, SSL_load_client_CA_file(ca));
	if (verify)
		SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
	/* Without it, resumption with client certificates fails. */
	SSL_CTX_set_session_id_context(context->ssl, (const unsigned char *)"hyperd", 6);
	*ret = steal(context);
	return 0;
}

int tls_client_new(const char *certificate, const char *key, const char *ca, bool verify,
		   struct tls_context **ret, struct error *err)
{
	autoptr(tls_context_free) struct tls_context *context = context_new(TLS_client_method());
	int r = 0;

	if (!context)
		return error_nomem(err);
	if (ca ? SSL_CTX_load_verify_locations(context->ssl, ca, NULL) != 1
	       : SSL_CTX_set_default_verify_paths(context->ssl) != 1)
		return tls_error(err, "CA", ca ? ca : "of the system");
	if (verify)
		SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
	if (certificate && key)
		r = use_certificate(context, certificate, key, err);
	if (r == 0)
		*ret = steal(context);
	return r;
}

void tls_context_free(struct tls_context *context)
{
	if (!context)
		return;
	SSL_CTX_free(context->ssl);
	free(context);
}

/* ------------------------------------------------------------------ streams */

/* A stream is OpenSSL's own object. */
static SSL *ssl_of(struct tls_stream *stream)
{
	return (SSL *)stream;
}

static SSL *stream_new(struct tls_context *context, int fd)
{
	SSL *ssl = SSL_new(context->ssl);

	if (ssl && SSL_set_fd(ssl, fd) == 1)
		return ssl;
	SSL_free(ssl);
	return NULL;
}

struct tls_stream *tls_accept(struct tls_context *context, int fd)
{
	SSL *ssl = stream_new(context, fd);

	if (ssl)
		SSL_set_accept_state(ssl);
	return (struct tls_stream *)ssl;
}

static bool is_address(const char *server)
{
	uint8_t address[16];

	return inet_pton(AF_INET, server, address) == 1 ||
	       inet_pton(AF_INET6, server, address) == 1;
}

struct tls_stream *tls_connect(struct tls_context *context, int fd, const char *server)
{
	SSL *ssl = stream_new(context, fd);
	bool fine;

	if (!ssl)
		return NULL;
	SSL_set_connect_state(ssl);
	if (is_address(server))
		fine = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server) == 1;
	else
		fine = SSL_set1_host(ssl, server) == 1 &&
		       SSL_set_tlsext_host_name(ssl, server) == 1;
	if (!fine) {
		SSL_free(ssl);
		ssl = NULL;
	}
	return (struct tls_stream *)ssl;
}

void tls_stream_free(struct tls_stream *stream)
{
	SSL_free(ssl_of(stream));
}

static ssize_t result(struct tls_stream *stream, int n, uint32_t *ret_wait)
{
	switch (SSL_get_error(ssl_of(stream), n)) {
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

static int int_len(size_t len)
{
	return len > INT32_MAX ? INT32_MAX : (int)len;
}

ssize_t tls_read(struct tls_stream *stream, void *data, size_t len, uint32_t *ret_wait)
{
	int n;

	ERR_clear_error();
	n = SSL_read(ssl_of(stream), data, int_len(len));
	return n > 0 ? n : result(stream, n, ret_wait);
}

ssize_t tls_write(struct tls_stream *stream, const void *data, size_t len, uint32_t *ret_wait)
{
	ssize_t r;
	int n;

	ERR_clear_error();
	n = SSL_write(ssl_of(stream), data, int_len(len));
	if (n > 0)
		return n;
	r = result(stream, n, ret_wait);
	return r == 0 ? -EPIPE : r;
}

int tls_handshake(struct tls_stream *stream, uint32_t *ret_wait, struct error *err)
{
	const char *reason = "the other side ended the connection";
	unsigned long code;
	long verified;
	int n, e;

	ERR_clear_error();
	n = SSL_do_handshake(ssl_of(stream));
	if (n == 1)
		return 0;
	e = SSL_get_error(ssl_of(stream), n);
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
		*ret_wait = e == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT;
		return -EAGAIN;
	}
	code = ERR_peek_last_error();
	if (code && ERR_reason_error_string(code))
		reason = ERR_reason_error_string(code);
	verified = SSL_get_verify_result(ssl_of(stream));
	if (verified != X509_V_OK)
		reason = X509_verify_cert_error_string(verified);
	error_set(err, ERROR_FAILED, "TLS: %s", reason);
	ERR_clear_error();
	return -ECONNRESET;
}

void tls_end(struct tls_stream *stream)
{
	ERR_clear_error();
	SSL_shutdown(ssl_of(stream));
}
