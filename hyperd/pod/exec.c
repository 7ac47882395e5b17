/* Further processes: in a running container, or beside the agent itself. */
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "hyperd/pod/arena.h"
#include "hyperd/pod/internal.h"
#include "hyperd/pod/oci_defaults.h"

/* Ended sessions that can still be inspected. */
#define EXECS_KEPT 1024

void exec_spec_free(struct exec_spec *spec)
{
	if (!spec)
		return;
	strv_free(spec->args);
	strv_free(spec->env);
	free(spec->user);
	free(spec->working_dir);
	free(spec->detach_keys);
	free(spec);
}

struct exec *exec_ref(struct exec *exec)
{
	exec->refs++;
	return exec;
}

void exec_unref(struct exec *exec)
{
	if (!exec || --exec->refs)
		return;
	process_io_done(&exec->io);
	exec_spec_free(exec->spec);
	container_unref(exec->container);
	pod_unref(exec->pod);
	free(exec);
}

const char *exec_id(const struct exec *exec)
{
	return exec->id;
}

static void forget(struct exec *exec)
{
	list_remove(&exec->node);
	exec_unref(exec);
}

/* The oldest ended ones go when there are too many. */
static void limit_execs(struct engine *engine)
{
	unsigned n = 0;

	list_for_each_safe(node, &engine->execs) {
		struct exec *exec = container_of(node, struct exec, node);

		if (++n > EXECS_KEPT && exec->done)
			forget(exec);
	}
}

static int exec_new(struct pod *pod, struct container *c, struct exec_spec *spec, const char *id,
		    struct exec **ret, struct error *err)
{
	struct exec *exec = calloc(1, sizeof(*exec));
	int r = 0;

	if (!exec) {
		exec_spec_free(spec);
		return error_nomem(err);
	}
	exec->refs = 1;
	exec->engine = pod->engine;
	exec->pod = pod_ref(pod);
	exec->container = c ? container_ref(c) : NULL;
	exec->spec = spec;
	list_init(&exec->node);
	cond_init(&exec->changed);
	process_io_init(&exec->io, pod->engine->loop);
	exec->io.tty = spec->tty;
	exec->io.close_stdin = true;
	if (id)
		snprintf(exec->id, sizeof(exec->id), "%s", id);
	else
		r = id_make(exec->id, err);
	if (r < 0) {
		exec_unref(exec);
		return r;
	}
	limit_execs(pod->engine);
	list_append(pod->engine->execs.next, &exec->node);
	exec_ref(exec);
	*ret = exec;
	return 0;
}

/* "exec_create: sh -c date", as Docker's events have it. */
static void exec_event(struct exec *exec, const char *action, bool with_command)
{
	autostr struct str text = STR_INIT;
	const char *keys[] = { "execID", exec->id, NULL, NULL, NULL };
	char code[16];

	if (!exec->container)
		return;
	str_add(&text, action);
	if (with_command) {
		str_addc(&text, ':');
		strv_for_each(arg, exec->spec->args)
			str_addf(&text, " %s", *arg);
	} else {
		snprintf(code, sizeof(code), "%d", exec->exit_code);
		keys[2] = "exitCode";
		keys[3] = code;
	}
	container_event(exec->container, str_text(&text), keys);
}

static int refuse_state(const struct container *c, struct error *err)
{
	if (c->removed)
		return error_set(err, ERROR_NOT_FOUND, "No such container: %s", c->id);
	if (c->state == CONTAINER_PAUSED)
		return error_set(err, ERROR_CONFLICT,
				 "Container %s is paused, unpause the container before exec",
				 c->id);
	if (c->state == CONTAINER_RESTARTING)
		return error_set(err, ERROR_CONFLICT,
				 "Container %s is restarting, wait until the container is running",
				 c->id);
	if (!container_is_running(c))
		return error_set(err, ERROR_CONFLICT, "Container %s is not running", c->id);
	return 0;
}

int exec_create(struct container *c, struct exec_spec *spec, struct exec **ret, struct error *err)
{
	int r = refuse_state(c, err);

	if (r == 0 && !strv_len(spec->args))
		r = error_set(err, ERROR_INVALID, "No exec command specified");
	if (r < 0) {
		exec_spec_free(spec);
		return r;
	}
	r = exec_new(c->pod, c, spec, NULL, ret, err);
	if (r == 0)
		exec_event(*ret, "exec_create", true);
	return r;
}

int exec_create_vm(struct pod *pod, struct exec_spec *spec, struct exec **ret, struct error *err)
{
	int r = 0;

	if (!pod_agent(pod, err))
		r = -EBUSY;
	else if (!strv_len(spec->args))
		r = error_set(err, ERROR_INVALID, "No exec command specified");
	if (r < 0) {
		exec_spec_free(spec);
		return r;
	}
	return exec_new(pod, NULL, spec, NULL, ret, err);
}

int exec_get(struct engine *engine, const char *id, struct exec **ret, struct error *err)
{
	struct exec *exec, *found = NULL;

	list_for_each_entry(exec, &engine->execs, node) {
		int match = id_match(exec->id, id);

		if (!match)
			continue;
		if (found)
			return error_set(err, ERROR_INVALID,
					 "Multiple IDs found with provided prefix: %s", id);
		found = exec;
	}
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "No such exec instance: %s", id);
	*ret = exec_ref(found);
	return 0;
}

/* ------------------------------------------------------------------ starting */

/* The container's environment, terminal and user, with the session's own over them. */
static int make_config(const struct exec *exec, struct process_config *ret, struct error *err)
{
	const struct container *c = exec->container;
	const struct exec_spec *spec = exec->spec;
	const char *user = c ? c->config.user : "", *dir = c ? c->config.working_dir : "/";
	struct process_config config = { 0 };
	int r = 0;

	config.args = strv_copy(spec->args);
	config.env = strv_copy(c ? c->config.env : NULL);
	config.user = strdup(spec->user && *spec->user ? spec->user : user);
	config.working_dir =
		strdup(spec->working_dir && *spec->working_dir ? spec->working_dir : dir);
	if (!config.args || !config.env || !config.user || !config.working_dir)
		r = -ENOMEM;
	if (r == 0 && !c)
		r = strv_add(&config.env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
					  "/sbin:/bin");
	if (r == 0 && spec->tty)
		r = strv_add(&config.env, "TERM=xterm");
	if (r == 0)
		r = env_merge(&config.env, spec->env);
	if (r < 0) {
		process_config_done(&config);
		return error_nomem(err);
	}
	config.capabilities = !c || spec->privileged ? CAPABILITIES_ALL : c->config.capabilities;
	*ret = config;
	return 0;
}

static int call_agent(struct exec *exec, Hyper__Process *process, Hyper__ProcessStreams *streams,
		      struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerExec body = HYPER__CONTAINER_EXEC__INIT;
	Hyper__Reply *reply = NULL;
	struct agent *agent = pod_agent(exec->pod, err);
	int r;

	if (!agent)
		return -EBUSY;
	body.container = exec->container ? exec->container->id : (char *)"";
	body.exec = exec->id;
	body.process = process;
	body.streams = streams;
	body.privileged = exec->spec->privileged || !exec->container;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_EXEC;
	request.container_exec = &body;
	r = agent_call(agent, &request, deadline_in_ms(AGENT_START_MS), &reply, err);
	if (r == 0 && reply->body_case == HYPER__REPLY__BODY_CONTAINER_STARTED)
		exec->pid = reply->container_started->pid > 0 ? reply->container_started->pid : 1;
	if (reply)
		hyper__reply__free_unpacked(reply, NULL);
	return r;
}

static int start_process(struct exec *exec, const struct process_config *config, struct error *err)
{
	static const struct container_spec beside_agent;
	const struct exec_spec *spec = exec->spec;
	const struct process_io_options options = {
		.want_stdin = spec->open_stdin,
		.want_stdout = true,
		.want_stderr = true,
		.tty = spec->tty,
		.close_stdin = true,
	};
	Hyper__ProcessStreams streams = HYPER__PROCESS_STREAMS__INIT;
	struct seccomp_filter *filter = NULL;
	Hyper__Process *process;
	struct agent *agent;
	struct arena arena;
	int r = 0;

	if (exec->container)
		r = container_seccomp(exec->container, spec->privileged, &filter, err);
	if (r < 0)
		return r;
	agent = pod_agent(exec->pod, err);
	if (!agent) {
		seccomp_filter_unref(filter);
		return -EBUSY;
	}
	arena_init(&arena);
	process = process_request(&arena, config,
				  exec->container ? exec->container->spec : &beside_agent, filter);
	process->terminal = spec->tty;
	process->no_new_privileges &= !spec->privileged;
	r = process_io_open(&exec->io, agent, &options, &streams, err);
	if (r == 0)
		r = call_agent(exec, process, &streams, err);
	seccomp_filter_unref(filter);
	arena_done(&arena);
	return r;
}

static void exec_exit_task(void *arg);

static void exec_exit_begin(struct exec *exec)
{
	if (engine_task(exec->engine, "exec-exit", exec_exit_task, exec_ref(exec), NULL) < 0)
		exec_unref(exec);
}

static void exec_failed(struct exec *exec, const struct error *why)
{
	process_io_end(&exec->io);
	exec->exit_code = why->exit_code ? why->exit_code : 126;
	exec->running = false;
	exec->done = true;
	cond_broadcast(&exec->changed);
}

static int run(struct exec *exec, struct error *err)
{
	struct process_config config = { 0 };
	struct error why = { 0 };
	int r = make_config(exec, &config, &why);

	/* Counts as running from here on: its exit may come before the reply is dealt with. */
	exec->running = true;
	if (r == 0)
		r = start_process(exec, &config, &why);
	process_config_done(&config);
	if (r == 0 && exec->done)
		r = error_set(&why, ERROR_CONFLICT, "the sandbox ended while the process began");
	if (r < 0) {
		exec_failed(exec, &why);
		error_copy(err, &why);
		return r;
	}
	process_io_started(&exec->io);
	exec_event(exec, "exec_start", true);
	if (exec->exit.have)
		exec_exit_begin(exec);
	return 0;
}

int exec_start(struct exec *exec, const struct attachment_events *events, void *owner,
	       struct attachment **ret, struct error *err)
{
	autoptr(exec_unref) __attribute__((unused)) struct exec *held = exec_ref(exec);
	struct attachment *attachment = NULL;
	const struct attach_options options = {
		.want_stdin = exec->spec->open_stdin,
		.want_stdout = exec->spec->want_stdout || exec->spec->tty,
		.want_stderr = exec->spec->want_stderr,
		.stream = true,
	};
	bool shielded;
	int r;

	if (exec->started && exec->running)
		return error_set(err, ERROR_CONFLICT, "Error: Exec command %s is already running",
				 exec->id);
	if (exec->started)
		return error_set(err, ERROR_CONFLICT, "Error: Exec command %s has already run",
				 exec->id);
	r = exec->container ? refuse_state(exec->container, err) : 0;
	if (r < 0)
		return r;
	if (events) {
		r = attachment_new(&exec->io, &options, events, owner, &attachment, err);
		if (r < 0)
			return r;
		attachment->exec = exec_ref(exec);
		if (ret)
			*ret = attachment;
	}
	exec->started = true;
	/* A client that leaves now leaves a process that runs; half a start helps nobody. */
	shielded = task_shield(true);
	r = run(exec, err);
	task_shield(shielded);
	if (r < 0 && attachment) {
		attachment_detach(attachment);
		if (ret)
			*ret = NULL;
	}
	return r;
}

/* ------------------------------------------------------------------ ending */

static void forget_in_agent(struct exec *exec)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ProcessForget body = HYPER__PROCESS_FORGET__INIT;
	struct agent *agent = pod_agent(exec->pod, NULL);

	if (!agent)
		return;
	body.container = exec->container ? exec->container->id : (char *)"";
	body.exec = exec->id;
	request.body_case = HYPER__REQUEST__BODY_PROCESS_FORGET;
	request.process_forget = &body;
	agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), NULL, NULL);
}

static void exec_exit_task(void *arg)
{
	struct exec *exec = arg;
	struct engine *engine = exec->engine;

	process_io_exited(&exec->io);
	process_io_wait(&exec->io, deadline_in_ms(EXEC_OUTPUT_AFTER_EXIT_MS));
	exec->exit_code = exec->exit.code;
	exec->running = false;
	exec->done = true;
	exec->pid = 0;
	process_io_end(&exec->io);
	cond_broadcast(&exec->changed);
	exec_event(exec, "exec_die", false);
	forget_in_agent(exec);
	exec_unref(exec);
	engine_task_done(engine);
}

static void ended(struct exec *exec, const struct process_exit *exit)
{
	if (!exec->running || exec->exit.have)
		return;
	exec->exit = *exit;
	/* One whose start was not answered yet is dealt with by run(). */
	if (exec->pid)
		exec_exit_begin(exec);
}

void exec_process_exited(struct pod *pod, const char *id, const struct process_exit *exit)
{
	struct exec *exec;

	list_for_each_entry(exec, &pod->engine->execs, node) {
		if (exec->pod == pod && strcmp(exec->id, id) == 0) {
			ended(exec, exit);
			return;
		}
	}
}

void execs_ended(struct pod *pod, struct container *c)
{
	const struct process_exit exit = { .have = true, .code = 137, .signal = SIGKILL };
	struct exec *exec;

	list_for_each_entry(exec, &pod->engine->execs, node) {
		if (exec->pod != pod || (c && exec->container != c))
			continue;
		ended(exec, &exit);
		process_io_close_streams(&exec->io);
	}
}

void execs_forget(struct pod *pod, struct container *c)
{
	list_for_each_safe(node, &pod->engine->execs) {
		struct exec *exec = container_of(node, struct exec, node);

		if (exec->pod == pod && (!c || exec->container == c))
			forget(exec);
	}
}

int exec_resize(struct exec *exec, unsigned rows, unsigned columns, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ProcessResize body = HYPER__PROCESS_RESIZE__INIT;
	struct agent *agent = pod_agent(exec->pod, err);

	if (!agent)
		return -EBUSY;
	if (!exec->running)
		return error_set(err, ERROR_CONFLICT, "exec %s is not running", exec->id);
	body.container = exec->container ? exec->container->id : (char *)"";
	body.exec = exec->id;
	body.rows = rows;
	body.columns = columns;
	request.body_case = HYPER__REQUEST__BODY_PROCESS_RESIZE;
	request.process_resize = &body;
	return agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), NULL, err);
}

int exec_wait(struct exec *exec, int *ret_code, struct error *err)
{
	autoptr(exec_unref) __attribute__((unused)) struct exec *held = exec_ref(exec);

	while (!exec->done)
		if (cond_wait(&exec->changed, DEADLINE_NEVER) < 0)
			return error_set(err, ERROR_CANCELED, "canceled while waiting for exec %s",
					 exec->id);
	*ret_code = exec->exit_code;
	return 0;
}

void exec_status(const struct exec *exec, struct exec_status *ret)
{
	*ret = (struct exec_status){
		.running = exec->running,
		.started = exec->started,
		.exit_code = exec->exit_code,
		.pid = exec->pid,
		.spec = exec->spec,
		.container_id = exec->container ? exec->container->id : "",
	};
}

/* ------------------------------------------------------------------ adoption */

/*
 * A session of an earlier daemon, of which only the agent knows: its output has nobody any more and
 * must flow, its exit code can still be asked for.
 */
int exec_adopt(struct pod *pod, struct container *c, const Hyper__ProcessState *state,
	       struct error *err)
{
	const struct process_io_options options = { .close_stdin = true };
	const struct process_exit exit = {
		.have = true,
		.code = (int)state->exit_code,
		.signal = (int)state->signal,
	};
	struct agent *agent = pod_agent(pod, err);
	autoptr(exec_unref) struct exec *exec = NULL;
	struct exec_spec *spec = calloc(1, sizeof(*spec));
	int r;

	if (!spec)
		return error_nomem(err);
	r = exec_new(pod, c, spec, state->exec, &exec, err);
	if (r < 0)
		return r;
	if (!agent)
		return -EBUSY;
	exec->started = exec->running = true;
	exec->pid = state->pid ? state->pid : 1;
	r = process_io_adopt(&exec->io, agent, &options, state, err);
	if (r == 0 && exec->io.input)
		mux_stream_end(exec->io.input);
	if (!state->running)
		ended(exec, &exit);
	return r;
}
