/* /volumes: create, list, inspect, remove, prune. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

/* From 1.42 on a prune takes anonymous volumes only, unless "all" is said. */
#define PRUNE_ANONYMOUS_VERSION 42

json_t *api_volume_json(struct volume *volume)
{
	const json_t *options = volume_options(volume), *status = volume_status(volume);
	json_t *json;

	json = json_pack("{s:o,s:s,s:o,s:s,s:s,s:o,s:s}", "CreatedAt",
			 api_json_time(volume_created_ns(volume)), "Driver",
			 volume_driver_name(volume), "Labels",
			 json_object_size(volume_labels(volume))
				 ? json_copy((json_t *)volume_labels(volume))
				 : json_null(),
			 "Mountpoint", volume_mountpoint(volume), "Name", volume_name(volume),
			 "Options",
			 json_object_size(options) ? json_copy((json_t *)options) : json_null(),
			 "Scope", volume_scope(volume));
	if (json && status)
		json_object_set(json, "Status", (json_t *)status);
	return json;
}

static int get_volumes(struct http_request *request, struct volume_store **ret, struct error *err)
{
	*ret = engine_volumes(api_engine(request));
	return *ret ? 0 : error_set(err, ERROR_UNSUPPORTED, "this daemon keeps no volumes");
}

/* ------------------------------------------------------------------ filters */

struct selection {
	struct http_request *request;
	struct http_filters *filters;
	struct volume **found; /* referenced */
	size_t count;
};

static void selection_done(struct selection *s)
{
	for (size_t i = 0; i < s->count; i++)
		volume_unref(s->found[i]);
	free(s->found);
	http_filters_free(s->filters);
}

static bool says_true(const char *text)
{
	return strcmp(text, "1") == 0 || strcasecmp(text, "true") == 0 ||
	       strcasecmp(text, "t") == 0;
}

static bool fits(const struct selection *s, struct volume *v)
{
	char *const *names, *const *dangling, *const *without;
	bool name_fits;

	if (!s->filters)
		return true;
	names = http_filters_get(s->filters, "name");
	dangling = http_filters_get(s->filters, "dangling");
	without = http_filters_get(s->filters, "label!");
	name_fits = !names;

	strv_for_each(name, names)
		name_fits |= strstr(volume_name(v), *name) != NULL;
	if (!name_fits ||
	    !api_labels_match(volume_labels(v), http_filters_get(s->filters, "label")) ||
	    (without && api_labels_match(volume_labels(v), without)) ||
	    !http_filters_match(s->filters, "driver", volume_driver_name(v)))
		return false;
	if (!dangling)
		return true;
	return says_true(dangling[0]) ==
	       (engine_volume_users(api_engine(s->request), volume_name(v), NULL) == 0);
}

static void select_one(struct volume *v, void *arg)
{
	struct selection *s = arg;
	struct volume **grown;

	if (!fits(s, v))
		return;
	grown = reallocarray(s->found, s->count + 1, sizeof(*grown));
	if (!grown)
		return;
	s->found = grown;
	grown[s->count++] = volume_ref(v);
}

static int select_volumes(struct http_request *request, const char *const *allowed,
			  struct selection *ret, struct error *err)
{
	struct volume_store *volumes;
	int r = get_volumes(request, &volumes, err);

	*ret = (struct selection){ .request = request };
	if (r == 0)
		r = http_filters_parse(http_query(request, "filters"), &ret->filters, err);
	if (r == 0)
		r = http_filters_check(ret->filters, allowed, err);
	if (r == 0)
		volume_each(volumes, select_one, ret);
	return r;
}

/* ------------------------------------------------------------------ handlers */

int docker_volume_list(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "dangling", "driver", "label", "name", NULL };
	autostrv char **warnings = NULL;
	struct volume_store *volumes;
	struct selection s = { 0 };
	json_t *list;
	int r = get_volumes(request, &volumes, err);

	if (r == 0) {
		volume_store_refresh(volumes, &warnings);
		r = select_volumes(request, allowed, &s, err);
	}
	if (r == 0) {
		list = json_array();
		for (size_t i = 0; i < s.count; i++)
			json_array_append_new(list, api_volume_json(s.found[i]));
		r = http_respond_json(request, 200,
				      json_pack("{s:o,s:o}", "Volumes", list, "Warnings",
						api_json_strv(warnings)));
	}
	selection_done(&s);
	return r;
}

int docker_volume_create(struct http_request *request, struct error *err)
{
	autoptr(volume_unref) struct volume *volume = NULL;
	autojson json_t *body = NULL;
	struct volume_config config = { 0 };
	json_t *options, *labels;
	int r = http_body_json(request, &body, err);

	if (r == 0 && !json_is_object(body))
		r = error_set(err, ERROR_INVALID, "expected an object");
	if (r == 0)
		r = json_get_string(body, "Name", &config.name, err);
	if (r == 0)
		r = json_get_string(body, "Driver", &config.driver, err);
	if (r == 0)
		r = json_get_object(body, "DriverOpts", &options, err);
	if (r == 0)
		r = json_get_object(body, "Labels", &labels, err);
	if (r < 0)
		return r;
	config.options = options;
	config.labels = labels;
	r = engine_volume_create(api_engine(request), &config, &volume, err);
	return r < 0 ? r : http_respond_json(request, 201, api_volume_json(volume));
}

static int named(struct http_request *request, struct volume **ret, struct error *err)
{
	struct volume_store *volumes;
	int r = get_volumes(request, &volumes, err);

	return r < 0 ? r : volume_get(volumes, http_param(request, "name"), ret, err);
}

int docker_volume_inspect(struct http_request *request, struct error *err)
{
	autoptr(volume_unref) struct volume *volume = NULL;
	int r = named(request, &volume, err);

	return r < 0 ? r : http_respond_json(request, 200, api_volume_json(volume));
}

int docker_volume_remove(struct http_request *request, struct error *err)
{
	autoptr(volume_unref) struct volume *volume = NULL;
	struct volume_store *volumes;
	bool force = http_query_bool(request, "force", false);
	int r = get_volumes(request, &volumes, err);

	/* With force also when its plugin does not answer; and what is gone is as good as removed.
	 */
	if (r == 0 && force && !volume_get_known(volumes, http_param(request, "name"), &volume))
		return http_respond_empty(request, 204);
	if (r == 0 && !volume)
		r = named(request, &volume, err);
	if (r == 0)
		r = engine_volume_remove(api_engine(request), volume, force, err);
	return r < 0 ? r : http_respond_empty(request, 204);
}

int docker_volume_prune(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "label", "label!", "all", NULL };
	json_t *deleted = json_array();
	struct selection s = { 0 };
	int64_t reclaimed = 0;
	char *const *all;
	bool anonymous_only;
	int r = select_volumes(request, allowed, &s, err);

	all = http_filters_get(s.filters, "all");
	anonymous_only =
		api_version(request) >= PRUNE_ANONYMOUS_VERSION && !(all && says_true(all[0]));
	for (size_t i = 0; r == 0 && i < s.count; i++) {
		struct volume *v = s.found[i];
		int64_t bytes = -1;

		if (strcmp(volume_driver_name(v), "local") != 0 ||
		    (anonymous_only && !volume_is_anonymous(v)) ||
		    engine_volume_users(api_engine(request), volume_name(v), NULL))
			continue;
		volume_usage(v, &bytes, NULL);
		if (engine_volume_remove(api_engine(request), v, false, NULL) < 0)
			continue;
		json_array_append_new(deleted, json_string(volume_name(v)));
		reclaimed += bytes > 0 ? bytes : 0;
	}
	selection_done(&s);
	if (r < 0) {
		json_decref(deleted);
		return r;
	}
	return http_respond_json(request, 200,
				 json_pack("{s:o,s:I}", "VolumesDeleted", deleted, "SpaceReclaimed",
					   (json_int_t)reclaimed));
}

json_t *api_volumes_df(struct http_request *request)
{
	struct selection s = { .request = request };
	json_t *list = json_array();

	if (engine_volumes(api_engine(request)))
		volume_each(engine_volumes(api_engine(request)), select_one, &s);
	for (size_t i = 0; i < s.count; i++) {
		json_t *json = api_volume_json(s.found[i]);
		int64_t bytes = -1;
		size_t users =
			engine_volume_users(api_engine(request), volume_name(s.found[i]), NULL);

		volume_usage(s.found[i], &bytes, NULL);
		json_object_set_new(json, "UsageData",
				    json_pack("{s:I,s:I}", "RefCount", (json_int_t)users, "Size",
					      (json_int_t)bytes));
		json_array_append_new(list, json);
	}
	selection_done(&s);
	return list;
}
