/*
 * Events in Docker's form, given to subscribers as they happen, the last EVENTS_KEPT kept.
 * Subscribers run in the middle of what they are told about: they copy and wake somebody, no more.
 */
#include <string.h>

#include "base/clock.h"
#include "hyperd/pod/internal.h"

struct event_subscription {
	struct list node;
	void (*fn)(const json_t *event, void *arg);
	void *arg;
};

int engine_subscribe(struct engine *engine, void (*fn)(const json_t *event, void *arg), void *arg,
		     struct event_subscription **ret, struct error *err)
{
	struct event_subscription *s = calloc(1, sizeof(*s));

	if (!s)
		return error_nomem(err);
	s->fn = fn;
	s->arg = arg;
	list_append(&engine->subscriptions, &s->node);
	*ret = s;
	return 0;
}

void event_unsubscribe(struct event_subscription *s)
{
	if (!s)
		return;
	list_remove(&s->node);
	free(s);
}

const json_t *engine_past_events(struct engine *engine)
{
	return engine->past_events;
}

void events_done(struct engine *engine)
{
	while (!list_empty(&engine->subscriptions))
		event_unsubscribe(
			container_of(engine->subscriptions.next, struct event_subscription, node));
	json_decref(engine->past_events);
}

void engine_emit(struct engine *engine, const char *type, const char *action, const char *id,
		 json_t *attributes)
{
	uint64_t now = realtime_ns();
	const char *from;
	json_t *event;

	if (!attributes)
		attributes = json_object();
	from = json_string_value(json_object_get(attributes, "image"));
	event = json_pack("{s:s, s:s, s:{s:s, s:O}, s:s, s:I, s:I}", "Type", type, "Action", action,
			  "Actor", "ID", id, "Attributes", attributes, "scope", "local", "time",
			  (json_int_t)(now / NSEC_PER_SEC), "timeNano", (json_int_t)now);
	/* What older clients read. */
	if (event && strcmp(type, "container") == 0) {
		json_object_set_new(event, "status", json_string(action));
		json_object_set_new(event, "id", json_string(id));
		if (from)
			json_object_set_new(event, "from", json_string(from));
	} else if (event && strcmp(type, "image") == 0) {
		json_object_set_new(event, "status", json_string(action));
		json_object_set_new(event, "id", json_string(id));
	}
	json_decref(attributes);
	if (!event)
		return;
	if (json_array_size(engine->past_events) >= EVENTS_KEPT)
		json_array_remove(engine->past_events, 0);
	json_array_append(engine->past_events, event);
	list_for_each_safe(node, &engine->subscriptions) {
		struct event_subscription *s = container_of(node, struct event_subscription, node);

		s->fn(event, s->arg);
	}
	json_decref(event);
}

void container_event(struct container *c, const char *action, const char *const *keys)
{
	json_t *attributes = spec_pairs_to_json(c->config.labels);

	if (!attributes)
		return;
	json_object_set_new(attributes, "image", json_string(c->spec->image ? c->spec->image : ""));
	json_object_set_new(attributes, "name", json_string(c->name));
	for (; keys && keys[0]; keys += 2)
		json_object_set_new(attributes, keys[0], json_string(keys[1] ? keys[1] : ""));
	engine_emit(c->engine, "container", action, c->id, attributes);
}

void engine_network_event(struct engine *engine, const struct network *network, const char *action,
			  const char *container_id)
{
	json_t *attributes =
		json_pack("{s:s, s:s}", "name", network->name, "type", network->driver);

	if (container_id)
		json_object_set_new(attributes, "container", json_string(container_id));
	engine_emit(engine, "network", action, network->id, attributes);
}

void pod_event(struct pod *pod, const char *action)
{
	json_t *attributes = spec_pairs_to_json(pod->spec->labels);

	/* A pod of one has its container's events. */
	if (pod->solo || !attributes) {
		json_decref(attributes);
		return;
	}
	json_object_set_new(attributes, "name", json_string(pod->name));
	engine_emit(pod->engine, "pod", action, pod->id, attributes);
}
