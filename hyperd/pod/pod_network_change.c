/* Networks and ports that come and go while a pod exists, running or not. */
#include <string.h>

#include "hyperd/pod/arena.h"
#include "hyperd/pod/internal.h"

static int call_agent(struct pod *pod, Hyper__NetworkSetup *setup, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	struct agent *agent = pod_agent(pod, err);

	if (!agent)
		return -EBUSY;
	request.body_case = HYPER__REQUEST__BODY_NETWORK_SETUP;
	request.network_setup = setup;
	return agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), NULL, err);
}

static int find_spec(const struct pod *pod, const struct network *network)
{
	for (size_t i = 0; i < pod->spec->network_count; i++) {
		const char *name = pod->spec->networks[i].network;

		if (strcmp(name, network->name) == 0 || str_starts(network->id, name) ||
		    (network->predefined && strcmp(name, "default") == 0))
			return (int)i;
	}
	return -1;
}

/* What was the default is named from now on: something is added to it or taken away. */
static int name_default(struct pod *pod, struct error *err)
{
	if (pod->spec->network_count || pod->spec->network_mode)
		return 0;
	return spec_network_add(pod->spec, NETWORK_DEFAULT) ? 0 : error_nomem(err);
}

static int copy_config(struct spec_network *to, const struct spec_network *from, struct error *err)
{
	to->aliases = from->aliases ? strv_copy(from->aliases) : NULL;
	to->links = from->links ? strv_copy(from->links) : NULL;
	to->ipv4 = from->ipv4 && *from->ipv4 ? strdup(from->ipv4) : NULL;
	to->ipv6 = from->ipv6 && *from->ipv6 ? strdup(from->ipv6) : NULL;
	to->mac = from->mac && *from->mac ? strdup(from->mac) : NULL;
	return (from->aliases && !to->aliases) || (from->links && !to->links) ? error_nomem(err)
									      : 0;
}

static void close_last(struct pod *pod)
{
	endpoint_close(pod->endpoints[--pod->endpoint_count]);
	networks_apply(pod->engine->networks, NULL);
}

static int connect_running(struct pod *pod, const struct network *network,
			   const struct spec_network *asked, struct error *err)
{
	struct arena arena;
	int r = pod_endpoint_open(pod, network->id, asked, err);
	size_t i = pod->endpoint_count - 1;

	if (r < 0)
		return r;
	arena_init(&arena);
	r = pod_endpoint_attach(pod, i, err);
	if (r == 0)
		r = networks_apply(pod->engine->networks, err);
	if (r == 0)
		r = call_agent(pod, pod_network_request(&arena, pod, i), err);
	arena_done(&arena);
	if (r < 0)
		close_last(pod);
	return r;
}

static int connect_locked(struct pod *pod, struct network *network,
			  const struct spec_network *config, struct error *err)
{
	struct spec_network *asked;
	int r;

	if (pod->removed)
		return error_set(err, ERROR_NOT_FOUND, "No such pod: %s", pod->name);
	if (pod->spec->network_mode)
		return error_set(err, ERROR_DENIED,
				 "container cannot be connected to multiple networks with one of "
				 "the networks "
				 "in %s mode",
				 strcmp(pod->spec->network_mode, "host") == 0 ? "host"
									      : "private (none)");
	r = name_default(pod, err);
	if (r == 0 && find_spec(pod, network) >= 0)
		return error_set(err, ERROR_DENIED,
				 "endpoint with name %s already exists in network %s", pod->name,
				 network->name);
	asked = r == 0 ? spec_network_add(pod->spec, network->name) : NULL;
	if (!asked)
		return error_nomem(err);
	r = copy_config(asked, config, err);
	if (r == 0)
		r = pod_network_check(pod->engine, pod->spec, err);
	if (r == 0 && pod->sandbox && !pod->sandbox_dead && pod_has_card(pod))
		r = connect_running(pod, network, asked, err);
	if (r < 0) {
		spec_network_remove(pod->spec, pod->spec->network_count - 1);
		return r;
	}
	pod_save_logged(pod);
	return 0;
}

int pod_network_connect(struct pod *pod, const struct spec_network *config, struct error *err)
{
	autoptr(network_unref) struct network *network = NULL;
	int r;

	if (!pod->engine->networks)
		return error_set(err, ERROR_UNSUPPORTED, "there are no networks");
	r = network_get(pod->engine->networks, config->network, &network, err);
	if (r == 0)
		r = pod_lock(pod, err);
	if (r < 0)
		return r;
	r = connect_locked(pod, network, config, err);
	if (r == 0 && pod->sandbox)
		engine_network_event(pod->engine, network, "connect",
				     pod->endpoints[pod->endpoint_count - 1]->owner);
	pod_unlock(pod);
	return r;
}

/* Ports that lead to an endpoint that goes. */
static void withdraw_of(struct pod *pod, const struct endpoint *e)
{
	size_t n = 0;

	for (size_t i = 0; i < pod->published_count; i++) {
		if (pod->published[i]->endpoint == e)
			port_withdraw(pod->published[i]);
		else
			pod->published[n++] = pod->published[i];
	}
	pod->published_count = n;
}

static void take_address_away(struct pod *pod, size_t i)
{
	Hyper__NetworkSetup setup = HYPER__NETWORK_SETUP__INIT;
	char name[LINK_NAME_BYTES], *names[] = { name };
	struct error err = { 0 };

	pod_interface_name(pod, i, name);
	setup.remove = names;
	setup.n_remove = 1;
	if (call_agent(pod, &setup, &err) < 0)
		log_warn("pod %s: %s", pod->name, err.message);
}

static void disconnect_running(struct pod *pod, size_t i, struct error *err)
{
	struct endpoint *e = pod->endpoints[i];

	withdraw_of(pod, e);
	take_address_away(pod, i);
	pod->endpoint_count--;
	memmove(pod->endpoints + i, pod->endpoints + i + 1,
		(pod->endpoint_count - i) * sizeof(*pod->endpoints));
	engine_network_event(pod->engine, e->network, "disconnect", e->owner);
	endpoint_close(e);
	if (networks_apply(pod->engine->networks, err) < 0)
		log_warn("pod %s: %s", pod->name, err->message);
}

static int disconnect_locked(struct pod *pod, struct network *network, bool force,
			     struct error *err)
{
	int i, r = name_default(pod, err);

	if (r < 0)
		return r;
	i = find_spec(pod, network);
	if (i < 0)
		return force ? 0
			     : error_set(err, ERROR_DENIED,
					 "container %s is not connected to network %s", pod->name,
					 network->name);
	for (size_t k = 0; k < pod->endpoint_count; k++) {
		if (pod->endpoints[k]->network != network)
			continue;
		disconnect_running(pod, k, err);
		break;
	}
	spec_network_remove(pod->spec, (size_t)i);
	pod_save_logged(pod);
	return 0;
}

int pod_network_disconnect(struct pod *pod, const char *name, bool force, struct error *err)
{
	autoptr(network_unref) struct network *network = NULL;
	int r;

	if (!pod->engine->networks)
		return error_set(err, ERROR_UNSUPPORTED, "there are no networks");
	r = network_get(pod->engine->networks, name, &network, err);
	if (r == 0)
		r = pod_lock(pod, err);
	if (r < 0)
		return r;
	r = disconnect_locked(pod, network, force, err);
	pod_unlock(pod);
	return r;
}

/* ------------------------------------------------------------------ ports */

static int copy_port(struct pod_spec *spec, const struct spec_port *port, struct error *err)
{
	struct spec_port *copy = spec_port_add(spec, port->protocol, port->port);

	if (!copy)
		return error_nomem(err);
	copy->host_first = port->host_first;
	copy->host_last = port->host_last;
	copy->host_ip = port->host_ip && *port->host_ip ? strdup(port->host_ip) : NULL;
	return 0;
}

int pod_port_add(struct pod *pod, const struct spec_port *port, struct error *err)
{
	int r = pod_lock(pod, err);

	if (r < 0)
		return r;
	if (!pod_has_card(pod))
		r = error_set(err, ERROR_CONFLICT, "pod %s has no network", pod->name);
	else if (pod->sandbox && networks_backend(pod->engine->networks) != NETWORK_BACKEND_BRIDGE)
		r = error_set(err, ERROR_UNSUPPORTED,
			      "without bridges, ports are published when a pod starts");
	else if (pod->sandbox)
		r = pod_port_open(pod, port, err);
	if (r == 0 && pod->sandbox)
		r = networks_apply(pod->engine->networks, err);
	if (r == 0)
		r = copy_port(pod->spec, port, err);
	if (r == 0)
		pod_save_logged(pod);
	pod_unlock(pod);
	return r;
}

static bool fits(const char *protocol, int port, int host_port, const char *have_protocol,
		 int have_port, int have_first, int have_last)
{
	return have_port == port && strcmp(have_protocol, protocol) == 0 &&
	       (!host_port ||
		(host_port >= have_first && host_port <= (have_last ? have_last : have_first)));
}

static int port_remove_locked(struct pod *pod, const char *protocol, int port, int host_port,
			      struct error *err)
{
	bool found = false;

	for (size_t i = pod->published_count; i-- > 0;) {
		struct published *p = pod->published[i];

		if (!fits(protocol, port, host_port, p->protocol, p->port, p->host_port,
			  p->host_port))
			continue;
		port_withdraw(p);
		pod->published_count--;
		memmove(pod->published + i, pod->published + i + 1,
			(pod->published_count - i) * sizeof(*pod->published));
		found = true;
	}
	for (size_t i = pod->spec->port_count; i-- > 0;) {
		const struct spec_port *p = &pod->spec->ports[i];

		if (!fits(protocol, port, p->host_first ? host_port : 0, p->protocol, p->port,
			  p->host_first, p->host_last))
			continue;
		spec_port_remove(pod->spec, i);
		found = true;
	}
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "port %d/%s of pod %s is not published",
				 port, protocol, pod->name);
	pod_save_logged(pod);
	return pod->sandbox ? networks_apply(pod->engine->networks, err) : 0;
}

int pod_port_remove(struct pod *pod, const char *protocol, int port, int host_port,
		    struct error *err)
{
	int r = pod_lock(pod, err);

	if (r < 0)
		return r;
	r = port_remove_locked(pod, protocol, port, host_port, err);
	pod_unlock(pod);
	return r;
}
