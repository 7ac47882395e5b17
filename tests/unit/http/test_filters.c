#include "tests/unit/test.h"

#include "hyperd/http/http.h"

static void both_forms(void **state)
{
	static const char *const allowed[] = { "status", "label", NULL };
	struct error err = { 0 };
	struct http_filters *f;

	assert_ok(http_filters_parse("{\"status\":{\"running\":true,\"exited\":false},"
				     "\"label\":[\"a=b\",\"c\"]}",
				     &f, &err),
		  err);
	assert_true(http_filters_match(f, "status", "running"));
	assert_false(http_filters_match(f, "status", "exited"));
	assert_true(http_filters_match(f, "name", "anything"));
	assert_string_equal(http_filters_get(f, "label")[1], "c");
	assert_null(http_filters_get(f, "name"));
	assert_ok(http_filters_check(f, allowed, &err), err);
	assert_int_equal(http_filters_check(f, allowed + 1, &err), -EINVAL);
	assert_string_equal(err.message, "Invalid filter 'status'");
	http_filters_free(f);
}

static void nothing(void **state)
{
	static const char *const empty[] = { NULL, "", "null", "{}", "{\"a\":[]}", "{\"a\":{}}" };

	for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
		struct error err = { 0 };
		struct http_filters *f;

		assert_ok(http_filters_parse(empty[i], &f, &err), err);
		assert_null(http_filters_get(f, "a"));
		assert_true(http_filters_match(f, "a", "x"));
		http_filters_free(f);
	}
}

static void wrong(void **state)
{
	static const char *const texts[] = {
		"x",
		"[]",
		"\"a\"",
		"{\"a\":1}",
		"{\"a\":",
		"{\"a\":[1]}",
		"{\"a\":{\"b\":1}}",
		"{\"a\":[\"b\\u0000\"]}",
		"{} {}",
		"{\"a\":\"b\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct error err = { 0 };
		struct http_filters *f = NULL;

		assert_int_equal(http_filters_parse(texts[i], &f, &err), -EINVAL);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_null(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_forms),
		cmocka_unit_test(nothing),
		cmocka_unit_test(wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
