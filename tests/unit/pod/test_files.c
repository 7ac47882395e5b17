/* What a guest may say of a container's files, and what becomes of it. */
#include "tests/unit/pod/world.h"

#include "base/json.h"
#include "hyperd/pod/container_files.h"

static void say(const struct tree_entry *entry, const char *data)
{
	struct tree_entry e = *entry;
	struct error err = { 0 };

	e.path = e.path ? e.path : "";
	e.link = e.link ? e.link : "";
	assert_ok(tree_encode(&e, &fake.files.out, &err), err);
	str_add(&fake.files.out, data);
}

static void say_stat(void)
{
	say(&(struct tree_entry){ .type = TREE_STAT, .mode = 040755 }, "");
}

static void say_end(void)
{
	say(&(struct tree_entry){ .type = TREE_END }, "");
}

static int sink(void *arg, const void *data, size_t len, struct error *err)
{
	str_append(arg, data, len);
	return 0;
}

static int begin(void *arg, const struct path_stat *stat, struct error *err)
{
	return 0;
}

static int get(struct container *c, struct str *archive, struct error *err)
{
	const struct archive_events events = { begin, sink, archive };

	return container_archive_get(c, "/d", &events, err);
}

/* The agent's process is given up, whatever happened. */
static void settle(struct container *c)
{
	unsigned asked = fake.files.asked;

	for (int i = 0; i < 100 && fake.processes_forgotten < asked; i++)
		task_sleep_until(deadline_in_ms(10));
	assert_int_equal(fake.processes_forgotten, asked);
}

static void an_archive_is_made(struct world *w)
{
	autoptr(container_unref) struct container *c = start(w, spec_of("box", "run"));
	autostr struct str archive = STR_INIT;
	struct error err = { 0 };

	say_stat();
	say(&(struct tree_entry){ .type = TREE_DIRECTORY, .mode = 0755 }, "");
	say(&(struct tree_entry){ .type = TREE_FILE, .path = "f", .mode = 0644, .size_bytes = 5 },
	    "hello");
	say(&(struct tree_entry){ .type = TREE_HARD_LINK, .path = "g", .link = "f" }, "");
	say_end();
	assert_ok(get(c, &archive, &err), err);
	assert_int_equal(archive.len, (1 + 2 + 1 + 2) * 512);
	assert_string_equal(archive.data, "d/");
	assert_string_equal(archive.data + 512, "d/f");
	assert_string_equal(archive.data + 1536, "d/g");
	assert_string_equal(archive.data + 1536 + 157, "d/f");
	settle(c);
}

/* Each would leave the directory that a client unpacks the archive in, or confuse its tar. */
static void lies_end_it(struct world *w)
{
	static const struct tree_entry lies[] = {
		{ .type = TREE_FILE, .path = "../../etc/passwd" },
		{ .type = TREE_FILE, .path = "/etc/passwd" },
		{ .type = TREE_FILE, .path = "a/../../b" },
		{ .type = TREE_HARD_LINK, .path = "a", .link = "../../etc/passwd" },
		{ .type = TREE_DELETED, .path = "a" },
		{ .type = TREE_OPAQUE, .path = "a" },
		{ .type = TREE_SOCKET, .path = "a" },
		{ .type = TREE_STAT, .path = "a" },
		{ .type = TREE_TYPE_COUNT, .path = "a" },
	};
	autoptr(container_unref) struct container *c = start(w, spec_of("box", "run"));

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		autostr struct str archive = STR_INIT;
		struct error err = { 0 };

		str_clear(&fake.files.out);
		say_stat();
		say(&lies[i], "");
		say_end();
		assert_int_equal(get(c, &archive, &err), -EINVAL);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_int_equal(archive.len, 0);
		settle(c);
	}
}

/* A stream that ends anywhere is an error, and never a shorter archive. */
static void cut_streams_are_noticed(struct world *w)
{
	autoptr(container_unref) struct container *c = start(w, spec_of("box", "run"));
	autostr struct str whole = STR_INIT;

	say_stat();
	say(&(struct tree_entry){ .type = TREE_FILE, .size_bytes = 4 }, "data");
	say_end();
	str_append(&whole, fake.files.out.data, fake.files.out.len);
	for (size_t len = 0; len < whole.len; len++) {
		autostr struct str archive = STR_INIT;
		struct error err = { 0 };

		str_clear(&fake.files.out);
		str_append(&fake.files.out, whole.data, len);
		assert_true(get(c, &archive, &err) < 0);
		assert_int_equal(err.kind, ERROR_UNAVAILABLE);
		settle(c);
	}
}

static void a_refusal_has_dockers_words(struct world *w)
{
	autoptr(container_unref) struct container *c = start(w, spec_of("box", "run"));
	autostr struct str archive = STR_INIT;
	struct error err = { 0 };

	fake.files.refusal = "'/d': No such file or directory";
	assert_true(get(c, &archive, &err) < 0);
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
	assert_contains(err.message, "Could not find the file /d in container");
	settle(c);
	/* One that comes later is told as it is. */
	fake.files.refusal = NULL;
	say_stat();
	say(&(struct tree_entry){ .type = TREE_FAILED, .mode = ERROR_LIMIT, .link = "too deep" },
	    "");
	assert_true(get(c, &archive, &err) < 0);
	assert_int_equal(err.kind, ERROR_LIMIT);
	assert_string_equal(err.message, "too deep");
	settle(c);
}

static void a_guest_that_stalls_is_given_up(struct world *w)
{
	autoptr(container_unref) struct container *c = start(w, spec_of("box", "run"));
	autostr struct str archive = STR_INIT;
	struct error err = { 0 };
	unsigned old = files_stall_ms;

	files_stall_ms = 50;
	fake.files.stall = true;
	say_stat();
	assert_true(get(c, &archive, &err) < 0);
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	settle(c);
	files_stall_ms = old;
	/* The container is as it was. */
	assert_ok(container_stop(c, 0, &err), err);
}

struct reading {
	struct container *container;
	struct error error;
	int result;
	bool done;
};

static void read_task(void *arg)
{
	struct reading *r = arg;
	autostr struct str archive = STR_INIT;

	r->result = get(r->container, &archive, &r->error);
	r->done = true;
}

static void a_sandbox_that_dies_ends_it(struct world *w)
{
	autoptr(container_unref) struct container *c = start(w, spec_of("box", "run"));
	struct reading reading = { .container = c };
	struct error err = { 0 };

	fake.files.stall = true;
	say_stat();
	assert_ok(task_spawn(w->loop, "reader", read_task, &reading, NULL, &err), err);
	while (!fake.files.asked)
		task_yield();
	fake_kill(pod_id(container_pod(c)));
	for (int i = 0; i < 500 && !reading.done; i++)
		task_sleep_until(deadline_in_ms(10));
	assert_true(reading.done && reading.result < 0);
	assert_int_equal(reading.error.kind, ERROR_UNAVAILABLE);
}

/* A container that does not run gets a sandbox, in which it is not started. */
static void stopped_containers_are_served(struct world *w)
{
	autoptr(container_unref) struct container *c = NULL;
	struct pod_spec *options = pod_spec_new();
	autostr struct str archive = STR_INIT;
	struct error err = { 0 };

	/* With a network the start would begin a sandbox that has one. */
	free(options->network_mode);
	options->network_mode = strdup("none");
	assert_ok(container_create(w->engine, spec_of("box", "run"), NULL, options, &c, &err), err);
	pod_spec_free(options);
	say_stat();
	say(&(struct tree_entry){ .type = TREE_FILE, .size_bytes = 1 }, "x");
	say_end();
	assert_ok(get(c, &archive, &err), err);
	assert_int_equal(fake.sandboxes_started, 1);
	assert_int_equal(fake.containers_created, 1);
	assert_int_equal(status_of(c).state, CONTAINER_CREATED);
	assert_int_equal(pod_state(container_pod(c)), POD_CREATED);
	/* The next one finds it; a start takes it over. */
	assert_ok(get(c, &archive, &err), err);
	assert_ok(container_start(c, &err), err);
	assert_int_equal(fake.sandboxes_started, 1);
	assert_int_equal(status_of(c).state, CONTAINER_RUNNING);
	assert_ok(container_stop(c, 0, &err), err);
	assert_int_equal(fake.sandboxes_stopped, 1);
	/* Without either it ends by itself. */
	assert_ok(get(c, &archive, &err), err);
	for (int i = 0; i < 500 && fake.sandboxes_stopped < 2; i++)
		task_sleep_until(deadline_in_ms(10));
	assert_int_equal(fake.sandboxes_stopped, 2);
	assert_int_equal(status_of(c).state, CONTAINER_EXITED);
}

static void changes_are_listed(struct world *w)
{
	autoptr(container_unref) struct container *c = start(w, spec_of("box", "run"));
	autojson json_t *changes = NULL, *expected = NULL;
	struct error err = { 0 };

	say(&(struct tree_entry){ .type = TREE_DIRECTORY, .path = "etc", .flags = TREE_CHANGED },
	    "");
	say(&(struct tree_entry){ .type = TREE_FIFO, .path = "etc/\xff" }, "");
	say(&(struct tree_entry){ .type = TREE_DELETED, .path = "etc/b", .flags = TREE_CHANGED },
	    "");
	say_end();
	assert_ok(container_changes(c, &changes, &err), err);
	expected = json_pack("[{s:s,s:i},{s:s,s:i},{s:s,s:i}]", "Path", "/etc", "Kind", 0, "Path",
			     "/etc/?", "Kind", 1, "Path", "/etc/b", "Kind", 2);
	assert_true(json_equal(changes, expected));
	settle(c);
}

#define TEST(name)                            \
	static void test_##name(void **state) \
	{                                     \
		world_run(name, false);       \
	}
TEST(an_archive_is_made)
TEST(lies_end_it)
TEST(cut_streams_are_noticed)
TEST(a_refusal_has_dockers_words)
TEST(a_guest_that_stalls_is_given_up)
TEST(a_sandbox_that_dies_ends_it)
TEST(stopped_containers_are_served)
TEST(changes_are_listed)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_archive_is_made),
		cmocka_unit_test(test_lies_end_it),
		cmocka_unit_test(test_cut_streams_are_noticed),
		cmocka_unit_test(test_a_refusal_has_dockers_words),
		cmocka_unit_test(test_a_guest_that_stalls_is_given_up),
		cmocka_unit_test(test_a_sandbox_that_dies_ends_it),
		cmocka_unit_test(test_stopped_containers_are_served),
		cmocka_unit_test(test_changes_are_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
