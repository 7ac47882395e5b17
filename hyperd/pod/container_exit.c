/*
 * The end of a container's process: its last output, its exit code, whoever waits, the restart
 * policy, and the pod's own end after the last one.
 */
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "hyperd/pod/internal.h"

static void set_exited(struct container *c, bool restart)
{
	char code[16];
	const char *const keys[] = { "exitCode", code, NULL };

	c->exit_code = c->exit.code;
	c->oom_killed |= c->exit.out_of_memory;
	c->finished_ns = c->exit.realtime_ns ? c->exit.realtime_ns : realtime_ns();
	c->exit.have = false;
	c->pid = 0;
	container_set_state(c, restart ? CONTAINER_RESTARTING : CONTAINER_EXITED);
	if (restart)
		c->restart_count++;
	container_save_logged(c);
	snprintf(code, sizeof(code), "%d", c->exit_code);
	container_event(c, "die", keys);
	container_wake_waits(c, restart ? WAIT_NEXT_EXIT : WAIT_NOT_RUNNING);
}

/* Waits out the back-off; false when the restart was called off. */
static bool wait_backoff(struct container *c, uint64_t ran_ns)
{
	uint64_t deadline;

	c->backoff_ns = restart_backoff(c->backoff_ns, ran_ns);
	deadline = now_ns() + c->backoff_ns;
	while (c->state == CONTAINER_RESTARTING && !c->restart_canceled && now_ns() < deadline)
		cond_wait(&c->changed, deadline);
	return c->state == CONTAINER_RESTARTING && !c->restart_canceled;
}

static void restart(struct container *c, uint64_t ran_ns)
{
	struct error err = { 0 };
	bool wanted = wait_backoff(c, ran_ns);

	if (pod_lock(c->pod, NULL) < 0)
		return;
	wanted = wanted && c->state == CONTAINER_RESTARTING && !c->restart_canceled &&
		 !c->engine->stopping;
	if (wanted && pod_start_containers(c->pod, &c, 1, &err) < 0)
		log_warn("container %s: restarting: %s", c->name, err.message);
	if (!wanted && c->state == CONTAINER_RESTARTING) {
		container_set_state(c, CONTAINER_EXITED);
		container_save_logged(c);
		container_wake_waits(c, WAIT_NOT_RUNNING);
	}
	pod_settle(c->pod);
	pod_unlock(c->pod);
}

static void finish(struct container *c)
{
	const struct container_remove_options options = { .force = false, .volumes = true };
	struct error err = { 0 };

	if (pod_lock(c->pod, NULL) == 0) {
		pod_settle(c->pod);
		/* The pod goes on without it. Its output is safe: the agent need not keep anything.
		 */
		if (c->in_agent && !container_is_live(c) && !c->removed)
			pod_delete_in_agent(c->pod, c, false, NULL);
		pod_unlock(c->pod);
	}
	/* Whoever waits for its removal waits for that also when the daemon ends. */
	if (c->spec->auto_remove && !c->removing && !container_is_live(c) &&
	    !(c->engine->stopping && c->engine->live_restore) &&
	    container_remove(c, &options, &err) < 0 && err.kind != ERROR_NOT_FOUND &&
	    err.kind != ERROR_CONFLICT)
		log_warn("container %s: %s", c->name, err.message);
}

static void exit_task(void *arg)
{
	struct container *c = arg;
	struct engine *engine = c->engine;
	uint64_t ran_ns = now_ns() - c->started_mono_ns;
	bool again;

	process_io_exited(&c->io);
	if (process_io_wait(&c->io, deadline_in_ms(OUTPUT_AFTER_EXIT_MS)) < 0)
		log_warn("container %s: its output did not end with it", c->name);
	health_end(c);
	again = !c->removing && !engine->stopping &&
		restart_wanted(&c->spec->restart, c->exit.code, c->manually_stopped,
			       c->restart_canceled, false, c->restart_count);
	process_io_end(&c->io);
	set_exited(c, again);
	if (again)
		restart(c, ran_ns);
	else
		finish(c);
	container_unref(c);
	engine_task_done(engine);
}

void container_exit_begin(struct container *c)
{
	struct error err = { 0 };

	if (engine_task(c->engine, "container-exit", exit_task, container_ref(c), &err) < 0) {
		log_error("container %s: %s", c->name, err.message);
		container_unref(c);
	}
}

void container_process_exited(struct container *c, const struct process_exit *exit)
{
	/* One end a run; a lying agent may tell more. */
	if (c->exit.have || (!container_is_running(c) && c->state != CONTAINER_STARTING))
		return;
	c->exit = *exit;
	c->exit.have = true;
	/* One that is still being started is dealt with when the start has succeeded. */
	if (container_is_running(c))
		container_exit_begin(c);
}
