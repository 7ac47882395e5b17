#include "hyperd/logdriver/local_record.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define SIZE_BYTES 4u

static const char *const stream_names[LOG_STREAM_COUNT] = { "stdout", "stderr" };

/* Keys of protobuf: number and wire type. */
enum {
	ENTRY_SOURCE = 1 << 3 | 2,
	ENTRY_TIME = 2 << 3 | 0,
	ENTRY_LINE = 3 << 3 | 2,
	ENTRY_PARTIAL = 4 << 3 | 0,
	ENTRY_METADATA = 5 << 3 | 2,
	ENTRY_ATTRIBUTE = 6 << 3 | 2,
	METADATA_LAST = 1 << 3 | 0,
	METADATA_ID = 2 << 3 | 2,
	METADATA_ORDINAL = 3 << 3 | 0,
	ATTRIBUTE_KEY = 1 << 3 | 2,
	ATTRIBUTE_VALUE = 2 << 3 | 2,
};

/* ------------------------------------------------------------------ writing */

static char *put_varint(char *p, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*p++ = (char)(value | 0x80);
	*p++ = (char)value;
	return p;
}

static size_t varint_len(uint64_t value)
{
	size_t n = 1;

	for (; value >= 0x80; value >>= 7)
		n++;
	return n;
}

static char *put_metadata(char *p, const struct log_line *line)
{
	size_t id_len = strlen(line->id);
	size_t len = (line->last ? 2 : 0) + 2 + id_len + 1 + varint_len(line->ordinal);

	*p++ = ENTRY_PARTIAL;
	*p++ = 1;
	*p++ = ENTRY_METADATA;
	p = put_varint(p, len);
	if (line->last) {
		*p++ = METADATA_LAST;
		*p++ = 1;
	}
	*p++ = METADATA_ID;
	*p++ = (char)id_len;
	p = mempcpy(p, line->id, id_len);
	*p++ = METADATA_ORDINAL;
	return put_varint(p, line->ordinal);
}

static void add_size(struct str *to, size_t size)
{
	uint32_t be = htobe32((uint32_t)size);

	str_append(to, &be, sizeof(be));
}

void local_record_add(struct str *to, const struct log_line *line, const struct str *attrs)
{
	size_t text_len = log_line_text_len(line), size;
	char head[40], tail[LOG_LINE_ID_BYTES + 40], *p = head, *q = tail;

	*p++ = ENTRY_SOURCE;
	*p++ = 6;
	p = mempcpy(p, stream_names[line->stream], 6);
	*p++ = ENTRY_TIME;
	p = put_varint(p, line->time_ns);
	*p++ = ENTRY_LINE;
	p = put_varint(p, text_len);
	if (line->ordinal)
		q = put_metadata(q, line);
	size = (size_t)(p - head) + text_len + (size_t)(q - tail) + attrs->len;
	add_size(to, size);
	str_append(to, head, (size_t)(p - head));
	str_append(to, line->data, text_len);
	str_append(to, tail, (size_t)(q - tail));
	str_append(to, str_text(attrs), attrs->len);
	add_size(to, size);
}

static void add_text(struct str *to, uint8_t key, const char *text)
{
	char head[12], *p = head;

	*p++ = (char)key;
	p = put_varint(p, strlen(text));
	str_append(to, head, (size_t)(p - head));
	str_add(to, text);
}

void local_record_add_attr(struct str *attrs, const char *key, const char *value)
{
	autostr struct str pair = STR_INIT;
	char head[12], *p = head;

	add_text(&pair, ATTRIBUTE_KEY, key);
	add_text(&pair, ATTRIBUTE_VALUE, value);
	*p++ = ENTRY_ATTRIBUTE;
	p = put_varint(p, pair.len);
	str_append(attrs, head, (size_t)(p - head));
	str_append(attrs, str_text(&pair), pair.len);
}

/* ------------------------------------------------------------------ reading */

static uint32_t size_at(const char *text)
{
	uint32_t be;

	memcpy(&be, text, sizeof(be));
	return be32toh(be);
}

ssize_t local_record_cut(const char *text, size_t len)
{
	uint32_t size;

	if (len < SIZE_BYTES)
		return 0;
	size = size_at(text);
	if (size == 0 || size > LOCAL_RECORD_MAX_BYTES)
		return -EINVAL;
	if (len < size + 2 * SIZE_BYTES)
		return 0;
	if (size_at(text + SIZE_BYTES + size) != size)
		return -EINVAL;
	return (ssize_t)(size + 2 * SIZE_BYTES);
}

struct scan {
	const uint8_t *p, *end;
};

static bool take_varint(struct scan *s, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (s->p == s->end)
			return false;
		value |= (uint64_t)(*s->p & 0x7f) << shift;
		if (!(*s->p++ & 0x80)) {
			*ret = value;
			return true;
		}
	}
	return false;
}

/* One field: its number's VALUE or its BYTES. */
static bool take_field(struct scan *s, uint64_t *key, uint64_t *value, struct scan *bytes)
{
	static const uint8_t fixed[8] = { [1] = 8, [5] = 4 };
	uint64_t len;

	*bytes = (struct scan){ 0 };
	*value = 0;
	if (!take_varint(s, key))
		return false;
	switch (*key & 7) {
	case 0:
		return take_varint(s, value);
	case 2:
		if (!take_varint(s, &len))
			return false;
		break;
	default:
		len = fixed[*key & 7];
		if (!len)
			return false;
	}
	if (len > (size_t)(s->end - s->p))
		return false;
	*bytes = (struct scan){ s->p, s->p + len };
	s->p += len;
	return true;
}

static bool parse_attribute(struct scan s, struct file_record *ret)
{
	struct scan name = { 0 }, text = { 0 }, bytes;
	uint64_t key, value;

	while (s.p < s.end) {
		if (!take_field(&s, &key, &value, &bytes))
			return false;
		if (key == ATTRIBUTE_KEY)
			name = bytes;
		else if (key == ATTRIBUTE_VALUE)
			text = bytes;
	}
	file_record_add_detail(ret, (const char *)name.p, (size_t)(name.end - name.p),
			       (const char *)text.p, (size_t)(text.end - text.p));
	return true;
}

static bool parse_metadata(struct scan s, bool *last)
{
	struct scan bytes;
	uint64_t key, value;

	while (s.p < s.end) {
		if (!take_field(&s, &key, &value, &bytes))
			return false;
		if (key == METADATA_LAST)
			*last = value;
	}
	return true;
}

static bool parse_source(struct scan s, enum log_stream *ret)
{
	for (int i = 0; i < LOG_STREAM_COUNT; i++) {
		if (s.end - s.p == 6 && memcmp(s.p, stream_names[i], 6) == 0) {
			*ret = (enum log_stream)i;
			return true;
		}
	}
	return false;
}

int local_record_parse(const char *text, size_t len, struct file_record *ret)
{
	struct scan s, bytes;
	uint64_t key, value;
	bool partial = false, last = false, fine = true;

	str_clear(&ret->text);
	str_clear(&ret->details);
	ret->stream = LOG_STDOUT;
	ret->time_ns = 0;
	if (local_record_cut(text, len) != (ssize_t)len)
		return -EINVAL;
	s.p = (const uint8_t *)text + SIZE_BYTES;
	s.end = s.p + (len - 2 * SIZE_BYTES);
	while (fine && s.p < s.end) {
		if (!take_field(&s, &key, &value, &bytes))
			return -EINVAL;
		switch (key) {
		case ENTRY_SOURCE:
			fine = parse_source(bytes, &ret->stream);
			break;
		case ENTRY_TIME:
			ret->time_ns = value;
			break;
		case ENTRY_LINE:
			str_clear(&ret->text);
			str_append(&ret->text, bytes.p, (size_t)(bytes.end - bytes.p));
			break;
		case ENTRY_PARTIAL:
			partial = value;
			break;
		case ENTRY_METADATA:
			fine = parse_metadata(bytes, &last);
			break;
		case ENTRY_ATTRIBUTE:
			fine = parse_attribute(bytes, ret);
			break;
		}
	}
	if (!partial || last)
		str_addc(&ret->text, '\n');
	return fine && !ret->text.failed ? 0 : -EINVAL;
}
