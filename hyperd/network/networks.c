/* All networks of a daemon: opening, settling after a restart, letting go. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "hyperd/network/internal.h"
#include "hyperd/network/record.h"

static const char *const backend_names[] = { "bridge", "user", "none" };

/* FNV-1a of the run root in base 32: daemons beside each other have interfaces of their own. */
static void make_tag(const char *run_root, char out[TAG_BYTES + 1])
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	uint64_t hash = 14695981039346656037u;

	for (const char *p = run_root; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	hash ^= hash >> 32;
	out[0] = 'h';
	out[1] = 'y';
	for (int i = 2; i < TAG_BYTES; i++, hash >>= 5)
		out[i] = digits[hash & 31];
	out[TAG_BYTES] = '\0';
}

static bool has_net_admin(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	return syscall(SYS_capget, &header, data) == 0 && data[0].effective & (1u << CAP_NET_ADMIN);
}

static int choose_backend(struct networks *n, const char *wanted, struct error *err)
{
	if (wanted && *wanted && strcmp(wanted, "auto") != 0) {
		for (size_t i = 0; i < ARRAY_SIZE(backend_names); i++)
			if (strcmp(wanted, backend_names[i]) == 0) {
				n->backend = (enum network_backend)i;
				n->forced = true;
				if (i)
					snprintf(n->reason, sizeof(n->reason), "it was asked for");
				return 0;
			}
		return error_set(err, ERROR_INVALID,
				 "network backend \"%.32s\": expected auto, bridge, user or none",
				 wanted);
	}
	if (has_net_admin() && access("/dev/net/tun", R_OK | W_OK) == 0)
		return 0;
	n->backend = NETWORK_BACKEND_USER;
	snprintf(n->reason, sizeof(n->reason), "%s",
		 has_net_admin() ? "/dev/net/tun is missing"
				 : "hyperd may not make network interfaces (CAP_NET_ADMIN)");
	return 0;
}

static const struct {
	const char *name, *driver;
} predefined[] = { { "bridge", "bridge" }, { "host", "host" }, { "none", "null" } };

static int add_predefined(struct networks *n, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(predefined); i++) {
		struct network *network = networks_find(n, predefined[i].name);
		int r;

		if (network)
			continue;
		r = network_new(n, predefined[i].name, predefined[i].driver, &network, err);
		if (r < 0)
			return r;
		network->predefined = true;
		r = network_save(network, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void read_one(const char *id, json_t *record, void *arg)
{
	struct error err = { 0 };

	if (network_from_record(arg, record, &err) < 0)
		log_warn("network %.12s: %s", id, err.message);
}

static void damaged(const char *id, const struct error *why, void *arg)
{
	log_warn("record of network %.12s: %s", id, why->message);
}

/* Records are read in no order. */
static void sort_by_creation(struct networks *n)
{
	struct list sorted;

	list_init(&sorted);
	while (!list_empty(&n->list)) {
		struct network *network, *oldest = NULL;

		list_for_each_entry(network, &n->list, node) {
			if (!oldest || network->created_ns < oldest->created_ns)
				oldest = network;
		}
		list_remove(&oldest->node);
		list_append(&sorted, &oldest->node);
	}
	while (!list_empty(&sorted))
		list_append(&n->list, list_pop(&sorted));
}

int networks_open(const struct networks_config *config, struct networks **ret, struct error *err)
{
	struct networks *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return error_nomem(err);
	n->loop = config->loop;
	n->jobs = config->jobs;
	n->store = config->store;
	list_init(&n->list);
	list_init(&n->published);
	list_init(&n->services);
	task_mutex_init(&n->apply_mutex);
	task_mutex_init(&n->subnet_mutex);
	make_tag(config->run_root, n->tag);
	snprintf(n->tap_prefix, sizeof(n->tap_prefix), "%st", n->tag);
	n->run_root = strdup(config->run_root);
	if (getrandom(&n->counter, sizeof(n->counter), 0) < 0)
		n->counter = (unsigned)getpid();
	n->counter &= 0xffffff;
	r = n->run_root ? choose_backend(n, config->backend, err) : error_nomem(err);
	if (r == 0)
		r = record_each(n->store, "network", NETWORK_RECORD_VERSION, read_one, damaged, n,
				err);
	sort_by_creation(n);
	if (r == 0)
		r = add_predefined(n, err);
	if (r < 0) {
		networks_free(n, true);
		return r;
	}
	*ret = n;
	return 0;
}

/* ------------------------------------------------------------------ after a restart */

static bool is_wanted(const char *name, void *arg)
{
	struct networks *n = arg;
	struct network *network;

	/* A tap lives as long as its machine. */
	if (str_starts(name, n->tap_prefix))
		return true;
	list_for_each_entry(network, &n->list, node) {
		struct endpoint *e;

		if (strcmp(network->bridge, name) == 0 && network->families[0].on)
			return true;
		list_for_each_entry(e, &network->endpoints, node) {
			if (strcmp(e->port, name) == 0 || strcmp(e->relay, name) == 0)
				return true;
		}
	}
	return false;
}

int networks_settle(struct networks *n)
{
	struct network *network;
	struct error err = { 0 };
	int r = 0;

	names_sweep(n);
	if (n->backend == NETWORK_BACKEND_BRIDGE && link_sweep(n->tag, is_wanted, n, &err) < 0)
		log_warn("networks: %s", err.message);
	n->rules_present = true;
	list_for_each_entry(network, &n->list, node) {
		if (strcmp(network->driver, "bridge") != 0 || n->backend != NETWORK_BACKEND_BRIDGE)
			continue;
		if ((!network->predefined || !list_empty(&network->endpoints)) &&
		    network_bring_up(network, &err) < 0)
			log_warn("network %s: %s", network->name, err.message);
	}
	networks_changed(n);
	if (n->backend == NETWORK_BACKEND_BRIDGE)
		r = networks_apply(n, &err);
	if (r < 0)
		log_warn("networks: %s", err.message);
	return 0;
}

void networks_free(struct networks *n, bool keep)
{
	struct network *network, *next;
	struct error err = { 0 };

	if (!n)
		return;
	while (!list_empty(&n->published))
		port_withdraw(container_of(n->published.next, struct published, node));
	relays_wait();
	if (!keep && task_self()) {
		list_for_each_entry(network, &n->list, node)
			network_take_down(network);
		if (n->rules_present && rules_remove(n, &err) < 0)
			log_warn("networks: removing the rules: %s", err.message);
	}
	list_for_each_entry_safe(network, next, &n->list, node) {
		names_free(steal(network->names), keep);
		list_remove(&network->node);
		network_unref(network);
	}
	if (n->nft)
		nft_ctx_free(n->nft);
	free(n->run_root);
	free(n);
}

/* ------------------------------------------------------------------ small things */

enum network_backend networks_backend(const struct networks *n)
{
	return n->backend;
}

const char *networks_backend_name(const struct networks *n)
{
	return backend_names[n->backend];
}

const char *networks_backend_reason(const struct networks *n)
{
	return n->reason;
}

const char *networks_tap_prefix(const struct networks *n)
{
	return n->tap_prefix;
}

void interface_name(struct networks *n, char kind, char out[LINK_NAME_BYTES])
{
	do
		snprintf(out, LINK_NAME_BYTES, "%s%c%x", n->tag, kind, n->counter++ & 0xfffffff);
	while (link_exists(out));
}

struct network *networks_find(struct networks *n, const char *name)
{
	struct network *network;

	list_for_each_entry(network, &n->list, node) {
		if (strcmp(network->name, name) == 0)
			return network;
	}
	return NULL;
}

int random_id(char id[NETWORK_ID_BYTES + 1], struct error *err)
{
	uint8_t bytes[NETWORK_ID_BYTES / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return error_errno(err, errno, "getting random numbers");
	for (size_t i = 0; i < sizeof(bytes); i++)
		sprintf(id + 2 * i, "%02x", bytes[i]);
	return 0;
}

void network_each(struct networks *n, void (*fn)(struct network *network, void *arg), void *arg)
{
	struct network *network, *next;

	list_for_each_entry_safe(network, next, &n->list, node)
		fn(network, arg);
}

static struct network *find_by_id(struct networks *n, const char *id, size_t *ret_count)
{
	struct network *network, *found = NULL;

	*ret_count = 0;
	list_for_each_entry(network, &n->list, node) {
		if (!str_starts(network->id, id))
			continue;
		found = network;
		if (++*ret_count && strlen(id) == NETWORK_ID_BYTES)
			break;
	}
	return found;
}

int network_get(struct networks *n, const char *name, struct network **ret, struct error *err)
{
	struct network *network = networks_find(n, name);
	size_t count = 1;

	if (!network && *name)
		network = find_by_id(n, name, &count);
	if (!network)
		return error_set(err, ERROR_NOT_FOUND, "network %.128s not found", name);
	if (count > 1)
		return error_set(
			err, ERROR_INVALID,
			"network %.128s is ambiguous (%zu matches found on network ID prefix)",
			name, count);
	*ret = network_ref(network);
	return 0;
}

int networks_apply(struct networks *n, struct error *err)
{
	struct network *network;
	uint64_t wanted = n->changed;
	int r = task_mutex_lock(&n->apply_mutex, DEADLINE_NEVER);

	if (r < 0)
		return error_set(err, ERROR_CANCELED, "canceled while rules were applied");
	if (n->applied < wanted) {
		uint64_t now = n->changed;

		r = n->backend == NETWORK_BACKEND_BRIDGE ? rules_apply(n, err) : 0;
		list_for_each_entry(network, &n->list, node) {
			if (r == 0 && network->names)
				r = names_update(network, err);
		}
		if (r == 0)
			n->applied = now;
	}
	task_mutex_unlock(&n->apply_mutex);
	return r;
}
