#include "hyperd/http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "hyperd/http/internal.h"

struct http_tls {
	SSL_CTX *context; /* owned */
};

static int tls_error(struct error *err, const char *what, const char *path)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);
	int r = error_set(err, ERROR_INVALID, "TLS: %s '%s': %s", what, path,
			  reason ? reason : "failed");

	ERR_clear_error();
	return r;
}

int http_tls_new(const char *certificate, const char *key, const char *ca, bool verify,
		 struct http_tls **ret, struct error *err)
{
	autoptr(http_tls_free) struct http_tls *tls = calloc(1, sizeof(*tls));

	if (!tls || !(tls->context = SSL_CTX_new(TLS_server_method())))
		return error_nomem(err);
	SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
	SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(tls->context,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (SSL_CTX_use_certificate_chain_file(tls->context, certificate) != 1)
		return tls_error(err, "certificate", certificate);
	if (SSL_CTX_use_PrivateKey_file(tls->context, key, SSL_FILETYPE_PEM) != 1)
		return tls_error(err, "key", key);
	if (SSL_CTX_check_private_key(tls->context) != 1)
		return tls_error(err, "key does not belong to the certificate", key);
	if (ca && SSL_CTX_load_verify_locations(tls->context, ca, NULL) != 1)
		return tls_error(err, "CA", ca);
	if (ca && verify)
		SSL_CTX_set_client_CA_list(tls->context, SSL_load_client_CA_file(ca));
	if (verify)
		SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
				   NULL);
	/* Without it, resumption with client certificates fails. */
	SSL_CTX_set_session_id_context(tls->context, (const unsigned char *)"hyperd", 6);
	*ret = steal(tls);
	return 0;
}

void http_tls_free(struct http_tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->context);
	free(tls);
}

void *http_tls_accept(struct http_tls *tls, int fd)
{
	SSL *ssl = SSL_new(tls->context);

	if (!ssl || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return ssl;
}

void http_tls_end(void *ssl)
{
	SSL_free(ssl);
}
