#include "tests/unit/test.h"

#include "base/str.h"
#include "hyperd/hypervisor/qemu/command_line.h"

static const struct qemu_host host = { .tsc_khz = 2400000 };

static char *line_of(const struct vm_config *config, const struct qemu_fds *fds)
{
	struct error err = { 0 };
	autostr struct str text = STR_INIT;
	autostrv char **argv = NULL;

	assert_ok(qemu_command_line("/usr/bin/qemu", config, fds, &host, &argv, &err), err);
	strv_for_each(arg, argv)
		str_addf(&text, "%s ", *arg);
	return str_steal(&text);
}

static const struct vm_disk disks[] = { { .fd = 9, .serial = "pod" },
					{ .fd = 10, .serial = "L0123", .read_only = true } };
static const int disk_fds[] = { 5, 6 };
static const struct qemu_fds fds = {
	.agent = 3, .qmp = 4, .kernel = 7, .initramfs = 8, .memory = 11, .disks = disk_fds
};

static struct vm_config config_of(const char *machine, const char *accel)
{
	return (struct vm_config){ .machine = machine,
				   .accel = accel,
				   .vcpus = 2,
				   .memory_bytes = 256 << 20,
				   .disks = disks,
				   .disk_count = 2,
				   .memory_fd = -1,
				   .state_fd = -1 };
}

static void everything_comes_as_a_descriptor(void **state)
{
	struct vm_config config = config_of("microvm", "tcg");
	autofree char *line = line_of(&config, &fds);

	assert_contains(line, "-add-fd fd=5,set=1 ");
	assert_contains(line, "filename=/dev/fdset/2,locking=off,read-only=on");
	assert_contains(line, "virtio-blk-device,drive=disk0,serial=pod");
	assert_contains(line, "virtio-blk-device,drive=disk1,serial=L0123");
	assert_contains(line, "socket,id=agent,fd=3,server=on,wait=off");
	assert_contains(line, "-kernel /proc/self/fd/7 -initrd /proc/self/fd/8 ");
	assert_contains(line, "-smp 2 -m 256M ");
	assert_contains(line, "tsc_early_khz=2400000");
	assert_null(strstr(line, "-incoming"));
}

static void the_filter_is_always_on(void **state)
{
	static const char *const machines[] = { "microvm", "q35" };
	static const char *const accels[] = { "tcg", "kvm" };

	for (int i = 0; i < 4; i++) {
		struct vm_config config = config_of(machines[i / 2], accels[i % 2]);
		autofree char *line = line_of(&config, &fds);

		assert_contains(line, "-sandbox on,obsolete=deny,elevateprivileges=deny,"
				      "spawn=deny,resourcecontrol=deny ");
		assert_contains(line, "-nodefaults -no-user-config ");
	}
}

static void memory_of_a_clone_is_private(void **state)
{
	struct vm_config config = config_of("microvm", "tcg");

	config.memory_fd = 20;
	config.state_fd = 21;
	autofree char *clone = line_of(&config, &fds);

	assert_contains(clone, "mem-path=/proc/self/fd/11,share=off");
	assert_contains(clone, "-incoming defer");
	config.memory_shared = true;
	config.state_fd = -1;
	autofree char *template = line_of(&config, &fds);

	assert_contains(template, "share=on");
}

static void kvm_is_told_nothing_about_clocks(void **state)
{
	struct vm_config config = config_of("q35", "kvm");
	autofree char *line = line_of(&config, &fds);

	assert_contains(line, "-accel kvm -cpu host ");
	assert_null(strstr(line, "tsc_early"));
	assert_contains(line, "virtio-serial-pci");
}

static void an_unknown_machine_is_refused(void **state)
{
	struct vm_config config = config_of("pc-9801", "tcg");
	struct error err = { 0 };
	char **argv = NULL;

	assert_true(qemu_command_line("q", &config, &fds, &host, &argv, &err) < 0);
	assert_int_equal(err.kind, ERROR_INVALID);
	assert_contains(err.message, "pc-9801");
	assert_int_equal(qemu_max_disks("pc-9801"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_comes_as_a_descriptor),
		cmocka_unit_test(the_filter_is_always_on),
		cmocka_unit_test(memory_of_a_clone_is_private),
		cmocka_unit_test(kvm_is_told_nothing_about_clocks),
		cmocka_unit_test(an_unknown_machine_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
