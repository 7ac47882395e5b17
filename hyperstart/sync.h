#pragma once
/*
 * What the agent and a child that becomes a container's process say to each other, over a pair of
 * sockets that closes when the child calls exec: one message a packet, descriptors with it.
 */
#include <stddef.h>

#include "base/error.h"

#define SYNC_FDS_MAX 4

enum sync_what {
	SYNC_END,      /* the other side closed: the program runs */
	SYNC_READY,    /* child: the container stands; its root, and its terminal if it has one */
	SYNC_TERMINAL, /* child of exec: the terminal */
	SYNC_WARNING,  /* child: what it does without */
	SYNC_FAILED,   /* child: why it ends */
	SYNC_GO, /* agent: run; standard input, output and error unless there is a terminal; for a
		   prepared container also its Process message */
};

struct sync_message {
	enum sync_what what;
	struct error error;    /* SYNC_FAILED, SYNC_WARNING */
	int fds[SYNC_FDS_MAX]; /* owned by the receiver */
	size_t fd_count;
};

/* fds[0] is the agent's, not blocking; fds[1] the child's. */
int sync_open(int fds[2], struct error *err);
/* 0 or -errno. ERROR may be NULL. */
int sync_send(int fd, enum sync_what what, const struct error *error, const int *fds, size_t count);
/* 0, -EAGAIN, or -errno; the end of the connection is the message SYNC_END. */
int sync_receive(int fd, struct sync_message *ret);
void sync_message_done(struct sync_message *message);
