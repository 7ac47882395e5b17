#pragma once
/* Figures of a container's cgroup and of the whole guest. */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct request;

int container_stats_handle(struct request *request, struct error *err);
int pod_stats_handle(struct request *request, struct error *err);

/* Reads numbers between blanks, at most MAX; returns how many there were. (scanf() would be a tenth
 * of the C library that the init carries.) */
size_t numbers_read(const char *text, uint64_t *ret, size_t max);
