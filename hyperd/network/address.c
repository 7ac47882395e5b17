#include "hyperd/network/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static size_t ip_len(int family)
{
	return family == AF_INET ? 4 : 16;
}

int ip_parse(const char *text, struct ip *ret)
{
	struct ip ip = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

	if (inet_pton(ip.family, text, ip.bytes) != 1)
		return -EINVAL;
	*ret = ip;
	return 0;
}

const char *ip_text(const struct ip *ip, char out[IP_TEXT_BYTES])
{
	if (!ip->family || !inet_ntop(ip->family, ip->bytes, out, IP_TEXT_BYTES))
		out[0] = '\0';
	return out;
}

int ip_compare(const struct ip *a, const struct ip *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, ip_len(a->family));
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
	return a->family == b->family && (!a->family || ip_compare(a, b) == 0);
}

static uint8_t mask_byte(unsigned prefix, size_t i)
{
	unsigned bits = prefix > i * 8 ? prefix - (unsigned)i * 8 : 0;

	return bits >= 8 ? 0xff : (uint8_t)(0xff00 >> bits);
}

int subnet_parse(const char *text, struct subnet *ret)
{
	const char *slash = strchr(text, '/');
	char address[IP_TEXT_BYTES];
	unsigned long long prefix;
	struct subnet subnet;

	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return -EINVAL;
	snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
	if (ip_parse(address, &subnet.base) < 0 ||
	    parse_u64(slash + 1, 0, ip_len(subnet.base.family) * 8, &prefix) < 0)
		return -EINVAL;
	subnet.prefix = (unsigned)prefix;
	for (size_t i = 0; i < sizeof(subnet.base.bytes); i++)
		subnet.base.bytes[i] &= mask_byte(subnet.prefix, i);
	*ret = subnet;
	return 0;
}

const char *subnet_text(const struct subnet *subnet, char out[SUBNET_TEXT_BYTES])
{
	char ip[IP_TEXT_BYTES];

	snprintf(out, SUBNET_TEXT_BYTES, "%s/%u", ip_text(&subnet->base, ip), subnet->prefix);
	return out;
}

bool subnet_contains(const struct subnet *subnet, const struct ip *ip)
{
	if (ip->family != subnet->base.family)
		return false;
	for (size_t i = 0; i < ip_len(ip->family); i++)
		if ((ip->bytes[i] & mask_byte(subnet->prefix, i)) != subnet->base.bytes[i])
			return false;
	return true;
}

bool subnet_overlaps(const struct subnet *a, const struct subnet *b)
{
	return a->prefix < b->prefix ? subnet_contains(a, &b->base) : subnet_contains(b, &a->base);
}

struct ip subnet_last(const struct subnet *subnet)
{
	struct ip ip = subnet->base;

	for (size_t i = 0; i < ip_len(ip.family); i++)
		ip.bytes[i] |= (uint8_t)~mask_byte(subnet->prefix, i);
	return ip;
}

/* ------------------------------------------------------------------ pools */

void address_pool_init(struct address_pool *pool, const struct subnet *subnet,
		       const struct subnet *range)
{
	*pool = (struct address_pool){ .subnet = *subnet, .range = range ? *range : *subnet };
}

void address_pool_done(struct address_pool *pool)
{
	free(pool->used);
	*pool = (struct address_pool){ 0 };
}

/* Where IP is or would be. */
static size_t position(const struct address_pool *pool, const struct ip *ip, bool *ret_found)
{
	size_t low = 0, high = pool->used_count;

	*ret_found = false;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = ip_compare(&pool->used[middle], ip);

		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool address_pool_is_used(const struct address_pool *pool, const struct ip *ip)
{
	bool found;

	position(pool, ip, &found);
	return found;
}

/* The network's own address and, of IPv4, its broadcast address are nobody's. */
static bool is_reserved(const struct address_pool *pool, const struct ip *ip)
{
	struct ip last = subnet_last(&pool->subnet);

	if (pool->subnet.prefix + 1 >= ip_len(ip->family) * 8)
		return false;
	return ip_equal(ip, &pool->subnet.base) || (ip->family == AF_INET && ip_equal(ip, &last));
}

int address_pool_take(struct address_pool *pool, const struct ip *ip, struct error *err)
{
	char text[IP_TEXT_BYTES], subnet[SUBNET_TEXT_BYTES];
	size_t at;
	bool found;

	if (!subnet_contains(&pool->subnet, ip) || is_reserved(pool, ip))
		return error_set(err, ERROR_INVALID,
				 "Invalid address %s: It does not belong to any of this network's "
				 "subnets (%s)",
				 ip_text(ip, text), subnet_text(&pool->subnet, subnet));
	at = position(pool, ip, &found);
	if (found)
		return error_set(err, ERROR_DENIED, "Address already in use: %s",
				 ip_text(ip, text));
	if (pool->used_count == pool->used_capacity) {
		size_t capacity = pool->used_capacity ? pool->used_capacity * 2 : 16;
		struct ip *grown = reallocarray(pool->used, capacity, sizeof(*grown));

		if (!grown)
			return error_nomem(err);
		pool->used = grown;
		pool->used_capacity = capacity;
	}
	memmove(pool->used + at + 1, pool->used + at,
		(pool->used_count - at) * sizeof(*pool->used));
	pool->used[at] = *ip;
	pool->used_count++;
	return 0;
}

/* The address after IP, at the range's end its first. */
static struct ip next_in_range(const struct address_pool *pool, struct ip ip)
{
	for (size_t i = ip_len(ip.family); i-- > 0;)
		if (++ip.bytes[i])
			break;
	return subnet_contains(&pool->range, &ip) ? ip : pool->range.base;
}

int address_pool_next(struct address_pool *pool, struct ip *ret, struct error *err)
{
	char text[SUBNET_TEXT_BYTES];
	struct ip ip = pool->last.family ? pool->last : pool->range.base;

	/* Reserved ones and one more round than there are used addresses: then all are. */
	for (size_t tries = 0; tries < pool->used_count + 4; tries++) {
		/* The first of the range is a candidate too, unless it is the network's address. */
		if (tries || pool->last.family || is_reserved(pool, &ip))
			ip = next_in_range(pool, ip);
		if (is_reserved(pool, &ip) || address_pool_is_used(pool, &ip))
			continue;
		pool->last = ip;
		*ret = ip;
		return address_pool_take(pool, &ip, err);
	}
	return error_set(err, ERROR_LIMIT,
			 "no available IPv%c addresses on this network's address pool (%s)",
			 pool->subnet.base.family == AF_INET ? '4' : '6',
			 subnet_text(&pool->range, text));
}

void address_pool_give_back(struct address_pool *pool, const struct ip *ip)
{
	bool found;
	size_t at = position(pool, ip, &found);

	if (!found)
		return;
	pool->used_count--;
	memmove(pool->used + at, pool->used + at + 1,
		(pool->used_count - at) * sizeof(*pool->used));
}
