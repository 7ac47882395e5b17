#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void str_done(struct str *s)
{
	free(s->data);
	*s = (struct str)STR_INIT;
}

void str_clear(struct str *s)
{
	s->len = 0;
	if (s->data)
		s->data[0] = '\0';
}

static bool reserve(struct str *s, size_t extra)
{
	size_t need = s->len + extra + 1, capacity = s->capacity ? s->capacity : 64;
	char *data;

	if (s->failed || need < extra)
		return false;
	if (need <= s->capacity)
		return true;
	while (capacity < need)
		capacity *= 2;
	data = realloc(s->data, capacity);
	if (!data) {
		s->failed = true;
		return false;
	}
	s->data = data;
	s->capacity = capacity;
	return true;
}

void str_append(struct str *s, const void *data, size_t len)
{
	if (!reserve(s, len))
		return;
	if (len)
		memcpy(s->data + s->len, data, len);
	s->len += len;
	s->data[s->len] = '\0';
}

void str_add(struct str *s, const char *text)
{
	str_append(s, text, strlen(text));
}

void str_addc(struct str *s, char c)
{
	str_append(s, &c, 1);
}

void str_addvf(struct str *s, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0 || !reserve(s, (size_t)n))
		return;
	vsnprintf(s->data + s->len, (size_t)n + 1, fmt, ap);
	s->len += (size_t)n;
}

void str_addf(struct str *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_addvf(s, fmt, ap);
	va_end(ap);
}

void str_consume(struct str *s, size_t n)
{
	if (n > s->len)
		n = s->len;
	if (!n)
		return;
	memmove(s->data, s->data + n, s->len - n + 1);
	s->len -= n;
}

const char *str_text(const struct str *s)
{
	return s->data && s->len ? s->data : "";
}

char *str_steal(struct str *s)
{
	char *data;

	if (!reserve(s, 0)) {
		str_done(s);
		return NULL;
	}
	s->data[s->len] = '\0';
	data = s->data;
	*s = (struct str)STR_INIT;
	return data;
}

char *strf(const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : text;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t a = strlen(s), b = strlen(suffix);

	return a >= b && memcmp(s + a - b, suffix, b) == 0;
}

bool str_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

void strv_free(char **v)
{
	for (char **p = v; p && *p; p++)
		free(*p);
	free(v);
}

size_t strv_len(char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

int strv_take(char ***v, char *text)
{
	size_t n = strv_len(*v);
	char **grown;

	if (!text)
		return -ENOMEM;
	grown = reallocarray(*v, n + 2, sizeof(*grown));
	if (!grown) {
		free(text);
		return -ENOMEM;
	}
	grown[n] = text;
	grown[n + 1] = NULL;
	*v = grown;
	return 0;
}

int strv_add(char ***v, const char *s)
{
	return strv_take(v, strdup(s));
}

int strv_addf(char ***v, const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return n < 0 ? -ENOMEM : strv_take(v, text);
}

char **strv_copy(char *const *v)
{
	char **copy = calloc(strv_len(v) + 1, sizeof(*copy));
	size_t n = 0;

	if (!copy)
		return NULL;
	strv_for_each(p, v) {
		copy[n] = strdup(*p);
		if (!copy[n++]) {
			strv_free(copy);
			return NULL;
		}
	}
	return copy;
}

char **strv_split(const char *s, char separator)
{
	char **v = NULL;

	for (;;) {
		const char *end = strchrnul(s, separator);

		if (strv_take(&v, strndup(s, (size_t)(end - s))) < 0) {
			strv_free(v);
			return NULL;
		}
		if (!*end)
			return v;
		s = end + 1;
	}
}

int parse_u64(const char *s, unsigned long long min, unsigned long long max,
	      unsigned long long *ret)
{
	unsigned long long value;
	char *end;

	if (!s || *s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(s, &end, 10);
	if (*end)
		return -EINVAL;
	if (errno || value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

int parse_i64(const char *s, long long min, long long max, long long *ret)
{
	const char *digits = s && *s == '-' ? s + 1 : s;
	long long value;
	char *end;

	if (!digits || *digits < '0' || *digits > '9')
		return -EINVAL;
	errno = 0;
	value = strtoll(s, &end, 10);
	if (*end)
		return -EINVAL;
	if (errno || value < min || value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}
