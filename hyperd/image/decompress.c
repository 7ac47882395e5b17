#include "hyperd/image/decompress.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define BUFFER_BYTES    (128u << 10)
#define ZSTD_WINDOW_LOG 27 /* 128 MiB, what `zstd --long` makes by default */

struct decompressor {
	decompress_source_fn *read;
	void *arg;
	enum compression kind;
	bool looked, ended;    /* ended: of the source */
	unsigned char *buffer; /* owned */
	size_t start, end;
	z_stream gzip;
	bool gzip_ready, between; /* between: no member or frame is open */
	ZSTD_DStream *zstd;       /* owned */
};

int decompressor_new(decompress_source_fn *read, void *arg, struct decompressor **ret,
		     struct error *err)
{
	struct decompressor *d = calloc(1, sizeof(*d));

	if (!d || !(d->buffer = malloc(BUFFER_BYTES))) {
		free(d);
		return error_nomem(err);
	}
	d->read = read;
	d->arg = arg;
	*ret = d;
	return 0;
}

void decompressor_free(struct decompressor *d)
{
	if (!d)
		return;
	if (d->gzip_ready)
		inflateEnd(&d->gzip);
	ZSTD_freeDStream(d->zstd);
	free(d->buffer);
	free(d);
}

enum compression decompressor_kind(const struct decompressor *d)
{
	return d->kind;
}

/* Adds to what is in the buffer; at the end of the source sets `ended`. */
static int fill(struct decompressor *d, struct error *err)
{
	ssize_t n;

	if (d->start == d->end)
		d->start = d->end = 0;
	n = d->read(d->arg, d->buffer + d->end, BUFFER_BYTES - d->end, err);
	if (n < 0)
		return (int)n;
	d->end += (size_t)n;
	d->ended = n == 0;
	return 0;
}

static int start_gzip(struct decompressor *d, struct error *err)
{
	if (inflateInit2(&d->gzip, 16 + MAX_WBITS) != Z_OK)
		return error_nomem(err);
	d->gzip_ready = true;
	d->between = true;
	return 0;
}

static int start_zstd(struct decompressor *d, struct error *err)
{
	d->zstd = ZSTD_createDStream();
	if (!d->zstd)
		return error_nomem(err);
	ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	d->between = true;
	return 0;
}

static int refuse(struct decompressor *d, struct error *err)
{
	(void)d;
	return error_set(
		err, ERROR_UNSUPPORTED,
		"compressed with bzip2 or xz: only gzip, zstd and no compression are read");
}

static const struct {
	const char *magic;
	size_t len;
	enum compression kind;
	int (*start)(struct decompressor *d, struct error *err);
} kinds[] = {
	{ "\x1f\x8b", 2, COMPRESSION_GZIP, start_gzip },
	{ "\x28\xb5\x2f\xfd", 4, COMPRESSION_ZSTD, start_zstd },
	{ "BZh", 3, COMPRESSION_NONE, refuse },
	{ "\xfd"
	  "7zXZ",
	  5, COMPRESSION_NONE, refuse },
};

static int look(struct decompressor *d, struct error *err)
{
	int r = 0;

	while (r == 0 && !d->ended && d->end < 8)
		r = fill(d, err);
	if (r < 0)
		return r;
	d->looked = true;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (d->end < kinds[i].len || memcmp(d->buffer, kinds[i].magic, kinds[i].len) != 0)
			continue;
		d->kind = kinds[i].kind;
		return kinds[i].start(d, err);
	}
	return 0;
}

static int cut_off(const char *kind, struct error *err)
{
	return error_set(err, ERROR_INVALID, "the %s stream is cut off", kind);
}

/* Tools pad with zeros; anything else after the last member is not ours to guess about. */
static int check_rest(struct decompressor *d, struct error *err)
{
	for (;;) {
		int r;

		for (; d->start < d->end; d->start++)
			if (d->buffer[d->start])
				return error_set(err, ERROR_INVALID,
						 "garbage after the compressed stream");
		if (d->ended)
			return 0;
		r = fill(d, err);
		if (r < 0)
			return r;
	}
}

static ssize_t read_gzip(struct decompressor *d, void *buf, size_t len, struct error *err)
{
	d->gzip.next_out = buf;
	d->gzip.avail_out = (uInt)len;
	while (d->gzip.avail_out == len) {
		int r = 0, z;

		if (d->start == d->end && !d->ended)
			r = fill(d, err);
		if (r < 0)
			return r;
		if (d->between && d->start == d->end)
			return 0;
		if (d->start == d->end)
			return cut_off("gzip", err);
		if (d->between && d->buffer[d->start] != 0x1f)
			return check_rest(d, err);
		d->between = false;
		d->gzip.next_in = d->buffer + d->start;
		d->gzip.avail_in = (uInt)(d->end - d->start);
		z = inflate(&d->gzip, Z_NO_FLUSH);
		d->start = d->end - d->gzip.avail_in;
		if (z == Z_STREAM_END) {
			d->between = true;
			inflateReset(&d->gzip);
		} else if (z != Z_OK && z != Z_BUF_ERROR) {
			return error_set(err, ERROR_INVALID, "the gzip stream is damaged: %s",
					 d->gzip.msg ? d->gzip.msg : "unknown reason");
		}
	}
	return (ssize_t)(len - d->gzip.avail_out);
}

static ssize_t read_zstd(struct decompressor *d, void *buf, size_t len, struct error *err)
{
	ZSTD_outBuffer out = { buf, len, 0 };

	while (out.pos == 0) {
		ZSTD_inBuffer in;
		size_t z, before;
		int r = 0;

		if (d->start == d->end && !d->ended)
			r = fill(d, err);
		if (r < 0)
			return r;
		if (d->start == d->end && d->between)
			return 0;
		in = (ZSTD_inBuffer){ d->buffer + d->start, d->end - d->start, 0 };
		before = in.pos;
		z = ZSTD_decompressStream(d->zstd, &out, &in);
		if (ZSTD_isError(z))
			return error_set(err, ERROR_INVALID, "the zstd stream is damaged: %s",
					 ZSTD_getErrorName(z));
		d->start += in.pos;
		d->between = z == 0;
		if (d->ended && in.pos == before && out.pos == 0 && d->start == d->end)
			return cut_off("zstd", err);
	}
	return (ssize_t)out.pos;
}

static ssize_t read_plain(struct decompressor *d, void *buf, size_t len, struct error *err)
{
	size_t have = d->end - d->start;

	if (have == 0)
		return d->read(d->arg, buf, len, err);
	if (have > len)
		have = len;
	memcpy(buf, d->buffer + d->start, have);
	d->start += have;
	return (ssize_t)have;
}

ssize_t decompressor_read(struct decompressor *d, void *buf, size_t len, struct error *err)
{
	int r = d->looked ? 0 : look(d, err);

	if (r < 0)
		return r;
	switch (d->kind) {
	case COMPRESSION_GZIP:
		return read_gzip(d, buf, len, err);
	case COMPRESSION_ZSTD:
		return read_zstd(d, buf, len, err);
	default:
		return read_plain(d, buf, len, err);
	}
}
