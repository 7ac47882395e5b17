#include "hyperctl/filter.h"

#include <string.h>

int filters_add(struct str *query, const struct option_list *filters, struct error *err)
{
	autojson json_t *object = json_object();
	autofree char *text = NULL;

	if (!filters->count)
		return 0;
	for (size_t i = 0; i < filters->count; i++) {
		const char *filter = filters->items[i], *equals = strchr(filter, '=');
		autofree char *key = NULL;
		json_t *values;

		if (!equals || equals == filter)
			return error_set(err, ERROR_INVALID, "--filter '%s': expected KEY=VALUE",
					 filter);
		key = strndup(filter, (size_t)(equals - filter));
		if (!key)
			return error_nomem(err);
		values = json_object_get(object, key);
		if (!values) {
			values = json_object();
			json_object_set_new(object, key, values);
		}
		json_object_set_new(values, equals + 1, json_true());
	}
	text = json_dumps(object, JSON_COMPACT);
	if (!text)
		return error_nomem(err);
	query_add(query, "filters", text);
	return 0;
}
