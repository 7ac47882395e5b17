/* A pod's place on a network: its addresses, and the interface behind them. */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "hyperd/network/internal.h"

static void endpoint_free(struct endpoint *e)
{
	if (!e)
		return;
	list_remove(&e->node);
	for (size_t i = 0; i < ARRAY_SIZE(e->addresses); i++)
		if (e->addresses[i].family)
			address_pool_give_back(&e->network->families[i].pool, &e->addresses[i]);
	network_unref(e->network);
	free(e->owner);
	free(e->owner_name);
	strv_free(e->aliases);
	free(e);
}

void endpoint_detach(struct endpoint *e)
{
	endpoint_free(e);
}

int endpoint_set_names(struct endpoint *e, const char *owner_name, char *const *aliases,
		       struct error *err)
{
	char **copy = strv_copy(aliases), *name = strdup(owner_name);

	if ((aliases && !copy) || !name) {
		strv_free(copy);
		free(name);
		return error_nomem(err);
	}
	strv_free(e->aliases);
	free(e->owner_name);
	e->aliases = copy;
	e->owner_name = name;
	networks_changed(e->network->networks);
	return 0;
}

static int endpoint_new(struct network *network, const char *owner, const char *owner_name,
			char *const *aliases, struct endpoint **ret, struct error *err)
{
	struct endpoint *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return error_nomem(err);
	list_init(&e->node);
	e->network = network_ref(network);
	e->owner = strdup(owner);
	r = e->owner ? random_id(e->id, err) : error_nomem(err);
	if (r == 0)
		r = endpoint_set_names(e, owner_name, aliases, err);
	if (r < 0) {
		endpoint_free(e);
		return r;
	}
	/* From now on the network is in use. */
	list_append(&network->endpoints, &e->node);
	*ret = e;
	return 0;
}

/* ------------------------------------------------------------------ addresses */

static int take_address(struct endpoint *e, size_t i, const char *wanted,
			const struct ip *preferred, struct error *err)
{
	struct network_family *f = &e->network->families[i];
	struct ip ip;
	int r;

	if (!f->on)
		return wanted && *wanted
			       ? error_set(err, ERROR_INVALID, "network %s has no IPv%c addresses",
					   e->network->name, i ? '6' : '4')
			       : 0;
	if (wanted && *wanted) {
		if (ip_parse(wanted, &ip) < 0 || ip.family != f->pool.subnet.base.family)
			return error_set(err, ERROR_INVALID, "invalid IPv%c address: %.64s",
					 i ? '6' : '4', wanted);
		r = address_pool_take(&f->pool, &ip, err);
	} else if (preferred->family && address_pool_take(&f->pool, preferred, NULL) == 0) {
		ip = *preferred;
		r = 0;
	} else {
		r = address_pool_next(&f->pool, &ip, err);
	}
	if (r == 0)
		e->addresses[i] = ip;
	return r;
}

static int take_mac(struct endpoint *e, const char *wanted, struct error *err)
{
	struct endpoint *other;

	if (wanted && *wanted) {
		if (mac_parse(wanted, e->mac) < 0)
			return error_set(err, ERROR_INVALID, "invalid MAC address: %.64s", wanted);
		list_for_each_entry(other, &e->network->endpoints, node) {
			if (other != e && memcmp(other->mac, e->mac, sizeof(e->mac)) == 0)
				return error_set(err, ERROR_CONFLICT,
						 "MAC address %s is in use on network %s by %s",
						 wanted, e->network->name, other->owner_name);
		}
		return 0;
	}
	/* As Docker: made of the address, so that a neighbour's table is right after a restart. */
	e->mac[0] = 0x02;
	e->mac[1] = 0x42;
	memcpy(e->mac + 2, e->addresses[0].bytes, 4);
	return 0;
}

int endpoint_open(struct network *network, const struct endpoint_config *config,
		  struct endpoint **ret, struct error *err)
{
	struct endpoint *e;
	int r;

	if (network->removed)
		return error_set(err, ERROR_NOT_FOUND, "network %s not found", network->name);
	r = endpoint_new(network, config->owner, config->owner_name, config->aliases, &e, err);
	if (r < 0)
		return r;
	if (network->networks->backend == NETWORK_BACKEND_BRIDGE) {
		/* A bridge that is brought up for the first time may choose its subnet: nobody is
		 * in it. */
		if (!network->up)
			list_remove(&e->node);
		r = network_bring_up(network, err);
		if (list_empty(&e->node))
			list_append(&network->endpoints, &e->node);
		if (r == 0 && network->removed)
			r = error_set(err, ERROR_NOT_FOUND, "network %s not found", network->name);
		if (r == 0 && network_has_names(network) && !network->names)
			r = network_bring_up(network, err);
	} else {
		r = network_need_subnet(network, err);
	}
	for (size_t i = 0; i < ARRAY_SIZE(e->addresses) && r == 0; i++)
		r = take_address(e, i, i ? config->ipv6 : config->ipv4, &config->preferred[i], err);
	if (r == 0)
		r = take_mac(e, config->mac, err);
	if (r < 0) {
		endpoint_free(e);
		return r;
	}
	*ret = e;
	return 0;
}

/* ------------------------------------------------------------------ interfaces */

struct attach_job {
	struct link_veth veth;
	const char *port, *bridge;
	unsigned mtu;
	const char *relay, *trunk;
	struct error error;
};

static int attach_veth(void *arg)
{
	struct attach_job *job = arg;

	return link_veth_make(&job->veth, &job->error);
}

int endpoint_attach_netns(struct endpoint *e, int netns_fd, const char *name, struct error *err)
{
	struct attach_job job = { .veth = { .name = e->port,
					    .bridge = e->network->bridge,
					    .netns_fd = netns_fd,
					    .peer = name,
					    .mac = e->mac,
					    .mtu = e->network->mtu } };
	int r;

	interface_name(e->network->networks, 'v', e->port);
	r = job_run(e->network->networks->jobs, attach_veth, &job);
	if (r < 0) {
		e->port[0] = '\0';
		error_copy(err, &job.error);
		return r;
	}
	networks_changed(e->network->networks);
	return 0;
}

static int attach_tap(void *arg)
{
	struct attach_job *job = arg;

	return link_attach(job->port, job->bridge, job->mtu, &job->error);
}

/* The relay's frames go straight on, which the rules say: it is in no bridge, and up. */
static int attach_beside_tap(void *arg)
{
	struct attach_job *job = arg;
	int r = link_veth_make(&job->veth, &job->error);

	return r < 0 ? r : link_set_up(job->relay, &job->error);
}

int endpoint_attach_tap(struct endpoint *e, const char *tap, bool trunk, struct error *err)
{
	struct networks *networks = e->network->networks;
	struct attach_job job = { .port = tap,
				  .bridge = e->network->bridge,
				  .mtu = e->network->mtu };
	int r;

	if (!trunk) {
		snprintf(e->port, sizeof(e->port), "%s", tap);
		r = job_run(networks->jobs, attach_tap, &job);
	} else {
		interface_name(networks, 'v', e->port);
		interface_name(networks, 'v', e->relay);
		job.relay = e->relay;
		job.veth = (struct link_veth){ .name = e->port,
					       .bridge = e->network->bridge,
					       .netns_fd = -1,
					       .peer = e->relay,
					       .mtu = e->network->mtu };
		r = job_run(networks->jobs, attach_beside_tap, &job);
		snprintf(e->trunk, sizeof(e->trunk), "%s", tap);
	}
	if (r < 0) {
		e->port[0] = e->relay[0] = e->trunk[0] = '\0';
		error_copy(err, &job.error);
		return r;
	}
	networks_changed(networks);
	return 0;
}

static int remove_link(void *arg)
{
	return link_remove(arg, NULL);
}

void endpoint_close(struct endpoint *e)
{
	char port[LINK_NAME_BYTES];
	struct networks *networks;
	bool shielded, made;

	if (!e)
		return;
	networks = e->network->networks;
	strcpy(port, e->port);
	/* A tap is its machine's, and goes with it. */
	made = *port && !str_starts(port, networks->tap_prefix);
	endpoint_free(e);
	networks_changed(networks);
	if (!made || !task_self())
		return;
	shielded = task_shield(true);
	/* With the other end of the pair. */
	job_run(networks->jobs, remove_link, port);
	task_shield(shielded);
}

/* ------------------------------------------------------------------ changing daemons */

json_t *endpoint_record(const struct endpoint *e)
{
	char ipv4[IP_TEXT_BYTES], ipv6[IP_TEXT_BYTES], mac[MAC_TEXT_BYTES];

	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:s}", "number",
			 (int)e->number, "network", e->network->id, "id", e->id, "owner", e->owner,
			 "ownerName", e->owner_name, "aliases", json_from_strv(e->aliases), "ipv4",
			 ip_text(&e->addresses[0], ipv4), "ipv6", ip_text(&e->addresses[1], ipv6),
			 "mac", mac_text(e->mac, mac), "port", e->port, "trunk", e->trunk, "relay",
			 e->relay);
}

static void get_name(const json_t *record, const char *key, char out[LINK_NAME_BYTES])
{
	const char *text = json_string_value(json_object_get(record, key));

	snprintf(out, LINK_NAME_BYTES, "%s", text ? text : "");
}

static int read_addresses(struct endpoint *e, const json_t *record, struct error *err)
{
	static const char *const keys[] = { "ipv4", "ipv6" };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys) && r == 0; i++) {
		const char *text = json_string_value(json_object_get(record, keys[i]));
		struct ip ip;

		if (!text || !*text || ip_parse(text, &ip) < 0 || !e->network->families[i].on)
			continue;
		r = address_pool_take(&e->network->families[i].pool, &ip, err);
		if (r == 0)
			e->addresses[i] = ip;
	}
	return r;
}

int endpoint_adopt(struct networks *networks, const json_t *record, struct endpoint **ret,
		   struct error *err)
{
	autoptr(network_unref) struct network *network = NULL;
	autostrv char **aliases = NULL;
	const char *id, *owner, *owner_name, *network_id, *mac;
	struct endpoint *e;
	int r = json_get_string(record, "network", &network_id, err);

	if (r == 0)
		r = json_get_string(record, "id", &id, err);
	if (r == 0)
		r = json_get_string(record, "owner", &owner, err);
	if (r == 0)
		r = json_get_string(record, "ownerName", &owner_name, err);
	if (r == 0)
		r = json_get_string(record, "mac", &mac, err);
	if (r == 0)
		r = json_get_strv(record, "aliases", &aliases, err);
	if (r == 0 &&
	    (!network_id || !id || strlen(id) != NETWORK_ID_BYTES || !owner || !owner_name || !mac))
		r = error_set(err, ERROR_INVALID, "an endpoint's record is incomplete");
	if (r == 0)
		r = network_get(networks, network_id, &network, err);
	if (r == 0)
		r = endpoint_new(network, owner, owner_name, aliases, &e, err);
	if (r < 0)
		return r;
	strcpy(e->id, id);
	get_name(record, "port", e->port);
	get_name(record, "trunk", e->trunk);
	get_name(record, "relay", e->relay);
	e->number = (unsigned)json_integer_value(json_object_get(record, "number"));
	r = mac_parse(mac, e->mac) < 0
		    ? error_set(err, ERROR_INVALID, "an endpoint's record is damaged")
		    : 0;
	if (r == 0)
		r = read_addresses(e, record, err);
	if (r < 0) {
		endpoint_free(e);
		return r;
	}
	*ret = e;
	return 0;
}
