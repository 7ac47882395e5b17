#include "hyperd/volume/plugin.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperd/volume/driver.h"

#define SPEC_MAX_BYTES     65536
#define ACTIVATE_TIMEOUT_S 10

struct plugin {
	struct list node;
	unsigned refs;
	struct volume_store *store; /* borrowed */
	char *name;
	char *scope;
	bool active; /* it has said that it is a volume driver, and answered since */
};

/* ------------------------------------------------------------------ life */

struct plugin *plugin_ref(struct plugin *p)
{
	p->refs++;
	return p;
}

void plugin_unref(struct plugin *p)
{
	if (!p || --p->refs)
		return;
	list_remove(&p->node);
	free(p->name);
	free(p->scope);
	free(p);
}

struct plugin *plugin_named(struct volume_store *volumes, const char *name)
{
	struct plugin *p;

	list_for_each_entry(p, &volumes->plugins, node) {
		if (strcmp(p->name, name) == 0)
			return plugin_ref(p);
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->refs = 1;
	p->store = volumes;
	list_init(&p->node);
	p->name = strdup(name);
	p->scope = strdup("local");
	if (!p->name || !p->scope) {
		plugin_unref(p);
		return NULL;
	}
	list_append(&volumes->plugins, &p->node);
	return p;
}

const char *plugin_name(const struct plugin *p)
{
	return p->name;
}

const char *plugin_scope(const struct plugin *p)
{
	return p->scope;
}

void plugin_names(struct volume_store *volumes, char ***names)
{
	struct plugin *p;

	list_for_each_entry(p, &volumes->plugins, node) {
		if (p->active)
			strv_add(names, p->name);
	}
}

/* ------------------------------------------------------------------ discovery */

static char *const *plugin_dirs(const struct volume_store *volumes)
{
	static const char *const docker[] = { PLUGIN_DIRS, NULL };

	return volumes->plugin_dirs ? volumes->plugin_dirs : (char *const *)docker;
}

static bool name_ok(const char *name)
{
	return *name && *name != '.' && strlen(name) < 200 && !strchr(name, '/');
}

static int read_json_spec(const char *path, struct plugin_address *ret, struct error *err)
{
	autojson json_t *json = NULL;
	const char *address = NULL;
	int r = json_read(AT_FDCWD, path, SPEC_MAX_BYTES, &json, err);

	if (r == 0)
		r = json_get_string(json, "Addr", &address, err);
	if (r == 0 &&
	    (json_object_get(json, "TLSConfig") || (address && str_starts(address, "https:"))))
		r = error_set(err, ERROR_UNSUPPORTED, "plugins with TLS are not supported");
	if (r == 0)
		r = plugin_address_parse(address ? address : "", ret, err);
	return r < 0 ? error_prefix(err, r, "%s", path) : 0;
}

static int read_spec(const char *path, struct plugin_address *ret, struct error *err)
{
	autofree char *text = NULL;
	int r = file_read(AT_FDCWD, path, SPEC_MAX_BYTES, &text, NULL, err);

	if (r == 0)
		r = plugin_address_parse(text, ret, err);
	return r < 0 ? error_prefix(err, r, "%s", path) : 0;
}

static int take_socket(const char *path, struct plugin_address *ret, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return error_set(err, ERROR_NOT_FOUND, "'%s' is no socket", path);
	ret->socket_path = strdup(path);
	return ret->socket_path ? 0 : error_nomem(err);
}

/* NAME.sock, NAME/NAME.sock, NAME.spec, NAME.json, in Docker's order. */
static const struct {
	const char *suffix; /* NULL: NAME/NAME.sock */
	int (*read)(const char *path, struct plugin_address *ret, struct error *err);
} spellings[] = {
	{ ".sock", take_socket },
	{ NULL, take_socket },
	{ ".spec", read_spec },
	{ ".json", read_json_spec },
};

/* Anew for each call: plugins come and go, and may come back elsewhere. */
static int find_address(const struct plugin *p, struct plugin_address *ret, struct error *err)
{
	for (size_t i = 0; name_ok(p->name) && i < ARRAY_SIZE(spellings); i++)
		strv_for_each(dir, plugin_dirs(p->store)) {
			autofree char *path = NULL;
			int r;

			path = spellings[i].suffix
				       ? strf("%s/%s%s", *dir, p->name, spellings[i].suffix)
				       : strf("%s/%s/%s.sock", *dir, p->name, p->name);
			if (!path)
				return error_nomem(err);
			if (access(path, F_OK) < 0)
				continue;
			*ret = (struct plugin_address){ 0 };
			r = spellings[i].read(path, ret, err);
			if (r == 0 || err->kind != ERROR_NOT_FOUND)
				return r;
		}
	return error_set(err, ERROR_NOT_FOUND, "plugin \"%s\" not found", p->name);
}

static void add_found(char ***names, const char *file)
{
	for (size_t i = 0; i < ARRAY_SIZE(spellings); i++) {
		size_t len = strlen(file), cut;

		if (!spellings[i].suffix || !str_ends(file, spellings[i].suffix))
			continue;
		cut = len - strlen(spellings[i].suffix);
		strv_addf(names, "%.*s", (int)cut, file);
	}
}

/* Names of all that is there. */
static char **discover(const struct volume_store *volumes)
{
	char **names = NULL;

	strv_for_each(path, plugin_dirs(volumes)) {
		autoclosedir DIR *dir = opendir(*path);
		struct dirent *e;

		while (dir && (e = readdir(dir)))
			if (e->d_name[0] != '.')
				add_found(&names, e->d_name);
	}
	return names;
}

/* ------------------------------------------------------------------ calls */

static int check_answer(const char *method, int status, const char *body, json_t **ret,
			struct error *err)
{
	autojson json_t *json = NULL;
	const char *text;

	/* Some answer nothing where there is nothing to say. */
	if (*body && json_parse(body, strlen(body), &json, NULL) < 0)
		json = NULL;
	text = json_string_value(json_object_get(json, "Err"));
	if (text && *text)
		return error_set(err, ERROR_FAILED, "%s: %.500s", method, text);
	if (status != 200)
		return error_set(err, ERROR_FAILED, "%s: status %d: %.300s", method, status, body);
	if (*body && !json)
		return error_set(err, ERROR_FAILED, "%s: the answer is no JSON", method);
	*ret = json ? steal(json) : json_object();
	return *ret ? 0 : error_nomem(err);
}

static int call_once(struct plugin *p, const char *method, const json_t *request,
		     unsigned timeout_s, json_t **ret, struct error *err)
{
	autofree char *body = json_dumps(request, JSON_COMPACT), *answer = NULL;
	struct plugin_address address = { 0 };
	struct error local = { 0 };
	int r;

	if (!body)
		return error_nomem(err);
	r = find_address(p, &address, err ? err : &local);
	if (r < 0)
		return r;
	r = plugin_http(p->store->jobs, &address, method, body, deadline_in_ms(timeout_s * 1000ull),
			&answer, err);
	plugin_address_done(&address);
	trace(volume, "plugin %s: %s %s: %d %s", p->name, method, body, r, answer ? answer : "");
	if (r < 0) {
		p->active = false;
		if (r != -ECANCELED && err)
			err->kind = ERROR_UNAVAILABLE;
		return error_prefix(err, r, "%s", method);
	}
	return check_answer(method, r, answer, ret, err);
}

static void learn_scope(struct plugin *p)
{
	autojson json_t *answer = NULL, *empty = json_object();
	const char *scope;

	if (call_once(p, "VolumeDriver.Capabilities", empty, ACTIVATE_TIMEOUT_S, &answer, NULL) < 0)
		return;
	scope = json_string_value(
		json_object_get(json_object_get(answer, "Capabilities"), "Scope"));
	if (!scope || strcmp(scope, "global") != 0)
		scope = "local";
	free(p->scope);
	p->scope = strdup(scope);
}

static int activate(struct plugin *p, struct error *err)
{
	autojson json_t *answer = NULL, *empty = json_object();
	bool is_volume_driver = false;
	json_t *item;
	size_t i;
	int r;

	if (p->active)
		return 0;
	r = call_once(p, "Plugin.Activate", empty, ACTIVATE_TIMEOUT_S, &answer, err);
	if (r < 0)
		return r;
	json_array_foreach(json_object_get(answer, "Implements"), i, item)
		is_volume_driver |= str_equal(json_string_value(item), "VolumeDriver");
	if (!is_volume_driver)
		return error_set(err, ERROR_INVALID, "it is no volume driver");
	p->active = true;
	learn_scope(p);
	p->active = true;
	return 0;
}

int plugin_call(struct plugin *p, const char *method, json_t *request, json_t **ret_answer,
		struct error *err)
{
	autojson json_t *owned = request, *answer = NULL;
	autoptr(plugin_unref) __attribute__((unused)) struct plugin *held = plugin_ref(p);
	struct error local = { 0 };
	int r;

	if (!err)
		err = &local;
	if (!owned)
		return error_nomem(err);
	r = activate(p, err);
	if (r == 0)
		r = call_once(p, method, owned, p->store->plugin_timeout_s, &answer, err);
	if (r < 0)
		return error_prefix(err, r, "volume plugin \"%s\"", p->name);
	if (ret_answer)
		*ret_answer = steal(answer);
	return 0;
}

int plugin_find(struct volume_store *volumes, const char *name, struct plugin **ret,
		struct error *err)
{
	autoptr(plugin_unref) struct plugin *p = plugin_named(volumes, name);
	int r = p ? activate(p, err) : error_nomem(err);

	if (r < 0)
		return error_prefix(err, r, "error looking up volume plugin %s", name);
	*ret = steal(p);
	return 0;
}

/* ------------------------------------------------------------------ volumes */

static int set_mountpoint(struct volume *v, const char *path, struct error *err)
{
	char *copy = strdup(path ? path : "");

	if (!copy)
		return error_nomem(err);
	free(v->mountpoint);
	v->mountpoint = copy;
	return 0;
}

static int learn(struct volume *v, const json_t *told, struct error *err)
{
	const char *created = json_string_value(json_object_get(told, "CreatedAt"));
	const char *mountpoint = json_string_value(json_object_get(told, "Mountpoint"));
	json_t *status = json_object_get(told, "Status");
	struct tm tm = { 0 };

	json_decref(v->status);
	v->status = json_object_size(status) ? json_incref(status) : NULL;
	if (!v->created_ns && created && strptime(created, "%Y-%m-%dT%H:%M:%S", &tm))
		v->created_ns = (uint64_t)timegm(&tm) * NSEC_PER_SEC;
	return mountpoint && *mountpoint ? set_mountpoint(v, mountpoint, err) : 0;
}

static json_t *named(const struct volume *v)
{
	return json_pack("{s:s}", "Name", v->name);
}

int plugin_volume_get(struct volume *v, struct error *err)
{
	autojson json_t *answer = NULL;
	int r = plugin_call(v->plugin, "VolumeDriver.Get", named(v), &answer, err);
	json_t *told = json_object_get(answer, "Volume");

	if (r == 0 && !json_is_object(told))
		r = error_set(err, ERROR_FAILED, "volume plugin \"%s\" has no volume %s",
			      v->plugin->name, v->name);
	/* It answers, and knows it no more. */
	if (r < 0 && err && err->kind == ERROR_FAILED) {
		struct error said = *err;

		return error_set(err, ERROR_NOT_FOUND, "get %s: no such volume: %s", v->name,
				 said.message);
	}
	return r < 0 ? r : learn(v, told, err);
}

/* One that is there already is taken as it is, as Docker does. */
static int plugin_create(struct volume *v, struct error *err)
{
	struct error ignored = { 0 };
	json_t *request;
	int r = plugin_volume_get(v, &ignored);

	if (r == 0)
		return 0;
	request = json_pack("{s:s, s:O}", "Name", v->name, "Opts", v->options);
	r = plugin_call(v->plugin, "VolumeDriver.Create", request, NULL, err);
	return r < 0 ? error_prefix(err, r, "create %s", v->name) : 0;
}

static int plugin_remove(struct volume *v, struct error *err)
{
	return plugin_call(v->plugin, "VolumeDriver.Remove", named(v), NULL, err);
}

static json_t *named_for(const struct volume *v, const char *user)
{
	return json_pack("{s:s, s:s}", "Name", v->name, "ID", user);
}

static int plugin_mount(struct volume *v, const char *user, bool first, struct error *err)
{
	autojson json_t *answer = NULL;
	const char *path;
	int r = plugin_call(v->plugin, "VolumeDriver.Mount", named_for(v, user), &answer, err);

	if (r < 0)
		return r;
	path = json_string_value(json_object_get(answer, "Mountpoint"));
	if (!path || *path != '/')
		return error_set(err, ERROR_FAILED,
				 "volume plugin \"%s\" did not say where %s is mounted",
				 v->plugin->name, v->name);
	return set_mountpoint(v, path, err);
}

static int plugin_unmount(struct volume *v, const char *user, bool last, struct error *err)
{
	return plugin_call(v->plugin, "VolumeDriver.Unmount", named_for(v, user), NULL, err);
}

const struct volume_driver plugin_driver = {
	.create = plugin_create,
	.remove = plugin_remove,
	.mount = plugin_mount,
	.unmount = plugin_unmount,
};

/* ------------------------------------------------------------------ all of them */

static bool told_of(const json_t *list, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach((json_t *)list, i, item)
		if (str_equal(json_string_value(json_object_get(item, "Name")), name))
			return true;
	return false;
}

static void take_list(struct plugin *p, const json_t *list)
{
	struct volume *v, *next;
	json_t *item;
	size_t i;

	list_for_each_entry_safe(v, next, &p->store->volumes, node) {
		if (v->plugin == p && !v->recorded && list_empty(&v->users) &&
		    !told_of(list, v->name))
			volume_forget(v);
	}
	json_array_foreach((json_t *)list, i, item) {
		const char *name = json_string_value(json_object_get(item, "Name"));

		if (!name || !*name || strlen(name) > VOLUME_NAME_MAX)
			continue;
		v = volume_find(p->store, name);
		if (!v) {
			v = volume_new(p->store, name, p->name, p, NULL, NULL);
			if (!v)
				return;
			volume_register(v);
			volume_unref(v);
		}
		if (v->plugin == p)
			learn(v, item, NULL);
	}
}

void plugins_list(struct volume_store *volumes, char ***ret_warnings)
{
	autostrv char **names = discover(volumes);

	strv_for_each(name, names) {
		autoptr(plugin_unref) struct plugin *p = plugin_named(volumes, *name);
		autojson json_t *answer = NULL;
		struct error err = { 0 };

		if (!p)
			return;
		if (plugin_call(p, "VolumeDriver.List", json_object(), &answer, &err) == 0)
			take_list(p, json_object_get(answer, "Volumes"));
		else if (err.kind != ERROR_INVALID && ret_warnings)
			strv_add(ret_warnings, err.message);
	}
}
