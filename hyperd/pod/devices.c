#include "hyperd/pod/devices.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "hyperd/pod/internal.h"

/* Memory devices (null, zero, full, random, urandom) and the tty driver's own: Linux, admin-guide/
 * devices.rst. */
#define MAJOR_MEM 1
#define MAJOR_TTY 5

static int find(const struct spec_device *device, struct stat *ret, struct error *err)
{
	if (stat(device->host_path, ret) < 0)
		return error_set(err, ERROR_INVALID, "device \"%s\": %s", device->host_path,
				 strerror(errno));
	if (!S_ISCHR(ret->st_mode) && !S_ISBLK(ret->st_mode))
		return error_set(err, ERROR_INVALID, "device \"%s\": it is not a device",
				 device->host_path);
	return 0;
}

static bool every_kernel_has(const struct stat *st)
{
	unsigned number = major(st->st_rdev);

	/* Not the memory itself, nor the machine's console. */
	return S_ISCHR(st->st_mode) && ((number == MAJOR_MEM && minor(st->st_rdev) >= 3) ||
					(number == MAJOR_TTY && minor(st->st_rdev) != 1));
}

int devices_check(const struct container *c, struct error *err)
{
	for (size_t i = 0; i < c->spec->device_count; i++) {
		const struct spec_device *device = &c->spec->devices[i];
		struct stat st;
		int r = find(device, &st, err);

		if (r < 0)
			return r;
		if (device->access &&
		    (!*device->access || strspn(device->access, "rwm") != strlen(device->access)))
			return error_set(err, ERROR_INVALID,
					 "device \"%s\": access \"%s\": expected letters of rwm",
					 device->host_path, device->access);
		if (c->pod->spec->isolation == ISOLATION_VM && !every_kernel_has(&st))
			return error_set(
				err, ERROR_UNSUPPORTED,
				"device \"%s\": a pod in a VM has none of the host's devices; "
				"isolation \"namespace\" has",
				device->host_path);
	}
	return 0;
}

static Hyper__Device *node(struct arena *arena, const struct spec_device *device,
			   const struct stat *st)
{
	Hyper__Device *d = arena_message(arena, Hyper__Device, HYPER__DEVICE__INIT);

	d->path = device->path ? device->path : device->host_path;
	d->mode = (uint32_t)st->st_mode;
	d->major = major(st->st_rdev);
	d->minor = minor(st->st_rdev);
	d->uid = st->st_uid;
	d->gid = st->st_gid;
	return d;
}

static Hyper__DeviceRule *rule(struct arena *arena, const struct spec_device *device,
			       const struct stat *st)
{
	Hyper__DeviceRule *r = arena_message(arena, Hyper__DeviceRule, HYPER__DEVICE_RULE__INIT);

	r->allow = true;
	r->type = (char *)(S_ISBLK(st->st_mode) ? "b" : "c");
	r->major = major(st->st_rdev);
	r->minor = minor(st->st_rdev);
	r->access = (char *)(device->access ? device->access : "rwm");
	return r;
}

void devices_add(struct arena *arena, Hyper__ContainerCreate *create, const struct container *c)
{
	size_t count = c->spec->device_count;
	Hyper__Device **devices;
	Hyper__DeviceRule **rules;

	if (!count)
		return;
	devices = arena_alloc(arena, (create->n_devices + count) * sizeof(*devices));
	rules = arena_alloc(arena, (create->n_device_rules + count) * sizeof(*rules));
	memcpy(devices, create->devices, create->n_devices * sizeof(*devices));
	memcpy(rules, create->device_rules, create->n_device_rules * sizeof(*rules));
	create->devices = devices;
	create->device_rules = rules;
	for (size_t i = 0; i < count; i++) {
		struct stat st;

		if (find(&c->spec->devices[i], &st, NULL) < 0)
			continue;
		devices[create->n_devices++] = node(arena, &c->spec->devices[i], &st);
		rules[create->n_device_rules++] = rule(arena, &c->spec->devices[i], &st);
	}
}
