/* What is remembered of pods and containers across daemons: as records, and back. */
#include <string.h>

#include "base/json.h"
#include "hyperd/pod/internal.h"

static void set_text(json_t *object, const char *key, const char *value)
{
	if (value && *value)
		json_object_set_new(object, key, json_string(value));
}

static void set_time(json_t *object, const char *key, uint64_t ns)
{
	if (ns)
		json_object_set_new(object, key, json_integer((json_int_t)ns));
}

json_t *pod_record(const struct pod *pod)
{
	json_t *spec = pod_spec_to_json(pod->spec), *record;
	struct container *c;
	json_t *order = json_array();

	list_for_each_entry(c, &pod->containers, pod_node)
		json_array_append_new(order, json_string(c->id));
	record = json_pack("{s:s, s:s, s:o, s:b, s:b, s:s, s:o}", "id", pod->id, "name", pod->name,
			   "spec", spec, "solo", pod->solo, "storageUsed", pod->storage_used,
			   "state", pod_state_name(pod->state), "containers", order);
	if (!record)
		return NULL;
	set_time(record, "createdNs", pod->created_ns);
	set_time(record, "startedNs", pod->started_ns);
	set_time(record, "finishedNs", pod->finished_ns);
	set_text(record, "error", pod->failure.message);
	if (pod->garbage)
		json_object_set_new(record, "garbage", json_from_strv(pod->garbage));
	if (pod->endpoint_count || pod->addresses)
		json_object_set_new(record, "network", pod_network_record(pod));
	if (pod->sandbox && !pod->sandbox_dead && !pod->serving)
		json_object_set_new(record, "sandbox", sandbox_record(pod->sandbox));
	return record;
}

json_t *container_record(const struct container *c)
{
	json_t *spec = container_spec_to_json(c->spec), *record;

	record = json_pack("{s:s, s:s, s:s, s:s, s:o, s:i, s:i, s:i, s:b, s:b}", "id", c->id, "pod",
			   c->pod->id, "name", c->name, "imageId", c->image_id, "spec", spec,
			   "state", (int)c->state, "exitCode", c->exit_code, "restartCount",
			   (int)c->restart_count, "manuallyStopped", c->manually_stopped,
			   "oomKilled", c->oom_killed);
	if (!record)
		return NULL;
	set_time(record, "createdNs", c->created_ns);
	set_time(record, "startedNs", c->started_ns);
	set_time(record, "finishedNs", c->finished_ns);
	set_text(record, "error", c->error);
	if (c->took_prepared)
		json_object_set_new(record, "tookPrepared", json_true());
	return record;
}

/* ------------------------------------------------------------------ back */

static uint64_t get_time(const json_t *record, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(record, key));
}

static int get_id(const json_t *record, const char *key, const char **ret, struct error *err)
{
	int r = json_get_string(record, key, ret, err);

	if (r == 0 &&
	    (!*ret || strlen(*ret) != ID_BYTES || strspn(*ret, "0123456789abcdef") != ID_BYTES))
		r = error_set(err, ERROR_INVALID, "%s: expected 64 hexadecimal digits", key);
	return r;
}

int pod_from_record(struct engine *engine, json_t *record, struct pod **ret, struct error *err)
{
	const char *id, *name, *failure;
	struct pod_spec *spec;
	struct pod *pod;
	int r = get_id(record, "id", &id, err);

	if (r == 0)
		r = json_get_string(record, "name", &name, err);
	if (r == 0)
		r = json_get_string(record, "error", &failure, err);
	if (r == 0 && !name)
		r = error_set(err, ERROR_INVALID, "no name");
	if (r == 0)
		r = pod_spec_from_json(json_object_get(record, "spec"), &spec, err);
	if (r < 0)
		return r;
	free(spec->name);
	spec->name = strdup(name);
	r = pod_new(engine, spec, json_is_true(json_object_get(record, "solo")), id, &pod, err);
	if (r < 0)
		return r;
	pod->storage_used = json_is_true(json_object_get(record, "storageUsed"));
	pod->created_ns = get_time(record, "createdNs");
	pod->started_ns = get_time(record, "startedNs");
	pod->finished_ns = get_time(record, "finishedNs");
	if (failure)
		error_set(&pod->failure, ERROR_FAILED, "%s", failure);
	json_get_strv(record, "garbage", &pod->garbage, NULL);
	pod->addresses =
		json_incref(json_object_get(json_object_get(record, "network"), "addresses"));
	*ret = pod;
	return 0;
}

static struct pod *find_pod_by_id(struct engine *engine, const char *id)
{
	struct pod *pod;

	list_for_each_entry(pod, &engine->pods, node) {
		if (strcmp(pod->id, id) == 0)
			return pod;
	}
	return NULL;
}

int container_from_record(struct engine *engine, json_t *record, enum container_state *ret_state,
			  struct container **ret, struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	const char *id, *pod_id, *name, *image_name, *failure;
	struct container_spec *spec;
	struct container *c;
	struct pod *pod;
	int64_t state;
	int r = get_id(record, "id", &id, err);

	if (r == 0)
		r = get_id(record, "pod", &pod_id, err);
	if (r == 0)
		r = json_get_string(record, "name", &name, err);
	if (r == 0)
		r = json_get_string(record, "imageId", &image_name, err);
	if (r == 0)
		r = json_get_string(record, "error", &failure, err);
	if (r == 0)
		r = json_get_int(record, "state", &state, err);
	if (r < 0)
		return r;
	pod = find_pod_by_id(engine, pod_id);
	if (!pod || !name)
		return error_set(err, ERROR_NOT_FOUND, "its pod is gone");
	r = container_spec_from_json(json_object_get(record, "spec"), &spec, err);
	if (r < 0)
		return r;
	if (image_name && image_get(engine->images, image_name, &image, NULL) < 0)
		log_warn("container %s: its image %s is gone; it cannot be started", name,
			 image_name);
	r = container_new(engine, spec, pod, id, name, image, &c, err);
	if (r < 0)
		return r;
	if (!image && image_name) {
		free(c->image_id);
		c->image_id = strdup(image_name);
	}
	c->exit_code = (int)json_integer_value(json_object_get(record, "exitCode"));
	c->restart_count = (unsigned)json_integer_value(json_object_get(record, "restartCount"));
	c->manually_stopped = json_is_true(json_object_get(record, "manuallyStopped"));
	c->oom_killed = json_is_true(json_object_get(record, "oomKilled"));
	c->took_prepared = json_is_true(json_object_get(record, "tookPrepared"));
	c->created_ns = get_time(record, "createdNs");
	c->started_ns = get_time(record, "startedNs");
	c->finished_ns = get_time(record, "finishedNs");
	container_set_error(c, failure);
	*ret_state = state >= CONTAINER_CREATED && state <= CONTAINER_DEAD
			     ? (enum container_state)state
			     : CONTAINER_EXITED;
	*ret = c;
	return 0;
}
