#include "hyperctl/client.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/log.h"

#define BODY_MAX_BYTES (64u << 20)
#define LINE_MAX_BYTES (8u << 20)
#define PIECE_BYTES    (64u << 10)
#define TCP_PORT       "2375"

/* ------------------------------------------------------------------ where the daemon is */

/* "HOST:PORT", "HOST", "[ADDRESS]:PORT", ":PORT". */
static int address_parse(struct client *client, const char *text, struct error *err)
{
	const char *end = text + strcspn(text, "/"), *colon, *address = text;
	size_t len;

	if (*text == '[') {
		const char *close = strchr(text, ']');

		if (!close || close > end)
			return error_set(err, ERROR_INVALID, "host '%s': expected ']'",
					 client->host);
		address = text + 1;
		len = (size_t)(close - address);
		colon = close[1] == ':' ? close + 1 : NULL;
	} else {
		colon = memchr(text, ':', (size_t)(end - text));
		len = (size_t)((colon ? colon : end) - text);
	}
	client->address = len ? strndup(address, len) : strdup("127.0.0.1");
	client->port = colon && colon + 1 < end ? strndup(colon + 1, (size_t)(end - colon - 1))
						: strdup(TCP_PORT);
	return client->address && client->port ? 0 : error_nomem(err);
}

int client_init(struct client *client, const char *host, struct error *err)
{
	*client = (struct client){ 0 };
	if (!host)
		host = getenv("HYPER_HOST");
	client->host = strdup(host && *host ? host : CLIENT_HOST_DEFAULT);
	if (!client->host)
		return error_nomem(err);
	host = client->host;
	if (str_starts(host, "tcp://"))
		return address_parse(client, host + strlen("tcp://"), err);
	if (str_starts(host, "unix://"))
		host += strlen("unix://");
	if (*host != '/')
		return error_set(err, ERROR_INVALID,
				 "host '%s': expected unix:///PATH or tcp://HOST:PORT",
				 client->host);
	client->path = strdup(host);
	return client->path ? 0 : error_nomem(err);
}

void client_done(struct client *client)
{
	free(client->host);
	free(client->path);
	free(client->address);
	free(client->port);
	*client = (struct client){ 0 };
}

static int connect_unix(const struct client *client, int *ret_fd, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	autoclose int fd = -1;

	if (strlen(client->path) >= sizeof(address.sun_path))
		return error_set(err, ERROR_INVALID, "host '%s': the path is too long",
				 client->host);
	strcpy(address.sun_path, client->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(err, errno, "making a socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		*ret_fd = steal_fd(&fd);
		return 0;
	}
	if (errno == EACCES || errno == EPERM)
		return error_set(err, ERROR_DENIED,
				 "permission denied at %s: only root and members of the socket's "
				 "group may talk to hyperd; try with sudo",
				 client->host);
	if (errno == ENOENT || errno == ECONNREFUSED)
		return error_set(err, ERROR_UNAVAILABLE,
				 "no hyperd answers at %s (%s). Start it with "
				 "'systemctl start hyperd', or 'hyperd' as root; another "
				 "address is given with -H or HYPER_HOST",
				 client->host,
				 errno == ENOENT ? "there is no such socket" : "nobody listens");
	return error_errno(err, errno, "connecting to %s", client->host);
}

static int connect_tcp(const struct client *client, int *ret_fd, struct error *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	int r = getaddrinfo(client->address, client->port, &hints, &list), errnum = ENOENT;

	if (r)
		return error_set(err, ERROR_UNAVAILABLE, "host '%s': %s", client->host,
				 gai_strerror(r));
	for (struct addrinfo *a = list; a; a = a->ai_next) {
		int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);

		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
			setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
			*ret_fd = fd;
			freeaddrinfo(list);
			return 0;
		}
		errnum = errno;
		if (fd >= 0)
			close(fd);
	}
	freeaddrinfo(list);
	return error_set(err, ERROR_UNAVAILABLE, "no hyperd answers at %s: %s", client->host,
			 strerror(errnum));
}

/* ------------------------------------------------------------------ encoding */

static void encode(struct str *out, const char *text, const char *plain)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (isalnum(*p) || strchr(plain, *p))
			str_addc(out, (char)*p);
		else
			str_addf(out, "%%%02X", *p);
	}
}

char *path_encode(const char *name)
{
	autostr struct str s = STR_INIT;

	encode(&s, name, "-_.~/:@");
	return str_steal(&s);
}

void query_add(struct str *query, const char *key, const char *value)
{
	if (!value)
		return;
	if (query->len)
		str_addc(query, '&');
	encode(query, key, "-_.~");
	str_addc(query, '=');
	encode(query, value, "-_.~");
}

void query_addf(struct str *query, const char *key, const char *fmt, ...)
{
	autostr struct str value = STR_INIT;
	va_list ap;

	va_start(ap, fmt);
	str_addvf(&value, fmt, ap);
	va_end(ap);
	query_add(query, key, str_text(&value));
}

/* ------------------------------------------------------------------ requests */

static int send_all(int fd, const char *data, size_t len, struct error *err)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		/* It does not listen any more: its answer says why. */
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return 0;
		if (n < 0)
			return error_errno(err, errno, "sending to the daemon");
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Makes the next chunk: its length in a line of eight digits, the data, an empty line. */
static int upload_next(struct upload *upload, struct error *err)
{
	const size_t head = 10; /* "0000ffff\r\n" */
	char line[32];
	ssize_t n;

	if (!upload->chunk)
		upload->chunk = malloc(head + PIECE_BYTES + 2);
	if (!upload->chunk)
		return error_nomem(err);
	n = upload->read(upload->arg, upload->chunk + head, PIECE_BYTES, err);
	if (n < 0)
		return (int)n;
	snprintf(line, sizeof(line), "%08zx\r\n", (size_t)n);
	memcpy(upload->chunk, line, head);
	memcpy(upload->chunk + head + n, "\r\n", 2);
	upload->len = head + (size_t)n + 2;
	upload->sent = 0;
	upload->last = n == 0;
	return 0;
}

/* Sends as much as the socket takes. */
static int upload_send(struct response *response, struct error *err)
{
	struct upload *upload = &response->upload;

	for (;;) {
		ssize_t n;

		if (upload->sent == upload->len) {
			int r = upload->last ? 0 : upload_next(upload, err);

			if (r < 0)
				return r;
			if (upload->last && upload->sent == upload->len)
				upload->read = NULL;
			if (!upload->read)
				return 0;
		}
		n = send(response->fd, upload->chunk + upload->sent, upload->len - upload->sent,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0) {
			if (errno != EPIPE && errno != ECONNRESET)
				return error_errno(err, errno, "sending to the daemon");
			upload->read = NULL; /* not wanted any more; the answer says why */
			return 0;
		}
		upload->sent += (size_t)n;
	}
}

/* Sends until there is something to be read, or nothing left to be sent. */
static int upload_until_answer(struct response *response, struct error *err)
{
	while (response->upload.read) {
		struct pollfd fd = { .fd = response->fd, .events = POLLIN | POLLOUT };
		int r;

		if (poll(&fd, 1, -1) < 0 && errno != EINTR)
			return error_errno(err, errno, "waiting for the daemon");
		if (fd.revents & (POLLIN | POLLHUP | POLLERR))
			return 0;
		r = upload_send(response, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int send_request(const struct client *client, int fd, const struct request *request,
			struct error *err)
{
	bool has_query = request->query && *request->query;
	autostr struct str head = STR_INIT;

	trace(http, "%s %s%s%s", request->method, request->path, has_query ? "?" : "",
	      has_query ? request->query : "");
	str_addf(&head,
		 "%s %s%s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: hyperctl/" HYPER_VERSION "\r\n",
		 request->method, request->path, has_query ? "?" : "",
		 has_query ? request->query : "", client->address ? client->address : "hyper");
	if (request->hijack)
		str_add(&head, "Connection: Upgrade\r\nUpgrade: tcp\r\n");
	if (request->content_type)
		str_addf(&head, "Content-Type: %s\r\n", request->content_type);
	if (request->registry_auth)
		str_addf(&head, "X-Registry-Auth: %s\r\n", request->registry_auth);
	if (request->body_read)
		str_add(&head, "Transfer-Encoding: chunked\r\n");
	else if (request->body || strcmp(request->method, "POST") == 0)
		str_addf(&head, "Content-Length: %zu\r\n", request->body ? request->body_len : 0);
	str_add(&head, "\r\n");
	if (request->body)
		str_append(&head, request->body, request->body_len);
	if (head.failed)
		return error_nomem(err);
	return send_all(fd, head.data, head.len, err);
}

static enum error_kind status_kind(int status)
{
	static const struct {
		int status;
		enum error_kind kind;
	} kinds[] = {
		{ 304, ERROR_NOT_MODIFIED }, { 400, ERROR_INVALID },
		{ 401, ERROR_UNAUTHORIZED }, { 403, ERROR_DENIED },
		{ 404, ERROR_NOT_FOUND },    { 409, ERROR_CONFLICT },
		{ 413, ERROR_LIMIT },        { 501, ERROR_UNSUPPORTED },
		{ 503, ERROR_UNAVAILABLE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].status == status)
			return kinds[i].kind;
	return ERROR_FAILED;
}

/* What the daemon says about a refused request. */
static int refusal(struct response *response, const struct request *request, struct error *err)
{
	enum error_kind kind = status_kind(response->reader.status);
	autojson json_t *body = NULL;
	const char *message = NULL;

	if (kind == ERROR_NOT_MODIFIED)
		return error_set(err, kind, "it is so already");
	if (response_json(response, &body, NULL) == 0 && body)
		message = json_string_value(json_object_get(body, "message"));
	if (message && *message)
		return error_set(err, kind, "%s", message);
	return error_set(err, kind, "the daemon answered %s %s with status %d", request->method,
			 request->path, response->reader.status);
}

int client_open(const struct client *client, const struct request *request, struct response **ret,
		struct error *err)
{
	autoptr(response_free) struct response *response = calloc(1, sizeof(*response));
	int r;

	if (!response)
		return error_nomem(err);
	response->fd = -1;
	response->upload.read = request->body_read;
	response->upload.arg = request->body_arg;
	http_reader_init(&response->reader, request->hijack);
	r = client->path ? connect_unix(client, &response->fd, err)
			 : connect_tcp(client, &response->fd, err);
	if (r == 0)
		r = send_request(client, response->fd, request, err);
	while (r == 0 && !response->reader.header_done) {
		r = response_fill(response, err);
		if (r == 0)
			return error_set(err, ERROR_FAILED, "the daemon hung up without an answer");
		r = r < 0 ? r : 0;
	}
	if (r < 0)
		return r;
	trace(http, "status %d", response->reader.status);
	if (response->reader.status >= 300)
		response->upload.read = NULL;
	if (response->reader.status >= 400 || response->reader.status == 304)
		return refusal(response, request, err);
	*ret = steal(response);
	return 0;
}

void response_free(struct response *response)
{
	if (!response)
		return;
	if (response->fd >= 0)
		close(response->fd);
	free(response->upload.chunk);
	http_reader_done(&response->reader);
	free(response);
}

/* ------------------------------------------------------------------ answers */

int response_fill(struct response *response, struct error *err)
{
	struct http_reader *reader = &response->reader;
	char buffer[PIECE_BYTES];
	ssize_t n;
	int r;

	if (reader->ended)
		return 0;
	r = upload_until_answer(response, err);
	if (r < 0)
		return r;
	n = fd_read(response->fd, buffer, sizeof(buffer));
	if (n == -ECONNRESET)
		n = 0;
	if (n < 0)
		return error_errno(err, (int)-n, "reading the daemon's answer");
	r = n > 0 ? http_reader_feed(reader, buffer, (size_t)n, err)
		  : http_reader_finish(reader, err);
	if (r < 0)
		return r;
	return n > 0;
}

int response_json(struct response *response, json_t **ret, struct error *err)
{
	struct str *body = &response->reader.body;
	int r;

	*ret = NULL;
	while (!response->reader.ended) {
		r = response_fill(response, err);
		if (r < 0)
			return r;
		if (body->len > BODY_MAX_BYTES)
			return error_set(err, ERROR_LIMIT, "the answer is larger than %u MiB",
					 BODY_MAX_BYTES >> 20);
	}
	if (!body->len)
		return 0;
	r = json_parse(body->data, body->len, ret, err);
	return r < 0 ? error_prefix(err, r, "the daemon's answer") : 0;
}

int response_take_json(struct response *response, json_t **ret, struct error *err)
{
	struct str *body = &response->reader.body;

	for (;;) {
		const char *newline = body->len ? memchr(body->data, '\n', body->len) : NULL;
		size_t len = newline ? (size_t)(newline - body->data) : body->len;
		size_t blank;
		int r;

		if (!newline && !(response->reader.ended && body->len))
			return 0;
		for (blank = 0; blank < len; blank++)
			if (!isspace((unsigned char)body->data[blank]))
				break;
		if (blank == len) {
			str_consume(body, len + 1);
			continue;
		}
		r = json_parse(body->data, len, ret, err);
		str_consume(body, len + 1);
		return r < 0 ? error_prefix(err, r, "the daemon's answer") : 1;
	}
}

int response_next_json(struct response *response, json_t **ret, struct error *err)
{
	for (;;) {
		int r = response_take_json(response, ret, err);

		if (r != 0)
			return r;
		if (response->reader.ended)
			return 0;
		if (response->reader.body.len > LINE_MAX_BYTES)
			return error_set(err, ERROR_LIMIT, "an answer's line is larger than %u MiB",
					 LINE_MAX_BYTES >> 20);
		r = response_fill(response, err);
		if (r < 0)
			return r;
	}
}

int client_call(const struct client *client, const char *method, const char *path,
		const char *query, const json_t *body, json_t **ret, struct error *err)
{
	autoptr(response_free) struct response *response = NULL;
	autofree char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct request request = {
		.method = method,
		.path = path,
		.query = query,
		.content_type = body ? "application/json" : NULL,
		.body = text,
		.body_len = text ? strlen(text) : 0,
	};
	autojson json_t *answer = NULL;
	int r;

	if (body && !text)
		return error_nomem(err);
	r = client_open(client, &request, &response, err);
	if (r == 0)
		r = response_json(response, &answer, err);
	if (r == 0 && ret) {
		if (!answer)
			return error_set(err, ERROR_FAILED, "the daemon's answer to %s is empty",
					 path);
		*ret = steal(answer);
	}
	return r;
}
