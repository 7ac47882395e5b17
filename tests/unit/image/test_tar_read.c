#include "tests/unit/image/world.h"

#include "base/process.h"

struct bytes {
	const struct str *data;
	size_t at, piece; /* piece: how many bytes a read gives at most */
};

static ssize_t read_bytes(void *arg, void *buf, size_t len, struct error *err)
{
	struct bytes *b = arg;
	size_t left = b->data->len - b->at;

	if (len > left)
		len = left;
	if (len > b->piece)
		len = b->piece;
	memcpy(buf, str_text(b->data) + b->at, len);
	b->at += len;
	return (ssize_t)len;
}

/* Lists the archive as text: what was read, whole, or the error. */
static int list(const struct str *tar, size_t piece, struct str *out, struct error *err)
{
	struct bytes bytes = { tar, 0, piece };
	autoptr(tar_reader_free) struct tar_reader *reader = NULL;
	const struct tar_entry *e;
	int r = tar_reader_new(read_bytes, &bytes, &reader, err);

	while (r == 0) {
		const void *data;
		uint64_t offset = 0;
		size_t len;

		r = tar_next(reader, &e, err);
		if (r < 0 || !e)
			break;
		str_addf(out, "%c %s %o %u:%u %lld.%u %llu", (char)e->type, e->path, e->mode,
			 e->uid, e->gid, (long long)e->mtime_s, e->mtime_ns,
			 (unsigned long long)e->size_bytes);
		if (*e->link)
			str_addf(out, " -> %s", e->link);
		if (e->major || e->minor)
			str_addf(out, " %u,%u", e->major, e->minor);
		for (size_t i = 0; i < e->xattr_count; i++)
			str_addf(out, " %s=%.*s", e->xattrs[i].name, (int)e->xattrs[i].len,
				 e->xattrs[i].value);
		while ((r = tar_data(reader, &data, &len, &offset, err)) == 0 && len) {
			str_addf(out, " @%llu:", (unsigned long long)offset);
			str_append(out, data, len);
		}
		str_addc(out, '\n');
	}
	return r == 0 ? tar_drain(reader, err) : r;
}

static void all_types_are_read(void **state)
{
	autostr struct str tar = STR_INIT, whole = STR_INIT, pieces = STR_INIT;
	struct error err = { 0 };

	tar_put(&tar,
		(struct tar_entry){ .type = TAR_FILE,
				    .path = "f",
				    .mode = 0640,
				    .uid = 1,
				    .gid = 2,
				    .mtime_s = 3 },
		"data");
	tar_dir(&tar, "d/");
	tar_link(&tar, TAR_SYMLINK, "s", "f");
	tar_link(&tar, TAR_HARD_LINK, "h", "f");
	tar_put(&tar,
		(struct tar_entry){ .type = TAR_CHARACTER, .path = "c", .major = 1, .minor = 3 },
		NULL);
	tar_put(&tar, (struct tar_entry){ .type = TAR_FIFO, .path = "p" }, NULL);
	tar_special(&tar, 'L', "././@LongLink", "long-name-of-gnu", 17);
	tar_file(&tar, "x", "");
	tar_special(&tar, 'g', "global", "11 comment=\n", 12);
	tar_pax(&tar, "mtime", "-1.25", 5);
	tar_pax(&tar, "SCHILY.xattr.user.a", "b=c", 3);
	tar_pax(&tar, "uid", "100000", 6);
	tar_file(&tar, "y", "");
	tar_end(&tar);
	str_addc(&tar, 'Z'); /* after the end anything may come */
	assert_ok(list(&tar, SIZE_MAX, &whole, &err), err);
	assert_string_equal(whole.data, "0 f 640 1:2 3.0 4 @0:data\n"
					"5 d/ 755 0:0 0.0 0\n"
					"2 s 644 0:0 0.0 0 -> f\n"
					"1 h 644 0:0 0.0 0 -> f\n"
					"3 c 644 0:0 0.0 0 1,3\n"
					"6 p 644 0:0 0.0 0\n"
					"0 long-name-of-gnu 644 0:0 0.0 0\n"
					"0 y 644 100000:0 -2.750000000 0 user.a=b=c\n");
	assert_ok(list(&tar, 511, &pieces, &err), err);
	assert_int_equal(strncmp(pieces.data, whole.data, 12), 0);
}

/* What GNU tar writes, in each of its formats, sparse files too. */
static void gnu_main(struct world *w)
{
	static const char *const formats[] = { "--format=v7",
					       "--format=ustar",
					       "--format=gnu",
					       "--format=posix",
					       "--format=gnu -S",
					       "--format=posix -S --sparse-version=0.0",
					       "--format=posix -S --sparse-version=0.1",
					       "--format=posix -S --sparse-version=1.0" };

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		autofree char *script =
			strf("set -e; rm -rf %s/t; mkdir %s/t; cd %s/t; printf start >s; truncate "
			     "-s 3M s; "
			     "printf end >>s; printf mid | dd of=s bs=1 seek=1M conv=notrunc 2>&1; "
			     "truncate -s 4M s; truncate -s 1M hole; echo x >plain; "
			     "tar %s --sort=name --mtime=@5 --owner=0 --group=0 -cf ../t.tar hole "
			     "plain s",
			     w->root, w->root, w->root, formats[i]);
		autofree char *path = strf("%s/t.tar", w->root), *text = NULL;
		const char *argv[] = { "sh", "-c", script, NULL };
		struct process_options options = { .argv = argv };
		autoptr(image_unref) struct image *image = NULL;
		autofree char *command = NULL;
		autoclose int fd = -1;
		struct error err = { 0 };

		assert_ok(process_run(&options, NULL, deadline_in_ms(60000), 65536, NULL, &err),
			  err);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_ok(image_import(w->images, fd, NULL, NULL, NULL, NULL, &image, &err), err);
		command = strf("for f in s hole plain; do cmp %s/t/$f %s/$f; done", w->root,
			       image_layer(image, 0)->directory);
		argv[2] = command;
		assert_ok(process_run(&options, NULL, deadline_in_ms(60000), 65536, &text, &err),
			  err);
		assert_string_equal(text, "");
	}
}

static void gnu_tars_formats_are_read(void **state)
{
	in_world(gnu_main);
}

/* Every cut of an archive ends in an error or, at an entry's end, in fewer entries; never in a wait
 * or worse. */
static void every_cut_is_survived(void **state)
{
	autostr struct str tar = STR_INIT;
	size_t whole, ends[2];

	tar_pax(&tar, "path", "a/longer/name", 13);
	ends[0] = tar.len + TAR_BLOCK_BYTES + 10;
	tar_file(&tar, "x", "0123456789");
	tar_pax(&tar, "GNU.sparse.map", "0,3,10,2", 8);
	ends[1] = tar.len + TAR_BLOCK_BYTES + 5;
	tar_file(&tar, "y", "abcde");
	tar_end(&tar);
	whole = tar.len;
	for (size_t len = 0; len < whole; len++) {
		autostr struct str out = STR_INIT;
		struct error err = { 0 };

		tar.len = len;
		if (list(&tar, 100, &out, &err) < 0)
			assert_true(err.message[0] != '\0');
		else if (len != ends[0] && len != ends[1]) /* without padding: some write it so */
			assert_int_equal(len % TAR_BLOCK_BYTES, 0);
	}
	tar.len = whole;
}

static void large_numbers_are_written_and_read(void **state)
{
	struct tar_entry e = { .type = TAR_FILE,
			       .path = "big",
			       .mode = 0644,
			       .uid = 0x7fffffff,
			       .size_bytes = 0x1234567890ab };
	unsigned char block[TAR_BLOCK_BYTES];
	autostr struct str tar = STR_INIT;
	struct bytes bytes = { &tar, 0, SIZE_MAX };
	autoptr(tar_reader_free) struct tar_reader *reader = NULL;
	const struct tar_entry *read;
	struct error err = { 0 };

	assert_ok(tar_header(block, &e, &err), err);
	str_append(&tar, block, sizeof(block));
	assert_ok(tar_reader_new(read_bytes, &bytes, &reader, &err), err);
	assert_ok(tar_next(reader, &read, &err), err);
	assert_true(read->size_bytes == 0x1234567890ab);
	assert_int_equal(read->uid, 0x7fffffff);
	assert_true(tar_next(reader, &read, &err) < 0);
	assert_contains(err.message, "cut off");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_types_are_read),
		cmocka_unit_test(every_cut_is_survived),
		cmocka_unit_test(large_numbers_are_written_and_read),
		cmocka_unit_test(gnu_tars_formats_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
