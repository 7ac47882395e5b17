/* Networks and published ports of a pod file. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "hyperd/network/address.h"
#include "hyperd/network/link.h"
#include "hyperd/pod/pod_file_reader.h"

int pod_file_read_network(struct pod_file_reader *rd, const json_t *value, void *target,
			  const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);
	struct pod_spec *pod = target;

	if (!text || !*text || pod->network_count)
		return pod_file_wrong(
			rd, value, "\"none\", \"host\" or a network's name, and no \"networks\"");
	if (strcmp(text, "none") == 0 || strcmp(text, "host") == 0)
		return pod_file_set_text(rd, &pod->network_mode, text);
	return spec_network_add(pod, text) ? 0 : error_nomem(rd->err);
}

static int read_ip(struct pod_file_reader *rd, const json_t *value, void *target,
		   const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);
	struct ip ip;

	if (!text || ip_parse(text, &ip) < 0 || (rule->max && ip.family != rule->max))
		return pod_file_wrong(rd, value, "an address");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

static int read_mac(struct pod_file_reader *rd, const json_t *value, void *target,
		    const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);
	uint8_t mac[6];

	if (!text || mac_parse(text, mac) < 0)
		return pod_file_wrong(rd, value, "a hardware address, as in \"02:42:ac:11:00:09\"");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

static const struct pod_file_rule network_rules[] = {
	{ "name", pod_file_read_filled_text, offsetof(struct spec_network, network) },
	{ "aliases", pod_file_read_strv, offsetof(struct spec_network, aliases) },
	{ "ipv4", read_ip, offsetof(struct spec_network, ipv4), .max = AF_INET },
	{ "ipv6", read_ip, offsetof(struct spec_network, ipv6), .max = AF_INET6 },
	{ "mac", read_mac, offsetof(struct spec_network, mac) },
	{ 0 },
};

int pod_file_read_networks(struct pod_file_reader *rd, const json_t *value, void *target,
			   const struct pod_file_rule *rule)
{
	struct pod_spec *pod = target;
	const json_t *item;
	size_t i;

	if (!json_is_array(value) || pod->network_count || pod->network_mode)
		return pod_file_wrong(rd, value, "a list of networks, and no \"network\"");
	json_array_foreach(value, i, item) {
		size_t mark = pod_file_enter_item(rd, i);
		const char *name = pod_file_text_of(
			json_is_object(item) ? json_object_get(item, "name") : item);
		struct spec_network *network;
		int r = 0;

		if (!name || !*name)
			return pod_file_wrong(rd, item, "a network's name, or an object with one");
		network = spec_network_add(pod, name);
		if (!network)
			return error_nomem(rd->err);
		if (json_is_object(item))
			r = pod_file_read_fields(rd, item, network, network_rules);
		if (r < 0)
			return r;
		pod_file_leave(rd, mark);
	}
	return 0;
}

/* ------------------------------------------------------------------ ports */

static int read_port(struct pod_file_reader *rd, const json_t *value, void *target,
		     const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);
	unsigned long long number = 0;
	long long given = 0;
	int r = 0;

	/* The original's files have them as strings. */
	if (text && parse_u64(text, 1, 65535, &number) < 0)
		return pod_file_wrong(rd, value, "a number from 1 to 65535");
	if (!text)
		r = pod_file_read_number(rd, value, 1, 65535, &given);
	*(int *)pod_file_member(target, rule) = text ? (int)number : (int)given;
	return r;
}

static bool is_protocol(const char *text)
{
	return strcmp(text, "tcp") == 0 || strcmp(text, "udp") == 0 || strcmp(text, "sctp") == 0;
}

static int read_protocol(struct pod_file_reader *rd, const json_t *value, void *target,
			 const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	if (!text || !is_protocol(text))
		return pod_file_wrong(rd, value, "\"tcp\", \"udp\" or \"sctp\"");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

static const struct pod_file_rule port_rules[] = {
	{ "containerPort", read_port, offsetof(struct spec_port, port) },
	{ "hostPort", read_port, offsetof(struct spec_port, host_first) },
	{ "hostIP", read_ip, offsetof(struct spec_port, host_ip) },
	{ "protocol", read_protocol, offsetof(struct spec_port, protocol) },
	{ 0 },
};

/* "80", "8080:80", "127.0.0.1:8080:80", each with "/udp". */
static int read_short(struct pod_file_reader *rd, const json_t *value, struct spec_port *port)
{
	static const char expected[] = "a port, as in \"8080:80/tcp\" or \"127.0.0.1:8080:80\"";
	const char *text = pod_file_text_of(value);
	autostrv char **words = NULL;
	autofree char *numbers = strndup(text, strcspn(text, "/"));
	const char *protocol = strchr(text, '/');
	unsigned long long inside, outside = 0;
	struct ip ip;
	size_t n;

	words = numbers ? strv_split(numbers, ':') : NULL;
	n = strv_len(words);
	if (!n || n > 3 || parse_u64(words[n - 1], 1, 65535, &inside) < 0 ||
	    (n > 1 && *words[n - 2] && parse_u64(words[n - 2], 1, 65535, &outside) < 0) ||
	    (n > 2 && ip_parse(words[0], &ip) < 0) || (protocol && !is_protocol(protocol + 1)))
		return pod_file_wrong(rd, value, expected);
	port->port = (int)inside;
	port->host_first = (int)outside;
	if (protocol && pod_file_set_text(rd, &port->protocol, protocol + 1) < 0)
		return -ENOMEM;
	return n > 2 ? pod_file_set_text(rd, &port->host_ip, words[0]) : 0;
}

int pod_file_read_ports(struct pod_file_reader *rd, const json_t *value, void *target,
			const struct pod_file_rule *rule)
{
	struct pod_spec *pod = target;
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return pod_file_wrong(rd, value, "a list of ports");
	json_array_foreach(value, i, item) {
		size_t mark = pod_file_enter_item(rd, i);
		struct spec_port *port = spec_port_add(pod, "tcp", 0);
		int r;

		if (!port)
			return error_nomem(rd->err);
		if (json_is_object(item))
			r = pod_file_read_fields(rd, item, port, port_rules);
		else if (pod_file_text_of(item))
			r = read_short(rd, item, port);
		else if (json_is_integer(item))
			r = read_port(rd, item, port, &port_rules[0]);
		else
			r = pod_file_wrong(rd, item, "a port or an object with a containerPort");
		if (r == 0 && !port->port)
			r = pod_file_wrong(rd, item, "a containerPort");
		if (r < 0)
			return r;
		pod_file_leave(rd, mark);
	}
	return 0;
}
