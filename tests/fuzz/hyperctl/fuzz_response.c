/*
 * hyperctl's view of a daemon that sends anything: the response parser, and behind it what reads
 * the body (frames, or JSON lines). Byte 0: bit 0 a hijack was asked for, bit 1 the body is framed,
 * the rest the size of the pieces it comes in. What comes out must not depend on the pieces.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hyperctl/client.h"
#include "hyperctl/demux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that can be seen of an answer, as text. */
static void digest(const char *data, size_t size, size_t piece, bool hijack, struct str *out)
{
	struct response response = { .fd = -1 };
	struct http_reader *reader = &response.reader;
	int r = 0;

	http_reader_init(reader, hijack);
	for (size_t i = 0; r == 0 && i < size; i += piece)
		r = http_reader_feed(reader, data + i, size - i < piece ? size - i : piece, NULL);
	if (r == 0)
		r = http_reader_finish(reader, NULL);
	str_addf(out, "%d %d %d %s\n", r == 0, reader->status, reader->hijacked,
		 reader->content_type);
	/* What a broken answer gave before it broke may depend on where it was cut. */
	if (r == 0)
		str_append(out, str_text(&reader->body), reader->body.len);
	http_reader_done(reader);
}

static void read_frames(const char *data, size_t size, size_t piece)
{
	struct demux demux = { 0 };
	size_t total = 0;

	for (size_t i = 0; i < size; i += piece) {
		const char *p = data + i, *text;
		size_t left = size - i < piece ? size - i : piece, n;
		enum demux_stream stream;
		int r;

		while ((r = demux_next(&demux, &p, &left, &stream, &text, &n, NULL)) > 0) {
			total += n;
			if (n == 0 || text < data || text + n > data + size)
				abort();
		}
		if (r < 0)
			return;
	}
	if (total > size)
		abort();
}

static void read_json(const char *data, size_t size)
{
	struct response response = { .fd = -1 };
	json_t *value;

	http_reader_init(&response.reader, false);
	str_append(&response.reader.body, data, size);
	response.reader.ended = true;
	while (response_take_json(&response, &value, NULL) > 0)
		json_decref(value);
	http_reader_done(&response.reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autostr struct str whole = STR_INIT, pieces = STR_INIT;
	const char *text = (const char *)data + 1;
	size_t piece;

	if (size < 1)
		return 0;
	piece = (data[0] >> 2) + 1u;
	size--;
	digest(text, size, size ?: 1, data[0] & 1, &whole);
	digest(text, size, piece, data[0] & 1, &pieces);
	if (whole.len != pieces.len || memcmp(str_text(&whole), str_text(&pieces), whole.len) != 0)
		abort();
	if (data[0] & 2)
		read_frames(text, size, piece);
	else
		read_json(text, size);
	return 0;
}
