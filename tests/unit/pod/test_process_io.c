/* Streams of processes: attachments, input, slow clients, exec sessions, logs. */
#include "tests/unit/pod/world.h"

#include <signal.h>

static void input_reaches_the_process(struct world *w)
{
	struct container_spec *spec = spec_of("cat", "cat");
	struct client client = { 0 };
	struct container *c;
	struct error err = { 0 };

	spec->open_stdin = spec->stdin_once = true;
	c = create(w, spec);
	client_attach(&client, c, false);
	assert_int_equal(attachment_input(client.attachment, "early", 5), 0);
	assert_ok(container_start(c, &err), err);
	assert_int_equal(attachment_input(client.attachment, "hello\n", 6), 6);
	client_wait_output(&client, 6);
	attachment_input_end(client.attachment);
	client_wait_end(&client);
	assert_string_equal(str_text(&client.out), "hello\n");
	assert_int_equal(wait_for(c, WAIT_NOT_RUNNING), 0);
	assert_true(attachment_input(client.attachment, "late", 4) < 0);
	client_done(&client);
	container_unref(c);
}

/* As `echo x | docker run -i`: the end comes before the start. */
static void input_that_ends_before_the_start(struct world *w)
{
	struct container_spec *spec = spec_of("cat", "cat");
	struct client client = { 0 };
	struct container *c;
	struct error err = { 0 };

	spec->open_stdin = spec->stdin_once = true;
	c = create(w, spec);
	client_attach(&client, c, false);
	attachment_input_end(client.attachment);
	assert_ok(container_start(c, &err), err);
	client_wait_end(&client);
	assert_int_equal(wait_for(c, WAIT_NOT_RUNNING), 0);
	client_done(&client);
	container_unref(c);
}

static void two_clients_see_the_same(struct world *w)
{
	struct client a = { 0 }, b = { 0 };
	struct container *c = create(w, spec_of("both", "err oops"));
	struct error err = { 0 };

	client_attach(&a, c, false);
	client_attach(&b, c, false);
	assert_ok(container_start(c, &err), err);
	client_wait_end(&a);
	client_wait_end(&b);
	assert_string_equal(str_text(&a.err), "oops\n");
	assert_string_equal(str_text(&b.err), "oops\n");
	assert_int_equal(a.out.len, 0);
	client_done(&a);
	client_done(&b);
	container_unref(c);
}

#define FLOOD_BYTES 6300000u /* of lines of 63 bytes */

/* A client that takes nothing holds up the process, not the daemon; once it is gone all flows. */
static void a_slow_client_holds_up_the_process(struct world *w)
{
	struct client slow = { .refuses = true };
	struct container *c = create(w, spec_of("flood", "flood 6300000"));
	autofree char *logs = NULL;
	struct error err = { 0 };

	client_attach(&slow, c, false);
	assert_ok(container_start(c, &err), err);
	/* The window fills up and stays full: nothing is acknowledged any more. */
	while (fake_unacknowledged(pod_id(container_pod(c)), container_id(c)) < 200000)
		assert_int_equal(task_yield(), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(task_yield(), 0);
	assert_true(status_of(c).running);
	client_done(&slow);
	assert_int_equal(wait_for(c, WAIT_NOT_RUNNING), 0);
	logs = logs_of(c);
	assert_int_equal(strlen(logs), FLOOD_BYTES);
	container_unref(c);
}

static void a_client_that_stops_and_goes_on_misses_nothing(struct world *w)
{
	struct client client = { .refuses = true };
	struct container *c = create(w, spec_of("flood", "flood 6300000"));
	struct error err = { 0 };

	client_attach(&client, c, false);
	assert_ok(container_start(c, &err), err);
	while (fake_unacknowledged(pod_id(container_pod(c)), container_id(c)) < 200000)
		assert_int_equal(task_yield(), 0);
	client.refuses = false;
	attachment_writable(client.attachment);
	client_wait_end(&client);
	assert_int_equal(client.out.len, FLOOD_BYTES);
	for (size_t i = 0; i < client.out.len; i += 63)
		assert_memory_equal(client.out.data + i, client.out.data, 63);
	client_done(&client);
	container_unref(c);
}

static void an_attachment_may_begin_with_the_past(struct world *w)
{
	struct client client = { 0 };
	struct container *c = start(w, spec_of("past", "part begun"));
	const char *pod = pod_id(container_pod(c));

	fake_write(pod, container_id(c), " and ended\nnext");
	let_arrive();
	client_attach(&client, c, true);
	client_wait_output(&client, strlen("begun and ended\nnext"));
	fake_write(pod, container_id(c), " line\n");
	client_wait_output(&client, strlen("begun and ended\nnext line\n"));
	assert_string_equal(str_text(&client.out), "begun and ended\nnext line\n");
	client_done(&client);
	assert_int_equal(container_kill(c, SIGKILL, NULL), 0);
	container_unref(c);
}

static void detaching_in_the_middle_of_the_past(struct world *w)
{
	struct client client = { .refuses = true };
	struct container *c = start(w, spec_of("flood", "flood 630000"));

	wait_for(c, WAIT_NOT_RUNNING);
	client_attach(&client, c, true);
	for (int i = 0; i < 20; i++)
		assert_int_equal(task_yield(), 0);
	client_done(&client);
	for (int i = 0; i < 20; i++)
		assert_int_equal(task_yield(), 0);
	container_unref(c);
}

/* ------------------------------------------------------------------ exec */

static struct exec *exec_of(struct container *c, const char *words)
{
	struct exec_spec *spec = calloc(1, sizeof(*spec));
	struct exec *exec = NULL;
	struct error err = { 0 };

	spec->args = strv_split(words, ' ');
	spec->open_stdin = spec->want_stdout = spec->want_stderr = true;
	assert_ok(exec_create(c, spec, &exec, &err), err);
	return exec;
}

static void exec_sessions(struct world *w)
{
	struct container *c = start(w, spec_of("host", "run"));
	struct exec *exec = exec_of(c, "cat"), *found = NULL;
	struct client client = { 0 };
	struct exec_status status;
	struct error err = { 0 };
	int code;

	cond_init(&client.changed);
	assert_ok(exec_start(exec, &client_events, &client, &client.attachment, &err), err);
	assert_int_equal(attachment_input(client.attachment, "ping", 4), 4);
	client_wait_output(&client, 4);
	exec_status(exec, &status);
	assert_true(status.running);
	assert_string_equal(status.container_id, container_id(c));
	attachment_input_end(client.attachment);
	assert_ok(exec_wait(exec, &code, &err), err);
	assert_int_equal(code, 0);
	client_wait_end(&client);
	assert_string_equal(str_text(&client.out), "ping");
	assert_true(exec_start(exec, NULL, NULL, NULL, &err) < 0);
	assert_int_equal(err.kind, ERROR_CONFLICT);
	client_done(&client);
	exec_unref(exec);

	/* Detached, and one that is missing. */
	exec = exec_of(c, "exit 9");
	assert_ok(exec_start(exec, NULL, NULL, NULL, &err), err);
	assert_ok(exec_wait(exec, &code, &err), err);
	assert_int_equal(code, 9);
	assert_ok(exec_get(w->engine, exec_id(exec), &found, &err), err);
	exec_unref(found);
	exec_unref(exec);
	exec = exec_of(c, "missing");
	assert_true(exec_start(exec, NULL, NULL, NULL, &err) < 0);
	assert_int_equal(err.exit_code, 127);
	exec_status(exec, &status);
	assert_int_equal(status.exit_code, 127);
	exec_unref(exec);
	assert_true(exec_get(w->engine, "0123", &found, &err) < 0);
	assert_contains(err.message, "No such exec instance");
	assert_true(fake.processes_forgotten >= 2);
	container_unref(c);
}

static void exec_ends_with_its_container(struct world *w)
{
	struct container *c = start(w, spec_of("host", "run"));
	struct exec *exec = exec_of(c, "run");
	struct exec_spec *spec = calloc(1, sizeof(*spec));
	struct exec *late = NULL;
	struct error err = { 0 };
	int code;

	assert_ok(exec_start(exec, NULL, NULL, NULL, &err), err);
	assert_ok(container_stop(c, 1, &err), err);
	assert_ok(exec_wait(exec, &code, &err), err);
	assert_int_equal(code, 137);
	spec->args = strv_split("true", ' ');
	assert_true(exec_create(c, spec, &late, &err) < 0);
	assert_int_equal(err.kind, ERROR_CONFLICT);
	assert_contains(err.message, "is not running");
	exec_unref(exec);
	container_unref(c);
}

/* ------------------------------------------------------------------ health */

static void healthy(struct world *w, const char *command, const char *expected)
{
	struct container_spec *spec = spec_of("health", "run");
	struct container *c;

	spec->health.test = strv_split(command, ' ');
	spec->health.interval_ns = 1000000;
	spec->health.retries = 2;
	c = start(w, spec);
	assert_string_equal(status_of(c).health, "starting");
	while (strcmp(status_of(c).health, expected) != 0)
		assert_int_equal(task_sleep_until(deadline_in_ms(1)), 0);
	assert_int_equal(container_stop(c, 1, NULL), 0);
	assert_int_equal(container_remove(c, &(struct container_remove_options){ 0 }, NULL), 0);
	container_unref(c);
}

static void health_checks(struct world *w)
{
	healthy(w, "CMD true", "healthy");
	healthy(w, "CMD exit 1", "unhealthy");
	healthy(w, "CMD missing", "unhealthy");
}

/* ------------------------------------------------------------------ following logs */

struct follower {
	struct container *container;
	struct str text;
	struct task *task;
};

static int follow_record(enum stream_kind kind, uint64_t time_ns, const char *data, size_t len,
			 const char *details, void *arg)
{
	struct follower *f = arg;

	str_append(&f->text, data, len);
	return 0;
}

static void follow_task(void *arg)
{
	struct follower *f = arg;
	const struct log_read_options options = { .want_stdout = true, .follow = true, .tail = 1 };
	struct error err = { 0 };

	assert_ok(container_logs(f->container, &options, follow_record, f, &err), err);
}

static void following_a_log_ends_with_the_container(struct world *w)
{
	struct container *c = start(w, spec_of("talks", "run"));
	struct follower f = { .container = c };
	const char *pod = pod_id(container_pod(c));
	struct error err = { 0 };

	fake_write(pod, container_id(c), "one\ntwo\n");
	let_arrive();
	assert_ok(task_spawn(w->loop, "follow", follow_task, &f, &f.task, &err), err);
	while (f.text.len < 4)
		assert_int_equal(task_yield(), 0);
	fake_write(pod, container_id(c), "three\n");
	while (f.text.len < 10)
		assert_int_equal(task_yield(), 0);
	fake_exit(pod, container_id(c), 0);
	assert_int_equal(task_join(f.task, DEADLINE_NEVER), 0);
	assert_string_equal(str_text(&f.text), "two\nthree\n");
	task_unref(f.task);
	str_done(&f.text);
	container_unref(c);
}

#define RUN(name)                            \
	static void run_##name(void **state) \
	{                                    \
		world_run(name, false);      \
	}
RUN(input_reaches_the_process)
RUN(input_that_ends_before_the_start)
RUN(two_clients_see_the_same)
RUN(a_slow_client_holds_up_the_process)
RUN(a_client_that_stops_and_goes_on_misses_nothing)
RUN(an_attachment_may_begin_with_the_past)
RUN(detaching_in_the_middle_of_the_past)
RUN(exec_sessions)
RUN(exec_ends_with_its_container)
RUN(health_checks)
RUN(following_a_log_ends_with_the_container)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_input_reaches_the_process),
		cmocka_unit_test(run_input_that_ends_before_the_start),
		cmocka_unit_test(run_two_clients_see_the_same),
		cmocka_unit_test(run_a_slow_client_holds_up_the_process),
		cmocka_unit_test(run_a_client_that_stops_and_goes_on_misses_nothing),
		cmocka_unit_test(run_an_attachment_may_begin_with_the_past),
		cmocka_unit_test(run_detaching_in_the_middle_of_the_past),
		cmocka_unit_test(run_exec_sessions),
		cmocka_unit_test(run_exec_ends_with_its_container),
		cmocka_unit_test(run_health_checks),
		cmocka_unit_test(run_following_a_log_ends_with_the_container),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
