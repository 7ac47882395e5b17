#include "hyperd/hypervisor/hypervisor.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"

/* Linux: what Xen lets this domain do; "control_d" is in dom0's alone. */
#define XEN_CAPABILITIES "/proc/xen/capabilities"

const struct hypervisor_driver *const hypervisor_drivers[HYPERVISOR_COUNT] = {
	&qemu_driver,
	&libvirt_qemu_driver,
};

const char *hypervisor_feature_name(enum hypervisor_feature feature)
{
	static const char *const names[HYPERVISOR_FEATURES] = {
		[HYPERVISOR_TEMPLATES] = "templates",
		[HYPERVISOR_PAUSE] = "pause",
		[HYPERVISOR_CONSOLE] = "console",
		[HYPERVISOR_DISKS] = "disks",
		[HYPERVISOR_DISK_HOTPLUG] = "disk_hotplug",
		[HYPERVISOR_NETWORK] = "network",
		[HYPERVISOR_NETWORK_HOTPLUG] = "network_hotplug",
		[HYPERVISOR_QCOW2] = "qcow2_disks",
		[HYPERVISOR_FILE_SHARING] = "file_sharing",
		[HYPERVISOR_MEMORY_HOTPLUG] = "memory_hotplug",
		[HYPERVISOR_CPU_HOTPLUG] = "cpu_hotplug",
		[HYPERVISOR_BALLOON] = "balloon",
		[HYPERVISOR_CONFINED] = "confined",
	};

	return names[feature];
}

json_t *hypervisor_features(const struct hypervisor_driver *driver)
{
	json_t *features = json_object();

	for (int i = 0; i < HYPERVISOR_FEATURES; i++)
		json_object_set_new(features, hypervisor_feature_name(i),
				    json_boolean(driver->features[i]));
	return features;
}

const struct hypervisor_driver *hypervisor_find(const char *name)
{
	for (size_t i = 0; i < HYPERVISOR_COUNT; i++)
		if (str_equal(hypervisor_drivers[i]->name, name))
			return hypervisor_drivers[i];
	return NULL;
}

int hypervisor_check_name(const char *name, struct error *err)
{
	autostr struct str known = STR_INIT;

	if (str_equal(name, "auto") || hypervisor_find(name))
		return 0;
	str_add(&known, "auto");
	for (size_t i = 0; i < HYPERVISOR_COUNT; i++)
		str_addf(&known, "%s%s", i + 1 < HYPERVISOR_COUNT ? ", " : " or ",
			 hypervisor_drivers[i]->name);
	return error_set(err, ERROR_INVALID, "hypervisor \"%.64s\": expected %s", name,
			 str_text(&known));
}

bool hypervisor_has_machine(const struct hypervisor_driver *driver, const char *machine)
{
	for (const char *const *m = driver->machines; *m; m++)
		if (str_equal(*m, machine))
			return true;
	return false;
}

int hypervisor_check_machine(const struct hypervisor_driver *driver, const char *machine,
			     struct error *err)
{
	autostr struct str known = STR_INIT;

	if (hypervisor_has_machine(driver, machine))
		return 0;
	for (const char *const *m = driver->machines; *m; m++)
		str_addf(&known, "%s%s", m == driver->machines ? "" : m[1] ? ", " : " or ", *m);
	return error_set(err, ERROR_INVALID,
			 "machine \"%.32s\": hypervisor \"%s\" has none of that name, expected %s",
			 machine, driver->name, str_text(&known));
}

/* Where Xen runs below us no other hypervisor can; else QEMU, which has KVM proved for itself. */
const struct hypervisor_driver *hypervisor_choose(const char **ret_reason)
{
	const struct hypervisor_driver *xen = hypervisor_find("xen");
	autofree char *text = NULL;

	if (xen && file_read(AT_FDCWD, XEN_CAPABILITIES, 4096, &text, NULL, NULL) == 0 &&
	    strstr(text, "control_d")) {
		*ret_reason = "this host is a dom0 of Xen's";
		return xen;
	}
	*ret_reason = "this host is no dom0 of Xen's";
	return &qemu_driver;
}
