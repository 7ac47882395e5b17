#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/task.h"
#include "hyperd/logdriver/msgpack.h"
#include "hyperd/logdriver/remote_send.h"

#define TIME_NS    1700000000123456000ull /* 2023-11-14T22:13:20.123456Z */
#define TIMEOUT_MS 20000

/* A log in a directory of its own and a receiver; each test runs as a task. */
struct world {
	char root[64], address[160];
	struct loop *loop;
	struct job_pool *jobs;
	struct log_group *group;
	struct log *log;
	int listener, peer; /* datagrams come to the listener itself */
	struct log_option options[8], labels[2];
	unsigned option_count, progressed;
	void (*test)(struct world *w);
};

static void option(struct world *w, const char *key, const char *value)
{
	w->options[w->option_count++] = (struct log_option){ key, value };
}

static int open_log(struct world *w, const char *driver, struct error *err)
{
	const struct log_config config = {
		.loop = w->loop,
		.jobs = w->jobs,
		.group = w->group,
		.directory = w->root,
		.container_id = "c0ffee0000000000",
		.container_name = "web",
		.image_name = "box",
		.image_id = "sha256:abc",
		.command = "sh",
		.hostname = "host",
		.created_ns = TIME_NS,
		.options = w->options,
		.labels = w->labels,
	};

	return log_driver_open(driver, &config, &w->log, err);
}

static void begin(struct world *w, const char *driver)
{
	struct error err = { 0 };

	assert_ok(open_log(w, driver, &err), err);
	assert_ok(log_begin(w->log, &err), err);
}

static void put(struct world *w, enum log_stream stream, const char *text)
{
	log_write(w->log, stream, TIME_NS, text, strlen(text));
}

static void flush(struct world *w)
{
	struct error err = { 0 };

	assert_ok(log_flush(w->log, &err), err);
}

static void say(struct world *w, enum log_stream stream, const char *text)
{
	put(w, stream, text);
	flush(w);
}

/* ------------------------------------------------------------------ receivers */

static void listen_inet(struct world *w, int type, const char *scheme)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);

	w->listener = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(w->listener, (struct sockaddr *)&in, len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(w->listener, 5), 0);
	getsockname(w->listener, (struct sockaddr *)&in, &len);
	snprintf(w->address, sizeof(w->address), "%s://127.0.0.1:%d", scheme, ntohs(in.sin_port));
}

static void listen_unix(struct world *w, int type)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/socket", w->root);
	unlink(un.sun_path);
	w->listener = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(w->listener, (struct sockaddr *)&un, sizeof(un)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(w->listener, 5), 0);
	snprintf(w->address, sizeof(w->address), "%s://%s",
		 type == SOCK_STREAM ? "unix" : "unixgram", un.sun_path);
}

static void wait_readable(int fd)
{
	assert_int_equal(task_wait_fd(fd, EPOLLIN, deadline_in_ms(TIMEOUT_MS), NULL), 0);
}

static void accept_peer(struct world *w)
{
	if (w->peer >= 0)
		close(w->peer);
	wait_readable(w->listener);
	w->peer = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(w->peer >= 0);
}

/* One datagram. */
static size_t datagram(struct world *w, char *buf, size_t max)
{
	ssize_t n;

	wait_readable(w->listener);
	n = recv(w->listener, buf, max - 1, 0);
	assert_true(n >= 0);
	buf[n] = '\0';
	return (size_t)n;
}

/* So many bytes of a stream. */
static void receive(struct world *w, char *buf, size_t len)
{
	for (size_t have = 0; have < len;) {
		ssize_t n;

		wait_readable(w->peer);
		n = recv(w->peer, buf + have, len - have, 0);
		assert_true(n > 0);
		have += (size_t)n;
	}
	buf[len] = '\0';
}

static void receive_text(struct world *w, const char *expected)
{
	char buf[4096];

	receive(w, buf, strlen(expected));
	assert_string_equal(buf, expected);
}

static void wait_stored(struct world *w, uint64_t bytes)
{
	uint64_t deadline = deadline_in_ms(TIMEOUT_MS);

	while (log_stored(w->log, LOG_STDOUT) != bytes && now_ns() < deadline)
		assert_int_equal(task_sleep_until(deadline_in_ms(5)), 0);
	assert_int_equal(log_stored(w->log, LOG_STDOUT), bytes);
}

static void wait_gone(struct world *w)
{
	uint64_t deadline = deadline_in_ms(TIMEOUT_MS);

	while (!remote_log(w->log)->gone && now_ns() < deadline)
		assert_int_equal(task_sleep_until(deadline_in_ms(5)), 0);
	assert_true(remote_log(w->log)->gone);
}

static int collect(const struct log_record *record, void *arg)
{
	str_append(arg, record->data, record->len);
	return 0;
}

static void expect_logged(struct world *w, const char *expected)
{
	const struct log_query query = { .want = { true, true }, .tail = -1 };
	autostr struct str text = STR_INIT;
	struct error err = { 0 };

	assert_ok(log_read(w->log, &query, collect, &text, &err), err);
	assert_string_equal(str_text(&text), expected);
}

/* ------------------------------------------------------------------ syslog */

static void syslog_formats(struct world *w)
{
	static const struct {
		const char *format, *out, *error;
	} cases[] = {
		{ "", "<30>Nov 14 22:13:20 c0ffee000000[%d]: hi\n",
		  "<27>Nov 14 22:13:20 c0ffee000000[%d]: hi\n" },
		{ "rfc3164", "<30>Nov 14 22:13:20 host c0ffee000000[%d]: hi\n",
		  "<27>Nov 14 22:13:20 host c0ffee000000[%d]: hi\n" },
		{ "rfc5424", "<30>1 2023-11-14T22:13:20Z host c0ffee000000 %d c0ffee000000 - hi\n",
		  "<27>1 2023-11-14T22:13:20Z host c0ffee000000 %d c0ffee000000 - hi\n" },
		{ "rfc5424micro",
		  "<30>1 2023-11-14T22:13:20.123456Z host c0ffee000000 %d c0ffee000000 - hi\n",
		  "<27>1 2023-11-14T22:13:20.123456Z host c0ffee000000 %d c0ffee000000 - hi\n" },
	};
	char buf[4096];

	listen_inet(w, SOCK_DGRAM, "udp");
	option(w, "syslog-address", w->address);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		autofree char *out = NULL, *error = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		out = strf(cases[i].out, getpid());
		error = strf(cases[i].error, getpid());
#pragma GCC diagnostic pop
		w->options[1] = (struct log_option){ "syslog-format", cases[i].format };
		begin(w, "syslog");
		say(w, LOG_STDOUT, "hi\n");
		datagram(w, buf, sizeof(buf));
		assert_string_equal(buf, out);
		say(w, LOG_STDERR, "hi\n");
		datagram(w, buf, sizeof(buf));
		assert_string_equal(buf, error);
		log_close(steal(w->log));
	}
}

static void syslog_to_unix_sockets(struct world *w)
{
	char buf[4096];

	listen_unix(w, SOCK_DGRAM);
	option(w, "syslog-address", w->address);
	option(w, "tag", "{{.Name}}");
	option(w, "syslog-facility", "local3");
	begin(w, "syslog");
	say(w, LOG_STDOUT, "one\n");
	datagram(w, buf, sizeof(buf));
	assert_contains(buf, "<158>");
	assert_contains(buf, " web[");
	assert_contains(buf, "]: one\n");
	expect_logged(w, "one\n");
}

/* ------------------------------------------------------------------ gelf */

static void unpack(char *buf, size_t len, char *out, size_t max)
{
	z_stream z = { .next_in = (Bytef *)buf,
		       .avail_in = (uInt)len,
		       .next_out = (Bytef *)out,
		       .avail_out = (uInt)max - 1 };

	assert_int_equal(inflateInit2(&z, MAX_WBITS + 32), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	out[z.total_out] = '\0';
	inflateEnd(&z);
}

static const char gelf_expected[] =
	"{\"version\":\"1.1\",\"host\":\"host\",\"short_message\":\"a \\\"b\\\"\","
	"\"timestamp\":1700000000.123,\"level\":6,\"_command\":\"sh\","
	"\"_container_id\":\"c0ffee0000000000\",\"_container_name\":\"web\","
	"\"_created\":\"2023-11-14T22:13:20.123456Z\",\"_image_id\":\"sha256:abc\","
	"\"_image_name\":\"box\",\"_tag\":\"c0ffee000000\",\"_tier\":\"front\"}";

static void gelf_over_udp(struct world *w)
{
	static const char *const types[] = { "none", "gzip", "zlib" };
	char buf[70000], text[70000];
	size_t n;

	w->labels[0] = (struct log_option){ "tier", "front" };
	listen_inet(w, SOCK_DGRAM, "udp");
	option(w, "gelf-address", w->address);
	option(w, "labels", "tier");
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		w->options[2] = (struct log_option){ "gelf-compression-type", types[i] };
		begin(w, "gelf");
		/* An empty line is not sent, and is stored nevertheless. */
		say(w, LOG_STDOUT, "\na \"b\"\n");
		n = datagram(w, buf, sizeof(buf));
		if (i == 0)
			memcpy(text, buf, n + 1);
		else
			unpack(buf, n, text, sizeof(text));
		assert_string_equal(text, gelf_expected);
		wait_stored(w, 7);
		log_close(steal(w->log));
	}
}

static void gelf_in_chunks(struct world *w)
{
	char buf[4096], id[8];
	autostr struct str all = STR_INIT;
	autofree char *line = malloc(10001);
	unsigned count = 0;

	memset(line, 'x', 10000);
	strcpy(line + 9999, "\n");
	listen_inet(w, SOCK_DGRAM, "udp");
	option(w, "gelf-address", w->address);
	option(w, "gelf-compression-type", "none");
	begin(w, "gelf");
	say(w, LOG_STDOUT, line);
	do {
		size_t n = datagram(w, buf, sizeof(buf));

		assert_true(n <= 1420);
		assert_memory_equal(buf, "\x1e\x0f", 2);
		if (count == 0)
			memcpy(id, buf + 2, 8);
		assert_memory_equal(buf + 2, id, 8);
		assert_int_equal(buf[10], count);
		str_append(&all, buf + 12, n - 12);
	} while (++count < (unsigned)buf[11]);
	assert_true(count >= 8);
	line[9999] = '\0';
	assert_contains(str_text(&all), line);
	assert_true(str_ends(str_text(&all), "\"}"));
	wait_stored(w, 10000);
}

static void gelf_over_tcp(struct world *w)
{
	char buf[4096];

	w->labels[0] = (struct log_option){ "tier", "front" };
	listen_inet(w, SOCK_STREAM, "tcp");
	option(w, "gelf-address", w->address);
	option(w, "labels", "tier");
	begin(w, "gelf");
	say(w, LOG_STDOUT, "a \"b\"\n");
	accept_peer(w);
	receive(w, buf, sizeof(gelf_expected)); /* its NUL too */
	assert_string_equal(buf, gelf_expected);
}

/* ------------------------------------------------------------------ fluentd */

static void fluentd_events(struct world *w)
{
	static const char expected[] = "\x94\xa3"
				       "web\xce\x65\x53\xf1\x00\x84"
				       "\xac"
				       "container_id\xb0"
				       "c0ffee0000000000"
				       "\xae"
				       "container_name\xa4/web"
				       "\xa6"
				       "source\xa6"
				       "stdout\xa3log\xa2hi\x80";
	static const char with_nanos[] = "\x94\xa3"
					 "web\xd7\x00\x65\x53\xf1\x00\x07\x5b\xca\x00";
	char buf[4096];

	listen_unix(w, SOCK_STREAM);
	option(w, "fluentd-address", w->address);
	option(w, "tag", "{{.Name}}");
	begin(w, "fluentd");
	say(w, LOG_STDOUT, "hi\n");
	accept_peer(w);
	receive(w, buf, sizeof(expected) - 1);
	assert_memory_equal(buf, expected, sizeof(expected) - 1);
	log_close(steal(w->log));

	option(w, "fluentd-sub-second-precision", "true");
	begin(w, "fluentd");
	say(w, LOG_STDOUT, "hi\n");
	accept_peer(w);
	receive(w, buf, sizeof(with_nanos) - 1);
	assert_memory_equal(buf, with_nanos, sizeof(with_nanos) - 1);
}

/* The id of the event whose option map ends what has come. */
static void receive_event(struct world *w, char id[33])
{
	char buf[4096];
	size_t have = 0;
	char *chunk = NULL;

	while (!chunk || buf + have < chunk + 7 + 32) {
		ssize_t n;

		wait_readable(w->peer);
		/* Not more than one event: its id is its last text. */
		n = recv(w->peer, buf + have, 1, 0);
		assert_int_equal(n, 1);
		have++;
		chunk = memmem(buf, have,
			       "\xa5"
			       "chunk\xd9",
			       7);
		if (chunk)
			chunk++;
	}
	memcpy(id, chunk + 7, 32);
	id[32] = '\0';
}

static void acknowledge(struct world *w, const char *id)
{
	autostr struct str reply = STR_INIT;

	msgpack_add_map(&reply, 1);
	msgpack_add_text(&reply, "ack", 3);
	msgpack_add_text(&reply, id, strlen(id));
	/* In two pieces, as a network may. */
	assert_int_equal(send(w->peer, reply.data, 3, 0), 3);
	assert_int_equal(task_yield(), 0);
	assert_int_equal(send(w->peer, reply.data + 3, reply.len - 3, 0), reply.len - 3);
}

static void fluentd_acknowledges(struct world *w)
{
	char first[33], second[33], again[33];

	listen_unix(w, SOCK_STREAM);
	option(w, "fluentd-address", w->address);
	option(w, "fluentd-request-ack", "true");
	begin(w, "fluentd");
	say(w, LOG_STDOUT, "one\ntwo\n");
	accept_peer(w);
	receive_event(w, first);
	receive_event(w, second);
	assert_string_not_equal(first, second);
	/* Sent is not yet stored. */
	assert_int_equal(log_stored(w->log, LOG_STDOUT), 0);
	acknowledge(w, first);
	wait_stored(w, 4);

	/* What was not acknowledged comes again on the next connection. */
	accept_peer(w);
	receive_event(w, again);
	assert_string_equal(again, second);
	acknowledge(w, again);
	wait_stored(w, 8);
}

static void msgpack_reads(void **state)
{
	static const struct {
		const char *data;
		size_t len;
		ssize_t result;
		const char *found;
	} cases[] = {
		{ "\x81\xa3"
		  "ack\xa2"
		  "id",
		  8, 8, "id" },
		{ "\x82\xa1x\x92\x01\xc0\xa3"
		  "ack\xd9\x02idZ",
		  15, 14, "id" },
		{ "\xde\x00\x01\xa3"
		  "ack\xda\x00\x02id",
		  12, 12, "id" },
		{ "\x81\xa3"
		  "ack\x05",
		  6, 6, NULL },
		{ "\x80", 1, 1, NULL },
		{ "\x93\xcb\1\2\3\4\5\6\7\x08\xd7\0\1\2\3\4\5\6\7\x08\xc4\1x", 23, 23, NULL },
		{ "\xc1", 1, -EINVAL, NULL },
		{ "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91", 10, -EINVAL, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *text;
		size_t len;

		assert_int_equal(msgpack_find(cases[i].data, cases[i].len, "ack", &text, &len),
				 cases[i].result);
		if (cases[i].found) {
			assert_int_equal(len, strlen(cases[i].found));
			assert_memory_equal(text, cases[i].found, len);
		}
		for (ssize_t n = 0; n < cases[i].result; n++)
			assert_int_equal(msgpack_find(cases[i].data, (size_t)n, "ack", &text, &len),
					 0);
	}
}

/* ------------------------------------------------------------------ faults */

static void progressed(void *arg)
{
	((struct world *)arg)->progressed++;
}

static void blocking_counts_what_was_taken(struct world *w)
{
	autofree char *line = malloc(16000);
	uint64_t written = 0;
	char buf[65536];

	memset(line, 'x', 16000);
	line[15999] = '\n';
	listen_unix(w, SOCK_STREAM);
	option(w, "syslog-address", w->address);
	begin(w, "syslog");
	log_on_progress(w->log, progressed, w);
	accept_peer(w);
	/* The receiver does not read: the socket's buffer fills. */
	for (int i = 0; i < 100; i++) {
		log_write(w->log, LOG_STDOUT, TIME_NS, line, 16000);
		written += 16000;
		flush(w);
		task_yield();
	}
	assert_true(log_stored(w->log, LOG_STDOUT) < written);
	while (log_stored(w->log, LOG_STDOUT) < written) {
		wait_readable(w->peer);
		assert_true(recv(w->peer, buf, sizeof(buf), 0) > 0);
		task_yield();
	}
	assert_int_equal(log_stored(w->log, LOG_STDOUT), written);
	assert_true(w->progressed > 0);
	assert_int_equal(remote_log(w->log)->lost, 0);
}

static void non_blocking_drops_what_does_not_fit(struct world *w)
{
	char buf[4096];

	listen_inet(w, SOCK_STREAM, "tcp");
	option(w, "syslog-address", w->address);
	option(w, "mode", "non-blocking");
	option(w, "max-buffer-size", "100");
	begin(w, "syslog");
	accept_peer(w);
	/* All in one round: the sender comes after it. */
	for (int i = 0; i < 50; i++) {
		snprintf(buf, sizeof(buf), "line %04d\n", i);
		put(w, LOG_STDOUT, buf);
	}
	flush(w);
	assert_int_equal(log_stored(w->log, LOG_STDOUT), 500);
	receive(w, buf, 10 * strlen("<30>Nov 14 22:13:20 c0ffee000000[]: line 0000\n"));
	assert_contains(buf, "line 0000\n");
	assert_null(strstr(buf, "line 0010"));
	/* The cache has all of it. */
	assert_true(log_can_read(w->log));
}

static void a_receiver_that_goes_and_comes_back(struct world *w)
{
	autofree char *expected = NULL;

	listen_unix(w, SOCK_STREAM);
	option(w, "syslog-address", w->address);
	begin(w, "syslog");
	say(w, LOG_STDOUT, "one\n");
	accept_peer(w);
	expected = strf("<30>Nov 14 22:13:20 c0ffee000000[%d]: one\n", getpid());
	receive_text(w, expected);
	wait_stored(w, 4);

	close(w->peer);
	close(w->listener);
	w->peer = w->listener = -1;
	say(w, LOG_STDOUT, "two\n");
	wait_gone(w);
	/* Nothing is held back meanwhile. */
	say(w, LOG_STDOUT, "three\n");
	wait_stored(w, 14);

	listen_unix(w, SOCK_STREAM);
	accept_peer(w);
	free(expected);
	expected = strf("<30>Nov 14 22:13:20 c0ffee000000[%d]: two\n"
			"<30>Nov 14 22:13:20 c0ffee000000[%d]: three\n",
			getpid(), getpid());
	receive_text(w, expected);
	expect_logged(w, "one\ntwo\nthree\n");
}

static void a_start_without_receiver(struct world *w)
{
	struct error err = { 0 };

	listen_unix(w, SOCK_STREAM);
	close(w->listener);
	w->listener = -1;
	option(w, "fluentd-address", w->address);
	assert_ok(open_log(w, "fluentd", &err), err);
	assert_true(log_begin(w->log, &err) < 0);
	assert_contains(err.message, "failed to initialize logging driver: dial unix ");
	assert_contains(err.message, ": connect: connection refused");
	log_close(steal(w->log));

	/* Asynchronously it starts, and what was said comes when the receiver does. */
	option(w, "fluentd-async", "true");
	option(w, "fluentd-retry-wait", "10ms");
	begin(w, "fluentd");
	say(w, LOG_STDOUT, "early\n");
	assert_int_equal(log_stored(w->log, LOG_STDOUT), 6);
	wait_gone(w);
	listen_unix(w, SOCK_STREAM);
	accept_peer(w);
	wait_readable(w->peer);
}

static void a_stalled_receiver_is_left(struct world *w)
{
	autofree char *line = malloc(16001);
	int first;

	memset(line, 'x', 16000);
	strcpy(line + 15999, "\n");
	listen_unix(w, SOCK_STREAM);
	option(w, "fluentd-address", w->address);
	option(w, "fluentd-async", "true");
	option(w, "fluentd-write-timeout", "1ms");
	begin(w, "fluentd");
	for (int i = 0; i < 100; i++)
		say(w, LOG_STDOUT, line);
	accept_peer(w);
	first = dup(w->peer);
	/* It reads nothing: a new connection is tried. */
	accept_peer(w);
	close(first);
}

static void a_closed_log_still_sends(struct world *w)
{
	char buf[4096] = "";

	listen_unix(w, SOCK_STREAM);
	option(w, "syslog-address", w->address);
	begin(w, "syslog");
	put(w, LOG_STDOUT, "last words");
	log_end(w->log, LOG_STDOUT, TIME_NS);
	log_close(steal(w->log));
	accept_peer(w);
	wait_readable(w->peer);
	assert_true(recv(w->peer, buf, sizeof(buf) - 1, 0) > 0);
	assert_contains(buf, "]: last words\n");
}

static void a_crash_loses_and_doubles_nothing(struct world *w)
{
	autofree char *expected = strf("<30>Nov 14 22:13:20 c0ffee000000[%d]: one\n", getpid());
	autofree char *next = strf("<30>Nov 14 22:13:20 c0ffee000000[%d]: two\n", getpid());
	struct error err = { 0 };
	uint64_t stored;

	listen_unix(w, SOCK_STREAM);
	option(w, "syslog-address", w->address);
	begin(w, "syslog");
	say(w, LOG_STDOUT, "one\n");
	accept_peer(w);
	receive_text(w, expected);
	wait_stored(w, 4);
	/* The cache has one line more than the receiver. */
	remote_stop_sender(remote_log(w->log));
	log_write(remote_log(w->log)->cache, LOG_STDOUT, TIME_NS, "two\n", 4);
	flush(w);
	remote_log(w->log)->linger_end_ns = 1;
	log_close(steal(w->log));

	assert_ok(open_log(w, "syslog", &err), err);
	stored = log_stored(w->log, LOG_STDOUT);
	assert_int_equal(stored, 4);
	/* The agent sends again from there. */
	say(w, LOG_STDOUT, "two\n");
	accept_peer(w);
	receive_text(w, next);
	wait_stored(w, 8);
	expect_logged(w, "one\ntwo\n");
}

static void without_a_cache(struct world *w)
{
	listen_inet(w, SOCK_DGRAM, "udp");
	option(w, "syslog-address", w->address);
	option(w, "cache-disabled", "true");
	begin(w, "syslog");
	assert_false(log_can_read(w->log));
}

/* ------------------------------------------------------------------ options */

static void options_have_dockers_words(void **state)
{
	static const struct {
		const char *driver;
		struct log_option options[4];
		const char *message;
	} cases[] = {
		{ "syslog", { { "x", "y" } }, "unknown log opt 'x' for syslog log driver" },
		{ "syslog",
		  { { "syslog-address", "nowhere" } },
		  "syslog-address should be in form proto://address, got nowhere" },
		{ "syslog",
		  { { "syslog-address", "unix:///no/such" } },
		  "stat /no/such: no such file or directory" },
		{ "syslog", { { "syslog-facility", "local9" } }, "invalid syslog facility" },
		{ "syslog", { { "syslog-facility", "24" } }, "invalid syslog facility" },
		{ "syslog", { { "syslog-format", "rfc1" } }, "Invalid syslog format" },
		{ "syslog", { { "cache-max-file", "x" } }, "invalid value for max-file: x" },
		{ "gelf", { { "x", "y" } }, "gelf-address is a required parameter" },
		{ "gelf",
		  { { "gelf-address", "udp://h:1" }, { "x", "y" } },
		  "unknown log opt \"x\" for gelf log driver" },
		{ "gelf",
		  { { "gelf-address", "h:1" } },
		  "gelf-address should be in form proto://address, got h:1" },
		{ "gelf",
		  { { "gelf-address", "unix:///x" } },
		  "gelf: endpoint needs to be TCP or UDP" },
		{ "gelf",
		  { { "gelf-address", "udp://h" } },
		  "gelf: please provide gelf-address as proto://host:port" },
		{ "gelf",
		  { { "gelf-address", "tcp://h:1" }, { "gelf-compression-type", "gzip" } },
		  "compression is only supported on UDP" },
		{ "gelf",
		  { { "gelf-address", "udp://h:1" }, { "gelf-compression-level", "10" } },
		  "unknown value \"10\" for log opt \"gelf-compression-level\" for gelf log "
		  "driver" },
		{ "gelf",
		  { { "gelf-address", "udp://h:1" }, { "gelf-tcp-max-reconnect", "1" } },
		  "\"gelf-tcp-max-reconnect\" is only valid for TCP" },
		{ "gelf",
		  { { "gelf-address", "tcp://h:1" }, { "gelf-tcp-reconnect-delay", "-1" } },
		  "\"gelf-tcp-reconnect-delay\" must be a positive integer" },
		{ "fluentd", { { "x", "y" } }, "unknown log opt 'x' for fluentd log driver" },
		{ "fluentd",
		  { { "fluentd-address", "udp://h" } },
		  "invalid fluentd-address (udp://h): unsupported scheme: 'udp'" },
		{ "fluentd",
		  { { "fluentd-address", "h:1/x" } },
		  "invalid fluentd-address (h:1/x): should not contain a path element" },
		{ "fluentd",
		  { { "fluentd-address", "unix:///" } },
		  "invalid fluentd-address (unix:///): path is empty" },
		{ "fluentd",
		  { { "fluentd-address", "h:x" } },
		  "invalid fluentd-address (h:x): invalid port" },
		{ "fluentd",
		  { { "fluentd-async", "perhaps" } },
		  "strconv.ParseBool: parsing \"perhaps\": invalid syntax" },
		{ "fluentd",
		  { { "fluentd-retry-wait", "1" } },
		  "time: missing unit in duration \"1\"" },
		{ "fluentd",
		  { { "fluentd-async-reconnect-interval", "1ms" } },
		  "must be between 100ms and 10s" },
		{ "fluentd",
		  { { "fluentd-max-retries", "3000000000" } },
		  "invalid fluentd-max-retries: value out of range" },
		{ "journald", { { "x", "y" } }, "unknown log opt 'x' for journald log driver" },
	};
	static const struct log_option syslog[] = { { "syslog-address", "tcp+tls://[::1]:6514" },
						    { "syslog-tls-skip-verify", "true" },
						    { "cache-max-size", "1m" },
						    { 0 } };
	static const struct log_option fluentd[] = { { "fluentd-address", "log.example" },
						     { "fluentd-buffer-limit", "8k" },
						     { "mode", "non-blocking" },
						     { 0 } };
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (log_driver_check(cases[i].driver, cases[i].options, &err) >= 0)
			fail_msg("case %zu was taken", i);
		assert_contains(err.message, cases[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
	assert_ok(log_driver_check("syslog", syslog, &err), err);
	assert_ok(log_driver_check("fluentd", fluentd, &err), err);
	assert_ok(log_driver_check("journald", NULL, &err), err);
}

/* ------------------------------------------------------------------ running */

static void task(void *arg)
{
	struct world *w = arg;

	w->test(w);
	log_close(steal(w->log));
	/* The receivers go first: what is still to be sent has nowhere to go. */
	if (w->peer >= 0)
		close(w->peer);
	if (w->listener >= 0)
		close(w->listener);
	log_group_end(w->group, now_ns());
}

static void run(void (*test)(struct world *w))
{
	struct world w = {
		.test = test, .root = "/tmp/hyper-test-XXXXXX", .listener = -1, .peer = -1
	};
	struct error err = { 0 };

	assert_non_null(mkdtemp(w.root));
	assert_ok(loop_new(&w.loop, &err), err);
	assert_ok(job_pool_new(w.loop, 1, &w.jobs, &err), err);
	assert_ok(log_group_new(&w.group, &err), err);
	assert_ok(task_run(w.loop, task, &w, &err), err);
	job_pool_free(w.jobs);
	loop_free(w.loop);
	file_remove_tree(AT_FDCWD, w.root, NULL);
}

#define RUN(name)                            \
	static void run_##name(void **state) \
	{                                    \
		run(name);                   \
	}
RUN(syslog_formats)
RUN(syslog_to_unix_sockets)
RUN(gelf_over_udp)
RUN(gelf_in_chunks)
RUN(gelf_over_tcp)
RUN(fluentd_events)
RUN(fluentd_acknowledges)
RUN(blocking_counts_what_was_taken)
RUN(non_blocking_drops_what_does_not_fit)
RUN(a_receiver_that_goes_and_comes_back)
RUN(a_start_without_receiver)
RUN(a_stalled_receiver_is_left)
RUN(a_closed_log_still_sends)
RUN(a_crash_loses_and_doubles_nothing)
RUN(without_a_cache)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_have_dockers_words),
		cmocka_unit_test(msgpack_reads),
		cmocka_unit_test(run_syslog_formats),
		cmocka_unit_test(run_syslog_to_unix_sockets),
		cmocka_unit_test(run_gelf_over_udp),
		cmocka_unit_test(run_gelf_in_chunks),
		cmocka_unit_test(run_gelf_over_tcp),
		cmocka_unit_test(run_fluentd_events),
		cmocka_unit_test(run_fluentd_acknowledges),
		cmocka_unit_test(run_blocking_counts_what_was_taken),
		cmocka_unit_test(run_non_blocking_drops_what_does_not_fit),
		cmocka_unit_test(run_a_receiver_that_goes_and_comes_back),
		cmocka_unit_test(run_a_start_without_receiver),
		cmocka_unit_test(run_a_stalled_receiver_is_left),
		cmocka_unit_test(run_a_closed_log_still_sends),
		cmocka_unit_test(run_a_crash_loses_and_doubles_nothing),
		cmocka_unit_test(run_without_a_cache),
	};

	/* Texts are about one time zone. */
	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
