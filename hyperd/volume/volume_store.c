#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperd/volume/driver.h"
#include "hyperd/volume/plugin.h"

#define RECORD_KIND    "volume"
#define RECORD_VERSION 1

/* ------------------------------------------------------------------ objects */

static const struct volume_driver *driver_of(const char *name)
{
	return strcmp(name, "local") == 0 ? &local_driver : &plugin_driver;
}

static void volume_free(struct volume *v)
{
	while (!list_empty(&v->users)) {
		struct volume_user *user =
			container_of(list_pop(&v->users), struct volume_user, node);

		free(user->id);
		free(user);
	}
	plugin_unref(v->plugin);
	free(v->name);
	free(v->mountpoint);
	json_decref(v->options);
	json_decref(v->labels);
	json_decref(v->status);
	free(v);
}

struct volume *volume_ref(struct volume *v)
{
	v->refs++;
	return v;
}

void volume_unref(struct volume *v)
{
	if (v && --v->refs == 0)
		volume_free(v);
}

static json_t *copy_object(const json_t *object)
{
	return object ? json_deep_copy(object) : json_object();
}

struct volume *volume_new(struct volume_store *volumes, const char *name, const char *driver,
			  struct plugin *plugin, const json_t *options, const json_t *labels)
{
	struct volume *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->refs = 1;
	v->store = volumes;
	v->driver = driver_of(driver);
	v->plugin = plugin ? plugin_ref(plugin) : NULL;
	v->name = strdup(name);
	v->options = copy_object(options);
	v->mountpoint = v->driver != &local_driver ? strdup("")
			: volume_is_disk(v, NULL)  ? volume_disk_path(v)
						   : local_mountpoint(volumes, name);
	v->labels = copy_object(labels);
	list_init(&v->node);
	list_init(&v->users);
	task_mutex_init(&v->mutex);
	if (!v->name || !v->mountpoint || !v->options || !v->labels) {
		volume_free(v);
		return NULL;
	}
	return v;
}

void volume_register(struct volume *v)
{
	list_append(&v->store->volumes, &v->node);
	volume_ref(v);
}

void volume_forget(struct volume *v)
{
	if (v->removed)
		return;
	v->removed = true;
	list_remove(&v->node);
	volume_unref(v);
}

struct volume *volume_find(struct volume_store *volumes, const char *name)
{
	struct volume *v;

	list_for_each_entry(v, &volumes->volumes, node) {
		if (strcmp(v->name, name) == 0)
			return v;
	}
	return NULL;
}

const char *volume_name(const struct volume *v)
{
	return v->name;
}

const char *volume_driver_name(const struct volume *v)
{
	return v->plugin ? plugin_name(v->plugin) : "local";
}

const json_t *volume_labels(const struct volume *v)
{
	return v->labels;
}

const json_t *volume_options(const struct volume *v)
{
	return v->options;
}

uint64_t volume_created_ns(const struct volume *v)
{
	return v->created_ns;
}

const char *volume_mountpoint(const struct volume *v)
{
	return v->mountpoint;
}

const json_t *volume_status(const struct volume *v)
{
	return v->status;
}

bool volume_is_anonymous(const struct volume *v)
{
	return json_object_get(v->labels, VOLUME_ANONYMOUS_LABEL) != NULL;
}

const char *volume_scope(const struct volume *v)
{
	return v->plugin ? plugin_scope(v->plugin) : "local";
}

void volume_each(struct volume_store *volumes, void (*fn)(struct volume *volume, void *arg),
		 void *arg)
{
	struct volume *v, *next;

	list_for_each_entry_safe(v, next, &volumes->volumes, node)
		fn(v, arg);
}

char **volume_drivers(struct volume_store *volumes)
{
	char **names = NULL;

	if (strv_add(&names, "local") < 0)
		return NULL;
	plugin_names(volumes, &names);
	return names;
}

/* ------------------------------------------------------------------ records */

static int volume_save(struct volume *v, struct error *err)
{
	autojson json_t *record = NULL;

	record = json_pack("{s:s, s:s, s:I, s:O, s:O}", "name", v->name, "driver",
			   volume_driver_name(v), "createdNs", (json_int_t)v->created_ns, "options",
			   v->options, "labels", v->labels);
	if (!record)
		return error_nomem(err);
	v->recorded = true;
	return record_save(v->store->store, RECORD_KIND, v->name, RECORD_VERSION, record, true,
			   err);
}

static void read_volume(const char *id, json_t *record, void *arg)
{
	struct volume_store *volumes = arg;
	const char *name = json_string_value(json_object_get(record, "name"));
	const char *driver = json_string_value(json_object_get(record, "driver"));
	struct plugin *plugin = NULL;
	struct volume *v;

	if (!name || !driver || strcmp(name, id) != 0) {
		log_warn("volume %s: its record is incomplete", id);
		return;
	}
	/* A plugin is asked when its volume is used, not before: it may not be up yet. */
	if (driver_of(driver) == &plugin_driver) {
		plugin = plugin_named(volumes, driver);
		if (!plugin)
			return;
	}
	v = volume_new(volumes, name, driver, plugin, json_object_get(record, "options"),
		       json_object_get(record, "labels"));
	plugin_unref(plugin);
	if (!v)
		return;
	v->recorded = true;
	v->created_ns = (uint64_t)json_integer_value(json_object_get(record, "createdNs"));
	volume_register(v);
	volume_unref(v);
}

static void damaged(const char *id, const struct error *why, void *arg)
{
	log_warn("volume %s: %s", id, why->message);
}

int volume_store_open(struct loop *loop, struct store *store, struct job_pool *jobs,
		      const struct volume_store_config *config, struct volume_store **ret,
		      struct error *err)
{
	struct volume_store *volumes = calloc(1, sizeof(*volumes));
	int r;

	if (!volumes)
		return error_nomem(err);
	volumes->loop = loop;
	volumes->store = store;
	volumes->jobs = jobs;
	list_init(&volumes->volumes);
	list_init(&volumes->plugins);
	volumes->root = strf("%s/volumes", store_path(store));
	volumes->plugin_timeout_s =
		config->plugin_timeout_s ? config->plugin_timeout_s : PLUGIN_TIMEOUT_S;
	if (strv_len(config->plugin_dirs))
		volumes->plugin_dirs = strv_copy(config->plugin_dirs);
	if (!volumes->root || (strv_len(config->plugin_dirs) && !volumes->plugin_dirs))
		r = error_nomem(err);
	else
		r = file_make_dirs(AT_FDCWD, volumes->root, 0711, err);
	if (r == 0)
		r = record_each(store, RECORD_KIND, RECORD_VERSION, read_volume, damaged, volumes,
				err);
	if (r < 0) {
		volume_store_free(volumes);
		return r;
	}
	*ret = volumes;
	return 0;
}

void volume_store_free(struct volume_store *volumes)
{
	if (!volumes)
		return;
	while (!list_empty(&volumes->volumes))
		volume_forget(container_of(volumes->volumes.next, struct volume, node));
	strv_free(volumes->plugin_dirs);
	free(volumes->root);
	free(volumes);
}

void volume_store_sweep(struct volume_store *volumes)
{
	struct volume *v, *next;

	list_for_each_entry_safe(v, next, &volumes->volumes, node) {
		struct error err = { 0 };

		if (v->driver != &local_driver || !list_empty(&v->users) || !local_mounted(v))
			continue;
		volume_ref(v);
		if (v->driver->unmount(v, "", true, &err) < 0)
			log_warn("volume %s: %s", v->name, err.message);
		volume_unref(v);
	}
}

/* ------------------------------------------------------------------ making and removing */

static bool name_ok(const char *name)
{
	static const char first[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t len = strlen(name);

	if (len < 2 || len > VOLUME_NAME_MAX || !strchr(first, name[0]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!strchr(first, name[i]) && !strchr("_.-", name[i]))
			return false;
	return true;
}

static int check_name(const char *name, struct error *err)
{
	if (name_ok(name))
		return 0;
	if (strlen(name) == 1)
		return error_set(err, ERROR_INVALID,
				 "volume name is too short, names should be at least two "
				 "alphanumeric characters");
	return error_set(err, ERROR_INVALID,
			 "create %.80s: \"%.80s\" includes invalid characters for a local volume "
			 "name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to "
			 "pass a host directory, use absolute path",
			 name, name);
}

static int make_name(char name[65], struct error *err)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char random[32];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return error_errno(err, errno, "making a name");
	for (size_t i = 0; i < sizeof(random); i++) {
		name[2 * i] = hex[random[i] >> 4];
		name[2 * i + 1] = hex[random[i] & 15];
	}
	name[64] = '\0';
	return 0;
}

static int check_strings(const char *what, const json_t *object, struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
		if (!json_is_string(value))
			return error_set(err, ERROR_INVALID, "%s \"%.64s\": expected a string",
					 what, key);
	return 0;
}

static int same_driver(const struct volume *v, const char *driver, struct error *err)
{
	if (!driver || !*driver || strcmp(driver, volume_driver_name(v)) == 0)
		return 0;
	return error_set(err, ERROR_CONFLICT,
			 "a volume named %s already exists with driver \"%s\": conflict: volume "
			 "name must be unique",
			 v->name, volume_driver_name(v));
}

static int create_new(struct volume *v, struct error *err)
{
	int r = task_mutex_lock(&v->mutex, DEADLINE_NEVER);

	if (r < 0)
		return error_errno(err, -r, "creating a volume");
	r = v->driver->create(v, err);
	if (r == 0) {
		v->created_ns = realtime_ns();
		r = volume_save(v, err);
	}
	task_mutex_unlock(&v->mutex);
	return r;
}

int volume_create(struct volume_store *volumes, const struct volume_config *config,
		  bool *ret_created, struct volume **ret, struct error *err)
{
	const char *driver = config->driver && *config->driver ? config->driver : "local";
	autoptr(plugin_unref) struct plugin *plugin = NULL;
	autoptr(volume_unref) struct volume *v = NULL;
	char made_up[65];
	const char *name = config->name;
	int r = check_strings("option", config->options, err);

	if (r == 0)
		r = check_strings("label", config->labels, err);
	if (r == 0 && (!name || !*name))
		r = make_name(made_up, err);
	else if (r == 0)
		r = check_name(name, err);
	if (r < 0)
		return r;
	if (!name || !*name)
		name = made_up;
	if (ret_created)
		*ret_created = false;
	v = volume_find(volumes, name);
	if (v) {
		volume_ref(v);
		/* One that is just being made is waited for. */
		if (task_mutex_lock(&v->mutex, DEADLINE_NEVER) < 0)
			return error_set(err, ERROR_CANCELED, "canceled");
		task_mutex_unlock(&v->mutex);
		if (!v->removed) {
			r = same_driver(v, config->driver, err);
			if (r == 0)
				*ret = steal(v);
			return r;
		}
		volume_unref(steal(v));
	}
	if (driver_of(driver) == &plugin_driver) {
		r = plugin_find(volumes, driver, &plugin, err);
		if (r < 0)
			return r;
	}
	v = volume_new(volumes, name, driver, plugin, config->options, config->labels);
	if (!v || (name == made_up &&
		   json_object_set_new(v->labels, VOLUME_ANONYMOUS_LABEL, json_string("")) < 0))
		return error_nomem(err);
	volume_register(v);
	r = create_new(v, err);
	if (r < 0) {
		volume_forget(v);
		return r;
	}
	if (ret_created)
		*ret_created = true;
	*ret = steal(v);
	return 0;
}

int volume_get(struct volume_store *volumes, const char *name, struct volume **ret,
	       struct error *err)
{
	struct volume *v = volume_find(volumes, name);
	int r;

	/* A plugin may have it. */
	if (!v) {
		plugins_list(volumes, NULL);
		v = volume_find(volumes, name);
	}
	if (!v)
		return error_set(err, ERROR_NOT_FOUND, "get %.128s: no such volume", name);
	volume_ref(v);
	if (v->plugin) {
		r = plugin_volume_get(v, err);
		if (r < 0) {
			volume_unref(v);
			return r;
		}
	}
	*ret = v;
	return 0;
}

bool volume_get_known(struct volume_store *volumes, const char *name, struct volume **ret)
{
	struct volume *v = name ? volume_find(volumes, name) : NULL;

	if (v)
		*ret = volume_ref(v);
	return v;
}

void volume_store_refresh(struct volume_store *volumes, char ***ret_warnings)
{
	plugins_list(volumes, ret_warnings);
}

int volume_remove(struct volume *v, bool force, struct error *err)
{
	int r = task_mutex_lock(&v->mutex, DEADLINE_NEVER);

	if (r < 0)
		return error_errno(err, -r, "removing volume %s", v->name);
	if (v->removed)
		r = error_set(err, ERROR_NOT_FOUND, "get %s: no such volume", v->name);
	else if (!list_empty(&v->users))
		r = error_set(err, ERROR_CONFLICT, "remove %s: volume is in use", v->name);
	if (r == 0) {
		r = v->driver->remove(v, err);
		if (r < 0 && force) {
			log_warn("volume %s: %s", v->name, err ? err->message : "not removed");
			error_clear(err);
			r = 0;
		}
		if (r == 0)
			r = record_delete(v->store->store, RECORD_KIND, v->name, err);
		if (r == -ENOENT) {
			error_clear(err);
			r = 0;
		}
		if (r == 0)
			volume_forget(v);
	}
	task_mutex_unlock(&v->mutex);
	return r;
}

/* ------------------------------------------------------------------ use */

static struct volume_user *find_user(struct volume *v, const char *id)
{
	struct volume_user *user;

	list_for_each_entry(user, &v->users, node) {
		if (strcmp(user->id, id) == 0)
			return user;
	}
	return NULL;
}

static int add_user(struct volume *v, const char *id, struct error *err)
{
	struct volume_user *user = calloc(1, sizeof(*user));

	if (user)
		user->id = strdup(id);
	if (!user || !user->id) {
		free(user);
		return error_nomem(err);
	}
	list_append(&v->users, &user->node);
	return 0;
}

int volume_mount(struct volume *v, const char *id, const char **ret_path, struct error *err)
{
	int r = task_mutex_lock(&v->mutex, DEADLINE_NEVER);

	if (r < 0)
		return error_errno(err, -r, "volume %s", v->name);
	if (v->removed)
		r = error_set(err, ERROR_NOT_FOUND, "get %s: no such volume", v->name);
	if (r == 0 && !find_user(v, id)) {
		r = v->driver->mount(v, id, list_empty(&v->users), err);
		if (r == 0)
			r = add_user(v, id, err);
	}
	if (r == 0)
		*ret_path = v->mountpoint;
	task_mutex_unlock(&v->mutex);
	return r;
}

void volume_adopt(struct volume *v, const char *id)
{
	if (!find_user(v, id))
		add_user(v, id, NULL);
}

void volume_unmount(struct volume *v, const char *id)
{
	struct error err = { 0 };
	bool shielded = task_shield(true);
	struct volume_user *user;

	task_mutex_lock(&v->mutex, DEADLINE_NEVER);
	user = find_user(v, id);
	if (user) {
		list_remove(&user->node);
		if (v->driver->unmount(v, id, list_empty(&v->users), &err) < 0)
			log_warn("volume %s: %s", v->name, err.message);
		free(user->id);
		free(user);
	}
	task_mutex_unlock(&v->mutex);
	task_shield(shielded);
}

struct usage_job {
	const char *path;
	uint64_t bytes;
	struct error error;
};

static int usage_job(void *arg)
{
	struct usage_job *job = arg;

	return file_tree_usage(AT_FDCWD, job->path, &job->bytes, &job->error);
}

int volume_usage(struct volume *v, int64_t *ret_bytes, struct error *err)
{
	struct usage_job job = { 0 };
	int r;

	*ret_bytes = -1;
	if (v->driver != &local_driver ||
	    (json_object_size(v->options) && !json_object_get(v->options, "format")))
		return 0;
	job.path = v->mountpoint;
	r = job_run(v->store->jobs, usage_job, &job);
	if (r == -ENOENT)
		r = 0;
	if (r < 0)
		error_copy(err, &job.error);
	else
		*ret_bytes = (int64_t)job.bytes;
	return r;
}
