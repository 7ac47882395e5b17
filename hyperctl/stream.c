#include "hyperctl/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "hyperctl/terminal.h"

#define INPUT_BYTES    (32u << 10)
#define LINE_MAX_BYTES (64u << 10)
#define FORCED_EXIT_AT 3 /* as many SIGINTs and SIGTERMs end us though the process goes on */
#define STREAMS_MAX    256

/* What is passed on to the process. SIGTSTP, SIGTTIN and SIGTTOU keep their meaning for us. */
static const int passed_signals[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,
				      SIGUSR1, SIGUSR2, SIGALRM, SIGIO };

struct loop {
	struct session *session;
	int output_fds[3]; /* owned; [1] and [2] */
	int signal_fd;     /* owned */
	sigset_t old_mask;
	struct str input; /* to be sent to streams[0] */
	bool input_open, input_end_sent, detached, any_output;
	unsigned deadly_signals;
};

int output_open(int fd)
{
	struct stat st;
	char path[32];
	int own = -1;

	if (fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || isatty(fd))) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	}
	return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

void stream_done(struct stream *stream)
{
	str_done(&stream->lines[0]);
	str_done(&stream->lines[1]);
	str_done(&stream->formatted);
}

/* ------------------------------------------------------------------ output */

/* Moves the whole lines of stream->lines[...] into the piece; at the END the rest too. */
static void take_lines(struct stream *stream, int output, bool end)
{
	struct str *text = &stream->lines[output - 1];
	const char *p = str_text(text), *stop = p + text->len, *newline;

	str_clear(&stream->formatted);
	while (p < stop) {
		newline = memchr(p, '\n', (size_t)(stop - p));
		if (!newline && !end && stop - p < LINE_MAX_BYTES)
			break;
		str_add(&stream->formatted, stream->prefix);
		str_append(&stream->formatted, p, (size_t)((newline ? newline : stop) - p));
		str_addc(&stream->formatted, '\n');
		p = newline ? newline + 1 : stop;
	}
	str_consume(text, text->len - (size_t)(stop - p));
	stream->piece = str_text(&stream->formatted);
	stream->piece_len = stream->formatted.len;
	stream->output = output;
}

/* Finds the next piece of output in what has been read. 1, 0 when there is none, or an error. */
static int next_piece(struct stream *stream, struct error *err)
{
	struct str *body = &stream->response->reader.body;
	const char *data = body->data + stream->used, *piece;
	size_t len = body->len - stream->used, piece_len;
	enum demux_stream kind;
	int r;

	if (!len) {
		if (stream->used)
			str_clear(body);
		stream->used = 0;
		return 0;
	}
	if (stream->framed) {
		r = demux_next(&stream->demux, &data, &len, &kind, &piece, &piece_len, err);
		stream->used = body->len - len;
		if (r <= 0)
			return r < 0 ? r : next_piece(stream, err);
		if (kind == DEMUX_SYSTEM_ERROR)
			return error_set(err, ERROR_FAILED, "the daemon: %.*s", (int)piece_len,
					 piece);
	} else {
		piece = data;
		piece_len = len;
		kind = DEMUX_STDOUT;
		stream->used = body->len;
	}
	stream->output = kind == DEMUX_STDERR ? 2 : 1;
	if (!stream->prefix) {
		stream->piece = piece;
		stream->piece_len = piece_len;
		return 1;
	}
	str_append(&stream->lines[stream->output - 1], piece, piece_len);
	take_lines(stream, stream->output, false);
	return 1;
}

/* 1: all of the piece was written, 0: the output is full. */
static int write_piece(struct loop *loop, struct stream *stream, struct error *err)
{
	while (stream->piece_len > 0) {
		ssize_t n = fd_write(loop->output_fds[stream->output], stream->piece,
				     stream->piece_len);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return error_errno(err, (int)-n, "writing the output");
		if (!loop->any_output) {
			loop->any_output = true;
			if (loop->session->first_output)
				loop->session->first_output(loop->session->arg);
		}
		stream->piece += n;
		stream->piece_len -= (size_t)n;
	}
	return 1;
}

/* Writes what has been read, as far as the outputs take it. */
static int drain(struct loop *loop, struct stream *stream, struct error *err)
{
	for (;;) {
		int r = write_piece(loop, stream, err);

		if (r <= 0)
			return r;
		r = next_piece(stream, err);
		if (r < 0)
			return r;
		if (r > 0)
			continue;
		if (!stream->response->reader.ended || stream->done)
			return 0;
		if (stream->prefix && (stream->lines[0].len || stream->lines[1].len)) {
			take_lines(stream, stream->lines[0].len ? 1 : 2, true);
			continue;
		}
		stream->done = true;
		if (stream->framed && !demux_at_boundary(&stream->demux))
			return error_set(err, ERROR_FAILED,
					 "the connection ended in the middle of the output");
		return 0;
	}
}

/* ------------------------------------------------------------------ input */

/* Stops taking input: its end has been reached, or the process takes no more. */
static void input_end(struct loop *loop)
{
	loop->input_open = false;
	if (loop->input.len || loop->input_end_sent)
		return;
	loop->input_end_sent = true;
	shutdown(loop->session->streams[0].response->fd, SHUT_WR);
}

static void input_read(struct loop *loop)
{
	struct session *session = loop->session;
	char data[INPUT_BYTES], passed[INPUT_BYTES + DETACH_KEYS_MAX];
	ssize_t n = fd_read(session->input_fd, data, sizeof(data));
	size_t len;

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		input_end(loop);
		return;
	}
	if (!session->raw) {
		str_append(&loop->input, data, (size_t)n);
		return;
	}
	loop->detached = detach_keys_scan(&session->keys, data, (size_t)n, passed, &len);
	str_append(&loop->input, passed, len);
}

static void input_send(struct loop *loop)
{
	while (loop->input.len) {
		ssize_t n = send(loop->session->streams[0].response->fd, loop->input.data,
				 loop->input.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			/* It takes no more input; its output goes on. */
			str_clear(&loop->input);
			loop->input_open = false;
			loop->input_end_sent = true;
			return;
		}
		str_consume(&loop->input, (size_t)n);
	}
	if (!loop->input_open && !loop->input_end_sent)
		input_end(loop);
}

/* ------------------------------------------------------------------ signals */

static void resized(struct loop *loop)
{
	unsigned rows, columns;

	if (loop->session->resized && (terminal_size(STDOUT_FILENO, &rows, &columns) ||
				       terminal_size(STDIN_FILENO, &rows, &columns)))
		loop->session->resized(rows, columns, loop->session->arg);
}

static int signal_read(struct loop *loop, struct error *err)
{
	struct signalfd_siginfo info;
	int signal;

	if (fd_read(loop->signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	signal = (int)info.ssi_signo;
	if (signal == SIGWINCH) {
		resized(loop);
		return 0;
	}
	if (signal == SIGTSTP || signal == SIGCONT) {
		if (signal == SIGTSTP) {
			terminal_restore();
			raise(SIGSTOP);
		}
		terminal_raw_again();
		resized(loop);
		return 0;
	}
	if ((signal == SIGINT || signal == SIGTERM) && ++loop->deadly_signals >= FORCED_EXIT_AT)
		return error_set(err, ERROR_CANCELED,
				 "got %d SIGINTs or SIGTERMs; the process goes on without us",
				 FORCED_EXIT_AT);
	loop->session->signaled(signal, loop->session->arg);
	return 0;
}

static int signals_open(struct loop *loop, struct error *err)
{
	sigset_t set;

	sigemptyset(&set);
	if (loop->session->resized)
		sigaddset(&set, SIGWINCH);
	if (loop->session->raw) {
		sigaddset(&set, SIGTSTP);
		sigaddset(&set, SIGCONT);
	}
	for (size_t i = 0; loop->session->signaled && i < ARRAY_SIZE(passed_signals); i++) {
		struct sigaction action;

		/* What our caller lets us ignore (nohup) is none of the process's business. */
		if (sigaction(passed_signals[i], NULL, &action) == 0 &&
		    action.sa_handler != SIG_IGN)
			sigaddset(&set, passed_signals[i]);
	}
	sigprocmask(SIG_BLOCK, &set, &loop->old_mask);
	loop->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signal_fd < 0)
		return error_errno(err, errno, "watching for signals");
	return 0;
}

/* ------------------------------------------------------------------ the loop */

static bool all_done(const struct session *session)
{
	for (size_t i = 0; i < session->stream_count; i++)
		if (!session->streams[i].done)
			return false;
	return true;
}

enum { POLL_SIGNAL, POLL_INPUT, POLL_WAIT, POLL_STDOUT, POLL_STDERR, POLL_STREAMS };

static void poll_prepare(struct loop *loop, struct pollfd *fds)
{
	struct session *session = loop->session;
	bool waiting = session->wait && !session->wait->reader.ended;

	for (size_t i = 0; i < POLL_STREAMS + session->stream_count; i++)
		fds[i] = (struct pollfd){ .fd = -1 };
	fds[POLL_SIGNAL] = (struct pollfd){ .fd = loop->signal_fd, .events = POLLIN };
	if (loop->input_open && !loop->input.len)
		fds[POLL_INPUT] = (struct pollfd){ .fd = session->input_fd, .events = POLLIN };
	if (waiting)
		fds[POLL_WAIT] = (struct pollfd){ .fd = session->wait->fd, .events = POLLIN };
	for (size_t i = 0; i < session->stream_count; i++) {
		const struct stream *stream = &session->streams[i];
		struct pollfd *fd = &fds[POLL_STREAMS + i];

		if (stream->piece_len)
			fds[POLL_STDOUT + stream->output - 1] =
				(struct pollfd){ .fd = loop->output_fds[stream->output],
						 .events = POLLOUT };
		else if (!stream->response->reader.ended)
			*fd = (struct pollfd){ .fd = stream->response->fd, .events = POLLIN };
		if (i == 0 && loop->input.len && !stream->response->reader.ended) {
			fd->fd = stream->response->fd;
			fd->events |= POLLOUT;
		}
	}
}

static int step(struct loop *loop, struct pollfd *fds, struct error *err)
{
	struct session *session = loop->session;
	int r = 0;

	if (poll(fds, POLL_STREAMS + session->stream_count, -1) < 0)
		return errno == EINTR ? 0 : error_errno(err, errno, "poll");
	if (fds[POLL_SIGNAL].revents)
		r = signal_read(loop, err);
	if (r == 0 && fds[POLL_WAIT].revents) {
		r = response_fill(session->wait, err);
		r = r < 0 ? error_prefix(err, r, "waiting for the end") : 0;
	}
	if (r == 0 && fds[POLL_INPUT].revents)
		input_read(loop);
	if (session->stream_count && loop->input.len)
		input_send(loop);
	for (size_t i = 0; r >= 0 && i < session->stream_count; i++) {
		struct stream *stream = &session->streams[i];

		if ((fds[POLL_STREAMS + i].revents & ~POLLOUT) && !stream->piece_len)
			r = response_fill(stream->response, err);
		if (r >= 0)
			r = drain(loop, stream, err);
	}
	return r < 0 ? r : 0;
}

static int run(struct loop *loop, struct error *err)
{
	struct session *session = loop->session;
	struct pollfd fds[POLL_STREAMS + STREAMS_MAX];
	int r = 0;

	/* What came together with the headers. */
	for (size_t i = 0; r == 0 && i < session->stream_count; i++)
		r = drain(loop, &session->streams[i], err);
	while (r == 0 && !loop->detached) {
		if (all_done(session)) {
			/* Only the exit code is missing, and typed keys are the shell's again. */
			loop->input_open = false;
			str_clear(&loop->input);
			if (session->raw)
				terminal_restore();
			if (!session->wait || session->wait->reader.ended)
				break;
		}
		poll_prepare(loop, fds);
		r = step(loop, fds, err);
	}
	return r;
}

int session_run(struct session *session, enum session_end *ret, struct error *err)
{
	struct loop loop = {
		.session = session,
		.output_fds = { -1, output_open(STDOUT_FILENO), output_open(STDERR_FILENO) },
		.signal_fd = -1,
		.input_open = session->input_fd >= 0 && session->stream_count,
	};
	int r;

	if (session->stream_count > STREAMS_MAX)
		r = error_set(err, ERROR_LIMIT, "more than %d processes at once", STREAMS_MAX);
	else
		r = signals_open(&loop, err);
	if (r == 0 && session->raw)
		r = terminal_raw(session->input_fd, err);
	if (r == 0) {
		resized(&loop);
		r = run(&loop, err);
	}
	if (session->raw)
		terminal_restore();
	if (loop.signal_fd >= 0) {
		close(loop.signal_fd);
		sigprocmask(SIG_SETMASK, &loop.old_mask, NULL);
	}
	for (int i = 1; i <= 2; i++)
		if (loop.output_fds[i] >= 0)
			close(loop.output_fds[i]);
	str_done(&loop.input);
	*ret = loop.detached ? SESSION_DETACHED : SESSION_ENDED;
	return r;
}
