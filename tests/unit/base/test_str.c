#include "tests/unit/test.h"

#include "base/str.h"

static void appends_and_consumes(void **state)
{
	autostr struct str s = STR_INIT;
	autofree char *text = NULL;

	assert_string_equal(str_text(&s), "");
	str_add(&s, "pod ");
	str_addf(&s, "%s:%d", "web", 80);
	str_addc(&s, '!');
	assert_string_equal(str_text(&s), "pod web:80!");
	str_consume(&s, 4);
	assert_string_equal(str_text(&s), "web:80!");
	text = str_steal(&s);
	assert_string_equal(text, "web:80!");
	assert_int_equal(s.len, 0);
}

static void grows_past_its_first_size(void **state)
{
	autostr struct str s = STR_INIT;

	for (int i = 0; i < 10000; i++)
		str_addf(&s, "%04d", i);
	assert_int_equal(s.len, 40000);
	assert_memory_equal(s.data + 4 * 1234, "1234", 4);
}

static void splits_and_keeps_empty_pieces(void **state)
{
	autostrv char **v = strv_split("a,,b,", ',');

	assert_int_equal(strv_len(v), 4);
	assert_string_equal(v[0], "a");
	assert_string_equal(v[1], "");
	assert_string_equal(v[3], "");
}

static void numbers_are_whole_and_in_range(void **state)
{
	unsigned long long u;
	long long i;

	assert_int_equal(parse_u64("80", 1, 65535, &u), 0);
	assert_int_equal(u, 80);
	assert_int_equal(parse_u64("80a", 1, 65535, &u), -EINVAL);
	assert_int_equal(parse_u64("", 0, 10, &u), -EINVAL);
	assert_int_equal(parse_u64("-1", 0, 10, &u), -EINVAL);
	assert_int_equal(parse_u64("+1", 0, 10, &u), -EINVAL);
	assert_int_equal(parse_u64("99999999999999999999999", 0, UINT64_MAX, &u), -ERANGE);
	assert_int_equal(parse_u64("0", 1, 10, &u), -ERANGE);
	assert_int_equal(parse_i64("-5", -10, 10, &i), 0);
	assert_int_equal(i, -5);
	assert_int_equal(parse_i64("--5", -10, 10, &i), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appends_and_consumes),
		cmocka_unit_test(grows_past_its_first_size),
		cmocka_unit_test(splits_and_keeps_empty_pieces),
		cmocka_unit_test(numbers_are_whole_and_in_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
