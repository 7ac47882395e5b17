#include "hyperd/http/listen.h"

#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#define LISTEN_BACKLOG  1024
#define ACTIVATED_FIRST 3 /* SD_LISTEN_FDS_START */
#define ACTIVATED_MAX   64

void http_address_done(struct http_address *address)
{
	free(address->path);
	free(address->host);
	free(address->port);
}

static int tcp_parse(const char *text, struct http_address *ret, struct error *err)
{
	const char *rest = text + strlen("tcp://"), *colon;
	unsigned long long port;

	if (*rest == '[') {
		const char *end = strchr(rest, ']');

		colon = end && end[1] == ':' ? end + 1 : NULL;
		if (colon)
			ret->host = strndup(rest + 1, (size_t)(end - rest - 1));
	} else {
		colon = strchr(rest, ':');
		if (colon)
			ret->host = strndup(rest, (size_t)(colon - rest));
	}
	if (!colon || parse_u64(colon + 1, 0, 65535, &port) < 0)
		return error_set(err, ERROR_INVALID,
				 "listening address '%s': expected tcp://HOST:PORT", text);
	ret->port = strdup(colon + 1);
	return ret->host && ret->port ? 0 : error_nomem(err);
}

int http_address_parse(const char *text, struct http_address *ret, struct error *err)
{
	int r = 0;

	*ret = (struct http_address){ 0 };
	if (str_starts(text, "unix://") || *text == '/') {
		const char *path = *text == '/' ? text : text + strlen("unix://");

		ret->kind = HTTP_ADDRESS_UNIX;
		if (*path != '/')
			return error_set(err, ERROR_INVALID,
					 "listening address '%s': expected an absolute path", text);
		if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
			return error_set(
				err, ERROR_INVALID,
				"listening address '%s': the path is longer than %zu bytes", text,
				sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
		ret->path = strdup(path);
		r = ret->path ? 0 : error_nomem(err);
	} else if (str_starts(text, "tcp://")) {
		ret->kind = HTTP_ADDRESS_TCP;
		r = tcp_parse(text, ret, err);
	} else if (str_equal(text, "fd://")) {
		ret->kind = HTTP_ADDRESS_FD;
	} else {
		r = error_set(err, ERROR_INVALID,
			      "listening address '%s': expected unix:///PATH, tcp://HOST:PORT or "
			      "fd://",
			      text);
	}
	if (r < 0) {
		http_address_done(ret);
		*ret = (struct http_address){ 0 };
	}
	return r;
}

static bool is_served(const struct sockaddr_un *address)
{
	autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
}

int http_listen_unix(const char *path, gid_t gid, int *ret_fd, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	autofree char *directory = strdup(path);
	autoclose int fd = -1;
	char *slash;
	mode_t old;
	int r;

	if (!directory)
		return error_nomem(err);
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	slash = strrchr(directory, '/');
	*slash = 0;
	if (*directory) {
		r = file_make_dirs(AT_FDCWD, directory, 0755, err);
		if (r < 0)
			return error_prefix(err, r, "listening on %s", path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_errno(err, errno, "listening on %s", path);
	if (is_served(&address))
		return error_set(err, ERROR_CONFLICT,
				 "listening on %s: another daemon serves this socket", path);
	unlink(path);
	old = umask(0117); /* nobody else, not even between bind and chmod */
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(old);
	if (r == 0 && (chown(path, (uid_t)-1, gid) < 0 || chmod(path, 0660) < 0 ||
		       listen(fd, LISTEN_BACKLOG) < 0))
		r = -errno;
	if (r < 0)
		return error_errno(err, -r, "listening on %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int http_listen_tcp(const char *host, const char *port, int *ret_fd, struct error *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
	int r, errnum = 0, one = 1;

	r = getaddrinfo(*host ? host : NULL, port, &hints, &list);
	if (r != 0)
		return error_set(err, ERROR_INVALID, "listening on tcp://%s:%s: %s", host, port,
				 gai_strerror(r));
	for (struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		autoclose int fd =
			socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
		    bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
			errnum = errno;
			continue;
		}
		*ret_fd = steal_fd(&fd);
		freeaddrinfo(list);
		return 0;
	}
	freeaddrinfo(list);
	return error_errno(err, errnum, "listening on tcp://%s:%s", host, port);
}

int http_listen_activated(int *ret_first)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	unsigned long long value, count = 0;

	*ret_first = ACTIVATED_FIRST;
	if (pid && fds && parse_u64(pid, 1, INT32_MAX, &value) == 0 && (pid_t)value == getpid())
		if (parse_u64(fds, 0, ACTIVATED_MAX, &count) < 0)
			count = 0;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	for (unsigned long long i = 0; i < count; i++)
		if (fd_set_cloexec(ACTIVATED_FIRST + (int)i, true) < 0)
			return 0;
	return (int)count;
}
