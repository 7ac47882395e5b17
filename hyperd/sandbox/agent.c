#include "hyperd/sandbox/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/task.h"

/* Read at most so much per wake-up: a guest that floods its channel does not starve the others. */
#define READ_BYTES     65536
#define READS_PER_TURN 4
/* Requests that a guest has not taken; one that does not read is told about when it is asked more.
 */
#define QUEUED_MAX_BYTES (8u << 20)
/* Memory that one message of the guest may unpack into: its size on the wire is bounded by the mux.
 */
#define UNPACK_MAX_BYTES (16u << 20)

struct agent {
	struct loop *loop; /* borrowed */
	int fd;            /* owned */
	struct loop_io io;
	struct mux *mux;                   /* owned */
	const struct agent_events *events; /* borrowed */
	void *owner;
	struct list tickets;
	struct cond replied;
	struct loop_deferred lost_call;
	struct agent_ticket hello;
	uint32_t next_id, next_stream;
	bool lost, lost_told;
	struct error why;
	char *version, *kernel; /* owned */
};

/* ------------------------------------------------------------------ memory for a guest's messages
 */

struct budget {
	size_t left;
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *budget = data;

	if (size > budget->left)
		return NULL;
	budget->left -= size;
	return malloc(size);
}

static void budget_free(void *data, void *p)
{
	free(p);
}

static Hyper__Envelope *unpack(const uint8_t *data, size_t len)
{
	struct budget budget = { .left = UNPACK_MAX_BYTES };
	ProtobufCAllocator allocator = { budget_alloc, budget_free, &budget };

	return hyper__envelope__unpack(&allocator, len, data);
}

/* ------------------------------------------------------------------ the end of the channel */

static void ticket_finish(struct agent_ticket *ticket)
{
	list_remove(&ticket->node);
	ticket->done = true;
}

static void tell_lost(struct loop_deferred *deferred)
{
	struct agent *agent = container_of(deferred, struct agent, lost_call);
	struct error why = agent->why;

	mux_reset_streams(agent->mux, EPIPE);
	if (agent->events && agent->events->lost)
		agent->events->lost(agent, &why, agent->owner);
}

/*
 * Fails what waits at once, and tells the owner in the loop's next round: this is called from
 * inside the mux, whose streams the owner may want to close.
 */
static void set_lost(struct agent *agent, const struct error *why)
{
	if (agent->lost)
		return;
	agent->lost = true;
	agent->why = *why;
	trace(wire, "agent lost: %s", why->message);
	loop_io_remove(&agent->io);
	while (!list_empty(&agent->tickets)) {
		struct agent_ticket *ticket =
			container_of(agent->tickets.next, struct agent_ticket, node);

		ticket->error = *why;
		ticket_finish(ticket);
	}
	cond_broadcast(&agent->replied);
	loop_defer(agent->loop, &agent->lost_call, tell_lost);
}

static void set_lost_errno(struct agent *agent, int errnum, const char *doing)
{
	struct error why = { 0 };

	if (errnum)
		error_errno(&why, errnum, "agent: %s", doing);
	else
		error_set(&why, ERROR_UNAVAILABLE, "agent: the channel was closed");
	set_lost(agent, &why);
}

/* ------------------------------------------------------------------ what the agent says */

static struct agent_ticket *find_ticket(struct agent *agent, uint32_t id)
{
	struct agent_ticket *ticket;

	list_for_each_entry(ticket, &agent->tickets, node) {
		if (ticket->id == id)
			return ticket;
	}
	return NULL;
}

/* Takes the reply out of its envelope when somebody waits for it. */
static void on_reply(struct agent *agent, Hyper__Envelope *envelope)
{
	struct agent_ticket *ticket = find_ticket(agent, envelope->reply->id);

	if (!ticket) {
		trace(wire, "reply %u, for which nobody waits", envelope->reply->id);
		return;
	}
	ticket->reply = steal(envelope->reply);
	envelope->body_case = HYPER__ENVELOPE__BODY__NOT_SET;
	ticket_finish(ticket);
	cond_broadcast(&agent->replied);
}

static void on_message(struct mux *mux, const uint8_t *data, size_t len)
{
	struct agent *agent = mux_owner(mux);
	Hyper__Envelope *envelope;

	if (agent->lost)
		return;
	envelope = unpack(data, len);
	if (!envelope) {
		struct error why = { 0 };

		error_set(&why, ERROR_UNAVAILABLE, "agent: sent a message that is none");
		set_lost(agent, &why);
		return;
	}
	if (envelope->body_case == HYPER__ENVELOPE__BODY_REPLY)
		on_reply(agent, envelope);
	else if (envelope->body_case == HYPER__ENVELOPE__BODY_EVENT && agent->events &&
		 agent->events->event)
		agent->events->event(agent, envelope->event, agent->owner);
	else
		trace(wire, "message of an unknown kind ignored");
	hyper__envelope__free_unpacked(envelope, NULL);
}

static void on_output_ready(struct mux *mux)
{
	struct agent *agent = mux_owner(mux);

	if (agent->io.loop)
		loop_io_modify(&agent->io, EPOLLIN | EPOLLOUT);
}

static void on_connected(struct mux *mux)
{
	trace(wire, "agent answered the preamble");
}

static void on_broken(struct mux *mux, const char *text)
{
	struct agent *agent = mux_owner(mux);
	struct error why = { 0 };

	error_set(&why, ERROR_UNAVAILABLE, "agent: broke the protocol: %s", text);
	set_lost(agent, &why);
}

static const struct mux_events mux_events = {
	.message = on_message,
	.output_ready = on_output_ready,
	.connected = on_connected,
	.broken = on_broken,
};

/* ------------------------------------------------------------------ the descriptor */

static void agent_read(struct agent *agent)
{
	uint8_t buf[READ_BYTES];

	for (int i = 0; i < READS_PER_TURN && !agent->lost; i++) {
		ssize_t n = fd_read(agent->fd, buf, sizeof(buf));

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			set_lost_errno(agent, (int)-n, "reading its channel");
			return;
		}
		mux_input(agent->mux, buf, (size_t)n);
		if (n < (ssize_t)sizeof(buf))
			return;
	}
}

static void agent_write(struct agent *agent)
{
	for (int i = 0; i < READS_PER_TURN; i++) {
		size_t len;
		const uint8_t *data = mux_output(agent->mux, &len);
		ssize_t n;

		if (!len) {
			loop_io_modify(&agent->io, EPOLLIN);
			return;
		}
		n = send(agent->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			/* What it said last (a reply to Shutdown) may still be there to be read. */
			agent_read(agent);
			set_lost_errno(agent, errno, "writing to its channel");
			return;
		}
		mux_output_done(agent->mux, (size_t)n);
	}
}

static void on_io(struct loop_io *io, uint32_t events)
{
	struct agent *agent = container_of(io, struct agent, io);

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		agent_read(agent);
	if ((events & EPOLLOUT) && !agent->lost)
		agent_write(agent);
}

/* ------------------------------------------------------------------ requests */

int agent_post(struct agent *agent, Hyper__Request *request, struct agent_ticket *ticket,
	       struct error *err)
{
	Hyper__Envelope envelope = HYPER__ENVELOPE__INIT;
	autofree uint8_t *data = NULL;
	size_t len;
	int r;

	memset(ticket, 0, sizeof(*ticket));
	list_init(&ticket->node);
	if (agent->lost) {
		error_copy(err, &agent->why);
		return error_kind_errno(agent->why.kind);
	}
	if (mux_messages_queued(agent->mux) > QUEUED_MAX_BYTES)
		return error_set(err, ERROR_UNAVAILABLE, "agent: does not read its requests");

	ticket->id = request->id = ++agent->next_id ? agent->next_id : ++agent->next_id;
	envelope.body_case = HYPER__ENVELOPE__BODY_REQUEST;
	envelope.request = request;
	len = hyper__envelope__get_packed_size(&envelope);
	if (len > MUX_MAX_MESSAGE)
		return error_set(err, ERROR_LIMIT, "request of %zu bytes, at most %u are possible",
				 len, MUX_MAX_MESSAGE);
	data = malloc(len ? len : 1);
	if (!data)
		return error_nomem(err);
	hyper__envelope__pack(&envelope, data);
	r = mux_send_message(agent->mux, data, len);
	if (r < 0)
		return error_errno(err, -r, "queueing a request");
	list_append(&agent->tickets, &ticket->node);
	return 0;
}

void agent_forget(struct agent *agent, struct agent_ticket *ticket)
{
	if (ticket->node.next)
		list_remove(&ticket->node);
	if (ticket->reply)
		hyper__reply__free_unpacked(steal(ticket->reply), NULL);
}

static int failure_error(const Hyper__Failure *failure, struct error *err)
{
	enum error_kind kind = failure->kind;
	int r;

	if (kind <= ERROR_NONE || kind >= ERROR_KIND_COUNT)
		kind = ERROR_FAILED;
	r = error_set(err, kind, "%s", failure->message[0] ? failure->message : "failed");
	if (err && (failure->exit_code == 126 || failure->exit_code == 127))
		err->exit_code = (int)failure->exit_code;
	return r;
}

int agent_wait(struct agent *agent, struct agent_ticket *ticket, uint64_t deadline_ns,
	       Hyper__Reply **ret, struct error *err)
{
	int r = 0;

	if (ret)
		*ret = NULL;
	while (!ticket->done && r == 0)
		r = cond_wait(&agent->replied, deadline_ns);
	if (ticket->done && ticket->error.kind) {
		error_copy(err, &ticket->error);
		r = error_kind_errno(ticket->error.kind);
	} else if (ticket->done && ticket->reply->failure) {
		r = failure_error(ticket->reply->failure, err);
	} else if (ticket->done) {
		r = 0;
		if (ret)
			*ret = steal(ticket->reply);
	} else if (r == -ETIMEDOUT) {
		r = error_set(err, ERROR_TIMEOUT, "agent: no answer within its deadline");
	} else {
		r = error_set(err, ERROR_CANCELED, "canceled while waiting for the agent");
	}
	agent_forget(agent, ticket);
	return r;
}

int agent_call(struct agent *agent, Hyper__Request *request, uint64_t deadline_ns,
	       Hyper__Reply **ret, struct error *err)
{
	struct agent_ticket ticket;
	int r = agent_post(agent, request, &ticket, err);

	return r < 0 ? r : agent_wait(agent, &ticket, deadline_ns, ret, err);
}

/* ------------------------------------------------------------------ its life */

int agent_open(struct loop *loop, int fd, bool adopt, const struct agent_events *events,
	       void *owner, struct agent **ret, struct error *err)
{
	autoptr(agent_free) struct agent *agent = calloc(1, sizeof(*agent));
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__Hello hello = HYPER__HELLO__INIT;
	uint8_t nonce[PREAMBLE_NONCE_BYTES];
	int r;

	if (!agent) {
		close(fd);
		return error_nomem(err);
	}
	agent->loop = loop;
	agent->fd = fd;
	agent->events = events;
	agent->owner = owner;
	list_init(&agent->tickets);
	cond_init(&agent->replied);
	r = fd_set_nonblocking(fd, true);
	if (r == 0)
		r = mux_new(MUX_HOST, &mux_events, agent, &agent->mux);
	if (r == 0)
		r = loop_io_add(loop, &agent->io, fd, EPOLLIN, on_io);
	if (r < 0)
		return error_errno(err, -r, "agent: opening its channel");
	if (getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce))
		return error_errno(err, errno, "agent: getting random numbers");

	/*
	 * Streams of an earlier daemon may still be open in the agent, under numbers that this one
	 * does not know yet: beginning anywhere makes meeting one of them as good as impossible.
	 */
	memcpy(&agent->next_stream, nonce, sizeof(agent->next_stream));
	mux_connect(agent->mux, nonce, adopt);
	hello.protocol = PROTOCOL_VERSION;
	hello.host_version = (char *)HYPER_VERSION;
	hello.adopt = adopt;
	request.body_case = HYPER__REQUEST__BODY_HELLO;
	request.hello = &hello;
	r = agent_post(agent, &request, &agent->hello, err);
	if (r < 0)
		return r;
	*ret = steal(agent);
	return 0;
}

int agent_ready(struct agent *agent, uint64_t deadline_ns, struct error *err)
{
	Hyper__Reply *reply = NULL;
	int r = agent_wait(agent, &agent->hello, deadline_ns, &reply, err);

	if (r < 0)
		return r;
	if (reply->body_case != HYPER__REPLY__BODY_HELLO)
		r = error_set(err, ERROR_UNAVAILABLE, "agent: answered something else to Hello");
	else if (reply->hello->protocol != PROTOCOL_VERSION)
		r = error_set(err, ERROR_UNSUPPORTED, "agent: speaks protocol %u, this program %u",
			      reply->hello->protocol, PROTOCOL_VERSION);
	else {
		agent->version = strdup(reply->hello->agent_version);
		agent->kernel = strdup(reply->hello->kernel);
		if (!agent->version || !agent->kernel)
			r = error_nomem(err);
	}
	hyper__reply__free_unpacked(reply, NULL);
	return r;
}

int agent_connect(struct loop *loop, int fd, bool adopt, uint64_t deadline_ns,
		  const struct agent_events *events, void *owner, struct agent **ret,
		  struct error *err)
{
	autoptr(agent_free) struct agent *agent = NULL;
	int r = agent_open(loop, fd, adopt, events, owner, &agent, err);

	if (r == 0)
		r = agent_ready(agent, deadline_ns, err);
	if (r == 0)
		*ret = steal(agent);
	return r;
}

void agent_free(struct agent *agent)
{
	struct error why = { 0 };

	if (!agent)
		return;
	error_set(&why, ERROR_CANCELED, "agent: let go");
	agent->events = NULL;
	set_lost(agent, &why);
	loop_deferred_cancel(&agent->lost_call);
	if (agent->hello.node.next)
		agent_forget(agent, &agent->hello);
	if (agent->mux)
		mux_reset_streams(agent->mux, EPIPE);
	mux_free(agent->mux);
	close(agent->fd);
	free(agent->version);
	free(agent->kernel);
	free(agent);
}

void agent_set_events(struct agent *agent, const struct agent_events *events, void *owner)
{
	agent->events = events;
	agent->owner = owner;
}

struct mux *agent_mux(struct agent *agent)
{
	return agent->mux;
}

const char *agent_version(const struct agent *agent)
{
	return agent->version ? agent->version : "";
}

const char *agent_kernel(const struct agent *agent)
{
	return agent->kernel ? agent->kernel : "";
}

bool agent_is_lost(const struct agent *agent)
{
	return agent->lost;
}

uint32_t agent_stream_id(struct agent *agent)
{
	if (++agent->next_stream == 0)
		agent->next_stream = 1;
	return agent->next_stream;
}
