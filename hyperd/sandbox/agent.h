#pragma once
/*
 * The host's end of the channel to one hyperstart: requests with replies, events, streams. The same
 * for a VM and for a namespace pod. Loop thread; the calls that wait are for tasks.
 *
 * Several requests can be under way: agent_post() queues one without waiting, agent_wait() fetches
 * its reply. A pod start posts its whole burst and then waits once.
 */
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/list.h"
#include "base/loop.h"
#include "wire/hyper.pb-c.h"
#include "wire/mux.h"

struct agent;

struct agent_events {
	/* Borrowed for the call. */
	void (*event)(struct agent *agent, const Hyper__Event *event, void *owner);
	/*
	 * The channel is gone or the agent broke the protocol: every waiting call fails with WHY,
	 * streams get reset. The owner frees the agent later, not from this callback.
	 */
	void (*lost)(struct agent *agent, const struct error *why, void *owner);
};

/* A request under way; lives where the caller puts it until agent_wait() has returned. */
struct agent_ticket {
	struct list node;
	uint32_t id;
	Hyper__Reply *reply; /* owned until taken */
	struct error error;
	bool done;
};

/*
 * Task. Takes FD (a connected stream, even on failure). Shakes hands: preamble, Hello; ADOPT when
 * the agent runs already and keeps its state. EVENTS borrowed for the agent's life.
 */
int agent_connect(struct loop *loop, int fd, bool adopt, uint64_t deadline_ns,
		  const struct agent_events *events, void *owner, struct agent **ret,
		  struct error *err);
/*
 * The two halves of it: open begins (preamble and Hello are on their way, further requests can be
 * posted behind them), ready waits for the answer to Hello. A clone is told everything in one
 * burst.
 */
int agent_open(struct loop *loop, int fd, bool adopt, const struct agent_events *events,
	       void *owner, struct agent **ret, struct error *err);
int agent_ready(struct agent *agent, uint64_t deadline_ns, struct error *err);
/* Closes the channel; streams still open get their reset first. Calls nothing else of EVENTS. Takes
 * NULL. */
void agent_free(struct agent *agent);
DEFINE_CLEANUP(agent_free, struct agent *);

/* Somebody else is told from now on. */
void agent_set_events(struct agent *agent, const struct agent_events *events, void *owner);
struct mux *agent_mux(struct agent *agent);
const char *agent_version(const struct agent *agent);
const char *agent_kernel(const struct agent *agent);
bool agent_is_lost(const struct agent *agent);

/* Sends the request (borrowed; its id is set here). The ticket must stay put until agent_wait() or
 * agent_forget(). */
int agent_post(struct agent *agent, Hyper__Request *request, struct agent_ticket *ticket,
	       struct error *err);
/*
 * Task. A Failure from the agent becomes an error of its kind. RET may be NULL; else *ret is freed
 * by the caller with hyper__reply__free_unpacked(reply, NULL).
 */
int agent_wait(struct agent *agent, struct agent_ticket *ticket, uint64_t deadline_ns,
	       Hyper__Reply **ret, struct error *err);
/* A ticket whose reply nobody wants any more. */
void agent_forget(struct agent *agent, struct agent_ticket *ticket);
/* Task: agent_post() and agent_wait(). */
int agent_call(struct agent *agent, Hyper__Request *request, uint64_t deadline_ns,
	       Hyper__Reply **ret, struct error *err);

/* A stream number that is not in use. */
uint32_t agent_stream_id(struct agent *agent);
