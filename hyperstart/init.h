#pragma once
/*
 * Pid 1 of a container that asked for one (ContainerCreate.init_process): passes signals on to the
 * main process, reaps orphans, and ends as the main process does. It is this program executed
 * anew, so that nothing of the agent's memory is to be found in a process of the container, and
 * has no capability left but that of signalling.
 */
#include <sys/types.h>

/* In the container's first process, whose child MAIN is: becomes the init. */
_Noreturn void init_become(int exe_fd, pid_t main);
/* `hyperstart --init PID`. */
int init_main(const char *pid);
