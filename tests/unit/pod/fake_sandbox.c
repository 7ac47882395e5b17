#include "tests/unit/pod/fake_sandbox.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "base/task.h"

struct fake_log fake;

struct process {
	struct list node;
	struct agent_side *side;
	char *container, *exec, *script, *argument;
	bool started, running, in_agent_eof;
	int code, signal;
	struct mux_stream *in, *out, *err;
	uint32_t in_id, out_id, err_id;
	uint64_t to_flood, flooded;
	uint64_t received;
};

/* The agent and its end of the channel. Lives as long as the sandbox, not as the daemon. */
struct agent_side {
	struct list node;
	char id[80];
	struct loop *loop;
	int fd;
	struct loop_io io;
	struct mux *mux;
	struct list processes;
	struct sandbox *sandbox; /* NULL while detached */
	bool frozen, set_up;
};

struct sandbox {
	struct agent *agent;
	struct agent_side *side;
	const struct sandbox_events *events;
	void *owner;
	bool dead;
	struct loop_deferred died;
	struct error why;
};

static struct list sides = LIST_INIT(sides);
static struct loop *fake_loop;

/* ------------------------------------------------------------------ talking */

static void send_envelope(struct agent_side *side, Hyper__Envelope *envelope)
{
	size_t len = hyper__envelope__get_packed_size(envelope);
	uint8_t *data = malloc(len + 1);

	hyper__envelope__pack(envelope, data);
	mux_send_message(side->mux, data, len);
	free(data);
}

static void reply(struct agent_side *side, Hyper__Reply *body)
{
	Hyper__Envelope envelope = HYPER__ENVELOPE__INIT;

	envelope.body_case = HYPER__ENVELOPE__BODY_REPLY;
	envelope.reply = body;
	send_envelope(side, &envelope);
}

static void reply_ok(struct agent_side *side, uint32_t id)
{
	Hyper__Reply body = HYPER__REPLY__INIT;

	body.id = id;
	reply(side, &body);
}

static void reply_failure(struct agent_side *side, uint32_t id, enum error_kind kind, int code,
			  const char *text)
{
	Hyper__Reply body = HYPER__REPLY__INIT;
	Hyper__Failure failure = HYPER__FAILURE__INIT;

	failure.kind = kind;
	failure.exit_code = (uint32_t)code;
	failure.message = (char *)text;
	body.id = id;
	body.failure = &failure;
	reply(side, &body);
}

static void send_exit(struct process *p)
{
	Hyper__Envelope envelope = HYPER__ENVELOPE__INIT;
	Hyper__Event event = HYPER__EVENT__INIT;
	Hyper__ProcessExited exited = HYPER__PROCESS_EXITED__INIT;

	exited.container = p->container;
	exited.exec = p->exec;
	exited.exit_code = (uint32_t)p->code;
	exited.signal = (uint32_t)p->signal;
	exited.realtime_ns = realtime_ns();
	event.body_case = HYPER__EVENT__BODY_PROCESS_EXITED;
	event.process_exited = &exited;
	envelope.body_case = HYPER__ENVELOPE__BODY_EVENT;
	envelope.event = &event;
	send_envelope(p->side, &envelope);
}

/* ------------------------------------------------------------------ processes */

static void process_exit(struct process *p, int code, int signal)
{
	if (!p->running)
		return;
	p->running = false;
	p->code = code;
	p->signal = signal;
	if (p->out)
		mux_stream_end(p->out);
	if (p->err)
		mux_stream_end(p->err);
	send_exit(p);
}

/* Lines of 63 bytes; goes on in the middle of one where the window was full. */
static void flood(struct process *p)
{
	static const char line[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n";

	while (p->flooded < p->to_flood) {
		size_t at = (size_t)(p->flooded % 63), n = 63 - at;
		ssize_t sent;

		if (n > p->to_flood - p->flooded)
			n = (size_t)(p->to_flood - p->flooded);
		sent = mux_stream_send(p->out, line + at, n);
		if (sent < 0)
			return;
		p->flooded += (uint64_t)sent;
		if ((size_t)sent < n)
			return; /* called again when there is room */
	}
	process_exit(p, 0, 0);
}

static void on_out_writable(struct mux_stream *stream)
{
	struct process *p = mux_stream_owner(stream);

	if (p->to_flood && p->running)
		flood(p);
}

static void on_in_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	struct process *p = mux_stream_owner(stream);

	p->received += len;
	if (p->out && strcmp(p->script, "cat") == 0)
		mux_stream_send(p->out, data, len);
	mux_stream_ack(stream, len);
}

static void on_in_eof(struct mux_stream *stream)
{
	struct process *p = mux_stream_owner(stream);

	if (strcmp(p->script, "cat") == 0)
		process_exit(p, 0, 0);
}

static void ignore_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	mux_stream_ack(stream, len);
}

static void ignore(struct mux_stream *stream)
{
}

static void ignore_reset(struct mux_stream *stream, int errnum)
{
}

static const struct mux_stream_events in_events = { on_in_data, on_in_eof, ignore, NULL,
						    ignore_reset };
static const struct mux_stream_events out_events = { ignore_data, ignore, on_out_writable, NULL,
						     ignore_reset };

static struct process *find_process(struct agent_side *side, const char *container,
				    const char *exec)
{
	struct process *p;

	list_for_each_entry(p, &side->processes, node) {
		if (strcmp(p->container, container) == 0 && strcmp(p->exec, exec) == 0)
			return p;
	}
	return NULL;
}

static struct process *process_new(struct agent_side *side, const char *container, const char *exec,
				   const Hyper__Process *process)
{
	struct process *p = calloc(1, sizeof(*p));

	p->side = side;
	p->container = strdup(container);
	p->exec = strdup(exec);
	p->script = strdup(process->n_args ? process->args[0] : "true");
	p->argument = strdup(process->n_args > 1 ? process->args[1] : "");
	list_append(&side->processes, &p->node);
	return p;
}

static void process_free(struct process *p)
{
	list_remove(&p->node);
	mux_stream_close(p->in);
	mux_stream_close(p->out);
	mux_stream_close(p->err);
	free(p->container);
	free(p->exec);
	free(p->script);
	free(p->argument);
	free(p);
}

static void write_text(struct process *p, struct mux_stream *to, const char *text, bool newline)
{
	if (!to)
		return;
	mux_stream_send(to, text, strlen(text));
	if (newline)
		mux_stream_send(to, "\n", 1);
}

static void process_run(struct process *p, const Hyper__ProcessStreams *streams, uint32_t id)
{
	Hyper__Reply body = HYPER__REPLY__INIT;
	Hyper__ContainerStarted started = HYPER__CONTAINER_STARTED__INIT;

	if (strcmp(p->script, "mute") == 0)
		return;
	if (strcmp(p->script, "missing") == 0) {
		reply_failure(p->side, id, ERROR_NOT_FOUND, 127,
			      "exec: \"missing\": executable file not found in $PATH");
		return;
	}
	if (streams) {
		p->in_id = streams->stdin;
		p->out_id = streams->stdout;
		p->err_id = streams->stderr;
	}
	if (p->in_id)
		mux_stream_open(p->side->mux, p->in_id, &in_events, p, 0, 0, &p->in);
	if (p->out_id)
		mux_stream_open(p->side->mux, p->out_id, &out_events, p, 0, 0, &p->out);
	if (p->err_id)
		mux_stream_open(p->side->mux, p->err_id, &out_events, p, 0, 0, &p->err);
	p->started = p->running = true;
	started.pid = 7;
	body.id = id;
	body.body_case = HYPER__REPLY__BODY_CONTAINER_STARTED;
	body.container_started = &started;
	reply(p->side, &body);
	if (strcmp(p->script, "true") == 0) {
		process_exit(p, 0, 0);
	} else if (strcmp(p->script, "exit") == 0) {
		process_exit(p, atoi(p->argument), 0);
	} else if (strcmp(p->script, "echo") == 0) {
		write_text(p, p->out, p->argument, true);
		process_exit(p, 0, 0);
	} else if (strcmp(p->script, "part") == 0) {
		write_text(p, p->out, p->argument, false);
	} else if (strcmp(p->script, "err") == 0) {
		write_text(p, p->err, p->argument, true);
		process_exit(p, 0, 0);
	} else if (strcmp(p->script, "flood") == 0) {
		p->to_flood = strtoull(p->argument, NULL, 10);
		flood(p);
	}
}

/* ------------------------------------------------------------------ requests */

static void on_create(struct agent_side *side, const Hyper__Request *r)
{
	const Hyper__ContainerCreate *c = r->container_create;

	if (find_process(side, c->id, "")) {
		reply_failure(side, r->id, ERROR_CONFLICT, 0, "the container exists");
		return;
	}
	fake.containers_created++;
	fake.last_seccomp_bytes = c->process->seccomp.len;
	fake.last_capabilities = c->process->capabilities->effective;
	strv_free(fake.last_env);
	fake.last_env = NULL;
	for (size_t i = 0; i < c->process->n_env; i++)
		strv_add(&fake.last_env, c->process->env[i]);
	process_new(side, c->id, "", c->process);
	reply_ok(side, r->id);
}

static void on_delete(struct agent_side *side, const Hyper__Request *r)
{
	const char *id = r->container_delete->id;

	fake.containers_deleted++;
	fake.disks_deleted += r->container_delete->disk;
	list_for_each_safe(node, &side->processes) {
		struct process *p = container_of(node, struct process, node);

		if (strcmp(p->container, id) == 0)
			process_free(p);
	}
	reply_ok(side, r->id);
}

static void on_signal(struct agent_side *side, const Hyper__Request *r)
{
	const Hyper__ProcessSignal *s = r->process_signal;
	struct process *p = find_process(side, s->container, s->exec);

	if (!p || !p->running) {
		reply_failure(side, r->id, ERROR_CONFLICT, 0, "the process does not run");
		return;
	}
	reply_ok(side, r->id);
	if (s->signal == SIGKILL)
		process_exit(p, 137, SIGKILL);
	else if (s->signal == SIGTERM && strcmp(p->script, "stubborn") != 0)
		process_exit(p, 143, SIGTERM);
}

static void files_say(struct mux_stream *stream)
{
	size_t left = fake.files.out.len - (size_t)fake.files.taken;
	ssize_t n =
		left ? mux_stream_send(stream, fake.files.out.data + fake.files.taken, left) : 0;

	fake.files.taken += n > 0 ? (uint64_t)n : 0;
	if (fake.files.taken == fake.files.out.len && !fake.files.stall)
		mux_stream_end(stream);
}

static void on_files_writable(struct mux_stream *stream)
{
	files_say(stream);
}

static const struct mux_stream_events files_events = { ignore_data, ignore, on_files_writable, NULL,
						       ignore_reset };

/* A process as any other, so that it is forgotten as one. */
static void on_files(struct agent_side *side, const Hyper__Request *r)
{
	const Hyper__Process nothing = HYPER__PROCESS__INIT;
	const Hyper__FilesServe *ask = r->files_serve;
	struct process *p;

	fake.files.asked++;
	if (fake.files.refusal) {
		reply_failure(side, r->id, ERROR_NOT_FOUND, 0, fake.files.refusal);
		return;
	}
	p = process_new(side, "", ask->exec, &nothing);
	fake.files.taken = 0;
	mux_stream_open(side->mux, ask->streams->stdout, &files_events, p, 0, 0, &p->out);
	if (ask->streams->stdin)
		mux_stream_open(side->mux, ask->streams->stdin, &in_events, p, 0, 0, &p->in);
	reply_ok(side, r->id);
	files_say(p->out);
}

static void on_state(struct agent_side *side, const Hyper__Request *r)
{
	Hyper__Reply body = HYPER__REPLY__INIT;
	Hyper__State state = HYPER__STATE__INIT;
	Hyper__ContainerState containers[16], *container_list[16];
	Hyper__ProcessState processes[16], *process_list[16];
	Hyper__ProcessStreams streams[16];
	struct process *p;
	size_t n = 0;

	list_for_each_entry(p, &side->processes, node) {
		hyper__container_state__init(&containers[n]);
		hyper__process_state__init(&processes[n]);
		hyper__process_streams__init(&streams[n]);
		streams[n].stdin = p->in_id;
		streams[n].stdout = p->out_id;
		streams[n].stderr = p->err_id;
		processes[n].exec = p->exec;
		processes[n].running = p->running;
		processes[n].exit_code = (uint32_t)p->code;
		processes[n].streams = &streams[n];
		processes[n].stdin_received = p->received;
		processes[n].stdout_acknowledged = p->out ? mux_stream_acknowledged(p->out) : 0;
		processes[n].stderr_acknowledged = p->err ? mux_stream_acknowledged(p->err) : 0;
		processes[n].pid = 7;
		process_list[n] = &processes[n];
		containers[n].id = p->container;
		containers[n].created = true;
		containers[n].started = p->started;
		containers[n].processes = &process_list[n];
		containers[n].n_processes = 1;
		container_list[n] = &containers[n];
		if (++n == 16)
			break;
	}
	state.containers = container_list;
	state.n_containers = n;
	state.pod_ready = side->set_up;
	body.id = r->id;
	body.body_case = HYPER__REPLY__BODY_STATE;
	body.state = &state;
	reply(side, &body);
}

static void on_file(struct agent_side *side, const Hyper__Request *r)
{
	free(fake.last_file);
	fake.last_file = strndup((const char *)r->file_write->data.data, r->file_write->data.len);
	reply_ok(side, r->id);
}

static void on_request(struct agent_side *side, const Hyper__Request *r)
{
	Hyper__Reply body = HYPER__REPLY__INIT;
	Hyper__HelloReply hello = HYPER__HELLO_REPLY__INIT;
	struct process *p;

	body.id = r->id;
	switch (r->body_case) {
	case HYPER__REQUEST__BODY_HELLO:
		hello.protocol = PROTOCOL_VERSION;
		hello.agent_version = (char *)"fake";
		hello.kernel = (char *)"6.12";
		body.body_case = HYPER__REPLY__BODY_HELLO;
		body.hello = &hello;
		reply(side, &body);
		break;
	case HYPER__REQUEST__BODY_POD_SETUP:
		fake.setups++;
		side->set_up = true;
		snprintf(fake.last_hostname, sizeof(fake.last_hostname), "%s",
			 r->pod_setup->hostname);
		reply_ok(side, r->id);
		break;
	case HYPER__REQUEST__BODY_CONTAINER_CREATE:
		on_create(side, r);
		break;
	case HYPER__REQUEST__BODY_CONTAINER_START:
		p = find_process(side, r->container_start->id, "");
		if (p)
			process_run(p, r->container_start->streams, r->id);
		else
			reply_failure(side, r->id, ERROR_NOT_FOUND, 0, "no such container");
		break;
	case HYPER__REQUEST__BODY_CONTAINER_EXEC:
		p = process_new(side, r->container_exec->container, r->container_exec->exec,
				r->container_exec->process);
		process_run(p, r->container_exec->streams, r->id);
		break;
	case HYPER__REQUEST__BODY_CONTAINER_DELETE:
		on_delete(side, r);
		break;
	case HYPER__REQUEST__BODY_PROCESS_SIGNAL:
		on_signal(side, r);
		break;
	case HYPER__REQUEST__BODY_PROCESS_FORGET:
		fake.processes_forgotten++;
		p = find_process(side, r->process_forget->container, r->process_forget->exec);
		if (p && *p->exec)
			process_free(p);
		reply_ok(side, r->id);
		break;
	case HYPER__REQUEST__BODY_FILES_SERVE:
		on_files(side, r);
		break;
	case HYPER__REQUEST__BODY_STATE_GET:
		on_state(side, r);
		break;
	case HYPER__REQUEST__BODY_FILE_WRITE:
		on_file(side, r);
		break;
	default:
		reply_ok(side, r->id);
	}
}

/* ------------------------------------------------------------------ the agent's channel */

static void on_message(struct mux *mux, const uint8_t *data, size_t len)
{
	struct agent_side *side = mux_owner(mux);
	Hyper__Envelope *envelope = hyper__envelope__unpack(NULL, len, data);

	if (envelope && envelope->body_case == HYPER__ENVELOPE__BODY_REQUEST)
		on_request(side, envelope->request);
	if (envelope)
		hyper__envelope__free_unpacked(envelope, NULL);
}

static void on_output_ready(struct mux *mux)
{
	struct agent_side *side = mux_owner(mux);

	if (side->io.loop)
		loop_io_modify(&side->io, EPOLLIN | EPOLLOUT);
}

static void on_connected(struct mux *mux)
{
}

static void on_broken(struct mux *mux, const char *why)
{
}

static const struct mux_events mux_events = { on_message, on_output_ready, on_connected,
					      on_broken };

static void disconnect(struct agent_side *side)
{
	loop_io_remove(&side->io);
	if (side->fd >= 0)
		close(side->fd);
	side->fd = -1;
}

static void on_io(struct loop_io *io, uint32_t events)
{
	struct agent_side *side = container_of(io, struct agent_side, io);
	uint8_t buf[65536];
	size_t len;
	ssize_t n;

	if (events & (EPOLLIN | EPOLLHUP)) {
		n = fd_read(side->fd, buf, sizeof(buf));
		if (n == 0 || (n < 0 && n != -EAGAIN)) {
			disconnect(side);
			return;
		}
		if (n > 0)
			mux_input(side->mux, buf, (size_t)n);
	}
	for (;;) {
		const uint8_t *data = mux_output(side->mux, &len);

		if (!len)
			break;
		n = send(side->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			return;
		mux_output_done(side->mux, (size_t)n);
	}
	loop_io_modify(&side->io, EPOLLIN);
}

static struct agent_side *find_side(const char *id)
{
	struct agent_side *side;

	list_for_each_entry(side, &sides, node) {
		if (strcmp(side->id, id) == 0)
			return side;
	}
	return NULL;
}

static void side_free(struct agent_side *side)
{
	disconnect(side);
	list_remove(&side->node);
	while (!list_empty(&side->processes))
		process_free(container_of(side->processes.next, struct process, node));
	mux_free(side->mux);
	free(side);
	fake.alive--;
}

/* ------------------------------------------------------------------ the host's side */

static void agent_event(struct agent *agent, const Hyper__Event *event, void *owner)
{
	struct sandbox *s = owner;

	s->events->agent_event(s, event, s->owner);
}

static void agent_lost(struct agent *agent, const struct error *why, void *owner)
{
	struct sandbox *s = owner;

	s->dead = true;
	if (s->events)
		s->events->died(s, why, s->owner);
}

static const struct agent_events agent_events = { agent_event, agent_lost };

static int connect_agent(struct agent_side *side, bool adopt, const struct sandbox_events *events,
			 void *owner, struct sandbox **ret, struct error *err)
{
	struct sandbox *s = calloc(1, sizeof(*s));
	int pair[2], r;

	assert(s && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	fd_set_nonblocking(pair[1], true);
	side->fd = pair[1];
	loop_io_add(fake_loop, &side->io, pair[1], EPOLLIN, on_io);
	s->side = side;
	s->events = events;
	s->owner = owner;
	r = agent_connect(fake_loop, pair[0], adopt, deadline_in_ms(5000), &agent_events, s,
			  &s->agent, err);
	if (r < 0) {
		free(s);
		return r;
	}
	side->sandbox = s;
	*ret = s;
	return 0;
}

const char *sandbox_isolation_name(enum sandbox_isolation isolation)
{
	return isolation == ISOLATION_VM ? "vm" : "namespace";
}

int sandbox_check_choice(struct sandbox_factory *factory, enum sandbox_isolation isolation,
			 const char *hypervisor, const char *machine, struct error *err)
{
	return 0;
}

int sandbox_start(struct sandbox_factory *factory, const struct sandbox_config *config,
		  const struct sandbox_events *events, void *owner, struct sandbox **ret,
		  struct error *err)
{
	struct agent_side *side;

	fake_loop = task_loop();
	task_yield();
	if (fake.fail_start) {
		fake.fail_start = false;
		return error_set(err, ERROR_FAILED, "no sandbox today");
	}
	side = calloc(1, sizeof(*side));
	snprintf(side->id, sizeof(side->id), "%s", config->id);
	side->fd = -1;
	list_init(&side->processes);
	list_append(&sides, &side->node);
	mux_new(MUX_AGENT, &mux_events, side, &side->mux);
	fake.sandboxes_started++;
	fake.alive++;
	return connect_agent(side, false, events, owner, ret, err);
}

const char *sandbox_tap(const struct sandbox *s)
{
	return "";
}

int sandbox_netns(const struct sandbox *s, int *ret_fd, struct error *err)
{
	return error_set(err, ERROR_UNSUPPORTED, "a fake sandbox has no network namespace");
}

struct agent *sandbox_agent(struct sandbox *s)
{
	return s->agent;
}

const struct sandbox_timing *sandbox_timing(const struct sandbox *s)
{
	static const struct sandbox_timing none;

	return &none;
}

int sandbox_add_shares(struct sandbox *s, const struct sandbox_share *shares, size_t count,
		       struct error *err)
{
	return 0;
}

bool sandbox_has_share(const struct sandbox *s, const char *name)
{
	return false;
}

int sandbox_add_layers(struct sandbox *s, const struct sandbox_layer *layers, size_t count,
		       struct error *err)
{
	return 0;
}

int sandbox_pause(struct sandbox *s, bool paused, struct error *err)
{
	s->side->frozen = paused;
	return 0;
}

int sandbox_host_stats(struct sandbox *s, json_t **ret, struct error *err)
{
	*ret = json_object();
	return 0;
}

int sandbox_console(struct sandbox *s, char **ret, size_t *ret_len, struct error *err)
{
	return error_set(err, ERROR_UNSUPPORTED, "no console");
}

void sandbox_stop(struct sandbox *s, uint64_t deadline_ms)
{
	s->events = NULL;
	task_yield();
	agent_free(s->agent);
	if (s->side)
		side_free(s->side);
	free(s);
	fake.sandboxes_stopped++;
}

json_t *sandbox_record(const struct sandbox *s)
{
	return json_pack("{s:s}", "side", s->side->id);
}

void sandbox_detach(struct sandbox *s)
{
	s->side->sandbox = NULL;
	disconnect(s->side);
	agent_free(s->agent);
	free(s);
}

int sandbox_adopt(struct sandbox_factory *factory, const json_t *record,
		  const struct sandbox_events *events, void *owner, struct sandbox **ret,
		  struct error *err)
{
	struct agent_side *side = find_side(json_string_value(json_object_get(record, "side")));

	if (!side)
		return error_set(err, ERROR_NOT_FOUND, "it died");
	return connect_agent(side, true, events, owner, ret, err);
}

int sandbox_factory_sweep(struct sandbox_factory *factory, struct error *err)
{
	fake_sweep();
	return 0;
}

/* ------------------------------------------------------------------ what tests do to it */

void fake_reset(void)
{
	fake_sweep();
	strv_free(fake.last_env);
	free(fake.last_file);
	str_done(&fake.files.out);
	memset(&fake, 0, sizeof(fake));
}

void fake_sweep(void)
{
	list_for_each_safe(node, &sides) {
		struct agent_side *side = container_of(node, struct agent_side, node);

		if (!side->sandbox)
			side_free(side);
	}
}

void fake_kill(const char *pod_id)
{
	struct agent_side *side = find_side(pod_id);

	if (side->sandbox)
		side->sandbox->side = NULL;
	side_free(side);
}

void fake_exit(const char *pod_id, const char *container_id, int code)
{
	process_exit(find_process(find_side(pod_id), container_id, ""), code, 0);
}

void fake_write(const char *pod_id, const char *container_id, const char *text)
{
	struct process *p = find_process(find_side(pod_id), container_id, "");

	write_text(p, p->out, text, false);
}

uint64_t fake_unacknowledged(const char *pod_id, const char *container_id)
{
	struct process *p = find_process(find_side(pod_id), container_id, "");

	return MUX_WINDOW_BYTES - mux_stream_room(p->out);
}

/* ------------------------------------------------------------------ images */

/* One image, "box", whose configuration has a little of everything. */
struct image {
	unsigned refs;
};

static struct image box;
static char *box_entrypoint[] = { NULL };
static char *box_cmd[] = { (char *)"echo", (char *)"from the image", NULL };
static char *box_env[] = { (char *)"PATH=/bin", (char *)"FROM=image", NULL };
static char *box_label_keys[] = { (char *)"maker", NULL };
static char *box_label_values[] = { (char *)"box", NULL };
static char *box_volumes[] = { (char *)"/data", NULL };
static const struct image_config box_config = {
	.entrypoint = box_entrypoint,
	.cmd = box_cmd,
	.env = box_env,
	.user = (char *)"daemon",
	.working_dir = (char *)"/srv",
	.stop_signal = (char *)"SIGTERM",
	.volumes = box_volumes,
	.label_keys = box_label_keys,
	.label_values = box_label_values,
};

int image_get(struct image_store *images, const char *name, struct image **ret, struct error *err)
{
	if (strcmp(name, "box") != 0 && strcmp(name, image_id(&box)) != 0)
		return error_set(err, ERROR_NOT_FOUND, "No such image: %s", name);
	*ret = image_ref(&box);
	return 0;
}

struct image *image_ref(struct image *image)
{
	image->refs++;
	return image;
}

void image_unref(struct image *image)
{
	if (image)
		image->refs--;
}

const char *image_id(const struct image *image)
{
	return "sha256:0000000000000000000000000000000000000000000000000000000000000b0b";
}

const struct image_config *image_config(const struct image *image)
{
	return &box_config;
}

uint64_t image_size_bytes(const struct image *image)
{
	return 1000;
}

size_t image_layer_count(const struct image *image)
{
	return 1;
}

const struct layer *image_layer(const struct image *image, size_t i)
{
	static const struct layer layer = {
		.diff_id = "sha256:1111",
		.directory = (char *)"/nonexistent",
		.erofs_path = (char *)"/nonexistent",
	};

	return &layer;
}
