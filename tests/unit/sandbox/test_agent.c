/* The agent's client against a scripted peer: an honest one, and those of the threat list that lie.
 */
#include "tests/unit/test.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/task.h"
#include "hyperd/sandbox/agent.h"

struct peer {
	struct loop *loop;
	int fds[2]; /* ours for the agent, the peer's */
	struct mux *mux;
	struct loop_io io;
	void (*request)(struct peer *peer, const Hyper__Request *request);
	unsigned requests, events, lost;
	uint32_t last_id;
	struct agent *agent;
	struct error err;
};

static void peer_flush(struct peer *p)
{
	size_t len;
	const uint8_t *data;

	while ((data = mux_output(p->mux, &len))) {
		assert_int_equal(fd_write_all(p->fds[1], data, len), 0);
		mux_output_done(p->mux, len);
	}
}

static void peer_send(struct peer *p, Hyper__Envelope *envelope)
{
	uint8_t buf[4096];
	size_t len = hyper__envelope__pack(envelope, buf);

	mux_send_message(p->mux, buf, len);
	peer_flush(p);
}

static void peer_reply(struct peer *p, uint32_t id, Hyper__Reply *reply)
{
	Hyper__Envelope envelope = HYPER__ENVELOPE__INIT;

	reply->id = id;
	envelope.body_case = HYPER__ENVELOPE__BODY_REPLY;
	envelope.reply = reply;
	peer_send(p, &envelope);
}

static void peer_hello(struct peer *p, uint32_t id, uint32_t protocol)
{
	Hyper__Reply reply = HYPER__REPLY__INIT;
	Hyper__HelloReply hello = HYPER__HELLO_REPLY__INIT;

	hello.protocol = protocol;
	hello.agent_version = "1.2";
	hello.kernel = "6.12";
	reply.body_case = HYPER__REPLY__BODY_HELLO;
	reply.hello = &hello;
	peer_reply(p, id, &reply);
}

static void peer_message(struct mux *mux, const uint8_t *data, size_t len)
{
	struct peer *p = mux_owner(mux);
	Hyper__Envelope *envelope = hyper__envelope__unpack(NULL, len, data);

	assert_non_null(envelope);
	p->requests++;
	p->last_id = envelope->request->id;
	if (envelope->request->body_case == HYPER__REQUEST__BODY_HELLO && !p->request)
		peer_hello(p, envelope->request->id, PROTOCOL_VERSION);
	else if (p->request)
		p->request(p, envelope->request);
	hyper__envelope__free_unpacked(envelope, NULL);
}

static void peer_nothing(struct mux *mux)
{
}

static const struct mux_events peer_mux_events = {
	.message = peer_message,
	.output_ready = peer_nothing,
	.connected = peer_nothing,
};

static void peer_ready(struct loop_io *io, uint32_t events)
{
	struct peer *p = container_of(io, struct peer, io);
	uint8_t buf[65536];
	ssize_t n = read(io->fd, buf, sizeof(buf));

	if (n <= 0) {
		loop_io_remove(io);
		return;
	}
	mux_input(p->mux, buf, (size_t)n);
	peer_flush(p);
}

static void on_event(struct agent *agent, const Hyper__Event *event, void *owner)
{
	((struct peer *)owner)->events++;
}

static void on_lost(struct agent *agent, const struct error *why, void *owner)
{
	struct peer *p = owner;

	p->lost++;
	p->err = *why;
}

static const struct agent_events events = { .event = on_event, .lost = on_lost };

static void run(task_fn *fn, void (*request)(struct peer *, const Hyper__Request *))
{
	struct peer p = { .request = request };
	struct error err = { 0 };

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p.fds), 0);
	assert_ok(loop_new(&p.loop, &err), err);
	assert_int_equal(mux_new(MUX_AGENT, &peer_mux_events, &p, &p.mux), 0);
	assert_int_equal(loop_io_add(p.loop, &p.io, p.fds[1], EPOLLIN, peer_ready), 0);
	assert_ok(task_run(p.loop, fn, &p, &err), err);
	loop_io_remove(&p.io);
	mux_free(p.mux);
	if (p.fds[1] >= 0)
		close(p.fds[1]);
	loop_free(p.loop);
}

static int connect_to(struct peer *p, uint64_t deadline_ns)
{
	memset(&p->err, 0, sizeof(p->err));
	return agent_connect(p->loop, p->fds[0], false, deadline_ns, &events, p, &p->agent,
			     &p->err);
}

static Hyper__Request *trim_request(void)
{
	static Hyper__Request request;
	static Hyper__MemoryTrim trim;

	hyper__request__init(&request);
	hyper__memory_trim__init(&trim);
	request.body_case = HYPER__REQUEST__BODY_MEMORY_TRIM;
	request.memory_trim = &trim;
	return &request;
}

/* ------------------------------------------------------------------ an honest agent */

static void honest_request(struct peer *p, const Hyper__Request *request)
{
	Hyper__Reply reply = HYPER__REPLY__INIT;
	Hyper__Failure failure = HYPER__FAILURE__INIT;

	if (request->body_case == HYPER__REQUEST__BODY_HELLO) {
		peer_hello(p, request->id, PROTOCOL_VERSION);
		return;
	}
	if (request->body_case == HYPER__REQUEST__BODY_CONTAINER_START) {
		failure.kind = ERROR_NOT_FOUND;
		failure.message = "no such program";
		failure.exit_code = 127;
		reply.failure = &failure;
	}
	peer_reply(p, request->id, &reply);
}

static void honest(void *arg)
{
	struct peer *p = arg;
	struct agent_ticket tickets[8];
	Hyper__Request start = HYPER__REQUEST__INIT;
	Hyper__ContainerStart body = HYPER__CONTAINER_START__INIT;
	Hyper__Reply *reply;

	assert_ok(connect_to(p, deadline_in_ms(5000)), p->err);
	assert_string_equal(agent_version(p->agent), "1.2");
	assert_string_equal(agent_kernel(p->agent), "6.12");

	/* A burst, waited for in another order than it was sent. */
	for (int i = 0; i < 8; i++)
		assert_ok(agent_post(p->agent, trim_request(), &tickets[i], &p->err), p->err);
	for (int i = 7; i >= 0; i--) {
		assert_ok(agent_wait(p->agent, &tickets[i], deadline_in_ms(5000), &reply, &p->err),
			  p->err);
		hyper__reply__free_unpacked(reply, NULL);
	}

	start.body_case = HYPER__REQUEST__BODY_CONTAINER_START;
	start.container_start = &body;
	assert_true(agent_call(p->agent, &start, deadline_in_ms(5000), NULL, &p->err) < 0);
	assert_int_equal(p->err.kind, ERROR_NOT_FOUND);
	assert_int_equal(p->err.exit_code, 127);
	assert_string_equal(p->err.message, "no such program");
	agent_free(p->agent);
	assert_int_equal(p->lost, 0);
}

static void requests_are_answered(void **state)
{
	run(honest, honest_request);
}

/* ------------------------------------------------------------------ liars */

static void wrong_version(struct peer *p, const Hyper__Request *request)
{
	peer_hello(p, request->id, PROTOCOL_VERSION + 1);
}

static void refused(void *arg)
{
	struct peer *p = arg;

	assert_true(connect_to(p, deadline_in_ms(5000)) < 0);
	assert_int_equal(p->err.kind, ERROR_UNSUPPORTED);
}

static void another_protocol_is_refused(void **state)
{
	run(refused, wrong_version);
}

static void odd_replies(struct peer *p, const Hyper__Request *request)
{
	Hyper__Reply reply = HYPER__REPLY__INIT;
	Hyper__Failure failure = HYPER__FAILURE__INIT;
	Hyper__Envelope envelope = HYPER__ENVELOPE__INIT;
	Hyper__Event event = HYPER__EVENT__INIT;

	if (request->body_case == HYPER__REQUEST__BODY_HELLO) {
		peer_reply(p, request->id + 100, &reply); /* unknown */
		peer_hello(p, request->id, PROTOCOL_VERSION);
		peer_hello(p, request->id, PROTOCOL_VERSION); /* again */
		return;
	}
	peer_send(p, &envelope); /* nothing in it */
	envelope.body_case = HYPER__ENVELOPE__BODY_EVENT;
	envelope.event = &event;
	peer_send(p, &envelope); /* an event of no kind */
	failure.kind = 4000000000u;
	failure.message = "";
	failure.exit_code = 77;
	reply.failure = &failure;
	peer_reply(p, request->id, &reply);
	peer_reply(p, request->id, &reply);
}

static void unmoved(void *arg)
{
	struct peer *p = arg;

	assert_ok(connect_to(p, deadline_in_ms(5000)), p->err);
	for (int i = 0; i < 3; i++) {
		assert_true(agent_call(p->agent, trim_request(), deadline_in_ms(5000), NULL,
				       &p->err) < 0);
		assert_int_equal(p->err.kind, ERROR_FAILED);
		assert_int_equal(p->err.exit_code, 0);
	}
	assert_false(agent_is_lost(p->agent));
	agent_free(p->agent);
}

static void unknown_and_duplicate_replies_are_ignored(void **state)
{
	run(unmoved, odd_replies);
}

static void silence(struct peer *p, const Hyper__Request *request)
{
}

static void times_out(void *arg)
{
	struct peer *p = arg;

	assert_int_equal(connect_to(p, deadline_in_ms(20)), -ETIMEDOUT);
	assert_int_equal(p->err.kind, ERROR_TIMEOUT);
}

static void an_agent_that_says_nothing_misses_its_deadline(void **state)
{
	run(times_out, silence);
}

static void late_request(struct peer *p, const Hyper__Request *request)
{
	Hyper__Reply reply = HYPER__REPLY__INIT;

	if (request->body_case == HYPER__REQUEST__BODY_HELLO)
		peer_hello(p, request->id, PROTOCOL_VERSION);
	else if (p->requests > 2)
		for (uint32_t id = 0; id <= request->id; id++)
			peer_reply(p, id, &reply);
}

static void late(void *arg)
{
	struct peer *p = arg;

	assert_ok(connect_to(p, deadline_in_ms(5000)), p->err);
	assert_int_equal(agent_call(p->agent, trim_request(), deadline_in_ms(10), NULL, &p->err),
			 -ETIMEDOUT);
	assert_ok(agent_call(p->agent, trim_request(), deadline_in_ms(5000), NULL, &p->err),
		  p->err);
	agent_free(p->agent);
}

static void a_late_reply_goes_to_nobody(void **state)
{
	run(late, late_request);
}

/* Each cut of the agent's answer, then the end. */
static void garbage_after_hello(struct peer *p, const Hyper__Request *request)
{
	static const uint8_t garbage[4096] = { FRAME_MARK, 1, 0, 0, 0xff, 0xff, 0xff, 0xff };

	if (request->body_case == HYPER__REQUEST__BODY_HELLO)
		peer_hello(p, request->id, PROTOCOL_VERSION);
	else
		assert_int_equal(fd_write_all(p->fds[1], garbage, sizeof(garbage)), 0);
}

static void breaks(void *arg)
{
	struct peer *p = arg;

	assert_ok(connect_to(p, deadline_in_ms(5000)), p->err);
	assert_true(agent_call(p->agent, trim_request(), deadline_in_ms(5000), NULL, &p->err) < 0);
	assert_int_equal(p->err.kind, ERROR_UNAVAILABLE);
	task_yield();
	task_yield();
	assert_int_equal(p->lost, 1);
	assert_true(agent_is_lost(p->agent));
	assert_true(agent_call(p->agent, trim_request(), deadline_in_ms(5000), NULL, &p->err) < 0);
	agent_free(p->agent);
	assert_int_equal(p->lost, 1);
}

static void a_frame_that_lies_about_its_length_ends_it(void **state)
{
	run(breaks, garbage_after_hello);
}

static void message_that_is_none(struct peer *p, const Hyper__Request *request)
{
	if (request->body_case == HYPER__REQUEST__BODY_HELLO) {
		peer_hello(p, request->id, PROTOCOL_VERSION);
	} else {
		mux_send_message(p->mux, (const uint8_t *)"\xff\xff\xff\xff\xff", 5);
		peer_flush(p);
	}
}

static void a_message_that_does_not_parse_ends_it(void **state)
{
	run(breaks, message_that_is_none);
}

/* A State of half a million empty containers: small on the wire, large when unpacked. */
static void bomb(struct peer *p, const Hyper__Request *request)
{
	static uint8_t buf[MUX_MAX_MESSAGE];
	size_t n = 0, state_len = 1000000;

	if (request->body_case == HYPER__REQUEST__BODY_HELLO) {
		peer_hello(p, request->id, PROTOCOL_VERSION);
		return;
	}
#define VARINT3(v) (uint8_t)((v) | 0x80), (uint8_t)((v) >> 7 | 0x80), (uint8_t)((v) >> 14)
	const uint8_t head[] = { 0x12, VARINT3(state_len + 4), 0x72, VARINT3(state_len) };

	memcpy(buf, head, sizeof(head));
	n = sizeof(head);
	for (size_t i = 0; i < state_len / 2; i++) {
		buf[n++] = 0x0a;
		buf[n++] = 0;
	}
	assert_int_equal(mux_send_message(p->mux, buf, n), 0);
	fd_set_nonblocking(p->fds[1], false);
	peer_flush(p);
}

static void breaks_slowly(void *arg)
{
	struct peer *p = arg;

	assert_ok(connect_to(p, deadline_in_ms(5000)), p->err);
	/* The peer writes more than a socket holds: it must not wait for a reader on its own loop.
	 */
	int size = 4 << 20;

	setsockopt(p->fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	assert_true(agent_call(p->agent, trim_request(), deadline_in_ms(5000), NULL, &p->err) < 0);
	assert_contains(p->err.message, "message that is none");
	agent_free(p->agent);
}

static void a_message_that_grows_when_unpacked_ends_it(void **state)
{
	run(breaks_slowly, bomb);
}

static void hang_up(struct peer *p, const Hyper__Request *request)
{
	if (request->body_case == HYPER__REQUEST__BODY_HELLO)
		peer_hello(p, request->id, PROTOCOL_VERSION);
	else
		shutdown(p->fds[1], SHUT_RDWR);
}

struct stream_state {
	unsigned resets;
	struct mux_stream *stream;
};

static void stream_reset(struct mux_stream *stream, int errnum)
{
	struct stream_state *s = mux_stream_owner(stream);

	s->resets++;
	mux_stream_close(stream);
}

static const struct mux_stream_events stream_events = { .reset = stream_reset };

static void hung_up(void *arg)
{
	struct peer *p = arg;
	struct stream_state streams[3] = { 0 };

	assert_ok(connect_to(p, deadline_in_ms(5000)), p->err);
	for (int i = 0; i < 3; i++)
		assert_int_equal(mux_stream_open(agent_mux(p->agent), agent_stream_id(p->agent),
						 &stream_events, &streams[i], 0, 0,
						 &streams[i].stream),
				 0);
	assert_true(agent_call(p->agent, trim_request(), deadline_in_ms(5000), NULL, &p->err) < 0);
	task_yield();
	task_yield();
	assert_int_equal(p->lost, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(streams[i].resets, 1);
	agent_free(p->agent);
}

static void the_end_of_the_channel_resets_streams(void **state)
{
	run(hung_up, hang_up);
}

/* The guest never reads: requests pile up to a bound and then are refused. */
static void unread(void *arg)
{
	struct peer *p = arg;
	static struct agent_ticket tickets[64];
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__FileWrite body = HYPER__FILE_WRITE__INIT;
	int i, r = 0;

	assert_ok(connect_to(p, deadline_in_ms(5000)), p->err);
	loop_io_remove(&p->io);
	body.data.len = 1000000;
	body.data.data = calloc(1, body.data.len);
	request.body_case = HYPER__REQUEST__BODY_FILE_WRITE;
	request.file_write = &body;
	for (i = 0; i < 64 && r == 0; i++)
		r = agent_post(p->agent, &request, &tickets[i], &p->err);
	assert_true(r < 0);
	assert_true(i > 5 && i < 20);
	assert_int_equal(p->err.kind, ERROR_UNAVAILABLE);
	free(body.data.data);
	agent_free(p->agent);
}

static void a_guest_that_never_reads_is_not_queued_for_without_end(void **state)
{
	run(unread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_answered),
		cmocka_unit_test(another_protocol_is_refused),
		cmocka_unit_test(unknown_and_duplicate_replies_are_ignored),
		cmocka_unit_test(an_agent_that_says_nothing_misses_its_deadline),
		cmocka_unit_test(a_late_reply_goes_to_nobody),
		cmocka_unit_test(a_frame_that_lies_about_its_length_ends_it),
		cmocka_unit_test(a_message_that_does_not_parse_ends_it),
		cmocka_unit_test(a_message_that_grows_when_unpacked_ends_it),
		cmocka_unit_test(the_end_of_the_channel_resets_streams),
		cmocka_unit_test(a_guest_that_never_reads_is_not_queued_for_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
