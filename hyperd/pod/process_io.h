#pragma once
/*
 * The streams of one process: output goes to the log and to every attachment, input comes from
 * attachments. What the agent sent is acknowledged when the log has it, so that after a crash of
 * this daemon the agent sends again exactly what the log has not. An attachment whose buffer is
 * full holds the acknowledgements back, and so in the end the process; once the process has ended
 * nothing is held back any more, since what is left is bounded.
 *
 * Embedded in its container or exec session. A container's lives through many runs: attachments may
 * come before the first. Loop thread.
 */
#include "base/task.h"
#include "hyperd/logdriver/logdriver.h"
#include "hyperd/pod/engine.h"

struct process_io;

struct process_output {
	struct process_io *io;
	struct mux_stream *stream; /* owned; NULL: not wanted, or over */
	enum stream_kind kind;
	bool eof;
	uint64_t received, acknowledged;
	uint64_t log_base; /* stream offset at which the log's count begins */
};

struct process_io {
	struct loop *loop; /* borrowed */
	struct log *log;   /* borrowed; NULL: nothing is kept */
	struct process_output outputs[2];
	struct mux_stream *input; /* owned; NULL: none */
	struct list attachments;
	struct attachment *cursor; /* the next one to be served, while they are walked */
	struct loop_deferred flush;
	struct cond drained;   /* the last output has ended */
	bool tty, close_stdin; /* the first client that ends its input ends the process's */
	bool opened, exited;
	bool input_ended;
	uint64_t first_output_ns; /* monotonic; 0: none yet */
	uint64_t lost_logged_ns;
};

void process_io_init(struct process_io *io, struct loop *loop);
/* Ends everything; attachments are told. */
void process_io_done(struct process_io *io);

/* Opens the streams of a run and says their numbers. */
struct process_io_options {
	bool want_stdin, want_stdout, want_stderr, tty, close_stdin;
	struct log *log;
};
int process_io_open(struct process_io *io, struct agent *agent,
		    const struct process_io_options *options, Hyper__ProcessStreams *ret,
		    struct error *err);
/* The same for a process that an earlier daemon started: goes on where the log ends. */
int process_io_adopt(struct process_io *io, struct agent *agent,
		     const struct process_io_options *options, const Hyper__ProcessState *state,
		     struct error *err);
/* The process has been started: input may flow. */
void process_io_started(struct process_io *io);
/* The process has ended: attachments hold nothing back any more. */
void process_io_exited(struct process_io *io);
/* Task: until every output has ended, or the deadline. */
int process_io_wait(struct process_io *io, uint64_t deadline_ns);
/* The run is over: closes the streams, writes out the log, ends the attachments. */
void process_io_end(struct process_io *io);
/* Lets go of the streams without a word (the daemon leaves, or the sandbox is going). */
void process_io_close_streams(struct process_io *io);

/* ------------------------------------------------------------------ attachments (attachment.c) */

struct attachment {
	struct list node;                       /* in process_io.attachments; alone once ended */
	struct process_io *io;                  /* NULL once the run is over */
	const struct attachment_events *events; /* borrowed */
	void *owner;
	struct attach_options options;
	struct container *container; /* referenced; one of these two */
	struct exec *exec;           /* referenced */
	struct list chunks;          /* not yet taken by the client */
	size_t queued;
	bool *gone;     /* set when detached inside a callback */
	bool over;      /* nothing follows what is queued */
	bool told;      /* ended() was called */
	bool replaying; /* the log's past goes first; live output waits in `chunks` */
	bool wants_input_room, blocked;
	struct task *replay; /* owned */
	struct cond replay_room;
};

int attachment_new(struct process_io *io, const struct attach_options *options,
		   const struct attachment_events *events, void *owner, struct attachment **ret,
		   struct error *err);
void attachment_output(struct attachment *a, enum stream_kind kind, const void *data, size_t len);
/* The run is over. */
void attachment_end(struct attachment *a);
bool attachment_is_full(const struct attachment *a);
void attachment_input_room(struct attachment *a);
/* For the engine: output flows again after an attachment was full. */
void process_io_unblocked(struct process_io *io);
