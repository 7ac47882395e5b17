/* What can be asked of a container: start, stop, kill, pause, remove, wait. */
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "hyperd/pod/internal.h"
#include "hyperd/pod/arena.h"

static int refuse_removed(const struct container *c, struct error *err)
{
	if (c->removed)
		return error_set(err, ERROR_NOT_FOUND, "No such container: %s", c->id);
	return 0;
}

static void start_failed_task(void *arg)
{
	struct container *c = arg;
	struct engine *engine = c->engine;
	const struct container_remove_options options = { .force = true, .volumes = true };

	container_remove(c, &options, NULL);
	container_unref(c);
	engine_task_done(engine);
}

static int start_locked(struct container *c, struct error *err)
{
	int r = refuse_removed(c, err);

	if (r < 0)
		return r;
	if (c->removing)
		return error_set(err, ERROR_CONFLICT,
				 "container is marked for removal and cannot be started");
	if (c->state == CONTAINER_PAUSED)
		return error_set(err, ERROR_CONFLICT,
				 "cannot start a paused container, try unpause instead");
	if (container_is_running(c))
		return error_set(err, ERROR_NOT_MODIFIED, "Container already started");
	if (c->spec->joined && !pod_is_alone(c->pod) && !c->pod->sandbox)
		return error_set(err, ERROR_CONFLICT,
				 "cannot join network of a non running container: %s",
				 c->pod->name);
	c->manually_stopped = c->restart_canceled = false;
	c->restart_count = 0;
	c->backoff_ns = 0;
	r = pod_start_containers(c->pod, &c, 1, err);
	if (r < 0 && c->spec->auto_remove &&
	    engine_task(c->engine, "auto-remove", start_failed_task, container_ref(c), NULL) < 0)
		container_unref(c);
	return r;
}

int container_start(struct container *c, struct error *err)
{
	autoptr(container_unref) __attribute__((unused)) struct container *held = container_ref(c);
	int r;

	if (c->engine->stopping)
		return error_set(err, ERROR_UNAVAILABLE, "hyperd is shutting down");
	r = pod_lock(c->pod, err);
	if (r < 0)
		return r;
	r = start_locked(c, err);
	pod_unlock(c->pod);
	return r;
}

static int stop_locked(struct container *c, int timeout_s, bool manual, struct error *err)
{
	int r = refuse_removed(c, err);

	if (r < 0)
		return r;
	if (!container_is_live(c)) {
		c->restart_canceled = true;
		return error_set(err, ERROR_NOT_MODIFIED, "Container already stopped");
	}
	r = pod_stop_containers(c->pod, &c, 1, timeout_s, manual, err);
	if (r == 0)
		pod_settle(c->pod);
	return r;
}

int container_stop(struct container *c, int timeout_s, struct error *err)
{
	autoptr(container_unref) __attribute__((unused)) struct container *held = container_ref(c);
	int r = pod_lock(c->pod, err);

	if (r < 0)
		return r;
	r = stop_locked(c, timeout_s, true, err);
	pod_unlock(c->pod);
	if (r == 0) {
		container_save_logged(c);
		container_event(c, "stop", NULL);
	}
	return r;
}

int container_restart(struct container *c, int timeout_s, struct error *err)
{
	autoptr(container_unref) __attribute__((unused)) struct container *held = container_ref(c);
	struct error why = { 0 };
	bool auto_remove = c->spec->auto_remove;
	int r = pod_lock(c->pod, err);

	if (r < 0)
		return r;
	/* What is to be removed at its end is not, when it begins again at once. */
	c->spec->auto_remove = false;
	r = refuse_removed(c, err);
	if (r == 0 && container_is_live(c)) {
		/* The sandbox is kept: it is wanted again at once. */
		r = pod_stop_containers(c->pod, &c, 1, timeout_s, false, &why);
		if (r < 0)
			error_copy(err, &why);
	}
	if (r == 0)
		r = start_locked(c, err);
	c->spec->auto_remove = auto_remove;
	pod_unlock(c->pod);
	if (r == 0)
		container_event(c, "restart", NULL);
	return r;
}

/* Docker: the stop signal or SIGKILL by hand ends the container for good. */
static void note_kill(struct container *c, int signal)
{
	if (signal != SIGKILL && signal != c->config.stop_signal)
		return;
	c->restart_canceled = c->manually_stopped = true;
	cond_broadcast(&c->changed);
}

int container_kill(struct container *c, int signal, struct error *err)
{
	autoptr(container_unref) __attribute__((unused)) struct container *held = container_ref(c);
	char number[16];
	const char *const keys[] = { "signal", number, NULL };
	int r = refuse_removed(c, err);

	if (r < 0)
		return r;
	if (!container_is_running(c))
		return error_set(err, ERROR_CONFLICT,
				 "Cannot kill container: %s: Container %s is not running", c->name,
				 c->id);
	note_kill(c, signal);
	/* A frozen sandbox delivers nothing. */
	if (c->pod->state == POD_PAUSED && signal == SIGKILL) {
		r = pod_lock(c->pod, err);
		if (r < 0)
			return r;
		if (c->state == CONTAINER_PAUSED)
			r = pod_pause_container(c->pod, c, false, err);
		pod_unlock(c->pod);
		if (r < 0)
			return r;
	}
	r = pod_signal(c->pod, c->id, "", signal, err);
	/* It ended by itself before the signal came. */
	if (r < 0 && !container_is_running(c))
		r = 0;
	if (r < 0)
		return error_prefix(err, r, "Cannot kill container: %s", c->name);
	snprintf(number, sizeof(number), "%d", signal);
	container_event(c, "kill", keys);
	/* Docker: a kill returns when the container is dead. */
	while (signal == SIGKILL && container_is_running(c))
		if (cond_wait(&c->changed, deadline_in_ms(KILL_WAIT_MS)) < 0)
			break;
	return 0;
}

int container_pause(struct container *c, bool paused, struct error *err)
{
	autoptr(container_unref) __attribute__((unused)) struct container *held = container_ref(c);
	int r = pod_lock(c->pod, err);

	if (r < 0)
		return r;
	r = refuse_removed(c, err);
	if (r == 0 && c->state == CONTAINER_RESTARTING)
		r = error_set(err, ERROR_CONFLICT,
			      "Container %s is restarting, wait until the container is running",
			      c->id);
	else if (r == 0 && !container_is_running(c) && paused)
		r = error_set(err, ERROR_CONFLICT, "Container %s is not running", c->id);
	else if (r == 0 && paused && c->state == CONTAINER_PAUSED)
		r = error_set(err, ERROR_CONFLICT, "Container %s is already paused", c->id);
	else if (r == 0 && !paused && c->state != CONTAINER_PAUSED)
		r = error_set(err, ERROR_CONFLICT, "Container %s is not paused", c->id);
	if (r == 0)
		r = pod_pause_container(c->pod, c, paused, err);
	pod_unlock(c->pod);
	return r;
}

int container_resize(struct container *c, unsigned rows, unsigned columns, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ProcessResize body = HYPER__PROCESS_RESIZE__INIT;
	struct agent *agent;

	if (!container_is_running(c))
		return error_set(err, ERROR_CONFLICT, "Container %s is not running", c->id);
	agent = pod_agent(c->pod, err);
	if (!agent)
		return -EBUSY;
	body.container = c->id;
	body.rows = rows;
	body.columns = columns;
	request.body_case = HYPER__REQUEST__BODY_PROCESS_RESIZE;
	request.process_resize = &body;
	return agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), NULL, err);
}

/* ------------------------------------------------------------------ removing */

static int refuse_running(const struct container *c, struct error *err)
{
	const char *state = container_state_name(c->state);
	bool paused = c->state == CONTAINER_PAUSED;

	return error_set(err, ERROR_CONFLICT,
			 "You cannot remove a %s container %s. %s the container before attempting "
			 "removal or force remove",
			 state, c->id, paused ? "Unpause and then stop" : "Stop");
}

/* Its files on the pod's disk: now when the pod runs, else at the pod's next start. */
static void drop_files(struct container *c)
{
	if (pod_is_alone(c->pod))
		return;
	if (c->pod->sandbox && !c->pod->sandbox_dead &&
	    pod_delete_in_agent(c->pod, c, true, NULL) == 0)
		return;
	if (c->started_ns && strv_add(&c->pod->garbage, c->id) == 0)
		pod_save_logged(c->pod);
}

/* A pod of Docker's containers is called as the oldest of them. */
static void name_after_first(struct pod *pod)
{
	const struct container *first =
		container_of(pod->containers.next, struct container, pod_node);
	char *name = strdup(first->name);

	if (!name)
		return;
	free(pod->name);
	pod->name = name;
	pod_network_rename(pod);
	pod_save_logged(pod);
}

static int remove_locked(struct container *c, bool force, struct error *err)
{
	struct pod *pod = c->pod;
	int r = 0;

	if (container_is_live(c) && !force)
		return refuse_running(c, err);
	if (container_is_live(c))
		r = pod_stop_containers(pod, &c, 1, 0, true, err);
	if (r < 0)
		return r;
	if (pod_is_alone(pod)) {
		pod_end_sandbox(pod, 0, pod->sandbox_dead ? POD_FAILED : POD_STOPPED);
		container_discard(c);
		return pod_delete(pod, err);
	}
	drop_files(c);
	container_discard(c);
	if (pod->solo)
		name_after_first(pod);
	pod_settle(pod);
	return 0;
}

int container_remove(struct container *c, const struct container_remove_options *options,
		     struct error *err)
{
	autoptr(container_unref) __attribute__((unused)) struct container *held = container_ref(c);
	autoptr(pod_unref) struct pod *pod = pod_ref(c->pod);
	int r = refuse_removed(c, err);

	if (r < 0)
		return r;
	if (c->removing)
		return error_set(err, ERROR_CONFLICT,
				 "removal of container %s is already in progress", c->name);
	if (container_is_live(c) && c->state != CONTAINER_STARTING && !options->force)
		return refuse_running(c, err);
	/* Before the mutex is had: it may be held by a stop that waits for this container's end. */
	c->removing = true;
	if (options->force && container_is_running(c) && c->pod->state != POD_PAUSED) {
		note_kill(c, SIGKILL);
		pod_signal(pod, c->id, "", SIGKILL, NULL);
	}
	r = pod_lock(pod, err);
	if (r == 0) {
		r = c->removed ? 0 : remove_locked(c, options->force, err);
		pod_unlock(pod);
	}
	if (r < 0)
		c->removing = false;
	else if (options->volumes)
		container_mounts_drop(c->engine, c->spec);
	return r;
}

/* ------------------------------------------------------------------ waiting */

struct container_wait {
	struct list node;
	struct container *container; /* referenced */
	enum wait_condition condition;
	struct cond woken;
	bool done;
	int code;
};

void container_wake_waits(struct container *c, enum wait_condition condition)
{
	list_for_each_safe(node, &c->waits) {
		struct container_wait *w = container_of(node, struct container_wait, node);

		if (w->condition != condition &&
		    !(condition == WAIT_NOT_RUNNING && w->condition == WAIT_NEXT_EXIT) &&
		    condition != WAIT_REMOVED)
			continue;
		w->done = true;
		w->code = c->exit_code;
		list_remove(&w->node);
		cond_broadcast(&w->woken);
	}
}

int container_wait_begin(struct container *c, enum wait_condition condition,
			 struct container_wait **ret, struct error *err)
{
	struct container_wait *w;

	if (c->removed)
		return refuse_removed(c, err);
	w = calloc(1, sizeof(*w));
	if (!w)
		return error_nomem(err);
	w->container = container_ref(c);
	w->condition = condition;
	cond_init(&w->woken);
	list_init(&w->node);
	if (condition == WAIT_NOT_RUNNING && !container_is_live(c)) {
		w->done = true;
		w->code = c->exit_code;
	} else {
		list_append(&c->waits, &w->node);
	}
	*ret = w;
	return 0;
}

int container_wait_end(struct container_wait *w, int *ret_code, struct error *err)
{
	int r = 0;

	while (!w->done && r == 0)
		r = cond_wait(&w->woken, DEADLINE_NEVER);
	if (w->done) {
		*ret_code = w->code;
		r = 0;
	} else {
		r = error_set(err, ERROR_CANCELED, "canceled while waiting for container %s",
			      w->container->id);
	}
	list_remove(&w->node);
	container_unref(w->container);
	free(w);
	return r;
}

/* ------------------------------------------------------------------ changing */

static int update_in_agent(struct container *c, const struct spec_resources *resources,
			   struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerUpdate body = HYPER__CONTAINER_UPDATE__INIT;
	struct agent *agent = pod_agent(c->pod, err);
	struct arena arena;
	int r;

	if (!agent)
		return -EBUSY;
	arena_init(&arena);
	body.id = c->id;
	body.limits = limits_request(&arena, resources);
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_UPDATE;
	request.container_update = &body;
	r = agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), NULL, err);
	arena_done(&arena);
	return r;
}

static int replace_text(char **to, const char *from)
{
	char *copy;

	if (!from || !*from)
		return 0;
	copy = strdup(from);
	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

static int merge_resources(struct spec_resources *to, const struct spec_resources *from)
{
#define MERGE(member)                              \
	do {                                       \
		if (from->member)                  \
			to->member = from->member; \
	} while (0)
	MERGE(memory_bytes);
	MERGE(memory_reservation_bytes);
	MERGE(memory_swap_bytes);
	MERGE(cpu_shares);
	MERGE(pids);
	MERGE(blkio_weight);
	MERGE(cpus);
	if (from->cpus > 0)
		to->cpu_period_us = 0, to->cpu_quota_us = 0;
	if (from->cpu_period_us || from->cpu_quota_us)
		to->cpus = 0;
	MERGE(cpu_period_us);
	MERGE(cpu_quota_us);
#undef MERGE
	if (replace_text(&to->cpuset_cpus, from->cpuset_cpus) < 0 ||
	    replace_text(&to->cpuset_mems, from->cpuset_mems) < 0)
		return -ENOMEM;
	return 0;
}

int container_update(struct container *c, const struct spec_resources *resources,
		     const struct restart_policy *restart, struct error *err)
{
	autoptr(container_unref) __attribute__((unused)) struct container *held = container_ref(c);
	int r = pod_lock(c->pod, err);

	if (r < 0)
		return r;
	r = refuse_removed(c, err);
	if (r == 0 && restart && c->spec->auto_remove && restart->kind != RESTART_NO)
		r = error_set(err, ERROR_INVALID,
			      "Restart policy cannot be updated because AutoRemove is enabled for "
			      "the container");
	if (r == 0 && resources && container_is_running(c))
		r = update_in_agent(c, resources, err);
	if (r == 0 && resources && merge_resources(&c->spec->resources, resources) < 0)
		r = error_nomem(err);
	if (r == 0 && restart)
		c->spec->restart = *restart;
	if (r == 0)
		r = container_save(c, false, err);
	pod_unlock(c->pod);
	if (r == 0)
		container_event(c, "update", NULL);
	return r;
}
