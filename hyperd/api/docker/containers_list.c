/* GET /containers/json, POST /containers/prune: containers by filter. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

struct list_request {
	struct http_request *request;
	struct http_filters *filters;
	json_t *array;
	int64_t limit;
	bool all, size;
	uint64_t before_ns, since_ns;
	uint64_t until_ns; /* prune */
};

static char *status_text(const struct container_status *status)
{
	autofree char *since = NULL;
	const char *health = "";

	switch (status->state) {
	case CONTAINER_CREATED:
	case CONTAINER_STARTING:
		return strdup("Created");
	case CONTAINER_DEAD:
		return strdup("Dead");
	case CONTAINER_REMOVING:
		return strdup("Removal In Progress");
	case CONTAINER_EXITED:
		since = api_human_duration(realtime_ns() - status->finished_ns);
		return status->finished_ns ? strf("Exited (%d) %s ago", status->exit_code, since)
					   : strdup("Created");
	case CONTAINER_RESTARTING:
		since = api_human_duration(realtime_ns() - status->finished_ns);
		return strf("Restarting (%d) %s ago", status->exit_code, since);
	default:
		break;
	}
	since = api_human_duration(realtime_ns() - status->started_ns);
	if (status->paused)
		health = " (Paused)";
	else if (str_equal(status->health, "starting"))
		health = " (health: starting)";
	else if (str_equal(status->health, "healthy"))
		health = " (healthy)";
	else if (str_equal(status->health, "unhealthy"))
		health = " (unhealthy)";
	return strf("Up %s%s", since, health);
}

/* As `docker ps` shows it: the arguments in one line, quoted where a shell would need it. */
static char *command_text(struct container *container)
{
	struct str text = STR_INIT;
	bool first = true;

	strv_for_each(arg, container_args(container)) {
		bool quote = !first && (!**arg || strpbrk(*arg, " \t\n'\"\\$`;|&<>(){}*?#~"));

		if (!first)
			str_addc(&text, ' ');
		if (!quote) {
			str_add(&text, *arg);
		} else {
			str_addc(&text, '\'');
			for (const char *p = *arg; *p; p++)
				if (*p == '\'')
					str_add(&text, "'\"'\"'");
				else
					str_addc(&text, *p);
			str_addc(&text, '\'');
		}
		first = false;
	}
	str_add(&text, "");
	return str_steal(&text);
}

json_t *api_container_summary(struct container *container, unsigned version)
{
	struct container_status status;
	autofree char *name = strf("/%s", container_name(container));
	autofree char *status_words = NULL, *command = command_text(container);
	const char *mode = NULL;
	json_t *summary, *host;

	container_status(container, &status);
	status_words = status_text(&status);
	host = json_object_get(container_spec(container)->docker, "HostConfig");
	json_get_string(host, "NetworkMode", &mode, NULL);
	summary =
		json_pack("{s:s,s:[o],s:o,s:s,s:o,s:I,s:o,s:o,s:s,s:o,s:{s:s},s:{s:o},s:o,s:o}",
			  "Id", container_id(container), "Names", api_json_string(name), "Image",
			  api_json_string(container_spec(container)->image), "ImageID",
			  image_id(container_image(container)), "Command", api_json_string(command),
			  "Created", (json_int_t)(container_created_ns(container) / NSEC_PER_SEC),
			  "Ports", api_container_port_list(container), "Labels",
			  api_container_labels(container), "State",
			  container_state_name(status.state), "Status",
			  api_json_string(status_words), "HostConfig", "NetworkMode",
			  mode && *mode ? mode : "default", "NetworkSettings", "Networks",
			  api_container_networks(container), "Mounts",
			  api_container_mounts(container), "Hyper", api_container_hyper(container));
	return summary;
}

/* Docker's name filter: a regular expression over "/name"; a plain word is a part of it. */
static bool name_matches(const struct http_filters *filters, struct container *container)
{
	char *const *values = http_filters_get(filters, "name");
	const char *name = container_name(container);

	strv_for_each(value, values) {
		const char *word = *value;
		size_t len;
		bool begin = *word == '^', end;

		word += begin;
		word += *word == '/';
		len = strlen(word);
		end = len && word[len - 1] == '$';
		len -= end;
		if (begin && end ? strlen(name) == len && !strncmp(name, word, len)
		    : begin      ? !strncmp(name, word, len)
		    : end ? strlen(name) >= len && !strncmp(name + strlen(name) - len, word, len)
			  : strstr(name, word) != NULL)
			return true;
	}
	return !values;
}

static bool id_matches(const struct http_filters *filters, const char *id)
{
	char *const *values = http_filters_get(filters, "id");

	strv_for_each(value, values)
		if (str_starts(id, *value))
			return true;
	return !values;
}

static bool exited_matches(const struct http_filters *filters,
			   const struct container_status *status)
{
	char *const *values = http_filters_get(filters, "exited");
	char code[16];

	if (!values)
		return true;
	snprintf(code, sizeof(code), "%d", status->exit_code);
	return !status->running && status->finished_ns &&
	       http_filters_match(filters, "exited", code);
}

static bool ancestor_matches(struct list_request *list, struct container *container)
{
	char *const *values = http_filters_get(list->filters, "ancestor");
	const char *have = image_id(container_image(container));

	strv_for_each(value, values) {
		autoptr(image_unref) struct image *image = NULL;

		if (image_get(engine_images(api_engine(list->request)), *value, &image, NULL) ==
			    0 &&
		    !strcmp(image_id(image), have))
			return true;
	}
	return !values;
}

static bool pod_matches(const struct http_filters *filters, struct container *container)
{
	char *const *values = http_filters_get(filters, "pod");
	struct pod *pod = container_pod(container);

	strv_for_each(value, values)
		if (!strcmp(*value, pod_name(pod)) ||
		    (strlen(*value) >= 4 && str_starts(pod_id(pod), *value)))
			return true;
	return !values;
}

static bool is_task_matches(const struct http_filters *filters)
{
	char *const *values = http_filters_get(filters, "is-task");

	return !values || !strcmp(values[0], "false") || !strcmp(values[0], "0");
}

static bool mount_matches(const struct http_filters *filters, struct container *container)
{
	char *const *values = http_filters_get(filters, "volume");
	const struct container_spec *spec = container_spec(container);

	strv_for_each(value, values)
		for (size_t i = 0; i < spec->mount_count; i++)
			if (str_equal(spec->mounts[i].destination, *value) ||
			    str_equal(spec->mounts[i].source, *value))
				return true;
	return !values;
}

static bool network_matches(const struct http_filters *filters, struct container *container)
{
	char *const *wanted = http_filters_get(filters, "network");
	autojson json_t *networks = wanted ? api_container_networks(container) : NULL;
	const char *name;
	json_t *network;

	strv_for_each(w, wanted)
		json_object_foreach(networks, name, network) {
			const char *id = json_string_value(json_object_get(network, "NetworkID"));

			if (!strcmp(name, *w) || (id && *id && str_starts(id, *w)))
				return true;
		}
	return !wanted;
}

static bool matches(struct list_request *list, struct container *container)
{
	const struct http_filters *filters = list->filters;
	struct container_status status;
	autojson json_t *labels = NULL;

	container_status(container, &status);
	if (!list->all && !status.running && !http_filters_get(filters, "status"))
		return false;
	if (!http_filters_match(filters, "status", container_state_name(status.state)) ||
	    !http_filters_match(filters, "health", status.health ? status.health : "none") ||
	    !http_filters_match(filters, "isolation",
				sandbox_isolation_name(
					pod_spec(container_pod(container))->isolation)))
		return false;
	if (list->before_ns && container_created_ns(container) >= list->before_ns)
		return false;
	if (list->since_ns && container_created_ns(container) <= list->since_ns)
		return false;
	if (!name_matches(filters, container) || !id_matches(filters, container_id(container)) ||
	    !exited_matches(filters, &status) || !ancestor_matches(list, container) ||
	    !pod_matches(filters, container) || !is_task_matches(filters) ||
	    !mount_matches(filters, container) || !network_matches(filters, container))
		return false;
	if (http_filters_get(filters, "publish") || http_filters_get(filters, "expose"))
		return false; /* nothing is published yet */
	labels = api_container_labels(container);
	return api_labels_match(labels, http_filters_get(filters, "label"));
}

static void list_one(struct container *container, void *arg)
{
	struct list_request *list = arg;
	json_t *summary;

	if (list->limit > 0 && (int64_t)json_array_size(list->array) >= list->limit)
		return;
	if (!matches(list, container))
		return;
	summary = api_container_summary(container, api_version(list->request));
	if (list->size) {
		api_add_sizes(summary, container);
	}
	json_array_append_new(list->array, summary);
}

/* The creation time of a container named by a filter or query value. */
static int created_of(struct http_request *request, const char *name, uint64_t *ret,
		      struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	int r;

	if (!name || !*name)
		return 0;
	r = container_get(api_engine(request), name, &container, err);
	if (r < 0)
		return r;
	*ret = container_created_ns(container);
	return 0;
}

static const char *const list_filters[] = { "ancestor", "before",    "expose",  "exited", "health",
					    "id",       "isolation", "is-task", "label",  "name",
					    "network",  "pod",       "publish", "since",  "status",
					    "volume",   NULL };

static int check_words(const struct http_filters *filters, struct error *err)
{
	static const char *const statuses[] = { "created",  "running", "paused", "restarting",
						"removing", "exited",  "dead",   NULL };
	static const char *const healths[] = { "none", "starting", "healthy", "unhealthy", NULL };
	static const struct {
		const char *key;
		const char *const *words;
	} checks[] = { { "status", statuses }, { "health", healths } };

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		char *const *values = http_filters_get(filters, checks[i].key);

		strv_for_each(value, values) {
			bool found = false;

			for (const char *const *word = checks[i].words; *word; word++)
				found = found || !strcmp(*word, *value);
			if (!found)
				return error_set(err, ERROR_INVALID, "Invalid filter '%s=%.64s'",
						 checks[i].key, *value);
		}
	}
	strv_for_each(value, http_filters_get(filters, "exited")) {
		long long number;

		if (parse_i64(*value, INT32_MIN, INT32_MAX, &number) < 0)
			return error_set(err, ERROR_INVALID, "Invalid filter 'exited=%.64s'",
					 *value);
	}
	return 0;
}

static const char *first(const struct http_filters *filters, const char *key)
{
	char *const *values = http_filters_get(filters, key);

	return values ? values[0] : NULL;
}

int docker_container_list(struct http_request *request, struct error *err)
{
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	struct list_request list = {
		.request = request,
		.all = http_query_bool(request, "all", false),
		.size = http_query_bool(request, "size", false),
	};
	int r = http_filters_parse(http_query(request, "filters"), &filters, err);

	if (r == 0)
		r = http_filters_check(filters, list_filters, err);
	if (r == 0)
		r = check_words(filters, err);
	if (r == 0)
		r = http_query_int(request, "limit", INT32_MIN, INT32_MAX, &list.limit, err);
	if (r == 0)
		r = created_of(request, http_query(request, "before"), &list.before_ns, err);
	if (r == 0)
		r = created_of(request, http_query(request, "since"), &list.since_ns, err);
	if (r == 0)
		r = created_of(request, first(filters, "before"), &list.before_ns, err);
	if (r == 0)
		r = created_of(request, first(filters, "since"), &list.since_ns, err);
	if (r < 0)
		return r;
	/* "The last N" and "since" count those that do not run, too. */
	if (list.limit > 0 || list.before_ns || list.since_ns ||
	    http_filters_get(filters, "exited"))
		list.all = true;
	list.filters = filters;
	list.array = json_array();
	container_each(api_engine(request), list_one, &list);
	return http_respond_json(request, 200, list.array);
}

/* ------------------------------------------------------------------ prune */

struct prune {
	struct http_filters *filters;
	uint64_t until_ns;
	size_t count;
	struct container **containers; /* owned references */
};

static void prune_pick(struct container *container, void *arg)
{
	struct prune *prune = arg;
	struct container **grown;
	struct container_status status;
	autojson json_t *labels = api_container_labels(container);
	char *const *without = http_filters_get(prune->filters, "label!");

	container_status(container, &status);
	if (status.state != CONTAINER_CREATED && status.state != CONTAINER_EXITED &&
	    status.state != CONTAINER_DEAD)
		return;
	if (!pod_is_solo(container_pod(container)))
		return; /* pods are removed as pods */
	if (prune->until_ns && container_created_ns(container) > prune->until_ns)
		return;
	if (!api_labels_match(labels, http_filters_get(prune->filters, "label")) ||
	    (without && api_labels_match(labels, without)))
		return;
	grown = reallocarray(prune->containers, prune->count + 1, sizeof(*grown));
	if (!grown)
		return;
	prune->containers = grown;
	grown[prune->count++] = container_ref(container);
}

int docker_container_prune(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "until", "label", "label!", NULL };
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	struct prune prune = { 0 };
	json_t *deleted;
	int r = http_filters_parse(http_query(request, "filters"), &filters, err);

	if (r == 0)
		r = http_filters_check(filters, allowed, err);
	if (r == 0)
		r = api_parse_time(first(filters, "until"), &prune.until_ns, err);
	if (r < 0)
		return r;
	prune.filters = filters;
	deleted = json_array();
	container_each(api_engine(request), prune_pick, &prune);
	for (size_t i = 0; i < prune.count; i++) {
		const struct container_remove_options options = { 0 };

		/* One that was started meanwhile stays. */
		if (container_remove(prune.containers[i], &options, NULL) == 0)
			json_array_append_new(deleted,
					      json_string(container_id(prune.containers[i])));
		container_unref(prune.containers[i]);
	}
	free(prune.containers);
	return http_respond_json(request, 200,
				 json_pack("{s:o,s:i}", "ContainersDeleted", deleted,
					   "SpaceReclaimed", 0));
}
