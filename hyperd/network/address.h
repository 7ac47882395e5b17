#pragma once
/*
 * IP addresses, subnets, and pools from which addresses are given out. Plain data, no system calls.
 * A pool never gives out an address twice before it was given back, and goes round its range so
 * that an address rests as long as possible before somebody else has it.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct ip {
	int family; /* AF_INET, AF_INET6, or 0: none */
	uint8_t bytes[16];
};
#define IP_TEXT_BYTES INET6_ADDRSTRLEN

/* 0 or -EINVAL. */
int ip_parse(const char *text, struct ip *ret);
/* OUT, which is "" for none. */
const char *ip_text(const struct ip *ip, char out[IP_TEXT_BYTES]);
bool ip_equal(const struct ip *a, const struct ip *b);
int ip_compare(const struct ip *a, const struct ip *b);

struct subnet {
	struct ip base; /* host bits are 0 */
	unsigned prefix;
};
#define SUBNET_TEXT_BYTES (IP_TEXT_BYTES + 5)

/* "172.20.0.0/16"; host bits are cut off. 0 or -EINVAL. */
int subnet_parse(const char *text, struct subnet *ret);
const char *subnet_text(const struct subnet *subnet, char out[SUBNET_TEXT_BYTES]);
bool subnet_contains(const struct subnet *subnet, const struct ip *ip);
bool subnet_overlaps(const struct subnet *a, const struct subnet *b);
/* The all-ones address of an IPv4 subnet. */
struct ip subnet_last(const struct subnet *subnet);

struct address_pool {
	struct subnet subnet, range; /* RANGE: where addresses are chosen from; within SUBNET */
	struct ip last;              /* given out last; family 0: none yet */
	struct ip *used;             /* owned, sorted */
	size_t used_count, used_capacity;
};

void address_pool_init(struct address_pool *pool, const struct subnet *subnet,
		       const struct subnet *range);
void address_pool_done(struct address_pool *pool);
bool address_pool_is_used(const struct address_pool *pool, const struct ip *ip);
/* A certain address: ERROR_CONFLICT when it is taken, ERROR_INVALID when it is none of the
 * subnet's. */
int address_pool_take(struct address_pool *pool, const struct ip *ip, struct error *err);
/* The next free one. */
int address_pool_next(struct address_pool *pool, struct ip *ret, struct error *err);
void address_pool_give_back(struct address_pool *pool, const struct ip *ip);
