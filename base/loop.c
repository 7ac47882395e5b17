#include "base/loop.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define LOOP_BATCH 64

struct loop {
	int epoll_fd; /* owned */
	bool stopped;
	struct epoll_event batch[LOOP_BATCH];
	int batch_len, batch_at;
	struct loop_timer **heap; /* owned array of borrowed timers; the earliest first */
	size_t heap_len, heap_capacity;
	struct list deferred;
};

int loop_new(struct loop **ret, struct error *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return error_nomem(err);
	list_init(&loop->deferred);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		int r = error_errno(err, errno, "creating the event loop");

		free(loop);
		return r;
	}
	*ret = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	close(loop->epoll_fd);
	free(loop->heap);
	free(loop);
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

int loop_io_add(struct loop *loop, struct loop_io *io, int fd, uint32_t events, loop_io_fn *ready)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	*io = (struct loop_io){ .loop = loop, .ready = ready, .fd = fd, .events = events };
	return 0;
}

int loop_io_modify(struct loop_io *io, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	if (!io->loop)
		return -EINVAL;
	if (io->events == events)
		return 0;
	if (epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0)
		return -errno;
	io->events = events;
	return 0;
}

void loop_io_remove(struct loop_io *io)
{
	struct loop *loop = io->loop;

	if (!loop)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	for (int i = loop->batch_at; i < loop->batch_len; i++)
		if (loop->batch[i].data.ptr == io)
			loop->batch[i].data.ptr = NULL;
	io->loop = NULL;
}

static void heap_put(struct loop *loop, size_t i, struct loop_timer *timer)
{
	loop->heap[i] = timer;
	timer->slot = i + 1;
}

static void heap_up(struct loop *loop, size_t i)
{
	struct loop_timer *timer = loop->heap[i];

	while (i > 0 && loop->heap[(i - 1) / 2]->deadline_ns > timer->deadline_ns) {
		heap_put(loop, i, loop->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(loop, i, timer);
}

static void heap_down(struct loop *loop, size_t i)
{
	struct loop_timer *timer = loop->heap[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= loop->heap_len)
			break;
		if (child + 1 < loop->heap_len &&
		    loop->heap[child + 1]->deadline_ns < loop->heap[child]->deadline_ns)
			child++;
		if (loop->heap[child]->deadline_ns >= timer->deadline_ns)
			break;
		heap_put(loop, i, loop->heap[child]);
		i = child;
	}
	heap_put(loop, i, timer);
}

int loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns,
		   loop_timer_fn *expired)
{
	if (timer->slot)
		loop_timer_cancel(timer);
	if (deadline_ns == DEADLINE_NEVER)
		return 0;
	if (loop->heap_len == loop->heap_capacity) {
		size_t capacity = loop->heap_capacity ? loop->heap_capacity * 2 : 16;
		struct loop_timer **heap = reallocarray(loop->heap, capacity, sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		loop->heap = heap;
		loop->heap_capacity = capacity;
	}
	timer->loop = loop;
	timer->expired = expired;
	timer->deadline_ns = deadline_ns;
	loop->heap[loop->heap_len++] = timer;
	heap_up(loop, loop->heap_len - 1);
	return 0;
}

void loop_timer_cancel(struct loop_timer *timer)
{
	struct loop *loop = timer->loop;
	size_t i = timer->slot;

	if (!i)
		return;
	timer->slot = 0;
	i--;
	loop->heap_len--;
	if (i == loop->heap_len)
		return;
	heap_put(loop, i, loop->heap[loop->heap_len]);
	heap_up(loop, i);
	heap_down(loop, loop->heap[i]->slot - 1);
}

void loop_defer(struct loop *loop, struct loop_deferred *deferred, loop_deferred_fn *call)
{
	deferred->call = call;
	if (deferred->queued)
		return;
	deferred->queued = true;
	list_append(&loop->deferred, &deferred->node);
}

void loop_deferred_cancel(struct loop_deferred *deferred)
{
	if (!deferred->queued)
		return;
	deferred->queued = false;
	list_remove(&deferred->node);
}

/* What is deferred by a deferred call runs in the next round, so that none can starve the others.
 */
static void run_deferred(struct loop *loop)
{
	struct list now = LIST_INIT(now), *node;

	while ((node = list_pop(&loop->deferred)))
		list_append(&now, node);
	while ((node = list_pop(&now))) {
		struct loop_deferred *d = container_of(node, struct loop_deferred, node);

		d->queued = false;
		d->call(d);
	}
}

static void run_timers(struct loop *loop)
{
	uint64_t now = now_ns();

	while (loop->heap_len && loop->heap[0]->deadline_ns <= now) {
		struct loop_timer *timer = loop->heap[0];

		loop_timer_cancel(timer);
		timer->expired(timer);
	}
}

static int wait_ms(struct loop *loop, int timeout_ms)
{
	uint64_t now, left;

	if (!list_empty(&loop->deferred))
		return 0;
	if (!loop->heap_len)
		return timeout_ms;
	now = now_ns();
	if (loop->heap[0]->deadline_ns <= now)
		return 0;
	left = (loop->heap[0]->deadline_ns - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
	if (left > 3600 * 1000)
		left = 3600 * 1000;
	return timeout_ms >= 0 && (uint64_t)timeout_ms < left ? timeout_ms : (int)left;
}

int loop_run_once(struct loop *loop, int timeout_ms, struct error *err)
{
	int n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, wait_ms(loop, timeout_ms));

	if (n < 0 && errno != EINTR)
		return error_errno(err, errno, "waiting for events");
	loop->batch_len = n > 0 ? n : 0;
	for (loop->batch_at = 0; loop->batch_at < loop->batch_len;) {
		struct epoll_event *ev = &loop->batch[loop->batch_at++];
		struct loop_io *io = ev->data.ptr;

		if (io)
			io->ready(io, ev->events);
	}
	loop->batch_len = 0;
	run_timers(loop);
	run_deferred(loop);
	return 0;
}

int loop_run(struct loop *loop, struct error *err)
{
	int r = 0;

	loop->stopped = false;
	while (!loop->stopped && r == 0)
		r = loop_run_once(loop, -1, err);
	return r;
}
