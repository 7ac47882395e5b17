#include "hyperd/sandbox/factory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "hyperd/sandbox/pool.h"

/* A range that no distribution and no container runtime hands out: below 2^31, above systemd's
 * containers. */
#define UID_FIRST 1879048192u
#define UID_COUNT 65536u

/* Daemons that share a host share no control groups: FNV-1a of what makes them different. */
static uint32_t tag_of(const char *text)
{
	uint32_t hash = 2166136261u;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619u;
	return hash;
}

static char *copy_of(const char *text, const char *otherwise)
{
	return strdup(text && *text ? text : otherwise);
}

static int open_cgroups(struct sandbox_factory *f, const struct sandbox_factory_config *config,
			struct error *err)
{
	const char *parent =
		config->cgroup_parent && *config->cgroup_parent ? config->cgroup_parent : "/hyper";
	autofree char *own = strf("%s/%08x", parent, tag_of(f->run_root));

	if (!own)
		return error_nomem(err);
	if (*parent != '/' || strstr(parent, ".."))
		return error_set(err, ERROR_INVALID,
				 "cgroup parent '%s': expected an absolute path without '..'",
				 parent);
	return cgroup_host_open(own, &f->cgroups, err);
}

static int make_run_dirs(struct sandbox_factory *f, char **ret_jail, struct error *err)
{
	autofree char *places = place_parent_dir(f), *jail = strf("%s/jail", f->run_root);
	int r = places && jail ? 0 : error_nomem(err);

	if (r == 0)
		r = file_make_dirs(AT_FDCWD, places, 0700, err);
	if (r == 0)
		r = file_make_dirs(AT_FDCWD, jail, 0700, err);
	if (r == 0)
		*ret_jail = steal(jail);
	return r;
}

static int copy_config(struct sandbox_factory *f, const struct sandbox_factory_config *config,
		       struct error *err)
{
	struct hypervisor_config *hv = &f->hypervisor_config;

	hv->loop = f->loop;
	hv->jobs = f->jobs;
	hv->program = config->qemu ? strdup(config->qemu) : NULL;
	hv->kernel = copy_of(config->kernel, "");
	hv->initramfs = copy_of(config->initramfs, "");
	hv->run_root = f->run_root;
	hv->libvirt_uri = config->libvirt_uri ? strdup(config->libvirt_uri) : NULL;
	hv->state_dir = f->data_root;
	if ((config->qemu && !hv->program) || (config->libvirt_uri && !hv->libvirt_uri) ||
	    !hv->kernel || !hv->initramfs)
		return error_nomem(err);
	if (str_equal(f->hypervisor, "auto"))
		f->driver = hypervisor_choose(&f->driver_reason);
	else
		f->driver = hypervisor_find(f->hypervisor);
	return 0;
}

static struct hypervisor_slot *slot_of(struct sandbox_factory *f,
				       const struct hypervisor_driver *driver)
{
	for (size_t i = 0; i < HYPERVISOR_COUNT; i++)
		if (hypervisor_drivers[i] == driver)
			return &f->hypervisors[i];
	return NULL;
}

/* Says to later daemons that this hypervisor may have machines of theirs. */
static char *used_mark(const struct sandbox_factory *f, const struct hypervisor_driver *driver)
{
	return strf("%s/hypervisor-%s", f->data_root, driver->name);
}

static int open_slot(struct sandbox_factory *f, const struct hypervisor_driver *driver,
		     struct hypervisor_slot *slot, struct error *err)
{
	int r;

	error_clear(&slot->missing);
	r = driver->open(&f->hypervisor_config, &slot->hypervisor, &slot->missing);
	if (r < 0) {
		error_copy(err, &slot->missing);
		return error_prefix(err, r, "hypervisor \"%s\"", driver->name);
	}
	if (driver->sweep) {
		autofree char *mark = used_mark(f, driver);
		autoclose int fd = mark ? open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;

		if (fd < 0)
			log_warn("hypervisor \"%s\": it will not be remembered", driver->name);
	}
	/* Whether KVM is any good is asked once, when something wants to know. */
	if (driver->accel || *f->kvm.reason)
		return 0;
	if (strcmp(f->accel, "tcg") != 0)
		kvm_probe_run(&f->kvm);
	else
		snprintf(f->kvm.reason, sizeof(f->kvm.reason), "not asked for");
	return 0;
}

int factory_hypervisor(struct sandbox_factory *f, const char *name, struct hypervisor **ret,
		       struct error *err)
{
	const struct hypervisor_driver *driver =
		!name || !*name || str_equal(name, "auto") ? f->driver : hypervisor_find(name);
	struct hypervisor_slot *slot = driver ? slot_of(f, driver) : NULL;
	int r;

	if (!slot)
		return hypervisor_check_name(name, err);
	if (!slot->hypervisor) {
		r = task_mutex_lock(&f->open_mutex, DEADLINE_NEVER);
		if (r < 0)
			return error_set(err, ERROR_CANCELED, "canceled");
		r = slot->hypervisor ? 0 : open_slot(f, driver, slot, err);
		task_mutex_unlock(&f->open_mutex);
		if (r < 0)
			return r;
	}
	*ret = slot->hypervisor;
	return 0;
}

int sandbox_check_choice(struct sandbox_factory *f, enum sandbox_isolation isolation,
			 const char *hypervisor, const char *machine, struct error *err)
{
	const struct hypervisor_driver *driver = f->driver;
	int r;

	if (hypervisor && *hypervisor && isolation != ISOLATION_VM)
		return error_set(err, ERROR_INVALID,
				 "hypervisor \"%.64s\": isolation \"%s\" has none", hypervisor,
				 sandbox_isolation_name(isolation));
	if (hypervisor && *hypervisor) {
		r = hypervisor_check_name(hypervisor, err);
		if (r < 0)
			return r;
		if (!str_equal(hypervisor, "auto"))
			driver = hypervisor_find(hypervisor);
	}
	return machine && *machine ? hypervisor_check_machine(driver, machine, err) : 0;
}

static int check_config(const struct sandbox_factory *f, struct error *err)
{
	static const char *const accels[] = { "auto", "kvm", "kvm-first", "tcg" };
	bool known = false;

	for (size_t i = 0; i < ARRAY_SIZE(accels); i++)
		known |= strcmp(f->accel, accels[i]) == 0;
	if (!known)
		return error_set(err, ERROR_INVALID,
				 "accel '%s': expected auto, kvm, kvm-first or tcg", f->accel);
	if (hypervisor_check_name(f->hypervisor, err) < 0)
		return -EINVAL;
	if (hypervisor_check_machine(&qemu_driver, f->machine, err) < 0)
		return -EINVAL;
	if (f->data_root[0] != '/' || f->run_root[0] != '/')
		return error_set(err, ERROR_INVALID,
				 "data root and run root must be absolute paths");
	return 0;
}

int sandbox_factory_new(struct loop *loop, struct job_pool *jobs,
			const struct sandbox_factory_config *config, struct sandbox_factory **ret,
			struct error *err)
{
	struct sandbox_factory *f = calloc(1, sizeof(*f));
	struct hypervisor *ignored;
	int r = 0;

	if (!f)
		return error_nomem(err);
	f->loop = loop;
	f->jobs = jobs;
	f->hyperstart_fd = -1;
	list_init(&f->places);
	list_init(&f->sandboxes);
	list_init(&f->templates);
	task_mutex_init(&f->blank_mutex);
	task_mutex_init(&f->open_mutex);
	f->data_root = copy_of(config->data_root, "");
	f->run_root = copy_of(config->run_root, "");
	f->hyperstart = copy_of(config->hyperstart, "");
	f->hypervisor = copy_of(config->hypervisor, "auto");
	f->machine = copy_of(config->machine, "microvm");
	f->accel = copy_of(config->accel, "auto");
	f->warm = config->warm;
	f->max_templates = config->max_templates ? config->max_templates : DEFAULT_MAX_TEMPLATES;
	f->template_max_bytes = config->template_max_bytes ? config->template_max_bytes
							   : DEFAULT_TEMPLATE_MAX_BYTES;
	f->disk_bytes = config->disk_bytes ? config->disk_bytes : DEFAULT_DISK_BYTES;
	f->transport = config->transport;
	f->uid_first = config->uid_count ? config->uid_first : UID_FIRST;
	f->uid_count = config->uid_count ? config->uid_count : UID_COUNT;
	f->user_network = config->user_network;
	f->tap_prefix = config->tap_prefix ? strdup(config->tap_prefix) : NULL;
	if (config->tap_prefix && !f->tap_prefix)
		r = error_nomem(err);
	if (!f->data_root || !f->run_root || !f->hyperstart || !f->hypervisor || !f->machine ||
	    !f->accel)
		r = error_nomem(err);
	if (r == 0)
		r = check_config(f, err);
	if (r == 0)
		r = copy_config(f, config, err);
	if (r == 0) {
		f->uid_next = tag_of(f->run_root) % f->uid_count;
		r = make_run_dirs(f, (char **)&f->hypervisor_config.jail_dir, err);
	}
	if (r == 0)
		r = open_cgroups(f, config, err);
	if (r == 0)
		r = template_load_all(f, err);
	if (r == 0)
		r = pool_new(f, &f->pool, err);
	if (r < 0) {
		sandbox_factory_free(f);
		return error_prefix(err, r, "preparing sandboxes");
	}
	/* Without QEMU or a guest kernel, namespace pods still work; machines then say what is
	 * missing. */
	factory_hypervisor(f, NULL, &ignored, NULL);
	*ret = f;
	return 0;
}

void sandbox_factory_free(struct sandbox_factory *f)
{
	if (!f)
		return;
	pool_free(f->pool);
	template_free_all(f);
	for (size_t i = 0; i < HYPERVISOR_COUNT; i++)
		if (f->hypervisors[i].hypervisor)
			hypervisor_drivers[i]->close(f->hypervisors[i].hypervisor);
	if (f->cgroups)
		cgroup_host_remove(f->cgroups);
	cgroup_host_free(f->cgroups);
	if (f->hyperstart_fd >= 0)
		close(f->hyperstart_fd);
	free(f->data_root);
	free(f->run_root);
	free(f->hyperstart);
	free((char *)f->hypervisor_config.program);
	free((char *)f->hypervisor_config.libvirt_uri);
	free((char *)f->hypervisor_config.kernel);
	free((char *)f->hypervisor_config.initramfs);
	free((char *)f->hypervisor_config.jail_dir);
	free(f->hypervisor);
	free(f->machine);
	free(f->accel);
	free(f->tap_prefix);
	free(f);
}

static const char *accel_in_use(const struct sandbox_factory *f)
{
	if (strcmp(f->accel, "kvm") == 0)
		return "kvm";
	if (f->kvm_failed.kind || strcmp(f->accel, "tcg") == 0)
		return "tcg";
	return f->kvm.usable || strcmp(f->accel, "kvm-first") == 0 ? "kvm" : "tcg";
}

/* What each driver can do, and how it stands here. */
static json_t *hypervisors_info(const struct sandbox_factory *f)
{
	json_t *all = json_object();

	for (size_t i = 0; i < HYPERVISOR_COUNT; i++) {
		const struct hypervisor_driver *driver = hypervisor_drivers[i];
		const struct hypervisor_slot *slot = &f->hypervisors[i];
		json_t *one = json_pack("{s:s, s:s, s:o}", "summary", driver->summary, "state",
					slot->hypervisor     ? "in use"
					: slot->missing.kind ? slot->missing.message
							     : "not used yet",
					"features", hypervisor_features(driver));

		json_object_set_new(all, driver->name, one);
	}
	return all;
}

json_t *sandbox_factory_info(struct sandbox_factory *f)
{
	struct hypervisor_slot *slot;
	json_t *info =
		json_pack("{s:s, s:s, s:s, s:o, s:o}", "machine", f->machine, "accel",
			  accel_in_use(f), "accel_reason",
			  f->kvm_failed.kind ? f->kvm_failed.message : f->kvm.reason, "cgroup",
			  cgroup_host_info(f->cgroups), "templates", template_info(f));

	if (!info)
		return NULL;
	slot = slot_of(f, f->driver);
	if (slot->hypervisor)
		json_object_set_new(info, "hypervisor", f->driver->info(slot->hypervisor));
	else
		json_object_set_new(info, "hypervisor_missing", json_string(slot->missing.message));
	if (f->driver_reason)
		json_object_set_new(info, "hypervisor_reason", json_string(f->driver_reason));
	json_object_set_new(info, "hypervisors", hypervisors_info(f));
	json_object_set_new(info, "warm", json_integer(f->warm));
	json_object_set_new(info, "pool", pool_info(f->pool));
	return info;
}

void sandbox_factory_forget_layer(struct sandbox_factory *f, const char *diff_id)
{
	template_forget_layer(f, diff_id);
}

/*
 * Machines that only their hypervisor knows. One that an earlier daemon has used, and that cannot
 * be reached now, is no reason not to start.
 */
static int sweep_hypervisor(struct sandbox_factory *f, const struct hypervisor_driver *driver,
			    struct error *err)
{
	autofree char *mark = used_mark(f, driver);
	struct hypervisor *hypervisor;
	struct error one = { 0 };
	int r = 0;

	if (!mark)
		return error_nomem(err);
	if (!driver->sweep || access(mark, F_OK) < 0)
		return 0;
	r = factory_hypervisor(f, driver->name, &hypervisor, &one);
	if (r == 0)
		r = driver->sweep(hypervisor, &one);
	if (r < 0)
		log_warn("what earlier daemons left: %s", one.message);
	return 0;
}

int sandbox_factory_sweep(struct sandbox_factory *f, struct error *err)
{
	int r = place_sweep(f, err);

	for (size_t i = 0; i < HYPERVISOR_COUNT && r == 0; i++)
		r = sweep_hypervisor(f, hypervisor_drivers[i], err);
	return r < 0 ? error_prefix(err, r, "sweeping what earlier daemons left") : 0;
}
