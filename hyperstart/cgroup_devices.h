#pragma once
/* Device rules: a text for the v1 controller, a small BPF program for v2
 * (BPF_PROG_TYPE_CGROUP_DEVICE). */
#include <stddef.h>

#include "base/error.h"
#include "hyperstart/proto.h"

/* "c 1:3 rwm" */
int cgroup_devices_text(const Hyper__DeviceRule *rule, char *out, size_t size, struct error *err);
/* Loads and attaches to the group CGROUP_FD; for each kind of access the last rule that matches
 * decides, and what none forbids is allowed, as with version 1. */
int cgroup_devices_attach(int cgroup_fd, Hyper__DeviceRule *const *rules, size_t count,
			  struct error *err);
