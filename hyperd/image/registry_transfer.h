#pragma once
/*
 * HTTP exchanges with a registry, on libcurl. Blocking: for jobs; several threads may use one
 * client. It bounds what a stranger at the other end can do: sizes, redirects, silence.
 *
 * Credentials go to the origin (scheme, host, port) they were given for and nowhere else: redirects
 * are followed here, by hand, never from https to http, and another origin gets the request without
 * them.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "hyperd/image/registry_endpoint.h"

#define TRANSFER_MAX_REDIRECTS    10
#define TRANSFER_MAX_HEADER_BYTES (256u << 10)
#define TRANSFER_MAX_ERROR_BYTES  (64u << 10) /* of the body of an answer that is no success */
#define TRANSFER_CONNECT_MS       30000
#define TRANSFER_STALL_SECONDS    60  /* with next to nothing going either way */
#define TRANSFER_STALL_BYTES      16  /* a second: less is next to nothing */
#define TRANSFER_SMALL_SECONDS    300 /* for all of an exchange that is kept in memory */

struct transfer_client;
struct transfer_response;

/* ENDPOINT is borrowed for the client's life; CANCELED, too: once true, transfers end. */
int transfer_client_new(const struct registry_endpoint *endpoint, const atomic_bool *canceled,
			struct transfer_client **ret, struct error *err);
void transfer_client_free(struct transfer_client *client);
DEFINE_CLEANUP(transfer_client_free, struct transfer_client *);

struct transfer_request {
	const char *method;
	const char *url;
	const char *authorization;    /* a whole value, or NULL */
	const char *const *headers;   /* "Name: value", NULL-terminated; may be NULL */
	const void *body;             /* with body_bytes, or NULL */
	int body_fd;                  /* a regular file, from its beginning; when body is NULL */
	uint64_t body_bytes;          /* 0: no body */
	size_t max_bytes;             /* of a body that is kept in memory */
	_Atomic uint64_t *sent_bytes; /* counts what went out; may be NULL */
	/*
	 * Gets a successful answer's body instead of memory; -errno with the error set ends the
	 * transfer. BEGIN is called once before, with the answer's header.
	 */
	int (*begin)(void *arg, const struct transfer_response *response, struct error *err);
	int (*receive)(void *arg, const void *data, size_t len, struct error *err);
	void *arg;
};

/* All owned. */
struct transfer_response {
	long status;
	char *url; /* where it came from in the end */
	char *content_type, *content_digest, *content_range, *location, *link, *range;
	char **challenges;      /* strv: WWW-Authenticate */
	int64_t content_length; /* -1: not said */
	int64_t retry_after_s;  /* -1: not said */
	struct str body;
};

#define autoresponse __attribute__((cleanup(transfer_response_done)))

void transfer_response_done(struct transfer_response *response);
/*
 * 0 with any status; -errno when there was no answer, *ret_again (may be NULL) telling whether
 * trying once more makes sense.
 */
int transfer_run(struct transfer_client *client, const struct transfer_request *request,
		 struct transfer_response *ret, bool *ret_again, struct error *err);

/* LOCATION (absolute or relative) as seen from BASE: new string. ERROR_INVALID for other schemes
 * than http and https, and for a step from https to http. */
int transfer_resolve(const char *base, const char *location, char **ret, struct error *err);
/* Whether both have the same scheme, host and port. */
bool transfer_same_origin(const char *a, const char *b);
