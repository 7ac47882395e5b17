#include "hyperd/pod/files.h"

#include <string.h>

#include "base/clock.h"
#include "hyperd/pod/arena.h"
#include "hyperd/pod/internal.h"

unsigned files_stall_ms = 60000;

struct files {
	struct container *container; /* referenced */
	struct agent *agent;         /* borrowed; NULL: gone, or never asked */
	char name[24];
	struct mux_stream *in, *out; /* owned; to and from the agent; NULL: gone */
	struct str received;
	size_t at;          /* of received: what has been taken */
	uint64_t data_left; /* of the entry's data */
	bool held, frozen, eof, lost;
	struct cond moved;
};

/* ------------------------------------------------------------------ the streams */

static void on_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	struct files *f = mux_stream_owner(stream);

	/* At most a window: it is acknowledged when it is taken. */
	if (stream == f->out)
		str_append(&f->received, data, len);
	else
		mux_stream_ack(stream, len);
	cond_broadcast(&f->moved);
}

static void on_eof(struct mux_stream *stream)
{
	struct files *f = mux_stream_owner(stream);

	if (stream == f->out)
		f->eof = true;
	cond_broadcast(&f->moved);
}

static void on_moved(struct mux_stream *stream)
{
	struct files *f = mux_stream_owner(stream);

	cond_broadcast(&f->moved);
}

/* The agent's child wants no more input, or the sandbox is gone: then the output's end says so. */
static void on_reset(struct mux_stream *stream, int errnum)
{
	struct files *f = mux_stream_owner(stream);

	(void)errnum;
	if (stream == f->out) {
		f->out = NULL;
		f->lost = true;
	} else {
		f->in = NULL;
	}
	mux_stream_close(stream);
	cond_broadcast(&f->moved);
}

static const struct mux_stream_events stream_events = {
	.data = on_data,
	.eof = on_eof,
	.writable = on_moved,
	.drained = on_moved,
	.reset = on_reset,
};

static int open_streams(struct files *f, bool writes, Hyper__ProcessStreams *ret, struct error *err)
{
	struct mux *mux = agent_mux(f->agent);
	int r;

	ret->stdout = agent_stream_id(f->agent);
	r = mux_stream_open(mux, ret->stdout, &stream_events, f, 0, 0, &f->out);
	if (r == 0 && writes) {
		ret->stdin = agent_stream_id(f->agent);
		r = mux_stream_open(mux, ret->stdin, &stream_events, f, 0, 0, &f->in);
	}
	return r < 0 ? error_errno(err, -r, "opening a stream") : 0;
}

/* ------------------------------------------------------------------ begin and end */

static int ask_agent(struct files *f, const struct files_options *options, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__FilesServe ask = HYPER__FILES_SERVE__INIT;
	Hyper__ProcessStreams streams = HYPER__PROCESS_STREAMS__INIT;
	const struct image *image = f->container->image;
	char *layers[IMAGE_MAX_LAYERS + 1];
	int r = open_streams(f, options->task == HYPER__FILES_TASK__FILES_WRITE, &streams, err);

	if (r < 0)
		return r;
	ask.container = f->container->id;
	ask.exec = f->name;
	ask.layers = layers;
	for (size_t i = 0; image && i < image_layer_count(image) && i < IMAGE_MAX_LAYERS; i++)
		layers[ask.n_layers++] = (char *)image_layer(image, i)->diff_id;
	ask.task = options->task;
	ask.path.data = (uint8_t *)options->path;
	ask.path.len = options->path ? strlen(options->path) : 0;
	ask.follow = options->follow;
	ask.keep_kinds = options->keep_kinds;
	ask.own = options->own;
	ask.user = (char *)(options->user ? options->user : "");
	/* A sandbox that is there only for this may be killed with the daemon. */
	ask.sync = f->container->pod->serving;
	ask.streams = &streams;
	request.body_case = HYPER__REQUEST__BODY_FILES_SERVE;
	request.files_serve = &ask;
	return agent_call(f->agent, &request, deadline_in_ms(files_stall_ms), NULL, err);
}

/* Says that its process is not needed any more; nobody waits for the answer. */
static void forget(struct files *f)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ProcessForget body = HYPER__PROCESS_FORGET__INIT;
	struct agent_ticket ticket;

	if (!f->agent || f->lost || agent_is_lost(f->agent))
		return;
	body.container = (char *)"";
	body.exec = f->name;
	request.body_case = HYPER__REQUEST__BODY_PROCESS_FORGET;
	request.process_forget = &body;
	if (agent_post(f->agent, &request, &ticket, NULL) == 0)
		agent_forget(f->agent, &ticket);
}

void files_close(struct files *f)
{
	if (!f)
		return;
	forget(f);
	mux_stream_close(f->in);
	mux_stream_close(f->out);
	if (f->held)
		pod_release(f->container, f->frozen);
	str_done(&f->received);
	container_unref(f->container);
	free(f);
}

static bool wants_standing(Hyper__FilesTask task)
{
	return task >= HYPER__FILES_TASK__FILES_EXPORT;
}

static int try_open(struct container *c, const struct files_options *options, struct files **ret,
		    struct error *err)
{
	static unsigned counter;
	autoptr(files_close) struct files *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return error_nomem(err);
	f->container = container_ref(c);
	cond_init(&f->moved);
	snprintf(f->name, sizeof(f->name), ".files-%u", ++counter);
	r = pod_hold(c, wants_standing(options->task), options->freeze, &f->frozen, err);
	if (r < 0)
		return r;
	f->held = true;
	f->agent = pod_agent(c->pod, err);
	if (!f->agent)
		return -EBUSY;
	r = ask_agent(f, options, err);
	if (r < 0)
		return r;
	*ret = steal(f);
	return 0;
}

int files_open(struct container *c, const struct files_options *options, struct files **ret,
	       struct error *err)
{
	struct error why = { 0 };
	int r = try_open(c, options, ret, &why);

	/* It ended between two steps: then it is served as one that has ended. */
	if (r < 0 && why.kind == ERROR_CONFLICT && !c->removed && !container_is_running(c)) {
		error_clear(&why);
		r = try_open(c, options, ret, &why);
	}
	if (r < 0)
		error_copy(err, &why);
	return r;
}

/* ------------------------------------------------------------------ reading */

static int wait(struct files *f, const char *doing, struct error *err)
{
	int r;

	if (f->received.failed)
		return error_nomem(err);
	if (f->lost || f->eof)
		return error_set(err, ERROR_UNAVAILABLE,
				 "%s: the container's sandbox has given no more", doing);
	r = cond_wait(&f->moved, deadline_in_ms(files_stall_ms));
	if (r == -ETIMEDOUT)
		return error_set(err, ERROR_TIMEOUT, "%s: nothing came for %u ms", doing,
				 files_stall_ms);
	return r < 0 ? error_set(err, ERROR_CANCELED, "%s: canceled", doing) : 0;
}

static void take(struct files *f, size_t n)
{
	f->at += n;
	if (f->out)
		mux_stream_ack(f->out, n);
	if (f->at == f->received.len) {
		str_clear(&f->received);
		f->at = 0;
	} else if (f->at > MUX_WINDOW_BYTES) {
		str_consume(&f->received, f->at);
		f->at = 0;
	}
}

/* Some of what is there, at most LEN bytes; never 0. */
static ssize_t read_some(struct files *f, void *buf, size_t len, struct error *err)
{
	size_t n;

	while (f->at == f->received.len) {
		int r = wait(f, "reading the container's files", err);

		if (r < 0)
			return r;
	}
	n = f->received.len - f->at;
	if (n > len)
		n = len;
	if (buf)
		memcpy(buf, f->received.data + f->at, n);
	take(f, n);
	return (ssize_t)n;
}

static int read_exact(struct files *f, void *buf, size_t len, struct error *err)
{
	uint8_t *to = buf;

	while (len) {
		ssize_t n = read_some(f, to, len, err);

		if (n < 0)
			return (int)n;
		to += n;
		len -= (size_t)n;
	}
	return 0;
}

static int told_failure(const struct tree_entry *entry, struct error *err)
{
	enum error_kind kind = entry->mode > ERROR_NONE && entry->mode < ERROR_KIND_COUNT
				       ? (enum error_kind)entry->mode
				       : ERROR_FAILED;

	return error_set(err, kind, "%s", *entry->link ? entry->link : "failed");
}

static int read_entry(struct files *f, struct tree_entry *ret, struct error *err)
{
	uint8_t length[TREE_LENGTH_BYTES];
	autofree uint8_t *data = NULL;
	uint32_t len;
	int r = read_exact(f, length, sizeof(length), err);

	if (r == 0)
		r = tree_length(length, &len, err);
	if (r < 0)
		return r;
	data = malloc(len);
	if (!data)
		return error_nomem(err);
	r = read_exact(f, data, len, err);
	return r < 0 ? r : tree_decode(data, len, ret, err);
}

int files_next(struct files *f, struct tree_entry *ret, struct error *err)
{
	int r;

	while (f->data_left) {
		ssize_t n = files_data(f, NULL, MUX_WINDOW_BYTES, err);

		if (n < 0)
			return (int)n;
	}
	r = read_entry(f, ret, err);
	if (r < 0)
		return r;
	if (ret->type == TREE_FAILED) {
		r = told_failure(ret, err);
		tree_entry_done(ret);
		return r;
	}
	f->data_left = ret->type == TREE_FILE ? ret->size_bytes : 0;
	return 0;
}

ssize_t files_data(struct files *f, void *buf, size_t len, struct error *err)
{
	ssize_t n;

	if (!f->data_left)
		return 0;
	n = read_some(f, buf, len < f->data_left ? len : (size_t)f->data_left, err);
	if (n > 0)
		f->data_left -= (uint64_t)n;
	return n;
}

/* ------------------------------------------------------------------ writing */

/* The agent says something before the end only when it cannot go on. */
static int refused(struct files *f, struct error *err)
{
	struct tree_entry entry = { 0 };
	int r = files_next(f, &entry, err);

	if (r == 0) {
		tree_entry_done(&entry);
		r = error_set(err, ERROR_FAILED, "the agent took no more");
	}
	return r;
}

int files_put(struct files *f, const void *data, size_t len, struct error *err)
{
	const uint8_t *from = data;

	while (len) {
		ssize_t n;
		int r;

		if (!f->in || f->received.len)
			return refused(f, err);
		n = mux_stream_send(f->in, from, len);
		if (n < 0)
			return error_errno(err, (int)-n, "sending files");
		from += n;
		len -= (size_t)n;
		if (!len)
			break;
		r = wait(f, "writing the container's files", err);
		if (r < 0)
			return r;
	}
	return 0;
}

int files_put_entry(struct files *f, const struct tree_entry *entry, struct error *err)
{
	autostr struct str packed = STR_INIT;
	int r = tree_encode(entry, &packed, err);

	return r < 0 ? r : files_put(f, packed.data, packed.len, err);
}

int files_finish(struct files *f, struct error *err)
{
	const struct tree_entry end = { .type = TREE_END, .path = "", .link = "" };
	struct tree_entry entry = { 0 };
	int r = files_put_entry(f, &end, err);

	if (r == 0)
		r = files_next(f, &entry, err);
	if (r == 0 && entry.type != TREE_END)
		r = error_set(err, ERROR_FAILED, "the agent did not say that all is there");
	tree_entry_done(&entry);
	return r;
}
