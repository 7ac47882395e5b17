/*
 * Sandboxes of both kinds, for real: QEMU, guest kernel, hyperstart, control groups. Needs root;
 * what is missing makes it skip, aloud.
 *
 *	test_sandbox BUILD-DIR [NAME…]
 *
 * BUILD-DIR holds vmlinux, initramfs.cpio and hyperstart/hyperstart, as tools/build makes them.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/sandbox/agent.h"
#include "hyperd/sandbox/sandbox.h"

#define SKIP_CODE   77
#define DEADLINE_MS 60000

#define DIFF_ID   "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define DIFF_ID_2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"

static char root[] = "/tmp/hyper-test-sandbox.XXXXXX";
static char *kernel, *initramfs, *hyperstart;
static const char *no_vm, *no_namespace; /* why not, or NULL */
static int tag;                          /* in the name of our control groups */

/* ------------------------------------------------------------------ the world of one test */

struct world {
	struct loop *loop;
	struct job_pool *jobs;
	struct sandbox_factory_config config;
	struct sandbox_factory *factory;
	enum sandbox_isolation isolation;
	struct sandbox_layer layers[2];
	char *paths[8];
	/* What has happened. */
	struct cond changed;
	unsigned died, exits;
	uint32_t exit_code;
	struct error why;
	struct str output;
	bool output_ended;
	const char *prepared_owner; /* at the next start */
	uint64_t prepared_key;      /* of the containers that are made; 0: none is made ahead */
	int record_fd;  /* where a daemon that is going to be killed writes its record */
	json_t *record; /* and what it wrote */
	struct error err;
};

static void on_agent_event(struct sandbox *sandbox, const Hyper__Event *event, void *owner)
{
	struct world *w = owner;

	if (event->body_case != HYPER__EVENT__BODY_PROCESS_EXITED)
		return;
	w->exits++;
	w->exit_code = event->process_exited->exit_code;
	cond_broadcast(&w->changed);
}

static void on_died(struct sandbox *sandbox, const struct error *why, void *owner)
{
	struct world *w = owner;

	w->died++;
	w->why = *why;
	cond_broadcast(&w->changed);
}

static const struct sandbox_events events = { .agent_event = on_agent_event, .died = on_died };

static void open_factory(struct world *w)
{
	assert_ok(sandbox_factory_new(w->loop, w->jobs, &w->config, &w->factory, &w->err), w->err);
}

/* What the first container of a template's pods is like, but for what prepared.h names. */
static const Hyper__ContainerCreate *to_prepare(struct world *w)
{
	static Hyper__ContainerCreate create = HYPER__CONTAINER_CREATE__INIT;
	static Hyper__Process process = HYPER__PROCESS__INIT;
	static Hyper__Capabilities capabilities = HYPER__CAPABILITIES__INIT;
	static char *layers[] = { DIFF_ID }, *args[] = { "/bin/sh" };

	process.args = args;
	process.n_args = 1;
	process.capabilities = &capabilities;
	create.layers = layers;
	create.n_layers = 1;
	create.hosts = create.hostname_file = "\n";
	create.process = &process;
	create.prepared_key = w->prepared_key;
	return w->prepared_key ? &create : NULL;
}

static struct sandbox_config config_of(struct world *w, const char *id, bool existing)
{
	static char storage[2][128];
	static int turn;

	turn = !turn;
	snprintf(storage[turn], sizeof(storage[turn]), "%s/storage/%s", root, id);
	return (struct sandbox_config){ .id = id,
					.isolation = w->isolation,
					.storage = storage[turn],
					.storage_existing = existing,
					.layers = w->layers,
					.layer_count = 1,
					/* A template of its own. */
					.memory_bytes = w->prepared_key ? 160u << 20 : 0,
					.prepare = to_prepare(w),
					.prepared_owner = w->prepared_owner };
}

static struct sandbox *start(struct world *w, const char *id, bool existing)
{
	struct sandbox_config config = config_of(w, id, existing);
	struct sandbox *sandbox = NULL;
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__PodSetup setup = HYPER__POD_SETUP__INIT;

	assert_ok(sandbox_start(w->factory, &config, &events, w, &sandbox, &w->err), w->err);
	setup.hostname = (char *)id;
	setup.loopback = true;
	request.body_case = HYPER__REQUEST__BODY_POD_SETUP;
	request.pod_setup = &setup;
	assert_ok(agent_call(sandbox_agent(sandbox), &request, deadline_in_ms(DEADLINE_MS), NULL,
			     &w->err),
		  w->err);
	return sandbox;
}

/* ------------------------------------------------------------------ containers */

static void out_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	struct world *w = mux_stream_owner(stream);

	str_append(&w->output, data, len);
	mux_stream_ack(stream, len);
}

static void out_eof(struct mux_stream *stream)
{
	struct world *w = mux_stream_owner(stream);

	w->output_ended = true;
	cond_broadcast(&w->changed);
}

static void out_reset(struct mux_stream *stream, int errnum)
{
	out_eof(stream);
	mux_stream_close(stream);
}

static const struct mux_stream_events out_events = { .data = out_data,
						     .eof = out_eof,
						     .reset = out_reset };

static int create(struct world *w, struct sandbox *sandbox, const char *id, const char *script,
		  bool privileged)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerCreate create = HYPER__CONTAINER_CREATE__INIT;
	Hyper__Process process = HYPER__PROCESS__INIT;
	Hyper__Capabilities capabilities = HYPER__CAPABILITIES__INIT;
	char *layers[] = { DIFF_ID }, *env[] = { "PATH=/bin" };
	char *args[] = { "/bin/sh", "-c", (char *)script };

	capabilities.bounding = capabilities.effective = capabilities.permitted =
		privileged ? ~0ull >> 24 : 0;
	process.args = args;
	process.n_args = 3;
	process.env = env;
	process.n_env = 1;
	process.capabilities = &capabilities;
	create.id = (char *)id;
	create.layers = layers;
	create.n_layers = 1;
	create.process = &process;
	create.privileged = privileged;
	if (w->prepared_key) {
		create.prepared_key = w->prepared_key;
		create.hosts = "127.0.0.1 localhost\n";
		create.hostname_file = (char *)id;
	}
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_CREATE;
	request.container_create = &create;
	return agent_call(sandbox_agent(sandbox), &request, deadline_in_ms(DEADLINE_MS), NULL,
			  &w->err);
}

/* Runs SCRIPT in a new container and returns its exit code; its output is in w->output. */
static uint32_t run(struct world *w, struct sandbox *sandbox, const char *id, const char *script,
		    bool privileged)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerStart begin = HYPER__CONTAINER_START__INIT;
	Hyper__ProcessStreams streams = HYPER__PROCESS_STREAMS__INIT;
	struct agent *agent = sandbox_agent(sandbox);
	struct mux_stream *stream;
	unsigned exits = w->exits;

	str_clear(&w->output);
	w->output_ended = false;
	assert_ok(create(w, sandbox, id, script, privileged), w->err);
	streams.stdout = agent_stream_id(agent);
	begin.id = (char *)id;
	begin.streams = &streams;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_START;
	request.container_start = &begin;
	assert_int_equal(mux_stream_open(agent_mux(agent), streams.stdout, &out_events, w, 0, 0,
					 &stream),
			 0);
	assert_ok(agent_call(agent, &request, deadline_in_ms(DEADLINE_MS), NULL, &w->err), w->err);
	while (w->exits == exits || !w->output_ended)
		assert_int_equal(cond_wait(&w->changed, deadline_in_ms(DEADLINE_MS)), 0);
	mux_stream_close(stream);
	return w->exit_code;
}

static int ping(struct world *w, struct sandbox *sandbox, uint64_t ms)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__StateGet get = HYPER__STATE_GET__INIT;

	request.body_case = HYPER__REQUEST__BODY_STATE_GET;
	request.state_get = &get;
	return agent_call(sandbox_agent(sandbox), &request, deadline_in_ms(ms), NULL, &w->err);
}

static pid_t pid_of(struct world *w, struct sandbox *sandbox)
{
	json_t *stats = NULL;
	pid_t pid;

	assert_ok(sandbox_host_stats(sandbox, &stats, &w->err), w->err);
	pid = (pid_t)json_integer_value(json_object_get(stats, "pid"));
	assert_true(json_integer_value(json_object_get(stats, "pss_bytes")) > 0);
	json_decref(stats);
	assert_true(pid > 1);
	return pid;
}

/* ------------------------------------------------------------------ tests of both kinds */

static void runs(void *arg)
{
	struct world *w = arg;
	struct sandbox *a, *b;

	a = start(w, "runa", false);
	assert_int_equal(run(w, a, "one", "true", false), 0);
	assert_int_equal(run(w, a, "two", "echo out; hostname; exit 7", false), 7);
	assert_string_equal(str_text(&w->output), "out\nruna\n");
	/* The second does not build what the first has built. */
	b = start(w, "runb", false);
	assert_false(sandbox_timing(b)->template_built);
	assert_int_equal(run(w, b, "one", "hostname", false), 0);
	assert_string_equal(str_text(&w->output), "runb\n");
	sandbox_stop(b, 0);
	sandbox_stop(a, DEADLINE_MS);
	assert_int_equal(w->died, 0);
}

static void print_console(struct sandbox *sandbox)
{
	autofree char *text = NULL;
	struct error err = { 0 };
	size_t len = 0;

	if (sandbox_console(sandbox, &text, &len, &err) < 0)
		print_error("no console: %s\n", err.message);
	else
		print_error("console:\n%.*s\n", (int)len, text);
}

static void prepared_is_taken(void *arg)
{
	struct world *w = arg;
	struct sandbox *a, *b;

	w->prepared_key = 7;
	a = start(w, "prepa", false);
	b = start(w, "prepb", false);
	assert_int_equal(run(w, a, "mine",
			     "cat /etc/hosts /etc/hostname /proc/1/mountinfo; echo kept > /file",
			     false),
			 0);
	assert_contains(str_text(&w->output), "127.0.0.1 localhost\nmine");
	if (!strstr(str_text(&w->output), "containers/.prepared/upper"))
		print_console(a); /* where the agent says why not */
	assert_contains(str_text(&w->output), "containers/.prepared/upper");
	/* There is one; what is not like it, and the next, are made anew. */
	assert_int_equal(run(w, a, "next", "cat /etc/hostname /proc/1/mountinfo", false), 0);
	assert_contains(str_text(&w->output), "next");
	assert_contains(str_text(&w->output), "containers/next/upper");
	w->prepared_key = 8;
	assert_int_equal(run(w, b, "other", "cat /proc/1/mountinfo", false), 0);
	assert_contains(str_text(&w->output), "containers/other/upper");
	/* A program that is not there, said as ever. */
	w->prepared_key = 7;
	assert_int_equal(run(w, b, "gone", "exec /none", false), 127);
	sandbox_stop(b, 0);
	/* Its files have its name by now. */
	sandbox_stop(a, DEADLINE_MS);
	a = start(w, "prepa", true);
	assert_int_equal(run(w, a, "mine", "cat /file; cat /proc/1/mountinfo", false), 0);
	assert_contains(str_text(&w->output), "kept\n");
	assert_contains(str_text(&w->output), "containers/mine/upper");
	sandbox_stop(a, 0);
	assert_int_equal(w->died, 0);
}

/* What a container has made safe is safe, however soon its machine dies. */
static void prepared_dies_early(void *arg)
{
	struct world *w = arg;
	struct sandbox *s;

	w->prepared_key = 7;
	s = start(w, "early", false);
	assert_int_equal(run(w, s, "mine", "echo kept > /file; sync", false), 0);
	kill(pid_of(w, s), SIGKILL);
	while (!w->died)
		assert_int_equal(cond_wait(&w->changed, deadline_in_ms(DEADLINE_MS)), 0);
	sandbox_stop(s, 0);
	w->prepared_owner = "mine";
	s = start(w, "early", true);
	assert_int_equal(run(w, s, "mine", "cat /file", false), 0);
	assert_string_equal(str_text(&w->output), "kept\n");
	sandbox_stop(s, DEADLINE_MS);
	w->prepared_owner = NULL;
}

static void restarts(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "again", false);

	assert_int_equal(run(w, s, "c", "echo kept > /file; sync", false), 0);
	sandbox_stop(s, DEADLINE_MS);
	for (int i = 0; i < 2; i++) {
		s = start(w, "again", true);
		assert_int_equal(run(w, s, "c", "cat /file", false), 0);
		assert_string_equal(str_text(&w->output), "kept\n");
		sandbox_stop(s, DEADLINE_MS);
	}
	/* A new pod has nothing of it. */
	s = start(w, "other", false);
	assert_true(run(w, s, "c", "cat /file", false) != 0);
	sandbox_stop(s, 0);
}

struct starter {
	struct world *w;
	char id[16];
	struct sandbox *sandbox;
	struct task *task;
	int r;
	struct error err;
};

static void start_one(void *arg)
{
	struct starter *s = arg;
	autofree char *storage = strf("%s/storage/%s", root, s->id);
	struct sandbox_config config = config_of(s->w, s->id, false);

	config.storage = storage;
	/* A size of its own: no earlier test has left a template for it. */
	config.memory_bytes = 96 << 20;
	s->r = sandbox_start(s->w->factory, &config, &events, s->w, &s->sandbox, &s->err);
}

/* Many at once: one template is built, the others wait for it. */
static void starts_together(void *arg)
{
	struct world *w = arg;
	struct starter starters[8];
	unsigned built = 0;

	for (size_t i = 0; i < ARRAY_SIZE(starters); i++) {
		starters[i] = (struct starter){ .w = w };
		snprintf(starters[i].id, sizeof(starters[i].id), "tog%zu", i);
		assert_ok(task_spawn(w->loop, "start", start_one, &starters[i], &starters[i].task,
				     &w->err),
			  w->err);
	}
	for (size_t i = 0; i < ARRAY_SIZE(starters); i++) {
		assert_int_equal(task_join(starters[i].task, deadline_in_ms(DEADLINE_MS)), 0);
		task_unref(starters[i].task);
		assert_ok(starters[i].r, starters[i].err);
		built += sandbox_timing(starters[i].sandbox)->template_built;
	}
	assert_int_equal(built, w->isolation == ISOLATION_VM);
	for (size_t i = 0; i < ARRAY_SIZE(starters); i++) {
		assert_ok(ping(w, starters[i].sandbox, DEADLINE_MS), w->err);
		sandbox_stop(starters[i].sandbox, 0);
	}
}

/* Whoever asked has gone: what was half made is gone too (the frame looks for what is left). */
static void is_canceled(void *arg)
{
	struct world *w = arg;

	for (unsigned ms = 0; ms < 120; ms += 20) {
		struct starter starter = { .w = w, .id = "cancel" };

		assert_ok(task_spawn(w->loop, "start", start_one, &starter, &starter.task, &w->err),
			  w->err);
		task_sleep_until(deadline_in_ms(ms));
		task_cancel(starter.task);
		assert_int_equal(task_join(starter.task, deadline_in_ms(DEADLINE_MS)), 0);
		task_unref(starter.task);
		if (starter.r == 0)
			sandbox_stop(starter.sandbox, 0);
		else
			assert_int_equal(starter.r, -ECANCELED);
	}
}

static void pauses(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "pause", false);

	assert_ok(sandbox_pause(s, true, &w->err), w->err);
	assert_int_equal(ping(w, s, 300), -ETIMEDOUT);
	assert_ok(sandbox_pause(s, false, &w->err), w->err);
	assert_ok(ping(w, s, DEADLINE_MS), w->err);
	/* It can be stopped while it is paused, in order too. */
	assert_ok(sandbox_pause(s, true, &w->err), w->err);
	sandbox_stop(s, DEADLINE_MS);
	assert_int_equal(w->died, 0);
}

static void dies(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "dies", false);

	kill(pid_of(w, s), SIGKILL);
	while (!w->died)
		assert_int_equal(cond_wait(&w->changed, deadline_in_ms(DEADLINE_MS)), 0);
	assert_contains(w->why.message, "killed by signal 9");
	assert_true(ping(w, s, DEADLINE_MS) < 0);
	sandbox_stop(s, DEADLINE_MS);
	assert_int_equal(w->died, 1);
}

static void adopts(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "adopt", false);
	json_t *record = sandbox_record(s);
	pid_t pid = pid_of(w, s);

	assert_non_null(record);
	for (int i = 0; i < 2; i++) {
		sandbox_detach(s);
		sandbox_factory_free(w->factory);
		open_factory(w);
		assert_ok(sandbox_adopt(w->factory, record, &events, w, &s, &w->err), w->err);
		assert_ok(sandbox_factory_sweep(w->factory, &w->err), w->err);
		assert_int_equal(pid_of(w, s), pid);
		assert_ok(ping(w, s, DEADLINE_MS), w->err);
	}
	assert_int_equal(run(w, s, "after", "exit 3", false), 3);
	/* A second claim on it is refused. */
	struct sandbox *second;

	assert_true(sandbox_adopt(w->factory, record, &events, w, &second, &w->err) < 0);
	sandbox_stop(s, DEADLINE_MS);
	/* Gone: nothing to adopt, and it says so. */
	assert_true(sandbox_adopt(w->factory, record, &events, w, &s, &w->err) < 0);
	assert_int_equal(w->err.kind, ERROR_NOT_FOUND);
	json_decref(record);
	assert_int_equal(w->died, 0);
}

/* A daemon of its own: starts a sandbox, begins another, tells about the first, and is killed. */
static void doomed_main(void *arg)
{
	struct world *w = arg;
	struct starter half = { .w = w, .id = "half" };
	struct sandbox *s;
	json_t *record;

	open_factory(w);
	s = start(w, "orphan", false);
	run(w, s, "c", "echo before > /file; sync", false);
	assert_ok(task_spawn(w->loop, "start", start_one, &half, &half.task, &w->err), w->err);
	task_sleep_until(deadline_in_ms(40));
	record = sandbox_record(s);
	assert_int_equal(json_dumpfd(record, w->record_fd, JSON_COMPACT), 0);
	assert_int_equal(write(w->record_fd, "\n", 1), 1);
	task_sleep_until(DEADLINE_NEVER);
}

static void survives_its_daemon(void *arg)
{
	struct world *w = arg;
	struct sandbox *s;

	assert_ok(sandbox_adopt(w->factory, w->record, &events, w, &s, &w->err), w->err);
	assert_ok(sandbox_factory_sweep(w->factory, &w->err), w->err);
	assert_int_equal(run(w, s, "d", "exit 4", false), 4);
	/* The death of what is not our child is noticed too. */
	kill(pid_of(w, s), SIGKILL);
	while (!w->died)
		assert_int_equal(cond_wait(&w->changed, deadline_in_ms(DEADLINE_MS)), 0);
	sandbox_stop(s, 0);
	/* And its storage serves on. */
	s = start(w, "orphan", true);
	assert_int_equal(run(w, s, "c", "cat /file", false), 0);
	assert_string_equal(str_text(&w->output), "before\n");
	sandbox_stop(s, DEADLINE_MS);
}

static void died_unadopted(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "gone", false);
	json_t *record = sandbox_record(s);
	pid_t pid = pid_of(w, s);

	sandbox_detach(s);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(sandbox_adopt(w->factory, record, &events, w, &s, &w->err) < 0);
	assert_int_equal(w->err.kind, ERROR_NOT_FOUND);
	json_decref(record);
}

static void sweeps(void *arg)
{
	struct world *w = arg;
	struct sandbox *kept = start(w, "kept", false), *s = start(w, "left", false);
	pid_t pid = pid_of(w, s), kept_pid = pid_of(w, kept);
	json_t *record = sandbox_record(kept);
	siginfo_t info;

	sandbox_detach(s);
	sandbox_detach(kept);
	sandbox_factory_free(w->factory);
	open_factory(w);
	assert_ok(sandbox_adopt(w->factory, record, &events, w, &kept, &w->err), w->err);
	assert_ok(sandbox_factory_sweep(w->factory, &w->err), w->err);
	/* It was this program's child: it is dead, and only waits to be reaped. */
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG), 0);
	assert_int_equal(info.si_pid, pid);
	assert_int_equal(kill(kept_pid, 0), 0);
	assert_ok(ping(w, kept, DEADLINE_MS), w->err);
	sandbox_stop(kept, 0);
	json_decref(record);
}

/* ------------------------------------------------------------------ tests of machines */

static void seeds(void *arg)
{
	static const char script[] = "head -c 16 /dev/urandom | od -x; date +%s";
	struct world *w = arg;
	struct sandbox *a = start(w, "seeda", false), *b = start(w, "seedb", false);
	autofree char *first = NULL;
	char *date;

	assert_int_equal(run(w, a, "c", script, false), 0);
	first = strdup(str_text(&w->output));
	assert_int_equal(run(w, b, "c", script, false), 0);
	assert_int_not_equal(strncmp(first, str_text(&w->output), 30), 0);
	date = strchr(first, '\n');
	date = date ? strchr(date + 1, '\n') : NULL;
	assert_non_null(date);
	/* The clock is the host's, give or take the minute that a slow machine may take. */
	assert_true(llabs(atoll(date + 1) - (long long)time(NULL)) < 60);
	sandbox_stop(a, 0);
	sandbox_stop(b, 0);
}

static void fields(pid_t pid, const char *name, char *out, size_t size)
{
	autofree char *path = strf("/proc/%d/status", (int)pid), *text = NULL;
	struct error err = { 0 };
	const char *at;

	assert_ok(file_read(AT_FDCWD, path, 65536, &text, NULL, &err), err);
	at = strstr(text, name);
	assert_non_null(at);
	snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
}

static void is_confined(void *arg)
{
	static const char *const spaces[] = { "mnt", "pid", "net", "ipc", "uts" };
	struct world *w = arg;
	struct sandbox *a = start(w, "confa", false), *b = start(w, "confb", false);
	pid_t pid = pid_of(w, a), other = pid_of(w, b);
	char text[128], text_b[128];
	autofree char *etc = strf("/proc/%d/root/etc/passwd", (int)pid);
	autofree char *hidden = strf("/proc/%d/root%s", (int)pid, root);

	fields(pid, "Uid:", text, sizeof(text));
	fields(other, "Uid:", text_b, sizeof(text_b));
	assert_null(strstr(text, "\t0"));
	assert_string_not_equal(text, text_b);
	fields(pid, "Groups:", text, sizeof(text));
	assert_null(strstr(text, "0"));
	fields(pid, "CapEff:", text, sizeof(text));
	assert_string_equal(text, "CapEff:\t0000000000000000");
	fields(pid, "CapBnd:", text, sizeof(text));
	assert_string_equal(text, "CapBnd:\t0000000000000000");
	fields(pid, "NoNewPrivs:", text, sizeof(text));
	assert_string_equal(text, "NoNewPrivs:\t1");
	fields(pid, "Seccomp:", text, sizeof(text));
	assert_string_equal(text, "Seccomp:\t2");
	for (size_t i = 0; i < ARRAY_SIZE(spaces); i++) {
		char x[64] = "", y[64] = "", z[64] = "";
		autofree char *px = strf("/proc/self/ns/%s", spaces[i]);
		autofree char *py = strf("/proc/%d/ns/%s", (int)pid, spaces[i]);
		autofree char *pz = strf("/proc/%d/ns/%s", (int)other, spaces[i]);

		assert_true(readlink(px, x, sizeof(x) - 1) > 0 &&
			    readlink(py, y, sizeof(y) - 1) > 0 &&
			    readlink(pz, z, sizeof(z) - 1) > 0);
		assert_string_not_equal(x, y);
		assert_string_not_equal(y, z);
	}
	assert_int_not_equal(access(etc, F_OK), 0);
	assert_int_not_equal(access(hidden, F_OK), 0);
	sandbox_stop(a, 0);
	sandbox_stop(b, 0);
}

/* Finds the template's memory among a QEMU's descriptors. */
static int open_template_memory(pid_t pid)
{
	for (int fd = 0; fd < 64; fd++) {
		autofree char *path = strf("/proc/%d/fd/%d", (int)pid, fd);
		char target[128] = "";

		if (readlink(path, target, sizeof(target) - 1) > 0 &&
		    strstr(target, "memfd:hyper-template"))
			return open(path, O_RDWR | O_CLOEXEC);
	}
	return -1;
}

/* Threat 22: not even a QEMU that was taken over can write to what its siblings run from. */
static void template_is_safe(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "tmpl", false);
	int fd = open_template_memory(pid_of(w, s));

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_not_equal(ftruncate(fd, 0), 0);
	close(fd);
	/* And memory that its guest has written is its own. */
	assert_int_equal(run(w, s, "c", "echo secret-of-tmpl > /dev/shm/x; sync", false), 0);
	sandbox_stop(s, 0);
	s = start(w, "tmpl2", false);
	assert_true(run(w, s, "c", "cat /dev/shm/x", false) != 0);
	sandbox_stop(s, 0);
}

/* Threat 20: the guest's root writes to the disk of a layer. */
static void layer_disk_is_read_only(void *arg)
{
	struct world *w = arg;
	struct error err = { 0 };
	autofree char *before = NULL, *after = NULL;
	size_t before_len, after_len;
	struct sandbox *s;

	w->config.transport = TRANSPORT_DISK;
	sandbox_factory_free(w->factory);
	open_factory(w);
	assert_ok(file_read(AT_FDCWD, w->layers[0].erofs_path, 64 << 20, &before, &before_len,
			    &err),
		  err);
	s = start(w, "disk", false);
	assert_int_equal(run(w, s, "c",
			     "mknod /vdb b 254 16 && dd if=/vdb of=/dev/null bs=512 count=1 && "
			     "! dd if=/dev/zero of=/vdb bs=512 count=4 conv=fsync && echo refused",
			     true),
			 0);
	assert_string_equal(str_text(&w->output), "refused\n");
	sandbox_stop(s, 0);
	assert_ok(file_read(AT_FDCWD, w->layers[0].erofs_path, 64 << 20, &after, &after_len, &err),
		  err);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
}

/* A damaged template costs time and nothing else. */
static void broken_template_is_rebuilt(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "broka", false);
	autofree char *command = strf("for f in %s/data/templates/*/state; do : > $f; done", root);

	sandbox_stop(s, 0);
	assert_int_equal(system(command), 0);
	s = start(w, "brokb", false);
	assert_true(sandbox_timing(s)->template_built);
	assert_int_equal(run(w, s, "c", "true", false), 0);
	sandbox_stop(s, 0);
}

static void pool_serves(void *arg)
{
	struct world *w = arg;
	struct sandbox *s;
	bool ready = false;

	w->config.warm = 1;
	sandbox_factory_free(w->factory);
	open_factory(w);
	s = start(w, "poola", false);
	sandbox_stop(s, 0);
	for (uint64_t deadline = deadline_in_ms(DEADLINE_MS); !ready && now_ns() < deadline;) {
		autojson json_t *info = sandbox_factory_info(w->factory);
		json_t *kind = json_array_get(json_object_get(info, "pool"), 0);

		ready = json_integer_value(json_object_get(kind, "ready")) > 0;
		task_sleep_until(deadline_in_ms(5));
	}
	assert_true(ready);
	s = start(w, "poolb", false);
	assert_true(sandbox_timing(s)->from_pool);
	assert_int_equal(run(w, s, "c", "hostname", false), 0);
	assert_string_equal(str_text(&w->output), "poolb\n");
	sandbox_stop(s, DEADLINE_MS);
	/* Its disk went with it. */
	s = start(w, "poolb", true);
	assert_false(sandbox_timing(s)->from_pool);
	sandbox_stop(s, 0);
}

static void console_is_kept(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "cons", false);
	autofree char *text = NULL;
	size_t len;

	assert_ok(sandbox_console(s, &text, &len, &w->err), w->err);
	assert_true(len <= 65536);
	sandbox_stop(s, 0);
}

static void kvm_falls_back(void *arg)
{
	struct world *w = arg;
	autojson json_t *info = sandbox_factory_info(w->factory);
	struct sandbox *s;

	if (access("/dev/kvm", F_OK) < 0 ||
	    strcmp(json_string_value(json_object_get(info, "accel")), "kvm") == 0) {
		print_message("SKIPPED: there is no /dev/kvm that is unfit for use here\n");
		return;
	}
	w->config.accel = "kvm-first";
	sandbox_factory_free(w->factory);
	open_factory(w);
	s = start(w, "kvm", false);
	assert_true(sandbox_timing(s)->retried_with_tcg);
	assert_string_equal(sandbox_timing(s)->accel, "tcg");
	sandbox_stop(s, 0);
	/* Once. */
	s = start(w, "kvm2", false);
	assert_false(sandbox_timing(s)->retried_with_tcg);
	sandbox_stop(s, 0);
}

/* ------------------------------------------------------------------ tests of namespace pods */

static void layers_come_later(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "later", false);

	assert_ok(sandbox_add_layers(s, w->layers, 2, &w->err), w->err);
	assert_ok(sandbox_add_layers(s, w->layers, 2, &w->err), w->err);
	assert_int_equal(run(w, s, "c", "true", false), 0);
	sandbox_stop(s, 0);
}

/* Threat 13. */
static void program_is_sealed(void *arg)
{
	struct world *w = arg;
	struct sandbox *s = start(w, "seal", false);
	autofree char *path = strf("/proc/%d/exe", (int)pid_of(w, s));
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_not_equal(open(path, O_WRONLY | O_TRUNC | O_CLOEXEC) >= 0 &&
				     lseek(fd, 0, SEEK_END) == 0,
			     1);
	sandbox_stop(s, 0);
}

/* ------------------------------------------------------------------ the frame */

struct test {
	const char *name;
	task_fn *fn;
	bool vm, namespace;
	task_fn *doomed; /* runs in a daemon that is killed before the test */
};

static const struct test tests[] = {
	{ "runs", runs, true, true },
	{ "prepared_is_taken", prepared_is_taken, true, false },
	{ "prepared_dies_early", prepared_dies_early, true, false },
	{ "restarts", restarts, true, true },
	{ "starts_together", starts_together, true, true },
	{ "is_canceled", is_canceled, true, true },
	{ "pauses", pauses, true, true },
	{ "dies", dies, true, true },
	{ "adopts", adopts, true, true },
	{ "survives_its_daemon", survives_its_daemon, true, true, doomed_main },
	{ "died_unadopted", died_unadopted, true, true },
	{ "sweeps", sweeps, true, true },
	{ "layers_come_later", layers_come_later, true, true },
	{ "seeds", seeds, true, false },
	{ "is_confined", is_confined, true, false },
	{ "template_is_safe", template_is_safe, true, false },
	{ "layer_disk_is_read_only", layer_disk_is_read_only, true, false },
	{ "broken_template_is_rebuilt", broken_template_is_rebuilt, true, false },
	{ "pool_serves", pool_serves, true, false },
	{ "console_is_kept", console_is_kept, true, false },
	{ "kvm_falls_back", kvm_falls_back, true, false },
	{ "program_is_sealed", program_is_sealed, false, true },
};

static struct {
	const struct test *test;
	enum sandbox_isolation isolation;
} now;

static void test_main(void *arg)
{
	struct world *w = arg;

	open_factory(w);
	now.test->fn(w);
	sandbox_factory_free(w->factory);
}

/* Nothing is left of a test: no group, no directory, no disk of the pool. */
static void assert_clean(void)
{
	autofree char *command =
		strf("! ls -A %s/run/sandboxes %s/data/warm | grep -v ':$' | grep . &&"
		     " ! ls %s/data/templates | grep new &&"
		     " ! ls -d /sys/fs/cgroup/hyper-test-%d/* /sys/fs/cgroup/*/hyper-test-%d/* "
		     "2>/dev/null | while read d; do [ -d $d ] && echo $d; done | grep .",
		     root, root, root, tag, tag);

	assert_int_equal(system(command), 0);
}

static json_t *run_doomed(struct world *w)
{
	struct error err = { 0 };
	int pipes[2], status;
	json_t *record;
	FILE *f;
	char line[65536];
	pid_t pid;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		w->record_fd = pipes[1];
		if (loop_new(&w->loop, &err) == 0 && job_pool_new(w->loop, 2, &w->jobs, &err) == 0)
			task_run(w->loop, now.test->doomed, w, &err);
		_exit(1);
	}
	close(pipes[1]);
	f = fdopen(pipes[0], "r");
	assert_non_null(f);
	/* Its end without a line is the end of the pipe. */
	record = fgets(line, sizeof(line), f) ? json_loads(line, 0, NULL) : NULL;
	fclose(f);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_non_null(record);
	return record;
}

static void run_case(void **state)
{
	autofree char *data = strf("%s/data", root), *run_root = strf("%s/run", root);
	autofree char *parent = strf("/hyper-test-%d", tag);
	autofree char *tree = strf("%s/layer", root), *erofs = strf("%s/layer.erofs", root);
	autofree char *tree2 = strf("%s/layer2", root), *erofs2 = strf("%s/layer2.erofs", root);
	struct stat st, st2;
	struct world w = { .isolation = now.isolation };
	struct error err = { 0 };

	assert_int_equal(stat(erofs, &st), 0);
	assert_int_equal(stat(erofs2, &st2), 0);
	cond_init(&w.changed);
	w.layers[0] = (struct sandbox_layer){ DIFF_ID, tree, erofs, (uint64_t)st.st_size };
	w.layers[1] = (struct sandbox_layer){ DIFF_ID_2, tree2, erofs2, (uint64_t)st2.st_size };
	w.config = (struct sandbox_factory_config){ .data_root = data,
						    .run_root = run_root,
						    .kernel = kernel,
						    .initramfs = initramfs,
						    .hyperstart = hyperstart,
						    .cgroup_parent = parent };
	if (now.test->doomed)
		w.record = run_doomed(&w);
	assert_ok(loop_new(&w.loop, &err), err);
	assert_ok(job_pool_new(w.loop, 2, &w.jobs, &err), err);
	assert_ok(task_run(w.loop, test_main, &w, &err), err);
	job_pool_free(w.jobs);
	loop_free(w.loop);
	str_done(&w.output);
	json_decref(w.record);
	assert_clean();
}

static void sweep_main(void *arg)
{
	struct world *w = arg;
	struct error err = { 0 };

	if (sandbox_factory_new(w->loop, w->jobs, &w->config, &w->factory, &err) == 0) {
		sandbox_factory_sweep(w->factory, &err);
		sandbox_factory_free(w->factory);
	}
}

/* What a failed test has left. */
static int clean_up(void *arg)
{
	autofree char *data = strf("%s/data", root), *run_root = strf("%s/run", root);
	autofree char *parent = strf("/hyper-test-%d", tag);
	struct world w = { .config = { .data_root = data,
				       .run_root = run_root,
				       .accel = "tcg",
				       .cgroup_parent = parent } };
	struct error err = { 0 };

	if (loop_new(&w.loop, &err) < 0 || job_pool_new(w.loop, 2, &w.jobs, &err) < 0)
		return 1;
	return task_run(w.loop, sweep_main, &w, &err) < 0;
}

static int run_one(void *arg)
{
	const struct CMUnitTest *one = arg;

	return _cmocka_run_group_tests(one->name, one, 1, NULL, NULL);
}

/* A failed assertion leaves tasks and machines behind: each test is a process of its own. */
static int in_child(int (*fn)(void *), void *arg)
{
	int status = 1;
	pid_t pid = fork();

	if (pid == 0) {
		int code = fn(arg);

		fflush(stdout);
		exit(code);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status)
									       : 1;
}

static int make_layers(void)
{
	autofree char *command =
		strf("set -e; cd %s; mkdir -p layer/bin layer/dev layer/proc layer2/extra storage; "
		     "cp \"$(command -v busybox)\" layer/bin/busybox; "
		     "for c in sh cat echo true hostname sync head od date mknod dd; do "
		     "ln -s busybox layer/bin/$c; done; "
		     "echo more > layer2/extra/file; "
		     "mkfs.erofs layer.erofs layer >/dev/null; mkfs.erofs layer2.erofs layer2 "
		     ">/dev/null",
		     root);

	return system(command);
}

static int skip_all(const char *why)
{
	printf("SKIPPED: %s\n", why);
	return SKIP_CODE;
}

static bool wanted(int argc, char **argv, const char *name)
{
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return argc <= 2;
}

int main(int argc, char **argv)
{
	autofree char *remove = NULL;
	int failed = 0;

	if (argc < 2)
		return skip_all("no build directory was named");
	if (geteuid() != 0)
		return skip_all("sandboxes need root");
	if (system("command -v mkfs.erofs busybox mkfs.ext4 >/dev/null") != 0)
		return skip_all("mkfs.erofs, mkfs.ext4 or busybox is not installed");
	kernel = strf("%s/vmlinux", argv[1]);
	initramfs = strf("%s/initramfs.cpio", argv[1]);
	hyperstart = strf("%s/hyperstart/hyperstart", argv[1]);
	if (access(hyperstart, R_OK) < 0)
		no_namespace = no_vm = "hyperstart is not built";
	else if (access(kernel, R_OK) < 0 || access(initramfs, R_OK) < 0)
		no_vm = "the guest kernel or the initramfs is not built (tools/build)";
	else if (system("command -v qemu-system-x86_64 >/dev/null") != 0)
		no_vm = "qemu-system-x86_64 is not installed";
	if (no_vm && no_namespace)
		return skip_all(no_vm);
	tag = (int)getpid();
	if (!mkdtemp(root) || make_layers() != 0)
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		for (int isolation = 0; isolation < 2; isolation++) {
			const struct test *t = &tests[i];
			const char *why = isolation == ISOLATION_VM ? no_vm : no_namespace;
			autofree char *name =
				strf("%s (%s)", t->name, sandbox_isolation_name(isolation));
			struct CMUnitTest one = { .name = name, .test_func = run_case };

			if (!(isolation == ISOLATION_VM ? t->vm : t->namespace) ||
			    !(wanted(argc, argv, t->name) || wanted(argc, argv, name)))
				continue;
			if (why) {
				printf("SKIPPED: %s: %s\n", name, why);
				continue;
			}
			now.test = t;
			now.isolation = isolation;
			fflush(stdout);
			if (in_child(run_one, &one) != 0) {
				failed++;
				in_child(clean_up, NULL);
			}
		}
	}
	remove =
		strf("rm -rf %s; rmdir /sys/fs/cgroup/hyper-test-%d /sys/fs/cgroup/*/hyper-test-%d "
		     "2>/dev/null; true",
		     root, tag, tag);
	if (system(remove) != 0)
		failed++;
	return failed ? 1 : 0;
}
