/* Trees and copies, hostile ones among them: nothing but the tree is ever read. */
#include "tests/unit/image/world.h"

#include <sys/sysmacros.h>

#include "hyperd/build/copy.h"
#include "hyperd/image/layer_store.h"

/* A directory of the test's own, with a link to the victim outside in every way. */
static int make_tree(struct world *w, const char *name)
{
	autofree char *outside = strf("%s/victim", w->outside);
	int fd = file_open_dir(AT_FDCWD, w->root, 0755, NULL), dir;

	dir = file_open_dir(fd, name, 0755, NULL);
	close(fd);
	assert_true(dir >= 0);
	assert_int_equal(file_write_atomic(dir, "file", "content", 7, 0644, false, NULL), 0);
	assert_int_equal(mkdirat(dir, "d", 0755), 0);
	assert_int_equal(file_write_atomic(dir, "d/deep", "deep", 4, 0600, false, NULL), 0);
	assert_int_equal(symlinkat(outside, dir, "absolute"), 0);
	assert_int_equal(symlinkat("../outside/victim", dir, "climbing"), 0);
	assert_int_equal(symlinkat("../../../../../../../../../../etc", dir, "etc"), 0);
	assert_int_equal(symlinkat("loop", dir, "loop"), 0);
	assert_int_equal(symlinkat("/d", dir, "inside"), 0);
	assert_int_equal(symlinkat("d/../file", dir, "round"), 0);
	assert_int_equal(symlinkat("..", dir, "up"), 0);
	return dir;
}

static struct tree *open_tree(int dir)
{
	struct tree *tree = NULL;
	struct error err = { 0 };

	assert_ok(tree_of_directory(dir, &tree, &err), err);
	return tree;
}

static void links_main(struct world *w)
{
	static const struct {
		const char *path;
		int result;
		const char *where;
	} cases[] = {
		{ "file", 0, "file" },
		{ "/file", 0, "file" },
		{ "../../file", 0, "file" },
		{ "inside/deep", 0, "d/deep" },
		{ "up/up/file", 0, "file" },
		{ "round", 0, "file" },
		{ "absolute", -ENOENT, NULL },
		{ "climbing", -ENOENT, NULL },
		{ "etc", -ELOOP, NULL },
		{ "etc/passwd", -ELOOP, NULL },
		{ "loop", -ELOOP, NULL },
		{ "file/x", -ENOTDIR, NULL },
		{ "", 0, "" },
		{ "d/..", 0, "" },
		{ "nothing/../file", -ENOENT, NULL },
	};
	autoclose int dir = make_tree(w, "tree");
	autoptr(tree_free) struct tree *tree = open_tree(dir);
	struct tree_node node;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(tree_lookup(tree, cases[i].path, true, &node), cases[i].result);
		if (cases[i].where)
			assert_string_equal(node.path, cases[i].where);
	}
	assert_int_equal(tree_lookup(tree, "absolute", false, &node), 0);
	assert_true(S_ISLNK(node.st.st_mode));
}

static void links_stay_inside(void **state)
{
	in_world(links_main);
}

static struct copy_plan plan_of(struct tree *tree, const char *pattern, int expected)
{
	const char *patterns[] = { pattern, NULL };
	struct copy_plan plan = { 0 };
	struct error err = { 0 };
	int r = copy_plan_make(tree, (char *const *)patterns, &plan, &err);

	if ((r < 0) != (expected < 0))
		fail_msg("%s: %s", pattern, err.message);
	if (expected >= 0)
		assert_int_equal(plan.count, expected);
	return plan;
}

static void plans_main(struct world *w)
{
	static const struct {
		const char *pattern;
		int count; /* or negative for an error */
	} cases[] = {
		{ "file", 1 },     { "./file", 1 },    { "/file", 1 },       { "f*", 1 },
		{ "*/deep", 1 },   { "d/d?ep", 1 },    { "[a-d]", 1 },       { "x*", -1 },
		{ "nothing", -1 }, { "climbing", -1 }, { "etc/passwd", -1 }, { "loop", -1 },
		{ ".", 1 },        { "", 1 },
	};
	autoclose int dir = make_tree(w, "tree");
	autoptr(tree_free) struct tree *tree = open_tree(dir);
	struct copy_plan before, after;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct copy_plan plan = plan_of(tree, cases[i].pattern, cases[i].count);

		copy_plan_done(&plan);
	}
	/* The content counts, the time does not. */
	before = plan_of(tree, "d", 1);
	assert_int_equal(utimensat(dir, "d/deep", (struct timespec[2]){ { 1 }, { 1 } }, 0), 0);
	after = plan_of(tree, "d", 1);
	assert_string_equal(before.hash, after.hash);
	copy_plan_done(&after);
	assert_int_equal(file_write_atomic(dir, "d/deep", "DEEP", 4, 0600, false, NULL), 0);
	after = plan_of(tree, "d", 1);
	assert_string_not_equal(before.hash, after.hash);
	copy_plan_done(&after);
	copy_plan_done(&before);
}

static void sources_are_found_and_hashed(void **state)
{
	in_world(plans_main);
}

/* The names in a layer's archive, a line each. */
static void list_archive(int fd, struct str *out)
{
	unsigned char block[TAR_BLOCK_BYTES];
	off_t at = 0;

	while (pread(fd, block, sizeof(block), at) == sizeof(block) && block[0]) {
		unsigned long size = strtoul((char *)block + 124, NULL, 8);

		str_addf(out, "%.100s%s\n", (char *)block, block[157] ? " link" : "");
		at += (off_t)(TAR_BLOCK_BYTES + size + tar_padding(size));
	}
}

static void write_main(struct world *w)
{
	static const struct {
		const char *source, *destination, *names;
	} cases[] = {
		{ "file", "/new", "new\n" },
		{ "file", "/new/", "new/\nnew/file\n" },
		{ "file", "/d", "d/\nd/file\n" },
		{ "file", "/inside/x", "d/\nd/x\n" },
		{ "file", "/climbing", "outside/\noutside/victim\n" },
		{ "file", "/../../x", "x\n" },
		{ "d", "/", "deep\n" },
		{ "d", "/a/b", "a/\na/b/\na/b/deep\n" },
		{ "inside", "/up/y", "y/\ny/deep\n" },
	};
	autoclose int from_dir = make_tree(w, "from"), to_dir = make_tree(w, "to");
	autoptr(tree_free) struct tree *from = open_tree(from_dir), *to = open_tree(to_dir);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct copy_options options = { .destination = cases[i].destination };
		struct copy_plan plan = plan_of(from, cases[i].source, 1);
		autoclose int fd = memfd_create("layer", MFD_CLOEXEC);
		autostr struct str names = STR_INIT;
		struct layer_tar tar;
		struct error err = { 0 };

		assert_ok(layer_tar_init(&tar, to, fd, 1 << 20, &err), err);
		assert_ok(copy_write(&plan, &options, &tar, &err), err);
		assert_ok(layer_tar_finish(&tar, &err), err);
		list_archive(fd, &names);
		assert_string_equal(str_text(&names), cases[i].names);
		layer_tar_done(&tar);
		copy_plan_done(&plan);
	}
}

static void copies_go_where_the_image_s_links_lead(void **state)
{
	in_world(write_main);
}

static void limits_main(struct world *w)
{
	autoclose int dir = make_tree(w, "tree"), fd = memfd_create("layer", MFD_CLOEXEC);
	autoptr(tree_free) struct tree *tree = open_tree(dir);
	struct copy_options options = { .destination = "/x", .chown = "nobody-knows" };
	struct copy_plan plan = plan_of(tree, "file", 1);
	struct layer_tar tar;
	struct error err = { 0 };

	assert_ok(layer_tar_init(&tar, tree, fd, 600, &err), err);
	assert_true(copy_write(&plan, &options, &tar, &err) < 0);
	assert_contains(err.message, "no such user: nobody-knows");
	options.chown = NULL;
	assert_true(copy_write(&plan, &options, &tar, &err) < 0);
	assert_contains(err.message, "larger than 600 bytes");
	options.destination = "/loop";
	assert_true(copy_write(&plan, &options, &tar, &err) < 0);
	options.destination = "/file/below";
	assert_true(copy_write(&plan, &options, &tar, &err) < 0);
	layer_tar_done(&tar);
	copy_plan_done(&plan);
}

static void what_cannot_be_copied_is_told(void **state)
{
	in_world(limits_main);
}

static void owners_main(struct world *w)
{
	static const struct {
		const char *text;
		uint32_t uid, gid;
		bool known;
	} cases[] = {
		{ "1:2", 1, 2, true },     { "7", 7, 7, true },
		{ "root", 0, 0, true },    { "app", 100, 200, true },
		{ "app:0", 100, 0, true }, { "0:app", 0, 200, true },
		{ "bad", 0, 0, false },    { "app:", 0, 0, false },
		{ ":app", 0, 0, false },   { "a:b:c", 0, 0, false },
		{ "-1", 0, 0, false },     { "99999999999", 0, 0, false },
		{ "evil", 0, 0, false },
	};
	static const char passwd[] = "root:x:0:0::/:\nevil:x:-5:x\napp:x:100:1::/:\nbad:\n";
	static const char group[] = "root:x:0:\napp:x:200:\n";
	autoclose int dir = make_tree(w, "tree");
	autoptr(tree_free) struct tree *tree = NULL;

	assert_int_equal(unlinkat(dir, "etc", 0), 0);
	assert_int_equal(mkdirat(dir, "etc", 0755), 0);
	assert_int_equal(file_write_atomic(dir, "etc/passwd", passwd, strlen(passwd), 0644, false,
					   NULL),
			 0);
	assert_int_equal(file_write_atomic(dir, "etc/group", group, strlen(group), 0644, false,
					   NULL),
			 0);
	tree = open_tree(dir);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct layer_owner owner = { 9, 9 };
		struct error err = { 0 };
		int r = copy_find_owner(tree, cases[i].text, &owner, &err);

		if ((r == 0) != cases[i].known)
			fail_msg("%s: %d %s", cases[i].text, r, err.message);
		if (cases[i].known) {
			assert_int_equal(owner.uid, cases[i].uid);
			assert_int_equal(owner.gid, cases[i].gid);
		}
	}
}

static void owners_are_looked_up_in_the_image(void **state)
{
	in_world(owners_main);
}

static void layers_main(struct world *w)
{
	static const char *const contents[] = { "lower", "upper" };
	struct image *image[2] = { NULL, NULL };
	autoptr(tree_free) struct tree *tree = NULL;
	autojson json_t *config = json_object();
	autostrv char **names = NULL;
	autofree char *text = NULL;
	struct tree_node node, root;
	struct error err = { 0 };

	for (size_t i = 0; i < 2; i++) {
		struct image_derivation from = { .parent = i ? image[0] : NULL,
						 .config = config,
						 .file = "in" };
		autostr struct str tar = STR_INIT;
		struct workdir *work;

		tar_dir(&tar, "d");
		tar_file(&tar, i ? "d/b" : "d/a", contents[i]);
		tar_file(&tar, "both", contents[i]);
		tar_file(&tar, i ? ".wh.gone" : "gone", i ? "" : "x");
		tar_dir(&tar, "o");
		tar_file(&tar, i ? "o/new" : "o/old", contents[i]);
		if (i)
			tar_file(&tar, "o/.wh..wh..opq", "");
		tar_end(&tar);
		assert_ok(workdir_new(image_store_layers(w->images), &work, &err), err);
		assert_ok(file_write_atomic(work->fd, "in", tar.data, tar.len, 0600, false, &err),
			  err);
		from.work = work;
		assert_ok(image_derive(w->images, &from, &image[i], &err), err);
		workdir_free(work);
	}
	assert_ok(tree_of_image(image[1], &tree, &err), err);
	assert_int_equal(tree_lookup(tree, "gone", true, &node), -ENOENT);
	assert_int_equal(tree_lookup(tree, "d/a", true, &node), 0);
	assert_int_equal(tree_lookup(tree, "d/b", true, &node), 0);
	assert_int_equal(tree_lookup(tree, "o/old", true, &node), -ENOENT);
	assert_int_equal(tree_lookup(tree, "o/new", true, &node), 0);
	assert_int_equal(tree_read_file(tree, "both", 100, &text), 0);
	assert_string_equal(text, "upper");
	assert_int_equal(tree_lookup(tree, "", true, &root), 0);
	assert_int_equal(tree_list(tree, &root, &names), 0);
	assert_int_equal(strv_len(names), 3);
	assert_string_equal(names[0], "both");
	image_unref(image[0]);
	image_unref(image[1]);
}

static void upper_layers_hide_lower_ones(void **state)
{
	in_world(layers_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_stay_inside),
		cmocka_unit_test(sources_are_found_and_hashed),
		cmocka_unit_test(copies_go_where_the_image_s_links_lead),
		cmocka_unit_test(what_cannot_be_copied_is_told),
		cmocka_unit_test(owners_are_looked_up_in_the_image),
		cmocka_unit_test(upper_layers_hide_lower_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
