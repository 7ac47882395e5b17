/* Images: list, inspect, history, tag, remove, prune. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/build/run_config.h"

json_t *api_image_labels(struct image *image)
{
	const struct image_config *config = image_config(image);
	json_t *labels = json_object();

	for (size_t i = 0; config->label_keys && config->label_keys[i]; i++)
		json_object_set_new(labels, config->label_keys[i],
				    api_json_string(config->label_values[i]));
	return labels;
}

json_t *api_image_summary(struct image_store *images, struct image *image, unsigned version)
{
	json_t *tags = json_from_strv(image_tags(image));
	json_t *digests = json_from_strv(image_digests(image));
	struct image *parent = image_parent(images, image);
	json_t *summary;

	/* Older clients want words for an image without a name. */
	if (!json_array_size(tags) && !json_array_size(digests) && version < 43) {
		json_array_append_new(tags, json_string("<none>:<none>"));
		json_array_append_new(digests, json_string("<none>@<none>"));
	}
	summary = json_pack("{s:s,s:s,s:o,s:o,s:I,s:I,s:i,s:o,s:i}", "Id", image_id(image),
			    "ParentId", parent ? image_id(parent) : "", "RepoTags", tags,
			    "RepoDigests", digests, "Created",
			    (json_int_t)(image_created_ns(image) / NSEC_PER_SEC), "Size",
			    (json_int_t)image_size_bytes(image), "SharedSize", -1, "Labels",
			    api_image_labels(image), "Containers", -1);
	if (version < 44)
		json_object_set_new(summary, "VirtualSize",
				    json_integer((json_int_t)image_size_bytes(image)));
	return summary;
}

struct image_list {
	struct http_request *request;
	struct http_filters *filters;
	bool intermediate; /* those too that others were built on */
	uint64_t before_ns, since_ns, until_ns;
	struct image **images; /* owned references */
	size_t count;
};

static bool reference_fits(const char *pattern, const char *tag)
{
	autofree char *name = strdup(tag);
	char *colon = name ? strrchr(name, ':') : NULL;

	if (api_glob(pattern, tag))
		return true;
	/* "busybox" finds every tag of it. */
	if (colon && !strchr(colon, '/'))
		*colon = 0;
	return name && api_glob(pattern, name);
}

static bool references_match(struct image_list *list, struct image *image)
{
	static const char *const keys[] = { "reference" };
	char *const *values = http_filters_get(list->filters, keys[0]);
	const char *old = http_query(list->request, "filter"); /* before 1.25 */
	bool found = !values;

	strv_for_each(value, values)
		strv_for_each(tag, image_tags(image))
			found = found || reference_fits(*value, *tag);
	if (found && old && *old) {
		found = false;
		strv_for_each(tag, image_tags(image))
			found = found || reference_fits(old, *tag);
	}
	return found;
}

static bool image_matches(struct image_list *list, struct image *image)
{
	char *const *dangling = http_filters_get(list->filters, "dangling");
	autojson json_t *labels = NULL;
	bool named = image_tags(image) && image_tags(image)[0];

	if (!named && !list->intermediate &&
	    image_has_children(engine_images(api_engine(list->request)), image))
		return false;
	if (dangling) {
		bool want = strcmp(dangling[0], "false") && strcmp(dangling[0], "0");

		if (want == named)
			return false;
	}
	if (list->before_ns && image_created_ns(image) >= list->before_ns)
		return false;
	if (list->since_ns && image_created_ns(image) <= list->since_ns)
		return false;
	if (list->until_ns && image_created_ns(image) > list->until_ns)
		return false;
	if (!references_match(list, image))
		return false;
	labels = api_image_labels(image);
	return api_labels_match(labels, http_filters_get(list->filters, "label"));
}

static void pick(struct image *image, void *arg)
{
	struct image_list *list = arg;
	struct image **grown;

	if (!image_matches(list, image))
		return;
	grown = reallocarray(list->images, list->count + 1, sizeof(*grown));
	if (!grown)
		return;
	list->images = grown;
	grown[list->count++] = image_ref(image);
}

static int newest_first(const void *a, const void *b)
{
	uint64_t x = image_created_ns(*(struct image *const *)a);
	uint64_t y = image_created_ns(*(struct image *const *)b);

	return x < y ? 1 : x > y ? -1 : 0;
}

static void image_list_done(struct image_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		image_unref(list->images[i]);
	free(list->images);
}

static int created_of(struct http_request *request, char *const *values, uint64_t *ret,
		      struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	int r;

	if (!values)
		return 0;
	r = image_get(engine_images(api_engine(request)), values[0], &image, err);
	if (r == 0)
		*ret = image_created_ns(image);
	return r;
}

int docker_image_list(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "before", "dangling", "label", "reference",
					       "since",  "until",    NULL };
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	struct image_list list = { .request = request };
	json_t *array;
	int r = http_filters_parse(http_query(request, "filters"), &filters, err);

	if (r == 0)
		r = http_filters_check(filters, allowed, err);
	if (r == 0)
		r = created_of(request, http_filters_get(filters, "before"), &list.before_ns, err);
	if (r == 0)
		r = created_of(request, http_filters_get(filters, "since"), &list.since_ns, err);
	if (r == 0 && http_filters_get(filters, "until"))
		r = api_parse_time(http_filters_get(filters, "until")[0], &list.until_ns, err);
	if (r < 0)
		return r;
	list.filters = filters;
	/* As Docker: what is dangling is nothing's parent, whatever else was asked for. */
	list.intermediate =
		http_query_bool(request, "all", false) && !http_filters_get(filters, "dangling");
	image_each(engine_images(api_engine(request)), pick, &list);
	if (list.count)
		qsort(list.images, list.count, sizeof(*list.images), newest_first);
	array = json_array();
	for (size_t i = 0; i < list.count; i++)
		json_array_append_new(array,
				      api_image_summary(engine_images(api_engine(request)),
							list.images[i], api_version(request)));
	image_list_done(&list);
	return http_respond_json(request, 200, array);
}

static int find(struct http_request *request, struct image **ret, struct error *err)
{
	const char *name = http_param(request, "name");
	int r = image_get(engine_images(api_engine(request)), name, ret, err);

	if (r < 0 && err->kind == ERROR_NOT_FOUND)
		return error_set(err, ERROR_NOT_FOUND, "No such image: %.256s", name);
	return r;
}

static const char *member(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

int docker_image_inspect(struct http_request *request, struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	struct image *parent;
	const json_t *config;
	json_t *layers, *root, *inner, *made_by;
	int r = find(request, &image, err);

	if (r < 0)
		return r;
	parent = image_parent(engine_images(api_engine(request)), image);
	config = image_config_json(image);
	layers = json_array();
	for (size_t i = 0; i < image_layer_count(image); i++)
		json_array_append_new(layers, json_string(image_layer(image, i)->diff_id));
	inner = run_config_make(json_object_get(config, "config"));
	root = json_pack("{s:s,s:o,s:o,s:s,s:s,s:o,s:s,s:s,s:o,s:s,s:s,s:I,s:I,s:{s:s,s:{}},s:{s:s,"
			 "s:o},s:{s:o}}",
			 "Id", image_id(image), "RepoTags", json_from_strv(image_tags(image)),
			 "RepoDigests", json_from_strv(image_digests(image)), "Parent",
			 parent ? image_id(parent) : "", "Comment", member(config, "comment"),
			 "Created", api_json_time(image_created_ns(image)), "DockerVersion",
			 member(config, "docker_version"), "Author", member(config, "author"),
			 "Config", inner, "Architecture", member(config, "architecture"), "Os",
			 member(config, "os"), "Size", (json_int_t)image_size_bytes(image),
			 "VirtualSize", (json_int_t)image_size_bytes(image), "GraphDriver", "Name",
			 "overlay", "Data", "RootFS", "Type", "layers", "Layers", layers,
			 "Metadata", "LastTagTime", api_json_time(0));
	made_by = json_object_get(config, "container_config");
	if (root && made_by && api_version(request) < 45) {
		json_object_set_new(root, "Container",
				    api_json_string(member(config, "container")));
		json_object_set(root, "ContainerConfig", made_by);
	}
	if (root && *member(config, "variant"))
		json_object_set_new(root, "Variant", json_string(member(config, "variant")));
	return http_respond_json(request, 200, root);
}

int docker_image_history(struct http_request *request, struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	struct image_store *images = engine_images(api_engine(request));
	struct image *at;
	json_t *history, *array, *entry;
	size_t i, layer = 0;
	int r = find(request, &image, err);

	if (r < 0)
		return r;
	history = json_object_get(image_config_json(image), "history");
	array = json_array();
	json_array_foreach(history, i, entry) {
		bool empty = json_is_true(json_object_get(entry, "empty_layer"));
		uint64_t bytes = 0, created_ns = 0;

		if (!empty && layer < image_layer_count(image))
			bytes = image_layer(image, layer++)->size_bytes;
		api_parse_time(member(entry, "created"), &created_ns, NULL);
		json_array_insert_new(array, 0,
				      json_pack("{s:s,s:I,s:s,s:n,s:I,s:s}", "Id", "<missing>",
						"Created", (json_int_t)(created_ns / NSEC_PER_SEC),
						"CreatedBy", member(entry, "created_by"), "Tags",
						"Size", (json_int_t)bytes, "Comment",
						member(entry, "comment")));
	}
	/* An image without a history still has its layers. */
	for (; layer < image_layer_count(image); layer++)
		json_array_insert_new(
			array, 0,
			json_pack("{s:s,s:I,s:s,s:n,s:I,s:s}", "Id", "<missing>", "Created",
				  (json_int_t)(image_created_ns(image) / NSEC_PER_SEC), "CreatedBy",
				  "", "Tags", "Size",
				  (json_int_t)image_layer(image, layer)->size_bytes, "Comment",
				  ""));
	/* Of what was made here, the images in between are known by name. */
	at = image;
	json_array_foreach(array, i, entry) {
		if (!at)
			break;
		json_object_set_new(entry, "Id", json_string(image_id(at)));
		if (image_tags(at) && image_tags(at)[0])
			json_object_set_new(entry, "Tags", json_from_strv(image_tags(at)));
		at = image_parent(images, at);
	}
	return http_respond_json(request, 200, array);
}

static void emit(struct http_request *request, const char *action, const char *id, const char *name)
{
	engine_emit(api_engine(request), "image", action, id,
		    json_pack("{s:o}", "name", api_json_string(name)));
}

int docker_image_tag(struct http_request *request, struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	const char *repo = http_query(request, "repo"), *tag = http_query(request, "tag");
	autofree char *reference = NULL;
	int r = find(request, &image, err);

	if (r < 0)
		return r;
	if (!repo || !*repo)
		return error_set(err, ERROR_INVALID, "invalid reference format");
	reference = tag && *tag ? strf("%s:%s", repo, tag) : strdup(repo);
	if (!reference)
		return error_nomem(err);
	r = image_tag(engine_images(api_engine(request)), image_id(image), reference, err);
	if (r < 0)
		return r;
	emit(request, "tag", image_id(image), reference);
	return http_respond_empty(request, 201);
}

static void emit_report(struct http_request *request, const char *id, const json_t *report)
{
	const json_t *item;
	size_t i;

	json_array_foreach((json_t *)report, i, item) {
		if (json_object_get(item, "Untagged"))
			emit(request, "untag", id, id);
		if (!strcmp(member(item, "Deleted"), id))
			emit(request, "delete", id, id);
	}
}

int docker_image_remove(struct http_request *request, struct error *err)
{
	autofree char *id = NULL;
	json_t *report = NULL;
	int r;
	{
		autoptr(image_unref) struct image *image = NULL;

		r = find(request, &image, err);
		if (r < 0)
			return r;
		id = strdup(image_id(image));
	} /* our own reference would keep it alive */
	if (!id)
		return error_nomem(err);
	r = image_remove(engine_images(api_engine(request)), http_param(request, "name"),
			 http_query_bool(request, "force", false),
			 !http_query_bool(request, "noprune", false), engine_image_user,
			 api_engine(request), &report, err);
	if (r < 0)
		return r;
	emit_report(request, id, report);
	return http_respond_json(request, 200, report);
}

int docker_image_prune(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "dangling", "until", "label", "label!", NULL };
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	struct image_list list = { .request = request };
	char *const *dangling;
	uint64_t reclaimed = 0;
	json_t *deleted;
	bool all;
	int r = http_filters_parse(http_query(request, "filters"), &filters, err);

	if (r == 0)
		r = http_filters_check(filters, allowed, err);
	if (r == 0 && http_filters_get(filters, "until"))
		r = api_parse_time(http_filters_get(filters, "until")[0], &list.until_ns, err);
	if (r < 0)
		return r;
	dangling = http_filters_get(filters, "dangling");
	all = dangling && (!strcmp(dangling[0], "false") || !strcmp(dangling[0], "0"));
	list.filters = filters;
	image_each(engine_images(api_engine(request)), pick, &list);
	deleted = json_array();
	for (size_t i = 0; i < list.count; i++) {
		autofree char *id = strdup(image_id(list.images[i]));
		bool named = image_tags(list.images[i]) && image_tags(list.images[i])[0];
		uint64_t bytes = image_size_bytes(list.images[i]);
		json_t *report = NULL;

		image_unref(steal(list.images[i]));
		/* Without a filter only the nameless; with dangling=false named ones, too (those in
		 * use are refused by image_remove). */
		if (!id || (!all && named) || engine_image_user(id, api_engine(request)))
			continue;
		if (image_remove(engine_images(api_engine(request)), id, true, true,
				 engine_image_user, api_engine(request), &report, NULL) < 0)
			continue;
		emit_report(request, id, report);
		json_array_extend(deleted, report);
		json_decref(report);
		reclaimed += bytes;
	}
	free(list.images);
	return http_respond_json(request, 200,
				 json_pack("{s:o,s:I}", "ImagesDeleted", deleted, "SpaceReclaimed",
					   (json_int_t)reclaimed));
}

int docker_image_search(struct http_request *request, struct error *err)
{
	/* No registry is asked: nothing is found. */
	return http_respond_json(request, 200, json_array());
}
