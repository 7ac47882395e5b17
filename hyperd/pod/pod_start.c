/*
 * Starting: the sandbox, then one burst of requests for everything in it, then one wait. Mutex
 * held throughout.
 */
#include <math.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "hyperd/pod/arena.h"
#include "hyperd/pod/devices.h"
#include "hyperd/pod/internal.h"

/* A VM that was not told its memory gets the default unless its containers need more; few sizes,
 * because each is a template of its own. */
#define GUEST_DEFAULT_BYTES  (128ull << 20)
#define GUEST_OVERHEAD_BYTES (64ull << 20)
/* Pieces of a file in one request each. */
#define FILE_PIECE_BYTES (512u * 1024)

struct posted {
	struct list node;
	struct agent_ticket ticket;
	struct container *container; /* borrowed: the caller holds it; NULL: the pod's */
	bool is_start;
};

struct burst {
	struct pod *pod;
	struct arena arena;
	struct list posted;
	struct seccomp_filter **filters; /* referenced until the burst is over */
	size_t filter_count;
	Hyper__ContainerCreate **creates; /* in the arena, one for each container */
};

/* ------------------------------------------------------------------ the sandbox */

struct layer_list {
	struct sandbox_layer *layers; /* owned; what they point to belongs to the images */
	size_t count;
};

static int add_layers(struct layer_list *list, const struct image *image)
{
	size_t n = image_layer_count(image);
	struct sandbox_layer *grown =
		reallocarray(list->layers, list->count + n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->layers = grown;
	for (size_t i = 0; i < n; i++) {
		const struct layer *layer = image_layer(image, i);
		bool known = false;

		for (size_t k = 0; k < list->count; k++)
			known |= strcmp(grown[k].diff_id, layer->diff_id) == 0;
		if (!known)
			grown[list->count++] = (struct sandbox_layer){
				.diff_id = layer->diff_id,
				.directory = layer->directory,
				.erofs_path = layer->erofs_path,
				.erofs_bytes = layer->erofs_bytes,
			};
	}
	return 0;
}

static int collect_layers(struct container **containers, size_t count, struct layer_list *ret,
			  struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (!containers[i]->image)
			return error_set(err, ERROR_NOT_FOUND, "No such image: %s",
					 containers[i]->image_id);
		if (add_layers(ret, containers[i]->image) < 0)
			return error_nomem(err);
	}
	return 0;
}

static uint64_t guest_memory(const struct pod *pod)
{
	uint64_t need = 0, size = GUEST_DEFAULT_BYTES;
	struct container *c;

	if (pod->spec->memory_bytes || pod->spec->isolation != ISOLATION_VM)
		return pod->spec->memory_bytes;
	list_for_each_entry(c, &pod->containers, pod_node)
		need += c->spec->resources.memory_bytes;
	if (need + GUEST_OVERHEAD_BYTES <= GUEST_DEFAULT_BYTES)
		return 0;
	while (size < need + GUEST_OVERHEAD_BYTES)
		size *= 2;
	return size;
}

static unsigned guest_cpus(const struct pod *pod)
{
	struct container *c;
	double need = 0;

	if (pod->spec->vcpus || pod->spec->isolation != ISOLATION_VM)
		return pod->spec->vcpus;
	list_for_each_entry(c, &pod->containers, pod_node) {
		if (c->spec->resources.cpus > need)
			need = c->spec->resources.cpus;
	}
	return (unsigned)ceil(need);
}

/* What an interrupted first start left behind is nobody's. */
static int prepare_storage(struct pod *pod, const char *path, struct error *err)
{
	int r = 0;

	if (!pod->storage_used)
		r = file_remove_tree(AT_FDCWD, path, err);
	return r < 0 ? r : file_make_dirs(AT_FDCWD, path, 0700, err);
}

/* As the sandbox wants them; the caller's. */
static struct sandbox_share *share_list(const struct pod_shares *shares)
{
	struct sandbox_share *list = calloc(shares->count + 1, sizeof(*list));

	for (size_t i = 0; list && i < shares->count; i++)
		list[i] = (struct sandbox_share){ .name = shares->items[i].name,
						  .fd = shares->items[i].fd,
						  .is_directory = shares->items[i].is_directory };
	return list;
}

static struct sandbox_disk *disk_list(const struct pod_shares *shares)
{
	struct sandbox_disk *list = calloc(shares->disk_count + 1, sizeof(*list));

	for (size_t i = 0; list && i < shares->disk_count; i++) {
		const struct pod_disk *d = &shares->disks[i];

		list[i] = (struct sandbox_disk){ .serial = d->serial,
						 .path = d->path,
						 .fd = d->fd,
						 .read_only = d->read_only,
						 .qcow2 = d->qcow2,
						 .device = d->device };
	}
	return list;
}

static int add_shares(struct pod *pod, const struct pod_shares *shares, struct error *err)
{
	autofree struct sandbox_share *list = share_list(shares);

	if (!list)
		return error_nomem(err);
	return shares->count ? sandbox_add_shares(pod->sandbox, list, shares->count, err) : 0;
}

static const char *prepared_owner(const struct pod *pod)
{
	struct container *c;

	list_for_each_entry(c, &pod->containers, pod_node) {
		if (c->took_prepared)
			return c->id;
	}
	return NULL;
}

static int begin_sandbox(struct pod *pod, const struct layer_list *layers,
			 const struct pod_shares *shares, const Hyper__ContainerCreate *prepare,
			 const char *user_network, struct error *err)
{
	autofree struct sandbox_share *list = share_list(shares);
	autofree struct sandbox_disk *disks = disk_list(shares);
	autofree char *storage = engine_pod_path(pod->engine, pod->id, "storage");
	struct sandbox_config config = {
		.id = pod->id,
		.isolation = pod->spec->isolation,
		.storage = storage,
		.storage_existing = pod->storage_used,
		.vcpus = guest_cpus(pod),
		.memory_bytes = guest_memory(pod),
		.hypervisor = pod->spec->hypervisor,
		.machine = pod->spec->machine,
		.transport = pod->spec->transport,
		.layers = layers->layers,
		.layer_count = layers->count,
		.shares = list,
		.share_count = shares->count,
		.disks = disks,
		.disk_count = shares->disk_count,
		.prepare = prepare,
		.prepared_owner = prepared_owner(pod),
		.network = pod_has_card(pod),
		.host_network = pod_has_host_network(pod),
		.user_network = user_network,
	};
	int r = storage && list && disks ? prepare_storage(pod, storage, err) : error_nomem(err);

	pod->sandbox_dead = pod->set_up = false;
	if (r == 0)
		r = sandbox_start(pod->engine->sandboxes, &config, &pod_sandbox_events, pod,
				  &pod->sandbox, err);
	if (r < 0)
		return error_prefix(err, r, "pod %s", pod->name);
	pod->timing = *sandbox_timing(pod->sandbox);
	r = pod_network_attach(pod, err);
	pod->ready_ns = now_ns();
	return r;
}

/* ------------------------------------------------------------------ the burst */

static int post(struct burst *burst, struct container *container, Hyper__Request *request,
		bool is_start, struct error *err)
{
	struct agent *agent = pod_agent(burst->pod, err);
	struct posted *p;
	int r;

	if (!agent)
		return -EBUSY;
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(err);
	r = agent_post(agent, request, &p->ticket, err);
	if (r < 0) {
		free(p);
		return r;
	}
	p->container = container;
	p->is_start = is_start;
	list_append(&burst->posted, &p->node);
	return 0;
}

static int post_network(struct burst *burst, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;

	request.body_case = HYPER__REQUEST__BODY_NETWORK_SETUP;
	request.network_setup = pod_network_request(&burst->arena, burst->pod, 0);
	return request.network_setup ? post(burst, NULL, &request, false, err) : 0;
}

static int post_setup(struct burst *burst, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	int r;

	request.body_case = HYPER__REQUEST__BODY_POD_SETUP;
	request.pod_setup = pod_setup_request(&burst->arena, burst->pod);
	r = post(burst, NULL, &request, false, err);
	if (r == 0)
		r = post_network(burst, err);
	/* Files of containers that were removed while the pod did not run. */
	strv_for_each(id, burst->pod->garbage) {
		Hyper__ContainerDelete del = HYPER__CONTAINER_DELETE__INIT;

		if (r < 0)
			break;
		del.id = *id;
		del.disk = true;
		request.body_case = HYPER__REQUEST__BODY_CONTAINER_DELETE;
		request.container_delete = &del;
		r = post(burst, NULL, &request, false, err);
	}
	return r;
}

static int post_file(struct burst *burst, struct container *c, const struct spec_file *file,
		     struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__FileWrite write = HYPER__FILE_WRITE__INIT;
	size_t done = 0;
	int r;

	write.container = c->id;
	write.path = file->path;
	write.mode = file->mode;
	write.user = arena_text(&burst->arena, file->user);
	request.body_case = HYPER__REQUEST__BODY_FILE_WRITE;
	request.file_write = &write;
	do {
		size_t n = file->content_bytes - done;

		if (n > FILE_PIECE_BYTES)
			n = FILE_PIECE_BYTES;
		write.offset = done;
		write.data.data = (uint8_t *)file->content + done;
		write.data.len = n;
		r = post(burst, c, &request, false, err);
		done += n;
	} while (r == 0 && done < file->content_bytes);
	return r;
}

static int post_create(struct burst *burst, struct container *c, Hyper__ContainerCreate *create,
		       struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	int r = 0;

	/* Its last run; what it wrote stays. */
	if (c->in_agent) {
		Hyper__ContainerDelete del = HYPER__CONTAINER_DELETE__INIT;

		del.id = c->id;
		request.body_case = HYPER__REQUEST__BODY_CONTAINER_DELETE;
		request.container_delete = &del;
		r = post(burst, c, &request, false, err);
	}
	if (r < 0)
		return r;
	c->in_agent = true;
	c->stands = c->size_known = false;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_CREATE;
	request.container_create = create;
	r = post(burst, c, &request, false, err);
	for (size_t i = 0; r == 0 && i < c->spec->file_count; i++)
		r = post_file(burst, c, &c->spec->files[i], err);
	return r;
}

static int post_start(struct burst *burst, struct container *c, struct error *err)
{
	Hyper__Request request = HYPER__REQUEST__INIT;
	Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
	Hyper__ProcessStreams streams = HYPER__PROCESS_STREAMS__INIT;
	const struct process_io_options options = {
		.want_stdin = c->spec->open_stdin,
		.want_stdout = true,
		.want_stderr = true,
		.tty = c->spec->tty,
		.close_stdin = c->spec->stdin_once,
		.log = c->log,
	};
	struct agent *agent = pod_agent(burst->pod, err);
	int r;

	if (!agent)
		return -EBUSY;
	r = process_io_open(&c->io, agent, &options, &streams, err);
	if (r < 0)
		return r;
	start.id = c->id;
	start.streams = &streams;
	request.body_case = HYPER__REQUEST__BODY_CONTAINER_START;
	request.container_start = &start;
	return post(burst, c, &request, true, err);
}

/* "container web-db: " before the agent's words, when the pod has several. */
static int name_failure(const struct burst *burst, const struct container *c, int r,
			struct error *err)
{
	return c && !burst->pod->solo ? error_prefix(err, r, "container %s", c->name) : r;
}

/* Waits for every reply; the first failure is the burst's. */
static void note_started(struct container *c, const Hyper__ContainerStarted *started)
{
	c->pid = started->pid;
	c->took_prepared |= started->prepared;
}

static int wait_burst(struct burst *burst, struct error *err)
{
	uint64_t deadline = deadline_in_ms(AGENT_START_MS);
	int result = 0;

	while (!list_empty(&burst->posted)) {
		struct posted *p = container_of(burst->posted.next, struct posted, node);
		struct agent *agent =
			burst->pod->sandbox ? sandbox_agent(burst->pod->sandbox) : NULL;
		Hyper__Reply *reply = NULL;
		struct error why = { 0 };
		int r = agent_wait(agent, &p->ticket, deadline, &reply, &why);

		list_remove(&p->node);
		if (r == 0 && p->is_start &&
		    reply->body_case == HYPER__REPLY__BODY_CONTAINER_STARTED)
			note_started(p->container, reply->container_started);
		if (r < 0 && result == 0) {
			result = name_failure(burst, p->container, r, &why);
			error_copy(err, &why);
		}
		if (reply)
			hyper__reply__free_unpacked(reply, NULL);
		free(p);
	}
	return result;
}

static void burst_done(struct burst *burst)
{
	struct list *node;

	while ((node = list_pop(&burst->posted))) {
		struct posted *p = container_of(node, struct posted, node);

		agent_forget(NULL, &p->ticket);
		free(p);
	}
	for (size_t i = 0; i < burst->filter_count; i++)
		seccomp_filter_unref(burst->filters[i]);
	free(burst->filters);
	arena_done(&burst->arena);
}

/* Filters are made before the sandbox is asked for, so that the burst has nothing to wait for. */
static int get_filters(struct burst *burst, struct container **containers, size_t count,
		       struct error *err)
{
	burst->filters = calloc(count + 1, sizeof(*burst->filters));
	if (!burst->filters)
		return error_nomem(err);
	burst->filter_count = count;
	for (size_t i = 0; i < count; i++) {
		int r = container_seccomp(containers[i], false, &burst->filters[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int run_burst(struct burst *burst, struct container **containers, size_t count, bool start,
		     struct error *err)
{
	bool set_up = burst->pod->set_up;
	int r = 0;

	if (!set_up)
		r = post_setup(burst, err);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = post_create(burst, containers[i], burst->creates[i], err);
	for (size_t i = 0; r == 0 && start && i < count; i++)
		r = post_start(burst, containers[i], err);
	if (r < 0) {
		struct error ignored;

		wait_burst(burst, &ignored);
		return r;
	}
	r = wait_burst(burst, err);
	if (r == 0 && !set_up) {
		burst->pod->set_up = true;
		strv_free(steal(burst->pod->garbage));
	}
	return r;
}

/* ------------------------------------------------------------------ containers */

static int prepare_container(struct container *c, struct error *err)
{
	int r = devices_check(c, err);

	/* As Docker: what a start says of the container is what it is called then. */
	if (r == 0 && c->log_outdated) {
		log_close(steal(c->log));
		c->log_outdated = false;
	}
	if (r == 0)
		r = container_open_log(c, err);
	if (r == 0)
		r = log_begin(c->log, err);
	if (r < 0)
		return r;
	c->exit = (struct process_exit){ 0 };
	c->exit_code = c->pid = 0;
	c->oom_killed = false;
	container_set_error(c, NULL);
	return 0;
}

static void container_started(struct container *c)
{
	c->started_ns = realtime_ns();
	c->started_mono_ns = now_ns();
	c->finished_ns = 0;
	container_set_state(c, CONTAINER_RUNNING);
	container_save_logged(c);
	process_io_started(&c->io);
	container_event(c, "start", NULL);
	health_begin(c);
}

static void container_not_started(struct container *c, const struct error *why)
{
	process_io_end(&c->io);
	c->exit_code = why->exit_code ? why->exit_code : 128;
	container_set_error(c, why->message);
	c->finished_ns = c->started_ns ? realtime_ns() : 0;
	container_set_state(c, c->started_ns ? CONTAINER_EXITED : CONTAINER_CREATED);
	container_save_logged(c);
	container_wake_waits(c, WAIT_NEXT_EXIT);
}

enum start_how { HOW_SERVE, HOW_STAND, HOW_START };

static int start_in_sandbox(struct pod *pod, struct burst *burst, struct container **containers,
			    size_t count, const struct layer_list *layers, enum start_how how,
			    struct error *err)
{
	const Hyper__ContainerCreate *prepare = NULL;
	autofree char *user_network = NULL;
	struct pod_shares shares;
	int r = 0;

	/* Addresses stand in files that the containers are made with. */
	if (!pod->sandbox && how == HOW_START)
		r = pod_network_open(pod, &user_network, err);
	if (r < 0)
		return r;

	burst->creates = arena_alloc(&burst->arena, (count + 1) * sizeof(*burst->creates));
	for (size_t i = 0; i < count; i++)
		burst->creates[i] =
			container_request(&burst->arena, containers[i], burst->filters[i]);
	/* A template holds one container made ahead: the first's. */
	if (!pod->sandbox && count && pod->spec->isolation == ISOLATION_VM)
		prepare =
			container_prepare_request(&burst->arena, containers[0], burst->creates[0]);
	r = pod_shares_open(pod, &shares, err);
	if (r < 0)
		return r;
	if (!pod->sandbox)
		r = begin_sandbox(pod, layers, &shares, prepare, user_network, err);
	else if (layers->count)
		r = sandbox_add_layers(pod->sandbox, layers->layers, layers->count, err);
	if (r == 0 && pod->sandbox && !pod->sandbox_dead)
		r = add_shares(pod, &shares, err);
	pod_shares_done(&shares);
	if (how == HOW_SERVE)
		count = 0;
	return r < 0 ? r : run_burst(burst, containers, count, how == HOW_START, err);
}

/* The sandbox is new and of no use: nothing else lives in it. */
static void undo_start(struct pod *pod, struct container **containers, size_t count, bool fresh)
{
	if (fresh) {
		if (pod->sandbox)
			pod_end_sandbox(pod, 0, POD_FAILED);
		else
			pod_set_state(pod, POD_FAILED);
		pod_volumes_unmount(pod);
		pod_network_close(pod);
		return;
	}
	for (size_t i = 0; i < count; i++)
		pod_delete_in_agent(pod, containers[i], false, NULL);
	pod_settle(pod);
}

int pod_start_containers(struct pod *pod, struct container **containers, size_t count,
			 struct error *err)
{
	struct burst burst = { .pod = pod, .posted = LIST_INIT(burst.posted) };
	struct layer_list layers = { 0 };
	struct error why = { 0 };
	bool fresh;
	int r;

	arena_init(&burst.arena);
	pod->asked_ns = now_ns();
	if (pod->sandbox && pod->sandbox_dead)
		pod_end_sandbox(pod, 0, POD_FAILED);
	pod_leave_serving(pod);
	fresh = !pod->sandbox || pod->serving;
	pod->serving = false;
	if (fresh)
		pod_set_state(pod, POD_STARTING);
	for (size_t i = 0; i < count; i++)
		container_set_state(containers[i], CONTAINER_STARTING);

	r = collect_layers(containers, count, &layers, &why);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = prepare_container(containers[i], &why);
	if (r == 0)
		r = get_filters(&burst, containers, count, &why);
	if (r == 0)
		r = start_in_sandbox(pod, &burst, containers, count, &layers, HOW_START, &why);
	burst_done(&burst);
	free(layers.layers);
	if (r == 0 && pod->sandbox_dead)
		r = error_set(&why, ERROR_FAILED, "the sandbox died while it was started: %s",
			      pod->failure.message);
	if (r < 0) {
		for (size_t i = 0; i < count; i++)
			container_not_started(containers[i], &why);
		pod->failure = why;
		undo_start(pod, containers, count, fresh);
		error_copy(err, &why);
		return r;
	}
	pod->started_mono_ns = now_ns();
	if (fresh) {
		pod->storage_used = true;
		pod->started_ns = realtime_ns();
		pod->finished_ns = 0;
		error_clear(&pod->failure);
		pod_set_state(pod, POD_RUNNING);
		pod_save_logged(pod);
		pod_event(pod, "start");
	}
	for (size_t i = 0; i < count; i++)
		container_started(containers[i]);
	for (size_t i = 0; i < count; i++)
		if (containers[i]->exit.have)
			container_exit_begin(containers[i]);
	return 0;
}

int pod_start_serving(struct pod *pod, struct container *c, bool standing, struct error *err)
{
	struct burst burst = { .pod = pod, .posted = LIST_INIT(burst.posted) };
	struct layer_list layers = { 0 };
	bool fresh = !pod->sandbox;
	int r;

	arena_init(&burst.arena);
	r = collect_layers(&c, 1, &layers, err);
	if (r == 0)
		r = get_filters(&burst, &c, 1, err);
	if (r == 0)
		r = start_in_sandbox(pod, &burst, &c, 1, &layers, standing ? HOW_STAND : HOW_SERVE,
				     err);
	burst_done(&burst);
	free(layers.layers);
	if (pod->sandbox && fresh)
		pod->serving = true;
	/* What is written into it must not be taken for an interrupted start's. */
	if (r == 0 && !pod->storage_used) {
		pod->storage_used = true;
		pod_save_logged(pod);
	}
	if (r == 0)
		c->stands |= standing;
	else if (pod->sandbox && fresh)
		pod_end_serving(pod, 0);
	else if (fresh)
		pod_volumes_unmount(pod);
	else if (pod->sandbox && standing)
		pod_delete_in_agent(pod, c, false, NULL);
	return r;
}

int pod_start(struct pod *pod, struct error *err)
{
	struct container **containers = NULL, *c;
	size_t count = 0, startable = 0;
	int r;

	if (pod->engine->stopping)
		return error_set(err, ERROR_UNAVAILABLE, "hyperd is shutting down");
	r = pod_lock(pod, err);
	if (r < 0)
		return r;
	if (pod->removed) {
		r = error_set(err, ERROR_NOT_FOUND, "No such pod: %s", pod->name);
	} else if (pod->state == POD_PAUSED) {
		r = error_set(err, ERROR_CONFLICT, "pod %s is paused, unpause it first", pod->name);
	} else {
		r = pod_collect(pod, false, &containers, &count, err);
	}
	/* In a pod that runs already, those that do not. */
	for (size_t i = 0; r == 0 && i < count; i++) {
		c = containers[i];
		if (container_is_live(c) || c->removing) {
			container_unref(c);
			continue;
		}
		c->manually_stopped = c->restart_canceled = false;
		c->restart_count = 0;
		c->backoff_ns = 0;
		containers[startable++] = c;
	}
	if (r == 0 && !startable && pod->state == POD_RUNNING)
		r = error_set(err, ERROR_NOT_MODIFIED, "pod %s is already running", pod->name);
	if (r == 0)
		r = pod_start_containers(pod, containers, startable, err);
	pod_unlock(pod);
	containers_free(containers, startable);
	return r;
}
