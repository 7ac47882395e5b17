#include "hyperd/logdriver/json_record.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const stream_names[LOG_STREAM_COUNT] = { "stdout", "stderr" };

/* ------------------------------------------------------------------ writing */

/* Length of the valid UTF-8 sequence at S, 0 when there is none. */
static size_t utf8_len(const uint8_t *s, size_t left)
{
	size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	if (s[0] < 0xc2 || s[0] > 0xf4 || left < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static bool is_plain(uint8_t c)
{
	static const bool special[256] = {
		[0 ... 31] = true, ['"'] = true, ['\\'] = true,        ['<'] = true,
		['>'] = true,      ['&'] = true, [128 ... 255] = true,
	};

	return !special[c];
}

/* What stands at S and is not plain; returns how many bytes it was. */
static size_t escape_one(struct str *to, const uint8_t *s, size_t left)
{
	static const char short_for[128] = {
		['"'] = '"', ['\\'] = '\\', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'
	};
	size_t n;

	if (s[0] < 0x80) {
		if (short_for[s[0]]) {
			char two[2] = { '\\', short_for[s[0]] };

			str_append(to, two, 2);
		} else {
			str_addf(to, "\\u%04x", s[0]);
		}
		return 1;
	}
	n = utf8_len(s, left);
	if (n == 0) {
		str_add(to, "\\ufffd");
		return 1;
	}
	if (n == 3 && s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0xa8 || s[2] == 0xa9))
		str_addf(to, "\\u202%c", s[2] == 0xa8 ? '8' : '9');
	else
		str_append(to, s, n);
	return n;
}

/* How many bytes at S stand for themselves. */
static size_t plain_run(const uint8_t *s, size_t len)
{
	size_t i = 0;

	while (i < len && is_plain(s[i]))
		i++;
	return i;
}

void json_escape(struct str *to, const char *text, size_t len)
{
	const uint8_t *s = (const uint8_t *)text;

	while (len) {
		size_t n = plain_run(s, len);

		if (n)
			str_append(to, s, n);
		if (n < len)
			n += escape_one(to, s + n, len - n);
		s += n;
		len -= n;
	}
}

/* What stands around a line is put together once for all lines alike. */
void json_record_add(struct str *to, enum log_stream stream, const char *time, const char *attrs,
		     const char *data, size_t len)
{
	bool newline = len && data[len - 1] == '\n';
	char tail[160];
	int n;

	str_append(to, "{\"log\":\"", 8);
	json_escape(to, data, len - newline);
	if (!*attrs) {
		char *p = tail;

		p = mempcpy(p, "\\n\",\"stream\":\"", 14);
		p = mempcpy(p, stream_names[stream], 6);
		p = mempcpy(p, "\",\"time\":\"", 10);
		p = stpcpy(p, time);
		p = mempcpy(p, "\"}\n", 3);
		n = (int)(p - tail);
		str_append(to, newline ? tail : tail + 2, (size_t)(newline ? n : n - 2));
		return;
	}
	str_add(to, newline ? "\\n\",\"stream\":\"" : "\",\"stream\":\"");
	str_append(to, stream_names[stream], 6);
	str_append(to, "\",", 2);
	str_add(to, attrs);
	str_append(to, "\"time\":\"", 8);
	str_add(to, time);
	str_append(to, "\"}\n", 3);
}

/* ------------------------------------------------------------------ reading */

struct scan {
	const char *p, *end;
};

static bool literal(const char **p, const char *end, char c)
{
	if (*p == end || **p != c)
		return false;
	++*p;
	return true;
}

static void skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}

static bool take(struct scan *s, char c)
{
	skip_space(s);
	return literal(&s->p, s->end, c);
}

static int hex4(struct scan *s)
{
	int value = 0;

	if (s->end - s->p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = *s->p++;

		if (!isxdigit((unsigned char)c))
			return -1;
		value = value * 16 + (isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10);
	}
	return value;
}

static void add_utf8(struct str *to, uint32_t code)
{
	char b[4];
	size_t n = 0;

	if (code < 0x80) {
		b[n++] = (char)code;
	} else if (code < 0x800) {
		b[n++] = (char)(0xc0 | code >> 6);
		b[n++] = (char)(0x80 | (code & 63));
	} else if (code < 0x10000) {
		b[n++] = (char)(0xe0 | code >> 12);
		b[n++] = (char)(0x80 | (code >> 6 & 63));
		b[n++] = (char)(0x80 | (code & 63));
	} else {
		b[n++] = (char)(0xf0 | code >> 18);
		b[n++] = (char)(0x80 | (code >> 12 & 63));
		b[n++] = (char)(0x80 | (code >> 6 & 63));
		b[n++] = (char)(0x80 | (code & 63));
	}
	str_append(to, b, n);
}

static int parse_unicode(struct scan *s, struct str *to)
{
	int code = hex4(s), low;

	if (code < 0)
		return -EINVAL;
	if (code >= 0xd800 && code < 0xdc00 && s->end - s->p >= 6 && s->p[0] == '\\' &&
	    s->p[1] == 'u') {
		struct scan second = { s->p + 2, s->end };

		low = hex4(&second);
		if (low >= 0xdc00 && low < 0xe000) {
			*s = second;
			add_utf8(to, 0x10000u + ((uint32_t)(code - 0xd800) << 10) +
					     (uint32_t)(low - 0xdc00));
			return 0;
		}
	}
	add_utf8(to, code >= 0xd800 && code < 0xe000 ? 0xfffd : (uint32_t)code);
	return 0;
}

static int parse_escape(struct scan *s, struct str *to)
{
	static const char plain[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
	const char *found;
	char c;

	if (s->p == s->end)
		return -EINVAL;
	c = *s->p++;
	if (c == 'u')
		return parse_unicode(s, to);
	found = c ? strchr(plain, c) : NULL;
	if (!found)
		return -EINVAL;
	str_addc(to, means[found - plain]);
	return 0;
}

/* Appends the string's text to TO. */
static int parse_string(struct scan *s, struct str *to)
{
	if (!take(s, '"'))
		return -EINVAL;
	for (;;) {
		const char *start = s->p;

		while (s->p < s->end && *s->p != '"' && *s->p != '\\')
			s->p++;
		str_append(to, start, (size_t)(s->p - start));
		if (s->p == s->end)
			return -EINVAL;
		if (*s->p++ == '"')
			return to->failed ? -EINVAL : 0;
		if (parse_escape(s, to) < 0)
			return -EINVAL;
	}
}

/* A string without escapes, where it stands; false when there is an escape, or no string. */
static bool take_slice(struct scan *s, const char **ret, size_t *ret_len)
{
	struct scan at = *s;
	const char *end;

	if (!take(&at, '"'))
		return false;
	end = memchr(at.p, '"', (size_t)(at.end - at.p));
	if (!end || memchr(at.p, '\\', (size_t)(end - at.p)))
		return false;
	*ret = at.p;
	*ret_len = (size_t)(end - at.p);
	s->p = end + 1;
	return true;
}

static bool slice_is(const char *slice, size_t len, const char *text)
{
	return strlen(text) == len && memcmp(slice, text, len) == 0;
}

/* {"k":"v",…} as Docker shows details: "k=v,…". */
static int parse_attrs(struct scan *s, struct file_record *ret)
{
	if (!take(s, '{'))
		return -EINVAL;
	if (take(s, '}'))
		return 0;
	do {
		autostr struct str key = STR_INIT, value = STR_INIT;

		if (parse_string(s, &key) < 0 || !take(s, ':') || parse_string(s, &value) < 0)
			return -EINVAL;
		file_record_add_detail(ret, str_text(&key), key.len, str_text(&value), value.len);
	} while (take(s, ','));
	return take(s, '}') ? 0 : -EINVAL;
}

static int parse_member(struct scan *s, struct file_record *ret, bool *have_time)
{
	const char *key, *value;
	size_t key_len, len;

	/* Neither our writer nor Docker's escapes anything in keys, stream names and times. */
	if (!take_slice(s, &key, &key_len) || !take(s, ':'))
		return -EINVAL;
	if (slice_is(key, key_len, "log")) {
		str_clear(&ret->text);
		return parse_string(s, &ret->text);
	}
	if (slice_is(key, key_len, "attrs"))
		return parse_attrs(s, ret);
	if (!take_slice(s, &value, &len))
		return -EINVAL;
	if (slice_is(key, key_len, "stream")) {
		for (int i = 0; i < LOG_STREAM_COUNT; i++)
			if (slice_is(value, len, stream_names[i])) {
				ret->stream = (enum log_stream)i;
				return 0;
			}
		return -EINVAL;
	}
	if (slice_is(key, key_len, "time")) {
		*have_time = true;
		return log_time_parse(value, len, &ret->time_ns);
	}
	return 0;
}

int json_record_parse(const char *line, size_t len, struct file_record *ret)
{
	struct scan s = { line, line + len };
	bool have_time = false;

	str_clear(&ret->text);
	str_clear(&ret->details);
	ret->stream = LOG_STDOUT;
	if (!take(&s, '{'))
		return -EINVAL;
	do {
		if (parse_member(&s, ret, &have_time) < 0)
			return -EINVAL;
	} while (take(&s, ','));
	if (!take(&s, '}') || !have_time)
		return -EINVAL;
	skip_space(&s);
	return s.p == s.end ? 0 : -EINVAL;
}
