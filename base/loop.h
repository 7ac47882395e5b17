#pragma once
/*
 * The event loop: one epoll set, timers and deferred calls, on one thread. Sources are embedded in
 * their owner's struct, and removing one is allowed at any time, also from its own callback: no
 * event is delivered to a source after its removal. A callback must not free the struct that holds
 * the source it was called for before it has removed it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/error.h"
#include "base/list.h"

struct loop;
struct loop_io;
struct loop_timer;
struct loop_deferred;

typedef void loop_io_fn(struct loop_io *io, uint32_t events);
typedef void loop_timer_fn(struct loop_timer *timer);
typedef void loop_deferred_fn(struct loop_deferred *deferred);

struct loop_io {
	struct loop *loop; /* NULL while not added */
	loop_io_fn *ready;
	int fd; /* borrowed */
	uint32_t events;
};

struct loop_timer {
	struct loop *loop;
	loop_timer_fn *expired;
	uint64_t deadline_ns; /* monotonic */
	size_t slot;          /* place in the heap plus one; 0 while not set */
};

struct loop_deferred {
	struct list node;
	loop_deferred_fn *call;
	bool queued;
};

int loop_new(struct loop **ret, struct error *err);
void loop_free(struct loop *loop);

/* Runs until loop_stop(). */
int loop_run(struct loop *loop, struct error *err);
/* Runs one round: waits at most TIMEOUT_MS (-1: for ever), delivers what is ready. */
int loop_run_once(struct loop *loop, int timeout_ms, struct error *err);
void loop_stop(struct loop *loop);

/* EVENTS: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET…; 0 or -errno. */
int loop_io_add(struct loop *loop, struct loop_io *io, int fd, uint32_t events, loop_io_fn *ready);
int loop_io_modify(struct loop_io *io, uint32_t events);
void loop_io_remove(struct loop_io *io);

/* Sets or moves a timer; it fires once. */
int loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns,
		   loop_timer_fn *expired);
void loop_timer_cancel(struct loop_timer *timer);

/* Calls CALL once, in the loop's next round and before it waits. */
void loop_defer(struct loop *loop, struct loop_deferred *deferred, loop_deferred_fn *call);
void loop_deferred_cancel(struct loop_deferred *deferred);
