#include "hyperd/api/docker/create_fields.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/api/docker/create_network.h"
#include "hyperd/hypervisor/hypervisor.h"

#define CALL(name)                                                             \
	static int name(const char *section, const struct create_field *field, \
			const json_t *value, struct create_request *create, struct error *err)

static int expected(const char *section, const struct create_field *field, const char *what,
		    struct error *err)
{
	return error_set(err, ERROR_INVALID, "%s.%s: expected %s", section, field->name, what);
}

static int set_text(char **to, const char *text, struct error *err)
{
	free(*to);
	*to = strdup(text);
	return *to ? 0 : error_nomem(err);
}

/* A new, zeroed item at the end of an array that ends with a zeroed item (END) or is counted. */
static void *array_grow(void *array, size_t count, size_t item_bytes)
{
	char *grown = reallocarray(array, count + 2, item_bytes);

	if (grown)
		memset(grown + count * item_bytes, 0, 2 * item_bytes);
	return grown;
}

/* ------------------------------------------------------------------ Config */

CALL(take_cmd)
{
	struct container_spec *spec = create->spec;
	bool entrypoint = !strcmp(field->name, "Entrypoint");
	char ***to = entrypoint ? &spec->entrypoint : &spec->cmd;
	autostrv char **v = calloc(1, sizeof(*v));
	const json_t *item;
	size_t i;

	if (!v)
		return error_nomem(err);
	if (json_is_string(value)) {
		if (strv_add(&v, json_string_value(value)) < 0)
			return error_nomem(err);
	} else if (!json_is_array(value)) {
		return expected(section, field, "a list of strings", err);
	}
	json_array_foreach((json_t *)value, i, item) {
		const char *text = json_string_value(item);

		if (!text || strlen(text) != json_string_length(item))
			return expected(section, field, "a list of strings", err);
		if (strv_add(&v, text) < 0)
			return error_nomem(err);
	}
	/* [] says as little as null; [""] clears the image's entrypoint. */
	if (!v[0])
		return 0;
	strv_free(*to);
	*to = steal(v);
	*(entrypoint ? &spec->entrypoint_set : &spec->cmd_set) = true;
	return 0;
}

static int health_duration(const json_t *health, const char *name, uint64_t *ret, struct error *err)
{
	int64_t ns;
	int r = json_get_int(health, name, &ns, err);

	if (r < 0)
		return error_prefix(err, r, "Config.Healthcheck");
	if (ns < 0 || (ns > 0 && ns < 1000000))
		return error_set(err, ERROR_INVALID,
				 "Config.Healthcheck.%s: cannot be less than 1ms", name);
	*ret = (uint64_t)ns;
	return 0;
}

CALL(take_healthcheck)
{
	struct spec_health *health = &create->spec->health;
	int64_t retries;
	int r;

	if (!json_is_object(value))
		return expected(section, field, "an object", err);
	r = json_get_strv(value, "Test", &health->test, err);
	if (r < 0)
		return error_prefix(err, r, "Config.Healthcheck");
	if (health->test && !health->test[0]) {
		strv_free(health->test);
		health->test = NULL;
	}
	if (health->test && strcmp(health->test[0], "NONE") && strcmp(health->test[0], "CMD") &&
	    strcmp(health->test[0], "CMD-SHELL"))
		return error_set(err, ERROR_INVALID,
				 "Config.Healthcheck.Test: Unknown healthcheck type \"%.64s\" "
				 "(expected 'CMD')",
				 health->test[0]);
	r = health_duration(value, "Interval", &health->interval_ns, err);
	if (r == 0)
		r = health_duration(value, "Timeout", &health->timeout_ns, err);
	if (r == 0)
		r = health_duration(value, "StartPeriod", &health->start_period_ns, err);
	if (r == 0)
		r = json_get_int(value, "Retries", &retries, err);
	if (r < 0)
		return r;
	if (retries < 0 || retries > INT32_MAX)
		return error_set(err, ERROR_INVALID,
				 "Config.Healthcheck.Retries: cannot be negative");
	health->retries = (unsigned)retries;
	return 0;
}

CALL(take_stop_signal)
{
	const char *text = json_string_value(value);
	int number, r;

	if (!text)
		return expected(section, field, "a string", err);
	if (!*text)
		return 0;
	r = api_parse_signal(text, &number, err);
	return r < 0 ? r : set_text(&create->spec->stop_signal, text, err);
}

CALL(take_env)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return expected(section, field, "a list of NAME=value", err);
	json_array_foreach((json_t *)value, i, item) {
		const char *text = json_string_value(item);

		if (!text || strlen(text) != json_string_length(item))
			return expected(section, field, "a list of NAME=value", err);
		if (!*text || *text == '=')
			return error_set(err, ERROR_INVALID, "invalid environment variable: %.64s",
					 text);
		if (strv_add(&create->spec->env, text) < 0)
			return error_nomem(err);
	}
	return 0;
}

CALL(take_mac_address)
{
	const char *text = json_string_value(value);

	return text ? create_mac_address(create, text, err)
		    : expected(section, field, "a string", err);
}

CALL(take_network_disabled)
{
	if (!json_is_boolean(value))
		return expected(section, field, "true or false", err);
	return json_is_true(value) ? create_network_mode(create, "none", err) : 0;
}

#define SPEC(member)     offsetof(struct container_spec, member)
#define RESOURCE(member) offsetof(struct container_spec, resources.member)

const struct create_field create_config_fields[] = {
	{ "Hostname", FIELD_STRING, SPEC(hostname) },
	{ "Domainname", FIELD_STRING, SPEC(domainname) },
	{ "User", FIELD_STRING, SPEC(user) },
	{ "AttachStdin", FIELD_ACCEPTED, .reason = "the attach request says it" },
	{ "AttachStdout", FIELD_ACCEPTED, .reason = "the attach request says it" },
	{ "AttachStderr", FIELD_ACCEPTED, .reason = "the attach request says it" },
	{ "ExposedPorts", FIELD_KEYS, SPEC(exposed_ports) },
	{ "Tty", FIELD_BOOL, SPEC(tty) },
	{ "OpenStdin", FIELD_BOOL, SPEC(open_stdin) },
	{ "StdinOnce", FIELD_BOOL, SPEC(stdin_once) },
	{ "Env", FIELD_CALL, .call = take_env },
	{ "Cmd", FIELD_CALL, .call = take_cmd },
	{ "Entrypoint", FIELD_CALL, .call = take_cmd },
	{ "Healthcheck", FIELD_CALL, .call = take_healthcheck },
	{ "ArgsEscaped", FIELD_ACCEPTED, .reason = "of Windows" },
	{ "Image", FIELD_STRING, SPEC(image) },
	{ "Volumes", FIELD_CALL, .call = create_take_volumes },
	{ "WorkingDir", FIELD_STRING, SPEC(working_dir) },
	{ "NetworkDisabled", FIELD_CALL, .call = take_network_disabled },
	{ "MacAddress", FIELD_CALL, .call = take_mac_address },
	{ "OnBuild", FIELD_ACCEPTED, .reason = "of builds" },
	{ "Labels", FIELD_PAIRS, SPEC(labels) },
	{ "StopSignal", FIELD_CALL, .call = take_stop_signal },
	{ "StopTimeout", FIELD_INT, SPEC(stop_timeout_s), -1, INT32_MAX },
	{ "Shell", FIELD_ACCEPTED, .reason = "of builds" },
};
const size_t create_config_field_count = ARRAY_SIZE(create_config_fields);

/* ------------------------------------------------------------------ HostConfig */

CALL(take_log_config)
{
	const char *type;
	json_t *options, *item;
	const char *key;
	size_t n = 0;
	int r;

	if (!json_is_object(value))
		return expected(section, field, "an object", err);
	r = json_get_string(value, "Type", &type, err);
	if (r == 0)
		r = json_get_object(value, "Config", &options, err);
	if (r < 0)
		return error_prefix(err, r, "HostConfig.LogConfig");
	if (type && *type) {
		r = set_text(&create->spec->log_driver, type, err);
		if (r < 0)
			return r;
	}
	if (!json_object_size(options))
		return 0;
	create->spec->log_options =
		calloc(json_object_size(options) + 1, sizeof(*create->spec->log_options));
	if (!create->spec->log_options)
		return error_nomem(err);
	json_object_foreach(options, key, item) {
		struct spec_pair *pair = &create->spec->log_options[n++];

		if (!json_is_string(item))
			return expected(section, field, "strings in Config", err);
		pair->key = strdup(key);
		pair->value = strdup(json_string_value(item));
		if (!pair->key || !pair->value)
			return error_nomem(err);
	}
	return 0;
}

CALL(take_network_mode)
{
	const char *text = json_string_value(value);

	return text ? create_network_mode(create, text, err)
		    : expected(section, field, "a string", err);
}

CALL(take_port_bindings)
{
	if (!json_is_object(value))
		return expected(section, field, "an object", err);
	return create_port_bindings(create, (json_t *)value, err);
}

CALL(take_links)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return expected(section, field, "a list of container:alias", err);
	json_array_foreach((json_t *)value, i, item) {
		const char *text = json_string_value(item);

		if (!text || !*text || *text == ':')
			return expected(section, field, "a list of container:alias", err);
		/* Docker's own form, too: "/db:/web/db". */
		if (strv_add(&create->links, text) < 0)
			return error_nomem(err);
	}
	return 0;
}

CALL(take_restart_policy)
{
	struct restart_policy *policy = &create->spec->restart;
	const char *name;
	int64_t retries;
	int r;

	if (!json_is_object(value))
		return expected(section, field, "an object", err);
	r = json_get_string(value, "Name", &name, err);
	if (r == 0)
		r = json_get_int(value, "MaximumRetryCount", &retries, err);
	if (r < 0)
		return error_prefix(err, r, "HostConfig.RestartPolicy");
	if (!name || !*name)
		return 0;
	if (strchr(name, ':') || restart_policy_parse(name, policy, NULL) < 0)
		return error_set(err, ERROR_INVALID, "invalid restart policy '%.64s'", name);
	if (retries && policy->kind != RESTART_ON_FAILURE)
		return error_set(err, ERROR_INVALID,
				 "maximum retry count cannot be used with restart policy '%s'",
				 name);
	if (retries < 0 || retries > INT32_MAX)
		return error_set(err, ERROR_INVALID, "maximum retry count cannot be negative");
	policy->max_retries = (unsigned)retries;
	return 0;
}

CALL(take_security_opt)
{
	struct container_spec *spec = create->spec;
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return expected(section, field, "a list of strings", err);
	json_array_foreach((json_t *)value, i, item) {
		const char *text = json_string_value(item), *rest = NULL;

		if (!text)
			return expected(section, field, "a list of strings", err);
		if (!strncmp(text, "seccomp", 7) && text[7] && strchr("=:", text[7]))
			rest = text + 8;
		if (rest) {
			int r = set_text(&spec->seccomp, rest, err);

			if (r < 0)
				return r;
		} else if (str_equal(text, "no-new-privileges") ||
			   str_equal(text, "no-new-privileges=true") ||
			   str_equal(text, "no-new-privileges:true")) {
			spec->no_new_privileges = true;
		} else if (str_equal(text, "systempaths=unconfined")) {
			strv_free(spec->masked_paths);
			strv_free(spec->read_only_paths);
			spec->masked_paths = calloc(1, sizeof(char *));
			spec->read_only_paths = calloc(1, sizeof(char *));
			if (!spec->masked_paths || !spec->read_only_paths)
				return error_nomem(err);
		} else if (!str_equal(text, "apparmor=unconfined") &&
			   !str_equal(text, "apparmor:unconfined") &&
			   !str_equal(text, "label=disable") && !str_equal(text, "label:disable") &&
			   !str_equal(text, "no-new-privileges=false") &&
			   !str_equal(text, "no-new-privileges:false")) {
			return error_set(err, ERROR_INVALID, "invalid --security-opt: \"%.128s\"",
					 text);
		}
	}
	return 0;
}

/* docker run --runtime hyper-NAME */
#define RUNTIME_PREFIX "hyper-"

static int choose_isolation(struct create_request *create, enum sandbox_isolation isolation,
			    struct error *err)
{
	if (create->options->isolation_set && create->options->isolation != isolation)
		return error_set(err, ERROR_INVALID,
				 "Hyper.Isolation, HostConfig.Isolation and HostConfig.Runtime "
				 "disagree");
	create->options->isolation = isolation;
	create->options->isolation_set = true;
	return 0;
}

static int choose_hypervisor(struct create_request *create, const char *name, struct error *err)
{
	if (create->options->hypervisor && !str_equal(create->options->hypervisor, name))
		return error_set(err, ERROR_INVALID,
				 "Hyper.Hypervisor and HostConfig.Runtime disagree");
	return create->options->hypervisor ? 0 : set_text(&create->options->hypervisor, name, err);
}

/* "hyper-xen" and the like: a machine of that hypervisor's. */
static int take_runtime(struct create_request *create, const char *text, struct error *err)
{
	int r = choose_isolation(create, ISOLATION_VM, err);

	return r < 0 ? r : choose_hypervisor(create, text + strlen(RUNTIME_PREFIX), err);
}

CALL(take_hypervisor)
{
	const char *text = json_string_value(value);
	int r;

	if (!text)
		return expected(section, field, "a string", err);
	if (!*text)
		return 0;
	r = hypervisor_check_name(text, err);
	return r < 0 ? r : choose_hypervisor(create, text, err);
}

CALL(take_isolation)
{
	static const char *const defaults[] = { "", "default", "hyper", "runc",
						"io.containerd.runc.v2" };
	const char *text = json_string_value(value);
	bool runtime = !strcmp(field->name, "Runtime");

	if (!text)
		return expected(section, field, "a string", err);
	if (!strcasecmp(text, "vm"))
		return choose_isolation(create, ISOLATION_VM, err);
	if (!strcasecmp(text, "namespace"))
		return choose_isolation(create, ISOLATION_NAMESPACE, err);
	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
		if (!strcmp(text, defaults[i]) && (runtime || i < 2))
			return 0;
	if (runtime && str_starts(text, RUNTIME_PREFIX) &&
	    hypervisor_find(text + strlen(RUNTIME_PREFIX)))
		return take_runtime(create, text, err);
	if (runtime)
		return error_set(err, ERROR_INVALID, "Unknown runtime specified %.64s", text);
	return error_set(err, ERROR_INVALID,
			 "invalid isolation \"%.64s\": expected vm, namespace or default", text);
}

CALL(take_nano_cpus)
{
	int64_t nano = json_integer_value(value);

	if (!json_is_integer(value))
		return expected(section, field, "a whole number", err);
	if (nano < 0 || (nano > 0 && nano < 10000000))
		return error_set(err, ERROR_INVALID,
				 "range of CPUs is from 0.01 up, as the sum of the pod's CPUs");
	if (nano > 256 * 1000000000ll)
		return error_set(err, ERROR_INVALID, "range of CPUs is from 0.01 to 256.00");
	create->spec->resources.cpus = (double)nano / 1e9;
	return 0;
}

CALL(take_pids_limit)
{
	int64_t pids = json_integer_value(value);

	if (!json_is_integer(value))
		return expected(section, field, "a whole number", err);
	create->spec->resources.pids = pids < 0 ? -1 : pids;
	return 0;
}

/* {Path, Rate}: the only block device that a container writes to is its pod's disk. */
CALL(take_device_rate)
{
	static const struct {
		const char *name;
		size_t offset;
	} rates[] = {
		{ "BlkioDeviceReadBps", RESOURCE(read_bps) },
		{ "BlkioDeviceWriteBps", RESOURCE(write_bps) },
		{ "BlkioDeviceReadIOps", RESOURCE(read_iops) },
		{ "BlkioDeviceWriteIOps", RESOURCE(write_iops) },
	};
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return expected(section, field, "a list of {Path, Rate}", err);
	json_array_foreach((json_t *)value, i, item) {
		int64_t rate = 0;

		if (!json_is_object(item) || json_get_int(item, "Rate", &rate, NULL) < 0 ||
		    rate < 0)
			return expected(section, field, "a list of {Path, Rate}", err);
		for (size_t k = 0; k < ARRAY_SIZE(rates); k++) {
			uint64_t *to = (uint64_t *)((char *)create->spec + rates[k].offset);

			if (!strcmp(rates[k].name, field->name) && rate &&
			    (!*to || (uint64_t)rate < *to))
				*to = (uint64_t)rate;
		}
	}
	return 0;
}

CALL(take_devices)
{
	struct container_spec *spec = create->spec;
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return expected(section, field, "a list", err);
	json_array_foreach((json_t *)value, i, item) {
		const char *host, *path, *access;
		struct spec_device *devices, *device;
		int r = json_is_object(item) ? 0 : expected(section, field, "objects", err);

		if (r == 0)
			r = json_get_string(item, "PathOnHost", &host, err);
		if (r == 0)
			r = json_get_string(item, "PathInContainer", &path, err);
		if (r == 0)
			r = json_get_string(item, "CgroupPermissions", &access, err);
		if (r < 0)
			return r;
		if (!host || *host != '/')
			return expected(section, field, "an absolute PathOnHost", err);
		devices = array_grow(spec->devices, spec->device_count, sizeof(*devices));
		if (!devices)
			return error_nomem(err);
		spec->devices = devices;
		device = &devices[spec->device_count++];
		device->host_path = strdup(host);
		device->path = strdup(path && *path ? path : host);
		device->access = strdup(access && *access ? access : "rwm");
		if (!device->host_path || !device->path || !device->access)
			return error_nomem(err);
	}
	return 0;
}

CALL(take_ulimits)
{
	struct container_spec *spec = create->spec;
	const json_t *item;
	size_t i, n = 0;

	if (!json_is_array(value))
		return expected(section, field, "a list of {Name, Soft, Hard}", err);
	if (!json_array_size(value))
		return 0;
	spec->ulimits = calloc(json_array_size(value) + 1, sizeof(*spec->ulimits));
	if (!spec->ulimits)
		return error_nomem(err);
	json_array_foreach((json_t *)value, i, item) {
		const char *name = NULL;
		int64_t soft = 0, hard = 0;

		if (!json_is_object(item) || json_get_string(item, "Name", &name, NULL) < 0 ||
		    json_get_int(item, "Soft", &soft, NULL) < 0 ||
		    json_get_int(item, "Hard", &hard, NULL) < 0 || !name || !*name)
			return expected(section, field, "a list of {Name, Soft, Hard}", err);
		if (hard != -1 && (soft == -1 || soft > hard))
			return error_set(err, ERROR_INVALID,
					 "ulimit soft limit must be less than or equal to hard "
					 "limit: %lld > %lld",
					 (long long)soft, (long long)hard);
		spec->ulimits[n].soft = soft;
		spec->ulimits[n].hard = hard;
		spec->ulimits[n].name = strdup(name);
		if (!spec->ulimits[n++].name)
			return error_nomem(err);
	}
	return 0;
}

CALL(take_swappiness)
{
	int64_t number = json_integer_value(value);

	if (!json_is_integer(value))
		return expected(section, field, "a whole number", err);
	if (number == -1)
		return 0;
	return error_set(err, ERROR_UNSUPPORTED,
			 "HostConfig.MemorySwappiness is not supported: pods have no swap");
}

static const char *const private_modes[] = { "private", NULL };
static const char *const ipc_modes[] = { "private", "shareable", NULL };

#define WINDOWS "of Windows"

const struct create_field create_host_fields[] = {
	{ "Binds", FIELD_CALL, .call = create_take_binds },
	{ "ContainerIDFile", FIELD_ACCEPTED, .reason = "written by the client" },
	{ "LogConfig", FIELD_CALL, .call = take_log_config },
	{ "NetworkMode", FIELD_CALL, .call = take_network_mode,
	  .reason = "host only for namespace pods; container:X puts the container into X's pod" },
	{ "PortBindings", FIELD_CALL, .call = take_port_bindings },
	{ "RestartPolicy", FIELD_CALL, .call = take_restart_policy, .updatable = true },
	{ "AutoRemove", FIELD_BOOL, SPEC(auto_remove) },
	{ "VolumeDriver", FIELD_STRING, SPEC(volume_driver) },
	{ "VolumesFrom", FIELD_STRV, SPEC(volumes_from) },
	{ "Mounts", FIELD_CALL, .call = create_take_mounts,
	  .reason = "bind, volume and tmpfs; others are refused" },
	{ "ConsoleSize", FIELD_ACCEPTED,
	  .reason = "the client resizes the terminal after the start" },
	{ "Annotations", FIELD_ACCEPTED, .reason = "kept, and shown by inspect" },
	{ "CapAdd", FIELD_STRV, SPEC(cap_add) },
	{ "CapDrop", FIELD_STRV, SPEC(cap_drop) },
	{ "Capabilities", FIELD_REFUSED, .reason = "use CapAdd and CapDrop" },
	{ "CgroupnsMode", FIELD_ONE_OF, .words = private_modes,
	  .reason = "each container has a cgroup namespace of its own" },
	{ "Dns", FIELD_STRV, SPEC(dns) },
	{ "DnsOptions", FIELD_STRV, SPEC(dns_options) },
	{ "DnsSearch", FIELD_STRV, SPEC(dns_search) },
	{ "ExtraHosts", FIELD_STRV, SPEC(extra_hosts) },
	{ "GroupAdd", FIELD_STRV, SPEC(group_add) },
	{ "IpcMode", FIELD_ONE_OF, .words = ipc_modes,
	  .reason = "IPC is shared within a pod and with nobody else" },
	{ "Cgroup", FIELD_REFUSED, .reason = "containers have cgroups of their own" },
	{ "Links", FIELD_CALL, .call = take_links,
	  .reason = "names in /etc/hosts, as they are at the start" },
	{ "OomScoreAdj", FIELD_INT, SPEC(oom_score_adj), -1000, 1000 },
	{ "PidMode", FIELD_ONE_OF, .words = private_modes,
	  .reason = "each container has a PID namespace of its own" },
	{ "Privileged", FIELD_BOOL, SPEC(privileged) },
	{ "PublishAllPorts", FIELD_BOOL, SPEC(publish_all) },
	{ "ReadonlyRootfs", FIELD_BOOL, SPEC(read_only) },
	{ "SecurityOpt", FIELD_CALL, .call = take_security_opt,
	  .reason = "seccomp, no-new-privileges, systempaths; label and apparmor only to switch "
		    "them off" },
	{ "StorageOpt", FIELD_REFUSED,
	  .reason = "the size of a pod's disk is a setting of the daemon" },
	{ "Tmpfs", FIELD_CALL, .call = create_take_tmpfs },
	{ "UTSMode", FIELD_ONE_OF, .words = private_modes,
	  .reason = "the host name is the pod's own" },
	{ "UsernsMode", FIELD_REFUSED, .reason = "user namespaces are the sandbox's affair" },
	{ "ShmSize", FIELD_I64, SPEC(shm_bytes), 0, INT64_MAX },
	{ "Sysctls", FIELD_PAIRS, SPEC(sysctls) },
	{ "Runtime", FIELD_CALL, .call = take_isolation },
	{ "Isolation", FIELD_CALL, .call = take_isolation },
	{ "CpuShares", FIELD_I64, RESOURCE(cpu_shares), 0, INT64_MAX, .updatable = true },
	{ "Memory", FIELD_I64, RESOURCE(memory_bytes), 0, INT64_MAX, .updatable = true },
	{ "NanoCpus", FIELD_CALL, .call = take_nano_cpus, .updatable = true },
	{ "CgroupParent", FIELD_REFUSED, .reason = "a pod's cgroup is the daemon's affair" },
	{ "BlkioWeight", FIELD_U32, RESOURCE(blkio_weight), 0, 1000, .updatable = true },
	{ "BlkioWeightDevice", FIELD_REFUSED, .reason = "a pod has one disk; use BlkioWeight" },
	{ "BlkioDeviceReadBps", FIELD_CALL, .call = take_device_rate },
	{ "BlkioDeviceWriteBps", FIELD_CALL, .call = take_device_rate },
	{ "BlkioDeviceReadIOps", FIELD_CALL, .call = take_device_rate },
	{ "BlkioDeviceWriteIOps", FIELD_CALL, .call = take_device_rate },
	{ "CpuPeriod", FIELD_I64, RESOURCE(cpu_period_us), 0, 1000000, .updatable = true },
	{ "CpuQuota", FIELD_I64, RESOURCE(cpu_quota_us), -1, INT64_MAX, .updatable = true },
	{ "CpuRealtimePeriod", FIELD_REFUSED,
	  .reason = "there is no real-time scheduling in a pod" },
	{ "CpuRealtimeRuntime", FIELD_REFUSED,
	  .reason = "there is no real-time scheduling in a pod" },
	{ "CpusetCpus", FIELD_STRING, RESOURCE(cpuset_cpus), .updatable = true },
	{ "CpusetMems", FIELD_STRING, RESOURCE(cpuset_mems), .updatable = true },
	{ "Devices", FIELD_CALL, .call = take_devices,
	  .reason = "in a VM only what every kernel has: null, zero, full, random, urandom, tty" },
	{ "DeviceCgroupRules", FIELD_REFUSED, .reason = "name the devices with Devices" },
	{ "DeviceRequests", FIELD_REFUSED,
	  .reason = "host devices such as GPUs are not passed on" },
	{ "KernelMemory", FIELD_REFUSED, .reason = "Linux has dropped kernel memory limits" },
	{ "KernelMemoryTCP", FIELD_REFUSED, .reason = "Linux has dropped kernel memory limits" },
	{ "MemoryReservation", FIELD_I64, RESOURCE(memory_reservation_bytes), 0, INT64_MAX,
	  .updatable = true },
	{ "MemorySwap", FIELD_I64, RESOURCE(memory_swap_bytes), -1, INT64_MAX, .updatable = true },
	{ "MemorySwappiness", FIELD_CALL, .call = take_swappiness,
	  .reason = "only -1: pods have no swap" },
	{ "OomKillDisable", FIELD_BOOL, RESOURCE(oom_kill_disable) },
	{ "Init", FIELD_BOOL, SPEC(init) },
	{ "PidsLimit", FIELD_CALL, .call = take_pids_limit, .updatable = true },
	{ "Ulimits", FIELD_CALL, .call = take_ulimits },
	{ "CpuCount", FIELD_REFUSED, .reason = WINDOWS },
	{ "CpuPercent", FIELD_REFUSED, .reason = WINDOWS },
	{ "IOMaximumIOps", FIELD_REFUSED, .reason = WINDOWS },
	{ "IOMaximumBandwidth", FIELD_REFUSED, .reason = WINDOWS },
	{ "MaskedPaths", FIELD_STRV, SPEC(masked_paths) },
	{ "ReadonlyPaths", FIELD_STRV, SPEC(read_only_paths) },
};
const size_t create_host_field_count = ARRAY_SIZE(create_host_fields);

/* ------------------------------------------------------------------ Hyper */

CALL(take_pod)
{
	const char *text = json_string_value(value);

	if (!text)
		return expected(section, field, "a string", err);
	return *text ? set_text(&create->pod, text, err) : 0;
}

CALL(take_vcpus)
{
	int64_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < 0 || number > 256)
		return expected(section, field, "a number from 1 to 256", err);
	create->options->vcpus = (unsigned)number;
	return 0;
}

CALL(take_memory)
{
	int64_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < 0)
		return expected(section, field, "a number of bytes", err);
	create->options->memory_bytes = (uint64_t)number;
	return 0;
}

CALL(take_machine)
{
	const char *text = json_string_value(value);

	if (!text || (*text && strcmp(text, "microvm") && strcmp(text, "q35")))
		return expected(section, field, "\"microvm\" or \"q35\"", err);
	return *text ? set_text(&create->options->machine, text, err) : 0;
}

CALL(take_transport)
{
	static const struct {
		const char *name;
		enum sandbox_transport transport;
	} transports[] = { { "", TRANSPORT_AUTO },
			   { "auto", TRANSPORT_AUTO },
			   { "serial", TRANSPORT_SERIAL },
			   { "disk", TRANSPORT_DISK } };
	const char *text = json_string_value(value);

	for (size_t i = 0; text && i < ARRAY_SIZE(transports); i++)
		if (!strcmp(text, transports[i].name)) {
			create->options->transport = transports[i].transport;
			return 0;
		}
	return expected(section, field, "\"auto\", \"serial\" or \"disk\"", err);
}

/* RFC 4648, padding required. The length or -1. */
static ssize_t base64_decode(const char *text, char *out)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t len = strlen(text), n = 0;

	if (len % 4)
		return -1;
	for (size_t i = 0; i < len; i += 4) {
		unsigned bits = 0, padding = 0;

		for (size_t k = 0; k < 4; k++) {
			char c = text[i + k];
			const char *at = c ? strchr(alphabet, c) : NULL;

			bits <<= 6;
			if (c == '=' && i + 4 == len && k >= 2)
				padding++;
			else if (!at || padding)
				return -1;
			else
				bits |= (unsigned)(at - alphabet);
		}
		out[n++] = (char)(bits >> 16);
		if (padding < 2)
			out[n++] = (char)(bits >> 8);
		if (padding < 1)
			out[n++] = (char)bits;
	}
	return (ssize_t)n;
}

static int take_file(const char *section, const struct create_field *field, const json_t *item,
		     struct create_request *create, struct error *err)
{
	struct container_spec *spec = create->spec;
	const char *path, *content, *user;
	struct spec_file *files, *file;
	int64_t mode;
	ssize_t n;
	int r = json_get_string(item, "Path", &path, err);

	if (r == 0)
		r = json_get_string(item, "Content", &content, err);
	if (r == 0)
		r = json_get_string(item, "User", &user, err);
	if (r == 0)
		r = json_get_int(item, "Mode", &mode, err);
	if (r < 0)
		return error_prefix(err, r, "Hyper.Files");
	if (!path || *path != '/' || mode < 0 || mode > 07777)
		return expected(section, field, "an absolute Path and a Mode up to 07777", err);
	files = array_grow(spec->files, spec->file_count, sizeof(*files));
	if (!files)
		return error_nomem(err);
	spec->files = files;
	file = &files[spec->file_count++];
	file->mode = mode ? (uint32_t)mode : 0644;
	file->path = strdup(path);
	file->content = malloc(content ? strlen(content) + 1 : 1);
	if (user && *user)
		file->user = strdup(user);
	if (!file->path || !file->content)
		return error_nomem(err);
	n = base64_decode(content ? content : "", file->content);
	if (n < 0)
		return expected(section, field, "Content in base64", err);
	file->content_bytes = (size_t)n;
	return 0;
}

CALL(take_files)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return expected(section, field, "a list", err);
	json_array_foreach((json_t *)value, i, item) {
		int r = json_is_object(item) ? take_file(section, field, item, create, err)
					     : expected(section, field, "objects", err);

		if (r < 0)
			return r;
	}
	return 0;
}

const struct create_field create_hyper_fields[] = {
	{ "Pod", FIELD_CALL, .call = take_pod },
	{ "Isolation", FIELD_CALL, .call = take_isolation },
	{ "Hypervisor", FIELD_CALL, .call = take_hypervisor },
	{ "VCPUs", FIELD_CALL, .call = take_vcpus },
	{ "MemoryBytes", FIELD_CALL, .call = take_memory },
	{ "Machine", FIELD_CALL, .call = take_machine },
	{ "Transport", FIELD_CALL, .call = take_transport },
	{ "Files", FIELD_CALL, .call = take_files },
};
const size_t create_hyper_field_count = ARRAY_SIZE(create_hyper_fields);
