#pragma once
/*
 * Networks that pods are in: bridges of the host with an address pool each, the pods' endpoints on
 * them, published ports, and names. `struct networks` owns them all; pods hold endpoints.
 *
 * What lasts is kept in records: a network's settings here, an endpoint's addresses in its pod's
 * record, from where a later daemon hands them back (endpoint_adopt()) before anything new is given
 * out. What is on the host (bridges, veth pairs, one nftables table in each family, a dnsmasq for
 * each network with names) is made when first needed, named after this daemon's run root, and
 * removed by networks_free() or by the next daemon.
 *
 * Loop thread; what waits is for tasks.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/job.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/task.h"
#include "hyperd/network/address.h"
#include "hyperd/network/link.h"
#include "hyperd/store/store.h"

struct networks;
struct names;

#define NETWORK_ID_BYTES 64
/* The network that a pod is in when it does not say. */
#define NETWORK_DEFAULT "bridge"

struct networks_config {
	struct loop *loop; /* these are borrowed */
	struct job_pool *jobs;
	struct store *store;
	const char *run_root;
	/* "auto": bridges where they may be made, else QEMU's user-mode stack; "bridge", "user",
	 * "none". */
	const char *backend;
};

enum network_backend { NETWORK_BACKEND_BRIDGE, NETWORK_BACKEND_USER, NETWORK_BACKEND_NONE };

/* Reads the records. Touches nothing on the host yet. */
int networks_open(const struct networks_config *config, struct networks **ret, struct error *err);
/* Task, after every endpoint that lives was adopted: makes the host look as it should. */
int networks_settle(struct networks *networks);
/* Task: KEEP: pods go on without a daemon, and what they use stays. Takes NULL. */
void networks_free(struct networks *networks, bool keep);

enum network_backend networks_backend(const struct networks *networks);
const char *networks_backend_name(const struct networks *networks); /* "bridge", "user", "none" */
/* Why it is not "bridge"; "" else. */
const char *networks_backend_reason(const struct networks *networks);
/* What this daemon's tap interfaces' names begin with. */
const char *networks_tap_prefix(const struct networks *networks);

/* ------------------------------------------------------------------ networks */

struct network_family { /* of one address family */
	bool on;
	bool chosen; /* the subnet was chosen here, and may be chosen anew when it is taken */
	struct address_pool pool;
	struct ip gateway;
	json_t *auxiliary; /* owned: name → address that is not to be given out; or NULL */
};

struct network {
	unsigned refs;
	struct list node;
	struct networks *networks; /* borrowed */
	char id[NETWORK_ID_BYTES + 1];
	char *name, *driver;      /* owned; driver "bridge", "host" or "null" */
	json_t *labels, *options; /* owned: objects of strings */
	uint64_t created_ns;      /* realtime */
	bool internal, attachable, predefined, removed;
	bool isolate_members, no_masquerade; /* options of Docker's bridge driver */
	unsigned mtu;                        /* 0: the kernel's default */
	char *host_ip; /* owned: default host address of published ports, or NULL */
	char bridge[LINK_NAME_BYTES];
	bool bridge_given; /* its name was chosen by the user, and it existed: it is not removed */
	struct network_family families[2]; /* IPv4, IPv6 */
	struct list endpoints;             /* of endpoint.node */
	bool up;
	struct task_mutex mutex; /* bringing it up and down */
	struct names *names;     /* owned: its dnsmasq; NULL: none */
};

struct network_spec {
	const char *name, *driver; /* driver NULL: "bridge" */
	bool internal, ipv6, attachable;
	json_t *labels, *options; /* borrowed; may be NULL */
	/* IPAM.Config as Docker has it: [{Subnet, IPRange, Gateway, AuxiliaryAddresses}]; may be
	 * NULL */
	json_t *ipam;
};

/* Task: chooses a subnet, makes the bridge. *ret is borrowed from NETWORKS. */
int network_create(struct networks *networks, const struct network_spec *spec, struct network **ret,
		   struct error *err);
/* Task: refused while it has endpoints. */
int network_remove(struct network *network, struct error *err);
/* By name, id, or unambiguous id prefix; a reference. Docker's error texts. */
int network_get(struct networks *networks, const char *name, struct network **ret,
		struct error *err);
struct network *network_ref(struct network *network);
void network_unref(struct network *network);
DEFINE_CLEANUP(network_unref, struct network *);
/* In order of creation; FN may not wait. */
void network_each(struct networks *networks, void (*fn)(struct network *network, void *arg),
		  void *arg);

/* ------------------------------------------------------------------ endpoints */

struct endpoint {
	struct list node;
	struct network *network; /* referenced */
	char id[NETWORK_ID_BYTES + 1];
	char *owner, *owner_name; /* owned: for inspect, the container's or pod's id and name */
	char **aliases;           /* owned strv: every name that it has on this network */
	struct ip addresses[2];   /* IPv4, IPv6 */
	uint8_t mac[6];
	unsigned number;             /* of its interface in the pod: "eth0" */
	char port[LINK_NAME_BYTES];  /* the bridge's port; "" while nothing is attached */
	char trunk[LINK_NAME_BYTES]; /* the machine's tap that the port hands frames to and from; ""
					: the port is it */
	char relay[LINK_NAME_BYTES]; /* between port and trunk */
};

struct endpoint_config {
	const char *owner, *owner_name; /* borrowed, as all here */
	char *const *aliases;
	/* Asked for by the user: refused when taken. */
	const char *ipv4, *ipv6, *mac;
	/* Had before: again, when they are free. */
	struct ip preferred[2];
};

/* Task: addresses on a network that is brought up where it is not. */
int endpoint_open(struct network *network, const struct endpoint_config *config,
		  struct endpoint **ret, struct error *err);
/* Task: gives everything back. Takes NULL. */
void endpoint_close(struct endpoint *endpoint);
/*
 * Task: the interface that is to be this endpoint's goes into the bridge. In a namespace pod a veth
 * pair is made, whose end NAME appears in NETNS_FD; of a machine its TAP, or when that is another
 * network's already (TRUNK) a pair beside it. The rules are applied by networks_apply(), before
 * which nothing gets through.
 */
int endpoint_attach_netns(struct endpoint *endpoint, int netns_fd, const char *name,
			  struct error *err);
int endpoint_attach_tap(struct endpoint *endpoint, const char *tap, bool trunk, struct error *err);
/* Task: brings rules and names up to date with what was opened, attached, published and closed. */
int networks_apply(struct networks *networks, struct error *err);
/* For the owner's record, and back; ERROR_NOT_FOUND when the network is gone. */
json_t *endpoint_record(const struct endpoint *endpoint);
int endpoint_adopt(struct networks *networks, const json_t *record, struct endpoint **ret,
		   struct error *err);
/* Frees the struct and leaves what is on the host to a later daemon. Takes NULL. */
void endpoint_detach(struct endpoint *endpoint);
/* Replaces its names. */
int endpoint_set_names(struct endpoint *endpoint, const char *owner_name, char *const *aliases,
		       struct error *err);

/* ------------------------------------------------------------------ published ports */

struct published {
	struct list node;
	struct networks *networks; /* borrowed */
	struct endpoint *endpoint; /* borrowed: published ports go before their endpoint */
	char protocol[5];          /* "tcp", "udp", "sctp" */
	struct ip host;            /* family 0: all of the host's addresses */
	uint16_t host_port, port;
	int fds[2]; /* owned: sockets that keep the port for us, IPv4 and IPv6; -1 */
	struct loop_io io[2];
	struct list relays; /* connections that are passed on by us: from IPv6 to IPv4 */
};

struct publish_config {
	const char *protocol;
	struct ip host;
	uint16_t host_first, host_last; /* 0: the kernel's choice */
	uint16_t port;
};
/* Takes the first free port; Docker's words when there is none. networks_apply() opens the way. */
int port_publish(struct endpoint *endpoint, const struct publish_config *config,
		 struct published **ret, struct error *err);
/* Takes NULL. networks_apply() closes the way. */
void port_withdraw(struct published *published);

/* ------------------------------------------------------------------ services */

/* One address, several back ends; connections go to them in turn. */
struct service {
	struct list node;
	struct network *network; /* referenced */
	struct ip address;
	char protocol[5];
	uint16_t port;
	struct service_backend {
		struct ip address;
		uint16_t port;
	} * backends; /* owned */
	size_t backend_count;
};
int service_open(struct network *network, const char *address, const char *protocol, uint16_t port,
		 struct service **ret, struct error *err);
int service_set_backends(struct service *service, const struct service_backend *backends,
			 size_t count, struct error *err);
void service_close(struct service *service);
