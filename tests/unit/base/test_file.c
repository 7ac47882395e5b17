#include "tests/unit/test.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

static int scratch(char *path)
{
	struct error err = { 0 };
	int fd;

	strcpy(path, "/tmp/hyper-test-file-XXXXXX");
	assert_non_null(mkdtemp(path));
	fd = file_open_dir(AT_FDCWD, path, 0700, &err);
	assert_true(fd >= 0);
	return fd;
}

static void writes_and_reads_whole_files(void **state)
{
	struct error err = { 0 };
	char path[64];
	autoclose int dir = scratch(path);
	autofree char *text = NULL;
	size_t len;

	assert_ok(file_write_atomic(dir, "record", "one", 3, 0600, false, &err), err);
	assert_ok(file_write_atomic(dir, "record", "second", 6, 0600, true, &err), err);
	assert_ok(file_read(dir, "record", 100, &text, &len, &err), err);
	assert_string_equal(text, "second");
	assert_int_equal(len, 6);
	free(steal(text));
	assert_int_equal(file_read(dir, "record", 5, &text, &len, &err), -E2BIG);
	assert_int_equal(file_read(dir, "missing", 5, &text, &len, &err), -ENOENT);
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
	assert_ok(file_remove_tree(AT_FDCWD, path, &err), err);
}

static void removes_trees_without_following_links(void **state)
{
	struct error err = { 0 };
	char path[64], keep[64];
	autoclose int dir = scratch(path);
	autoclose int kept = scratch(keep);

	assert_ok(file_write_atomic(kept, "precious", "x", 1, 0600, false, &err), err);
	assert_ok(file_make_dirs(dir, "a/b/c", 0700, &err), err);
	assert_int_equal(symlinkat(keep, dir, "a/b/link"), 0);
	assert_ok(file_write_atomic(dir, "a/b/c/f", "x", 1, 0600, false, &err), err);
	assert_ok(file_remove_tree(AT_FDCWD, path, &err), err);
	assert_int_equal(faccessat(AT_FDCWD, path, F_OK, 0), -1);
	assert_int_equal(faccessat(kept, "precious", F_OK, 0), 0);
	assert_ok(file_remove_tree(AT_FDCWD, keep, &err), err);
	assert_ok(file_remove_tree(AT_FDCWD, keep, &err), err);
}

static void copies_keep_holes(void **state)
{
	struct error err = { 0 };
	char path[64], buf[4] = { 0 };
	autoclose int dir = scratch(path);
	autoclose int from = openat(dir, "from", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	autoclose int to = openat(dir, "to", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	assert_int_equal(ftruncate(from, 64 << 20), 0);
	assert_int_equal(pwrite(from, "data", 4, 32 << 20), 4);
	assert_ok(file_copy_sparse(from, to, &err), err);
	assert_int_equal(fstat(to, &st), 0);
	assert_int_equal(st.st_size, 64 << 20);
	assert_true(st.st_blocks * 512 < 1 << 20);
	assert_int_equal(pread(to, buf, 4, 32 << 20), 4);
	assert_memory_equal(buf, "data", 4);
	assert_ok(file_remove_tree(AT_FDCWD, path, &err), err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_and_reads_whole_files),
		cmocka_unit_test(removes_trees_without_following_links),
		cmocka_unit_test(copies_keep_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
