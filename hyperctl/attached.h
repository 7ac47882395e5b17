#pragma once
/*
 * What run, start -a, attach and exec share: a hijacked stream to one process, its size, its
 * signals, its exit code.
 */
#include "hyperctl/command.h"
#include "hyperctl/stream.h"

struct attached {
	const struct client *client; /* borrowed */
	const char *path;            /* borrowed; "/containers/ID" or "/exec/ID": resize and kill */
	bool tty, input;
	bool pass_signals; /* to PATH/kill */
	struct detach_keys keys;
	struct response *stream; /* owned */
	struct response *wait;   /* owned; NULL: nothing to wait for */
	void (*first_output)(void *arg);
	void *arg;
};
void attached_done(struct attached *attached);
#define autoattached __attribute__((cleanup(attached_done)))

/* Tells the process at PATH its terminal's size; and a signal. Nobody minds when it is not there.
 */
void process_resize(const struct client *client, const char *path, unsigned rows, unsigned columns);
void process_signal(const struct client *client, const char *path, int signal);

/* -t with standard input wanted needs a terminal: ERROR_INVALID otherwise. */
int attached_check_terminal(bool tty, bool input, struct error *err);
/* Opens PATH/attach. */
int attached_open(struct attached *attached, const char *detach_keys, struct error *err);
/* Opens PATH/wait; returns once the daemon watches. */
int attached_open_wait(struct attached *attached, const char *condition, struct error *err);
/*
 * Until the process has ended, or the keys were typed. The exit code (0 when detached), or a
 * negative errno.
 */
int attached_run(struct attached *attached, struct error *err);
/* The exit code in the answer of a wait that has come to its end. */
int wait_result(struct response *wait, struct error *err);
/* ERR of a failed start gets the exit code that Docker gives such: 127, 126, or OTHERWISE. */
#define EXIT_DAEMON_FAILED 125
void start_failure_code(struct error *err, int otherwise);
