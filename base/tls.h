#pragma once
/*
 * TLS over a descriptor that the caller waits for: contexts for servers and clients, and streams
 * that say what to wait for instead of blocking. Host programs only.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

struct tls_context;
struct tls_stream;

/*
 * Paths of PEM files. A server with VERIFY takes only clients whose certificate was signed by CA,
 * which may be NULL without it.
 */
int tls_server_new(const char *certificate, const char *key, const char *ca, bool verify,
		   struct tls_context **ret, struct error *err);
/* CA NULL: the system's; CERTIFICATE and KEY may be NULL. Without VERIFY any server is taken. */
int tls_client_new(const char *certificate, const char *key, const char *ca, bool verify,
		   struct tls_context **ret, struct error *err);
void tls_context_free(struct tls_context *context);
DEFINE_CLEANUP(tls_context_free, struct tls_context *);

/* FD is borrowed. The handshake comes with the first reading or writing. NULL: no memory. */
struct tls_stream *tls_accept(struct tls_context *context, int fd);
/* SERVER: the name or address that the server's certificate must bear. */
struct tls_stream *tls_connect(struct tls_context *context, int fd, const char *server);
/* Takes NULL. */
void tls_stream_free(struct tls_stream *stream);
/*
 * How much was read (0: the other side has ended) or written; -EAGAIN when *ret_wait, EPOLLIN or
 * EPOLLOUT, must come first; -ECONNRESET otherwise.
 */
ssize_t tls_read(struct tls_stream *stream, void *data, size_t len, uint32_t *ret_wait);
ssize_t tls_write(struct tls_stream *stream, const void *data, size_t len, uint32_t *ret_wait);
/* 0, -EAGAIN with *ret_wait, or an error that says why. */
int tls_handshake(struct tls_stream *stream, uint32_t *ret_wait, struct error *err);
/* Tells the other side that nothing follows. */
void tls_end(struct tls_stream *stream);
