#include "hyperd/network/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/veth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

DEFINE_CLEANUP(nl_socket_free, struct nl_sock *);
DEFINE_CLEANUP(rtnl_link_put, struct rtnl_link *);
DEFINE_CLEANUP(rtnl_addr_put, struct rtnl_addr *);
DEFINE_CLEANUP(nl_addr_put, struct nl_addr *);

static const struct {
	int nl, errnum;
} nl_errors[] = {
	{ NLE_PERM, EPERM },      { NLE_EXIST, EEXIST },         { NLE_OBJ_NOTFOUND, ENOENT },
	{ NLE_NODEV, ENODEV },    { NLE_OPNOTSUPP, EOPNOTSUPP }, { NLE_NOMEM, ENOMEM },
	{ NLE_BUSY, EBUSY },      { NLE_RANGE, ERANGE },         { NLE_INVAL, EINVAL },
	{ NLE_NOACCESS, EACCES },
};

static int nl_errnum(int nl)
{
	for (size_t i = 0; i < ARRAY_SIZE(nl_errors); i++)
		if (nl_errors[i].nl == abs(nl))
			return nl_errors[i].errnum;
	return EIO;
}

static int open_socket(struct nl_sock **ret, struct error *err)
{
	struct nl_sock *socket = nl_socket_alloc();
	int r;

	if (!socket)
		return error_nomem(err);
	r = nl_connect(socket, NETLINK_ROUTE);
	if (r < 0) {
		nl_socket_free(socket);
		return error_errno(err, nl_errnum(r), "opening a netlink socket");
	}
	*ret = socket;
	return 0;
}

/* Settings that are not everywhere: what matters fails later, in its own words. */
static void set_proc(const char *family, const char *name, const char *key, const char *value)
{
	autofree char *path = strf("/proc/sys/net/%s/conf/%s/%s", family, name, key);
	autoclose int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;

	if (fd >= 0 && write(fd, value, strlen(value)) < 0)
		return;
}

/* ------------------------------------------------------------------ bridges */

static int add_address(struct nl_sock *socket, int index, const struct ip *ip, unsigned prefix,
		       struct error *err)
{
	autoptr(nl_addr_put) struct nl_addr *local =
		nl_addr_build(ip->family, ip->bytes, ip->family == AF_INET ? 4 : 16);
	autoptr(rtnl_addr_put) struct rtnl_addr *address = rtnl_addr_alloc();
	char text[IP_TEXT_BYTES];
	int r;

	if (!local || !address)
		return error_nomem(err);
	nl_addr_set_prefixlen(local, (int)prefix);
	rtnl_addr_set_ifindex(address, index);
	rtnl_addr_set_local(address, local);
	if (ip->family == AF_INET6)
		rtnl_addr_set_flags(address, IFA_F_NODAD);
	r = rtnl_addr_add(socket, address, 0);
	if (r < 0 && r != -NLE_EXIST)
		return error_errno(err, nl_errnum(r), "giving it the address %s/%u",
				   ip_text(ip, text), prefix);
	return 0;
}

static int make_missing_bridge(struct nl_sock *socket, const struct link_bridge *b,
			       struct error *err)
{
	autoptr(rtnl_link_put) struct rtnl_link *link = rtnl_link_bridge_alloc();
	int r;

	if (!link)
		return error_nomem(err);
	rtnl_link_set_name(link, b->name);
	if (b->mtu)
		rtnl_link_set_mtu(link, b->mtu);
	r = rtnl_link_add(socket, link, NLM_F_CREATE | NLM_F_EXCL);
	if (r < 0 && r != -NLE_EXIST)
		return error_errno(err, nl_errnum(r), "making it");
	return 0;
}

static int set_up(struct nl_sock *socket, const char *name, unsigned master, unsigned mtu,
		  struct error *err)
{
	autoptr(rtnl_link_put) struct rtnl_link *old = NULL, *change = rtnl_link_alloc();
	int r = change ? rtnl_link_get_kernel(socket, 0, name, &old) : -NLE_NOMEM;

	if (r == 0) {
		rtnl_link_set_ifindex(change, rtnl_link_get_ifindex(old));
		rtnl_link_set_flags(change, IFF_UP);
		if (master)
			rtnl_link_set_master(change, (int)master);
		if (mtu)
			rtnl_link_set_mtu(change, mtu);
		r = rtnl_link_change(socket, old, change, 0);
	}
	return r < 0 ? error_errno(err, nl_errnum(r), "bringing %s up", name) : 0;
}

int link_bridge_make(const struct link_bridge *b, struct error *err)
{
	autoptr(nl_socket_free) struct nl_sock *socket = NULL;
	int r = open_socket(&socket, err), index;

	if (r == 0)
		r = make_missing_bridge(socket, b, err);
	if (r < 0)
		return error_prefix(err, r, "bridge %s", b->name);
	index = (int)if_nametoindex(b->name);
	/* Before it is up, when it would give itself an address. */
	set_proc("ipv6", b->name, "disable_ipv6", b->ipv6 ? "0" : "1");
	set_proc("ipv6", b->name, "accept_ra", "0");
	/* The host's own loopback traffic to published ports goes through here; what guests send to
	 * loopback addresses is dropped by the rules. */
	set_proc("ipv4", b->name, "route_localnet", "1");
	for (size_t i = 0; i < ARRAY_SIZE(b->addresses) && r == 0; i++)
		if (b->addresses[i].family)
			r = add_address(socket, index, &b->addresses[i], b->prefixes[i], err);
	if (r == 0)
		r = set_up(socket, b->name, 0, 0, err);
	return r < 0 ? error_prefix(err, r, "bridge %s", b->name) : 0;
}

int link_attach(const char *name, const char *bridge, unsigned mtu, struct error *err)
{
	autoptr(nl_socket_free) struct nl_sock *socket = NULL;
	unsigned master = if_nametoindex(bridge);
	int r;

	if (!master)
		return error_errno(err, ENODEV, "bridge %s", bridge);
	r = open_socket(&socket, err);
	set_proc("ipv6", name, "disable_ipv6", "1");
	if (r == 0)
		r = set_up(socket, name, master, mtu, err);
	return r < 0 ? error_prefix(err, r, "interface %s", name) : 0;
}

int link_set_up(const char *name, struct error *err)
{
	autoptr(nl_socket_free) struct nl_sock *socket = NULL;
	int r = open_socket(&socket, err);

	set_proc("ipv6", name, "disable_ipv6", "1");
	return r < 0 ? r : set_up(socket, name, 0, 0, err);
}

/* ------------------------------------------------------------------ veth pairs */

int link_veth_make(const struct link_veth *v, struct error *err)
{
	autoptr(nl_socket_free) struct nl_sock *socket = NULL;
	autoptr(rtnl_link_put) struct rtnl_link *link = rtnl_link_veth_alloc();
	autoptr(nl_addr_put) struct nl_addr *mac = v->mac ? nl_addr_build(AF_LLC, v->mac, 6) : NULL;
	struct rtnl_link *peer;
	int r = link && (mac || !v->mac) ? open_socket(&socket, err) : error_nomem(err);

	if (r < 0)
		return r;
	rtnl_link_set_name(link, v->name);
	peer = rtnl_link_veth_get_peer(link); /* a reference of its own */
	rtnl_link_set_name(peer, v->peer);
	if (v->mac)
		rtnl_link_set_addr(peer, mac);
	if (v->netns_fd >= 0)
		rtnl_link_set_ns_fd(peer, v->netns_fd);
	if (v->mtu) {
		rtnl_link_set_mtu(link, v->mtu);
		rtnl_link_set_mtu(peer, v->mtu);
	}
	r = rtnl_link_add(socket, link, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_link_put(peer);
	if (r < 0)
		return error_errno(err, nl_errnum(r), "making the veth pair %s", v->name);
	if (v->bridge)
		r = link_attach(v->name, v->bridge, 0, err);
	if (r < 0)
		link_remove(v->name, NULL);
	return r;
}

/* ------------------------------------------------------------------ any of them */

bool link_exists(const char *name)
{
	return if_nametoindex(name) != 0;
}

int link_remove(const char *name, struct error *err)
{
	autoptr(nl_socket_free) struct nl_sock *socket = NULL;
	autoptr(rtnl_link_put) struct rtnl_link *link = NULL;
	unsigned index = if_nametoindex(name);
	int r;

	if (!index)
		return 0;
	r = open_socket(&socket, err);
	if (r < 0)
		return r;
	link = rtnl_link_alloc();
	if (!link)
		return error_nomem(err);
	rtnl_link_set_ifindex(link, (int)index);
	r = rtnl_link_delete(socket, link);
	if (r < 0 && r != -NLE_NODEV && r != -NLE_OBJ_NOTFOUND)
		return error_errno(err, nl_errnum(r), "removing the interface %s", name);
	return 0;
}

int link_sweep(const char *prefix, bool (*keep)(const char *name, void *arg), void *arg,
	       struct error *err)
{
	struct if_nameindex *all = if_nameindex();
	int r = 0;

	if (!all)
		return error_errno(err, errno, "listing interfaces");
	for (struct if_nameindex *i = all; i->if_index && r == 0; i++)
		if (str_starts(i->if_name, prefix) && !keep(i->if_name, arg))
			r = link_remove(i->if_name, err);
	if_freenameindex(all);
	return r;
}

/* ------------------------------------------------------------------ routes */

static void each_route4(const char *ignore, void (*fn)(const struct subnet *subnet, void *arg),
			void *arg)
{
	autofclose FILE *f = fopen("/proc/net/route", "re");
	char line[512], name[LINK_NAME_BYTES];
	unsigned destination, mask;

	while (f && fgets(line, sizeof(line), f)) {
		struct subnet subnet = { .base.family = AF_INET };

		if (sscanf(line, "%15s %x %*x %*x %*d %*d %*d %x", name, &destination, &mask) !=
			    3 ||
		    !mask || (ignore && strcmp(name, ignore) == 0))
			continue;
		memcpy(subnet.base.bytes, &destination, 4);
		subnet.prefix = (unsigned)__builtin_popcount(mask);
		fn(&subnet, arg);
	}
}

static void each_route6(const char *ignore, void (*fn)(const struct subnet *subnet, void *arg),
			void *arg)
{
	autofclose FILE *f = fopen("/proc/net/ipv6_route", "re");
	char line[512], hex[33], name[LINK_NAME_BYTES];
	unsigned prefix;

	while (f && fgets(line, sizeof(line), f)) {
		struct subnet subnet = { .base.family = AF_INET6 };

		if (sscanf(line, "%32s %x %*s %*s %*s %*s %*s %*s %*s %15s", hex, &prefix, name) !=
			    3 ||
		    !prefix || prefix == 128 || (ignore && strcmp(name, ignore) == 0))
			continue;
		for (size_t i = 0; i < 16; i++)
			sscanf(hex + 2 * i, "%2hhx", &subnet.base.bytes[i]);
		subnet.prefix = prefix;
		fn(&subnet, arg);
	}
}

int link_each_route(const char *ignore, void (*fn)(const struct subnet *subnet, void *arg),
		    void *arg, struct error *err)
{
	each_route4(ignore, fn, arg);
	each_route6(ignore, fn, arg);
	return 0;
}

/* ------------------------------------------------------------------ hardware addresses */

int mac_parse(const char *text, uint8_t ret[6])
{
	uint8_t mac[6];
	int end = 0;

	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		   &mac[3], &mac[4], &mac[5], &end) != 6 ||
	    text[end] || strlen(text) != 17)
		return -EINVAL;
	/* A sender is never a group. */
	if (mac[0] & 1)
		return -EINVAL;
	memcpy(ret, mac, 6);
	return 0;
}

const char *mac_text(const uint8_t mac[6], char out[MAC_TEXT_BYTES])
{
	snprintf(out, MAC_TEXT_BYTES, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return out;
}
