#include <errno.h>
#include <string.h>
#include <fcntl.h>
#include <sys/random.h>

#include "base/log.h"
#include "hyperd/sandbox/factory.h"

#define ENTROPY_BYTES 64
/* QEMU beside its guest: heap, translated code, page tables, and page cache of the disk, which is
 * reclaimed. */
#define VMM_MEMORY_BYTES (512ull << 20)
#define VMM_MAX_TASKS    192
/* How long a QEMU may take to end after its channels have closed. */
#define LAST_WORDS_MS 500

void machine_config(const struct shape *shape, struct vm_disk *disks, char (*serials)[21],
		    struct vm_config *ret)
{
	*ret = (struct vm_config){
		.machine = shape->machine,
		.accel = shape->accel,
		.vcpus = shape->vcpus,
		.memory_bytes = shape->memory_bytes,
		.disks = disks,
		.disk_count = 1 + shape->on_disk_count,
		.memory_fd = -1,
		.state_fd = -1,
		.network = shape->network,
		.tap_fd = -1,
	};
	disks[0] = (struct vm_disk){ .fd = -1, .serial = POD_DISK_SERIAL };
	for (size_t i = 0; i < shape->on_disk_count; i++) {
		layer_serial(&shape->on_disk[i], serials[i]);
		disks[1 + i] =
			(struct vm_disk){ .fd = -1, .serial = serials[i], .read_only = true };
	}
}

int machine_post_resume(struct agent *agent, bool clock, struct agent_ticket *ticket,
			struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__Resume resume = HYPER__RESUME__INIT;
	uint8_t entropy[ENTROPY_BYTES];
	int r;

	if (getrandom(entropy, sizeof(entropy), 0) != sizeof(entropy))
		return error_errno(err, errno, "getting random numbers");
	resume.entropy.data = entropy;
	resume.entropy.len = sizeof(entropy);
	resume.realtime_ns = clock ? realtime_ns() : 0;
	request.body_case = HYPER__REQUEST__BODY_RESUME;
	request.resume = &resume;
	r = agent_post(agent, &request, ticket, err);
	explicit_bzero(entropy, sizeof(entropy));
	return r;
}

int machine_setup_disk(struct agent *agent, bool existing, const char *prepared_owner,
		       uint64_t deadline_ns, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__DiskSetup setup = HYPER__DISK_SETUP__INIT;

	setup.block_serial = (char *)POD_DISK_SERIAL;
	setup.existing = existing;
	if (prepared_owner)
		setup.prepared_owner = (char *)prepared_owner;
	request.body_case = HYPER__REQUEST__BODY_DISK_SETUP;
	request.disk_setup = &setup;
	return agent_call(agent, &request, deadline_ns, NULL, err);
}

static int open_layer_disks(const struct shape *shape, struct vm_disk *disks, struct error *err)
{
	for (size_t i = 0; i < shape->on_disk_count; i++) {
		const char *path = shape->on_disk[i].erofs_path;

		disks[1 + i].path = path;
		disks[1 + i].fd = open(path, O_RDONLY | O_CLOEXEC);
		if (disks[1 + i].fd < 0)
			return error_errno(err, errno, "opening the layer '%s'", path);
	}
	return 0;
}

static int machine_connect(struct sandbox_factory *factory, const struct machine_options *o,
			   struct machine *m, uint64_t deadline_ns, struct error *err)
{
	const struct hypervisor_driver *driver = o->shape->hypervisor->driver;
	struct agent_ticket resume;
	int fd, r = driver->channel(m->vm, &fd, err);

	/* Everything is written before the guest runs: it finds it all when it looks. */
	if (r == 0)
		r = agent_open(factory->loop, fd, false, o->agent_events, o->owner, &m->agent, err);
	if (r == 0)
		r = machine_post_resume(m->agent, true, &resume, err);
	if (r < 0)
		return r;
	if (o->state_fd >= 0)
		r = driver->loaded(m->vm, deadline_ns, err);
	trace(sandbox, "%s: loaded", o->name);
	if (r == 0)
		r = agent_ready(m->agent, deadline_ns, err);
	trace(sandbox, "%s: the agent has answered", o->name);
	if (r == 0)
		return agent_wait(m->agent, &resume, deadline_ns, NULL, err);
	agent_forget(m->agent, &resume);
	return r;
}

/* A channel that broke because QEMU ended: why it ended says more. */
static void prefer_last_words(struct machine *m, int r, struct error *err)
{
	struct error why = { 0 };

	if (r != -ETIMEDOUT && r != -ECANCELED && err &&
	    m->vm->hypervisor->driver->ended(m->vm, deadline_in_ms(LAST_WORDS_MS), &why) == 0)
		error_copy(err, &why);
}

int machine_start(struct sandbox_factory *factory, const struct machine_options *o,
		  struct machine *ret, struct error *err)
{
	struct cgroup_limits limits = { .memory_bytes = o->shape->memory_bytes + VMM_MEMORY_BYTES,
					.pids = VMM_MAX_TASKS };
	struct vm_disk disks[1 + o->shape->on_disk_count + o->disk_count];
	char serials[1 + o->shape->on_disk_count][21];
	struct hypervisor *hypervisor = o->shape->hypervisor;
	struct vm_share shares[o->share_count + 1];
	uint64_t deadline_ns = deadline_in_ms(o->deadline_ms);
	struct machine m = { 0 };
	struct vm_config config;
	int r;

	machine_config(o->shape, disks, serials, &config);
	config.name = o->name;
	config.memory_fd = o->memory_fd;
	config.memory_shared = o->memory_shared;
	config.state_fd = o->state_fd;
	for (size_t i = 0; i < o->share_count; i++)
		shares[i] = (struct vm_share){ o->shares[i].name, o->shares[i].fd,
					       o->shares[i].is_directory };
	for (size_t i = 0; i < o->disk_count; i++)
		disks[config.disk_count++] = (struct vm_disk){ .fd = o->disks[i].fd,
							       .path = o->disks[i].path,
							       .serial = o->disks[i].serial,
							       .read_only = o->disks[i].read_only,
							       .qcow2 = o->disks[i].qcow2,
							       .device = o->disks[i].device };
	config.shares = shares;
	config.share_count = o->share_count;
	config.user_network = o->user_network;
	r = place_new(factory, o->name, true, false, &limits, &m.place, err);
	if (r < 0)
		return r;
	config.run_dir = m.place->run_dir;
	config.uid = m.place->uid;
	config.cgroup = m.place->cgroup;
	disks[0].fd = o->disk_fd;
	disks[0].path = o->disk_path;
	if (config.network == VM_NETWORK_TAP)
		r = tap_open(factory, m.tap, &m.tap_fd, err);
	config.tap_fd = m.tap_fd;
	if (r == 0)
		r = open_layer_disks(o->shape, disks, err);
	if (r == 0)
		r = hypervisor->driver->start(hypervisor, &config, o->vm_events, o->owner, &m.vm,
					      err);
	for (size_t i = 0; i < o->shape->on_disk_count; i++)
		if (disks[1 + i].fd >= 0)
			close(disks[1 + i].fd);
	if (r == 0 && o->ret_spawned_ns)
		*o->ret_spawned_ns = now_ns();
	if (r == 0)
		r = machine_connect(factory, o, &m, deadline_ns, err);
	if (r < 0 && m.vm)
		prefer_last_words(&m, r, err);
	if (r < 0) {
		machine_end(&m);
		return r;
	}
	*ret = m;
	return 0;
}

static int close_tap(void *arg)
{
	close(*(int *)arg);
	return 0;
}

void machine_end(struct machine *m)
{
	bool shielded = task_shield(true);
	struct sandbox_factory *factory = m->place ? m->place->factory : NULL;
	int tap_fd = m->tap_fd;

	agent_free(steal(m->agent));
	if (m->vm)
		m->vm->hypervisor->driver->end(steal(m->vm));
	place_remove(steal(m->place));
	m->tap_fd = 0;
	/* The kernel takes its time to take an interface away: QEMU's end did not have to wait for
	 * it. */
	if (tap_fd > 0 && factory)
		job_run(factory->jobs, close_tap, &tap_fd);
	task_shield(shielded);
}
