#include "hyperd/pod/spec.h"

#include <string.h>

#include "base/str.h"
#include "hyperd/pod/spec_fields.h"

#define FIELD(type, json_name, field_kind, member)                                             \
	{                                                                                      \
		.name = json_name, .kind = field_kind, .offset = offsetof(struct type, member) \
	}

static const struct spec_field ulimit_fields[] = {
	FIELD(spec_ulimit, "name", FIELD_STRING, name),
	FIELD(spec_ulimit, "soft", FIELD_INT64, soft),
	FIELD(spec_ulimit, "hard", FIELD_INT64, hard),
	{ 0 },
};

static const struct spec_field file_fields[] = {
	FIELD(spec_file, "path", FIELD_STRING, path),
	{ .name = "content",
	  .kind = FIELD_BYTES,
	  .offset = offsetof(struct spec_file, content),
	  .other = offsetof(struct spec_file, content_bytes) },
	FIELD(spec_file, "mode", FIELD_INT, mode),
	FIELD(spec_file, "user", FIELD_STRING, user),
	{ 0 },
};

static const struct spec_field mount_fields[] = {
	FIELD(spec_mount, "type", FIELD_INT, type),
	FIELD(spec_mount, "source", FIELD_STRING, source),
	FIELD(spec_mount, "destination", FIELD_STRING, destination),
	FIELD(spec_mount, "options", FIELD_STRV, options),
	FIELD(spec_mount, "readOnly", FIELD_BOOL, read_only),
	FIELD(spec_mount, "sizeBytes", FIELD_INT64, size_bytes),
	FIELD(spec_mount, "mode", FIELD_INT, mode),
	FIELD(spec_mount, "driver", FIELD_STRING, driver),
	FIELD(spec_mount, "driverOptions", FIELD_PAIRS, driver_options),
	FIELD(spec_mount, "labels", FIELD_PAIRS, labels),
	FIELD(spec_mount, "subpath", FIELD_STRING, subpath),
	FIELD(spec_mount, "disk", FIELD_BOOL, disk),
	FIELD(spec_mount, "noCopy", FIELD_BOOL, no_copy),
	FIELD(spec_mount, "anonymous", FIELD_BOOL, anonymous),
	FIELD(spec_mount, "imagePath", FIELD_BOOL, image_path),
	FIELD(spec_mount, "createSource", FIELD_BOOL, create_source),
	FIELD(spec_mount, "nonRecursive", FIELD_BOOL, non_recursive),
	FIELD(spec_mount, "propagation", FIELD_STRING, propagation),
	FIELD(spec_mount, "modeText", FIELD_STRING, mode_text),
	FIELD(spec_mount, "throughMounts", FIELD_BOOL, through_mounts),
	{ 0 },
};

static const struct spec_field device_fields[] = {
	FIELD(spec_device, "hostPath", FIELD_STRING, host_path),
	FIELD(spec_device, "path", FIELD_STRING, path),
	FIELD(spec_device, "access", FIELD_STRING, access),
	{ 0 },
};

static const struct spec_field resource_fields[] = {
	FIELD(spec_resources, "memoryBytes", FIELD_INT64, memory_bytes),
	FIELD(spec_resources, "memoryReservationBytes", FIELD_INT64, memory_reservation_bytes),
	FIELD(spec_resources, "memorySwapBytes", FIELD_INT64, memory_swap_bytes),
	FIELD(spec_resources, "cpus", FIELD_DOUBLE, cpus),
	FIELD(spec_resources, "cpuShares", FIELD_INT64, cpu_shares),
	FIELD(spec_resources, "cpuPeriodUs", FIELD_INT64, cpu_period_us),
	FIELD(spec_resources, "cpuQuotaUs", FIELD_INT64, cpu_quota_us),
	FIELD(spec_resources, "cpusetCpus", FIELD_STRING, cpuset_cpus),
	FIELD(spec_resources, "cpusetMems", FIELD_STRING, cpuset_mems),
	FIELD(spec_resources, "pids", FIELD_INT64, pids),
	FIELD(spec_resources, "blkioWeight", FIELD_INT, blkio_weight),
	FIELD(spec_resources, "readBps", FIELD_INT64, read_bps),
	FIELD(spec_resources, "writeBps", FIELD_INT64, write_bps),
	FIELD(spec_resources, "readIops", FIELD_INT64, read_iops),
	FIELD(spec_resources, "writeIops", FIELD_INT64, write_iops),
	FIELD(spec_resources, "oomKillDisable", FIELD_BOOL, oom_kill_disable),
	{ 0 },
};

static const struct spec_field health_fields[] = {
	FIELD(spec_health, "test", FIELD_STRV, test),
	FIELD(spec_health, "intervalNs", FIELD_INT64, interval_ns),
	FIELD(spec_health, "timeoutNs", FIELD_INT64, timeout_ns),
	FIELD(spec_health, "startPeriodNs", FIELD_INT64, start_period_ns),
	FIELD(spec_health, "retries", FIELD_INT, retries),
	{ 0 },
};

static const struct spec_field restart_fields[] = {
	FIELD(restart_policy, "kind", FIELD_INT, kind),
	FIELD(restart_policy, "maxRetries", FIELD_INT, max_retries),
	{ 0 },
};

static const struct spec_field network_fields[] = {
	FIELD(spec_network, "network", FIELD_STRING, network),
	FIELD(spec_network, "aliases", FIELD_STRV, aliases),
	FIELD(spec_network, "links", FIELD_STRV, links),
	FIELD(spec_network, "ipv4", FIELD_STRING, ipv4),
	FIELD(spec_network, "ipv6", FIELD_STRING, ipv6),
	FIELD(spec_network, "mac", FIELD_STRING, mac),
	{ 0 },
};

static const struct spec_field port_fields[] = {
	FIELD(spec_port, "hostIp", FIELD_STRING, host_ip),
	FIELD(spec_port, "hostFirst", FIELD_INT, host_first),
	FIELD(spec_port, "hostLast", FIELD_INT, host_last),
	FIELD(spec_port, "port", FIELD_INT, port),
	FIELD(spec_port, "protocol", FIELD_STRING, protocol),
	{ 0 },
};

#define C(json_name, field_kind, member) FIELD(container_spec, json_name, field_kind, member)
#define C_OBJECT(json_name, member, table)                                         \
	{                                                                          \
		.name = json_name, .kind = FIELD_OBJECT,                           \
		.offset = offsetof(struct container_spec, member), .fields = table \
	}
#define C_ARRAY(json_name, member, count, type, table)                            \
	{                                                                         \
		.name = json_name, .kind = FIELD_ARRAY,                           \
		.offset = offsetof(struct container_spec, member),                \
		.other = offsetof(struct container_spec, count), .fields = table, \
		.element_bytes = sizeof(struct type)                              \
	}

const struct spec_field container_spec_fields[] = {
	C("name", FIELD_STRING, name),
	C("image", FIELD_STRING, image),
	C("entrypoint", FIELD_STRV, entrypoint),
	C("cmd", FIELD_STRV, cmd),
	C("env", FIELD_STRV, env),
	C("entrypointSet", FIELD_BOOL, entrypoint_set),
	C("cmdSet", FIELD_BOOL, cmd_set),
	C("workingDir", FIELD_STRING, working_dir),
	C("user", FIELD_STRING, user),
	C("hostname", FIELD_STRING, hostname),
	C("domainname", FIELD_STRING, domainname),
	C("stopSignal", FIELD_STRING, stop_signal),
	C("stopTimeoutS", FIELD_INT, stop_timeout_s),
	C("tty", FIELD_BOOL, tty),
	C("openStdin", FIELD_BOOL, open_stdin),
	C("stdinOnce", FIELD_BOOL, stdin_once),
	C("readOnly", FIELD_BOOL, read_only),
	C("privileged", FIELD_BOOL, privileged),
	C("init", FIELD_BOOL, init),
	C("noNewPrivileges", FIELD_BOOL, no_new_privileges),
	C("autoRemove", FIELD_BOOL, auto_remove),
	C("publishAll", FIELD_BOOL, publish_all),
	C("joined", FIELD_BOOL, joined),
	C("labels", FIELD_PAIRS, labels),
	C("sysctls", FIELD_PAIRS, sysctls),
	C("logOptions", FIELD_PAIRS, log_options),
	C("logDriver", FIELD_STRING, log_driver),
	{ .name = "ulimits",
	  .kind = FIELD_LIST,
	  .offset = offsetof(struct container_spec, ulimits),
	  .fields = ulimit_fields,
	  .element_bytes = sizeof(struct spec_ulimit) },
	C_ARRAY("files", files, file_count, spec_file, file_fields),
	C_ARRAY("mounts", mounts, mount_count, spec_mount, mount_fields),
	C_ARRAY("devices", devices, device_count, spec_device, device_fields),
	C("volumesFrom", FIELD_STRV, volumes_from),
	C("volumeDriver", FIELD_STRING, volume_driver),
	C("capAdd", FIELD_STRV, cap_add),
	C("capDrop", FIELD_STRV, cap_drop),
	C("groupAdd", FIELD_STRV, group_add),
	C("dns", FIELD_STRV, dns),
	C("dnsOptions", FIELD_STRV, dns_options),
	C("dnsSearch", FIELD_STRV, dns_search),
	C("extraHosts", FIELD_STRV, extra_hosts),
	C("exposedPorts", FIELD_STRV, exposed_ports),
	C("seccomp", FIELD_STRING, seccomp),
	C("maskedPaths", FIELD_STRV, masked_paths),
	C("readOnlyPaths", FIELD_STRV, read_only_paths),
	C("shmBytes", FIELD_INT64, shm_bytes),
	C("oomScoreAdj", FIELD_INT, oom_score_adj),
	C_OBJECT("resources", resources, resource_fields),
	C_OBJECT("restart", restart, restart_fields),
	C_OBJECT("health", health, health_fields),
	C("docker", FIELD_JSON, docker),
	{ 0 },
};

#define P(json_name, field_kind, member) FIELD(pod_spec, json_name, field_kind, member)

#define P_ARRAY(json_name, member, count, type, table)                      \
	{                                                                   \
		.name = json_name, .kind = FIELD_ARRAY,                     \
		.offset = offsetof(struct pod_spec, member),                \
		.other = offsetof(struct pod_spec, count), .fields = table, \
		.element_bytes = sizeof(struct type)                        \
	}

const struct spec_field pod_spec_fields[] = {
	P("name", FIELD_STRING, name),
	P("hostname", FIELD_STRING, hostname),
	P("domainname", FIELD_STRING, domainname),
	P("labels", FIELD_PAIRS, labels),
	P("sysctls", FIELD_PAIRS, sysctls),
	P("logOptions", FIELD_PAIRS, log_options),
	P("logDriver", FIELD_STRING, log_driver),
	P("isolation", FIELD_INT, isolation),
	P("isolationSet", FIELD_BOOL, isolation_set),
	P("vcpus", FIELD_INT, vcpus),
	P("memoryBytes", FIELD_INT64, memory_bytes),
	P("tty", FIELD_BOOL, tty),
	P("autoRemove", FIELD_BOOL, auto_remove),
	P("dns", FIELD_STRV, dns),
	P("dnsOptions", FIELD_STRV, dns_options),
	P("dnsSearch", FIELD_STRV, dns_search),
	{ .name = "restart",
	  .kind = FIELD_OBJECT,
	  .offset = offsetof(struct pod_spec, restart),
	  .fields = restart_fields },
	P("hypervisor", FIELD_STRING, hypervisor),
	P("machine", FIELD_STRING, machine),
	P("transport", FIELD_INT, transport),
	P("networkMode", FIELD_STRING, network_mode),
	P_ARRAY("networks", networks, network_count, spec_network, network_fields),
	P_ARRAY("ports", ports, port_count, spec_port, port_fields),
	{ 0 },
};

/* ------------------------------------------------------------------ restart policies */

static const char *const restart_names[] = {
	[RESTART_NO] = "no",
	[RESTART_ALWAYS] = "always",
	[RESTART_ON_FAILURE] = "on-failure",
	[RESTART_UNLESS_STOPPED] = "unless-stopped",
};

int restart_policy_parse(const char *text, struct restart_policy *ret, struct error *err)
{
	const char *colon = strchrnul(text, ':');
	struct restart_policy policy = { 0 };
	unsigned long long retries;

	if (!*text) {
		*ret = policy;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(restart_names); i++) {
		if (strlen(restart_names[i]) != (size_t)(colon - text) ||
		    strncmp(restart_names[i], text, (size_t)(colon - text)) != 0)
			continue;
		policy.kind = (enum restart_kind)i;
		if (*colon && policy.kind != RESTART_ON_FAILURE)
			return error_set(err, ERROR_INVALID,
					 "maximum retry count cannot be used with restart policy "
					 "'%s'",
					 restart_names[i]);
		if (*colon && parse_u64(colon + 1, 0, INT32_MAX, &retries) < 0)
			return error_set(err, ERROR_INVALID,
					 "restart policy '%s': expected a whole number from 0 "
					 "after the colon",
					 text);
		if (*colon)
			policy.max_retries = (unsigned)retries;
		*ret = policy;
		return 0;
	}
	return error_set(err, ERROR_INVALID,
			 "invalid restart policy '%s': expected no, always, on-failure, "
			 "on-failure:N or unless-stopped",
			 text);
}

char *restart_policy_text(const struct restart_policy *policy)
{
	if (policy->kind == RESTART_ON_FAILURE && policy->max_retries)
		return strf("on-failure:%u", policy->max_retries);
	return strdup(restart_names[policy->kind]);
}

/* ------------------------------------------------------------------ pairs */

size_t spec_pairs_len(const struct spec_pair *pairs)
{
	size_t n = 0;

	while (pairs && pairs[n].key)
		n++;
	return n;
}

void spec_pairs_free(struct spec_pair *pairs)
{
	for (struct spec_pair *p = pairs; p && p->key; p++) {
		free(p->key);
		free(p->value);
	}
	free(pairs);
}

const char *spec_pairs_get(const struct spec_pair *pairs, const char *key)
{
	for (const struct spec_pair *p = pairs; p && p->key; p++)
		if (strcmp(p->key, key) == 0)
			return p->value;
	return NULL;
}

int spec_pairs_set(struct spec_pair **pairs, const char *key, const char *value)
{
	size_t n = spec_pairs_len(*pairs);
	autofree char *value_copy = strdup(value ? value : "");
	autofree char *key_copy = NULL;
	struct spec_pair *grown;

	if (!value_copy)
		return -ENOMEM;
	for (struct spec_pair *p = *pairs; p && p->key; p++) {
		if (strcmp(p->key, key) != 0)
			continue;
		free(p->value);
		p->value = steal(value_copy);
		return 0;
	}
	key_copy = strdup(key);
	grown = key_copy ? reallocarray(*pairs, n + 2, sizeof(*grown)) : NULL;
	if (!grown)
		return -ENOMEM;
	grown[n] = (struct spec_pair){ steal(key_copy), steal(value_copy) };
	grown[n + 1] = (struct spec_pair){ 0 };
	*pairs = grown;
	return 0;
}

json_t *spec_pairs_to_json(const struct spec_pair *pairs)
{
	json_t *object = json_object();

	for (const struct spec_pair *p = pairs; object && p && p->key; p++)
		json_object_set_new(object, p->key, json_string(p->value ? p->value : ""));
	return object;
}

/* ------------------------------------------------------------------ networks */

struct spec_network *spec_network_add(struct pod_spec *spec, const char *network)
{
	struct spec_network *grown =
		reallocarray(spec->networks, spec->network_count + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	spec->networks = grown;
	grown[spec->network_count] = (struct spec_network){ .network = strdup(network) };
	if (!grown[spec->network_count].network)
		return NULL;
	return &grown[spec->network_count++];
}

void spec_network_remove(struct pod_spec *spec, size_t i)
{
	struct spec_network *n = &spec->networks[i];

	spec_fields_done(network_fields, n);
	spec->network_count--;
	memmove(n, n + 1, (spec->network_count - i) * sizeof(*n));
}

struct spec_port *spec_port_add(struct pod_spec *spec, const char *protocol, int port)
{
	struct spec_port *grown = reallocarray(spec->ports, spec->port_count + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	spec->ports = grown;
	grown[spec->port_count] = (struct spec_port){ .protocol = strdup(protocol), .port = port };
	if (!grown[spec->port_count].protocol)
		return NULL;
	return &grown[spec->port_count++];
}

void spec_port_remove(struct pod_spec *spec, size_t i)
{
	struct spec_port *p = &spec->ports[i];

	spec_fields_done(port_fields, p);
	spec->port_count--;
	memmove(p, p + 1, (spec->port_count - i) * sizeof(*p));
}

/* ------------------------------------------------------------------ life */

void spec_mount_done(struct spec_mount *mount)
{
	spec_fields_done(mount_fields, mount);
	*mount = (struct spec_mount){ 0 };
}

int spec_mount_copy(const struct spec_mount *from, struct spec_mount *ret)
{
	json_t *json = spec_fields_to_json(mount_fields, from);
	int r;

	*ret = (struct spec_mount){ 0 };
	if (!json)
		return -ENOMEM;
	r = spec_fields_from_json(mount_fields, json, ret, NULL);
	json_decref(json);
	if (r < 0)
		spec_mount_done(ret);
	return r;
}

struct spec_mount *container_spec_add_mount(struct container_spec *spec)
{
	struct spec_mount *grown =
		reallocarray(spec->mounts, spec->mount_count + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	spec->mounts = grown;
	grown[spec->mount_count] = (struct spec_mount){ 0 };
	return &grown[spec->mount_count++];
}

struct container_spec *container_spec_new(void)
{
	struct container_spec *spec = calloc(1, sizeof(*spec));

	if (spec)
		spec->stop_timeout_s = -1;
	return spec;
}

void container_spec_free(struct container_spec *spec)
{
	if (!spec)
		return;
	spec_fields_done(container_spec_fields, spec);
	free(spec);
}

struct pod_spec *pod_spec_new(void)
{
	return calloc(1, sizeof(struct pod_spec));
}

void pod_spec_free(struct pod_spec *spec)
{
	if (!spec)
		return;
	spec_fields_done(pod_spec_fields, spec);
	for (size_t i = 0; i < spec->container_count; i++)
		container_spec_free(spec->containers[i]);
	free(spec->containers);
	free(spec);
}

json_t *container_spec_to_json(const struct container_spec *spec)
{
	return spec_fields_to_json(container_spec_fields, spec);
}

int container_spec_from_json(const json_t *json, struct container_spec **ret, struct error *err)
{
	struct container_spec *spec = container_spec_new();
	int r;

	if (!spec)
		return error_nomem(err);
	r = spec_fields_from_json(container_spec_fields, json, spec, err);
	if (r < 0) {
		container_spec_free(spec);
		return error_prefix(err, r, "container specification");
	}
	*ret = spec;
	return 0;
}

json_t *pod_spec_to_json(const struct pod_spec *spec)
{
	return spec_fields_to_json(pod_spec_fields, spec);
}

int pod_spec_from_json(const json_t *json, struct pod_spec **ret, struct error *err)
{
	struct pod_spec *spec = pod_spec_new();
	int r;

	if (!spec)
		return error_nomem(err);
	r = spec_fields_from_json(pod_spec_fields, json, spec, err);
	if (r < 0) {
		pod_spec_free(spec);
		return error_prefix(err, r, "pod specification");
	}
	*ret = spec;
	return 0;
}
