#pragma once
/*
 * The time a program spends attached: output of one or several processes to standard output and
 * error, standard input to one of them, keys that detach, signals passed on, window sizes, and the
 * wait for an exit code beside it. One poll loop; nothing in it blocks for long but the calls of
 * the callbacks.
 *
 * A reader of ours that stops (a full pipe) stops only the reading of the streams.
 */
#include <stdbool.h>

#include "hyperctl/client.h"
#include "hyperctl/demux.h"
#include "hyperctl/keys.h"

/* One process's output. */
struct stream {
	struct response *response; /* borrowed; hijacked, or a body */
	bool framed;               /* no terminal: both outputs in frames */
	const char *prefix;        /* borrowed; put before each line, NULL: none */

	/* of the loop */
	struct demux demux;
	size_t used; /* bytes of the response's body that were handled */
	const char *piece;
	size_t piece_len;
	int output;           /* of the piece: 1 or 2 */
	struct str lines[2];  /* with a prefix: incomplete lines of the two outputs */
	struct str formatted; /* with a prefix: the piece */
	bool done;
};

enum session_end { SESSION_ENDED, SESSION_DETACHED };

struct session {
	struct stream *streams; /* borrowed */
	size_t stream_count;
	struct response *wait; /* borrowed; awaited to its end after the streams; NULL: none */
	int input_fd;          /* -1: none; goes to streams[0] */
	bool raw;              /* the input is a terminal that becomes raw; detach keys count */
	struct detach_keys keys;

	/* All may be NULL. RESIZED also at the beginning, if there is a terminal. */
	void (*resized)(unsigned rows, unsigned columns, void *arg);
	/* With this, signals to this program go there instead of ending it. */
	void (*signaled)(int signal, void *arg);
	void (*first_output)(void *arg);
	void *arg;
};

/* The terminal is as it was when this returns. */
int session_run(struct session *session, enum session_end *ret, struct error *err);
void stream_done(struct stream *stream);

/*
 * A descriptor that writes to where FD (1 or 2) writes and never blocks: a pipe's and a terminal's
 * own open file, so that those who share ours are not affected; FD itself (duplicated) for files.
 * The caller closes it.
 */
int output_open(int fd);
