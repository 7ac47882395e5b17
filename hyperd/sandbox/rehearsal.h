#pragma once
/*
 * A start that is tried out in a ready clone. Under emulation the code of the guest's kernel and of
 * the agent is slow the first time it runs in a machine: here a process is started, heard and
 * reaped once before anybody waits for one. The program is the agent's own (it prints its version),
 * beside the agent: no image's program runs, nothing is left.
 */
#include <stdint.h>

#include "base/task.h"
#include "hyperd/sandbox/agent.h"

struct rehearsal {
	struct cond changed;
	bool exited, heard;
};

/* Task. What fails costs the pod time only. REHEARSAL gets the agent's events meanwhile. */
int rehearse(struct agent *agent, struct rehearsal *rehearsal, uint64_t deadline_ns,
	     struct error *err);
void rehearsal_event(struct rehearsal *rehearsal, const Hyper__Event *event);
