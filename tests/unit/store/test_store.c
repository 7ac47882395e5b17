#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperd/store/store.h"

struct world {
	char root[64];
	struct store *store;
	char **ids;
	char **damaged;
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct error err = { 0 };

	strcpy(w->root, "/tmp/hyper-test-XXXXXX");
	assert_non_null(mkdtemp(w->root));
	assert_ok(store_open(w->root, &w->store, &err), err);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	store_free(w->store);
	file_remove_tree(AT_FDCWD, w->root, NULL);
	strv_free(w->ids);
	strv_free(w->damaged);
	free(w);
	return 0;
}

static void collect(const char *id, json_t *record, void *arg)
{
	struct world *w = arg;

	assert_true(json_is_object(record));
	strv_add(&w->ids, id);
}

static void collect_damaged(const char *id, const struct error *why, void *arg)
{
	struct world *w = arg;

	strv_addf(&w->damaged, "%s: %s", id, why->message);
}

static void save(struct world *w, const char *id, int version)
{
	autojson json_t *record = json_pack("{s:s}", "name", id);
	struct error err = { 0 };

	assert_ok(record_save(w->store, "pod", id, version, record, true, &err), err);
	assert_null(json_object_get(record, "v")); /* the caller's object is left alone */
}

static void records_come_back(void **state)
{
	struct world *w = *state;
	autojson json_t *record = NULL;
	struct error err = { 0 };
	const char *name;

	save(w, "web-1.a_b", 1);
	assert_ok(record_load(w->store, "pod", "web-1.a_b", 1, &record, &err), err);
	assert_ok(json_get_string(record, "name", &name, &err), err);
	assert_string_equal(name, "web-1.a_b");
	assert_ok(record_delete(w->store, "pod", "web-1.a_b", &err), err);
	assert_ok(record_delete(w->store, "pod", "web-1.a_b", &err), err);
	assert_true(record_load(w->store, "pod", "web-1.a_b", 1, &record, &err) < 0);
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
}

static void a_newer_record_is_refused(void **state)
{
	struct world *w = *state;
	autojson json_t *record = NULL;
	struct error err = { 0 };

	save(w, "web", 3);
	assert_true(record_load(w->store, "pod", "web", 2, &record, &err) < 0);
	assert_int_equal(err.kind, ERROR_UNSUPPORTED);
	assert_contains(err.message, "newer");

	assert_ok(record_each(w->store, "pod", 2, collect, collect_damaged, w, &err), err);
	assert_int_equal(strv_len(w->ids), 0);
	assert_int_equal(strv_len(w->damaged), 1);
	assert_ok(record_load(w->store, "pod", "web", 3, &record, &err), err); /* still there */
}

static void names_cannot_leave_the_store(void **state)
{
	static const char *const bad[] = { "",        ".",   "..",  "../x", "a/b",
					   ".hidden", "a b", "a\n", "ä" };
	struct world *w = *state;
	autojson json_t *record = json_object();
	char longest[300];
	json_t *loaded;
	struct error err = { 0 };

	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; i <= ARRAY_SIZE(bad); i++) {
		const char *name = i < ARRAY_SIZE(bad) ? bad[i] : longest;

		assert_int_equal(record_save(w->store, "pod", name, 1, record, false, &err),
				 -EINVAL);
		assert_int_equal(record_save(w->store, name, "id", 1, record, false, &err),
				 -EINVAL);
		assert_int_equal(record_load(w->store, "pod", name, 1, &loaded, &err), -EINVAL);
		assert_int_equal(record_delete(w->store, name, "x", &err), -EINVAL);
		assert_int_equal(record_each(w->store, name, 1, collect, NULL, w, &err), -EINVAL);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
}

static void a_damaged_record_does_not_stop_the_others(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };
	int dir = store_dir_fd(w->store);

	save(w, "a", 1);
	save(w, "z", 1);
	assert_ok(file_write_atomic(dir, "pod/cut.json", "{\"v\":1", 6, 0600, false, &err), err);
	assert_ok(file_write_atomic(dir, "pod/list.json", "[]", 2, 0600, false, &err), err);
	assert_ok(file_write_atomic(dir, "pod/old.json", "{}", 2, 0600, false, &err), err);
	assert_ok(file_write_atomic(dir, "pod/b.json.new-1-1", "{", 1, 0600, false, &err), err);
	assert_ok(record_each(w->store, "pod", 1, collect, collect_damaged, w, &err), err);
	assert_int_equal(strv_len(w->ids), 2);
	assert_int_equal(strv_len(w->damaged), 3);
	assert_int_equal(faccessat(dir, "pod/cut.json.damaged", F_OK, 0), 0);
	assert_int_equal(faccessat(dir, "pod/cut.json", F_OK, 0), -1);
	assert_int_equal(faccessat(dir, "pod/b.json.new-1-1", F_OK, 0), -1);

	/* They are told once. */
	assert_ok(record_each(w->store, "pod", 1, collect, collect_damaged, w, &err), err);
	assert_int_equal(strv_len(w->damaged), 3);
}

static void delete_it(const char *id, json_t *record, void *arg)
{
	struct world *w = arg;

	collect(id, record, arg);
	record_delete(w->store, "pod", "a", NULL);
	record_delete(w->store, "pod", "b", NULL);
}

static void records_may_be_deleted_while_walking(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	assert_ok(record_each(w->store, "pod", 1, collect, NULL, w, &err), err); /* none yet */
	save(w, "a", 1);
	save(w, "b", 1);
	assert_ok(record_each(w->store, "pod", 1, delete_it, collect_damaged, w, &err), err);
	assert_int_equal(strv_len(w->ids), 1);
	assert_int_equal(strv_len(w->damaged), 0);
}

static void two_daemons_never_share_a_data_root(void **state)
{
	struct world *w = *state;
	struct store *second = NULL;
	struct error err = { 0 };
	struct stat st;

	assert_int_equal(store_open(w->root, &second, &err), -EBUSY);
	assert_int_equal(err.kind, ERROR_CONFLICT);
	store_free(w->store);
	w->store = NULL;
	assert_ok(store_open(w->root, &w->store, &err), err);
	assert_int_equal(fstat(store_dir_fd(w->store), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(records_come_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_newer_record_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(names_cannot_leave_the_store, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_damaged_record_does_not_stop_the_others, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(records_may_be_deleted_while_walking, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(two_daemons_never_share_a_data_root, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
