/* Pods in virtual machines: clones of templates, and machines booted anew where that does not work.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "hyperd/sandbox/factory.h"
#include "hyperd/sandbox/pool.h"

/* Measured: docs/transports.md. Layers of one pod above this are attached as disks. */
#define SERIAL_MAX_BYTES (16ull << 20)
/* Streamed layers live in guest memory; beyond this part of it, the guest gets more in these steps.
 */
#define LAYERS_MEMORY_SHARE 8
#define LAYERS_MEMORY_STEP  (32ull << 20)
#define MEMORY_STEP         (1ull << 20)

/* The template, what it is built on, and both new: a third failure is not theirs. */
#define TEMPLATE_ATTEMPTS 3

/* ------------------------------------------------------------------ the shape of a pod's machine
 */

/* A shape and the arrays it points to. */
struct wanted {
	struct shape shape;
	struct sandbox_layer *layers; /* owned: streamed first, then those on disks */
};

static int by_size(const void *a, const void *b)
{
	const struct sandbox_layer *x = a, *y = b;

	return (x->erofs_bytes > y->erofs_bytes) - (x->erofs_bytes < y->erofs_bytes);
}

static uint64_t total_bytes(const struct sandbox_layer *layers, size_t count)
{
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += layers[i].erofs_bytes;
	return total;
}

/* The largest layers become disks, as many as the machine has room for. */
static size_t disks_wanted(const struct sandbox *s, const struct sandbox_config *config,
			   const struct shape *shape, uint64_t bytes)
{
	enum sandbox_transport transport =
		config->transport != TRANSPORT_AUTO ? config->transport : s->factory->transport;
	unsigned max = shape->hypervisor->driver->max_disks(shape->machine);

	max -= config->disk_count < max ? (unsigned)config->disk_count : max;
	if (transport == TRANSPORT_SERIAL)
		return 0;
	if (transport == TRANSPORT_AUTO && bytes <= SERIAL_MAX_BYTES)
		return 0;
	return config->layer_count < max ? config->layer_count : max;
}

static uint64_t round_up(uint64_t value, uint64_t step)
{
	return (value + step - 1) / step * step;
}

/* --machine is QEMU's; another hypervisor's pods that do not say get its first. */
static const char *machine_wanted(const struct sandbox *s, const struct sandbox_config *config,
				  const struct hypervisor_driver *driver)
{
	if (config->machine && *config->machine)
		return config->machine;
	return driver == &qemu_driver ? s->factory->machine : driver->machines[0];
}

static int wanted_init(struct wanted *w, const struct sandbox *s,
		       const struct sandbox_config *config, struct hypervisor *hypervisor,
		       struct error *err)
{
	struct shape *shape = &w->shape;
	size_t on_disk;
	uint64_t streamed;

	memset(w, 0, sizeof(*w));
	shape->hypervisor = hypervisor;
	shape->machine = machine_wanted(s, config, hypervisor->driver);
	shape->vcpus = config->vcpus ? config->vcpus : 1;
	shape->memory_bytes =
		round_up(config->memory_bytes ? config->memory_bytes : DEFAULT_MEMORY_BYTES,
			 MEMORY_STEP);
	w->layers = calloc(config->layer_count ? config->layer_count : 1, sizeof(*w->layers));
	if (!w->layers)
		return error_nomem(err);
	if (config->layer_count) /* a pod may be without containers */
		memcpy(w->layers, config->layers, config->layer_count * sizeof(*w->layers));
	on_disk = disks_wanted(s, config, shape, total_bytes(config->layers, config->layer_count));
	if (on_disk)
		qsort(w->layers, config->layer_count, sizeof(*w->layers), by_size);
	shape->streamed = w->layers;
	shape->streamed_count = config->layer_count - on_disk;
	shape->on_disk = w->layers + shape->streamed_count;
	shape->on_disk_count = on_disk;
	/* The pod gets the memory it asked for, also when its image lives there. */
	streamed = total_bytes(shape->streamed, shape->streamed_count);
	if (streamed > shape->memory_bytes / LAYERS_MEMORY_SHARE)
		shape->memory_bytes += round_up(streamed, LAYERS_MEMORY_STEP);
	return 0;
}

/* ------------------------------------------------------------------ its disk */

static char *disk_path(const struct sandbox *s)
{
	return strf("%s/disk.img", s->storage);
}

static bool disk_exists(const struct sandbox *s)
{
	autofree char *path = disk_path(s);

	return path && access(path, F_OK) == 0;
}

static int open_disk(const struct sandbox *s, const char *fresh_from, int *ret_fd,
		     struct error *err)
{
	autofree char *path = disk_path(s);

	if (!path)
		return error_nomem(err);
	if (fresh_from)
		return disk_copy(s->factory, fresh_from, path, ret_fd, err);
	*ret_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return *ret_fd < 0 ? error_errno(err, errno, "opening the pod's disk '%s'", path) : 0;
}

/* ------------------------------------------------------------------ start */

static void start_options(struct sandbox *s, const struct sandbox_config *config,
			  const struct shape *shape, struct machine_options *ret,
			  uint64_t *spawned_ns)
{
	bool kvm = strcmp(shape->accel, "kvm") == 0;

	/* An earlier attempt's machine may have ended; this one has not. */
	s->exited = false;
	error_clear(&s->lost_why);
	*ret = (struct machine_options){
		.shape = shape,
		.name = s->id,
		.memory_fd = -1,
		.state_fd = -1,
		.shares = config->shares,
		.share_count = config->share_count,
		.disks = config->disks,
		.disk_count = config->disk_count,
		.agent_events = &sandbox_agent_events,
		.vm_events = &sandbox_vm_events,
		.owner = s,
		.deadline_ms = kvm ? KVM_BOOT_DEADLINE_MS : CLONE_DEADLINE_MS,
		.user_network = s->user_network,
		.ret_spawned_ns = spawned_ns,
	};
}

static void note_start(struct sandbox *s, uint64_t spawned_ns)
{
	s->timing.spawned_ns = spawned_ns > s->begin_ns ? spawned_ns - s->begin_ns : 0;
	s->timing.connected_ns = sandbox_since(s);
}

static int start_clone(struct sandbox *s, const struct sandbox_config *config, struct template *t,
		       const struct shape *shape, struct error *err)
{
	autofree char *fresh = t->disk_mounted ? template_disk_path(t) : NULL;
	autofree char *path = disk_path(s);
	autoclose int disk = -1, state = -1;
	struct machine_options options;
	uint64_t spawned_ns = 0;
	int r;

	if ((t->disk_mounted && !fresh) || !path)
		return error_nomem(err);
	start_options(s, config, shape, &options, &spawned_ns);
	r = open_disk(s, fresh, &disk, err);
	if (r == 0)
		r = template_open_state(t, &state, err);
	if (r < 0)
		return r;
	options.disk_fd = disk;
	options.disk_path = path;
	options.memory_fd = t->memory_fd;
	options.state_fd = state;
	r = machine_start(s->factory, &options, &s->machine, err);
	if (r < 0)
		return r;
	note_start(s, spawned_ns);
	if (!t->disk_mounted)
		r = machine_setup_disk(s->machine.agent, true, config->prepared_owner,
				       deadline_in_ms(REQUEST_DEADLINE_MS), err);
	s->timing.layers_ns = sandbox_since(s);
	if (r < 0)
		machine_end(&s->machine);
	return r;
}

/* Without any template: slow, and always possible. */
static int start_cold(struct sandbox *s, const struct sandbox_config *config,
		      const struct shape *shape, uint64_t deadline_ms, struct error *err)
{
	autofree char *blank = NULL, *path = disk_path(s);
	autoclose int disk = -1;
	uint64_t deadline_ns, spawned_ns = 0;
	struct machine_options options;
	char serials[1 + shape->on_disk_count][21];
	char *serial_list[1 + shape->on_disk_count];
	int r = path ? 0 : error_nomem(err);

	if (r == 0 && shape->disk_mounted)
		r = disk_blank(s->factory, &blank, err);
	if (r == 0)
		r = open_disk(s, blank, &disk, err);
	if (r < 0)
		return r;
	start_options(s, config, shape, &options, &spawned_ns);
	options.disk_fd = disk;
	options.disk_path = path;
	options.deadline_ms = deadline_ms;
	r = machine_start(s->factory, &options, &s->machine, err);
	if (r < 0)
		return r;
	note_start(s, spawned_ns);
	deadline_ns = deadline_in_ms(BOOT_DEADLINE_MS);
	for (size_t i = 0; i < shape->on_disk_count; i++) {
		layer_serial(&shape->on_disk[i], serials[i]);
		serial_list[i] = serials[i];
	}
	r = layers_add(s->factory, s->machine.agent, shape->on_disk, shape->on_disk_count,
		       serial_list, false, deadline_ns, err);
	if (r == 0)
		r = layers_add(s->factory, s->machine.agent, shape->streamed, shape->streamed_count,
			       NULL, false, deadline_ns, err);
	if (r == 0)
		r = machine_setup_disk(s->machine.agent, !shape->disk_mounted,
				       config->prepared_owner, deadline_ns, err);
	s->timing.layers_ns = sandbox_since(s);
	if (r < 0)
		machine_end(&s->machine);
	return r;
}

/*
 * A template that its clones do not come up from is thrown away and built again; then the
 * machine is booted. A pod never fails because of a template.
 */
static int start_with(struct sandbox *s, const struct sandbox_config *config,
		      const struct shape *shape, bool last_resort, struct error *err)
{
	struct template *t = NULL;
	bool built = false;
	int r = 0;

	if (config->disk_count || !shape->hypervisor->driver->features[HYPERVISOR_TEMPLATES])
		return start_cold(s, config, shape,
				  last_resort ? BOOT_DEADLINE_MS : KVM_BOOT_DEADLINE_MS, err);
	for (int attempt = 0; attempt < TEMPLATE_ATTEMPTS; attempt++) {
		r = template_get(s->factory, shape, &t, &built, err);
		s->timing.template_ns = sandbox_since(s);
		s->timing.template_built |= built;
		/* What it was to be built on may have been what did not work; that is gone now. */
		if (r < 0 && r != -ECANCELED && r != -ETIMEDOUT && last_resort)
			continue;
		if (r < 0)
			break;
		/* A ready clone was started without knowing what its pod would share, and what
		 * QEMU's own stack plays is said when QEMU starts. */
		r = config->share_count || shape->network == VM_NETWORK_USER
			    ? 0
			    : pool_take(s, t, shape);
		if (r <= 0)
			r = start_clone(s, config, t, shape, err);
		else
			r = 0;
		if (r == 0 && shape->network != VM_NETWORK_USER)
			pool_refill(s->factory, t, shape);
		if (r < 0 && r != -ECANCELED) {
			log_warn("sandbox '%s': template %s: %s", s->id, t->key, err->message);
			template_discard(t);
		}
		template_unref(t);
		if (r == 0 || r == -ECANCELED)
			return r;
	}
	if (r == -ECANCELED || !last_resort)
		return r;
	log_warn("sandbox '%s': booting without a template: %s", s->id, err->message);
	error_clear(err);
	return start_cold(s, config, shape, BOOT_DEADLINE_MS, err);
}

/* "auto": what the probe said, until a machine has shown that it was wrong. */
static bool use_kvm(const struct sandbox_factory *factory)
{
	if (strcmp(factory->accel, "kvm") == 0)
		return true;
	if (strcmp(factory->accel, "tcg") == 0 || factory->kvm_failed.kind)
		return false;
	return factory->kvm.usable || strcmp(factory->accel, "kvm-first") == 0;
}

static enum vm_network network_of(const struct sandbox_factory *factory,
				  const struct hypervisor *hypervisor,
				  const struct sandbox_config *config)
{
	if (!config->network || !hypervisor->driver->features[HYPERVISOR_NETWORK])
		return VM_NETWORK_NONE;
	if (factory->user_network)
		return VM_NETWORK_USER;
	return factory->tap_prefix ? VM_NETWORK_TAP : VM_NETWORK_NONE;
}

static int check_disks(const struct sandbox_config *config, const struct shape *shape,
		       struct error *err)
{
	const struct hypervisor_driver *driver = shape->hypervisor->driver;
	unsigned max = driver->max_disks(shape->machine);

	if (config->disk_count > max)
		return error_set(err, ERROR_LIMIT,
				 "a %s machine has room for %u disks, and %zu are wanted",
				 shape->machine, max, config->disk_count);
	for (size_t i = 0; i < config->disk_count; i++)
		if (config->disks[i].qcow2 && !driver->features[HYPERVISOR_QCOW2])
			return error_set(err, ERROR_UNSUPPORTED,
					 "'%s': the hypervisor driver \"%s\" knows raw disks only",
					 config->disks[i].path, driver->name);
	return 0;
}

static int vm_start(struct sandbox *s, const struct sandbox_config *config, struct error *err)
{
	struct sandbox_factory *factory = s->factory;
	bool only_kvm = strcmp(factory->accel, "kvm") == 0;
	struct hypervisor *hypervisor = NULL;
	struct error local = { 0 };
	struct wanted w;
	int r;

	if (!err)
		err = &local;
	r = factory_hypervisor(factory, config->hypervisor, &hypervisor, err);
	if (r < 0)
		return error_prefix(err, r, "isolation \"vm\"");
	if (config->share_count && !hypervisor->driver->features[HYPERVISOR_FILE_SHARING])
		return error_set(err, ERROR_UNSUPPORTED,
				 "volumes and bind mounts: the hypervisor driver \"%s\" shows no "
				 "files of the host to its guests",
				 hypervisor->driver->name);
	r = wanted_init(&w, s, config, hypervisor, err);
	if (r == 0)
		r = check_disks(config, &w.shape, err);
	if (r < 0) {
		free(w.layers);
		return r;
	}
	w.shape.disk_mounted = !(config->storage_existing && disk_exists(s));
	w.shape.prepare = config->prepare;
	w.shape.network = network_of(factory, hypervisor, config);
	s->user_network = config->user_network;
	w.shape.accel = hypervisor->driver->accel ? hypervisor->driver->accel
			: use_kvm(factory)        ? "kvm"
						  : "tcg";
	r = start_with(s, config, &w.shape, only_kvm || strcmp(w.shape.accel, "kvm") != 0, err);
	if (r < 0 && r != -ECANCELED && strcmp(w.shape.accel, "kvm") == 0 && !only_kvm) {
		/* Not the error of this pod only: whatever KVM is here, it does not run our guests.
		 */
		log_warn("KVM does not work here, going on with TCG: %s", err->message);
		factory->kvm_failed = *err;
		s->timing.retried_with_tcg = true;
		error_clear(err);
		w.shape.accel = "tcg";
		r = start_with(s, config, &w.shape, true, err);
	}
	s->timing.accel = w.shape.accel;
	if (r == 0)
		r = sandbox_remember_layers(s, config->layers, config->layer_count, err);
	if (r < 0)
		machine_end(&s->machine);
	free(w.layers);
	return r;
}

/* ------------------------------------------------------------------ while it runs */

/* Only by stream: a machine gets no new devices. */
static int vm_add_layers(struct sandbox *s, const struct sandbox_layer *layers, size_t count,
			 struct error *err)
{
	return layers_add(s->factory, s->machine.agent, layers, count, NULL, false,
			  deadline_in_ms(BOOT_DEADLINE_MS), err);
}

/* Its file server sees what it was started with. */
static int vm_add_share(struct sandbox *s, const struct sandbox_share *share, struct error *err)
{
	return error_set(err, ERROR_CONFLICT,
			 "a VM gets volumes and host directories only when it is started: stop the "
			 "pod and start it again");
}

static int vm_pause(struct sandbox *s, bool paused, struct error *err)
{
	return s->machine.vm->hypervisor->driver->pause(s->machine.vm, paused, err);
}

static int vm_console(struct sandbox *s, char **ret, size_t *ret_len, struct error *err)
{
	return s->machine.vm->hypervisor->driver->console(s->machine.vm, ret, ret_len, err);
}

static pid_t vm_pid(const struct sandbox *s)
{
	return s->machine.vm->hypervisor->driver->pid(s->machine.vm);
}

static void vm_end(struct sandbox *s)
{
	machine_end(&s->machine);
}

static void vm_detach(struct sandbox *s)
{
	agent_free(steal(s->machine.agent));
	s->machine.vm->hypervisor->driver->detach(steal(s->machine.vm));
	place_detach(steal(s->machine.place));
	if (s->machine.tap_fd > 0)
		close(s->machine.tap_fd);
}

static void vm_record(const struct sandbox *s, json_t *record)
{
	json_object_set_new(record, "vm", s->machine.vm->hypervisor->driver->record(s->machine.vm));
	json_object_set_new(record, "accel", json_string(s->timing.accel));
	json_object_set_new(record, "hypervisor",
			    json_string(s->machine.vm->hypervisor->driver->name));
	json_object_set_new(record, "tap", json_string(s->machine.tap));
}

static int vm_adopt(struct sandbox *s, const json_t *record, struct error *err)
{
	struct sandbox_factory *factory = s->factory;
	struct place *place = s->machine.place;
	struct vm_config config = { .name = place->name,
				    .run_dir = place->run_dir,
				    .uid = place->uid,
				    .cgroup = place->cgroup };
	const char *accel = json_string_value(json_object_get(record, "accel"));
	const char *name = json_string_value(json_object_get(record, "hypervisor"));
	const char *tap = json_string_value(json_object_get(record, "tap"));
	struct hypervisor *hypervisor = NULL;
	int fd, r = factory_hypervisor(factory, name ? name : "qemu", &hypervisor, err);

	if (r < 0)
		return r;
	s->timing.accel = hypervisor->driver->accel ? hypervisor->driver->accel
			  : str_equal(accel, "kvm") ? "kvm"
						    : "tcg";
	snprintf(s->machine.tap, sizeof(s->machine.tap), "%s", tap ? tap : "");
	r = hypervisor->driver->adopt(hypervisor, json_object_get(record, "vm"), &config,
				      &sandbox_vm_events, s, &s->machine.vm, err);
	if (r == 0 && s->paused)
		r = vm_pause(s, false, err);
	if (r == 0)
		r = hypervisor->driver->channel(s->machine.vm, &fd, err);
	if (r == 0)
		r = agent_connect(factory->loop, fd, true, deadline_in_ms(CLONE_DEADLINE_MS),
				  &sandbox_agent_events, s, &s->machine.agent, err);
	if (r == 0 && s->paused)
		r = vm_pause(s, true, err);
	return r;
}

const struct sandbox_backend vm_backend = {
	.isolation = ISOLATION_VM,
	.start = vm_start,
	.add_layers = vm_add_layers,
	.add_share = vm_add_share,
	.pause = vm_pause,
	.console = vm_console,
	.pid = vm_pid,
	.end = vm_end,
	.detach = vm_detach,
	.record = vm_record,
	.adopt = vm_adopt,
};
