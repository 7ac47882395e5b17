#pragma once
/* A domain on fakes, in a directory of its own; each test runs as a task in it. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/pod/engine.h"
#include "tests/unit/pod/fake_sandbox.h"

struct world {
	char root[64];
	struct loop *loop;
	struct job_pool *jobs;
	struct store *store;
	struct engine *engine;
	void (*test)(struct world *w);
	bool live_restore;
};

static void world_open_engine(struct world *w)
{
	const struct engine_config config = {
		.run_root = w->root,
		.isolation = ISOLATION_VM,
		.seccomp_profile = "/usr/share/containers/seccomp.json",
		.live_restore = w->live_restore,
	};
	struct error err = { 0 };

	assert_ok(engine_new(w->loop, w->jobs, w->store, NULL, NULL, &config, &w->engine, &err),
		  err);
	assert_ok(engine_restore(w->engine, &err), err);
}

/* The daemon goes and another comes; what runs goes on. */
static __attribute__((unused)) void world_restart_daemon(struct world *w)
{
	engine_shutdown(w->engine);
	store_free(w->store);
	assert_ok(store_open(w->root, &w->store, NULL), (struct error){ 0 });
	world_open_engine(w);
}

static void world_task(void *arg)
{
	struct world *w = arg;

	world_open_engine(w);
	w->test(w);
	engine_shutdown(w->engine);
}

static void world_run(void (*test)(struct world *w), bool live_restore)
{
	struct world w = { .test = test, .live_restore = live_restore };
	struct error err = { 0 };

	fake_reset();
	strcpy(w.root, "/tmp/hyper-test-XXXXXX");
	assert_non_null(mkdtemp(w.root));
	assert_ok(loop_new(&w.loop, &err), err);
	assert_ok(job_pool_new(w.loop, 2, &w.jobs, &err), err);
	assert_ok(store_open(w.root, &w.store, &err), err);
	alarm(20); /* a test that hangs is a test that fails */
	assert_ok(task_run(w.loop, world_task, &w, &err), err);
	alarm(0);
	fake_reset();
	assert_int_equal(fake.alive, 0);
	store_free(w.store);
	job_pool_free(w.jobs);
	loop_free(w.loop);
	file_remove_tree(AT_FDCWD, w.root, NULL);
}

/* WORDS are split at blanks: what the fake container does. */
static struct container_spec *spec_of(const char *name, const char *words)
{
	struct container_spec *spec = container_spec_new();

	spec->name = name ? strdup(name) : NULL;
	spec->image = strdup("box");
	spec->cmd = words ? strv_split(words, ' ') : NULL;
	return spec;
}

static __attribute__((unused)) struct container *create(struct world *w,
							struct container_spec *spec)
{
	struct container *c = NULL;
	struct error err = { 0 };

	assert_ok(container_create(w->engine, spec, NULL, NULL, &c, &err), err);
	return c;
}

static __attribute__((unused)) struct container *start(struct world *w, struct container_spec *spec)
{
	struct container *c = create(w, spec);
	struct error err = { 0 };

	assert_ok(container_start(c, &err), err);
	return c;
}

static __attribute__((unused)) int wait_for(struct container *c, enum wait_condition condition)
{
	struct container_wait *wait;
	struct error err = { 0 };
	int code = -1;

	assert_ok(container_wait_begin(c, condition, &wait, &err), err);
	assert_ok(container_wait_end(wait, &code, &err), err);
	return code;
}

static __attribute__((unused)) struct container_status status_of(struct container *c)
{
	struct container_status status;

	container_status(c, &status);
	return status;
}

static int collect_log(enum stream_kind kind, uint64_t time_ns, const char *data, size_t len,
		       const char *details, void *arg)
{
	str_append(arg, data, len);
	return 0;
}

static __attribute__((unused)) char *logs_of(struct container *c)
{
	const struct log_read_options options = { .want_stdout = true,
						  .want_stderr = true,
						  .tail = -1 };
	struct str text = STR_INIT;
	struct error err = { 0 };

	assert_ok(container_logs(c, &options, collect_log, &text, &err), err);
	return str_steal(&text);
}

/* A client that takes everything, or nothing. */
struct client {
	struct attachment *attachment;
	struct str out, err;
	bool ended, refuses;
	struct cond changed;
};

static size_t client_write(struct attachment *a, enum stream_kind kind, const void *data,
			   size_t len, void *owner)
{
	struct client *client = owner;

	if (client->refuses)
		return 0;
	str_append(kind == STREAM_STDERR ? &client->err : &client->out, data, len);
	cond_broadcast(&client->changed);
	return len;
}

static void client_ended(struct attachment *a, void *owner)
{
	struct client *client = owner;

	client->ended = true;
	cond_broadcast(&client->changed);
}

static void client_room(struct attachment *a, void *owner)
{
	struct client *client = owner;

	cond_broadcast(&client->changed);
}

static const struct attachment_events client_events = { client_write, client_ended, client_room };

static __attribute__((unused)) void client_attach(struct client *client, struct container *c,
						  bool logs)
{
	const struct attach_options options = {
		.want_stdin = true,
		.want_stdout = true,
		.want_stderr = true,
		.stream = true,
		.logs = logs,
	};
	struct error err = { 0 };

	cond_init(&client->changed);
	assert_ok(container_attach(c, &options, &client_events, client, &client->attachment, &err),
		  err);
}

static __attribute__((unused)) void client_wait_end(struct client *client)
{
	while (!client->ended)
		assert_int_equal(cond_wait(&client->changed, DEADLINE_NEVER), 0);
}

static __attribute__((unused)) void client_wait_output(struct client *client, size_t len)
{
	while (client->out.len < len)
		assert_int_equal(cond_wait(&client->changed, DEADLINE_NEVER), 0);
}

static __attribute__((unused)) void client_done(struct client *client)
{
	attachment_detach(client->attachment);
	str_done(&client->out);
	str_done(&client->err);
}

/* Lets what is under way on the channel arrive: each hop is a round of the loop. */
static __attribute__((unused)) void let_arrive(void)
{
	for (int i = 0; i < 30; i++)
		assert_int_equal(task_yield(), 0);
}

/* Until nothing of the pod runs any more, its sandbox included. */
static __attribute__((unused)) void wait_pod_end(struct pod *pod)
{
	struct error err = { 0 };
	int code;

	assert_ok(pod_wait(pod, &code, &err), err);
}
