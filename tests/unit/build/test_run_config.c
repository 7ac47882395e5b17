#include "tests/unit/test.h"

#include <string.h>

#include "base/json.h"
#include "hyperd/build/run_config.h"

static void durations_are_go_s(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "0s" },
		{ 5, "5ns" },
		{ 1500, "1.5µs" },
		{ 1500000, "1.5ms" },
		{ 100000000, "100ms" },
		{ 1000000000, "1s" },
		{ 1500000000, "1.5s" },
		{ 90000000000, "1m30s" },
		{ 3600000000000, "1h0m0s" },
		{ 3661050000000, "1h1m1.05s" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		autostr struct str out = STR_INIT;

		go_duration(&out, cases[i].ns);
		assert_string_equal(str_text(&out), cases[i].text);
	}
}

static void lists_are_go_s(void **state)
{
	const char *const list[] = { "a", "b \"c\"", "d\n\x01", NULL };
	autostr struct str quoted = STR_INIT, plain = STR_INIT;

	go_quote_list(&quoted, (char *const *)list);
	assert_string_equal(str_text(&quoted), "[\"a\" \"b \\\"c\\\"\" \"d\\n\\x01\"]");
	go_list(&plain, (char *const *)list);
	assert_string_equal(str_text(&plain), "[a b \"c\" d\n\x01]");
}

static void comments_name_the_shell(void **state)
{
	autojson json_t *config = run_config_make(NULL), *made = NULL;
	autofree char *created_by = NULL;

	assert_non_null(config);
	assert_true(json_is_null(json_object_get(config, "Cmd")));
	made = run_config_with_comment(config, "ENV a=b", false, &created_by);
	assert_string_equal(created_by, "/bin/sh -c #(nop)  ENV a=b");
	assert_int_equal(json_array_size(json_object_get(made, "Cmd")), 4);
	assert_false(run_config_same(config, made));
	assert_true(run_config_same(made, made));
}

static void sameness_is_of_what_counts(void **state)
{
	autojson json_t *a =
		json_pack("{s:[s],s:s,s:n,s:s}", "Cmd", "x", "User", "", "Env", "Image", "one");
	autojson json_t *b = json_pack("{s:[s],s:[],s:s}", "Cmd", "x", "Env", "Image", "two");
	autojson json_t *c = json_pack("{s:[s],s:[s]}", "Cmd", "x", "Env", "a=b");

	assert_true(run_config_same(a, b));
	assert_false(run_config_same(a, c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_go_s),
		cmocka_unit_test(lists_are_go_s),
		cmocka_unit_test(comments_name_the_shell),
		cmocka_unit_test(sameness_is_of_what_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
