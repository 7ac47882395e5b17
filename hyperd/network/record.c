#include "hyperd/network/record.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"

int network_new(struct networks *networks, const char *name, const char *driver,
		struct network **ret, struct error *err)
{
	struct network *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return error_nomem(err);
	n->refs = 1;
	n->networks = networks;
	n->created_ns = realtime_ns();
	list_init(&n->endpoints);
	task_mutex_init(&n->mutex);
	n->name = strdup(name);
	n->driver = strdup(driver);
	n->labels = json_object();
	n->options = json_object();
	list_append(&networks->list, &n->node);
	r = n->name && n->driver && n->labels && n->options ? random_id(n->id, err)
							    : error_nomem(err);
	if (r < 0) {
		list_remove(&n->node);
		network_unref(n);
		return r;
	}
	snprintf(n->bridge, sizeof(n->bridge), "%sb%.7s", networks->tag, n->id);
	*ret = n;
	return 0;
}

static json_t *family_json(const struct network_family *f)
{
	char subnet[SUBNET_TEXT_BYTES], range[SUBNET_TEXT_BYTES], gateway[IP_TEXT_BYTES];
	json_t *json = json_pack("{s:s, s:s, s:b}", "subnet", subnet_text(&f->pool.subnet, subnet),
				 "gateway", ip_text(&f->gateway, gateway), "chosen", f->chosen);

	if (f->pool.range.prefix != f->pool.subnet.prefix)
		json_object_set_new(json, "range", json_string(subnet_text(&f->pool.range, range)));
	if (f->auxiliary)
		json_object_set(json, "auxiliary", f->auxiliary);
	return json;
}

int network_save(struct network *n, struct error *err)
{
	autojson json_t *record = NULL;
	json_t *families = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(n->families); i++)
		if (n->families[i].on)
			json_array_append_new(families, family_json(&n->families[i]));
	record = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:O, s:O, s:I, s:o, s:s, s:b}", "id",
			   n->id, "name", n->name, "driver", n->driver, "internal", n->internal,
			   "attachable", n->attachable, "predefined", n->predefined, "labels",
			   n->labels, "options", n->options, "createdNs", (json_int_t)n->created_ns,
			   "families", families, "bridge", n->bridge, "bridgeGiven",
			   n->bridge_given);
	if (!record)
		return error_nomem(err);
	return record_save(n->networks->store, "network", n->id, NETWORK_RECORD_VERSION, record,
			   true, err);
}

/* ------------------------------------------------------------------ options */

static int read_bool(const struct network *n, const char *key, bool *ret, struct error *err)
{
	const char *text = json_string_value(json_object_get(n->options, key));

	if (!text)
		return 0;
	if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
		*ret = true;
	else if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
		*ret = false;
	else
		return error_set(err, ERROR_INVALID, "option %s: expected true or false", key);
	return 0;
}

int network_read_options(struct network *n, struct error *err)
{
	const char *mtu =
		json_string_value(json_object_get(n->options, "com.docker.network.driver.mtu"));
	const char *bridge =
		json_string_value(json_object_get(n->options, "com.docker.network.bridge.name"));
	const char *host = json_string_value(
		json_object_get(n->options, "com.docker.network.bridge.host_binding_ipv4"));
	bool icc = true, masquerade = true;
	unsigned long long number;
	struct ip ip;
	int r = read_bool(n, "com.docker.network.bridge.enable_icc", &icc, err);

	if (r == 0)
		r = read_bool(n, "com.docker.network.bridge.enable_ip_masquerade", &masquerade,
			      err);
	if (r < 0)
		return r;
	n->isolate_members = !icc;
	n->no_masquerade = !masquerade;
	if (mtu && parse_u64(mtu, 68, 65535, &number) < 0)
		return error_set(err, ERROR_INVALID,
				 "option com.docker.network.driver.mtu: expected 68 to 65535");
	if (mtu)
		n->mtu = (unsigned)number;
	if (bridge) {
		if (!*bridge || strlen(bridge) >= LINK_NAME_BYTES ||
		    strpbrk(bridge, "/ \"\\\t\n%") || *bridge == '.')
			return error_set(err, ERROR_INVALID,
					 "option com.docker.network.bridge.name: expected at most "
					 "%d characters "
					 "of an interface's name",
					 LINK_NAME_BYTES - 1);
		strcpy(n->bridge, bridge);
	}
	if (host && ip_parse(host, &ip) < 0)
		return error_set(
			err, ERROR_INVALID,
			"option com.docker.network.bridge.host_binding_ipv4: expected an address");
	if (host && strcmp(host, "0.0.0.0") != 0) {
		n->host_ip = strdup(host);
		if (!n->host_ip)
			return error_nomem(err);
	}
	return 0;
}

/* ------------------------------------------------------------------ address families */

static int reserve(struct network_family *f, struct error *err)
{
	const char *name;
	json_t *value;
	int r = address_pool_take(&f->pool, &f->gateway, err);

	if (r < 0)
		return error_prefix(err, r, "gateway");
	json_object_foreach(f->auxiliary, name, value) {
		const char *text = json_string_value(value);
		struct ip ip;

		if (!text || ip_parse(text, &ip) < 0)
			return error_set(err, ERROR_INVALID,
					 "auxiliary address %.64s: expected an address", name);
		r = address_pool_take(&f->pool, &ip, err);
		if (r < 0)
			return error_prefix(err, r, "auxiliary address %.64s", name);
	}
	return 0;
}

int network_family_set(struct network *n, const char *subnet_name, const char *range_name,
		       const char *gateway, json_t *auxiliary, struct error *err)
{
	struct subnet subnet, range;
	struct network_family *f;

	if (subnet_parse(subnet_name, &subnet) < 0)
		return error_set(err, ERROR_INVALID, "invalid subnet %.64s : invalid CIDR address",
				 subnet_name);
	f = &n->families[subnet.base.family == AF_INET6];
	if (f->on)
		return error_set(err, ERROR_INVALID,
				 "a network has at most one IPv4 and one IPv6 subnet");
	if (subnet.prefix < (subnet.base.family == AF_INET ? 8 : 16) ||
	    subnet.prefix > (subnet.base.family == AF_INET ? 30 : 126))
		return error_set(err, ERROR_INVALID, "invalid subnet %.64s : it is too %s",
				 subnet_name, subnet.prefix > 16 ? "small" : "large");
	range = subnet;
	if (range_name && *range_name &&
	    (subnet_parse(range_name, &range) < 0 || !subnet_contains(&subnet, &range.base) ||
	     range.prefix < subnet.prefix))
		return error_set(err, ERROR_INVALID, "invalid IP range %.64s for subnet %.64s",
				 range_name, subnet_name);
	address_pool_init(&f->pool, &subnet, &range);
	f->gateway = subnet.base;
	f->gateway.bytes[subnet.base.family == AF_INET ? 3 : 15] |= 1;
	if (gateway && *gateway &&
	    (ip_parse(gateway, &f->gateway) < 0 || !subnet_contains(&subnet, &f->gateway)))
		return error_set(err, ERROR_INVALID, "no matching subnet for gateway %.64s",
				 gateway);
	f->on = true;
	f->auxiliary = json_object_size(auxiliary) ? json_incref(auxiliary) : NULL;
	return reserve(f, err);
}

/* ------------------------------------------------------------------ back */

static int families_from(struct network *n, const json_t *record, struct error *err)
{
	const json_t *family;
	json_t *families;
	size_t i;
	int r = json_get_array(record, "families", &families, err);

	json_array_foreach(families, i, family) {
		const char *subnet = json_string_value(json_object_get(family, "subnet"));

		if (r < 0)
			return r;
		if (!subnet)
			return error_set(err, ERROR_INVALID, "a subnet is missing");
		r = network_family_set(n, subnet,
				       json_string_value(json_object_get(family, "range")),
				       json_string_value(json_object_get(family, "gateway")),
				       json_object_get(family, "auxiliary"), err);
		if (r == 0 && json_is_true(json_object_get(family, "chosen")))
			n->families[strchr(subnet, ':') != NULL].chosen = true;
	}
	return r;
}

int network_from_record(struct networks *networks, const json_t *record, struct error *err)
{
	const char *id, *name, *driver, *bridge;
	json_t *labels, *options;
	struct network *n;
	int r = json_get_string(record, "id", &id, err);

	if (r == 0)
		r = json_get_string(record, "name", &name, err);
	if (r == 0)
		r = json_get_string(record, "driver", &driver, err);
	if (r == 0)
		r = json_get_string(record, "bridge", &bridge, err);
	if (r == 0)
		r = json_get_object(record, "labels", &labels, err);
	if (r == 0)
		r = json_get_object(record, "options", &options, err);
	if (r < 0)
		return r;
	if (!id || strlen(id) != NETWORK_ID_BYTES || !name || !driver || !bridge ||
	    strlen(bridge) >= LINK_NAME_BYTES)
		return error_set(err, ERROR_INVALID, "the record is incomplete");
	r = network_new(networks, name, driver, &n, err);
	if (r < 0)
		return r;
	strcpy(n->id, id);
	strcpy(n->bridge, bridge);
	json_object_update(n->labels, labels);
	json_object_update(n->options, options);
	n->created_ns = (uint64_t)json_integer_value(json_object_get(record, "createdNs"));
	n->internal = json_is_true(json_object_get(record, "internal"));
	n->attachable = json_is_true(json_object_get(record, "attachable"));
	n->predefined = json_is_true(json_object_get(record, "predefined"));
	n->bridge_given = json_is_true(json_object_get(record, "bridgeGiven"));
	r = network_read_options(n, err);
	if (r == 0)
		r = families_from(n, record, err);
	if (r < 0) {
		list_remove(&n->node);
		network_unref(n);
	}
	return r;
}
