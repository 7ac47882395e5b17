/*
 * A pod on its networks: addresses before its sandbox begins, interfaces and published ports once
 * it is there, all of it given back at its end. What it had is remembered, so that it has the same
 * again where it is free.
 */
#include <errno.h>
#include <string.h>

#include "hyperd/pod/arena.h"
#include "hyperd/pod/internal.h"

/* ------------------------------------------------------------------ what is asked for */

static bool mode_is(const struct pod *pod, const char *mode)
{
	return str_equal(pod->spec->network_mode, mode);
}

bool pod_has_host_network(const struct pod *pod)
{
	return mode_is(pod, "host");
}

bool pod_has_card(const struct pod *pod)
{
	return pod->engine->networks &&
	       networks_backend(pod->engine->networks) != NETWORK_BACKEND_NONE &&
	       /* QEMU's own stack is for machines. */
	       (networks_backend(pod->engine->networks) == NETWORK_BACKEND_BRIDGE ||
		pod->spec->isolation == ISOLATION_VM) &&
	       !mode_is(pod, "none") && !mode_is(pod, "host");
}

const char *pod_network_mode(const struct pod *pod)
{
	if (mode_is(pod, "none") || mode_is(pod, "host"))
		return pod->spec->network_mode;
	return pod->spec->network_count ? pod->spec->networks[0].network : "default";
}

static bool is_default(const char *name)
{
	return strcmp(name, "default") == 0 || strcmp(name, NETWORK_DEFAULT) == 0;
}

static int check_network(struct engine *engine, const struct spec_network *n, struct error *err)
{
	autoptr(network_unref) struct network *network = NULL;
	int r = network_get(engine->networks, is_default(n->network) ? NETWORK_DEFAULT : n->network,
			    &network, err);

	/* As Docker: one that is not there is missed when the pod starts. */
	if (r == -ENOENT) {
		error_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	if (strcmp(network->driver, "bridge") != 0)
		return error_set(err, ERROR_INVALID,
				 "container cannot be connected to multiple networks with one of "
				 "the networks "
				 "in %s mode",
				 strcmp(network->driver, "null") == 0 ? "private (none)" : "host");
	if (network->predefined && n->ipv4 && *n->ipv4)
		return error_set(
			err, ERROR_INVALID,
			"user specified IP address is supported on user defined networks only");
	if (network->predefined && strv_len(n->aliases))
		return error_set(
			err, ERROR_INVALID,
			"network-scoped alias is supported only for containers in user defined "
			"networks");
	return 0;
}

int pod_network_check(struct engine *engine, const struct pod_spec *spec, struct error *err)
{
	int r = 0;

	if (str_equal(spec->network_mode, "host")) {
		if (spec->isolation == ISOLATION_VM)
			return error_set(
				err, ERROR_UNSUPPORTED,
				"network mode \"host\" is not for pods in virtual machines, whose "
				"network "
				"is their own: publish ports, or use isolation \"namespace\"");
		if (spec->port_count)
			log_warn("pod %s: published ports are discarded when using host network "
				 "mode",
				 spec->name ? spec->name : "");
		return 0;
	}
	for (size_t i = 0; engine->networks && i < spec->network_count && r == 0; i++)
		r = check_network(engine, &spec->networks[i], err);
	return r;
}

/* ------------------------------------------------------------------ names */

static int add_once(char ***names, const char *name)
{
	if (!name || !*name)
		return 0;
	strv_for_each(n, *names)
		if (strcmp(*n, name) == 0)
			return 0;
	return strv_add(names, name);
}

/* As Docker: the container's name, its short id, and its aliases; of a pod of several, also its own
 * name. */
static int make_names(const struct pod *pod, const struct spec_network *asked, char ***ret)
{
	struct container *c;
	char short_id[13];
	int r = add_once(ret, pod->name);

	list_for_each_entry(c, &pod->containers, pod_node) {
		snprintf(short_id, sizeof(short_id), "%.12s", c->id);
		if (r == 0)
			r = add_once(ret, c->name);
		if (r == 0)
			r = add_once(ret, short_id);
		/* "db" of the pod "shop": the container "shop-db". */
		if (r == 0 && !pod->solo)
			r = add_once(ret, c->spec->name);
	}
	strv_for_each(alias, asked ? asked->aliases : NULL)
		if (r == 0)
			r = add_once(ret, *alias);
	if (r == 0 && pod->spec->hostname)
		r = add_once(ret, pod->spec->hostname);
	return r;
}

/* Of a pod of one its container's, as Docker shows it. */
static const char *owner_id(const struct pod *pod)
{
	if (pod->solo && !list_empty(&pod->containers))
		return container_of(pod->containers.next, struct container, pod_node)->id;
	return pod->id;
}

static const struct spec_network *asked_for(const struct pod *pod, const struct network *network)
{
	for (size_t i = 0; i < pod->spec->network_count; i++) {
		const struct spec_network *n = &pod->spec->networks[i];

		if (strcmp(n->network, network->name) == 0 || str_starts(network->id, n->network) ||
		    (network->predefined && is_default(n->network)))
			return n;
	}
	return NULL;
}

void pod_network_rename(struct pod *pod)
{
	struct error err = { 0 };

	for (size_t i = 0; i < pod->endpoint_count; i++) {
		autostrv char **names = NULL;

		if (make_names(pod, asked_for(pod, pod->endpoints[i]->network), &names) == 0)
			endpoint_set_names(pod->endpoints[i], pod->name, names, NULL);
	}
	if (pod->endpoint_count && task_self() && networks_apply(pod->engine->networks, &err) < 0)
		log_warn("pod %s: %s", pod->name, err.message);
}

/* ------------------------------------------------------------------ opening */

static void read_preferred(const struct pod *pod, const char *network_id, struct ip ret[2])
{
	const json_t *had = json_object_get(pod->addresses, network_id);
	const char *ipv4 = json_string_value(json_object_get(had, "ipv4"));
	const char *ipv6 = json_string_value(json_object_get(had, "ipv6"));

	if (ipv4)
		ip_parse(ipv4, &ret[0]);
	if (ipv6)
		ip_parse(ipv6, &ret[1]);
}

static void remember(struct pod *pod, const struct endpoint *e)
{
	char ipv4[IP_TEXT_BYTES], ipv6[IP_TEXT_BYTES];

	if (!pod->addresses)
		pod->addresses = json_object();
	json_object_set_new(pod->addresses, e->network->id,
			    json_pack("{s:s, s:s}", "ipv4", ip_text(&e->addresses[0], ipv4), "ipv6",
				      ip_text(&e->addresses[1], ipv6)));
}

static unsigned free_number(const struct pod *pod)
{
	for (unsigned number = 0;; number++) {
		bool taken = false;

		for (size_t i = 0; i < pod->endpoint_count; i++)
			taken |= pod->endpoints[i]->number == number;
		if (!taken)
			return number;
	}
}

int pod_endpoint_open(struct pod *pod, const char *network_name, const struct spec_network *asked,
		      struct error *err)
{
	autoptr(network_unref) struct network *network = NULL;
	autostrv char **names = NULL;
	struct endpoint_config config = { .owner = owner_id(pod), .owner_name = pod->name };
	struct endpoint **grown;
	int r = network_get(pod->engine->networks, network_name, &network, err);

	if (r == 0 && make_names(pod, asked, &names) < 0)
		r = error_nomem(err);
	if (r < 0)
		return r;
	if (asked) {
		config.ipv4 = asked->ipv4;
		config.ipv6 = asked->ipv6;
		config.mac = asked->mac;
	}
	config.aliases = names;
	read_preferred(pod, network->id, config.preferred);
	grown = reallocarray(pod->endpoints, pod->endpoint_count + 1, sizeof(*grown));
	if (!grown)
		return error_nomem(err);
	pod->endpoints = grown;
	r = endpoint_open(network, &config, &grown[pod->endpoint_count], err);
	if (r < 0)
		return r;
	grown[pod->endpoint_count]->number = free_number(pod);
	remember(pod, grown[pod->endpoint_count++]);
	return 0;
}

/* QEMU's own stack plays the gateway of the pod's first network, and listens at its published
 * ports. */
static char *user_network(const struct pod *pod)
{
	const struct endpoint *e = pod->endpoint_count ? pod->endpoints[0] : NULL;
	char subnet[SUBNET_TEXT_BYTES], gateway[IP_TEXT_BYTES], address[IP_TEXT_BYTES],
		host[IP_TEXT_BYTES];
	struct str text = STR_INIT;

	if (!e)
		return NULL;
	str_addf(&text, "ipv6=off,net=%s,host=%s,restrict=%s",
		 subnet_text(&e->network->families[0].pool.subnet, subnet),
		 ip_text(&e->network->families[0].gateway, gateway),
		 e->network->internal ? "on" : "off");
	for (size_t i = 0; i < pod->published_count; i++) {
		const struct published *p = pod->published[i];

		if (p->host.family != AF_INET6 && strcmp(p->protocol, "sctp") != 0)
			str_addf(&text, ",hostfwd=%s:%s:%u-%s:%u", p->protocol,
				 ip_text(&p->host, host), p->host_port,
				 ip_text(&e->addresses[0], address), p->port);
	}
	return str_steal(&text);
}

static int open_ports(struct pod *pod, struct error *err);

int pod_network_open(struct pod *pod, char **ret_user_network, struct error *err)
{
	int r = 0;

	*ret_user_network = NULL;
	if (!pod_has_card(pod))
		return 0;
	if (!pod->spec->network_count)
		r = pod_endpoint_open(pod, NETWORK_DEFAULT, NULL, err);
	for (size_t i = 0; i < pod->spec->network_count && r == 0; i++) {
		const struct spec_network *n = &pod->spec->networks[i];

		r = pod_endpoint_open(pod, is_default(n->network) ? NETWORK_DEFAULT : n->network, n,
				      err);
	}
	/* Before anything is started for it: a port that is taken is the commonest reason not to.
	 */
	if (r == 0)
		r = open_ports(pod, err);
	if (r == 0 && networks_backend(pod->engine->networks) == NETWORK_BACKEND_USER) {
		if (pod->spec->isolation == ISOLATION_VM)
			*ret_user_network = user_network(pod);
	}
	if (r < 0)
		pod_network_close(pod);
	return r;
}

/* ------------------------------------------------------------------ ports */

/* The endpoint that published ports lead to: the first that the outside can reach. */
static struct endpoint *outer_endpoint(const struct pod *pod)
{
	for (size_t i = 0; i < pod->endpoint_count; i++)
		if (!pod->endpoints[i]->network->internal)
			return pod->endpoints[i];
	return NULL;
}

int pod_port_open(struct pod *pod, const struct spec_port *port, struct error *err)
{
	struct endpoint *e = outer_endpoint(pod);
	struct publish_config config = {
		.protocol = port->protocol ? port->protocol : "tcp",
		.host_first = (uint16_t)port->host_first,
		.host_last = (uint16_t)(port->host_last ? port->host_last : port->host_first),
		.port = (uint16_t)port->port
	};
	const char *host = port->host_ip && *port->host_ip ? port->host_ip
			   : e                             ? e->network->host_ip
							   : NULL;
	struct published **grown;
	int r;

	if (!e)
		return 0; /* as Docker: nobody outside can reach it */
	if (host && ip_parse(host, &config.host) < 0)
		return error_set(err, ERROR_INVALID, "invalid host address \"%.64s\"", host);
	/* "0.0.0.0" is all of IPv4, and "::" of IPv6; Docker's clients mean all by the first. */
	if (config.host.family == AF_INET && strcmp(host, "0.0.0.0") == 0)
		config.host.family = 0;
	grown = reallocarray(pod->published, pod->published_count + 1, sizeof(*grown));
	if (!grown)
		return error_nomem(err);
	pod->published = grown;
	r = port_publish(e, &config, &grown[pod->published_count], err);
	if (r == 0)
		pod->published_count++;
	return r;
}

static bool is_bound(const struct pod *pod, const char *protocol, int port)
{
	for (size_t i = 0; i < pod->spec->port_count; i++)
		if (pod->spec->ports[i].port == port &&
		    strcmp(pod->spec->ports[i].protocol, protocol) == 0)
			return true;
	return false;
}

/* "80/tcp", of the container or its image; ranges too. */
static int publish_exposed(struct pod *pod, const char *exposed, struct error *err)
{
	unsigned first, last;
	char protocol[8] = "tcp";
	int n = sscanf(exposed, "%u-%u/%4s", &first, &last, protocol), r = 0;

	if (n < 2) {
		n = sscanf(exposed, "%u/%4s", &first, protocol);
		last = first;
	}
	for (unsigned port = first; n >= 1 && port <= last && port <= 65535 && r == 0; port++) {
		const struct spec_port any = { .port = (int)port, .protocol = protocol };

		if (!is_bound(pod, protocol, (int)port))
			r = pod_port_open(pod, &any, err);
	}
	return r;
}

static int publish_all(struct pod *pod, struct error *err)
{
	struct container *c;
	int r = 0;

	list_for_each_entry(c, &pod->containers, pod_node) {
		const struct image_config *image = c->image ? image_config(c->image) : NULL;

		if (!c->spec->publish_all)
			continue;
		strv_for_each(exposed, c->spec->exposed_ports)
			if (r == 0)
				r = publish_exposed(pod, *exposed, err);
		strv_for_each(exposed, image ? image->exposed_ports : NULL)
			if (r == 0)
				r = publish_exposed(pod, *exposed, err);
	}
	return r;
}

static int open_ports(struct pod *pod, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < pod->spec->port_count && r == 0; i++)
		r = pod_port_open(pod, &pod->spec->ports[i], err);
	return r < 0 ? r : publish_all(pod, err);
}

/* ------------------------------------------------------------------ attaching */

int pod_endpoint_attach(struct pod *pod, size_t i, struct error *err)
{
	struct endpoint *e = pod->endpoints[i];
	autoclose int netns = -1;
	char name[LINK_NAME_BYTES];
	int r;

	if (networks_backend(pod->engine->networks) != NETWORK_BACKEND_BRIDGE)
		return 0;
	if (pod->spec->isolation == ISOLATION_VM) {
		const char *tap = sandbox_tap(pod->sandbox);

		if (!*tap)
			return error_set(err, ERROR_CONFLICT,
					 "pod %s was started without a network card", pod->name);
		for (size_t k = 0; k < pod->endpoint_count; k++)
			if (strcmp(pod->endpoints[k]->port, tap) == 0)
				return endpoint_attach_tap(e, tap, true, err);
		return endpoint_attach_tap(e, tap, false, err);
	}
	r = sandbox_netns(pod->sandbox, &netns, err);
	if (r < 0)
		return r;
	pod_interface_name(pod, i, name);
	return endpoint_attach_netns(e, netns, name, err);
}

int pod_network_attach(struct pod *pod, struct error *err)
{
	int r = 0;

	if (!pod->endpoint_count)
		return 0;
	if (pod->spec->isolation == ISOLATION_VM && !*sandbox_tap(pod->sandbox) &&
	    networks_backend(pod->engine->networks) == NETWORK_BACKEND_BRIDGE) {
		log_warn("pod %s has no network: its hypervisor gives machines no network card",
			 pod->name);
		pod_network_close(pod);
		return 0;
	}
	for (size_t i = 0; i < pod->endpoint_count && r == 0; i++)
		r = pod_endpoint_attach(pod, i, err);
	if (r == 0)
		r = networks_apply(pod->engine->networks, err);
	for (size_t i = 0; i < pod->endpoint_count && r == 0; i++)
		engine_network_event(pod->engine, pod->endpoints[i]->network, "connect",
				     pod->endpoints[i]->owner);
	return r;
}

/* ------------------------------------------------------------------ closing */

static void apply_task(void *arg)
{
	struct engine *engine = arg;
	struct error err = { 0 };

	task_shield(true);
	if (networks_apply(engine->networks, &err) < 0)
		log_warn("networks: %s", err.message);
	engine_task_done(engine);
}

void pod_network_close(struct pod *pod)
{
	struct endpoint **endpoints = steal(pod->endpoints);
	struct published **published = steal(pod->published);
	size_t count = pod->endpoint_count;

	for (size_t i = 0; i < pod->published_count; i++)
		port_withdraw(published[i]);
	pod->published_count = pod->endpoint_count = 0;
	for (size_t i = 0; i < count; i++) {
		engine_network_event(pod->engine, endpoints[i]->network, "disconnect",
				     endpoints[i]->owner);
		endpoint_close(endpoints[i]);
	}
	free(endpoints);
	free(published);
	/* Nobody waits for the rules of what is gone. */
	if (count)
		engine_task(pod->engine, "rules", apply_task, pod->engine, NULL);
}

void pod_network_detach(struct pod *pod)
{
	for (size_t i = 0; i < pod->published_count; i++)
		port_withdraw(pod->published[i]);
	for (size_t i = 0; i < pod->endpoint_count; i++)
		endpoint_detach(pod->endpoints[i]);
	free(steal(pod->endpoints));
	free(steal(pod->published));
	pod->published_count = pod->endpoint_count = 0;
}

/* ------------------------------------------------------------------ changing daemons */

json_t *pod_network_record(const struct pod *pod)
{
	json_t *endpoints = json_array(), *ports = json_array();
	char host[IP_TEXT_BYTES];

	for (size_t i = 0; i < pod->endpoint_count; i++)
		json_array_append_new(endpoints, endpoint_record(pod->endpoints[i]));
	for (size_t i = 0; i < pod->published_count; i++) {
		const struct published *p = pod->published[i];

		json_array_append_new(ports,
				      json_pack("{s:s, s:s, s:i, s:i}", "protocol", p->protocol,
						"host", ip_text(&p->host, host), "hostPort",
						(int)p->host_port, "port", (int)p->port));
	}
	return json_pack("{s:o, s:o, s:O?}", "endpoints", endpoints, "ports", ports, "addresses",
			 pod->addresses);
}

static void adopt_port(struct pod *pod, const json_t *record)
{
	const struct spec_port port = {
		.host_ip = (char *)json_string_value(json_object_get(record, "host")),
		.protocol = (char *)json_string_value(json_object_get(record, "protocol")),
		.host_first = (int)json_integer_value(json_object_get(record, "hostPort")),
		.port = (int)json_integer_value(json_object_get(record, "port")),
	};
	struct error err = { 0 };

	if (port.protocol && pod_port_open(pod, &port, &err) < 0)
		log_warn("pod %s: %s", pod->name, err.message);
}

void pod_network_adopt(struct pod *pod, const json_t *record)
{
	const json_t *item;
	struct error err = { 0 };
	size_t i;

	if (!pod->engine->networks)
		return;
	json_array_foreach(json_object_get(record, "endpoints"), i, item) {
		struct endpoint **grown =
			reallocarray(pod->endpoints, pod->endpoint_count + 1, sizeof(*grown));

		if (!grown)
			return;
		pod->endpoints = grown;
		if (endpoint_adopt(pod->engine->networks, item, &grown[pod->endpoint_count], &err) <
		    0)
			log_warn("pod %s: %s", pod->name, err.message);
		else
			pod->endpoint_count++;
	}
	json_array_foreach(json_object_get(record, "ports"), i, item)
		adopt_port(pod, item);
}

/* ------------------------------------------------------------------ what the pod is told */

struct endpoint *const *pod_endpoints(const struct pod *pod, size_t *ret_count)
{
	*ret_count = pod->endpoint_count;
	return pod->endpoints;
}

struct published *const *pod_published(const struct pod *pod, size_t *ret_count)
{
	*ret_count = pod->published_count;
	return pod->published;
}

const struct ip *pod_address(const struct pod *pod)
{
	return pod->endpoint_count && pod->endpoints[0]->addresses[0].family
		       ? &pod->endpoints[0]->addresses[0]
		       : NULL;
}

const struct ip *pod_name_server(const struct pod *pod)
{
	for (size_t i = 0; i < pod->endpoint_count; i++)
		if (pod->endpoints[i]->network->names)
			return &pod->endpoints[i]->network->families[0].gateway;
	return NULL;
}

void pod_interface_name(const struct pod *pod, size_t i, char out[LINK_NAME_BYTES])
{
	snprintf(out, LINK_NAME_BYTES, "eth%u", pod->endpoints[i]->number);
}

static ProtobufCBinaryData bytes_of(struct arena *arena, const struct ip *ip)
{
	size_t len = ip->family == AF_INET ? 4 : 16;

	return (ProtobufCBinaryData){ .len = len, .data = arena_copy(arena, ip->bytes, len) };
}

static Hyper__Interface *interface_request(struct arena *arena, const struct pod *pod, size_t i,
					   bool routes)
{
	Hyper__Interface *interface =
		arena_message(arena, Hyper__Interface, HYPER__INTERFACE__INIT);
	const struct endpoint *e = pod->endpoints[i];
	char name[LINK_NAME_BYTES];

	pod_interface_name(pod, i, name);
	interface->name = arena_text(arena, name);
	interface->mac.data = arena_copy(arena, e->mac, sizeof(e->mac));
	interface->mac.len = sizeof(e->mac);
	interface->mtu = e->network->mtu;
	interface->addresses = arena_alloc(arena, 2 * sizeof(void *));
	interface->gateways = arena_alloc(arena, 2 * sizeof(*interface->gateways));
	for (size_t k = 0; k < 2; k++) {
		Hyper__InterfaceAddress *a;

		if (!e->addresses[k].family)
			continue;
		a = arena_message(arena, Hyper__InterfaceAddress, HYPER__INTERFACE_ADDRESS__INIT);
		a->address = bytes_of(arena, &e->addresses[k]);
		a->prefix = e->network->families[k].pool.subnet.prefix;
		interface->addresses[interface->n_addresses++] = a;
		if (routes)
			interface->gateways[interface->n_gateways++] =
				bytes_of(arena, &e->network->families[k].gateway);
	}
	return interface;
}

Hyper__NetworkSetup *pod_network_request(struct arena *arena, struct pod *pod, size_t first)
{
	const struct endpoint *outer = outer_endpoint(pod);
	Hyper__NetworkSetup *setup;

	if (first >= pod->endpoint_count)
		return NULL;
	setup = arena_message(arena, Hyper__NetworkSetup, HYPER__NETWORK_SETUP__INIT);
	setup->interfaces = arena_alloc(arena, pod->endpoint_count * sizeof(void *));
	for (size_t i = first; i < pod->endpoint_count; i++)
		setup->interfaces[setup->n_interfaces++] =
			interface_request(arena, pod, i, pod->endpoints[i] == outer);
	return setup;
}
