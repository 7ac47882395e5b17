#include "hyperd/http/websocket.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

#include "hyperd/http/internal.h"

#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_BYTES   24 /* 16 bytes in base64 */

enum opcode {
	OPCODE_CONTINUATION,
	OPCODE_TEXT,
	OPCODE_BINARY,
	OPCODE_CLOSE = 8,
	OPCODE_PING,
	OPCODE_PONG
};

int http_websocket_accept(struct http_request *request, struct error *err)
{
	const char *upgrade = http_header(request, "Upgrade");
	const char *key = http_header(request, "Sec-WebSocket-Key");
	const char *version = http_header(request, "Sec-WebSocket-Version");
	unsigned char digest[SHA_DIGEST_LENGTH], accept[32];
	char text[KEY_BYTES + sizeof(ACCEPT_GUID)];
	autostr struct str head = STR_INIT;

	if (!upgrade || strcasecmp(upgrade, "websocket") || !key || strlen(key) != KEY_BYTES)
		return error_set(err, ERROR_INVALID,
				 "expected a WebSocket handshake (Upgrade: websocket, "
				 "Sec-WebSocket-Key)");
	if (!version || strcmp(version, "13"))
		return error_set(err, ERROR_INVALID, "expected Sec-WebSocket-Version: 13");
	snprintf(text, sizeof(text), "%s" ACCEPT_GUID, key);
	SHA1((unsigned char *)text, strlen(text), digest);
	EVP_EncodeBlock(accept, digest, sizeof(digest));
	str_addf(&head,
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: %s\r\n\r\n",
		 (char *)accept);
	return http_hijack_head(request, 101, &head, err);
}

size_t http_websocket_header(unsigned char header[HTTP_WEBSOCKET_HEADER_BYTES], size_t len)
{
	size_t bytes = len < 126 ? 0 : len < 65536 ? 2 : 8;

	header[0] = 0x80 | OPCODE_BINARY;
	header[1] = (unsigned char)(bytes == 0 ? len : bytes == 2 ? 126 : 127);
	for (size_t i = 0; i < bytes; i++)
		header[2 + i] = (unsigned char)((uint64_t)len >> 8 * (bytes - 1 - i));
	return 2 + bytes;
}

void http_websocket_close(struct http_request *request)
{
	static const unsigned char frame[] = { 0x80 | OPCODE_CLOSE, 0 };

	http_hijack_write(request, frame, sizeof(frame), "", 0);
}

/* How long the header is that begins with these bytes; 2 while that is not known. */
static size_t header_length(const struct http_websocket *ws)
{
	unsigned len = ws->header[1] & 0x7f;

	if (ws->header_len < 2)
		return 2;
	return 2 + (len == 126 ? 2 : len == 127 ? 8 : 0) + 4;
}

static int header_end(struct http_websocket *ws)
{
	unsigned len = ws->header[1] & 0x7f;
	size_t bytes = len == 126 ? 2 : len == 127 ? 8 : 0;

	/* Reserved bits, and a client that does not mask (RFC 6455, 5.1). */
	if ((ws->header[0] & 0x70) || !(ws->header[1] & 0x80))
		return -EPROTO;
	ws->opcode = ws->header[0] & 0x0f;
	ws->left = bytes ? 0 : len;
	for (size_t i = 0; i < bytes; i++)
		ws->left = ws->left << 8 | ws->header[2 + i];
	memcpy(ws->mask, ws->header + 2 + bytes, 4);
	ws->mask_at = ws->control_len = 0;
	if (ws->opcode > OPCODE_PONG || (ws->opcode > OPCODE_BINARY && ws->opcode < OPCODE_CLOSE))
		return -EPROTO;
	if (ws->opcode >= OPCODE_CLOSE &&
	    (ws->left > HTTP_WEBSOCKET_CONTROL_BYTES || !(ws->header[0] & 0x80)))
		return -EPROTO;
	ws->in_payload = true;
	return 0;
}

static void frame_end(struct http_websocket *ws, struct http_request *request)
{
	const unsigned char pong[] = { 0x80 | OPCODE_PONG, (unsigned char)ws->control_len };

	if (ws->opcode == OPCODE_CLOSE)
		ws->closed = true;
	if (ws->opcode == OPCODE_PING)
		http_hijack_push(request, pong, sizeof(pong), ws->control, ws->control_len);
	ws->in_payload = false;
	ws->header_len = 0;
}

ssize_t http_websocket_decode(struct http_websocket *ws, struct http_request *request,
			      const unsigned char *in, size_t len, unsigned char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len && !ws->closed; i++) {
		unsigned char byte;

		if (!ws->in_payload) {
			ws->header[ws->header_len++] = in[i];
			if (ws->header_len < header_length(ws))
				continue;
			if (header_end(ws) < 0)
				return -EPROTO;
			if (!ws->left)
				frame_end(ws, request);
			continue;
		}
		byte = in[i] ^ ws->mask[ws->mask_at++ & 3];
		if (ws->opcode >= OPCODE_CLOSE)
			ws->control[ws->control_len++] = byte;
		else
			out[n++] = byte;
		if (--ws->left == 0)
			frame_end(ws, request);
	}
	return (ssize_t)n;
}
