#pragma once
/* What the server's files share. Not for other folders. */
#include <llhttp.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/str.h"
#include "base/task.h"
#include "base/tls.h"
#include "hyperd/http/http.h"

/* One read from a socket, and the most that is kept unparsed. */
#define HTTP_INPUT_BYTES (64u << 10)

struct http_listener {
	struct list node;
	struct http_server *server; /* borrowed */
	struct tls_context *tls;    /* borrowed */
	int fd;                     /* owned */
	char *name;                 /* owned */
	struct loop_io io;
	struct loop_timer retry; /* after the descriptor limit was met */
};

struct http_server {
	struct loop *loop; /* borrowed */
	const struct http_server_config *config;
	struct list listeners, connections;
	size_t connection_count;
	bool closing;
	struct cond empty;
};

/* What waits to be sent. Sent at once where the socket takes it, else when it becomes writable. */
struct http_output {
	int fd; /* owned: a dup, since the reader waits on the original */
	struct loop_io io;
	struct str buffer;
	size_t at; /* bytes of buffer that have been sent */
	struct cond drained;
	int error; /* negative once sending has failed */
	bool room_wanted, shutdown_wanted;
	uint64_t head_deadline_ns; /* of a hijacked stream's head to be read; 0: it has been */
	struct loop_timer head_timer;
	void (*room)(void *arg);
	void *room_arg;
};

struct http_connection {
	struct list node;
	struct http_server *server; /* borrowed */
	struct task *task;
	int fd;                 /* owned, non-blocking */
	struct tls_stream *tls; /* owned; NULL for plain */
	bool unix_peer;         /* a full close can be told from a half-close */
	bool keep_alive;        /* after this answer */
	bool busy;              /* with a request that has been read */
	bool gone;
	struct loop_io gone_io;
	int gone_fd; /* owned: a dup */
	bool gone_cancels;
	void (*on_gone)(void *arg);
	void *on_gone_arg;

	/* input */
	char *in; /* owned, HTTP_INPUT_BYTES */
	size_t in_at, in_len;
	bool in_eof;
	llhttp_t parser;
	bool head_done, message_done, header_value_seen, expect_continue;
	int refusal; /* HTTP status that the parser's callbacks refuse with */
	const char *refusal_text;
	size_t head_bytes, trailer_bytes;
	struct str target, field, value;
	char *body_to; /* where http_body_read() wants it */
	size_t body_len;
	int body_error;

	struct http_output output;
	struct http_request request;
};

/* transport.c: 0 at the end, -EAGAIN with *ret_wait the events to wait for. */
ssize_t http_transport_read(struct http_connection *connection, void *data, size_t len,
			    uint32_t *ret_wait);
ssize_t http_transport_write(struct http_connection *connection, const struct iovec *iov, int count,
			     uint32_t *ret_wait);
void http_transport_shutdown(struct http_connection *connection);

/* parser.c */
void http_parser_init(struct http_connection *connection);
/* Forgets the last request; keeps bytes that follow it. */
void http_request_reset(struct http_connection *connection);
/* Feeds at most LEN unparsed bytes. 0, or a negative errno with refusal set. */
int http_parser_feed(struct http_connection *connection, size_t len);
/* Task: reads more input; 0 at the end. */
ssize_t http_input_fill(struct http_connection *connection, uint64_t deadline_ns);
/* Splits target into path and decoded query. 0 or -EINVAL. */
int http_query_parse(struct http_request *request);
void http_fields_free(struct http_field *fields, size_t count);
int http_fields_add(struct http_field **fields, size_t *count, char *name, char *value);

/* output.c */
int http_output_init(struct http_connection *connection);
void http_output_done(struct http_connection *connection);
/* All or an error: what cannot be sent now is kept. */
int http_output_append(struct http_connection *connection, const struct iovec *iov, int count);
size_t http_output_pending(const struct http_connection *connection);
/* Task: waits until at most LIMIT bytes are pending. */
int http_output_wait(struct http_connection *connection, size_t limit, uint64_t deadline_ns);

/* gone.c: notices a client that leaves while nobody reads. */
int http_gone_watch(struct http_connection *connection);
void http_gone_unwatch(struct http_connection *connection);
void http_gone_set(struct http_connection *connection);

/* hijack.c: sends HEAD and ends HTTP. */
int http_hijack_head(struct http_request *request, int status, const struct str *head,
		     struct error *err);

/* route.c */
const struct http_route *http_route_find(const struct http_server_config *config,
					 struct http_request *request, int *ret_error);

/* connection.c */
void http_connection_main(void *arg);
