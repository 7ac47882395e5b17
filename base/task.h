#pragma once
/*
 * Tasks: straight-line code that waits without blocking the loop. A task is a fiber (a stack of its
 * own, switched on the loop's thread); while it waits, the loop and other tasks run. So there are
 * no data races, but after any wait the world may have changed: hold references, not borrowed
 * pointers, and hold a task_mutex where a second operation on the same object must not begin before
 * the first has ended.
 *
 * Host programs only: the guest's init is a plain callback program.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/list.h"
#include "base/loop.h"

struct task;
typedef void task_fn(void *arg);

/* Stack of a task; pages are used only when touched. */
#define TASK_STACK_BYTES (256 * 1024)

/*
 * Makes a task that begins in the loop's next round. NAME is borrowed, a literal. RET may be NULL;
 * otherwise *ret is a reference for task_cancel() and task_join(), given back with task_unref().
 */
int task_spawn(struct loop *loop, const char *name, task_fn *fn, void *arg, struct task **ret,
	       struct error *err);
void task_unref(struct task *task);
bool task_is_done(const struct task *task);

/* The running task; NULL on the loop's own stack. And its loop. */
struct task *task_self(void);
struct loop *task_loop(void);

/*
 * Makes the task's current wait and each later one return -ECANCELED, except while it has shielded
 * itself: clean-up that must wait does so between task_shield(true) and task_shield(false). Returns
 * the old state.
 */
void task_cancel(struct task *task);
bool task_shield(bool on);
bool task_canceled(void);

/* Waits. All return 0, -ETIMEDOUT at the deadline (monotonic ns, DEADLINE_NEVER for none), or
 * -ECANCELED. */
int task_sleep_until(uint64_t deadline_ns);
/* Lets the loop run a round. */
int task_yield(void);
/*
 * Waits for EVENTS of poll's kind (EPOLLIN…) on FD; *ret_events may be NULL. One task at a time can
 * wait on one descriptor (-EEXIST): a reader beside a writer uses a dup() of it.
 */
int task_wait_fd(int fd, uint32_t events, uint64_t deadline_ns, uint32_t *ret_events);
/* Waits until TASK has ended. */
int task_join(struct task *task, uint64_t deadline_ns);

/* A condition: waiters are woken in order and must check again what they waited for. */
struct cond {
	struct list waiters;
};
#define COND_INIT(name)                   \
	{                                 \
		LIST_INIT((name).waiters) \
	}
void cond_init(struct cond *cond);
int cond_wait(struct cond *cond, uint64_t deadline_ns);
void cond_broadcast(struct cond *cond);

/* A first-come-first-served mutex between tasks. task_mutex_lock() fails only with -ECANCELED or
 * -ETIMEDOUT. */
struct task_mutex {
	struct task *holder; /* borrowed */
	struct cond free;
};
void task_mutex_init(struct task_mutex *mutex);
int task_mutex_lock(struct task_mutex *mutex, uint64_t deadline_ns);
void task_mutex_unlock(struct task_mutex *mutex);

/* Runs FN as a task and the loop until it has ended: for main() and tests. */
int task_run(struct loop *loop, task_fn *fn, void *arg, struct error *err);
