#pragma once
/* Everything the agent knows, for a daemon that takes over. */
#include "base/error.h"

struct request;

int state_get_handle(struct request *request, struct error *err);
