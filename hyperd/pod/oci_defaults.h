#pragma once
/* What every container gets unless it says otherwise: capabilities, paths, devices, as Docker. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "hyperd/pod/arena.h"
#include "wire/hyper.pb-c.h"

/* OCI runtime specification, linux.maskedPaths and linux.readonlyPaths; strv. */
extern char *const oci_masked_paths[];
extern char *const oci_read_only_paths[];

#define CAPABILITIES_ALL ((1ull << 41) - 1)
/* "CAP_CHOWN", "chown" → its number, or -1. */
int capability_number(const char *name);
const char *capability_name(unsigned number); /* "CAP_CHOWN" */
/* Docker's rules for --cap-add and --cap-drop, "ALL" included. */
int capabilities_make(char *const *add, char *const *drop, bool privileged, uint64_t *ret,
		      struct error *err);

/* "SIGTERM", "term", "15" → its number. */
int signal_parse(const char *text, int *ret, struct error *err);

/* /dev's nodes and the device cgroup's rules of an unprivileged container. */
void oci_devices(struct arena *arena, Hyper__ContainerCreate *create, bool privileged);

/* "nofile" → "RLIMIT_NOFILE"; NULL when unknown. */
const char *rlimit_name(const char *name);

/* 0 when a pod may set it: it belongs to the pod's own namespaces. */
int sysctl_check(const char *name, struct error *err);
