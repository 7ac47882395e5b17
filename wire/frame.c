#include "wire/frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* Not a checksum of the payload: the channel is reliable. It tells a header from a cut-off frame's
 * remains. */
static uint32_t check(const struct frame_header *h)
{
	uint32_t c = 0x48795072u;

	c = (c ^ ((uint32_t)h->type << 16 | h->flags)) * 0x9e3779b1u;
	c = (c ^ h->length) * 0x9e3779b1u;
	c = (c ^ h->stream) * 0x9e3779b1u;
	c = (c ^ (uint32_t)h->offset) * 0x9e3779b1u;
	c = (c ^ (uint32_t)(h->offset >> 32)) * 0x9e3779b1u;
	return c ^ c >> 15;
}

void frame_header_encode(const struct frame_header *h, uint8_t *out)
{
	out[0] = FRAME_MARK;
	out[1] = (uint8_t)h->type;
	put16(out + 2, h->flags);
	put32(out + 4, h->length);
	put32(out + 8, h->stream);
	put32(out + 12, check(h));
	put32(out + 16, (uint32_t)h->offset);
	put32(out + 20, (uint32_t)(h->offset >> 32));
}

void frame_trailer_encode(const struct frame_header *h, uint8_t *out)
{
	put32(out, ~check(h));
}

int frame_header_decode(const uint8_t *in, struct frame_header *ret)
{
	struct frame_header h = {
		.type = in[1],
		.flags = (uint16_t)(in[2] | in[3] << 8),
		.length = get32(in + 4),
		.stream = get32(in + 8),
		.offset = get64(in + 16),
	};

	if (in[0] != FRAME_MARK || h.type < FRAME_CONTROL || h.type >= FRAME_TYPE_END)
		return -EBADMSG;
	if (h.length > FRAME_MAX_PAYLOAD || get32(in + 12) != check(&h))
		return -EBADMSG;
	if (h.flags & ~(h.type == FRAME_CONTROL ? FRAME_MORE : 0))
		return -EBADMSG;
	if ((h.type == FRAME_CONTROL) != (h.stream == 0))
		return -EBADMSG;
	if (h.length && h.type != FRAME_CONTROL && h.type != FRAME_DATA)
		return -EBADMSG;
	*ret = h;
	return 0;
}

int frame_trailer_check(const struct frame_header *h, const uint8_t *in)
{
	return get32(in) == ~check(h) ? 0 : -EBADMSG;
}
