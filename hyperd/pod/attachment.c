/*
 * One client on a process's streams. Output that the client does not take is queued; input goes
 * straight into the process's stream, which has its own window.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/task.h"
#include "hyperd/pod/internal.h"
#include "hyperd/pod/process_io.h"

/* A replay of the log stops reading above this and goes on once the client has taken it. */
#define REPLAY_AHEAD_BYTES (256u * 1024)

struct chunk {
	struct list node;
	enum stream_kind kind;
	size_t at, len;
	uint8_t data[];
};

bool attachment_is_full(const struct attachment *a)
{
	return a->queued > ATTACH_BUFFER_BYTES;
}

static int queue(struct list *chunks, size_t *queued, enum stream_kind kind, const void *data,
		 size_t len)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + len);

	if (!chunk)
		return -ENOMEM;
	chunk->kind = kind;
	chunk->at = 0;
	chunk->len = len;
	memcpy(chunk->data, data, len);
	list_append(chunks, &chunk->node);
	*queued += len;
	return 0;
}

static void drop_chunks(struct attachment *a)
{
	struct list *node;

	while ((node = list_pop(&a->chunks)))
		free(container_of(node, struct chunk, node));
	a->queued = 0;
}

/* ended() once, when all has been delivered. False: the client has detached itself. */
static bool tell_end(struct attachment *a)
{
	bool gone = false;

	if (!a->over || a->told || a->queued || a->replaying)
		return true;
	a->told = true;
	a->gone = &gone;
	a->events->ended(a, a->owner);
	if (!gone)
		a->gone = NULL;
	return !gone;
}

/* Offers bytes to the client; how many it took, or -1 when it has detached itself. */
static ssize_t offer(struct attachment *a, enum stream_kind kind, const void *data, size_t len)
{
	bool gone = false;
	size_t n;

	if (a->blocked)
		return 0;
	a->gone = &gone;
	n = a->events->write(a, kind, data, len, a->owner);
	if (gone)
		return -1;
	a->gone = NULL;
	if (n < len)
		a->blocked = true;
	return (ssize_t)n;
}

/* Delivers what is queued. False: the client has detached itself. */
static bool deliver(struct attachment *a)
{
	bool was_full = attachment_is_full(a);

	while (!list_empty(&a->chunks) && !a->blocked) {
		struct chunk *chunk = container_of(a->chunks.next, struct chunk, node);
		ssize_t n = offer(a, chunk->kind, chunk->data + chunk->at, chunk->len - chunk->at);

		if (n < 0)
			return false;
		chunk->at += (size_t)n;
		a->queued -= (size_t)n;
		if (chunk->at == chunk->len) {
			list_remove(&chunk->node);
			free(chunk);
		}
	}
	if (was_full && !attachment_is_full(a) && a->io)
		process_io_unblocked(a->io);
	return tell_end(a);
}

void attachment_output(struct attachment *a, enum stream_kind kind, const void *data, size_t len)
{
	ssize_t n = 0;

	if ((kind == STREAM_STDOUT && !a->options.want_stdout) ||
	    (kind == STREAM_STDERR && !a->options.want_stderr) || a->over)
		return;
	if (!a->replaying && list_empty(&a->chunks)) {
		n = offer(a, kind, data, len);
		if (n < 0)
			return;
	}
	if ((size_t)n < len &&
	    queue(&a->chunks, &a->queued, kind, (const char *)data + n, len - (size_t)n) < 0) {
		/* Bytes of a stream cannot be left out: the client loses its attachment instead. */
		log_warn("attachment: out of memory, the client is let go");
		list_remove(&a->node);
		drop_chunks(a);
		attachment_end(a);
	}
}

void attachment_end(struct attachment *a)
{
	a->io = NULL;
	a->over = true;
	tell_end(a);
}

void attachment_input_room(struct attachment *a)
{
	if (!a->wants_input_room)
		return;
	a->wants_input_room = false;
	if (a->events->input_room)
		a->events->input_room(a, a->owner);
}

void attachment_writable(struct attachment *a)
{
	a->blocked = false;
	if (a->replaying)
		cond_broadcast(&a->replay_room);
	else
		deliver(a);
}

ssize_t attachment_input(struct attachment *a, const void *data, size_t len)
{
	ssize_t n;

	if (!a->options.want_stdin)
		return -EPIPE;
	if (a->over || !a->io || a->io->input_ended)
		return -EPIPE;
	if (!a->io->input) {
		/* Before the start. A process that runs without an input takes none. */
		if (a->io->opened)
			return -EPIPE;
		a->wants_input_room = true;
		return 0;
	}
	n = mux_stream_send(a->io->input, data, len);
	if (n >= 0 && (size_t)n < len)
		a->wants_input_room = true;
	return n;
}

static void end_input(struct attachment *a)
{
	struct process_io *io = a->io;

	if (!io || !a->options.want_stdin || io->tty || !io->close_stdin || io->input_ended)
		return;
	/* Also before the start: the process then finds its input at an end. */
	io->input_ended = true;
	if (io->input)
		mux_stream_end(io->input);
}

void attachment_input_end(struct attachment *a)
{
	end_input(a);
}

void attachment_detach(struct attachment *a)
{
	if (!a)
		return;
	end_input(a);
	if (a->gone)
		*a->gone = true;
	if (a->io && a->io->cursor == a) {
		struct list *next = a->node.next;

		a->io->cursor = next == &a->io->attachments
					? NULL
					: container_of(next, struct attachment, node);
	}
	list_remove(&a->node);
	if (a->io && attachment_is_full(a))
		process_io_unblocked(a->io);
	drop_chunks(a);
	if (a->replay) {
		/* The replay task finds that its attachment is gone, and frees it. */
		a->replaying = false;
		a->io = NULL;
		a->over = a->told = true;
		task_cancel(a->replay);
		return;
	}
	container_unref(a->container);
	exec_unref(a->exec);
	free(a);
}

int attachment_new(struct process_io *io, const struct attach_options *options,
		   const struct attachment_events *events, void *owner, struct attachment **ret,
		   struct error *err)
{
	struct attachment *a = calloc(1, sizeof(*a));

	if (!a)
		return error_nomem(err);
	a->io = io;
	a->events = events;
	a->owner = owner;
	a->options = *options;
	list_init(&a->chunks);
	list_init(&a->node);
	cond_init(&a->replay_room);
	list_append(&io->attachments, &a->node);
	*ret = a;
	return 0;
}

/* ------------------------------------------------------------------ the log's past */

static bool replay_wanted(const struct attachment *a)
{
	return a->replay && a->replaying;
}

static int replay_record(const struct log_record *record, void *arg)
{
	struct attachment *a = arg;
	enum stream_kind kind = record->stream == LOG_STDERR ? STREAM_STDERR : STREAM_STDOUT;
	size_t done = 0;

	while (done < record->len && replay_wanted(a)) {
		ssize_t n = offer(a, kind, record->data + done, record->len - done);

		if (n < 0)
			return 1;
		done += (size_t)n;
		if (done < record->len && replay_wanted(a) &&
		    cond_wait(&a->replay_room, DEADLINE_NEVER) < 0)
			return 1;
	}
	return !replay_wanted(a);
}

static void replay_task(void *arg)
{
	struct attachment *a = arg;
	struct container *c = a->container;
	const struct log_query query = {
		.want = { a->options.want_stdout, a->options.want_stderr },
		.tail = -1,
		.until_now = true,
	};
	struct error err = { 0 };

	if (replay_wanted(a) && c->log && log_read(c->log, &query, replay_record, a, &err) < 0 &&
	    err.kind != ERROR_CANCELED)
		log_warn("attachment: replaying the log: %s", err.message);
	task_unref(steal(a->replay));
	if (!a->replaying) {
		/* Detached meanwhile. */
		container_unref(c);
		free(a);
		return;
	}
	a->replaying = false;
	if (!a->options.stream)
		a->over = true;
	deliver(a);
}

/* The begun lines, which are in no record yet, go before what comes from now on. */
static void queue_partials(struct attachment *a, struct log *log)
{
	for (int i = 0; i < LOG_STREAM_COUNT; i++) {
		enum stream_kind kind = i == LOG_STDERR ? STREAM_STDERR : STREAM_STDOUT;
		size_t len;
		const char *text = log_partial(log, (enum log_stream)i, &len);

		if (len &&
		    (kind == STREAM_STDOUT ? a->options.want_stdout : a->options.want_stderr))
			queue(&a->chunks, &a->queued, kind, text, len);
	}
}

int container_attach(struct container *c, const struct attach_options *options,
		     const struct attachment_events *events, void *owner, struct attachment **ret,
		     struct error *err)
{
	struct attachment *a = NULL;
	int r;

	if (c->state == CONTAINER_PAUSED)
		return error_set(err, ERROR_CONFLICT,
				 "Container %s is paused, unpause the container before attach.",
				 c->id);
	if (c->removed)
		return error_set(err, ERROR_NOT_FOUND, "No such container: %s", c->id);
	r = attachment_new(&c->io, options, events, owner, &a, err);
	if (r < 0)
		return r;
	a->container = container_ref(c);
	if (options->logs && c->log && log_can_read(c->log)) {
		log_flush(c->log, NULL);
		queue_partials(a, c->log);
		a->replaying = true;
		r = task_spawn(c->engine->loop, "attach-logs", replay_task, a, &a->replay, err);
	}
	if (r < 0) {
		attachment_detach(a);
		return r;
	}
	if (!options->stream) {
		list_remove(&a->node);
		a->io = NULL;
		a->over = !a->replaying;
	}
	container_event(c, "attach", NULL);
	*ret = a;
	if (a->over)
		tell_end(a);
	return 0;
}
