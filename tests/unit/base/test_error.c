#include "tests/unit/test.h"

static void prefixes_say_what_each_layer_did(void **state)
{
	struct error err = { 0 };
	int r = error_set(&err, ERROR_NOT_FOUND, "no such image '%s'", "web");

	assert_int_equal(r, -ENOENT);
	r = error_prefix(&err, r, "creating pod \"%s\"", "shop");
	assert_int_equal(r, -ENOENT);
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
	assert_string_equal(err.message, "creating pod \"shop\": no such image 'web'");
}

static void an_errno_adds_its_text(void **state)
{
	struct error err = { 0 };

	assert_int_equal(error_errno(&err, ENOSPC, "writing '%s'", "x"), -ENOSPC);
	assert_string_equal(err.message, "writing 'x': No space left on device");
	assert_int_equal(err.kind, ERROR_FAILED);
}

static void a_long_message_is_cut_visibly(void **state)
{
	struct error err = { 0 };
	char big[3000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	error_set(&err, ERROR_INVALID, "%s", big);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	assert_string_equal(err.message + strlen(err.message) - 3, "…");
	error_prefix(&err, -EINVAL, "field %s", "y");
	assert_contains(err.message, "field y: xxx");
}

static void every_call_takes_null(void **state)
{
	assert_int_equal(error_set(NULL, ERROR_CONFLICT, "x"), -EBUSY);
	assert_int_equal(error_errno(NULL, EIO, "x"), -EIO);
	assert_int_equal(error_prefix(NULL, -7, "x"), -7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes_say_what_each_layer_did),
		cmocka_unit_test(an_errno_adds_its_text),
		cmocka_unit_test(a_long_message_is_cut_visibly),
		cmocka_unit_test(every_call_takes_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
