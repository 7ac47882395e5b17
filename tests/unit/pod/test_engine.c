/* Pods and containers from creation to removal, on a scripted agent. */
#include "tests/unit/pod/world.h"

#include <signal.h>

static void one_container_runs_to_its_end(struct world *w)
{
	struct client client = { 0 };
	struct container *c = create(w, spec_of("hello", "echo hi"));
	autofree char *logs = NULL;
	struct error err = { 0 };

	assert_string_equal(container_state_name(container_state(c)), "created");
	client_attach(&client, c, false);
	assert_ok(container_start(c, &err), err);
	assert_int_equal(container_start(c, &err) == 0 ? 0 : err.kind, ERROR_NOT_MODIFIED);
	assert_int_equal(wait_for(c, WAIT_NOT_RUNNING), 0);
	client_wait_end(&client);
	assert_string_equal(str_text(&client.out), "hi\n");
	wait_pod_end(container_pod(c));
	assert_int_equal(fake.alive, 0);
	assert_string_equal(container_state_name(container_state(c)), "exited");
	logs = logs_of(c);
	assert_string_equal(logs, "hi\n");
	assert_true(fake.last_seccomp_bytes > 1000);
	assert_int_equal(fake.last_capabilities, 0xa80425fb);
	client_done(&client);
	container_unref(c);
}

static void it_may_run_again(struct world *w)
{
	struct container *c = start(w, spec_of("again", "echo once"));
	autofree char *logs = NULL;
	struct error err = { 0 };

	wait_for(c, WAIT_NOT_RUNNING);
	assert_ok(container_start(c, &err), err);
	assert_int_equal(wait_for(c, WAIT_NOT_RUNNING), 0);
	logs = logs_of(c);
	assert_string_equal(logs, "once\nonce\n");
	container_unref(c);
}

static void the_image_says_what_is_not_said(struct world *w)
{
	struct container_spec *spec = spec_of("defaults", NULL);
	struct container *c;
	autofree char *logs = NULL;
	bool found = false;

	strv_add(&spec->env, "FROM=me");
	c = start(w, spec);
	wait_for(c, WAIT_NOT_RUNNING);
	logs = logs_of(c);
	assert_string_equal(logs, "from the image\n");
	strv_for_each(env, fake.last_env) {
		found |= strcmp(*env, "FROM=me") == 0;
		assert_string_not_equal(*env, "FROM=image");
	}
	assert_true(found);
	assert_string_equal(fake.last_env[0], "PATH=/bin");
	assert_true(str_starts(fake.last_env[1], "HOSTNAME="));
	assert_int_equal(strlen(fake.last_hostname), 12);
	container_unref(c);
}

static void a_program_that_is_missing(struct world *w)
{
	struct container *c = create(w, spec_of("missing", "missing"));
	struct error err = { 0 };

	assert_true(container_start(c, &err) < 0);
	assert_int_equal(err.exit_code, 127);
	assert_contains(err.message, "executable file not found");
	assert_int_equal(status_of(c).exit_code, 127);
	assert_contains(status_of(c).error, "executable file not found");
	assert_string_equal(container_state_name(container_state(c)), "created");
	assert_int_equal(fake.alive, 0);
	container_unref(c);
}

static void names_and_their_conflicts(struct world *w)
{
	struct container *c = create(w, spec_of("web", "run")), *found = NULL, *made = NULL;
	struct container_spec *spec = spec_of("web", "run");
	struct error err = { 0 };
	char prefix[13];

	assert_true(container_create(w->engine, spec, NULL, NULL, &found, &err) < 0);
	assert_int_equal(err.kind, ERROR_CONFLICT);
	assert_contains(err.message,
			"Conflict. The container name \"/web\" is already in use by container \"");
	assert_true(container_get(w->engine, "nothing", &found, &err) < 0);
	assert_string_equal(err.message, "No such container: nothing");
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
	assert_true(container_create(w->engine, spec_of("-x", "run"), NULL, NULL, &found, &err) <
		    0);
	assert_contains(err.message, "Invalid container name (-x)");
	snprintf(prefix, sizeof(prefix), "%s", container_id(c));
	assert_ok(container_get(w->engine, prefix, &found, &err), err);
	assert_ptr_equal(found, c);
	container_unref(found);
	assert_ok(container_get(w->engine, "/web", &found, &err), err);
	container_unref(found);
	made = create(w, spec_of(NULL, "run"));
	assert_non_null(strchr(container_name(made), '_'));
	assert_ok(container_rename(made, "api", &err), err);
	assert_ok(container_get(w->engine, "api", &found, &err), err);
	container_unref(found);
	assert_true(container_rename(made, "web", &err) < 0);
	assert_int_equal(err.kind, ERROR_CONFLICT);
	container_unref(made);
	container_unref(c);

	spec = spec_of("x1", "run");
	free(spec->image);
	spec->image = strdup("absent");
	assert_true(container_create(w->engine, spec, NULL, NULL, &found, &err) < 0);
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
}

static struct pod_spec *pod_of(const char *name, const char *first, const char *second)
{
	struct pod_spec *spec = pod_spec_new();

	spec->name = strdup(name);
	spec->containers = calloc(2, sizeof(*spec->containers));
	spec->containers[spec->container_count++] = spec_of("first", first);
	if (second)
		spec->containers[spec->container_count++] = spec_of("second", second);
	return spec;
}

static void a_pod_lives_as_long_as_its_last_container(struct world *w)
{
	struct pod *pod = NULL;
	struct container *first, *second;
	struct error err = { 0 };
	int code;

	assert_ok(pod_create(w->engine, pod_of("two", "exit 3", "run"), &pod, &err), err);
	assert_ok(pod_start(pod, &err), err);
	assert_ok(container_get(w->engine, "two-first", &first, &err), err);
	assert_ok(container_get(w->engine, "second", &second, &err), err);
	assert_int_equal(wait_for(first, WAIT_NOT_RUNNING), 3);
	assert_string_equal(pod_state_name(pod_state(pod)), "running");
	assert_int_equal(fake.sandboxes_started, 1);
	assert_int_equal(fake.setups, 1);
	assert_string_equal(fake.last_hostname, "two");

	/* The first may run again beside the second. */
	assert_ok(container_start(first, &err), err);
	assert_int_equal(wait_for(first, WAIT_NOT_RUNNING), 3);
	assert_int_equal(fake.sandboxes_started, 1);
	assert_int_equal(fake.setups, 1);

	assert_ok(container_stop(second, 5, &err), err);
	assert_int_equal(status_of(second).exit_code, 143);
	assert_string_equal(pod_state_name(pod_state(pod)), "stopped");
	assert_int_equal(fake.alive, 0);
	assert_ok(pod_wait(pod, &code, &err), err);
	assert_int_equal(code, 3);
	assert_ok(pod_remove(pod, false, &err), err);
	assert_true(container_get(w->engine, "two-first", &first, &err) < 0);
	container_unref(first);
	container_unref(second);
	pod_unref(pod);
}

static void a_pod_starts_whole_or_not_at_all(struct world *w)
{
	struct pod *pod = NULL;
	struct error err = { 0 };

	assert_ok(pod_create(w->engine, pod_of("half", "run", "missing"), &pod, &err), err);
	assert_true(pod_start(pod, &err) < 0);
	assert_contains(err.message, "container half-second: ");
	assert_int_equal(err.exit_code, 127);
	assert_string_equal(pod_state_name(pod_state(pod)), "failed");
	assert_int_equal(fake.alive, 0);
	assert_ok(pod_remove(pod, false, &err), err);
	pod_unref(pod);
}

static void a_pod_without_containers_takes_some_later(struct world *w)
{
	struct pod_spec *spec = pod_spec_new();
	struct container *c = NULL;
	struct pod *pod = NULL;
	struct error err = { 0 };

	spec->name = strdup("empty");
	assert_ok(pod_create(w->engine, spec, &pod, &err), err);
	assert_ok(pod_start(pod, &err), err);
	assert_int_equal(fake.alive, 1);
	assert_ok(container_create(w->engine, spec_of("late", "echo late"), pod, NULL, &c, &err),
		  err);
	assert_string_equal(container_name(c), "empty-late");
	assert_ok(container_start(c, &err), err);
	wait_for(c, WAIT_NOT_RUNNING);
	wait_pod_end(pod);
	assert_int_equal(fake.alive, 0);
	container_unref(c);
	assert_ok(pod_remove(pod, true, &err), err);
	pod_unref(pod);
}

static void stop_asks_and_then_kills(struct world *w)
{
	struct container *kind = start(w, spec_of("kind", "run"));
	struct container *stubborn = start(w, spec_of("stubborn", "stubborn"));
	struct error err = { 0 };

	assert_ok(container_stop(kind, 10, &err), err);
	assert_int_equal(status_of(kind).exit_code, 143);
	assert_ok(container_stop(stubborn, 0, &err), err);
	assert_int_equal(status_of(stubborn).exit_code, 137);
	assert_true(container_stop(kind, 0, &err) < 0);
	assert_int_equal(err.kind, ERROR_NOT_MODIFIED);
	assert_int_equal(fake.alive, 0);
	assert_true(container_kill(kind, SIGKILL, &err) < 0);
	assert_int_equal(err.kind, ERROR_CONFLICT);
	assert_contains(err.message, "is not running");
	container_unref(kind);
	container_unref(stubborn);
}

static void pausing(struct world *w)
{
	struct container *c = start(w, spec_of("frozen", "run"));
	struct error err = { 0 };

	assert_ok(container_pause(c, true, &err), err);
	assert_string_equal(container_state_name(container_state(c)), "paused");
	assert_true(container_pause(c, true, &err) < 0);
	assert_contains(err.message, "is already paused");
	assert_ok(container_pause(c, false, &err), err);
	assert_true(container_pause(c, false, &err) < 0);
	assert_contains(err.message, "is not paused");
	assert_ok(container_pause(c, true, &err), err);
	assert_ok(container_stop(c, 5, &err), err);
	assert_string_equal(container_state_name(container_state(c)), "exited");
	container_unref(c);
}

static void restart_policies(struct world *w)
{
	struct container_spec *spec = spec_of("fails", "exit 5");
	struct container *c;
	struct error err = { 0 };

	spec->restart = (struct restart_policy){ RESTART_ON_FAILURE, 2 };
	c = start(w, spec);
	assert_int_equal(wait_for(c, WAIT_NOT_RUNNING), 5);
	assert_int_equal(status_of(c).restart_count, 2);
	wait_pod_end(container_pod(c));
	assert_int_equal(fake.sandboxes_started, 1);
	container_unref(c);

	spec = spec_of("always", "exit 0");
	spec->restart.kind = RESTART_ALWAYS;
	c = start(w, spec);
	wait_for(c, WAIT_NEXT_EXIT);
	wait_for(c, WAIT_NEXT_EXIT);
	assert_ok(container_stop(c, 0, &err), err);
	assert_string_equal(container_state_name(container_state(c)), "exited");
	assert_int_equal(fake.alive, 0);
	container_unref(c);
}

static void auto_remove(struct world *w)
{
	struct container_spec *spec = spec_of("gone", "exit 4");
	struct container *c, *found;
	struct container_wait *wait;
	struct error err = { 0 };
	int code;

	spec->auto_remove = true;
	c = create(w, spec);
	assert_ok(container_wait_begin(c, WAIT_REMOVED, &wait, &err), err);
	assert_ok(container_start(c, &err), err);
	assert_ok(container_wait_end(wait, &code, &err), err);
	assert_int_equal(code, 4);
	assert_true(container_get(w->engine, "gone", &found, &err) < 0);
	container_unref(c);
}

static void removing(struct world *w)
{
	const struct container_remove_options gently = { 0 }, force = { .force = true };
	struct container *c = start(w, spec_of("busy", "stubborn"));
	struct error err = { 0 };
	autofree char *pods = strf("%s/pods", w->root);
	char expected[200];

	assert_true(container_remove(c, &gently, &err) < 0);
	snprintf(expected, sizeof(expected),
		 "You cannot remove a running container %s. Stop the container before attempting "
		 "removal or force remove",
		 container_id(c));
	assert_string_equal(err.message, expected);
	assert_int_equal(err.kind, ERROR_CONFLICT);
	assert_ok(container_remove(c, &force, &err), err);
	assert_int_equal(fake.alive, 0);
	assert_true(container_remove(c, &force, &err) < 0);
	assert_int_equal(err.kind, ERROR_NOT_FOUND);
	assert_int_equal(rmdir(pods), 0); /* nothing of it is left */
	container_unref(c);
}

static void the_sandbox_dies(struct world *w)
{
	struct pod *pod = NULL;
	struct container *c;
	struct error err = { 0 };

	assert_ok(pod_create(w->engine, pod_of("doomed", "run", "run"), &pod, &err), err);
	assert_ok(pod_start(pod, &err), err);
	assert_ok(container_get(w->engine, "doomed-second", &c, &err), err);
	fake_kill(pod_id(pod));
	assert_int_equal(wait_for(c, WAIT_NOT_RUNNING), 137);
	assert_contains(status_of(c).error, "the sandbox died");
	wait_pod_end(pod);
	assert_string_equal(pod_state_name(pod_state(pod)), "failed");

	/* And it can be started again. */
	assert_ok(pod_start(pod, &err), err);
	assert_string_equal(pod_state_name(pod_state(pod)), "running");
	assert_ok(pod_stop(pod, 1, &err), err);
	container_unref(c);
	pod_unref(pod);
}

static void a_sandbox_that_does_not_start(struct world *w)
{
	struct container *c = create(w, spec_of("never", "run"));
	struct error err = { 0 };

	fake.fail_start = true;
	assert_true(container_start(c, &err) < 0);
	assert_contains(err.message, "no sandbox today");
	assert_int_equal(status_of(c).exit_code, 128);
	assert_ok(container_start(c, &err), err);
	container_unref(c);
}

static void volumes_need_a_store(struct world *w)
{
	struct container_spec *spec = spec_of("vol", "run");
	struct container *c;
	struct error err = { 0 };

	spec->mounts = calloc(1, sizeof(*spec->mounts));
	spec->mount_count = 1;
	spec->mounts[0] = (struct spec_mount){ .type = MOUNT_VOLUME,
					       .source = strdup("db"),
					       .destination = strdup("/var/db") };
	assert_true(container_create(w->engine, spec, NULL, NULL, &c, &err) < 0);
	assert_int_equal(err.kind, ERROR_UNSUPPORTED);
}

static struct container_spec *spec_with_bind(const char *source, const char *destination)
{
	struct container_spec *spec = spec_of("bind", "run");
	struct spec_mount *m = container_spec_add_mount(spec);

	m->type = MOUNT_BIND;
	m->source = strdup(source);
	m->destination = strdup(destination);
	return spec;
}

static void mounts_are_settled_when_a_container_is_made(struct world *w)
{
	static const struct {
		const char *source, *destination, *error;
	} wrong[] = {
		{ "/nonexistent/x", "/x", "bind source path does not exist: /nonexistent/x" },
		{ "relative", "/x", "mount path must be absolute" },
		{ "/", "x", "mount path must be absolute" },
		{ "/", "/a/..", "destination can't be '/'" },
	};
	struct container_spec *spec;
	struct error err = { 0 };
	struct container *c;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		spec = spec_with_bind(wrong[i].source, wrong[i].destination);
		assert_true(container_create(w->engine, spec, NULL, NULL, &c, &err) < 0);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_contains(err.message, wrong[i].error);
	}
	spec = spec_with_bind("/", "/b//c/./d/");
	*container_spec_add_mount(spec) =
		(struct spec_mount){ .type = MOUNT_TMPFS, .destination = strdup("/b") };
	c = create(w, spec);
	assert_int_equal(container_spec(c)->mount_count, 2);
	assert_string_equal(container_spec(c)->mounts[0].destination, "/b");
	assert_string_equal(container_spec(c)->mounts[1].destination, "/b/c/d");
	container_unref(c);
	spec = spec_with_bind("/", "/b");
	*container_spec_add_mount(spec) =
		(struct spec_mount){ .type = MOUNT_TMPFS, .destination = strdup("/b/") };
	assert_true(container_create(w->engine, spec, NULL, NULL, &c, &err) < 0);
	assert_contains(err.message, "Duplicate mount point: /b");
}

static void files_are_written_before_the_start(struct world *w)
{
	struct container_spec *spec = spec_of("files", "true");
	struct container *c;

	spec->files = calloc(1, sizeof(*spec->files));
	spec->file_count = 1;
	spec->files[0] = (struct spec_file){ .path = strdup("/etc/motd"),
					     .content = strdup("welcome"),
					     .content_bytes = 7,
					     .mode = 0644 };
	c = start(w, spec);
	wait_for(c, WAIT_NOT_RUNNING);
	assert_string_equal(fake.last_file, "welcome");
	container_unref(c);
}

static void a_log_that_is_not_kept(struct world *w)
{
	struct container_spec *spec = spec_of("quiet", "echo x");
	struct container *c;
	struct error err = { 0 };

	spec->log_driver = strdup("none");
	c = start(w, spec);
	wait_for(c, WAIT_NOT_RUNNING);
	assert_true(container_logs_check(c, &err) < 0);
	assert_int_equal(err.kind, ERROR_UNSUPPORTED);
	assert_string_equal(err.message, "configured logging driver does not support reading");
	container_unref(c);
	spec = spec_of("wrong", "echo x");
	spec->log_driver = strdup("nothing");
	assert_true(container_create(w->engine, spec, NULL, NULL, &c, &err) < 0);
	assert_int_equal(err.kind, ERROR_INVALID);
}

static void count_event(const json_t *event, void *arg)
{
	strv_addf(arg, "%s %s", json_string_value(json_object_get(event, "Type")),
		  json_string_value(json_object_get(event, "Action")));
}

static void events_are_told_in_order(struct world *w)
{
	static const char *const expected[] = { "container create", "container start",
						"container die", "container destroy" };
	const struct container_remove_options options = { 0 };
	struct event_subscription *subscription;
	autostrv char **seen = NULL;
	struct container *c;
	struct error err = { 0 };

	assert_ok(engine_subscribe(w->engine, count_event, &seen, &subscription, &err), err);
	c = start(w, spec_of("events", "true"));
	wait_for(c, WAIT_NOT_RUNNING);
	assert_ok(container_remove(c, &options, &err), err);
	event_unsubscribe(subscription);
	assert_int_equal(strv_len(seen), ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_string_equal(seen[i], expected[i]);
	assert_int_equal(json_array_size(engine_past_events(w->engine)), 4);
	container_unref(c);
}

#define RUN(name)                            \
	static void run_##name(void **state) \
	{                                    \
		world_run(name, false);      \
	}
RUN(one_container_runs_to_its_end)
RUN(it_may_run_again)
RUN(the_image_says_what_is_not_said)
RUN(a_program_that_is_missing)
RUN(names_and_their_conflicts)
RUN(a_pod_lives_as_long_as_its_last_container)
RUN(a_pod_starts_whole_or_not_at_all)
RUN(a_pod_without_containers_takes_some_later)
RUN(stop_asks_and_then_kills)
RUN(pausing)
RUN(restart_policies)
RUN(auto_remove)
RUN(removing)
RUN(the_sandbox_dies)
RUN(a_sandbox_that_does_not_start)
RUN(volumes_need_a_store)
RUN(mounts_are_settled_when_a_container_is_made)
RUN(files_are_written_before_the_start)
RUN(a_log_that_is_not_kept)
RUN(events_are_told_in_order)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_one_container_runs_to_its_end),
		cmocka_unit_test(run_it_may_run_again),
		cmocka_unit_test(run_the_image_says_what_is_not_said),
		cmocka_unit_test(run_a_program_that_is_missing),
		cmocka_unit_test(run_names_and_their_conflicts),
		cmocka_unit_test(run_a_pod_lives_as_long_as_its_last_container),
		cmocka_unit_test(run_a_pod_starts_whole_or_not_at_all),
		cmocka_unit_test(run_a_pod_without_containers_takes_some_later),
		cmocka_unit_test(run_stop_asks_and_then_kills),
		cmocka_unit_test(run_pausing),
		cmocka_unit_test(run_restart_policies),
		cmocka_unit_test(run_auto_remove),
		cmocka_unit_test(run_removing),
		cmocka_unit_test(run_the_sandbox_dies),
		cmocka_unit_test(run_a_sandbox_that_does_not_start),
		cmocka_unit_test(run_volumes_need_a_store),
		cmocka_unit_test(run_mounts_are_settled_when_a_container_is_made),
		cmocka_unit_test(run_files_are_written_before_the_start),
		cmocka_unit_test(run_a_log_that_is_not_kept),
		cmocka_unit_test(run_events_are_told_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
