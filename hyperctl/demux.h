#pragma once
/*
 * Docker's framing of the two outputs of a process without terminal: 8 bytes of header (stream,
 * three zeros, length big-endian), then that many bytes. Fed with whatever pieces the socket gives;
 * hands payload out in place, without copying.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum demux_stream { DEMUX_STDIN, DEMUX_STDOUT, DEMUX_STDERR, DEMUX_SYSTEM_ERROR };

struct demux {
	unsigned char header[8];
	size_t header_len;
	uint32_t left; /* payload bytes of the current frame still to come */
};

/*
 * Takes the next piece of payload off the front of *data, *len (both are moved past what was used).
 * Returns 1 with the piece (which points into the data), 0 when all data is used up, or
 * ERROR_INVALID's errno.
 */
int demux_next(struct demux *demux, const char **data, size_t *len, enum demux_stream *ret_stream,
	       const char **ret_piece, size_t *ret_piece_len, struct error *err);
/* Whether the stream may end here. */
static inline bool demux_at_boundary(const struct demux *demux)
{
	return demux->left == 0 && (demux->header_len == 0 || demux->header_len == 8);
}
