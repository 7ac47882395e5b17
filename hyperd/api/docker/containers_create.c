/*
 * POST /containers/create: Docker's Config, HostConfig and NetworkingConfig become a
 * container_spec.
 *
 * Every member is in a table with what is done about it: put into the spec, translated by a
 * function, accepted because it has no meaning here, or refused unless it says nothing. A member of
 * HostConfig that is not in the table is refused too, so that nothing is ignored silently.
 * docs/docker-api.md holds the same table for people; a test compares the two.
 */
#include "hyperd/api/docker/create_fields.h"

#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/api/docker/create_network.h"

static bool says_nothing(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_NULL:
	case JSON_FALSE:
		return true;
	case JSON_STRING:
		return json_string_length(value) == 0;
	case JSON_INTEGER:
		return json_integer_value(value) == 0;
	case JSON_ARRAY:
		return json_array_size(value) == 0;
	case JSON_OBJECT:
		return json_object_size(value) == 0;
	default:
		return false;
	}
}

static int wrong_type(const char *section, const char *name, const char *expected,
		      struct error *err)
{
	return error_set(err, ERROR_INVALID, "%s.%s: expected %s", section, name, expected);
}

static int take_string(const char *section, const struct create_field *field, const json_t *value,
		       char **to, struct error *err)
{
	const char *text = json_string_value(value);

	if (!text || strlen(text) != json_string_length(value))
		return wrong_type(section, field->name, "a string", err);
	if (!*text)
		return 0;
	free(*to);
	*to = strdup(text);
	return *to ? 0 : error_nomem(err);
}

static int take_strv(const char *section, const struct create_field *field, const json_t *value,
		     char ***to, struct error *err)
{
	autostrv char **v = calloc(1, sizeof(*v));
	const json_t *item;
	size_t i;

	/* Docker's StrSlice: a lone string is a list of one. */
	if (json_is_string(value) && field->kind == FIELD_STRV_OR_STRING) {
		if (!v || strv_add(&v, json_string_value(value)) < 0)
			return error_nomem(err);
	} else if (!json_is_array(value)) {
		return wrong_type(section, field->name, "a list of strings", err);
	}
	json_array_foreach((json_t *)value, i, item) {
		const char *text = json_string_value(item);

		if (!text || strlen(text) != json_string_length(item))
			return wrong_type(section, field->name, "a list of strings", err);
		if (!v || strv_add(&v, text) < 0)
			return error_nomem(err);
	}
	strv_free(*to);
	*to = steal(v);
	return 0;
}

/* {"key": {…}} as a strv of keys. */
static int take_keys(const char *section, const struct create_field *field, const json_t *value,
		     char ***to, struct error *err)
{
	const char *key;
	json_t *item;

	if (!json_is_object(value))
		return wrong_type(section, field->name, "an object", err);
	json_object_foreach((json_t *)value, key, item)
		if (strv_add(to, key) < 0)
			return error_nomem(err);
	return 0;
}

static int take_pairs(const char *section, const struct create_field *field, const json_t *value,
		      struct spec_pair **to, struct error *err)
{
	struct spec_pair *pairs;
	const char *key, *text;
	json_t *item;
	size_t n = 0;

	if (!json_is_object(value))
		return wrong_type(section, field->name, "an object of strings", err);
	json_object_foreach((json_t *)value, key, item)
		if (!json_is_string(item))
			return wrong_type(section, field->name, "an object of strings", err);
	if (!json_object_size(value))
		return 0;
	pairs = calloc(json_object_size(value) + 1, sizeof(*pairs));
	if (!pairs)
		return error_nomem(err);
	*to = pairs;
	json_object_foreach((json_t *)value, key, item) {
		text = json_string_value(item);
		pairs[n].key = strdup(key);
		pairs[n].value = strdup(text);
		if (!pairs[n].key || !pairs[n].value)
			return error_nomem(err);
		n++;
	}
	return 0;
}

static int take_int(const char *section, const struct create_field *field, const json_t *value,
		    struct container_spec *spec, struct error *err)
{
	void *to = (char *)spec + field->offset;
	int64_t number = json_integer_value(value);

	if (!json_is_integer(value))
		return wrong_type(section, field->name, "a whole number", err);
	if (number < field->min || number > field->max)
		return error_set(err, ERROR_INVALID, "%s.%s: expected a number from %lld to %lld",
				 section, field->name, (long long)field->min,
				 (long long)field->max);
	if (field->kind == FIELD_INT)
		*(int *)to = (int)number;
	else if (field->kind == FIELD_U32)
		*(uint32_t *)to = (uint32_t)number;
	else
		*(int64_t *)to = number;
	return 0;
}

static int take_field(const char *section, const struct create_field *field, const json_t *value,
		      struct create_request *create, struct error *err)
{
	void *to = (char *)create->spec + field->offset;
	const char *text;

	if (json_is_null(value))
		return 0;
	switch (field->kind) {
	case FIELD_STRING:
		return take_string(section, field, value, to, err);
	case FIELD_STRV:
	case FIELD_STRV_OR_STRING:
		return take_strv(section, field, value, to, err);
	case FIELD_KEYS:
		return take_keys(section, field, value, to, err);
	case FIELD_PAIRS:
		return take_pairs(section, field, value, to, err);
	case FIELD_BOOL:
		if (!json_is_boolean(value))
			return wrong_type(section, field->name, "true or false", err);
		*(bool *)to = json_is_true(value);
		return 0;
	case FIELD_INT:
	case FIELD_U32:
	case FIELD_I64:
		return take_int(section, field, value, create->spec, err);
	case FIELD_CALL:
		return field->call(section, field, value, create, err);
	case FIELD_ACCEPTED:
		return 0;
	case FIELD_ONE_OF:
		text = json_string_value(value);
		for (const char *const *word = field->words; text && *word; word++)
			if (!strcmp(text, *word))
				return 0;
		if (text && !*text)
			return 0;
		return error_set(err, ERROR_UNSUPPORTED, "%s.%s=%.64s is not supported: %s",
				 section, field->name, text ? text : "?", field->reason);
	case FIELD_REFUSED:
		if (says_nothing(value))
			return 0;
		return error_set(err, ERROR_UNSUPPORTED, "%s.%s is not supported: %s", section,
				 field->name, field->reason);
	}
	return 0;
}

static const struct create_field *field_find(const struct create_field *fields, size_t count,
					     const char *name)
{
	/* Go's decoder takes members in any case, and clients have come to rely on it. */
	for (size_t i = 0; i < count; i++)
		if (!strcasecmp(fields[i].name, name))
			return &fields[i];
	return NULL;
}

static int take_object(const char *section, const struct create_field *fields, size_t count,
		       bool strict, json_t *object, struct create_request *create,
		       struct error *err)
{
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value) {
		const struct create_field *field = field_find(fields, count, name);
		int r;

		if (!field && strict && !says_nothing(value))
			return error_set(err, ERROR_INVALID, "%s.%.64s is not known", section,
					 name);
		if (!field)
			continue;
		r = take_field(section, field, value, create, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void create_request_done(struct create_request *create)
{
	container_spec_free(create->spec);
	pod_spec_free(create->options);
	free(create->pod);
	free(create->joins);
	free(create->mac);
	strv_free(create->links);
	strv_free(create->warnings);
	*create = (struct create_request){ 0 };
}

/* What only makes sense seen together. */
static int check_together(struct create_request *create, struct error *err)
{
	struct container_spec *spec = create->spec;
	struct spec_resources *res = &spec->resources;

	if (!spec->image)
		return error_set(err, ERROR_INVALID, "Config.Image: no image specified");
	if (res->memory_bytes && res->memory_bytes < (6u << 20))
		return error_set(err, ERROR_INVALID, "Minimum memory limit allowed is 6MB");
	if (res->memory_swap_bytes > 0 && !res->memory_bytes)
		return error_set(err, ERROR_INVALID,
				 "You should always set the Memory limit when using Memoryswap "
				 "limit, see usage");
	if (res->memory_swap_bytes > 0 && (uint64_t)res->memory_swap_bytes < res->memory_bytes)
		return error_set(err, ERROR_INVALID,
				 "Minimum memoryswap limit should be larger than memory limit, see "
				 "usage");
	if (res->memory_reservation_bytes && res->memory_bytes &&
	    res->memory_bytes < res->memory_reservation_bytes)
		return error_set(err, ERROR_INVALID,
				 "Minimum memory limit can not be less than memory reservation "
				 "limit, see usage");
	if (res->cpus > 0 && (res->cpu_quota_us || res->cpu_period_us))
		return error_set(err, ERROR_INVALID,
				 "Conflicting options: Nano CPUs and CPU %s cannot both be set",
				 res->cpu_period_us ? "Period" : "Quota");
	if (spec->auto_remove && spec->restart.kind != RESTART_NO)
		return error_set(err, ERROR_INVALID,
				 "can't create 'AutoRemove' container with restart policy");
	if (create->pod &&
	    (create->options->isolation_set || create->options->vcpus ||
	     create->options->memory_bytes || create->options->machine ||
	     create->options->hypervisor || create->options->transport != TRANSPORT_AUTO))
		return error_set(
			err, ERROR_INVALID,
			"Hyper.Pod names an existing pod: its isolation, VCPUs, "
			"MemoryBytes, Hypervisor, Machine and Transport cannot be chosen any more");
	if (!create->pod && !create->options->vcpus && res->cpus > 0)
		create->options->vcpus = (unsigned)(res->cpus + 0.999);
	return 0;
}

static json_t *remembered(json_t *body)
{
	json_t *copy = json_copy(body);

	/* Files may be large and are written once; a record is no place for them. */
	json_object_del(copy, "Hyper");
	return copy;
}

int create_request_parse(json_t *body, const char *name, struct create_request *ret,
			 struct error *err)
{
	struct create_request create = { 0 };
	json_t *host, *networking, *hyper;
	int r;

	if (!json_is_object(body))
		return error_set(err, ERROR_INVALID,
				 "Config cannot be empty in order to create a container");
	create.spec = container_spec_new();
	create.options = pod_spec_new();
	if (!create.spec || !create.options) {
		create_request_done(&create);
		return error_nomem(err);
	}
	r = json_get_object(body, "HostConfig", &host, err);
	if (r == 0)
		r = json_get_object(body, "NetworkingConfig", &networking, err);
	if (r == 0)
		r = json_get_object(body, "Hyper", &hyper, err);
	if (r == 0)
		r = take_object("Config", create_config_fields, create_config_field_count, false,
				body, &create, err);
	if (r == 0)
		r = take_object("HostConfig", create_host_fields, create_host_field_count, true,
				host, &create, err);
	if (r == 0)
		r = take_object("Hyper", create_hyper_fields, create_hyper_field_count, true, hyper,
				&create, err);
	if (r == 0)
		r = create_networking(&create, networking, err);
	if (r == 0)
		r = check_together(&create, err);
	if (r == 0 && name && *name) {
		free(create.spec->name);
		create.spec->name = strdup(name + (*name == '/'));
		r = create.spec->name ? 0 : error_nomem(err);
	}
	if (r == 0 && !(create.spec->docker = remembered(body)))
		r = error_nomem(err);
	if (r < 0) {
		create_request_done(&create);
		return r;
	}
	*ret = create;
	return 0;
}

/* Docker's text, which clients match to pull the image and try again. */
static int image_check(struct http_request *request, const char *name, struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	int r = image_get(engine_images(api_engine(request)), name, &image, err);

	if (r < 0 && err->kind == ERROR_NOT_FOUND) {
		const char *slash = strrchr(name, '/'), *base = slash ? slash : name;

		return error_set(err, ERROR_NOT_FOUND, "No such image: %.256s%s", name,
				 strchr(base, ':') || strchr(base, '@') ? "" : ":latest");
	}
	return r;
}

/* Containers that share a network are in one pod. */
static int join(struct http_request *request, struct create_request *create, struct pod **ret,
		struct error *err)
{
	autoptr(container_unref) struct container *to = NULL;
	int r = container_get(api_engine(request), create->joins, &to, err);

	/* Not as 404, which clients take for a missing image. */
	if (r < 0)
		return error_set(err, ERROR_INVALID, "No such container: %.128s", create->joins);
	if (create->options->port_count)
		return error_set(
			err, ERROR_INVALID,
			"conflicting options: port publishing and the container type network mode");
	*ret = pod_ref(container_pod(to));
	create->spec->joined = pod_is_solo(*ret);
	return 0;
}

int api_container_create(struct http_request *request, struct pod *pod, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	autoptr(pod_unref) struct pod *named = NULL;
	autojson json_t *body = NULL;
	struct create_request create = { 0 };
	const char *name = http_query(request, "name");
	int r = http_body_json(request, &body, err);

	if (r == 0)
		r = create_request_parse(body, name, &create, err);
	if (r < 0)
		return r;
	r = image_check(request, create.spec->image, err);
	if (r == 0 && create.joins && !pod)
		r = join(request, &create, &named, err);
	if (r == 0 && create.pod && !pod)
		r = pod_get(api_engine(request), create.pod, &named, err);
	if (r == 0)
		r = container_create(api_engine(request), steal(create.spec), pod ? pod : named,
				     create.options, &container, err);
	if (r == 0)
		r = http_respond_json(request, 201,
				      json_pack("{s:s,s:o}", "Id", container_id(container),
						"Warnings",
						create.warnings ? json_from_strv(create.warnings)
								: json_array()));
	create_request_done(&create);
	return r;
}

int docker_container_create(struct http_request *request, struct error *err)
{
	return api_container_create(request, NULL, err);
}

int update_request_parse(json_t *body, struct spec_resources *resources, bool *ret_any,
			 struct restart_policy *restart, bool *ret_restart, struct error *err)
{
	struct create_request create = { .spec = container_spec_new(), .options = pod_spec_new() };
	json_t *value;
	const char *name;
	int r = 0;

	*ret_any = *ret_restart = false;
	if (!create.spec || !create.options)
		r = error_nomem(err);
	json_object_foreach(body, name, value) {
		const struct create_field *field =
			field_find(create_host_fields, create_host_field_count, name);

		if (r < 0)
			break;
		if (says_nothing(value))
			continue;
		if (field && !strcmp(field->name, "RestartPolicy")) {
			json_t *policy = json_object_get(value, "Name");

			*ret_restart = json_string_length(policy) > 0;
		} else if (field && field->updatable) {
			*ret_any = true;
		} else {
			r = error_set(err, ERROR_INVALID,
				      "%.64s cannot be changed while a container exists", name);
			break;
		}
		r = take_field("Update", field, value, &create, err);
	}
	if (r == 0) {
		*resources = create.spec->resources;
		*restart = create.spec->restart;
		memset(&create.spec->resources, 0, sizeof(create.spec->resources));
	}
	create_request_done(&create);
	return r;
}
