/* Docker's filters in their two forms. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/http/http.h"

#define FILTERS_MAX_BYTES (256u << 10)

struct http_filters {
	size_t count;
	struct {
		char *key;     /* owned */
		char **values; /* owned, never NULL */
	} items[];
};

void http_filters_free(struct http_filters *filters)
{
	if (!filters)
		return;
	for (size_t i = 0; i < filters->count; i++) {
		free(filters->items[i].key);
		strv_free(filters->items[i].values);
	}
	free(filters);
}

static int values_parse(const char *key, json_t *value, char ***ret, struct error *err)
{
	autostrv char **values = calloc(1, sizeof(*values));
	const char *name;
	json_t *item;
	size_t i;
	int r = values ? 0 : -ENOMEM;

	if (json_is_object(value)) {
		json_object_foreach(value, name, item) {
			if (!json_is_boolean(item))
				return error_set(err, ERROR_INVALID,
						 "invalid filter: '%.64s': expected true or false",
						 key);
			/* Go's clients only ever write true; false is "not in the set". */
			if (json_is_true(item) && r == 0)
				r = strv_add(&values, name);
		}
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, item) {
			name = json_string_value(item);
			if (!name)
				return error_set(err, ERROR_INVALID,
						 "invalid filter: '%.64s': expected strings", key);
			if (r == 0)
				r = strv_add(&values, name);
		}
	} else {
		return error_set(err, ERROR_INVALID,
				 "invalid filter: '%.64s': expected a list or a map of values",
				 key);
	}
	if (r < 0)
		return error_nomem(err);
	*ret = steal(values);
	return 0;
}

int http_filters_parse(const char *text, struct http_filters **ret, struct error *err)
{
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	autojson json_t *root = NULL;
	const char *key;
	json_t *value;
	int r;

	if (text && *text && strcmp(text, "null")) {
		if (strlen(text) > FILTERS_MAX_BYTES)
			return error_set(err, ERROR_INVALID, "invalid filter: longer than %u bytes",
					 FILTERS_MAX_BYTES);
		r = json_parse(text, strlen(text), &root, err);
		if (r < 0)
			return error_prefix(err, r, "invalid filter");
		if (!json_is_object(root))
			return error_set(err, ERROR_INVALID, "invalid filter: expected an object");
	}
	filters = calloc(1, sizeof(*filters) + json_object_size(root) * sizeof(filters->items[0]));
	if (!filters)
		return error_nomem(err);
	json_object_foreach(root, key, value) {
		size_t i = filters->count;

		r = values_parse(key, value, &filters->items[i].values, err);
		if (r < 0)
			return r;
		filters->count++;
		filters->items[i].key = strdup(key);
		if (!filters->items[i].key)
			return error_nomem(err);
	}
	*ret = steal(filters);
	return 0;
}

char *const *http_filters_get(const struct http_filters *filters, const char *key)
{
	for (size_t i = 0; i < filters->count; i++)
		if (!strcmp(filters->items[i].key, key) && filters->items[i].values[0])
			return filters->items[i].values;
	return NULL;
}

int http_filters_check(const struct http_filters *filters, const char *const *allowed,
		       struct error *err)
{
	for (size_t i = 0; i < filters->count; i++) {
		bool found = false;

		for (const char *const *a = allowed; *a; a++)
			found = found || !strcmp(*a, filters->items[i].key);
		if (!found)
			return error_set(err, ERROR_INVALID, "Invalid filter '%.128s'",
					 filters->items[i].key);
	}
	return 0;
}

bool http_filters_match(const struct http_filters *filters, const char *key, const char *text)
{
	char *const *values = http_filters_get(filters, key);

	strv_for_each(value, values)
		if (!strcmp(*value, text))
			return true;
	return !values;
}
