/*
 * Pod files: a JSON tree read by tables, one row a field. docs/pod-spec.md describes the same
 * fields for people.
 */
#include <ctype.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/yaml_json.h"
#include "hyperd/hypervisor/hypervisor.h"
#include "hyperd/pod/oci_defaults.h"
#include "hyperd/pod/pod_file_reader.h"
#include "hyperd/pod/spec_fields.h"

#define POD_FILE_MAX_BYTES (16u << 20)
#define CONTAINERS_MAX     256
#define MEMORY_MIN_MIB     16
#define MEMORY_MAX_MIB     (16ll << 20)

/* ------------------------------------------------------------------ values with a meaning */

static int read_hostname(struct pod_file_reader *rd, const json_t *value, void *target,
			 const struct pod_file_rule *rule)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-.";
	const char *text = pod_file_text_of(value);

	if (!text || !*text || strlen(text) > 63 || strspn(text, allowed) != strlen(text) ||
	    !isalnum((unsigned char)*text))
		return pod_file_wrong(rd, value,
				      "a host name of at most 63 letters, digits, '-' and '.'");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

/* MiB as a number, or "512M", "2GiB", "65536k". */
static int read_memory(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule)
{
	static const char expected[] = "MiB from 16, or a number with a suffix as in \"512M\" or "
				       "\"2G\"";
	uint64_t *to = pod_file_member(target, rule);
	const char *text = pod_file_text_of(value);
	unsigned long long number = 0;
	unsigned shift = 20;
	char digits[32];
	size_t n;

	if (json_is_integer(value)) {
		if (json_integer_value(value) < MEMORY_MIN_MIB ||
		    json_integer_value(value) > MEMORY_MAX_MIB)
			return pod_file_wrong(rd, value, expected);
		*to = (uint64_t)json_integer_value(value) << 20;
		return 0;
	}
	if (!text)
		return pod_file_wrong(rd, value, expected);
	n = strspn(text, "0123456789");
	if (n == 0 || n >= sizeof(digits))
		return pod_file_wrong(rd, value, expected);
	memcpy(digits, text, n);
	digits[n] = '\0';
	text += n;
	switch (tolower((unsigned char)*text)) {
	case 'b':
	case 'k':
	case 'm':
	case 'g':
	case 't':
		shift = tolower((unsigned char)*text) == 'b'   ? 0
			: tolower((unsigned char)*text) == 'k' ? 10
			: tolower((unsigned char)*text) == 'm' ? 20
			: tolower((unsigned char)*text) == 'g' ? 30
							       : 40;
		text++;
		if (shift && *text == 'i')
			text++;
		if (shift && (*text == 'B' || *text == 'b'))
			text++;
		break;
	default:
		break;
	}
	if (*text || parse_u64(digits, 1, UINT64_MAX >> shift, &number) < 0 ||
	    (number << shift) < ((uint64_t)MEMORY_MIN_MIB << 20) ||
	    (number << shift) > ((uint64_t)MEMORY_MAX_MIB << 20))
		return pod_file_wrong(rd, value, expected);
	*to = number << shift;
	return 0;
}

static int read_restart(struct pod_file_reader *rd, const json_t *value, void *target,
			const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	/* The original's word. */
	if (text && strcmp(text, "never") == 0)
		text = "no";
	else if (text && strcmp(text, "onFailure") == 0)
		text = "on-failure";
	if (!text || restart_policy_parse(text, pod_file_member(target, rule), NULL) < 0)
		return pod_file_wrong(rd, value,
				      "no, always, on-failure, on-failure:N or unless-stopped");
	return 0;
}

static int read_isolation(struct pod_file_reader *rd, const json_t *value, void *target,
			  const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);
	struct pod_spec *pod = target;

	if (!text || (strcmp(text, "vm") != 0 && strcmp(text, "namespace") != 0))
		return pod_file_wrong(rd, value, "\"vm\" or \"namespace\"");
	pod->isolation = strcmp(text, "vm") == 0 ? ISOLATION_VM : ISOLATION_NAMESPACE;
	pod->isolation_set = true;
	return 0;
}

static int read_hypervisor(struct pod_file_reader *rd, const json_t *value, void *target,
			   const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	if (!text || hypervisor_check_name(text, NULL) < 0)
		return pod_file_wrong(
			rd, value, "\"auto\" or the name of a hypervisor, as in `hyperctl info`");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

static int read_machine(struct pod_file_reader *rd, const json_t *value, void *target,
			const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	if (!text || (strcmp(text, "microvm") != 0 && strcmp(text, "q35") != 0))
		return pod_file_wrong(rd, value, "\"microvm\" or \"q35\"");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

static int read_transport(struct pod_file_reader *rd, const json_t *value, void *target,
			  const struct pod_file_rule *rule)
{
	static const char *const names[] = {
		[TRANSPORT_AUTO] = "auto",
		[TRANSPORT_SERIAL] = "serial",
		[TRANSPORT_DISK] = "disk",
	};
	const char *text = pod_file_text_of(value);

	for (size_t i = 0; text && i < ARRAY_SIZE(names); i++)
		if (strcmp(text, names[i]) == 0) {
			((struct pod_spec *)target)->transport = (enum sandbox_transport)i;
			return 0;
		}
	return pod_file_wrong(rd, value, "\"auto\", \"serial\" or \"disk\"");
}

static int read_sysctls(struct pod_file_reader *rd, const json_t *value, void *target,
			const struct pod_file_rule *rule)
{
	const char *name;
	json_t *item;
	int r = pod_file_read_pairs(rd, value, target, rule);

	if (r < 0)
		return r;
	json_object_foreach((json_t *)value, name, item) {
		size_t mark = pod_file_enter(rd, name);

		if (sysctl_check(name, NULL) < 0)
			return pod_file_wrong(rd, item,
					      "the name of a setting of the pod's own: net.*, "
					      "fs.mqueue.*, kernel.msg*, kernel.sem or "
					      "kernel.shm*");
		pod_file_leave(rd, mark);
	}
	return 0;
}

static int read_signal(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);
	int number;

	if (!text || signal_parse(text, &number, NULL) < 0)
		return pod_file_wrong(rd, value, "a signal's name, as in \"SIGTERM\"");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

/* {"A": "x"}, [{"env": "A", "value": "x"}] or ["A=x"]. */
static int read_envs(struct pod_file_reader *rd, const json_t *value, void *target,
		     const struct pod_file_rule *rule)
{
	static const char expected[] = "{\"env\": NAME, \"value\": TEXT} or \"NAME=TEXT\"";
	char ***env = pod_file_member(target, rule);
	const char *name, *text;
	json_t *item;
	size_t i;
	int r = 0;

	if (!json_is_object(value) && !json_is_array(value))
		return pod_file_wrong(rd, value, "a list of variables");
	json_object_foreach((json_t *)value, name, item) {
		size_t mark = pod_file_enter(rd, name);

		if (!pod_file_text_of(item))
			return pod_file_wrong(rd, item, "a string");
		if (!*name || strchr(name, '='))
			return pod_file_wrong(rd, item, "a name without '='");
		r = strv_addf(env, "%s=%s", name, pod_file_text_of(item));
		if (r < 0)
			return error_nomem(rd->err);
		pod_file_leave(rd, mark);
	}
	json_array_foreach(value, i, item) {
		size_t mark = pod_file_enter_item(rd, i);

		if (json_is_object(item)) {
			name = pod_file_text_of(json_object_get(item, "env"));
			text = pod_file_text_of(json_object_get(item, "value"));
			if (!name || !*name || strchr(name, '=') || !text ||
			    json_object_size(item) != 2)
				return pod_file_wrong(rd, item, expected);
			r = strv_addf(env, "%s=%s", name, text);
		} else {
			text = pod_file_text_of(item);
			if (!text || !strchr(text, '=') || *text == '=')
				return pod_file_wrong(rd, item, expected);
			r = strv_add(env, text);
		}
		if (r < 0)
			return error_nomem(rd->err);
		pod_file_leave(rd, mark);
	}
	return 0;
}

/* A list; one string is run by no shell, but split nowhere either. */
static int read_command(struct pod_file_reader *rd, const json_t *value, void *target,
			const struct pod_file_rule *rule)
{
	if (!json_is_array(value))
		return pod_file_wrong(rd, value,
				      "a list of strings, as in [\"sh\", \"-c\", \"date\"]");
	return pod_file_read_strv(rd, value, target, rule);
}

static int read_limit_value(struct pod_file_reader *rd, const json_t *value, void *target,
			    const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);
	long long number = -1;
	int r = 0;

	if (!text || strcmp(text, "unlimited") != 0)
		r = pod_file_read_number(rd, value, -1, INT64_MAX, &number);
	if (r == 0)
		*(int64_t *)pod_file_member(target, rule) = number;
	return r;
}

static int read_limit_name(struct pod_file_reader *rd, const json_t *value, void *target,
			   const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	if (!text || !rlimit_name(text))
		return pod_file_wrong(rd, value, "a limit's name, as in \"nofile\"");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

static const struct pod_file_rule ulimit_rules[] = {
	{ "name", read_limit_name, offsetof(struct spec_ulimit, name) },
	{ "soft", read_limit_value, offsetof(struct spec_ulimit, soft) },
	{ "hard", read_limit_value, offsetof(struct spec_ulimit, hard) },
	{ 0 },
};

static int read_ulimits(struct pod_file_reader *rd, const json_t *value, void *target,
			const struct pod_file_rule *rule)
{
	struct spec_ulimit *list;
	json_t *item;
	size_t i;

	if (!json_is_array(value))
		return pod_file_wrong(rd, value, "a list of {\"name\", \"soft\", \"hard\"}");
	list = calloc(json_array_size(value) + 1, sizeof(*list));
	if (!list)
		return error_nomem(rd->err);
	*(struct spec_ulimit **)pod_file_member(target, rule) = list;
	json_array_foreach(value, i, item) {
		size_t mark = pod_file_enter_item(rd, i);
		bool has_soft = json_object_get(item, "soft"), has_hard;
		int r = pod_file_read_fields(rd, item, &list[i], ulimit_rules);

		if (r < 0)
			return r;
		has_hard = json_object_get(item, "hard");
		if (!list[i].name || (!has_soft && !has_hard))
			return pod_file_wrong(rd, item, "a name, and soft or hard");
		if (!has_hard)
			list[i].hard = list[i].soft;
		if (!has_soft)
			list[i].soft = list[i].hard;
		if (list[i].hard != -1 && (list[i].soft == -1 || list[i].soft > list[i].hard))
			return pod_file_wrong(rd, item, "a soft limit not above the hard one");
		pod_file_leave(rd, mark);
	}
	return 0;
}

/* ------------------------------------------------------------------ the tables */

#define C(field_name, fn, field)                                       \
	{                                                              \
		field_name, fn, offsetof(struct container_spec, field) \
	}

static const struct pod_file_rule container_rules[] = {
	C("name", pod_file_read_name, name),
	C("image", pod_file_read_filled_text, image),
	C("command", read_command, cmd),
	C("entrypoint", read_command, entrypoint),
	C("workdir", pod_file_read_absolute, working_dir),
	C("envs", read_envs, env),
	C("user", pod_file_read_text, user),
	C("files", pod_file_read_container_files, files),
	C("ulimits", read_ulimits, ulimits),
	C("sysctl", read_sysctls, sysctls),
	C("readOnly", pod_file_read_bool, read_only),
	C("stopSignal", read_signal, stop_signal),
	{ "stopTimeout", pod_file_read_int, offsetof(struct container_spec, stop_timeout_s), 0,
	  86400 },
	C("labels", pod_file_read_pairs, labels),
	C("tty", pod_file_read_bool, tty),
	C("volumes", pod_file_read_container_volumes, mounts),
	C("restartPolicy", read_restart, restart),
	C("init", pod_file_read_bool, init),
	C("privileged", pod_file_read_bool, privileged),
	C("capAdd", pod_file_read_strv, cap_add),
	C("capDrop", pod_file_read_strv, cap_drop),
	{ 0 },
};

#define P(field_name, fn, field)                                 \
	{                                                        \
		field_name, fn, offsetof(struct pod_spec, field) \
	}

static const struct pod_file_rule resource_rules[] = {
	{ "vcpu", pod_file_read_int, offsetof(struct pod_spec, vcpus), 1, 255 },
	P("memory", read_memory, memory_bytes),
	{ 0 },
};

static const struct pod_file_rule log_rules[] = {
	P("type", pod_file_read_filled_text, log_driver),
	P("config", pod_file_read_pairs, log_options),
	{ 0 },
};

static int read_containers(struct pod_file_reader *rd, const json_t *value, void *target,
			   const struct pod_file_rule *rule);

static const struct pod_file_rule pod_rules[] = {
	P("id", pod_file_read_name, name),
	P("name", pod_file_read_name, name),
	P("hostname", read_hostname, hostname),
	P("domainname", read_hostname, domainname),
	P("labels", pod_file_read_pairs, labels),
	{ "resource", pod_file_read_object, .fields = resource_rules },
	P("tty", pod_file_read_bool, tty),
	P("dns", pod_file_read_strv, dns),
	P("dnsOptions", pod_file_read_strv, dns_options),
	P("dnsSearch", pod_file_read_strv, dns_search),
	P("restartPolicy", read_restart, restart),
	{ "log", pod_file_read_object, .fields = log_rules },
	P("sysctl", read_sysctls, sysctls),
	{ "isolation", read_isolation },
	P("hypervisor", read_hypervisor, hypervisor),
	P("machine", read_machine, machine),
	{ "transport", read_transport },
	{ "files", pod_file_read_pod_files },
	{ "volumes", pod_file_read_pod_volumes },
	{ "network", pod_file_read_network },
	{ "networks", pod_file_read_networks },
	{ "ports", pod_file_read_ports },
	{ "containers", read_containers },
	{ 0 },
};

static int check_container(struct pod_file_reader *rd, const json_t *value, size_t index)
{
	struct container_spec *spec = rd->pod->containers[index];

	if (!spec->image)
		return pod_file_wrong(rd, NULL, "an \"image\"");
	for (size_t i = 0; i < index; i++)
		if (spec->name && str_equal(rd->pod->containers[i]->name, spec->name))
			return pod_file_wrong(rd, json_object_get(value, "name"),
					      "another name: this one is taken");
	spec->entrypoint_set = spec->entrypoint;
	spec->cmd_set = spec->cmd;
	return 0;
}

static int read_containers(struct pod_file_reader *rd, const json_t *value, void *target,
			   const struct pod_file_rule *rule)
{
	struct pod_spec *pod = target;
	json_t *item;
	size_t i;

	if (!json_is_array(value))
		return pod_file_wrong(rd, value, "a list of containers");
	if (json_array_size(value) > CONTAINERS_MAX)
		return pod_file_wrong(rd, NULL, "at most 256 containers");
	pod->containers = calloc(json_array_size(value) + 1, sizeof(*pod->containers));
	if (!pod->containers)
		return error_nomem(rd->err);
	json_array_foreach(value, i, item) {
		size_t mark = pod_file_enter_item(rd, i);
		int r;

		pod->containers[i] = container_spec_new();
		if (!pod->containers[i])
			return error_nomem(rd->err);
		pod->container_count++;
		r = pod_file_read_fields(rd, item, pod->containers[i], container_rules);
		if (r == 0)
			r = check_container(rd, item, i);
		if (r < 0)
			return r;
		pod_file_leave(rd, mark);
	}
	return 0;
}

/* ------------------------------------------------------------------ the whole */

/* JSON is YAML too, but its own parser tells errors better. "{name: x}" is only YAML. */
static bool looks_like_json(const char *text, size_t len)
{
	size_t i = 0;

	while (i < len && isspace((unsigned char)text[i]))
		i++;
	if (i == len || text[i++] != '{')
		return false;
	while (i < len && isspace((unsigned char)text[i]))
		i++;
	return i < len && (text[i] == '"' || text[i] == '}');
}

static int parse_tree(const char *text, size_t len, json_t **ret, struct error *err)
{
	return looks_like_json(text, len) ? json_parse(text, len, ret, err)
					  : yaml_to_json(text, len, ret, err);
}

int pod_file_parse(const char *text, size_t len, const char *file_dir, struct pod_spec **ret,
		   struct error *err)
{
	struct error why = { 0 };
	struct pod_file_reader rd = { .file_dir = file_dir, .err = &why };
	autojson json_t *root = NULL;
	int r;

	if (len > POD_FILE_MAX_BYTES)
		return error_set(err, ERROR_LIMIT, "pod file: larger than %u bytes",
				 POD_FILE_MAX_BYTES);
	r = parse_tree(text, len, &root, &why);
	if (r < 0)
		error_prefix(&why, r, "pod file");
	if (r == 0 && !json_is_object(root))
		r = error_set(&why, ERROR_INVALID,
			      "pod file: expected an object with the fields "
			      "of a pod");
	rd.pod = r == 0 ? pod_spec_new() : NULL;
	if (r == 0 && !rd.pod)
		r = error_nomem(&why);
	if (r == 0) {
		rd.files = json_object_get(root, "files");
		rd.volumes = json_object_get(root, "volumes");
		r = pod_file_read_fields(&rd, root, rd.pod, pod_rules);
	}
	str_done(&rd.path);
	if (r < 0) {
		pod_spec_free(rd.pod);
		error_copy(err, &why);
		return r;
	}
	*ret = rd.pod;
	return 0;
}