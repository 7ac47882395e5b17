#include "hyperd/logdriver/json_record.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static const char *const stream_names[LOG_STREAM_COUNT] = { "stdout", "stderr" };

/* ------------------------------------------------------------------ times */

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back (months from March, so that
 * leap days come last). */
static int64_t days_from_date(int64_t year, unsigned month, unsigned day)
{
	int64_t y = month <= 2 ? year - 1 : year, era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void log_time_format(uint64_t time_ns, char out[LOG_TIME_BYTES])
{
	int64_t days = (int64_t)(time_ns / NSEC_PER_SEC / 86400) + 719468;
	unsigned second = (unsigned)(time_ns / NSEC_PER_SEC % 86400);
	int64_t era = days / 146097, of_era = days - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t m = (5 * of_year + 2) / 153;
	unsigned day = (unsigned)(of_year - (153 * m + 2) / 5 + 1);
	unsigned month = (unsigned)(m < 10 ? m + 3 : m - 9);
	unsigned fraction = (unsigned)(time_ns % NSEC_PER_SEC);
	int n;

	year += era * 400 + (month <= 2);
	n = snprintf(out, LOG_TIME_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u", (unsigned)year % 10000,
		     month, day, second / 3600, second / 60 % 60, second % 60);
	if (fraction) {
		n += snprintf(out + n, LOG_TIME_BYTES - (size_t)n, ".%09u", fraction);
		while (out[n - 1] == '0')
			n--;
	}
	out[n++] = 'Z';
	out[n] = '\0';
}

/* N digits at *P; -1 when they are not there. */
static int digits(const char **p, const char *end, unsigned n)
{
	int value = 0;

	if ((size_t)(end - *p) < n)
		return -1;
	for (; n; n--) {
		char c = *(*p)++;

		if (c < '0' || c > '9')
			return -1;
		value = value * 10 + (c - '0');
	}
	return value;
}

static bool literal(const char **p, const char *end, char c)
{
	if (*p == end || **p != c)
		return false;
	++*p;
	return true;
}

static int parse_zone(const char **p, const char *end, int *ret_seconds)
{
	int sign, hours, minutes;

	*ret_seconds = 0;
	if (literal(p, end, 'Z'))
		return 0;
	sign = literal(p, end, '+') ? 1 : literal(p, end, '-') ? -1 : 0;
	hours = digits(p, end, 2);
	if (!sign || hours < 0 || !literal(p, end, ':'))
		return -EINVAL;
	minutes = digits(p, end, 2);
	if (minutes < 0)
		return -EINVAL;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return 0;
}

int log_time_parse(const char *text, size_t len, uint64_t *ret)
{
	const char *p = text, *end = text + len;
	int year, month, day, hour, minute, second, zone;
	uint64_t fraction = 0, scale = NSEC_PER_SEC;
	int64_t seconds;

	if ((year = digits(&p, end, 4)) < 0 || !literal(&p, end, '-') ||
	    (month = digits(&p, end, 2)) < 1 || month > 12 || !literal(&p, end, '-') ||
	    (day = digits(&p, end, 2)) < 1 || day > 31 || !literal(&p, end, 'T') ||
	    (hour = digits(&p, end, 2)) < 0 || hour > 23 || !literal(&p, end, ':') ||
	    (minute = digits(&p, end, 2)) < 0 || minute > 59 || !literal(&p, end, ':') ||
	    (second = digits(&p, end, 2)) < 0 || second > 60)
		return -EINVAL;
	if (literal(&p, end, '.')) {
		const char *start = p;

		for (; p < end && isdigit((unsigned char)*p); p++) {
			scale /= 10;
			fraction += scale * (uint64_t)(*p - '0');
		}
		if (p == start)
			return -EINVAL;
	}
	if (parse_zone(&p, end, &zone) < 0 || p != end)
		return -EINVAL;
	seconds = days_from_date(year, (unsigned)month, (unsigned)day) * 86400 + hour * 3600 +
		  minute * 60 + second - zone;
	if (seconds < 0 || (uint64_t)seconds > UINT64_MAX / NSEC_PER_SEC - 1)
		return -EINVAL;
	*ret = (uint64_t)seconds * NSEC_PER_SEC + fraction;
	return 0;
}

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

static void add_query_escaped(struct str *to, const struct str *text)
{
	for (size_t i = 0; i < text->len; i++) {
		unsigned char c = (unsigned char)text->data[i];

		if (isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~')
			str_addc(to, (char)c);
		else if (c == ' ')
			str_addc(to, '+');
		else
			str_addf(to, "%%%02X", c);
	}
}

/* {"k":"v",…} as Docker shows details: "k=v,…". */
static int parse_attrs(struct scan *s, struct str *details)
{
	if (!take(s, '{'))
		return -EINVAL;
	if (take(s, '}'))
		return 0;
	do {
		autostr struct str key = STR_INIT, value = STR_INIT;

		if (parse_string(s, &key) < 0 || !take(s, ':') || parse_string(s, &value) < 0)
			return -EINVAL;
		if (details->len)
			str_addc(details, ',');
		add_query_escaped(details, &key);
		str_addc(details, '=');
		add_query_escaped(details, &value);
	} while (take(s, ','));
	return take(s, '}') ? 0 : -EINVAL;
}

static int parse_member(struct scan *s, struct json_record *ret, bool *have_time)
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
		return parse_attrs(s, &ret->details);
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

int json_record_parse(const char *line, size_t len, struct json_record *ret)
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

void json_record_done(struct json_record *record)
{
	str_done(&record->text);
	str_done(&record->details);
}
