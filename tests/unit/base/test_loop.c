#include "tests/unit/test.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"

struct probe {
	struct loop_io io;
	struct loop_io *victim;
	struct loop_timer timer;
	struct loop_deferred deferred;
	int calls;
	struct loop *loop;
};

static void count_and_remove_victim(struct loop_io *io, uint32_t events)
{
	struct probe *p = container_of(io, struct probe, io);

	p->calls++;
	loop_io_remove(io);
	if (p->victim)
		loop_io_remove(p->victim);
}

static void a_source_removed_by_another_is_not_called(void **state)
{
	struct error err = { 0 };
	struct loop *loop = NULL;
	struct probe a = { 0 }, b = { 0 };
	int one[2], two[2];

	assert_ok(loop_new(&loop, &err), err);
	assert_int_equal(pipe(one), 0);
	assert_int_equal(pipe(two), 0);
	assert_int_equal(write(one[1], "x", 1), 1);
	assert_int_equal(write(two[1], "x", 1), 1);
	assert_int_equal(loop_io_add(loop, &a.io, one[0], EPOLLIN, count_and_remove_victim), 0);
	assert_int_equal(loop_io_add(loop, &b.io, two[0], EPOLLIN, count_and_remove_victim), 0);
	a.victim = &b.io;
	b.victim = &a.io;
	assert_ok(loop_run_once(loop, 0, &err), err);
	assert_ok(loop_run_once(loop, 0, &err), err);
	assert_int_equal(a.calls + b.calls, 1);
	loop_free(loop);
	for (int i = 0; i < 2; i++) {
		close(one[i]);
		close(two[i]);
	}
}

static int order[64], order_len;

static void note_timer(struct loop_timer *timer)
{
	order[order_len++] = container_of(timer, struct probe, timer)->calls;
}

static void timers_fire_in_order_and_can_be_moved(void **state)
{
	struct probe probes[20] = { 0 };
	struct error err = { 0 };
	struct loop *loop = NULL;
	uint64_t base = now_ns();

	order_len = 0;
	assert_ok(loop_new(&loop, &err), err);
	for (int i = 0; i < 20; i++) {
		probes[i].calls = i;
		assert_int_equal(loop_timer_set(loop, &probes[i].timer,
						base + (uint64_t)((i * 7) % 20) * 1000, note_timer),
				 0);
	}
	loop_timer_cancel(&probes[3].timer);
	loop_timer_cancel(&probes[3].timer);
	loop_timer_set(loop, &probes[0].timer, base + 50000, note_timer);
	while (order_len < 19)
		assert_ok(loop_run_once(loop, -1, &err), err);
	assert_int_equal(order[18], 0);
	for (int i = 1; i < 18; i++)
		assert_true((order[i - 1] * 7) % 20 < (order[i] * 7) % 20);
	loop_free(loop);
}

static void defer_again(struct loop_deferred *d)
{
	struct probe *p = container_of(d, struct probe, deferred);

	p->calls++;
	loop_defer(p->loop, d, defer_again);
}

static void a_call_deferred_by_itself_waits_a_round(void **state)
{
	struct error err = { 0 };
	struct probe p = { 0 };

	assert_ok(loop_new(&p.loop, &err), err);
	loop_defer(p.loop, &p.deferred, defer_again);
	assert_ok(loop_run_once(p.loop, 0, &err), err);
	assert_int_equal(p.calls, 1);
	assert_ok(loop_run_once(p.loop, 0, &err), err);
	assert_int_equal(p.calls, 2);
	loop_free(p.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_removed_by_another_is_not_called),
		cmocka_unit_test(timers_fire_in_order_and_can_be_moved),
		cmocka_unit_test(a_call_deferred_by_itself_waits_a_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
