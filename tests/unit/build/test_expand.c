#include "tests/unit/test.h"

#include <string.h>

#include "base/str.h"
#include "hyperd/build/expand.h"

static const char *const env[] = { "a=1", "b=two words", "empty=", "a=second", "_x9=y", NULL };

static void words_are_expanded(void **state)
{
	static const struct {
		const char *word, *result;
	} cases[] = {
		{ "plain", "plain" },
		{ "$a", "1" },
		{ "${a}b", "1b" },
		{ "$ab", "" },
		{ "$nothing", "" },
		{ "$_x9!", "y!" },
		{ "\\$a", "$a" },
		{ "'$a'", "$a" },
		{ "\"$a '\"", "1 '" },
		{ "\"a\\\"b\\c\"", "a\"b\\c" },
		{ "a\\ b", "a b" },
		{ "$", "$" },
		{ "$ x", "$ x" },
		{ "x\\", "x" },
		{ "${a:-no}", "1" },
		{ "${empty:-yes}", "yes" },
		{ "${empty-no}", "" },
		{ "${no:-$a}", "1" },
		{ "${no:-${no:-deep}}", "deep" },
		{ "${a:+set}", "set" },
		{ "${empty:+set}", "" },
		{ "${empty+set}", "set" },
		{ "${a:?needed}", "1" },
		{ "${no:-'a}b'}", "a}b" },
		{ "$1x", "x" },
		{ "a$b", "atwo words" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		autofree char *result = NULL;
		struct error err = { 0 };

		assert_ok(expand_word(cases[i].word, (char *const *)env, '\\', &result, &err), err);
		assert_string_equal(result, cases[i].result);
	}
}

static void nonsense_is_refused(void **state)
{
	static const struct {
		const char *word, *complaint;
	} cases[] = {
		{ "'a", "single-quote" },
		{ "\"a", "double-quote" },
		{ "${a", "missing" },
		{ "${", "missing '}'" },
		{ "${}", "bad substitution" },
		{ "${a:x}", "unsupported modifier (:x)" },
		{ "${no:?needed}", "no: needed" },
		{ "${a:-", "missing '}'" },
	};
	autostr struct str deep = STR_INIT, long_one = STR_INIT, big = STR_INIT;
	autofree char *result = NULL;
	struct error err = { 0 };
	const char *big_env[2] = { NULL, NULL };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(expand_word(cases[i].word, (char *const *)env, '\\', &result,
					     &err),
				 -EINVAL);
		assert_contains(err.message, cases[i].complaint);
	}
	for (int i = 0; i < 10000; i++)
		str_add(&deep, "${a:-");
	assert_true(expand_word(str_text(&deep), (char *const *)env, '\\', &result, &err) < 0);
	assert_contains(err.message, "too deep");
	/* A short text must not become a huge one. */
	str_add(&big, "b=");
	for (int i = 0; i < 10000; i++)
		str_add(&big, "0123456789");
	for (int i = 0; i < 10000; i++)
		str_add(&long_one, "$b");
	big_env[0] = str_text(&big);
	assert_true(expand_word(str_text(&long_one), (char *const *)big_env, '\\', &result, &err) <
		    0);
	assert_contains(err.message, "too long");
}

static void words_are_split_after_expanding(void **state)
{
	autostrv char **words = NULL;
	struct error err = { 0 };

	assert_ok(expand_words("x$b \"$b\" a\\ b", (char *const *)env, '\\', &words, &err), err);
	assert_int_equal(strv_len(words), 4);
	assert_string_equal(words[0], "xtwo");
	assert_string_equal(words[1], "words");
	assert_string_equal(words[2], "two words");
	assert_string_equal(words[3], "a b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_expanded),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(words_are_split_after_expanding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
