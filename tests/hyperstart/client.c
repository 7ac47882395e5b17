#include "tests/hyperstart/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ------------------------------------------------------------------ the mux's owner */

static void on_message(struct mux *mux, const uint8_t *data, size_t len)
{
	struct client *client = mux_owner(mux);
	struct client_message *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->envelope = hyper__envelope__unpack(NULL, len, data);
	assert_non_null(m->envelope);
	list_append(&client->messages, &m->node);
}

static void on_output(struct mux *mux)
{
}

static void on_connected(struct mux *mux)
{
	((struct client *)mux_owner(mux))->connected = true;
}

static void on_broken(struct mux *mux, const char *why)
{
	((struct client *)mux_owner(mux))->broken = true;
	fail_msg("the agent broke the protocol: %s", why);
}

static const struct mux_events mux_events = {
	.message = on_message,
	.output_ready = on_output,
	.connected = on_connected,
	.broken = on_broken,
};

bool client_pump(struct client *client, int timeout_ms)
{
	static uint8_t buf[65536];
	struct pollfd p = { .fd = client->fd, .events = client->muted ? 0 : POLLIN };
	const uint8_t *data;
	size_t len;
	ssize_t n;

	while ((data = mux_output(client->mux, &len))) {
		n = send(client->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			break;
		mux_output_done(client->mux, (size_t)n);
	}
	if (data)
		p.events |= POLLOUT;
	if (client->closed || poll(&p, 1, timeout_ms) <= 0)
		return false;
	if (client->muted)
		return true;
	n = recv(client->fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n > 0)
		mux_input(client->mux, buf, (size_t)n);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		client->closed = true;
	return true;
}

void client_connect(struct client *client, const char *path, bool takeover)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	Hyper__Hello hello = HYPER__HELLO__INIT;
	uint8_t nonce[PREAMBLE_NONCE_BYTES];

	memset(client, 0, sizeof(*client));
	list_init(&client->messages);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(client->fd >= 0);
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(mux_new(MUX_HOST, &mux_events, client, &client->mux), 0);
	assert_int_equal(getrandom(nonce, sizeof(nonce), 0), sizeof(nonce));
	mux_connect(client->mux, nonce, takeover);
	hello.protocol = PROTOCOL_VERSION;
	hello.adopt = takeover;
	client_until(client, client->connected);
	client_ok(client, REQUEST(hello, HELLO, &hello));
}

void client_forget_messages(struct client *client)
{
	struct list *node;

	while ((node = list_pop(&client->messages))) {
		struct client_message *m = container_of(node, struct client_message, node);

		hyper__envelope__free_unpacked(m->envelope, NULL);
		free(m);
	}
}

void client_done(struct client *client)
{
	client_forget_messages(client);
	mux_free(client->mux);
	client->mux = NULL;
	close(client->fd);
}

/* ------------------------------------------------------------------ requests */

uint32_t client_post(struct client *client, Hyper__Request *request)
{
	Hyper__Envelope envelope = HYPER__ENVELOPE__INIT;
	autofree uint8_t *data = NULL;
	size_t len;

	request->id = ++client->last_id;
	envelope.body_case = HYPER__ENVELOPE__BODY_REQUEST;
	envelope.request = request;
	len = hyper__envelope__get_packed_size(&envelope);
	data = malloc(len);
	assert_non_null(data);
	hyper__envelope__pack(&envelope, data);
	assert_int_equal(mux_send_message(client->mux, data, len), 0);
	return request->id;
}

static Hyper__Envelope *take(struct client *client, bool (*is_it)(const Hyper__Envelope *, void *),
			     void *arg)
{
	for (;;) {
		list_for_each(node, &client->messages) {
			struct client_message *m = container_of(node, struct client_message, node);
			Hyper__Envelope *envelope = m->envelope;

			if (!is_it(envelope, arg))
				continue;
			list_remove(&m->node);
			free(m);
			return envelope;
		}
		if (!client_pump(client, CLIENT_TIMEOUT_MS))
			return NULL;
	}
}

static bool is_reply(const Hyper__Envelope *e, void *arg)
{
	return e->body_case == HYPER__ENVELOPE__BODY_REPLY && e->reply->id == *(uint32_t *)arg;
}

Hyper__Envelope *client_reply(struct client *client, uint32_t id)
{
	Hyper__Envelope *envelope = take(client, is_reply, &id);

	if (!envelope)
		fail_msg("request %u got no reply", id);
	return envelope;
}

Hyper__Envelope *client_call(struct client *client, Hyper__Request *request)
{
	return client_reply(client, client_post(client, request));
}

void client_expect_ok(struct client *client, uint32_t id)
{
	Hyper__Envelope *e = client_reply(client, id);

	if (e->reply->failure)
		fail_msg("request %u failed: %s", id, e->reply->failure->message);
	hyper__envelope__free_unpacked(e, NULL);
}

void client_expect_failure(struct client *client, uint32_t id, enum error_kind kind,
			   const char *part)
{
	Hyper__Envelope *e = client_reply(client, id);

	if (!e->reply->failure)
		fail_msg("request %u did not fail; expected '%s'", id, part);
	assert_contains(e->reply->failure->message, part);
	if (e->reply->failure->kind != kind)
		fail_msg("'%s' is of kind %s, expected %s", e->reply->failure->message,
			 error_kind_name(e->reply->failure->kind), error_kind_name(kind));
	hyper__envelope__free_unpacked(e, NULL);
}

void client_ok(struct client *client, Hyper__Request *request)
{
	client_expect_ok(client, client_post(client, request));
}

void client_fails(struct client *client, Hyper__Request *request, enum error_kind kind,
		  const char *part)
{
	client_expect_failure(client, client_post(client, request), kind, part);
}

struct who {
	const char *container, *exec;
};

static bool is_exit(const Hyper__Envelope *e, void *arg)
{
	const struct who *who = arg;

	return e->body_case == HYPER__ENVELOPE__BODY_EVENT &&
	       e->event->body_case == HYPER__EVENT__BODY_PROCESS_EXITED &&
	       strcmp(e->event->process_exited->container, who->container) == 0 &&
	       strcmp(e->event->process_exited->exec, who->exec) == 0;
}

Hyper__Envelope *client_exit_event(struct client *client, const char *container, const char *exec)
{
	struct who who = { container, exec };
	Hyper__Envelope *e = take(client, is_exit, &who);

	if (!e)
		fail_msg("no exit of '%s' '%s' was told", container, exec);
	return e;
}

uint32_t client_exit(struct client *client, const char *container, const char *exec)
{
	Hyper__Envelope *e = client_exit_event(client, container, exec);
	uint32_t code = e->event->process_exited->exit_code;

	hyper__envelope__free_unpacked(e, NULL);
	return code;
}

/* ------------------------------------------------------------------ streams */

static void on_data(struct mux_stream *s, const uint8_t *data, size_t len)
{
	struct client_stream *stream = mux_stream_owner(s);

	str_append(&stream->data, data, len);
	if (!stream->hold)
		mux_stream_ack(s, len);
}

static void on_eof(struct mux_stream *s)
{
	((struct client_stream *)mux_stream_owner(s))->eof = true;
}

static void on_writable(struct mux_stream *s)
{
}

static void on_reset(struct mux_stream *s, int errnum)
{
	struct client_stream *stream = mux_stream_owner(s);

	stream->reset = errnum;
	stream->stream = NULL;
	mux_stream_close(s);
}

static const struct mux_stream_events stream_events = {
	.data = on_data,
	.eof = on_eof,
	.writable = on_writable,
	.reset = on_reset,
};

static void open_stream(struct client_stream *stream, struct client *client, uint32_t id,
			uint64_t sent, uint64_t received)
{
	memset(stream, 0, sizeof(*stream));
	stream->client = client;
	stream->id = id;
	stream->base = received;
	assert_int_equal(mux_stream_open(client->mux, id, &stream_events, stream, sent, received,
					 &stream->stream),
			 0);
}

void client_stream_open(struct client_stream *stream, struct client *client)
{
	open_stream(stream, client, ++client->last_stream, 0, 0);
}

void client_stream_adopt(struct client_stream *stream, struct client *client, uint32_t id,
			 uint64_t sent, uint64_t received)
{
	if (id > client->last_stream)
		client->last_stream = id;
	open_stream(stream, client, id, sent, received);
	mux_stream_ack(stream->stream, 0);
}

void client_stream_close(struct client_stream *stream)
{
	if (stream->client && stream->client->mux)
		mux_stream_close(stream->stream);
	stream->stream = NULL;
	str_done(&stream->data);
}

void client_stream_send(struct client_stream *stream, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n;

		if (!stream->stream)
			fail_msg("stream %u was reset: %s", stream->id, strerror(stream->reset));
		n = mux_stream_send(stream->stream, p, len);
		assert_true(n >= 0);
		p += n;
		len -= (size_t)n;
		if (len && !client_pump(stream->client, CLIENT_TIMEOUT_MS))
			fail_msg("stream %u takes no more", stream->id);
	}
}

void client_stream_wait_eof(struct client_stream *stream)
{
	client_until(stream->client, stream->eof || stream->reset);
	if (stream->reset)
		fail_msg("stream %u was reset: %s", stream->id, strerror(stream->reset));
}
