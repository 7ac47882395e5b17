/* /hyper/v1/pods: what Docker has no word for. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/api/api.h"

#define STATS_INTERVAL_MS 1000

/* {pod}: a pod, or a container standing for its pod. */
static int find_pod(struct http_request *request, struct pod **ret, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	const char *name = http_param(request, "pod");
	int r = pod_get(api_engine(request), name, ret, err);

	if (r == 0 || container_get(api_engine(request), name, &container, NULL) < 0)
		return r;
	error_clear(err);
	*ret = pod_ref(container_pod(container));
	return 0;
}

static int done(struct http_request *request, int r)
{
	return r < 0 ? r : http_respond_empty(request, 204);
}

/* ------------------------------------------------------------------ list */

struct pod_list {
	struct http_filters *filters;
	json_t *array;
	bool all, solo;
};

static bool pod_matches(struct pod_list *list, struct pod *pod)
{
	char *const *ids = http_filters_get(list->filters, "id");
	autojson json_t *labels = NULL;
	bool id_fits = !ids;

	if (!list->all && pod_state(pod) != POD_RUNNING && pod_state(pod) != POD_PAUSED)
		return false;
	if (!list->solo && pod_is_solo(pod))
		return false;
	strv_for_each(id, ids)
		id_fits = id_fits || str_starts(pod_id(pod), *id);
	if (!id_fits || !http_filters_match(list->filters, "name", pod_name(pod)) ||
	    !http_filters_match(list->filters, "status", pod_state_name(pod_state(pod))) ||
	    !http_filters_match(list->filters, "isolation",
				sandbox_isolation_name(pod_spec(pod)->isolation)))
		return false;
	labels = api_json_pairs(pod_spec(pod)->labels);
	return api_labels_match(labels, http_filters_get(list->filters, "label"));
}

static void list_one(struct pod *pod, void *arg)
{
	struct pod_list *list = arg;

	if (pod_matches(list, pod))
		json_array_append_new(list->array, pod_inspect(pod));
}

int native_pod_list(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "id", "isolation", "label", "name", "status", NULL };
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	struct pod_list list = {
		.all = http_query_bool(request, "all", true),
		.solo = http_query_bool(request, "solo", true),
	};
	int r = http_filters_parse(http_query(request, "filters"), &filters, err);

	if (r == 0)
		r = http_filters_check(filters, allowed, err);
	if (r < 0)
		return r;
	list.filters = filters;
	list.array = json_array();
	pod_each(api_engine(request), list_one, &list);
	return http_respond_json(request, 200, list.array);
}

/* ------------------------------------------------------------------ create */

static int override_text(struct http_request *request, const char *name, char **to,
			 struct error *err)
{
	const char *value = http_query(request, name);

	if (!value || !*value)
		return 0;
	free(*to);
	*to = strdup(value);
	return *to ? 0 : error_nomem(err);
}

/* What the query says counts more than the file. */
static int overrides(struct http_request *request, struct pod_spec *spec, struct error *err)
{
	const char *isolation = http_query(request, "isolation");
	const char *transport = http_query(request, "transport");
	int64_t vcpus = spec->vcpus, memory = (int64_t)spec->memory_bytes;
	int r = override_text(request, "name", &spec->name, err);

	if (r == 0)
		r = override_text(request, "hypervisor", &spec->hypervisor, err);
	if (r == 0)
		r = override_text(request, "machine", &spec->machine, err);
	if (r == 0)
		r = http_query_int(request, "vcpus", 1, 256, &vcpus, err);
	if (r == 0)
		r = http_query_int(request, "memoryBytes", 1 << 20, INT64_MAX, &memory, err);
	if (r < 0)
		return r;
	spec->vcpus = (unsigned)vcpus;
	spec->auto_remove = http_query_bool(request, "rm", false);
	spec->memory_bytes = (uint64_t)memory;
	if (spec->machine && strcmp(spec->machine, "microvm") && strcmp(spec->machine, "q35"))
		return error_set(err, ERROR_INVALID, "machine=%.32s: expected microvm or q35",
				 spec->machine);
	if (isolation && *isolation) {
		if (strcmp(isolation, "vm") && strcmp(isolation, "namespace"))
			return error_set(err, ERROR_INVALID,
					 "isolation=%.32s: expected vm or namespace", isolation);
		spec->isolation = strcmp(isolation, "vm") ? ISOLATION_NAMESPACE : ISOLATION_VM;
		spec->isolation_set = true;
	}
	if (transport && *transport) {
		if (!strcmp(transport, "auto"))
			spec->transport = TRANSPORT_AUTO;
		else if (!strcmp(transport, "serial"))
			spec->transport = TRANSPORT_SERIAL;
		else if (!strcmp(transport, "disk"))
			spec->transport = TRANSPORT_DISK;
		else
			return error_set(err, ERROR_INVALID,
					 "transport=%.32s: expected auto, serial or disk",
					 transport);
	}
	return 0;
}

int native_pod_create(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	autofree char *text = NULL;
	autojson json_t *inspected = NULL;
	struct pod_spec *spec = NULL;
	json_t *containers, *item, *list;
	size_t len = 0, i;
	int r = http_body_text(request, HTTP_MAX_JSON_BYTES, &text, &len, err);

	if (r == 0)
		r = pod_file_parse(text, len, NULL, &spec, err);
	if (r < 0)
		return r;
	r = overrides(request, spec, err);
	if (r < 0) {
		pod_spec_free(spec);
		return r;
	}
	r = pod_create(api_engine(request), spec, &pod, err);
	if (r < 0)
		return r;
	inspected = pod_inspect(pod);
	containers = json_object_get(inspected, "Containers");
	list = json_array();
	json_array_foreach(containers, i, item)
		json_array_append_new(list,
				      json_pack("{s:O?,s:O?}", "Id", json_object_get(item, "Id"),
						"Name", json_object_get(item, "Name")));
	return http_respond_json(request, 201,
				 json_pack("{s:s,s:s,s:o,s:[]}", "Id", pod_id(pod), "Name",
					   pod_name(pod), "Containers", list, "Warnings"));
}

/* ------------------------------------------------------------------ one pod */

int native_pod_inspect(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	int r = find_pod(request, &pod, err);

	return r < 0 ? r : http_respond_json(request, 200, pod_inspect(pod));
}

int native_pod_start(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	int r = find_pod(request, &pod, err);

	if (r == 0)
		r = pod_start(pod, err);
	return done(request, r);
}

static int timeout_query(struct http_request *request, int64_t *ret, struct error *err)
{
	*ret = -1;
	return http_query_int(request, "t", -1, INT32_MAX, ret, err);
}

int native_pod_stop(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	int64_t timeout_s;
	int r = timeout_query(request, &timeout_s, err);

	if (r == 0)
		r = find_pod(request, &pod, err);
	if (r == 0)
		r = pod_stop(pod, (int)timeout_s, err);
	if (r == 0)
		pod_auto_remove(pod);
	return done(request, r);
}

int native_pod_restart(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	int64_t timeout_s;
	int r = timeout_query(request, &timeout_s, err);

	if (r == 0)
		r = find_pod(request, &pod, err);
	if (r == 0)
		r = pod_stop(pod, (int)timeout_s, err);
	if (r == 0 || (err->kind == ERROR_NOT_MODIFIED && pod)) {
		error_clear(err);
		r = pod_start(pod, err);
	}
	return done(request, r);
}

int native_pod_kill(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	const char *name = http_query(request, "signal");
	int signal = 9, r = 0;

	if (name && *name)
		r = api_parse_signal(name, &signal, err);
	if (r == 0)
		r = find_pod(request, &pod, err);
	if (r == 0)
		r = pod_kill(pod, signal, err);
	return done(request, r);
}

static int pause_to(struct http_request *request, bool paused, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	int r = find_pod(request, &pod, err);

	if (r == 0)
		r = pod_pause(pod, paused, err);
	return done(request, r);
}

int native_pod_pause(struct http_request *request, struct error *err)
{
	return pause_to(request, true, err);
}

int native_pod_unpause(struct http_request *request, struct error *err)
{
	return pause_to(request, false, err);
}

int native_pod_rename(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	const char *name = http_query(request, "name");
	int r = find_pod(request, &pod, err);

	if (r == 0 && (!name || !*name))
		r = error_set(err, ERROR_INVALID, "the new name is missing");
	if (r == 0)
		r = pod_rename(pod, name, err);
	return done(request, r);
}

int native_pod_remove(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	int r = find_pod(request, &pod, err);

	if (r == 0)
		r = pod_remove(pod, http_query_bool(request, "force", false), err);
	return done(request, r);
}

int native_pod_wait(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	autojson json_t *answer = NULL;
	struct error wait_error = { 0 };
	int code = 0, r = find_pod(request, &pod, err);

	if (r < 0)
		return r;
	http_stream_begin(request, 200, "application/json");
	r = pod_wait(pod, &code, &wait_error);
	if (r == -ECANCELED)
		return r;
	answer =
		json_pack("{s:i,s:o}", "StatusCode", code, "Error",
			  r < 0 ? json_pack("{s:o}", "Message", api_json_string(wait_error.message))
				: json_null());
	return http_stream_push_json(request, answer, "\n");
}

int native_pod_stats(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	bool stream = http_query_bool(request, "stream", true);
	int r = find_pod(request, &pod, err);

	while (r == 0) {
		autojson json_t *line = NULL;
		json_t *stats;

		r = pod_stats(pod, &stats, err);
		if (r < 0) {
			/* The pod's end is the stream's. */
			if (request->head_sent && r != -ECANCELED)
				return 0;
			break;
		}
		line = json_pack("{s:o,s:s,s:s,s:o}", "Read", api_json_time(realtime_ns()), "Pod",
				 pod_id(pod), "Name", pod_name(pod), "Stats", stats);
		if (!stream)
			return http_respond_json(request, 200, steal(line));
		if (!request->head_sent)
			r = http_stream_begin(request, 200, "application/json");
		if (r == 0)
			r = http_stream_push_json(request, line, "\n");
		if (r == 0)
			r = http_output_flush(request, DEADLINE_NEVER);
		if (r == 0)
			r = task_sleep_until(deadline_in_ms(STATS_INTERVAL_MS));
	}
	return r;
}

int native_pod_console(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	autofree char *text = NULL;
	size_t len = 0;
	int r = find_pod(request, &pod, err);

	if (r == 0)
		r = pod_console(pod, &text, &len, err);
	return r < 0 ? r : http_respond(request, 200, "text/plain", text, len);
}

int native_pod_timing(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	int r = find_pod(request, &pod, err);

	return r < 0 ? r : http_respond_json(request, 200, pod_timing(pod));
}

int native_pod_exec(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	autoptr(exec_unref) struct exec *exec = NULL;
	autojson json_t *body = NULL;
	struct exec_spec *spec;
	int r = http_body_json(request, &body, err);

	if (r == 0)
		r = find_pod(request, &pod, err);
	if (r == 0)
		r = exec_request_parse(body, &spec, err);
	if (r == 0)
		r = exec_create_vm(pod, spec, &exec, err);
	return r < 0 ? r : http_respond_json(request, 201, json_pack("{s:s}", "Id", exec_id(exec)));
}

int native_pod_add_container(struct http_request *request, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	int r = find_pod(request, &pod, err);

	return r < 0 ? r : api_container_create(request, pod, err);
}
