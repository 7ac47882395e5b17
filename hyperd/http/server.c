/* The server, its listening sockets and its connections. */
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "hyperd/http/internal.h"

/* After the descriptor limit was met: when accepting is tried again. */
#define ACCEPT_RETRY_MS 200
/* Connections accepted in one round of the loop, so that a flood cannot starve the others. */
#define ACCEPT_BATCH 16

int http_server_new(struct loop *loop, const struct http_server_config *config,
		    struct http_server **ret, struct error *err)
{
	struct http_server *server = calloc(1, sizeof(*server));

	if (!server)
		return error_nomem(err);
	server->loop = loop;
	server->config = config;
	list_init(&server->listeners);
	list_init(&server->connections);
	cond_init(&server->empty);
	*ret = server;
	return 0;
}

size_t http_server_connection_count(const struct http_server *server)
{
	return server->connection_count;
}

int http_server_serve(struct http_server *server, int fd, struct tls_context *tls,
		      struct error *err)
{
	struct http_connection *c = calloc(1, sizeof(*c));
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	int r;

	if (!c || !(c->in = malloc(HTTP_INPUT_BYTES))) {
		free(c);
		close(fd);
		return error_nomem(err);
	}
	c->server = server;
	c->fd = fd;
	c->gone_fd = c->output.fd = -1;
	c->request.connection = c;
	list_init(&c->node);
	c->unix_peer = getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
		       address.ss_family == AF_UNIX;
	r = fd_set_nonblocking(fd, true);
	if (r == 0)
		r = http_output_init(c);
	if (r < 0) {
		error_errno(err, -r, "serving a connection");
	} else if (tls && !(c->tls = tls_accept(tls, fd))) {
		r = error_set(err, ERROR_FAILED, "serving a connection: no memory for TLS");
	} else {
		http_parser_init(c);
		r = task_spawn(server->loop, "http connection", http_connection_main, c, &c->task,
			       err);
	}
	if (r < 0) {
		tls_stream_free(c->tls);
		http_output_done(c);
		close(fd);
		free(c->in);
		free(c);
		return r;
	}
	list_append(&server->connections, &c->node);
	server->connection_count++;
	return 0;
}

static void acceptable(struct loop_io *io, uint32_t events);

static void retry(struct loop_timer *timer)
{
	struct http_listener *listener = container_of(timer, struct http_listener, retry);

	loop_io_add(listener->server->loop, &listener->io, listener->fd, EPOLLIN, acceptable);
}

static void pause_accepting(struct http_listener *listener)
{
	loop_io_remove(&listener->io);
	loop_timer_set(listener->server->loop, &listener->retry, deadline_in_ms(ACCEPT_RETRY_MS),
		       retry);
}

static void acceptable(struct loop_io *io, uint32_t events)
{
	struct http_listener *listener = container_of(io, struct http_listener, io);
	struct http_server *server = listener->server;

	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct error err = { 0 };
		int fd, one = 1;

		if (server->connection_count >= HTTP_MAX_CONNECTIONS) {
			log_warn("%s: %u connections: no more are accepted for now", listener->name,
				 HTTP_MAX_CONNECTIONS);
			pause_accepting(listener);
			return;
		}
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
			    errno == ENOBUFS) {
				log_warn("%s: accepting a connection: %m", listener->name);
				pause_accepting(listener);
			}
			return;
		}
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)); /* TCP: dead peers */
		if (http_server_serve(server, fd, listener->tls, &err) < 0)
			log_warn("%s: %s", listener->name, err.message);
	}
}

int http_server_listen(struct http_server *server, int fd, const char *name,
		       struct tls_context *tls, struct error *err)
{
	struct http_listener *listener = calloc(1, sizeof(*listener));
	int r;

	if (!listener || !(listener->name = strdup(name))) {
		free(listener);
		close(fd);
		return error_nomem(err);
	}
	listener->server = server;
	listener->tls = tls;
	listener->fd = fd;
	r = fd_set_nonblocking(fd, true);
	if (r == 0)
		r = loop_io_add(server->loop, &listener->io, fd, EPOLLIN, acceptable);
	if (r < 0) {
		error_errno(err, -r, "listening on %s", name);
		close(fd);
		free(listener->name);
		free(listener);
		return r;
	}
	list_append(&server->listeners, &listener->node);
	return 0;
}

void http_server_close(struct http_server *server)
{
	struct list *node;

	server->closing = true;
	while ((node = list_pop(&server->listeners))) {
		struct http_listener *listener = container_of(node, struct http_listener, node);

		loop_io_remove(&listener->io);
		loop_timer_cancel(&listener->retry);
		close(listener->fd);
		free(listener->name);
		free(listener);
	}
}

void http_server_finish(struct http_server *server, uint64_t deadline_ns)
{
	http_server_close(server);
	list_for_each(node, &server->connections) {
		struct http_connection *c = container_of(node, struct http_connection, node);

		if (!c->busy)
			task_cancel(c->task);
	}
	while (server->connection_count && cond_wait(&server->empty, deadline_ns) == 0)
		;
}

void http_server_free(struct http_server *server)
{
	bool old;

	if (!server)
		return;
	http_server_close(server);
	list_for_each(node, &server->connections)
		task_cancel(container_of(node, struct http_connection, node)->task);
	if (server->connection_count) {
		old = task_shield(true);
		while (server->connection_count)
			cond_wait(&server->empty, DEADLINE_NEVER);
		task_shield(old);
	}
	free(server);
}
