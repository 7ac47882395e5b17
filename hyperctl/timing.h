#pragma once
/*
 * `run --timing`: when the client saw what, beside the milestones that the daemon kept of the
 * start. With a client of NULL every call does nothing.
 */
#include "hyperctl/client.h"

enum timing_point { TIMING_CREATED, TIMING_STARTED, TIMING_OUTPUT, TIMING_ENDED, TIMING_POINTS };

struct timing {
	const struct client *client; /* borrowed; NULL: not wanted */
	const char *object;          /* borrowed; container or pod, to be asked about */
	uint64_t begin_ns, points_ns[TIMING_POINTS];
	json_t *daemon; /* owned; the daemon's milestones, once they are known */
};

void timing_begin(struct timing *timing, const struct client *client, bool wanted);
void timing_mark(struct timing *timing, enum timing_point point);
/* On standard error. */
void timing_print(const struct timing *timing);
void timing_done(struct timing *timing);
