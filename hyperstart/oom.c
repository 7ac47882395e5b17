#include "hyperstart/oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "hyperstart/agent.h"
#include "hyperstart/container.h"
#include "hyperstart/pod.h"

static void tell(struct container *c)
{
	Hyper__OutOfMemory body = HYPER__OUT_OF_MEMORY__INIT;
	Hyper__Event event = HYPER__EVENT__INIT;
	uint64_t kills = cgroup_oom_kills(c->cgroup);

	/* The file tells of other pressure too. And a container can have itself killed without
	 * end: a host that does not listen gets no more of it. */
	if (kills <= c->oom_told || mux_messages_queued(c->agent->mux) > AGENT_MAX_UNSENT / 2)
		return;
	c->oom_told = kills;
	body.container = c->id;
	event.body_case = HYPER__EVENT__BODY_OUT_OF_MEMORY;
	event.out_of_memory = &body;
	agent_event(c->agent, &event);
}

static void changed(struct loop_io *io, uint32_t events)
{
	struct container *c = container_of(io, struct container, oom_io);
	char buf[512];

	/* Reading is what lets either kind of descriptor tell of the next change. */
	if (c->cgroup->unified)
		lseek(c->oom_fd, 0, SEEK_SET);
	if (fd_read(c->oom_fd, buf, sizeof(buf)) <= 0)
		oom_unwatch(c); /* the group is gone */
	tell(c);
}

/* cgroup-v1/memory.rst, "OOM Control": an eventfd told through cgroup.event_control. */
static int open_v1(int dir_fd)
{
	autoclose int control_fd = openat(dir_fd, "memory.oom_control", O_RDONLY | O_CLOEXEC);
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	char text[32];

	snprintf(text, sizeof(text), "%d %d", fd, control_fd);
	if (fd >= 0 && pod_write_file(dir_fd, "cgroup.event_control", text) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

void oom_watch(struct container *c)
{
	int dir_fd = cgroup_dir_fd(c->cgroup, "memory");
	bool unified = c->cgroup->unified;
	char buf[512];

	if (dir_fd < 0)
		return;
	c->oom_fd =
		unified ? openat(dir_fd, "memory.events", O_RDONLY | O_CLOEXEC) : open_v1(dir_fd);
	if (c->oom_fd < 0)
		return;
	if (unified)
		fd_read(c->oom_fd, buf, sizeof(buf));
	if (loop_io_add(c->agent->loop, &c->oom_io, c->oom_fd, unified ? EPOLLPRI : EPOLLIN,
			changed) < 0)
		oom_unwatch(c);
}

void oom_unwatch(struct container *c)
{
	loop_io_remove(&c->oom_io);
	if (c->oom_fd >= 0)
		close(steal_fd(&c->oom_fd));
}
