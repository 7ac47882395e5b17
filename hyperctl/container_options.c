#include "hyperctl/container_options.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "hyperctl/command.h"
#include "hyperctl/mount_option.h"
#include "hyperctl/publish_option.h"
#include "hyperctl/terminal.h"

#define FILE_MAX_BYTES (4u << 20)

#define OPT struct container_options
const struct option container_option_table[] = {
	STRING(0, "name", OPT, name, "NAME", "Name of the container or pod"),
	LIST('e', "env", OPT, env, "KEY[=VALUE]", "Set an environment variable"),
	LIST(0, "env-file", OPT, env_files, "FILE", "Read environment variables from a file"),
	STRING(0, "entrypoint", OPT, entrypoint, "COMMAND", "Replace the image's entrypoint"),
	STRING('w', "workdir", OPT, working_dir, "DIR", "Working directory"),
	STRING('u', "user", OPT, user, "USER[:GROUP]", "User and group, by name or number"),
	STRING('h', "hostname", OPT, hostname, "NAME", "Host name"),
	STRING(0, "domainname", OPT, domainname, "NAME", "Domain name"),
	LIST('l', "label", OPT, labels, "KEY[=VALUE]", "Set a label"),
	SIZE('m', "memory", OPT, memory_bytes, "SIZE", "Memory limit, such as 512m"),
	CPUS(0, "cpus", OPT, cpus_nano, "NUMBER", "CPU limit, such as 1.5"),
	FLAG(0, "read-only", OPT, read_only, "The root file system cannot be written"),
	LIST(0, "ulimit", OPT, ulimits, "NAME=SOFT[:HARD]", "Resource limit of processes"),
	LIST(0, "sysctl", OPT, sysctls, "KEY=VALUE", "Kernel setting of the container"),
	STRING(0, "restart", OPT, restart, "POLICY",
	       "no, always, on-failure[:MAX] or unless-stopped", .initial = "no"),
	STRING(0, "log-driver", OPT, log_driver, "NAME", "Where output is logged"),
	LIST(0, "log-opt", OPT, log_options, "KEY=VALUE", "Option of the log driver"),
	FLAG('i', "interactive", OPT, interactive, "Keep standard input open"),
	FLAG('t', "tty", OPT, tty, "Give the process a terminal"),
	FLAG(0, "rm", OPT, remove, "Remove it when it has ended"),
	FLAG(0, "init", OPT, init, "Run a small init that reaps processes"),
	LIST(0, "cap-add", OPT, cap_add, "CAPABILITY", "Add a capability"),
	LIST(0, "cap-drop", OPT, cap_drop, "CAPABILITY", "Take a capability away"),
	LIST(0, "security-opt", OPT, security, "OPTION",
	     "no-new-privileges, seccomp=unconfined or seccomp=FILE"),
	FLAG(0, "privileged", OPT, privileged, "All capabilities and devices of the sandbox"),
	LIST(0, "group-add", OPT, groups, "GROUP", "Further group of the process"),
	STRING(0, "stop-signal", OPT, stop_signal, "SIGNAL", "What asks the process to end"),
	NUMBER(0, "stop-timeout", OPT, stop_timeout_s, "SECONDS",
	       "How long stop waits before it kills", .initial = "-1", .min = -1, .max = 1 << 30),
	LIST('v', "volume", OPT, volumes, "[SOURCE:]PATH[:MODE]",
	     "Mount a volume, or a file or directory of the host"),
	LIST(0, "mount", OPT, mounts, "KEY=VALUE,...",
	     "The same in words: type=bind,src=/a,dst=/b,readonly"),
	LIST(0, "volumes-from", OPT, volumes_from, "CONTAINER[:ro]",
	     "Mount what another container mounts"),
	STRING(0, "volume-driver", OPT, volume_driver, "NAME", "What keeps new volumes"),
	LIST(0, "tmpfs", OPT, tmpfs, "PATH[:OPTIONS]", "Mount a file system in memory"),
	SIZE(0, "shm-size", OPT, shm_bytes, "SIZE", "Size of /dev/shm"),
	LIST(0, "dns", OPT, dns, "ADDRESS", "Name server"),
	LIST(0, "dns-option", OPT, dns_options, "OPTION", "Option in resolv.conf"),
	LIST(0, "dns-opt", OPT, dns_options, "OPTION", "", .hidden = true),
	LIST(0, "dns-search", OPT, dns_search, "DOMAIN", "Domain that names are looked up in"),
	LIST(0, "add-host", OPT, hosts, "NAME:ADDRESS", "Line in /etc/hosts"),
	NUMBER(0, "pids-limit", OPT, pids_limit, "NUMBER", "How many processes it may have",
	       .min = -1, .max = INT64_MAX),
	STRING(0, "network", OPT, network, "NETWORK",
	       "Network to join, none, host, or container:NAME"),
	LIST('p', "publish", OPT, publish, "[IP:][HOST:]PORT[/PROTOCOL]",
	     "Publish a port on the host"),
	FLAG('P', "publish-all", OPT, publish_all, "Publish every port that the image names"),
	LIST(0, "network-alias", OPT, aliases, "NAME", "Further name on its network"),
	LIST(0, "link", OPT, links, "CONTAINER[:ALIAS]", "Name of another container in /etc/hosts"),
	STRING(0, "ip", OPT, ip, "ADDRESS", "Its IPv4 address on its network"),
	STRING(0, "ip6", OPT, ip6, "ADDRESS", "Its IPv6 address on its network"),
	STRING(0, "mac-address", OPT, mac, "ADDRESS", "Its hardware address"),
	STRING(0, "net", OPT, network, "NETWORK", "", .hidden = true),
	STRING(0, "pod", OPT, pod, "POD", "Add the container to an existing pod"),
	STRING(0, "isolation", OPT, isolation, "KIND", "vm or namespace"),
	STRING(0, "hypervisor", OPT, hypervisor, "NAME",
	       "What runs the VM: auto, qemu or libvirt-qemu"),
	STRING(0, "machine", OPT, machine, "TYPE", "Machine of the VM: microvm or q35"),
	NUMBER(0, "vcpus", OPT, vcpus, "NUMBER", "CPUs of the VM", .min = 0, .max = 1024),
	STRING(0, "transport", OPT, transport, "KIND",
	       "How image layers reach the VM: auto, serial or disk"),
	OPTIONS_END,
};
#undef OPT

/* ------------------------------------------------------------------ parts of the body */

static int env_add(json_t *list, const char *text, const char *where, struct error *err)
{
	const char *equals = strchr(text, '='), *value;
	size_t len = equals ? (size_t)(equals - text) : strlen(text);

	if (!len)
		return error_set(err, ERROR_INVALID, "%s: '%s': expected KEY=VALUE", where, text);
	if (equals) {
		json_array_append_new(list, json_string(text));
		return 0;
	}
	value = getenv(text);
	if (value)
		json_array_append_new(list, json_sprintf("%s=%s", text, value));
	return 0;
}

static int env_file(json_t *list, const char *path, struct error *err)
{
	autofree char *text = NULL;
	autostrv char **lines = NULL;
	size_t len;
	int r = file_read(AT_FDCWD, path, FILE_MAX_BYTES, &text, &len, err);

	if (r < 0)
		return error_prefix(err, r, "--env-file");
	lines = strv_split(text, '\n');
	strv_for_each(line, lines) {
		char *p = *line, *name_end;

		p += strspn(p, " \t");
		p[strcspn(p, "\r")] = '\0';
		if (!*p || *p == '#')
			continue;
		name_end = p + strcspn(p, "=");
		if (strcspn(p, " \t") < (size_t)(name_end - p))
			return error_set(err, ERROR_INVALID,
					 "--env-file %s, line %td: white space in the name '%.*s'",
					 path, line - lines + 1, (int)(name_end - p), p);
		r = env_add(list, p, "--env-file", err);
		if (r < 0)
			return r;
	}
	return 0;
}

int env_collect(const struct option_list *files, const struct option_list *env, json_t **ret,
		struct error *err)
{
	autojson json_t *list = json_array();
	int r = 0;

	for (size_t i = 0; r == 0 && i < files->count; i++)
		r = env_file(list, files->items[i], err);
	for (size_t i = 0; r == 0 && i < env->count; i++)
		r = env_add(list, env->items[i], "--env", err);
	if (r == 0)
		*ret = steal(list);
	return r;
}

static json_t *list_of(const struct option_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(array, json_string(list->items[i]));
	return array;
}

/* "KEY=VALUE" as members; without '=' the value is "", unless a value is NEEDED. */
static int pairs_of(const struct option_list *list, const char *option, char separator, bool needed,
		    json_t **ret, struct error *err)
{
	autojson json_t *object = json_object();

	for (size_t i = 0; i < list->count; i++) {
		const char *text = list->items[i], *end = strchr(text, separator);
		autofree char *key = strndup(text, end ? (size_t)(end - text) : strlen(text));

		if (!key)
			return error_nomem(err);
		if (!*key || (needed && !end))
			return error_set(err, ERROR_INVALID, "%s '%s': expected KEY%cVALUE", option,
					 text, separator);
		json_object_set_new(object, key, json_string(end ? end + 1 : ""));
	}
	*ret = steal(object);
	return 0;
}

static int ulimit_value(const char *text, long long *ret)
{
	if (strcmp(text, "unlimited") == 0) {
		*ret = -1;
		return 0;
	}
	return parse_i64(text, -1, INT64_MAX, ret);
}

/* "nofile=1024:2048". */
static int ulimits_of(const struct option_list *list, json_t **ret, struct error *err)
{
	autojson json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++) {
		const char *text = list->items[i];
		size_t name_len = strcspn(text, "=");
		autofree char *value = strdup(text[name_len] ? text + name_len + 1 : "");
		char *colon = value ? strchr(value, ':') : NULL;
		long long soft, hard;

		if (!value)
			return error_nomem(err);
		if (colon)
			*colon++ = '\0';
		if (!name_len || ulimit_value(value, &soft) < 0 ||
		    ulimit_value(colon ?: value, &hard) < 0)
			return error_set(err, ERROR_INVALID,
					 "--ulimit '%s': expected NAME=SOFT[:HARD], numbers or "
					 "unlimited",
					 text);
		if (hard >= 0 && (soft > hard || soft < 0))
			return error_set(err, ERROR_INVALID,
					 "--ulimit '%s': the soft limit is above the hard one",
					 text);
		json_array_append_new(array,
				      json_pack("{s:s%, s:I, s:I}", "Name", text, name_len, "Soft",
						(json_int_t)soft, "Hard", (json_int_t)hard));
	}
	*ret = steal(array);
	return 0;
}

/* "no", "always", "on-failure:3". What is a policy the daemon says; here only the shape. */
static int restart_of(const char *text, json_t **ret, struct error *err)
{
	const char *colon = strchr(text, ':');
	long long retries = 0;

	if (colon && parse_i64(colon + 1, 0, INT32_MAX, &retries) < 0)
		return error_set(err, ERROR_INVALID,
				 "--restart '%s': expected a number of retries after the colon",
				 text);
	*ret = json_pack("{s:s%, s:I}", "Name", text, colon ? (size_t)(colon - text) : strlen(text),
			 "MaximumRetryCount", (json_int_t)retries);
	return *ret ? 0 : error_nomem(err);
}

/* seccomp=FILE is read here: the daemon may live elsewhere. */
static int security_of(const struct option_list *list, json_t **ret, struct error *err)
{
	static const char seccomp[] = "seccomp";
	autojson json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++) {
		const char *text = list->items[i], *value = text + strlen(seccomp) + 1;
		autofree char *profile = NULL;
		size_t len;
		int r;

		if (!str_starts(text, seccomp) || !strchr("=:", text[strlen(seccomp)]) ||
		    !text[strlen(seccomp)] || strcmp(value, "unconfined") == 0 ||
		    strcmp(value, "builtin") == 0) {
			json_array_append_new(array, json_string(text));
			continue;
		}
		r = file_read(AT_FDCWD, value, FILE_MAX_BYTES, &profile, &len, err);
		if (r < 0)
			return error_prefix(err, r, "--security-opt");
		json_array_append_new(array, json_sprintf("seccomp=%s", profile));
	}
	*ret = steal(array);
	return 0;
}

static void set_text(json_t *object, const char *key, const char *value)
{
	if (value)
		json_object_set_new(object, key, json_string(value));
}

static void set_number(json_t *object, const char *key, long long value)
{
	if (value)
		json_object_set_new(object, key, json_integer(value));
}

static int host_config(const struct container_options *o, json_t **ret, struct error *err)
{
	autojson json_t *ulimits = NULL, *sysctls = NULL, *tmpfs = NULL, *restart = NULL;
	autojson json_t *security = NULL, *log_options = NULL, *mounts = NULL;
	unsigned rows, columns;
	json_t *host;
	int r;

	r = ulimits_of(&o->ulimits, &ulimits, err);
	if (r == 0)
		r = pairs_of(&o->sysctls, "--sysctl", '=', true, &sysctls, err);
	if (r == 0)
		r = pairs_of(&o->tmpfs, "--tmpfs", ':', false, &tmpfs, err);
	if (r == 0)
		r = pairs_of(&o->log_options, "--log-opt", '=', true, &log_options, err);
	if (r == 0)
		r = restart_of(o->restart, &restart, err);
	if (r == 0)
		r = security_of(&o->security, &security, err);
	if (r == 0)
		r = mounts_of(&o->mounts, &mounts, err);
	if (r < 0)
		return r;
	host = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:b}", "CapAdd",
			 list_of(&o->cap_add), "CapDrop", list_of(&o->cap_drop), "Dns",
			 list_of(&o->dns), "DnsOptions", list_of(&o->dns_options), "DnsSearch",
			 list_of(&o->dns_search), "ExtraHosts", list_of(&o->hosts), "GroupAdd",
			 list_of(&o->groups), "RestartPolicy", steal(restart), "SecurityOpt",
			 steal(security), "AutoRemove", o->remove, "Privileged", o->privileged,
			 "ReadonlyRootfs", o->read_only);
	if (!host)
		return error_nomem(err);
	json_object_set(host, "Ulimits", ulimits);
	json_object_set(host, "Sysctls", sysctls);
	json_object_set(host, "Tmpfs", tmpfs);
	if (json_array_size(mounts))
		json_object_set(host, "Mounts", mounts);
	if (o->volumes_from.count)
		json_object_set_new(host, "VolumesFrom", list_of(&o->volumes_from));
	set_text(host, "VolumeDriver", o->volume_driver);
	json_object_set_new(host, "LogConfig",
			    json_pack("{s:s, s:O}", "Type", o->log_driver ?: "", "Config",
				      log_options));
	set_text(host, "NetworkMode", o->network);
	if (o->publish_all)
		json_object_set_new(host, "PublishAllPorts", json_true());
	if (o->links.count)
		json_object_set_new(host, "Links", list_of(&o->links));
	set_number(host, "Memory", (long long)o->memory_bytes);
	set_number(host, "NanoCpus", (long long)o->cpus_nano);
	set_number(host, "ShmSize", (long long)o->shm_bytes);
	set_number(host, "PidsLimit", o->pids_limit);
	if (o->init)
		json_object_set_new(host, "Init", json_true());
	if (o->tty && terminal_size(STDOUT_FILENO, &rows, &columns))
		json_object_set_new(host, "ConsoleSize", json_pack("[i, i]", rows, columns));
	*ret = host;
	return 0;
}

static json_t *hyper_config(const struct container_options *o)
{
	json_t *hyper = json_object();

	set_text(hyper, "Pod", o->pod);
	set_text(hyper, "Isolation", o->isolation);
	set_text(hyper, "Hypervisor", o->hypervisor);
	set_text(hyper, "Machine", o->machine);
	set_text(hyper, "Transport", o->transport);
	set_number(hyper, "VCPUs", o->vcpus);
	return hyper;
}

static json_t *networking(const struct container_options *o)
{
	json_t *endpoint = json_object(), *ipam = json_object();

	set_text(ipam, "IPv4Address", o->ip);
	set_text(ipam, "IPv6Address", o->ip6);
	json_object_set_new(endpoint, "IPAMConfig", ipam);
	if (o->aliases.count)
		json_object_set_new(endpoint, "Aliases", list_of(&o->aliases));
	return json_pack("{s:{s:o}}", "EndpointsConfig", o->network ? o->network : "bridge",
			 endpoint);
}

int container_body(const struct container_options *o, char *const *args, bool attached,
		   json_t **ret, struct error *err)
{
	autojson json_t *env = NULL, *labels = NULL, *host = NULL, *hyper = hyper_config(o);
	autojson json_t *body = NULL, *binds = NULL, *paths = NULL, *bindings = NULL,
			*exposed = NULL;
	int r = env_collect(&o->env_files, &o->env, &env, err);

	if (r == 0)
		r = pairs_of(&o->labels, "--label", '=', false, &labels, err);
	if (r == 0)
		r = host_config(o, &host, err);
	if (r == 0)
		r = volumes_of(&o->volumes, &binds, &paths, err);
	if (r < 0)
		return r;
	r = publish_options(&o->publish, &bindings, &exposed, err);
	if (r < 0)
		return r;
	if (json_object_size(bindings))
		json_object_set(host, "PortBindings", bindings);
	if (json_array_size(binds))
		json_object_set(host, "Binds", binds);
	body = json_pack("{s:s, s:O, s:O, s:O, s:b, s:b, s:b, s:b, s:b, s:b}", "Image", args[0],
			 "Env", env, "Labels", labels, "HostConfig", host, "Tty", o->tty,
			 "OpenStdin", o->interactive, "StdinOnce", o->interactive && attached,
			 "AttachStdin", o->interactive && attached, "AttachStdout", attached,
			 "AttachStderr", attached);
	if (!body)
		return error_set(err, ERROR_INVALID, "an argument is not UTF-8");
	if (json_object_size(paths))
		json_object_set(body, "Volumes", paths);
	if (json_object_size(exposed))
		json_object_set(body, "ExposedPorts", exposed);
	set_text(body, "MacAddress", o->mac);
	if (o->aliases.count || o->ip || o->ip6)
		json_object_set_new(body, "NetworkingConfig", networking(o));
	if (args[1])
		json_object_set_new(body, "Cmd", json_from_strv(args + 1));
	if (o->entrypoint)
		json_object_set_new(body, "Entrypoint", json_pack("[s]", o->entrypoint));
	set_text(body, "WorkingDir", o->working_dir);
	set_text(body, "User", o->user);
	set_text(body, "Hostname", o->hostname);
	set_text(body, "Domainname", o->domainname);
	set_text(body, "StopSignal", o->stop_signal);
	if (o->stop_timeout_s >= 0)
		json_object_set_new(body, "StopTimeout", json_integer(o->stop_timeout_s));
	if (json_object_size(hyper))
		json_object_set(body, "Hyper", hyper);
	*ret = steal(body);
	return 0;
}

int container_create(const struct client *client, const struct container_options *options,
		     char *const *args, bool attached, char **ret_id, struct error *err)
{
	autojson json_t *body = NULL, *answer = NULL;
	autostr struct str query = STR_INIT;
	json_t *warning;
	const char *id;
	size_t i;
	int r = container_body(options, args, attached, &body, err);

	if (r < 0)
		return r;
	query_add(&query, "name", options->name);
	r = client_call(client, "POST", "/containers/create", str_text(&query), body, &answer, err);
	if (r < 0 && err->kind == ERROR_NOT_FOUND && str_starts(err->message, "No such image")) {
		struct error told = *err;

		return error_set(err, ERROR_NOT_FOUND,
				 "%s (hyperctl pull, load or import brings it in)", told.message);
	}
	if (r < 0)
		return r;
	json_array_foreach(json_object_get(answer, "Warnings"), i, warning)
		complain("warning: %s", json_string_value(warning) ?: "");
	id = json_string_value(json_object_get(answer, "Id"));
	*ret_id = strdup(id ?: "");
	return id && *ret_id ? 0 : error_set(err, ERROR_FAILED, "the daemon named no container");
}
