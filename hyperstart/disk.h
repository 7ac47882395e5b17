#pragma once
/*
 * The pod's writable disk: an ext4 file system found by its serial number, or a directory the host
 * prepared. Containers' upper directories are at containers/ID in it. What is to be removed is
 * moved to trash/ and removed by a child, because it may take long.
 */
#include "base/error.h"

struct agent;
struct request;

int disk_setup_handle(struct request *request, struct error *err);

/* Makes DISK/containers/ID and *ret_path its path, owned by the caller. */
int disk_container_dir(struct agent *agent, const char *id, char **ret_path, struct error *err);
/* Removes it, in the background. */
int disk_container_remove(struct agent *agent, const char *id, struct error *err);

/* Syncs and unmounts. */
int disk_close(struct agent *agent, struct error *err);
