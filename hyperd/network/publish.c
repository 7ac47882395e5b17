/*
 * Published ports. The rules hand what comes over IPv4 to the endpoint without anything of ours in
 * between; a socket of ours on the port keeps others away from it, and takes what the rules cannot
 * hand over: connections over IPv6 to an endpoint that has only IPv4, passed on by a pair of tasks
 * each.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "hyperd/network/internal.h"

#define RELAY_BUFFER_BYTES (64u * 1024)
#define RELAY_CONNECT_MS   10000
#define RELAYS_MAX         512
#define LISTEN_BACKLOG     128

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t make_address(const struct ip *ip, int family, uint16_t port, union address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (family == AF_INET) {
		ret->v4.sin_family = AF_INET;
		ret->v4.sin_port = htons(port);
		if (ip->family)
			memcpy(&ret->v4.sin_addr, ip->bytes, 4);
		return sizeof(ret->v4);
	}
	ret->v6.sin6_family = AF_INET6;
	ret->v6.sin6_port = htons(port);
	if (ip->family)
		memcpy(&ret->v6.sin6_addr, ip->bytes, 16);
	return sizeof(ret->v6);
}

/* ------------------------------------------------------------------ passing on */

struct relay {
	struct list node; /* in published.relays */
	struct task *tasks[2];
	int fds[2][2]; /* for each task the end it reads from and the one it writes to; its own */
	unsigned running;
	union address to;
	socklen_t to_len;
	struct loop *loop;
	unsigned *count;
};

static unsigned relay_count;

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (task_wait_fd(fd, EPOLLOUT, DEADLINE_NEVER, NULL) < 0) {
			return -ECANCELED;
		}
	}
	return 0;
}

/* Until the one side says no more, which the other is told. */
static void pass_on(int from, int to)
{
	autofree char *buffer = malloc(RELAY_BUFFER_BYTES);

	while (buffer) {
		ssize_t n = recv(from, buffer, RELAY_BUFFER_BYTES, 0);

		if (n > 0 && write_all(to, buffer, (size_t)n) == 0)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EINTR) &&
		    task_wait_fd(from, EPOLLIN, DEADLINE_NEVER, NULL) == 0)
			continue;
		break;
	}
	shutdown(to, SHUT_WR);
}

static void relay_done(struct relay *relay)
{
	if (--relay->running)
		return;
	list_remove(&relay->node);
	for (size_t i = 0; i < 2; i++) {
		for (size_t k = 0; k < 2; k++)
			if (relay->fds[i][k] >= 0)
				close(relay->fds[i][k]);
		task_unref(relay->tasks[i]);
	}
	relay_count--;
	free(relay);
}

static void relay_back(void *arg)
{
	struct relay *relay = arg;

	pass_on(relay->fds[1][0], relay->fds[1][1]);
	relay_done(relay);
}

static int relay_connect(struct relay *relay)
{
	int fd = relay->fds[0][1], error = 0;
	socklen_t len = sizeof(error);

	if (connect(fd, &relay->to.any, relay->to_len) == 0)
		return 0;
	if (errno != EINPROGRESS ||
	    task_wait_fd(fd, EPOLLOUT, deadline_in_ms(RELAY_CONNECT_MS), NULL) < 0)
		return -ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && !error ? 0
										 : -ECONNREFUSED;
}

static void relay_forth(void *arg)
{
	struct relay *relay = arg;

	if (relay_connect(relay) == 0) {
		relay->running++;
		if (task_spawn(relay->loop, "relay", relay_back, relay, &relay->tasks[1], NULL) < 0)
			relay->running--;
		else
			pass_on(relay->fds[0][0], relay->fds[0][1]);
	}
	relay_done(relay);
}

static void accepted(struct published *p, int client)
{
	struct relay *relay = relay_count < RELAYS_MAX ? calloc(1, sizeof(*relay)) : NULL;
	int on = 1;

	if (!relay) {
		close(client);
		return;
	}
	relay_count++;
	list_init(&relay->node);
	relay->running = 1;
	relay->loop = p->networks->loop;
	relay->to_len = make_address(&p->endpoint->addresses[0], AF_INET, p->port, &relay->to);
	/* A task has descriptors of its own: one waits on one at a time. */
	relay->fds[0][0] = client;
	relay->fds[0][1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	relay->fds[1][0] = fcntl(relay->fds[0][1], F_DUPFD_CLOEXEC, 0);
	relay->fds[1][1] = fcntl(client, F_DUPFD_CLOEXEC, 0);
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (relay->fds[0][1] >= 0)
		setsockopt(relay->fds[0][1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	list_append(&p->relays, &relay->node);
	if (relay->fds[0][1] < 0 || relay->fds[1][0] < 0 || relay->fds[1][1] < 0 ||
	    task_spawn(relay->loop, "relay", relay_forth, relay, &relay->tasks[0], NULL) < 0)
		relay_done(relay);
}

static void accept_all(struct published *p, int fd)
{
	int client;

	while ((client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		accepted(p, client);
}

static void on_connection4(struct loop_io *io, uint32_t events)
{
	accept_all(container_of(io, struct published, io[0]), io->fd);
}

static void on_connection6(struct loop_io *io, uint32_t events)
{
	accept_all(container_of(io, struct published, io[1]), io->fd);
}

void relays_wait(void)
{
	while (relay_count && task_self() && task_yield() == 0)
		;
}

/* ------------------------------------------------------------------ keeping a port */

static int socket_type(const char *protocol, int *ret_protocol)
{
	*ret_protocol = 0;
	if (strcmp(protocol, "tcp") == 0)
		return SOCK_STREAM;
	if (strcmp(protocol, "udp") == 0)
		return SOCK_DGRAM;
	*ret_protocol = IPPROTO_SCTP;
	return SOCK_STREAM;
}

/* *port 0: the kernel's choice, told. -errno. */
static int keep(const struct published *p, int family, uint16_t *port)
{
	int protocol, type = socket_type(p->protocol, &protocol), on = 1;
	autoclose int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	union address address;
	socklen_t len = make_address(&p->host, family, *port, &address);

	if (fd < 0)
		return -errno;
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	/* Connections of an earlier server that has gone do not keep a listening one away. */
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &address.any, len) < 0 ||
	    (type == SOCK_STREAM && listen(fd, LISTEN_BACKLOG) < 0))
		return -errno;
	if (!*port) {
		if (getsockname(fd, &address.any, &len) < 0)
			return -errno;
		*port = ntohs(family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
	}
	return steal_fd(&fd);
}

static bool is_ours(const struct networks *networks, const struct published *mine, uint16_t port)
{
	struct published *p;

	list_for_each_entry(p, &networks->published, node) {
		if (p != mine && p->host_port == port && strcmp(p->protocol, mine->protocol) == 0 &&
		    (!p->host.family || !mine->host.family || ip_equal(&p->host, &mine->host)))
			return true;
	}
	return false;
}

static void let_go(struct published *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(p->fds); i++) {
		loop_io_remove(&p->io[i]);
		if (p->fds[i] >= 0)
			close(steal_fd(&p->fds[i]));
	}
}

/* One port on each family that it is for. 0, or -errno of the one that is taken. */
static int try_port(struct published *p, uint16_t port)
{
	int fd = p->host.family == AF_INET6 ? -1 : keep(p, AF_INET, &port);

	if (p->host.family != AF_INET6) {
		if (fd < 0)
			return fd;
		p->fds[0] = fd;
	}
	if (p->host.family != AF_INET) {
		fd = keep(p, AF_INET6, &port);
		p->fds[1] = fd < 0 ? -1 : fd;
		/* A host without IPv6. */
		if (fd < 0 && (p->host.family || (fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL))) {
			let_go(p);
			return fd;
		}
	}
	p->host_port = port;
	return 0;
}

static int refuse(const struct published *p, uint16_t port, int r, struct error *err)
{
	char text[IP_TEXT_BYTES];
	const char *host = p->host.family ? ip_text(&p->host, text) : "0.0.0.0";
	bool six = p->host.family == AF_INET6;

	if (is_ours(p->networks, p, port))
		return error_set(err, ERROR_FAILED,
				 "driver failed programming external connectivity on endpoint %s "
				 "(%s): Bind for "
				 "%s%s%s:%u failed: port is already allocated",
				 p->endpoint->owner_name, p->endpoint->id, six ? "[" : "", host,
				 six ? "]" : "", port);
	return error_set(
		err, ERROR_FAILED,
		"driver failed programming external connectivity on endpoint %s (%s): listen %s%c "
		"%s%s%s:%u: bind: %s",
		p->endpoint->owner_name, p->endpoint->id, p->protocol, six ? '6' : '4',
		six ? "[" : "", host, six ? "]" : "", port,
		r == -EADDRINUSE      ? "address already in use"
		: r == -EADDRNOTAVAIL ? "cannot assign requested address"
		: r == -EACCES        ? "permission denied"
				      : strerror(-r));
}

static int find_port(struct published *p, const struct publish_config *config, struct error *err)
{
	unsigned port = config->host_first;
	int r = 0;

	/* The kernel's choice on IPv4 may be taken on IPv6: a few tries. */
	for (int tries = 0; !port && tries < 16; tries++) {
		r = try_port(p, 0);
		if (r == 0)
			return 0;
	}
	if (!port)
		return refuse(p, 0, r, err);
	for (; port <= config->host_last; port++) {
		r = is_ours(p->networks, p, (uint16_t)port) ? -EADDRINUSE
							    : try_port(p, (uint16_t)port);
		if (r == 0)
			return 0;
	}
	return refuse(p, (uint16_t)(port - 1), r, err);
}

int port_publish(struct endpoint *endpoint, const struct publish_config *config,
		 struct published **ret, struct error *err)
{
	struct published *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return error_nomem(err);
	p->networks = endpoint->network->networks;
	p->endpoint = endpoint;
	p->host = config->host;
	p->port = config->port;
	p->fds[0] = p->fds[1] = -1;
	snprintf(p->protocol, sizeof(p->protocol), "%s", config->protocol);
	list_init(&p->relays);
	list_init(&p->node);
	r = find_port(p, config, err);
	/* Without bridges QEMU itself listens: the port was only tried. */
	if (r == 0 && p->networks->backend != NETWORK_BACKEND_BRIDGE)
		let_go(p);
	for (size_t i = 0; i < ARRAY_SIZE(p->fds) && r == 0; i++)
		if (p->fds[i] >= 0 && strcmp(p->protocol, "tcp") == 0) {
			r = loop_io_add(p->networks->loop, &p->io[i], p->fds[i], EPOLLIN,
					i ? on_connection6 : on_connection4);
			if (r < 0)
				error_errno(err, -r, "watching a published port");
		}
	if (r < 0) {
		let_go(p);
		free(p);
		return r;
	}
	list_append(&p->networks->published, &p->node);
	networks_changed(p->networks);
	*ret = p;
	return 0;
}

void port_withdraw(struct published *p)
{
	if (!p)
		return;
	let_go(p);
	list_for_each_safe(node, &p->relays) {
		struct relay *relay = container_of(node, struct relay, node);

		/* They end by themselves, and know nothing of us any more. */
		list_remove(&relay->node);
		for (size_t i = 0; i < 2; i++)
			if (relay->tasks[i])
				task_cancel(relay->tasks[i]);
	}
	networks_changed(p->networks);
	list_remove(&p->node);
	free(p);
}

/* ------------------------------------------------------------------ services */

int service_open(struct network *network, const char *address, const char *protocol, uint16_t port,
		 struct service **ret, struct error *err)
{
	struct service *s = calloc(1, sizeof(*s));

	if (!s)
		return error_nomem(err);
	list_init(&s->node);
	if (ip_parse(address, &s->address) < 0 || s->address.family != AF_INET) {
		free(s);
		return error_set(err, ERROR_INVALID,
				 "service address \"%.64s\": expected an IPv4 address", address);
	}
	snprintf(s->protocol, sizeof(s->protocol), "%s", protocol);
	s->network = network_ref(network);
	s->port = port;
	list_append(&network->networks->services, &s->node);
	networks_changed(network->networks);
	*ret = s;
	return 0;
}

int service_set_backends(struct service *s, const struct service_backend *backends, size_t count,
			 struct error *err)
{
	struct service_backend *copy = calloc(count + 1, sizeof(*copy));

	if (!copy)
		return error_nomem(err);
	if (count)
		memcpy(copy, backends, count * sizeof(*copy));
	free(s->backends);
	s->backends = copy;
	s->backend_count = count;
	networks_changed(s->network->networks);
	return 0;
}

void service_close(struct service *s)
{
	if (!s)
		return;
	list_remove(&s->node);
	networks_changed(s->network->networks);
	network_unref(s->network);
	free(s->backends);
	free(s);
}
