#include "hyperctl/publish_option.h"

#include <string.h>

#include "base/str.h"

struct range {
	unsigned long long first, last;
};

static int parse_range(const char *text, struct range *ret)
{
	const char *dash = strchr(text, '-');
	autofree char *first = strndup(text, dash ? (size_t)(dash - text) : strlen(text));

	if (!first || parse_u64(first, 1, 65535, &ret->first) < 0)
		return -EINVAL;
	ret->last = ret->first;
	return dash && (parse_u64(dash + 1, 1, 65535, &ret->last) < 0 || ret->last < ret->first)
		       ? -EINVAL
		       : 0;
}

static int wrong(const char *text, struct error *err)
{
	return error_set(err, ERROR_INVALID,
			 "--publish '%s': expected [IP:][HOST[-LAST]:]PORT[-LAST][/tcp|udp|sctp]",
			 text);
}

static void add_one(json_t *bindings, json_t *exposed, const char *name, const char *ip,
		    const char *host)
{
	json_t *list = json_object_get(bindings, name);

	if (!list) {
		list = json_array();
		json_object_set_new(bindings, name, list);
	}
	json_array_append_new(list, json_pack("{s:s, s:s}", "HostIp", ip, "HostPort", host));
	json_object_set_new(exposed, name, json_object());
}

int publish_add(const char *text, json_t *bindings, json_t *exposed, struct error *err)
{
	autofree char *copy = strdup(text);
	char *protocol = copy ? strchr(copy, '/') : NULL, *port, *host, *ip = NULL, name[32],
	     number[32];
	struct range inside, outside = { 0 };

	if (!copy)
		return error_nomem(err);
	if (protocol)
		*protocol++ = '\0';
	if (protocol && strcmp(protocol, "tcp") && strcmp(protocol, "udp") &&
	    strcmp(protocol, "sctp"))
		return wrong(text, err);
	/* From the right: an IPv6 address has colons of its own, and stands in brackets. */
	port = strrchr(copy, ':');
	host = copy;
	if (!port) {
		port = copy;
		host = NULL;
	} else {
		*port++ = '\0';
		ip = strrchr(copy, ':');
		if (*copy == '[' && (!ip || strchr(ip, ']')))
			return wrong(text, err);
		if (ip) {
			*ip = '\0';
			host = ip + 1;
			ip = copy;
		}
	}
	if (ip && *ip == '[' && ip[strlen(ip) - 1] == ']') {
		ip[strlen(ip) - 1] = '\0';
		ip++;
	}
	if (parse_range(port, &inside) < 0 || (host && *host && parse_range(host, &outside) < 0))
		return wrong(text, err);
	if (outside.first && inside.last != inside.first &&
	    outside.last - outside.first != inside.last - inside.first)
		return error_set(err, ERROR_INVALID,
				 "--publish '%s': the two ranges differ in length", text);
	for (unsigned long long i = 0; i <= inside.last - inside.first; i++) {
		snprintf(name, sizeof(name), "%llu/%s", inside.first + i,
			 protocol ? protocol : "tcp");
		if (!outside.first)
			number[0] = '\0';
		else if (inside.first == inside.last && outside.first != outside.last)
			snprintf(number, sizeof(number), "%llu-%llu", outside.first, outside.last);
		else
			snprintf(number, sizeof(number), "%llu", outside.first + i);
		add_one(bindings, exposed, name, ip ? ip : "", number);
	}
	return 0;
}

int publish_options(const struct option_list *list, json_t **ret_bindings, json_t **ret_exposed,
		    struct error *err)
{
	int r = 0;

	*ret_bindings = json_object();
	*ret_exposed = json_object();
	for (size_t i = 0; i < list->count && r == 0; i++)
		r = publish_add(list->items[i], *ret_bindings, *ret_exposed, err);
	return r;
}
