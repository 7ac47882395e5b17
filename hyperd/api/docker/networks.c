/* /networks: Docker's words for hyperd/network. */
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/api/docker/create_network.h"

static int get_networks(struct http_request *request, struct networks **ret, struct error *err)
{
	*ret = engine_networks(api_engine(request));
	return *ret ? 0 : error_set(err, ERROR_UNSUPPORTED, "this daemon has no networks");
}

static int named_network(struct http_request *request, struct network **ret, struct error *err)
{
	struct networks *networks = NULL;
	int r = get_networks(request, &networks, err);

	return r < 0 ? r : network_get(networks, http_param(request, "name"), ret, err);
}

/* ------------------------------------------------------------------ showing */

static json_t *ipam_json(const struct network *n)
{
	char subnet[SUBNET_TEXT_BYTES], range[SUBNET_TEXT_BYTES], gateway[IP_TEXT_BYTES];
	json_t *config = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(n->families); i++) {
		const struct network_family *f = &n->families[i];
		json_t *item;

		if (!f->on)
			continue;
		item = json_pack("{s:s,s:s}", "Subnet", subnet_text(&f->pool.subnet, subnet),
				 "Gateway", ip_text(&f->gateway, gateway));
		if (f->pool.range.prefix != f->pool.subnet.prefix)
			json_object_set_new(item, "IPRange",
					    json_string(subnet_text(&f->pool.range, range)));
		if (f->auxiliary)
			json_object_set(item, "AuxiliaryAddresses", f->auxiliary);
		json_array_append_new(config, item);
	}
	return json_pack("{s:s,s:n,s:o}", "Driver", "default", "Options", "Config", config);
}

static char *with_prefix(const struct endpoint *e, size_t i)
{
	char text[IP_TEXT_BYTES];

	if (!e->addresses[i].family)
		return strdup("");
	return strf("%s/%u", ip_text(&e->addresses[i], text),
		    e->network->families[i].pool.subnet.prefix);
}

static json_t *containers_json(const struct network *n)
{
	json_t *containers = json_object();
	const struct endpoint *e;
	char mac[MAC_TEXT_BYTES];

	list_for_each_entry(e, &n->endpoints, node) {
		autofree char *ipv4 = with_prefix(e, 0), *ipv6 = with_prefix(e, 1);

		json_object_set_new(containers, e->owner,
				    json_pack("{s:s,s:s,s:s,s:s,s:s}", "Name", e->owner_name,
					      "EndpointID", e->id, "MacAddress",
					      mac_text(e->mac, mac), "IPv4Address",
					      ipv4 ? ipv4 : "", "IPv6Address", ipv6 ? ipv6 : ""));
	}
	return containers;
}

static json_t *network_json(const struct network *n, bool containers)
{
	return json_pack("{s:s,s:s,s:o,s:s,s:s,s:b,s:o,s:b,s:b,s:b,s:{s:s},s:b,s:o,s:O,s:O}",
			 "Name", n->name, "Id", n->id, "Created", api_json_time(n->created_ns),
			 "Scope", "local", "Driver", n->driver, "EnableIPv6",
			 (int)n->families[1].on, "IPAM", ipam_json(n), "Internal", (int)n->internal,
			 "Attachable", (int)n->attachable, "Ingress", 0, "ConfigFrom", "Network",
			 "", "ConfigOnly", 0, "Containers",
			 containers ? containers_json(n) : json_object(), "Options", n->options,
			 "Labels", n->labels);
}

/* ------------------------------------------------------------------ selecting */

struct selection {
	const struct http_filters *filters;
	json_t *list;
	struct network **found; /* referenced; NULL: LIST is filled instead */
	size_t count;
	uint64_t until_ns;
};

/* "key" or "key=value". */
static bool has_label(const struct network *n, const char *label)
{
	const char *equals = strchr(label, '=');
	autofree char *key = equals ? strndup(label, (size_t)(equals - label)) : strdup(label);
	const char *value = key ? json_string_value(json_object_get(n->labels, key)) : NULL;

	return value && (!equals || strcmp(value, equals + 1) == 0);
}

static bool any_fits(char *const *values, const char *text,
		     bool (*fits)(const char *text, const char *value))
{
	strv_for_each(value, values)
		if (fits(text, *value))
			return true;
	return !values;
}

static bool contains(const char *text, const char *value)
{
	return strstr(text, value) != NULL;
}

static bool matches(const struct selection *s, const struct network *n)
{
	char *const *dangling = http_filters_get(s->filters, "dangling");
	bool unused = list_empty(&n->endpoints) && !n->predefined;

	strv_for_each(label, http_filters_get(s->filters, "label"))
		if (!has_label(n, *label))
			return false;
	strv_for_each(label, http_filters_get(s->filters, "label!"))
		if (has_label(n, *label))
			return false;
	if (dangling && (strcmp(*dangling, "true") == 0 || strcmp(*dangling, "1") == 0) != unused)
		return false;
	return any_fits(http_filters_get(s->filters, "name"), n->name, contains) &&
	       any_fits(http_filters_get(s->filters, "id"), n->id, str_starts) &&
	       http_filters_match(s->filters, "driver", n->driver) &&
	       http_filters_match(s->filters, "scope", "local") &&
	       http_filters_match(s->filters, "type", n->predefined ? "builtin" : "custom") &&
	       (!s->until_ns || n->created_ns < s->until_ns);
}

static void list_one(struct network *n, void *arg)
{
	struct selection *s = arg;

	if (matches(s, n))
		json_array_append_new(s->list, network_json(n, false));
}

int docker_network_list(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "dangling", "driver", "id",   "label", "label!",
					       "name",     "scope",  "type", NULL };
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	struct networks *networks = NULL;
	struct selection s = { 0 };
	int r = http_filters_parse(http_query(request, "filters"), &filters, err);

	if (r == 0)
		r = http_filters_check(filters, allowed, err);
	if (r == 0)
		r = get_networks(request, &networks, err);
	if (r < 0)
		return r;
	s.filters = filters;
	s.list = json_array();
	network_each(networks, list_one, &s);
	return http_respond_json(request, 200, s.list);
}

int docker_network_inspect(struct http_request *request, struct error *err)
{
	autoptr(network_unref) struct network *n = NULL;
	int r = named_network(request, &n, err);

	return r < 0 ? r : http_respond_json(request, 200, network_json(n, true));
}

/* ------------------------------------------------------------------ making and removing */

static int read_spec(const json_t *body, struct network_spec *spec, struct error *err)
{
	json_t *ipam = NULL;
	const char *ipam_driver = NULL;
	int r = json_get_string(body, "Name", &spec->name, err);

	if (r == 0)
		r = json_get_string(body, "Driver", &spec->driver, err);
	if (r == 0)
		r = json_get_bool(body, "Internal", &spec->internal, err);
	if (r == 0)
		r = json_get_bool(body, "EnableIPv6", &spec->ipv6, err);
	if (r == 0)
		r = json_get_bool(body, "Attachable", &spec->attachable, err);
	if (r == 0)
		r = json_get_object(body, "Labels", &spec->labels, err);
	if (r == 0)
		r = json_get_object(body, "Options", &spec->options, err);
	if (r == 0)
		r = json_get_object(body, "IPAM", &ipam, err);
	if (r == 0 && ipam)
		r = json_get_string(ipam, "Driver", &ipam_driver, err);
	if (r == 0 && ipam)
		r = json_get_array(ipam, "Config", &spec->ipam, err);
	if (r < 0)
		return r;
	if (ipam_driver && *ipam_driver && strcmp(ipam_driver, "default") != 0)
		return error_set(err, ERROR_NOT_FOUND, "plugin \"%.64s\" not found", ipam_driver);
	if (json_is_true(json_object_get(body, "Ingress")) ||
	    json_is_true(json_object_get(body, "ConfigOnly")))
		return error_set(err, ERROR_UNSUPPORTED,
				 "ingress and config-only networks are of swarms");
	if (!spec->name || !*spec->name)
		return error_set(err, ERROR_INVALID, "network name must not be empty");
	return 0;
}

int docker_network_create(struct http_request *request, struct error *err)
{
	autojson json_t *body = NULL;
	struct network_spec spec = { 0 };
	struct networks *networks = NULL;
	struct network *n;
	int r = http_body_json(request, &body, err);

	if (r == 0)
		r = get_networks(request, &networks, err);
	if (r == 0)
		r = read_spec(body, &spec, err);
	if (r == 0)
		r = network_create(networks, &spec, &n, err);
	if (r < 0)
		return r;
	engine_network_event(api_engine(request), n, "create", NULL);
	return http_respond_json(request, 201, json_pack("{s:s,s:s}", "Id", n->id, "Warning", ""));
}

static int remove_one(struct http_request *request, struct network *n, struct error *err)
{
	int r = network_remove(n, err);

	if (r == 0)
		engine_network_event(api_engine(request), n, "destroy", NULL);
	return r;
}

int docker_network_remove(struct http_request *request, struct error *err)
{
	autoptr(network_unref) struct network *n = NULL;
	int r = named_network(request, &n, err);

	if (r == 0)
		r = remove_one(request, n, err);
	return r < 0 ? r : http_respond_empty(request, 204);
}

static void collect(struct network *n, void *arg)
{
	struct selection *s = arg;
	struct network **grown;

	if (n->predefined || !list_empty(&n->endpoints) || !matches(s, n))
		return;
	grown = reallocarray(s->found, s->count + 1, sizeof(*grown));
	if (!grown)
		return;
	s->found = grown;
	grown[s->count++] = network_ref(n);
}

/* A stopped container's network is in use all the same. */
static void note_use(struct container *c, void *arg)
{
	struct selection *s = arg;
	autojson json_t *networks = api_container_networks(c);

	for (size_t i = 0; i < s->count; i++)
		if (s->found[i] && json_object_get(networks, s->found[i]->name)) {
			network_unref(s->found[i]);
			s->found[i] = NULL;
		}
}

int docker_network_prune(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "label", "label!", "until", NULL };
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	struct networks *networks = NULL;
	struct selection s = { 0 };
	json_t *deleted;
	char *const *until;
	int r = http_filters_parse(http_query(request, "filters"), &filters, err);

	if (r == 0)
		r = http_filters_check(filters, allowed, err);
	if (r == 0)
		r = get_networks(request, &networks, err);
	until = r == 0 ? http_filters_get(filters, "until") : NULL;
	if (until)
		r = api_parse_time(*until, &s.until_ns, err);
	if (r < 0)
		return r;
	s.filters = filters;
	deleted = json_array();
	network_each(networks, collect, &s);
	container_each(api_engine(request), note_use, &s);
	for (size_t i = 0; i < s.count; i++) {
		if (s.found[i] && remove_one(request, s.found[i], NULL) == 0)
			json_array_append_new(deleted, json_string(s.found[i]->name));
		network_unref(s.found[i]);
	}
	free(s.found);
	return http_respond_json(request, 200, json_pack("{s:o}", "NetworksDeleted", deleted));
}

/* ------------------------------------------------------------------ connecting */

static int read_container(struct http_request *request, const json_t *body, struct container **ret,
			  struct error *err)
{
	const char *name;
	int r = json_get_string(body, "Container", &name, err);

	if (r < 0)
		return r;
	if (!name || !*name)
		return error_set(err, ERROR_INVALID, "Container: no container is named");
	return container_get(api_engine(request), name, ret, err);
}

static void config_done(struct spec_network *config)
{
	strv_free(config->aliases);
	strv_free(config->links);
	free(config->ipv4);
	free(config->ipv6);
	free(config->mac);
}

int docker_network_connect(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *c = NULL;
	autoptr(network_unref) struct network *n = NULL;
	autojson json_t *body = NULL;
	struct spec_network config = { 0 };
	json_t *endpoint = NULL;
	int r = http_body_json(request, &body, err);

	if (r == 0)
		r = named_network(request, &n, err);
	if (r == 0)
		r = read_container(request, body, &c, err);
	if (r == 0)
		r = json_get_object(body, "EndpointConfig", &endpoint, err);
	if (r < 0)
		return r;
	config.network = n->name;
	r = endpoint ? endpoint_config_read(endpoint, &config, err) : 0;
	if (r == 0)
		r = pod_network_connect(container_pod(c), &config, err);
	config_done(&config);
	return r < 0 ? r : http_respond_empty(request, 200);
}

int docker_network_disconnect(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *c = NULL;
	autoptr(network_unref) struct network *n = NULL;
	autojson json_t *body = NULL;
	bool force = false;
	int r = http_body_json(request, &body, err);

	if (r == 0)
		r = named_network(request, &n, err);
	if (r == 0)
		r = read_container(request, body, &c, err);
	if (r == 0)
		r = json_get_bool(body, "Force", &force, err);
	if (r == 0)
		r = pod_network_disconnect(container_pod(c), n->name, force, err);
	return r < 0 ? r : http_respond_empty(request, 200);
}
