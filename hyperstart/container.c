#include "hyperstart/container.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/str.h"
#include "hyperstart/agent.h"
#include "hyperstart/cgroup_block.h"
#include "hyperstart/disk.h"
#include "hyperstart/init.h"
#include "hyperstart/launch.h"
#include "hyperstart/layer.h"
#include "hyperstart/prepared.h"
#include "hyperstart/oom.h"
#include "hyperstart/rootfs.h"
#include "hyperstart/process_stdio.h"
#include "hyperstart/sync.h"

#define LAYERS_MAX     127
#define CONTAINERS_MAX 256

/* ------------------------------------------------------------------ finding */

struct container *container_find(struct agent *agent, const char *id)
{
	struct container *c;

	list_for_each_entry(c, &agent->containers, node) {
		if (strcmp(c->id, id) == 0 && !c->prepared)
			return c;
	}
	return NULL;
}

int container_get(struct agent *agent, const char *id, struct container **ret, struct error *err)
{
	*ret = *id ? container_find(agent, id) : agent->beside;
	return *ret ? 0 : error_set(err, ERROR_NOT_FOUND, "no container '%.150s'", id);
}

bool container_running(const struct container *c)
{
	return c->started && c->main && c->main->running;
}

int container_name_check(const char *name, const char *what, struct error *err)
{
	size_t len = strlen(name);

	if (!len || len > CONTAINER_ID_MAX || name[0] == '.' ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") !=
		    len)
		return error_set(err, ERROR_INVALID, "%s '%.150s': bad name", what, name);
	return 0;
}

/* ------------------------------------------------------------------ life */

static void container_free(struct container *c)
{
	struct agent *agent = c->agent;

	while (!list_empty(&c->processes))
		process_free(container_of(c->processes.next, struct process, node));
	if (c->root_fd >= 0)
		close(c->root_fd);
	if (c->terminal_fd >= 0)
		close(c->terminal_fd);
	if (c->mnt_ns_fd >= 0)
		close(c->mnt_ns_fd);
	if (agent->prepared == c)
		prepared_settle(agent);
	oom_unwatch(c);
	cgroup_free(&agent->cgroups, c->cgroup);
	for (size_t i = 0; i < c->layer_count; i++)
		layer_unuse(c->layers[i]);
	free(c->layers);
	if (c->spec)
		hyper__container_create__free_unpacked(c->spec, NULL);
	if (c->old_spec)
		hyper__container_create__free_unpacked(c->old_spec, NULL);
	list_remove(&c->node);
	free(c->id);
	free(c);
}

void container_free_all(struct agent *agent)
{
	while (!list_empty(&agent->containers))
		container_free(container_of(agent->containers.next, struct container, node));
	if (agent->beside)
		container_free(steal(agent->beside));
}

static int container_new(struct agent *agent, const char *id, struct container **ret,
			 struct error *err)
{
	struct container *c = calloc(1, sizeof(*c));

	if (!c || !(c->id = strdup(id))) {
		free(c);
		return error_nomem(err);
	}
	c->agent = agent;
	c->root_fd = c->terminal_fd = c->mnt_ns_fd = c->oom_fd = -1;
	list_init(&c->node);
	list_init(&c->processes);
	*ret = c;
	return 0;
}

int container_beside_new(struct agent *agent, struct error *err)
{
	int r = container_new(agent, "", &agent->beside, err);

	if (r == 0)
		agent->beside->started = true;
	return r;
}

/* ------------------------------------------------------------------ the first process */

static void fail(int sync_fd, const struct error *err)
{
	sync_send(sync_fd, SYNC_FAILED, err, NULL, 0);
	_exit(127);
}

/* Waits for the agent's word, takes standard input and output, and returns what came with them or
 * -1. */
static int wait_for_go(int sync_fd, int slave_fd)
{
	struct sync_message m;
	struct error err = { 0 };
	int fds[3] = { slave_fd, slave_fd, slave_fd };

	/* The agent is gone when this ends: then so is the container. */
	if (sync_receive(sync_fd, &m) < 0 || m.what != SYNC_GO)
		_exit(127);
	if (slave_fd < 0 && m.fd_count >= 3)
		memcpy(fds, m.fds, sizeof(fds));
	if (fds[0] < 0)
		error_set(&err, ERROR_FAILED, "got no descriptors");
	if (fds[0] < 0 || launch_place_fds(fds, &err) < 0)
		fail(sync_fd, &err);
	return m.fd_count == 4 ? m.fds[3] : -1;
}

/* All but the program: that comes when the container is taken. */
static void prepared_child(const Hyper__Process *spec, int root_fd, int sync_fd)
{
	struct error err = { 0 };
	Hyper__Process *process;
	char *home;

	prepared_read_program(spec);
	sync();
	if (launch_prepare(spec, root_fd, sync_fd, &home, &err) < 0 ||
	    sync_send(sync_fd, SYNC_READY, NULL, &root_fd, 1) < 0 ||
	    prepared_hear(wait_for_go(sync_fd, -1), &process, &err) < 0)
		fail(sync_fd, &err);
	launch_run(process, home, &err);
	fail(sync_fd, &err);
}

static void container_child(void *arg, int sync_fd)
{
	struct container *c = arg;
	const Hyper__Process *spec = c->spec->process;
	struct error err = { 0 };
	int fds[2] = { -1, -1 }, slave = -1, r;

	/* Nobody in the container may look into what is still the agent's memory. */
	prctl(PR_SET_DUMPABLE, 0);
	r = cgroup_enter(c->cgroup);
	if (r < 0)
		error_errno(&err, -r, "entering the container's cgroup");
	if (r == 0 && unshare(CLONE_NEWCGROUP) < 0 && errno != EINVAL)
		r = error_errno(&err, errno, "making a cgroup namespace");
	if (r == 0)
		r = fds[0] = rootfs_build(c, &err);
	if (r >= 0 && c->prepared)
		prepared_child(spec, fds[0], sync_fd);
	if (r >= 0 && spec->terminal) {
		r = fds[1] = rootfs_open_terminal(&slave, &err);
		if (r >= 0)
			r = rootfs_bind_console(fds[0], slave, &err);
	}
	if (r >= 0)
		r = sync_send(sync_fd, SYNC_READY, NULL, fds, spec->terminal ? 2 : 1);
	if (r < 0)
		fail(sync_fd, &err);
	if (fds[1] >= 0)
		close(fds[1]);
	wait_for_go(sync_fd, slave);
	if (c->spec->init_process) {
		pid_t child = fork();

		if (child < 0) {
			error_errno(&err, errno, "forking");
			fail(sync_fd, &err);
		}
		if (child > 0)
			init_become(c->agent->self_exe_fd, child);
	}
	launch(spec, fds[0], sync_fd, &err);
	fail(sync_fd, &err);
}

/* ------------------------------------------------------------------ create */

static int check_create(struct agent *agent, const Hyper__ContainerCreate *s, struct error *err)
{
	int r = s->prepare ? 0 : container_name_check(s->id, "container", err);

	if (r == 0)
		r = process_check(s->process, err);
	if (r < 0)
		return r;
	if (s->prepare && (!s->prepared_key || s->init_process || s->process->terminal))
		return error_set(err, ERROR_INVALID,
				 "a container with an init or a terminal cannot be prepared");
	if (s->prepare && agent->had_prepared)
		return error_set(err, ERROR_CONFLICT, "a container has been prepared already");
	if (container_find(agent, s->id))
		return error_set(err, ERROR_CONFLICT, "container '%s' exists already", s->id);
	if (s->n_layers > LAYERS_MAX)
		return error_set(err, ERROR_LIMIT, "%zu layers, at most %d are possible",
				 s->n_layers, LAYERS_MAX);
	return 0;
}

static int use_layers(struct container *c, struct error *err)
{
	c->layers = calloc(c->spec->n_layers + 1, sizeof(*c->layers));
	if (!c->layers)
		return error_nomem(err);
	for (size_t i = 0; i < c->spec->n_layers; i++) {
		struct layer *layer = layer_find(c->agent, c->spec->layers[i]);

		if (!layer)
			return error_set(err, ERROR_NOT_FOUND, "no layer '%.150s'",
					 c->spec->layers[i]);
		layer_use(layer);
		c->layers[c->layer_count++] = layer;
	}
	return 0;
}

int container_set_limits(struct container *c, const Hyper__Limits *limits, struct error *err)
{
	int r = cgroup_set_limits(c->cgroup, limits, err);

	return r == 0 ? cgroup_block_set(c->cgroup, limits, c->agent->disk_path, err) : r;
}

static void create_finished(struct container *c, const struct error *why)
{
	struct request *request = steal(c->create);
	Hyper__Reply reply = HYPER__REPLY__INIT;

	loop_io_remove(&c->main->sync_io);
	if (!why) {
		request_reply(request, &reply);
		return;
	}
	/* Its child is reaped later: nobody is to find the container meanwhile. */
	c->main->failed = true;
	kill(c->main->pid, SIGKILL);
	waitpid(c->main->pid, NULL, 0);
	container_free(c);
	request_fail(request, why);
}

static int open_ns(const struct container *c, const char *kind, struct error *err)
{
	char path[48];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)c->main->pid, kind);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return error_set(err, ERROR_CONFLICT, "container '%s' has ended", c->id);
	return fd < 0 ? error_errno(err, errno, "opening the container's %s namespace", kind) : fd;
}

static void child_ready(struct loop_io *io, uint32_t events)
{
	struct container *c = container_of(io, struct process, sync_io)->container;
	struct sync_message m;
	int r = sync_receive(c->main->sync_fd, &m);
	bool ok = r == 0 && m.what == SYNC_READY &&
		  m.fd_count == (c->spec->process->terminal ? 2u : 1u);

	if (r == -EAGAIN)
		return;
	if (ok) {
		c->root_fd = steal_fd(&m.fds[0]);
		if (m.fd_count == 2)
			c->terminal_fd = steal_fd(&m.fds[1]);
	} else if (r < 0) {
		error_errno(&m.error, -r, "setting up the container");
	} else if (m.what != SYNC_FAILED) {
		error_set(&m.error, ERROR_FAILED, "the container's first process has died");
	}
	/* Only now: making its device nodes was the agent's doing, not the container's. */
	if (ok && !c->spec->privileged)
		ok = cgroup_set_devices(c->cgroup, c->spec->device_rules, c->spec->n_device_rules,
					&m.error) == 0;
	if (ok && c->prepared)
		c->mnt_ns_fd = open_ns(c, "mnt", NULL);
	if (ok)
		oom_watch(c);
	create_finished(c, ok ? NULL : &m.error);
	sync_message_done(&m);
}

/* The request's message becomes the container's; what is left of the request can still be answered.
 */
static Hyper__ContainerCreate *take_spec(struct request *request)
{
	Hyper__Request *body = request->envelope->request;
	Hyper__ContainerCreate *spec = steal(body->container_create);

	body->body_case = HYPER__REQUEST__BODY__NOT_SET;
	return spec;
}

static bool create_from_prepared(struct request *request)
{
	Hyper__ContainerCreate *spec = request->envelope->request->container_create;
	struct container *c = prepared_find(request->agent, spec->prepared_key);
	struct error err = { 0 };

	if (!c)
		return false;
	if (prepared_take(c, spec, &err) < 0) {
		log_warn("a prepared container was of no use: %s", err.message);
		return false;
	}
	take_spec(request);
	return true;
}

int container_create_handle(struct request *request, struct error *err)
{
	const Hyper__ContainerCreate *s = request->body->container_create;
	struct agent *agent = request->agent;
	struct container *c = NULL;
	autofree char *dir = NULL;
	unsigned count = 0;
	int r = check_create(agent, s, err);

	if (r == 0 && !s->prepare && create_from_prepared(request))
		return 0;
	list_for_each(node, &agent->containers)
		count++;
	if (r == 0 && count >= CONTAINERS_MAX)
		r = error_set(err, ERROR_LIMIT, "at most %d containers in a pod", CONTAINERS_MAX);
	if (r == 0)
		r = container_new(agent, s->prepare ? PREPARED_ID : s->id, &c, err);
	if (r < 0)
		return r;
	c->spec = take_spec(request);
	c->prepared = c->spec->prepare;
	agent->had_prepared |= c->prepared;
	r = use_layers(c, err);
	if (r == 0)
		r = disk_container_dir(agent, c->id, &dir, err);
	if (r == 0)
		r = cgroup_new(&agent->cgroups, c->id, &c->cgroup, err);
	if (r == 0)
		r = container_set_limits(c, c->spec->limits, err);
	if (r == 0)
		r = process_fork(c, "", CLONE_NEWNS | CLONE_NEWPID, -1, container_child, c,
				 &c->main, err);
	if (r == 0) {
		c->main->terminal = c->spec->process->terminal;
		r = loop_io_add(agent->loop, &c->main->sync_io, c->main->sync_fd, EPOLLIN,
				child_ready);
	}
	if (r < 0) {
		if (c->main) {
			kill(c->main->pid, SIGKILL);
			waitpid(c->main->pid, NULL, 0);
		}
		container_free(c);
		return r;
	}
	c->create = request;
	list_append(&agent->containers, &c->node);
	request_block(request);
	return REQUEST_KEPT;
}

/* ------------------------------------------------------------------ start */

int container_start_arrive(struct request *request, struct error *err)
{
	return stdio_new(request->agent, request->body->container_start->streams, &request->stdio,
			 err);
}

int container_start_handle(struct request *request, struct error *err)
{
	struct container *c;
	int r = container_get(request->agent, request->body->container_start->id, &c, err);

	if (r < 0)
		return r;
	if (c == request->agent->beside)
		return error_set(err, ERROR_INVALID, "no container is named");
	if (c->started)
		return error_set(err, ERROR_CONFLICT, "container '%s' has been started already",
				 c->id);
	if (!c->main->running || c->delete)
		return error_set(err, ERROR_CONFLICT, "container '%s' has ended", c->id);
	c->main->stdio = steal(request->stdio);
	if (c->main->terminal) {
		stdio_resize(c->main->stdio, c->spec->process->rows, c->spec->process->columns,
			     NULL);
		r = stdio_attach_terminal(c->main->stdio, steal_fd(&c->terminal_fd), err);
		if (r < 0)
			return r;
	}
	if (c->was_prepared)
		r = prepared_tell(c->spec->process, &c->main->spec_fd, err);
	if (r < 0)
		return r;
	c->started = true;
	r = process_go(c->main, request, err);
	return r < 0 ? r : REQUEST_KEPT;
}

/* ------------------------------------------------------------------ exec */

struct exec_child {
	struct container *container; /* borrowed; the one that is entered */
	const Hyper__ContainerExec *exec;
	bool beside;
};

/* Beside the init: the files of a container, but the pod's processes, with all privileges. */
static int see_whole_pod(struct error *err)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return error_errno(err, errno, "mounting the pod's /proc");
	return 0;
}

static int enter_container(const struct exec_child *e, struct error *err)
{
	const struct container *c = e->container;
	int flags = CLONE_NEWNS | (e->beside ? 0 : CLONE_NEWCGROUP);

	if (!c)
		return 0;
	if (!e->beside) {
		int r = cgroup_enter(c->cgroup);

		if (r < 0)
			return error_errno(err, -r, "entering the container's cgroup");
	}
	if (setns(c->main->pidfd, flags) < 0)
		return errno == ESRCH
			       ? error_set(err, ERROR_CONFLICT, "container '%s' has ended", c->id)
			       : error_errno(err, errno, "entering the container");
	return e->beside ? see_whole_pod(err) : 0;
}

static void exec_process(void *arg, int sync_fd)
{
	struct exec_child *e = arg;
	const Hyper__Process *spec = e->exec->process;
	struct error err = { 0 };
	int root_fd = -1, master = -1, slave = -1, r;

	prctl(PR_SET_DUMPABLE, 0);
	r = enter_container(e, &err);
	if (r == 0) {
		r = root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (r < 0)
			error_errno(&err, errno, "opening the root");
	}
	if (r >= 0 && spec->terminal) {
		r = master = rootfs_open_terminal(&slave, &err);
		if (r >= 0)
			r = sync_send(sync_fd, SYNC_TERMINAL, NULL, &master, 1);
		if (master >= 0)
			close(master);
	}
	if (r < 0)
		fail(sync_fd, &err);
	wait_for_go(sync_fd, slave);
	launch(spec, root_fd, sync_fd, &err);
	fail(sync_fd, &err);
}

int container_exec_arrive(struct request *request, struct error *err)
{
	return stdio_new(request->agent, request->body->container_exec->streams, &request->stdio,
			 err);
}

/* The container whose files a process beside the init sees: the first that runs, or none. */
static struct container *first_running(struct agent *agent)
{
	struct container *c;

	list_for_each_entry(c, &agent->containers, node) {
		if (container_running(c))
			return c;
	}
	return NULL;
}

int container_exec_handle(struct request *request, struct error *err)
{
	const Hyper__ContainerExec *exec = request->body->container_exec;
	struct exec_child e = { .exec = exec, .beside = !*exec->container };
	autoclose int pid_ns_fd = -1;
	struct container *c;
	struct process *p;
	int r = container_get(request->agent, exec->container, &c, err);

	if (r == 0)
		r = container_name_check(exec->exec, "exec", err);
	if (r == 0)
		r = process_check(exec->process, err);
	if (r < 0)
		return r;
	if (!e.beside && !container_running(c))
		return error_set(err, ERROR_CONFLICT, "container '%s' is not running", c->id);
	if (c->paused)
		return error_set(err, ERROR_CONFLICT, "container '%s' is paused", c->id);
	if (process_find(c, exec->exec))
		return error_set(err, ERROR_CONFLICT, "exec '%s' exists already", exec->exec);
	e.container = e.beside ? first_running(request->agent) : c;
	if (!e.beside) {
		pid_ns_fd = open_ns(c, "pid", err);
		if (pid_ns_fd < 0)
			return pid_ns_fd;
	}
	r = process_fork(c, exec->exec, 0, pid_ns_fd, exec_process, &e, &p, err);
	if (r < 0)
		return r;
	p->terminal = exec->process->terminal;
	p->stdio = steal(request->stdio);
	stdio_resize(p->stdio, exec->process->rows, exec->process->columns, NULL);
	r = process_go(p, request, err);
	if (r < 0) {
		p->failed = true;
		kill(p->pid, SIGKILL);
		return r;
	}
	return REQUEST_KEPT;
}

/* ------------------------------------------------------------------ the end */

static bool all_ended(const struct container *c)
{
	struct process *p;

	list_for_each_entry(p, &c->processes, node) {
		if (p->running)
			return false;
	}
	return true;
}

static void delete_finish(struct container *c)
{
	struct request *request = steal(c->delete);
	struct agent *agent = c->agent;
	autofree char *id = NULL;
	bool disk = c->delete_disk;
	struct error err = { 0 };
	Hyper__Reply reply = HYPER__REPLY__INIT;
	int r = 0;

	prepared_settle(agent);
	id = steal(c->id);
	container_free(c);
	if (disk && id)
		r = disk_container_remove(agent, id, &err);
	if (r < 0)
		request_fail(request, &err);
	else
		request_reply(request, &reply);
}

void container_process_ended(struct container *c, struct process *p)
{
	struct process *other;

	if (p == c->main) {
		/* The kernel ends the others with their pid namespace's first process. */
		list_for_each_entry(other, &c->processes, node) {
			if (other->stdio)
				stdio_container_ended(other->stdio);
		}
	}
	if (p != c->main && p->failed)
		process_free(p);
	if (c->delete &&all_ended(c))
		delete_finish(c);
}

int container_delete_handle(struct request *request, struct error *err)
{
	const Hyper__ContainerDelete *d = request->body->container_delete;
	struct container *c;
	int r = container_name_check(d->id, "container", err);

	if (r < 0)
		return r;
	c = container_find(request->agent, d->id);
	if (!c)
		/* One of an earlier start of the pod: only its files are left. */
		return d->disk ? disk_container_remove(request->agent, d->id, err)
			       : error_set(err, ERROR_NOT_FOUND, "no container '%s'", d->id);
	if (c->delete)
		return error_set(err, ERROR_CONFLICT, "container '%s' is being deleted", c->id);
	if (c->paused)
		cgroup_freeze(c->cgroup, false, NULL);
	c->delete = request;
	c->delete_disk = d->disk;
	request_block(request);
	if (all_ended(c)) {
		delete_finish(c);
		return REQUEST_KEPT;
	}
	kill(c->main->pid, SIGKILL);
	cgroup_signal(c->cgroup, SIGKILL, NULL);
	return REQUEST_KEPT;
}

int container_pause_handle(struct request *request, struct error *err)
{
	const Hyper__ContainerPause *p = request->body->container_pause;
	struct container *c;
	int r = container_get(request->agent, p->id, &c, err);

	if (r < 0)
		return r;
	if (!container_running(c) || !c->cgroup)
		return error_set(err, ERROR_CONFLICT, "container '%s' is not running", p->id);
	if (c->paused == p->paused)
		return error_set(err, ERROR_CONFLICT, "container '%s' is %s", p->id,
				 p->paused ? "paused already" : "not paused");
	r = cgroup_freeze(c->cgroup, p->paused, err);
	if (r == 0)
		c->paused = p->paused;
	return r;
}

int container_update_handle(struct request *request, struct error *err)
{
	const Hyper__ContainerUpdate *u = request->body->container_update;
	struct container *c;
	int r = container_get(request->agent, u->id, &c, err);

	if (r < 0)
		return r;
	if (!c->cgroup)
		return error_set(err, ERROR_INVALID, "no container is named");
	return container_set_limits(c, u->limits, err);
}
