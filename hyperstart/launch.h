#pragma once
/*
 * The last steps of a child before it becomes its program: who it is, what it may, where it stands.
 * Runs in the child, inside the container's namespaces and root, and returns only with an error.
 */
#include <stdbool.h>

#include "base/error.h"
#include "hyperstart/proto.h"

/*
 * ROOT_FD is the process's root directory; warnings go to SYNC_FD. Everything beyond descriptors 0
 * to 2 closes on exec.
 */
int launch(const Hyper__Process *spec, int root_fd, int sync_fd, struct error *err);
/* The same in two steps: all that the arguments and the environment have no part in (*ret_home is
 * the user's), and the rest. */
int launch_prepare(const Hyper__Process *spec, int root_fd, int sync_fd, char **ret_home,
		   struct error *err);
/* Where args[0] is found, at RET of PATH_MAX bytes. */
int launch_find_program(const Hyper__Process *spec, char *ret, struct error *err);
int launch_run(const Hyper__Process *spec, const char *home, struct error *err);
/* Puts three descriptors at 0 to 2. */
int launch_place_fds(const int fds[3], struct error *err);
