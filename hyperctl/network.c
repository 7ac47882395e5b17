#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/format.h"
#include "hyperctl/query.h"
#include "hyperctl/units.h"

struct network_options {
	const char *driver, *format, *subnet, *gateway, *ip_range, *ip, *ip6;
	struct option_list driver_options, labels, filters, aliases;
	bool internal, ipv6, quiet, force;
};
#define OPT struct network_options
static const struct option options[] = {
	STRING('d', "driver", OPT, driver, "NAME", "create: bridge", .initial = "bridge"),
	STRING(0, "subnet", OPT, subnet, "CIDR", "create: its addresses"),
	STRING(0, "gateway", OPT, gateway, "ADDRESS", "create: the host's address in it"),
	STRING(0, "ip-range", OPT, ip_range, "CIDR",
	       "create: where pods' addresses are chosen from"),
	FLAG(0, "internal", OPT, internal, "create: nothing outside is reached"),
	FLAG(0, "ipv6", OPT, ipv6, "create: IPv6 addresses too"),
	LIST('o', "opt", OPT, driver_options, "KEY=VALUE", "create: option of the driver"),
	LIST('l', "label", OPT, labels, "KEY[=VALUE]", "create: set a label"),
	LIST(0, "alias", OPT, aliases, "NAME", "connect: a further name on it"),
	STRING(0, "ip", OPT, ip, "ADDRESS", "connect: its IPv4 address"),
	STRING(0, "ip6", OPT, ip6, "ADDRESS", "connect: its IPv6 address"),
	LIST(0, "filter", OPT, filters, "KEY=VALUE",
	     "ls, prune: only those (driver, id, label, name, type)"),
	STRING(0, "format", OPT, format, "FORMAT",
	       "ls, inspect: json, a template, or 'table TEMPLATE'"),
	FLAG('q', "quiet", OPT, quiet, "ls: only ids"),
	FLAG('f', "force", OPT, force, "disconnect: also one that is not connected"),
	OPTIONS_END,
};
#undef OPT

static char *path_of(const char *name, const char *action)
{
	autofree char *encoded = path_encode(name);

	return encoded ? strf("/networks/%s%s", encoded, action) : NULL;
}

static int add_pairs(json_t *object, const struct option_list *list, const char *option,
		     struct error *err)
{
	for (size_t i = 0; i < list->count; i++) {
		const char *text = list->items[i], *equals = strchr(text, '=');
		autofree char *key = strndup(text, equals ? (size_t)(equals - text) : strlen(text));

		if (!key)
			return error_nomem(err);
		if (!*key)
			return error_set(err, ERROR_INVALID, "%s '%s': expected KEY=VALUE", option,
					 text);
		json_object_set_new(object, key, json_string(equals ? equals + 1 : ""));
	}
	return 0;
}

static int create(struct ctl *ctl, const struct network_options *o, char **args, struct error *err)
{
	autojson json_t *labels = json_object(), *driver_options = json_object(), *answer = NULL,
			*body = NULL;
	json_t *ipam = json_object();
	int r = add_pairs(labels, &o->labels, "--label", err);

	if (r == 0)
		r = add_pairs(driver_options, &o->driver_options, "--opt", err);
	if (o->subnet)
		json_object_set_new(ipam, "Subnet", json_string(o->subnet));
	if (o->gateway)
		json_object_set_new(ipam, "Gateway", json_string(o->gateway));
	if (o->ip_range)
		json_object_set_new(ipam, "IPRange", json_string(o->ip_range));
	body = json_pack("{s:s, s:s, s:b, s:b, s:O, s:O, s:{s:[o]}}", "Name", args[0], "Driver",
			 o->driver, "Internal", o->internal, "EnableIPv6", o->ipv6, "Labels",
			 labels, "Options", driver_options, "IPAM", "Config", ipam);
	if (r == 0 && !body)
		r = error_set(err, ERROR_INVALID, "an argument is not UTF-8");
	if (r == 0)
		r = client_call(&ctl->client, "POST", "/networks/create", NULL, body, &answer, err);
	if (r == 0)
		puts(json_string_value(json_object_get(answer, "Id")) ?: "");
	return r;
}

static const struct column columns[] = {
	{ "ID", "NETWORK ID" }, { "Name", "NAME" }, { "Driver", "DRIVER" },
	{ "Subnet", "SUBNET" }, { NULL, NULL },
};

static json_t *row_of(const json_t *network)
{
	const json_t *config =
		json_array_get(json_object_get(json_object_get(network, "IPAM"), "Config"), 0);
	const char *id = json_string_value(json_object_get(network, "Id")) ?: "";
	const char *subnet = json_string_value(json_object_get(config, "Subnet"));
	autofree char *short_id = strf("%.12s", id);

	return json_pack("{s:s, s:O, s:O, s:s}", "ID", short_id, "Name",
			 json_object_get(network, "Name"), "Driver",
			 json_object_get(network, "Driver"), "Subnet", subnet ?: "");
}

static int list(struct ctl *ctl, const struct network_options *o, char **args, struct error *err)
{
	autojson json_t *answer = NULL, *rows = json_array();
	autostr struct str query = STR_INIT;
	json_t *one;
	size_t i;
	int r = filters_add(&query, &o->filters, err);

	if (r == 0)
		r = client_call(&ctl->client, "GET", "/networks", str_text(&query), NULL, &answer,
				err);
	if (r < 0)
		return r;
	json_array_foreach(answer, i, one)
		json_array_append_new(rows, row_of(one));
	return rows_print(columns, "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Subnet}}",
			  o->quiet && !o->format ? "{{.ID}}" : o->format, rows, err);
}

static int inspect(struct ctl *ctl, const struct network_options *o, char **args, struct error *err)
{
	autojson json_t *all = json_array();
	int code = 0;

	strv_for_each(name, args) {
		autofree char *path = path_of(*name, "");
		struct error failed = { 0 };
		json_t *one = NULL;
		int r = path ? client_call(&ctl->client, "GET", path, NULL, NULL, &one, &failed)
			     : error_nomem(&failed);

		if (r == 0 && o->format)
			r = value_print(o->format, one, &failed);
		if (r == 0)
			json_array_append(all, one);
		json_decref(one);
		if (r < 0) {
			complain("%s", failed.message);
			code = 1;
		}
	}
	if (!o->format) {
		json_dumpf(all, stdout, JSON_INDENT(4));
		putchar('\n');
	}
	return code;
}

static int remove_one(struct ctl *ctl, const char *name, const void *arg, struct error *err)
{
	autofree char *path = path_of(name, "");

	return path ? client_call(&ctl->client, "DELETE", path, NULL, NULL, NULL, err)
		    : error_nomem(err);
}

static int remove_all(struct ctl *ctl, const struct network_options *o, char **args,
		      struct error *err)
{
	return for_each_name(ctl, args, true, remove_one, o);
}

static int prune(struct ctl *ctl, const struct network_options *o, char **args, struct error *err)
{
	autojson json_t *answer = NULL;
	autostr struct str query = STR_INIT;
	json_t *name;
	size_t i;
	int r = filters_add(&query, &o->filters, err);

	if (r == 0)
		r = client_call(&ctl->client, "POST", "/networks/prune", str_text(&query), NULL,
				&answer, err);
	if (r < 0)
		return r;
	json_array_foreach(json_object_get(answer, "NetworksDeleted"), i, name)
		puts(json_string_value(name) ?: "");
	return 0;
}

static int join(struct ctl *ctl, const struct network_options *o, char **args, struct error *err)
{
	autofree char *path = path_of(args[0], "/connect");
	autojson json_t *body = NULL;
	json_t *aliases = json_array(), *ipam = json_object();

	for (size_t i = 0; i < o->aliases.count; i++)
		json_array_append_new(aliases, json_string(o->aliases.items[i]));
	if (o->ip)
		json_object_set_new(ipam, "IPv4Address", json_string(o->ip));
	if (o->ip6)
		json_object_set_new(ipam, "IPv6Address", json_string(o->ip6));
	body = json_pack("{s:s, s:{s:o, s:o}}", "Container", args[1], "EndpointConfig", "Aliases",
			 aliases, "IPAMConfig", ipam);
	if (!path || !body)
		return error_nomem(err);
	return client_call(&ctl->client, "POST", path, NULL, body, NULL, err);
}

static int leave(struct ctl *ctl, const struct network_options *o, char **args, struct error *err)
{
	autofree char *path = path_of(args[0], "/disconnect");
	autojson json_t *body = json_pack("{s:s, s:b}", "Container", args[1], "Force", o->force);

	if (!path || !body)
		return error_nomem(err);
	return client_call(&ctl->client, "POST", path, NULL, body, NULL, err);
}

static const struct verb {
	const char *name, *alias;
	int min_args, max_args;
	int (*run)(struct ctl *ctl, const struct network_options *o, char **args,
		   struct error *err);
} verbs[] = {
	{ "connect", NULL, 2, 2, join },       { "create", NULL, 1, 1, create },
	{ "disconnect", NULL, 2, 2, leave },   { "inspect", NULL, 1, -1, inspect },
	{ "ls", "list", 0, 0, list },          { "prune", NULL, 0, 0, prune },
	{ "rm", "remove", 1, -1, remove_all },
};

static int network_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	int count = (int)strv_len(args + 1);

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		const struct verb *v = &verbs[i];

		if (strcmp(args[0], v->name) != 0 && (!v->alias || strcmp(args[0], v->alias) != 0))
			continue;
		if (count < v->min_args || (v->max_args >= 0 && count > v->max_args))
			return error_set(
				err, ERROR_INVALID,
				"'hyperctl network %s': %s\nSee 'hyperctl network --help'.",
				v->name,
				count < v->min_args ? "expected a name more"
						    : "an argument too many");
		return v->run(ctl, given, args + 1, err);
	}
	return error_set(err, ERROR_INVALID,
			 "'hyperctl network %s': expected connect, create, disconnect, inspect, "
			 "ls, prune or rm",
			 args[0]);
}

const struct command command_network = {
	.name = "network",
	.aliases = "networks",
	.group = "Networks",
	.usage = "create [OPTIONS] NAME\n"
		 "ls [OPTIONS]\n"
		 "inspect [OPTIONS] NAME...\n"
		 "connect [OPTIONS] NETWORK CONTAINER\n"
		 "disconnect [OPTIONS] NETWORK CONTAINER\n"
		 "rm NAME...\n"
		 "prune [OPTIONS]",
	.summary = "Make, show, join and remove networks",
	.options = options,
	.options_size = sizeof(struct network_options),
	.mixed = true,
	.min_args = 1,
	.max_args = -1,
	.run = network_main,
};
