#include "hyperd/pod/engine.h"

#include <string.h>

#include "base/clock.h"
#include "hyperd/pod/internal.h"

static int copy_pairs(const struct spec_pair *from, struct spec_pair **ret)
{
	for (; from && from->key; from++)
		if (spec_pairs_set(ret, from->key, from->value) < 0)
			return -ENOMEM;
	return 0;
}

static void engine_free(struct engine *engine)
{
	log_group_end(engine->logs, deadline_in_ms(LOGS_END_MS));
	seccomp_cache_free(engine->seccomp);
	events_done(engine);
	spec_pairs_free(engine->log_options);
	free(engine->run_root);
	free(engine->log_driver);
	free(engine);
}

int engine_new(struct loop *loop, struct job_pool *jobs, struct store *store,
	       struct image_store *images, struct sandbox_factory *sandboxes,
	       const struct engine_config *config, struct engine **ret, struct error *err)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	const char *driver = config->log_driver ? config->log_driver : "json-file";
	int r;

	if (!engine)
		return error_nomem(err);
	engine->loop = loop;
	engine->jobs = jobs;
	engine->store = store;
	engine->images = images;
	engine->volumes = config->volumes;
	engine->sandboxes = sandboxes;
	engine->isolation = config->isolation;
	engine->live_restore = config->live_restore;
	engine->networks = config->networks;
	list_init(&engine->pods);
	list_init(&engine->containers);
	list_init(&engine->execs);
	list_init(&engine->subscriptions);
	cond_init(&engine->idle);
	engine->past_events = json_array();
	engine->run_root = strdup(config->run_root ? config->run_root : "");
	engine->log_driver = strdup(driver);
	r = copy_pairs(config->log_options, &engine->log_options);
	if (r < 0 || !engine->past_events || !engine->run_root || !engine->log_driver)
		r = error_nomem(err);
	if (r == 0)
		r = log_driver_check(driver, (const struct log_option *)engine->log_options, err);
	if (r == 0)
		r = log_group_new(&engine->logs, err);
	if (r == 0)
		r = seccomp_cache_new(jobs, config->seccomp_profile, &engine->seccomp, err);
	if (r < 0) {
		engine_free(engine);
		return r;
	}
	*ret = engine;
	return 0;
}

struct image_store *engine_images(struct engine *engine)
{
	return engine->images;
}

struct networks *engine_networks(struct engine *engine)
{
	return engine->networks;
}

struct sandbox_factory *engine_sandboxes(struct engine *engine)
{
	return engine->sandboxes;
}

char *engine_pod_path(const struct engine *engine, const char *pod_id, const char *rest)
{
	return strf("%s/pods/%s%s%s", store_path(engine->store), pod_id, rest ? "/" : "",
		    rest ? rest : "");
}

/* ------------------------------------------------------------------ its own tasks */

int engine_task(struct engine *engine, const char *name, task_fn *fn, void *arg, struct error *err)
{
	int r = task_spawn(engine->loop, name, fn, arg, NULL, err);

	if (r == 0)
		engine->background++;
	return r;
}

void engine_task_done(struct engine *engine)
{
	if (--engine->background == 0)
		cond_broadcast(&engine->idle);
}

/* ------------------------------------------------------------------ finding */

struct pod *engine_find_pod(struct engine *engine, const char *name)
{
	struct pod *pod;

	list_for_each_entry(pod, &engine->pods, node) {
		if (strcmp(pod->name, name) == 0)
			return pod;
	}
	return NULL;
}

struct container *engine_find_container(struct engine *engine, const char *name)
{
	struct container *c;

	list_for_each_entry(c, &engine->containers, node) {
		if (strcmp(c->name, name) == 0)
			return c;
	}
	return NULL;
}

int pod_get(struct engine *engine, const char *name, struct pod **ret, struct error *err)
{
	struct pod *pod, *found = engine_find_pod(engine, name);

	if (found) {
		*ret = pod_ref(found);
		return 0;
	}
	list_for_each_entry(pod, &engine->pods, node) {
		if (!id_match(pod->id, name))
			continue;
		if (found)
			return error_set(err, ERROR_INVALID,
					 "Multiple IDs found with provided prefix: %s", name);
		found = pod;
	}
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "No such pod: %s", name);
	*ret = pod_ref(found);
	return 0;
}

/* "db" for the container "web-db" of the pod "web", when no other pod has a "db". */
static struct container *find_short_name(struct engine *engine, const char *name)
{
	struct container *c, *found = NULL;

	list_for_each_entry(c, &engine->containers, node) {
		if (c->pod->solo || !str_equal(c->spec->name, name))
			continue;
		if (found)
			return NULL;
		found = c;
	}
	return found;
}

int container_get(struct engine *engine, const char *name, struct container **ret,
		  struct error *err)
{
	const char *bare = *name == '/' ? name + 1 : name;
	struct container *c, *found = engine_find_container(engine, bare);

	if (!found)
		list_for_each_entry(c, &engine->containers, node) {
			int match = id_match(c->id, bare);

			if (!match)
				continue;
			if (found)
				return error_set(err, ERROR_INVALID,
						 "Multiple IDs found with provided prefix: %s",
						 bare);
			found = c;
		}
	if (!found)
		found = find_short_name(engine, bare);
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "No such container: %s", name);
	*ret = container_ref(found);
	return 0;
}

/* Callbacks may wait or remove: they are called on a copy of the list. */
void pod_each(struct engine *engine, void (*fn)(struct pod *pod, void *arg), void *arg)
{
	struct pod **copy, *pod;
	size_t n = 0;

	list_for_each_entry(pod, &engine->pods, node)
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	if (!copy)
		return;
	n = 0;
	list_for_each_entry(pod, &engine->pods, node)
		copy[n++] = pod_ref(pod);
	for (size_t i = 0; i < n; i++) {
		if (!copy[i]->removed)
			fn(copy[i], arg);
		pod_unref(copy[i]);
	}
	free(copy);
}

void container_each(struct engine *engine, void (*fn)(struct container *container, void *arg),
		    void *arg)
{
	struct container **copy, *c;
	size_t n = 0;

	list_for_each_entry(c, &engine->containers, node)
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	if (!copy)
		return;
	n = 0;
	list_for_each_entry(c, &engine->containers, node)
		copy[n++] = container_ref(c);
	for (size_t i = 0; i < n; i++) {
		if (!copy[i]->removed)
			fn(copy[i], arg);
		container_unref(copy[i]);
	}
	free(copy);
}

const char *engine_image_user(const char *image_id, void *arg)
{
	struct engine *engine = arg;
	struct container *c;

	list_for_each_entry(c, &engine->containers, node) {
		if (str_equal(c->image_id, image_id))
			return c->name;
	}
	return NULL;
}

/* ------------------------------------------------------------------ figures */

json_t *engine_info(struct engine *engine)
{
	unsigned pods = 0, pods_running = 0, running = 0, paused = 0, stopped = 0, total = 0;
	struct container *c;
	struct pod *pod;

	list_for_each_entry(pod, &engine->pods, node) {
		pods++;
		pods_running += pod->sandbox && !pod->sandbox_dead && !pod->serving;
	}
	list_for_each_entry(c, &engine->containers, node) {
		total++;
		if (c->state == CONTAINER_PAUSED)
			paused++;
		else if (container_is_running(c))
			running++;
		else
			stopped++;
	}
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:b}", "Pods", pods,
			 "PodsRunning", pods_running, "Containers", total, "ContainersRunning",
			 running, "ContainersPaused", paused, "ContainersStopped", stopped,
			 "Isolation", sandbox_isolation_name(engine->isolation), "LogDriver",
			 engine->log_driver, "LiveRestore", engine->live_restore);
}

/* ------------------------------------------------------------------ the end */

static void stop_pod_task(void *arg)
{
	struct pod *pod = arg;
	struct engine *engine = pod->engine;
	struct container **containers = NULL;
	struct error err = { 0 };
	size_t count = 0;

	if (pod_lock(pod, NULL) == 0) {
		if (pod_collect(pod, true, &containers, &count, &err) == 0 && count &&
		    pod_stop_containers(pod, containers, count, -1, false, &err) < 0)
			log_warn("pod %s: %s", pod->name, err.message);
		pod_end_sandbox(pod, SANDBOX_STOP_MS, POD_STOPPED);
		pod_unlock(pod);
		pod_auto_remove(pod);
	}
	containers_free(containers, count);
	pod_unref(pod);
	engine_task_done(engine);
}

/* What runs goes on; what is logged so far is safe. */
static void let_go(struct pod *pod)
{
	struct container *c;
	struct exec *exec;

	list_for_each_entry(c, &pod->containers, pod_node) {
		health_end(c);
		process_io_done(&c->io);
		log_close(steal(c->log));
	}
	list_for_each_entry(exec, &pod->engine->execs, node) {
		if (exec->pod == pod)
			process_io_done(&exec->io);
	}
	pod_network_detach(pod);
	if (pod->sandbox && pod->serving)
		sandbox_stop(steal(pod->sandbox), SANDBOX_STOP_MS);
	else if (pod->sandbox)
		sandbox_detach(steal(pod->sandbox));
}

static void cancel_restarts(struct engine *engine)
{
	struct container *c;

	list_for_each_entry(c, &engine->containers, node) {
		c->restart_canceled = true;
		cond_broadcast(&c->changed);
	}
}

void engine_stop(struct engine *engine)
{
	struct pod *pod;

	if (engine->stopping)
		return;
	task_shield(true);
	engine->stopping = true;
	cancel_restarts(engine);
	if (!engine->live_restore) {
		list_for_each_entry(pod, &engine->pods, node) {
			if (pod->sandbox && engine_task(engine, "pod-shutdown", stop_pod_task,
							pod_ref(pod), NULL) < 0)
				pod_unref(pod);
		}
	}
	while (engine->background && !engine->live_restore)
		cond_wait(&engine->idle, DEADLINE_NEVER);
}

void engine_shutdown(struct engine *engine)
{
	struct pod *pod;

	engine_stop(engine);
	list_for_each_entry(pod, &engine->pods, node)
		let_go(pod);
	while (engine->background)
		cond_wait(&engine->idle, deadline_in_ms(KILL_WAIT_MS));
	while (!list_empty(&engine->execs)) {
		struct exec *exec = container_of(engine->execs.next, struct exec, node);

		list_remove(&exec->node);
		exec_unref(exec);
	}
	while (!list_empty(&engine->containers))
		container_unregister(container_of(engine->containers.next, struct container, node));
	while (!list_empty(&engine->pods)) {
		pod = container_of(engine->pods.next, struct pod, node);
		list_remove(&pod->node);
		pod_unref(pod);
	}
	engine_free(engine);
}
