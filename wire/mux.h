#pragma once
/*
 * The multiplexer: control messages and streams over one byte channel, both sides alike. It does no
 * input or output itself: its owner feeds it what was read (mux_input) and writes what it has
 * (mux_output), so it is tested and fuzzed without any channel.
 *
 * Streams are byte pipes, each way independent, with credit: a sender keeps every byte until the
 * receiver has acknowledged it and never has more than MUX_WINDOW_BYTES outstanding. So a reader
 * that stops holds up its own stream only, no byte is dropped, and after a lost connection exactly
 * the unacknowledged bytes are sent again.
 *
 * A receiver acknowledges when a byte is safe where it belongs (written into a container's pipe,
 * into a log file), not when it arrives. Single-threaded; memory for a stream grows with what is
 * outstanding.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/str.h"
#include "wire/frame.h"

#define MUX_WINDOW_BYTES (512u * 1024)
/* Largest control message; larger ones are a protocol error. */
#define MUX_MAX_MESSAGE (1u << 20)
/* Streams that one side may have open. */
#define MUX_MAX_STREAMS 4096

struct mux;
struct mux_stream;

enum mux_side { MUX_HOST, MUX_AGENT };

struct mux_stream_events {
	/*
	 * LEN bytes arrived. The receiver takes them all (there are never more than a window
	 * unacknowledged) and acknowledges them with mux_stream_ack() now or later.
	 */
	void (*data)(struct mux_stream *stream, const uint8_t *data, size_t len);
	/* The other side will send no more; comes after all data. */
	void (*eof)(struct mux_stream *stream);
	/* There is room to send again, after mux_stream_send() took less than offered. */
	void (*writable)(struct mux_stream *stream);
	/* Everything sent so far has been acknowledged, the end of file included. May be NULL. */
	void (*drained)(struct mux_stream *stream);
	/* The other side gave the stream up; the owner closes it. ERRNUM positive. */
	void (*reset)(struct mux_stream *stream, int errnum);
};

struct mux_events {
	/* A whole control message (an Envelope), borrowed for the call. */
	void (*message)(struct mux *mux, const uint8_t *data, size_t len);
	/* mux_output() has something where it had nothing. */
	void (*output_ready)(struct mux *mux);
	/* A preamble: on the agent, a host has connected; on the host, the agent has answered our
	 * nonce. */
	void (*connected)(struct mux *mux);
	/*
	 * The other side broke the protocol (host only: the agent goes back to waiting for a
	 * preamble). No callback of the mux may free it.
	 */
	void (*broken)(struct mux *mux, const char *why);
};

int mux_new(enum mux_side side, const struct mux_events *events, void *owner, struct mux **ret);
/* Streams must have been closed. Takes NULL. */
void mux_free(struct mux *mux);
void *mux_owner(const struct mux *mux);

/*
 * Host: begins a connection: forgets pieces of old input and output, and queues the preamble with
 * NONCE; with TAKEOVER preceded by zero bytes. Nothing is delivered before the agent's answer. The
 * agent's side does the matching thing by itself when a preamble arrives.
 */
void mux_connect(struct mux *mux, const uint8_t nonce[PREAMBLE_NONCE_BYTES], bool takeover);

/*
 * The channel will not come back: calls `reset` of every stream that is open, whose owners close
 * them (now or later).
 */
void mux_reset_streams(struct mux *mux, int errnum);

/* The agent's owner knows that the host is gone: as if its preamble was to come. */
void mux_lost(struct mux *mux);

/* Feeds bytes read from the channel; calls back for what they complete. */
void mux_input(struct mux *mux, const uint8_t *data, size_t len);

/* The bytes to write next (*ret_len 0: none), valid until the next call on this mux; then how many
 * were written. */
const uint8_t *mux_output(struct mux *mux, size_t *ret_len);
void mux_output_done(struct mux *mux, size_t written);

/* Queues a control message; 0, -ENOMEM or -E2BIG. Control goes before data. */
int mux_send_message(struct mux *mux, const uint8_t *data, size_t len);
/* Bytes of control messages queued and not yet written. */
size_t mux_messages_queued(const struct mux *mux);

/*
 * Opens this side of stream ID (not 0; the host chooses ids). Both sides open a stream before
 * either uses it; a frame for a stream that is not open is ignored. SENT and RECEIVED are 0 except
 * in adoption: the offset from which this side will send, and up to which it has handled input. In
 * adoption the host opens, then calls mux_stream_ack(stream, 0) to tell the agent where to go on;
 * the agent's answer says how much of what an older host sent it has handled, and only then is
 * there room to send.
 */
int mux_stream_open(struct mux *mux, uint32_t id, const struct mux_stream_events *events,
		    void *owner, uint64_t sent, uint64_t received, struct mux_stream **ret);
/* Forgets the stream without a word; frees it. Takes NULL. May be called from its own callbacks. */
void mux_stream_close(struct mux_stream *stream);
/* Tells the other side that the stream is given up, then closes it. */
void mux_stream_reset(struct mux_stream *stream, int errnum);

void *mux_stream_owner(const struct mux_stream *stream);
uint32_t mux_stream_id(const struct mux_stream *stream);

/* Takes as much as the window allows; returns how many bytes, or -ENOMEM, or -EPIPE after
 * mux_stream_end(). */
ssize_t mux_stream_send(struct mux_stream *stream, const void *data, size_t len);
/* Room that mux_stream_send() would take now. */
size_t mux_stream_room(const struct mux_stream *stream);
/* Ends this side's sending: the other side gets eof after the last byte. */
void mux_stream_end(struct mux_stream *stream);
/* N more received bytes have been handled. */
void mux_stream_ack(struct mux_stream *stream, size_t n);

/* Offsets: acknowledged by the other side; handled by this one. And whether all sent, with the end,
 * was acknowledged. */
uint64_t mux_stream_acknowledged(const struct mux_stream *stream);
uint64_t mux_stream_handled(const struct mux_stream *stream);
bool mux_stream_drained(const struct mux_stream *stream);
