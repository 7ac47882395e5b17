#include "hyperstart/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <linux/netlink.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperstart/agent.h"

#define VPORT_NAME "hyper.agent"
#define READ_BYTES 65536u
/* How many reads in one go before other sources get their turn. */
#define READ_ROUNDS 8

struct channel {
	struct agent *agent; /* borrowed */
	int fd;              /* owned; -1 between hosts */
	bool keeps;          /* a device: stays open when the host goes */
	bool output_blocked;
	struct loop_io io;
	struct loop_deferred again, write;
	int listen_fd; /* owned, or -1 */
	struct loop_io listen_io;
};

/* ------------------------------------------------------------------ reading and writing */

static void write_output(struct channel *channel)
{
	struct mux *mux = channel->agent->mux;
	const uint8_t *data;
	size_t len;

	channel->output_blocked = false;
	while (channel->fd >= 0 && (data = mux_output(mux, &len))) {
		ssize_t n = channel->keeps ? fd_write(channel->fd, data, len)
					   : send(channel->fd, data, len, MSG_NOSIGNAL);

		if (n < 0) {
			/* Full, or nobody there: the next edge says when to go on. */
			channel->output_blocked = true;
			return;
		}
		mux_output_done(mux, (size_t)n);
	}
}

static void write_deferred(struct loop_deferred *deferred)
{
	write_output(container_of(deferred, struct channel, write));
}

void channel_output_ready(struct channel *channel)
{
	/* Later in this round, so that what one callback says goes out in one piece. */
	if (!channel->output_blocked)
		loop_defer(channel->agent->loop, &channel->write, write_deferred);
}

static void host_gone(struct channel *channel)
{
	if (channel->keeps)
		return;
	loop_io_remove(&channel->io);
	close(channel->fd);
	channel->fd = -1;
}

static void read_again(struct loop_deferred *deferred);

/* The source is edge-triggered: reads until there is nothing more, or comes back for the rest. */
static void read_input(struct channel *channel)
{
	static uint8_t buf[READ_BYTES];
	struct agent *agent = channel->agent;

	for (int i = 0; channel->fd >= 0; i++) {
		ssize_t n;

		if (i == READ_ROUNDS) {
			loop_defer(agent->loop, &channel->again, read_again);
			return;
		}
		/* A host that asks and never listens: its requests wait in the channel. */
		if (mux_messages_queued(agent->mux) > AGENT_MAX_UNSENT) {
			write_output(channel);
			if (mux_messages_queued(agent->mux) > AGENT_MAX_UNSENT)
				return;
		}
		n = fd_read(channel->fd, buf, sizeof(buf));
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			host_gone(channel);
			return;
		}
		mux_input(agent->mux, buf, (size_t)n);
	}
}

static void read_again(struct loop_deferred *deferred)
{
	read_input(container_of(deferred, struct channel, again));
}

/* A virtio port wakes its poller when data or room comes and when a host connects or leaves; only
 * edges count, because without a host it is readable (end of file) for ever. */
static void io_ready(struct loop_io *io, uint32_t events)
{
	struct channel *channel = container_of(io, struct channel, io);

	if (events & EPOLLOUT)
		write_output(channel);
	read_input(channel);
}

static int begin_io(struct channel *channel, int fd, struct error *err)
{
	int r;

	channel->fd = fd;
	channel->output_blocked = false;
	r = loop_io_add(channel->agent->loop, &channel->io, fd, EPOLLIN | EPOLLOUT | EPOLLET,
			io_ready);
	return r < 0 ? error_errno(err, -r, "watching the channel") : 0;
}

static struct channel *channel_new(struct agent *agent)
{
	struct channel *channel = calloc(1, sizeof(*channel));

	if (channel) {
		channel->agent = agent;
		channel->fd = channel->listen_fd = -1;
	}
	return channel;
}

void channel_free(struct channel *channel)
{
	if (!channel)
		return;
	loop_deferred_cancel(&channel->again);
	loop_deferred_cancel(&channel->write);
	loop_io_remove(&channel->io);
	loop_io_remove(&channel->listen_io);
	if (channel->fd >= 0)
		close(channel->fd);
	if (channel->listen_fd >= 0)
		close(channel->listen_fd);
	free(channel);
}

void channel_flush(struct channel *channel)
{
	if (!channel || channel->fd < 0)
		return;
	/* A blocking write to a virtio port returns when the host has taken the data. */
	fd_set_nonblocking(channel->fd, false);
	write_output(channel);
	if (isatty(channel->fd))
		tcdrain(channel->fd);
}

/* ------------------------------------------------------------------ a unix socket */

static void accept_host(struct loop_io *io, uint32_t events)
{
	struct channel *channel = container_of(io, struct channel, listen_io);
	struct error err = { 0 };
	int fd = accept4(channel->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (channel->fd >= 0)
		host_gone(channel);
	mux_lost(channel->agent->mux);
	if (begin_io(channel, fd, &err) < 0) {
		log_error("%s", err.message);
		close(fd);
		channel->fd = -1;
	}
}

int channel_listen(struct agent *agent, int listen_fd, struct error *err)
{
	struct channel *channel = channel_new(agent);
	int r;

	if (!channel) {
		close(listen_fd);
		return error_nomem(err);
	}
	agent->channel = channel;
	channel->listen_fd = listen_fd;
	r = fd_set_cloexec(listen_fd, true);
	if (r == 0)
		r = fd_set_nonblocking(listen_fd, true);
	if (r == 0)
		r = loop_io_add(agent->loop, &channel->listen_io, listen_fd, EPOLLIN, accept_host);
	return r < 0 ? error_errno(err, -r, "listening for the host on descriptor %d", listen_fd)
		     : 0;
}

/* ------------------------------------------------------------------ devices */

/* Looks for the port of our name; -ENOENT while it is not there. */
static int vport_find(char *device, size_t size)
{
	autoclosedir DIR *dir = opendir("/sys/class/virtio-ports");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		autofree char *name = NULL;
		char path[300];

		if (!str_starts(e->d_name, "vport"))
			continue;
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
		if (file_read(AT_FDCWD, path, 256, &name, NULL, NULL) < 0 ||
		    strcmp(name, VPORT_NAME "\n") != 0)
			continue;
		snprintf(device, size, "/dev/%s", e->d_name);
		return 0;
	}
	return -ENOENT;
}

static int vport_open(const char *argument, struct error *err)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	autoclose int events_fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
					 NETLINK_KOBJECT_UEVENT);
	char device[300], event[2048];
	int fd;

	if (events_fd < 0 || bind(events_fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_errno(err, errno, "listening for device events");
	/* The kernel announces the port, then its name, when the host gets round to it. */
	while (vport_find(device, sizeof(device)) < 0) {
		struct pollfd p = { .fd = events_fd, .events = POLLIN };

		while (poll(&p, 1, -1) < 0 && errno == EINTR)
			;
		while (recv(events_fd, event, sizeof(event), 0) > 0)
			;
	}
	fd = open(device, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "opening '%s'", device);
	return fd;
}

static int tty_open(const char *argument, struct error *err)
{
	char device[64];
	struct termios t;
	int fd;

	if ((size_t)snprintf(device, sizeof(device), "/dev/%s", argument) >= sizeof(device))
		return error_errno(err, ENAMETOOLONG, "opening the channel");
	fd = open(device, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "opening '%s'", device);
	if (tcgetattr(fd, &t) == 0) {
		cfmakeraw(&t);
		t.c_cflag |= CLOCAL | CREAD;
		tcsetattr(fd, TCSANOW, &t);
	}
	return fd;
}

/* hyper.channel=NAME or NAME:ARGUMENT on the kernel command line. */
static const struct channel_kind {
	const char *name;
	int (*open)(const char *argument, struct error *err);
} kinds[] = {
	{ "vport", vport_open },
	{ "tty", tty_open },
};

int channel_open(struct agent *agent, const char *name, struct error *err)
{
	const char *colon = strchr(name, ':');
	size_t len = colon ? (size_t)(colon - name) : strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		int fd;

		if (strlen(kinds[i].name) != len || strncmp(kinds[i].name, name, len) != 0)
			continue;
		fd = kinds[i].open(colon ? colon + 1 : "", err);
		if (fd < 0)
			return error_prefix(err, fd, "channel '%s'", name);
		agent->channel = channel_new(agent);
		if (!agent->channel) {
			close(fd);
			return error_nomem(err);
		}
		agent->channel->keeps = true;
		return begin_io(agent->channel, fd, err);
	}
	return error_set(err, ERROR_INVALID, "hyper.channel=%s: expected vport or tty:DEVICE",
			 name);
}
