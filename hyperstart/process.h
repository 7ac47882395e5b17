#pragma once
/*
 * Processes that the agent starts: the first of each container, and those of exec. The agent is the
 * parent of all of them; a process is remembered with its exit code and its unread output until the
 * host forgets it.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/list.h"
#include "base/loop.h"
#include "hyperstart/proto.h"

struct agent;
struct container;
struct request;
struct stdio;

struct process {
	struct list node;
	struct container *container; /* borrowed */
	char *exec;                  /* owned; "" for the main process */
	pid_t pid;
	int pidfd;   /* owned */
	int sync_fd; /* owned: to the child until it runs its program */
	struct loop_io sync_io;
	int spec_fd; /* owned: what a prepared container's process is told when it goes; -1 */
	struct stdio *stdio;   /* owned */
	struct request *start; /* kept until it runs or has failed */
	bool terminal, running, failed;
	uint32_t exit_code, signal;
	bool out_of_memory;
	uint64_t exited_realtime_ns;
};

/* What is wrong with a process's description, before anything is made. */
int process_check(const Hyper__Process *spec, struct error *err);

/*
 * Forks a child that calls FN(ARG, its end of the synchronisation socket) and never returns. FLAGS
 * are clone(2)'s namespaces; PID_NS_FD (-1: none) is the pid namespace it is born in.
 */
int process_fork(struct container *container, const char *exec, unsigned long flags, int pid_ns_fd,
		 void (*fn)(void *arg, int sync_fd), void *arg, struct process **ret,
		 struct error *err);
void process_free(struct process *process);
/* First in a forked child: no signal handling of the agent's. */
void process_child_begin(void);

/* Lets the child run its program; the request is answered when it does. Takes nothing on failure.
 */
int process_go(struct process *process, struct request *start, struct error *err);
struct process *process_find(struct container *container, const char *exec);
/* It has been reaped: STATUS as waitpid() says. */
void process_ended(struct process *process, int status);

int process_signal_handle(struct request *request, struct error *err);
int process_resize_handle(struct request *request, struct error *err);
int process_forget_handle(struct request *request, struct error *err);
