#pragma once
/*
 * The HTTP server: one task a connection, one request at a time, HTTP/1.1 with keep-alive and
 * pipelining (RFC 9112). A leaf: it knows no containers. All on the loop thread.
 *
 * A request is found in the server's route table and given to a handler, which runs as the
 * connection's task and may wait. A handler either answers (http_respond*, http_stream_begin,
 * http_hijack) or returns an error, which becomes {"message": "…"} with the status of its kind. The
 * request lives until the handler returns; everything in it is borrowed.
 *
 * What a stranger can use up is limited by the names below. Slow senders meet deadlines; a client
 * that leaves makes the next read or write fail, and cancels the task of handlers whose route says
 * HTTP_ROUTE_CANCEL.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"

#define HTTP_MAX_HEAD_BYTES                                             \
	(1u << 20) /* request line and header fields; dockerode repeats \
		      a whole create body in the request line */
#define HTTP_MAX_HEADERS       256
#define HTTP_MAX_TRAILER_BYTES (64u << 10)
#define HTTP_MAX_JSON_BYTES    (16u << 20) /* of a body that is parsed as a whole */
#define HTTP_MAX_CONNECTIONS   4096
#define HTTP_HEAD_DEADLINE_MS  30000            /* from its first byte to its last */
#define HTTP_IDLE_DEADLINE_MS  (10 * 60 * 1000) /* between two requests */
#define HTTP_BODY_DEADLINE_MS  60000            /* for a whole JSON body */
#define HTTP_BODY_IDLE_MS      (10 * 60 * 1000) /* between two pieces of a streamed body */
#define HTTP_WRITE_DEADLINE_MS (5 * 60 * 1000)  /* for a whole answer; streams have none */
#define HTTP_DRAIN_BYTES       (256u << 10) /* of an unread body, before the connection is closed */
/*
 * How long the first bytes of a hijacked stream may wait for the client to have read the head:
 * clients that read heads through a buffer of their own (python3-docker) lose what comes in the
 * same piece. Only over Unix sockets, whose unread bytes can be counted.
 */
#define HTTP_HEAD_TAKEN_MS       100
#define HTTP_HEAD_TAKEN_CHECK_NS 200000
#define HTTP_OUTPUT_HIGH_BYTES   (256u << 10) /* unsent output at which writers wait */

struct http_server;
struct http_request;

enum http_method_bit {
	HTTP_GET_BIT = 1,
	HTTP_HEAD_BIT = 2,
	HTTP_POST_BIT = 4,
	HTTP_PUT_BIT = 8,
	HTTP_DELETE_BIT = 16,
	HTTP_OTHER_BIT = 32,
};

/* Returns 0, or an error: it is answered when nothing has been sent, else the connection breaks. */
typedef int http_handler(struct http_request *request, struct error *err);

enum http_route_flag {
	/* The client's leaving cancels the handler's task. */
	HTTP_ROUTE_CANCEL = 1,
};

/*
 * PATTERN: "/containers/{name}/json". {name} matches one segment, {name*} one or more, slashes
 * included. The first match counts.
 */
struct http_route {
	unsigned methods; /* of enum http_method_bit */
	const char *pattern;
	http_handler *handle;
	unsigned flags;
};

struct http_field {
	char *name, *value; /* owned */
};

#define HTTP_MAX_PARAMS 4

/* Handlers read, and change nothing but `tag`. */
struct http_request {
	struct http_connection *connection; /* private */
	void *context;                      /* of the server's configuration */
	unsigned method;                    /* one bit of enum http_method_bit */
	const char *method_name;
	char *target; /* as it came */
	const char
		*path; /* the part before '?', still encoded; `begin` may move it past a prefix */
	const struct http_route *route;
	struct http_field params[HTTP_MAX_PARAMS]; /* decoded */
	unsigned param_count;
	struct http_field *query; /* decoded, in order */
	size_t query_count;
	struct http_field *headers;
	size_t header_count;
	bool upgrade_tcp; /* Connection: Upgrade and Upgrade: tcp */
	bool has_body;
	int64_t content_length; /* -1: chunked or none */
	unsigned minor;         /* of HTTP/1.x */
	unsigned tag;           /* the user's, 0 at first */
	/* private: the answer */
	struct http_field *extra;
	size_t extra_count;
	bool head_sent, chunked, hijacked, ended;
	int status;
};

struct http_server_config {
	const struct http_route *routes;
	size_t route_count;
	void *context;
	/*
	 * Called before routing, may be NULL: may set headers, move `path`, set `tag`. An error is
	 * answered.
	 */
	int (*begin)(struct http_request *request, struct error *err);
	/* Rewrites an error's body: *ret_text is a literal or NULL for the default; may be NULL. */
	const char *not_found_message; /* NULL: "page not found" */
	unsigned head_deadline_ms, idle_deadline_ms,
		body_deadline_ms; /* 0: the defaults; for tests */
};

/* CONFIG and what it points to are borrowed for the server's life. */
int http_server_new(struct loop *loop, const struct http_server_config *config,
		    struct http_server **ret, struct error *err);
/* Stops listening; existing connections go on, but their further requests are answered with 503. */
void http_server_close(struct http_server *server);
/* Task: http_server_close(), then lets the requests under way end by themselves until the deadline;
 * connections without one are closed. */
void http_server_finish(struct http_server *server, uint64_t deadline_ns);
/* Task: http_server_close(), cancels every connection, waits for their ends, frees. */
void http_server_free(struct http_server *server);
size_t http_server_connection_count(const struct http_server *server);

/* Serves one connected stream socket: takes fd, even on failure. TLS may be NULL (borrowed). */
struct tls_context;
int http_server_serve(struct http_server *server, int fd, struct tls_context *tls,
		      struct error *err);
/* Accepts from a listening socket: takes fd, even on failure. NAME is for messages; copied. */
int http_server_listen(struct http_server *server, int fd, const char *name,
		       struct tls_context *tls, struct error *err);

/* ------------------------------------------------------------------ the request */

/* A parameter of the route's pattern; never NULL for one that the pattern has. */
const char *http_param(const struct http_request *request, const char *name);
/* A header field (case does not matter) or NULL. */
const char *http_header(const struct http_request *request, const char *name);
/* The first value of a query parameter, decoded, or NULL. */
const char *http_query(const struct http_request *request, const char *name);
/* All values, as a strv owned by the caller; NULL when there is none or memory ran out. */
char **http_query_all(const struct http_request *request, const char *name);
/* Docker's booleans: missing is DEFAULT; "", 0, no, false, none (any case) are false. */
bool http_query_bool(const struct http_request *request, const char *name, bool default_value);
/* A whole number; missing or empty leaves *ret alone. */
int http_query_int(const struct http_request *request, const char *name, int64_t min, int64_t max,
		   int64_t *ret, struct error *err);

/*
 * Decodes %XX (and '+' as a space when PLUS). *ret is owned by the caller. -EINVAL for a broken
 * escape or an encoded NUL.
 */
int http_percent_decode(const char *text, size_t len, bool plus, char **ret);

/*
 * Docker's filters: {"key": ["a", "b"]} or {"key": {"a": true, "b": false}}. NULL or "" makes an
 * empty set.
 */
struct http_filters;
int http_filters_parse(const char *text, struct http_filters **ret, struct error *err);
void http_filters_free(struct http_filters *filters);
DEFINE_CLEANUP(http_filters_free, struct http_filters *);
/* The values of KEY, strv, borrowed; NULL when it is not there. */
char *const *http_filters_get(const struct http_filters *filters, const char *key);
/* Refuses keys that are not in ALLOWED (NULL-terminated), with Docker's text. */
int http_filters_check(const struct http_filters *filters, const char *const *allowed,
		       struct error *err);
/* No such key, or one value equals TEXT. */
bool http_filters_match(const struct http_filters *filters, const char *key, const char *text);

/* Task. Reads a piece of the body; 0 at its end, -errno when it is broken or the client has left.
 */
ssize_t http_body_read(struct http_request *request, void *data, size_t len, struct error *err);
/* Task. The whole body, at most MAX bytes, NUL-terminated, owned by the caller. */
int http_body_text(struct http_request *request, size_t max, char **ret, size_t *ret_len,
		   struct error *err);
/* Task. The whole body as JSON; an empty body makes *ret NULL. */
int http_body_json(struct http_request *request, json_t **ret, struct error *err);

/*
 * The body as a descriptor for blocking readers (jobs, children): a pump moves it there from a task
 * of its own. Its end of file means that the body was complete; a broken one reads as ECONNRESET.
 * *ret_fd is borrowed. Between begin and end, the handler must not read the body itself.
 */
struct http_body_pump;
int http_body_pump_begin(struct http_request *request, struct http_body_pump **ret, int *ret_fd,
			 struct error *err);
/* Task: stops the pump, closes its descriptor, frees. Returns the body's own error, if any. */
int http_body_pump_end(struct http_body_pump *pump, struct error *err);

/* ------------------------------------------------------------------ the answer */

/* An additional header field of the answer; before it begins. */
int http_add_header(struct http_request *request, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Tasks. A whole answer. */
int http_respond(struct http_request *request, int status, const char *content_type,
		 const void *data, size_t len);
int http_respond_empty(struct http_request *request, int status);
/* Takes JSON (NULL: out of memory, an error is answered). */
int http_respond_json(struct http_request *request, int status, json_t *json);
int http_respond_error(struct http_request *request, const struct error *error);
int http_error_status(enum error_kind kind);

/* A streamed answer: chunked, or until the connection's end for HTTP/1.0. */
int http_stream_begin(struct http_request *request, int status, const char *content_type);
/* Task: waits while more than HTTP_OUTPUT_HIGH_BYTES are unsent. */
int http_stream_write(struct http_request *request, const void *data, size_t len);
/* From anywhere on the loop thread, without waiting. -EPIPE when the client has left. */
int http_stream_push(struct http_request *request, const void *data, size_t len);
/* JSON and SUFFIX ("\r\n"); JSON is borrowed. */
int http_stream_push_json(struct http_request *request, const json_t *json, const char *suffix);
/* Unsent bytes of the connection. */
size_t http_output_bytes(const struct http_request *request);
/* Task: waits until everything has been sent. */
int http_output_flush(struct http_request *request, uint64_t deadline_ns);
/* Whether the client is known to have left. */
bool http_client_gone(const struct http_request *request);

/*
 * A streamed answer from a blocking writer: what is written to *ret_fd (borrowed) is sent, from a
 * task of its own. The header goes out with the first byte. END (task) waits for the rest when
 * RESULT is 0, closes and frees; with a negative RESULT and nothing sent yet, the error is still to
 * be answered by the caller, otherwise the connection breaks.
 */
struct http_answer_pump;
int http_answer_pump_begin(struct http_request *request, const char *content_type,
			   struct http_answer_pump **ret, int *ret_fd, struct error *err);
int http_answer_pump_end(struct http_answer_pump *pump, int result, struct error *err);

/* ------------------------------------------------------------------ hijacked streams */

/*
 * Ends HTTP on this connection: 101 UPGRADED when the client asked for it, else a bare 200. From
 * now on both directions are raw; the connection is closed when the handler returns.
 */
int http_hijack(struct http_request *request, const char *content_type, struct error *err);
/* Task: what the client sent, beginning with what came along with the head. 0 at its end. Another
 * task than the handler's may call it. */
ssize_t http_hijack_read(struct http_request *request, void *data, size_t len);
/*
 * From anywhere on the loop thread: takes HEADER and DATA whole or, when too much is unsent, not at
 * all. 1 taken, 0 not, -errno when the client has left. ROOM is called when more can be taken after
 * a 0.
 */
int http_hijack_push(struct http_request *request, const void *header, size_t header_len,
		     const void *data, size_t len);
/* Task: the same, but waits until it was taken. 0 or -errno. */
int http_hijack_write(struct http_request *request, const void *header, size_t header_len,
		      const void *data, size_t len);
void http_hijack_on_room(struct http_request *request, void (*room)(void *arg), void *arg);
/* Called once when the client is known to have left entirely. */
void http_hijack_on_gone(struct http_request *request, void (*gone)(void *arg), void *arg);
/* Ends the server's sending side; the client may go on sending. */
void http_hijack_shutdown(struct http_request *request);
