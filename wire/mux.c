#include "wire/mux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* Bytes of frames made ahead of writing: enough to keep the channel busy, little enough to let
 * control overtake. */
#define OUTPUT_AHEAD 131072u

enum reader_state {
	READ_PREAMBLE, /* looking for the magic */
	READ_NONCE,
	READ_HEADER,
	READ_PAYLOAD,
	READ_TRAILER,
};

struct mux {
	enum mux_side side;
	const struct mux_events *events; /* borrowed */
	void *owner;
	bool connected;

	/* Reading. PIECE collects a header, nonce or trailer; FRAME the payload of the frame being
	 * read. */
	enum reader_state state;
	uint8_t piece[FRAME_HEADER], last16[PREAMBLE_MAGIC_BYTES];
	size_t have;
	uint8_t nonce[PREAMBLE_NONCE_BYTES];
	struct frame_header header;
	struct str frame, message;

	/* Writing. OUTPUT holds frames ready to go, CONTROL those that go next. */
	struct str output, control;
	size_t output_at;
	struct list sending; /* of mux_stream.sending_node: streams that have something to say */

	struct list streams;
	unsigned stream_count;
	struct mux_stream *called; /* whose callbacks run; NULL once they have closed it */
};

struct mux_stream {
	struct mux *mux; /* borrowed */
	struct list node, sending_node;
	const struct mux_stream_events *events; /* borrowed */
	void *owner;
	uint32_t id;

	/*
	 * Sending: bytes [acknowledged, acknowledged + kept.len) are kept; those before `sent` are
	 * under way. HELD: a new host has not told yet where to go on.
	 */
	struct str kept;
	uint64_t acknowledged, sent;
	/*
	 * What the other side says it has handled; the window counts from there. It is less than
	 * `acknowledged` only after an adoption: what an older host sent is the agent's already,
	 * but may still wait there. Unknown until it says so.
	 */
	uint64_t handled_there;
	bool handled_there_known;
	bool ended, end_sent, end_acknowledged, wants_room, held;

	/* Receiving. */
	uint64_t received, handled, ack_told;
	bool eof_received, ack_wanted;
};

static void stream_wants_to_send(struct mux_stream *s);

int mux_new(enum mux_side side, const struct mux_events *events, void *owner, struct mux **ret)
{
	struct mux *mux = calloc(1, sizeof(*mux));

	if (!mux)
		return -ENOMEM;
	mux->side = side;
	mux->events = events;
	mux->owner = owner;
	list_init(&mux->streams);
	list_init(&mux->sending);
	*ret = mux;
	return 0;
}

void mux_free(struct mux *mux)
{
	if (!mux)
		return;
	mux->connected = false; /* nothing is said any more */
	while (!list_empty(&mux->streams))
		mux_stream_close(container_of(mux->streams.next, struct mux_stream, node));
	str_done(&mux->frame);
	str_done(&mux->message);
	str_done(&mux->output);
	str_done(&mux->control);
	free(mux);
}

void *mux_owner(const struct mux *mux)
{
	return mux->owner;
}

static struct mux_stream *find_stream(struct mux *mux, uint32_t id)
{
	struct mux_stream *s;

	list_for_each_entry(s, &mux->streams, node) {
		if (s->id == id)
			return s;
	}
	return NULL;
}

static uint64_t end_offset(const struct mux_stream *s)
{
	return s->acknowledged + s->kept.len;
}

static bool has_output(const struct mux *mux)
{
	return mux->output_at < mux->output.len || mux->control.len ||
	       (mux->connected && !list_empty(&mux->sending));
}

/* Runs a change that may give the channel something to write, and says so once. */
#define NOTING_OUTPUT(mux, change)                        \
	do {                                              \
		bool had_ = has_output(mux);              \
		change;                                   \
		if (!had_ && has_output(mux))             \
			(mux)->events->output_ready(mux); \
	} while (0)

static void add_frame(struct str *to, const struct frame_header *header, const void *payload)
{
	uint8_t bytes[FRAME_HEADER];

	frame_header_encode(header, bytes);
	str_append(to, bytes, FRAME_HEADER);
	str_append(to, payload, header->length);
	frame_trailer_encode(header, bytes);
	str_append(to, bytes, FRAME_TRAILER);
}

/* ------------------------------------------------------------------ connections */

/* What a lost connection leaves: nothing half read, nothing half written, unacknowledged bytes to
 * be sent again. */
static void forget_connection(struct mux *mux)
{
	struct mux_stream *s;

	mux->connected = false;
	mux->state = READ_PREAMBLE;
	mux->have = 0;
	memset(mux->last16, 0, sizeof(mux->last16));
	str_clear(&mux->frame);
	str_clear(&mux->message);
	str_clear(&mux->output);
	str_clear(&mux->control);
	mux->output_at = 0;
	list_for_each_entry(s, &mux->streams, node) {
		s->sent = s->acknowledged;
		s->end_sent = s->end_acknowledged;
		s->held = mux->side == MUX_AGENT;
		s->ack_wanted = false;
		list_remove(&s->sending_node);
	}
}

void mux_lost(struct mux *mux)
{
	forget_connection(mux);
}

static void add_preamble(struct mux *mux)
{
	str_append(&mux->output, PREAMBLE_MAGIC, PREAMBLE_MAGIC_BYTES);
	str_append(&mux->output, mux->nonce, PREAMBLE_NONCE_BYTES);
}

void mux_connect(struct mux *mux, const uint8_t nonce[PREAMBLE_NONCE_BYTES], bool takeover)
{
	static const uint8_t zeros[1024];

	forget_connection(mux);
	memcpy(mux->nonce, nonce, PREAMBLE_NONCE_BYTES);
	for (size_t n = 0; takeover && n < FRAME_MAX_BYTES; n += sizeof(zeros))
		str_append(&mux->output, zeros, sizeof(zeros));
	add_preamble(mux);
	mux->events->output_ready(mux);
}

/* The agent: whoever sends a preamble is the host now. The host: the agent has seen ours. */
static void preamble_read(struct mux *mux, const uint8_t *nonce)
{
	if (mux->side == MUX_HOST) {
		if (memcmp(nonce, mux->nonce, PREAMBLE_NONCE_BYTES) != 0) {
			mux->state = READ_PREAMBLE; /* an older connection's */
			return;
		}
	} else {
		forget_connection(mux);
		memcpy(mux->nonce, nonce, PREAMBLE_NONCE_BYTES);
		add_preamble(mux);
	}
	mux->state = READ_HEADER;
	mux->connected = true;
	mux->events->connected(mux);
	if (has_output(mux))
		mux->events->output_ready(mux);
}

/* Out of step. An agent waits for the next host; a host that is lied to gives the agent up. */
static void broken(struct mux *mux, const char *why)
{
	trace(wire, "out of step: %s", why);
	mux->state = READ_PREAMBLE;
	mux->have = 0;
	memset(mux->last16, 0, sizeof(mux->last16));
	str_clear(&mux->message);
	if (mux->side == MUX_HOST && mux->connected) {
		mux->connected = false;
		mux->events->broken(mux, why);
	}
}

/* ------------------------------------------------------------------ reading */

static void control_read(struct mux *mux)
{
	if (mux->message.len + mux->header.length > MUX_MAX_MESSAGE) {
		broken(mux, "control message too long");
		return;
	}
	str_append(&mux->message, mux->frame.data, mux->header.length);
	if (mux->message.failed) {
		str_done(&mux->message);
		broken(mux, "out of memory");
		return;
	}
	if (mux->header.flags & FRAME_MORE)
		return;
	/* The callback may begin a new connection; it must not see its message vanish. */
	struct str message = mux->message;

	mux->message = (struct str)STR_INIT;
	mux->events->message(mux, (const uint8_t *)str_text(&message), message.len);
	str_done(&message);
}

static void data_read(struct mux_stream *s)
{
	const struct frame_header *h = &s->mux->header;

	/* After a lost connection, what was received but not yet acknowledged comes again. */
	uint64_t known = s->received - h->offset, fresh;

	if (h->offset > s->received) {
		broken(s->mux, "stream data out of order");
		return;
	}
	if (known >= h->length)
		return;
	fresh = h->length - known;
	if (s->eof_received || s->received + fresh - s->handled > MUX_WINDOW_BYTES) {
		broken(s->mux, "stream data beyond the window or the end");
		return;
	}
	s->received += fresh;
	s->events->data(s, (const uint8_t *)s->mux->frame.data + known, (size_t)fresh);
}

static void ack_read(struct mux_stream *s)
{
	struct mux *mux = s->mux;
	uint64_t upto = s->mux->header.offset, limit = s->held ? end_offset(s) : s->sent;
	bool was_held = s->held, end = false;

	/* To a host that has not ended the stream it says that an older one has. */
	if (upto == end_offset(s) + 1 && s->sent == end_offset(s))
		end = s->end_sent || s->mux->side == MUX_HOST;
	if (end)
		s->ended = s->end_sent = true;
	upto -= end;
	if ((s->held && upto < s->acknowledged) || upto > limit) {
		broken(s->mux, "acknowledgement of what was not sent");
		return;
	}
	if (upto > s->handled_there)
		s->handled_there = upto;
	s->handled_there_known = true;
	if (upto > s->acknowledged) {
		str_consume(&s->kept, (size_t)(upto - s->acknowledged));
		s->acknowledged = upto;
	}
	if (s->held) {
		s->held = false;
		s->sent = upto;
		s->end_sent = s->end_acknowledged = false;
		s->ack_wanted = true; /* the new host does not know how far this side is */
	}
	if (end)
		s->end_acknowledged = true;
	if (s->sent < end_offset(s) || (s->ended && !s->end_sent) || was_held)
		stream_wants_to_send(s);

	mux->called = s;
	if (s->wants_room && mux_stream_room(s) && !s->ended) {
		s->wants_room = false;
		s->events->writable(s);
	}
	if (mux->called && mux_stream_drained(s) && s->events->drained)
		s->events->drained(s);
	mux->called = NULL;
}

static void eof_read(struct mux_stream *s)
{
	if (s->mux->header.offset != s->received) {
		broken(s->mux, "end of file at the wrong place");
		return;
	}
	if (s->eof_received)
		return;
	s->eof_received = true;
	if (s->handled == s->received) {
		s->ack_wanted = true;
		stream_wants_to_send(s);
	}
	s->events->eof(s);
}

static void frame_read(struct mux *mux)
{
	struct mux_stream *s;

	if (mux->header.type == FRAME_CONTROL) {
		control_read(mux);
		return;
	}
	s = find_stream(mux, mux->header.stream);
	if (!s) {
		trace(wire, "frame of type %d for stream %u, which is not open", mux->header.type,
		      mux->header.stream);
		return;
	}
	switch (mux->header.type) {
	case FRAME_DATA:
		data_read(s);
		break;
	case FRAME_ACK:
		ack_read(s);
		break;
	case FRAME_EOF:
		eof_read(s);
		break;
	case FRAME_RESET:
		s->events->reset(s, mux->header.offset && mux->header.offset < 4096
					    ? (int)mux->header.offset
					    : EPIPE);
		break;
	default:
		break;
	}
}

/* Collects WANT bytes in mux->piece; returns whether they are there. */
static bool collect(struct mux *mux, size_t want, const uint8_t **data, size_t *len)
{
	size_t n = want - mux->have < *len ? want - mux->have : *len;

	memcpy(mux->piece + mux->have, *data, n);
	mux->have += n;
	*data += n;
	*len -= n;
	if (mux->have < want)
		return false;
	mux->have = 0;
	return true;
}

static void look_for_preamble(struct mux *mux, const uint8_t **data, size_t *len)
{
	while (*len) {
		memmove(mux->last16, mux->last16 + 1, PREAMBLE_MAGIC_BYTES - 1);
		mux->last16[PREAMBLE_MAGIC_BYTES - 1] = *(*data)++;
		--*len;
		if (memcmp(mux->last16, PREAMBLE_MAGIC, PREAMBLE_MAGIC_BYTES) == 0) {
			mux->state = READ_NONCE;
			mux->have = 0;
			return;
		}
	}
}

/* A header that is none may be the beginning of a preamble: its bytes are looked at again. */
static void header_wrong(struct mux *mux)
{
	uint8_t again[FRAME_HEADER];
	const uint8_t *p = again;
	size_t n = FRAME_HEADER;

	memcpy(again, mux->piece, FRAME_HEADER);
	broken(mux, "bad frame header");
	look_for_preamble(mux, &p, &n);
	if (mux->state == READ_NONCE) {
		memcpy(mux->piece, p, n);
		mux->have = n;
	}
}

void mux_input(struct mux *mux, const uint8_t *data, size_t len)
{
	while (len) {
		switch (mux->state) {
		case READ_PREAMBLE:
			look_for_preamble(mux, &data, &len);
			break;
		case READ_NONCE:
			if (collect(mux, PREAMBLE_NONCE_BYTES, &data, &len)) {
				uint8_t nonce[PREAMBLE_NONCE_BYTES];

				memcpy(nonce, mux->piece, sizeof(nonce));
				preamble_read(mux, nonce);
			}
			break;
		case READ_HEADER:
			if (!collect(mux, FRAME_HEADER, &data, &len))
				break;
			if (frame_header_decode(mux->piece, &mux->header) < 0) {
				header_wrong(mux);
				break;
			}
			str_clear(&mux->frame);
			mux->state = mux->header.length ? READ_PAYLOAD : READ_TRAILER;
			break;
		case READ_PAYLOAD: {
			size_t left = mux->header.length - mux->frame.len;
			size_t n = left < len ? left : len;

			str_append(&mux->frame, data, n);
			data += n;
			len -= n;
			if (mux->frame.failed) {
				str_done(&mux->frame);
				broken(mux, "out of memory");
			} else if (n == left) {
				mux->state = READ_TRAILER;
			}
			break;
		}
		case READ_TRAILER:
			if (!collect(mux, FRAME_TRAILER, &data, &len))
				break;
			if (frame_trailer_check(&mux->header, mux->piece) < 0) {
				broken(mux, "bad frame trailer");
				break;
			}
			mux->state = READ_HEADER;
			frame_read(mux);
			break;
		}
	}
}

/* ------------------------------------------------------------------ writing */

static bool stream_has_output(const struct mux_stream *s)
{
	return s->ack_wanted ||
	       (!s->held && (s->sent < end_offset(s) || (s->ended && !s->end_sent)));
}

static void stream_wants_to_send(struct mux_stream *s)
{
	if (!list_empty(&s->sending_node) || !stream_has_output(s))
		return;
	NOTING_OUTPUT(s->mux, list_append(&s->mux->sending, &s->sending_node));
}

/* One turn of one stream: what it acknowledges, and at most one frame of data. */
static void stream_output(struct mux_stream *s)
{
	struct str *out = &s->mux->output;
	struct frame_header h = { .stream = s->id };
	uint64_t left;

	if (s->ack_wanted) {
		h.type = FRAME_ACK;
		/* The end counts as one more byte. */
		h.offset = s->handled + (s->eof_received && s->handled == s->received);
		add_frame(out, &h, NULL);
		s->ack_wanted = false;
		s->ack_told = s->handled;
	}
	if (s->held)
		return;
	left = end_offset(s) - s->sent;
	if (left) {
		h.type = FRAME_DATA;
		h.offset = s->sent;
		h.length = left < FRAME_MAX_PAYLOAD ? (uint32_t)left : FRAME_MAX_PAYLOAD;
		add_frame(out, &h, s->kept.data + (s->sent - s->acknowledged));
		s->sent += h.length;
	} else if (s->ended && !s->end_sent) {
		h.type = FRAME_EOF;
		h.offset = s->sent;
		add_frame(out, &h, NULL);
		s->end_sent = true;
	}
}

const uint8_t *mux_output(struct mux *mux, size_t *ret_len)
{
	struct list *node;

	if (mux->output_at == mux->output.len) {
		str_clear(&mux->output);
		mux->output_at = 0;
		if (mux->control.len) {
			struct str swap = mux->output;

			mux->output = mux->control;
			mux->control = swap;
		}
		while (mux->connected && mux->output.len < OUTPUT_AHEAD &&
		       (node = list_pop(&mux->sending))) {
			struct mux_stream *s = container_of(node, struct mux_stream, sending_node);

			stream_output(s);
			if (stream_has_output(s))
				list_append(&mux->sending, &s->sending_node);
		}
	}
	*ret_len = mux->output.len - mux->output_at;
	return *ret_len ? (const uint8_t *)mux->output.data + mux->output_at : NULL;
}

void mux_output_done(struct mux *mux, size_t written)
{
	mux->output_at += written;
}

int mux_send_message(struct mux *mux, const uint8_t *data, size_t len)
{
	if (len > MUX_MAX_MESSAGE)
		return -E2BIG;
	NOTING_OUTPUT(mux, {
		do {
			struct frame_header h = { .type = FRAME_CONTROL };

			h.length = len < FRAME_MAX_PAYLOAD ? (uint32_t)len : FRAME_MAX_PAYLOAD;
			h.flags = len > h.length ? FRAME_MORE : 0;
			add_frame(&mux->control, &h, data);
			data += h.length;
			len -= h.length;
		} while (len);
	});
	return mux->control.failed ? -ENOMEM : 0;
}

size_t mux_messages_queued(const struct mux *mux)
{
	return mux->control.len;
}

/* ------------------------------------------------------------------ streams */

int mux_stream_open(struct mux *mux, uint32_t id, const struct mux_stream_events *events,
		    void *owner, uint64_t sent, uint64_t received, struct mux_stream **ret)
{
	struct mux_stream *s;

	if (id == 0)
		return -EINVAL;
	if (find_stream(mux, id))
		return -EEXIST;
	if (mux->stream_count >= MUX_MAX_STREAMS)
		return -EMFILE;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->mux = mux;
	s->events = events;
	s->owner = owner;
	s->id = id;
	s->acknowledged = s->sent = sent;
	s->handled_there_known = sent == 0;
	s->received = s->handled = s->ack_told = received;
	list_init(&s->sending_node);
	list_append(&mux->streams, &s->node);
	mux->stream_count++;
	*ret = s;
	return 0;
}

/* An acknowledgement that waits for its turn goes out all the same: the sender may hold on to the
 * stream's last bytes until it has come. */
static void last_ack(struct mux_stream *s)
{
	struct frame_header h = {
		.type = FRAME_ACK,
		.stream = s->id,
		.offset = s->handled + (s->eof_received && s->handled == s->received),
	};

	if (s->ack_wanted && s->mux->connected)
		NOTING_OUTPUT(s->mux, add_frame(&s->mux->control, &h, NULL));
	s->ack_wanted = false;
}

void mux_stream_close(struct mux_stream *s)
{
	if (!s)
		return;
	last_ack(s);
	if (s->mux->called == s)
		s->mux->called = NULL;
	list_remove(&s->node);
	list_remove(&s->sending_node);
	s->mux->stream_count--;
	str_done(&s->kept);
	free(s);
}

void mux_stream_reset(struct mux_stream *s, int errnum)
{
	struct frame_header h = { .type = FRAME_RESET,
				  .stream = s->id,
				  .offset = (uint64_t)errnum };

	s->ack_wanted = false;
	NOTING_OUTPUT(s->mux, add_frame(&s->mux->control, &h, NULL));
	mux_stream_close(s);
}

void mux_reset_streams(struct mux *mux, int errnum)
{
	struct list told = LIST_INIT(told);
	struct list *node;

	/* A callback may close any stream, also others than its own: always begin again at the
	 * front. */
	while ((node = list_pop(&mux->streams))) {
		struct mux_stream *s = container_of(node, struct mux_stream, node);

		list_append(&told, &s->node);
		s->events->reset(s, errnum);
	}
	while ((node = list_pop(&told)))
		list_append(&mux->streams, node);
}

void *mux_stream_owner(const struct mux_stream *s)
{
	return s->owner;
}

uint32_t mux_stream_id(const struct mux_stream *s)
{
	return s->id;
}

size_t mux_stream_room(const struct mux_stream *s)
{
	uint64_t outstanding = end_offset(s) - s->handled_there;

	if (s->ended || !s->handled_there_known || outstanding >= MUX_WINDOW_BYTES)
		return 0;
	return MUX_WINDOW_BYTES - (size_t)outstanding;
}

ssize_t mux_stream_send(struct mux_stream *s, const void *data, size_t len)
{
	size_t room = mux_stream_room(s), n = len < room ? len : room;

	if (s->ended)
		return -EPIPE;
	if (n < len)
		s->wants_room = true;
	str_append(&s->kept, data, n);
	if (s->kept.failed) {
		s->kept.failed = false;
		return -ENOMEM;
	}
	stream_wants_to_send(s);
	return (ssize_t)n;
}

void mux_stream_end(struct mux_stream *s)
{
	s->ended = true;
	s->wants_room = false;
	stream_wants_to_send(s);
}

void mux_stream_ack(struct mux_stream *s, size_t n)
{
	uint64_t untold;

	s->handled += n;
	if (s->handled > s->received)
		s->received = s->handled;
	untold = s->handled - s->ack_told;
	/* Those of a torrent are gathered: each is an interrupt, and a guest's every interrupt is
	 * dear. What has come in a trickle may be all there is, and its sender holds on to it. */
	if (n == 0 || s->eof_received || untold >= MUX_WINDOW_BYTES / 4 ||
	    (s->handled == s->received && untold < FRAME_MAX_PAYLOAD)) {
		s->ack_wanted = true;
		stream_wants_to_send(s);
	}
}

uint64_t mux_stream_acknowledged(const struct mux_stream *s)
{
	return s->acknowledged;
}

uint64_t mux_stream_handled(const struct mux_stream *s)
{
	return s->handled;
}

bool mux_stream_drained(const struct mux_stream *s)
{
	return s->kept.len == 0 && s->handled_there_known && s->handled_there >= s->acknowledged &&
	       (!s->ended || s->end_acknowledged);
}
