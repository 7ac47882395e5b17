#include "hyperctl/object.h"

#include <string.h>

static const struct place {
	enum object_kind kind;
	const char *prefix; /* of a name that says its kind */
	const char *path;
	const char *word;
} places[] = {
	{ OBJECT_CONTAINER, "container/", "/containers/", "container" },
	{ OBJECT_POD, "pod/", "/hyper/v1/pods/", "pod" },
};

/* Takes a kind's prefix off NAME. */
static enum object_kind narrow(const char **name, enum object_kind kinds)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (str_starts(*name, places[i].prefix)) {
			*name += strlen(places[i].prefix);
			return kinds & places[i].kind;
		}
	}
	return kinds;
}

static int check_name(const char *name, enum object_kind kinds, struct error *err)
{
	if (*name && kinds && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		return 0;
	return error_set(err, ERROR_INVALID, "'%s' cannot name a container or pod here", name);
}

static int not_found(const char *name, enum object_kind kinds, struct error *err)
{
	return error_set(err, ERROR_NOT_FOUND, "no such %s: %s",
			 kinds == OBJECT_ANY   ? "container or pod"
			 : kinds == OBJECT_POD ? "pod"
					       : "container",
			 name);
}

int object_act(const struct ctl *ctl, const char *method, const char *name, const char *verb,
	       const char *query, json_t **ret, struct error *err)
{
	enum object_kind kinds = narrow(&name, OBJECT_ANY);
	autofree char *encoded = path_encode(name);
	int r = check_name(name, kinds, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		autofree char *path = NULL;
		struct error failed = { 0 };

		if (!(kinds & places[i].kind))
			continue;
		path = strf("%s%s%s%s", places[i].path, encoded, *verb ? "/" : "", verb);
		if (!path)
			return error_nomem(err);
		r = client_call(&ctl->client, method, path, query, NULL, ret, &failed);
		if (r == 0 || failed.kind == ERROR_NOT_MODIFIED)
			return 0;
		if (failed.kind != ERROR_NOT_FOUND) {
			error_copy(err, &failed);
			return r;
		}
	}
	return not_found(name, kinds, err);
}

int object_find(const struct ctl *ctl, const char *name, enum object_kind kinds, struct object *ret,
		struct error *err)
{
	autofree char *encoded = NULL;
	int r;

	*ret = (struct object){ 0 };
	kinds = narrow(&name, kinds);
	r = check_name(name, kinds, err);
	if (r < 0)
		return r;
	encoded = path_encode(name);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		autofree char *path = NULL;

		if (!(kinds & places[i].kind))
			continue;
		path = strf("%s%s/json", places[i].path, encoded);
		if (!path)
			return error_nomem(err);
		r = client_call(&ctl->client, "GET", path, NULL, NULL, &ret->inspect, err);
		if (r < 0 && err->kind == ERROR_NOT_FOUND)
			continue;
		if (r < 0)
			return r;
		ret->kind = places[i].kind;
		ret->id = json_string_value(json_object_get(ret->inspect, "Id")) ?: "";
		ret->name = json_string_value(json_object_get(ret->inspect, "Name")) ?: "";
		ret->name += *ret->name == '/';
		ret->path = strf("%s%s", places[i].path, ret->id);
		return ret->path ? 0 : error_nomem(err);
	}
	return not_found(name, kinds, err);
}

void object_done(struct object *object)
{
	free(object->path);
	json_decref(object->inspect);
	*object = (struct object){ 0 };
}

int object_find_container(const struct ctl *ctl, const char *name, struct object *ret,
			  struct error *err)
{
	autoobject struct object pod = { 0 };
	autostr struct str names = STR_INIT;
	json_t *containers, *container;
	const char *id;
	size_t i;
	int r = object_find(ctl, name, OBJECT_ANY, ret, err);

	if (r < 0 || ret->kind == OBJECT_CONTAINER)
		return r;
	pod = *ret;
	*ret = (struct object){ 0 };
	containers = json_object_get(pod.inspect, "Containers");
	if (json_array_size(containers) == 1) {
		id = json_string_value(json_object_get(json_array_get(containers, 0), "Id"));
		return object_find(ctl, id ?: "", OBJECT_CONTAINER, ret, err);
	}
	json_array_foreach(containers, i, container)
		str_addf(&names, "%s%s", i ? ", " : "",
			 json_string_value(json_object_get(container, "Name")) ?: "?");
	if (!names.len)
		return error_set(err, ERROR_CONFLICT, "pod \"%s\" has no containers", pod.name);
	return error_set(err, ERROR_INVALID, "pod \"%s\" has several containers, name one: %s",
			 pod.name, str_text(&names));
}
