#pragma once
/*
 * What the daemon tells while it loads, imports or pulls: JSON lines of Docker's kind. On a
 * terminal each layer has a line that is redrawn; elsewhere only what changes the state of
 * something is printed.
 */
#include <stdbool.h>
#include <stdio.h>

#include "hyperctl/client.h"

/*
 * Shows the answer to its end on OUT. An error inside it is returned as an error. QUIET: only
 * errors. *ret_last (may be NULL): the last status, owned by the caller.
 */
int progress_show(struct response *response, FILE *out, bool quiet, char **ret_last,
		  struct error *err);
