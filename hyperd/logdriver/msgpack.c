#include "hyperd/logdriver/msgpack.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"

#define DEPTH_MAX 8

/* ------------------------------------------------------------------ writing */

/* A first byte and a number of BYTES bytes, big-endian. */
static void add_head(struct str *to, uint8_t first, uint64_t number, unsigned bytes)
{
	uint64_t be = htobe64(number << (64 - 8 * bytes));
	char head[9] = { (char)first };

	memcpy(head + 1, &be, bytes);
	str_append(to, head, 1 + bytes);
}

void msgpack_add_array(struct str *to, size_t count)
{
	if (count < 16)
		str_addc(to, (char)(0x90 | count));
	else
		add_head(to, 0xdd, count, 4);
}

void msgpack_add_map(struct str *to, size_t count)
{
	if (count < 16)
		str_addc(to, (char)(0x80 | count));
	else
		add_head(to, 0xdf, count, 4);
}

void msgpack_add_text(struct str *to, const char *text, size_t len)
{
	if (len < 32)
		str_addc(to, (char)(0xa0 | len));
	else if (len < 256)
		add_head(to, 0xd9, len, 1);
	else if (len < 65536)
		add_head(to, 0xda, len, 2);
	else
		add_head(to, 0xdb, len, 4);
	str_append(to, text, len);
}

void msgpack_add_uint(struct str *to, uint64_t value)
{
	if (value < 128)
		str_addc(to, (char)value);
	else if (value <= UINT32_MAX)
		add_head(to, 0xce, value, 4);
	else
		add_head(to, 0xcf, value, 8);
}

void msgpack_add_time(struct str *to, uint64_t time_ns)
{
	/* Extension of type 0, eight bytes. */
	add_head(to, 0xd7, 0, 1);
	time_ns = (time_ns / NSEC_PER_SEC) << 32 | time_ns % NSEC_PER_SEC;
	time_ns = htobe64(time_ns);
	str_append(to, &time_ns, sizeof(time_ns));
}

/* ------------------------------------------------------------------ reading */

struct scan {
	const uint8_t *p, *end;
};

/* 1: done; 0: more must come; -EINVAL. */
static int take_number(struct scan *s, unsigned bytes, uint64_t *ret)
{
	*ret = 0;
	if ((size_t)(s->end - s->p) < bytes)
		return 0;
	for (; bytes; bytes--)
		*ret = *ret << 8 | *s->p++;
	return 1;
}

static int take_bytes(struct scan *s, uint64_t len)
{
	if ((uint64_t)(s->end - s->p) < len)
		return 0;
	s->p += len;
	return 1;
}

/* What a first byte says: bytes of length behind it, then so many bytes (fixed), or values. */
struct shape {
	enum { SHAPE_BYTES, SHAPE_TEXT, SHAPE_ARRAY, SHAPE_MAP, SHAPE_NONE } kind;
	unsigned len_bytes;
	unsigned extra; /* fixed bytes behind, beside the length's */
	uint64_t count; /* where there is no length */
};

/* From 0xc0 on. */
static const struct shape shapes[32] = {
	[0x00] = { SHAPE_BYTES },                                    /* nil */
	[0x01] = { SHAPE_NONE },        [0x02] = { SHAPE_BYTES },    /* false, true */
	[0x03] = { SHAPE_BYTES },       [0x04] = { SHAPE_BYTES, 1 }, /* bin */
	[0x05] = { SHAPE_BYTES, 2 },    [0x06] = { SHAPE_BYTES, 4 },
	[0x07] = { SHAPE_BYTES, 1, 1 }, /* ext: a type beside */
	[0x08] = { SHAPE_BYTES, 2, 1 }, [0x09] = { SHAPE_BYTES, 4, 1 },
	[0x0a] = { SHAPE_BYTES, 0, 4 },                                 /* floats */
	[0x0b] = { SHAPE_BYTES, 0, 8 }, [0x0c] = { SHAPE_BYTES, 0, 1 }, /* unsigned */
	[0x0d] = { SHAPE_BYTES, 0, 2 }, [0x0e] = { SHAPE_BYTES, 0, 4 },
	[0x0f] = { SHAPE_BYTES, 0, 8 }, [0x10] = { SHAPE_BYTES, 0, 1 }, /* signed */
	[0x11] = { SHAPE_BYTES, 0, 2 }, [0x12] = { SHAPE_BYTES, 0, 4 },
	[0x13] = { SHAPE_BYTES, 0, 8 }, [0x14] = { SHAPE_BYTES, 0, 2 }, /* fixext, with its type */
	[0x15] = { SHAPE_BYTES, 0, 3 }, [0x16] = { SHAPE_BYTES, 0, 5 },
	[0x17] = { SHAPE_BYTES, 0, 9 }, [0x18] = { SHAPE_BYTES, 0, 17 },
	[0x19] = { SHAPE_TEXT, 1 },     [0x1a] = { SHAPE_TEXT, 2 },
	[0x1b] = { SHAPE_TEXT, 4 },     [0x1c] = { SHAPE_ARRAY, 2 },
	[0x1d] = { SHAPE_ARRAY, 4 },    [0x1e] = { SHAPE_MAP, 2 },
	[0x1f] = { SHAPE_MAP, 4 },
};

static struct shape shape_of(uint8_t c)
{
	if (c < 0x80 || c >= 0xe0)
		return (struct shape){ SHAPE_BYTES, 0, 0, 0 };
	if (c < 0x90)
		return (struct shape){ SHAPE_MAP, 0, 0, c & 15 };
	if (c < 0xa0)
		return (struct shape){ SHAPE_ARRAY, 0, 0, c & 15 };
	if (c < 0xc0)
		return (struct shape){ SHAPE_TEXT, 0, 0, c & 31 };
	return shapes[c - 0xc0];
}

/* The head of a value: its shape with the count filled in. */
static int take_head(struct scan *s, struct shape *ret)
{
	int r = 1;

	if (s->p == s->end)
		return 0;
	*ret = shape_of(*s->p++);
	if (ret->kind == SHAPE_NONE)
		return -EINVAL;
	if (ret->len_bytes)
		r = take_number(s, ret->len_bytes, &ret->count);
	return r;
}

static int skip_value(struct scan *s, unsigned depth)
{
	struct shape shape;
	int r = take_head(s, &shape);

	if (r <= 0)
		return r;
	if (shape.kind == SHAPE_BYTES || shape.kind == SHAPE_TEXT)
		return take_bytes(s, shape.count + shape.extra);
	if (depth == DEPTH_MAX)
		return -EINVAL;
	if (shape.kind == SHAPE_MAP)
		shape.count *= 2;
	for (uint64_t i = 0; i < shape.count && r > 0; i++)
		r = skip_value(s, depth + 1);
	return r;
}

/* A text, where it stands; others are skipped and *ret is NULL. */
static int take_text(struct scan *s, const char **ret, size_t *ret_len)
{
	struct scan at = *s;
	struct shape shape;
	int r = take_head(&at, &shape);

	*ret = NULL;
	if (r <= 0)
		return r;
	if (shape.kind != SHAPE_TEXT)
		return skip_value(s, 1);
	*ret = (const char *)at.p;
	*ret_len = shape.count;
	r = take_bytes(&at, shape.count);
	*s = at;
	return r;
}

ssize_t msgpack_find(const char *data, size_t len, const char *key, const char **ret,
		     size_t *ret_len)
{
	struct scan s = { (const uint8_t *)data, (const uint8_t *)data + len };
	struct shape shape;
	int r = take_head(&s, &shape);

	*ret = NULL;
	if (r <= 0)
		return r;
	if (shape.kind != SHAPE_MAP) {
		s.p = (const uint8_t *)data;
		r = skip_value(&s, 0);
		return r <= 0 ? r : (const char *)s.p - data;
	}
	for (uint64_t i = 0; i < shape.count; i++) {
		const char *name, *text;
		size_t name_len = 0, text_len = 0;

		r = take_text(&s, &name, &name_len);
		if (r > 0)
			r = take_text(&s, &text, &text_len);
		if (r <= 0)
			return r;
		if (name && text && name_len == strlen(key) && memcmp(name, key, name_len) == 0) {
			*ret = text;
			*ret_len = text_len;
		}
	}
	return (const char *)s.p - data;
}
