#include "tests/unit/image/world.h"

#include <sched.h>
#include <sys/mount.h>

#include "base/process.h"

/* Runs a shell script; the test fails with what it said. */
static void sh(const char *script)
{
	const char *argv[] = { "sh", "-ec", script, NULL };
	struct process_options options = { .argv = argv };
	struct error err = { 0 };

	assert_ok(process_run(&options, NULL, deadline_in_ms(60000), 65536, NULL, &err), err);
}

static void make_layer(struct str *tar)
{
	tar_put(tar,
		(struct tar_entry){ .type = TAR_FILE,
				    .path = "d/f",
				    .mode = 04755,
				    .uid = 70000,
				    .gid = 3,
				    .mtime_s = 1000000000 },
		"content");
	tar_link(tar, TAR_HARD_LINK, "d/same", "d/f");
	tar_link(tar, TAR_SYMLINK, "l", "d/f");
	tar_put(tar,
		(struct tar_entry){
			.type = TAR_DIRECTORY, .path = "opaque", .mode = 0700, .mtime_s = 5 },
		NULL);
	tar_file(tar, "opaque/.wh..wh..opq", "");
	tar_file(tar, "d/.wh.gone", "");
	tar_pax(tar, "SCHILY.xattr.user.note", "kept", 4);
	tar_file(tar, "note", "");
	tar_end(tar);
}

/* The same tree by both ways: every kind, mode, owner, time, link and xattr. */
static void mounted_main(struct world *w)
{
	autostr struct str tar = STR_INIT;
	autoptr(image_unref) struct image *image = NULL;
	autofree char *script = NULL;
	const struct layer *layer;
	struct error err = { 0 };

	make_layer(&tar);
	assert_ok(import_tar(w, &tar, &image, &err), err);
	layer = image_layer(image, 0);
	script =
		strf("mkdir %s/mnt; mount -t erofs -o loop,ro %s %s/mnt; "
		     "list() { cd $1; find . -printf '%%P %%y %%m %%U %%G %%T@ %%l %%n\\n' | sort; "
		     "getfattr -hRd -m- . 2>/dev/null; cat d/f; stat -c %%t,%%T d/gone; }; "
		     "(list %s) >%s/one; (list %s/mnt) >%s/two; umount %s/mnt; "
		     "grep -q opaque.*y %s/one; cmp %s/one %s/two",
		     w->root, layer->erofs_path, w->root, layer->directory, w->root, w->root,
		     w->root, w->root, w->root, w->root, w->root);
	sh(script);
}

static void an_erofs_file_is_the_directory(void **state)
{
	if (geteuid() != 0 || access("/dev/loop-control", R_OK) < 0 ||
	    system("grep -qw erofs /proc/filesystems || modprobe -q erofs") != 0) {
		print_message("skipped: no loop devices, or no EROFS in this kernel\n");
		skip();
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("skipped: mounting needs root\n");
		skip();
	}
	in_world(mounted_main);
}

static void digest_of(const char *path, char text[DIGEST_TEXT_BYTES])
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(digest_fd(fd, text, NULL, NULL), 0);
}

static void again_main(struct world *w)
{
	char digests[2][DIGEST_TEXT_BYTES];

	for (int i = 0; i < 2; i++) {
		autostr struct str tar = STR_INIT;
		struct image *image = NULL;
		char id[DIGEST_TEXT_BYTES];
		struct error err = { 0 };

		make_layer(&tar);
		assert_ok(import_tar(w, &tar, &image, &err), err);
		digest_of(image_layer(image, 0)->erofs_path, digests[i]);
		strcpy(id, image_id(image));
		image_unref(image);
		assert_ok(image_remove(w->images, id, true, true, NULL, NULL, NULL, &err), err);
		/* So that the second one is not made in the same second. */
		for (uint64_t s = realtime_ns() / NSEC_PER_SEC; realtime_ns() / NSEC_PER_SEC == s;)
			task_sleep_until(deadline_in_ms(50));
	}
	assert_string_equal(digests[0], digests[1]);
}

static void the_same_layer_gives_the_same_bytes(void **state)
{
	in_world(again_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_erofs_file_is_the_directory),
		cmocka_unit_test(the_same_layer_gives_the_same_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
