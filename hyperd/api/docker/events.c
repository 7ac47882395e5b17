/* GET /events: what happened and what happens. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/api/api.h"

/* Unsent events of a client that does not read, before it is let go. */
#define EVENTS_MAX_UNSENT_BYTES (4u << 20)

struct watcher {
	struct http_request *request;
	struct http_filters *filters;
	uint64_t since_ns, until_ns;
	struct cond overflow;
	bool overflowed;
};

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

/* An object named by a filter: its id, the beginning of one, or its name. */
static bool object_matches(struct watcher *watcher, const json_t *event, const char *type)
{
	char *const *values = http_filters_get(watcher->filters, type);
	const json_t *actor = json_object_get(event, "Actor");
	const json_t *attributes = json_object_get(actor, "Attributes");
	bool same = !strcmp(text(event, "Type"), type);

	strv_for_each(value, values) {
		if (same && (str_starts(text(actor, "ID"), *value) ||
			     !strcmp(text(attributes, "name"), *value)))
			return true;
		/* An image filter also finds the events of its containers. */
		if (!strcmp(type, "image") && (!strcmp(text(attributes, "image"), *value) ||
					       !strcmp(text(event, "from"), *value)))
			return true;
	}
	return !values;
}

/* "exec_create: sh" is found by "exec_create", "health_status: healthy" by "health_status". */
static bool action_matches(struct watcher *watcher, const json_t *event)
{
	char *const *values = http_filters_get(watcher->filters, "event");
	const char *action = text(event, "Action");

	strv_for_each(value, values) {
		size_t len = strlen(*value);

		if (!strcmp(action, *value) ||
		    (!strncmp(action, *value, len) && action[len] == ':'))
			return true;
	}
	return !values;
}

static bool matches(struct watcher *watcher, const json_t *event)
{
	static const char *const objects[] = { "container", "image",  "pod",    "network",
					       "volume",    "plugin", "daemon", "node",
					       "service",   "secret", "config" };
	const json_t *attributes = json_object_get(json_object_get(event, "Actor"), "Attributes");
	uint64_t time_ns = (uint64_t)json_integer_value(json_object_get(event, "timeNano"));

	if (time_ns < watcher->since_ns || (watcher->until_ns && time_ns > watcher->until_ns))
		return false;
	if (!http_filters_match(watcher->filters, "type", text(event, "Type")) ||
	    !http_filters_match(watcher->filters, "scope",
				*text(event, "scope") ? text(event, "scope") : "local") ||
	    !action_matches(watcher, event))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(objects); i++)
		if (!object_matches(watcher, event, objects[i]))
			return false;
	return api_labels_match(attributes, http_filters_get(watcher->filters, "label"));
}

static void happened(const json_t *event, void *arg)
{
	struct watcher *watcher = arg;

	if (watcher->overflowed || !matches(watcher, event))
		return;
	http_stream_push_json(watcher->request, event, "\n");
	if (http_output_bytes(watcher->request) > EVENTS_MAX_UNSENT_BYTES) {
		watcher->overflowed = true;
		cond_broadcast(&watcher->overflow);
	}
}

static int watch(struct watcher *watcher, struct error *err)
{
	struct event_subscription *subscription = NULL;
	uint64_t now = realtime_ns();
	uint64_t deadline_ns = DEADLINE_NEVER;
	const json_t *event;
	size_t i;
	int r = 0;

	if (watcher->since_ns)
		json_array_foreach((json_t *)engine_past_events(api_engine(watcher->request)), i,
				   event)
			happened(event, watcher);
	if (watcher->until_ns && watcher->until_ns <= now)
		return 0;
	if (watcher->until_ns)
		deadline_ns = now_ns() + (watcher->until_ns - now);
	r = engine_subscribe(api_engine(watcher->request), happened, watcher, &subscription, err);
	if (r < 0)
		return r;
	while (!watcher->overflowed && r == 0)
		r = cond_wait(&watcher->overflow, deadline_ns);
	event_unsubscribe(subscription);
	if (watcher->overflowed)
		return error_set(err, ERROR_LIMIT, "more than %u bytes of events are unread",
				 EVENTS_MAX_UNSENT_BYTES);
	return r == -ETIMEDOUT ? 0 : r;
}

int docker_events(struct http_request *request, struct error *err)
{
	static const char *const allowed[] = { "config",  "container", "daemon",  "event",
					       "image",   "label",     "network", "node",
					       "plugin",  "pod",       "scope",   "secret",
					       "service", "type",      "volume",  NULL };
	autoptr(http_filters_free) struct http_filters *filters = NULL;
	struct watcher watcher = { .request = request };
	int r = http_filters_parse(http_query(request, "filters"), &filters, err);

	if (r == 0)
		r = http_filters_check(filters, allowed, err);
	if (r == 0)
		r = api_parse_time(http_query(request, "since"), &watcher.since_ns, err);
	if (r == 0)
		r = api_parse_time(http_query(request, "until"), &watcher.until_ns, err);
	if (r == 0 && watcher.until_ns && watcher.since_ns > watcher.until_ns)
		r = error_set(err, ERROR_INVALID,
			      "`since` time (%llu) cannot be after `until` time (%llu)",
			      (unsigned long long)(watcher.since_ns / NSEC_PER_SEC),
			      (unsigned long long)(watcher.until_ns / NSEC_PER_SEC));
	if (r < 0)
		return r;
	watcher.filters = filters;
	cond_init(&watcher.overflow);
	r = http_stream_begin(request, 200, "application/json");
	return r < 0 ? r : watch(&watcher, err);
}
