#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "hyperd/pod/internal.h"
#include "hyperd/pod/oci_defaults.h"

static const char *const state_names[] = {
	[POD_CREATED] = "created", [POD_STARTING] = "starting", [POD_RUNNING] = "running",
	[POD_PAUSED] = "paused",   [POD_STOPPING] = "stopping", [POD_STOPPED] = "stopped",
	[POD_FAILED] = "failed",
};

const char *pod_state_name(enum pod_state state)
{
	return state_names[state];
}

static const struct {
	enum pod_state from, to;
} transitions[] = {
	{ POD_CREATED, POD_STARTING }, { POD_STOPPED, POD_STARTING }, { POD_FAILED, POD_STARTING },
	{ POD_STARTING, POD_RUNNING }, { POD_STARTING, POD_FAILED },  { POD_RUNNING, POD_PAUSED },
	{ POD_PAUSED, POD_RUNNING },   { POD_RUNNING, POD_STOPPING }, { POD_PAUSED, POD_STOPPING },
	{ POD_STOPPING, POD_STOPPED }, { POD_STOPPING, POD_FAILED },
};

bool pod_state_may_become(enum pod_state from, enum pod_state to)
{
	for (size_t i = 0; i < ARRAY_SIZE(transitions); i++)
		if (transitions[i].from == from && transitions[i].to == to)
			return true;
	return false;
}

void pod_set_state(struct pod *pod, enum pod_state state)
{
	trace(pod, "pod %s: %s -> %s", pod->name, state_names[pod->state], state_names[state]);
	if (!pod_state_may_become(pod->state, state)) {
		log_error("pod %s: %s must not become %s", pod->name, state_names[pod->state],
			  state_names[state]);
		abort();
	}
	pod->state = state;
	cond_broadcast(&pod->changed);
}

/* ------------------------------------------------------------------ life */

struct pod *pod_ref(struct pod *pod)
{
	pod->refs++;
	return pod;
}

void pod_unref(struct pod *pod)
{
	if (!pod || --pod->refs)
		return;
	pod_spec_free(pod->spec);
	strv_free(pod->garbage);
	json_decref(pod->addresses);
	free(pod->name);
	free(pod);
}

int pod_new(struct engine *engine, struct pod_spec *spec, bool solo, const char *id,
	    struct pod **ret, struct error *err)
{
	struct pod *pod = calloc(1, sizeof(*pod));
	int r = 0;

	if (!pod) {
		pod_spec_free(spec);
		return error_nomem(err);
	}
	pod->refs = 1;
	pod->engine = engine;
	pod->spec = spec;
	pod->solo = solo;
	pod->created_ns = realtime_ns();
	list_init(&pod->node);
	list_init(&pod->containers);
	task_mutex_init(&pod->mutex);
	cond_init(&pod->changed);
	pod->name = strdup(spec->name ? spec->name : "");
	if (!pod->name)
		r = error_nomem(err);
	else if (id)
		strcpy(pod->id, id);
	else
		r = id_make(pod->id, err);
	if (r < 0) {
		pod_unref(pod);
		return r;
	}
	/* The list's reference; newest first. */
	list_append(engine->pods.next, &pod->node);
	pod_ref(pod);
	*ret = pod;
	return 0;
}

const char *pod_id(const struct pod *pod)
{
	return pod->id;
}

const char *pod_name(const struct pod *pod)
{
	return pod->name;
}

enum pod_state pod_state(const struct pod *pod)
{
	return pod->state;
}

struct engine *pod_engine(const struct pod *pod)
{
	return pod->engine;
}

bool pod_is_solo(const struct pod *pod)
{
	return pod->solo;
}

const struct pod_spec *pod_spec(const struct pod *pod)
{
	return pod->spec;
}

int pod_save(struct pod *pod, bool sync, struct error *err)
{
	autojson json_t *record = pod_record(pod);

	if (!record)
		return error_nomem(err);
	return record_save(pod->engine->store, "pod", pod->id, POD_RECORD_VERSION, record, sync,
			   err);
}

void pod_save_logged(struct pod *pod)
{
	struct error err = { 0 };

	if (!pod->removed && pod_save(pod, false, &err) < 0)
		log_warn("pod %s: %s", pod->name, err.message);
}

/*
 * From here to pod_unlock() the operation goes on even when whoever asked has gone: half a start or
 * stop would help nobody.
 */
int pod_lock(struct pod *pod, struct error *err)
{
	int r = task_mutex_lock(&pod->mutex, DEADLINE_NEVER);

	if (r < 0)
		return error_set(err, ERROR_CANCELED,
				 "canceled while another operation on pod %s "
				 "was under way",
				 pod->name);
	task_shield(true);
	return 0;
}

void pod_unlock(struct pod *pod)
{
	task_shield(false);
	task_mutex_unlock(&pod->mutex);
}

struct agent *pod_agent(const struct pod *pod, struct error *err)
{
	if (pod->sandbox && !pod->sandbox_dead)
		return sandbox_agent(pod->sandbox);
	if (pod->sandbox_dead)
		error_set(err, ERROR_CONFLICT, "the sandbox of pod %s has died", pod->name);
	else
		error_set(err, ERROR_CONFLICT, "pod %s is not running", pod->name);
	return NULL;
}

bool pod_has_live_containers(const struct pod *pod)
{
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node) {
		if (container_is_live(c))
			return true;
	}
	return false;
}

bool pod_is_alone(const struct pod *pod)
{
	return pod->solo && pod->containers.next == pod->containers.prev;
}

/* ------------------------------------------------------------------ creating */

static int check_pod_name(struct engine *engine, const char *name, struct error *err)
{
	struct pod *other;
	int r = name_check("pod", name, err);

	if (r < 0)
		return r;
	other = engine_find_pod(engine, name);
	if (other)
		return error_set(err, ERROR_CONFLICT,
				 "Conflict. The pod name \"%s\" is already in use by pod \"%s\". "
				 "You have to remove (or rename) that pod to be able to reuse that "
				 "name.",
				 name, other->id);
	return 0;
}

static int name_pod(struct engine *engine, struct pod_spec *spec, struct error *err)
{
	if (spec->name && *spec->name)
		return check_pod_name(engine, spec->name, err);
	for (unsigned attempt = 0;; attempt++) {
		free(spec->name);
		spec->name = name_make(attempt);
		if (!spec->name)
			return error_nomem(err);
		if (!engine_find_pod(engine, spec->name))
			return 0;
	}
}

static int check_pod_spec(const struct pod_spec *spec, struct error *err)
{
	for (const struct spec_pair *p = spec->sysctls; p && p->key; p++) {
		int r = sysctl_check(p->key, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static void pod_remove_all(struct pod *pod)
{
	struct error err = { 0 };

	while (!list_empty(&pod->containers)) {
		struct container *c =
			container_of(pod->containers.next, struct container, pod_node);

		record_delete(pod->engine->store, "container", c->id, NULL);
		container_unregister(c);
	}
	if (pod_delete(pod, &err) < 0)
		log_warn("pod %s: %s", pod->name, err.message);
}

int pod_create(struct engine *engine, struct pod_spec *spec, struct pod **ret, struct error *err)
{
	autoptr(pod_unref) struct pod *pod = NULL;
	struct container_spec **specs = steal(spec->containers);
	size_t count = spec->container_count, i = 0;
	int r;

	spec->container_count = 0;
	if (!spec->isolation_set)
		spec->isolation = engine->isolation;
	r = check_pod_spec(spec, err);
	if (r == 0)
		r = sandbox_check_choice(engine->sandboxes, spec->isolation, spec->hypervisor,
					 spec->machine, err);
	if (r == 0)
		r = pod_network_check(engine, spec, err);
	if (r == 0)
		r = name_pod(engine, spec, err);
	if (r < 0)
		pod_spec_free(spec);
	else
		r = pod_new(engine, spec, false, NULL, &pod, err);
	if (r == 0)
		r = pod_save(pod, false, err);
	for (; i < count; i++) {
		autoptr(container_unref) struct container *c = NULL;

		if (r == 0)
			r = container_create(engine, specs[i], pod, NULL, &c, err);
		else
			container_spec_free(specs[i]);
	}
	free(specs);
	if (r < 0) {
		if (pod)
			pod_remove_all(pod);
		return r;
	}
	pod_event(pod, "create");
	*ret = steal(pod);
	return 0;
}

int pod_rename(struct pod *pod, const char *name, struct error *err)
{
	autofree char *copy = strdup(name);
	int r;

	if (!copy)
		return error_nomem(err);
	if (pod->solo && !list_empty(&pod->containers)) /* the first's */
		return container_rename(container_of(pod->containers.next, struct container,
						     pod_node),
					name, err);
	r = check_pod_name(pod->engine, name, err);
	if (r < 0)
		return r;
	free(pod->name);
	pod->name = steal(copy);
	pod_network_rename(pod);
	r = pod_save(pod, false, err);
	if (r == 0)
		pod_event(pod, "rename");
	return r;
}

/* ------------------------------------------------------------------ the end of a pod */

static int remove_tree_job(void *arg)
{
	struct error err = { 0 };
	int r = file_remove_tree(AT_FDCWD, arg, &err);

	if (r < 0)
		log_warn("%s", err.message);
	return r;
}

int pod_delete(struct pod *pod, struct error *err)
{
	autofree char *path = engine_pod_path(pod->engine, pod->id, NULL);
	int r;

	if (pod->removed)
		return 0;
	pod->removed = true;
	/* The record first: what is left after a crash in between is swept at the next start. */
	r = record_delete(pod->engine->store, "pod", pod->id, err);
	list_remove(&pod->node);
	cond_broadcast(&pod->changed);
	execs_forget(pod, NULL);
	if (r == 0)
		pod_event(pod, "destroy");
	if (path && task_self())
		job_run(pod->engine->jobs, remove_tree_job, path);
	else if (path)
		remove_tree_job(path);
	pod_unref(pod);
	return r;
}

int pod_wait(struct pod *pod, int *ret_code, struct error *err)
{
	struct container *c;

	*ret_code = 0;
	while (!pod->removed && (pod->state == POD_STARTING || pod->state == POD_RUNNING ||
				 pod->state == POD_PAUSED || pod->state == POD_STOPPING)) {
		int r = cond_wait(&pod->changed, DEADLINE_NEVER);

		if (r < 0)
			return error_set(err, ERROR_CANCELED, "canceled while waiting for pod %s",
					 pod->name);
	}
	list_for_each_entry(c, &pod->containers, pod_node) {
		if (c->exit_code) {
			*ret_code = c->exit_code;
			break;
		}
	}
	if (pod->state == POD_FAILED && !*ret_code)
		*ret_code = 137;
	return 0;
}
