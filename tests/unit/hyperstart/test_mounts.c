#include "tests/unit/hyperstart/tree.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <linux/magic.h>

#include "hyperstart/mounts.h"
#include "hyperstart/root.h"

static bool may_mount;

static int mount_setup(void **state)
{
	if (!may_mount)
		skip();
	return tree_setup(state);
}

static int mount_teardown(void **state)
{
	struct tree *t = *state;
	autofree char *path = strf("%s/root", t->top);

	umount2(path, MNT_DETACH);
	return tree_teardown(state);
}

/* A root that is a mount of its own: opened anew, what was opened before is below it. */
static int mount_root(struct tree *t)
{
	autofree char *path = strf("%s/root", t->top);

	assert_int_equal(mount("root", path, "tmpfs", 0, "size=1m"), 0);
	close(t->root_fd);
	t->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->root_fd >= 0);
	return t->root_fd;
}

static unsigned long flags_of(int root_fd, const char *path)
{
	autoclose int fd = root_open(root_fd, path, O_PATH, 0);
	struct statvfs fs;

	assert_true(fd >= 0);
	assert_int_equal(fstatvfs(fd, &fs), 0);
	return fs.f_flag;
}

static void file_systems(void **state)
{
	int root = mount_root(*state);
	struct error err = { 0 };
	autoclose int target = root_make_dir(root, "t", 0755, &err), there = -1;

	assert_ok(mount_new(target, "t", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=711", "/t",
			    &err),
		  err);
	there = root_open(root, "t", O_RDONLY, 0);
	assert_int_equal(fd_file_system(there), TMPFS_MAGIC);
	assert_int_equal(flags_of(root, "t") & (ST_NOSUID | ST_NODEV | ST_RDONLY),
			 ST_NOSUID | ST_NODEV);
	/* The flags that it has stay. */
	assert_ok(mount_set_read_only(there, "/t", &err), err);
	assert_int_equal(flags_of(root, "t") & (ST_NOSUID | ST_NODEV | ST_RDONLY),
			 ST_NOSUID | ST_NODEV | ST_RDONLY);
	assert_true(mount_new(target, "t", "nosuchfs", 0, NULL, "/t", &err) < 0);
	assert_contains(err.message, "nosuchfs");
}

static void binds(void **state)
{
	struct tree *t = *state;
	int root = mount_root(t);
	struct error err = { 0 };
	autoclose int source = -1, target = -1, file = -1, at = -1, made = -1;

	put_text(t, "from/a", "1");
	put_text(t, "one", "2");
	source = root_open(root, "from", O_PATH, 0);
	target = root_make_dir(root, "to", 0755, &err);
	assert_ok(mount_bind(root, source, target, "to", MS_RDONLY, false, "/to", &err), err);
	assert_int_equal(faccessat(root, "to/a", F_OK, 0), 0);
	made = openat(root, "to/b", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(made < 0 && errno == EROFS);
	/* What it is a bind of can be written to. */
	put_text(t, "from/b", "2");
	assert_int_equal(faccessat(root, "to/b", F_OK, 0), 0);
	/* A file onto a file. */
	file = root_open(root, "one", O_PATH, 0);
	at = root_make_file(root, "etc/two", &err);
	assert_ok(mount_bind(root, file, at, "etc/two", 0, false, "/etc/two", &err), err);
	autofree char *text = NULL;
	assert_ok(root_read(root, "etc/two", 10, &text, NULL, &err), err);
	assert_string_equal(text, "2");
	/* A directory does not go onto a file. */
	assert_true(mount_bind(root, source, at, "etc/two", 0, false, "/etc/two", &err) < 0);
}

/* A target that is a link by then is bound where the link leads in the root, and nowhere else. */
static void links_do_not_lead_out(void **state)
{
	struct tree *t = *state;
	autofree char *outside = strf("%s/outside", t->top), *seen = strf("%s/outside/a", t->top);
	int root = mount_root(t);
	struct error err = { 0 };
	autoclose int source = -1, target = -1;

	assert_int_equal(mkdir(outside, 0755), 0);
	put_text(t, "from/a", "1");
	put_link(t, outside, "to");
	source = root_open(root, "from", O_PATH, 0);
	target = root_make_dir(root, "to", 0755, &err);
	assert_true(target >= 0);
	assert_ok(mount_bind(root, source, target, "to", MS_RDONLY, false, "/to", &err), err);
	assert_int_equal(access(seen, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(file_systems, mount_setup, mount_teardown),
		cmocka_unit_test_setup_teardown(binds, mount_setup, mount_teardown),
		cmocka_unit_test_setup_teardown(links_do_not_lead_out, mount_setup, mount_teardown),
	};

	/* Mounts that nobody else sees, and that go with this process. */
	may_mount =
		unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) == 0;
	if (!may_mount) {
		fprintf(stderr, "skipped: mounting needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
