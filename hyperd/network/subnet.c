/* Choosing subnets that nobody has. */
#include <stdio.h>
#include <sys/random.h>

#include "hyperd/network/internal.h"

struct search {
	const struct subnet *subnet;
	bool taken;
	char by[SUBNET_TEXT_BYTES];
};

static void look(const struct subnet *route, void *arg)
{
	struct search *s = arg;

	if (s->taken || !subnet_overlaps(route, s->subnet))
		return;
	s->taken = true;
	subnet_text(route, s->by);
}

static const struct network *taken_by_network(struct networks *networks,
					      const struct subnet *subnet,
					      const struct network *own)
{
	struct network *n;

	list_for_each_entry(n, &networks->list, node) {
		for (size_t i = 0; i < ARRAY_SIZE(n->families); i++)
			if (n != own && n->families[i].on &&
			    subnet_overlaps(&n->families[i].pool.subnet, subnet))
				return n;
	}
	return NULL;
}

static bool is_free(struct networks *networks, const struct subnet *subnet,
		    const struct network *own, struct search *s)
{
	*s = (struct search){ .subnet = subnet };
	link_each_route(own ? own->bridge : NULL, look, s, NULL);
	return !s->taken && !taken_by_network(networks, subnet, own);
}

int subnet_check_free(struct networks *networks, const struct subnet *subnet,
		      const struct network *own, struct error *err)
{
	const struct network *n = taken_by_network(networks, subnet, own);
	struct search s;

	/* A subnet that somebody names may well be inside of a wider route of the host's: theirs to
	 * know. */
	if (n)
		return error_set(err, ERROR_DENIED,
				 "Pool overlaps with other one on this address space (network %s)",
				 n->name);
	if (!is_free(networks, subnet, own, &s) && s.taken) {
		struct subnet route;

		if (subnet_parse(s.by, &route) == 0 && route.prefix >= subnet->prefix)
			return error_set(
				err, ERROR_DENIED,
				"Pool overlaps with other one on this address space (the host has "
				"a route to %s)",
				s.by);
	}
	return 0;
}

/* Docker's: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and the like. */
static bool candidate4(unsigned n, struct subnet *ret)
{
	char text[SUBNET_TEXT_BYTES];

	if (n < 15)
		snprintf(text, sizeof(text), "172.%u.0.0/16", 17 + n);
	else if (n < 31)
		snprintf(text, sizeof(text), "192.168.%u.0/20", (n - 15) * 16);
	else if (n < 31 + 4096)
		snprintf(text, sizeof(text), "10.%u.%u.0/20", 208 + (n - 31) / 16 % 48,
			 (n - 31) % 16 * 16);
	else
		return false;
	return subnet_parse(text, ret) == 0;
}

/* RFC 4193: a prefix of one's own at random. */
static bool candidate6(unsigned n, struct subnet *ret)
{
	*ret = (struct subnet){ .base = { .family = AF_INET6 }, .prefix = 64 };
	if (n > 16 || getrandom(ret->base.bytes + 1, 7, 0) != 7)
		return false;
	ret->base.bytes[0] = 0xfd;
	return true;
}

int subnet_choose(struct networks *networks, int family, const struct network *own,
		  struct subnet *ret, struct error *err)
{
	struct search s;

	for (unsigned n = 0; family == AF_INET ? candidate4(n, ret) : candidate6(n, ret); n++)
		if (is_free(networks, ret, own, &s))
			return 0;
	return error_set(err, ERROR_LIMIT,
			 "could not find an available, non-overlapping IPv%c address pool among "
			 "the defaults to "
			 "assign to the network",
			 family == AF_INET ? '4' : '6');
}
