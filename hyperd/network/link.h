#pragma once
/*
 * Network interfaces of the host, through netlink: bridges, the two ends of veth pairs, taps that
 * exist already. Every call opens a socket of its own and blocks: they are made from jobs.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "hyperd/network/address.h"

#define LINK_NAME_BYTES 16 /* IFNAMSIZ */
#define MAC_TEXT_BYTES  18

struct link_bridge {
	const char *name;
	unsigned mtu; /* 0: the kernel's default */
	struct ip addresses[2];
	unsigned prefixes[2];
	bool ipv6; /* otherwise the bridge has no IPv6 at all, not even link-local */
};

/* Makes it where it is missing, and in any case gives it its addresses and brings it up. */
int link_bridge_make(const struct link_bridge *bridge, struct error *err);
/* Into a bridge and up. */
int link_attach(const char *name, const char *bridge, unsigned mtu, struct error *err);

int link_set_up(const char *name, struct error *err);

struct link_veth {
	const char *name;   /* the host's end */
	const char *bridge; /* NULL: into none */
	int netns_fd;       /* where the other end goes; -1: it stays */
	const char *peer;   /* its name there */
	const uint8_t *mac; /* the other end's; NULL: any */
	unsigned mtu;
};
int link_veth_make(const struct link_veth *veth, struct error *err);
/* A missing one is fine. */
int link_remove(const char *name, struct error *err);
bool link_exists(const char *name);
/* Removes the interfaces whose names begin with PREFIX, but for those that KEEP says. */
int link_sweep(const char *prefix, bool (*keep)(const char *name, void *arg), void *arg,
	       struct error *err);

/* Calls FN for each subnet that the host has a route to, but the default; IGNORE: an interface. */
int link_each_route(const char *ignore, void (*fn)(const struct subnet *subnet, void *arg),
		    void *arg, struct error *err);

int mac_parse(const char *text, uint8_t ret[6]);
const char *mac_text(const uint8_t mac[6], char out[MAC_TEXT_BYTES]);
