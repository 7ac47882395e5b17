#include "tests/unit/test.h"

#include <string.h>

#include "base/ignore.h"

static void patterns_are_docker_s(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool fits;
	} cases[] = {
		{ "a", "a", true },
		{ "a", "b", false },
		{ "a", "a/b", false },
		{ "*", "a", true },
		{ "*", "a/b", false },
		{ "*/b", "a/b", true },
		{ "*.c", "x.c", true },
		{ "*.c", "d/x.c", false },
		{ "**/*.c", "d/e/x.c", true },
		{ "**/*.c", "x.c", true },
		{ "**/x.c", "yx.c", false },
		{ "**/x.c", "a/yx.c", false },
		{ "**", "a/b/c", true },
		{ "a/**", "a/b/c", true },
		{ "a/**", "b/c", false },
		{ "a/**/z", "a/z", true },
		{ "a/**/z", "a/b/c/z", true },
		{ "a/**/z", "a/b/c/y", false },
		{ "?", "a", true },
		{ "?", "/", false },
		{ "[a-c]x", "bx", true },
		{ "[^a-c]x", "bx", false },
		{ "[^a-c]x", "dx", true },
		{ "a\\*", "a*", true },
		{ "a\\*", "ab", false },
		{ "a*b*c", "aXbYc", true },
		{ "a*b*c", "aXbY", false },
		{ "[", "[", false },
		{ "", "", true },
		{ "**/b/*", "a/b/c", true },
		{ "a**", "abc/d", true },
		{ "*a*", "bab", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (ignore_pattern_match(cases[i].pattern, cases[i].path) != cases[i].fits)
			fail_msg("%s %s %s", cases[i].pattern,
				 cases[i].fits ? "should fit" : "should not fit", cases[i].path);
}

static void a_hostile_pattern_takes_no_time(void **state)
{
	char pattern[2000], path[4000];

	for (size_t i = 0; i + 2 < sizeof(pattern); i += 2)
		memcpy(pattern + i, i % 8 ? "*a" : "**", 2);
	pattern[sizeof(pattern) - 2] = 'b';
	pattern[sizeof(pattern) - 1] = '\0';
	memset(path, 'a', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	ignore_pattern_match(pattern, path);
}

static bool ignored(const char *text, const char *path)
{
	autoptr(ignore_free) struct ignore *ignore = NULL;
	struct error err = { 0 };

	assert_ok(ignore_parse(text, strlen(text), &ignore, &err), err);
	return ignore_match(ignore, path);
}

static void lines_are_taken_in_order(void **state)
{
	assert_true(ignored("a\n", "a"));
	assert_true(ignored("a\n", "a/b/c"));
	assert_false(ignored("a\n", "ab"));
	assert_false(ignored("# a\na b\n", "a"));
	assert_true(ignored("  /a/  \r\n", "a"));
	assert_true(ignored("./x/../a", "a"));
	assert_true(ignored("*\n!a\n", "b"));
	assert_false(ignored("*\n!a\n", "a"));
	assert_false(ignored("d\n!d/keep\n", "d/keep"));
	assert_true(ignored("d\n!d/keep\n", "d/other"));
	assert_true(ignored("!a\na\n", "a"));
	assert_true(ignored("*\n! a\nb", "b"));
	assert_false(ignored("", "a"));
}

static void a_directory_may_hold_exceptions(void **state)
{
	autoptr(ignore_free) struct ignore *ignore = NULL;
	struct error err = { 0 };

	assert_ok(ignore_parse("*\n!d/e/keep\n!*.x\n", 18, &ignore, &err), err);
	assert_true(ignore_may_hold(ignore, "d"));
	assert_true(ignore_may_hold(ignore, "d/e"));
	ignore_free(steal(ignore));
	assert_ok(ignore_parse("*\n!d/keep\n", 10, &ignore, &err), err);
	assert_false(ignore_may_hold(ignore, "e"));
	assert_int_equal(ignore_parse("!\n", 2, &ignore, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns_are_docker_s),
		cmocka_unit_test(a_hostile_pattern_takes_no_time),
		cmocka_unit_test(lines_are_taken_in_order),
		cmocka_unit_test(a_directory_may_hold_exceptions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
