#include "hyperd/sandbox/rehearsal.h"

#define EXEC_ID "rehearsal"

void rehearsal_event(struct rehearsal *r, const Hyper__Event *event)
{
	if (event->body_case != HYPER__EVENT__BODY_PROCESS_EXITED)
		return;
	r->exited = true;
	cond_broadcast(&r->changed);
}

static void heard_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	mux_stream_ack(stream, len);
}

static void heard_all(struct mux_stream *stream)
{
	struct rehearsal *r = mux_stream_owner(stream);

	r->heard = true;
	cond_broadcast(&r->changed);
}

static void heard_no_more(struct mux_stream *stream, int errnum)
{
	heard_all(stream);
}

static const struct mux_stream_events stream_events = { .data = heard_data,
							.eof = heard_all,
							.reset = heard_no_more };

static int set_up(struct agent *agent, uint64_t deadline_ns, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__PodSetup setup = HYPER__POD_SETUP__INIT;

	setup.hostname = (char *)EXEC_ID;
	setup.machine_id = (char *)"00000000000000000000000000000000";
	setup.loopback = true;
	request.body_case = HYPER__REQUEST__BODY_POD_SETUP;
	request.pod_setup = &setup;
	return agent_call(agent, &request, deadline_ns, NULL, err);
}

static int start(struct agent *agent, uint32_t stdout_id, uint64_t deadline_ns, struct error *err)
{
	char *args[] = { (char *)"/proc/self/exe", (char *)"--version" };
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerExec exec = HYPER__CONTAINER_EXEC__INIT;
	Hyper__ProcessStreams streams = HYPER__PROCESS_STREAMS__INIT;
	Hyper__Process process = HYPER__PROCESS__INIT;

	streams.stdout = stdout_id;
	process.args = args;
	process.n_args = ARRAY_SIZE(args);
	exec.exec = (char *)EXEC_ID;
	exec.process = &process;
	exec.streams = &streams;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_EXEC;
	request.container_exec = &exec;
	return agent_call(agent, &request, deadline_ns, NULL, err);
}

static int forget(struct agent *agent, uint64_t deadline_ns, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ProcessForget forget = HYPER__PROCESS_FORGET__INIT;

	forget.exec = (char *)EXEC_ID;
	request.body_case = HYPER__REQUEST__BODY_PROCESS_FORGET;
	request.process_forget = &forget;
	return agent_call(agent, &request, deadline_ns, NULL, err);
}

int rehearse(struct agent *agent, struct rehearsal *r, uint64_t deadline_ns, struct error *err)
{
	uint32_t id = agent_stream_id(agent);
	struct mux_stream *stream;
	int result;

	cond_init(&r->changed);
	r->exited = r->heard = false;
	result = mux_stream_open(agent_mux(agent), id, &stream_events, r, 0, 0, &stream);
	if (result < 0)
		return error_errno(err, -result, "opening a stream");
	result = set_up(agent, deadline_ns, err);
	if (result == 0)
		result = start(agent, id, deadline_ns, err);
	while (result == 0 && !(r->exited && r->heard) && !agent_is_lost(agent))
		if ((result = cond_wait(&r->changed, deadline_ns)) < 0)
			error_errno(err, -result, "waiting for the rehearsal's end");
	mux_stream_close(stream);
	return result == 0 ? forget(agent, deadline_ns, err) : result;
}
