#pragma once
/* Figures of a container's cgroup and of the whole guest. */
#include "base/error.h"

struct request;

int container_stats_handle(struct request *request, struct error *err);
int pod_stats_handle(struct request *request, struct error *err);
