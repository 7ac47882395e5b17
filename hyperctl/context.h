#pragma once
/*
 * A build's context: the names in a directory that its .dockerignore lets through, packed by
 * tar(1). Blocking.
 */
#include <sys/types.h>

#include "base/error.h"

struct context {
	int fd;    /* owned: the archive, to be read to its end */
	pid_t pid; /* of tar */
};

/*
 * DOCKERFILE (below the directory, without a leading slash) is sent whatever .dockerignore says.
 * The error says what could not be read.
 */
int context_begin(const char *directory, const char *dockerfile, struct context *ret,
		  struct error *err);
/* Waits for tar; an error when it could not read everything. */
int context_end(struct context *context, struct error *err);
