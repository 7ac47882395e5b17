#include "tests/unit/test.h"

#include <stdlib.h>

#include "base/str.h"
#include "wire/mux.h"

/* One side of a channel under test, with one recorded stream. */
struct side {
	struct mux *mux;
	struct str received, messages;
	int connected, broken, eofs, resets, writable, drained;
	bool ack_at_once;
	struct mux_stream *stream;
};

static void on_data(struct mux_stream *s, const uint8_t *data, size_t len)
{
	struct side *side = mux_stream_owner(s);

	str_append(&side->received, data, len);
	if (side->ack_at_once)
		mux_stream_ack(s, len);
}

static void on_eof(struct mux_stream *s)
{
	((struct side *)mux_stream_owner(s))->eofs++;
}

static void on_writable(struct mux_stream *s)
{
	((struct side *)mux_stream_owner(s))->writable++;
}

static void on_drained(struct mux_stream *s)
{
	((struct side *)mux_stream_owner(s))->drained++;
}

static void on_reset(struct mux_stream *s, int errnum)
{
	struct side *side = mux_stream_owner(s);

	side->resets = errnum;
	mux_stream_close(s);
	side->stream = NULL;
}

static const struct mux_stream_events stream_events = {
	.data = on_data,
	.eof = on_eof,
	.writable = on_writable,
	.drained = on_drained,
	.reset = on_reset,
};

static void on_message(struct mux *mux, const uint8_t *data, size_t len)
{
	struct side *side = mux_owner(mux);

	str_append(&side->messages, data, len);
	str_addc(&side->messages, '\n');
}

static void on_output(struct mux *mux)
{
}

static void on_connected(struct mux *mux)
{
	((struct side *)mux_owner(mux))->connected++;
}

static void on_broken(struct mux *mux, const char *why)
{
	((struct side *)mux_owner(mux))->broken++;
}

static const struct mux_events mux_test_events = {
	.message = on_message,
	.output_ready = on_output,
	.connected = on_connected,
	.broken = on_broken,
};

static const uint8_t nonce_one[16] = "nonce number one", nonce_two[16] = "nonce number two";

static void side_init(struct side *side, enum mux_side kind)
{
	memset(side, 0, sizeof(*side));
	side->ack_at_once = true;
	assert_int_equal(mux_new(kind, &mux_test_events, side, &side->mux), 0);
}

static void side_done(struct side *side)
{
	mux_free(side->mux);
	str_done(&side->received);
	str_done(&side->messages);
}

static void open_stream(struct side *side, uint32_t id, uint64_t sent, uint64_t received)
{
	assert_int_equal(mux_stream_open(side->mux, id, &stream_events, side, sent, received,
					 &side->stream),
			 0);
}

/* Carries at most LIMIT bytes, in pieces of PIECE; returns how many. */
static size_t carry(struct side *from, struct side *to, size_t piece, size_t limit)
{
	size_t carried = 0;

	while (carried < limit) {
		size_t len;
		const uint8_t *out = mux_output(from->mux, &len);

		if (!out)
			break;
		if (len > piece)
			len = piece;
		if (len > limit - carried)
			len = limit - carried;
		if (to)
			mux_input(to->mux, out, len);
		mux_output_done(from->mux, len);
		carried += len;
	}
	return carried;
}

static void settle(struct side *a, struct side *b, size_t piece)
{
	while (carry(a, b, piece, SIZE_MAX) + carry(b, a, piece, SIZE_MAX))
		;
}

static void pair_init(struct side *host, struct side *agent)
{
	side_init(host, MUX_HOST);
	side_init(agent, MUX_AGENT);
	mux_connect(host->mux, nonce_one, false);
	settle(host, agent, 7);
	assert_int_equal(host->connected, 1);
	assert_int_equal(agent->connected, 1);
}

static char *pattern(size_t len)
{
	char *p = malloc(len);

	for (size_t i = 0; i < len; i++)
		p[i] = (char)(i * 2654435761u >> 13);
	return p;
}

static void messages_arrive_whole_in_any_pieces(void **state)
{
	for (size_t piece = 1; piece < 100000; piece = piece * 3 + 1) {
		struct side host, agent;
		autofree char *big = malloc(200000);

		memset(big, 'm', 200000);
		pair_init(&host, &agent);
		assert_int_equal(mux_send_message(host.mux, (const uint8_t *)"hello", 5), 0);
		assert_int_equal(mux_send_message(host.mux, (const uint8_t *)"", 0), 0);
		assert_int_equal(mux_send_message(host.mux, (const uint8_t *)big, 200000), 0);
		settle(&host, &agent, piece);
		assert_int_equal(agent.messages.len, 5 + 1 + 1 + 200000 + 1);
		assert_memory_equal(agent.messages.data, "hello\n\nmmm", 10);
		assert_int_equal(host.broken, 0);
		side_done(&host);
		side_done(&agent);
	}
}

static void a_message_too_long_is_refused_by_both(void **state)
{
	struct side host, agent;
	autofree uint8_t *big = calloc(1, MUX_MAX_MESSAGE + 1);

	pair_init(&host, &agent);
	assert_int_equal(mux_send_message(host.mux, big, MUX_MAX_MESSAGE + 1), -E2BIG);
	for (int i = 0; i < 17; i++) {
		uint8_t bytes[FRAME_HEADER + FRAME_TRAILER];
		struct frame_header h = { .type = FRAME_CONTROL,
					  .flags = FRAME_MORE,
					  .length = 65536 };

		frame_header_encode(&h, bytes);
		frame_trailer_encode(&h, bytes + FRAME_HEADER);
		mux_input(host.mux, bytes, FRAME_HEADER);
		mux_input(host.mux, big, 65536);
		mux_input(host.mux, bytes + FRAME_HEADER, FRAME_TRAILER);
	}
	assert_int_equal(host.broken, 1);
	side_done(&host);
	side_done(&agent);
}

static void ten_megabytes_arrive_unchanged(void **state)
{
	struct side host, agent;
	size_t len = 10 << 20, at = 0;
	autofree char *data = pattern(len);

	pair_init(&host, &agent);
	open_stream(&host, 5, 0, 0);
	open_stream(&agent, 5, 0, 0);
	while (at < len) {
		ssize_t n = mux_stream_send(agent.stream, data + at, len - at);

		assert_true(n >= 0);
		at += (size_t)n;
		settle(&agent, &host, 50001);
	}
	mux_stream_end(agent.stream);
	assert_int_equal(mux_stream_send(agent.stream, "x", 1), -EPIPE);
	settle(&agent, &host, 50001);
	assert_int_equal(host.received.len, len);
	assert_memory_equal(host.received.data, data, len);
	assert_int_equal(host.eofs, 1);
	assert_true(mux_stream_drained(agent.stream));
	assert_true(agent.writable > 0);
	side_done(&host);
	side_done(&agent);
}

static void a_reader_that_stops_stops_only_its_stream(void **state)
{
	struct side host, agent, slow = { 0 };
	struct mux_stream *slow_in, *slow_out;
	autofree char *data = pattern(MUX_WINDOW_BYTES);

	pair_init(&host, &agent);
	open_stream(&host, 1, 0, 0);
	open_stream(&agent, 1, 0, 0);
	assert_int_equal(mux_stream_open(host.mux, 2, &stream_events, &slow, 0, 0, &slow_in), 0);
	assert_int_equal(mux_stream_open(agent.mux, 2, &stream_events, &agent, 0, 0, &slow_out), 0);
	assert_int_equal(mux_stream_send(slow_out, data, MUX_WINDOW_BYTES), MUX_WINDOW_BYTES);
	assert_int_equal(mux_stream_send(slow_out, data, 1), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(mux_stream_send(agent.stream, data, 100000), 100000);
		settle(&agent, &host, 4096);
	}
	assert_int_equal(host.received.len, 2000000);
	assert_int_equal(slow.received.len, MUX_WINDOW_BYTES);
	agent.writable = 0;
	mux_stream_ack(slow_in, MUX_WINDOW_BYTES);
	settle(&agent, &host, 4096);
	assert_int_equal(agent.writable, 1);
	str_done(&slow.received);
	side_done(&host);
	side_done(&agent);
}

/*
 * The daemon dies after CUT bytes of the agent's output have reached it and having handled some of
 * them; its successor goes on where the handled bytes ended. Every byte arrives exactly once.
 */
static void die_and_take_over(size_t cut)
{
	struct side host, agent, next;
	size_t len = 150000;
	autofree char *data = pattern(len);
	uint64_t handled;
	autostr struct str all = STR_INIT;

	pair_init(&host, &agent);
	open_stream(&host, 3, 0, 0);
	open_stream(&agent, 3, 0, 0);
	assert_int_equal(mux_stream_send(agent.stream, data, len), len);
	mux_stream_end(agent.stream);
	mux_send_message(agent.mux, (const uint8_t *)"event", 5);
	carry(&agent, &host, 4093, cut);
	carry(&host, &agent, 4093, cut / 3 % 50);
	handled = mux_stream_handled(host.stream);
	str_append(&all, host.received.data, host.received.len);
	assert_int_equal(all.len, handled);
	side_done(&host);

	side_init(&next, MUX_HOST);
	mux_connect(next.mux, nonce_two, true);
	open_stream(&next, 3, 0, handled);
	mux_stream_ack(next.stream, 0);
	/* What the agent had half written goes to the new connection first. */
	settle(&agent, &next, 1021);
	assert_int_equal(next.connected, 1);
	assert_int_equal(next.broken, 0);
	str_append(&all, next.received.data, next.received.len);
	assert_int_equal(all.len, len);
	assert_memory_equal(all.data, data, len);
	assert_int_equal(next.eofs, 1);
	assert_true(mux_stream_drained(agent.stream));
	side_done(&next);
	side_done(&agent);
}

static void a_takeover_loses_and_doubles_nothing(void **state)
{
	for (size_t cut = 0; cut < 200; cut++)
		die_and_take_over(cut);
	for (size_t cut = 200; cut < 160000; cut += 977)
		die_and_take_over(cut);
}

/* The host dies in the middle of a frame to the agent: the rest of that frame never comes. */
static void input_cut_anywhere_is_completed_by_the_successor(void **state)
{
	for (size_t cut = 0; cut < 3000; cut += 7) {
		struct side host, agent, next;
		size_t len = 2000;
		autofree char *data = pattern(len);
		uint64_t taken;

		pair_init(&host, &agent);
		open_stream(&host, 9, 0, 0);
		open_stream(&agent, 9, 0, 0);
		mux_stream_send(host.stream, data, len);
		mux_send_message(host.mux, (const uint8_t *)"request", 7);
		carry(&host, &agent, SIZE_MAX, cut);
		taken = agent.received.len;
		side_done(&host);

		side_init(&next, MUX_HOST);
		mux_connect(next.mux, nonce_two, true);
		open_stream(&next, 9, taken, 0);
		mux_stream_ack(next.stream, 0);
		settle(&next, &agent, 333);
		assert_int_equal(next.connected, 1);
		mux_stream_send(next.stream, data + taken, len - taken);
		mux_send_message(next.mux, (const uint8_t *)"again", 5);
		settle(&next, &agent, 333);
		assert_int_equal(agent.received.len, len);
		assert_memory_equal(agent.received.data, data, len);
		assert_non_null(strstr(str_text(&agent.messages), "again"));
		side_done(&next);
		side_done(&agent);
	}
}

static void raw_frame(struct side *to, struct frame_header h, const void *payload)
{
	uint8_t bytes[FRAME_HEADER];

	frame_header_encode(&h, bytes);
	mux_input(to->mux, bytes, FRAME_HEADER);
	mux_input(to->mux, payload, h.length);
	frame_trailer_encode(&h, bytes);
	mux_input(to->mux, bytes, FRAME_TRAILER);
}

static void a_lying_agent_is_given_up(void **state)
{
	static const struct frame_header lies[] = {
		{ .type = FRAME_DATA, .stream = 4, .length = 1, .offset = 1 },
		{ .type = FRAME_ACK, .stream = 4, .offset = 2 },
		{ .type = FRAME_ACK, .stream = 4, .offset = UINT64_MAX },
		{ .type = FRAME_EOF, .stream = 4, .offset = 7 },
		{ .type = FRAME_EOF, .stream = 4, .offset = UINT64_MAX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct side host, agent;

		pair_init(&host, &agent);
		open_stream(&host, 4, 0, 0);
		raw_frame(&host, lies[i], "x");
		assert_int_equal(host.broken, 1);
		assert_int_equal(host.received.len, 0);
		side_done(&host);
		side_done(&agent);
	}
}

static void more_than_the_window_is_refused(void **state)
{
	struct side host, agent;
	autofree char *data = pattern(65536);

	pair_init(&host, &agent);
	open_stream(&host, 4, 0, 0);
	host.ack_at_once = false;
	for (uint64_t at = 0; at < MUX_WINDOW_BYTES; at += 65536)
		raw_frame(&host, (struct frame_header){ FRAME_DATA, 0, 65536, 4, at }, data);
	assert_int_equal(host.broken, 0);
	raw_frame(&host, (struct frame_header){ FRAME_DATA, 0, 1, 4, MUX_WINDOW_BYTES }, data);
	assert_int_equal(host.broken, 1);
	assert_int_equal(host.received.len, MUX_WINDOW_BYTES);
	side_done(&host);
	side_done(&agent);
}

static void frames_of_unknown_streams_are_ignored(void **state)
{
	struct side host, agent;

	pair_init(&host, &agent);
	raw_frame(&host, (struct frame_header){ FRAME_DATA, 0, 1, 77, 0 }, "x");
	raw_frame(&host, (struct frame_header){ FRAME_EOF, 0, 0, 77, 0 }, "");
	raw_frame(&host, (struct frame_header){ FRAME_RESET, 0, 0, 77, 5 }, "");
	assert_int_equal(host.broken, 0);
	side_done(&host);
	side_done(&agent);
}

static void a_reset_reaches_the_other_side(void **state)
{
	struct side host, agent;

	pair_init(&host, &agent);
	open_stream(&host, 4, 0, 0);
	open_stream(&agent, 4, 0, 0);
	mux_stream_reset(host.stream, ENOSPC);
	settle(&host, &agent, 1000);
	assert_int_equal(agent.resets, ENOSPC);
	assert_null(agent.stream);
	side_done(&host);
	side_done(&agent);
}

static void an_agent_survives_garbage(void **state)
{
	struct side host, agent;
	unsigned seed = 1;

	pair_init(&host, &agent);
	for (int i = 0; i < 200000; i++) {
		seed = seed * 1103515245 + 12345;
		mux_input(agent.mux, (uint8_t[]){ (uint8_t)(seed >> 16) }, 1);
	}
	mux_connect(host.mux, nonce_two, true);
	settle(&host, &agent, 1000);
	mux_send_message(host.mux, (const uint8_t *)"still there?", 12);
	settle(&host, &agent, 1000);
	assert_string_equal(str_text(&agent.messages), "still there?\n");
	side_done(&host);
	side_done(&agent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_arrive_whole_in_any_pieces),
		cmocka_unit_test(a_message_too_long_is_refused_by_both),
		cmocka_unit_test(ten_megabytes_arrive_unchanged),
		cmocka_unit_test(a_reader_that_stops_stops_only_its_stream),
		cmocka_unit_test(a_takeover_loses_and_doubles_nothing),
		cmocka_unit_test(input_cut_anywhere_is_completed_by_the_successor),
		cmocka_unit_test(a_lying_agent_is_given_up),
		cmocka_unit_test(more_than_the_window_is_refused),
		cmocka_unit_test(frames_of_unknown_streams_are_ignored),
		cmocka_unit_test(a_reset_reaches_the_other_side),
		cmocka_unit_test(an_agent_survives_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
