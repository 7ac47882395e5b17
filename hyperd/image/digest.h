#pragma once
/*
 * Digests: "sha256:" and 64 hex digits in lower case, the only algorithm that images use in
 * practice. Any thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define DIGEST_HEX_BYTES  64
#define DIGEST_TEXT_BYTES 72 /* with the terminating NUL */

struct digest_stream; /* a digest being computed */

int digest_stream_new(struct digest_stream **ret, struct error *err);
void digest_stream_free(struct digest_stream *stream);
DEFINE_CLEANUP(digest_stream_free, struct digest_stream *);
int digest_stream_update(struct digest_stream *stream, const void *data, size_t len,
			 struct error *err);
/* Writes the digest's text; the stream can only be freed afterwards. */
int digest_stream_final(struct digest_stream *stream, char text[DIGEST_TEXT_BYTES],
			struct error *err);

int digest_data(const void *data, size_t len, char text[DIGEST_TEXT_BYTES], struct error *err);
/* From the descriptor's present position to its end; *ret_bytes may be NULL. Blocks. */
int digest_fd(int fd, char text[DIGEST_TEXT_BYTES], uint64_t *ret_bytes, struct error *err);

/* Whether TEXT is a whole digest of the form above. */
bool digest_is_valid(const char *text);
/* ERROR_INVALID naming WHAT, unless TEXT is a digest we can check. */
int digest_check(const char *what, const char *text, struct error *err);
/* The hex digits of a valid digest; borrowed from TEXT. */
const char *digest_hex(const char *text);
