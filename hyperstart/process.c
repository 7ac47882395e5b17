#include "hyperstart/process.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/filter.h>

#include "base/clock.h"
#include "base/log.h"
#include "hyperstart/agent.h"
#include "hyperstart/container.h"
#include "hyperstart/files.h"
#include "hyperstart/process_stdio.h"
#include "hyperstart/shutdown.h"
#include "hyperstart/sync.h"

#define ARGS_MAX    65536
#define SIGNAL_LAST 64
/* A terminal, warnings, why it failed, the end. */
#define LAST_WORDS_MAX 64

int process_check(const Hyper__Process *spec, struct error *err)
{
	if (!spec)
		return error_set(err, ERROR_INVALID, "no process is described");
	if (!spec->n_args || !*spec->args[0])
		return error_set(err, ERROR_INVALID, "no command is given");
	if (spec->n_args > ARGS_MAX || spec->n_env > ARGS_MAX)
		return error_set(err, ERROR_LIMIT, "more than %d arguments or variables", ARGS_MAX);
	if (spec->seccomp.len % sizeof(struct sock_filter) ||
	    spec->seccomp.len / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return error_set(err, ERROR_INVALID, "seccomp: %zu bytes are no filter",
				 spec->seccomp.len);
	return 0;
}

/* ------------------------------------------------------------------ forking */

static pid_t fork_with(unsigned long flags, int *ret_pidfd)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} args = {
		.flags = flags | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

void process_child_begin(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig <= SIGNAL_LAST; sig++)
		sigaction(sig, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A child born in another pid namespace than the agent's own. */
static int fork_in(struct agent *agent, unsigned long flags, int pid_ns_fd, pid_t *ret_pid,
		   int *ret_pidfd)
{
	int r = 0;

	if (pid_ns_fd >= 0 && setns(pid_ns_fd, CLONE_NEWPID) < 0)
		return -errno;
	*ret_pid = fork_with(flags, ret_pidfd);
	if (*ret_pid < 0)
		r = -errno;
	if (*ret_pid != 0 && pid_ns_fd >= 0 && setns(agent->self_pid_ns_fd, CLONE_NEWPID) < 0)
		log_error("returning to the own pid namespace failed: %s", strerror(errno));
	return r;
}

int process_fork(struct container *c, const char *exec, unsigned long flags, int pid_ns_fd,
		 void (*fn)(void *arg, int sync_fd), void *arg, struct process **ret,
		 struct error *err)
{
	struct process *p = calloc(1, sizeof(*p));
	int sync[2], r;

	if (!p || !(p->exec = strdup(exec))) {
		free(p);
		return error_nomem(err);
	}
	p->container = c;
	p->pidfd = p->sync_fd = p->spec_fd = -1;
	list_init(&p->node);
	r = sync_open(sync, err);
	if (r < 0) {
		process_free(p);
		return r;
	}
	r = fork_in(c->agent, flags, pid_ns_fd, &p->pid, &p->pidfd);
	if (r == 0 && p->pid == 0) {
		process_child_begin();
		fn(arg, sync[1]);
		_exit(127);
	}
	close(sync[1]);
	p->sync_fd = sync[0];
	if (r < 0) {
		process_free(p);
		/* The kernel's way to say that a pid namespace's first process has ended. */
		if (r == -ENOMEM && pid_ns_fd >= 0)
			return error_set(err, ERROR_CONFLICT, "container '%s' has ended", c->id);
		return error_errno(err, -r, "forking");
	}
	p->running = true;
	list_append(&c->processes, &p->node);
	*ret = p;
	return 0;
}

void process_free(struct process *p)
{
	if (!p)
		return;
	loop_io_remove(&p->sync_io);
	if (p->sync_fd >= 0)
		close(p->sync_fd);
	if (p->pidfd >= 0)
		close(p->pidfd);
	if (p->spec_fd >= 0)
		close(p->spec_fd);
	list_remove(&p->node);
	stdio_free(p->stdio);
	free(p->exec);
	free(p);
}

struct process *process_find(struct container *c, const char *exec)
{
	struct process *p;

	list_for_each_entry(p, &c->processes, node) {
		/* An exec that could not be started has never been. */
		if (strcmp(p->exec, exec) == 0 && !(p->failed && *exec))
			return p;
	}
	return NULL;
}

/* ------------------------------------------------------------------ starting */

static void close_sync(struct process *p)
{
	loop_io_remove(&p->sync_io);
	if (p->sync_fd >= 0)
		close(steal_fd(&p->sync_fd));
}

static void start_succeeded(struct process *p)
{
	Hyper__ContainerStarted body = HYPER__CONTAINER_STARTED__INIT;
	Hyper__Reply reply = HYPER__REPLY__INIT;
	struct request *start = steal(p->start);

	close_sync(p);
	if (!start)
		return;
	body.pid = p->pid;
	body.prepared = p->container->was_prepared && p == p->container->main;
	reply.body_case = HYPER__REPLY__BODY_CONTAINER_STARTED;
	reply.container_started = &body;
	request_reply(start, &reply);
}

/* Nothing of it is to be heard: the failed start is the answer. */
static void start_failed(struct process *p, const struct error *why)
{
	struct request *start = steal(p->start);

	close_sync(p);
	p->failed = true;
	if (p->running)
		kill(p->pid, SIGKILL);
	stdio_free(steal(p->stdio));
	if (start)
		request_fail(start, why);
}

static void go(struct process *p)
{
	int fds[4] = { -1, -1, -1, -1 }, r;
	struct error err = { 0 };

	fds[3] = steal_fd(&p->spec_fd);
	if (p->terminal) {
		r = sync_send(p->sync_fd, SYNC_GO, NULL, NULL, 0);
	} else {
		r = stdio_make_pipes(p->stdio, fds, &err);
		if (r == 0)
			r = sync_send(p->sync_fd, SYNC_GO, NULL, fds, fds[3] >= 0 ? 4 : 3);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (r < 0 && !err.kind)
		error_errno(&err, -r, "telling the process to go");
	if (r < 0)
		start_failed(p, &err);
}

static void terminal_came(struct process *p, struct sync_message *m)
{
	struct error err = { 0 };

	if (m->fd_count != 1) {
		error_set(&err, ERROR_FAILED, "the process made no terminal");
	} else if (stdio_attach_terminal(p->stdio, steal_fd(&m->fds[0]), &err) == 0) {
		go(p);
		return;
	}
	start_failed(p, &err);
}

static void sync_ready(struct loop_io *io, uint32_t events)
{
	struct process *p = container_of(io, struct process, sync_io);
	struct sync_message m;
	int r = sync_receive(p->sync_fd, &m);

	if (r == -EAGAIN)
		return;
	if (r < 0)
		error_errno(&m.error, -r, "starting the process");
	if (r < 0 || m.what == SYNC_FAILED)
		start_failed(p, &m.error);
	else if (m.what == SYNC_WARNING)
		log_warn("container '%s': %s", p->container->id, m.error.message);
	else if (m.what == SYNC_TERMINAL)
		terminal_came(p, &m);
	else if (m.what == SYNC_END)
		start_succeeded(p);
	sync_message_done(&m);
}

int process_go(struct process *p, struct request *start, struct error *err)
{
	int r = loop_io_add(p->container->agent->loop, &p->sync_io, p->sync_fd, EPOLLIN,
			    sync_ready);

	if (r < 0)
		return error_errno(err, -r, "watching the process");
	p->start = start;
	/* An exec's terminal is still to come. */
	if (!p->terminal || !*p->exec)
		go(p);
	return 0;
}

/* ------------------------------------------------------------------ the end */

static void tell_exit(const struct process *p)
{
	Hyper__ProcessExited body = HYPER__PROCESS_EXITED__INIT;
	Hyper__Event event = HYPER__EVENT__INIT;

	body.container = p->container->id;
	body.exec = p->exec;
	body.exit_code = p->exit_code;
	body.signal = p->signal;
	body.out_of_memory = p->out_of_memory;
	body.realtime_ns = p->exited_realtime_ns;
	event.body_case = HYPER__EVENT__BODY_PROCESS_EXITED;
	event.process_exited = &body;
	agent_event(p->container->agent, &event);
}

void process_ended(struct process *p, int status)
{
	struct container *c = p->container;
	uint64_t oom = c->cgroup ? cgroup_oom_kills(c->cgroup) : 0;

	/* Its last words on the socket may be why it could not run. */
	for (int i = 0; p->start && p->sync_fd >= 0 && i < LAST_WORDS_MAX; i++)
		sync_ready(&p->sync_io, 0);
	p->running = false;
	p->signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0;
	p->exit_code = WIFSIGNALED(status) ? 128 + p->signal : (uint32_t)WEXITSTATUS(status);
	p->exited_realtime_ns = realtime_ns();
	p->out_of_memory = oom > c->oom_kills;
	c->oom_kills = oom;
	if (p->stdio)
		stdio_process_ended(p->stdio);
	if (!p->failed && (p != c->main || c->started))
		tell_exit(p);
	container_process_ended(c, p);
}

/* ------------------------------------------------------------------ requests */

static int get(struct request *request, const char *container, const char *exec,
	       struct process **ret, struct error *err)
{
	struct container *c;
	int r = container_get(request->agent, container, &c, err);

	if (r < 0)
		return r;
	*ret = process_find(c, exec);
	if (!*ret)
		return error_set(err, ERROR_NOT_FOUND, "container '%s' has no process '%s'",
				 container, exec);
	return 0;
}

int process_signal_handle(struct request *request, struct error *err)
{
	const Hyper__ProcessSignal *s = request->body->process_signal;
	struct process *p;
	int r = get(request, s->container, s->exec, &p, err);

	if (r < 0)
		return r;
	if (s->signal < 1 || s->signal > SIGNAL_LAST)
		return error_set(err, ERROR_INVALID, "signal %u: expected 1 to %d", s->signal,
				 SIGNAL_LAST);
	if (!p->running || (p == p->container->main && !p->container->started))
		return error_set(err, ERROR_CONFLICT, "the process is not running");
	if (s->all && p->container->cgroup && p->container->cgroup->count)
		return cgroup_signal(p->container->cgroup, (int)s->signal, err);
	if (syscall(SYS_pidfd_send_signal, p->pidfd, s->signal, NULL, 0) < 0)
		return errno == ESRCH ? error_set(err, ERROR_CONFLICT, "the process is not running")
				      : error_errno(err, errno, "sending signal %u", s->signal);
	return 0;
}

int process_resize_handle(struct request *request, struct error *err)
{
	const Hyper__ProcessResize *s = request->body->process_resize;
	struct process *p;
	int r = get(request, s->container, s->exec, &p, err);

	if (r < 0)
		return r;
	if (!p->terminal)
		return error_set(err, ERROR_CONFLICT, "the process has no terminal");
	if (!p->running || !p->stdio)
		return error_set(err, ERROR_CONFLICT, "the process is not running");
	return stdio_resize(p->stdio, s->rows, s->columns, err);
}

int process_forget_handle(struct request *request, struct error *err)
{
	const Hyper__ProcessForget *s = request->body->process_forget;
	struct process *p;
	int r = get(request, s->container, s->exec, &p, err);

	if (r < 0)
		return r;
	if (files_is_child(p)) {
		files_child_end(p);
		return 0;
	}
	if (p->running)
		return error_set(err, ERROR_CONFLICT, "the process is running");
	if (p->start)
		return error_set(err, ERROR_CONFLICT, "the process is being started");
	if (p == p->container->main) {
		/* The container stays until it is deleted; only its output is given up. */
		stdio_free(steal(p->stdio));
	} else {
		process_free(p);
	}
	shutdown_check(request->agent);
	return 0;
}
