#include "hyperstart/process_stdio.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <sys/ioctl.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperstart/agent.h"
#include "hyperstart/shutdown.h"

#define READ_BYTES 131072u
/* A pipe that was full gets room for more at a time: each change between writer and agent costs an
 * emulated processor what it knows of its memory. */
#define PIPE_BYTES      65536
#define WIDE_PIPE_BYTES (256 * 1024)

struct output {
	struct agent *agent; /* borrowed */
	int fd;              /* owned; -1 before the process has begun and after the end */
	struct loop_io io;
	struct mux_stream *stream; /* owned; NULL: thrown away */
	bool wide;
	bool last; /* the container is gone: what is there now is all that will come */
};

struct input {
	struct agent *agent;       /* borrowed */
	int fd;                    /* owned; as above */
	struct loop_io io;         /* added while the pipe is full */
	struct mux_stream *stream; /* owned, or NULL */
	struct str pending;        /* arrived, not yet written, not acknowledged */
	bool attached, eof, terminal;
	char last_written;
};

struct stdio {
	struct agent *agent; /* borrowed */
	uint32_t ids[3];
	struct input in;
	struct output out[2];
	int terminal_fd; /* borrowed from out[0]; -1 without one */
	uint16_t rows, columns;
};

/* ------------------------------------------------------------------ output */

static void output_ready(struct loop_io *io, uint32_t events);

static void output_finish(struct output *out)
{
	loop_io_remove(&out->io);
	if (out->fd >= 0)
		close(steal_fd(&out->fd));
	if (out->stream)
		mux_stream_end(out->stream);
}

static void output_give_up(struct output *out, int errnum)
{
	struct mux_stream *stream = steal(out->stream);

	if (stream)
		mux_stream_reset(stream, errnum);
}

/* Reads once; returns whether there may be more to do now. */
static bool output_read(struct output *out)
{
	static uint8_t buf[READ_BYTES];
	size_t room = out->stream ? mux_stream_room(out->stream) : sizeof(buf);
	ssize_t n;

	if (!room) {
		/* A source whose other end is closed is always ready: it must go, not only be
		 * masked. mux_stream_send() of nothing asks for the writable callback. */
		loop_io_remove(&out->io);
		mux_stream_send(out->stream, buf, 1);
		return false;
	}
	n = fd_read(out->fd, buf, room < sizeof(buf) ? room : sizeof(buf));
	if (n == -EAGAIN) {
		if (out->last)
			output_finish(out);
		return false;
	}
	if (n <= 0) {
		/* A terminal whose last user has gone says EIO. */
		output_finish(out);
		return false;
	}
	if (n >= PIPE_BYTES && !out->wide) {
		out->wide = true;
		fcntl(out->fd, F_SETPIPE_SZ, WIDE_PIPE_BYTES); /* not a terminal's */
	}
	if (out->stream && mux_stream_send(out->stream, buf, (size_t)n) != n) {
		log_error("out of memory: output of %zd bytes is lost", n);
		output_give_up(out, ENOMEM);
	}
	return true;
}

static void output_watch(struct output *out)
{
	if (out->fd >= 0 && !out->io.loop &&
	    loop_io_add(out->agent->loop, &out->io, out->fd, EPOLLIN, output_ready) < 0)
		output_finish(out);
}

static void output_ready(struct loop_io *io, uint32_t events)
{
	output_read(container_of(io, struct output, io));
}

/* Nothing more will come: what is there is read until it stops or the stream is full. */
static void output_rest(struct output *out)
{
	while (out->fd >= 0 && output_read(out))
		;
}

static void output_writable(struct mux_stream *stream)
{
	struct output *out = mux_stream_owner(stream);

	if (out->last)
		output_rest(out);
	else
		output_watch(out);
}

/* The host wants no more of it: the process is not to notice. */
static void output_reset(struct mux_stream *stream, int errnum)
{
	struct output *out = mux_stream_owner(stream);

	out->stream = NULL;
	mux_stream_close(stream);
	if (out->last)
		output_rest(out);
	else
		output_watch(out);
	shutdown_check(out->agent);
}

static void output_drained(struct mux_stream *stream)
{
	struct output *out = mux_stream_owner(stream);

	shutdown_check(out->agent);
}

static void output_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	/* Output streams go one way. */
	mux_stream_ack(stream, len);
}

static void output_eof(struct mux_stream *stream)
{
}

static const struct mux_stream_events output_events = {
	.data = output_data,
	.eof = output_eof,
	.writable = output_writable,
	.drained = output_drained,
	.reset = output_reset,
};

/* ------------------------------------------------------------------ input */

static void input_ready(struct loop_io *io, uint32_t events);

static void input_close(struct input *in)
{
	loop_io_remove(&in->io);
	if (in->fd >= 0)
		close(steal_fd(&in->fd));
}

/* Nobody reads any more: the host need not go on sending. */
static void input_give_up(struct input *in)
{
	struct mux_stream *stream = in->stream;
	bool finished = in->eof && !in->pending.len;

	in->attached = true;
	input_close(in);
	str_done(&in->pending);
	if (stream && !finished) {
		in->stream = NULL;
		mux_stream_reset(stream, EPIPE);
	}
}

/* A terminal has no end of input but the character that means it: once at the beginning of a line,
 * twice within one. */
static void input_end_terminal(struct input *in)
{
	struct termios t;
	char ends[2];
	size_t n = in->last_written == '\n' || in->last_written == '\0' ? 1 : 2;

	if (tcgetattr(in->fd, &t) == 0 && (t.c_lflag & ICANON)) {
		memset(ends, t.c_cc[VEOF], n);
		fd_write(in->fd, ends, n);
	}
}

/* As much as goes; the number of bytes, or -errno. */
static ssize_t input_write(struct input *in, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = fd_write(in->fd, data + done, len - done);

		if (n == -EAGAIN)
			break;
		if (n < 0)
			return n;
		done += (size_t)n;
	}
	if (done)
		in->last_written = (char)data[done - 1];
	return (ssize_t)done;
}

static void input_flush(struct input *in)
{
	ssize_t n = 0;

	if (!in->attached || in->fd < 0)
		return;
	if (in->pending.len)
		n = input_write(in, (const uint8_t *)in->pending.data, in->pending.len);
	if (n < 0) {
		input_give_up(in);
		return;
	}
	str_consume(&in->pending, (size_t)n);
	if (n)
		mux_stream_ack(in->stream, (size_t)n);
	if (in->pending.len) {
		if (!in->io.loop &&
		    loop_io_add(in->agent->loop, &in->io, in->fd, EPOLLOUT, input_ready) < 0)
			input_give_up(in);
		return;
	}
	loop_io_remove(&in->io);
	if (in->eof) {
		if (in->terminal)
			input_end_terminal(in);
		input_close(in);
	}
}

static void input_ready(struct loop_io *io, uint32_t events)
{
	input_flush(container_of(io, struct input, io));
}

static void input_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	struct input *in = mux_stream_owner(stream);

	if (in->attached && in->fd < 0) {
		input_give_up(in);
		return;
	}
	str_append(&in->pending, data, len);
	if (in->pending.failed) {
		log_error("out of memory: input of %zu bytes is lost", len);
		input_give_up(in);
		return;
	}
	if (!in->io.loop)
		input_flush(in);
}

static void input_eof(struct mux_stream *stream)
{
	struct input *in = mux_stream_owner(stream);

	in->eof = true;
	input_flush(in);
}

static void input_writable(struct mux_stream *stream)
{
}

static void input_reset(struct mux_stream *stream, int errnum)
{
	struct input *in = mux_stream_owner(stream);

	in->stream = NULL;
	mux_stream_close(stream);
	str_done(&in->pending);
	input_close(in);
}

static const struct mux_stream_events input_events = {
	.data = input_data,
	.eof = input_eof,
	.writable = input_writable,
	.reset = input_reset,
};

/* ------------------------------------------------------------------ both */

static int open_stream(struct agent *agent, uint32_t id, const struct mux_stream_events *events,
		       void *owner, struct mux_stream **ret, struct error *err)
{
	int r = id ? mux_stream_open(agent->mux, id, events, owner, 0, 0, ret) : 0;

	return r < 0 ? error_set(err, ERROR_INVALID, "stream %u: %s", id, strerror(-r)) : 0;
}

int stdio_new(struct agent *agent, const Hyper__ProcessStreams *streams, struct stdio **ret,
	      struct error *err)
{
	struct stdio *stdio = calloc(1, sizeof(*stdio));
	int r = 0;

	if (!stdio)
		return error_nomem(err);
	stdio->agent = stdio->in.agent = stdio->out[0].agent = stdio->out[1].agent = agent;
	stdio->in.fd = stdio->out[0].fd = stdio->out[1].fd = stdio->terminal_fd = -1;
	if (streams) {
		stdio->ids[0] = streams->stdin;
		stdio->ids[1] = streams->stdout;
		stdio->ids[2] = streams->stderr;
		r = open_stream(agent, streams->stdin, &input_events, &stdio->in, &stdio->in.stream,
				err);
	}
	for (int i = 0; r == 0 && i < 2; i++)
		r = open_stream(agent, stdio->ids[i + 1], &output_events, &stdio->out[i],
				&stdio->out[i].stream, err);
	if (r < 0) {
		stdio_free(stdio);
		return r;
	}
	*ret = stdio;
	return 0;
}

void stdio_free(struct stdio *stdio)
{
	if (!stdio)
		return;
	input_close(&stdio->in);
	str_done(&stdio->in.pending);
	mux_stream_close(stdio->in.stream);
	for (int i = 0; i < 2; i++) {
		loop_io_remove(&stdio->out[i].io);
		if (stdio->out[i].fd >= 0)
			close(stdio->out[i].fd);
		mux_stream_close(stdio->out[i].stream);
	}
	free(stdio);
}

/* One pipe: end OURS (0 or 1) is ours and does not block. */
static int make_pipe(int ours, int *ret_our_fd, int *ret_child_fd)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0 || fd_set_nonblocking(fds[ours], true) < 0)
		return -errno;
	*ret_our_fd = fds[ours];
	*ret_child_fd = fds[!ours];
	return 0;
}

int stdio_make_pipes(struct stdio *stdio, int child_fds[3], struct error *err)
{
	int r = 0;

	child_fds[0] = child_fds[1] = child_fds[2] = -1;
	for (int i = 0; r == 0 && i < 3; i++) {
		bool wanted = i == 0 ? stdio->in.stream != NULL : stdio->out[i - 1].stream != NULL;

		if (wanted)
			r = make_pipe(i == 0, i == 0 ? &stdio->in.fd : &stdio->out[i - 1].fd,
				      &child_fds[i]);
		else if ((child_fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
			r = -errno;
	}
	if (r < 0) {
		for (int i = 0; i < 3; i++)
			if (child_fds[i] >= 0)
				close(child_fds[i]);
		return error_errno(err, -r, "making pipes");
	}
	stdio->in.attached = true;
	input_flush(&stdio->in);
	output_watch(&stdio->out[0]);
	output_watch(&stdio->out[1]);
	return 0;
}

int stdio_attach_terminal(struct stdio *stdio, int fd, struct error *err)
{
	int r = fd_set_nonblocking(fd, true);

	stdio->out[0].fd = stdio->terminal_fd = fd;
	stdio->in.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	stdio->in.terminal = stdio->in.attached = true;
	if (r < 0 || stdio->in.fd < 0)
		return error_errno(err, r < 0 ? -r : errno, "serving the terminal");
	if (stdio->rows && stdio->columns)
		stdio_resize(stdio, stdio->rows, stdio->columns, NULL);
	/* Nothing comes on a terminal's third stream. */
	if (stdio->out[1].stream)
		mux_stream_end(stdio->out[1].stream);
	if (stdio->in.stream)
		input_flush(&stdio->in);
	output_watch(&stdio->out[0]);
	return 0;
}

int stdio_resize(struct stdio *stdio, uint32_t rows, uint32_t columns, struct error *err)
{
	struct winsize size = { .ws_row = (uint16_t)rows, .ws_col = (uint16_t)columns };

	if (rows > UINT16_MAX || columns > UINT16_MAX)
		return error_set(err, ERROR_INVALID, "a terminal of %u by %u", rows, columns);
	stdio->rows = size.ws_row;
	stdio->columns = size.ws_col;
	if (stdio->out[0].fd >= 0 && stdio->out[0].fd == stdio->terminal_fd &&
	    ioctl(stdio->terminal_fd, TIOCSWINSZ, &size) < 0)
		return error_errno(err, errno, "setting the terminal's size");
	return 0;
}

void stdio_process_ended(struct stdio *stdio)
{
	input_give_up(&stdio->in);
}

void stdio_container_ended(struct stdio *stdio)
{
	for (int i = 0; i < 2; i++) {
		struct output *out = &stdio->out[i];

		out->last = true;
		if (out->fd < 0 && out->stream)
			mux_stream_end(out->stream); /* never begun */
		output_rest(out);
	}
}

bool stdio_drained(const struct stdio *stdio)
{
	for (int i = 0; i < 2; i++) {
		const struct output *out = &stdio->out[i];

		if (out->stream && (out->fd >= 0 || !mux_stream_drained(out->stream)))
			return false;
	}
	return true;
}

void stdio_state(const struct stdio *stdio, Hyper__ProcessState *state,
		 Hyper__ProcessStreams *streams)
{
	const struct mux_stream *in = stdio->in.stream, *out = stdio->out[0].stream,
				*error = stdio->out[1].stream;

	streams->stdin = in ? stdio->ids[0] : 0;
	streams->stdout = out ? stdio->ids[1] : 0;
	streams->stderr = error ? stdio->ids[2] : 0;
	state->streams = streams;
	/* What waits here for the process has been taken, though not yet handled. */
	state->stdin_received = in ? mux_stream_handled(in) + stdio->in.pending.len : 0;
	state->stdout_acknowledged = out ? mux_stream_acknowledged(out) : 0;
	state->stderr_acknowledged = error ? mux_stream_acknowledged(error) : 0;
}
