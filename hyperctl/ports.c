#include <stdlib.h>
#include <string.h>

#include "hyperctl/command.h"
#include "hyperctl/publish_option.h"
#include "hyperctl/query.h"

static char *path_of(const char *pod)
{
	autofree char *encoded = path_encode(pod);

	return encoded ? strf("/hyper/v1/pods/%s/ports", encoded) : NULL;
}

static void print_ports(const json_t *ports)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)ports, i, one) {
		const char *ip = json_string_value(json_object_get(one, "HostIp")) ?: "";
		const char *protocol = json_string_value(json_object_get(one, "Protocol")) ?: "";
		bool six = strchr(ip, ':') != NULL;

		printf("%d/%s -> %s%s%s:%d\n",
		       (int)json_integer_value(json_object_get(one, "Port")), protocol,
		       six ? "[" : "", ip, six ? "]" : "",
		       (int)json_integer_value(json_object_get(one, "HostPort")));
	}
}

static int list(struct ctl *ctl, const char *path, char **args, struct error *err)
{
	autojson json_t *answer = NULL;
	int r = client_call(&ctl->client, "GET", path, NULL, NULL, &answer, err);

	if (r == 0)
		print_ports(answer);
	return r;
}

/* "80/tcp" and the host's side of a binding, as the daemon wants them. */
static json_t *port_body(const char *name, const json_t *binding)
{
	const char *host = json_string_value(json_object_get(binding, "HostPort")) ?: "";
	const char *dash = strchr(host, '-');

	return json_pack("{s:i, s:s, s:O, s:i, s:i}", "Port", atoi(name), "Protocol",
			 strchr(name, '/') + 1, "HostIp", json_object_get(binding, "HostIp"),
			 "HostPort", atoi(host), "HostPortLast", dash ? atoi(dash + 1) : 0);
}

static int add(struct ctl *ctl, const char *path, char **args, struct error *err)
{
	autojson json_t *bindings = json_object(), *exposed = json_object();
	json_t *list_of_one, *binding;
	const char *name;
	size_t i;
	int r = 0;

	strv_for_each(text, args)
		if (r == 0)
			r = publish_add(*text, bindings, exposed, err);
	json_object_foreach(bindings, name, list_of_one)
		json_array_foreach(list_of_one, i, binding) {
			autojson json_t *body = port_body(name, binding);

			if (r == 0)
				r = client_call(&ctl->client, "POST", path, NULL, body, NULL, err);
		}
	return r;
}

static int delete (struct ctl *ctl, const char *path, char **args, struct error *err)
{
	autojson json_t *bindings = json_object(), *exposed = json_object();
	json_t *list_of_one, *binding;
	const char *name;
	size_t i;
	int r = 0;

	strv_for_each(text, args)
		if (r == 0)
			r = publish_add(*text, bindings, exposed, err);
	json_object_foreach(bindings, name, list_of_one)
		json_array_foreach(list_of_one, i, binding) {
			const char *host =
				json_string_value(json_object_get(binding, "HostPort")) ?: "";
			autofree char *query = strf("port=%d&protocol=%s&hostPort=%d", atoi(name),
						    strchr(name, '/') + 1, atoi(host));

			if (r == 0)
				r = query ? client_call(&ctl->client, "DELETE", path, query, NULL,
							NULL, err)
					  : error_nomem(err);
		}
	return r;
}

static int ports_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	static const struct {
		const char *name, *alias;
		int (*run)(struct ctl *ctl, const char *path, char **args, struct error *err);
		bool takes_ports;
	} verbs[] = { { "ls", "list", list, false },
		      { "add", NULL, add, true },
		      { "delete", "rm", delete, true } };

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		autofree char *path = NULL;

		if (strcmp(args[0], verbs[i].name) != 0 &&
		    (!verbs[i].alias || strcmp(args[0], verbs[i].alias) != 0))
			continue;
		if (!args[1] || verbs[i].takes_ports != (args[2] != NULL))
			return error_set(err, ERROR_INVALID,
					 "'hyperctl ports %s': expected a pod%s", verbs[i].name,
					 verbs[i].takes_ports ? " and ports" : "");
		path = path_of(args[1]);
		return path ? verbs[i].run(ctl, path, args + 2, err) : error_nomem(err);
	}
	return error_set(err, ERROR_INVALID, "'hyperctl ports %s': expected ls, add or delete",
			 args[0]);
}

const struct command command_ports = {
	.name = "ports",
	.aliases = "port",
	.group = "Networks",
	.usage = "ls POD\n"
		 "add POD [IP:][HOST:]PORT[/PROTOCOL]...\n"
		 "delete POD [HOST:]PORT[/PROTOCOL]...",
	.summary = "Show, publish and take back a pod's ports, while it runs or not",
	.min_args = 1,
	.max_args = -1,
	.run = ports_main,
};
