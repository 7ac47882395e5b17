#pragma once
/* The end of the pod: containers are asked, then killed at the deadline; the disk is unmounted; the
 * power goes. */
#include <stdint.h>

#include "base/error.h"

struct agent;
struct request;
struct shutdown;

/* When nobody says one. */
#define SHUTDOWN_DEADLINE_MS 2000

int shutdown_handle(struct request *request, struct error *err);
void shutdown_begin(struct agent *agent, uint32_t deadline_ms);
/* Something has ended: perhaps everything has. */
void shutdown_check(struct agent *agent);
void shutdown_free(struct shutdown *shutdown);
