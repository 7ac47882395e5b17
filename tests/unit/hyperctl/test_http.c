#include "tests/unit/test.h"

#include "hyperctl/http.h"

static struct error err;

static void with_every_cut(const char *data, size_t len, bool hijack,
			   void (*check)(struct http_reader *reader))
{
	for (size_t piece = 1; piece <= len; piece++) {
		struct http_reader reader;

		http_reader_init(&reader, hijack);
		for (size_t i = 0; i < len; i += piece)
			assert_ok(http_reader_feed(&reader, data + i,
						   len - i < piece ? len - i : piece, &err),
				  err);
		check(&reader);
		http_reader_done(&reader);
	}
}

static void expect_json(struct http_reader *reader)
{
	assert_true(reader->ended);
	assert_int_equal(reader->status, 404);
	assert_string_equal(reader->content_type, "application/json");
	assert_string_equal(str_text(&reader->body), "{\"a\":1}");
}

static void expect_hijacked(struct http_reader *reader)
{
	assert_true(reader->hijacked);
	assert_false(reader->ended);
	assert_string_equal(str_text(&reader->body), "HTTP/1.1 raw bytes\r\n\r\n");
	assert_ok(http_reader_finish(reader, &err), err);
	assert_true(reader->ended);
}

static void expect_open_body(struct http_reader *reader)
{
	assert_false(reader->ended);
	assert_string_equal(str_text(&reader->body), "until the end");
	assert_ok(http_reader_finish(reader, &err), err);
	assert_true(reader->ended);
}

#define EVERY_CUT(text, hijack, check) with_every_cut(text, sizeof(text) - 1, hijack, check)

static void bodies(void **state)
{
	EVERY_CUT("HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: "
		  "7\r\n\r\n{\"a\":1}",
		  false, expect_json);
	EVERY_CUT("HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\nTransfer-Encoding: "
		  "chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n",
		  false, expect_json);
	EVERY_CUT("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Type: "
		  "application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
		  false, expect_json);
	EVERY_CUT("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end", false,
		  expect_open_body);
}

static void hijacks_both_ways(void **state)
{
	EVERY_CUT("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
		  "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\nHTTP/1.1 raw bytes\r\n\r\n",
		  true, expect_hijacked);
	EVERY_CUT("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
		  "HTTP/1.1 raw bytes\r\n\r\n",
		  true, expect_hijacked);
	/* A refusal is an ordinary answer. */
	EVERY_CUT("HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: "
		  "7\r\n\r\n{\"a\":1}",
		  true, expect_json);
}

static int feed(const char *text, size_t len)
{
	struct http_reader reader;
	int r;

	http_reader_init(&reader, false);
	r = http_reader_feed(&reader, text, len, &err);
	if (r == 0)
		r = http_reader_finish(&reader, &err);
	http_reader_done(&reader);
	return r;
}

static void broken_answers(void **state)
{
	static const char whole[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

	/* Cut anywhere, it is not taken for whole. */
	for (size_t len = 0; len < sizeof(whole) - 1; len++)
		assert_true(feed(whole, len) < 0);
	assert_ok(feed(whole, sizeof(whole) - 1), err);
	assert_true(feed("SSH-2.0-x\r\n", 11) < 0);
	assert_contains(err.message, "not HTTP");
	assert_true(feed("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", 40) < 0);
	assert_true(feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 51) < 0);
}

static void header_is_bounded(void **state)
{
	struct http_reader reader;
	int r;

	http_reader_init(&reader, false);
	assert_ok(http_reader_feed(&reader, "HTTP/1.1 200 OK\r\n", 17, &err), err);
	do
		r = http_reader_feed(&reader, "A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n",
				     46, &err);
	while (r == 0 && reader.header_bytes < (1u << 20));
	assert_int_equal(r, -E2BIG);
	http_reader_done(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies),
		cmocka_unit_test(hijacks_both_ways),
		cmocka_unit_test(broken_answers),
		cmocka_unit_test(header_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
