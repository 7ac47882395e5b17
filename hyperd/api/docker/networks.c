/*
 * Networks as far as there are any: the three names that every Docker client expects, all of which
 * mean loopback.
 */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

static const struct {
	const char *name, *driver, *id;
} networks[] = {
	{ "bridge", "bridge", "b000000000000000000000000000000000000000000000000000000000000001" },
	{ "host", "host", "b000000000000000000000000000000000000000000000000000000000000002" },
	{ "none", "null", "b000000000000000000000000000000000000000000000000000000000000003" },
};

static json_t *network_json(size_t i)
{
	return json_pack("{s:s,s:s,s:o,s:s,s:s,s:b,s:{s:s,s:n,s:[]},s:b,s:b,s:b,s:{s:s},s:b,s:{},s:"
			 "{},s:{}}",
			 "Name", networks[i].name, "Id", networks[i].id, "Created",
			 api_json_time(0), "Scope", "local", "Driver", networks[i].driver,
			 "EnableIPv6", 0, "IPAM", "Driver", "default", "Options", "Config",
			 "Internal", 0, "Attachable", 0, "Ingress", 0, "ConfigFrom", "Network", "",
			 "ConfigOnly", 0, "Containers", "Options", "Labels");
}

int docker_network_list(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "dangling", "driver", "id",   "label",
					       "name",     "scope",  "type", NULL };
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	char *const *names, *const *ids;
	json_t *array;
	int r = http_filters_parse(http_query(request, "filters"), &filters, err);

	if (r == 0)
		r = http_filters_check(filters, allowed, err);
	if (r < 0)
		return r;
	names = http_filters_get(filters, "name");
	ids = http_filters_get(filters, "id");
	array = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(networks); i++) {
		bool name_fits = !names, id_fits = !ids;

		strv_for_each(name, names)
			name_fits = name_fits || strstr(networks[i].name, *name);
		strv_for_each(id, ids)
			id_fits = id_fits || str_starts(networks[i].id, *id);
		if (name_fits && id_fits && !http_filters_get(filters, "label") &&
		    http_filters_match(filters, "driver", networks[i].driver) &&
		    http_filters_match(filters, "scope", "local") &&
		    http_filters_match(filters, "type", "builtin"))
			json_array_append_new(array, network_json(i));
	}
	return http_respond_json(request, 200, array);
}

int docker_network_inspect(struct http_request *request, struct error *err)
{
	const char *name = http_param(request, "name");

	for (size_t i = 0; i < ARRAY_SIZE(networks); i++)
		if (!strcmp(networks[i].name, name) ||
		    (strlen(name) >= 4 && str_starts(networks[i].id, name)))
			return http_respond_json(request, 200, network_json(i));
	return error_set(err, ERROR_NOT_FOUND, "network %.128s not found", name);
}
