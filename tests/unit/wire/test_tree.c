#include "tests/unit/test.h"

#include "wire/tree.h"

static void encode(const struct tree_entry *entry, struct str *to)
{
	struct error err = { 0 };

	assert_ok(tree_encode(entry, to, &err), err);
}

static int decode(const struct str *bytes, struct tree_entry *ret, struct error *err)
{
	uint32_t len = 0;

	assert_ok(tree_length((const uint8_t *)bytes->data, &len, err), *err);
	assert_int_equal(len, bytes->len - TREE_LENGTH_BYTES);
	return tree_decode((const uint8_t *)bytes->data + TREE_LENGTH_BYTES, len, ret, err);
}

static void entries_round_trip(void **state)
{
	const struct tree_xattr xattrs[] = { { "user.a", "value", 5 },
					     { "security.capability", "\0\1\2", 3 },
					     { "user.empty", "", 0 } };
	const struct tree_entry entry = {
		.type = TREE_FILE,
		.flags = TREE_CHANGED,
		.mode = 04755,
		.uid = 1000,
		.gid = UINT32_MAX,
		.mtime_s = -5,
		.mtime_ns = 999999999,
		.size_bytes = 1ull << 40,
		.path = "a/b c/\xff\xfe",
		.link = "",
		.xattrs = xattrs,
		.xattr_count = 3,
	};
	autotree struct tree_entry back = { 0 };
	autostr struct str bytes = STR_INIT;
	struct error err = { 0 };

	encode(&entry, &bytes);
	assert_ok(decode(&bytes, &back, &err), err);
	assert_int_equal(back.type, TREE_FILE);
	assert_int_equal(back.flags, TREE_CHANGED);
	assert_int_equal(back.mode, 04755);
	assert_true(back.gid == UINT32_MAX && back.mtime_s == -5 && back.mtime_ns == 999999999);
	assert_true(back.size_bytes == 1ull << 40);
	assert_string_equal(back.path, entry.path);
	assert_string_equal(back.link, "");
	assert_int_equal(back.xattr_count, 3);
	assert_string_equal(back.xattrs[1].name, "security.capability");
	assert_memory_equal(back.xattrs[1].value, "\0\1\2", 3);
	assert_int_equal(back.xattrs[2].len, 0);
}

static void every_cut_is_noticed(void **state)
{
	const struct tree_xattr xattr = { "user.a", "value", 5 };
	const struct tree_entry entry = { .type = TREE_SYMLINK,
					  .path = "a/b",
					  .link = "../c",
					  .xattrs = &xattr,
					  .xattr_count = 1 };
	autostr struct str bytes = STR_INIT;

	encode(&entry, &bytes);
	for (size_t len = 0; len < bytes.len - TREE_LENGTH_BYTES; len++) {
		/* In memory of its own, so that a sanitizer sees a byte too many. */
		autofree uint8_t *copy = malloc(len ? len : 1);
		struct tree_entry back = { 0 };

		memcpy(copy, bytes.data + TREE_LENGTH_BYTES, len);
		assert_true(tree_decode(copy, len, &back, NULL) < 0);
	}
	str_addc(&bytes, 'x');
	struct tree_entry back = { 0 };
	assert_true(tree_decode((const uint8_t *)bytes.data + TREE_LENGTH_BYTES,
				bytes.len - TREE_LENGTH_BYTES, &back, NULL) < 0);
}

static void refused(struct tree_entry entry)
{
	autostr struct str bytes = STR_INIT;
	struct tree_entry back = { 0 };
	struct error err = { 0 };

	if (!entry.link)
		entry.link = "";
	encode(&entry, &bytes);
	if (decode(&bytes, &back, &err) == 0) {
		tree_entry_done(&back);
		fail_msg("'%s' -> '%s' was taken", entry.path, entry.link);
	}
	assert_int_equal(err.kind, ERROR_INVALID);
}

static void lies_are_refused(void **state)
{
	static const char *const paths[] = { "/a",  "a/", "a//b", "..", "a/../b", "../a", "a/..",
					     "./a", ".",  "a/.",  "/",  "a/./b",  "//" };
	char name[300];

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		refused((struct tree_entry){ .type = TREE_FILE, .path = paths[i] });
		refused((struct tree_entry){
			.type = TREE_HARD_LINK, .path = "a", .link = paths[i] });
	}
	memset(name, 'n', 256);
	name[256] = '\0';
	refused((struct tree_entry){ .type = TREE_FILE, .path = name });
	refused((struct tree_entry){ .type = TREE_SYMLINK, .path = "a", .link = "" });
	refused((struct tree_entry){ .type = TREE_FILE, .path = "a", .link = "b" });
	refused((struct tree_entry){ .type = TREE_HARD_LINK, .path = "", .link = "b" });
	refused((struct tree_entry){ .type = TREE_DELETED, .path = "" });
	refused((struct tree_entry){ .type = TREE_DIRECTORY, .path = "a", .size_bytes = 1 });
	refused((struct tree_entry){ .type = TREE_FILE, .path = "a", .size_bytes = UINT64_MAX });
	refused((struct tree_entry){ .type = TREE_FILE, .path = "a", .mtime_ns = 1000000000 });
	refused((struct tree_entry){ .type = 0, .path = "a" });
	refused((struct tree_entry){ .type = TREE_TYPE_COUNT, .path = "a" });
	refused((struct tree_entry){ .type = TREE_FILE, .path = "a", .flags = 2 });
}

static void names_with_nul_are_refused(void **state)
{
	autostr struct str bytes = STR_INIT;
	struct tree_entry back = { 0 };
	struct error err = { 0 };

	encode(&(struct tree_entry){ .type = TREE_FILE, .path = "abc", .link = "" }, &bytes);
	*(char *)memchr(bytes.data, 'b', bytes.len) = '\0';
	assert_true(decode(&bytes, &back, &err) < 0);
	assert_contains(err.message, "NUL");
}

static void what_is_too_long_is_not_sent(void **state)
{
	autofree char *long_name = calloc(1, TREE_MAX_PATH_BYTES + 2);
	autofree char *value = calloc(1, TREE_MAX_ENTRY_BYTES);
	struct tree_xattr xattr = { "user.a", value, TREE_MAX_ENTRY_BYTES };
	struct tree_entry entry = { .type = TREE_FILE, .path = long_name, .link = "" };
	autostr struct str bytes = STR_INIT;
	struct error err = { 0 };
	uint32_t len;

	memset(long_name, 'a', TREE_MAX_PATH_BYTES + 1);
	assert_true(tree_encode(&entry, &bytes, &err) < 0);
	assert_int_equal(err.kind, ERROR_LIMIT);
	entry.path = "a";
	entry.xattrs = &xattr;
	entry.xattr_count = 1;
	assert_true(tree_encode(&entry, &bytes, &err) < 0);
	assert_int_equal(bytes.len, 0);
	assert_true(tree_length((const uint8_t *)"\xff\xff\xff\xff", &len, &err) < 0);
	assert_true(tree_length((const uint8_t *)"\0\0\0\0", &len, &err) < 0);
	assert_true(tree_length((const uint8_t *)"\x37\0\0\0", &len, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_round_trip),
		cmocka_unit_test(every_cut_is_noticed),
		cmocka_unit_test(lies_are_refused),
		cmocka_unit_test(names_with_nul_are_refused),
		cmocka_unit_test(what_is_too_long_is_not_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
