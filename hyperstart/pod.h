#pragma once
/* What the pod's containers share: name, loopback, sysctls, shared memory, cgroups. */
#include "base/error.h"

struct request;

int pod_setup_handle(struct request *request, struct error *err);
/* Gives unused memory back. */
int memory_trim_handle(struct request *request, struct error *err);

/* Writes TEXT into an existing file; 0 or -errno. For the kernel's files. */
int pod_write_file(int dir_fd, const char *path, const char *text);
