/*
 * What a hostile layer can try. Each case is refused with an error that says why, leaves the
 * directory outside as it was (in_world() checks), and leaves nothing stored.
 */
#include "tests/unit/image/world.h"

#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <linux/capability.h>
#include <zlib.h>

#include "base/process.h"
#include "hyperd/image/unpack.h"

struct attack {
	const char *name;
	void (*build)(struct world *w, struct str *tar);
	const char *complaint;
};

static void climbing(struct world *w, struct str *tar)
{
	tar_file(tar, "../../../../../outside/victim", "bad");
}

static void climbing_later(struct world *w, struct str *tar)
{
	tar_dir(tar, "a");
	tar_file(tar, "a/../../../../../../outside/new", "bad");
}

static void climbing_directory(struct world *w, struct str *tar)
{
	tar_put(tar, (struct tar_entry){ .type = TAR_DIRECTORY, .path = "..", .mode = 0777 }, NULL);
}

static void absolute(struct world *w, struct str *tar)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/victim", w->outside);
	tar_file(tar, path, "bad");
}

static void through_absolute_link(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, "l", w->outside);
	tar_file(tar, "l/victim", "bad");
}

static void through_climbing_link(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, "l", "../../../../../outside");
	tar_file(tar, "l/victim", "bad");
}

static void through_middle_link(struct world *w, struct str *tar)
{
	tar_dir(tar, "a");
	tar_link(tar, TAR_SYMLINK, "a/l", w->root);
	tar_file(tar, "a/l/outside/new", "bad");
}

static void directory_through_link(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, "l", w->outside);
	tar_dir(tar, "l/sub/deep");
}

static void through_chain_of_links(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, "a", ".");
	tar_link(tar, TAR_SYMLINK, "b", "a/../../../../../../outside");
	tar_file(tar, "a/b/victim", "bad");
}

static void link_loop(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, "a", "b");
	tar_link(tar, TAR_SYMLINK, "b", "a");
	tar_file(tar, "a/x", "bad");
}

static void dangling_link(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, "a", "nothing");
	tar_file(tar, "a/x", "bad");
}

static void hard_link_climbing(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_HARD_LINK, "h", "../../../../../outside/victim");
	tar_file(tar, "h", "bad");
}

static void hard_link_absolute(struct world *w, struct str *tar)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/victim", w->outside);
	tar_link(tar, TAR_HARD_LINK, "h", path);
}

static void hard_link_through_link(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, "l", w->outside);
	tar_link(tar, TAR_HARD_LINK, "h", "l/victim");
}

static void hard_link_to_nothing(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_HARD_LINK, "h", "nothing");
}

static void hard_link_to_directory(struct world *w, struct str *tar)
{
	tar_dir(tar, "d");
	tar_link(tar, TAR_HARD_LINK, "h", "d");
}

static void whiteout_through_link(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, "l", w->outside);
	tar_file(tar, "l/.wh.victim", "");
}

static void opaque_through_link(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, "l", w->outside);
	tar_file(tar, "l/.wh..wh..opq", "");
}

static void whiteout_of_dot(struct world *w, struct str *tar)
{
	tar_file(tar, "a/.wh..", "");
}

static void whiteout_of_dot_dot(struct world *w, struct str *tar)
{
	tar_file(tar, "a/.wh...", "");
}

static void whiteout_of_nothing(struct world *w, struct str *tar)
{
	tar_file(tar, ".wh.", "");
}

static void empty_name(struct world *w, struct str *tar)
{
	tar_file(tar, "", "bad");
}

static void nul_in_name(struct world *w, struct str *tar)
{
	tar_pax(tar, "path", "etc/passwd\0.txt", 15);
	tar_file(tar, "x", "bad");
}

static void nul_in_link(struct world *w, struct str *tar)
{
	tar_pax(tar, "linkpath", "x\0y", 3);
	tar_link(tar, TAR_SYMLINK, "l", "x");
}

static void long_name(struct world *w, struct str *tar)
{
	char name[4200];

	memset(name, 'a', sizeof(name));
	for (size_t i = 100; i < sizeof(name); i += 100)
		name[i] = '/';
	tar_pax(tar, "path", name, sizeof(name));
	tar_file(tar, "x", "bad");
}

static void long_component(struct world *w, struct str *tar)
{
	char name[256];

	memset(name, 'a', sizeof(name));
	tar_pax(tar, "path", name, sizeof(name));
	tar_file(tar, "x", "bad");
}

static void overlay_xattr(struct world *w, struct str *tar)
{
	tar_pax(tar, "SCHILY.xattr.trusted.overlay.redirect", "/etc", 4);
	tar_dir(tar, "d");
}

static void user_overlay_xattr(struct world *w, struct str *tar)
{
	tar_pax(tar, "SCHILY.xattr.user.overlay.opaque", "y", 1);
	tar_dir(tar, "d");
}

static void unknown_type(struct world *w, struct str *tar)
{
	tar_special(tar, 'V', "label", "", 0);
}

static void huge_pax_header(struct world *w, struct str *tar)
{
	autofree char *value = calloc(1, 2 << 20);

	memset(value, 'v', 2 << 20);
	tar_pax(tar, "comment", value, 2 << 20);
	tar_file(tar, "x", "bad");
}

static void endless_headers(struct world *w, struct str *tar)
{
	for (int i = 0; i < 100; i++)
		tar_pax(tar, "comment", "x", 1);
	tar_file(tar, "x", "bad");
}

static void cut_off(struct world *w, struct str *tar)
{
	tar_put(tar, (struct tar_entry){ .type = TAR_FILE, .path = "x", .size_bytes = 5 }, "12345");
	tar->len -= TAR_BLOCK_BYTES - 3;
}

static void bad_checksum(struct world *w, struct str *tar)
{
	tar_file(tar, "x", "bad");
	tar->data[tar->len - 2 * TAR_BLOCK_BYTES] = 'y';
}

/* 1 TiB of holes in a few hundred bytes. */
static void sparse_bomb(struct world *w, struct str *tar)
{
	tar_pax(tar, "GNU.sparse.size", "1099511627776", 13);
	tar_pax(tar, "GNU.sparse.map", "0,3", 3);
	tar_file(tar, "x", "abc");
}

static void sparse_overflow(struct world *w, struct str *tar)
{
	tar_pax(tar, "GNU.sparse.size", "100", 3);
	tar_pax(tar, "GNU.sparse.map", "9223372036854775800,3", 21);
	tar_file(tar, "x", "abc");
}

static void too_large(struct world *w, struct str *tar)
{
	autofree char *data = calloc(1, (1 << 20) + 1);

	memset(data, 'x', 1 << 20);
	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		tar_file(tar, name, data);
	}
}

static void too_many(struct world *w, struct str *tar)
{
	for (int i = 0; i < 1001; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		tar_file(tar, name, "");
	}
}

/* COUNT directories in one another below PREFIX. */
static void nest(struct str *tar, const char *prefix, int count)
{
	autostr struct str path = STR_INIT;

	str_add(&path, prefix);
	for (int i = 0; i < count; i++)
		str_add(&path, "/d");
	tar_pax(tar, "path", path.data, path.len);
	tar_dir(tar, "x");
}

static void nested_too_deep(struct world *w, struct str *tar)
{
	nest(tar, "a", 300);
}

/* Each link leads to the end of the chain before it, so that every name is short. */
static void nested_by_links(struct world *w, struct str *tar)
{
	autostr struct str target = STR_INIT;

	nest(tar, "a", 200);
	str_add(&target, "a");
	for (int i = 0; i < 200; i++)
		str_add(&target, "/d");
	tar_pax(tar, "linkpath", target.data, target.len);
	tar_link(tar, TAR_SYMLINK, "l1", "x");
	nest(tar, "l1", 200);
	str_clear(&target);
	str_add(&target, "l1");
	for (int i = 0; i < 200; i++)
		str_add(&target, "/d");
	tar_pax(tar, "linkpath", target.data, target.len);
	tar_link(tar, TAR_SYMLINK, "l2", "x");
	nest(tar, "l2", 200);
}

static void root_as_file(struct world *w, struct str *tar)
{
	tar_link(tar, TAR_SYMLINK, ".", w->outside);
}

static const struct attack attacks[] = {
	{ "climbing", climbing, "climbs" },
	{ "climbing later", climbing_later, "climbs" },
	{ "climbing directory", climbing_directory, "climbs" },
	{ "absolute", absolute, "absolute" },
	{ "through an absolute link", through_absolute_link, "leaves the layer" },
	{ "through a climbing link", through_climbing_link, "leaves the layer" },
	{ "through a link in the middle", through_middle_link, "leaves the layer" },
	{ "a directory through a link", directory_through_link, "leaves the layer" },
	{ "through a chain of links", through_chain_of_links, "leaves the layer" },
	{ "links in a circle", link_loop, "circle" },
	{ "a dangling link", dangling_link, "leaves the layer" },
	{ "hard link, climbing", hard_link_climbing, "climbs" },
	{ "hard link, absolute", hard_link_absolute, "absolute" },
	{ "hard link through a link", hard_link_through_link, "leaves the layer" },
	{ "hard link to nothing", hard_link_to_nothing, "does not hold" },
	{ "hard link to a directory", hard_link_to_directory, "no file" },
	{ "whiteout through a link", whiteout_through_link, "leaves the layer" },
	{ "opaque through a link", opaque_through_link, "leaves the layer" },
	{ "whiteout of .", whiteout_of_dot, "whiteout of nothing" },
	{ "whiteout of ..", whiteout_of_dot_dot, "whiteout of nothing" },
	{ "whiteout of nothing", whiteout_of_nothing, "whiteout of nothing" },
	{ "empty name", empty_name, "empty name" },
	{ "NUL in a name", nul_in_name, "NUL" },
	{ "NUL in a link", nul_in_link, "NUL" },
	{ "name of 4200 bytes", long_name, "more than 4095" },
	{ "component of 256 bytes", long_component, "more than 255" },
	{ "overlay's xattr", overlay_xattr, "not allowed" },
	{ "overlay's user xattr", user_overlay_xattr, "not allowed" },
	{ "unknown type", unknown_type, "type 0x56" },
	{ "huge pax header", huge_pax_header, "more than 1048576" },
	{ "endless headers", endless_headers, "headers before one entry" },
	{ "cut off", cut_off, "cut off" },
	{ "bad checksum", bad_checksum, "checksum" },
	{ "sparse bomb", sparse_bomb, "larger than" },
	{ "sparse overflow", sparse_overflow, "sparse map" },
	{ "too large", too_large, "larger than" },
	{ "too many", too_many, "more than 1000 entries" },
	{ "nested too deep", nested_too_deep, "deeper than 256" },
	{ "nested by links", nested_by_links, "deeper than 256" },
	{ "the root as a file", root_as_file, "no directory" },
};

static void attack_main(struct world *w)
{
	char after[DIGEST_TEXT_BYTES];

	image_store_set_limits(w->images, 16 << 20, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
		const struct attack *a = &attacks[i];
		autostr struct str tar = STR_INIT;
		struct image *image = NULL;
		struct error err = { 0 };

		tar_file(&tar, "first", "a file before the bad one\n");
		a->build(w, &tar);
		if (strcmp(a->name, "cut off") != 0)
			tar_end(&tar);
		if (import_tar(w, &tar, &image, &err) == 0)
			fail_msg("%s: was accepted", a->name);
		if (!strstr(err.message, a->complaint))
			fail_msg("%s: '%s' does not say '%s'", a->name, err.message, a->complaint);
		outside_digest(w, after);
		if (strcmp(after, w->outside_before) != 0)
			fail_msg("%s: changed what is outside", a->name);
		assert_nothing_stored(w);
	}
}

static void attacks_are_refused(void **state)
{
	in_world(attack_main);
}

/* What looks like an attack and is none: done within the layer, never through what was there. */
static void tame_main(struct world *w)
{
	autostr struct str tar = STR_INIT, victim = STR_INIT;
	autoptr(image_unref) struct image *image = NULL;
	autofree char *f = NULL, *h = NULL, *usr = NULL, *bytes = NULL, *text = NULL;
	struct error err = { 0 };
	struct stat st;

	str_addf(&victim, "%s/victim", w->outside);
	tar_link(&tar, TAR_SYMLINK, "f", victim.data); /* replaced, not written through */
	tar_file(&tar, "f", "mine");
	tar_link(&tar, TAR_SYMLINK, "s", victim.data);
	tar_link(&tar, TAR_HARD_LINK, "h", "s"); /* of the link itself */
	tar_file(&tar, "h", "mine too");
	tar_link(&tar, TAR_SYMLINK, "dl", w->outside);
	tar_put(&tar, (struct tar_entry){ .type = TAR_DIRECTORY, .path = "dl", .mode = 0700 },
		NULL);
	nest(&tar, "deep", 200); /* a whole tree makes room for a file */
	tar_file(&tar, "deep", "flat now");
	tar_dir(&tar, "usr/bin");
	tar_link(&tar, TAR_SYMLINK, "bin", "usr/bin"); /* stays inside: followed, as others do */
	tar_file(&tar, "bin/tool", "tool");
	tar_file(&tar, "bytes-\xff\xfe-\xc3\x28", "names are bytes");
	tar_pax(&tar, "path", "e\xcc\x81", 3); /* not in Unicode form C */
	tar_file(&tar, "x", "accent");
	tar_end(&tar);
	assert_ok(import_tar(w, &tar, &image, &err), err);

	f = layer_file(image, "f");
	assert_int_equal(lstat(f, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	h = layer_file(image, "dl");
	assert_int_equal(lstat(h, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	usr = layer_file(image, "usr/bin/tool");
	assert_ok(file_read(AT_FDCWD, usr, 100, &text, NULL, &err), err);
	assert_string_equal(text, "tool");
	bytes = layer_file(image, "bytes-\xff\xfe-\xc3\x28");
	assert_int_equal(lstat(bytes, &st), 0);
	free(steal(bytes));
	bytes = layer_file(image, "e\xcc\x81");
	assert_int_equal(lstat(bytes, &st), 0);
}

static void links_within_the_layer_are_fine(void **state)
{
	in_world(tame_main);
}

static void attributes_main(struct world *w)
{
	static const char capability[20] = { 0, 0, 0, 2, 0, 4 };
	autostr struct str tar = STR_INIT;
	autoptr(image_unref) struct image *image = NULL;
	autofree char *path = NULL;
	char value[64];
	struct error err = { 0 };
	struct stat st, other;

	tar_pax(&tar, "SCHILY.xattr.security.capability", capability, sizeof(capability));
	tar_put(&tar,
		(struct tar_entry){ .type = TAR_FILE,
				    .path = "d/su",
				    .mode = 06755,
				    .uid = 12,
				    .gid = 34,
				    .mtime_s = 1000000000 },
		"x");
	tar_link(&tar, TAR_HARD_LINK, "same", "d/su");
	tar_pax(&tar, "SCHILY.xattr.user.note", "kept", 4);
	tar_pax(&tar, "SCHILY.xattr.security.selinux", "dropped", 7);
	tar_file(&tar, "note", "x");
	tar_put(&tar,
		(struct tar_entry){ .type = TAR_CHARACTER,
				    .path = "null",
				    .mode = 0666,
				    .major = 1,
				    .minor = 3 },
		NULL);
	tar_put(&tar, (struct tar_entry){ .type = TAR_FIFO, .path = "fifo", .mode = 0622 }, NULL);
	tar_put(&tar,
		(struct tar_entry){
			.type = TAR_DIRECTORY, .path = "d", .mode = 01777, .mtime_s = 1234567890 },
		NULL);
	tar_file(&tar, "d/later", "x"); /* does not change the directory's time */
	tar_end(&tar);
	assert_ok(import_tar(w, &tar, &image, &err), err);

	path = layer_file(image, "d/su");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 06755);
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(st.st_gid, 34);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(getxattr(path, "security.capability", value, sizeof(value)), 20);
	free(path);
	path = layer_file(image, "same");
	assert_int_equal(stat(path, &other), 0);
	assert_int_equal(other.st_ino, st.st_ino);
	free(path);
	path = layer_file(image, "note");
	assert_int_equal(getxattr(path, "user.note", value, sizeof(value)), 4);
	assert_true(getxattr(path, "security.selinux", value, sizeof(value)) < 0);
	free(path);
	path = layer_file(image, "null");
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	assert_int_equal(st.st_mode & 07777, 0666);
	free(path);
	path = layer_file(image, "fifo");
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	free(path);
	path = layer_file(image, "d");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 01777);
	assert_int_equal(st.st_mtim.tv_sec, 1234567890);
}

static void attributes_are_kept(void **state)
{
	in_world(attributes_main);
}

static bool is_opaque(const struct image *image, const char *name)
{
	autofree char *path = layer_file(image, name);
	char value = 0;

	return getxattr(path, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

static bool is_hidden(const struct image *image, const char *name)
{
	autofree char *path = layer_file(image, name);
	struct stat st;

	return lstat(path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

static void whiteout_main(struct world *w)
{
	autostr struct str tar = STR_INIT;
	autoptr(image_unref) struct image *image = NULL;
	autofree char *path = NULL;
	struct error err = { 0 };
	struct stat st;

	tar_file(&tar, "etc/.wh.gone", "");
	tar_dir(&tar, "opaque");
	tar_file(&tar, "opaque/.wh..wh..opq", "");
	tar_file(&tar, "opaque/new", "x");
	tar_file(&tar, ".wh..wh.plnk/1.2", "");
	tar_file(&tar, "anew", "x"); /* made, then hidden below: stays */
	tar_file(&tar, ".wh.anew", "");
	tar_dir(&tar, "newdir");
	tar_file(&tar, ".wh.newdir", "");
	tar_file(&tar, ".wh.swapped", ""); /* hidden below, then made */
	tar_dir(&tar, "swapped");
	tar_end(&tar);
	assert_ok(import_tar(w, &tar, &image, &err), err);

	assert_true(is_hidden(image, "etc/gone"));
	assert_true(is_opaque(image, "opaque"));
	assert_false(is_opaque(image, "etc"));
	assert_true(is_opaque(image, "newdir"));
	assert_true(is_opaque(image, "swapped"));
	assert_false(is_hidden(image, "anew"));
	path = layer_file(image, "opaque/.wh..wh..opq");
	assert_true(lstat(path, &st) < 0);
}

static void whiteouts_become_overlayfs(void **state)
{
	in_world(whiteout_main);
}

/* Deflates zeros: about a thousand to one. */
static void bomb_main(struct world *w)
{
	autofree unsigned char *zeros = calloc(1, 64 << 20);
	uLongf len = compressBound(64 << 20) + 64;
	autofree unsigned char *packed = malloc(len);
	autostr struct str bomb = STR_INIT;
	struct image *image = NULL;
	struct error err = { 0 };
	z_stream z = { 0 };
	struct tar_entry e = {
		.type = TAR_FILE, .path = "zeros", .mode = 0644, .size_bytes = (64 << 20) - 1536
	};

	assert_int_equal(tar_header(zeros, &e, NULL), 0);
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = zeros;
	z.avail_in = 64 << 20;
	z.next_out = packed;
	z.avail_out = (uInt)len;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	str_append(&bomb, packed, z.total_out);
	deflateEnd(&z);
	assert_true(bomb.len < 1 << 20);

	image_store_set_limits(w->images, 16 << 20, 1000);
	assert_true(import_tar(w, &bomb, &image, &err) < 0);
	assert_int_equal(err.kind, ERROR_LIMIT);
	assert_nothing_stored(w);

	/* Within the limit it is an archive like any other; cut short it is not. */
	image_store_set_limits(w->images, 128 << 20, 1000);
	bomb.len -= 20;
	assert_true(import_tar(w, &bomb, &image, &err) < 0);
	assert_contains(err.message, "cut off");
	assert_nothing_stored(w);
	bomb.len += 20;
	assert_ok(import_tar(w, &bomb, &image, &err), err);
	image_unref(image);
}

static void decompression_bombs_meet_a_limit(void **state)
{
	in_world(bomb_main);
}

static unsigned long long status_field(pid_t pid, const char *field)
{
	autofree char *text = NULL;
	char path[64];
	const char *at;
	struct error err = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	assert_ok(file_read(AT_FDCWD, path, 1 << 16, &text, NULL, &err), err);
	at = strstr(text, field);
	assert_non_null(at);
	return strtoull(at + strlen(field), NULL, 16);
}

static unsigned count_fds(pid_t pid)
{
	char path[64];
	DIR *dir;
	unsigned count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static void assert_own_namespace(pid_t pid, const char *name)
{
	char path[64], ours[64], theirs[64];
	ssize_t a, b;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	a = readlink(path, ours, sizeof(ours) - 1);
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	b = readlink(path, theirs, sizeof(theirs) - 1);
	assert_true(a > 0 && b > 0);
	ours[a] = theirs[b] = '\0';
	if (strcmp(ours, theirs) == 0)
		fail_msg("the unpacker shares our %s namespace", name);
}

/* The child as the unpacker starts it, stopped in the middle of an archive, looked at from outside.
 */
static void confinement_main(struct world *w)
{
	const unsigned long long allowed = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE |
					   1ull << CAP_FOWNER | 1ull << CAP_FSETID |
					   1ull << CAP_MKNOD | 1ull << CAP_SETFCAP;
	const char *argv[] = { "/proc/self/exe", unpack_child_name, "1000000", "1000", NULL };
	autostr struct str tar = STR_INIT;
	autofree char *dir = strf("%s/tree", w->root), *file = strf("%s/tree/second", w->root);
	struct process child = PROCESS_INIT;
	struct error err = { 0 };
	int data[2], report[2], dir_fd, code;
	struct stat st;

	assert_int_equal(mkdir(dir, 0755), 0);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, data), 0);
	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	const struct process_fd fds[] = { { data[1], UNPACK_DATA_FD },
					  { dir_fd, UNPACK_DIR_FD },
					  { report[1], UNPACK_REPORT_FD } };
	struct process_options options = {
		.argv = argv,
		.fds = fds,
		.fd_count = ARRAY_SIZE(fds),
		.clone_flags =
			CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID,
	};
	assert_ok(process_spawn(&options, &child, &err), err);
	close(data[1]);
	close(report[1]);
	tar_file(&tar, "first", "x");
	tar_file(&tar, "second", "y");
	assert_int_equal(fd_write_all(data[0], tar.data, tar.len), 0);
	for (uint64_t deadline = deadline_in_ms(30000); stat(file, &st) < 0 || st.st_size == 0;) {
		assert_true(now_ns() < deadline);
		task_yield();
	}

	assert_int_equal(status_field(child.pid, "CapEff:") & ~allowed, 0);
	assert_int_equal(status_field(child.pid, "CapPrm:") & ~allowed, 0);
	assert_int_equal(status_field(child.pid, "CapBnd:") & ~allowed, 0);
	assert_int_equal(status_field(child.pid, "NoNewPrivs:"), 1);
#ifndef __SANITIZE_ADDRESS__
	assert_int_equal(status_field(child.pid, "Seccomp:"), 2);
#endif
	assert_in_range(count_fds(child.pid), 5, 7); /* data, null, null, root, report, a file */
	assert_own_namespace(child.pid, "mnt");
	assert_own_namespace(child.pid, "net");
	assert_own_namespace(child.pid, "ipc");
	assert_own_namespace(child.pid, "pid");

	process_signal(&child, SIGKILL);
	assert_ok(process_wait(&child, DEADLINE_NEVER, &code, &err), err);
	close(data[0]);
	close(report[0]);
	close(dir_fd);
}

static void the_unpacker_is_confined(void **state)
{
	in_world(confinement_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attacks_are_refused),
		cmocka_unit_test(links_within_the_layer_are_fine),
		cmocka_unit_test(attributes_are_kept),
		cmocka_unit_test(whiteouts_become_overlayfs),
		cmocka_unit_test(decompression_bombs_meet_a_limit),
		cmocka_unit_test(the_unpacker_is_confined),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
