/* The init's channel: daemons that die and come back, hosts that flood, garbage, bad requests of
 * every kind, requests that race, and the end of the pod. */
#include "tests/hyperstart/pod.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct test_pod *pod_of(void **state)
{
	return *state;
}

/* The pod still answers. */
static void expect_alive(struct test_pod *pod)
{
	Hyper__StateGet get = HYPER__STATE_GET__INIT;
	Hyper__Envelope *e = client_call(&pod->client, REQUEST(state_get, STATE_GET, &get));

	assert_null(e->reply->failure);
	assert_true(e->reply->state->pod_ready && e->reply->state->disk_ready);
	hyper__envelope__free_unpacked(e, NULL);
}

static Hyper__Envelope *get_state(struct test_pod *pod)
{
	Hyper__StateGet get = HYPER__STATE_GET__INIT;
	Hyper__Envelope *e = client_call(&pod->client, REQUEST(state_get, STATE_GET, &get));

	assert_null(e->reply->failure);
	return e;
}

static const Hyper__ProcessState *find_process(const Hyper__Envelope *e, const char *id,
					       const char *exec)
{
	const Hyper__State *state = e->reply->state;

	for (size_t i = 0; i < state->n_containers; i++)
		for (size_t j = 0; j < state->containers[i]->n_processes; j++)
			if (strcmp(state->containers[i]->id, id) == 0 &&
			    strcmp(state->containers[i]->processes[j]->exec, exec) == 0)
				return state->containers[i]->processes[j];
	fail_msg("no process '%s' of '%s' in the state", exec, id);
	return NULL;
}

/* As if the daemon were killed and another started. */
static void take_over(struct test_pod *pod)
{
	client_done(&pod->client);
	client_connect(&pod->client, pod->socket, true);
}

/* ------------------------------------------------------------------ adoption */

static void output_survives_daemons(void **state)
{
	enum { LINES = 1400000, LEN = LINES * 8, DAEMONS = 40 };
	struct test_pod *pod = pod_of(state);
	autostr struct str log = STR_INIT;
	struct running r;
	struct spec s;
	uint32_t id;

	spec_shell(&s, "long", "seq -w 1 1400000");
	container_run(pod, &s, &r);
	id = r.out.id;
	for (int i = 0; i < DAEMONS; i++) {
		size_t until = log.len + LEN / DAEMONS, handled;
		const Hyper__ProcessState *p;
		Hyper__Envelope *e;

		/* Every third daemon dies with bytes it has read and not acknowledged. */
		r.out.hold = i % 3 == 2;
		client_until(&pod->client,
			     r.out.eof || r.out.base + r.out.data.len >= until ||
				     (r.out.hold && r.out.data.len >= MUX_WINDOW_BYTES));
		handled = (size_t)(mux_stream_handled(r.out.stream) - r.out.base);
		str_append(&log, r.out.data.data, handled);
		running_close(&r);
		take_over(pod);
		e = get_state(pod);
		p = find_process(e, "long", "");
		assert_int_equal(p->streams->stdout, id);
		assert_true(p->stdout_acknowledged <= log.len);
		hyper__envelope__free_unpacked(e, NULL);
		memset(&r, 0, sizeof(r));
		client_stream_adopt(&r.out, &pod->client, id, 0, log.len);
	}
	client_stream_wait_eof(&r.out);
	str_append(&log, r.out.data.data, r.out.data.len);
	client_stream_close(&r.out);
	assert_int_equal(log.len, LEN);
	for (int i = 1; i <= LINES; i++) {
		char want[16];

		snprintf(want, sizeof(want), "%07d\n", i);
		assert_memory_equal(log.data + (size_t)(i - 1) * 8, want, 8);
	}
	container_delete(pod, "long");
}

static void input_survives_daemons(void **state)
{
	enum { LEN = 6 << 20, DAEMONS = 20 };
	struct test_pod *pod = pod_of(state);
	autofree uint8_t *data = malloc(LEN);
	size_t sent = 0;
	struct running r;
	struct spec s;
	uint32_t in, out;

	for (size_t i = 0; i < LEN; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 23);
	/* It reads in its own time, so that input piles up. */
	spec_shell(&s, "sink",
		   "n=0; while [ $n -lt 150 ]; do dd bs=65536 count=1 2>/dev/null; n=$((n+1)); "
		   "done; cat");
	container_run(pod, &s, &r);
	in = r.in.id;
	out = r.out.id;
	r.out.hold = true;
	{
		autostr struct str got = STR_INIT;

		for (int i = 0; i < DAEMONS; i++) {
			size_t upto = (size_t)LEN / DAEMONS * (i + 1), handled;
			const Hyper__ProcessState *p;
			Hyper__Envelope *e;

			r.out.hold = false;
			if (i == DAEMONS - 1)
				upto = LEN;
			client_stream_send(&r.in, data + sent, upto - sent);
			client_pump(&pod->client, 0);
			client_pump(&pod->client, 0);
			handled = (size_t)(mux_stream_handled(r.out.stream) - r.out.base);
			str_append(&got, r.out.data.data, handled);
			running_close(&r);
			take_over(pod);
			e = get_state(pod);
			p = find_process(e, "sink", "");
			assert_true(p->stdin_received <= upto);
			sent = (size_t)p->stdin_received;
			hyper__envelope__free_unpacked(e, NULL);
			memset(&r, 0, sizeof(r));
			client_stream_adopt(&r.in, &pod->client, in, sent, 0);
			client_stream_adopt(&r.out, &pod->client, out, 0, got.len);
		}
		client_stream_send(&r.in, data + sent, LEN - sent);
		mux_stream_end(r.in.stream);
		client_stream_wait_eof(&r.out);
		str_append(&got, r.out.data.data, r.out.data.len);
		assert_int_equal(got.len, LEN);
		assert_memory_equal(got.data, data, LEN);
	}
	client_stream_close(&r.in);
	client_stream_close(&r.out);
	assert_int_equal(client_exit(&pod->client, "sink", ""), 0);
	container_delete(pod, "sink");
}

/* What ends while no daemon listens is told to the next. */
static void ends_while_nobody_listens(void **state)
{
	struct test_pod *pod = pod_of(state);
	const Hyper__ProcessState *p;
	Hyper__ProcessForget forget = HYPER__PROCESS_FORGET__INIT;
	struct client_stream out;
	struct running r;
	Hyper__Envelope *e;
	uint32_t id;
	struct spec s;
	bool ended = false;

	spec_shell(&s, "unheard", "echo ready; cat; echo last words; exit 11");
	container_run(pod, &s, &r);
	client_until(&pod->client, r.out.data.len >= 6);
	id = r.out.id;
	mux_stream_end(r.in.stream);
	client_pump(&pod->client, 0);
	running_close(&r);
	client_done(&pod->client);
	client_connect(&pod->client, pod->socket, true);
	while (!ended) {
		e = get_state(pod);
		p = find_process(e, "unheard", "");
		ended = !p->running;
		if (ended) {
			assert_int_equal(p->exit_code, 11);
			assert_true(p->exited_realtime_ns > 0);
		}
		hyper__envelope__free_unpacked(e, NULL);
	}
	client_stream_adopt(&out, &pod->client, id, 0, 6);
	client_stream_wait_eof(&out);
	assert_string_equal(str_text(&out.data), "last words\n");
	client_stream_close(&out);
	forget.container = "unheard";
	client_ok(&pod->client, REQUEST(process_forget, PROCESS_FORGET, &forget));
	container_delete(pod, "unheard");
}

static void newer_host_replaces_older(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct client older = pod->client;

	NEEDS_NAMESPACE_POD("QEMU has one host at a time");
	/* The mux's owner is where the client was: only bytes are looked at. */
	client_forget_messages(&pod->client);
	list_init(&older.messages);
	client_connect(&pod->client, pod->socket, true);
	while (recv(older.fd, &(char){ 0 }, 1, 0) > 0)
		;
	expect_alive(pod);
	client_done(&older);
}

/* ------------------------------------------------------------------ hosts that misbehave */

static int raw_connection(struct test_pod *pod)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, pod->socket, sizeof(address.sun_path) - 1);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static uint32_t random_state = 1;

static uint32_t next_random(void)
{
	random_state = random_state * 1664525u + 1013904223u;
	return random_state >> 8;
}

static void garbage(void **state)
{
	struct test_pod *pod = pod_of(state);
	static uint8_t junk[200000];

	client_done(&pod->client);
	for (int round = 0; round < 60; round++) {
		int fd = raw_connection(pod);
		size_t len = next_random() % sizeof(junk), n = 0;

		for (size_t i = 0; i < len; i++)
			junk[i] = (uint8_t)next_random();
		/* Half of them begin as a host does. */
		if (round % 2) {
			memcpy(junk, PREAMBLE_MAGIC, PREAMBLE_MAGIC_BYTES);
			n = PREAMBLE_BYTES;
		}
		/* And some go on with a frame that is well formed but for one thing. */
		if (round % 4 == 3) {
			struct frame_header h = { .type = 1 + next_random() % 6,
						  .length = next_random() % 100000,
						  .stream = next_random() % 3,
						  .offset = next_random() };

			frame_header_encode(&h, junk + n);
		}
		send(fd, junk, len > 64 ? len : 64, MSG_NOSIGNAL);
		close(fd);
	}
	client_connect(&pod->client, pod->socket, true);
	expect_alive(pod);
}

/* Control messages that are no requests, or too long. */
static void messages_that_are_no_requests(void **state)
{
	struct test_pod *pod = pod_of(state);
	static uint8_t zeros[MUX_MAX_MESSAGE];
	uint8_t junk[512];

	for (int round = 0; round < 500; round++) {
		size_t len = next_random() % sizeof(junk);

		for (size_t i = 0; i < len; i++)
			junk[i] = (uint8_t)next_random();
		assert_int_equal(mux_send_message(pod->client.mux, junk, len), 0);
	}
	assert_int_equal(mux_send_message(pod->client.mux, zeros, sizeof(zeros)), 0);
	expect_alive(pod);
}

/* A million requests' worth of a host that asks and does not listen. */
static void flood(void **state)
{
	enum { COUNT = 60000 };
	struct test_pod *pod = pod_of(state);
	Hyper__StateGet get = HYPER__STATE_GET__INIT;
	autofree uint32_t *ids = calloc(COUNT, sizeof(*ids));

	pod->client.muted = true;
	for (int i = 0; i < COUNT; i++) {
		ids[i] = client_post(&pod->client, REQUEST(state_get, STATE_GET, &get));
		if (i % 500 == 0)
			client_pump(&pod->client, 0);
	}
	while (client_pump(&pod->client, 100))
		;
	pod->client.muted = false;
	for (int i = 0; i < COUNT; i++) {
		Hyper__Envelope *e = client_reply(&pod->client, ids[i]);

		assert_null(e->reply->failure);
		hyper__envelope__free_unpacked(e, NULL);
	}
}

/* Requests that wait for a layer that does not come are bounded; then its host goes away. */
static void too_many_waiting(void **state)
{
	enum { COUNT = 1100 };
	struct test_pod *pod = pod_of(state);
	Hyper__LayerAdd add = HYPER__LAYER_ADD__INIT;
	Hyper__LayerStream source = HYPER__LAYER_STREAM__INIT;
	Hyper__StateGet get = HYPER__STATE_GET__INIT;
	struct client_stream stream;
	uint32_t last = 0;

	client_stream_open(&stream, &pod->client);
	add.digest = "sha256:never";
	add.source_case = HYPER__LAYER_ADD__SOURCE_STREAM;
	add.stream = &source;
	source.stream = stream.id;
	source.size_bytes = 1000;
	client_post(&pod->client, REQUEST(layer_add, LAYER_ADD, &add));
	for (int i = 0; i < COUNT; i++)
		last = client_post(&pod->client, REQUEST(state_get, STATE_GET, &get));
	client_expect_failure(&pod->client, last, ERROR_LIMIT, "waiting already");
	client_stream_close(&stream);
	take_over(pod);
	expect_alive(pod);
}

static void layer_streams_that_fail(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__LayerAdd add = HYPER__LAYER_ADD__INIT;
	Hyper__LayerStream source = HYPER__LAYER_STREAM__INIT;
	struct client_stream stream;
	uint32_t id;

	add.digest = "sha256:bad";
	add.source_case = HYPER__LAYER_ADD__SOURCE_STREAM;
	add.stream = &source;
	/* No EROFS file. */
	client_stream_open(&stream, &pod->client);
	source.stream = stream.id;
	source.size_bytes = 8192;
	id = client_post(&pod->client, REQUEST(layer_add, LAYER_ADD, &add));
	client_stream_send(&stream, (char[8192]){ 0 }, 8192);
	mux_stream_end(stream.stream);
	client_expect_failure(&pod->client, id, ERROR_FAILED, "EROFS");
	client_stream_close(&stream);
	/* Ends early. */
	client_stream_open(&stream, &pod->client);
	source.stream = stream.id;
	id = client_post(&pod->client, REQUEST(layer_add, LAYER_ADD, &add));
	client_stream_send(&stream, "short", 5);
	mux_stream_end(stream.stream);
	client_expect_failure(&pod->client, id, ERROR_FAILED, "sha256:bad");
	client_stream_close(&stream);
	/* Goes on too long. */
	client_stream_open(&stream, &pod->client);
	source.stream = stream.id;
	id = client_post(&pod->client, REQUEST(layer_add, LAYER_ADD, &add));
	client_stream_send(&stream, (char[9000]){ 0 }, 9000);
	client_expect_failure(&pod->client, id, ERROR_FAILED, "sha256:bad");
	client_until(&pod->client, stream.reset);
	client_stream_close(&stream);
	/* Larger than anything. */
	source.stream = 77777;
	source.size_bytes = UINT64_MAX;
	client_fails(&pod->client, REQUEST(layer_add, LAYER_ADD, &add), ERROR_LIMIT, "do not fit");
	source.size_bytes = 0;
	client_fails(&pod->client, REQUEST(layer_add, LAYER_ADD, &add), ERROR_INVALID, "0 bytes");
	expect_alive(pod);
}

/* ------------------------------------------------------------------ bad requests */

static void layers_and_disks(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__LayerAdd add = HYPER__LAYER_ADD__INIT;
	Hyper__LayerRemove remove = HYPER__LAYER_REMOVE__INIT;
	Hyper__DiskSetup disk = HYPER__DISK_SETUP__INIT;
	struct running r;
	struct spec s;
	char long_name[400];

	memset(long_name, 'x', sizeof(long_name));
	long_name[399] = '\0';
	add.source_case = HYPER__LAYER_ADD__SOURCE_DIRECTORY;
	add.directory = "/layers";
	client_fails(&pod->client, REQUEST(layer_add, LAYER_ADD, &add), ERROR_INVALID, "digest");
	add.digest = long_name;
	client_fails(&pod->client, REQUEST(layer_add, LAYER_ADD, &add), ERROR_INVALID, "digest");
	add.digest = "d";
	add.directory = "relative";
	client_fails(&pod->client, REQUEST(layer_add, LAYER_ADD, &add), ERROR_INVALID, "absolute");
	add.directory = "/no/such/directory";
	client_fails(&pod->client, REQUEST(layer_add, LAYER_ADD, &add), ERROR_FAILED, "/no/such");
	add.directory = "/dev/null";
	client_fails(&pod->client, REQUEST(layer_add, LAYER_ADD, &add), ERROR_INVALID,
		     "no directory");
	add.source_case = HYPER__LAYER_ADD__SOURCE_BLOCK_SERIAL;
	add.block_serial = "no-such-disk";
	client_fails(&pod->client, REQUEST(layer_add, LAYER_ADD, &add), ERROR_NOT_FOUND,
		     "no-such-disk");
	add.source_case = HYPER__LAYER_ADD__SOURCE__NOT_SET;
	client_fails(&pod->client, REQUEST(layer_add, LAYER_ADD, &add), ERROR_INVALID, "no source");
	/* Twice is fine. */
	test_pod_add_layer(pod, LAYER);

	remove.digest = "nobody";
	client_fails(&pod->client, REQUEST(layer_remove, LAYER_REMOVE, &remove), ERROR_NOT_FOUND,
		     "nobody");
	spec_shell(&s, "user", "exec sleep 1000");
	container_run(pod, &s, &r);
	remove.digest = LAYER;
	client_fails(&pod->client, REQUEST(layer_remove, LAYER_REMOVE, &remove), ERROR_CONFLICT,
		     "in use");
	running_close(&r);
	container_delete(pod, "user");

	disk.directory = "/disk";
	client_fails(&pod->client, REQUEST(disk_setup, DISK_SETUP, &disk), ERROR_CONFLICT,
		     "set up already");
}

static void pod_settings(void **state)
{
	static const char *const bad[] = {
		"kernel.core_pattern", "vm.swappiness", "net..ipv4", "net.",
		"net./../kernel.x",    "kernel.sem.x",  "",          "net.ipv4/../../kernel.panic",
		"fs.file-max"
	};
	struct test_pod *pod = pod_of(state);
	Hyper__PodSetup setup = HYPER__POD_SETUP__INIT;
	Hyper__KeyValue sysctl = HYPER__KEY_VALUE__INIT, *sysctls[] = { &sysctl };
	autofree char *out = NULL;
	char long_name[80];

	setup.sysctls = sysctls;
	setup.n_sysctls = 1;
	sysctl.value = "1";
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		Hyper__Envelope *e;

		sysctl.key = (char *)bad[i];
		e = client_call(&pod->client, REQUEST(pod_setup, POD_SETUP, &setup));
		if (!e->reply->failure)
			fail_msg("sysctl '%s' was taken", bad[i]);
		hyper__envelope__free_unpacked(e, NULL);
	}
	sysctl.key = "net.ipv4.ip_forward";
	client_ok(&pod->client, REQUEST(pod_setup, POD_SETUP, &setup));
	out = shell_output(pod, "sysctl", "cat /proc/sys/net/ipv4/ip_forward");
	assert_string_equal(out, "1\n");
	setup.n_sysctls = 0;
	setup.machine_id = "short";
	client_fails(&pod->client, REQUEST(pod_setup, POD_SETUP, &setup), ERROR_INVALID,
		     "machine_id");
	setup.machine_id = "";
	memset(long_name, 'x', sizeof(long_name));
	long_name[79] = '\0';
	setup.hostname = long_name;
	client_fails(&pod->client, REQUEST(pod_setup, POD_SETUP, &setup), ERROR_INVALID, "64");
}

static void containers(void **state)
{
	static const char *const names[] = { "",    ".",       "..", "a/b", "../x",
					     "a b", ".hidden", "ä",  "a\nb" };
	struct test_pod *pod = pod_of(state);
	struct spec s;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		spec_shell(&s, names[i], "true");
		container_create_fails(pod, &s, ERROR_INVALID, "bad name");
	}
	spec_shell(&s, "bad", "true");
	s.create.process = NULL;
	container_create_fails(pod, &s, ERROR_INVALID, "no process");
	spec_shell(&s, "bad", "true");
	s.process.n_args = 0;
	container_create_fails(pod, &s, ERROR_INVALID, "no command");
	spec_shell(&s, "bad", "true");
	s.layers[0] = "sha256:unknown";
	container_create_fails(pod, &s, ERROR_NOT_FOUND, "sha256:unknown");
	spec_shell(&s, "bad", "true");
	s.process.seccomp.data = (uint8_t *)"seven..";
	s.process.seccomp.len = 7;
	container_create_fails(pod, &s, ERROR_INVALID, "seccomp");
	{
		Hyper__Mount m = HYPER__MOUNT__INIT, *mounts[] = { &m };

		spec_shell(&s, "bad", "true");
		s.create.mounts = mounts;
		s.create.n_mounts = 1;
		m.destination = "relative";
		m.type = "tmpfs";
		container_create_fails(pod, &s, ERROR_INVALID, "absolute");
		m.destination = "/x";
		m.type = "nonsense";
		container_create_fails(pod, &s, ERROR_INVALID, "nonsense");
		m.type = "bind";
		m.source = "/not/there";
		container_create_fails(pod, &s, ERROR_FAILED, "/not/there");
	}
	{
		Hyper__DeviceRule rule = HYPER__DEVICE_RULE__INIT, *rules[] = { &rule };
		Hyper__Device d = HYPER__DEVICE__INIT, *devices[] = { &d };

		spec_shell(&s, "bad", "true");
		s.create.device_rules = rules;
		s.create.n_device_rules = 1;
		rule.type = "x";
		rule.access = "r";
		container_create_fails(pod, &s, ERROR_INVALID, "device rule");
		rule.type = "c";
		rule.access = "q";
		container_create_fails(pod, &s, ERROR_INVALID, "device rule");
		s.create.n_device_rules = 0;
		s.create.devices = devices;
		s.create.n_devices = 1;
		d.path = "dev/x";
		d.mode = 020666;
		container_create_fails(pod, &s, ERROR_INVALID, "absolute");
		d.path = "/dev/x";
		d.mode = 0100666;
		container_create_fails(pod, &s, ERROR_INVALID, "neither");
	}
	spec_shell(&s, "twice", "true");
	container_create(pod, &s);
	container_create_fails(pod, &s, ERROR_CONFLICT, "twice");
	container_delete(pod, "twice");
}

static void processes(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct client *c = &pod->client;
	Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
	Hyper__ContainerExec exec = HYPER__CONTAINER_EXEC__INIT;
	Hyper__ContainerDelete delete = HYPER__CONTAINER_DELETE__INIT;
	Hyper__ContainerPause pause = HYPER__CONTAINER_PAUSE__INIT;
	Hyper__ContainerUpdate update = HYPER__CONTAINER_UPDATE__INIT;
	Hyper__ContainerStats stats = HYPER__CONTAINER_STATS__INIT;
	Hyper__ContainerTop top = HYPER__CONTAINER_TOP__INIT;
	Hyper__ProcessSignal signal = HYPER__PROCESS_SIGNAL__INIT;
	Hyper__ProcessResize resize = HYPER__PROCESS_RESIZE__INIT;
	Hyper__ProcessForget forget = HYPER__PROCESS_FORGET__INIT;
	Hyper__FileWrite file = HYPER__FILE_WRITE__INIT;
	Hyper__ProcessStreams streams = HYPER__PROCESS_STREAMS__INIT;
	struct running r;
	struct spec s;

	/* Of nobody. */
	start.id = exec.container = delete.id = pause.id = update.id = stats.id = top.id = "ghost";
	signal.container = resize.container = forget.container = file.container = "ghost";
	spec_shell(&s, "real", "exec sleep 1000");
	exec.exec = "e";
	exec.process = &s.process;
	signal.signal = 15;
	file.path = "/x";
	client_fails(c, REQUEST(container_start, CONTAINER_START, &start), ERROR_NOT_FOUND,
		     "ghost");
	client_fails(c, REQUEST(container_exec, CONTAINER_EXEC, &exec), ERROR_NOT_FOUND, "ghost");
	client_fails(c, REQUEST(container_delete, CONTAINER_DELETE, &delete), ERROR_NOT_FOUND,
		     "ghost");
	client_fails(c, REQUEST(container_pause, CONTAINER_PAUSE, &pause), ERROR_NOT_FOUND,
		     "ghost");
	client_fails(c, REQUEST(container_update, CONTAINER_UPDATE, &update), ERROR_NOT_FOUND,
		     "ghost");
	client_fails(c, REQUEST(container_stats, CONTAINER_STATS, &stats), ERROR_NOT_FOUND,
		     "ghost");
	client_fails(c, REQUEST(container_top, CONTAINER_TOP, &top), ERROR_NOT_FOUND, "ghost");
	client_fails(c, REQUEST(process_signal, PROCESS_SIGNAL, &signal), ERROR_NOT_FOUND, "ghost");
	client_fails(c, REQUEST(process_resize, PROCESS_RESIZE, &resize), ERROR_NOT_FOUND, "ghost");
	client_fails(c, REQUEST(process_forget, PROCESS_FORGET, &forget), ERROR_NOT_FOUND, "ghost");
	client_fails(c, REQUEST(file_write, FILE_WRITE, &file), ERROR_NOT_FOUND, "ghost");

	/* Of one that has not been started. */
	container_create(pod, &s);
	start.id = exec.container = pause.id = top.id = "real";
	signal.container = resize.container = forget.container = "real";
	client_fails(c, REQUEST(container_exec, CONTAINER_EXEC, &exec), ERROR_CONFLICT,
		     "not running");
	client_fails(c, REQUEST(container_pause, CONTAINER_PAUSE, &pause), ERROR_CONFLICT,
		     "not running");
	client_fails(c, REQUEST(container_top, CONTAINER_TOP, &top), ERROR_CONFLICT, "not running");
	client_fails(c, REQUEST(process_signal, PROCESS_SIGNAL, &signal), ERROR_CONFLICT,
		     "not running");
	container_start(pod, "real", &r);

	/* Of one that runs. */
	client_fails(c, REQUEST(container_start, CONTAINER_START, &start), ERROR_CONFLICT,
		     "already");
	client_fails(c, REQUEST(process_forget, PROCESS_FORGET, &forget), ERROR_CONFLICT,
		     "running");
	client_fails(c, REQUEST(process_resize, PROCESS_RESIZE, &resize), ERROR_CONFLICT,
		     "no terminal");
	client_fails(c, REQUEST(container_pause, CONTAINER_PAUSE, &pause), ERROR_CONFLICT,
		     "not paused");
	signal.signal = 0;
	client_fails(c, REQUEST(process_signal, PROCESS_SIGNAL, &signal), ERROR_INVALID,
		     "signal 0");
	signal.signal = 65;
	client_fails(c, REQUEST(process_signal, PROCESS_SIGNAL, &signal), ERROR_INVALID,
		     "signal 65");
	signal.signal = 15;
	signal.exec = "none";
	client_fails(c, REQUEST(process_signal, PROCESS_SIGNAL, &signal), ERROR_NOT_FOUND, "none");
	exec.exec = "";
	client_fails(c, REQUEST(container_exec, CONTAINER_EXEC, &exec), ERROR_INVALID, "bad name");
	exec.exec = "e";
	exec.process = NULL;
	client_fails(c, REQUEST(container_exec, CONTAINER_EXEC, &exec), ERROR_INVALID,
		     "no process");
	exec.process = &s.process;
	streams.stdout = r.out.id; /* somebody else's */
	exec.streams = &streams;
	client_fails(c, REQUEST(container_exec, CONTAINER_EXEC, &exec), ERROR_INVALID, "stream");
	streams.stdout = streams.stderr = 4321; /* one for both */
	client_fails(c, REQUEST(container_exec, CONTAINER_EXEC, &exec), ERROR_INVALID,
		     "stream 4321");
	running_close(&r);
	container_delete(pod, "real");
	expect_alive(pod);
}

/* Requests with bytes changed: whatever they mean now, the agent answers or ignores, and lives. */
static void mutated_requests(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__Mount m = HYPER__MOUNT__INIT, *mounts[] = { &m };
	Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
	Hyper__ProcessStreams streams = HYPER__PROCESS_STREAMS__INIT;
	Hyper__ContainerDelete delete = HYPER__CONTAINER_DELETE__INIT;
	Hyper__FileWrite file = HYPER__FILE_WRITE__INIT;
	Hyper__Envelope envelope = HYPER__ENVELOPE__INIT;
	Hyper__Request *requests[4];
	struct spec s;

	m.destination = "/m";
	m.type = "tmpfs";
	spec_shell(&s, "mutant", "exit 0");
	s.create.mounts = mounts;
	s.create.n_mounts = 1;
	s.create.masked_paths = (char *[]){ "/proc/keys" };
	s.create.n_masked_paths = 1;
	start.id = delete.id = file.container = "mutant";
	streams.stdout = 900000;
	start.streams = &streams;
	file.path = "/f";
	file.user = "user";
	requests[0] = REQUEST(container_create, CONTAINER_CREATE, &s.create);
	requests[1] = REQUEST(file_write, FILE_WRITE, &file);
	requests[2] = REQUEST(container_start, CONTAINER_START, &start);
	requests[3] = REQUEST(container_delete, CONTAINER_DELETE, &delete);
	envelope.body_case = HYPER__ENVELOPE__BODY_REQUEST;
	for (int round = 0; round < 1200; round++) {
		uint8_t data[2048];
		size_t len;

		envelope.request = requests[round % 4];
		envelope.request->id = 1 << 20;
		len = hyper__envelope__pack(&envelope, data);
		for (unsigned n = next_random() % 3; n; n--)
			data[next_random() % len] ^= (uint8_t)(1 << next_random() % 8);
		assert_int_equal(mux_send_message(pod->client.mux, data, len), 0);
		if (round % 100 == 99)
			expect_alive(pod);
	}
	expect_alive(pod);
}

/* ------------------------------------------------------------------ races */

static size_t count_containers(struct test_pod *pod)
{
	Hyper__Envelope *e = get_state(pod);
	size_t n = e->reply->state->n_containers;

	hyper__envelope__free_unpacked(e, NULL);
	return n;
}

/* 34: a burst of everything at once; each request is answered, and in the end nothing is left. */
static void stop_exec_and_delete_race(void **state)
{
	enum { ROUNDS = 60, EXECS = 3 };
	struct test_pod *pod = pod_of(state);
	/* Earlier tests may have left some, under names they did not choose. */
	size_t before = count_containers(pod);

	for (int round = 0; round < ROUNDS; round++) {
		Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
		Hyper__ContainerDelete delete = HYPER__CONTAINER_DELETE__INIT;
		Hyper__ProcessSignal signal = HYPER__PROCESS_SIGNAL__INIT;
		Hyper__ContainerExec exec = HYPER__CONTAINER_EXEC__INIT;
		uint32_t ids[EXECS + 4];
		size_t n = 0;
		struct spec s, e;

		spec_shell(&s, "race", "exec sleep 1000");
		spec_shell(&e, "-", "exec sleep 1000");
		start.id = delete.id = signal.container = exec.container = "race";
		delete.disk = true;
		signal.signal = SIGKILL;
		exec.process = &e.process;
		e.process.terminal = round % 2;
		ids[n++] = client_post(&pod->client,
				       REQUEST(container_create, CONTAINER_CREATE, &s.create));
		ids[n++] = client_post(&pod->client,
				       REQUEST(container_start, CONTAINER_START, &start));
		for (int i = 0; i < EXECS; i++) {
			char name[8];

			snprintf(name, sizeof(name), "e%d", i);
			exec.exec = name;
			if (i == round % (EXECS + 1))
				ids[n++] =
					client_post(&pod->client, REQUEST(process_signal,
									  PROCESS_SIGNAL, &signal));
			ids[n++] = client_post(&pod->client,
					       REQUEST(container_exec, CONTAINER_EXEC, &exec));
		}
		ids[n++] = client_post(&pod->client,
				       REQUEST(container_delete, CONTAINER_DELETE, &delete));
		for (size_t i = 0; i < n; i++) {
			Hyper__Envelope *reply = client_reply(&pod->client, ids[i]);

			if (i == n - 1 && reply->reply->failure)
				fail_msg("round %d: delete: %s", round,
					 reply->reply->failure->message);
			hyper__envelope__free_unpacked(reply, NULL);
		}
	}
	assert_int_equal(count_containers(pod), before);
}

/* Descriptors do not pile up in the init. */
static void nothing_leaks(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *path = strf("/proc/%d/fd", (int)pod->pid);
	size_t before = 0, after = 0;

	NEEDS_NAMESPACE_POD("looks at the init's descriptors");
	for (int round = 0; round < 30; round++) {
		autoclosedir DIR *dir = NULL;
		size_t n = 0;

		free(shell_output(pod, "leak", "echo x"));
		dir = opendir(path);
		assert_non_null(dir);
		while (readdir(dir))
			n++;
		if (round == 2)
			before = n;
		after = n;
	}
	assert_int_equal(before, after);
}

/* ------------------------------------------------------------------ the end */

static void shuts_down_in_order(void **state)
{
	struct test_pod *pod = test_pod_start();
	Hyper__Shutdown shutdown = HYPER__SHUTDOWN__INIT;
	struct running polite, deaf;
	struct spec s;
	uint32_t id;

	spec_shell(&s, "polite",
		   "trap 'seq 1 100000; echo last; exit 3' TERM; echo ready; "
		   "while :; do sleep 0.05; done");
	container_run(pod, &s, &polite);
	spec_shell(&s, "deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done");
	container_run(pod, &s, &deaf);
	client_until(&pod->client, polite.out.data.len >= 6 && deaf.out.data.len >= 6);
	/* An emulated machine needs longer for its hundred thousand lines. */
	shutdown.deadline_ms = test_pod_is_vm() ? 15000 : 1500;
	id = client_post(&pod->client, REQUEST(shutdown, SHUTDOWN, &shutdown));
	assert_int_equal(client_exit(&pod->client, "polite", ""), 3);
	assert_int_equal(client_exit(&pod->client, "deaf", ""), 137);
	client_stream_wait_eof(&polite.out);
	assert_true(str_ends(str_text(&polite.out.data), "\nlast\n"));
	assert_int_equal(polite.out.data.len, 6 + 588895 + 5);
	client_expect_ok(&pod->client, id);
	assert_int_equal(test_pod_wait(pod), 0);
	running_close(&polite);
	running_close(&deaf);
	test_pod_stop(pod);
}

static void refuses_work_while_it_shuts_down(void **state)
{
	struct test_pod *pod = test_pod_start();
	Hyper__Shutdown shutdown = HYPER__SHUTDOWN__INIT;
	struct running deaf;
	struct spec s;
	uint32_t id;

	spec_shell(&s, "deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done");
	container_run(pod, &s, &deaf);
	client_until(&pod->client, deaf.out.data.len >= 6);
	shutdown.deadline_ms = 1000;
	id = client_post(&pod->client, REQUEST(shutdown, SHUTDOWN, &shutdown));
	client_fails(&pod->client, REQUEST(shutdown, SHUTDOWN, &shutdown), ERROR_CONFLICT,
		     "shutting down");
	spec_shell(&s, "late", "true");
	container_create_fails(pod, &s, ERROR_CONFLICT, "shutting down");
	running_close(&deaf);
	client_stream_open(&deaf.out, &pod->client);
	client_stream_close(&deaf.out);
	client_expect_ok(&pod->client, id);
	assert_int_equal(test_pod_wait(pod), 0);
	test_pod_stop(pod);
}

static void ends_on_sigterm(void **state)
{
	struct test_pod *pod;
	struct running r;
	struct spec s;

	NEEDS_NAMESPACE_POD("the signal would be QEMU's");
	pod = test_pod_start();

	spec_shell(&s, "polite", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done");
	container_run(pod, &s, &r);
	client_until(&pod->client, r.out.data.len >= 6);
	kill(pod->pid, SIGTERM);
	assert_int_equal(client_exit(&pod->client, "polite", ""), 0);
	client_stream_wait_eof(&r.out);
	client_until(&pod->client, pod->client.closed);
	assert_int_equal(test_pod_wait(pod), 0);
	running_close(&r);
	test_pod_stop(pod);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_survives_daemons),
		cmocka_unit_test(input_survives_daemons),
		cmocka_unit_test(ends_while_nobody_listens),
		cmocka_unit_test(newer_host_replaces_older),
		cmocka_unit_test(garbage),
		cmocka_unit_test(messages_that_are_no_requests),
		cmocka_unit_test(flood),
		cmocka_unit_test(too_many_waiting),
		cmocka_unit_test(layer_streams_that_fail),
		cmocka_unit_test(layers_and_disks),
		cmocka_unit_test(pod_settings),
		cmocka_unit_test(containers),
		cmocka_unit_test(processes),
		cmocka_unit_test(mutated_requests),
		cmocka_unit_test(stop_exec_and_delete_race),
		cmocka_unit_test(nothing_leaks),
	};
	const struct CMUnitTest ends[] = {
		cmocka_unit_test_teardown(shuts_down_in_order, test_pod_teardown),
		cmocka_unit_test_teardown(refuses_work_while_it_shuts_down, test_pod_teardown),
		cmocka_unit_test_teardown(ends_on_sigterm, test_pod_teardown),
	};
	int failed;

	test_pod_init(argc, argv);
	failed = cmocka_run_group_tests_name("protocol", tests, test_pod_setup, test_pod_teardown);
	return failed + cmocka_run_group_tests_name("end", ends, NULL, NULL);
}
