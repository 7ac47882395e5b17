#include "tests/unit/test.h"

#include <unistd.h>

#include "base/job.h"
#include "base/task.h"

struct world {
	struct loop *loop;
	struct job_pool *pool;
	struct cond cond;
	struct task_mutex mutex;
	int counter, result, inside, most_inside;
	struct task *other;
};

static void run(task_fn *fn, struct world *w)
{
	struct error err = { 0 };

	assert_ok(loop_new(&w->loop, &err), err);
	cond_init(&w->cond);
	task_mutex_init(&w->mutex);
	assert_ok(task_run(w->loop, fn, w, &err), err);
	loop_free(w->loop);
}

static void waiter(void *arg)
{
	struct world *w = arg;

	w->result = cond_wait(&w->cond, DEADLINE_NEVER);
	w->counter++;
}

static void spawn(struct world *w, task_fn *fn)
{
	struct error err = { 0 };

	assert_ok(task_spawn(w->loop, "other", fn, w, &w->other, &err), err);
}

static void broadcast_main(void *arg)
{
	struct world *w = arg;

	spawn(w, waiter);
	task_yield();
	assert_int_equal(w->counter, 0);
	cond_broadcast(&w->cond);
	assert_int_equal(task_join(w->other, deadline_in_ms(5000)), 0);
	task_unref(w->other);
}

static void a_condition_wakes_its_waiter(void **state)
{
	struct world w = { .result = -1 };

	run(broadcast_main, &w);
	assert_int_equal(w.counter, 1);
	assert_int_equal(w.result, 0);
}

static void cancel_main(void *arg)
{
	struct world *w = arg;

	spawn(w, waiter);
	task_yield();
	task_cancel(w->other);
	assert_int_equal(task_join(w->other, deadline_in_ms(5000)), 0);
	task_unref(w->other);
}

static void cancelling_ends_a_wait(void **state)
{
	struct world w = { 0 };

	run(cancel_main, &w);
	assert_int_equal(w.result, -ECANCELED);
}

static void shielded(void *arg)
{
	struct world *w = arg;

	task_shield(true);
	w->result = cond_wait(&w->cond, DEADLINE_NEVER);
	task_shield(false);
	w->counter = task_sleep_until(DEADLINE_NEVER);
}

static void shield_main(void *arg)
{
	struct world *w = arg;

	spawn(w, shielded);
	task_yield();
	task_cancel(w->other);
	task_yield();
	assert_false(task_is_done(w->other));
	cond_broadcast(&w->cond);
	task_join(w->other, deadline_in_ms(5000));
	task_unref(w->other);
}

static void a_shield_puts_cancelling_off(void **state)
{
	struct world w = { .result = -1 };

	run(shield_main, &w);
	assert_int_equal(w.result, 0);
	assert_int_equal(w.counter, -ECANCELED);
}

static void timeout_main(void *arg)
{
	struct world *w = arg;
	int fds[2];

	w->result = cond_wait(&w->cond, deadline_in_ms(1));
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(task_wait_fd(fds[0], EPOLLIN, deadline_in_ms(1), NULL), -ETIMEDOUT);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(task_wait_fd(fds[0], EPOLLIN, DEADLINE_NEVER, NULL), 0);
	close(fds[0]);
	close(fds[1]);
}

static void deadlines_end_waits(void **state)
{
	struct world w = { 0 };

	run(timeout_main, &w);
	assert_int_equal(w.result, -ETIMEDOUT);
}

static void enter(void *arg)
{
	struct world *w = arg;

	assert_int_equal(task_mutex_lock(&w->mutex, DEADLINE_NEVER), 0);
	if (++w->inside > w->most_inside)
		w->most_inside = w->inside;
	task_yield();
	w->inside--;
	w->counter++;
	task_mutex_unlock(&w->mutex);
}

static void mutex_main(void *arg)
{
	struct world *w = arg;
	struct task *tasks[40];
	struct error err = { 0 };

	for (int i = 0; i < 40; i++)
		assert_ok(task_spawn(w->loop, "enter", enter, w, &tasks[i], &err), err);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(task_join(tasks[i], deadline_in_ms(5000)), 0);
		task_unref(tasks[i]);
	}
}

static void a_mutex_lets_one_in(void **state)
{
	struct world w = { 0 };

	run(mutex_main, &w);
	assert_int_equal(w.most_inside, 1);
	assert_int_equal(w.counter, 40);
}

static int square(void *arg)
{
	int *n = arg;

	return *n * *n;
}

static void job_main(void *arg)
{
	struct world *w = arg;
	struct error err = { 0 };
	int n = 12;

	assert_ok(job_pool_new(w->loop, 2, &w->pool, &err), err);
	w->result = job_run(w->pool, square, &n);
	job_pool_free(w->pool);
}

static void jobs_return_their_result(void **state)
{
	struct world w = { 0 };

	run(job_main, &w);
	assert_int_equal(w.result, 144);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_condition_wakes_its_waiter),
		cmocka_unit_test(cancelling_ends_a_wait),
		cmocka_unit_test(a_shield_puts_cancelling_off),
		cmocka_unit_test(deadlines_end_waits),
		cmocka_unit_test(a_mutex_lets_one_in),
		cmocka_unit_test(jobs_return_their_result),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
