#include "hyperstart/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hyperstart/pod.h"

#define CARD "eth0"

/* One request of netlink; attributes are added behind HEADER and its family's struct. */
struct message {
	union {
		struct nlmsghdr header;
		char bytes[512];
	};
};

static void *message_begin(struct message *m, int type, int flags, size_t family_bytes)
{
	memset(m, 0, sizeof(*m));
	m->header.nlmsg_type = (uint16_t)type;
	m->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	m->header.nlmsg_len = NLMSG_LENGTH(family_bytes);
	return NLMSG_DATA(&m->header);
}

static struct rtattr *add(struct message *m, int type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)(m->bytes + NLMSG_ALIGN(m->header.nlmsg_len));

	/* All there is fits: names, addresses, numbers. */
	a->rta_type = (uint16_t)type;
	a->rta_len = (uint16_t)RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
	m->header.nlmsg_len = NLMSG_ALIGN(m->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
	return a;
}

static void end_nest(struct message *m, struct rtattr *nest)
{
	nest->rta_len = (uint16_t)(m->bytes + m->header.nlmsg_len - (char *)nest);
}

static int exchange(int fd, struct message *m)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[sizeof(struct message)];
	} reply;

	if (send(fd, m->bytes, m->header.nlmsg_len, 0) < 0 ||
	    recv(fd, &reply, sizeof(reply), 0) < 0)
		return -errno;
	return reply.header.nlmsg_type == NLMSG_ERROR ? reply.error.error : -EPROTO;
}

static int open_netlink(int *ret_fd, struct error *err)
{
	*ret_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	return *ret_fd < 0 ? error_errno(err, errno, "opening a netlink socket") : 0;
}

/* ------------------------------------------------------------------ steps */

/* Addresses are what the host says they are: none are made up, asked for, or listened to. */
static void only_given_addresses(const char *name)
{
	static const struct {
		const char *key, *value;
	} settings[] = { { "addr_gen_mode", "1" }, { "accept_ra", "0" }, { "autoconf", "0" } };
	char path[96];

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", name,
			 settings[i].key);
		pod_write_file(AT_FDCWD, path, settings[i].value);
	}
}

static int make_interface(int fd, const Hyper__Interface *interface, unsigned card)
{
	const uint32_t mode = MACVLAN_MODE_PRIVATE;
	struct rtattr *info, *data;
	struct message m;

	message_begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	add(&m, IFLA_IFNAME, interface->name, strlen(interface->name) + 1);
	add(&m, IFLA_LINK, &card, sizeof(card));
	info = add(&m, IFLA_LINKINFO, NULL, 0);
	add(&m, IFLA_INFO_KIND, "macvlan", 7);
	data = add(&m, IFLA_INFO_DATA, NULL, 0);
	add(&m, IFLA_MACVLAN_MODE, &mode, sizeof(mode));
	end_nest(&m, data);
	end_nest(&m, info);
	return exchange(fd, &m);
}

static int bring_up(int fd, unsigned index, const Hyper__Interface *interface)
{
	struct message m;
	struct ifinfomsg *info = message_begin(&m, RTM_NEWLINK, 0, sizeof(*info));

	info->ifi_index = (int)index;
	info->ifi_flags = info->ifi_change = IFF_UP;
	if (interface && interface->mac.len)
		add(&m, IFLA_ADDRESS, interface->mac.data, interface->mac.len);
	if (interface && interface->mtu)
		add(&m, IFLA_MTU, &interface->mtu, sizeof(interface->mtu));
	return exchange(fd, &m);
}

static int add_address(int fd, unsigned index, const Hyper__InterfaceAddress *address)
{
	struct message m;
	struct ifaddrmsg *info =
		message_begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*info));
	size_t len = address->address.len;
	uint32_t broadcast;

	info->ifa_family = len == 4 ? AF_INET : AF_INET6;
	info->ifa_prefixlen = (uint8_t)address->prefix;
	/* The host gives nobody the same twice: usable at once. */
	info->ifa_flags = IFA_F_NODAD | IFA_F_PERMANENT;
	info->ifa_index = index;
	add(&m, IFA_LOCAL, address->address.data, len);
	add(&m, IFA_ADDRESS, address->address.data, len);
	if (len == 4 && address->prefix < 31) {
		memcpy(&broadcast, address->address.data, 4);
		broadcast |= htonl(UINT32_MAX >> address->prefix);
		add(&m, IFA_BROADCAST, &broadcast, 4);
	}
	return exchange(fd, &m);
}

static int add_gateway(int fd, unsigned index, const ProtobufCBinaryData *gateway)
{
	struct message m;
	struct rtmsg *info =
		message_begin(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*info));

	info->rtm_family = gateway->len == 4 ? AF_INET : AF_INET6;
	info->rtm_table = RT_TABLE_MAIN;
	info->rtm_protocol = RTPROT_STATIC;
	info->rtm_scope = RT_SCOPE_UNIVERSE;
	info->rtm_type = RTN_UNICAST;
	add(&m, RTA_GATEWAY, gateway->data, gateway->len);
	add(&m, RTA_OIF, &index, sizeof(index));
	return exchange(fd, &m);
}

static int remove_interface(int fd, unsigned index)
{
	struct message m;
	struct ifinfomsg *info = message_begin(&m, RTM_DELLINK, 0, sizeof(*info));

	info->ifi_index = (int)index;
	return exchange(fd, &m);
}

/* ------------------------------------------------------------------ requests */

int network_prepare(struct error *err)
{
	autoclose int fd = -1;
	unsigned index = if_nametoindex(CARD);
	int r;

	if (!index)
		return error_errno(err, ENODEV, "bringing " CARD " up");
	only_given_addresses("default");
	only_given_addresses(CARD);
	/* Interfaces on top of one card share a wire: each answers for itself. */
	pod_write_file(AT_FDCWD, "/proc/sys/net/ipv4/conf/all/arp_ignore", "1");
	r = open_netlink(&fd, err);
	if (r == 0)
		r = bring_up(fd, index, NULL);
	return r < 0 ? error_errno(err, -r, "bringing " CARD " up") : 0;
}

static bool is_address(size_t len)
{
	return len == 4 || len == 16;
}

static int check_interface(const Hyper__Interface *interface, struct error *err)
{
	size_t len = strlen(interface->name);

	if (!len || len >= IFNAMSIZ || strpbrk(interface->name, "/ ") || *interface->name == '.')
		return error_set(err, ERROR_INVALID, "interface '%.32s': bad name",
				 interface->name);
	if (interface->mac.len && interface->mac.len != 6)
		return error_set(err, ERROR_INVALID, "interface %s: bad hardware address",
				 interface->name);
	for (size_t i = 0; i < interface->n_addresses; i++) {
		const Hyper__InterfaceAddress *a = interface->addresses[i];

		if (!is_address(a->address.len) || a->prefix > a->address.len * 8)
			return error_set(err, ERROR_INVALID, "interface %s: bad address",
					 interface->name);
	}
	for (size_t i = 0; i < interface->n_gateways; i++)
		if (!is_address(interface->gateways[i].len))
			return error_set(err, ERROR_INVALID, "interface %s: bad gateway",
					 interface->name);
	return 0;
}

static int set_up(int fd, const Hyper__Interface *interface, bool machine, struct error *err)
{
	unsigned index = if_nametoindex(interface->name), card;
	int r = check_interface(interface, err);

	if (r < 0)
		return r;
	if (!index && machine) {
		card = if_nametoindex(CARD);
		r = card ? make_interface(fd, interface, card) : -ENODEV;
		index = if_nametoindex(interface->name);
	}
	if (r == 0 && !index)
		r = -ENODEV;
	if (r < 0)
		return error_errno(err, -r, "interface %s", interface->name);
	/* A machine's template has said so to all of them. */
	if (!machine)
		only_given_addresses(interface->name);
	r = bring_up(fd, index, interface);
	for (size_t i = 0; i < interface->n_addresses && r == 0; i++)
		r = add_address(fd, index, interface->addresses[i]);
	for (size_t i = 0; i < interface->n_gateways && r == 0; i++)
		r = add_gateway(fd, index, &interface->gateways[i]);
	return r < 0 ? error_errno(err, -r, "setting interface %s up", interface->name) : 0;
}

int network_setup_handle(struct request *request, struct error *err)
{
	const Hyper__NetworkSetup *setup = request->body->network_setup;
	autoclose int fd = -1;
	int r = open_netlink(&fd, err);

	for (size_t i = 0; i < setup->n_remove && r == 0; i++) {
		unsigned index = if_nametoindex(setup->remove[i]);

		/* The host may have taken its end away, and this one with it. */
		if (index && (r = remove_interface(fd, index)) < 0 && r != -ENODEV)
			return error_errno(err, -r, "removing interface %.16s", setup->remove[i]);
		r = 0;
	}
	for (size_t i = 0; i < setup->n_interfaces && r == 0; i++)
		r = set_up(fd, setup->interfaces[i], !request->agent->namespace_pod, err);
	return r;
}
