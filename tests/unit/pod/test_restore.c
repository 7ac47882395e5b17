/* The daemon goes and comes back: what ran is adopted, byte for byte. And operations that race. */
#include "tests/unit/pod/world.h"

#include <signal.h>

#include "base/json.h"

static struct container *find(struct world *w, const char *name)
{
	struct container *c = NULL;
	struct error err = { 0 };

	assert_ok(container_get(w->engine, name, &c, &err), err);
	return c;
}

static void a_running_container_is_adopted(struct world *w)
{
	struct container_spec *spec = spec_of("stays", "part one");
	struct container *c;
	autofree char *id = NULL, *pod = NULL, *logs = NULL;
	struct client client = { 0 };

	strv_add(&spec->env, "A=b");
	c = start(w, spec);
	id = strdup(container_id(c));
	pod = strdup(pod_id(container_pod(c)));
	fake_write(pod, id, " two\nthree");
	let_arrive();
	container_unref(c);

	world_restart_daemon(w);
	c = find(w, "stays");
	assert_string_equal(container_id(c), id);
	assert_string_equal(container_state_name(container_state(c)), "running");
	assert_string_equal(pod_state_name(pod_state(container_pod(c))), "running");
	assert_int_equal(fake.sandboxes_started, 1);
	client_attach(&client, c, false);
	fake_write(pod, id, " four\n");
	client_wait_output(&client, strlen(" four\n"));
	fake_exit(pod, id, 6);
	assert_int_equal(wait_for(c, WAIT_NOT_RUNNING), 6);
	logs = logs_of(c);
	assert_string_equal(logs, "one two\nthree four\n");
	client_done(&client);
	container_unref(c);
}

static void what_ended_meanwhile_is_settled(struct world *w)
{
	struct container *c = start(w, spec_of("ended", "run"));
	struct container *lost = start(w, spec_of("lost", "run"));
	autofree char *id = strdup(container_id(c)), *pod = strdup(pod_id(container_pod(c)));
	autofree char *lost_pod = strdup(pod_id(container_pod(lost)));
	autofree char *logs = NULL;

	container_unref(c);
	container_unref(lost);
	engine_shutdown(w->engine);
	store_free(w->store);
	fake_write(pod, id, "last words\n");
	fake_exit(pod, id, 3);
	fake_kill(lost_pod);
	assert_int_equal(store_open(w->root, &w->store, NULL), 0);
	world_open_engine(w);

	c = find(w, "ended");
	if (status_of(c).running)
		wait_for(c, WAIT_NOT_RUNNING);
	assert_int_equal(status_of(c).exit_code, 3);
	logs = logs_of(c);
	assert_string_equal(logs, "last words\n");
	lost = find(w, "lost");
	assert_int_equal(status_of(lost).exit_code, 137);
	assert_contains(status_of(lost).error, "died");
	wait_pod_end(container_pod(c));
	assert_int_equal(fake.alive, 0);
	container_unref(c);
	container_unref(lost);
}

static void restart_policies_after_the_daemon(struct world *w)
{
	static const struct {
		const char *name;
		enum restart_kind kind;
		bool stopped, again;
	} cases[] = {
		{ "never", RESTART_NO, false, false },
		{ "always", RESTART_ALWAYS, false, true },
		{ "always-stopped", RESTART_ALWAYS, true, true },
		{ "unless", RESTART_UNLESS_STOPPED, false, true },
		{ "unless-stopped", RESTART_UNLESS_STOPPED, true, false },
		{ "failure", RESTART_ON_FAILURE, false, true },
	};

	w->live_restore = false;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct container_spec *spec = spec_of(cases[i].name, "run");
		struct container *c;

		spec->restart.kind = cases[i].kind;
		c = start(w, spec);
		if (cases[i].stopped)
			assert_int_equal(container_stop(c, 1, NULL), 0);
		container_unref(c);
	}
	/* A daemon that stops its pods in order, and the next one. */
	engine_shutdown(w->engine);
	assert_int_equal(fake.alive, 0);
	world_open_engine(w);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct container *c = find(w, cases[i].name);

		while (cases[i].again && !status_of(c).running)
			assert_int_equal(task_yield(), 0);
		assert_int_equal(status_of(c).running, cases[i].again);
		container_unref(c);
	}
}

static void pods_come_back_whole(struct world *w)
{
	struct pod_spec *spec = pod_spec_new();
	struct pod *pod = NULL;
	struct error err = { 0 };
	autofree char *restart = NULL;
	struct container *c;

	spec->name = strdup("whole");
	spec->hostname = strdup("host");
	spec->restart = (struct restart_policy){ RESTART_ON_FAILURE, 7 };
	spec->containers = calloc(3, sizeof(*spec->containers));
	spec->containers[spec->container_count++] = spec_of("b", "run");
	spec->containers[spec->container_count++] = spec_of("a", "run");
	spec->containers[spec->container_count++] = spec_of("c", "run");
	assert_ok(pod_create(w->engine, spec, &pod, &err), err);
	assert_ok(pod_start(pod, &err), err);
	pod_unref(pod);
	world_restart_daemon(w);
	assert_ok(pod_get(w->engine, "whole", &pod, &err), err);
	assert_string_equal(pod_state_name(pod_state(pod)), "running");
	assert_string_equal(pod_spec(pod)->hostname, "host");
	restart = restart_policy_text(&pod_spec(pod)->restart);
	assert_string_equal(restart, "on-failure:7");
	{
		autojson json_t *json = pod_inspect(pod);
		json_t *list = json_object_get(json, "Containers");

		assert_int_equal(json_array_size(list), 3);
		assert_string_equal(json_string_value(
					    json_object_get(json_array_get(list, 0), "Name")),
				    "whole-b");
		assert_string_equal(json_string_value(
					    json_object_get(json_array_get(list, 2), "Name")),
				    "whole-c");
	}
	c = find(w, "whole-a");
	assert_true(status_of(c).running);
	container_unref(c);
	assert_ok(pod_stop(pod, 1, &err), err);
	assert_ok(pod_remove(pod, false, &err), err);
	pod_unref(pod);
}

static void an_exec_outlives_the_daemon(struct world *w)
{
	struct exec_spec *spec = calloc(1, sizeof(*spec));
	struct container *c = start(w, spec_of("host", "run"));
	autofree char *id = NULL;
	struct exec *exec = NULL;
	struct error err = { 0 };
	int code;

	spec->args = strv_split("stubborn", ' ');
	assert_ok(exec_create(c, spec, &exec, &err), err);
	assert_ok(exec_start(exec, NULL, NULL, NULL, &err), err);
	id = strdup(exec_id(exec));
	exec_unref(exec);
	container_unref(c);
	world_restart_daemon(w);
	assert_ok(exec_get(w->engine, id, &exec, &err), err);
	c = find(w, "host");
	assert_ok(container_stop(c, 1, &err), err);
	assert_ok(exec_wait(exec, &code, &err), err);
	assert_int_equal(code, 137);
	exec_unref(exec);
	container_unref(c);
}

static void halves_are_swept(struct world *w)
{
	struct container *c = create(w, spec_of("half", "run")), *found;
	autofree char *path = strf("%s/pods/%064d", w->root, 0);
	autofree char *id = strdup(container_id(c));
	struct error err = { 0 };

	container_unref(c);
	assert_int_equal(record_delete(w->store, "container", id, NULL), 0);
	assert_int_equal(file_make_dirs(AT_FDCWD, path, 0700, NULL), 0);
	world_restart_daemon(w);
	assert_true(container_get(w->engine, "half", &found, &err) < 0);
	assert_int_equal(access(path, F_OK), -1);
	c = create(w, spec_of("half", "run"));
	container_unref(c);
}

/* ------------------------------------------------------------------ races */

struct racer {
	struct container *container;
	int (*act)(struct container *c, struct error *err);
	struct task *task;
	struct error err;
	int result;
};

static int act_start(struct container *c, struct error *err)
{
	return container_start(c, err);
}

static int act_stop(struct container *c, struct error *err)
{
	return container_stop(c, 1, err);
}

static int act_kill(struct container *c, struct error *err)
{
	return container_kill(c, SIGKILL, err);
}

static int act_remove(struct container *c, struct error *err)
{
	const struct container_remove_options options = { .force = true };

	return container_remove(c, &options, err);
}

static int act_restart(struct container *c, struct error *err)
{
	return container_restart(c, 0, err);
}

static int act_exec(struct container *c, struct error *err)
{
	struct exec_spec *spec = calloc(1, sizeof(*spec));
	struct exec *exec = NULL;
	int r, code;

	spec->args = strv_split("run", ' ');
	r = exec_create(c, spec, &exec, err);
	if (r == 0)
		r = exec_start(exec, NULL, NULL, NULL, err);
	if (r == 0)
		r = exec_wait(exec, &code, err);
	exec_unref(exec);
	return r;
}

static int act_pause(struct container *c, struct error *err)
{
	int r = container_pause(c, true, err);

	return r < 0 ? r : container_pause(c, false, err);
}

static void race_task(void *arg)
{
	struct racer *racer = arg;

	racer->result = racer->act(racer->container, &racer->err);
}

/* Every pair, in both orders, on a container that runs: whatever wins, nothing is left behind. */
static void operations_race(struct world *w)
{
	static int (*const acts[])(struct container * c, struct error * err) = {
		act_start, act_stop, act_kill, act_remove, act_restart, act_exec, act_pause,
	};
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(acts) * ARRAY_SIZE(acts); i++) {
		struct container *c = create(w, spec_of("race", i % 2 ? "run" : "stubborn"));
		struct racer racers[3] = {
			{ .container = c, .act = i % 3 ? act_start : act_stop },
			{ .container = c, .act = acts[i / ARRAY_SIZE(acts)] },
			{ .container = c, .act = acts[i % ARRAY_SIZE(acts)] },
		};

		if (i % 4 == 0)
			assert_ok(container_start(c, &err), err);
		for (int k = 0; k < 3; k++)
			assert_ok(task_spawn(w->loop, "racer", race_task, &racers[k],
					     &racers[k].task, &err),
				  err);
		for (int k = 0; k < 20; k++)
			task_yield();
		/* Those that wait for an exec's end are helped. */
		act_remove(c, &err);
		for (int k = 0; k < 3; k++) {
			assert_int_equal(task_join(racers[k].task, DEADLINE_NEVER), 0);
			task_unref(racers[k].task);
		}
		act_remove(c, &err);
		container_unref(c);
		for (int k = 0; k < 100 && fake.alive; k++)
			task_yield();
		assert_int_equal(fake.alive, 0);
	}
}

/* Whoever asked has gone: a start is not cut in half. */
static void a_canceled_start(struct world *w)
{
	struct container *c = create(w, spec_of("left", "run"));
	struct racer racer = { .container = c, .act = act_start };
	struct error err = { 0 };

	assert_ok(task_spawn(w->loop, "racer", race_task, &racer, &racer.task, &err), err);
	assert_int_equal(task_yield(), 0);
	task_cancel(racer.task);
	assert_int_equal(task_join(racer.task, DEADLINE_NEVER), 0);
	task_unref(racer.task);
	assert_true(status_of(c).running || fake.alive == 0);
	container_unref(c);
}

static void a_canceled_wait(struct world *w)
{
	struct container *c = start(w, spec_of("waited", "run"));
	struct racer racer = { .container = c, .act = act_exec };
	struct error err = { 0 };

	assert_ok(task_spawn(w->loop, "racer", race_task, &racer, &racer.task, &err), err);
	for (int k = 0; k < 20; k++)
		task_yield();
	task_cancel(racer.task);
	assert_int_equal(task_join(racer.task, DEADLINE_NEVER), 0);
	assert_int_equal(racer.err.kind, ERROR_CANCELED);
	task_unref(racer.task);
	container_unref(c);
}

static void many_at_once(struct world *w)
{
	struct racer racers[50] = { 0 };
	struct error err = { 0 };

	for (int i = 0; i < 50; i++) {
		racers[i].container = create(w, spec_of(NULL, "echo x"));
		racers[i].act = act_start;
		assert_ok(task_spawn(w->loop, "racer", race_task, &racers[i], &racers[i].task,
				     &err),
			  err);
	}
	for (int i = 0; i < 50; i++) {
		assert_int_equal(task_join(racers[i].task, DEADLINE_NEVER), 0);
		assert_ok(racers[i].result, racers[i].err);
		assert_int_equal(wait_for(racers[i].container, WAIT_NOT_RUNNING), 0);
		wait_pod_end(container_pod(racers[i].container));
		task_unref(racers[i].task);
		container_unref(racers[i].container);
	}
	assert_int_equal(fake.alive, 0);
}

#define RUN(name, live)                      \
	static void run_##name(void **state) \
	{                                    \
		world_run(name, live);       \
	}
RUN(a_running_container_is_adopted, true)
RUN(what_ended_meanwhile_is_settled, true)
RUN(restart_policies_after_the_daemon, false)
RUN(pods_come_back_whole, true)
RUN(an_exec_outlives_the_daemon, true)
RUN(halves_are_swept, true)
RUN(operations_race, false)
RUN(a_canceled_start, false)
RUN(a_canceled_wait, false)
RUN(many_at_once, false)

/* With live restore the last daemon leaves its sandboxes; the fakes are swept by fake_reset(). */
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_a_running_container_is_adopted),
		cmocka_unit_test(run_what_ended_meanwhile_is_settled),
		cmocka_unit_test(run_restart_policies_after_the_daemon),
		cmocka_unit_test(run_pods_come_back_whole),
		cmocka_unit_test(run_an_exec_outlives_the_daemon),
		cmocka_unit_test(run_halves_are_swept),
		cmocka_unit_test(run_operations_race),
		cmocka_unit_test(run_a_canceled_start),
		cmocka_unit_test(run_a_canceled_wait),
		cmocka_unit_test(run_many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
