/* Request targets, query parameters, header fields. */
#include <string.h>
#include <strings.h>

#include "hyperd/http/internal.h"

void http_fields_free(struct http_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(fields[i].name);
		free(fields[i].value);
	}
	free(fields);
}

/* Takes NAME and VALUE, also on failure; NULL for either is out of memory. */
int http_fields_add(struct http_field **fields, size_t *count, char *name, char *value)
{
	struct http_field *grown = NULL;

	/* Room is made by doubling: COUNT is a power of two when the array is full. */
	if (name && value) {
		grown = *fields;
		if ((*count & (*count - 1)) == 0)
			grown = reallocarray(*fields, *count ? *count * 2 : 1, sizeof(*grown));
	}
	if (!grown) {
		free(name);
		free(value);
		return -ENOMEM;
	}
	*fields = grown;
	grown[(*count)++] = (struct http_field){ name, value };
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int http_percent_decode(const char *text, size_t len, bool plus, char **ret)
{
	autofree char *out = malloc(len + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '+' && plus) {
			c = ' ';
		} else if (c == '%') {
			int high, low;

			if (len - i < 3)
				return -EINVAL;
			high = hex_digit(text[i + 1]);
			low = hex_digit(text[i + 2]);
			if (high < 0 || low < 0 || (high == 0 && low == 0))
				return -EINVAL;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (!c)
			return -EINVAL;
		out[n++] = c;
	}
	out[n] = 0;
	*ret = steal(out);
	return 0;
}

static int query_add(struct http_request *request, const char *text, size_t len)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;
	autofree char *name = NULL, *value = NULL;
	int r;

	r = http_percent_decode(text, name_len, true, &name);
	if (r == 0 && equals)
		r = http_percent_decode(equals + 1, len - name_len - 1, true, &value);
	else if (r == 0 && !(value = strdup("")))
		r = -ENOMEM;
	if (r < 0)
		return r;
	return http_fields_add(&request->query, &request->query_count, steal(name), steal(value));
}

int http_query_parse(struct http_request *request)
{
	char *target = request->target, *query;

	/* RFC 9112 3.2.2: the absolute form, which proxies send. */
	if (!strncasecmp(target, "http://", 7) || !strncasecmp(target, "https://", 8)) {
		target = strchr(strchr(target, ':') + 3, '/');
		if (!target)
			return -EINVAL;
	}
	if (*target != '/')
		return -EINVAL;
	request->path = target;
	query = strchr(target, '?');
	if (!query)
		return 0;
	*query++ = 0;
	query[strcspn(query, "#")] = 0;
	while (*query) {
		size_t len = strcspn(query, "&");
		int r = len ? query_add(request, query, len) : 0;

		if (r < 0)
			return r;
		query += len + (query[len] == '&');
	}
	return 0;
}

const char *http_query(const struct http_request *request, const char *name)
{
	for (size_t i = 0; i < request->query_count; i++)
		if (!strcmp(request->query[i].name, name))
			return request->query[i].value;
	return NULL;
}

char **http_query_all(const struct http_request *request, const char *name)
{
	autostrv char **values = NULL;

	for (size_t i = 0; i < request->query_count; i++)
		if (!strcmp(request->query[i].name, name) &&
		    strv_add(&values, request->query[i].value) < 0)
			return NULL;
	return steal(values);
}

bool http_query_bool(const struct http_request *request, const char *name, bool default_value)
{
	static const char *const falses[] = { "", "0", "no", "false", "none" };
	const char *value = http_query(request, name);

	if (!value)
		return default_value;
	for (size_t i = 0; i < ARRAY_SIZE(falses); i++)
		if (!strcasecmp(value, falses[i]))
			return false;
	return true;
}

int http_query_int(const struct http_request *request, const char *name, int64_t min, int64_t max,
		   int64_t *ret, struct error *err)
{
	const char *value = http_query(request, name);
	long long number;
	int r;

	if (!value || !*value)
		return 0;
	r = parse_i64(value, min, max, &number);
	if (r < 0)
		return error_set(err, ERROR_INVALID,
				 "%s=%.64s: expected a whole number from %lld to %lld", name, value,
				 (long long)min, (long long)max);
	*ret = number;
	return 0;
}

const char *http_header(const struct http_request *request, const char *name)
{
	for (size_t i = 0; i < request->header_count; i++)
		if (!strcasecmp(request->headers[i].name, name))
			return request->headers[i].value;
	return NULL;
}

const char *http_param(const struct http_request *request, const char *name)
{
	for (unsigned i = 0; i < request->param_count; i++)
		if (!strcmp(request->params[i].name, name))
			return request->params[i].value;
	return "";
}
