#include "hyperstart/files.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/fd.h"
#include "hyperstart/agent.h"
#include "hyperstart/container.h"
#include "hyperstart/launch.h"
#include "hyperstart/layer.h"
#include "hyperstart/prepared.h"
#include "hyperstart/process_stdio.h"
#include "hyperstart/root.h"
#include "hyperstart/sync.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE   1
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif

#define NAME_MAX_BYTES 64

static const struct task {
	const char *name;
	bool stands; /* needs the container's root */
	bool whole;  /* with what is mounted in it */
	int (*run)(struct files_child *child, int root_fd, struct error *err);
} tasks[] = {
	[HYPER__FILES_TASK__FILES_CHANGES] = { "changes" },
	[HYPER__FILES_TASK__FILES_LAYER] = { "layer" },
	[HYPER__FILES_TASK__FILES_USAGE] = { "usage" },
	[HYPER__FILES_TASK__FILES_EXPORT] = { "export", true, false, files_read },
	[HYPER__FILES_TASK__FILES_STAT] = { "stat", true, true, files_read },
	[HYPER__FILES_TASK__FILES_READ] = { "read", true, true, files_read },
	[HYPER__FILES_TASK__FILES_WRITE] = { "write", true, true, files_write },
};

static const struct task *find_task(const Hyper__FilesServe *ask)
{
	unsigned i = (unsigned)ask->task;

	return i < ARRAY_SIZE(tasks) ? &tasks[i] : NULL;
}

/* ------------------------------------------------------------------ the view */

/* A copy of the container's mounts that is the child's own; without the kernel's file systems,
 * through which there are ways to everywhere. */
static int enter_whole(struct error *err)
{
	static const char *const left_out[] = { "/proc", "/sys", "/dev" };

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return error_errno(err, errno, "copying the container's mounts");
	for (size_t i = 0; i < ARRAY_SIZE(left_out); i++)
		if (umount2(left_out[i], MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
		    errno != ENOENT)
			return error_errno(err, errno, "leaving out '%s'", left_out[i]);
	return 0;
}

/* The root alone, as the image and the container's changes make it. */
static int open_bare(struct error *err)
{
	autoclose int tree =
		(int)syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	int fd;

	if (tree < 0)
		return error_errno(err, errno, "copying the container's root");
	fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "opening the container's root") : fd;
}

static int open_root(const struct files_child *child, bool whole, struct error *err)
{
	int fd, r;

	if (setns(child->standing->main->pidfd, CLONE_NEWNS) < 0)
		return errno == ESRCH ? error_set(err, ERROR_CONFLICT, "container '%s' has ended",
						  child->standing->id)
				      : error_errno(err, errno, "entering the container");
	if (!whole)
		return open_bare(err);
	r = enter_whole(err);
	if (r < 0)
		return r;
	fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "opening the container's root") : fd;
}

/* ------------------------------------------------------------------ the child */

void files_begin(struct files_child *child)
{
	child->begun = true;
	/* That it closes says that all is well. */
	close(steal_fd(&child->sync_fd));
}

static int take_streams(struct files_child *child, struct error *err)
{
	struct sync_message m;

	/* The agent is gone when this ends. */
	if (sync_receive(child->sync_fd, &m) < 0 || m.what != SYNC_GO || m.fd_count < 3)
		_exit(127);
	return launch_place_fds(m.fds, err);
}

static int run(struct files_child *child, struct error *err)
{
	const struct task *task = find_task(child->ask);
	autoclose int root_fd = -1;
	int r = take_streams(child, err);

	if (r < 0)
		return r;
	child->fds_dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (child->fds_dir < 0)
		return error_errno(err, errno, "opening /proc/self/fd");
	if (!task->stands)
		return files_diff(child, err);
	root_fd = open_root(child, task->whole, err);
	return root_fd < 0 ? root_fd : task->run(child, root_fd, err);
}

static void child_main(void *arg, int sync_fd)
{
	struct files_child *child = arg;
	struct tree_entry last = { .type = TREE_END, .path = "", .link = "" };
	struct error err = { 0 };
	int r;

	/* Nobody in the container may look into what is still the agent's memory. */
	prctl(PR_SET_DUMPABLE, 0);
	umask(0);
	child->sync_fd = sync_fd;
	r = run(child, &err);
	if (r < 0 && !child->begun) {
		sync_send(sync_fd, SYNC_FAILED, &err, NULL, 0);
		_exit(1);
	}
	if (r < 0) {
		last.type = TREE_FAILED;
		last.mode = err.kind;
		last.link = err.message;
	}
	if (files_send(child, &last, NULL) < 0 ||
	    fd_write_all(STDOUT_FILENO, str_text(&child->sent), child->sent.len) < 0)
		_exit(1);
	_exit(0);
}

/* ------------------------------------------------------------------ the request */

bool files_is_child(const struct process *p)
{
	return p->exec[0] == '.' && !*p->container->id;
}

void files_child_end(struct process *p)
{
	struct error err = { 0 };

	if (p->start) {
		error_set(&err, ERROR_CANCELED, "nobody wants it any more");
		request_fail(steal(p->start), &err);
	}
	loop_io_remove(&p->sync_io);
	stdio_free(steal(p->stdio));
	if (!p->running) {
		process_free(p);
		return;
	}
	p->failed = true; /* freed when it has been reaped */
	kill(p->pid, SIGKILL);
}

void files_abandon(struct agent *agent)
{
	struct process *p, *next;

	list_for_each_entry_safe(p, next, &agent->beside->processes, node) {
		if (files_is_child(p))
			files_child_end(p);
	}
}

static int check(struct agent *agent, const Hyper__FilesServe *ask, struct error *err)
{
	size_t len = strlen(ask->exec);

	if (len < 2 || len > NAME_MAX_BYTES || ask->exec[0] != '.' ||
	    strspn(ask->exec + 1, "abcdefghijklmnopqrstuvwxyz0123456789-") != len - 1)
		return error_set(err, ERROR_INVALID, "process '%.80s': bad name", ask->exec);
	if (process_find(agent->beside, ask->exec))
		return error_set(err, ERROR_CONFLICT, "process '%s' exists already", ask->exec);
	if (!find_task(ask))
		return error_set(err, ERROR_UNSUPPORTED, "unknown task %u", (unsigned)ask->task);
	if (ask->path.len > TREE_MAX_PATH_BYTES || memchr(ask->path.data, '\0', ask->path.len))
		return error_set(err, ERROR_INVALID, "the path is too long, or holds a NUL");
	return 0;
}

static int find_layers(struct files_child *child, struct error *err)
{
	child->layers = calloc(child->ask->n_layers + 1, sizeof(*child->layers));
	if (!child->layers)
		return error_nomem(err);
	for (size_t i = 0; i < child->ask->n_layers; i++) {
		struct layer *layer = layer_find(child->agent, child->ask->layers[i]);

		if (!layer)
			return error_set(err, ERROR_NOT_FOUND, "no layer '%.150s'",
					 child->ask->layers[i]);
		child->layers[child->layer_count++] = layer_number(layer);
	}
	return 0;
}

static int find_container(struct files_child *child, struct error *err)
{
	struct agent *agent = child->agent;
	const char *id = child->ask->container;
	int r = container_name_check(id, "container", err);

	if (r < 0)
		return r;
	/* Its upper directory goes by its own name from here on. */
	prepared_settle(agent);
	child->dir = strf("%s/containers/%s", agent->disk_path, id);
	if (!child->dir)
		return error_nomem(err);
	if (!find_task(child->ask)->stands)
		return find_layers(child, err);
	r = container_get(agent, id, &child->standing, err);
	if (r < 0)
		return r;
	if (!child->standing->main || !child->standing->main->running ||
	    child->standing->root_fd < 0)
		return error_set(err, ERROR_CONFLICT, "container '%s' does not stand", id);
	return 0;
}

int files_serve_arrive(struct request *request, struct error *err)
{
	return stdio_new(request->agent, request->body->files_serve->streams, &request->stdio, err);
}

int files_serve_handle(struct request *request, struct error *err)
{
	struct agent *agent = request->agent;
	struct files_child child = { .agent = agent, .ask = request->body->files_serve };
	struct process *p;
	int r = check(agent, child.ask, err);

	if (r == 0)
		r = find_container(&child, err);
	if (r == 0)
		r = process_fork(agent->beside, child.ask->exec, 0, -1, child_main, &child, &p,
				 err);
	free(child.dir);
	free(child.layers);
	if (r < 0)
		return r;
	p->stdio = steal(request->stdio);
	r = process_go(p, request, err);
	if (r < 0) {
		p->failed = true;
		kill(p->pid, SIGKILL);
		return r;
	}
	return REQUEST_KEPT;
}
