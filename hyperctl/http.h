#pragma once
/*
 * Reads one HTTP/1.1 response (llhttp does the parsing). Fed with what the socket gives; body bytes
 * collect in `body`, chunking undone, and belong to whoever consumes them there. After a hijack's
 * header every further byte is the stream's and collects there too.
 */
#include <llhttp.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

#define HTTP_HEADER_MAX_BYTES (64u << 10)

struct http_reader {
	llhttp_t parser;
	bool hijack; /* set by the caller: a 101 or 200 turns the connection into a raw stream */
	int status;
	char content_type[128];
	struct str path_stat; /* owned: X-Docker-Container-Path-Stat */
	struct str body;      /* owned */
	size_t header_bytes;
	bool header_done, ended, hijacked;
	/* of the header line being read */
	struct str name, value;
};

void http_reader_init(struct http_reader *reader, bool hijack);
void http_reader_done(struct http_reader *reader);
int http_reader_feed(struct http_reader *reader, const char *data, size_t len, struct error *err);
/* What X-Docker-Container-Path-Stat says, owned by the caller; ERROR_FAILED when it was not there.
 */
int http_reader_path_stat(const struct http_reader *reader, json_t **ret, struct error *err);
/* The connection has ended: fine for a body without length, an error in the middle of one. */
int http_reader_finish(struct http_reader *reader, struct error *err);
