#include "tests/unit/test.h"

#include "hyperd/http/websocket.h"

static size_t frame(unsigned char *to, unsigned first, const char *text)
{
	static const unsigned char mask[] = { 1, 2, 3, 4 };
	size_t len = strlen(text);

	to[0] = (unsigned char)first;
	to[1] = (unsigned char)(0x80 | len);
	memcpy(to + 2, mask, 4);
	for (size_t i = 0; i < len; i++)
		to[6 + i] = (unsigned char)text[i] ^ mask[i % 4];
	return 6 + len;
}

/* In pieces of every size: a message, an empty one, a continued one, a close. */
static void pieces(void **state)
{
	unsigned char in[200], out[200];
	size_t len = frame(in, 0x82, "hello ");

	len += frame(in + len, 0x81, "");
	len += frame(in + len, 0x02, "wo");
	len += frame(in + len, 0x80, "rld");
	len += frame(in + len, 0x88, "");
	len += frame(in + len, 0x82, "after the close");
	for (size_t piece = 1; piece <= len; piece++) {
		struct http_websocket ws = { 0 };
		size_t n = 0;

		for (size_t at = 0; at < len; at += piece) {
			ssize_t got =
				http_websocket_decode(&ws, NULL, in + at,
						      len - at < piece ? len - at : piece, out + n);

			assert_true(got >= 0);
			n += (size_t)got;
		}
		assert_int_equal(n, 11);
		assert_memory_equal(out, "hello world", 11);
		assert_true(ws.closed);
	}
}

static void long_frames(void **state)
{
	static const unsigned char two[] = { 0x82, 0xfe, 0x01, 0x00, 0, 0, 0, 0 };
	static unsigned char in[8 + 256], out[256];
	struct http_websocket ws = { 0 };
	unsigned char header[HTTP_WEBSOCKET_HEADER_BYTES];

	memcpy(in, two, sizeof(two));
	assert_int_equal(http_websocket_decode(&ws, NULL, in, sizeof(in), out), 256);
	assert_int_equal(http_websocket_header(header, 125), 2);
	assert_int_equal(http_websocket_header(header, 126), 4);
	assert_memory_equal(header, "\x82\x7e\x00\x7e", 4);
	assert_int_equal(http_websocket_header(header, 65536), 10);
	assert_memory_equal(header, "\x82\x7f\0\0\0\0\0\1\0\0", 10);
}

static void wrong_frames(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{ "\x82\x01\0\0\0\0x", 7 },      /* not masked */
		{ "\xc2\x81\0\0\0\0x", 7 },      /* a reserved bit */
		{ "\x83\x81\0\0\0\0x", 7 },      /* an unknown opcode */
		{ "\x89\xfe\0\x7e\0\0\0\0", 8 }, /* a control frame that is too long */
		{ "\x09\x80\0\0\0\0", 6 },       /* a control frame in pieces */
	};
	unsigned char out[16];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http_websocket ws = { 0 };

		assert_int_equal(http_websocket_decode(&ws, NULL,
						       (const unsigned char *)cases[i].bytes,
						       cases[i].len, out),
				 -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces),
		cmocka_unit_test(long_frames),
		cmocka_unit_test(wrong_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
