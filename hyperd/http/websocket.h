#pragma once
/*
 * WebSocket (RFC 6455) on a hijacked connection: Docker's attach/ws. Binary messages carry bytes in
 * both directions; message boundaries mean nothing.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hyperd/http/http.h"

/* The most that a frame's header takes. */
#define HTTP_WEBSOCKET_HEADER_BYTES  10
#define HTTP_WEBSOCKET_CONTROL_BYTES 125 /* RFC 6455, 5.5 */

struct http_websocket {
	unsigned char header[14];
	size_t header_len;
	uint64_t left; /* of the frame's payload */
	unsigned opcode;
	unsigned char mask[4], control[HTTP_WEBSOCKET_CONTROL_BYTES];
	size_t mask_at, control_len;
	bool in_payload, closed;
};

/* Checks the request and ends HTTP with 101. */
int http_websocket_accept(struct http_request *request, struct error *err);
/* The header of a message of LEN bytes; returns its length. */
size_t http_websocket_header(unsigned char header[HTTP_WEBSOCKET_HEADER_BYTES], size_t len);
/*
 * Decodes what came from the client: at most LEN bytes of payload to OUT. Pings are answered.
 * Returns how many, or -EPROTO; ws->closed is set once the client has closed.
 */
ssize_t http_websocket_decode(struct http_websocket *ws, struct http_request *request,
			      const unsigned char *in, size_t len, unsigned char *out);
/* Task: tells the client that nothing follows. */
void http_websocket_close(struct http_request *request);
