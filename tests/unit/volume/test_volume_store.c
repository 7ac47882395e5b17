#include "tests/unit/test.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/volume/plugin.h"
#include "hyperd/volume/volume.h"

struct world {
	char root[64];
	struct loop *loop;
	struct job_pool *jobs;
	struct store *store;
	struct volume_store *volumes;
	void (*test)(struct world *w);
};

static void open_volumes(struct world *w)
{
	const struct volume_store_config config = { 0 };
	struct error err = { 0 };

	assert_ok(volume_store_open(w->loop, w->store, w->jobs, &config, &w->volumes, &err), err);
}

static void test_task(void *arg)
{
	struct world *w = arg;

	open_volumes(w);
	w->test(w);
	volume_store_free(w->volumes);
}

static void run(void (*test)(struct world *w))
{
	struct world w = { .root = "/tmp/hyper-test-XXXXXX", .test = test };
	struct error err = { 0 };

	assert_non_null(mkdtemp(w.root));
	assert_ok(loop_new(&w.loop, &err), err);
	assert_ok(job_pool_new(w.loop, 2, &w.jobs, &err), err);
	assert_ok(store_open(w.root, &w.store, &err), err);
	assert_ok(task_run(w.loop, test_task, &w, &err), err);
	store_free(w.store);
	job_pool_free(w.jobs);
	loop_free(w.loop);
	file_remove_tree(AT_FDCWD, w.root, NULL);
}

static struct volume *make(struct world *w, const char *name, const char *options)
{
	autojson json_t *json = options ? json_loads(options, 0, NULL) : NULL;
	const struct volume_config config = { .name = name, .options = json };
	struct volume *v = NULL;
	struct error err = { 0 };

	assert_ok(volume_create(w->volumes, &config, NULL, &v, &err), err);
	return v;
}

static void refused(struct world *w, const char *name, const char *options, const char *why)
{
	autojson json_t *json = options ? json_loads(options, 0, NULL) : NULL;
	const struct volume_config config = { .name = name, .options = json };
	struct volume *v = NULL;
	struct error err = { 0 };

	assert_true(volume_create(w->volumes, &config, NULL, &v, &err) < 0);
	assert_contains(err.message, why);
	assert_false(volume_get_known(w->volumes, name, &v));
}

static void come_back(struct world *w)
{
	struct volume *v = make(w, "data", "{\"type\":\"tmpfs\",\"device\":\"tmpfs\"}"), *again;
	autofree char *mountpoint = strf("%s/volumes/data/_data", w->root);
	struct error err = { 0 };
	struct stat st;

	assert_string_equal(volume_mountpoint(v), mountpoint);
	assert_int_equal(stat(mountpoint, &st), 0);
	again = make(w, "data", NULL);
	assert_ptr_equal(again, v);
	volume_unref(again);
	volume_unref(v);
	volume_store_free(w->volumes);
	open_volumes(w);
	assert_true(volume_get_known(w->volumes, "data", &v));
	assert_string_equal(json_string_value(json_object_get(volume_options(v), "type")), "tmpfs");
	assert_true(volume_created_ns(v) > 0);
	assert_ok(volume_remove(v, false, &err), err);
	volume_unref(v);
	assert_false(volume_get_known(w->volumes, "data", &v));
	assert_int_equal(stat(mountpoint, &st), -1);
}

static void names_and_options_are_checked(struct world *w)
{
	autofree char *longest = malloc(VOLUME_NAME_MAX + 2);
	struct volume *v;

	memset(longest, 'a', VOLUME_NAME_MAX + 1);
	longest[VOLUME_NAME_MAX + 1] = '\0';
	refused(w, "x", NULL, "too short");
	refused(w, "../x", NULL, "invalid characters");
	refused(w, "a/b", NULL, "invalid characters");
	refused(w, "-a", NULL, "invalid characters");
	refused(w, longest, NULL, "invalid characters");
	refused(w, "bad", "{\"nonsense\":\"1\"}", "invalid option: \"nonsense\"");
	refused(w, "bad", "{\"type\":\"tmpfs\"}", "missing device");
	refused(w, "bad", "{\"device\":\"/x\"}", "missing type");
	refused(w, "bad", "{\"size\":\"1g\"}", "quotas");
	refused(w, "bad", "{\"type\":1}", "expected a string");
	refused(w, "bad", "{\"format\":\"vdi\"}", "expected raw or qcow2");
	refused(w, "bad", "{\"format\":\"raw\",\"size\":\"99999999999999999999t\"}", "size");
	longest[VOLUME_NAME_MAX] = '\0';
	volume_unref(make(w, longest, NULL));
	v = make(w, NULL, NULL);
	assert_true(volume_is_anonymous(v));
	assert_int_equal(strlen(volume_name(v)), 64);
	volume_unref(v);
}

static void what_is_mounted_stays(struct world *w)
{
	struct volume *v = make(w, "data", NULL);
	struct error err = { 0 };
	const char *path;

	assert_ok(volume_mount(v, "pod-a", &path, &err), err);
	assert_ok(volume_mount(v, "pod-a", &path, &err), err);
	assert_ok(volume_mount(v, "pod-b", &path, &err), err);
	assert_string_equal(path, volume_mountpoint(v));
	volume_unmount(v, "pod-a");
	assert_true(volume_remove(v, true, &err) < 0);
	assert_int_equal(err.kind, ERROR_CONFLICT);
	volume_unmount(v, "pod-a");
	volume_unmount(v, "pod-b");
	assert_ok(volume_remove(v, false, &err), err);
	assert_true(volume_mount(v, "pod-a", &path, &err) < 0);
	volume_unref(v);
}

/* QEMU's docs/interop/qcow2.txt: what leads to other files is refused. */
static void qcow2_headers_are_read(struct world *w)
{
	static const struct {
		uint32_t version, crypt;
		uint64_t backing, incompatible;
		const char *why; /* NULL: it is taken */
	} cases[] = {
		{ 2, 0, 0, 0, NULL },
		{ 3, 0, 0, 1, NULL },
		{ 3, 0, 512, 0, "built on another file" },
		{ 3, 0, 0, 4, "built on another file" },
		{ 3, 1, 0, 0, "encrypted" },
		{ 4, 0, 0, 0, "version 4" },
	};
	autofree char *path = strf("%s/image", w->root);
	autofree char *options = strf("{\"format\":\"qcow2\",\"device\":\"%s\"}", path);
	struct error err = { 0 };
	struct volume_disk disk;
	struct volume *v;

	assert_ok(file_write_atomic(AT_FDCWD, path, "QFI\xfb", 4, 0600, false, &err), err);
	refused(w, "short", options, "no qcow2 image");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t header[26] = { [0] = htobe32(0x514649fb),
					[1] = htobe32(cases[i].version),
					[3] = htobe32((uint32_t)cases[i].backing),
					[8] = htobe32(cases[i].crypt),
					[19] = htobe32((uint32_t)cases[i].incompatible) };

		assert_ok(file_write_atomic(AT_FDCWD, path, header, sizeof(header), 0600, false,
					    &err),
			  err);
		if (cases[i].why) {
			refused(w, "image", options, cases[i].why);
			continue;
		}
		v = make(w, "image", options);
		assert_true(volume_is_disk(v, &disk) && disk.qcow2);
		assert_string_equal(disk.file_system, "ext4");
		assert_ok(volume_remove(v, false, &err), err);
		volume_unref(v);
	}
	assert_int_equal(access(path, F_OK), 0);
}

static void comes_back(void **state)
{
	run(come_back);
}

static void checks_names_and_options(void **state)
{
	run(names_and_options_are_checked);
}

static void keeps_what_is_mounted(void **state)
{
	run(what_is_mounted_stays);
}

static void reads_qcow2_headers(void **state)
{
	run(qcow2_headers_are_read);
}

static void reads_plugin_addresses(void **state)
{
	static const struct {
		const char *text, *path, *host, *port;
	} cases[] = {
		{ "unix:///run/a.sock", "/run/a.sock" },
		{ "unix:///run/a.sock\n", "/run/a.sock" },
		{ "tcp://127.0.0.1:80", NULL, "127.0.0.1", "80" },
		{ "http://host/\r\n", NULL, "host", "80" },
		{ "unix://relative" },
		{ "https://host" },
		{ "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool good = cases[i].path || cases[i].host;
		struct plugin_address a;
		struct error err = { 0 };

		assert_int_equal(plugin_address_parse(cases[i].text, &a, &err) == 0, good);
		if (!good)
			continue;
		assert_true(str_equal(a.socket_path, cases[i].path));
		assert_true(str_equal(a.host, cases[i].host));
		assert_true(str_equal(a.port, cases[i].port));
		plugin_address_done(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back),
		cmocka_unit_test(checks_names_and_options),
		cmocka_unit_test(keeps_what_is_mounted),
		cmocka_unit_test(reads_qcow2_headers),
		cmocka_unit_test(reads_plugin_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
