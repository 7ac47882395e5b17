#include "tests/unit/test.h"

#include <string.h>

#include "base/json.h"
#include "hyperd/hypervisor/hypervisor.h"

static void drivers_are_complete(void **state)
{
	for (size_t i = 0; i < HYPERVISOR_COUNT; i++) {
		const struct hypervisor_driver *d = hypervisor_drivers[i];
		autojson json_t *features = hypervisor_features(d);

		assert_ptr_equal(hypervisor_find(d->name), d);
		assert_true(d->summary && *d->summary);
		assert_true(d->machines && d->machines[0]);
		assert_true(hypervisor_has_machine(d, d->machines[0]));
		assert_int_equal(json_object_size(features), HYPERVISOR_FEATURES);
		assert_true(d->open && d->close && d->info && d->start && d->channel && d->ended &&
			    d->end && d->record && d->adopt && d->detach && d->pid && d->max_disks);
		/* What is declared is there. */
		assert_true(!d->features[HYPERVISOR_TEMPLATES] || (d->save && d->loaded));
		assert_true(!d->features[HYPERVISOR_PAUSE] || d->pause);
		assert_true(!d->features[HYPERVISOR_CONSOLE] || d->console);
	}
}

static void unknown_names_are_told_what_there_is(void **state)
{
	struct error err = { 0 };

	assert_ok(hypervisor_check_name("auto", &err), err);
	assert_ok(hypervisor_check_name("qemu", &err), err);
	assert_null(hypervisor_find("auto"));
	assert_true(hypervisor_check_name("bochs", &err) < 0);
	assert_int_equal(err.kind, ERROR_INVALID);
	assert_non_null(strstr(err.message, "\"bochs\": expected auto"));
	assert_non_null(strstr(err.message, "qemu"));
}

static void machines_are_a_drivers_own(void **state)
{
	struct error err = { 0 };

	assert_ok(hypervisor_check_machine(&qemu_driver, "q35", &err), err);
	assert_true(hypervisor_check_machine(&qemu_driver, "pvh", &err) < 0);
	assert_string_equal(err.message, "machine \"pvh\": hypervisor \"qemu\" has none of that "
					 "name, expected microvm or q35");
}

static void auto_has_a_reason(void **state)
{
	const char *reason = NULL;
	const struct hypervisor_driver *driver = hypervisor_choose(&reason);

	assert_non_null(driver);
	assert_true(reason && *reason);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drivers_are_complete),
		cmocka_unit_test(unknown_names_are_told_what_there_is),
		cmocka_unit_test(machines_are_a_drivers_own),
		cmocka_unit_test(auto_has_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
