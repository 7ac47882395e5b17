#include <stdlib.h>
#include <string.h>

#include "wire/mux.h"

/*
 * Both sides of the multiplexer against a liar. Input: the first byte is the side and how large
 * the pieces are; then messages as length, type and stream, offset, payload, which get the frames
 * that let them through. Type 0 is bytes as they are, type 7 what this side does by itself.
 */
#define STREAMS 3

struct side {
	struct mux *mux;
	struct mux_stream *streams[STREAMS];
	size_t unacknowledged[STREAMS];
	bool broken;
};

static size_t index_of(const struct side *side, const struct mux_stream *stream)
{
	for (size_t i = 0; i < STREAMS; i++)
		if (side->streams[i] == stream)
			return i;
	abort();
}

static void on_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	struct side *side = mux_stream_owner(stream);
	size_t i = index_of(side, stream);

	/* Credit: nobody can make this side hold more than a window. */
	side->unacknowledged[i] += len;
	if (!len || side->unacknowledged[i] > MUX_WINDOW_BYTES)
		abort();
	if (i == 0) {
		mux_stream_ack(stream, len);
		side->unacknowledged[i] = 0;
	}
}

static void on_event(struct mux_stream *stream)
{
	index_of(mux_stream_owner(stream), stream);
}

static void on_reset(struct mux_stream *stream, int errnum)
{
	struct side *side = mux_stream_owner(stream);

	if (errnum <= 0)
		abort();
	side->streams[index_of(side, stream)] = NULL;
	mux_stream_close(stream);
}

static const struct mux_stream_events stream_events = {
	.data = on_data,
	.eof = on_event,
	.writable = on_event,
	.drained = on_event,
	.reset = on_reset,
};

static void on_message(struct mux *mux, const uint8_t *data, size_t len)
{
	if (len > MUX_MAX_MESSAGE)
		abort();
	/* Read, so that a sanitizer sees what is not there. */
	for (size_t i = 0; i < len; i++)
		__asm__ volatile("" ::"r"(data[i]));
}

static void on_output(struct mux *mux)
{
}

static void on_broken(struct mux *mux, const char *why)
{
	struct side *side = mux_owner(mux);

	if (!why || side->broken)
		abort();
	side->broken = true;
}

static const struct mux_events events = { on_message, on_output, on_output, on_broken };

static void act(struct side *side, size_t i, uint8_t what, const uint8_t *data, size_t len)
{
	struct mux_stream *stream = side->streams[i % STREAMS];
	size_t outstanding = side->unacknowledged[i % STREAMS];

	if (!stream)
		return;
	if (what == 0) {
		mux_stream_send(stream, data, len);
	} else if (what == 1) {
		mux_stream_end(stream);
	} else if (what == 2 && outstanding) {
		side->unacknowledged[i % STREAMS] = 0;
		mux_stream_ack(stream, outstanding);
	} else if (what == 3) {
		side->streams[i % STREAMS] = NULL;
		mux_stream_reset(stream, 5);
	}
}

static void take_output(struct side *side)
{
	size_t len, n = 0;

	while (mux_output(side->mux, &len) && len && n++ < 1000)
		mux_output_done(side->mux, len > 777 ? 777 : len);
}

static void say(struct side *side, const uint8_t *data, size_t len, size_t piece)
{
	while (len && !side->broken) {
		size_t n = len < piece ? len : piece;
		uint8_t *copy = malloc(n);

		memcpy(copy, data, n);
		mux_input(side->mux, copy, n);
		free(copy);
		data += n;
		len -= n;
	}
}

static void say_frame(struct side *side, uint8_t type, uint8_t stream, uint8_t offset,
		      const uint8_t *data, size_t len, size_t piece)
{
	struct frame_header header = { .type = type & 7,
				       .flags = type >> 3 & 1,
				       .length = (uint32_t)len,
				       .stream = stream,
				       .offset = offset };
	uint8_t bytes[FRAME_HEADER + 256 + FRAME_TRAILER];

	frame_header_encode(&header, bytes);
	memcpy(bytes + FRAME_HEADER, data, len);
	frame_trailer_encode(&header, bytes + FRAME_HEADER + len);
	say(side, bytes, FRAME_HEADER + len + FRAME_TRAILER, piece);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nonce[PREAMBLE_NONCE_BYTES] = "0123456789abcde";
	uint8_t preamble[PREAMBLE_BYTES];
	struct side side = { 0 };
	size_t piece;

	if (!size || mux_new(data[0] & 1 ? MUX_HOST : MUX_AGENT, &events, &side, &side.mux) < 0)
		return 0;
	piece = (size_t)(data[0] >> 1) + 1;
	if (data[0] & 1)
		mux_connect(side.mux, nonce, data[0] & 2);
	memcpy(preamble, PREAMBLE_MAGIC, PREAMBLE_MAGIC_BYTES);
	memcpy(preamble + PREAMBLE_MAGIC_BYTES, nonce, sizeof(nonce));
	say(&side, preamble, sizeof(preamble), piece);
	for (uint32_t i = 0; i < STREAMS; i++)
		mux_stream_open(side.mux, i + 1, &stream_events, &side, 0, 0, &side.streams[i]);
	data++;
	size--;
	while (size >= 4 && !side.broken) {
		size_t len = data[0] < size - 4 ? data[0] : size - 4;

		if ((data[1] & 7) == 0)
			say(&side, data + 4, len, piece);
		else if ((data[1] & 7) == 7)
			act(&side, data[2], data[3] & 3, data + 4, len);
		else
			say_frame(&side, data[1], data[2], data[3], data + 4, len, piece);
		take_output(&side);
		data += 4 + len;
		size -= 4 + len;
	}
	for (size_t i = 0; i < STREAMS; i++)
		mux_stream_close(side.streams[i]);
	mux_free(side.mux);
	return 0;
}
