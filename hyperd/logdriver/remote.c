#include "hyperd/logdriver/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "hyperd/logdriver/attributes.h"
#include "hyperd/logdriver/local.h"
#include "hyperd/logdriver/options.h"
#include "hyperd/logdriver/remote_send.h"

#define STATE_NAME "remote.state"
/* How long the queue of a removed container is still sent. */
#define LINGER_MS 10000
/* The queue is moved to its buffer's front when so much before it is free. */
#define QUEUE_SLACK_BYTES (64u * 1024)

/* ------------------------------------------------------------------ the queue */

struct remote_message *remote_message_at(const struct remote_log *r, size_t at)
{
	return (struct remote_message *)(void *)(r->queue.data + at);
}

struct str *remote_message_begin(struct remote_log *r)
{
	struct remote_message header = { .id = r->next_id };

	r->making = r->queue.len;
	str_append(&r->queue, &header, sizeof(header));
	return &r->queue;
}

void remote_message_end(struct remote_log *r)
{
	struct remote_message *m;

	if (r->queue.failed)
		return;
	m = remote_message_at(r, r->making);
	m->len = (uint32_t)(r->queue.len - r->making - sizeof(*m));
	/* The next header stands aligned. */
	while (r->queue.len % _Alignof(struct remote_message))
		str_addc(&r->queue, 0);
	r->last_made = r->making;
	r->made++;
	r->next_id++;
	r->messages++;
}

uint64_t remote_message_id(const struct remote_log *r)
{
	return r->next_id;
}

size_t remote_message_after(const struct remote_log *r, size_t at)
{
	size_t align = _Alignof(struct remote_message);
	size_t end = at + sizeof(struct remote_message) + remote_message_at(r, at)->len;

	return (end + align - 1) / align * align;
}

static void save_state(struct remote_log *r)
{
	struct log_progress progress = { 0 };

	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		progress.stored[i] = r->streams[i].stored;
	if (r->state)
		log_state_save(r->state, &progress);
}

static void count_stored(struct remote_log *r, struct remote_message *m)
{
	r->streams[m->stream].stored += m->stream_bytes;
	m->stream_bytes = 0;
}

static void forget_all(struct remote_log *r)
{
	str_clear(&r->queue);
	r->head = r->next = r->part = 0;
	r->messages = r->bytes = 0;
}

void remote_pop(struct remote_log *r)
{
	struct remote_message *m = remote_message_at(r, r->head);
	size_t after = remote_message_after(r, r->head);

	count_stored(r, m);
	r->messages--;
	r->bytes -= m->text_bytes;
	r->proven = true;
	r->failures = 0;
	remote_set_gone(r, false);
	if (r->next == r->head) {
		r->next = after;
		r->part = 0;
	}
	r->head = after;
	if (r->head == r->queue.len) {
		forget_all(r);
	} else if (r->head >= QUEUE_SLACK_BYTES && r->head > r->queue.len / 2) {
		str_consume(&r->queue, r->head);
		r->next -= r->head;
		r->head = 0;
	}
}

void remote_progress(struct remote_log *r)
{
	save_state(r);
	if (r->log.progress)
		r->log.progress(r->log.progress_arg);
}

/* Nothing is held back any more: what is in the queue counts as stored, from whatever run. */
static void count_all(struct remote_log *r)
{
	for (size_t at = r->head; at < r->queue.len; at = remote_message_after(r, at))
		count_stored(r, remote_message_at(r, at));
}

void remote_set_gone(struct remote_log *r, bool gone)
{
	if (r->gone == gone)
		return;
	r->gone = gone;
	if (gone) {
		count_all(r);
		remote_progress(r);
	}
}

static bool drops(const struct remote_log *r)
{
	return r->non_blocking || r->gone;
}

void remote_lose(struct remote_log *r, uint64_t count)
{
	r->lost += count;
	if (!r->lost || (r->lost_told_ns && now_ns() - r->lost_told_ns < 60 * NSEC_PER_SEC))
		return;
	r->lost_told_ns = now_ns();
	log_warn("container %.12s: log driver %s: %llu lines were dropped, the receiver does not "
		 "take them",
		 r->name, r->log.driver->name, (unsigned long long)r->lost);
	r->lost = 0;
}

static bool is_full(const struct remote_log *r, size_t len)
{
	return r->messages && (r->bytes + len > r->max_bytes ||
			       (r->max_messages && r->messages >= r->max_messages));
}

static void add_line(void *owner, const struct log_line *line)
{
	struct remote_log *r = owner;
	struct remote_message *m;

	if (drops(r) && is_full(r, line->len)) {
		r->streams[line->stream].stored += line->len;
		remote_lose(r, 1);
		return;
	}
	r->made = 0;
	r->kind->encode(r, line);
	if (r->queue.failed) {
		/* No memory: what was queued is lost, and the log goes on. */
		remote_lose(r, r->messages + 1);
		str_done(&r->queue);
		forget_all(r);
		r->streams[line->stream].stored += line->len;
		return;
	}
	if (!r->made) {
		/* An empty message keeps the order of what is stored. */
		remote_message_begin(r);
		remote_message_end(r);
	}
	m = remote_message_at(r, r->last_made);
	m->stream = line->stream;
	m->stream_bytes = (uint32_t)line->len;
	m->text_bytes = (uint32_t)line->len;
	r->bytes += line->len;
	if (drops(r))
		count_stored(r, m);
}

/* ------------------------------------------------------------------ opening and closing */

int remote_check(const struct log_option *options, struct error *err)
{
	int r = log_attributes_check(options, err);

	return r < 0 ? r : local_check_cache(options, err);
}

static int open_state(struct remote_log *r, struct error *err)
{
	autoclose int dir_fd = file_open_dir(AT_FDCWD, r->directory, 0700, err);
	bool known = false;
	int e;

	if (dir_fd < 0)
		return dir_fd;
	e = log_state_open(dir_fd, STATE_NAME, &r->state, &known, err);
	if (e == 0 && known)
		for (int i = 0; i < LOG_STREAM_COUNT; i++)
			r->streams[i].stored = log_state_get(r->state)->stored[i];
	return e;
}

/* After a crash one of the two may have more than the other: what both lack comes again. */
static void set_skips(struct remote_log *r)
{
	for (int i = 0; i < LOG_STREAM_COUNT; i++) {
		uint64_t cached = log_stored(r->cache, (enum log_stream)i);
		uint64_t sent = r->streams[i].stored;

		r->streams[i].skip = sent > cached ? sent - cached : 0;
		r->streams[i].skip_cache = cached > sent ? cached - sent : 0;
	}
}

static int prepare(struct remote_log *r, const struct log_config *config, struct error *err)
{
	const char *mode = log_option_filled(config->options, "mode");
	const char *size = log_option_filled(config->options, "max-buffer-size");
	const char *off = log_option_filled(config->options, "cache-disabled");
	bool disabled = false;
	int e;

	r->non_blocking = mode && strcmp(mode, "non-blocking") == 0;
	r->max_bytes = REMOTE_BUFFER_BYTES;
	r->retry = (struct remote_retry){ 250, 5000, 1.5, 1 };
	if (size && log_parse_ram(size, &r->max_bytes, err) < 0)
		return -EINVAL;
	if (off && log_parse_bool(off, &disabled, err) < 0)
		return -EINVAL;
	e = r->kind->prepare(config, r, err);
	if (e == 0)
		e = open_state(r, err);
	if (e == 0 && !disabled)
		e = local_open_cache(config, &r->cache, err);
	if (e == 0 && r->cache) {
		r->cache->refs = 1;
		cond_init(&r->cache->grown);
		set_skips(r);
	}
	return e;
}

int remote_open(const struct log_config *config, const struct remote_kind *kind, struct log **ret,
		struct error *err)
{
	struct remote_log *r = calloc(1, sizeof(*r));
	int e = 0;

	if (!r)
		return error_nomem(err);
	r->kind = kind;
	r->loop = config->loop;
	r->group = config->group;
	list_init(&r->node);
	cond_init(&r->work);
	cond_init(&r->ended);
	link_init(&r->link, &r->target, config->jobs);
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		line_splitter_init(&r->streams[i].lines, (enum log_stream)i);
	r->name = strdup(config->container_id);
	r->directory = strdup(config->directory);
	if (!r->name || !r->directory)
		e = error_nomem(err);
	if (e == 0)
		e = prepare(r, config, err);
	if (e < 0) {
		remote_free(&r->log);
		return error_prefix(err, e, "failed to initialize logging driver");
	}
	*ret = &r->log;
	return 0;
}

void remote_close(struct log *log)
{
	struct remote_log *r = remote_log(log);

	log_close(steal(r->cache));
	r->linger_end_ns = deadline_in_ms(LINGER_MS);
	cond_broadcast(&r->work);
}

void remote_free(struct log *log)
{
	struct remote_log *r = remote_log(log);

	if (r->cache)
		log_close(r->cache);
	log_state_close(r->state);
	if (r->encoder)
		r->kind->encoder_free(r->encoder);
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		line_splitter_done(&r->streams[i].lines);
	link_close(&r->link);
	link_target_done(&r->target);
	str_done(&r->queue);
	str_done(&r->replies);
	free(r->name);
	free(r->directory);
	free(r);
}

/* ------------------------------------------------------------------ a run */

int remote_begin(struct log *log, struct error *err)
{
	struct remote_log *r = remote_log(log);
	int e = r->cache ? log_begin(r->cache, err) : 0;

	if (e == 0 && !r->state)
		e = open_state(r, err);
	if (e < 0)
		return e;
	remote_stop_sender(r);
	count_all(r);
	for (int i = 0; i < LOG_STREAM_COUNT; i++) {
		line_splitter_clear(&r->streams[i].lines);
		r->streams[i].stored = r->streams[i].skip = r->streams[i].skip_cache = 0;
	}
	save_state(r);
	if (!r->lazy && link_is_dead(&r->link)) {
		e = link_open(&r->link, deadline_in_ms(REMOTE_CONNECT_MS), err);
		if (e < 0)
			return error_prefix(err, e, "failed to initialize logging driver");
		r->failures = 0;
		r->proven = false;
		r->connected_ns = now_ns();
		r->stalled_ns = 0;
		remote_set_gone(r, false);
	}
	return remote_start_sender(r, err);
}

static size_t skipped(uint64_t *skip, size_t len)
{
	size_t n = *skip < len ? (size_t)*skip : len;

	*skip -= n;
	return n;
}

void remote_write(struct log *log, enum log_stream stream, uint64_t time_ns, const char *data,
		  size_t len)
{
	struct remote_log *r = remote_log(log);
	size_t n;

	if (r->cache) {
		n = skipped(&r->streams[stream].skip_cache, len);
		log_write(r->cache, stream, time_ns, data + n, len - n);
	}
	n = skipped(&r->streams[stream].skip, len);
	line_splitter_write(&r->streams[stream].lines, time_ns, data + n, len - n, add_line, r);
}

void remote_end(struct log *log, enum log_stream stream, uint64_t time_ns)
{
	struct remote_log *r = remote_log(log);

	if (r->cache)
		log_end(r->cache, stream, time_ns);
	line_splitter_end(&r->streams[stream].lines, add_line, r);
}

int remote_flush(struct log *log, struct error *err)
{
	struct remote_log *r = remote_log(log);

	save_state(r);
	if (r->next < r->queue.len) {
		/* An adopted container's log has had no begin. */
		if (!r->sender)
			remote_start_sender(r, NULL);
		cond_broadcast(&r->work);
	}
	return r->cache ? log_flush(r->cache, err) : 0;
}

void remote_finish(struct log *log)
{
	struct remote_log *r = remote_log(log);

	if (r->cache)
		log_finish(r->cache);
	/* What is still sent is nothing that a later daemon must know of. */
	save_state(r);
	log_state_close(steal(r->state));
	cond_broadcast(&r->work);
}

uint64_t remote_stored(const struct log *log, enum log_stream stream)
{
	const struct remote_log *r = remote_log(log);
	uint64_t sent = r->streams[stream].stored, cached;

	cached = r->cache ? log_stored(r->cache, stream) : sent;
	return cached < sent ? cached : sent;
}

const char *remote_partial(const struct log *log, enum log_stream stream, size_t *ret_len)
{
	const struct str *line = &remote_log(log)->streams[stream].lines.line;

	*ret_len = line->len;
	return str_text(line);
}

bool remote_can_read(const struct log *log)
{
	return remote_log(log)->cache;
}

int remote_read(struct log *log, const struct log_query *query,
		int (*fn)(const struct log_record *record, void *arg), void *arg, struct error *err)
{
	struct remote_log *r = remote_log(log);

	return r->cache ? log_read(r->cache, query, fn, arg, err) : 0;
}
