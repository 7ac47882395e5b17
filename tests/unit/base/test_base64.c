#include "tests/unit/test.h"

#include "base/base64.h"

/* RFC 4648, section 10. */
static const struct {
	const char *plain, *encoded;
} vectors[] = {
	{ "", "" },
	{ "f", "Zg==" },
	{ "fo", "Zm8=" },
	{ "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" },
	{ "fooba", "Zm9vYmE=" },
	{ "foobar", "Zm9vYmFy" },
};

static void both_ways(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		autofree char *encoded = base64_encode(vectors[i].plain, strlen(vectors[i].plain));
		autofree char *plain = NULL;
		size_t len;

		assert_string_equal(encoded, vectors[i].encoded);
		assert_int_equal(base64_decode(encoded, strlen(encoded), &plain, &len), 0);
		assert_int_equal(len, strlen(vectors[i].plain));
		assert_string_equal(plain, vectors[i].plain);
	}
}

static void every_byte(void **state)
{
	unsigned char all[256];
	autofree char *encoded = NULL, *plain = NULL;
	size_t len;

	for (int i = 0; i < 256; i++)
		all[i] = (unsigned char)i;
	encoded = base64_encode(all, sizeof(all));
	assert_int_equal(base64_decode(encoded, strlen(encoded), &plain, &len), 0);
	assert_int_equal(len, sizeof(all));
	assert_memory_equal(plain, all, len);
}

static void decode(const char *text, int result, const char *expected)
{
	autofree char *plain = NULL;
	size_t len;

	assert_int_equal(base64_decode(text, strlen(text), &plain, &len), result);
	if (result == 0)
		assert_string_equal(plain, expected);
}

static void what_is_taken(void **state)
{
	decode("Zm9v\nYmFy\r\n", 0, "foobar");
	decode("Zg", 0, "f");
	decode("Zm9v*", -EINVAL, NULL);
	decode("Z", -EINVAL, NULL);
	decode("Zg==Zg==", -EINVAL, NULL);
	decode("Zm_v", -EINVAL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways),
		cmocka_unit_test(every_byte),
		cmocka_unit_test(what_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
