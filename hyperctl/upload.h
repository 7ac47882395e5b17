#pragma once
/* An archive that is sent as a request's body. */
#include <sys/types.h>

#include "base/error.h"

/* PATH "-": standard input, which must be no terminal. *ret_fd belongs to the caller. */
int upload_open(const char *path, int *ret_fd, struct error *err);
/* For struct request: ARG is the descriptor's address. */
ssize_t upload_read(void *arg, void *data, size_t len, struct error *err);
