/*
 * Stopping: signals, deadlines, and the end of the sandbox. And what the sandbox tells by itself.
 */
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "hyperd/pod/internal.h"

/* ------------------------------------------------------------------ what the sandbox tells */

static struct container *find_in_pod(struct pod *pod, const char *id)
{
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node) {
		if (strcmp(c->id, id) == 0)
			return c;
	}
	return NULL;
}

static void on_agent_event(struct sandbox *sandbox, const Hyper__Event *event, void *owner)
{
	struct pod *pod = owner;
	struct container *c;

	if (event->body_case == HYPER__EVENT__BODY_PROCESS_EXITED) {
		const Hyper__ProcessExited *e = event->process_exited;
		const struct process_exit exit = {
			.have = true,
			.code = (int)e->exit_code,
			.signal = (int)e->signal,
			.out_of_memory = e->out_of_memory,
			.realtime_ns = e->realtime_ns,
		};

		trace(pod, "pod %s: process %.12s/%.12s exited with %d", pod->name, e->container,
		      e->exec, exit.code);
		c = find_in_pod(pod, e->container);
		if (*e->exec)
			exec_process_exited(pod, e->exec, &exit);
		else if (c)
			container_process_exited(c, &exit);
	} else if (event->body_case == HYPER__EVENT__BODY_OUT_OF_MEMORY) {
		c = find_in_pod(pod, event->out_of_memory->container);
		if (c) {
			c->oom_killed = true;
			container_event(c, "oom", NULL);
		}
	}
}

static void died_task(void *arg)
{
	struct pod *pod = arg;
	struct engine *engine = pod->engine;

	if (pod_lock(pod, NULL) == 0) {
		if (pod->sandbox && pod->sandbox_dead)
			pod_end_sandbox(pod, 0, POD_FAILED);
		pod_unlock(pod);
		pod_auto_remove(pod);
	}
	pod_unref(pod);
	engine_task_done(engine);
}

static void on_died(struct sandbox *sandbox, const struct error *why, void *owner)
{
	struct pod *pod = owner;
	struct container *c;

	log_warn("pod %s: its sandbox died: %s", pod->name, why->message);
	pod->sandbox_dead = true;
	pod->failure = *why;
	error_prefix(&pod->failure, 0, "the sandbox died");
	cond_broadcast(&pod->changed);
	execs_ended(pod, NULL);
	list_for_each_entry(c, &pod->containers, pod_node) {
		const struct process_exit exit = { .have = true, .code = 137, .signal = SIGKILL };

		if (!container_is_running(c) || c->exit.have)
			continue;
		container_set_error(c, pod->failure.message);
		container_process_exited(c, &exit);
	}
	if (engine_task(pod->engine, "pod-died", died_task, pod_ref(pod), NULL) < 0)
		pod_unref(pod);
}

const struct sandbox_events pod_sandbox_events = {
	.agent_event = on_agent_event,
	.died = on_died,
};

/* ------------------------------------------------------------------ the sandbox's end */

static bool any_running(const struct pod *pod)
{
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node) {
		if (container_is_running(c))
			return true;
	}
	return false;
}

/* Whatever still runs ends with the sandbox. */
static void end_processes(struct pod *pod)
{
	struct container *c;

	execs_ended(pod, NULL);
	list_for_each_entry(c, &pod->containers, pod_node) {
		const struct process_exit exit = { .have = true, .code = 137, .signal = SIGKILL };

		if (container_is_running(c) && !c->exit.have)
			container_process_exited(c, &exit);
		process_io_close_streams(&c->io);
		c->in_agent = c->stands = false;
	}
}

void pod_end_sandbox(struct pod *pod, uint64_t deadline_ms, enum pod_state state)
{
	struct sandbox *sandbox = pod->sandbox;

	if (!sandbox)
		return;
	if (pod->serving) {
		pod_end_serving(pod, deadline_ms);
		return;
	}
	if (pod->sandbox_dead)
		deadline_ms = 0;
	else if (pod->state == POD_PAUSED && deadline_ms)
		sandbox_pause(sandbox, false, NULL);
	if (pod->state != POD_STARTING)
		pod_set_state(pod, POD_STOPPING);
	end_processes(pod);
	pod->sandbox = NULL;
	sandbox_stop(sandbox, deadline_ms);
	pod_volumes_unmount(pod);
	pod_network_close(pod);
	pod->sandbox_dead = pod->set_up = pod->thawed = false;
	pod->storage_used = true;
	while (any_running(pod))
		if (cond_wait(&pod->changed, deadline_in_ms(KILL_WAIT_MS)) < 0)
			break;
	pod->finished_ns = realtime_ns();
	pod_set_state(pod, state);
	pod_save_logged(pod);
	pod_event(pod, "stop");
}

static void auto_remove_task(void *arg)
{
	struct pod *pod = arg;
	struct engine *engine = pod->engine;
	struct error err = { 0 };

	/* Somebody may have started it again. */
	if (pod_remove(pod, false, &err) < 0 && err.kind != ERROR_NOT_FOUND &&
	    err.kind != ERROR_CONFLICT)
		log_warn("pod %s: removing it: %s", pod->name, err.message);
	pod_unref(pod);
	engine_task_done(engine);
}

void pod_auto_remove(struct pod *pod)
{
	if (!pod->spec->auto_remove || pod->solo || pod->sandbox || pod->removed ||
	    pod_has_live_containers(pod))
		return;
	if (engine_task(pod->engine, "pod-auto-remove", auto_remove_task, pod_ref(pod), NULL) < 0)
		pod_unref(pod);
}

void pod_settle(struct pod *pod)
{
	const struct container *only = NULL;

	if (!pod->sandbox || pod->held || pod->serving || pod_has_live_containers(pod))
		return;
	/* A pod that never had containers waits for some. */
	if (list_empty(&pod->containers) && !pod->sandbox_dead && !pod->solo)
		return;
	if (pod_is_alone(pod) && !list_empty(&pod->containers))
		only = container_of(pod->containers.next, struct container, pod_node);
	/* Nobody will want the disk of what is removed. */
	pod_end_sandbox(pod,
			only && (only->spec->auto_remove || only->removing) ? 0 : SANDBOX_STOP_MS,
			pod->sandbox_dead ? POD_FAILED : POD_STOPPED);
	pod_auto_remove(pod);
}

/* ------------------------------------------------------------------ signals */

int pod_signal(struct pod *pod, const char *container_id, const char *exec_id, int signal,
	       struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ProcessSignal body = HYPER__PROCESS_SIGNAL__INIT;
	struct agent *agent = pod_agent(pod, err);

	if (!agent)
		return -EBUSY;
	body.container = (char *)container_id;
	body.exec = (char *)exec_id;
	body.signal = (uint32_t)signal;
	request.body_case = HYPER__REQUEST__BODY_PROCESS_SIGNAL;
	request.process_signal = &body;
	return agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), NULL, err);
}

int pod_delete_in_agent(struct pod *pod, struct container *c, bool disk, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerDelete body = HYPER__CONTAINER_DELETE__INIT;
	struct agent *agent = pod_agent(pod, err);

	if (!agent)
		return -EBUSY;
	c->in_agent = c->stands = false;
	body.id = c->id;
	body.disk = disk;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_DELETE;
	request.container_delete = &body;
	return agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), NULL, err);
}

/* ------------------------------------------------------------------ stopping containers */

int pod_collect(struct pod *pod, bool live_only, struct container ***ret, size_t *ret_count,
		struct error *err)
{
	struct container *c, **v;
	size_t n = 0;

	list_for_each_entry(c, &pod->containers, pod_node)
		n++;
	v = calloc(n + 1, sizeof(*v));
	if (!v)
		return error_nomem(err);
	n = 0;
	list_for_each_entry(c, &pod->containers, pod_node) {
		if (!live_only || container_is_live(c))
			v[n++] = container_ref(c);
	}
	*ret = v;
	*ret_count = n;
	return 0;
}

void containers_free(struct container **containers, size_t count)
{
	for (size_t i = 0; containers && i < count; i++)
		container_unref(containers[i]);
	free(containers);
}

static int timeout_of(const struct container *c, int timeout_s)
{
	if (timeout_s >= 0)
		return timeout_s;
	return c->spec->stop_timeout_s >= 0 ? c->spec->stop_timeout_s : STOP_TIMEOUT_S;
}

static void wait_ended(struct container *c, uint64_t deadline_ns)
{
	while (container_is_running(c))
		if (cond_wait(&c->changed, deadline_ns) < 0)
			return;
}

static void begin_stop(struct pod *pod, struct container *c, bool manual)
{
	c->restart_canceled = true;
	c->manually_stopped |= manual;
	cond_broadcast(&c->changed);
	if (c->state == CONTAINER_PAUSED)
		pod_pause_container(pod, c, false, NULL);
	if (c->state == CONTAINER_RUNNING) {
		container_set_state(c, CONTAINER_STOPPING);
	} else if (c->state == CONTAINER_RESTARTING) {
		/* The task that waits for the next start finds that there is none. */
		container_set_state(c, CONTAINER_EXITED);
		container_save_logged(c);
		container_wake_waits(c, WAIT_NOT_RUNNING);
	}
}

int pod_stop_containers(struct pod *pod, struct container **containers, size_t count, int timeout_s,
			bool manual, struct error *err)
{
	uint64_t now = now_ns();
	bool left = false;

	for (size_t i = 0; i < count; i++)
		begin_stop(pod, containers[i], manual);
	for (size_t i = 0; i < count; i++) {
		struct container *c = containers[i];
		char number[16];
		const char *const keys[] = { "signal", number, NULL };

		if (!container_is_running(c))
			continue;
		snprintf(number, sizeof(number), "%d", c->config.stop_signal);
		container_event(c, "kill", keys);
		if (timeout_of(c, timeout_s) > 0)
			pod_signal(pod, c->id, "", c->config.stop_signal, NULL);
	}
	for (size_t i = 0; i < count; i++)
		wait_ended(containers[i],
			   now + (uint64_t)timeout_of(containers[i], timeout_s) * NSEC_PER_SEC);
	for (size_t i = 0; i < count; i++)
		if (container_is_running(containers[i]))
			pod_signal(pod, containers[i]->id, "", SIGKILL, NULL);
	for (size_t i = 0; i < count; i++) {
		wait_ended(containers[i], deadline_in_ms(KILL_WAIT_MS));
		left |= container_is_running(containers[i]);
	}
	if (!left)
		return 0;
	/* An agent that does not kill what it is told to: the sandbox itself can be killed. */
	log_warn("pod %s: processes are left after SIGKILL; ending its sandbox", pod->name);
	pod_end_sandbox(pod, 0, POD_FAILED);
	return 0;
}

int pod_stop(struct pod *pod, int timeout_s, struct error *err)
{
	struct container **containers = NULL;
	size_t count = 0;
	int r = pod_lock(pod, err);

	if (r < 0)
		return r;
	if (!pod->sandbox || pod->serving)
		r = error_set(err, ERROR_NOT_MODIFIED, "pod %s is not running", pod->name);
	if (r == 0)
		r = pod_collect(pod, true, &containers, &count, err);
	if (r == 0)
		r = pod_stop_containers(pod, containers, count, timeout_s, true, err);
	if (r == 0)
		pod_end_sandbox(pod, SANDBOX_STOP_MS, POD_STOPPED);
	pod_unlock(pod);
	for (size_t i = 0; i < count; i++)
		container_save_logged(containers[i]);
	containers_free(containers, count);
	return r;
}

int pod_kill(struct pod *pod, int signal, struct error *err)
{
	struct container **containers;
	struct error why = { 0 };
	size_t count, killed = 0;
	int r = pod_collect(pod, true, &containers, &count, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		int k = container_kill(containers[i], signal, &why);

		/* One that ended by itself meanwhile is no failure. */
		if (k == 0)
			killed++;
		else if (why.kind != ERROR_CONFLICT && r == 0)
			r = k;
	}
	containers_free(containers, count);
	if (r < 0)
		error_copy(err, &why);
	else if (!killed)
		r = error_set(err, ERROR_CONFLICT, "Cannot kill pod: %s: pod is not running",
			      pod->name);
	return r;
}

/* ------------------------------------------------------------------ pausing */

/* A pod of one is paused whole, which costs the host nothing more; of several, the container's
 * cgroup inside is frozen. */
int pod_pause_container(struct pod *pod, struct container *c, bool paused, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerPause body = HYPER__CONTAINER_PAUSE__INIT;
	struct agent *agent = pod_agent(pod, err);
	int r;

	if (!agent)
		return -EBUSY;
	if (pod->state == POD_PAUSED && !paused) {
		r = sandbox_pause(pod->sandbox, false, err);
		if (r == 0)
			pod_set_state(pod, POD_RUNNING);
	} else if (pod_is_alone(pod) && paused) {
		r = sandbox_pause(pod->sandbox, true, err);
		if (r == 0)
			pod_set_state(pod, POD_PAUSED);
	} else {
		body.id = c->id;
		body.paused = paused;
		request.body_case = HYPER__REQUEST__BODY_CONTAINER_PAUSE;
		request.container_pause = &body;
		r = agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), NULL, err);
	}
	if (r < 0)
		return r;
	if (c->state == (paused ? CONTAINER_RUNNING : CONTAINER_PAUSED)) {
		container_set_state(c, paused ? CONTAINER_PAUSED : CONTAINER_RUNNING);
		container_save_logged(c);
		container_event(c, paused ? "pause" : "unpause", NULL);
	}
	pod_save_logged(pod);
	return 0;
}

int pod_pause(struct pod *pod, bool paused, struct error *err)
{
	enum pod_state want = paused ? POD_RUNNING : POD_PAUSED;
	struct container *c;
	int r = pod_lock(pod, err);

	if (r < 0)
		return r;
	if (pod->state != want || !pod->sandbox)
		r = error_set(err, ERROR_CONFLICT, "pod %s is not %s", pod->name,
			      paused ? "running" : "paused");
	if (r == 0)
		r = sandbox_pause(pod->sandbox, paused, err);
	if (r == 0) {
		pod_set_state(pod, paused ? POD_PAUSED : POD_RUNNING);
		list_for_each_entry(c, &pod->containers, pod_node) {
			if (c->state != (paused ? CONTAINER_RUNNING : CONTAINER_PAUSED))
				continue;
			container_set_state(c, paused ? CONTAINER_PAUSED : CONTAINER_RUNNING);
			container_event(c, paused ? "pause" : "unpause", NULL);
			container_save_logged(c);
		}
		pod_save_logged(pod);
		pod_event(pod, paused ? "pause" : "unpause");
	}
	pod_unlock(pod);
	return r;
}

/* ------------------------------------------------------------------ removing */

int pod_remove(struct pod *pod, bool force, struct error *err)
{
	const struct container_remove_options options = { .force = force, .volumes = true };
	struct container **containers = NULL;
	size_t count = 0;
	int r = 0;

	/* Those that joined it first: it goes with its last. */
	while (r == 0 && pod->solo && !list_empty(&pod->containers)) {
		autoptr(container_unref) struct container *last = container_ref(
			container_of(pod->containers.prev, struct container, pod_node));

		r = container_remove(last, &options, err);
	}
	if (pod->solo)
		return r;
	if (force && pod->sandbox)
		pod_kill(pod, SIGKILL, NULL);
	r = pod_lock(pod, err);
	if (r < 0)
		return r;
	if (pod->removed)
		r = error_set(err, ERROR_NOT_FOUND, "No such pod: %s", pod->name);
	else if (pod->sandbox && !pod->serving && !force)
		r = error_set(err, ERROR_CONFLICT,
			      "You cannot remove a running pod %s. Stop the pod before attempting "
			      "removal or force remove",
			      pod->id);
	if (r == 0)
		r = pod_collect(pod, false, &containers, &count, err);
	for (size_t i = 0; r == 0 && i < count; i++) {
		containers[i]->removing = containers[i]->restart_canceled = true;
		cond_broadcast(&containers[i]->changed);
	}
	if (r == 0) {
		pod_end_sandbox(pod, 0, POD_STOPPED);
		for (size_t i = 0; i < count; i++)
			container_discard(containers[i]);
		/* Nobody is left who could ask for what was theirs alone. */
		for (size_t i = 0; i < count; i++)
			container_mounts_drop(pod->engine, containers[i]->spec);
		r = pod_delete(pod, err);
	}
	pod_unlock(pod);
	containers_free(containers, count);
	return r;
}
