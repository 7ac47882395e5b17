#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "hyperd/pod/internal.h"

/* Docker's words; it knows no "starting" and "stopping". */
static const char *const state_names[] = {
	[CONTAINER_CREATED] = "created",
	[CONTAINER_STARTING] = "created",
	[CONTAINER_RUNNING] = "running",
	[CONTAINER_PAUSED] = "paused",
	[CONTAINER_RESTARTING] = "restarting",
	[CONTAINER_STOPPING] = "running",
	[CONTAINER_EXITED] = "exited",
	[CONTAINER_REMOVING] = "removing",
	[CONTAINER_DEAD] = "dead",
};

const char *container_state_name(enum container_state state)
{
	return state_names[state];
}

static const struct {
	enum container_state from, to;
} transitions[] = {
	{ CONTAINER_CREATED, CONTAINER_STARTING },    { CONTAINER_EXITED, CONTAINER_STARTING },
	{ CONTAINER_RESTARTING, CONTAINER_STARTING }, { CONTAINER_STARTING, CONTAINER_RUNNING },
	{ CONTAINER_STARTING, CONTAINER_CREATED },    { CONTAINER_STARTING, CONTAINER_EXITED },
	{ CONTAINER_RUNNING, CONTAINER_PAUSED },      { CONTAINER_PAUSED, CONTAINER_RUNNING },
	{ CONTAINER_RUNNING, CONTAINER_STOPPING },    { CONTAINER_RUNNING, CONTAINER_EXITED },
	{ CONTAINER_PAUSED, CONTAINER_EXITED },       { CONTAINER_STOPPING, CONTAINER_EXITED },
	{ CONTAINER_RUNNING, CONTAINER_RESTARTING },  { CONTAINER_PAUSED, CONTAINER_RESTARTING },
	{ CONTAINER_RESTARTING, CONTAINER_EXITED },
};

bool container_state_may_become(enum container_state from, enum container_state to)
{
	for (size_t i = 0; i < ARRAY_SIZE(transitions); i++)
		if (transitions[i].from == from && transitions[i].to == to)
			return true;
	return false;
}

void container_set_state(struct container *c, enum container_state state)
{
	trace(pod, "container %s: %s (%d) -> %s (%d)", c->name, state_names[c->state], c->state,
	      state_names[state], state);
	if (!container_state_may_become(c->state, state)) {
		log_error("container %s: state %d must not become %d", c->name, c->state, state);
		abort();
	}
	c->state = state;
	cond_broadcast(&c->changed);
	cond_broadcast(&c->pod->changed);
}

bool container_is_running(const struct container *c)
{
	return c->state == CONTAINER_RUNNING || c->state == CONTAINER_PAUSED ||
	       c->state == CONTAINER_STOPPING;
}

bool container_is_live(const struct container *c)
{
	return container_is_running(c) || c->state == CONTAINER_STARTING ||
	       c->state == CONTAINER_RESTARTING;
}

void container_set_error(struct container *c, const char *text)
{
	free(c->error);
	c->error = text ? strdup(text) : NULL;
}

/* ------------------------------------------------------------------ life */

struct container *container_ref(struct container *c)
{
	c->refs++;
	return c;
}

void container_unref(struct container *c)
{
	if (!c || --c->refs)
		return;
	health_free(c->health);
	process_io_done(&c->io);
	log_close(c->log);
	container_spec_free(c->spec);
	process_config_done(&c->config);
	image_unref(c->image);
	pod_unref(c->pod);
	free(c->image_id);
	free(c->name);
	free(c->error);
	free(c);
}

int container_new(struct engine *engine, struct container_spec *spec, struct pod *pod,
		  const char *id, const char *name, struct image *image, struct container **ret,
		  struct error *err)
{
	struct container *c = calloc(1, sizeof(*c));
	int r = 0;

	if (!c) {
		container_spec_free(spec);
		return error_nomem(err);
	}
	c->refs = 1;
	c->engine = engine;
	c->pod = pod_ref(pod);
	c->spec = spec;
	c->created_ns = realtime_ns();
	list_init(&c->node);
	list_init(&c->pod_node);
	list_init(&c->waits);
	cond_init(&c->changed);
	process_io_init(&c->io, engine->loop);
	c->io.tty = spec->tty;
	c->io.close_stdin = spec->stdin_once;
	c->image = image ? image_ref(image) : NULL;
	c->image_id = strdup(image ? image_id(image) : "");
	c->name = strdup(name);
	if (!c->name || !c->image_id)
		r = error_nomem(err);
	if (r == 0 && id)
		strcpy(c->id, id);
	else if (r == 0)
		r = id_make(c->id, err);
	if (r == 0)
		r = process_config_make(spec, image ? image_config(image) : NULL, &c->config, err);
	if (r < 0) {
		container_unref(c);
		return r;
	}
	list_append(engine->containers.next, &c->node);
	list_append(&pod->containers, &c->pod_node);
	container_ref(c); /* the lists' */
	*ret = c;
	return 0;
}

void container_unregister(struct container *c)
{
	list_remove(&c->node);
	list_remove(&c->pod_node);
	container_unref(c);
}

void container_discard(struct container *c)
{
	record_delete(c->engine->store, "container", c->id, NULL);
	health_end(c);
	execs_forget(c->pod, c);
	process_io_end(&c->io);
	process_io_done(&c->io);
	log_close(steal(c->log));
	c->removed = true;
	container_event(c, "destroy", NULL);
	container_wake_waits(c, WAIT_REMOVED);
	cond_broadcast(&c->changed);
	container_unregister(c);
}

const char *container_id(const struct container *c)
{
	return c->id;
}

const char *container_name(const struct container *c)
{
	return c->name;
}

enum container_state container_state(const struct container *c)
{
	return c->removing && !container_is_live(c) ? CONTAINER_REMOVING : c->state;
}

struct pod *container_pod(const struct container *c)
{
	return c->pod;
}

const struct container_spec *container_spec(const struct container *c)
{
	return c->spec;
}

struct image *container_image(const struct container *c)
{
	return c->image;
}

char *const *container_args(const struct container *c)
{
	return c->config.args;
}

char *const *container_env(const struct container *c)
{
	return c->config.env;
}

uint64_t container_created_ns(const struct container *c)
{
	return c->created_ns;
}

void container_status(const struct container *c, struct container_status *ret)
{
	*ret = (struct container_status){
		.state = container_state(c),
		.running = container_is_running(c) || c->state == CONTAINER_RESTARTING,
		.paused = c->state == CONTAINER_PAUSED,
		.restarting = c->state == CONTAINER_RESTARTING,
		.dead = c->state == CONTAINER_DEAD,
		.oom_killed = c->oom_killed,
		.exit_code = c->exit_code,
		.pid = container_is_running(c) ? c->pid : 0,
		.error = c->error ? c->error : "",
		.started_ns = c->started_ns,
		.finished_ns = c->finished_ns,
		.restart_count = c->restart_count,
		.health = health_text(c),
	};
}

int container_save(struct container *c, bool sync, struct error *err)
{
	autojson json_t *record = container_record(c);

	if (!record)
		return error_nomem(err);
	return record_save(c->engine->store, "container", c->id, CONTAINER_RECORD_VERSION, record,
			   sync, err);
}

void container_save_logged(struct container *c)
{
	struct error err = { 0 };

	if (!c->removed && container_save(c, false, &err) < 0)
		log_warn("container %s: %s", c->name, err.message);
}

/* ------------------------------------------------------------------ creating */

static int check_name(struct engine *engine, const char *name, const struct pod *own_pod,
		      struct error *err)
{
	struct container *other;
	struct pod *pod;
	int r = name_check("container", name, err);

	if (r < 0)
		return r;
	other = engine_find_container(engine, name);
	if (other)
		return error_set(err, ERROR_CONFLICT,
				 "Conflict. The container name \"/%s\" is already in use by "
				 "container \"%s\". You have to remove (or rename) that container "
				 "to be able to reuse that name.",
				 name, other->id);
	/* A pod of one is called as its container. */
	pod = own_pod ? NULL : engine_find_pod(engine, name);
	if (pod)
		return error_set(err, ERROR_CONFLICT,
				 "Conflict. The container name \"/%s\" is already in use by pod "
				 "\"%s\". You have to remove (or rename) that pod to be able to "
				 "reuse that name.",
				 name, pod->id);
	return 0;
}

/* In a pod of several: "web-db" for "db", "web-1" for the first without a name. */
static int pod_member_name(struct engine *engine, const struct pod *pod,
			   const struct container_spec *spec, char **ret, struct error *err)
{
	if (spec->name && *spec->name) {
		*ret = strf("%s-%s", pod->name, spec->name);
		return *ret ? check_name(engine, *ret, pod, err) : error_nomem(err);
	}
	for (unsigned n = 1;; n++) {
		*ret = strf("%s-%u", pod->name, n);
		if (!*ret)
			return error_nomem(err);
		if (!engine_find_container(engine, *ret))
			return 0;
		free(steal(*ret));
	}
}

static int solo_name(struct engine *engine, const struct container_spec *spec, char **ret,
		     struct error *err)
{
	const char *given = spec->name && *spec->name == '/' ? spec->name + 1 : spec->name;

	if (given && *given) {
		*ret = strdup(given);
		return *ret ? check_name(engine, *ret, NULL, err) : error_nomem(err);
	}
	for (unsigned attempt = 0;; attempt++) {
		*ret = name_make(attempt);
		if (!*ret)
			return error_nomem(err);
		if (!engine_find_container(engine, *ret) && !engine_find_pod(engine, *ret))
			return 0;
		free(steal(*ret));
	}
}

/* As records are copied: through their text. */
static int copy_networks(struct pod_spec *to, const struct pod_spec *from)
{
	json_t *json = pod_spec_to_json(from);
	struct pod_spec *copy = NULL;

	if (!json || pod_spec_from_json(json, &copy, NULL) < 0) {
		json_decref(json);
		return -ENOMEM;
	}
	json_decref(json);
	to->network_mode = steal(copy->network_mode);
	to->networks = steal(copy->networks);
	to->network_count = copy->network_count;
	to->ports = steal(copy->ports);
	to->port_count = copy->port_count;
	copy->network_count = copy->port_count = 0;
	pod_spec_free(copy);
	return 0;
}

/* What a pod of one is to be: what was asked for it, else the daemon's and the container's. */
static struct pod_spec *solo_pod_spec(const struct engine *engine, const char *name,
				      const struct pod_spec *options)
{
	struct pod_spec *spec = pod_spec_new();

	if (!spec)
		return NULL;
	spec->name = strdup(name);
	spec->isolation =
		options && options->isolation_set ? options->isolation : engine->isolation;
	spec->isolation_set = true;
	if (options) {
		spec->vcpus = options->vcpus;
		spec->memory_bytes = options->memory_bytes;
		spec->transport = options->transport;
		spec->hypervisor = options->hypervisor ? strdup(options->hypervisor) : NULL;
		spec->machine = options->machine ? strdup(options->machine) : NULL;
		spec->hostname = options->hostname ? strdup(options->hostname) : NULL;
		if (copy_networks(spec, options) < 0) {
			pod_spec_free(spec);
			return NULL;
		}
		if ((options->machine && !spec->machine) ||
		    (options->hypervisor && !spec->hypervisor)) {
			pod_spec_free(spec);
			return NULL;
		}
	}
	if (!spec->name) {
		pod_spec_free(spec);
		return NULL;
	}
	return spec;
}

static int check_log(const struct engine *engine, const struct container_spec *spec,
		     struct error *err)
{
	const char *driver =
		spec->log_driver && *spec->log_driver ? spec->log_driver : engine->log_driver;

	/* The same layout: two strings, a NULL key ends. */
	_Static_assert(sizeof(struct log_option) == sizeof(struct spec_pair), "pairs");
	return log_driver_check(driver, (const struct log_option *)spec->log_options, err);
}

/* Pod-wide settings reach the containers that say nothing of their own. */
static int inherit(struct container_spec *spec, const struct pod_spec *pod)
{
	if (spec->restart.kind == RESTART_NO)
		spec->restart = pod->restart;
	spec->tty |= pod->tty;
	if (!spec->log_driver && pod->log_driver) {
		spec->log_driver = strdup(pod->log_driver);
		if (!spec->log_driver)
			return -ENOMEM;
		for (const struct spec_pair *p = pod->log_options; p && p->key; p++)
			if (spec_pairs_set(&spec->log_options, p->key, p->value) < 0)
				return -ENOMEM;
	}
	return 0;
}

/* As Docker: the daemon's driver where none is named, with it the daemon's options that were not
 * given, and with any driver those about the cache. The container keeps them. */
static int default_log(const struct engine *engine, struct container_spec *spec)
{
	bool same;

	if (!spec->log_driver || !*spec->log_driver) {
		free(spec->log_driver);
		spec->log_driver = strdup(engine->log_driver);
		if (!spec->log_driver)
			return -ENOMEM;
	}
	same = strcmp(spec->log_driver, engine->log_driver) == 0;
	for (const struct spec_pair *p = engine->log_options; p && p->key; p++)
		if ((same || str_starts(p->key, "cache-")) &&
		    !spec_pairs_get(spec->log_options, p->key) &&
		    spec_pairs_set(&spec->log_options, p->key, p->value) < 0)
			return -ENOMEM;
	return 0;
}

static int check_spec(struct engine *engine, struct container_spec *spec, const struct pod *pod,
		      struct image **ret_image, struct error *err)
{
	int r = container_spec_check(spec, err);

	if (r == 0 && pod && inherit(spec, pod->spec) < 0)
		r = error_nomem(err);
	if (r == 0 && default_log(engine, spec) < 0)
		r = error_nomem(err);
	if (r == 0)
		r = check_log(engine, spec, err);
	if (r == 0 && (!spec->image || !*spec->image))
		r = error_set(err, ERROR_INVALID, "no image was named");
	return r < 0 ? r : image_get(engine->images, spec->image, ret_image, err);
}

static void forget_pod(struct pod *pod)
{
	list_remove(&pod->node);
	pod->removed = true;
	pod_unref(pod);
}

static int create_registered(struct engine *engine, struct container_spec *spec, struct pod *pod,
			     const struct pod_spec *options, const char *name, struct image *image,
			     struct container **ret, struct error *err)
{
	autoptr(pod_unref) struct pod *owner = NULL;
	struct container *c = NULL;
	int r = 0;

	if (pod) {
		owner = pod_ref(pod);
	} else {
		struct pod_spec *solo = solo_pod_spec(engine, name, options);

		r = solo ? sandbox_check_choice(engine->sandboxes, solo->isolation,
						solo->hypervisor, solo->machine, err)
			 : error_nomem(err);
		if (r == 0)
			r = pod_network_check(engine, solo, err);
		if (r < 0)
			pod_spec_free(solo);
		else
			r = pod_new(engine, solo, true, NULL, &owner, err);
	}
	if (r < 0) {
		container_spec_free(spec);
		return r;
	}
	r = container_new(engine, spec, owner, NULL, name, image, &c, err);
	/* The pod's record last: a container's without its pod is swept, a pod of one without
	 * its container too. */
	if (r == 0)
		r = container_save(c, false, err);
	if (r == 0)
		r = pod_save(owner, false, err);
	if (r < 0) {
		if (c) {
			record_delete(engine->store, "container", c->id, NULL);
			container_unregister(c);
			container_unref(c);
		}
		if (!pod)
			forget_pod(owner);
		return r;
	}
	container_event(c, "create", NULL);
	*ret = c;
	return 0;
}

static int settle_mounts(struct engine *engine, struct container_spec *spec, struct pod *pod,
			 const struct pod_spec *options, const struct image *image,
			 struct error *err)
{
	enum sandbox_isolation isolation = pod ? pod->spec->isolation
					   : options && options->isolation_set ? options->isolation
									       : engine->isolation;
	int r = container_mounts_settle(engine, spec, image, isolation, err);

	if (r == 0 && pod && pod->removed)
		r = error_set(err, ERROR_NOT_FOUND, "No such pod: %s", pod->name);
	return r;
}

int container_create(struct engine *engine, struct container_spec *spec, struct pod *pod,
		     const struct pod_spec *pod_options, struct container **ret, struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	autostrv char **volumes = NULL;
	autofree char *name = NULL;
	int r;

	if (pod && ((pod->solo && !spec->joined) || pod->removed))
		r = error_set(err, ERROR_CONFLICT,
			      "pod %s was made for one container and takes no other", pod->name);
	else
		r = check_spec(engine, spec, pod, &image, err);
	if (r == 0)
		r = settle_mounts(engine, spec, pod, pod_options, image, err);
	/* Names last: making volumes waits, and they may have been taken meanwhile. */
	if (r == 0)
		r = pod && !pod->solo ? pod_member_name(engine, pod, spec, &name, err)
				      : solo_name(engine, spec, &name, err);
	if (r < 0) {
		container_mounts_drop(engine, spec);
		container_spec_free(spec);
		return r;
	}
	volumes = container_mounts_anonymous(spec);
	r = create_registered(engine, spec, pod, pod_options, name, image, ret, err);
	if (r < 0)
		engine_volumes_drop(engine, volumes);
	else if (pod)
		pod_network_rename(pod);
	return r;
}

int container_rename(struct container *c, const char *name, struct error *err)
{
	const char *bare = *name == '/' ? name + 1 : name;
	autofree char *copy = strdup(bare), *pod_copy = strdup(bare), *old = NULL;
	const char *keys[] = { "oldName", NULL, NULL };
	int r;

	if (!copy || !pod_copy)
		return error_nomem(err);
	if (!*bare)
		return error_set(err, ERROR_INVALID, "Neither old nor new names may be empty");
	if (strcmp(bare, c->name) == 0)
		return error_set(err, ERROR_INVALID,
				 "Renaming a container with the same name as its current name");
	r = check_name(c->engine, bare, c->pod->solo ? NULL : c->pod, err);
	if (r < 0)
		return r;
	old = steal(c->name);
	c->name = steal(copy);
	c->log_outdated = true;
	if (c->pod->solo && c->pod->containers.next == &c->pod_node) {
		free(c->pod->name);
		c->pod->name = steal(pod_copy);
		pod_save_logged(c->pod);
	}
	pod_network_rename(c->pod);
	r = container_save(c, false, err);
	keys[1] = old;
	container_event(c, "rename", keys);
	return r;
}

/* ------------------------------------------------------------------ its log */

int container_open_log(struct container *c, struct error *err)
{
	const char *driver = c->spec->log_driver && *c->spec->log_driver ? c->spec->log_driver
									 : c->engine->log_driver;
	bool own = c->spec->log_driver && *c->spec->log_driver;
	autofree char *directory = engine_pod_path(c->engine, c->pod->id, c->id);
	autostr struct str command = STR_INIT;
	char hostname[HOST_NAME_MAX + 1] = "";
	struct log_config config = {
		.loop = c->engine->loop,
		.jobs = c->engine->jobs,
		.group = c->engine->logs,
		.directory = directory,
		.container_id = c->id,
		.container_name = c->name,
		.image_name = c->spec->image,
		.image_id = c->image_id,
		.hostname = hostname,
		.created_ns = c->created_ns,
		.labels = (const struct log_option *)c->config.labels,
		.env = c->config.env,
	};

	if (c->log)
		return 0;
	if (!directory)
		return error_nomem(err);
	gethostname(hostname, sizeof(hostname) - 1);
	strv_for_each(arg, c->config.args)
		str_addf(&command, "%s%s", command.len ? " " : "", *arg);
	config.command = str_text(&command);
	/* As Docker: the daemon's options go with the daemon's driver. */
	config.options =
		(const struct log_option *)(own || c->spec->log_options ? c->spec->log_options
									: c->engine->log_options);
	return log_driver_open(driver, &config, &c->log, err);
}

int container_logs_check(struct container *c, struct error *err)
{
	int r;

	if (c->removed)
		return error_set(err, ERROR_NOT_FOUND, "No such container: %s", c->id);
	r = container_open_log(c, err);
	if (r == 0 && !log_can_read(c->log))
		r = error_set(err, ERROR_UNSUPPORTED,
			      "configured logging driver does not support reading");
	return r;
}

struct log_call {
	int (*fn)(enum stream_kind kind, uint64_t time_ns, const char *data, size_t len,
		  const char *details, void *arg);
	void *arg;
};

static int give_record(const struct log_record *record, void *arg)
{
	const struct log_call *call = arg;

	return call->fn(record->stream == LOG_STDERR ? STREAM_STDERR : STREAM_STDOUT,
			record->time_ns, record->data, record->len, record->details, call->arg);
}

int container_logs(struct container *c, const struct log_read_options *options,
		   int (*fn)(enum stream_kind kind, uint64_t time_ns, const char *data, size_t len,
			     const char *details, void *arg),
		   void *arg, struct error *err)
{
	struct log_call call = { fn, arg };
	const struct log_query query = {
		.want = { options->want_stdout, options->want_stderr },
		.follow = options->follow && container_is_live(c),
		.details = options->details,
		.since_ns = options->since_ns,
		.until_ns = options->until_ns,
		.tail = options->tail,
	};
	int r = container_logs_check(c, err);

	if (r < 0)
		return r;
	log_flush(c->log, NULL);
	return log_read(c->log, &query, give_record, &call, err);
}
