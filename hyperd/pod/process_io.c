#include "hyperd/pod/process_io.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"

/* A log that cannot be written is told about once in this time. */
#define LOG_FAILURE_EVERY_NS (60 * NSEC_PER_SEC)

static enum log_stream log_stream_of(const struct process_output *out)
{
	return out->kind == STREAM_STDERR ? LOG_STDERR : LOG_STDOUT;
}

void process_io_init(struct process_io *io, struct loop *loop)
{
	memset(io, 0, sizeof(*io));
	io->loop = loop;
	list_init(&io->attachments);
	cond_init(&io->drained);
	io->outputs[0] = (struct process_output){ .io = io, .kind = STREAM_STDOUT };
	io->outputs[1] = (struct process_output){ .io = io, .kind = STREAM_STDERR };
}

/* ------------------------------------------------------------------ acknowledging */

static bool held_back(const struct process_io *io)
{
	struct attachment *a;

	if (io->exited)
		return false;
	list_for_each_entry(a, &io->attachments, node) {
		if (attachment_is_full(a))
			return true;
	}
	return false;
}

static void acknowledge(struct process_io *io)
{
	bool held = held_back(io);

	for (int i = 0; i < 2; i++) {
		struct process_output *out = &io->outputs[i];
		uint64_t stored = io->log ? log_stored(io->log, log_stream_of(out)) + out->log_base
					  : out->received;

		if (held || !out->stream || stored <= out->acknowledged)
			continue;
		size_t n = (size_t)(stored - out->acknowledged);

		out->acknowledged = stored;
		mux_stream_ack(out->stream, n);
	}
}

static void log_progress(void *arg)
{
	acknowledge(arg);
}

static void flush_log(struct process_io *io)
{
	struct error err = { 0 };

	if (!io->log || log_flush(io->log, &err) == 0)
		return;
	if (io->lost_logged_ns && now_ns() - io->lost_logged_ns < LOG_FAILURE_EVERY_NS)
		return;
	io->lost_logged_ns = now_ns();
	log_warn("container output: %s", err.message);
}

static void flush_round(struct loop_deferred *deferred)
{
	struct process_io *io = container_of(deferred, struct process_io, flush);

	flush_log(io);
	acknowledge(io);
	if ((!io->outputs[0].stream || io->outputs[0].eof) &&
	    (!io->outputs[1].stream || io->outputs[1].eof))
		cond_broadcast(&io->drained);
}

static void flush_later(struct process_io *io)
{
	loop_defer(io->loop, &io->flush, flush_round);
}

void process_io_unblocked(struct process_io *io)
{
	acknowledge(io);
}

/* ------------------------------------------------------------------ what the agent sends */

static void on_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	struct process_output *out = mux_stream_owner(stream);
	struct process_io *io = out->io;
	struct attachment *a;

	if (!io->first_output_ns)
		io->first_output_ns = now_ns();
	out->received += len;
	if (io->log)
		log_write(io->log, log_stream_of(out), realtime_ns(), (const char *)data, len);
	/* A client may detach itself, or another, while it is given output. */
	for (struct list *node = io->attachments.next; node != &io->attachments;) {
		a = container_of(node, struct attachment, node);
		node = node->next;
		io->cursor = node == &io->attachments ? NULL
						      : container_of(node, struct attachment, node);
		attachment_output(a, out->kind, data, len);
		node = io->cursor ? &io->cursor->node : &io->attachments;
	}
	io->cursor = NULL;
	flush_later(io);
}

static void on_eof(struct mux_stream *stream)
{
	struct process_output *out = mux_stream_owner(stream);

	out->eof = true;
	if (out->io->log)
		log_end(out->io->log, log_stream_of(out), realtime_ns());
	flush_later(out->io);
}

static void on_output_writable(struct mux_stream *stream)
{
}

static void on_output_reset(struct mux_stream *stream, int errnum)
{
	struct process_output *out = mux_stream_owner(stream);

	trace(pod, "output stream %u reset: %s", mux_stream_id(stream), strerror(errnum));
	mux_stream_close(steal(out->stream));
	if (out->io->log && !out->eof)
		log_end(out->io->log, log_stream_of(out), realtime_ns());
	out->eof = true;
	flush_later(out->io);
}

static const struct mux_stream_events output_events = {
	.data = on_data,
	.eof = on_eof,
	.writable = on_output_writable,
	.reset = on_output_reset,
};

static void on_input_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	mux_stream_ack(stream, len); /* nothing is to come this way */
}

static void on_input_eof(struct mux_stream *stream)
{
}

static void on_input_writable(struct mux_stream *stream)
{
	struct process_io *io = mux_stream_owner(stream);

	process_io_started(io);
}

static void on_input_reset(struct mux_stream *stream, int errnum)
{
	struct process_io *io = mux_stream_owner(stream);

	mux_stream_close(steal(io->input));
	io->input_ended = true;
	process_io_started(io); /* clients learn that nothing is taken any more */
}

static const struct mux_stream_events input_events = {
	.data = on_input_data,
	.eof = on_input_eof,
	.writable = on_input_writable,
	.reset = on_input_reset,
};

/* ------------------------------------------------------------------ a run */

static int open_stream(struct agent *agent, const struct mux_stream_events *events, void *owner,
		       struct mux_stream **ret, uint32_t *ret_id, struct error *err)
{
	int r;

	/* Numbers of adopted streams are taken. */
	do {
		*ret_id = agent_stream_id(agent);
		r = mux_stream_open(agent_mux(agent), *ret_id, events, owner, 0, 0, ret);
	} while (r == -EEXIST);
	if (r == -EMFILE)
		return error_set(err, ERROR_LIMIT, "the pod has %d streams open, no more can be",
				 MUX_MAX_STREAMS);
	return r < 0 ? error_errno(err, -r, "opening a stream") : 0;
}

static void begin(struct process_io *io, const struct process_io_options *options)
{
	io->tty = options->tty;
	io->close_stdin = options->close_stdin;
	io->log = options->log;
	if (io->log)
		log_on_progress(io->log, log_progress, io);
	io->opened = true;
	io->exited = false;
	io->first_output_ns = 0;
	for (int i = 0; i < 2; i++) {
		io->outputs[i].eof = false;
		io->outputs[i].received = io->outputs[i].acknowledged = 0;
		io->outputs[i].log_base = 0;
	}
}

int process_io_open(struct process_io *io, struct agent *agent,
		    const struct process_io_options *options, Hyper__ProcessStreams *ret,
		    struct error *err)
{
	int r = 0;

	begin(io, options);
	if (options->want_stdin)
		r = open_stream(agent, &input_events, io, &io->input, &ret->stdin, err);
	if (r == 0 && options->want_stdout)
		r = open_stream(agent, &output_events, &io->outputs[0], &io->outputs[0].stream,
				&ret->stdout, err);
	if (r == 0 && options->want_stderr && !options->tty)
		r = open_stream(agent, &output_events, &io->outputs[1], &io->outputs[1].stream,
				&ret->stderr, err);
	if (r < 0)
		process_io_close_streams(io);
	else if (io->input && io->input_ended)
		mux_stream_end(io->input); /* a client ended it before the start */
	return r;
}

static int adopt_output(struct process_output *out, struct agent *agent, uint32_t id,
			uint64_t agent_offset)
{
	uint64_t have = out->io->log ? log_stored(out->io->log, log_stream_of(out)) : 0;
	int r;

	if (id == 0)
		return 0;
	/* What the agent no longer has cannot be sent again, whatever the log says. */
	if (have < agent_offset) {
		out->log_base = agent_offset - have;
		have = agent_offset;
	}
	out->received = out->acknowledged = have;
	r = mux_stream_open(agent_mux(agent), id, &output_events, out, 0, have, &out->stream);
	if (r == 0)
		mux_stream_ack(out->stream, 0);
	return r;
}

int process_io_adopt(struct process_io *io, struct agent *agent,
		     const struct process_io_options *options, const Hyper__ProcessState *state,
		     struct error *err)
{
	const Hyper__ProcessStreams *ids = state->streams;
	int r = 0;

	begin(io, options);
	if (!ids)
		return 0;
	r = adopt_output(&io->outputs[0], agent, ids->stdout, state->stdout_acknowledged);
	if (r == 0)
		r = adopt_output(&io->outputs[1], agent, ids->stderr, state->stderr_acknowledged);
	if (r == 0 && ids->stdin)
		r = mux_stream_open(agent_mux(agent), ids->stdin, &input_events, io,
				    state->stdin_received, 0, &io->input);
	if (r < 0) {
		process_io_close_streams(io);
		return error_errno(err, -r, "adopting a stream");
	}
	if (io->input)
		mux_stream_ack(io->input, 0);
	return 0;
}

void process_io_started(struct process_io *io)
{
	for (struct list *node = io->attachments.next; node != &io->attachments;) {
		struct attachment *a = container_of(node, struct attachment, node);

		node = node->next;
		io->cursor = node == &io->attachments ? NULL
						      : container_of(node, struct attachment, node);
		attachment_input_room(a);
		node = io->cursor ? &io->cursor->node : &io->attachments;
	}
	io->cursor = NULL;
}

void process_io_exited(struct process_io *io)
{
	io->exited = true;
	flush_later(io);
}

static bool is_drained(const struct process_io *io)
{
	for (int i = 0; i < 2; i++)
		if (io->outputs[i].stream && !io->outputs[i].eof)
			return false;
	return true;
}

int process_io_wait(struct process_io *io, uint64_t deadline_ns)
{
	int r = 0;

	while (!is_drained(io) && r == 0)
		r = cond_wait(&io->drained, deadline_ns);
	/* The round's flush may not have come yet. */
	flush_log(io);
	acknowledge(io);
	return r;
}

void process_io_close_streams(struct process_io *io)
{
	for (int i = 0; i < 2; i++)
		mux_stream_close(steal(io->outputs[i].stream));
	mux_stream_close(steal(io->input));
	loop_deferred_cancel(&io->flush);
	cond_broadcast(&io->drained);
}

static void end_attachments(struct process_io *io)
{
	while (!list_empty(&io->attachments)) {
		struct attachment *a = container_of(io->attachments.next, struct attachment, node);

		list_remove(&a->node);
		attachment_end(a);
	}
}

void process_io_end(struct process_io *io)
{
	process_io_close_streams(io);
	for (int i = 0; i < 2 && io->log; i++)
		if (!io->outputs[i].eof)
			log_end(io->log, log_stream_of(&io->outputs[i]), realtime_ns());
	flush_log(io);
	if (io->log) {
		log_on_progress(io->log, NULL, NULL);
		log_finish(io->log);
	}
	io->opened = io->input_ended = false;
	io->log = NULL;
	end_attachments(io);
}

void process_io_done(struct process_io *io)
{
	process_io_close_streams(io);
	if (io->log)
		log_on_progress(io->log, NULL, NULL);
	io->log = NULL;
	end_attachments(io);
}
