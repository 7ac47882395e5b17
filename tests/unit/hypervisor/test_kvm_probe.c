#include "tests/unit/test.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/task.h"
#include "hyperd/hypervisor/kvm_probe.h"

static void run(task_fn *fn)
{
	struct loop *loop;
	struct error err = { 0 };

	assert_ok(loop_new(&loop, &err), err);
	assert_ok(task_run(loop, fn, NULL, &err), err);
	loop_free(loop);
}

static void real(void *arg)
{
	struct kvm_probe probe;

	kvm_probe_run(&probe);
	print_message("%s: %s\n", probe.usable ? "usable" : "not usable", probe.reason);
	assert_true(probe.reason[0]);
	/* Whatever the machine is, usable means measured. */
	if (probe.usable)
		assert_true(probe.instruction_ns > 0 && probe.instruction_ns <= 20);
}

static void it_answers_with_a_reason(void **state)
{
	run(real);
}

static void missing(void *arg)
{
	struct kvm_probe probe;

	kvm_probe_device("/dev/there-is-no-such-device", deadline_in_ms(5000), &probe);
	assert_false(probe.usable);
	assert_contains(probe.reason, "No such file");
	kvm_probe_device("/dev/null", deadline_in_ms(5000), &probe);
	assert_false(probe.usable);
	assert_contains(probe.reason, "version");
}

static void what_is_no_kvm_is_not_usable(void **state)
{
	run(missing);
}

/* Opening a FIFO that nobody writes would hang for ever; O_RDWR does not, a locked one does. */
static void hanging(void *arg)
{
	struct kvm_probe probe;

	kvm_probe_device("/dev/null", now_ns(), &probe);
	assert_false(probe.usable);
	assert_contains(probe.reason, "deadline");
}

static void a_missed_deadline_is_an_answer(void **state)
{
	run(hanging);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_answers_with_a_reason),
		cmocka_unit_test(what_is_no_kvm_is_not_usable),
		cmocka_unit_test(a_missed_deadline_is_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
