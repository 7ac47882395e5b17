#include "hyperstart/state.h"

#include <stdlib.h>

#include "hyperstart/agent.h"
#include "hyperstart/container.h"
#include "hyperstart/layer.h"
#include "hyperstart/process_stdio.h"

struct process_entry {
	Hyper__ProcessState state;
	Hyper__ProcessStreams streams;
};

static size_t count(const struct list *list)
{
	size_t n = 0;

	list_for_each(node, list)
		n++;
	return n;
}

static void fill_process(const struct process *p, struct process_entry *e)
{
	e->state = (Hyper__ProcessState)HYPER__PROCESS_STATE__INIT;
	e->streams = (Hyper__ProcessStreams)HYPER__PROCESS_STREAMS__INIT;
	e->state.exec = p->exec;
	e->state.running = p->running;
	e->state.exit_code = p->exit_code;
	e->state.signal = p->signal;
	e->state.out_of_memory = p->out_of_memory;
	e->state.exited_realtime_ns = p->exited_realtime_ns;
	e->state.pid = p->pid;
	if (p->stdio)
		stdio_state(p->stdio, &e->state, &e->streams);
}

/* PROCESSES and POINTERS have room for all; returns how many were filled. */
static size_t fill_container(const struct container *c, Hyper__ContainerState *state,
			     struct process_entry *entries, Hyper__ProcessState **pointers)
{
	const struct process *p;
	size_t n = 0;

	*state = (Hyper__ContainerState)HYPER__CONTAINER_STATE__INIT;
	state->id = c->id;
	state->created = c->root_fd >= 0;
	state->started = c->started && c->spec;
	state->paused = c->paused;
	list_for_each_entry(p, &c->processes, node) {
		if (p->failed)
			continue;
		fill_process(p, &entries[n]);
		pointers[n] = &entries[n].state;
		n++;
	}
	state->processes = pointers;
	state->n_processes = n;
	return n;
}

int state_get_handle(struct request *request, struct error *err)
{
	struct agent *agent = request->agent;
	size_t containers = count(&agent->containers) + 1,
	       processes = count(&agent->beside->processes);
	autofree Hyper__ContainerState *states = NULL;
	autofree Hyper__ContainerState **state_pointers = NULL;
	autofree struct process_entry *entries = NULL;
	autofree Hyper__ProcessState **pointers = NULL;
	autofree char **layers = NULL;
	Hyper__State body = HYPER__STATE__INIT;
	Hyper__Reply reply = HYPER__REPLY__INIT;
	size_t n = 0, used = 0;
	struct container *c;
	int r;

	list_for_each_entry(c, &agent->containers, node) {
		processes += count(&c->processes);
	}
	states = calloc(containers, sizeof(*states));
	state_pointers = calloc(containers, sizeof(*state_pointers));
	entries = calloc(processes + 1, sizeof(*entries));
	pointers = calloc(processes + 1, sizeof(*pointers));
	if (!states || !state_pointers || !entries || !pointers)
		return error_nomem(err);
	list_for_each_entry(c, &agent->containers, node) {
		if (c->prepared)
			continue;
		used += fill_container(c, &states[n], entries + used, pointers + used);
		state_pointers[n] = &states[n];
		n++;
	}
	/* Processes beside the init belong to a container without a name. */
	if (fill_container(agent->beside, &states[n], entries + used, pointers + used)) {
		state_pointers[n] = &states[n];
		n++;
	}
	r = layer_list(agent, &layers, &body.n_layers);
	if (r < 0)
		return error_nomem(err);
	body.layers = layers;
	body.containers = state_pointers;
	body.n_containers = n;
	body.disk_ready = agent->disk_ready;
	body.pod_ready = agent->pod_ready;
	reply.body_case = HYPER__REPLY__BODY_STATE;
	reply.state = &body;
	request_reply(request, &reply);
	return REQUEST_KEPT;
}
