#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hyperd/hypervisor/libvirt/domain_xml.h"

static const struct vm_disk disks[] = {
	{ .fd = 3, .path = "/data/<pod>&'s \"disk\".img", .serial = "pod" },
	{ .fd = 4, .path = "/data/layer.erofs", .serial = "L0123", .read_only = true },
};

static struct vm_config config_of(const char *accel)
{
	return (struct vm_config){
		.name = "a<b>&\"'c",
		.run_dir = "/run/hyper/sand<boxes>&",
		.machine = "q35",
		.accel = accel,
		.vcpus = 2,
		.memory_bytes = 128 << 20,
		.disks = disks,
		.disk_count = ARRAY_SIZE(disks),
		.memory_fd = -1,
		.state_fd = -1,
		.uid = 1879048192u,
	};
}

static const struct domain_options options = {
	.name = "hyper-0123456789ab",
	.uuid = "8f14e45f-ceea-4e4a-9f1b-7b1a2c3d4e5f",
	.owner = "0123456789abcdef",
	.kernel = "/usr/lib/hyper/vmlinux",
	.initramfs = "/usr/lib/hyper/initramfs.cpio",
	.emulator = "/usr/bin/qemu-system-x86_64",
	.tsc_khz = 2445426,
};

static void hostile_text_stays_text(void **state)
{
	autostr struct str out = STR_INIT;

	xml_add_escaped(&out, "a<b>&\"c'd\te\x01");
	assert_string_equal(str_text(&out), "a&lt;b&gt;&amp;&quot;c&apos;d e?");
}

/* libvirt's own schema, where its tools are. */
static void validate(const char *xml)
{
	char path[] = "/tmp/hyper-domain-XXXXXX.xml", command[128];
	int fd = mkstemps(path, 4);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, xml, strlen(xml)), strlen(xml));
	close(fd);
	if (access("/usr/bin/virt-xml-validate", X_OK) == 0) {
		snprintf(command, sizeof(command), "virt-xml-validate %s domain >&2", path);
		assert_int_equal(system(command), 0);
	} else {
		print_message("virt-xml-validate is not installed: not validated\n");
	}
	unlink(path);
}

static void domains_follow_libvirts_schema(void **state)
{
	static const char *const accels[] = { "tcg", "kvm" };

	for (size_t i = 0; i < ARRAY_SIZE(accels); i++) {
		struct vm_config config = config_of(accels[i]);
		autostr struct str xml = STR_INIT;
		struct error err = { 0 };

		assert_ok(domain_xml_qemu(&config, &options, &xml, &err), err);
		assert_non_null(strstr(str_text(&xml), "sand&lt;boxes&gt;&amp;/agent"));
		assert_non_null(strstr(str_text(&xml), "fdgroup='disk1'"));
		assert_non_null(strstr(str_text(&xml), "+1879048192:+1879048192"));
		validate(str_text(&xml));
	}
}

static void too_many_disks_are_refused(void **state)
{
	struct vm_config config = config_of("tcg");
	autostr struct str xml = STR_INIT;
	struct error err = { 0 };

	config.disk_count = DOMAIN_QEMU_MAX_DISKS + 1;
	assert_true(domain_xml_qemu(&config, &options, &xml, &err) < 0);
	assert_int_equal(err.kind, ERROR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_text_stays_text),
		cmocka_unit_test(domains_follow_libvirts_schema),
		cmocka_unit_test(too_many_disks_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
