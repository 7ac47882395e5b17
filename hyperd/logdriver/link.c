#include "hyperd/logdriver/link.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"

#define DATAGRAMS_MAX 32

/* Where a machine's own syslog listens: the first that is there. */
static const char *const syslog_paths[] = { "/dev/log", "/var/run/syslog", "/var/run/log" };

static const struct {
	const char *scheme;
	enum link_kind kind;
} schemes_table[] = {
	{ "udp", LINK_UDP }, { "tcp", LINK_TCP },   { "tcp+tls", LINK_TLS },
	{ "tls", LINK_TLS }, { "unix", LINK_UNIX }, { "unixgram", LINK_UNIXGRAM },
};

static const char *const networks[] = {
	[LINK_UDP] = "udp",   [LINK_TCP] = "tcp",           [LINK_TLS] = "tcp",
	[LINK_UNIX] = "unix", [LINK_UNIXGRAM] = "unixgram", [LINK_SYSLOG] = "unixgram",
};

/* ------------------------------------------------------------------ where to */

void link_target_done(struct link_target *target)
{
	free(target->host);
	free(target->port);
	free(target->path);
	free(target->ca);
	free(target->certificate);
	free(target->key);
	memset(target, 0, sizeof(*target));
}

static int parse_host(const char *text, const char *default_port, struct link_target *ret)
{
	size_t len = strcspn(text, "/?#");
	autofree char *host = strndup(text, len);
	char *port = NULL, *end;
	unsigned long long number;

	if (!host)
		return -ENOMEM;
	if (*host == '[') {
		end = strchr(host, ']');
		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		port = end[1] ? end + 2 : NULL;
		*end = '\0';
		memmove(host, host + 1, strlen(host));
	} else if ((port = strchr(host, ':'))) {
		if (strchr(port + 1, ':'))
			return -EINVAL;
		*port++ = '\0';
	}
	if (!port || !*port)
		port = (char *)default_port;
	if (!port || parse_u64(port, 0, 65535, &number) < 0)
		return -EINVAL;
	ret->host = strdup(*host ? host : "127.0.0.1");
	ret->port = strdup(port);
	return ret->host && ret->port ? 0 : -ENOMEM;
}

int link_target_parse(const char *address, const char *const *schemes, const char *default_port,
		      struct link_target *ret)
{
	const char *rest = strstr(address, "://");

	if (!rest)
		return -EINVAL;
	for (; *schemes; schemes++)
		if (strlen(*schemes) == (size_t)(rest - address) &&
		    strncmp(address, *schemes, (size_t)(rest - address)) == 0)
			break;
	if (!*schemes)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(schemes_table); i++)
		if (strcmp(schemes_table[i].scheme, *schemes) == 0)
			ret->kind = schemes_table[i].kind;
	rest += 3;
	if (ret->kind != LINK_UNIX && ret->kind != LINK_UNIXGRAM)
		return parse_host(rest, default_port, ret);
	if (!*rest)
		return -EINVAL;
	ret->path = strdup(rest);
	return ret->path ? 0 : -ENOMEM;
}

/* ------------------------------------------------------------------ opening */

void link_init(struct link *link, const struct link_target *target, struct job_pool *jobs)
{
	*link = (struct link){ .target = target, .jobs = jobs, .fd = -1 };
}

void link_close(struct link *link)
{
	if (link->tls)
		tls_end(link->tls);
	tls_stream_free(steal(link->tls));
	tls_context_free(steal(link->tls_context));
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
}

/* The text of ERRNUM as Go has it: without a capital at its front. */
static const char *reason(int errnum, char text[64])
{
	snprintf(text, 64, "%s", strerror(errnum));
	if (text[0] && islower((unsigned char)text[1]))
		text[0] = (char)tolower((unsigned char)text[0]);
	return text;
}

static int dial_error(struct error *err, const char *network, const char *address, int errnum)
{
	char text[64];

	if (errnum == ETIMEDOUT)
		return error_set(err, ERROR_FAILED, "dial %s %s: i/o timeout", network, address);
	return error_set(err, ERROR_FAILED, "dial %s %s: connect: %s", network, address,
			 reason(errnum, text));
}

/* Waits for a connection that was begun. */
static int wait_connected(int fd, uint64_t deadline_ns)
{
	socklen_t len = sizeof(int);
	int e = 0, r = task_wait_fd(fd, EPOLLOUT, deadline_ns, NULL);

	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
		return -errno;
	return -e;
}

static int connect_to(int family, int type, const struct sockaddr *address, socklen_t len,
		      uint64_t deadline_ns, int *ret)
{
	autoclose int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = 0, on = 1;

	if (fd < 0)
		return -errno;
	if (connect(fd, address, len) < 0)
		r = -errno;
	/* EAGAIN: the queue of a Unix socket is full, there is nothing to wait for. */
	if (r == -EINPROGRESS)
		r = wait_connected(fd, deadline_ns);
	if (r < 0)
		return r == -EAGAIN ? -ECONNREFUSED : r;
	if (type == SOCK_STREAM && family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	*ret = steal_fd(&fd);
	return 0;
}

struct resolution {
	char *host, *port; /* borrowed */
	struct addrinfo hints, *list;
	int result;
};

static int resolve_job(void *arg)
{
	struct resolution *r = arg;

	r->result = getaddrinfo(r->host, r->port, &r->hints, &r->list);
	return 0;
}

static int resolve(struct link *link, int type, struct addrinfo **ret, struct error *err)
{
	struct resolution resolution = {
		.host = link->target->host,
		.port = link->target->port,
		.hints = { .ai_socktype = type, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV },
	};

	/* Addresses need no worker. */
	resolve_job(&resolution);
	if (resolution.result != 0) {
		resolution.hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
		job_run(link->jobs, resolve_job, &resolution);
	}
	if (resolution.result != 0)
		return error_set(err, ERROR_FAILED, "dial %s: lookup %s: %s",
				 networks[link->target->kind], link->target->host,
				 resolution.result == EAI_NONAME ? "no such host"
								 : gai_strerror(resolution.result));
	*ret = resolution.list;
	return 0;
}

static int open_inet(struct link *link, uint64_t deadline_ns, struct error *err)
{
	const struct link_target *target = link->target;
	int type = target->kind == LINK_UDP ? SOCK_DGRAM : SOCK_STREAM;
	struct addrinfo *list = NULL;
	char host[NI_MAXHOST] = "";
	int r = resolve(link, type, &list, err);

	if (r < 0)
		return r;
	r = -ENOENT;
	for (struct addrinfo *a = list; a && r < 0 && r != -ECANCELED; a = a->ai_next) {
		getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
		r = connect_to(a->ai_family, type, a->ai_addr, a->ai_addrlen, deadline_ns,
			       &link->fd);
	}
	freeaddrinfo(list);
	if (r < 0) {
		autofree char *address =
			strf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, target->port);

		dial_error(err, networks[target->kind], address ? address : host, -r);
	}
	return r;
}

static int open_path(struct link *link, int type, const char *path, uint64_t deadline_ns)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	link->stream = type == SOCK_STREAM;
	return connect_to(AF_UNIX, type, (struct sockaddr *)&address, sizeof(address), deadline_ns,
			  &link->fd);
}

static int open_syslog(struct link *link, uint64_t deadline_ns, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(syslog_paths); i++)
		if (open_path(link, SOCK_DGRAM, syslog_paths[i], deadline_ns) == 0 ||
		    open_path(link, SOCK_STREAM, syslog_paths[i], deadline_ns) == 0)
			return 0;
	return error_set(err, ERROR_FAILED, "Unix syslog delivery error");
}

static int open_tls(struct link *link, uint64_t deadline_ns, struct error *err)
{
	const struct link_target *target = link->target;
	uint32_t wait;
	int r = tls_client_new(target->certificate, target->key, target->ca, !target->skip_verify,
			       &link->tls_context, err);

	if (r < 0)
		return r;
	link->tls = tls_connect(link->tls_context, link->fd, target->host);
	if (!link->tls)
		return error_nomem(err);
	while ((r = tls_handshake(link->tls, &wait, err)) == -EAGAIN) {
		r = task_wait_fd(link->fd, wait, deadline_ns, NULL);
		if (r < 0)
			return error_errno(err, -r, "TLS with %s:%s", target->host, target->port);
	}
	return r < 0 ? error_prefix(err, r, "%s:%s", target->host, target->port) : 0;
}

int link_open(struct link *link, uint64_t deadline_ns, struct error *err)
{
	const struct link_target *target = link->target;
	int r;

	link_close(link);
	link->stream = target->kind == LINK_TCP || target->kind == LINK_TLS;
	switch (target->kind) {
	case LINK_UNIX:
	case LINK_UNIXGRAM:
		r = open_path(link, target->kind == LINK_UNIX ? SOCK_STREAM : SOCK_DGRAM,
			      target->path, deadline_ns);
		if (r < 0)
			dial_error(err, networks[target->kind], target->path, -r);
		break;
	case LINK_SYSLOG:
		r = open_syslog(link, deadline_ns, err);
		break;
	default:
		r = open_inet(link, deadline_ns, err);
	}
	if (r == 0 && target->kind == LINK_TLS)
		r = open_tls(link, deadline_ns, err);
	if (r < 0)
		link_close(link);
	return r;
}

/* ------------------------------------------------------------------ sending and receiving */

static ssize_t read_now(struct link *link, void *data, size_t len, uint32_t *ret_wait)
{
	ssize_t n;

	if (link->tls)
		return tls_read(link->tls, data, len, ret_wait);
	*ret_wait = EPOLLIN;
	n = recv(link->fd, data, len, MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

bool link_is_dead(struct link *link)
{
	char ignored[512];
	uint32_t wait;
	ssize_t n;

	if (link->fd < 0)
		return true;
	if (!link->stream)
		return false;
	while ((n = read_now(link, ignored, sizeof(ignored), &wait)) > 0)
		;
	return n != -EAGAIN && n != -EINTR;
}

/* A message that is too big for a Unix socket travels as a sealed file, as journald takes it. */
static ssize_t send_as_file(struct link *link, const struct iovec *iov)
{
	autoclose int file = memfd_create("log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr message = { .msg_control = &control, .msg_controllen = sizeof(control) };

	if (file < 0)
		return -errno;
	if (write(file, iov->iov_base, iov->iov_len) != (ssize_t)iov->iov_len ||
	    fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -EIO;
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &file, sizeof(int));
	return sendmsg(link->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 1;
}

static ssize_t send_datagrams(struct link *link, const struct iovec *iov, int count)
{
	struct mmsghdr messages[DATAGRAMS_MAX] = { 0 };
	int n;

	if (count > DATAGRAMS_MAX)
		count = DATAGRAMS_MAX;
	for (int i = 0; i < count; i++) {
		messages[i].msg_hdr.msg_iov = (struct iovec *)&iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	n = sendmmsg(link->fd, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == EMSGSIZE && link->target->kind == LINK_UNIXGRAM)
		return send_as_file(link, iov);
	return n < 0 ? -errno : n;
}

static ssize_t send_now(struct link *link, const struct iovec *iov, int count, uint32_t *ret_wait)
{
	struct msghdr message = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count };
	ssize_t n;

	*ret_wait = EPOLLOUT;
	if (!link->stream)
		return send_datagrams(link, iov, count);
	if (link->tls)
		return tls_write(link->tls, iov->iov_base, iov->iov_len, ret_wait);
	n = sendmsg(link->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

ssize_t link_send(struct link *link, const struct iovec *iov, int count)
{
	uint32_t wait = EPOLLOUT;
	ssize_t n = send_now(link, iov, count, &wait);

	/* One try after the wait: what IOV points to may have moved meanwhile. */
	if (n == -EAGAIN || n == -ENOBUFS) {
		int r = task_wait_fd(link->fd, wait, deadline_in_ms(LINK_WAIT_MS), NULL);

		return r < 0 && r != -ETIMEDOUT ? r : -EAGAIN;
	}
	return n;
}

ssize_t link_receive(struct link *link, void *data, size_t len, uint64_t deadline_ns)
{
	uint32_t wait = EPOLLIN;

	for (;;) {
		ssize_t n = read_now(link, data, len, &wait);
		int r;

		if (n != -EAGAIN)
			return n;
		r = task_wait_fd(link->fd, wait, deadline_ns, NULL);
		if (r < 0)
			return r;
	}
}
