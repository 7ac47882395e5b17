#include "hyperd/api/docker/stream.h"

#include <string.h>

#include "base/str.h"
#include "base/task.h"

#define INPUT_BYTES (32u << 10)

void stream_header(unsigned char header[STREAM_HEADER_BYTES], enum stream_kind kind, size_t len)
{
	memset(header, 0, STREAM_HEADER_BYTES);
	header[0] = kind == STREAM_STDERR ? 2 : 1;
	header[4] = (unsigned char)(len >> 24);
	header[5] = (unsigned char)(len >> 16);
	header[6] = (unsigned char)(len >> 8);
	header[7] = (unsigned char)len;
}

const char *stream_content_type(const struct http_request *request, bool tty)
{
	return !tty && api_version(request) >= 42 ? "application/vnd.docker.multiplexed-stream"
						  : "application/vnd.docker.raw-stream";
}

int detach_keys_parse(const char *text, struct detach_keys *ret, struct error *err)
{
	autostrv char **words = strv_split(text && *text ? text : "ctrl-p,ctrl-q", ',');

	*ret = (struct detach_keys){ 0 };
	strv_for_each(word, words) {
		const char *key = *word;
		unsigned char byte;

		if (ret->count == DETACH_KEYS_MAX)
			return error_set(err, ERROR_INVALID, "Invalid detach keys: more than %d",
					 DETACH_KEYS_MAX);
		if (str_starts(key, "ctrl-") && key[5] && !key[6] &&
		    ((key[5] >= 'a' && key[5] <= 'z') || strchr("@[\\]^_", key[5])))
			byte = (unsigned char)(key[5] & 0x1f);
		else if (key[0] && !key[1])
			byte = (unsigned char)key[0];
		else
			return error_set(err, ERROR_INVALID,
					 "Invalid detach keys (%.64s) provided: Unknown character: "
					 "'%.16s'",
					 text, key);
		ret->keys[ret->count++] = byte;
	}
	return 0;
}

size_t detach_keys_filter(struct detach_keys *keys, const unsigned char *in, size_t len,
			  unsigned char *out, bool *ret_detached)
{
	size_t n = 0;

	*ret_detached = false;
	for (size_t i = 0; i < len; i++) {
		if (in[i] == keys->keys[keys->matched]) {
			if (++keys->matched == keys->count) {
				keys->matched = 0;
				*ret_detached = true;
				return n;
			}
			continue;
		}
		memcpy(out + n, keys->keys, keys->matched);
		n += keys->matched;
		keys->matched = in[i] == keys->keys[0];
		if (!keys->matched)
			out[n++] = in[i];
	}
	return n;
}

static size_t write_output(struct attachment *attachment, enum stream_kind kind, const void *data,
			   size_t len, void *owner)
{
	struct stream_session *session = owner;
	unsigned char header[HTTP_WEBSOCKET_HEADER_BYTES];
	size_t header_len = session->tty ? 0 : STREAM_HEADER_BYTES;
	int r;

	if (!session->ready)
		return 0;
	if (session->gone)
		return len; /* nobody reads it: it must not hold the process up */
	stream_header(header, kind, len);
	if (session->websocket)
		header_len = http_websocket_header(header, len);
	r = http_hijack_push(session->request, header, header_len, data, len);
	if (r < 0) {
		session->gone = true;
		cond_broadcast(&session->changed);
	}
	return r == 0 ? 0 : len;
}

static void ended(struct attachment *attachment, void *owner)
{
	struct stream_session *session = owner;

	session->ended = true;
	cond_broadcast(&session->changed);
}

static void input_room(struct attachment *attachment, void *owner)
{
	struct stream_session *session = owner;

	cond_broadcast(&session->changed);
}

const struct attachment_events stream_events = {
	.write = write_output,
	.ended = ended,
	.input_room = input_room,
};

static void room(void *arg)
{
	struct stream_session *session = arg;

	if (session->attachment)
		attachment_writable(session->attachment);
}

static void gone(void *arg)
{
	struct stream_session *session = arg;

	session->gone = true;
	cond_broadcast(&session->changed);
}

/* Waits for room while the process does not take its input. */
static int give_input(struct stream_session *session, const unsigned char *data, size_t len)
{
	while (len) {
		ssize_t n;

		if (session->ended || session->gone)
			return -EPIPE;
		n = attachment_input(session->attachment, data, len);
		if (n < 0)
			return (int)n;
		data += n;
		len -= (size_t)n;
		if (len && n == 0) {
			int r = cond_wait(&session->changed, DEADLINE_NEVER);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void reader_main(void *arg)
{
	struct stream_session *session = arg;
	autofree unsigned char *in = malloc(INPUT_BYTES);
	autofree unsigned char *out = malloc(INPUT_BYTES + DETACH_KEYS_MAX);
	ssize_t n = 0;
	int r = in && out ? 0 : -ENOMEM;

	while (r == 0) {
		size_t len;

		n = http_hijack_read(session->request, in, INPUT_BYTES);
		if (n <= 0)
			break;
		if (!session->want_stdin)
			continue; /* nobody asked for it: read to notice the end */
		if (session->websocket) {
			n = http_websocket_decode(&session->input, session->request, in, (size_t)n,
						  in);
			if (n < 0 || session->input.closed)
				session->gone = true;
			if (n <= 0 && !session->gone)
				continue;
			if (n <= 0)
				break;
		}
		len = (size_t)n;
		if (session->tty) {
			len = detach_keys_filter(&session->detach, in, (size_t)n, out,
						 &session->detached);
			r = give_input(session, out, len);
			if (session->detached)
				break;
		} else {
			r = give_input(session, in, len);
		}
		/* A process that takes no more input still has output to give. */
		if (r == -EPIPE) {
			session->want_stdin = false;
			r = 0;
		}
	}
	if (n < 0 && n != -ECANCELED)
		session->gone = true;
	if (n == 0 && session->want_stdin && !session->ended) {
		if (session->close_stdin && !session->tty)
			attachment_input_end(session->attachment);
		else
			session->detached = true; /* as Docker has it */
	}
	session->reader_done = true;
	cond_broadcast(&session->changed);
}

void stream_session_init(struct stream_session *session, struct http_request *request, bool tty,
			 bool want_stdin)
{
	session->request = request;
	session->tty = tty;
	session->want_stdin = want_stdin;
	cond_init(&session->changed);
}

static void stop_reader(struct stream_session *session)
{
	bool old = task_shield(true);

	task_cancel(session->reader);
	task_join(session->reader, DEADLINE_NEVER);
	task_unref(session->reader);
	task_shield(old);
}

int stream_session_begin(struct stream_session *session, struct error *err)
{
	struct http_request *request = session->request;
	int r = session->websocket
			? http_websocket_accept(request, err)
			: http_hijack(request, stream_content_type(request, session->tty), err);

	if (r < 0)
		return r;
	http_hijack_on_room(request, room, session);
	http_hijack_on_gone(request, gone, session);
	session->ready = true;
	return 0;
}

int stream_session_run(struct stream_session *session, struct error *err)
{
	struct http_request *request = session->request;
	int r;

	attachment_writable(session->attachment);
	r = task_spawn(task_loop(), "stream reader", reader_main, session, &session->reader, err);
	if (r == 0) {
		while (!session->ended && !session->gone && !session->detached && r == 0)
			r = cond_wait(&session->changed, DEADLINE_NEVER);
		stop_reader(session);
		if (session->websocket)
			http_websocket_close(request);
		r = 0;
	}
	http_hijack_on_room(request, NULL, NULL);
	http_hijack_on_gone(request, NULL, NULL);
	attachment_detach(session->attachment);
	session->attachment = NULL;
	return r;
}
