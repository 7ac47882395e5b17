#pragma once
/*
 * TLS for TCP listeners, as dockerd's --tls and --tlsverify have it: a server certificate, and with
 * VERIFY only clients whose certificate was signed by CA.
 */
#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"

struct http_tls;

/* Paths of PEM files; CA may be NULL without VERIFY. */
int http_tls_new(const char *certificate, const char *key, const char *ca, bool verify,
		 struct http_tls **ret, struct error *err);
void http_tls_free(struct http_tls *tls);
DEFINE_CLEANUP(http_tls_free, struct http_tls *);
