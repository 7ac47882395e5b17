#include "tests/unit/test.h"

#include "base/process.h"
#include "base/task.h"

static void in_task(task_fn *fn)
{
	struct error err = { 0 };
	struct loop *loop = NULL;

	assert_ok(loop_new(&loop, &err), err);
	assert_ok(task_run(loop, fn, NULL, &err), err);
	loop_free(loop);
}

static void output_main(void *arg)
{
	const char *const argv[] = { "sh", "-c", "tr a-z A-Z; ls /proc/self/fd | tr '\\n' ' '",
				     NULL };
	struct process_options o = { .argv = argv };
	struct error err = { 0 };
	autofree char *out = NULL;

	assert_ok(process_run(&o, "hello\n", deadline_in_ms(10000), 4096, &out, &err), err);
	assert_string_equal(out, "HELLO\n0 1 2 3 ");
}

static void runs_with_input_output_and_no_other_descriptor(void **state)
{
	in_task(output_main);
}

static void failure_main(void *arg)
{
	const char *const missing[] = { "/no/such/program", NULL };
	const char *const failing[] = { "sh", "-c", "echo broken pipe dream >&2; exit 3", NULL };
	const char *const hanging[] = { "sleep", "100", NULL };
	const char *const chatty[] = { "yes", NULL };
	struct process_options o = { .argv = missing };
	struct error err = { 0 };
	autofree char *out = NULL;

	assert_int_equal(process_run(&o, NULL, DEADLINE_NEVER, 10, NULL, &err), -ENOENT);
	assert_contains(err.message, "/no/such/program");
	o.argv = failing;
	assert_int_equal(process_run(&o, NULL, DEADLINE_NEVER, 10, NULL, &err), -EIO);
	assert_string_equal(err.message, "'sh' exited with 3: broken pipe dream");
	o.argv = hanging;
	assert_int_equal(process_run(&o, NULL, deadline_in_ms(50), 10, NULL, &err), -ETIMEDOUT);
	o.argv = chatty;
	assert_int_equal(process_run(&o, NULL, deadline_in_ms(10000), 100000, &out, &err), -E2BIG);
}

static void failures_name_the_program(void **state)
{
	in_task(failure_main);
}

static void signal_main(void *arg)
{
	const char *const argv[] = { "sleep", "100", NULL };
	struct process_options o = { .argv = argv };
	struct process p = PROCESS_INIT;
	struct error err = { 0 };
	unsigned long long start = 0;
	int code = 0;

	assert_ok(process_spawn(&o, &p, &err), err);
	assert_int_equal(process_start_time(p.pid, &start), 0);
	assert_true(start > 0);
	assert_int_equal(process_reap(&p, &code), -EAGAIN);
	assert_int_equal(process_signal(&p, 9), 0);
	assert_ok(process_wait(&p, deadline_in_ms(10000), &code, &err), err);
	assert_int_equal(code, 137);
	assert_int_equal(process_signal(&p, 9), -ESRCH);
}

static void a_signal_death_is_128_plus_n(void **state)
{
	in_task(signal_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_with_input_output_and_no_other_descriptor),
		cmocka_unit_test(failures_name_the_program),
		cmocka_unit_test(a_signal_death_is_128_plus_n),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
