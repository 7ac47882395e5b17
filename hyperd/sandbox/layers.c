#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "hyperd/sandbox/factory.h"

#define CHUNK_BYTES (1u << 20)

/* One layer on its way: its ticket, and its stream when it has one. */
struct sending {
	struct agent_ticket ticket;
	struct mux_stream *stream; /* owned; NULL once reset */
	struct cond *moved;
	int reset; /* errno of the other side's refusal */
	bool posted;
};

static void on_writable(struct mux_stream *stream)
{
	struct sending *s = mux_stream_owner(stream);

	cond_broadcast(s->moved);
}

static void on_reset(struct mux_stream *stream, int errnum)
{
	struct sending *s = mux_stream_owner(stream);

	s->reset = errnum;
	s->stream = NULL;
	cond_broadcast(s->moved);
	mux_stream_close(stream);
}

/* The agent sends nothing on a layer's stream; what a liar sends is dropped. */
static void on_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	mux_stream_ack(stream, len);
}

static void on_eof(struct mux_stream *stream)
{
}

static const struct mux_stream_events stream_events = {
	.data = on_data,
	.eof = on_eof,
	.writable = on_writable,
	.drained = on_writable,
	.reset = on_reset,
};

struct chunk {
	int fd;
	uint8_t *data;
	size_t len;
	off_t at;
};

static int read_chunk(void *arg)
{
	struct chunk *c = arg;
	size_t have = 0;

	while (have < c->len) {
		ssize_t n = pread(c->fd, c->data + have, c->len - have, c->at + (off_t)have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		have += (size_t)n;
	}
	return 0;
}

static int send_all(struct sending *s, const uint8_t *data, size_t len, uint64_t deadline_ns)
{
	while (len) {
		ssize_t n;
		int r;

		if (!s->stream)
			return s->reset ? -s->reset : -EPIPE;
		/* Refused (or there already): the agent reads no further, its reply says why. */
		if (s->ticket.done)
			return 0;
		n = mux_stream_send(s->stream, data, len);
		if (n < 0)
			return (int)n;
		data += n;
		len -= (size_t)n;
		if (!len)
			return 0;
		r = cond_wait(s->moved, deadline_ns);
		if (r < 0)
			return r;
	}
	return 0;
}

static int stream_layer(struct sandbox_factory *factory, struct sending *s,
			const struct sandbox_layer *layer, uint64_t deadline_ns, struct error *err)
{
	autoclose int fd = open(layer->erofs_path, O_RDONLY | O_CLOEXEC);
	autofree uint8_t *buf = malloc(CHUNK_BYTES);
	uint64_t at = 0;
	int r = 0;

	if (!buf)
		return error_nomem(err);
	if (fd < 0)
		return error_errno(err, errno, "opening '%s'", layer->erofs_path);
	while (at < layer->erofs_bytes && r == 0 && !s->ticket.done) {
		uint64_t left = layer->erofs_bytes - at;
		struct chunk chunk = { fd, buf, left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES,
				       (off_t)at };

		r = job_run(factory->jobs, read_chunk, &chunk);
		if (r == 0)
			r = send_all(s, buf, chunk.len, deadline_ns);
		at += chunk.len;
	}
	if (r == 0 && s->stream)
		mux_stream_end(s->stream);
	if (r < 0 && !s->ticket.done)
		return error_errno(err, -r, "sending '%s'", layer->erofs_path);
	return 0;
}

void layer_serial(const struct sandbox_layer *layer, char out[21])
{
	const char *colon = strchr(layer->diff_id, ':');

	/* 76 bits of the digest; layers of one pod are few. */
	snprintf(out, 21, "L%.19s", colon ? colon + 1 : layer->diff_id);
}

static int post_layer(struct agent *agent, struct sending *s, const struct sandbox_layer *layer,
		      const char *serial, bool directories, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__LayerAdd add = HYPER__LAYER_ADD__INIT;
	Hyper__LayerStream stream = HYPER__LAYER_STREAM__INIT;
	int r = 0;

	request.body_case = HYPER__REQUEST__BODY_LAYER_ADD;
	request.layer_add = &add;
	add.digest = (char *)layer->diff_id;
	if (directories) {
		add.source_case = HYPER__LAYER_ADD__SOURCE_DIRECTORY;
		add.directory = (char *)layer->directory;
	} else if (serial && *serial) {
		add.source_case = HYPER__LAYER_ADD__SOURCE_BLOCK_SERIAL;
		add.block_serial = (char *)serial;
	} else {
		stream.stream = agent_stream_id(agent);
		stream.size_bytes = layer->erofs_bytes;
		add.source_case = HYPER__LAYER_ADD__SOURCE_STREAM;
		add.stream = &stream;
		r = mux_stream_open(agent_mux(agent), stream.stream, &stream_events, s, 0, 0,
				    &s->stream);
		if (r < 0)
			return error_errno(err, -r, "opening a stream");
	}
	r = agent_post(agent, &request, &s->ticket, err);
	s->posted = r == 0;
	return r;
}

int layers_add(struct sandbox_factory *factory, struct agent *agent,
	       const struct sandbox_layer *layers, size_t count, char *const *serials,
	       bool directories, uint64_t deadline_ns, struct error *err)
{
	struct sending *all = calloc(count ? count : 1, sizeof(*all));
	struct cond moved;
	int r = 0;

	if (!all)
		return error_nomem(err);
	cond_init(&moved);
	/* One after the other in time, but all announced at once: the agent works through them in
	 * order. */
	for (size_t i = 0; i < count && r == 0; i++) {
		all[i].moved = &moved;
		r = post_layer(agent, &all[i], &layers[i], serials ? serials[i] : NULL, directories,
			       err);
	}
	for (size_t i = 0; i < count && r == 0; i++)
		if (all[i].stream)
			r = stream_layer(factory, &all[i], &layers[i], deadline_ns, err);
	for (size_t i = 0; i < count; i++) {
		if (all[i].posted && r == 0) {
			r = agent_wait(agent, &all[i].ticket, deadline_ns, NULL, err);
			if (r < 0)
				error_prefix(err, r, "layer %s", layers[i].diff_id);
		} else if (all[i].posted) {
			agent_forget(agent, &all[i].ticket);
		}
		if (all[i].stream)
			mux_stream_close(all[i].stream);
	}
	free(all);
	return r;
}
