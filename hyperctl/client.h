#pragma once
/*
 * The daemon's API as a client sees it: where it is, one connection a request, answers whole or in
 * pieces. Everything blocks, except that a response's socket may be polled and read when it is
 * ready.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperctl/http.h"

#define CLIENT_HOST_DEFAULT "unix:///run/hyper/hyper.sock"

struct client {
	char *host;           /* owned; as the user wrote it */
	char *path;           /* owned; unix socket, or NULL */
	char *address, *port; /* owned; TCP, or NULL */
};

/* HOST NULL: HYPER_HOST, else the default. Does not connect. */
int client_init(struct client *client, const char *host, struct error *err);
void client_done(struct client *client);

struct request {
	const char *method;
	const char *path;  /* encoded */
	const char *query; /* encoded, may be NULL or "" */
	const char *content_type;
	const void *body; /* with body_len; NULL: none */
	size_t body_len;
	/* Sent in chunks, until it returns 0 (the end) or -errno with the error set; instead of
	 * body. */
	ssize_t (*body_read)(void *arg, void *data, size_t len, struct error *err);
	void *body_arg;
	const char *registry_auth; /* X-Registry-Auth, may be NULL */
	bool hijack;
};

/* A request's body that is still being sent. */
struct upload {
	ssize_t (*read)(void *arg, void *data, size_t len, struct error *err); /* NULL: none */
	void *arg;
	char *chunk; /* owned; being sent from `sent` on */
	size_t len, sent;
	bool last;
};

/* An answer whose header has come: its body is still to be read. */
struct response {
	int fd; /* owned */
	struct http_reader reader;
	struct upload upload;
};

/*
 * Sends the request and waits for the answer's header. A status of 400 and more, and 304, is an
 * error that carries the daemon's message, with its kind by status.
 */
int client_open(const struct client *client, const struct request *request, struct response **ret,
		struct error *err);
void response_free(struct response *response);
DEFINE_CLEANUP(response_free, struct response *);

/* Reads once from the socket (waiting for it, unless it is ready) into reader.body. 1, or 0 at the
 * end. */
int response_fill(struct response *response, struct error *err);
/* The rest of the body as JSON, at most 64 MiB; *ret is NULL when the body is empty. */
int response_json(struct response *response, json_t **ret, struct error *err);
/*
 * The next of the body's JSON objects, one a line. 1 with the object (owned by the caller), 0 at
 * the end.
 */
int response_next_json(struct response *response, json_t **ret, struct error *err);
/* The same from what has been read already: 0 when there is no whole line. */
int response_take_json(struct response *response, json_t **ret, struct error *err);

/*
 * A whole call. BODY (borrowed) and RET may be NULL. What stands in PATH has to be encoded
 * already (path_encode).
 */
int client_call(const struct client *client, const char *method, const char *path,
		const char *query, const json_t *body, json_t **ret, struct error *err);

/* A name for a place in a path: "/" stays, as image names need it. New memory. */
char *path_encode(const char *name);
/* Appends "key=value" (encoded), parted by '&'. VALUE NULL: nothing. */
void query_add(struct str *query, const char *key, const char *value);
void query_addf(struct str *query, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
