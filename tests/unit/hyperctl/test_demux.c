#include "tests/unit/test.h"

#include "base/str.h"
#include "hyperctl/demux.h"

static struct error err;

static const char frames[] = "\1\0\0\0\0\0\0\5hello"
			     "\2\0\0\0\0\0\0\3err"
			     "\1\0\0\0\0\0\0\0"
			     "\1\0\0\0\0\0\0\1!";

/* Feeds DATA in pieces; what came out goes to OUT[stream]. */
static int feed(const char *data, size_t len, size_t piece, struct str out[4], struct demux *demux)
{
	for (size_t i = 0; i < len; i += piece) {
		const char *p = data + i, *text;
		size_t left = len - i < piece ? len - i : piece, n;
		enum demux_stream stream;
		int r;

		while ((r = demux_next(demux, &p, &left, &stream, &text, &n, &err)) > 0)
			str_append(&out[stream], text, n);
		if (r < 0)
			return r;
		assert_int_equal(left, 0);
	}
	return 0;
}

static void every_cut(void **state)
{
	for (size_t piece = 1; piece < sizeof(frames); piece++) {
		struct str out[4] = { STR_INIT };
		struct demux demux = { 0 };

		assert_ok(feed(frames, sizeof(frames) - 1, piece, out, &demux), err);
		assert_string_equal(str_text(&out[DEMUX_STDOUT]), "hello!");
		assert_string_equal(str_text(&out[DEMUX_STDERR]), "err");
		assert_true(demux_at_boundary(&demux));
		for (int i = 0; i < 4; i++)
			str_done(&out[i]);
	}
}

static void knows_a_cut_stream(void **state)
{
	/* Where the frames above begin and end: only there may the stream end. */
	static const size_t boundaries[] = { 0, 13, 24, 32, 41 };

	for (size_t len = 0; len < sizeof(frames); len++) {
		struct str out[4] = { STR_INIT };
		struct demux demux = { 0 };
		bool boundary = false;

		for (size_t i = 0; i < ARRAY_SIZE(boundaries); i++)
			boundary |= boundaries[i] == len;
		assert_ok(feed(frames, len, 64, out, &demux), err);
		assert_int_equal(demux_at_boundary(&demux), boundary);
		for (int i = 0; i < 4; i++)
			str_done(&out[i]);
	}
}

static void refuses_other_data(void **state)
{
	struct str out[4] = { STR_INIT };
	struct demux demux = { 0 };

	assert_int_equal(feed("HTTP/1.1 200 OK", 15, 15, out, &demux), -EINVAL);
	assert_contains(err.message, "not framed");
	demux = (struct demux){ 0 };
	assert_int_equal(feed("\4\0\0\0\0\0\0\1x", 9, 9, out, &demux), -EINVAL);
	demux = (struct demux){ 0 };
	assert_int_equal(feed("\1\0\0\1\0\0\0\1x", 9, 9, out, &demux), -EINVAL);
}

static void a_huge_frame_is_not_held(void **state)
{
	struct str out[4] = { STR_INIT };
	struct demux demux = { 0 };

	assert_ok(feed("\1\0\0\0\xff\xff\xff\xffxyz", 11, 11, out, &demux), err);
	assert_string_equal(str_text(&out[DEMUX_STDOUT]), "xyz");
	assert_int_equal(demux.left, 0xffffffffu - 3);
	str_done(&out[DEMUX_STDOUT]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cut),
		cmocka_unit_test(knows_a_cut_stream),
		cmocka_unit_test(refuses_other_data),
		cmocka_unit_test(a_huge_frame_is_not_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
