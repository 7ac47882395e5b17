#include "hyperd/logdriver/remote_send.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* Messages that are sent in one go, and that wait for acknowledgements at a time. */
#define BATCH_MAX 256
#define ACKS_MAX  256
/* An acknowledgement is some ten bytes. */
#define REPLY_MAX_BYTES 4096

static bool is_over(const struct remote_log *r)
{
	return r->log.finished || r->linger_end_ns;
}

static uint64_t linger_end(const struct remote_log *r)
{
	return r->linger_end_ns ? r->linger_end_ns : DEADLINE_NEVER;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ------------------------------------------------------------------ connecting */

static void tell_gone(struct remote_log *r, const struct error *why)
{
	if (r->gone)
		return;
	log_warn("container %.12s: log driver %s: %s; up to %llu bytes are kept until the "
		 "receiver is back",
		 r->name, r->log.driver->name, why->message, (unsigned long long)r->max_bytes);
	remote_set_gone(r, true);
}

/* Before the next attempt; a log that is closed meanwhile ends the wait at its own deadline. */
static int wait_to_retry(struct remote_log *r)
{
	double wait_ms = (double)r->retry.wait_ms;
	uint64_t until;
	int e = 0;

	for (uint64_t i = 1; i < r->failures && wait_ms < (double)r->retry.max_wait_ms; i++)
		wait_ms *= r->retry.factor;
	if (wait_ms > (double)r->retry.max_wait_ms)
		wait_ms = (double)r->retry.max_wait_ms;
	until = deadline_in_ms((uint64_t)wait_ms);
	while (e == 0 && now_ns() < until && now_ns() < linger_end(r))
		e = cond_wait(&r->work, earlier(until, linger_end(r)));
	return e == -ETIMEDOUT ? 0 : e;
}

static int failed(struct remote_log *r, const struct error *why)
{
	trace(log, "%.12s: %s", r->name, why->message);
	if (++r->failures >= r->retry.attempts)
		tell_gone(r, why);
	return wait_to_retry(r);
}

static int connect_once(struct remote_log *r)
{
	struct error err = { 0 };
	int e;

	/* What was on its way and is not acknowledged goes again. */
	r->next = r->head;
	r->part = 0;
	r->proven = false;
	str_clear(&r->replies);
	e = link_open(&r->link, earlier(deadline_in_ms(REMOTE_CONNECT_MS), linger_end(r)), &err);
	r->connected_ns = now_ns();
	r->stalled_ns = 0;
	return e == 0 || e == -ECANCELED ? e : failed(r, &err);
}

/* A receiver that takes connections but nothing through them is not asked again and again. */
static int lose_connection(struct remote_log *r, int e)
{
	struct error err = { 0 };

	link_close(&r->link);
	error_errno(&err, -e, "sending");
	if (!r->proven)
		return failed(r, &err);
	trace(log, "%.12s: %s", r->name, err.message);
	return 0;
}

/* ------------------------------------------------------------------ sending */

/* The messages from r->next on, as they go out. */
static int gather(struct remote_log *r, struct iovec *iov, int max)
{
	size_t at = r->next, part = r->part;
	int n = 0;

	while (n < max && at < r->queue.len) {
		struct remote_message *m = remote_message_at(r, at);

		/* Empty ones are stepped over when they come to the front. */
		if (!m->len)
			break;
		iov[n].iov_base = (char *)(m + 1) + part;
		iov[n++].iov_len = m->len - part;
		part = 0;
		at = remote_message_after(r, at);
	}
	return n;
}

/* The message at r->next has gone. */
static void step(struct remote_log *r)
{
	r->part = 0;
	if (r->acks)
		r->next = remote_message_after(r, r->next);
	else
		remote_pop(r);
}

static void advance(struct remote_log *r, size_t n, bool stream)
{
	if (!stream) {
		while (n--)
			step(r);
		return;
	}
	while (n) {
		size_t left = remote_message_at(r, r->next)->len - r->part;

		if (n < left) {
			r->part += n;
			return;
		}
		n -= left;
		step(r);
	}
}

/* A datagram that cannot go is lost, as everywhere; others may. */
static bool is_lost(const struct remote_log *r, ssize_t e)
{
	return !r->link.stream && (e == -EMSGSIZE || e == -EPERM || e == -EINVAL ||
				   (e == -ECONNREFUSED && r->target.kind == LINK_UDP));
}

/* Waited, and nothing was taken: for longer than is allowed? */
static bool is_stalled(struct remote_log *r)
{
	if (!r->stalled_ns)
		r->stalled_ns = now_ns();
	return r->write_timeout_ms &&
	       now_ns() - r->stalled_ns >= r->write_timeout_ms * NSEC_PER_MSEC;
}

static int send_batch(struct remote_log *r)
{
	struct iovec iov[BATCH_MAX];
	int count = gather(r, iov, BATCH_MAX);
	bool stream = r->link.stream;
	ssize_t n;

	if (count == 0) {
		step(r);
		return 0;
	}
	n = link_send(&r->link, iov, count);
	/* What the last one met is reported now: this one has not been tried yet. */
	if (n == -ECONNREFUSED && r->target.kind == LINK_UDP)
		n = link_send(&r->link, iov, count);
	if (n == -EAGAIN)
		return is_stalled(r) ? -ETIMEDOUT : 0;
	r->stalled_ns = 0;
	if (is_lost(r, n)) {
		remote_lose(r, 1);
		n = 1;
	}
	if (n < 0)
		return (int)n;
	advance(r, (size_t)n, stream);
	remote_progress(r);
	return 0;
}

/* ------------------------------------------------------------------ acknowledgements */

static int take_replies(struct remote_log *r)
{
	size_t done = 0;
	uint64_t id;

	while (done < r->replies.len && r->head < r->next) {
		ssize_t n = r->kind->acknowledged(r, r->replies.data + done, r->replies.len - done,
						  &id);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		done += (size_t)n;
		/* In order, and with it all that stand before. */
		if (id < remote_message_at(r, r->head)->id)
			continue;
		while (r->head < r->next && remote_message_at(r, r->head)->id <= id)
			remote_pop(r);
	}
	str_consume(&r->replies, done);
	return r->replies.len > REPLY_MAX_BYTES ? -EPROTO : 0;
}

static int wait_for_acks(struct remote_log *r)
{
	uint64_t deadline = r->ack_timeout_ms ? deadline_in_ms(r->ack_timeout_ms) : DEADLINE_NEVER;
	char buf[4096];
	int e = 0;

	while (e == 0 && r->head < r->next) {
		/* In turns, since the log may be closed meanwhile. */
		uint64_t turn = earlier(deadline, deadline_in_ms(LINK_WAIT_MS));
		ssize_t n = link_receive(&r->link, buf, sizeof(buf), turn);

		if (n == -ETIMEDOUT && now_ns() < deadline && now_ns() < linger_end(r))
			continue;
		if (n <= 0)
			return n ? (int)n : -ECONNRESET;
		str_append(&r->replies, buf, (size_t)n);
		e = r->replies.failed ? -ENOMEM : take_replies(r);
		remote_progress(r);
	}
	return e;
}

/* ------------------------------------------------------------------ the task */

/* One step; an error other than -ECANCELED is the connection's. */
static int send_some(struct remote_log *r)
{
	bool full, idle = r->part == 0 && r->next == r->head;

	if (idle && link_is_dead(&r->link))
		return -ENOTCONN;
	/* Where a name stands for several receivers, each gets its turn. */
	if (idle && r->reconnect_ms &&
	    now_ns() - r->connected_ns >= r->reconnect_ms * NSEC_PER_MSEC) {
		link_close(&r->link);
		return 0;
	}
	full = r->head < r->next && r->next < r->queue.len &&
	       remote_message_at(r, r->next)->id - remote_message_at(r, r->head)->id >= ACKS_MAX;
	if (r->next < r->queue.len && !full)
		return send_batch(r);
	return wait_for_acks(r);
}

static int send_all(struct remote_log *r)
{
	int e;

	while (r->head < r->queue.len) {
		if (now_ns() >= linger_end(r))
			return -ETIMEDOUT;
		e = r->link.fd < 0 ? connect_once(r) : send_some(r);
		if (e < 0 && e != -ECANCELED)
			e = lose_connection(r, e);
		if (e < 0)
			return e;
	}
	return 0;
}

static void sender_main(void *arg)
{
	struct remote_log *r = arg;
	int e = 0;

	while (e == 0) {
		e = send_all(r);
		if (e == 0 && is_over(r))
			break;
		if (e == 0)
			e = cond_wait(&r->work, linger_end(r));
	}
	if (r->linger_end_ns && r->messages) {
		log_warn("container %.12s: log driver %s: %llu messages could not be sent", r->name,
			 r->log.driver->name, (unsigned long long)r->messages);
	}
	if (e != -ECANCELED || r->linger_end_ns)
		link_close(&r->link);
	list_remove(&r->node);
	log_group_left(r->group);
	task_unref(steal(r->sender));
	cond_broadcast(&r->ended);
	log_unref(&r->log);
}

int remote_start_sender(struct remote_log *r, struct error *err)
{
	int e;

	if (r->sender)
		return 0;
	e = task_spawn(r->loop, "log sender", sender_main, r, &r->sender, err);
	if (e < 0)
		return e;
	r->log.refs++;
	log_group_joined(r->group, &r->node);
	return 0;
}

void remote_stop_sender(struct remote_log *r)
{
	bool shielded;

	if (!r->sender)
		return;
	task_cancel(r->sender);
	shielded = task_shield(true);
	while (r->sender)
		cond_wait(&r->ended, DEADLINE_NEVER);
	task_shield(shielded);
	/* A message that is half out cannot be taken up again. */
	if (r->part)
		link_close(&r->link);
	r->next = r->head;
	r->part = 0;
}
