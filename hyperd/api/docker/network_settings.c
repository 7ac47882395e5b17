/* NetworkSettings of a container, and its ports, as Docker shows them. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

static bool is_running(const struct container *c)
{
	struct container_status status;

	container_status(c, &status);
	return status.running;
}

static const struct spec_network *asked_for(const struct pod_spec *spec,
					    const struct network *network)
{
	for (size_t i = 0; i < spec->network_count; i++)
		if (strcmp(spec->networks[i].network, network->name) == 0 ||
		    str_starts(network->id, spec->networks[i].network))
			return &spec->networks[i];
	return NULL;
}

static json_t *ipam_config(const struct spec_network *asked)
{
	json_t *config;

	if (!asked || (!asked->ipv4 && !asked->ipv6))
		return json_null();
	config = json_object();
	if (asked->ipv4)
		json_object_set_new(config, "IPv4Address", json_string(asked->ipv4));
	if (asked->ipv6)
		json_object_set_new(config, "IPv6Address", json_string(asked->ipv6));
	return config;
}

static json_t *endpoint_settings(const struct endpoint *e, const struct spec_network *asked,
				 char *const *aliases)
{
	char address[2][IP_TEXT_BYTES] = { "", "" }, gateway[2][IP_TEXT_BYTES] = { "", "" };
	char mac[MAC_TEXT_BYTES] = "";
	unsigned prefix[2] = { 0 };

	for (size_t i = 0; e && i < 2; i++) {
		if (!e->addresses[i].family)
			continue;
		ip_text(&e->addresses[i], address[i]);
		prefix[i] = e->network->families[i].pool.subnet.prefix;
		if (!e->network->internal)
			ip_text(&e->network->families[i].gateway, gateway[i]);
	}
	if (e)
		mac_text(e->mac, mac);
	return json_pack("{s:o,s:o,s:o,s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:i,s:s,s:n}", "IPAMConfig",
			 ipam_config(asked), "Links",
			 asked && asked->links ? json_from_strv(asked->links) : json_null(),
			 "Aliases", aliases && aliases[0] ? json_from_strv(aliases) : json_null(),
			 "NetworkID", e ? e->network->id : "", "EndpointID", e ? e->id : "",
			 "Gateway", gateway[0], "IPAddress", address[0], "IPPrefixLen",
			 (int)prefix[0], "IPv6Gateway", gateway[1], "GlobalIPv6Address", address[1],
			 "GlobalIPv6PrefixLen", (int)prefix[1], "MacAddress", mac, "DriverOpts");
}

/* Those that were asked for, and the short id, which Docker adds on networks with names. */
static char **shown_aliases(const struct container *c, const struct spec_network *asked, bool named)
{
	char **aliases = asked && asked->aliases ? strv_copy(asked->aliases) : NULL;

	if (named)
		strv_addf(&aliases, "%.12s", container_id(c));
	return aliases;
}

static json_t *bare_network(struct container *c, const char *name)
{
	struct networks *networks = engine_networks(pod_engine(container_pod(c)));
	autoptr(network_unref) struct network *network = NULL;
	json_t *settings = endpoint_settings(NULL, NULL, NULL);

	if (networks && network_get(networks, name, &network, NULL) == 0)
		json_object_set_new(settings, "NetworkID", json_string(network->id));
	return settings;
}

json_t *api_container_networks(struct container *c)
{
	struct pod *pod = container_pod(c);
	const struct pod_spec *spec = pod_spec(pod);
	json_t *networks = json_object();
	struct endpoint *const *endpoints;
	size_t count;

	endpoints = pod_endpoints(pod, &count);
	for (size_t i = 0; i < count; i++) {
		const struct network *network = endpoints[i]->network;
		const struct spec_network *asked = asked_for(spec, network);
		autostrv char **aliases = shown_aliases(c, asked, !network->predefined);

		json_object_set_new(networks, network->name,
				    endpoint_settings(endpoints[i], asked, aliases));
	}
	if (count)
		return networks;
	if (spec->network_mode) {
		json_object_set_new(networks, spec->network_mode,
				    bare_network(c, spec->network_mode));
	} else if (!spec->network_count) {
		json_object_set_new(networks, NETWORK_DEFAULT, bare_network(c, NETWORK_DEFAULT));
	}
	for (size_t i = 0; i < spec->network_count; i++) {
		const struct spec_network *asked = &spec->networks[i];
		bool named = strcmp(asked->network, NETWORK_DEFAULT) != 0 &&
			     strcmp(asked->network, "default") != 0;
		autostrv char **aliases = shown_aliases(c, asked, named);
		json_t *settings = endpoint_settings(NULL, asked, aliases);
		struct networks *all = engine_networks(pod_engine(container_pod(c)));
		autoptr(network_unref) struct network *network = NULL;

		if (all && network_get(all, asked->network, &network, NULL) == 0)
			json_object_set_new(settings, "NetworkID", json_string(network->id));
		json_object_set_new(networks, network ? network->name : asked->network, settings);
	}
	return networks;
}

/* ------------------------------------------------------------------ ports */

static void add_exposed(json_t *ports, char *const *exposed)
{
	strv_for_each(port, exposed) {
		autofree char *name = strchr(*port, '/') ? strdup(*port) : strf("%s/tcp", *port);

		if (name && !json_object_get(ports, name) && !strchr(name, '-'))
			json_object_set_new(ports, name, json_null());
	}
}

static void add_binding(json_t *ports, const struct published *p, const char *host)
{
	char name[16], number[8];
	json_t *list;

	snprintf(name, sizeof(name), "%u/%s", p->port, p->protocol);
	snprintf(number, sizeof(number), "%u", p->host_port);
	list = json_object_get(ports, name);
	if (!json_is_array(list)) {
		list = json_array();
		json_object_set_new(ports, name, list);
	}
	json_array_append_new(list, json_pack("{s:s,s:s}", "HostIp", host, "HostPort", number));
}

json_t *api_container_ports(struct container *c)
{
	const struct image_config *image =
		container_image(c) ? image_config(container_image(c)) : NULL;
	json_t *ports = json_object();
	struct published *const *published;
	char host[IP_TEXT_BYTES];
	size_t count;

	published = pod_published(container_pod(c), &count);
	for (size_t i = 0; i < count; i++) {
		const struct published *p = published[i];

		add_binding(ports, p, p->host.family ? ip_text(&p->host, host) : "0.0.0.0");
		if (!p->host.family && p->fds[1] >= 0)
			add_binding(ports, p, "::");
	}
	add_exposed(ports, container_spec(c)->exposed_ports);
	add_exposed(ports, image ? image->exposed_ports : NULL);
	return ports;
}

/* The list's form: {IP, PrivatePort, PublicPort, Type}. */
json_t *api_container_port_list(struct container *c)
{
	autojson json_t *ports = is_running(c) ? api_container_ports(c) : json_object();
	json_t *list = json_array(), *bindings, *binding;
	const char *name;
	size_t i;

	json_object_foreach(ports, name, bindings) {
		const char *type = strchr(name, '/') + 1;
		int private_port = atoi(name);

		if (json_is_null(bindings))
			json_array_append_new(list, json_pack("{s:i,s:s}", "PrivatePort",
							      private_port, "Type", type));
		json_array_foreach(bindings, i, binding)
			json_array_append_new(
				list, json_pack("{s:O,s:i,s:i,s:s}", "IP",
						json_object_get(binding, "HostIp"), "PrivatePort",
						private_port, "PublicPort",
						atoi(json_string_value(
							json_object_get(binding, "HostPort"))),
						"Type", type));
	}
	return list;
}

/* ------------------------------------------------------------------ the whole */

json_t *api_network_settings(struct container *c)
{
	json_t *networks = api_container_networks(c);
	/* What is said about the default network stands outside once more. */
	json_t *first = json_object_get(networks, NETWORK_DEFAULT), *settings;
	static const char *const copied[] = { "EndpointID",        "Gateway",
					      "GlobalIPv6Address", "GlobalIPv6PrefixLen",
					      "IPAddress",         "IPPrefixLen",
					      "IPv6Gateway",       "MacAddress" };
	autojson json_t *none = endpoint_settings(NULL, NULL, NULL);
	size_t count;

	pod_endpoints(container_pod(c), &count);
	settings = json_pack("{s:s,s:s,s:b,s:s,s:i,s:o,s:s,s:n,s:n}", "Bridge", "", "SandboxID",
			     count ? container_id(c) : "", "HairpinMode", 0, "LinkLocalIPv6Address",
			     "", "LinkLocalIPv6PrefixLen", 0, "Ports",
			     is_running(c) ? api_container_ports(c) : json_object(), "SandboxKey",
			     "", "SecondaryIPAddresses", "SecondaryIPv6Addresses");
	for (size_t i = 0; i < ARRAY_SIZE(copied); i++)
		json_object_set(settings, copied[i],
				json_object_get(first ? first : none, copied[i]));
	json_object_set_new(settings, "Networks", networks);
	return settings;
}
