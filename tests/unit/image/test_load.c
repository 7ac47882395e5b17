/* Whole archives: load, import, save, tag and remove, and what a crash or a full disk leaves. */
#include "tests/unit/image/world.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <zlib.h>

#include "base/process.h"

static void load_one(struct world *w, const char *tag, char ***names)
{
	autostr struct str layer = STR_INIT, archive = STR_INIT;
	struct error err = { 0 };

	hello_layer(&layer);
	docker_archive(&archive, &layer, NULL, tag);
	assert_ok(load_bytes(w, &archive, names, &err), err);
}

static void load_main(struct world *w)
{
	autostrv char **names = NULL, **again = NULL;
	autoptr(image_unref) struct image *image = NULL;
	autofree char *path = NULL, *text = NULL;
	struct error err = { 0 };
	struct stat st;

	load_one(w, "me/hello:1", &names);
	assert_string_equal(names[0], "me/hello:1");
	assert_ok(image_get(w->images, "me/hello:1", &image, &err), err);
	assert_int_equal(image_layer_count(image), 1);
	assert_int_equal(image_size_bytes(image), 6);
	assert_string_equal(image_config(image)->cmd[0], "/hello");
	path = layer_file(image, "hello");
	assert_ok(file_read(AT_FDCWD, path, 100, &text, NULL, &err), err);
	assert_string_equal(text, "hello\n");
	assert_int_equal(stat(image_layer(image, 0)->erofs_path, &st), 0);
	assert_int_equal(st.st_size, image_layer(image, 0)->erofs_bytes);
	assert_int_equal(st.st_size % 4096, 0);
	assert_int_equal(count_files(w, "image/tmp"), 0);

	/* Untagged it goes by its id. The layer and the image are there already. */
	load_one(w, NULL, &again);
	assert_string_equal(again[0], image_id(image));
	assert_int_equal(count_files(w, "image/l"), 1);
}

static void archives_are_loaded(void **state)
{
	in_world(load_main);
}

/* The sender of a pipe: a task that writes when there is room. */
struct sender {
	int fd;
	const struct str *data;
};

static void send_slowly(void *arg)
{
	struct sender *s = arg;

	fd_set_nonblocking(s->fd, true);
	for (size_t at = 0; at < s->data->len;) {
		size_t piece = s->data->len - at < 700 ? s->data->len - at : 700;
		ssize_t n = write(s->fd, s->data->data + at, piece);

		if (n < 0)
			task_wait_fd(s->fd, EPOLLOUT, DEADLINE_NEVER, NULL);
		else
			at += (size_t)n;
		task_yield();
	}
	close(s->fd);
}

static void compress_gzip(const struct str *from, struct str *to)
{
	char buf[4096];
	z_stream z = { 0 };
	int r;

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (unsigned char *)from->data;
	z.avail_in = (uInt)from->len;
	do {
		z.next_out = (unsigned char *)buf;
		z.avail_out = sizeof(buf);
		r = deflate(&z, Z_FINISH);
		str_append(to, buf, sizeof(buf) - z.avail_out);
	} while (r == Z_OK);
	assert_int_equal(r, Z_STREAM_END);
	deflateEnd(&z);
}

static void pipe_main(struct world *w)
{
	autostr struct str layer = STR_INIT, archive = STR_INIT, packed = STR_INIT;
	autostrv char **names = NULL;
	struct sender sender;
	struct error err = { 0 };
	int ends[2];

	hello_layer(&layer);
	docker_archive(&archive, &layer, NULL, "piped");
	compress_gzip(&archive, &packed);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	sender = (struct sender){ ends[1], &packed };
	assert_ok(task_spawn(w->loop, "sender", send_slowly, &sender, NULL, &err), err);
	assert_ok(image_load(w->images, ends[0], NULL, &names, &err), err);
	close(ends[0]);
	assert_string_equal(names[0], "piped:latest");
	assert_int_equal(count_files(w, "image/tmp"), 0);
}

static void a_slow_pipe_of_gzip_is_fine(void **state)
{
	in_world(pipe_main);
}

/* Archives that are wrong as a whole; each leaves nothing. */
struct bad_archive {
	const char *name, *config, *manifest, *layer_name, *complaint;
};

#define ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ONE "[{\"Config\":\"config.json\",\"Layers\":[\"layer.tar\"]}]"

static const struct bad_archive bad_archives[] = {
	{ "not JSON", "{", ONE, "layer.tar", "JSON" },
	{ "no layers", "{\"rootfs\":{\"diff_ids\":[]}}",
	  "[{\"Config\":\"config.json\",\"Layers\":[]}]", "x", "no layers" },
	{ "wrong diff id", "{\"rootfs\":{\"diff_ids\":[\"" ABC "\"]}}", ONE, "layer.tar",
	  "not " ABC " as promised" },
	{ "more layers than diff ids", "{\"rootfs\":{\"diff_ids\":[\"" ABC "\"]}}",
	  "[{\"Config\":\"config.json\",\"Layers\":[\"layer.tar\",\"layer.tar\"]}]", "layer.tar",
	  "the manifest has 2 layers, the configuration 1" },
	{ "missing layer", "{\"rootfs\":{\"diff_ids\":[\"" ABC "\"]}}", ONE, "other.tar",
	  "'layer.tar' is not in the archive" },
	{ "missing configuration", "{}", "[{\"Config\":\"c2.json\",\"Layers\":[\"layer.tar\"]}]",
	  "layer.tar", "'c2.json' is not in the archive" },
	{ "configuration outside", "{}",
	  "[{\"Config\":\"../../../outside/victim\",\"Layers\":[\"layer.tar\"]}]", "layer.tar",
	  "climbs" },
	{ "configuration of another digest", "{}",
	  "[{\"Config\":\"blobs/sha256/"
	  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"Layers\":[]}]",
	  "blobs/sha256/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	  "does not match its digest" },
	{ "climbing member", "{}", ONE, "../layer.tar", "climbs" },
	{ "absolute member", "{}", ONE, "/layer.tar", "absolute" },
	{ "bad name", NULL,
	  "[{\"Config\":\"config.json\",\"RepoTags\":[\"Bad Name\"],\"Layers\":[\"layer.tar\"]}]",
	  "layer.tar", "invalid reference" },
};

static void bad_archive_main(struct world *w)
{
	autostr struct str layer = STR_INIT;
	char diff_id[DIGEST_TEXT_BYTES];

	hello_layer(&layer);
	tar_digest(&layer, diff_id);
	for (size_t i = 0; i < ARRAY_SIZE(bad_archives); i++) {
		const struct bad_archive *b = &bad_archives[i];
		autostr struct str archive = STR_INIT;
		autofree char *good =
			strf("{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}", diff_id);
		autostrv char **names = NULL;
		struct error err = { 0 };

		tar_file(&archive, "config.json", b->config ? b->config : good);
		tar_put(&archive,
			(struct tar_entry){
				.type = TAR_FILE, .path = b->layer_name, .size_bytes = layer.len },
			layer.data);
		tar_file(&archive, "manifest.json", b->manifest);
		tar_end(&archive);
		if (load_bytes(w, &archive, &names, &err) == 0)
			fail_msg("%s: was accepted", b->name);
		if (!strstr(err.message, b->complaint))
			fail_msg("%s: '%s' does not say '%s'", b->name, err.message, b->complaint);
		assert_nothing_stored(w);
	}
}

static void bad_archives_leave_nothing(void **state)
{
	in_world(bad_archive_main);
}

/* The first image is fine, the second is not: neither is kept. */
static void second_bad_main(struct world *w)
{
	autostr struct str layer = STR_INIT, archive = STR_INIT;
	char diff_id[DIGEST_TEXT_BYTES];
	autofree char *good = NULL;
	autostrv char **names = NULL;
	struct error err = { 0 };

	hello_layer(&layer);
	tar_digest(&layer, diff_id);
	good = strf("{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}", diff_id);
	tar_file(&archive, "good.json", good);
	tar_file(&archive, "bad.json", "{\"rootfs\":{\"diff_ids\":[\"" ABC "\"]}}");
	tar_put(&archive,
		(struct tar_entry){ .type = TAR_FILE, .path = "l", .size_bytes = layer.len },
		layer.data);
	tar_link(&archive, TAR_SYMLINK, "dir/same", "../l");
	tar_file(&archive, "manifest.json",
		 "[{\"Config\":\"good.json\",\"RepoTags\":[\"good\"],\"Layers\":[\"dir/same\"]},"
		 "{\"Config\":\"bad.json\",\"RepoTags\":[\"bad\"],\"Layers\":[\"l\"]}]");
	tar_end(&archive);
	assert_true(load_bytes(w, &archive, &names, &err) < 0);
	assert_contains(err.message, "as promised");
	assert_nothing_stored(w);
}

static void all_of_an_archive_or_nothing(void **state)
{
	in_world(second_bad_main);
}

/* The same layer twice in one image, and shared by two: one on disk. */
static void shared_main(struct world *w)
{
	autostr struct str layer = STR_INIT, archive = STR_INIT;
	char diff_id[DIGEST_TEXT_BYTES];
	autofree char *a = NULL, *b = NULL;
	autostrv char **names = NULL;
	autojson json_t *report = NULL;
	struct error err = { 0 };

	hello_layer(&layer);
	tar_digest(&layer, diff_id);
	a = strf("{\"rootfs\":{\"diff_ids\":[\"%s\",\"%s\"]}}", diff_id, diff_id);
	b = strf("{\"rootfs\":{\"diff_ids\":[\"%s\"]}}", diff_id);
	tar_file(&archive, "manifest.json",
		 "[{\"Config\":\"a.json\",\"RepoTags\":[\"a\"],\"Layers\":[\"l\",\"l\"]},"
		 "{\"Config\":\"b.json\",\"RepoTags\":[\"b\",\"c:1\"],\"Layers\":[\"l\"]}]");
	tar_put(&archive,
		(struct tar_entry){ .type = TAR_FILE, .path = "l", .size_bytes = layer.len },
		layer.data);
	tar_file(&archive, "a.json", a);
	tar_file(&archive, "b.json", b);
	tar_end(&archive);
	assert_ok(load_bytes(w, &archive, &names, &err), err);
	assert_int_equal(strv_len(names), 3);
	assert_int_equal(count_files(w, "image/l"), 1);

	assert_ok(image_remove(w->images, "a", false, true, NULL, NULL, &report, &err), err);
	assert_int_equal(json_array_size(report), 2); /* untagged, deleted; the layer stays */
	assert_int_equal(count_files(w, "image/l"), 1);
	assert_ok(image_remove(w->images, "b", false, true, NULL, NULL, NULL, &err), err);
	assert_int_equal(count_files(w, "image/l"), 1);
	assert_ok(image_remove(w->images, "c:1", false, true, NULL, NULL, NULL, &err), err);
	assert_nothing_stored(w);
}

static void layers_are_shared_and_counted(void **state)
{
	in_world(shared_main);
}

static const char *used_by_db(const char *id, void *arg)
{
	return "container \"db\"";
}

static void remove_main(struct world *w)
{
	autostrv char **names = NULL;
	autoptr(image_unref) struct image *image = NULL;
	autofree char *path = NULL;
	char prefix[DIGEST_TEXT_BYTES];
	struct error err = { 0 };
	struct stat st;

	load_one(w, "x:1", &names);
	assert_ok(image_tag(w->images, "x:1", "y:2", &err), err);
	assert_ok(image_get(w->images, "y:2", &image, &err), err);
	assert_int_equal(strv_len(image_tags(image)), 2);
	snprintf(prefix, sizeof(prefix), "%.12s", digest_hex(image_id(image)));

	assert_int_equal(image_remove(w->images, prefix, false, true, NULL, NULL, NULL, &err),
			 -EBUSY);
	assert_contains(err.message, "forced");
	/* One of two names may go whoever uses the image; the last one not. */
	assert_ok(image_remove(w->images, "x:1", false, true, used_by_db, NULL, NULL, &err), err);
	assert_int_equal(image_remove(w->images, "y:2", false, true, used_by_db, NULL, NULL, &err),
			 -EBUSY);
	assert_contains(err.message, "container \"db\"");
	assert_int_equal(image_remove(w->images, prefix, true, true, used_by_db, NULL, NULL, &err),
			 -EBUSY);

	/* Held, it stays on disk although it has gone from the store. */
	assert_ok(image_remove(w->images, prefix, false, true, NULL, NULL, NULL, &err), err);
	path = strdup(image_layer(image, 0)->erofs_path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(image_remove(w->images, prefix, false, true, NULL, NULL, NULL, &err),
			 -ENOENT);
	image_unref(steal(image));
	assert_ok(image_store_collect(w->images, &err), err);
	assert_int_equal(stat(path, &st), -1);
	assert_nothing_stored(w);
}

static void removing_follows_dockers_rules(void **state)
{
	in_world(remove_main);
}

static void find_main(struct world *w)
{
	autostrv char **names = NULL;
	struct image *image;
	struct error err = { 0 };
	char hex[DIGEST_TEXT_BYTES];

	load_one(w, "docker.io/library/x:latest", &names);
	assert_string_equal(names[0], "x:latest");
	assert_ok(image_get(w->images, "x", &image, &err), err);
	strcpy(hex, image_id(image));
	image_unref(image);
	assert_ok(image_get(w->images, hex, &image, &err), err);
	image_unref(image);
	assert_ok(image_get(w->images, digest_hex(hex), &image, &err), err);
	image_unref(image);
	hex[20] = '\0';
	assert_ok(image_get(w->images, hex, &image, &err), err);
	image_unref(image);
	assert_ok(image_get(w->images, digest_hex(hex), &image, &err), err);
	image_unref(image);
	assert_int_equal(image_get(w->images, "y", &image, &err), -ENOENT);
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
	assert_int_equal(image_get(w->images, "../x", &image, &err), -EINVAL);
	assert_int_equal(image_get(w->images, "", &image, &err), -EINVAL);
}

static void images_are_found_by_any_name(void **state)
{
	in_world(find_main);
}

/* Save, load into an emptied store, save again: the same bytes, whatever the layer's compression.
 */
static void save_main(struct world *w)
{
	autostr struct str layer = STR_INIT, packed = STR_INIT;
	autostrv char **names = NULL;
	autoptr(image_unref) struct image *image = NULL;
	autofree char *first = NULL, *second = NULL;
	const char *const changes[] = { "CMD [\"/hello\"]", "LABEL a=b", NULL };
	const char *const saved[] = { "packed:1", NULL };
	char id[DIGEST_TEXT_BYTES], diff_id[DIGEST_TEXT_BYTES];
	autoclose int in = -1, one = memfd_create("one", MFD_CLOEXEC),
		      two = memfd_create("two", MFD_CLOEXEC);
	struct error err = { 0 };
	size_t first_len, second_len;

	hello_layer(&layer);
	compress_gzip(&layer, &packed);
	in = bytes_fd(packed.data, packed.len);
	assert_ok(image_import(w->images, in, "packed:1", (char *const *)changes, "made for a test",
			       NULL, &image, &err),
		  err);
	assert_string_equal(image_config(image)->label_values[0], "b");
	strcpy(id, image_id(image));
	strcpy(diff_id, image_layer(image, 0)->diff_id);
	image_unref(steal(image));
	assert_ok(image_save(w->images, (char *const *)saved, one, &err), err);
	assert_ok(image_remove(w->images, "packed:1", false, true, NULL, NULL, NULL, &err), err);
	assert_nothing_stored(w);

	assert_int_equal(lseek(one, 0, SEEK_SET), 0);
	assert_ok(image_load(w->images, one, NULL, &names, &err), err);
	assert_string_equal(names[0], "packed:1");
	assert_ok(image_get(w->images, "packed:1", &image, &err), err);
	assert_string_equal(image_id(image), id);
	assert_string_equal(image_layer(image, 0)->diff_id, diff_id);
	assert_ok(image_save(w->images, (char *const *)saved, two, &err), err);

	assert_int_equal(lseek(one, 0, SEEK_SET), 0);
	assert_int_equal(lseek(two, 0, SEEK_SET), 0);
	assert_ok(file_read_fd(one, 1 << 20, &first, &first_len, &err), err);
	assert_ok(file_read_fd(two, 1 << 20, &second, &second_len, &err), err);
	assert_int_equal(first_len, second_len);
	assert_memory_equal(first, second, first_len);
}

static void saving_gives_back_what_was_loaded(void **state)
{
	in_world(save_main);
}

/* Another reader of both halves of what we save: the digests must be as it computes them. */
static void skopeo_main(struct world *w)
{
	autofree char *path = strf("%s/saved.tar", w->root), *script = NULL;
	autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	const char *const saved[] = { "me/hello:1", NULL };
	const char *argv[] = { "sh", "-ec", NULL, NULL };
	struct process_options options = { .argv = argv };
	autoptr(image_unref) struct image *image = NULL;
	autostrv char **names = NULL;
	struct error err = { 0 };

	load_one(w, "me/hello:1", &names);
	assert_ok(image_get(w->images, "me/hello:1", &image, &err), err);
	assert_ok(image_save(w->images, (char *const *)saved, fd, &err), err);
	script = strf("skopeo copy --insecure-policy docker-archive:%s:me/hello:1 dir:%s/a; "
		      "skopeo copy --insecure-policy oci-archive:%s:1 dir:%s/b; "
		      "grep -q %s %s/a/manifest.json; test -f %s/a/%s; test -f %s/b/%s",
		      path, w->root, path, w->root, image_id(image), w->root, w->root,
		      digest_hex(image_layer(image, 0)->diff_id), w->root,
		      digest_hex(image_id(image)));
	argv[2] = script;
	assert_ok(process_run(&options, NULL, deadline_in_ms(60000), 65536, NULL, &err), err);
}

static void skopeo_accepts_what_we_save(void **state)
{
	if (system("command -v skopeo >/dev/null") != 0) {
		print_message("skipped: skopeo is not installed\n");
		skip();
	}
	in_world(skopeo_main);
}

/* What is saved goes to a socket whose other end reads when it likes. */
struct reader {
	int fd;
	struct str data;
};

static void read_slowly(void *arg)
{
	struct reader *r = arg;
	char buf[333];

	for (;;) {
		ssize_t n;

		task_wait_fd(r->fd, EPOLLIN, DEADLINE_NEVER, NULL);
		n = read(r->fd, buf, sizeof(buf));
		if (n <= 0)
			break;
		str_append(&r->data, buf, (size_t)n);
	}
}

static void save_socket_main(struct world *w)
{
	autostr struct str layer = STR_INIT, noise = STR_INIT;
	autostrv char **names = NULL;
	autoptr(image_unref) struct image *image = NULL;
	const char *const saved[] = { "big", NULL };
	struct reader reader = { 0 };
	struct task *task = NULL;
	struct error err = { 0 };
	unsigned x = 1;
	int pair[2], in;

	for (size_t i = 0; i < 3 << 18; i++) {
		x = x * 1103515245 + 12345;
		str_append(&noise, &x, sizeof(x));
	}
	tar_put(&layer,
		(struct tar_entry){ .type = TAR_FILE, .path = "noise", .size_bytes = noise.len },
		noise.data);
	tar_end(&layer);
	in = bytes_fd(layer.data, layer.len);
	assert_ok(image_import(w->images, in, "big", NULL, NULL, NULL, &image, &err), err);
	close(in);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	reader.fd = pair[1];
	assert_ok(task_spawn(w->loop, "reader", read_slowly, &reader, &task, &err), err);
	assert_ok(image_save(w->images, (char *const *)saved, pair[0], &err), err);
	close(pair[0]);
	assert_int_equal(task_join(task, deadline_in_ms(60000)), 0);
	task_unref(task);
	close(pair[1]);
	image_unref(steal(image));
	assert_ok(image_remove(w->images, "big", false, true, NULL, NULL, NULL, &err), err);
	assert_ok(load_bytes(w, &reader.data, &names, &err), err);
	assert_string_equal(names[0], "big:latest");
	str_done(&reader.data);
}

static void saving_waits_for_a_slow_reader(void **state)
{
	in_world(save_socket_main);
}

static void restart_main(struct world *w)
{
	autostrv char **names = NULL;
	autoptr(image_unref) struct image *image = NULL;
	struct error err = { 0 };
	int dir;

	load_one(w, "kept:1", &names);
	close_images(w);

	/* What a crash can leave: half-made layers, whole ones without a record, configurations of
	 * no image. */
	dir = open(w->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_ok(file_make_dirs(dir, "image/tmp/9/d/x", 0700, &err), err);
	assert_ok(file_make_dirs(dir, "image/l/8/d", 0700, &err), err);
	assert_ok(file_write_atomic(dir, "image/l/8/erofs", "x", 1, 0600, false, &err), err);
	assert_ok(file_write_atomic(dir, "image/meta/0123", "x", 1, 0600, false, &err), err);
	assert_ok(file_write_atomic(dir, "image/tmp/a", "x", 1, 0600, false, &err), err);
	close(dir);

	open_images(w);
	assert_ok(image_store_collect(w->images, &err), err);
	assert_int_equal(count_files(w, "image/tmp"), 0);
	assert_int_equal(count_files(w, "image/l"), 1);
	assert_int_equal(count_files(w, "image/meta"), 1);
	assert_ok(image_get(w->images, "kept:1", &image, &err), err);
	assert_int_equal(image_size_bytes(image), 6);
	assert_int_equal(access(image_layer(image, 0)->erofs_path, F_OK), 0);
}

static void a_restart_keeps_images_and_drops_rubbish(void **state)
{
	in_world(restart_main);
}

/* A layer lost from the disk takes its image along, and the other images stay. */
static void lost_layer_main(struct world *w)
{
	autostrv char **names = NULL;
	autoptr(image_unref) struct image *image = NULL;
	autofree char *path = NULL;
	struct error err = { 0 };

	load_one(w, "lost:1", &names);
	assert_ok(image_get(w->images, "lost:1", &image, &err), err);
	path = strdup(image_layer(image, 0)->erofs_path);
	image_unref(steal(image));
	close_images(w);
	assert_int_equal(unlink(path), 0);
	open_images(w);
	assert_int_equal(image_get(w->images, "lost:1", &image, &err), -ENOENT);
	assert_ok(image_store_collect(w->images, &err), err);
	assert_nothing_stored(w);
	strv_free(steal(names));
	load_one(w, "lost:1", &names);
	assert_ok(image_get(w->images, "lost:1", &image, &err), err);
}

static void a_lost_layer_is_noticed(void **state)
{
	in_world(lost_layer_main);
}

/* The data root on 3 MiB: too little for the layer twice. */
static void disk_full_main(struct world *w)
{
	autostr struct str layer = STR_INIT, archive = STR_INIT, noise = STR_INIT;
	autostrv char **names = NULL;
	struct image *image = NULL;
	struct error err = { 0 };

	close_images(w);
	assert_int_equal(mount("tmpfs", w->data, "tmpfs", 0, "size=3m"), 0);
	open_images(w);
	for (size_t i = 0; i < 2 << 20; i++)
		str_addc(&noise, (char)(i * 7 % 251));
	tar_put(&layer,
		(struct tar_entry){ .type = TAR_FILE, .path = "noise", .size_bytes = noise.len },
		noise.data);
	tar_end(&layer);
	docker_archive(&archive, &layer, NULL, "big");
	assert_true(load_bytes(w, &archive, &names, &err) < 0);
	assert_contains(err.message, "No space left");
	assert_nothing_stored(w);
	assert_true(import_tar(w, &layer, &image, &err) < 0);
	assert_contains(err.message, "No space left");
	assert_nothing_stored(w);
	load_one(w, "small", &names); /* there is room again */
	close_images(w);
	assert_int_equal(umount2(w->data, MNT_DETACH), 0);
	open_images(w);
}

static void a_full_disk_is_told_and_left_clean(void **state)
{
	/* The mount is ours alone, and goes with this process. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("skipped: mounting needs root\n");
		skip();
	}
	in_world(disk_full_main);
}

/* Two tasks load the same archive at the same time: one makes the layer, both have the image. */
struct twin {
	struct world *w;
	int result;
};

static void twin_main(void *arg)
{
	struct twin *twin = arg;
	autostrv char **names = NULL;

	load_one(twin->w, "twin", &names);
	twin->result = 1;
}

static void twins_main(struct world *w)
{
	struct twin twins[4];
	struct task *tasks[4];
	autojson json_t *report = NULL;
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(twins); i++) {
		twins[i] = (struct twin){ w, 0 };
		assert_ok(task_spawn(w->loop, "twin", twin_main, &twins[i], &tasks[i], &err), err);
	}
	for (size_t i = 0; i < ARRAY_SIZE(twins); i++) {
		assert_int_equal(task_join(tasks[i], deadline_in_ms(60000)), 0);
		task_unref(tasks[i]);
		assert_int_equal(twins[i].result, 1);
	}
	assert_int_equal(count_files(w, "image/l"), 1);
	assert_int_equal(count_files(w, "image/tmp"), 0);
	assert_ok(image_remove(w->images, "twin", false, true, NULL, NULL, &report, &err), err);
	assert_nothing_stored(w);
}

static void loads_side_by_side_share(void **state)
{
	in_world(twins_main);
}

/* Cancelled while the sender keeps us waiting. */
struct waiting_load {
	struct world *w;
	int fd, result;
};

static void load_waiting(void *arg)
{
	struct waiting_load *load = arg;
	autostrv char **names = NULL;
	struct error err = { 0 };

	load->result = image_load(load->w->images, load->fd, NULL, &names, &err);
}

static void cancel_main(struct world *w)
{
	struct waiting_load load = { .w = w };
	struct task *task = NULL;
	struct error err = { 0 };
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "half", 4), 4);
	load.fd = ends[0];
	assert_ok(task_spawn(w->loop, "load", load_waiting, &load, &task, &err), err);
	while (count_files(w, "image/tmp") == 0)
		task_yield();
	task_cancel(task);
	assert_int_equal(task_join(task, deadline_in_ms(60000)), 0);
	task_unref(task);
	assert_int_equal(load.result, -ECANCELED);
	close(ends[0]);
	close(ends[1]);
	assert_nothing_stored(w);
}

static void a_cancelled_load_leaves_nothing(void **state)
{
	in_world(cancel_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(archives_are_loaded),
		cmocka_unit_test(a_slow_pipe_of_gzip_is_fine),
		cmocka_unit_test(bad_archives_leave_nothing),
		cmocka_unit_test(all_of_an_archive_or_nothing),
		cmocka_unit_test(layers_are_shared_and_counted),
		cmocka_unit_test(removing_follows_dockers_rules),
		cmocka_unit_test(images_are_found_by_any_name),
		cmocka_unit_test(saving_gives_back_what_was_loaded),
		cmocka_unit_test(skopeo_accepts_what_we_save),
		cmocka_unit_test(saving_waits_for_a_slow_reader),
		cmocka_unit_test(a_restart_keeps_images_and_drops_rubbish),
		cmocka_unit_test(a_lost_layer_is_noticed),
		cmocka_unit_test(loads_side_by_side_share),
		cmocka_unit_test(a_cancelled_load_leaves_nothing),
		cmocka_unit_test(a_full_disk_is_told_and_left_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
