#pragma once
/*
 * A pod file on its way to the daemon. It goes as it is, so that the daemon's messages fit what the
 * user wrote, unless it takes files from this side: "uri: file://PATH" is read here (paths
 * relative to the pod file's directory) and sent as base64 content, in JSON.
 */
#include <stddef.h>

#include "base/error.h"

#define POD_FILE_MAX_BYTES (16u << 20)

/* PATH "-": standard input. *ret is owned by the caller. */
int pod_file_load(const char *path, char **ret, size_t *ret_len, struct error *err);
/* The same for TEXT that came from the directory DIR. */
int pod_file_resolve(const char *text, size_t len, const char *dir, char **ret, size_t *ret_len,
		     struct error *err);
