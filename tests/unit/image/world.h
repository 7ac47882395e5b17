#pragma once
/*
 * What the tests of images share: a data root beside a directory that nothing may touch, archives
 * built byte by byte, and a task to run in. Unpacking needs root (owners, device nodes,
 * namespaces).
 */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/job.h"
#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/image/digest.h"
#include "hyperd/image/image.h"
#include "hyperd/image/tar.h"

struct world {
	char root[64];    /* holds "data" and "outside" */
	char outside[80]; /* holds "victim", which must stay as it is */
	char data[80];
	char outside_before[DIGEST_TEXT_BYTES];
	struct loop *loop;
	struct store *store;
	struct job_pool *jobs;
	struct image_store *images;
	void (*body)(struct world *w);
};

#define VICTIM_TEXT "nobody may change me\n"

/* Everything that an attack could change about a tree: names, kinds, modes, owners, sizes, times,
 * content. */
static inline void describe_tree(int dir_fd, const char *path, struct str *out)
{
	autoclosedir DIR *dir = NULL;
	struct dirent *e;
	struct stat st;
	int fd;

	if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	str_addf(out, "%s %o %u %u %u %lld.%ld\n", path, st.st_mode, st.st_uid, st.st_gid,
		 (unsigned)st.st_nlink, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	if (S_ISREG(st.st_mode)) {
		autofree char *text = NULL;
		size_t len;

		assert_int_equal(file_read(dir_fd, path, 1 << 20, &text, &len, NULL), 0);
		str_append(out, text, len);
	}
	if (!S_ISDIR(st.st_mode))
		return;
	fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dir = fdopendir(fd);
	assert_non_null(dir);
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			describe_tree(dirfd(dir), e->d_name, out);
}

static inline void outside_digest(struct world *w, char text[DIGEST_TEXT_BYTES])
{
	autostr struct str out = STR_INIT;

	describe_tree(AT_FDCWD, w->outside, &out);
	assert_int_equal(digest_data(str_text(&out), out.len, text, NULL), 0);
}

static inline void open_images(struct world *w)
{
	struct error err = { 0 };

	assert_ok(store_open(w->data, &w->store, &err), err);
	assert_ok(job_pool_new(w->loop, 3, &w->jobs, &err), err);
	assert_ok(image_store_open(w->store, w->jobs, &w->images, &err), err);
}

static inline void close_images(struct world *w)
{
	image_store_free(steal(w->images));
	job_pool_free(steal(w->jobs));
	store_free(steal(w->store));
}

static inline void world_main(void *arg)
{
	struct world *w = arg;

	open_images(w);
	w->body(w);
	close_images(w);
}

/* A failed assertion leaves in_world() by a jump: the end of the program cleans up then. */
static char world_root[64];

static inline void remove_world(void)
{
	if (world_root[0])
		file_remove_tree(AT_FDCWD, world_root, NULL);
	world_root[0] = '\0';
}

/* BODY in a task, with a fresh store; afterwards the outside is as it was. */
static inline void in_world(void (*body)(struct world *w))
{
	struct world w = { .body = body };
	char path[160], after[DIGEST_TEXT_BYTES];
	struct error err = { 0 };

	if (geteuid() != 0) {
		print_message("skipped: unpacking layers needs root\n");
		skip();
	}
	strcpy(w.root, "/tmp/hyper-test-XXXXXX");
	assert_non_null(mkdtemp(w.root));
	if (!world_root[0])
		atexit(remove_world);
	else
		remove_world();
	strcpy(world_root, w.root);
	snprintf(w.outside, sizeof(w.outside), "%s/outside", w.root);
	snprintf(w.data, sizeof(w.data), "%s/data", w.root);
	assert_int_equal(mkdir(w.outside, 0700), 0);
	snprintf(path, sizeof(path), "%s/victim", w.outside);
	assert_ok(file_write_atomic(AT_FDCWD, path, VICTIM_TEXT, strlen(VICTIM_TEXT), 0600, false,
				    &err),
		  err);
	outside_digest(&w, w.outside_before);
	assert_ok(loop_new(&w.loop, &err), err);
	assert_ok(task_run(w.loop, world_main, &w, &err), err);
	loop_free(w.loop);
	outside_digest(&w, after);
	remove_world();
	assert_string_equal(after, w.outside_before);
}

static inline unsigned count_files(struct world *w, const char *path)
{
	autoclosedir DIR *dir = NULL;
	struct dirent *e;
	unsigned count = 0;
	int fd = openat(store_dir_fd(w->store), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	dir = fdopendir(fd);
	while ((e = readdir(dir)))
		count += e->d_name[0] != '.';
	return count;
}

/* Nothing stored, not even by half: no record, layer, configuration or work directory. */
static inline void assert_nothing_stored(struct world *w)
{
	static const char *const dirs[] = { "image/l", "image/tmp", "image/meta", "layer" };
	autoclosedir DIR *dir = NULL;
	struct dirent *e;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (count_files(w, dirs[i]))
			fail_msg("%u left in %s", count_files(w, dirs[i]), dirs[i]);
	dir = fdopendir(
		openat(store_dir_fd(w->store), "image", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	assert_non_null(dir);
	while ((e = readdir(dir)))
		if (strstr(e->d_name, ".json"))
			fail_msg("%s is left", e->d_name);
}

/* archives */

static inline void tar_pad(struct str *tar)
{
	static const char zeros[TAR_BLOCK_BYTES];

	str_append(tar, zeros, tar_padding(tar->len));
}

static inline void tar_put(struct str *tar, struct tar_entry e, const char *data)
{
	unsigned char block[TAR_BLOCK_BYTES];

	if (!e.mode)
		e.mode = e.type == TAR_DIRECTORY ? 0755 : 0644;
	if (data && !e.size_bytes)
		e.size_bytes = strlen(data);
	assert_int_equal(tar_header(block, &e, NULL), 0);
	str_append(tar, block, sizeof(block));
	if (data)
		str_append(tar, data, e.size_bytes);
	tar_pad(tar);
}

static inline void tar_file(struct str *tar, const char *path, const char *data)
{
	tar_put(tar, (struct tar_entry){ .type = TAR_FILE, .path = path }, data);
}

static inline void tar_dir(struct str *tar, const char *path)
{
	tar_put(tar, (struct tar_entry){ .type = TAR_DIRECTORY, .path = path }, NULL);
}

static inline void tar_link(struct str *tar, enum tar_type type, const char *path,
			    const char *target)
{
	tar_put(tar, (struct tar_entry){ .type = type, .path = path, .link = target }, NULL);
}

/* A header of TYPE with DATA of any bytes: what tar_file() is too well-behaved for. */
static inline void tar_special(struct str *tar, char type, const char *name, const void *data,
			       size_t len)
{
	unsigned char block[TAR_BLOCK_BYTES];
	struct tar_entry e = { .type = TAR_FILE, .path = name, .mode = 0644, .size_bytes = len };
	unsigned sum = 0;
	char text[8];

	assert_int_equal(tar_header(block, &e, NULL), 0);
	block[156] = (unsigned char)type;
	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < sizeof(block); i++)
		sum += block[i];
	snprintf(text, sizeof(text), "%06o", sum);
	memcpy(block + 148, text, 7);
	str_append(tar, block, sizeof(block));
	str_append(tar, data, len);
	tar_pad(tar);
}

/* One pax record for the entry that follows. */
static inline void tar_pax(struct str *tar, const char *key, const void *value, size_t len)
{
	autostr struct str record = STR_INIT;
	size_t body = strlen(key) + len + 3, total = body + 1;

	for (size_t before = 0; before != total;) {
		before = total;
		total = body + (size_t)snprintf(NULL, 0, "%zu", before);
	}
	str_addf(&record, "%zu %s=", total, key);
	str_append(&record, value, len);
	str_addc(&record, '\n');
	assert_int_equal(record.len, total);
	tar_special(tar, 'x', "pax", record.data, record.len);
}

static inline void tar_end(struct str *tar)
{
	static const char zeros[2 * TAR_BLOCK_BYTES];

	str_append(tar, zeros, sizeof(zeros));
}

static inline int bytes_fd(const void *data, size_t len)
{
	int fd = memfd_create("archive", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, data, len), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static inline int import_tar(struct world *w, const struct str *tar, struct image **ret,
			     struct error *err)
{
	autoclose int fd = bytes_fd(str_text(tar), tar->len);

	return image_import(w->images, fd, NULL, NULL, NULL, NULL, ret, err);
}

static inline void tar_digest(const struct str *data, char text[DIGEST_TEXT_BYTES])
{
	assert_int_equal(digest_data(str_text(data), data->len, text, NULL), 0);
}

/* A Docker archive of one layer; CONFIG NULL makes a proper one. */
static inline void docker_archive(struct str *out, const struct str *layer, const char *config,
				  const char *tag)
{
	char diff_id[DIGEST_TEXT_BYTES];
	autofree char *made = NULL, *manifest = NULL;

	tar_digest(layer, diff_id);
	made = strf(
		"{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Cmd\":[\"/hello\"]},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
		diff_id);
	manifest = strf("[{\"Config\":\"config.json\",\"RepoTags\":[%s%s%s],"
			"\"Layers\":[\"layer.tar\"]}]",
			tag ? "\"" : "", tag ? tag : "", tag ? "\"" : "");
	tar_file(out, "config.json", config ? config : made);
	tar_put(out,
		(struct tar_entry){
			.type = TAR_FILE, .path = "layer.tar", .size_bytes = layer->len },
		str_text(layer));
	tar_file(out, "manifest.json", manifest);
	tar_end(out);
}

static inline int load_bytes(struct world *w, const struct str *archive, char ***ret_names,
			     struct error *err)
{
	autoclose int fd = bytes_fd(str_text(archive), archive->len);

	return image_load(w->images, fd, NULL, ret_names, err);
}

static inline void hello_layer(struct str *tar)
{
	tar_file(tar, "hello", "hello\n");
	tar_end(tar);
}

static inline char *layer_file(const struct image *image, const char *name)
{
	return strf("%s/%s", image_layer(image, 0)->directory, name);
}
