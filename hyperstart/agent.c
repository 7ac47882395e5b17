#include "hyperstart/agent.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/log.h"
#include "hyperstart/channel.h"
#include "hyperstart/container.h"
#include "hyperstart/disk.h"
#include "hyperstart/file_write.h"
#include "hyperstart/files.h"
#include "hyperstart/layer.h"
#include "hyperstart/network.h"
#include "hyperstart/pod.h"
#include "hyperstart/process.h"
#include "hyperstart/reaper.h"
#include "hyperstart/resume.h"
#include "hyperstart/shutdown.h"
#include "hyperstart/state.h"
#include "hyperstart/stats.h"
#include "hyperstart/process_stdio.h"
#include "hyperstart/top.h"

/* ------------------------------------------------------------------ the handlers of the session */

static int handle_hello(struct request *request, struct error *err)
{
	const Hyper__Hello *hello = request->body->hello;
	Hyper__HelloReply body = HYPER__HELLO_REPLY__INIT;
	Hyper__Reply reply = HYPER__REPLY__INIT;

	if (hello->protocol != PROTOCOL_VERSION)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the host speaks protocol %u, this agent protocol %u",
				 hello->protocol, PROTOCOL_VERSION);
	body.protocol = PROTOCOL_VERSION;
	body.agent_version = (char *)HYPER_VERSION;
	body.kernel = request->agent->kernel.release;
	body.namespace_pod = request->agent->namespace_pod;
	reply.body_case = HYPER__REPLY__BODY_HELLO;
	reply.hello = &body;
	request_reply(request, &reply);
	return REQUEST_KEPT;
}

/* ------------------------------------------------------------------ the table */

struct handler {
	const char *name;
	int (*handle)(struct request *request, struct error *err);
	/* Called when the request arrives, before its turn: opens what streams it names. */
	int (*arrive)(struct request *request, struct error *err);
	bool late; /* also while the pod shuts down */
};

#define REQUEST(NAME) [HYPER__REQUEST__BODY_##NAME]

static const struct handler handlers[] = {
	REQUEST(HELLO) = { "hello", handle_hello, .late = true },
	REQUEST(RESUME) = { "resume", resume_handle, .late = true },
	REQUEST(POD_SETUP) = { "setting up the pod", pod_setup_handle },
	REQUEST(DISK_SETUP) = { "setting up the disk", disk_setup_handle },
	REQUEST(LAYER_ADD) = { "adding a layer", layer_add_handle, layer_add_arrive },
	REQUEST(LAYER_REMOVE) = { "removing a layer", layer_remove_handle },
	REQUEST(CONTAINER_CREATE) = { "creating a container", container_create_handle },
	REQUEST(CONTAINER_START) = { "starting a container", container_start_handle,
				     container_start_arrive },
	REQUEST(CONTAINER_EXEC) = { "exec", container_exec_handle, container_exec_arrive },
	REQUEST(CONTAINER_DELETE) = { "deleting a container", container_delete_handle },
	REQUEST(CONTAINER_PAUSE) = { "pausing a container", container_pause_handle },
	REQUEST(CONTAINER_UPDATE) = { "updating a container", container_update_handle },
	REQUEST(CONTAINER_STATS) = { "container figures", container_stats_handle, .late = true },
	REQUEST(CONTAINER_TOP) = { "listing processes", container_top_handle },
	REQUEST(PROCESS_SIGNAL) = { "signalling", process_signal_handle, .late = true },
	REQUEST(PROCESS_RESIZE) = { "resizing a terminal", process_resize_handle },
	REQUEST(PROCESS_FORGET) = { "forgetting a process", process_forget_handle, .late = true },
	REQUEST(FILE_WRITE) = { "writing a file", file_write_handle },
	REQUEST(STATE_GET) = { "state", state_get_handle, .late = true },
	REQUEST(POD_STATS) = { "pod figures", pod_stats_handle, .late = true },
	REQUEST(SHUTDOWN) = { "shutting down", shutdown_handle, .late = true },
	REQUEST(FILES_SERVE) = { "serving files", files_serve_handle, files_serve_arrive },
	REQUEST(MEMORY_TRIM) = { "trimming memory", memory_trim_handle },
	REQUEST(NETWORK_SETUP) = { "setting up the network", network_setup_handle },
};

static const struct handler *find_handler(const Hyper__Request *body)
{
	unsigned i = (unsigned)body->body_case;

	return i < ARRAY_SIZE(handlers) && handlers[i].handle ? &handlers[i] : NULL;
}

/* ------------------------------------------------------------------ sending */

static void send_envelope(struct agent *agent, const Hyper__Envelope *envelope)
{
	size_t len = hyper__envelope__get_packed_size(envelope);
	autofree uint8_t *data = malloc(len ? len : 1);

	if (!data) {
		log_error("out of memory: a message to the host is lost");
		return;
	}
	hyper__envelope__pack(envelope, data);
	if (mux_send_message(agent->mux, data, len) < 0)
		log_error("a message of %zu bytes to the host is lost", len);
}

void agent_event(struct agent *agent, Hyper__Event *event)
{
	Hyper__Envelope envelope = HYPER__ENVELOPE__INIT;

	envelope.body_case = HYPER__ENVELOPE__BODY_EVENT;
	envelope.event = event;
	send_envelope(agent, &envelope);
}

/* ------------------------------------------------------------------ requests */

static void request_free(struct request *request)
{
	stdio_free(request->stdio);
	hyper__envelope__free_unpacked(request->envelope, NULL);
	free(request);
}

void request_block(struct request *request)
{
	request->agent->blocking = request;
}

void request_reply(struct request *request, Hyper__Reply *reply)
{
	struct agent *agent = request->agent;
	bool blocked = agent->blocking == request;
	Hyper__Envelope envelope = HYPER__ENVELOPE__INIT;

	reply->id = request->body->id;
	envelope.body_case = HYPER__ENVELOPE__BODY_REPLY;
	envelope.reply = reply;
	if (request->connection == agent->connection)
		send_envelope(agent, &envelope);
	request_free(request);
	if (blocked) {
		agent->blocking = NULL;
		agent_run_waiting(agent);
	}
}

/* Protobuf strings are UTF-8, and names inside a message come from images. */
static void make_utf8(char *s)
{
	unsigned char *p = (unsigned char *)s;

	while (*p) {
		unsigned n = *p < 0x80                 ? 0
			     : *p >= 0xc2 && *p < 0xe0 ? 1
			     : *p >= 0xe0 && *p < 0xf0 ? 2
			     : *p >= 0xf0 && *p < 0xf5 ? 3
						       : 9,
			 i = 1;

		while (i <= n && n < 9 && (p[i] & 0xc0) == 0x80)
			i++;
		if (i <= n) {
			*p++ = '?';
			continue;
		}
		p += n + 1;
	}
}

void request_fail(struct request *request, const struct error *err)
{
	const struct handler *handler = find_handler(request->body);
	Hyper__Failure failure = HYPER__FAILURE__INIT;
	Hyper__Reply reply = HYPER__REPLY__INIT;
	struct error told = *err;

	make_utf8(told.message);
	trace(agent, "%s: %s", handler ? handler->name : "?", told.message);
	failure.kind = told.kind == ERROR_NONE ? ERROR_FAILED : told.kind;
	failure.message = told.message;
	failure.exit_code = (uint32_t)told.exit_code;
	reply.failure = &failure;
	request_reply(request, &reply);
}

static void request_run(struct request *request)
{
	const struct handler *handler = find_handler(request->body);
	Hyper__Reply reply = HYPER__REPLY__INIT;
	struct error err = { 0 };
	int r;

	trace(agent, "%u: %s", request->body->id, handler->name);
	r = handler->handle(request, &err);
	if (r < 0)
		request_fail(request, &err);
	else if (r == 0)
		request_reply(request, &reply);
}

void agent_run_waiting(struct agent *agent)
{
	struct list *node;

	while (!agent->blocking && (node = list_pop(&agent->waiting))) {
		struct request *request = container_of(node, struct request, node);

		agent->waiting_count--;
		agent->waiting_bytes -= request->bytes;
		request_run(request);
	}
}

/* The host that asked is gone: what has not begun is forgotten. */
static void forget_waiting(struct agent *agent)
{
	struct list *node;

	while ((node = list_pop(&agent->waiting)))
		request_free(container_of(node, struct request, node));
	agent->waiting_count = 0;
	agent->waiting_bytes = 0;
}

static int request_arrive(struct request *request, struct error *err)
{
	const struct handler *handler = find_handler(request->body);
	struct agent *agent = request->agent;

	if (!handler)
		return error_set(err, ERROR_UNSUPPORTED, "unknown request %u",
				 (unsigned)request->body->body_case);
	if (agent->shutdown && !handler->late)
		return error_set(err, ERROR_CONFLICT, "the pod is shutting down");
	if (agent->waiting_count >= AGENT_MAX_WAITING ||
	    agent->waiting_bytes + request->bytes > AGENT_MAX_WAITING_BYTES)
		return error_set(err, ERROR_LIMIT, "%u requests are waiting already",
				 agent->waiting_count);
	return handler->arrive ? handler->arrive(request, err) : 0;
}

static void message(struct mux *mux, const uint8_t *data, size_t len)
{
	struct agent *agent = mux_owner(mux);
	Hyper__Envelope *envelope = hyper__envelope__unpack(NULL, len, data);
	struct request *request;
	struct error err = { 0 };

	if (!envelope || envelope->body_case != HYPER__ENVELOPE__BODY_REQUEST ||
	    !(request = calloc(1, sizeof(*request)))) {
		/* Without a request there is no id to answer. */
		log_warn("ignoring a message of %zu bytes that is no request", len);
		if (envelope)
			hyper__envelope__free_unpacked(envelope, NULL);
		return;
	}
	request->agent = agent;
	request->envelope = envelope;
	request->body = envelope->request;
	request->bytes = len;
	request->connection = agent->connection;
	list_init(&request->node);
	if (request_arrive(request, &err) < 0) {
		request_fail(request, &err);
		return;
	}
	agent->waiting_count++;
	agent->waiting_bytes += len;
	list_append(&agent->waiting, &request->node);
	agent_run_waiting(agent);
}

static void output_ready(struct mux *mux)
{
	struct agent *agent = mux_owner(mux);

	if (agent->channel)
		channel_output_ready(agent->channel);
}

static void connected(struct mux *mux)
{
	struct agent *agent = mux_owner(mux);

	trace(agent, "a host has connected");
	agent->connection++;
	forget_waiting(agent);
	layer_abandon_unfinished(agent);
	files_abandon(agent);
}

static const struct mux_events mux_events = {
	.message = message,
	.output_ready = output_ready,
	.connected = connected,
};

/* ------------------------------------------------------------------ life */

int agent_new(bool namespace_pod, struct agent **ret, struct error *err)
{
	struct agent *agent = calloc(1, sizeof(*agent));
	int r;

	if (!agent)
		return error_nomem(err);
	agent->namespace_pod = namespace_pod;
	agent->signal_fd = -1;
	agent->self_exe_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	agent->self_pid_ns_fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	agent->random_fd = namespace_pod ? -1 : open("/dev/urandom", O_RDWR | O_CLOEXEC);
	list_init(&agent->waiting);
	list_init(&agent->layers);
	list_init(&agent->containers);
	agent->disk_path = strdup(DISK_DIR);
	if (!agent->disk_path || mux_new(MUX_AGENT, &mux_events, agent, &agent->mux) < 0)
		r = error_nomem(err);
	else if (agent->self_exe_fd < 0 || agent->self_pid_ns_fd < 0)
		r = error_errno(err, errno, "opening /proc/self");
	else if (uname(&agent->kernel) < 0)
		r = error_errno(err, errno, "asking for the kernel's version");
	else if (!namespace_pod && agent->random_fd < 0)
		r = error_errno(err, errno, "opening /dev/urandom");
	else
		r = loop_new(&agent->loop, err);
	if (r == 0)
		r = container_beside_new(agent, err);
	if (r < 0) {
		agent_free(agent);
		return r;
	}
	*ret = agent;
	return 0;
}

void agent_free(struct agent *agent)
{
	if (!agent)
		return;
	forget_waiting(agent);
	container_free_all(agent);
	layer_free_all(agent);
	shutdown_free(agent->shutdown);
	reaper_done(agent);
	channel_free(agent->channel);
	mux_free(agent->mux);
	cgroup_root_done(&agent->cgroups);
	loop_free(agent->loop);
	if (agent->self_exe_fd >= 0)
		close(agent->self_exe_fd);
	if (agent->self_pid_ns_fd >= 0)
		close(agent->self_pid_ns_fd);
	if (agent->random_fd >= 0)
		close(agent->random_fd);
	free(agent->disk_path);
	free(agent);
}
