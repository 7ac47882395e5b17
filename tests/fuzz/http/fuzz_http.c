/*
 * The HTTP edge: the input is what a client sends on one connection. The first byte chooses in how
 * many pieces it comes.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/task.h"
#include "hyperd/http/http.h"

static int whole_body(struct http_request *request, struct error *err)
{
	autofree char *text = NULL;
	size_t len;
	int r = http_body_text(request, 4096, &text, &len, err);

	return r < 0 ? r : http_respond(request, 200, "text/plain", text, len);
}

static int json_body(struct http_request *request, struct error *err)
{
	json_t *json;
	int r = http_body_json(request, &json, err);

	if (r < 0)
		return r;
	return http_respond_json(request, 200, json ? json : json_null());
}

static int hijack(struct http_request *request, struct error *err)
{
	char data[100];
	ssize_t n;
	int r = http_hijack(request, "application/octet-stream", err);

	if (r < 0)
		return r;
	while ((n = http_hijack_read(request, data, sizeof(data))) > 0)
		http_hijack_write(request, NULL, 0, data, (size_t)n);
	return 0;
}

static int stream(struct http_request *request, struct error *err)
{
	http_add_header(request, "X-Name", "%s", http_param(request, "name"));
	http_stream_begin(request, 200, "text/plain");
	return http_stream_write(request, http_param(request, "name"),
				 http_query_bool(request, "all", false));
}

static int refuse(struct http_request *request, struct error *err)
{
	return error_set(err, ERROR_NOT_FOUND, "No such thing: %s", http_param(request, "name"));
}

static const struct http_route routes[] = {
	{ HTTP_POST_BIT, "/body", whole_body },
	{ HTTP_POST_BIT, "/json", json_body },
	{ HTTP_POST_BIT, "/hijack", hijack },
	{ HTTP_GET_BIT | HTTP_HEAD_BIT, "/stream/{name*}/json", stream, HTTP_ROUTE_CANCEL },
	{ HTTP_DELETE_BIT, "/{name}", refuse },
};
static const struct http_server_config config = { .routes = routes,
						  .route_count = ARRAY_SIZE(routes) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct loop *loop;
	static struct http_server *server;
	char unread[4096];
	size_t piece;
	int fds[2], buffer = 1 << 20;

	if (!loop) {
		if (!(loop_new(&loop, NULL) == 0))
			abort();
		if (!(http_server_new(loop, &config, &server, NULL) == 0))
			abort();
	}
	if (size < 1 || size > 100000)
		return 0;
	piece = *data ? *data : size;
	data++;
	size--;
	if (!(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0))
		abort();
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	if (!(http_server_serve(server, fds[1], NULL, NULL) == 0))
		abort();
	while (size) {
		size_t len = size < piece ? size : piece;

		if (send(fds[0], data, len, MSG_NOSIGNAL) != (ssize_t)len)
			break;
		data += len;
		size -= len;
		loop_run_once(loop, 0, NULL);
		while (recv(fds[0], unread, sizeof(unread), 0) > 0)
			;
	}
	shutdown(fds[0], SHUT_WR);
	while (http_server_connection_count(server)) {
		loop_run_once(loop, 1, NULL);
		while (recv(fds[0], unread, sizeof(unread), 0) > 0)
			;
	}
	close(fds[0]);
	return 0;
}
