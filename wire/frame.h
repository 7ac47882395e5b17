#pragma once
/*
 * Frames: how the channel's bytes are cut. The channel is any reliable byte stream (a virtio-serial
 *port, a unix socket, a Xen console); it can lose its connection when hyperd dies, in the middle of
 *a frame on either side, and neither side may trust it to say so. Therefore:
 *
 *   - a connection begins with a PREAMBLE from the host: at least FRAME_MAX_BYTES zero bytes when
 *it takes over an older connection (they complete whatever frame was cut), then PREAMBLE_MAGIC and
 *a 16-byte nonce. The agent answers with the same preamble. Each side throws away what comes before
 *it.
 *   - each frame is header, payload, trailer; a wrong header check or trailer sends the reader back
 *to looking for a preamble.
 *
 * Header, 24 bytes, little endian:
 *	0  u8   FRAME_MARK
 *	1  u8   type
 *	2  u16  flags
 *	4  u32  payload length, at most FRAME_MAX_PAYLOAD
 *	8  u32  stream (0 for CONTROL)
 *	12 u32  check: the other header fields, mixed
 *	16 u64  offset: DATA, the stream offset of the first byte; ACK, bytes handled so far; EOF,
 *the final offset; RESET, a positive errno Trailer: u32, the check with all bits inverted.
 *
 * docs/protocol.md is the full description.
 */
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION 1

#define FRAME_MARK        0xb7
#define FRAME_HEADER      24
#define FRAME_TRAILER     4
#define FRAME_MAX_PAYLOAD 65536u
#define FRAME_MAX_BYTES   (FRAME_HEADER + FRAME_MAX_PAYLOAD + FRAME_TRAILER)

#define PREAMBLE_MAGIC       "HyperChannel\r\n\0\x01"
#define PREAMBLE_MAGIC_BYTES 16
#define PREAMBLE_NONCE_BYTES 16
#define PREAMBLE_BYTES       (PREAMBLE_MAGIC_BYTES + PREAMBLE_NONCE_BYTES)

enum frame_type {
	FRAME_CONTROL = 1, /* a piece of an Envelope; FRAME_MORE on all but its last piece */
	FRAME_DATA,
	FRAME_ACK,   /* the receiver has handled all bytes before `offset`, the end counting as one
			more byte */
	FRAME_EOF,   /* the sender will send no more */
	FRAME_RESET, /* this stream is over, both ways, and what is under way is thrown away */
	FRAME_TYPE_END,
};

#define FRAME_MORE 0x0001

struct frame_header {
	enum frame_type type;
	uint16_t flags;
	uint32_t length;
	uint32_t stream;
	uint64_t offset;
};

/* Writes FRAME_HEADER bytes. */
void frame_header_encode(const struct frame_header *header, uint8_t *out);
/* Writes FRAME_TRAILER bytes. */
void frame_trailer_encode(const struct frame_header *header, uint8_t *out);
/* Reads FRAME_HEADER bytes: 0, or -EBADMSG when they are no valid header. */
int frame_header_decode(const uint8_t *in, struct frame_header *ret);
/* 0, or -EBADMSG. */
int frame_trailer_check(const struct frame_header *header, const uint8_t *in);
