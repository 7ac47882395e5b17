#pragma once
/*
 * Listening unix sockets in a sandbox's run directory. The daemon makes them, the sandbox's process
 * inherits them, and they outlive the daemon: the next one connects to the same names.
 */
#include "base/error.h"

/* Both give a close-on-exec descriptor; the connected one does not block. */
int run_socket_listen(const char *run_dir, const char *name, int *ret_fd, struct error *err);
int run_socket_connect(const char *run_dir, const char *name, int *ret_fd, struct error *err);
