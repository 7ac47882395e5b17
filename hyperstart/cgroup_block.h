#pragma once
/* Limits on block devices: weight and throttling of a container's group. */
#include "base/error.h"
#include "hyperstart/cgroup.h"

/* DISK_PATH is on the pod's disk, the device meant when a limit names none. */
int cgroup_block_set(struct cgroup *cgroup, const Hyper__Limits *limits, const char *disk_path,
		     struct error *err);
