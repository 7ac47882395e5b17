#include "hyperstart/shutdown.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "hyperstart/agent.h"
#include "hyperstart/channel.h"
#include "hyperstart/container.h"
#include "hyperstart/disk.h"
#include "hyperstart/process_stdio.h"

/* How long the host has to take the last output. */
#define DRAIN_DEADLINE_MS 2000

struct shutdown {
	struct agent *agent; /* borrowed */
	struct loop_timer timer;
	struct loop_deferred finish; /* out of the callback that found nothing left */
	struct request *request;     /* owned until answered; NULL when a signal began it */
	bool killed, draining;
};

static bool anything_running(struct agent *agent)
{
	struct container *c;
	struct process *p;

	list_for_each_entry(c, &agent->containers, node) {
		list_for_each_entry(p, &c->processes, node) {
			if (p->running)
				return true;
		}
	}
	return false;
}

/* The host has had all output. */
static bool all_drained(struct agent *agent)
{
	struct container *c;
	struct process *p;

	list_for_each_entry(c, &agent->containers, node) {
		list_for_each_entry(p, &c->processes, node) {
			if (p->stdio && !stdio_drained(p->stdio))
				return false;
		}
	}
	return true;
}

static void signal_all(struct agent *agent, int signal)
{
	struct container *c;

	list_for_each_entry(c, &agent->containers, node) {
		if (!c->main || !c->main->running)
			continue;
		if (c->paused) {
			cgroup_freeze(c->cgroup, false, NULL);
			c->paused = false;
		}
		/* One that has not been started yet waits for the agent only. */
		kill(c->main->pid, c->started ? signal : SIGKILL);
	}
}

/*
 * The last words go out before the power goes; then nothing returns.
 */
static void finish(struct shutdown *s)
{
	struct agent *agent = s->agent;
	struct request *request = steal(s->request);
	Hyper__Reply reply = HYPER__REPLY__INIT;
	struct error err = { 0 };

	loop_timer_cancel(&s->timer);
	container_free_all(agent);
	if (disk_close(agent, &err) < 0)
		log_error("%s", err.message);
	sync();
	if (request)
		request_reply(request, &reply);
	if (agent->channel)
		channel_flush(agent->channel);
	if (!agent->namespace_pod) {
		/* Without ACPI nothing can switch a machine off, and the kernel would halt; but
		 * QEMU is told to end at a reset. */
		reboot(access("/sys/firmware/acpi", F_OK) == 0 ? RB_POWER_OFF : RB_AUTOBOOT);
	}
	_exit(0);
}

static void finish_deferred(struct loop_deferred *deferred)
{
	finish(container_of(deferred, struct shutdown, finish));
}

static void deadline(struct loop_timer *timer);

void shutdown_check(struct agent *agent)
{
	struct shutdown *s = agent->shutdown;

	if (!s || anything_running(agent))
		return;
	if (all_drained(agent)) {
		loop_defer(agent->loop, &s->finish, finish_deferred);
	} else if (!s->draining) {
		s->draining = true;
		loop_timer_set(agent->loop, &s->timer, deadline_in_ms(DRAIN_DEADLINE_MS), deadline);
	}
}

static void deadline(struct loop_timer *timer)
{
	struct shutdown *s = container_of(timer, struct shutdown, timer);

	/* What SIGKILL does not end is stuck in the kernel; a host that has not taken the last
	 * output by now will not. */
	if (s->killed || s->draining) {
		finish(s);
		return;
	}
	s->killed = true;
	signal_all(s->agent, SIGKILL);
	loop_timer_set(s->agent->loop, &s->timer, deadline_in_ms(SHUTDOWN_DEADLINE_MS), deadline);
	shutdown_check(s->agent);
}

static int begin(struct agent *agent, uint32_t deadline_ms, struct request *request,
		 struct error *err)
{
	struct shutdown *s;

	if (agent->shutdown)
		return error_set(err, ERROR_CONFLICT, "the pod is shutting down already");
	s = calloc(1, sizeof(*s));
	if (!s)
		return error_nomem(err);
	s->agent = agent;
	s->request = request;
	agent->shutdown = s;
	loop_timer_set(agent->loop, &s->timer, deadline_in_ms(deadline_ms), deadline);
	signal_all(agent, SIGTERM);
	shutdown_check(agent);
	return 0;
}

void shutdown_begin(struct agent *agent, uint32_t deadline_ms)
{
	begin(agent, deadline_ms, NULL, NULL);
}

int shutdown_handle(struct request *request, struct error *err)
{
	int r = begin(request->agent, request->body->shutdown->deadline_ms, request, err);

	return r < 0 ? r : REQUEST_KEPT;
}

void shutdown_free(struct shutdown *s)
{
	if (!s)
		return;
	loop_timer_cancel(&s->timer);
	loop_deferred_cancel(&s->finish);
	free(s);
}
