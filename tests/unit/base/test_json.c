#include "tests/unit/test.h"

#include "base/json.h"
#include "base/str.h"

static json_t *parse(const char *text)
{
	struct error err = { 0 };
	json_t *root = NULL;

	assert_ok(json_parse(text, strlen(text), &root, &err), err);
	return root;
}

static void wrong_types_name_the_key(void **state)
{
	autojson json_t *root = parse("{\"a\":1,\"s\":\"x\",\"n\":null,\"l\":[\"p\",2]}");
	struct error err = { 0 };
	const char *s;
	int64_t i;
	autostrv char **v = NULL;

	assert_int_equal(json_get_string(root, "a", &s, &err), -EINVAL);
	assert_string_equal(err.message, "a: expected a string, not a number");
	assert_int_equal(json_get_int(root, "a", &i, &err), 0);
	assert_int_equal(i, 1);
	assert_int_equal(json_get_string(root, "n", &s, &err), 0);
	assert_null(s);
	assert_int_equal(json_get_strv(root, "l", &v, &err), -EINVAL);
	assert_string_equal(err.message, "l[1]: expected a string");
}

static void deep_and_doubled_input_is_refused(void **state)
{
	struct error err = { 0 };
	char deep[400];
	json_t *root = NULL;

	memset(deep, '[', 200);
	memset(deep + 200, ']', 200);
	assert_int_equal(json_parse(deep, sizeof(deep), &root, &err), -EINVAL);
	assert_contains(err.message, "nested");
	assert_int_equal(json_parse("{\"a\":1,\"a\":2}", 13, &root, &err), -EINVAL);
	assert_contains(err.message, "duplicate");
	assert_int_equal(json_parse("{", 1, &root, &err), -EINVAL);
	assert_int_equal(json_parse("[\"\\u0000\"]", 10, &root, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_types_name_the_key),
		cmocka_unit_test(deep_and_doubled_input_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
