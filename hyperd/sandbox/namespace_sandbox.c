/* Pods in plain namespaces: the same init as in a VM, as process 1 of namespaces of its own. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "hyperd/hypervisor/run_socket.h"
#include "hyperd/sandbox/factory.h"
#include "hyperd/sandbox/namespace_launch.h"

#define AGENT_SOCKET      "agent"
#define LISTEN_FD         3
#define START_DEADLINE_MS 30000
#define END_DEADLINE_MS   10000
#define PROGRAM_MAX_BYTES (16u << 20)

/* ------------------------------------------------------------------ its program */

/* A copy in memory that nobody can change: a container that reaches /proc/1/exe finds nothing to
 * overwrite. */
static int seal_program(struct sandbox_factory *factory, struct error *err)
{
	autoclose int fd = memfd_create("hyperstart", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	autofree char *program = NULL;
	size_t len;
	int r;

	if (factory->hyperstart_fd >= 0)
		return 0;
	if (!*factory->hyperstart)
		return error_set(err, ERROR_UNSUPPORTED, "no hyperstart program is configured");
	r = file_read(AT_FDCWD, factory->hyperstart, PROGRAM_MAX_BYTES, &program, &len, err);
	if (r < 0)
		return error_prefix(err, r, "hyperstart");
	if (fd < 0 || write(fd, program, len) != (ssize_t)len || fchmod(fd, 0500) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return error_errno(err, errno, "copying hyperstart into memory");
	factory->hyperstart_fd = steal_fd(&fd);
	return 0;
}

/* ------------------------------------------------------------------ its end */

static void init_exited(struct loop_io *io, uint32_t events)
{
	struct sandbox *s = container_of(io, struct sandbox, exit_io);
	struct error why = { 0 };
	int code = -1;

	if (!s->adopted && process_reap(&s->process, &code) == -EAGAIN)
		return;
	loop_io_remove(io);
	if (code > 128)
		error_set(&why, ERROR_UNAVAILABLE, "the pod's init was killed by signal %d",
			  code - 128);
	else if (code >= 0)
		error_set(&why, ERROR_UNAVAILABLE, "the pod's init has ended with code %d", code);
	else
		error_set(&why, ERROR_UNAVAILABLE, "the pod's init has ended");
	sandbox_exited(s, &why);
}

/* Killing process 1 of a PID namespace ends all of it; the control group takes care of the rest. */
static void ns_end(struct sandbox *s)
{
	bool shielded = task_shield(true);
	int code;

	agent_free(steal(s->machine.agent));
	loop_io_remove(&s->exit_io);
	if (!s->exited && s->process.pidfd >= 0) {
		process_signal(&s->process, SIGKILL);
		task_wait_fd(s->process.pidfd, EPOLLIN, deadline_in_ms(END_DEADLINE_MS), NULL);
		if (!s->adopted)
			process_reap(&s->process, &code);
	}
	place_remove(steal(s->machine.place));
	task_shield(shielded);
}

static void ns_detach(struct sandbox *s)
{
	agent_free(steal(s->machine.agent));
	place_detach(steal(s->machine.place));
}

/* ------------------------------------------------------------------ start */

/* The init's view of its control groups, and the directories behind it. */
struct groups {
	Hyper__KeyValue values[CGROUP_HIERARCHIES], *list[CGROUP_HIERARCHIES];
	char *keys[CGROUP_HIERARCHIES], *sources[CGROUP_HIERARCHIES]; /* owned */
	char targets[CGROUP_HIERARCHIES][64];
	size_t count;
};

static void groups_done(struct groups *g)
{
	for (size_t i = 0; i < g->count; i++) {
		free(g->keys[i]);
		free(g->sources[i]);
	}
}

static int add_group(const char *controllers, const char *path, void *arg)
{
	struct groups *g = arg;
	size_t i = g->count;

	if (i == CGROUP_HIERARCHIES)
		return 0;
	g->keys[i] = strdup(controllers);
	g->sources[i] = strdup(path);
	g->count++;
	if (!g->keys[i] || !g->sources[i])
		return -ENOMEM;
	snprintf(g->targets[i], sizeof(g->targets[i]), "/" NAMESPACE_CGROUPS "/%zu", i);
	hyper__key_value__init(&g->values[i]);
	g->values[i].key = g->keys[i];
	g->values[i].value = g->targets[i];
	g->list[i] = &g->values[i];
	return 0;
}

static void layer_target(size_t number, char *out, size_t size)
{
	snprintf(out, size, NAMESPACE_LAYERS "/%zu", number);
}

struct start_job {
	struct process_options options;
	struct process *process;
	const struct cgroup_joining *joining;
	struct error error;
};

static int start_init(void *arg)
{
	struct start_job *job = arg;
	int r = process_spawn(&job->options, job->process, &job->error);

	if (r == 0) {
		r = cgroup_join_late(job->joining, job->process->pid);
		if (r < 0)
			error_errno(&job->error, -r, "joining control groups");
	}
	return r;
}

static void close_shares(struct namespace_share *shares, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (shares[i].tree_fd > 0)
			close(shares[i].tree_fd);
}

/* The child inherits them until its exec; what it is given goes to the low numbers. */
static int dup_shares(const struct sandbox_config *config, struct namespace_share *shares,
		      struct error *err)
{
	for (size_t i = 0; i < config->share_count; i++) {
		shares[i].name = config->shares[i].name;
		shares[i].is_directory = config->shares[i].is_directory;
		shares[i].tree_fd = fcntl(config->shares[i].fd, F_DUPFD_CLOEXEC, LISTEN_FD + 1);
		if (shares[i].tree_fd < 0)
			return error_errno(err, errno, "share '%s'", shares[i].name);
	}
	return 0;
}

static int launch(struct sandbox *s, const struct sandbox_config *config, const char *disk,
		  const struct groups *groups, int listen_fd, struct error *err)
{
	static const char *const argv[] = { "hyperstart", "--listen", "3", NULL };
	size_t count = 1 + groups->count + config->layer_count, n = 0;
	autofree struct namespace_bind *binds = calloc(count, sizeof(*binds));
	autofree char *jail = strf("%s/jail", s->factory->run_root);
	autofree struct namespace_share *shares = calloc(config->share_count + 1, sizeof(*shares));
	struct process_fd fds[] = { { listen_fd, LISTEN_FD } };
	struct cgroup_joining joining;
	struct namespace_launch l = { .jail_dir = jail,
				      .joining = &joining,
				      .binds = binds,
				      .bind_count = count,
				      .shares = shares,
				      .share_count = config->share_count,
				      .program_fd = s->factory->hyperstart_fd,
				      .argv = argv };
	struct start_job job = { .process = &s->process, .joining = &joining };
	int r;

	if (!binds || !jail || !shares)
		return error_nomem(err);
	binds[n++] = (struct namespace_bind){ .source = disk, .target = NAMESPACE_DISK };
	for (size_t i = 0; i < groups->count; i++) {
		binds[n].source = groups->sources[i];
		snprintf(binds[n++].target, sizeof(binds[0].target), "%s", groups->targets[i] + 1);
	}
	for (size_t i = 0; i < config->layer_count; i++) {
		binds[n].source = config->layers[i].directory;
		binds[n].read_only = true;
		layer_target(i, binds[n++].target, sizeof(binds[0].target));
	}
	r = dup_shares(config, shares, err);
	if (r == 0)
		r = cgroup_joining_open(s->machine.place->cgroup, &joining, err);
	if (r < 0) {
		close_shares(shares, config->share_count);
		return r;
	}
	job.options = (struct process_options){ .argv = argv,
						.fds = fds,
						.fd_count = 1,
						.setup = namespace_enter,
						.setup_arg = &l,
						.clone_flags =
							namespace_clone_flags(config->host_network),
						.cgroup_fd = joining.birth_fd };
	r = job_run(s->factory->jobs, start_init, &job);
	if (r < 0)
		error_copy(err, &job.error);
	cgroup_joining_close(&joining);
	close_shares(shares, config->share_count);
	return r;
}

/* The layers as the init sees them. */
static int add_directories(struct sandbox *s, const struct sandbox_layer *layers, size_t count,
			   size_t first, uint64_t deadline_ns, struct error *err)
{
	struct sandbox_layer *seen = calloc(count ? count : 1, sizeof(*seen));
	char(*paths)[64] = calloc(count ? count : 1, sizeof(*paths));
	int r = 0;

	if (!seen || !paths)
		r = error_nomem(err);
	for (size_t i = 0; i < count && r == 0; i++) {
		paths[i][0] = '/';
		layer_target(first + i, paths[i] + 1, sizeof(paths[i]) - 1);
		seen[i] = layers[i];
		seen[i].directory = paths[i];
	}
	if (r == 0)
		r = layers_add(s->factory, s->machine.agent, seen, count, NULL, true, deadline_ns,
			       err);
	free(seen);
	free(paths);
	return r;
}

static int post_setup(struct sandbox *s, struct groups *groups, struct agent_ticket tickets[2],
		      struct error *err)
{
	Hyper__Request setup_request = HYPER__REQUEST__INIT, disk_request = HYPER__REQUEST__INIT;
	Hyper__PodSetup setup = HYPER__POD_SETUP__INIT;
	Hyper__CgroupRoot root = HYPER__CGROUP_ROOT__INIT;
	Hyper__DiskSetup disk = HYPER__DISK_SETUP__INIT;
	int r;

	/* Only its control groups: name and the rest come from the pod, in another PodSetup. */
	root.unified = cgroup_is_unified(s->factory->cgroups);
	root.directories = groups->list;
	root.n_directories = groups->count;
	setup.cgroup = &root;
	setup_request.body_case = HYPER__REQUEST__BODY_POD_SETUP;
	setup_request.pod_setup = &setup;
	disk.directory = "/" NAMESPACE_DISK;
	disk_request.body_case = HYPER__REQUEST__BODY_DISK_SETUP;
	disk_request.disk_setup = &disk;
	r = agent_post(s->machine.agent, &setup_request, &tickets[0], err);
	return r < 0 ? r : agent_post(s->machine.agent, &disk_request, &tickets[1], err);
}

static int connect_agent(struct sandbox *s, const struct sandbox_config *config,
			 struct groups *groups, struct error *err)
{
	uint64_t deadline_ns = deadline_in_ms(START_DEADLINE_MS);
	struct agent_ticket tickets[3] = { 0 };
	struct agent *agent;
	int fd, r = run_socket_connect(s->machine.place->run_dir, AGENT_SOCKET, &fd, err);

	if (r == 0)
		r = agent_open(s->factory->loop, fd, false, &sandbox_agent_events, s,
			       &s->machine.agent, err);
	if (r < 0)
		return r;
	agent = s->machine.agent;
	r = machine_post_resume(agent, false, &tickets[2], err);
	if (r == 0)
		r = post_setup(s, groups, tickets, err);
	if (r == 0)
		r = agent_ready(agent, deadline_ns, err);
	s->timing.connected_ns = sandbox_since(s);
	for (size_t i = 0; i < ARRAY_SIZE(tickets) && r == 0; i++)
		r = agent_wait(agent, &tickets[i], deadline_ns, NULL, err);
	for (size_t i = 0; i < ARRAY_SIZE(tickets); i++)
		agent_forget(agent, &tickets[i]);
	if (r == 0)
		r = add_directories(s, config->layers, config->layer_count, 0, deadline_ns, err);
	s->timing.layers_ns = sandbox_since(s);
	return r;
}

static int ns_start_in_place(struct sandbox *s, const struct sandbox_config *config,
			     struct groups *groups, struct error *err)
{
	autofree char *disk = strf("%s/disk", s->storage);
	autoclose int listen_fd = -1;
	int r = disk ? file_make_dirs(AT_FDCWD, disk, 0700, err) : error_nomem(err);

	if (r == 0)
		r = run_socket_listen(s->machine.place->run_dir, AGENT_SOCKET, &listen_fd, err);
	if (r == 0)
		r = launch(s, config, disk, groups, listen_fd, err);
	if (r < 0)
		return r;
	s->timing.spawned_ns = sandbox_since(s);
	r = process_start_time(s->process.pid, &s->start_time);
	if (r == 0)
		r = loop_io_add(s->factory->loop, &s->exit_io, s->process.pidfd, EPOLLIN,
				init_exited);
	if (r < 0)
		return error_errno(err, -r, "watching the pod's init");
	return connect_agent(s, config, groups, err);
}

static int ns_start(struct sandbox *s, const struct sandbox_config *config, struct error *err)
{
	struct cgroup_limits limits = { .memory_bytes = config->memory_bytes,
					.cpu_milli = config->vcpus * 1000ull };
	struct groups groups = { 0 };
	int r = config->disk_count
			? error_set(err, ERROR_UNSUPPORTED,
				    "volumes that are disks are for pods in VMs: the host does not "
				    "mount what a guest may have written")
			: seal_program(s->factory, err);

	if (r == 0)
		r = place_new(s->factory, s->id, false, true, &limits, &s->machine.place, err);
	if (r < 0)
		return r;
	r = cgroup_delegated_each(s->machine.place->cgroup, add_group, &groups);
	if (r == 0)
		r = ns_start_in_place(s, config, &groups, err);
	else
		error_errno(err, -r, "preparing control groups");
	groups_done(&groups);
	if (r == 0)
		r = sandbox_remember_layers(s, config->layers, config->layer_count, err);
	if (r < 0) {
		/* An init that ended says more than the channel that closed with it. */
		if (s->exited && r != -ECANCELED && err)
			error_copy(err, &s->lost_why);
		ns_end(s);
	}
	return r;
}

/* ------------------------------------------------------------------ while it runs */

struct add_job {
	struct process_options options;
	struct process process;
	struct error error;
};

static int spawn_addition(void *arg)
{
	struct add_job *job = arg;

	return process_spawn(&job->options, &job->process, &job->error);
}

/* ADDITION lacks only the namespace. */
static int add_mount(struct sandbox *s, struct namespace_addition *addition, struct error *err)
{
	static const char *const argv[] = { "add-mount", NULL };
	struct add_job job = { .process = PROCESS_INIT };
	char path[64];
	autoclose int ns = -1;
	int code, r;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)s->process.pid);
	addition->mount_ns_fd = ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		return error_errno(err, errno, "'%s'", path);
	job.options = (struct process_options){ .argv = argv,
						.setup = namespace_add,
						.setup_arg = addition };
	r = job_run(s->factory->jobs, spawn_addition, &job);
	if (r < 0) {
		error_copy(err, &job.error);
		return r;
	}
	r = process_wait(&job.process, DEADLINE_NEVER, &code, err);
	process_done(&job.process);
	return r;
}

static int mount_layer(struct sandbox *s, const char *directory, size_t number, struct error *err)
{
	struct mount_attr attributes = { .attr_set = MOUNT_ATTR_RDONLY };
	char target[64] = "/";
	autoclose int tree = open_tree(AT_FDCWD, directory, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct namespace_addition addition = { .target = target, .tree_fd = tree };
	int r;

	layer_target(number, target + 1, sizeof(target) - 1);
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0)
		return error_errno(err, errno, "layer '%s'", directory);
	r = add_mount(s, &addition, err);
	return r < 0 ? error_prefix(err, r, "layer '%s'", directory) : 0;
}

static int ns_add_share(struct sandbox *s, const struct sandbox_share *share, struct error *err)
{
	char target[sizeof("/" NAMESPACE_SHARES "/") + SHARE_NAME_MAX];
	struct namespace_addition addition = { .target = target,
					       .tree_fd = share->fd,
					       .is_file = !share->is_directory };
	int r;

	snprintf(target, sizeof(target), "/" NAMESPACE_SHARES "/%s", share->name);
	r = add_mount(s, &addition, err);
	return r < 0 ? error_prefix(err, r, "share '%s'", share->name) : 0;
}

static int ns_add_layers(struct sandbox *s, const struct sandbox_layer *layers, size_t count,
			 struct error *err)
{
	size_t first = strv_len(s->layers);
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = mount_layer(s, layers[i].directory, first + i, err);
	return r < 0 ? r
		     : add_directories(s, layers, count, first, deadline_in_ms(START_DEADLINE_MS),
				       err);
}

static int ns_pause(struct sandbox *s, bool paused, struct error *err)
{
	return cgroup_freeze(s->machine.place->cgroup, paused, deadline_in_ms(REQUEST_DEADLINE_MS),
			     err);
}

static pid_t ns_pid(const struct sandbox *s)
{
	return s->process.pid;
}

static void ns_record(const struct sandbox *s, json_t *record)
{
	json_object_set_new(record, "init",
			    json_pack("{s:i, s:I}", "pid", (int)s->process.pid, "start_time",
				      (json_int_t)s->start_time));
}

static int ns_adopt(struct sandbox *s, const json_t *record, struct error *err)
{
	const json_t *init = json_object_get(record, "init");
	int fd, r;

	s->start_time = (unsigned long long)json_integer_value(json_object_get(init, "start_time"));
	r = cgroup_find_process(s->machine.place->cgroup,
				(pid_t)json_integer_value(json_object_get(init, "pid")),
				s->start_time, &s->process, err);
	if (r == 0)
		r = loop_io_add(s->factory->loop, &s->exit_io, s->process.pidfd, EPOLLIN,
				init_exited);
	if (r == 0 && s->paused)
		r = ns_pause(s, false, err);
	if (r == 0)
		r = run_socket_connect(s->machine.place->run_dir, AGENT_SOCKET, &fd, err);
	if (r == 0)
		r = agent_connect(s->factory->loop, fd, true, deadline_in_ms(START_DEADLINE_MS),
				  &sandbox_agent_events, s, &s->machine.agent, err);
	if (r == 0 && s->paused)
		r = ns_pause(s, true, err);
	return r;
}

const struct sandbox_backend namespace_backend = {
	.isolation = ISOLATION_NAMESPACE,
	.start = ns_start,
	.add_layers = ns_add_layers,
	.add_share = ns_add_share,
	.pause = ns_pause,
	.pid = ns_pid,
	.end = ns_end,
	.detach = ns_detach,
	.record = ns_record,
	.adopt = ns_adopt,
};
