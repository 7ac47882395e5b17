#include "tests/unit/test.h"

#include <stdlib.h>

#include "hyperctl/units.h"

static struct error err;

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "1024", 1024 },
		{ "10b", 10 },
		{ "10B", 10 },
		{ "1k", 1024 },
		{ "512m", 512ull << 20 },
		{ "1.5g", 3ull << 29 },
		{ "64KiB", 64 << 10 },
		{ "64kb", 64 << 10 },
		{ "2 GB", 2ull << 30 },
		{ "1t", 1ull << 40 },
		{ ".5k", 512 },
		{ "8191p", 8191ull << 50 },
	};
	static const char *const bad[] = { "",    "m",   "-1",  "1x",    "1mm", "1 2",      "1.2.3",
					   "1kx", "0x1", " 1 ", "1kibi", "1ib", "99999999p" };
	uint64_t bytes;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_ok(size_parse(good[i].text, &bytes, &err), err);
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (size_parse(bad[i], &bytes, &err) != -EINVAL)
			fail_msg("size '%s' was taken as %lu", bad[i], bytes);
}

static void cpus(void **state)
{
	uint64_t nano;

	assert_ok(cpus_parse("2", &nano, &err), err);
	assert_int_equal(nano, 2000000000ull);
	assert_ok(cpus_parse("0.1", &nano, &err), err);
	assert_int_equal(nano, 100000000ull); /* exactly, as no double has it */
	assert_ok(cpus_parse("0.0000000019", &nano, &err), err);
	assert_int_equal(nano, 1);
	assert_int_equal(cpus_parse("x", &nano, &err), -EINVAL);
	assert_int_equal(cpus_parse("1.5c", &nano, &err), -EINVAL);
	assert_int_equal(cpus_parse("-1", &nano, &err), -EINVAL);
	assert_int_equal(cpus_parse("99999999999", &nano, &err), -EINVAL);
}

static void durations(void **state)
{
	uint64_t ns;

	assert_ok(duration_parse("10s", &ns, &err), err);
	assert_int_equal(ns, 10000000000ull);
	assert_ok(duration_parse("1h30m10s", &ns, &err), err);
	assert_int_equal(ns, 5410000000000ull);
	assert_ok(duration_parse("1.5h", &ns, &err), err);
	assert_int_equal(ns, 5400000000000ull);
	assert_ok(duration_parse("250ms", &ns, &err), err);
	assert_int_equal(ns, 250000000ull);
	assert_ok(duration_parse("3µs", &ns, &err), err);
	assert_int_equal(ns, 3000);
	assert_ok(duration_parse("0", &ns, &err), err);
	assert_int_equal(ns, 0);
	assert_int_equal(duration_parse("10", &ns, &err), -EINVAL);
	assert_int_equal(duration_parse("", &ns, &err), -EINVAL);
	assert_int_equal(duration_parse("s", &ns, &err), -EINVAL);
	assert_int_equal(duration_parse("10d", &ns, &err), -EINVAL);
	assert_int_equal(duration_parse("-1s", &ns, &err), -EINVAL);
	assert_int_equal(duration_parse("9999999999h", &ns, &err), -EINVAL);
}

static void times(void **state)
{
	int64_t ns;

	assert_ok(time_parse("1970-01-01T00:00:01Z", &ns, &err), err);
	assert_int_equal(ns, 1000000000ll);
	assert_ok(time_parse("2026-01-02T03:04:05.678901234Z", &ns, &err), err);
	assert_int_equal(ns, 1767323045678901234ll);
	assert_ok(time_parse("2026-01-02T04:04:05+01:00", &ns, &err), err);
	assert_int_equal(ns, 1767323045000000000ll);
	assert_ok(time_parse("2026-01-01T19:34:05-0730", &ns, &err), err);
	assert_int_equal(ns, 1767323045000000000ll);
	/* Without an offset: local time. */
	assert_ok(time_parse("2026-01-02T03:04:05", &ns, &err), err);
	assert_int_equal(ns, 1767323045000000000ll - 3600000000000ll);
	assert_ok(time_parse("2026-01-02", &ns, &err), err);
	assert_int_equal(ns, 1767312000000000000ll - 3600000000000ll);
	/* Never. */
	assert_ok(time_parse("0001-01-01T00:00:00Z", &ns, &err), err);
	assert_true(ns < 0);
	assert_int_equal(time_parse("2026-13-01", &ns, &err), -EINVAL);
	assert_int_equal(time_parse("2026-01-02T25:00", &ns, &err), -EINVAL);
	assert_int_equal(time_parse("2026-01-02x", &ns, &err), -EINVAL);
	assert_int_equal(time_parse("2026-01-02T03:04:05.Z", &ns, &err), -EINVAL);
	assert_int_equal(time_parse("", &ns, &err), -EINVAL);
}

static void since(void **state)
{
	const int64_t now = 1767323045000000001ll;
	char text[32];

	assert_ok(since_parse("10m", now, text, &err), err);
	assert_string_equal(text, "1767322445.000000001");
	assert_ok(since_parse("2026-01-02T03:04:05.5Z", now, text, &err), err);
	assert_string_equal(text, "1767323045.500000000");
	/* Seconds go through untouched: no digit is lost. */
	assert_ok(since_parse("1767323045.678901234", now, text, &err), err);
	assert_string_equal(text, "1767323045.678901234");
	assert_ok(since_parse("0", now, text, &err), err);
	assert_string_equal(text, "0");
	assert_ok(since_parse("999999h", now, text, &err), err);
	assert_string_equal(text, "0.000000000");
	assert_int_equal(since_parse("yesterday", now, text, &err), -EINVAL);
	assert_contains(err.message, "yesterday");
	assert_int_equal(since_parse("", now, text, &err), -EINVAL);
}

static void sizes_for_people(void **state)
{
	char text[24];

	size_human(0, text);
	assert_string_equal(text, "0B");
	size_human(999, text);
	assert_string_equal(text, "999B");
	size_human(1234567, text);
	assert_string_equal(text, "1.23MB");
	size_human(999999, text);
	assert_string_equal(text, "1MB");
	size_human_binary(1536 * 1024, text);
	assert_string_equal(text, "1.5MiB");
	size_human_binary(24ull << 30, text);
	assert_string_equal(text, "24GiB");
}

static void times_for_people(void **state)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} cases[] = {
		{ 0, "Less than a second" }, { 1, "1 second" },         { 59, "59 seconds" },
		{ 60, "About a minute" },    { 125, "2 minutes" },      { 3599, "59 minutes" },
		{ 3600, "About an hour" },   { 7200, "2 hours" },       { 47 * 3600, "47 hours" },
		{ 48 * 3600, "2 days" },     { 14 * 86400, "2 weeks" }, { 61 * 86400, "2 months" },
		{ 800 * 86400, "2 years" },
	};
	char text[40];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		duration_human(cases[i].seconds, text);
		assert_string_equal(text, cases[i].text);
	}
	ago_human(0, 100, text);
	assert_string_equal(text, "N/A");
	ago_human(1000000000, 6000000000, text);
	assert_string_equal(text, "5 seconds ago");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(cpus),
		cmocka_unit_test(durations),
		cmocka_unit_test(times),
		cmocka_unit_test(since),
		cmocka_unit_test(sizes_for_people),
		cmocka_unit_test(times_for_people),
	};

	setenv("TZ", "XXX-1", 1); /* an hour ahead of UTC */
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
