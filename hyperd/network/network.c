/* One network: its creation and end, and its bridge. */
#include "hyperd/network/network.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "hyperd/network/record.h"

/* Daemons beside each other choose subnets one after the other. */
#define SUBNETS_LOCK "/run/hyper-subnets.lock"

struct network *network_ref(struct network *n)
{
	n->refs++;
	return n;
}

void network_unref(struct network *n)
{
	if (!n || --n->refs)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(n->families); i++) {
		address_pool_done(&n->families[i].pool);
		json_decref(n->families[i].auxiliary);
	}
	json_decref(n->labels);
	json_decref(n->options);
	free(n->host_ip);
	free(n->name);
	free(n->driver);
	free(n);
}

/* ------------------------------------------------------------------ its bridge */

static void set_forwarding(const char *path)
{
	autoclose int fd = open(path, O_RDWR | O_CLOEXEC);
	char value = '0';

	if (fd >= 0 && read(fd, &value, 1) == 1 && value == '1')
		return;
	if (fd < 0 || pwrite(fd, "1", 1, 0) != 1)
		log_warn("%s cannot be set: pods reach nothing beyond this host", path);
}

struct bridge_job {
	struct link_bridge bridge;
	struct error error;
};

static int make_bridge(void *arg)
{
	struct bridge_job *job = arg;

	set_forwarding("/proc/sys/net/ipv4/ip_forward");
	if (job->bridge.ipv6)
		set_forwarding("/proc/sys/net/ipv6/conf/all/forwarding");
	return link_bridge_make(&job->bridge, &job->error);
}

static int remove_link(void *arg)
{
	return link_remove(arg, NULL);
}

/* ------------------------------------------------------------------ its subnets */

static int choose_family(struct network *n, size_t i, struct error *err)
{
	struct network_family *f = &n->families[i];
	char text[SUBNET_TEXT_BYTES];
	struct subnet subnet;
	int r = subnet_choose(n->networks, i ? AF_INET6 : AF_INET, n, &subnet, err);

	if (r < 0)
		return r;
	address_pool_done(&f->pool);
	f->on = false;
	r = network_family_set(n, subnet_text(&subnet, text), NULL, NULL, NULL, err);
	f->chosen = true;
	return r;
}

/* Since it was chosen, somebody on this host may have taken it. */
static int check_families(struct network *n, struct error *err)
{
	int r = 0;

	if (!n->families[0].on)
		r = choose_family(n, 0, err);
	for (size_t i = 0; i < ARRAY_SIZE(n->families) && r == 0; i++) {
		struct network_family *f = &n->families[i];

		if (!f->on || !list_empty(&n->endpoints))
			continue;
		r = subnet_check_free(n->networks, &f->pool.subnet, n, err);
		if (r < 0 && f->chosen) {
			error_clear(err);
			r = choose_family(n, i, err);
		}
	}
	return r;
}

static int make_on_host(struct network *n, struct error *err)
{
	struct bridge_job job = {
		.bridge = { .name = n->bridge, .mtu = n->mtu, .ipv6 = n->families[1].on }
	};
	autoclose int lock = open(SUBNETS_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int r;

	/* Another daemon holds it no longer than a bridge takes. */
	if (lock >= 0)
		flock(lock, LOCK_EX);
	r = check_families(n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(n->families); i++) {
		if (!n->families[i].on)
			continue;
		job.bridge.addresses[i] = n->families[i].gateway;
		job.bridge.prefixes[i] = n->families[i].pool.subnet.prefix;
	}
	r = job_run(n->networks->jobs, make_bridge, &job);
	if (r < 0)
		error_copy(err, &job.error);
	return r;
}

static int bring_up_locked(struct network *n, struct error *err)
{
	int r = task_mutex_lock(&n->networks->subnet_mutex, DEADLINE_NEVER);

	if (r < 0)
		return error_set(err, ERROR_CANCELED, "canceled while a subnet was chosen");
	r = make_on_host(n, err);
	task_mutex_unlock(&n->networks->subnet_mutex);
	if (r < 0)
		return r;
	n->up = true;
	networks_changed(n->networks);
	return network_save(n, err);
}

int network_bring_up(struct network *n, struct error *err)
{
	int r;

	if (strcmp(n->driver, "bridge") != 0)
		return error_set(err, ERROR_INVALID, "network %s has no addresses", n->name);
	r = task_mutex_lock(&n->mutex, DEADLINE_NEVER);
	if (r < 0)
		return error_set(err, ERROR_CANCELED, "canceled while network %s was brought up",
				 n->name);
	if (!n->up)
		r = bring_up_locked(n, err);
	/* The gateway's address has to be there for it. */
	if (r == 0 && network_has_names(n) && !list_empty(&n->endpoints))
		r = names_start(n, err);
	task_mutex_unlock(&n->mutex);
	return r < 0 ? error_prefix(err, r, "network %s", n->name) : 0;
}

int network_need_subnet(struct network *n, struct error *err)
{
	int r = n->families[0].on ? 0 : choose_family(n, 0, err);

	return r < 0 ? r : network_save(n, err);
}

void network_take_down(struct network *n)
{
	bool shielded = task_shield(true);

	task_mutex_lock(&n->mutex, DEADLINE_NEVER);
	names_stop(n);
	if (n->up && !n->bridge_given)
		job_run(n->networks->jobs, remove_link, n->bridge);
	n->up = false;
	networks_changed(n->networks);
	task_mutex_unlock(&n->mutex);
	task_shield(shielded);
}

/* ------------------------------------------------------------------ creation */

static int check_name(struct networks *networks, const char *name, struct error *err)
{
	size_t len = strlen(name);

	if (!len || len > 200 ||
	    name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "0123456789_.-")] ||
	    strchr("_.-", *name))
		return error_set(err, ERROR_INVALID,
				 "invalid network name \"%.64s\": only [a-zA-Z0-9][a-zA-Z0-9_.-] "
				 "are allowed",
				 name);
	if (networks_find(networks, name))
		return error_set(err, ERROR_CONFLICT, "network with name %s already exists", name);
	return 0;
}

static int take_ipam(struct network *n, const struct network_spec *spec, struct error *err)
{
	const json_t *item;
	size_t i;
	int r = 0;

	json_array_foreach(spec->ipam, i, item) {
		const char *subnet = NULL, *range = NULL, *gateway = NULL;
		json_t *auxiliary = NULL;

		r = json_get_string(item, "Subnet", &subnet, err);
		if (r == 0)
			r = json_get_string(item, "IPRange", &range, err);
		if (r == 0)
			r = json_get_string(item, "Gateway", &gateway, err);
		if (r == 0)
			r = json_get_object(item, "AuxiliaryAddresses", &auxiliary, err);
		if (r == 0 && (!subnet || !*subnet) && (range || gateway) &&
		    ((range && *range) || (gateway && *gateway)))
			r = error_set(err, ERROR_INVALID,
				      "IPAM.Config: an IP range or gateway needs its subnet named");
		if (r == 0 && subnet && *subnet)
			r = network_family_set(n, subnet, range, gateway, auxiliary, err);
		if (r < 0)
			return r;
	}
	if (n->families[1].on && !spec->ipv6)
		return error_set(err, ERROR_INVALID, "an IPv6 subnet needs EnableIPv6");
	if (spec->ipv6 && !n->families[1].on)
		r = choose_family(n, 1, err);
	return r;
}

static int fill(struct network *n, const struct network_spec *spec, struct error *err)
{
	int r;

	n->internal = spec->internal;
	n->attachable = spec->attachable;
	json_object_update(n->labels, spec->labels);
	json_object_update(n->options, spec->options);
	r = network_read_options(n, err);
	if (r == 0)
		r = take_ipam(n, spec, err);
	/* Somebody else's bridge is used, and left where it is. */
	n->bridge_given = link_exists(n->bridge);
	for (size_t i = 0; i < ARRAY_SIZE(n->families) && r == 0; i++)
		if (n->families[i].on)
			r = subnet_check_free(n->networks, &n->families[i].pool.subnet, n, err);
	return r;
}

int network_create(struct networks *networks, const struct network_spec *spec, struct network **ret,
		   struct error *err)
{
	const char *driver = spec->driver && *spec->driver ? spec->driver : "bridge";
	struct network *n;
	int r = check_name(networks, spec->name, err);

	if (r == 0 && (strcmp(driver, "host") == 0 || strcmp(driver, "null") == 0))
		r = error_set(err, ERROR_DENIED, "only one instance of \"%s\" network is allowed",
			      driver);
	else if (r == 0 && strcmp(driver, "bridge") != 0)
		r = error_set(err, ERROR_NOT_FOUND, "plugin \"%.64s\" not found", driver);
	if (r == 0)
		r = network_new(networks, spec->name, driver, &n, err);
	if (r < 0)
		return r;
	r = fill(n, spec, err);
	if (r == 0 && networks->backend == NETWORK_BACKEND_BRIDGE) {
		/* The bridge from now on: its route tells others that the subnet is taken. */
		r = network_bring_up(n, err);
		if (r == 0)
			r = networks_apply(networks, err);
	} else if (r == 0) {
		if (!n->families[0].on)
			r = choose_family(n, 0, err);
		if (r == 0)
			r = network_save(n, err);
	}
	if (r < 0) {
		network_take_down(n);
		record_delete(networks->store, "network", n->id, NULL);
		list_remove(&n->node);
		n->removed = true;
		network_unref(n);
		return r;
	}
	*ret = n;
	return 0;
}

int network_remove(struct network *n, struct error *err)
{
	int r;

	if (n->predefined)
		return error_set(err, ERROR_DENIED,
				 "%s is a pre-defined network and cannot be removed", n->name);
	if (n->removed)
		return error_set(err, ERROR_NOT_FOUND, "network %s not found", n->name);
	if (!list_empty(&n->endpoints))
		return error_set(
			err, ERROR_DENIED,
			"error while removing network: network %s id %s has active endpoints",
			n->name, n->id);
	n->removed = true;
	r = record_delete(n->networks->store, "network", n->id, err);
	if (r < 0) {
		n->removed = false;
		return r;
	}
	network_take_down(n);
	list_remove(&n->node);
	r = networks_apply(n->networks, err);
	network_unref(n);
	return r;
}
