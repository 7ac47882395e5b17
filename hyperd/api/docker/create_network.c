/* The network members of a create body: modes, endpoints and published ports become the pod's. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/api/docker/create_network.h"

int create_network_mode(struct create_request *create, const char *mode, struct error *err)
{
	struct pod_spec *spec = create->options;

	if (!*mode || strcmp(mode, "default") == 0)
		return 0;
	if (str_starts(mode, "container:")) {
		free(create->joins);
		create->joins = strdup(mode + strlen("container:"));
		return create->joins ? 0 : error_nomem(err);
	}
	if (strcmp(mode, "none") == 0 || strcmp(mode, "host") == 0) {
		free(spec->network_mode);
		spec->network_mode = strdup(mode);
		return spec->network_mode ? 0 : error_nomem(err);
	}
	return spec_network_add(spec, mode) ? 0 : error_nomem(err);
}

/* "80/tcp"; *ret_protocol points into TEXT or is "tcp". */
static int parse_port(const char *text, int *ret_port, const char **ret_protocol, struct error *err)
{
	autofree char *number = strndup(text, strcspn(text, "/"));
	const char *slash = strchr(text, '/');
	unsigned long long port;

	*ret_protocol = slash ? slash + 1 : "tcp";
	if (!number || parse_u64(number, 1, 65535, &port) < 0)
		return error_set(err, ERROR_INVALID, "invalid port specification: \"%.64s\"", text);
	if (strcmp(*ret_protocol, "tcp") && strcmp(*ret_protocol, "udp") &&
	    strcmp(*ret_protocol, "sctp"))
		return error_set(err, ERROR_INVALID, "invalid proto: %.16s", *ret_protocol);
	*ret_port = (int)port;
	return 0;
}

static int take_binding(struct pod_spec *spec, const char *name, const json_t *binding,
			struct error *err)
{
	const char *host_ip = NULL, *host_port = NULL, *protocol, *dash;
	autofree char *first = NULL;
	unsigned long long from = 0, to = 0;
	struct spec_port *port;
	int number = 0, r = parse_port(name, &number, &protocol, err);

	if (r == 0 && binding)
		r = json_get_string(binding, "HostIp", &host_ip, err);
	if (r == 0 && binding)
		r = json_get_string(binding, "HostPort", &host_port, err);
	if (r < 0)
		return r;
	/* "8000-8010": the first that is free. */
	dash = host_port ? strchr(host_port, '-') : NULL;
	first = host_port
			? strndup(host_port, dash ? (size_t)(dash - host_port) : strlen(host_port))
			: NULL;
	if (first && *first && parse_u64(first, 0, 65535, &from) < 0)
		return error_set(err, ERROR_INVALID, "invalid port specification: \"%.64s\"",
				 host_port);
	to = from;
	if (dash && (parse_u64(dash + 1, 1, 65535, &to) < 0 || to < from))
		return error_set(err, ERROR_INVALID, "invalid port specification: \"%.64s\"",
				 host_port);
	port = spec_port_add(spec, protocol, number);
	if (!port)
		return error_nomem(err);
	port->host_first = (int)from;
	port->host_last = (int)to;
	port->host_ip = host_ip && *host_ip ? strdup(host_ip) : NULL;
	return 0;
}

int create_port_bindings(struct create_request *create, json_t *bindings, struct error *err)
{
	const char *name;
	json_t *list, *binding;
	size_t i;
	int r = 0;

	json_object_foreach(bindings, name, list) {
		/* null or nothing in it: any port. */
		if (json_is_null(list) || (json_is_array(list) && !json_array_size(list)))
			r = take_binding(create->options, name, NULL, err);
		else if (!json_is_array(list))
			r = error_set(err, ERROR_INVALID,
				      "HostConfig.PortBindings: expected lists");
		json_array_foreach(list, i, binding)
			if (r == 0)
				r = take_binding(create->options, name, binding, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int create_mac_address(struct create_request *create, const char *mac, struct error *err)
{
	free(create->mac);
	create->mac = *mac ? strdup(mac) : NULL;
	return *mac && !create->mac ? error_nomem(err) : 0;
}

static struct spec_network *find_or_add(struct pod_spec *spec, const char *name)
{
	for (size_t i = 0; i < spec->network_count; i++)
		if (strcmp(spec->networks[i].network, name) == 0)
			return &spec->networks[i];
	return spec_network_add(spec, name);
}

static int set_text(char **to, const char *text, struct error *err)
{
	if (!text || !*text)
		return 0;
	free(*to);
	*to = strdup(text);
	return *to ? 0 : error_nomem(err);
}

int endpoint_config_read(const json_t *config, struct spec_network *network, struct error *err)
{
	const char *ipv4 = NULL, *ipv6 = NULL, *mac;
	json_t *ipam;
	int r = json_get_object(config, "IPAMConfig", &ipam, err);

	strv_free(steal(network->aliases));
	strv_free(steal(network->links));
	if (r == 0)
		r = json_get_strv(config, "Aliases", &network->aliases, err);
	if (r == 0)
		r = json_get_strv(config, "Links", &network->links, err);
	if (r == 0)
		r = json_get_string(config, "MacAddress", &mac, err);
	if (r == 0 && ipam)
		r = json_get_string(ipam, "IPv4Address", &ipv4, err);
	if (r == 0 && ipam)
		r = json_get_string(ipam, "IPv6Address", &ipv6, err);
	if (r == 0)
		r = set_text(&network->ipv4, ipv4, err);
	if (r == 0)
		r = set_text(&network->ipv6, ipv6, err);
	if (r == 0)
		r = set_text(&network->mac, mac, err);
	return r < 0 ? error_prefix(err, r, "EndpointsConfig.%s", network->network) : 0;
}

int create_networking(struct create_request *create, json_t *networking, struct error *err)
{
	struct pod_spec *spec = create->options;
	json_t *endpoints, *value;
	const char *name;
	int r = json_get_object(networking, "EndpointsConfig", &endpoints, err);

	if (r < 0)
		return error_prefix(err, r, "NetworkingConfig");
	json_object_foreach(endpoints, name, value) {
		struct spec_network *network;

		if (strcmp(name, "none") == 0 || strcmp(name, "host") == 0 || create->joins)
			continue;
		network = find_or_add(spec, strcmp(name, "default") == 0 ? NETWORK_DEFAULT : name);
		if (!network)
			return error_nomem(err);
		if (!json_is_null(value))
			r = endpoint_config_read(value, network, err);
		if (r < 0)
			return r;
	}
	/* A mode that names the default network is first; what a MAC address or links are for. */
	if (create->mac || create->links) {
		struct spec_network *network = spec->network_count
						       ? &spec->networks[0]
						       : spec_network_add(spec, NETWORK_DEFAULT);

		if (!network)
			return error_nomem(err);
		r = set_text(&network->mac, create->mac, err);
		strv_for_each(link, create->links)
			if (r == 0 && strv_add(&network->links, *link) < 0)
				r = error_nomem(err);
	}
	return r;
}
