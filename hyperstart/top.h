#pragma once
/* The processes of a container, from its cgroup and /proc. */
#include "base/error.h"

struct request;

int container_top_handle(struct request *request, struct error *err);
