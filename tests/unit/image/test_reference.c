#include "tests/unit/test.h"

#include "base/str.h"
#include "hyperd/image/reference.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void names_are_normalised(void **state)
{
	static const struct {
		const char *text, *name, *tag, *familiar;
	} cases[] = {
		{ "busybox", "docker.io/library/busybox", NULL, "busybox" },
		{ "busybox:1.37", "docker.io/library/busybox", "1.37", "busybox:1.37" },
		{ "library/busybox", "docker.io/library/busybox", NULL, "busybox" },
		{ "docker.io/busybox", "docker.io/library/busybox", NULL, "busybox" },
		{ "index.docker.io/library/busybox:a", "docker.io/library/busybox", "a",
		  "busybox:a" },
		{ "me/tool", "docker.io/me/tool", NULL, "me/tool" },
		{ "docker.io/library/a/b", "docker.io/library/a/b", NULL, "library/a/b" },
		{ "docker.io/quay.io/x", "docker.io/quay.io/x", NULL, "docker.io/quay.io/x" },
		{ "localhost/x", "localhost/x", NULL, "localhost/x" },
		{ "localhost:5000/x:y", "localhost:5000/x", "y", "localhost:5000/x:y" },
		{ "127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b", NULL, "127.0.0.1:5000/a/b" },
		{ "[::1]:5000/a", "[::1]:5000/a", NULL, "[::1]:5000/a" },
		{ "Registry/a", "Registry/a", NULL, "Registry/a" },
		{ "a.b__c--d_e/f", "a.b__c--d_e/f", NULL, NULL },
		{ "quay.io/a/b@sha256:" HEX64, "quay.io/a/b", NULL, "quay.io/a/b@sha256:" HEX64 },
		{ "x:_t@sha256:" HEX64, "docker.io/library/x", "_t", "x:_t@sha256:" HEX64 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		autoreference struct reference reference = { 0 };
		autofree char *name = NULL, *familiar = NULL;
		struct error err = { 0 };

		if (!cases[i].familiar) { /* a domain may not hold an underscore */
			assert_true(reference_parse(cases[i].text, &reference, &err) < 0);
			continue;
		}
		assert_ok(reference_parse(cases[i].text, &reference, &err), err);
		name = reference_name(&reference);
		familiar = reference_familiar(&reference);
		assert_string_equal(name, cases[i].name);
		assert_string_equal(familiar, cases[i].familiar);
		assert_true(str_equal(reference.tag, cases[i].tag));
	}
}

static void bad_references_are_refused(void **state)
{
	static const char *const bad[] = {
		"",          ":",         "a:",         "a::b",
		"/a",        "a/",        "a//b",       "A",
		"a/B",       "a b",       "a:b c",      "a:-x",
		"a:.x",      "-a",        "a-",         "a..b",
		"a___b",     "a._b",      "../x",       "a/../b",
		"a@",        "a@sha256:", "a@md5:0123", "a:b/c",
		"host.:5/x", ".host/x",   "h.o:x/a",    "[::1/a",
		"[]/a",      HEX64,       "a\n",        "sha256:" HEX64 ":x",
		"\xc3\xa4",  "h-.io/a",
	};
	char longest[400];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		autoreference struct reference reference = { 0 };
		struct error err = { 0 };

		if (reference_parse(bad[i], &reference, &err) == 0)
			fail_msg("'%s' was accepted", bad[i]);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
	memset(longest, 'a', sizeof(longest));
	for (size_t len = 240; len < sizeof(longest); len += 150) {
		autoreference struct reference reference = { 0 };

		longest[len] = '\0';
		/* 240 and "docker.io/library/" are more than 255 together */
		assert_true(reference_parse(longest, &reference, NULL) < 0);
		longest[len] = 'a';
	}
}

static void the_default_tag_is_latest(void **state)
{
	autoreference struct reference a = { 0 }, b = { 0 };
	struct error err = { 0 };

	assert_ok(reference_parse("a", &a, &err), err);
	assert_ok(reference_add_default_tag(&a, &err), err);
	assert_string_equal(a.tag, "latest");
	assert_ok(reference_parse("a@sha256:" HEX64, &b, &err), err);
	assert_ok(reference_add_default_tag(&b, &err), err);
	assert_null(b.tag);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_normalised),
		cmocka_unit_test(bad_references_are_refused),
		cmocka_unit_test(the_default_tag_is_latest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
