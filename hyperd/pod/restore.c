/*
 * The return of the daemon: records become objects, sandboxes that run are adopted, what ended
 * meanwhile is settled, and restart policies are applied.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "hyperd/pod/internal.h"

/* What a record said, until its pod was dealt with. */
struct restored_pod {
	struct pod *pod; /* referenced */
	json_t *sandbox; /* owned; NULL: it did not run */
	json_t *order;   /* owned: ids of its containers */
	json_t *network; /* owned */
	bool paused;
	struct restore *restore; /* borrowed */
};

struct restored_container {
	struct container *container; /* referenced */
	enum container_state state;
};

struct restore {
	struct engine *engine;
	struct restored_pod *pods; /* owned arrays */
	size_t pod_count;
	struct restored_container *containers;
	size_t container_count;
	unsigned adopting;
	struct cond adopted;
};

/* ------------------------------------------------------------------ reading */

static void damaged(const char *id, const struct error *why, void *arg)
{
	log_warn("record %s: %s", id, why->message);
}

static void read_pod(const char *id, json_t *record, void *arg)
{
	struct restore *restore = arg;
	struct restored_pod *grown;
	struct error err = { 0 };
	struct pod *pod;
	const char *state;

	if (pod_from_record(restore->engine, record, &pod, &err) < 0) {
		log_warn("pod %s: %s", id, err.message);
		return;
	}
	grown = reallocarray(restore->pods, restore->pod_count + 1, sizeof(*grown));
	if (!grown) {
		pod_unref(pod);
		return;
	}
	state = json_string_value(json_object_get(record, "state"));
	restore->pods = grown;
	grown[restore->pod_count++] = (struct restored_pod){
		.pod = pod,
		.sandbox = json_incref(json_object_get(record, "sandbox")),
		.order = json_incref(json_object_get(record, "containers")),
		.network = json_incref(json_object_get(record, "network")),
		.paused = str_equal(state, "paused"),
		.restore = restore,
	};
	/* A pod that ran is dealt with below; for the others the record says it all. */
	if (str_equal(state, "failed"))
		pod->state = POD_FAILED;
	else
		pod->state = pod->started_ns ? POD_STOPPED : POD_CREATED;
}

static void read_container(const char *id, json_t *record, void *arg)
{
	struct restore *restore = arg;
	struct restored_container *grown;
	enum container_state state;
	struct error err = { 0 };
	struct container *c;

	if (container_from_record(restore->engine, record, &state, &c, &err) < 0) {
		log_warn("container %s: %s", id, err.message);
		if (err.kind == ERROR_NOT_FOUND)
			record_delete(restore->engine->store, "container", id, NULL);
		return;
	}
	grown = reallocarray(restore->containers, restore->container_count + 1, sizeof(*grown));
	if (!grown) {
		container_unref(c);
		return;
	}
	restore->containers = grown;
	grown[restore->container_count++] = (struct restored_container){ c, state };
	/* Until its pod was looked at it is as it was before its last start. */
	c->state = c->started_ns ? CONTAINER_EXITED : CONTAINER_CREATED;
	if (state == CONTAINER_DEAD)
		c->state = CONTAINER_DEAD;
}

/* Records are read in no order: containers go back to the pod's, and all lists to newest first. */
static void sort_pod(struct restored_pod *rp)
{
	json_t *id;
	size_t i;

	json_array_foreach(rp->order, i, id) {
		struct container *c;

		list_for_each_entry(c, &rp->pod->containers, pod_node) {
			if (!str_equal(c->id, json_string_value(id)))
				continue;
			list_remove(&c->pod_node);
			list_append(&rp->pod->containers, &c->pod_node);
			break;
		}
	}
}

static int newest_first(const void *a, const void *b)
{
	const struct restored_container *x = a, *y = b;

	return x->container->created_ns < y->container->created_ns   ? 1
	       : x->container->created_ns > y->container->created_ns ? -1
								     : 0;
}

static int newest_pod_first(const void *a, const void *b)
{
	const struct restored_pod *x = a, *y = b;

	return x->pod->created_ns < y->pod->created_ns   ? 1
	       : x->pod->created_ns > y->pod->created_ns ? -1
							 : 0;
}

static void sort_lists(struct restore *restore)
{
	struct engine *engine = restore->engine;

	if (restore->container_count)
		qsort(restore->containers, restore->container_count, sizeof(*restore->containers),
		      newest_first);
	if (restore->pod_count)
		qsort(restore->pods, restore->pod_count, sizeof(*restore->pods), newest_pod_first);
	for (size_t i = 0; i < restore->container_count; i++) {
		list_remove(&restore->containers[i].container->node);
		list_append(&engine->containers, &restore->containers[i].container->node);
	}
	for (size_t i = 0; i < restore->pod_count; i++) {
		list_remove(&restore->pods[i].pod->node);
		list_append(&engine->pods, &restore->pods[i].pod->node);
		sort_pod(&restore->pods[i]);
	}
}

/* ------------------------------------------------------------------ adopting */

static struct restored_container *find_restored(struct restore *restore, const struct container *c)
{
	for (size_t i = 0; i < restore->container_count; i++)
		if (restore->containers[i].container == c)
			return &restore->containers[i];
	return NULL;
}

static bool was_running(enum container_state state)
{
	return state == CONTAINER_RUNNING || state == CONTAINER_PAUSED ||
	       state == CONTAINER_STOPPING || state == CONTAINER_STARTING;
}

static int adopt_main_process(struct container *c, const Hyper__ContainerState *state,
			      const Hyper__ProcessState *process, struct error *err)
{
	const struct process_io_options options = {
		.tty = c->spec->tty,
		.close_stdin = c->spec->stdin_once,
		.log = c->log,
	};
	struct agent *agent = pod_agent(c->pod, err);
	int r;

	if (!agent)
		return -EBUSY;
	r = process_io_adopt(&c->io, agent, &options, process, err);
	if (r < 0)
		return r;
	c->pid = process->pid;
	if (!c->started_ns)
		c->started_ns = realtime_ns();
	c->started_mono_ns = now_ns();
	/* Past the transitions: this is what it has been all the time. */
	c->state =
		state->paused || c->pod->state == POD_PAUSED ? CONTAINER_PAUSED : CONTAINER_RUNNING;
	if (!process->running) {
		const struct process_exit exit = {
			.have = true,
			.code = (int)process->exit_code,
			.signal = (int)process->signal,
			.out_of_memory = process->out_of_memory,
			.realtime_ns = process->exited_realtime_ns,
		};

		container_process_exited(c, &exit);
	} else {
		process_io_started(&c->io);
		health_begin(c);
	}
	return 0;
}

static int adopt_container(struct container *c, const struct restored_container *restored,
			   const Hyper__ContainerState *state, struct error *err)
{
	int r = 0;

	c->in_agent = true;
	/* One that had ended before, whose end is on record, is not to end again. */
	if (!state->started ||
	    (restored && !was_running(restored->state) && restored->state != CONTAINER_CREATED))
		return 0;
	r = container_open_log(c, err);
	for (size_t i = 0; r == 0 && i < state->n_processes; i++) {
		if (*state->processes[i]->exec)
			r = exec_adopt(c->pod, c, state->processes[i], err);
		else
			r = adopt_main_process(c, state, state->processes[i], err);
	}
	return r;
}

static struct container *find_container(struct pod *pod, const char *id)
{
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node) {
		if (strcmp(c->id, id) == 0)
			return c;
	}
	return NULL;
}

static int adopt_state(struct restored_pod *rp, const Hyper__State *state, struct error *err)
{
	struct pod *pod = rp->pod;

	pod->set_up = state->pod_ready;
	for (size_t i = 0; i < state->n_containers; i++) {
		struct container *c = find_container(pod, state->containers[i]->id);
		int r = 0;

		if (c) {
			r = adopt_container(c, find_restored(rp->restore, c), state->containers[i],
					    err);
		} else if (!*state->containers[i]->id) {
			for (size_t k = 0; r == 0 && k < state->containers[i]->n_processes; k++)
				r = exec_adopt(pod, NULL, state->containers[i]->processes[k], err);
		} else {
			log_warn("pod %s: runs container %.12s, of which nothing is known",
				 pod->name, state->containers[i]->id);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int get_state(struct pod *pod, Hyper__Reply **ret, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__StateGet body = HYPER__STATE_GET__INIT;
	struct agent *agent = pod_agent(pod, err);
	int r;

	if (!agent)
		return -EBUSY;
	request.body_case = HYPER__REQUEST__BODY_STATE_GET;
	request.state_get = &body;
	r = agent_call(agent, &request, deadline_in_ms(AGENT_CALL_MS), ret, err);
	if (r == 0 && (*ret)->body_case != HYPER__REPLY__BODY_STATE) {
		hyper__reply__free_unpacked(steal(*ret), NULL);
		r = error_set(err, ERROR_FAILED, "the agent answered something else to StateGet");
	}
	return r;
}

static int adopt_pod(struct restored_pod *rp, struct error *err)
{
	struct pod *pod = rp->pod;
	Hyper__Reply *reply = NULL;
	int r = sandbox_adopt(pod->engine->sandboxes, rp->sandbox, &pod_sandbox_events, pod,
			      &pod->sandbox, err);

	if (r < 0)
		return r;
	/* A frozen sandbox answers nothing: it is frozen again once it has been asked. */
	if (rp->paused)
		r = sandbox_pause(pod->sandbox, false, err);
	if (r == 0)
		r = get_state(pod, &reply, err);
	pod->state = POD_RUNNING;
	if (r == 0 && rp->paused) {
		r = sandbox_pause(pod->sandbox, true, err);
		if (r == 0)
			pod->state = POD_PAUSED;
	}
	if (r == 0)
		r = adopt_state(rp, reply->state, err);
	if (reply)
		hyper__reply__free_unpacked(reply, NULL);
	pod_volumes_adopt(pod);
	pod->storage_used = true;
	if (r < 0)
		pod_end_sandbox(pod, 0, POD_FAILED);
	return r;
}

/* Containers that were running and are no more: their sandbox has died. */
static void settle_lost(struct restored_pod *rp)
{
	struct container *c;

	list_for_each_entry(c, &rp->pod->containers, pod_node) {
		struct restored_container *restored = find_restored(rp->restore, c);

		if (!restored || !was_running(restored->state) || container_is_live(c) ||
		    c->in_agent)
			continue;
		if (restored->state == CONTAINER_STARTING && !c->started_ns)
			continue;
		c->state = CONTAINER_EXITED;
		c->exit_code = 137;
		c->finished_ns = realtime_ns();
		container_set_error(c, "the pod's sandbox died while hyperd was not running");
		container_save_logged(c);
	}
}

static void adopt_task(void *arg)
{
	struct restored_pod *rp = arg;
	struct pod *pod = rp->pod;
	struct engine *engine = pod->engine;
	struct error err = { 0 };

	task_shield(true);
	task_mutex_lock(&pod->mutex, DEADLINE_NEVER);
	if (adopt_pod(rp, &err) < 0) {
		log_warn("pod %s: %s", pod->name, err.message);
		pod_network_close(pod);
		pod->failure = err;
		pod->state = POD_FAILED;
		pod->finished_ns = realtime_ns();
	}
	settle_lost(rp);
	pod_save_logged(pod);
	task_mutex_unlock(&pod->mutex);
	if (--rp->restore->adopting == 0)
		cond_broadcast(&rp->restore->adopted);
	engine_task_done(engine);
}

static void adopt_all(struct restore *restore)
{
	cond_init(&restore->adopted);
	for (size_t i = 0; i < restore->pod_count; i++) {
		struct restored_pod *rp = &restore->pods[i];

		if (!rp->sandbox) {
			settle_lost(rp);
			continue;
		}
		restore->adopting++;
		if (engine_task(restore->engine, "pod-adopt", adopt_task, rp, NULL) < 0)
			restore->adopting--;
	}
	while (restore->adopting)
		cond_wait(&restore->adopted, DEADLINE_NEVER);
}

/* ------------------------------------------------------------------ tidying up */

/* Made in two records: a crash in between leaves half of it. */
static void drop_halves(struct restore *restore)
{
	for (size_t i = 0; i < restore->pod_count; i++) {
		struct pod *pod = restore->pods[i].pod;

		if (!pod->solo || !list_empty(&pod->containers) || pod->sandbox)
			continue;
		pod_delete(pod, NULL);
	}
}

static void sweep_directories(struct engine *engine)
{
	autofree char *path = strf("%s/pods", store_path(engine->store));
	autoclosedir DIR *dir = path ? opendir(path) : NULL;
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		bool known = e->d_name[0] == '.';
		struct pod *pod;

		list_for_each_entry(pod, &engine->pods, node)
			known |= strcmp(pod->id, e->d_name) == 0;
		if (!known && id_match(e->d_name, e->d_name) == 2)
			file_remove_tree(dirfd(dir), e->d_name, NULL);
	}
}

struct restart {
	struct container **containers; /* referenced */
	size_t count;
	struct pod *pod; /* referenced */
};

static void start_again_task(void *arg)
{
	struct restart *restart = arg;
	struct engine *engine = restart->pod->engine;
	struct error err = { 0 };
	size_t n = 0;

	if (pod_lock(restart->pod, NULL) == 0) {
		for (size_t i = 0; i < restart->count; i++) {
			struct container *c = restart->containers[i];

			if (container_is_live(c) || c->removing)
				container_unref(c);
			else
				restart->containers[n++] = c;
		}
		if (n && pod_start_containers(restart->pod, restart->containers, n, &err) < 0)
			log_warn("pod %s: starting it again: %s", restart->pod->name, err.message);
		pod_unlock(restart->pod);
		restart->count = n;
	}
	containers_free(restart->containers, restart->count);
	pod_unref(restart->pod);
	free(restart);
	engine_task_done(engine);
}

static void auto_remove_task(void *arg)
{
	struct container *c = arg;
	struct engine *engine = c->engine;
	const struct container_remove_options options = { .force = true, .volumes = true };

	container_remove(c, &options, NULL);
	container_unref(c);
	engine_task_done(engine);
}

/* What ended while nobody looked: its restart policy, or --rm. */
static void apply_policies(struct restored_pod *rp)
{
	struct pod *pod = rp->pod;
	struct restart *restart = calloc(1, sizeof(*restart));
	struct container *c;
	size_t n = 0;

	if (!restart || pod_collect(pod, false, &restart->containers, &restart->count, NULL) < 0) {
		free(restart);
		return;
	}
	for (size_t i = 0; i < restart->count; i++) {
		bool again;

		c = restart->containers[i];
		again = !container_is_live(c) && c->started_ns && !c->exit.have &&
			restart_wanted(&c->spec->restart, c->exit_code, c->manually_stopped, false,
				       true, c->restart_count);
		if (again) {
			restart->containers[n++] = c;
			continue;
		}
		if (c->spec->auto_remove && !container_is_live(c) && c->started_ns &&
		    engine_task(pod->engine, "auto-remove", auto_remove_task, container_ref(c),
				NULL) < 0)
			container_unref(c);
		container_unref(c);
	}
	restart->count = n;
	restart->pod = pod_ref(pod);
	if (n && engine_task(pod->engine, "pod-restart", start_again_task, restart, NULL) == 0)
		return;
	if (!n && pod->started_ns)
		pod_auto_remove(pod);
	containers_free(restart->containers, n);
	pod_unref(pod);
	free(restart);
}

/* Adopted, and nothing lives in it any more. */
static void settle_pod_task(void *arg)
{
	struct pod *pod = arg;
	struct engine *engine = pod->engine;

	if (pod_lock(pod, NULL) == 0) {
		pod_settle(pod);
		pod_unlock(pod);
	}
	pod_unref(pod);
	engine_task_done(engine);
}

static void restore_done(struct restore *restore)
{
	for (size_t i = 0; i < restore->pod_count; i++) {
		pod_unref(restore->pods[i].pod);
		json_decref(restore->pods[i].sandbox);
		json_decref(restore->pods[i].order);
		json_decref(restore->pods[i].network);
	}
	for (size_t i = 0; i < restore->container_count; i++)
		container_unref(restore->containers[i].container);
	free(restore->pods);
	free(restore->containers);
}

int engine_restore(struct engine *engine, struct error *err)
{
	struct restore restore = { .engine = engine };
	int r;

	task_shield(true);
	r = record_each(engine->store, "pod", POD_RECORD_VERSION, read_pod, damaged, &restore, err);
	if (r == 0)
		r = record_each(engine->store, "container", CONTAINER_RECORD_VERSION,
				read_container, damaged, &restore, err);
	if (r == 0) {
		sort_lists(&restore);
		/* Before anybody is given an address. */
		for (size_t i = 0; i < restore.pod_count; i++)
			if (restore.pods[i].sandbox)
				pod_network_adopt(restore.pods[i].pod, restore.pods[i].network);
		adopt_all(&restore);
		if (engine->networks)
			networks_settle(engine->networks);
		r = sandbox_factory_sweep(engine->sandboxes, err);
		drop_halves(&restore);
		sweep_directories(engine);
		for (size_t i = 0; i < restore.pod_count; i++) {
			struct pod *pod = restore.pods[i].pod;

			if (pod->removed)
				continue;
			if (pod->sandbox && engine_task(engine, "pod-settle", settle_pod_task,
							pod_ref(pod), NULL) < 0)
				pod_unref(pod);
			apply_policies(&restore.pods[i]);
		}
	}
	restore_done(&restore);
	task_shield(false);
	return r;
}
