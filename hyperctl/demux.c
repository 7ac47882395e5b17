#include "hyperctl/demux.h"

#include <string.h>

static int header_check(const struct demux *demux, struct error *err)
{
	const unsigned char *h = demux->header;

	if (h[0] > DEMUX_SYSTEM_ERROR || h[1] || h[2] || h[3])
		return error_set(err, ERROR_INVALID,
				 "the output is not framed as expected (header %02x%02x%02x%02x)",
				 h[0], h[1], h[2], h[3]);
	return 0;
}

int demux_next(struct demux *demux, const char **data, size_t *len, enum demux_stream *ret_stream,
	       const char **ret_piece, size_t *ret_piece_len, struct error *err)
{
	while (demux->left == 0) {
		const unsigned char *h = demux->header;
		size_t need, n;

		if (demux->header_len == sizeof(demux->header))
			demux->header_len = 0;
		need = sizeof(demux->header) - demux->header_len;
		n = *len < need ? *len : need;
		memcpy(demux->header + demux->header_len, *data, n);
		demux->header_len += n;
		*data += n;
		*len -= n;
		if (demux->header_len < sizeof(demux->header))
			return 0;
		if (header_check(demux, err) < 0) {
			demux->header_len = 0;
			return error_kind_errno(ERROR_INVALID);
		}
		demux->left =
			(uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
	}
	if (*len == 0)
		return 0;
	*ret_stream = (enum demux_stream)demux->header[0];
	*ret_piece = *data;
	*ret_piece_len = *len < demux->left ? *len : demux->left;
	*data += *ret_piece_len;
	*len -= *ret_piece_len;
	demux->left -= (uint32_t)*ret_piece_len;
	return 1;
}
