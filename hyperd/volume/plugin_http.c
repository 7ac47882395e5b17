/*
 * One request a connection, HTTP/1.0: the answer ends with the connection, so nothing of HTTP's
 * framing is needed.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/str.h"
#include "base/task.h"
#include "hyperd/volume/plugin.h"

#define ANSWER_MAX_BYTES (4u << 20)

void plugin_address_done(struct plugin_address *address)
{
	free(address->socket_path);
	free(address->host);
	free(address->port);
	*address = (struct plugin_address){ 0 };
}

int plugin_address_parse(const char *text, struct plugin_address *ret, struct error *err)
{
	static const char *const tcp[] = { "tcp://", "http://" };
	const char *rest = NULL, *colon;
	size_t len = strcspn(text, "\r\n \t");

	*ret = (struct plugin_address){ 0 };
	if (str_starts(text, "unix://")) {
		ret->socket_path = strndup(text + 7, len - 7);
		if (!ret->socket_path)
			return error_nomem(err);
		if (*ret->socket_path == '/')
			return 0;
		plugin_address_done(ret);
	}
	for (size_t i = 0; i < ARRAY_SIZE(tcp); i++)
		if (str_starts(text, tcp[i]))
			rest = text + strlen(tcp[i]);
	if (!rest)
		return error_set(
			err, ERROR_UNSUPPORTED,
			"plugin address '%.100s': expected unix:///PATH, tcp://HOST:PORT or "
			"http://HOST:PORT",
			text);
	len = strcspn(rest, "/\r\n \t");
	colon = memrchr(rest, ':', len);
	ret->host = strndup(rest, colon ? (size_t)(colon - rest) : len);
	ret->port = colon ? strndup(colon + 1, len - (size_t)(colon + 1 - rest)) : strdup("80");
	if (!ret->host || !ret->port) {
		plugin_address_done(ret);
		return error_nomem(err);
	}
	return 0;
}

/* ------------------------------------------------------------------ connecting */

struct resolve {
	const struct plugin_address *address;
	struct sockaddr_storage found;
	socklen_t len;
	int failure;
};

static int resolve_job(void *arg)
{
	struct resolve *r = arg;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;

	r->failure = getaddrinfo(r->address->host, r->address->port, &hints, &list);
	if (r->failure)
		return -EHOSTUNREACH;
	memcpy(&r->found, list->ai_addr, list->ai_addrlen);
	r->len = list->ai_addrlen;
	freeaddrinfo(list);
	return 0;
}

static int address_of(struct job_pool *jobs, const struct plugin_address *address,
		      struct resolve *ret, struct error *err)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&ret->found;

	*ret = (struct resolve){ .address = address };
	if (!address->socket_path) {
		if (job_run(jobs, resolve_job, ret) < 0)
			return error_set(err, ERROR_UNAVAILABLE, "%s:%s: %s", address->host,
					 address->port, gai_strerror(ret->failure));
		return 0;
	}
	if (strlen(address->socket_path) >= sizeof(un->sun_path))
		return error_set(err, ERROR_INVALID, "'%s': too long for a socket's name",
				 address->socket_path);
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, address->socket_path);
	ret->len = sizeof(*un);
	return 0;
}

static int connect_to(const struct resolve *to, uint64_t deadline_ns, struct error *err)
{
	autoclose int fd =
		socket(to->found.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int failure = 0, r = 0;
	socklen_t len = sizeof(failure);

	if (fd < 0)
		return error_errno(err, errno, "making a socket");
	if (connect(fd, (const struct sockaddr *)&to->found, to->len) < 0) {
		if (errno != EINPROGRESS && errno != EAGAIN)
			return error_set(err, ERROR_UNAVAILABLE, "connecting: %s", strerror(errno));
		r = task_wait_fd(fd, EPOLLOUT, deadline_ns, NULL);
		if (r == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) == 0 && failure)
			return error_set(err, ERROR_UNAVAILABLE, "connecting: %s",
					 strerror(failure));
	}
	return r < 0 ? error_errno(err, -r, "connecting") : steal_fd(&fd);
}

/* ------------------------------------------------------------------ talking */

static int send_all(int fd, const char *data, size_t len, uint64_t deadline_ns, struct error *err)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		int r = 0;

		if (n < 0 && errno == EAGAIN)
			r = task_wait_fd(fd, EPOLLOUT, deadline_ns, NULL);
		else if (n < 0 && errno != EINTR)
			return error_errno(err, errno, "sending");
		if (r < 0)
			return error_errno(err, -r, "sending");
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Where the body begins, or 0. */
static size_t header_end(const struct str *s)
{
	const char *end = s->len ? memmem(s->data, s->len, "\r\n\r\n", 4) : NULL;

	return end ? (size_t)(end - s->data) + 4 : 0;
}

/* Content-Length, or -1: some servers keep the connection whatever they were asked. */
static long long content_length(const struct str *s, size_t header)
{
	static const char name[] = "\r\ncontent-length:";

	for (size_t i = 0; i + sizeof(name) < header; i++)
		if (strncasecmp(s->data + i, name, sizeof(name) - 1) == 0)
			return atoll(s->data + i + sizeof(name) - 1);
	return -1;
}

static bool is_whole(const struct str *s)
{
	size_t header = header_end(s);
	long long length = header ? content_length(s, header) : -1;

	return length >= 0 && s->len - header >= (size_t)length;
}

static int receive(int fd, uint64_t deadline_ns, struct str *ret, struct error *err)
{
	char piece[8192];

	while (!is_whole(ret)) {
		ssize_t n = recv(fd, piece, sizeof(piece), 0);
		int r = 0;

		if (n == 0)
			return 0;
		if (n < 0 && errno == EAGAIN)
			r = task_wait_fd(fd, EPOLLIN | EPOLLRDHUP, deadline_ns, NULL);
		else if (n < 0 && errno != EINTR)
			return error_errno(err, errno, "receiving");
		if (r == -ETIMEDOUT)
			return error_set(err, ERROR_TIMEOUT, "it did not answer in time");
		if (r < 0)
			return error_errno(err, -r, "receiving");
		if (n > 0)
			str_append(ret, piece, (size_t)n);
		if (ret->len > ANSWER_MAX_BYTES)
			return error_set(err, ERROR_LIMIT, "its answer is longer than %u bytes",
					 ANSWER_MAX_BYTES);
	}
	return 0;
}

static int parse_answer(struct str *answer, char **ret_body, struct error *err)
{
	size_t header = header_end(answer);
	int status;

	if (answer->failed)
		return error_nomem(err);
	if (!header || sscanf(answer->data, "HTTP/1.%*1d %3d", &status) != 1 || status < 100)
		return error_set(err, ERROR_UNAVAILABLE, "what it answered is no HTTP");
	str_consume(answer, header);
	*ret_body = answer->len ? str_steal(answer) : strdup("");
	return *ret_body ? status : error_nomem(err);
}

int plugin_http(struct job_pool *jobs, const struct plugin_address *address, const char *method,
		const char *body, uint64_t deadline_ns, char **ret_body, struct error *err)
{
	autostr struct str request = STR_INIT, answer = STR_INIT;
	autoclose int fd = -1;
	struct resolve to;
	int r = address_of(jobs, address, &to, err);

	if (r < 0)
		return r;
	str_addf(&request,
		 "POST /%s HTTP/1.0\r\nHost: plugin\r\nAccept: "
		 "application/vnd.docker.plugins.v1.2+json\r\nContent-Type: "
		 "application/vnd.docker.plugins.v1.2+json\r\nContent-Length: %zu\r\n\r\n%s",
		 method, strlen(body), body);
	if (request.failed)
		return error_nomem(err);
	r = fd = connect_to(&to, deadline_ns, err);
	if (r >= 0)
		r = send_all(fd, request.data, request.len, deadline_ns, err);
	if (r == 0)
		r = receive(fd, deadline_ns, &answer, err);
	return r < 0 ? r : parse_answer(&answer, ret_body, err);
}
