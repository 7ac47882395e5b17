#include "tests/unit/test.h"

#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/api/docker/stream.h"

static void times(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} exact[] = {
		{ NULL, 0 },
		{ "", 0 },
		{ "0", 0 },
		{ "1577836800", 1577836800000000000ull },
		{ "1577836800.5", 1577836800500000000ull },
		{ "1577836800.000000001", 1577836800000000001ull },
		{ "2020-01-01T00:00:00Z", 1577836800000000000ull },
		{ "2020-01-01T00:00:00.25Z", 1577836800250000000ull },
		{ "2020-01-01T01:30:00+01:30", 1577836800000000000ull },
	};
	static const char *const wrong[] = { "never",
					     "10 minutes",
					     "1.2.3",
					     "2020-13-01T00:00:00Z",
					     "99999999999999999999",
					     "5x",
					     "2020-01-01T00:00:00Zx" };
	uint64_t ns, now = realtime_ns();
	struct error err = { 0 };
	char text[API_TIME_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(exact); i++) {
		assert_ok(api_parse_time(exact[i].text, &ns, &err), err);
		assert_int_equal(ns, exact[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (api_parse_time(wrong[i], &ns, &err) == 0)
			fail_msg("accepted '%s'", wrong[i]);
	assert_ok(api_parse_time("1h30m", &ns, &err), err);
	assert_true(ns >= now - 5400 * NSEC_PER_SEC && ns < now - 5300 * NSEC_PER_SEC);
	assert_string_equal(api_time(1577836800000000001ull, text),
			    "2020-01-01T00:00:00.000000001Z");
	assert_string_equal(api_time(0, text), "0001-01-01T00:00:00Z");
}

static void signals(void **state)
{
	static const struct {
		const char *text;
		int number;
	} cases[] = { { "KILL", 9 },   { "sigterm", 15 }, { "SIGINT", 2 },    { "9", 9 },
		      { "RTMIN", 34 }, { "RTMIN+3", 37 }, { "SIGRTMAX", 64 }, { "RTMAX-14", 50 } };
	static const char *const wrong[] = { "", "SIG", "NONE", "0", "65", "-9", "RTMIN+31", "9x" };
	struct error err = { 0 };
	int number;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_ok(api_parse_signal(cases[i].text, &number, &err), err);
		assert_int_equal(number, cases[i].number);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (api_parse_signal(wrong[i], &number, &err) == 0)
			fail_msg("accepted '%s'", wrong[i]);
	assert_string_equal(err.message, "Invalid signal: 9x");
}

static void durations(void **state)
{
	static const struct {
		uint64_t seconds;
		const char *text;
	} cases[] = { { 0, "Less than a second" },
		      { 1, "1 second" },
		      { 59, "59 seconds" },
		      { 60, "About a minute" },
		      { 600, "10 minutes" },
		      { 3600, "About an hour" },
		      { 3 * 3600, "3 hours" },
		      { 3 * 86400, "3 days" },
		      { 86400 * 21, "3 weeks" },
		      { 86400 * 90, "3 months" },
		      { 86400ull * 365 * 3, "3 years" } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		autofree char *text = api_human_duration(cases[i].seconds * NSEC_PER_SEC);

		assert_string_equal(text, cases[i].text);
	}
}

static void detach(const char *keys, const char *in, const char *out, bool detached)
{
	struct detach_keys state;
	struct error err = { 0 };
	unsigned char buffer[64];
	size_t n = 0;
	bool done = false;

	assert_ok(detach_keys_parse(keys, &state, &err), err);
	/* Byte by byte: the sequence may come in pieces. */
	for (const char *p = in; *p && !done; p++)
		n += detach_keys_filter(&state, (const unsigned char *)p, 1, buffer + n, &done);
	buffer[n] = 0;
	assert_string_equal((char *)buffer, out);
	assert_int_equal(done, detached);
}

static void detach_keys(void **state)
{
	struct detach_keys keys;
	struct error err = { 0 };

	detach(NULL, "ab\x10\x11", "ab", true);
	detach("", "ab\x10z\x10\x11", "ab\x10z", true);
	detach("ctrl-a", "x\x01y", "x", true);
	detach("a,b,c", "aabxabc", "aabx", true);
	detach("ctrl-@", "abc", "abc", false);
	detach(NULL, "\x10\x10\x11", "\x10", true);
	assert_int_equal(detach_keys_parse("ctrl-", &keys, &err), -EINVAL);
	assert_int_equal(detach_keys_parse("ctrl-1", &keys, &err), -EINVAL);
	assert_int_equal(detach_keys_parse("ab", &keys, &err), -EINVAL);
	assert_int_equal(detach_keys_parse("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", &keys, &err),
			 -EINVAL);
}

static void headers(void **state)
{
	unsigned char header[STREAM_HEADER_BYTES];

	stream_header(header, STREAM_STDERR, 0x01020304);
	assert_memory_equal(header, "\2\0\0\0\1\2\3\4", 8);
	stream_header(header, STREAM_STDOUT, 1);
	assert_memory_equal(header, "\1\0\0\0\0\0\0\1", 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times),     cmocka_unit_test(signals),
		cmocka_unit_test(durations), cmocka_unit_test(detach_keys),
		cmocka_unit_test(headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
