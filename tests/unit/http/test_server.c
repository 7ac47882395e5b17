/* The HTTP server over socket pairs: what clients send, whole, in pieces, malformed or never. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/http/http.h"

static struct loop *loop;
static struct http_server *server;
static unsigned canceled_count, finished_count;

/* ------------------------------------------------------------------ handlers */

static int echo(struct http_request *request, struct error *err)
{
	autofree char *text = NULL;
	size_t len;
	int r = http_body_text(request, 1000, &text, &len, err);

	if (r < 0)
		return r;
	return http_respond(request, 200, "text/plain", text, len);
}

static int hello(struct http_request *request, struct error *err)
{
	return http_respond(request, 200, "text/plain", "hello", 5);
}

static int ignore_body(struct http_request *request, struct error *err)
{
	return http_respond_empty(request, 204);
}

static int show(struct http_request *request, struct error *err)
{
	autofree char *text = strf("name=%s all=%d", http_param(request, "name"),
				   http_query_bool(request, "all", false));

	return http_respond(request, 200, "text/plain", text, strlen(text));
}

static int missing(struct http_request *request, struct error *err)
{
	return error_set(err, ERROR_NOT_FOUND, "No such thing: %s", http_param(request, "name"));
}

static int stream(struct http_request *request, struct error *err)
{
	int r = http_stream_begin(request, 200, "application/json");

	for (int i = 0; i < 3 && r == 0; i++)
		r = http_stream_write(request, "abc", 3);
	return r;
}

static int flood(struct http_request *request, struct error *err)
{
	autofree char *piece = calloc(1, 100000);
	int r = http_stream_begin(request, 200, "text/plain");

	for (int i = 0; i < 100 && r == 0; i++)
		r = http_stream_write(request, piece, 100000);
	finished_count++;
	return r;
}

static int hijack(struct http_request *request, struct error *err)
{
	char data[64];
	ssize_t n;
	int r = http_hijack(request, "application/vnd.docker.raw-stream", err);

	if (r < 0)
		return r;
	while ((n = http_hijack_read(request, data, sizeof(data))) > 0)
		http_hijack_write(request, "<", 1, data, (size_t)n);
	http_hijack_write(request, ".", 1, "", 0);
	return 0;
}

static int wait_for_ever(struct http_request *request, struct error *err)
{
	struct cond never = COND_INIT(never);
	int r;

	cond_init(&never);
	r = cond_wait(&never, DEADLINE_NEVER);
	if (r == -ECANCELED)
		canceled_count++;
	return error_set(err, ERROR_CANCELED, "canceled");
}

static int pump(struct http_request *request, struct error *err)
{
	struct http_body_pump *body;
	size_t total = 0;
	char data[4096];
	int fd, r, result = 0;

	r = http_body_pump_begin(request, &body, &fd, err);
	if (r < 0)
		return r;
	for (;;) {
		ssize_t n;

		r = task_wait_fd(fd, EPOLLIN, DEADLINE_NEVER, NULL);
		if (r < 0)
			break;
		n = fd_read(fd, data, sizeof(data));
		if (n < 0)
			result = (int)n;
		if (n <= 0)
			break;
		total += (size_t)n;
		if (http_query_bool(request, "enough", false))
			break;
	}
	r = http_body_pump_end(body, err);
	if (r < 0) {
		assert_int_equal(result, -ECONNRESET);
		return r;
	}
	assert_int_equal(result, 0);
	snprintf(data, sizeof(data), "%zu", total);
	return http_respond(request, 200, "text/plain", data, strlen(data));
}

static int answer_pump(struct http_request *request, struct error *err)
{
	struct http_answer_pump *answer;
	int fd, r, result = 0;

	r = http_answer_pump_begin(request, "application/x-tar", &answer, &fd, err);
	if (r < 0)
		return r;
	if (http_query_bool(request, "some", true))
		result = fd_write_all(fd, "tar!", 4);
	if (http_query_bool(request, "fail", false)) {
		task_yield();
		task_yield();
		result = error_set(err, ERROR_FAILED, "broken in the middle");
	}
	return http_answer_pump_end(answer, result, err);
}

static const struct http_route routes[] = {
	{ HTTP_POST_BIT, "/echo", echo },
	{ HTTP_GET_BIT | HTTP_HEAD_BIT, "/hello", hello },
	{ HTTP_POST_BIT, "/ignore", ignore_body },
	{ HTTP_GET_BIT, "/things/{name}/json", show },
	{ HTTP_GET_BIT, "/images/{name*}/json", show },
	{ HTTP_DELETE_BIT, "/things/{name}", missing },
	{ HTTP_GET_BIT, "/stream", stream },
	{ HTTP_GET_BIT, "/flood", flood },
	{ HTTP_POST_BIT, "/hijack", hijack },
	{ HTTP_POST_BIT, "/wait", wait_for_ever, HTTP_ROUTE_CANCEL },
	{ HTTP_POST_BIT, "/pump", pump },
	{ HTTP_GET_BIT, "/answer", answer_pump },
};

static const struct http_server_config config = {
	.routes = routes,
	.route_count = ARRAY_SIZE(routes),
	.head_deadline_ms = 100,
	.idle_deadline_ms = 200,
	.body_deadline_ms = 100,
};

/* ------------------------------------------------------------------ the client */

static int client_open(void)
{
	struct error err = { 0 };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	assert_ok(http_server_serve(server, fds[1], NULL, &err), err);
	return fds[0];
}

static void client_send(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			task_wait_fd(fd, EPOLLOUT, DEADLINE_NEVER, NULL);
			continue;
		}
		if (n < 0)
			return; /* the server has had enough */
		data += n;
		len -= (size_t)n;
	}
}

/* Until the server's end; a reset is an end too. */
static char *client_read_all(int fd)
{
	struct str text = STR_INIT;
	char data[4096];

	for (;;) {
		ssize_t n = fd_read(fd, data, sizeof(data));

		if (n == -EAGAIN) {
			assert_int_equal(task_wait_fd(fd, EPOLLIN, deadline_in_ms(20000), NULL), 0);
			continue;
		}
		if (n <= 0)
			break;
		str_append(&text, data, (size_t)n);
	}
	str_add(&text, "");
	return str_steal(&text);
}

/* Sends TEXT in pieces of PIECE bytes (0: whole), half-closes, and reads everything. */
static char *exchange(const char *text, size_t len, size_t piece)
{
	autoclose int fd = client_open();

	if (!piece)
		piece = len;
	for (size_t at = 0; at < len; at += piece) {
		client_send(fd, text + at, len - at < piece ? len - at : piece);
		task_yield();
		task_yield();
	}
	shutdown(fd, SHUT_WR);
	return client_read_all(fd);
}

static void expect(const char *request, const char *part)
{
	autofree char *whole = exchange(request, strlen(request), 0);
	autofree char *bytes = exchange(request, strlen(request), 1);

	assert_contains(whole, part);
	assert_contains(bytes, part);
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	while ((text = strstr(text, part))) {
		text += strlen(part);
		n++;
	}
	return n;
}

/* ------------------------------------------------------------------ tests */

static void simple_requests(void *arg)
{
	autofree char *head = NULL;

	expect("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n");
	expect("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", "Content-Length: 5\r\n\r\nhello");
	expect("GET http://host/hello HTTP/1.1\r\nHost: x\r\n\r\n", "hello");
	expect("GET /hello HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n");
	expect("GET /hello HTTP/1.0\r\n\r\n", "Connection: close\r\n");
	expect("DELETE /things/a HTTP/1.1\r\nHost: x\r\n\r\n",
	       "{\"message\":\"No such thing: a\"}");
	expect("DELETE /things/a HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found");
	expect("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "{\"message\":\"page not found\"}");
	expect("PATCH /hello HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found");
	head = exchange("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n", 33, 0);
	assert_contains(head, "Content-Length: 5\r\n");
	assert_true(str_ends(head, "\r\n\r\n"));
}

static void bodies(void *arg)
{
	static const char chunked[] = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
				      "chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: "
				      "x\r\n\r\nGET /hello HTTP/1.1\r\n\r\n";
	autofree char *big = NULL;

	expect("POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "\r\n\r\nabc");
	expect(chunked, "\r\n\r\nabcde");
	expect(chunked, "\r\n\r\nhello");
	expect("POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
	       "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK");
	expect("POST /echo HTTP/1.1\r\nExpect: miracles\r\nContent-Length: 3\r\n\r\nabc",
	       "HTTP/1.1 417 ");
	expect("POST /echo HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", "HTTP/1.1 413 ");
	expect("POST /echo HTTP/1.1\r\nContent-Length: 9999999999999999999999\r\n\r\n",
	       "HTTP/1.1 400 ");
	expect("POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 ");
	expect("POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc", "unexpected end");
	expect("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 ");
	expect("POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nzz\r\n", "HTTP/1.1 400 ");
	/* Two lengths are how requests are smuggled. */
	expect("POST /echo HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
	       "HTTP/1.1 400 ");
	expect("POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: "
	       "chunked\r\n\r\n0\r\n\r\n",
	       "HTTP/1.1 400 ");

	big = strf("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n%2000s\r\n0\r\n"
		   "\r\n",
		   "x");
	expect(big, "HTTP/1.1 413 ");
}

static void pipelining(void *arg)
{
	static const char text[] =
		"GET /hello HTTP/1.1\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Length: "
		"3\r\n\r\nabcPOST /ignore HTTP/1.1\r\nContent-Length: 4\r\n\r\nxxxxGET /stream "
		"HTTP/1.1\r\n\r\nGET /hello HTTP/1.1\r\nConnection: close\r\n\r\nGET /hello "
		"HTTP/1.1\r\n\r\n";

	for (size_t piece = 0; piece < 8; piece++) {
		autofree char *answer = exchange(text, sizeof(text) - 1, piece);

		assert_int_equal(count(answer, "HTTP/1.1 200 OK"), 4);
		assert_int_equal(count(answer, "HTTP/1.1 204 No Content"), 1);
		assert_int_equal(count(answer, "hello"), 2); /* nothing after "close" */
		assert_contains(answer, "3\r\nabc\r\n3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n");
	}
}

static void queries_and_paths(void *arg)
{
	expect("GET /things/a%20b/json?all=1 HTTP/1.1\r\n\r\n", "name=a b all=1");
	expect("GET /things/a/json?all=False HTTP/1.1\r\n\r\n", "name=a all=0");
	expect("GET /things/a/json?x=1&&all=&y HTTP/1.1\r\n\r\n", "name=a all=0");
	expect("GET /images/reg.io:5000/a/b%3Ac/json HTTP/1.1\r\n\r\n", "name=reg.io:5000/a/b:c ");
	expect("GET //things//a/json HTTP/1.1\r\n\r\n", "name=a ");
	expect("GET /images/json HTTP/1.1\r\n\r\n", "404");
	expect("GET /images//json HTTP/1.1\r\n\r\n", "404");
	expect("GET /things/..%2F..%2Fetc/json HTTP/1.1\r\n\r\n", "name=../../etc ");
	expect("GET /things/a%00b/json HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ");
	expect("GET /things/a%zz/json HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ");
	expect("GET /things/a/json?all=%0 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ");
	expect("GET * HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ");
}

static void malformed(void *arg)
{
	autostr struct str text = STR_INIT;
	autofree char *answer = NULL, *fields = NULL;

	expect("\x16\x03\x01 TLS to a plain port\r\n\r\n", "HTTP/1.1 400 ");
	expect("GET /hello HTTP/2.0\r\n\r\n", "HTTP/1.1 505 ");
	expect("GET /hello HTTP/1.1\r\nbad header\r\n\r\n", "HTTP/1.1 400 ");
	expect("CONNECT host:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ");

	str_add(&text, "GET /hello?");
	for (size_t i = 0; i < HTTP_MAX_HEAD_BYTES; i++)
		str_addc(&text, 'x');
	str_add(&text, " HTTP/1.1\r\n\r\n");
	answer = exchange(text.data, text.len, 0);
	assert_contains(answer, "HTTP/1.1 414 ");

	str_clear(&text);
	str_add(&text, "GET /hello HTTP/1.1\r\n");
	for (unsigned i = 0; i <= HTTP_MAX_HEADERS; i++)
		str_addf(&text, "A%u: b\r\n", i);
	str_add(&text, "\r\n");
	fields = exchange(text.data, text.len, 0);
	assert_contains(fields, "HTTP/1.1 431 ");

	/* Just under the limit is fine. */
	str_clear(&text);
	str_add(&text, "GET /hello?x=");
	for (size_t i = 0; i < HTTP_MAX_HEAD_BYTES - 1000; i++)
		str_addc(&text, 'x');
	str_add(&text, " HTTP/1.1\r\n\r\n");
	free(answer);
	answer = exchange(text.data, text.len, 0);
	assert_contains(answer, "\r\n\r\nhello");
}

static void slow_senders(void *arg)
{
	autoclose int head = client_open(), body = client_open(), idle = client_open();
	autofree char *head_answer = NULL, *body_answer = NULL, *idle_answer = NULL;

	client_send(head, "GET /hel", 8);
	client_send(body, "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", 44);
	head_answer = client_read_all(head);
	assert_contains(head_answer, "HTTP/1.1 408 ");
	body_answer = client_read_all(body);
	assert_contains(body_answer, "nothing came in time");
	idle_answer = client_read_all(idle); /* a connection without a request just ends */
	assert_string_equal(idle_answer, "");
}

static void hijacked(void *arg)
{
	static const char upgrade[] =
		"POST /hijack HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
		"Content-Type: text/plain\r\n\r\nleft over\r\n\r\n";
	static const char bare[] =
		"POST /hijack HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET /hello HTTP/1.1\r\n\r\n";
	static const char with_body[] =
		"POST /echo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
		"Content-Length: 3\r\n\r\nabcGET /hello HTTP/1.1\r\n\r\n";
	autofree char *answer = NULL, *body = NULL;

	expect(upgrade, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream"
			"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n<");
	answer = exchange(upgrade, sizeof(upgrade) - 1, 0);
	assert_contains(answer, "<left over\r\n\r\n.");
	assert_true(str_ends(answer, "."));
	free(answer);
	answer = exchange(bare, sizeof(bare) - 1, 0);
	assert_contains(answer, "HTTP/1.1 200 OK\r\n");
	assert_contains(answer, "<GET /hello HTTP/1.1\r\n\r\n.");
	/* An upgrade that the handler does not take: the connection goes on as HTTP. */
	body = exchange(with_body, sizeof(with_body) - 1, 0);
	assert_contains(body, "\r\n\r\nabc");
	assert_contains(body, "\r\n\r\nhello");
}

static void client_leaves(void *arg)
{
	int fd = client_open();

	canceled_count = 0;
	client_send(fd, "POST /wait HTTP/1.1\r\n\r\n", 23);
	for (int i = 0; i < 5; i++)
		task_yield();
	shutdown(fd, SHUT_WR); /* a half-close is not leaving */
	for (int i = 0; i < 5; i++)
		task_yield();
	assert_int_equal(canceled_count, 0);
	close(fd);
	while (!canceled_count)
		task_yield();

	finished_count = 0;
	fd = client_open();
	client_send(fd, "GET /flood HTTP/1.1\r\n\r\n", 23);
	for (int i = 0; i < 5; i++)
		task_yield();
	assert_int_equal(finished_count, 0); /* waits for a client that does not read */
	close(fd);
	while (!finished_count)
		task_yield();

	/* Leaving in the middle of anything frees what was held. */
	for (size_t len = 0; len < 60; len++) {
		static const char text[] =
			"POST /pump HTTP/1.1\r\nContent-Length: 12\r\n\r\n0123456789abGET";

		fd = client_open();
		client_send(fd, text, len < sizeof(text) ? len : sizeof(text) - 1);
		task_yield();
		close(fd);
	}
	while (http_server_connection_count(server))
		task_yield();
}

static void pumps(void *arg)
{
	autostr struct str text = STR_INIT;
	autofree char *answer = NULL, *cut = NULL, *enough = NULL;

	str_addf(&text, "POST /pump HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n%1000000s", "");
	answer = exchange(text.data, text.len, 0);
	assert_contains(answer, "\r\n\r\n1000000");
	cut = exchange(text.data, text.len - 1, 0);
	assert_contains(cut, "unexpected end");
	str_clear(&text);
	str_addf(&text, "POST /pump?enough=1 HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n%1000000s",
		 "");
	enough = exchange(text.data, text.len, 0);
	assert_contains(enough, "HTTP/1.1 200 OK");
	assert_contains(enough, "Connection: close");

	expect("GET /answer HTTP/1.1\r\n\r\n", "4\r\ntar!\r\n0\r\n\r\n");
	expect("GET /answer?some=0&fail=1 HTTP/1.1\r\n\r\n", "broken in the middle");
	free(answer);
	answer = exchange("GET /answer?fail=1 HTTP/1.1\r\n\r\n", 32, 0);
	assert_contains(answer, "HTTP/1.1 200 OK");
	assert_false(str_ends(answer, "0\r\n\r\n")); /* the client can tell that it is cut */
}

static void headers_cannot_be_split(void *arg)
{
	struct http_request request = { 0 };

	assert_int_equal(http_add_header(&request, "X", "a\r\nEvil: 1"), 0);
	assert_string_equal(request.extra[0].value, "a  Evil: 1");
	free(request.extra[0].name);
	free(request.extra[0].value);
	free(request.extra);
}

static void server_stops(void *arg)
{
	int fd = client_open(), other = client_open();
	autofree char *answer = NULL;

	canceled_count = 0;
	client_send(fd, "POST /wait HTTP/1.1\r\n\r\n", 23);
	for (int i = 0; i < 5; i++)
		task_yield();
	http_server_close(server);
	client_send(other, "GET /hello HTTP/1.1\r\n\r\n", 23);
	answer = client_read_all(other);
	assert_contains(answer, "HTTP/1.1 503 ");
	http_server_free(server);
	server = NULL;
	assert_int_equal(canceled_count, 1);
	close(fd);
	close(other);
}

static void in_task(task_fn *fn)
{
	struct error err = { 0 };

	assert_ok(http_server_new(loop, &config, &server, &err), err);
	assert_ok(task_run(loop, fn, NULL, &err), err);
	while (server && http_server_connection_count(server))
		assert_ok(loop_run_once(loop, -1, &err), err);
	if (server)
		http_server_free(server);
}

#define TASK_TEST(name)                       \
	static void test_##name(void **state) \
	{                                     \
		in_task(name);                \
	}
TASK_TEST(simple_requests)
TASK_TEST(bodies)
TASK_TEST(pipelining)
TASK_TEST(queries_and_paths)
TASK_TEST(malformed)
TASK_TEST(slow_senders)
TASK_TEST(hijacked)
TASK_TEST(client_leaves)
TASK_TEST(pumps)
TASK_TEST(headers_cannot_be_split)
TASK_TEST(server_stops)

static int setup(void **state)
{
	return loop_new(&loop, NULL);
}

static int teardown(void **state)
{
	loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simple_requests),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_pipelining),
		cmocka_unit_test(test_queries_and_paths),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_slow_senders),
		cmocka_unit_test(test_hijacked),
		cmocka_unit_test(test_client_leaves),
		cmocka_unit_test(test_pumps),
		cmocka_unit_test(test_headers_cannot_be_split),
		cmocka_unit_test(test_server_stops),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
