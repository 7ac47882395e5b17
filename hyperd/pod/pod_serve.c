/*
 * Sandboxes for what is not running: a container's files can be had only through an agent, so a pod
 * that does not run gets a sandbox to serve them. It is no run of the pod: states, events and
 * records do not change, and it ends a moment after the last one who held it has let go.
 */
#include <string.h>

#include "base/clock.h"
#include "hyperd/pod/internal.h"

/* What follows a request for files is often another one: docker cp asks what there is, then copies.
 */
#define LINGER_MS 1500
/* How long a start that needs another sandbox waits for files that are being read. */
#define HOLDERS_WAIT_MS 10000

/* ------------------------------------------------------------------ the end */

void pod_end_serving(struct pod *pod, uint64_t deadline_ms)
{
	struct sandbox *sandbox = steal(pod->sandbox);
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node)
		c->in_agent = c->stands = false;
	if (pod->sandbox_dead)
		deadline_ms = 0;
	pod->serving = pod->sandbox_dead = pod->set_up = false;
	sandbox_stop(sandbox, deadline_ms);
	pod_volumes_unmount(pod);
	cond_broadcast(&pod->changed);
}

/*
 * What served files has no network: its addresses are had when a start begins, and are in files
 * that containers are made with. Without one, a start goes on in it.
 */
void pod_leave_serving(struct pod *pod)
{
	uint64_t deadline = deadline_in_ms(HOLDERS_WAIT_MS);

	if (!pod->serving || strcmp(pod_network_mode(pod), "none") == 0)
		return;
	while (pod->held && pod->serving && cond_wait(&pod->changed, deadline) == 0)
		;
	if (pod->serving)
		pod_end_serving(pod, SANDBOX_STOP_MS);
}

static void end_task(void *arg)
{
	struct pod *pod = arg;
	struct engine *engine = pod->engine;
	uint64_t deadline = deadline_in_ms(LINGER_MS);
	unsigned holds = pod->holds;

	/* Whoever holds it anew ends it anew. */
	while (pod->serving && !pod->held && pod->holds == holds && !engine->stopping &&
	       cond_wait(&pod->changed, deadline) == 0)
		;
	if (pod->holds == holds && pod_lock(pod, NULL) == 0) {
		if (pod->serving && !pod->held && pod->holds == holds)
			pod_end_serving(pod, SANDBOX_STOP_MS);
		pod_unlock(pod);
	}
	pod_unref(pod);
	engine_task_done(engine);
}

/* ------------------------------------------------------------------ holding */

static int post_frozen(struct container *c, bool frozen, struct agent_ticket *ticket,
		       struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerPause body = HYPER__CONTAINER_PAUSE__INIT;
	struct agent *agent = pod_agent(c->pod, err);

	if (!agent)
		return -EBUSY;
	body.id = c->id;
	body.paused = frozen;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_PAUSE;
	request.container_pause = &body;
	return agent_post(agent, &request, ticket, err);
}

static int set_frozen(struct container *c, bool frozen, struct error *err)
{
	struct agent_ticket ticket;
	int r = post_frozen(c, frozen, &ticket, err);

	return r < 0 ? r
		     : agent_wait(sandbox_agent(c->pod->sandbox), &ticket,
				  deadline_in_ms(AGENT_CALL_MS), NULL, err);
}

/*
 * A pod that is paused whole answers nothing, its agent included: it goes on, with its containers
 * frozen one by one, told so before it does.
 */
static int thaw(struct pod *pod, struct error *err)
{
	uint64_t deadline = deadline_in_ms(AGENT_CALL_MS);
	struct agent_ticket *tickets;
	struct container *c;
	size_t count = 0, n = 0;
	int r = 0;

	list_for_each(node, &pod->containers)
		count++;
	tickets = calloc(count + 1, sizeof(*tickets));
	if (!tickets)
		return error_nomem(err);
	list_for_each_entry(c, &pod->containers, pod_node) {
		if (r == 0 && c->state == CONTAINER_PAUSED)
			r = post_frozen(c, true, &tickets[n], err);
		if (r == 0 && c->state == CONTAINER_PAUSED)
			n++;
	}
	if (r == 0)
		r = sandbox_pause(pod->sandbox, false, err);
	pod->thawed = r == 0;
	for (size_t i = 0; i < n; i++) {
		/* One that has ended cannot be frozen. */
		if (r == 0)
			agent_wait(sandbox_agent(pod->sandbox), &tickets[i], deadline, NULL, NULL);
		else
			agent_forget(sandbox_agent(pod->sandbox), &tickets[i]);
	}
	free(tickets);
	return r;
}

static void freeze_again(struct pod *pod)
{
	struct error err = { 0 };
	struct container *c;

	pod->thawed = false;
	if (!pod->sandbox || pod->sandbox_dead)
		return;
	list_for_each_entry(c, &pod->containers, pod_node) {
		if (c->in_agent)
			set_frozen(c, false, NULL);
	}
	if (pod->state == POD_PAUSED && sandbox_pause(pod->sandbox, true, &err) < 0)
		log_warn("pod %s: pausing it again: %s", pod->name, err.message);
}

static int hold_locked(struct container *c, bool standing, bool freeze, bool *ret_frozen,
		       struct error *err)
{
	struct pod *pod = c->pod;
	int r = 0;

	if (c->removed || c->removing)
		return error_set(err, ERROR_NOT_FOUND, "No such container: %s", c->id);
	if (pod->engine->stopping)
		return error_set(err, ERROR_UNAVAILABLE, "hyperd is shutting down");
	if (pod->sandbox && pod->sandbox_dead)
		pod_end_sandbox(pod, 0, POD_FAILED);
	if (pod->sandbox && pod->state == POD_PAUSED && !pod->thawed)
		r = thaw(pod, err);
	if (r < 0)
		return r;
	if (!pod->sandbox || (standing && !container_is_running(c) && !c->stands))
		r = pod_start_serving(pod, c, standing && !c->stands, err);
	if (r == 0 && freeze && container_is_running(c) && c->state != CONTAINER_PAUSED) {
		r = set_frozen(c, true, err);
		*ret_frozen = r == 0;
	}
	return r;
}

int pod_hold(struct container *c, bool standing, bool freeze, bool *ret_frozen, struct error *err)
{
	struct pod *pod = c->pod;
	int r = pod_lock(pod, err);

	if (r < 0)
		return r;
	*ret_frozen = false;
	pod->holds++;
	pod->held++;
	r = hold_locked(c, standing, freeze, ret_frozen, err);
	pod_unlock(pod);
	if (r < 0)
		pod_release(c, false);
	return r;
}

void pod_release(struct container *c, bool frozen)
{
	struct pod *pod = c->pod;
	bool old = task_shield(true);

	if (frozen)
		set_frozen(c, false, NULL);
	pod->held--;
	cond_broadcast(&pod->changed);
	if (!pod->held && pod->serving) {
		if (engine_task(pod->engine, "serving-end", end_task, pod_ref(pod), NULL) < 0)
			pod_unref(pod);
	} else if (!pod->held && (pod->thawed || !pod_has_live_containers(pod))) {
		pod_lock(pod, NULL);
		if (!pod->held && pod->thawed)
			freeze_again(pod);
		/* It would have ended with its last container. */
		pod_settle(pod);
		pod_unlock(pod);
	}
	task_shield(old);
}
