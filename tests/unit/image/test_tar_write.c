#include "tests/unit/test.h"

#include "base/str.h"
#include "hyperd/image/tar.h"

static int sink(void *arg, const void *data, size_t len, struct error *err)
{
	str_append(arg, data, len);
	return 0;
}

struct source {
	const struct str *bytes;
	size_t at;
};

static ssize_t take(void *arg, void *buf, size_t len, struct error *err)
{
	struct source *s = arg;
	size_t n = s->bytes->len - s->at < len ? s->bytes->len - s->at : len;

	memcpy(buf, s->bytes->data + s->at, n);
	s->at += n;
	return (ssize_t)n;
}

/* What is written is read back by the strict reader. */
static void check(const struct tar_entry *entry, const char *data)
{
	autoptr(tar_reader_free) struct tar_reader *reader = NULL;
	autostr struct str bytes = STR_INIT;
	struct source source = { &bytes, 0 };
	const struct tar_entry *back = NULL;
	struct error err = { 0 };

	assert_ok(tar_write_entry(sink, &bytes, entry, &err), err);
	str_append(&bytes, data, entry->size_bytes);
	assert_ok(tar_write_padding(sink, &bytes, entry->size_bytes, &err), err);
	assert_ok(tar_write_end(sink, &bytes, &err), err);
	assert_int_equal(bytes.len % TAR_BLOCK_BYTES, 0);
	assert_ok(tar_reader_new(take, &source, &reader, &err), err);
	assert_ok(tar_next(reader, &back, &err), err);
	assert_non_null(back);
	assert_string_equal(back->path, entry->path);
	assert_string_equal(back->link, entry->link ? entry->link : "");
	assert_int_equal(back->type, entry->type);
	assert_int_equal(back->mode, entry->mode & 07777);
	assert_int_equal(back->uid, entry->uid);
	assert_int_equal(back->gid, entry->gid);
	assert_true(back->mtime_s == entry->mtime_s && back->size_bytes == entry->size_bytes);
	assert_int_equal(back->xattr_count, entry->xattr_count);
	for (size_t i = 0; i < entry->xattr_count; i++) {
		assert_string_equal(back->xattrs[i].name, entry->xattrs[i].name);
		assert_int_equal(back->xattrs[i].len, entry->xattrs[i].len);
		assert_memory_equal(back->xattrs[i].value, entry->xattrs[i].value,
				    entry->xattrs[i].len);
	}
	assert_ok(tar_next(reader, &back, &err), err);
	assert_null(back);
}

static void plain_entries(void **state)
{
	check(&(struct tar_entry){ .type = TAR_FILE,
				   .path = "a/b",
				   .mode = 0100644,
				   .uid = 1000,
				   .gid = 4000000000u,
				   .mtime_s = 1 << 30,
				   .size_bytes = 5 },
	      "hello");
	check(&(struct tar_entry){ .type = TAR_DIRECTORY, .path = "d/", .mode = 01777 }, "");
	check(&(struct tar_entry){ .type = TAR_SYMLINK, .path = "l", .link = "../x" }, "");
}

/* Each length around the limits: the length of a pax record counts itself. */
static void long_names(void **state)
{
	char name[1200], link[1200];

	for (size_t len = 90; len < 1150; len += len < 110 || (len > 970 && len < 1010) ? 1 : 7) {
		memset(name, 'n', len);
		memset(link, 'l', len);
		name[len] = link[len] = '\0';
		check(&(struct tar_entry){ .type = TAR_SYMLINK, .path = name, .link = link }, "");
	}
}

static void attributes(void **state)
{
	struct tar_xattr xattrs[] = { { "user.one", "1\n2=3", 5 },
				      { "security.capability", "\0\1\2\3", 4 } };

	check(&(struct tar_entry){ .type = TAR_FILE,
				   .path = "f",
				   .xattrs = xattrs,
				   .xattr_count = 2 },
	      "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_entries),
		cmocka_unit_test(long_names),
		cmocka_unit_test(attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
