#include "base/task.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define TASK_ASAN 1
#else
#define TASK_ASAN 0
#endif

/* Stacks kept for the next task: spawning is then two context switches and no system call. */
#define TASK_STACKS_KEPT 16

struct task {
	struct loop *loop; /* borrowed */
	const char *name;
	task_fn *fn;
	void *arg;
	void *stack; /* owned */
	ucontext_t context;
	struct loop_deferred wake;
	struct loop_timer timer;
	struct cond done_cond;
	int wait_result;
	unsigned refs;
	bool waiting, canceled, shielded, done;
	void *asan_stack;
};

/* A waiter on a condition lives on the waiting task's stack. */
struct waiter {
	struct list node;
	struct task *task;
};

static struct task *current;
static ucontext_t loop_context;
static void *stacks[TASK_STACKS_KEPT];
static unsigned stacks_kept;
#if TASK_ASAN
static const void *loop_stack_bottom;
static size_t loop_stack_size;
static void *loop_asan_stack;
#endif

struct task *task_self(void)
{
	return current;
}

struct loop *task_loop(void)
{
	return current ? current->loop : NULL;
}

static void *stack_get(void)
{
	char *p;

	if (stacks_kept)
		return stacks[--stacks_kept];
	/* The lowest page is a guard: an overflow faults instead of eating a neighbour. */
	p = mmap(NULL, TASK_STACK_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (mprotect(p + 4096, TASK_STACK_BYTES - 4096, PROT_READ | PROT_WRITE) < 0) {
		munmap(p, TASK_STACK_BYTES);
		return NULL;
	}
	return p;
}

static void stack_put(void *stack)
{
#if TASK_ASAN
	/* The frames below task_main() never returned. */
	__asan_unpoison_memory_region((char *)stack + 4096, TASK_STACK_BYTES - 4096);
#endif
	if (stacks_kept < TASK_STACKS_KEPT)
		stacks[stacks_kept++] = stack;
	else
		munmap(stack, TASK_STACK_BYTES);
}

void task_unref(struct task *task)
{
	if (!task || --task->refs)
		return;
	free(task);
}

/* From the loop's stack into the task, until it waits or ends. */
static void switch_to(struct task *task)
{
	current = task;
#if TASK_ASAN
	__sanitizer_start_switch_fiber(&loop_asan_stack, task->stack, TASK_STACK_BYTES);
#endif
	swapcontext(&loop_context, &task->context);
#if TASK_ASAN
	__sanitizer_finish_switch_fiber(loop_asan_stack, NULL, NULL);
#endif
	current = NULL;
	if (task->done) {
		stack_put(task->stack);
		task->stack = NULL;
		cond_broadcast(&task->done_cond);
		task_unref(task);
	}
}

/* From the task back to the loop. */
static void switch_from(struct task *task)
{
#if TASK_ASAN
	__sanitizer_start_switch_fiber(task->done ? NULL : &task->asan_stack, loop_stack_bottom,
				       loop_stack_size);
#endif
	swapcontext(&task->context, &loop_context);
#if TASK_ASAN
	__sanitizer_finish_switch_fiber(task->asan_stack, &loop_stack_bottom, &loop_stack_size);
#endif
}

static void task_main(void)
{
	struct task *task = current;

#if TASK_ASAN
	__sanitizer_finish_switch_fiber(NULL, &loop_stack_bottom, &loop_stack_size);
#endif
	task->fn(task->arg);
	task->done = true;
	switch_from(task);
	abort(); /* a finished task is never switched to */
}

static void resume(struct loop_deferred *deferred)
{
	switch_to(container_of(deferred, struct task, wake));
}

/* Ends the task's wait with RESULT; the first reason counts. */
static void wake(struct task *task, int result)
{
	if (!task->waiting)
		return;
	task->waiting = false;
	task->wait_result = result;
	loop_timer_cancel(&task->timer);
	loop_defer(task->loop, &task->wake, resume);
}

static void timed_out(struct loop_timer *timer)
{
	wake(container_of(timer, struct task, timer), -ETIMEDOUT);
}

/* Suspends the running task until wake(). */
static int suspend(uint64_t deadline_ns)
{
	struct task *task = current;
	int r;

	if (!task)
		abort(); /* waiting on the loop's own stack would stop everything */
	if (task->canceled && !task->shielded)
		return -ECANCELED;
	r = loop_timer_set(task->loop, &task->timer, deadline_ns, timed_out);
	if (r < 0)
		return r;
	task->waiting = true;
	switch_from(task);
	return task->wait_result;
}

int task_spawn(struct loop *loop, const char *name, task_fn *fn, void *arg, struct task **ret,
	       struct error *err)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		return error_nomem(err);
	task->stack = stack_get();
	if (!task->stack) {
		free(task);
		return error_nomem(err);
	}
	task->loop = loop;
	task->name = name;
	task->fn = fn;
	task->arg = arg;
	task->refs = ret ? 2 : 1;
	cond_init(&task->done_cond);
	getcontext(&task->context);
	task->context.uc_stack.ss_sp = task->stack;
	task->context.uc_stack.ss_size = TASK_STACK_BYTES;
	task->context.uc_link = NULL;
	makecontext(&task->context, task_main, 0);
	loop_defer(loop, &task->wake, resume);
	if (ret)
		*ret = task;
	return 0;
}

bool task_is_done(const struct task *task)
{
	return task->done;
}

void task_cancel(struct task *task)
{
	task->canceled = true;
	if (!task->shielded)
		wake(task, -ECANCELED);
}

bool task_shield(bool on)
{
	bool old = current->shielded;

	current->shielded = on;
	return old;
}

bool task_canceled(void)
{
	return current && current->canceled && !current->shielded;
}

int task_sleep_until(uint64_t deadline_ns)
{
	int r = suspend(deadline_ns);

	return r == -ETIMEDOUT ? 0 : r;
}

int task_yield(void)
{
	return task_sleep_until(now_ns());
}

struct fd_wait {
	struct loop_io io;
	struct task *task;
	uint32_t events;
};

static void fd_ready(struct loop_io *io, uint32_t events)
{
	struct fd_wait *wait = container_of(io, struct fd_wait, io);

	wait->events = events;
	loop_io_remove(io);
	wake(wait->task, 0);
}

int task_wait_fd(int fd, uint32_t events, uint64_t deadline_ns, uint32_t *ret_events)
{
	struct fd_wait wait = { .task = current };
	int r;

	if (!current)
		abort();
	r = loop_io_add(current->loop, &wait.io, fd, events, fd_ready);
	if (r < 0)
		return r;
	r = suspend(deadline_ns);
	loop_io_remove(&wait.io);
	if (r == 0 && ret_events)
		*ret_events = wait.events;
	return r;
}

int task_join(struct task *task, uint64_t deadline_ns)
{
	int r = 0;

	while (!task->done && r == 0)
		r = cond_wait(&task->done_cond, deadline_ns);
	return r;
}

void cond_init(struct cond *cond)
{
	list_init(&cond->waiters);
}

int cond_wait(struct cond *cond, uint64_t deadline_ns)
{
	struct waiter waiter = { .task = current };
	int r;

	list_append(&cond->waiters, &waiter.node);
	r = suspend(deadline_ns);
	list_remove(&waiter.node);
	return r;
}

void cond_broadcast(struct cond *cond)
{
	struct list *node;

	while ((node = list_pop(&cond->waiters)))
		wake(container_of(node, struct waiter, node)->task, 0);
}

void task_mutex_init(struct task_mutex *mutex)
{
	mutex->holder = NULL;
	cond_init(&mutex->free);
}

int task_mutex_lock(struct task_mutex *mutex, uint64_t deadline_ns)
{
	int r = 0;

	while (mutex->holder && r == 0)
		r = cond_wait(&mutex->free, deadline_ns);
	if (r == 0)
		mutex->holder = current;
	return r;
}

void task_mutex_unlock(struct task_mutex *mutex)
{
	mutex->holder = NULL;
	cond_broadcast(&mutex->free);
}

int task_run(struct loop *loop, task_fn *fn, void *arg, struct error *err)
{
	struct task *task = NULL;
	int r;

	r = task_spawn(loop, "main", fn, arg, &task, err);
	while (r == 0 && !task->done)
		r = loop_run_once(loop, -1, err);
	task_unref(task);
	return r;
}
