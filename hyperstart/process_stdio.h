#pragma once
/*
 * A process's input and output: mux streams on one side, pipes or a terminal on the other. Output
 * is read only when its stream has room, so a reader that stops stops its own writer and nobody
 * else; input is acknowledged when the process's pipe has taken it. The streams open when the
 * request arrives and last until the process is forgotten.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "hyperstart/proto.h"

struct agent;
struct stdio;

int stdio_new(struct agent *agent, const Hyper__ProcessStreams *streams, struct stdio **ret,
	      struct error *err);
/* Closes everything; takes NULL. */
void stdio_free(struct stdio *stdio);

/* Makes the pipes and begins to serve them. The process's ends, 0 to 2, belong to the caller. */
int stdio_make_pipes(struct stdio *stdio, int child_fds[3], struct error *err);
/* Serves a terminal by its master. Takes fd, even on failure. */
int stdio_attach_terminal(struct stdio *stdio, int fd, struct error *err);
/* Both also before there is a terminal. */
int stdio_resize(struct stdio *stdio, uint32_t rows, uint32_t columns, struct error *err);

/* The process is gone. */
void stdio_process_ended(struct stdio *stdio);
/* So is the whole container: output ends when what is in the pipe has been read, even if somebody
 * elsewhere still holds its other end. */
void stdio_container_ended(struct stdio *stdio);

/* The host has had, and acknowledged, all output. */
bool stdio_drained(const struct stdio *stdio);

void stdio_state(const struct stdio *stdio, Hyper__ProcessState *state,
		 Hyper__ProcessStreams *streams);
