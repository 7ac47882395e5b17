#include "tests/unit/test.h"

#include "hyperctl/keys.h"

static struct error err;

static void parses(void **state)
{
	struct detach_keys keys;

	assert_ok(detach_keys_parse(NULL, &keys, &err), err);
	assert_int_equal(keys.count, 2);
	assert_memory_equal(keys.keys, "\x10\x11", 2);
	assert_ok(detach_keys_parse("", &keys, &err), err);
	assert_int_equal(keys.count, 2);
	assert_ok(detach_keys_parse("ctrl-a,d,DEL,ctrl-],ctrl-@,ctrl-_,ctrl-Z", &keys, &err), err);
	assert_int_equal(keys.count, 7);
	assert_memory_equal(keys.keys,
			    "\x01"
			    "d\x7f\x1d\0\x1f\x1a",
			    7);
	assert_int_equal(detach_keys_parse("ctrl-", &keys, &err), -EINVAL);
	assert_int_equal(detach_keys_parse("ctrl-aa", &keys, &err), -EINVAL);
	assert_int_equal(detach_keys_parse("ctrl-1", &keys, &err), -EINVAL);
	assert_int_equal(detach_keys_parse("a,,b", &keys, &err), -EINVAL);
	assert_int_equal(detach_keys_parse("esc", &keys, &err), -EINVAL);
	assert_contains(err.message, "'esc'");
	assert_int_equal(detach_keys_parse("a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", &keys, &err),
			 -EINVAL);
}

/* What goes through of INPUT, typed in pieces of PIECE bytes. */
static bool type(const char *spec, const char *input, size_t piece, char *out)
{
	struct detach_keys keys;
	size_t used = 0, len = strlen(input), n;

	assert_ok(detach_keys_parse(spec, &keys, &err), err);
	for (size_t i = 0; i < len; i += piece) {
		bool end = detach_keys_scan(&keys, input + i, len - i < piece ? len - i : piece,
					    out + used, &n);

		used += n;
		out[used] = '\0';
		if (end)
			return true;
	}
	return false;
}

static void every_cut(const char *spec, const char *input, bool detaches, const char *passed)
{
	char out[256];

	for (size_t piece = 1; piece <= strlen(input); piece++) {
		assert_int_equal(type(spec, input, piece, out), detaches);
		assert_string_equal(out, passed);
	}
}

static void scans(void **state)
{
	every_cut(NULL, "hello", false, "hello");
	every_cut(NULL,
		  "ab\x10\x11"
		  "cd",
		  true, "ab");
	/* Ctrl-P alone is the shell's "previous line": it is only held back. */
	every_cut(NULL, "\x10x", false, "\x10x");
	every_cut(NULL, "\x10\x10\x11", true, "\x10");
	every_cut(NULL, "a\x10", false, "a");
	every_cut("a,a,b", "aaab", true, "a");
	every_cut("a,a,b", "aaac", false, "aaac");
	every_cut("a,b,a,c", "ababac", true, "ab");
	every_cut("a,b,a,c", "abababd", false, "abababd");
	every_cut("x", "abcx", true, "abc");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses),
		cmocka_unit_test(scans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
