#include <stdlib.h>
#include <string.h>

#include "hyperstart/agent.h"
#include "hyperstart/channel.h"
#include "hyperstart/container.h"
#include "hyperstart/disk.h"
#include "hyperstart/file_write.h"
#include "hyperstart/files.h"
#include "hyperstart/layer.h"
#include "hyperstart/network.h"
#include "hyperstart/pod.h"
#include "hyperstart/process.h"
#include "hyperstart/process_stdio.h"
#include "hyperstart/reaper.h"
#include "hyperstart/resume.h"
#include "hyperstart/shutdown.h"
#include "hyperstart/state.h"
#include "hyperstart/stats.h"
#include "hyperstart/top.h"

/*
 * The agent's dispatch: what comes over the channel is taken apart, put in order, and answered,
 * with handlers that do nothing but what their request's id says: succeed, fail, keep the request,
 * hold up the others. The real ones mount and kill; tests/hyperstart sends them what is hostile.
 *
 * Input: messages as length and bytes. A length of 255 is another host that connects.
 */

/* ------------------------------------------------------------------ handlers: those of agent.c's
 * table */

static struct request *kept[64];
static size_t kept_count;
static unsigned arrived, handled;

static int handle(struct request *request, struct error *err)
{
	uint32_t id = request->body->id;

	if (++handled > arrived)
		abort();
	if (id & 1)
		return error_set(err, ERROR_FAILED, "no \xff\xc3 %s", "luck");
	if (!(id & 2) || kept_count == ARRAY_SIZE(kept))
		return 0;
	if (request->agent->blocking)
		abort();
	if (id & 4)
		request_block(request);
	kept[kept_count++] = request;
	return REQUEST_KEPT;
}

static int arrive(struct request *request, struct error *err)
{
	return request->body->id & 8 ? error_set(err, ERROR_INVALID, "refused at once") : 0;
}

/* Answers what was kept, the last one first. */
static void answer_kept(void)
{
	while (kept_count) {
		struct request *request = kept[--kept_count];
		Hyper__Reply reply = HYPER__REPLY__INIT;
		struct error err = { .kind = ERROR_FAILED, .message = "late" };

		if (request->body->id & 16)
			request_fail(request, &err);
		else
			request_reply(request, &reply);
	}
}

#define HANDLER(NAME)                                        \
	int NAME(struct request *request, struct error *err) \
	{                                                    \
		return handle(request, err);                 \
	}
HANDLER(resume_handle)
HANDLER(pod_setup_handle)
HANDLER(disk_setup_handle)
HANDLER(layer_add_handle)
HANDLER(layer_remove_handle)
HANDLER(container_create_handle)
HANDLER(container_start_handle)
HANDLER(container_exec_handle)
HANDLER(container_delete_handle)
HANDLER(container_pause_handle)
HANDLER(container_update_handle)
HANDLER(container_stats_handle)
HANDLER(container_top_handle)
HANDLER(process_signal_handle)
HANDLER(process_resize_handle)
HANDLER(process_forget_handle)
HANDLER(file_write_handle)
HANDLER(files_serve_handle)
HANDLER(state_get_handle)
HANDLER(pod_stats_handle)
HANDLER(shutdown_handle)
HANDLER(memory_trim_handle)
HANDLER(network_setup_handle)

#define ARRIVAL(NAME)                                        \
	int NAME(struct request *request, struct error *err) \
	{                                                    \
		return arrive(request, err);                 \
	}
ARRIVAL(layer_add_arrive)
ARRIVAL(container_start_arrive)
ARRIVAL(container_exec_arrive)
ARRIVAL(files_serve_arrive)

/* ------------------------------------------------------------------ the rest of the agent */

int container_beside_new(struct agent *agent, struct error *err)
{
	return 0;
}

void container_free_all(struct agent *agent)
{
}

void layer_abandon_unfinished(struct agent *agent)
{
	/* Those that wait are answered to nobody. */
	answer_kept();
}

void layer_free_all(struct agent *agent)
{
}

void files_abandon(struct agent *agent)
{
}

void shutdown_free(struct shutdown *shutdown)
{
}

void reaper_done(struct agent *agent)
{
}

void channel_free(struct channel *channel)
{
}

void channel_output_ready(struct channel *channel)
{
}

void cgroup_root_done(struct cgroup_root *root)
{
}

void stdio_free(struct stdio *stdio)
{
}

/* ------------------------------------------------------------------ the liar */

static void send_frame(struct agent *agent, uint8_t type, const uint8_t *data, size_t len)
{
	struct frame_header header = { .type = type, .length = (uint32_t)len };
	uint8_t bytes[FRAME_HEADER + 256 + FRAME_TRAILER];

	frame_header_encode(&header, bytes);
	memcpy(bytes + FRAME_HEADER, data, len);
	frame_trailer_encode(&header, bytes + FRAME_HEADER + len);
	mux_input(agent->mux, bytes, FRAME_HEADER + len + FRAME_TRAILER);
}

static void connect_host(struct agent *agent)
{
	uint8_t preamble[PREAMBLE_BYTES] = { 0 };

	memcpy(preamble, PREAMBLE_MAGIC, PREAMBLE_MAGIC_BYTES);
	mux_input(agent->mux, preamble, sizeof(preamble));
}

/* Every answer is one, to a request that came. */
static void take_output(struct agent *agent)
{
	size_t len;

	while (mux_output(agent->mux, &len) && len)
		mux_output_done(agent->mux, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent *agent;
	struct error err = { 0 };

	arrived = handled = 0;
	kept_count = 0;
	if (agent_new(true, &agent, &err) < 0)
		abort();
	connect_host(agent);
	while (size) {
		size_t len = data[0];

		data++;
		size--;
		if (len == 255) {
			connect_host(agent);
			continue;
		}
		if (len > size)
			len = size;
		arrived++;
		send_frame(agent, FRAME_CONTROL, data, len);
		take_output(agent);
		if (agent->waiting_count > AGENT_MAX_WAITING ||
		    (agent->waiting_count && !agent->blocking))
			abort();
		data += len;
		size -= len;
		if (kept_count > 3)
			answer_kept();
	}
	/* Answering one that holds others up lets them run, and they may be kept in turn. */
	while (kept_count)
		answer_kept();
	take_output(agent);
	if (agent->waiting_count || agent->blocking)
		abort();
	agent_free(agent);
	return 0;
}
