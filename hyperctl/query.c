#include "hyperctl/query.h"

#include <string.h>

#include "base/clock.h"
#include "hyperctl/units.h"

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

int time_add(struct str *query, const char *key, const char *text, struct error *err)
{
	char when[32];
	int r;

	if (!text)
		return 0;
	r = since_parse(text, (int64_t)realtime_ns(), when, err);
	if (r < 0)
		return error_prefix(err, r, "--%s", key);
	query_add(query, key, when);
	return 0;
}
