/*
 * The rules of all our networks, as the text of one nftables transaction that replaces our tables
 * whole. It is made of what there is each time, so that nothing is ever added or taken away that
 * was not there; other people's tables are never touched.
 *
 * bridge: what comes in at a port of ours must come from the address and hardware address that the
 * port was given. inet:   addresses are translated; networks do not reach each other or the host
 * but where a port is published. netdev: a machine in several networks has one tap; frames of the
 * further ones are handed over by hardware address.
 */
#include <errno.h>
#include <nftables/libnftables.h>
#include <string.h>

#include "base/log.h"
#include "hyperd/network/internal.h"

static const char *const table_families[] = { "inet", "bridge", "netdev" };

static bool is_bridged(const struct network *n)
{
	return n->up && strcmp(n->driver, "bridge") == 0 && !n->removed;
}

#define each_bridged(pos, networks)                       \
	list_for_each_entry(pos, &(networks)->list, node) \
		if (is_bridged(pos))

static const char *table_name(const struct networks *networks)
{
	return networks->tag + 2;
}

static const char *family_name(const struct ip *ip)
{
	return ip->family == AF_INET6 ? "ip6" : "ip";
}

static void add_ip(struct str *out, const struct ip *ip)
{
	char text[IP_TEXT_BYTES];

	str_add(out, ip_text(ip, text));
}

/* Brackets where a port follows. */
static void add_target(struct str *out, const struct ip *ip, uint16_t port)
{
	char text[IP_TEXT_BYTES];

	str_addf(out, ip->family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip_text(ip, text), port);
}

/* ------------------------------------------------------------------ bridge */

static bool has_elements(const struct networks *networks, size_t family)
{
	struct network *n;
	struct endpoint *e;

	each_bridged(n, networks) {
		list_for_each_entry(e, &n->endpoints, node) {
			if (*e->port && e->addresses[family].family)
				return true;
		}
	}
	return false;
}

static void add_source_set(const struct networks *networks, size_t family, struct str *out)
{
	struct network *n;
	struct endpoint *e;
	char mac[MAC_TEXT_BYTES];

	str_addf(out, "\tset source%s {\n\t\ttype ifname . ether_addr . %s\n", family ? "6" : "4",
		 family ? "ipv6_addr" : "ipv4_addr");
	if (has_elements(networks, family)) {
		str_add(out, "\t\telements = {\n");
		each_bridged(n, networks) {
			list_for_each_entry(e, &n->endpoints, node) {
				if (!*e->port || !e->addresses[family].family)
					continue;
				str_addf(out, "\t\t\t\"%s\" . %s . ", e->port,
					 mac_text(e->mac, mac));
				add_ip(out, &e->addresses[family]);
				str_add(out, ",\n");
			}
		}
		str_add(out, "\t\t}\n");
	}
	str_add(out, "\t}\n");
}

static void add_bridge_set(const struct networks *networks, struct str *out)
{
	struct network *n;
	bool any = false;

	str_add(out, "\tset bridges {\n\t\ttype ifname\n");
	each_bridged(n, networks) {
		str_addf(out, any ? ", \"%s\"" : "\t\telements = { \"%s\"", n->bridge);
		any = true;
	}
	str_add(out, any ? " }\n\t}\n" : "\t}\n");
}

/* Neighbours are only told about addresses of one's own: the target of an advertisement is 64 bits
 * into it. */
static void add_advertisements(const struct networks *networks, struct str *out)
{
	struct network *n;
	struct endpoint *e;

	each_bridged(n, networks) {
		list_for_each_entry(e, &n->endpoints, node) {
			if (!*e->port || !e->addresses[1].family)
				continue;
			str_addf(out,
				 "\t\tiifname \"%s\" icmpv6 type nd-neighbor-advert @th,64,128 != "
				 "0x",
				 e->port);
			for (size_t i = 0; i < 16; i++)
				str_addf(out, "%02x", e->addresses[1].bytes[i]);
			str_add(out, " drop\n");
		}
	}
}

static void add_ports(const struct network *n, struct str *out)
{
	const struct endpoint *e;
	bool any = false;

	list_for_each_entry(e, &n->endpoints, node) {
		if (*e->port)
			str_addf(out, any ? ", \"%s\"" : "{ \"%s\"", e->port);
		any |= *e->port;
	}
	str_add(out, " }");
}

static void add_isolation(const struct network *n, struct str *out)
{
	const struct endpoint *e;
	unsigned count = 0;

	list_for_each_entry(e, &n->endpoints, node)
		count += *e->port != '\0';
	if (count < 2)
		return;
	str_add(out, "\t\tiifname ");
	add_ports(n, out);
	str_add(out, " oifname ");
	add_ports(n, out);
	str_add(out, " drop\n");
}

static void add_bridge_table(const struct networks *networks, struct str *out)
{
	struct network *n;

	str_addf(out, "table bridge hyper_%s {\n", table_name(networks));
	add_source_set(networks, 0, out);
	add_source_set(networks, 1, out);
	/* Every port of ours is called so: one that is not in the sets gets nothing through. */
	str_addf(out,
		 "\tchain source {\n"
		 "\t\ttype filter hook prerouting priority -300; policy accept;\n"
		 "\t\tiifname != \"%s*\" accept\n",
		 networks->tag);
	str_add(out,
		"\t\tether type vlan drop\n"
		"\t\tether type ip iifname . ether saddr . ip saddr @source4 accept\n"
		"\t\tether type arp iifname . ether saddr . arp saddr ip != @source4 drop\n"
		"\t\tether type arp iifname . arp saddr ether . arp saddr ip @source4 accept\n");
	add_advertisements(networks, out);
	str_add(out, "\t\tether type ip6 iifname . ether saddr . ip6 saddr @source6 accept\n"
		     "\t\tether type ip6 ip6 saddr :: icmpv6 type { nd-neighbor-solicit, "
		     "mld2-listener-report } accept\n"
		     "\t\tdrop\n"
		     "\t}\n"
		     "\tchain members {\n"
		     "\t\ttype filter hook forward priority -200; policy accept;\n");
	each_bridged(n, networks) {
		if (n->isolate_members)
			add_isolation(n, out);
	}
	str_add(out, "\t}\n}\n");
}

/* ------------------------------------------------------------------ inet */

static void add_translation(const struct published *p, size_t family, struct str *out)
{
	const struct ip *to = &p->endpoint->addresses[family];

	if (!to->family || (p->host.family && p->host.family != to->family) || !*p->endpoint->port)
		return;
	str_add(out, "\t\t");
	if (p->host.family) {
		str_addf(out, "%s daddr ", family_name(to));
		add_ip(out, &p->host);
	} else {
		str_addf(out, "meta nfproto %s fib daddr type local", family ? "ipv6" : "ipv4");
	}
	str_addf(out, " %s dport %u dnat %s to ", p->protocol, p->host_port, family_name(to));
	add_target(out, to, p->port);
	str_addc(out, '\n');
}

static void add_service(const struct service *s, struct str *out)
{
	if (!s->backend_count)
		return;
	str_add(out, "\t\tip daddr ");
	add_ip(out, &s->address);
	str_addf(out, " %s dport %u dnat ip addr . port to numgen inc mod %zu map { ", s->protocol,
		 s->port, s->backend_count);
	for (size_t i = 0; i < s->backend_count; i++) {
		str_addf(out, "%s%zu : ", i ? ", " : "", i);
		add_ip(out, &s->backends[i].address);
		str_addf(out, " . %u", s->backends[i].port);
	}
	str_add(out, " }\n");
}

static void add_destinations(const struct networks *networks, const char *chain, const char *hook,
			     struct str *out)
{
	struct published *p;
	struct service *s;

	str_addf(out, "\tchain %s {\n\t\ttype nat hook %s priority -100; policy accept;\n", chain,
		 hook);
	list_for_each_entry(p, &networks->published, node) {
		add_translation(p, 0, out);
		add_translation(p, 1, out);
	}
	list_for_each_entry(s, &networks->services, node)
		add_service(s, out);
	str_add(out, "\t}\n");
}

static void add_sources(const struct networks *networks, struct str *out)
{
	struct network *n;

	str_add(out,
		"\tchain sources {\n\t\ttype nat hook postrouting priority 100; policy accept;\n");
	each_bridged(n, networks) {
		for (size_t i = 0; i < ARRAY_SIZE(n->families); i++) {
			const struct network_family *f = &n->families[i];
			const char *family = i ? "ip6" : "ip";
			char subnet[SUBNET_TEXT_BYTES];

			if (!f->on)
				continue;
			subnet_text(&f->pool.subnet, subnet);
			if (!n->internal && !n->no_masquerade)
				str_addf(out, "\t\toifname != \"%s\" %s saddr %s masquerade\n",
					 n->bridge, family, subnet);
			/* Back into the network that it came from: answers must come by here too.
			 */
			str_addf(out, "\t\toifname \"%s\" %s saddr %s ct status dnat masquerade\n",
				 n->bridge, family, subnet);
		}
		str_addf(out, "\t\toifname \"%s\" ip saddr 127.0.0.0/8 masquerade\n", n->bridge);
	}
	str_add(out, "\t}\n");
}

static void add_forward(const struct networks *networks, struct str *out)
{
	struct network *n;

	str_add(out, "\tchain forward {\n\t\ttype filter hook forward priority 0; policy accept;\n"
		     "\t\tiifname != @bridges oifname != @bridges accept\n");
	/* Bridged packets come by here where bridge-nf-call-iptables is on. */
	each_bridged(n, networks)
		str_addf(out, "\t\tiifname \"%s\" oifname \"%s\" accept\n", n->bridge, n->bridge);
	str_add(out, "\t\tct state established,related accept\n");
	each_bridged(n, networks)
		if (n->internal)
			str_addf(out, "\t\tiifname \"%s\" drop\n\t\toifname \"%s\" drop\n",
				 n->bridge, n->bridge);
	str_add(out, "\t\tct status dnat accept\n"
		     "\t\toifname @bridges drop\n"
		     "\t}\n");
}

static void add_input(const struct networks *networks, struct str *out)
{
	struct network *n;
	struct published *p;

	str_add(out, "\tchain input {\n\t\ttype filter hook input priority 0; policy accept;\n"
		     "\t\tiifname != @bridges accept\n"
		     "\t\tct state established,related accept\n");
	each_bridged(n, networks) {
		if (!network_has_names(n))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(n->families); i++) {
			if (!n->families[i].on)
				continue;
			str_addf(out, "\t\tiifname \"%s\" %s daddr ", n->bridge, i ? "ip6" : "ip");
			add_ip(out, &n->families[i].gateway);
			str_add(out, " meta l4proto { tcp, udp } th dport 53 accept\n");
		}
	}
	/* Taken by a socket of ours and passed on. */
	list_for_each_entry(p, &networks->published, node) {
		if (p->fds[1] >= 0 && strcmp(p->protocol, "tcp") == 0)
			str_addf(out, "\t\tmeta nfproto ipv6 tcp dport %u accept\n", p->host_port);
	}
	str_add(out,
		"\t\ticmp type echo-request accept\n"
		"\t\ticmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept\n"
		"\t\tdrop\n"
		"\t}\n");
}

static void add_inet_table(const struct networks *networks, struct str *out)
{
	str_addf(out, "table inet hyper_%s {\n", table_name(networks));
	add_bridge_set(networks, out);
	/* Loopback addresses are routed over our bridges, for the host's own sake only. */
	str_add(out, "\tchain loopback {\n\t\ttype filter hook prerouting priority -300; policy "
		     "accept;\n"
		     "\t\tiifname @bridges ip daddr 127.0.0.0/8 drop\n"
		     "\t\tiifname @bridges ip saddr 127.0.0.0/8 drop\n\t}\n");
	add_destinations(networks, "destinations", "prerouting", out);
	add_destinations(networks, "own_destinations", "output", out);
	add_sources(networks, out);
	add_forward(networks, out);
	add_input(networks, out);
	str_add(out, "}\n");
}

/* ------------------------------------------------------------------ netdev */

/* An interface named in "fwd to" has to exist. */
static bool is_relayed(const struct endpoint *e)
{
	return *e->relay && link_exists(e->relay) && link_exists(e->trunk);
}

static bool is_first_of_trunk(const struct networks *networks, const struct endpoint *mine)
{
	struct network *n;
	struct endpoint *e;

	each_bridged(n, networks) {
		list_for_each_entry(e, &n->endpoints, node) {
			if (is_relayed(e) && strcmp(e->trunk, mine->trunk) == 0)
				return e == mine;
		}
	}
	return false;
}

static void add_trunk(const struct networks *networks, const char *trunk, struct str *out)
{
	struct network *n;
	struct endpoint *e;
	char mac[MAC_TEXT_BYTES];

	str_addf(out,
		 "\tchain %s {\n\t\ttype filter hook ingress device \"%s\" priority 0; policy "
		 "accept;\n",
		 trunk, trunk);
	each_bridged(n, networks) {
		list_for_each_entry(e, &n->endpoints, node) {
			if (is_relayed(e) && strcmp(e->trunk, trunk) == 0)
				str_addf(out, "\t\tether saddr %s fwd to \"%s\"\n",
					 mac_text(e->mac, mac), e->relay);
		}
	}
	str_add(out, "\t}\n");
}

static void add_netdev_table(const struct networks *networks, struct str *out)
{
	struct network *n;
	struct endpoint *e;

	str_addf(out, "table netdev hyper_%s {\n", table_name(networks));
	each_bridged(n, networks) {
		list_for_each_entry(e, &n->endpoints, node) {
			if (!is_relayed(e))
				continue;
			if (is_first_of_trunk(networks, e))
				add_trunk(networks, e->trunk, out);
			str_addf(out,
				 "\tchain %s {\n\t\ttype filter hook ingress device \"%s\" "
				 "priority 0; policy "
				 "accept;\n\t\tfwd to \"%s\"\n\t}\n",
				 e->relay, e->relay, e->trunk);
		}
	}
	str_add(out, "}\n");
}

static bool any_relayed(const struct networks *networks)
{
	struct network *n;
	struct endpoint *e;

	each_bridged(n, networks) {
		list_for_each_entry(e, &n->endpoints, node) {
			if (is_relayed(e))
				return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------------ the whole */

void rules_text(const struct networks *networks, bool remove, struct str *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(table_families); i++)
		/* Made first, so that there is something to be deleted. */
		str_addf(out, "table %s hyper_%s\ndelete table %s hyper_%s\n", table_families[i],
			 table_name(networks), table_families[i], table_name(networks));
	if (remove)
		return;
	add_inet_table(networks, out);
	add_bridge_table(networks, out);
	if (any_relayed(networks))
		add_netdev_table(networks, out);
}

struct rules_job {
	struct nft_ctx *nft;
	const char *text;
	struct error error;
};

static int run_nft(void *arg)
{
	struct rules_job *job = arg;
	const char *said;

	if (nft_run_cmd_from_buffer(job->nft, job->text) == 0)
		return 0;
	said = nft_ctx_get_error_buffer(job->nft);
	return error_set(&job->error, ERROR_FAILED, "nftables: %.400s", said ? said : "?");
}

static int apply(struct networks *networks, bool remove, struct error *err)
{
	autostr struct str text = STR_INIT;
	struct rules_job job = { 0 };
	int r;

	rules_text(networks, remove, &text);
	if (text.failed)
		return error_nomem(err);
	if (!networks->nft) {
		networks->nft = nft_ctx_new(NFT_CTX_DEFAULT);
		if (!networks->nft)
			return error_nomem(err);
		nft_ctx_buffer_error(networks->nft);
		nft_ctx_buffer_output(networks->nft);
	}
	trace(network, "%s", str_text(&text));
	job.nft = networks->nft;
	job.text = str_text(&text);
	networks->rules_present = true;
	r = job_run(networks->jobs, run_nft, &job);
	if (r < 0)
		error_copy(err, &job.error);
	return r;
}

int rules_apply(struct networks *networks, struct error *err)
{
	return apply(networks, false, err);
}

int rules_remove(struct networks *networks, struct error *err)
{
	return apply(networks, true, err);
}
