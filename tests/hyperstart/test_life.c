/* The life of containers and execs in a real namespace pod: streams, terminals, exit codes,
 * signals, pausing, limits, figures, files. */
#include "tests/hyperstart/pod.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static struct test_pod *pod_of(void **state)
{
	return *state;
}

/* ------------------------------------------------------------------ output, input, exit codes */

static void says_what_it_is(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *out =
		shell_output(pod, "hello", "echo out; echo err >&2; echo $0 $$; hostname");

	assert_string_equal(out, "out\nsh 1\ntestpod\nerr\n");
}

static void exit_codes(void **state)
{
	static const struct {
		const char *script;
		uint32_t code, signal;
	} cases[] = {
		{ "exit 0", 0, 0 },
		{ "exit 7", 7, 0 },
		{ "exit 255", 255, 0 },
		/* Not pid 1 itself, which a signal of its own cannot kill. */
		{ "sh -c 'kill -TERM $$'; exit $?", 143, 0 },
	};
	struct test_pod *pod = pod_of(state);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct running r;
		struct spec s;
		Hyper__Envelope *e;

		spec_shell(&s, "codes", cases[i].script);
		container_run(pod, &s, &r);
		e = client_exit_event(&pod->client, "codes", "");
		assert_int_equal(e->event->process_exited->exit_code, cases[i].code);
		assert_int_equal(e->event->process_exited->signal, cases[i].signal);
		assert_true(e->event->process_exited->realtime_ns > 0);
		assert_false(e->event->process_exited->out_of_memory);
		hyper__envelope__free_unpacked(e, NULL);
		running_close(&r);
		container_delete(pod, "codes");
	}
}

static void killed_by_a_signal(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running r;
	struct spec s;
	Hyper__Envelope *e;

	spec_shell(&s, "killed", "echo ready; exec sleep 1000");
	container_run(pod, &s, &r);
	client_until(&pod->client, r.out.data.len >= 6);
	signal_process(pod, "killed", "", SIGKILL, false);
	e = client_exit_event(&pod->client, "killed", "");
	assert_int_equal(e->event->process_exited->exit_code, 128 + SIGKILL);
	assert_int_equal(e->event->process_exited->signal, SIGKILL);
	hyper__envelope__free_unpacked(e, NULL);
	running_close(&r);
	container_delete(pod, "killed");
}

static void start_fails(struct test_pod *pod, const char *program, uint32_t code, const char *part)
{
	const char *const args[] = { program, NULL };
	Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
	struct spec s;
	Hyper__Envelope *e;

	spec_args(&s, "nostart", args);
	container_create(pod, &s);
	start.id = "nostart";
	e = client_call(&pod->client, REQUEST(container_start, CONTAINER_START, &start));
	assert_non_null(e->reply->failure);
	assert_contains(e->reply->failure->message, part);
	assert_int_equal(e->reply->failure->exit_code, code);
	hyper__envelope__free_unpacked(e, NULL);
	container_delete(pod, "nostart");
}

static void programs_that_cannot_run(void **state)
{
	struct test_pod *pod = pod_of(state);

	start_fails(pod, "nothing-of-this-name", 127, "executable file not found in $PATH");
	start_fails(pod, "/no/such/program", 127, "no such file or directory");
	start_fails(pod, "/bin/no-interpreter", 127, "no such file or directory");
	start_fails(pod, "/bin/not-executable", 126, "permission denied");
	start_fails(pod, "not-executable", 126, "permission denied");
	start_fails(pod, "/etc", 126, "directory");
}

/* Ten MiB, with lines numbered so that a lost or doubled byte shows. */
static void much_output(void **state)
{
	struct test_pod *pod = pod_of(state);
	const char *p;
	struct running r;
	struct spec s;

	spec_shell(&s, "much", "seq -w 1 1500000");
	container_run(pod, &s, &r);
	assert_int_equal(client_exit(&pod->client, "much", ""), 0);
	client_stream_wait_eof(&r.out);
	assert_int_equal(r.out.data.len, 1500000 * 8);
	p = r.out.data.data;
	for (int i = 1; i <= 1500000; i++, p += 8) {
		char want[16];

		snprintf(want, sizeof(want), "%07d\n", i);
		assert_memory_equal(p, want, 8);
	}
	running_close(&r);
	container_delete(pod, "much");
}

static void much_input(void **state)
{
	enum { LEN = 10 << 20 };
	struct test_pod *pod = pod_of(state);
	autofree char *data = malloc(LEN);
	struct running r;
	struct spec s;

	for (int i = 0; i < LEN; i++)
		data[i] = (char)(i * 2654435761u >> 24);
	spec_shell(&s, "input", "cat; echo end");
	container_run(pod, &s, &r);
	client_stream_send(&r.in, data, LEN);
	mux_stream_end(r.in.stream);
	assert_int_equal(client_exit(&pod->client, "input", ""), 0);
	client_stream_wait_eof(&r.out);
	assert_int_equal(r.out.data.len, LEN + 4);
	assert_memory_equal(r.out.data.data, data, LEN);
	assert_memory_equal(r.out.data.data + LEN, "end\n", 4);
	running_close(&r);
	container_delete(pod, "input");
}

/* A burst: what comes on a stream before its process begins waits for it. */
static void input_before_the_start(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
	Hyper__ProcessStreams streams = HYPER__PROCESS_STREAMS__INIT;
	struct client_stream in, out;
	uint32_t created, started;
	struct spec s;

	client_stream_open(&in, &pod->client);
	client_stream_open(&out, &pod->client);
	spec_shell(&s, "burst", "cat");
	created = client_post(&pod->client, REQUEST(container_create, CONTAINER_CREATE, &s.create));
	streams.stdin = in.id;
	streams.stdout = out.id;
	start.id = "burst";
	start.streams = &streams;
	started = client_post(&pod->client, REQUEST(container_start, CONTAINER_START, &start));
	client_stream_send(&in, "early\n", 6);
	mux_stream_end(in.stream);
	client_expect_ok(&pod->client, created);
	client_expect_ok(&pod->client, started);
	client_stream_wait_eof(&out);
	assert_string_equal(str_text(&out.data), "early\n");
	assert_int_equal(client_exit(&pod->client, "burst", ""), 0);
	client_stream_close(&in);
	client_stream_close(&out);
	container_delete(pod, "burst");
}

static size_t unacknowledged(const struct client_stream *s)
{
	return s->data.len - (size_t)mux_stream_handled(s->stream);
}

/* A reader that stops stops its own stream only. */
static void slow_reader(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running slow, quick;
	struct spec s;
	size_t held;

	spec_shell(&s, "slow", "exec head -c 2000000 /dev/zero");
	container_create(pod, &s);
	container_start(pod, "slow", &slow);
	slow.out.hold = true;
	client_until(&pod->client, unacknowledged(&slow.out) == MUX_WINDOW_BYTES);
	spec_shell(&s, "quick", "exec head -c 2000000 /dev/zero");
	container_run(pod, &s, &quick);
	assert_int_equal(running_finish(&quick, NULL), 0);
	held = unacknowledged(&slow.out);
	assert_int_equal(held, MUX_WINDOW_BYTES);
	slow.out.hold = false;
	mux_stream_ack(slow.out.stream, held);
	assert_int_equal(client_exit(&pod->client, "slow", ""), 0);
	client_stream_wait_eof(&slow.out);
	assert_int_equal(slow.out.data.len, 2000000);
	running_close(&slow);
	container_delete(pod, "slow");
	container_delete(pod, "quick");
}

static void input_nobody_reads(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running r;
	struct spec s;

	spec_shell(&s, "deaf", "exec 0<&-; echo closed; exec sleep 1000");
	container_run(pod, &s, &r);
	client_until(&pod->client, r.out.data.len >= 7);
	client_stream_send(&r.in, "lost", 4);
	client_until(&pod->client, r.in.reset);
	assert_int_equal(r.in.reset, EPIPE);
	running_close(&r);
	container_delete(pod, "deaf");
}

/* The host gives a stream up: the process must not notice. */
static void output_nobody_wants(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running r;
	struct spec s;

	spec_shell(&s, "unwanted", "head -c 3000000 /dev/zero && echo done >&2");
	container_create(pod, &s);
	container_start(pod, "unwanted", &r);
	mux_stream_reset(r.out.stream, EPIPE);
	r.out.stream = NULL;
	assert_int_equal(client_exit(&pod->client, "unwanted", ""), 0);
	client_stream_wait_eof(&r.err);
	assert_string_equal(str_text(&r.err.data), "done\n");
	running_close(&r);
	container_delete(pod, "unwanted");
}

static void no_streams(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
	struct spec s;

	spec_shell(&s, "quiet",
		   "test $(readlink /proc/self/fd/0) = /dev/null || exit 3; echo into the void");
	container_create(pod, &s);
	start.id = "quiet";
	client_ok(&pod->client, REQUEST(container_start, CONTAINER_START, &start));
	assert_int_equal(client_exit(&pod->client, "quiet", ""), 0);
	container_delete(pod, "quiet");
}

/* ------------------------------------------------------------------ terminals */

static void terminal(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__ProcessResize resize = HYPER__PROCESS_RESIZE__INIT;
	struct running r;
	struct spec s;

	spec_shell(&s, "tty",
		   "trap 'stty size; exit 5' WINCH; stty size; readlink /proc/self/fd/0; "
		   "test -c /dev/console && echo console; echo tty > /dev/tty; "
		   "while :; do sleep 0.1; done");
	s.process.terminal = true;
	s.process.rows = 33;
	s.process.columns = 101;
	container_run(pod, &s, &r);
	client_until(&pod->client, strstr(str_text(&r.out.data), "tty\r\n"));
	assert_contains(str_text(&r.out.data), "33 101\r\n/dev/pts/0\r\nconsole\r\ntty\r\n");
	resize.container = "tty";
	resize.exec = "";
	resize.rows = 40;
	resize.columns = 80;
	client_ok(&pod->client, REQUEST(process_resize, PROCESS_RESIZE, &resize));
	assert_int_equal(client_exit(&pod->client, "tty", ""), 5);
	client_stream_wait_eof(&r.out);
	client_stream_wait_eof(&r.err);
	assert_contains(str_text(&r.out.data), "40 80\r\n");
	running_close(&r);
	container_delete(pod, "tty");
}

static void terminal_input_ends(void **state)
{
	static const char *const inputs[] = { "a line\n", "no line end" };
	struct test_pod *pod = pod_of(state);

	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++) {
		struct running r;
		struct spec s;

		spec_shell(&s, "ttyend", "stty -echo; echo ready; cat; echo; echo after");
		s.process.terminal = true;
		container_run(pod, &s, &r);
		client_until(&pod->client, strstr(str_text(&r.out.data), "ready"));
		client_stream_send(&r.in, inputs[i], strlen(inputs[i]));
		mux_stream_end(r.in.stream);
		assert_int_equal(client_exit(&pod->client, "ttyend", ""), 0);
		client_stream_wait_eof(&r.out);
		assert_contains(str_text(&r.out.data), i ? "no line end" : "a line");
		assert_contains(str_text(&r.out.data), "after\r\n");
		running_close(&r);
		container_delete(pod, "ttyend");
	}
}

static void terminal_interrupt(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running r;
	struct spec s;

	spec_shell(&s, "ttyint",
		   "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done");
	s.process.terminal = true;
	container_run(pod, &s, &r);
	client_until(&pod->client, strstr(str_text(&r.out.data), "ready"));
	client_stream_send(&r.in, "\x03", 1);
	assert_int_equal(client_exit(&pod->client, "ttyint", ""), 9);
	client_stream_wait_eof(&r.out);
	assert_contains(str_text(&r.out.data), "caught");
	running_close(&r);
	container_delete(pod, "ttyint");
}

/* ------------------------------------------------------------------ exec */

static void sleeper(struct test_pod *pod, struct running *r, const char *id)
{
	struct spec s;

	spec_shell(&s, id, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done");
	container_run(pod, &s, r);
	client_until(&pod->client, r->out.data.len >= 6);
}

static void exec_beside_the_main_process(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running main_process, r;
	struct spec s;
	autofree char *out = NULL;

	sleeper(pod, &main_process, "host");
	spec_shell(&s, "-", "cat; echo $MARK; ps -o pid,args | grep '^ *1 '; exit 3");
	s.process.env = (char *[]){ "MARK=marked" };
	s.process.n_env = 1;
	container_exec(pod, "host", "one", &s.process, &r);
	client_stream_send(&r.in, "in\n", 3);
	mux_stream_end(r.in.stream);
	assert_int_equal(running_finish(&r, &out), 3);
	assert_contains(out, "in\nmarked\n");
	assert_contains(out, "trap");
	signal_process(pod, "host", "", SIGTERM, false);
	assert_int_equal(running_finish(&main_process, NULL), 0);
	container_delete(pod, "host");
}

static void exec_with_terminal(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running main_process, r;
	autofree char *out = NULL;
	struct spec s;

	sleeper(pod, &main_process, "ttyhost");
	spec_shell(&s, "-",
		   "stty size; tty=$(readlink /proc/self/fd/0); test -c $tty && echo $tty");
	s.process.terminal = true;
	s.process.rows = 50;
	s.process.columns = 120;
	container_exec(pod, "ttyhost", "tty", &s.process, &r);
	assert_int_equal(running_finish(&r, &out), 0);
	assert_string_equal(out, "50 120\r\n/dev/pts/0\r\n");
	running_close(&main_process);
	container_delete(pod, "ttyhost");
}

static void exec_fails(void **state)
{
	static const struct {
		const char *program;
		uint32_t code;
	} cases[] = { { "no-such", 127 }, { "/bin/not-executable", 126 } };
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerExec e = HYPER__CONTAINER_EXEC__INIT;
	struct running main_process;
	struct spec s;

	sleeper(pod, &main_process, "failhost");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *const args[] = { cases[i].program, NULL };
		Hyper__Envelope *reply;

		spec_args(&s, "-", args);
		e.container = "failhost";
		e.exec = "bad";
		e.process = &s.process;
		reply = client_call(&pod->client, REQUEST(container_exec, CONTAINER_EXEC, &e));
		assert_non_null(reply->reply->failure);
		assert_int_equal(reply->reply->failure->exit_code, cases[i].code);
		hyper__envelope__free_unpacked(reply, NULL);
	}
	signal_process(pod, "failhost", "", SIGKILL, false);
	assert_int_equal(client_exit(&pod->client, "failhost", ""), 137);
	spec_shell(&s, "-", "true");
	e.process = &s.process;
	client_fails(&pod->client, REQUEST(container_exec, CONTAINER_EXEC, &e), ERROR_CONFLICT,
		     "not running");
	running_close(&main_process);
	container_delete(pod, "failhost");
}

/* The exit is told when the process ends; its output ends with its last writer. */
static void exec_leaves_a_writer(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running main_process, r;
	struct spec s;

	sleeper(pod, &main_process, "writerhost");
	spec_shell(&s, "-", "(while ! test -e /go; do sleep 0.05; done; echo late) & echo early");
	container_exec(pod, "writerhost", "w", &s.process, &r);
	assert_int_equal(client_exit(&pod->client, "writerhost", "w"), 0);
	assert_false(r.out.eof);
	{
		Hyper__FileWrite f = HYPER__FILE_WRITE__INIT;

		f.container = "writerhost";
		f.path = "/go";
		client_ok(&pod->client, REQUEST(file_write, FILE_WRITE, &f));
	}
	client_stream_wait_eof(&r.out);
	assert_string_equal(str_text(&r.out.data), "early\nlate\n");
	running_close(&r);
	running_close(&main_process);
	container_delete(pod, "writerhost");
}

/* With the container's end everything in it ends, execs and their output too. */
static void exec_ends_with_the_container(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running main_process, r;
	struct spec s;

	sleeper(pod, &main_process, "endhost");
	spec_shell(&s, "-", "echo up; exec sleep 1000");
	container_exec(pod, "endhost", "e", &s.process, &r);
	client_until(&pod->client, r.out.data.len >= 3);
	signal_process(pod, "endhost", "", SIGKILL, false);
	assert_int_equal(client_exit(&pod->client, "endhost", "e"), 137);
	client_stream_wait_eof(&r.out);
	running_close(&r);
	running_close(&main_process);
	container_delete(pod, "endhost");
}

static void exec_beside_the_init(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running main_process, r;
	autofree char *out = NULL;
	struct spec s;

	sleeper(pod, &main_process, "vmhost");
	spec_shell(&s, "-", "tr '\\0' ' ' < /proc/1/cmdline; echo; ls /proc | grep -c '^[0-9]'");
	container_exec(pod, "", "shell", &s.process, &r);
	assert_int_equal(running_finish(&r, &out), 0);
	assert_contains(out, test_pod_is_vm() ? "/init \n" : "hyperstart --listen");
	running_close(&main_process);
	container_delete(pod, "vmhost");
}

/* ------------------------------------------------------------------ signals, init */

static void signals_reach_everybody(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running r;
	autofree char *out = NULL;
	struct spec s;

	spec_shell(
		&s, "everybody",
		"(trap 'echo child; exit' USR1; touch /tmp/ready; while :; do sleep 0.05; done) & "
		"trap 'wait; echo main; exit 4' USR1; while ! test -e /tmp/ready; do :; done; "
		"echo ready; while :; do sleep 0.05; done");
	container_run(pod, &s, &r);
	client_until(&pod->client, r.out.data.len >= 6);
	signal_process(pod, "everybody", "", SIGUSR1, true);
	assert_int_equal(running_finish(&r, &out), 4);
	assert_contains(out, "child");
	assert_contains(out, "main");
	container_delete(pod, "everybody");
}

/* Pid 1 that reaps and passes signals on. */
static void init_process(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running r;
	autofree char *out = NULL;
	struct spec s;

	spec_shell(&s, "init",
		   "echo pid $$; trap 'echo stopped; exit 6' TERM; "
		   "(sh -c 'echo orphan $PPID' &); sleep 0.2; "
		   "ps -o pid,stat,args; grep Cap /proc/1/status; "
		   "echo zombies $(ps -o stat | grep -c Z); "
		   "echo ready; while :; do sleep 0.05; done");
	s.create.init_process = true;
	container_run(pod, &s, &r);
	client_until(&pod->client, strstr(str_text(&r.out.data), "\nready\n"));
	signal_process(pod, "init", "", SIGTERM, false);
	assert_int_equal(running_finish(&r, &out), 6);
	assert_contains(out, "pid 2\n");
	assert_contains(out, "zombies 0\n");
	assert_contains(out, "CapEff:\t0000000000000020\n");
	assert_contains(out, "stopped\n");
	spec_shell(&s, "initkill", "kill -KILL $$");
	s.create.init_process = true;
	free(steal(out));
	out = container_output(pod, &s, 137);
	container_create(pod, &s);
	container_delete(pod, "initkill");
	container_delete(pod, "init");
}

static void orphans_end_with_pid_1(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *out = shell_output(pod, "orphans", "sleep 1000 & sleep 1000 & echo $!");

	assert_true(out[0] > '0');
}

/* ------------------------------------------------------------------ pausing, limits, figures */

static void pause_container(struct test_pod *pod, const char *id, bool paused)
{
	Hyper__ContainerPause p = HYPER__CONTAINER_PAUSE__INIT;

	p.id = (char *)id;
	p.paused = paused;
	client_ok(&pod->client, REQUEST(container_pause, CONTAINER_PAUSE, &p));
}

static void pauses_and_goes_on(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerPause p = HYPER__CONTAINER_PAUSE__INIT;
	Hyper__ContainerExec e = HYPER__CONTAINER_EXEC__INIT;
	struct running r;
	struct spec s;
	size_t len;

	spec_shell(&s, "paused", "while :; do echo tick; sleep 0.02; done");
	container_run(pod, &s, &r);
	client_until(&pod->client, r.out.data.len >= 5);
	pause_container(pod, "paused", true);
	/* What was under way arrives; then nothing does. */
	while (client_pump(&pod->client, 200))
		;
	len = r.out.data.len;
	assert_false(client_pump(&pod->client, 300));
	assert_int_equal(r.out.data.len, len);
	spec_shell(&s, "-", "true");
	e.container = p.id = "paused";
	e.exec = "e";
	e.process = &s.process;
	client_fails(&pod->client, REQUEST(container_exec, CONTAINER_EXEC, &e), ERROR_CONFLICT,
		     "paused");
	p.paused = true;
	client_fails(&pod->client, REQUEST(container_pause, CONTAINER_PAUSE, &p), ERROR_CONFLICT,
		     "paused already");
	pause_container(pod, "paused", false);
	client_until(&pod->client, r.out.data.len > len);
	pause_container(pod, "paused", true);
	running_close(&r);
	container_delete(pod, "paused"); /* also while it is paused */
}

static void memory_limit(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running r;
	struct spec s;
	Hyper__Envelope *e;
	bool told = false;

	spec_shell(&s, "memory",
		   "head -c 200000000 /dev/zero | tail -c 150000000 >/dev/null; "
		   "echo status $?; exec awk 'BEGIN { while (1) s = s \"0123456789abcdef\" s }'");
	s.limits.memory_bytes = 32 << 20;
	s.limits.memory_swap_bytes = 32 << 20;
	container_run(pod, &s, &r);
	e = client_exit_event(&pod->client, "memory", "");
	assert_int_equal(e->event->process_exited->exit_code, 137);
	assert_true(e->event->process_exited->out_of_memory);
	hyper__envelope__free_unpacked(e, NULL);
	list_for_each(node, &pod->client.messages) {
		struct client_message *m = container_of(node, struct client_message, node);

		told |= m->envelope->body_case == HYPER__ENVELOPE__BODY_EVENT &&
			m->envelope->event->body_case == HYPER__EVENT__BODY_OUT_OF_MEMORY;
	}
	assert_true(told);
	running_close(&r);
	container_delete(pod, "memory");
}

static void pids_limit(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerUpdate u = HYPER__CONTAINER_UPDATE__INIT;
	Hyper__Limits limits = HYPER__LIMITS__INIT;
	struct running r;
	autofree char *out = NULL;
	struct spec s;

	spec_shell(&s, "pids",
		   "cat >/dev/null; for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo all");
	s.limits.pids = 100;
	container_run(pod, &s, &r);
	u.id = "pids";
	u.limits = &limits;
	limits.pids = 4;
	client_ok(&pod->client, REQUEST(container_update, CONTAINER_UPDATE, &u));
	mux_stream_end(r.in.stream);
	assert_int_not_equal(running_finish(&r, &out), 0);
	assert_contains(out, "can't fork");
	container_delete(pod, "pids");
}

static void figures(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerStats stats = HYPER__CONTAINER_STATS__INIT;
	Hyper__ContainerTop top = HYPER__CONTAINER_TOP__INIT;
	Hyper__PodStats pod_stats = HYPER__POD_STATS__INIT;
	Hyper__Envelope *e;
	Hyper__ContainerStatsReply *c;
	Hyper__PodStatsReply *p;
	struct running r;
	struct spec s;

	spec_shell(&s, "figures",
		   "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; exec sleep 1000");
	s.limits.memory_bytes = 64 << 20;
	s.limits.pids = 50;
	s.process.user = "user";
	container_run(pod, &s, &r);
	client_until(&pod->client, r.out.data.len >= 6);
	stats.id = top.id = "figures";
	e = client_call(&pod->client, REQUEST(container_stats, CONTAINER_STATS, &stats));
	assert_null(e->reply->failure);
	c = e->reply->container_stats;
	assert_true(c->cpu_ns > 0);
	assert_true(c->memory_bytes > 0 && c->memory_bytes <= 64 << 20);
	assert_int_equal(c->memory_limit_bytes, 64 << 20);
	assert_int_equal(c->pids, 1);
	assert_int_equal(c->pids_limit, 50);
	assert_true(c->cpus > 0 && c->system_cpu_ns > c->cpu_ns);
	hyper__envelope__free_unpacked(e, NULL);

	/* Until the shell has become the program. */
	for (;;) {
		e = client_call(&pod->client, REQUEST(container_top, CONTAINER_TOP, &top));
		assert_null(e->reply->failure);
		if (str_starts(e->reply->container_top->processes[0]->command, "sleep"))
			break;
		hyper__envelope__free_unpacked(e, NULL);
	}
	assert_int_equal(e->reply->container_top->n_processes, 1);
	assert_string_equal(e->reply->container_top->processes[0]->command, "sleep 1000");
	assert_string_equal(e->reply->container_top->processes[0]->user, "user");
	assert_int_equal(e->reply->container_top->processes[0]->uid, 1000);
	hyper__envelope__free_unpacked(e, NULL);

	e = client_call(&pod->client, REQUEST(pod_stats, POD_STATS, &pod_stats));
	p = e->reply->pod_stats;
	assert_true(p->memory_total_bytes > p->memory_free_bytes && p->cpus > 0);
	assert_true(p->disk_total_bytes > 0);
	assert_int_equal(p->n_interfaces, 1);
	assert_string_equal(p->interfaces[0]->name, "lo");
	hyper__envelope__free_unpacked(e, NULL);
	running_close(&r);
	container_delete(pod, "figures");
}

static void rlimits(void **state)
{
	Hyper__Rlimit files = HYPER__RLIMIT__INIT, core = HYPER__RLIMIT__INIT;
	Hyper__Rlimit *list[] = { &files, &core };
	struct test_pod *pod = pod_of(state);
	autofree char *out = NULL;
	struct spec s;

	files.type = "RLIMIT_NOFILE";
	files.soft = 123;
	files.hard = 456;
	core.type = "RLIMIT_CORE";
	spec_shell(&s, "rlimits",
		   "ulimit -Sn; ulimit -Hn; ulimit -c; umask; cat /proc/self/oom_score_adj");
	s.process.rlimits = list;
	s.process.n_rlimits = 2;
	s.process.umask = 027;
	s.process.oom_score_adj = 500;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "123\n456\n0\n0027\n500\n");
	/* Raising one may be beyond the agent's right; then it runs with what there is. */
	files.soft = files.hard = 1 << 30;
	spec_shell(&s, "rlimits", "echo ran");
	s.process.rlimits = list;
	s.process.n_rlimits = 1;
	s.process.oom_score_adj = -500;
	free(steal(out));
	if (access("/proc/sys/fs/nr_open", R_OK) == 0)
		files.soft = files.hard = 1000000;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "ran\n");
}

/* ------------------------------------------------------------------ files, restart, deletion */

static void files_are_written(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__FileWrite f = HYPER__FILE_WRITE__INIT;
	autofree char *out = NULL;
	struct running r;
	struct spec s;

	spec_shell(&s, "files",
		   "cat /new/dir/file; stat -c '%a %U %G' /new/dir/file; cat /etc/secret");
	container_create(pod, &s);
	f.container = "files";
	f.path = "/new/dir/file";
	f.data.data = (uint8_t *)"first ";
	f.data.len = 6;
	f.mode = 0640;
	f.user = "user:wheel";
	client_ok(&pod->client, REQUEST(file_write, FILE_WRITE, &f));
	f.offset = 6;
	f.data.data = (uint8_t *)"second\n";
	f.data.len = 7;
	client_ok(&pod->client, REQUEST(file_write, FILE_WRITE, &f));
	f.offset = 0;
	f.path = "/etc/secret";
	f.user = "";
	f.data.data = (uint8_t *)"new\n";
	f.data.len = 4;
	client_ok(&pod->client, REQUEST(file_write, FILE_WRITE, &f));
	container_start(pod, "files", &r);
	assert_int_equal(running_finish(&r, &out), 0);
	assert_string_equal(out, "first second\n640 user wheel\nnew\n");
	container_delete(pod, "files");
	/* The layer below is as it was. */
	free(steal(out));
	out = shell_output(pod, "files2", "cat /etc/secret");
	assert_string_equal(out, "keep out\n");
}

/* The writable layer and anonymous volumes outlive the container unless it is deleted with them. */
static void restart_keeps_files(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerDelete d = HYPER__CONTAINER_DELETE__INIT;
	char *volumes[] = { "/data", "/fresh/volume" };
	autofree char *out = NULL;
	struct running r;
	struct spec s;

	spec_shell(&s, "again",
		   "cat /data/from-image; echo 1 >> /count; echo 1 >> /data/count; "
		   "echo 1 >> /fresh/volume/count; cat /count /data/count /fresh/volume/count");
	s.create.volumes = volumes;
	s.create.n_volumes = 2;
	d.id = "again";
	for (int i = 1; i <= 2; i++) {
		container_run(pod, &s, &r);
		assert_int_equal(running_finish(&r, &out), 0);
		assert_string_equal(out, i == 1 ? "image\n1\n1\n1\n" : "image\n1\n1\n1\n1\n1\n1\n");
		free(steal(out));
		d.disk = i == 2;
		client_ok(&pod->client, REQUEST(container_delete, CONTAINER_DELETE, &d));
	}
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "image\n1\n1\n1\n");
}

static void delete_ends_what_runs(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *upper = test_pod_path(pod, "disk/containers/busy");
	struct running r;

	NEEDS_NAMESPACE_POD("looks at the disk");
	sleeper(pod, &r, "busy");
	assert_int_equal(access(upper, F_OK), 0);
	running_close(&r);
	container_delete(pod, "busy");
	assert_int_equal(access(upper, F_OK), -1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_it_is),
		cmocka_unit_test(exit_codes),
		cmocka_unit_test(killed_by_a_signal),
		cmocka_unit_test(programs_that_cannot_run),
		cmocka_unit_test(much_output),
		cmocka_unit_test(much_input),
		cmocka_unit_test(input_before_the_start),
		cmocka_unit_test(slow_reader),
		cmocka_unit_test(input_nobody_reads),
		cmocka_unit_test(output_nobody_wants),
		cmocka_unit_test(no_streams),
		cmocka_unit_test(terminal),
		cmocka_unit_test(terminal_input_ends),
		cmocka_unit_test(terminal_interrupt),
		cmocka_unit_test(exec_beside_the_main_process),
		cmocka_unit_test(exec_with_terminal),
		cmocka_unit_test(exec_fails),
		cmocka_unit_test(exec_leaves_a_writer),
		cmocka_unit_test(exec_ends_with_the_container),
		cmocka_unit_test(exec_beside_the_init),
		cmocka_unit_test(signals_reach_everybody),
		cmocka_unit_test(init_process),
		cmocka_unit_test(orphans_end_with_pid_1),
		cmocka_unit_test(pauses_and_goes_on),
		cmocka_unit_test(memory_limit),
		cmocka_unit_test(pids_limit),
		cmocka_unit_test(figures),
		cmocka_unit_test(rlimits),
		cmocka_unit_test(files_are_written),
		cmocka_unit_test(restart_keeps_files),
		cmocka_unit_test(delete_ends_what_runs),
	};

	test_pod_init(argc, argv);
	return cmocka_run_group_tests(tests, test_pod_setup, test_pod_teardown);
}
