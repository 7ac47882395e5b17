#include "tests/unit/test.h"

#include <string.h>

#include "hyperd/network/address.h"

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static struct subnet subnet_of(const char *text)
{
	struct subnet subnet;

	assert_int_equal(subnet_parse(text, &subnet), 0);
	return subnet;
}

static void addresses_are_read_and_written(void **state)
{
	static const char *const bad[] = { "",          "1.2.3",   "1.2.3.4.5",
					   "256.1.1.1", "fd00::g", "1.2.3.4 " };
	struct ip ip;
	char text[IP_TEXT_BYTES];

	assert_string_equal(ip_text(&(struct ip){ 0 }, text), "");
	ip = ip_of("172.17.0.2");
	assert_string_equal(ip_text(&ip, text), "172.17.0.2");
	ip = ip_of("FD00::0001");
	assert_string_equal(ip_text(&ip, text), "fd00::1");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(ip_parse(bad[i], &ip), -EINVAL);
}

static void subnets_lose_their_host_bits(void **state)
{
	static const char *const bad[] = { "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1",
					   "/8",       "10.0.0.0/8x", "fd00::/129" };
	struct subnet subnet = subnet_of("192.168.77.5/20"), other;
	struct ip last = subnet_last(&subnet), in = ip_of("192.168.79.255"),
		  out = ip_of("192.168.80.0");
	char text[SUBNET_TEXT_BYTES], ip[IP_TEXT_BYTES];

	assert_string_equal(subnet_text(&subnet, text), "192.168.64.0/20");
	assert_string_equal(ip_text(&last, ip), "192.168.79.255");
	assert_true(subnet_contains(&subnet, &in));
	assert_false(subnet_contains(&subnet, &out));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(subnet_parse(bad[i], &other), -EINVAL);
}

static void overlaps_are_seen_both_ways(void **state)
{
	struct subnet wide = subnet_of("10.0.0.0/8"), narrow = subnet_of("10.9.0.0/16");
	struct subnet beside = subnet_of("11.0.0.0/16"), six = subnet_of("fd00::/8");

	assert_true(subnet_overlaps(&wide, &narrow));
	assert_true(subnet_overlaps(&narrow, &wide));
	assert_false(subnet_overlaps(&wide, &beside));
	assert_false(subnet_overlaps(&wide, &six));
}

static void a_pool_gives_everything_out_once(void **state)
{
	struct subnet subnet = subnet_of("10.1.2.0/28");
	struct address_pool pool;
	struct error err = { 0 };
	struct ip ip, gateway = ip_of("10.1.2.1");
	bool seen[16] = { 0 };

	address_pool_init(&pool, &subnet, NULL);
	assert_ok(address_pool_take(&pool, &gateway, &err), err);
	for (int i = 0; i < 13; i++) {
		assert_ok(address_pool_next(&pool, &ip, &err), err);
		assert_false(seen[ip.bytes[3]]);
		seen[ip.bytes[3]] = true;
	}
	/* Neither the network's, nor broadcast, nor the gateway's. */
	assert_false(seen[0] || seen[1] || seen[15]);
	assert_true(address_pool_next(&pool, &ip, &err) < 0);
	assert_int_equal(err.kind, ERROR_LIMIT);
	ip = ip_of("10.1.2.7");
	address_pool_give_back(&pool, &ip);
	assert_ok(address_pool_next(&pool, &ip, &err), err);
	assert_int_equal(ip.bytes[3], 7);
	address_pool_done(&pool);
}

static void what_was_given_back_rests(void **state)
{
	struct subnet subnet = subnet_of("10.1.0.0/16");
	struct address_pool pool;
	struct error err = { 0 };
	struct ip first, second;

	address_pool_init(&pool, &subnet, NULL);
	assert_ok(address_pool_next(&pool, &first, &err), err);
	address_pool_give_back(&pool, &first);
	assert_ok(address_pool_next(&pool, &second, &err), err);
	assert_false(ip_equal(&first, &second));
	address_pool_done(&pool);
}

static void a_range_bounds_choice_not_wishes(void **state)
{
	struct subnet subnet = subnet_of("10.1.0.0/16"), range = subnet_of("10.1.5.0/30");
	struct ip wished = ip_of("10.1.200.1"), outside = ip_of("10.2.0.1"), ip;
	struct address_pool pool;
	struct error err = { 0 };

	address_pool_init(&pool, &subnet, &range);
	for (int i = 0; i < 4; i++) {
		assert_ok(address_pool_next(&pool, &ip, &err), err);
		assert_true(subnet_contains(&range, &ip));
	}
	assert_true(address_pool_next(&pool, &ip, &err) < 0);
	assert_ok(address_pool_take(&pool, &wished, &err), err);
	assert_true(address_pool_take(&pool, &wished, &err) < 0);
	assert_contains(err.message, "already in use");
	assert_true(address_pool_take(&pool, &outside, &err) < 0);
	assert_int_equal(err.kind, ERROR_INVALID);
	address_pool_done(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_and_written),
		cmocka_unit_test(subnets_lose_their_host_bits),
		cmocka_unit_test(overlaps_are_seen_both_ways),
		cmocka_unit_test(a_pool_gives_everything_out_once),
		cmocka_unit_test(what_was_given_back_rests),
		cmocka_unit_test(a_range_bounds_choice_not_wishes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
