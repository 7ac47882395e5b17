#pragma once
/* Reaps children: the agent is pid 1, so every orphan of the pod becomes its child too. */
#include "base/error.h"

struct agent;

int reaper_start(struct agent *agent, struct error *err);
void reaper_done(struct agent *agent);
/* Reaps what has ended by now. */
void reaper_run(struct agent *agent);
