#include "tests/unit/hyperstart/tree.h"

#include "hyperstart/root.h"

/* What FD is, as a path below the tree's root ("" is the root, "/…" something else). */
static void expect_is(const struct tree *t, int fd, const char *path)
{
	char link[PATH_MAX], root[128];
	ssize_t n;

	if (fd < 0)
		fail_msg("'%s': %s", path, strerror(-fd));
	n = readlink(fd_path(fd).text, link, sizeof(link) - 1);
	assert_true(n > 0);
	link[n] = '\0';
	snprintf(root, sizeof(root), "%s/root", t->top);
	assert_true(str_starts(link, root));
	assert_string_equal(link + strlen(root) + (link[strlen(root)] == '/'), path);
	close(fd);
}

static void look_ups_stay_inside(void **state)
{
	struct tree *t = *state;
	autofree char *outside = strf("%s/secret", t->top);
	struct error err = { 0 };

	put_text(t, "etc/real", "inside");
	assert_ok(file_write_atomic(AT_FDCWD, outside, "x", 1, 0644, false, &err), err);
	put_link(t, "/etc/real", "absolute");
	put_link(t, "../../../../etc/real", "climbing");
	put_link(t, "etc", "dir");
	put_link(t, outside, "out");
	put_link(t, "../secret", "beside");
	expect_is(t, root_open(t->root_fd, "/etc/real", O_PATH, 0), "etc/real");
	expect_is(t, root_open(t->root_fd, "absolute", O_PATH, 0), "etc/real");
	expect_is(t, root_open(t->root_fd, "climbing", O_PATH, 0), "etc/real");
	expect_is(t, root_open(t->root_fd, "dir/real", O_PATH, 0), "etc/real");
	expect_is(t, root_open(t->root_fd, "../../..", O_PATH, 0), "");
	assert_int_equal(root_open(t->root_fd, "out", O_PATH, 0), -ENOENT);
	assert_int_equal(root_open(t->root_fd, "beside", O_PATH, 0), -ENOENT);
	assert_int_equal(root_open(t->root_fd, "../secret", O_PATH, 0), -ENOENT);
}

static void direct_look_ups_take_no_link(void **state)
{
	struct tree *t = *state;

	put_text(t, "etc/real", "inside");
	put_link(t, "etc", "dir");
	put_link(t, "real", "etc/link");
	expect_is(t, root_open_direct(t->root_fd, "etc/real", O_PATH, 0), "etc/real");
	assert_int_equal(root_open_direct(t->root_fd, "dir/real", O_PATH, 0), -ELOOP);
	assert_int_equal(root_open_direct(t->root_fd, "etc/link", O_RDONLY, 0), -ELOOP);
}

static void directories_are_made(void **state)
{
	struct tree *t = *state;
	struct error err = { 0 };
	struct stat st;

	expect_is(t, root_make_dir(t->root_fd, "/a/b/c", 0700, &err), "a/b/c");
	assert_int_equal(fstatat(t->root_fd, "a/b/c", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	expect_is(t, root_make_dir(t->root_fd, "a/b/../../../d//e/.", 0755, &err), "d/e");
	expect_is(t, root_make_dir(t->root_fd, "/", 0755, &err), "");
	/* Links to what is not there: their targets, in the root. */
	put_link(t, "/var/run", "run");
	expect_is(t, root_make_dir(t->root_fd, "/run/lock", 0755, &err), "var/run/lock");
	put_link(t, "../../../../../../escape", "climb");
	expect_is(t, root_make_dir(t->root_fd, "climb", 0755, &err), "escape");
}

static void files_are_made(void **state)
{
	struct tree *t = *state;
	struct error err = { 0 };

	expect_is(t, root_make_file(t->root_fd, "/etc/hosts", &err), "etc/hosts");
	put_link(t, "../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf");
	expect_is(t, root_make_file(t->root_fd, "/etc/resolv.conf", &err),
		  "run/systemd/resolve/stub-resolv.conf");
	/* What is there stays what it is. */
	put_text(t, "etc/hostname", "name");
	expect_is(t, root_make_file(t->root_fd, "etc/hostname", &err), "etc/hostname");
}

static void impossible_ones_are_refused(void **state)
{
	struct tree *t = *state;
	autofree char *deep = calloc(1, PATH_MAX + 10);
	struct error err = { 0 };

	put_link(t, "two", "one");
	put_link(t, "one", "two");
	put_link(t, "self/x", "self");
	put_text(t, "file", "");
	assert_int_equal(root_make_dir(t->root_fd, "one", 0755, &err), -ELOOP);
	assert_int_equal(root_make_dir(t->root_fd, "self", 0755, &err), -ELOOP);
	assert_int_equal(root_make_file(t->root_fd, "one", &err), -ELOOP);
	assert_int_equal(root_make_dir(t->root_fd, "file/x", 0755, &err), -ENOTDIR);
	assert_int_equal(root_make_dir(t->root_fd, "file", 0755, &err), -ENOTDIR);
	memset(deep, 'x', NAME_MAX + 1);
	assert_int_equal(root_make_dir(t->root_fd, deep, 0755, &err), -ENAMETOOLONG);
	for (size_t i = 0; i < PATH_MAX; i += 2)
		memcpy(deep + i, "/d", 2);
	assert_int_equal(root_make_dir(t->root_fd, deep, 0755, &err), -ENAMETOOLONG);
	assert_int_equal(root_make_file(t->root_fd, deep, &err), -ENAMETOOLONG);
	/* As deep as a path may be. */
	deep[PATH_MAX - 2] = '\0';
	expect_is(t, root_make_dir(t->root_fd, "d", 0755, &err), "d");
	assert_true(root_make_dir(t->root_fd, deep, 0755, &err) >= 0);
}

static void files_are_read(void **state)
{
	struct tree *t = *state;
	autofree char *text = NULL;
	struct error err = { 0 };
	size_t len;

	put_text(t, "etc/x", "content");
	put_link(t, "/etc/x", "link");
	assert_ok(root_read(t->root_fd, "link", 7, &text, &len, &err), err);
	assert_string_equal(text, "content");
	assert_int_equal(len, 7);
	assert_true(root_read(t->root_fd, "link", 6, &text, NULL, &err) < 0);
	assert_true(root_read(t->root_fd, "nothing", 6, &text, NULL, &err) < 0);
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
	assert_true(root_read(t->root_fd, "etc", 6, &text, NULL, &err) < 0);
	assert_contains(err.message, "no regular file");
	assert_int_equal(mkfifoat(t->root_fd, "pipe", 0644), 0);
	assert_true(root_read(t->root_fd, "pipe", 6, &text, NULL, &err) < 0);
	assert_contains(err.message, "no regular file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TREE_TEST(look_ups_stay_inside),        TREE_TEST(direct_look_ups_take_no_link),
		TREE_TEST(directories_are_made),        TREE_TEST(files_are_made),
		TREE_TEST(impossible_ones_are_refused), TREE_TEST(files_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
