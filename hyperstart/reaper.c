#include "hyperstart/reaper.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "hyperstart/agent.h"
#include "hyperstart/container.h"
#include "hyperstart/process.h"
#include "hyperstart/shutdown.h"

static struct process *find_pid(struct container *c, pid_t pid)
{
	struct process *p;

	list_for_each_entry(p, &c->processes, node) {
		if (p->running && p->pid == pid)
			return p;
	}
	return NULL;
}

static struct process *find(struct agent *agent, pid_t pid)
{
	struct container *c;
	struct process *p = find_pid(agent->beside, pid);

	if (p)
		return p;
	list_for_each_entry(c, &agent->containers, node) {
		p = find_pid(c, pid);
		if (p)
			return p;
	}
	return NULL;
}

void reaper_run(struct agent *agent)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct process *p = find(agent, pid);

		if (p)
			process_ended(p, status);
	}
	shutdown_check(agent);
}

static void signalled(struct loop_io *io, uint32_t events)
{
	struct agent *agent = container_of(io, struct agent, signal_io);
	struct signalfd_siginfo info;
	bool end = false;

	while (fd_read(agent->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		end |= info.ssi_signo == SIGTERM;
	reaper_run(agent);
	if (end)
		shutdown_begin(agent, SHUTDOWN_DEADLINE_MS);
}

int reaper_start(struct agent *agent, struct error *err)
{
	sigset_t set;
	int r;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	agent->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (agent->signal_fd < 0)
		return error_errno(err, errno, "making a signalfd");
	r = loop_io_add(agent->loop, &agent->signal_io, agent->signal_fd, EPOLLIN, signalled);
	return r < 0 ? error_errno(err, -r, "watching signals") : 0;
}

void reaper_done(struct agent *agent)
{
	loop_io_remove(&agent->signal_io);
	if (agent->signal_fd >= 0)
		close(steal_fd(&agent->signal_fd));
}
