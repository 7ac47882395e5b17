/*
 * What a container mounts, settled when it is created: other containers' volumes, the image's,
 * names for those that have none, volumes made that are not there yet and given the image's
 * content. Afterwards spec->mounts holds all of it, and volumes_from is empty.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "hyperd/pod/internal.h"
#include "hyperd/volume/volume.h"

/* ------------------------------------------------------------------ destinations */

/* "/a//b/../c/" becomes "/a/c", as Docker compares them. In place. */
static void clean_path(char *path)
{
	char *out = path, *p = path;

	while (*p) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 2 && strncmp(p, "..", 2) == 0) {
			while (out > path && *--out != '/')
				;
		} else if (len && !(len == 1 && *p == '.')) {
			*out++ = '/';
			memmove(out, p, len);
			out += len;
		}
		p += len;
	}
	if (out == path)
		*out++ = '/';
	*out = '\0';
}

static int check_destination(struct spec_mount *m, struct error *err)
{
	if (!m->destination || *m->destination != '/')
		return error_set(err, ERROR_INVALID,
				 "invalid mount path: '%.256s' mount path must be absolute",
				 m->destination ? m->destination : "");
	clean_path(m->destination);
	if (strcmp(m->destination, "/") == 0)
		return error_set(err, ERROR_INVALID,
				 "invalid specification: destination can't be '/'");
	return 0;
}

static struct spec_mount *find_mount(struct container_spec *spec, const char *destination,
				     const struct spec_mount *except)
{
	for (size_t i = 0; i < spec->mount_count; i++)
		if (&spec->mounts[i] != except && !strcmp(spec->mounts[i].destination, destination))
			return &spec->mounts[i];
	return NULL;
}

static void remove_mount(struct container_spec *spec, size_t i)
{
	spec_mount_done(&spec->mounts[i]);
	memmove(&spec->mounts[i], &spec->mounts[i + 1],
		(--spec->mount_count - i) * sizeof(*spec->mounts));
}

/* Paths that only an image or Config.Volumes asks for give way to what was asked for by name. */
static int settle_duplicates(struct container_spec *spec, struct error *err)
{
	for (size_t i = 0; i < spec->mount_count;) {
		struct spec_mount *m = &spec->mounts[i];
		struct spec_mount *other = find_mount(spec, m->destination, m);

		if (other && m->image_path) {
			remove_mount(spec, i);
			continue;
		}
		if (other && !other->image_path)
			return error_set(err, ERROR_INVALID, "Duplicate mount point: %s",
					 m->destination);
		i++;
	}
	return 0;
}

/* ------------------------------------------------------------------ other containers' */

static int take_from(struct container_spec *spec, const struct container *from, bool read_only,
		     struct error *err)
{
	for (size_t i = 0; i < from->spec->mount_count; i++) {
		const struct spec_mount *theirs = &from->spec->mounts[i];
		struct spec_mount *mine = find_mount(spec, theirs->destination, NULL);

		if (theirs->type == MOUNT_TMPFS || (mine && !mine->image_path))
			continue;
		mine = container_spec_add_mount(spec);
		if (!mine || spec_mount_copy(theirs, mine) < 0)
			return error_nomem(err);
		mine->read_only |= read_only;
		mine->image_path = mine->create_source = false;
		/* It has the content that it has. */
		mine->no_copy = true;
	}
	return 0;
}

static int take_volumes_from(struct engine *engine, struct container_spec *spec, struct error *err)
{
	strv_for_each(entry, spec->volumes_from) {
		autoptr(container_unref) struct container *from = NULL;
		const char *colon = strrchr(*entry, ':');
		autofree char *name =
			strndup(*entry, colon ? (size_t)(colon - *entry) : strlen(*entry));
		int r;

		if (!name)
			return error_nomem(err);
		if (colon && strcmp(colon, ":ro") != 0 && strcmp(colon, ":rw") != 0 &&
		    strcmp(colon, ":z") != 0)
			return error_set(err, ERROR_INVALID,
					 "invalid mode for volumes-from: \"%.32s\"", colon + 1);
		r = container_get(engine, name, &from, err);
		if (r == 0)
			r = take_from(spec, from, colon && strcmp(colon, ":ro") == 0, err);
		if (r < 0)
			return r;
	}
	strv_free(steal(spec->volumes_from));
	return 0;
}

static int take_image_volumes(struct engine *engine, struct container_spec *spec,
			      const struct image *image, struct error *err)
{
	const struct image_config *config = image_config(image);

	strv_for_each(path, engine->volumes ? config->volumes : NULL) {
		struct spec_mount *m = container_spec_add_mount(spec);

		if (!m)
			return error_nomem(err);
		m->type = MOUNT_VOLUME;
		m->image_path = true;
		m->destination = strdup(*path);
		if (!m->destination)
			return error_nomem(err);
	}
	return 0;
}

/* ------------------------------------------------------------------ sources */

struct bind_job {
	const struct spec_mount *mount;
	struct error error;
};

/* A job: the file system may be another machine's. */
static int check_bind_source(void *arg)
{
	struct bind_job *job = arg;
	const struct spec_mount *m = job->mount;
	struct error *err = &job->error;
	struct stat st;

	if (stat(m->source, &st) == 0)
		return 0;
	if (errno == ENOENT && m->create_source)
		return file_make_dirs(AT_FDCWD, m->source, 0755, err);
	if (errno == ENOENT)
		return error_set(err, ERROR_INVALID,
				 "invalid mount config for type \"bind\": bind source path does "
				 "not exist: %s",
				 m->source);
	return error_errno(err, errno, "bind source path '%s'", m->source);
}

static int check_bind(struct engine *engine, struct spec_mount *m, struct error *err)
{
	struct bind_job job = { .mount = m };
	int r;

	if (!m->source || *m->source != '/')
		return error_set(err, ERROR_INVALID,
				 "invalid mount config for type \"bind\": invalid mount path: "
				 "'%.256s' mount path must be absolute",
				 m->source ? m->source : "");
	r = job_run(engine->jobs, check_bind_source, &job);
	if (r < 0)
		error_copy(err, &job.error);
	return r;
}

static int fill_volume(struct volume *v, const struct image *image, const char *path,
		       struct error *err)
{
	autostrv char **layers = NULL;
	const char *where;
	char user[32];
	static unsigned counter;
	int r;

	for (size_t i = 0; i < image_layer_count(image); i++)
		if (strv_add(&layers, image_layer(image, i)->directory) < 0)
			return error_nomem(err);
	snprintf(user, sizeof(user), "fill-%u", counter++);
	r = volume_mount(v, user, &where, err);
	if (r < 0)
		return r;
	r = volume_fill(v, layers, path, err);
	volume_unmount(v, user);
	return r;
}

static int make_volume(struct engine *engine, struct container_spec *spec, struct spec_mount *m,
		       const struct image *image, enum sandbox_isolation isolation,
		       struct error *err)
{
	autojson json_t *options = spec_pairs_to_json(m->driver_options);
	autojson json_t *labels = spec_pairs_to_json(m->labels);
	autoptr(volume_unref) struct volume *v = NULL;
	struct volume_config config = {
		.name = m->source,
		.driver = m->driver ? m->driver : spec->volume_driver,
		.options = options,
		.labels = labels,
	};
	bool created = false;
	int r;

	if (!engine->volumes)
		return error_set(err, ERROR_UNSUPPORTED, "this daemon keeps no volumes");
	if (!m->source || !*m->source)
		m->anonymous = true;
	r = volume_create(engine->volumes, &config, &created, &v, err);
	if (r < 0)
		return r;
	if (!m->source || !*m->source) {
		free(m->source);
		m->source = strdup(volume_name(v));
		if (!m->source) {
			volume_remove(v, true, NULL);
			return error_nomem(err);
		}
	}
	if (created)
		engine_volume_event(engine, v, "create", NULL);
	m->disk = volume_is_disk(v, NULL);
	if (m->disk && isolation != ISOLATION_VM)
		return error_set(
			err, ERROR_UNSUPPORTED,
			"volume %s is a disk, and for pods in VMs: the host does not mount "
			"what a guest may have written",
			m->source);
	if (m->disk && m->subpath && *m->subpath)
		return error_set(err, ERROR_UNSUPPORTED,
				 "volume %s is a disk: it is mounted as a whole", m->source);
	if (m->disk || m->no_copy || (m->subpath && *m->subpath))
		return 0;
	return fill_volume(v, image, m->destination, err);
}

/* ------------------------------------------------------------------ the whole */

/* Parents before what is mounted below them. */
static size_t depth(const char *path)
{
	size_t n = 0;

	for (; *path; path++)
		n += *path == '/';
	return n;
}

static void sort_mounts(struct container_spec *spec)
{
	for (size_t i = 1; i < spec->mount_count; i++) {
		struct spec_mount m = spec->mounts[i];
		size_t k = i;

		for (; k > 0 && depth(spec->mounts[k - 1].destination) > depth(m.destination); k--)
			spec->mounts[k] = spec->mounts[k - 1];
		spec->mounts[k] = m;
	}
}

static int check_propagation(const struct spec_mount *m, enum sandbox_isolation isolation,
			     struct error *err)
{
	const char *p = m->propagation;

	if (!p || !*p || !strcmp(p, "private") || !strcmp(p, "rprivate"))
		return 0;
	if (!strcmp(p, "shared") || !strcmp(p, "rshared"))
		return error_set(err, ERROR_UNSUPPORTED,
				 "bind propagation \"%s\" of '%s' is not supported: what a "
				 "container mounts never reaches the host",
				 p, m->destination);
	if (strcmp(p, "slave") != 0 && strcmp(p, "rslave") != 0)
		return error_set(err, ERROR_INVALID, "invalid propagation mode: %.32s", p);
	if (isolation == ISOLATION_VM)
		return error_set(err, ERROR_UNSUPPORTED,
				 "bind propagation \"%s\" of '%s' is not supported: a VM sees the "
				 "host's mounts as they were when it was started",
				 p, m->destination);
	return 0;
}

int container_mounts_settle(struct engine *engine, struct container_spec *spec,
			    const struct image *image, enum sandbox_isolation isolation,
			    struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < spec->mount_count && r == 0; i++)
		r = check_destination(&spec->mounts[i], err);
	if (r == 0)
		r = take_volumes_from(engine, spec, err);
	if (r == 0)
		r = take_image_volumes(engine, spec, image, err);
	for (size_t i = 0; i < spec->mount_count && r == 0; i++)
		r = check_destination(&spec->mounts[i], err);
	if (r == 0)
		r = settle_duplicates(spec, err);
	for (size_t i = 0; i < spec->mount_count && r == 0; i++) {
		r = check_propagation(&spec->mounts[i], isolation, err);
		if (r == 0 && spec->mounts[i].type == MOUNT_BIND)
			r = check_bind(engine, &spec->mounts[i], err);
	}
	for (size_t i = 0; i < spec->mount_count && r == 0; i++)
		if (spec->mounts[i].type == MOUNT_VOLUME)
			r = make_volume(engine, spec, &spec->mounts[i], image, isolation, err);
	if (r == 0)
		sort_mounts(spec);
	/* Clients take "not found" for a missing image, and pull. */
	if (r < 0 && err && err->kind == ERROR_NOT_FOUND) {
		err->kind = ERROR_INVALID;
		r = error_kind_errno(ERROR_INVALID);
	}
	return r;
}

/* ------------------------------------------------------------------ who uses a volume */

static bool spec_uses(const struct container_spec *spec, const char *volume)
{
	for (size_t i = 0; i < spec->mount_count; i++)
		if (spec->mounts[i].type == MOUNT_VOLUME &&
		    str_equal(spec->mounts[i].source, volume))
			return true;
	return false;
}

size_t engine_volume_users(struct engine *engine, const char *volume, char ***ret_ids)
{
	struct container *c;
	size_t n = 0;

	list_for_each_entry(c, &engine->containers, node) {
		if (!spec_uses(c->spec, volume))
			continue;
		n++;
		if (ret_ids)
			strv_add(ret_ids, c->id);
	}
	return n;
}

char **container_mounts_anonymous(const struct container_spec *spec)
{
	char **names = NULL;

	for (size_t i = 0; i < spec->mount_count; i++) {
		const struct spec_mount *m = &spec->mounts[i];

		if (m->type == MOUNT_VOLUME && m->anonymous && m->source && *m->source &&
		    strv_add(&names, m->source) < 0)
			break;
	}
	return names;
}

void engine_volumes_drop(struct engine *engine, char *const *names)
{
	strv_for_each(name, names) {
		autoptr(volume_unref) struct volume *v = NULL;
		struct error err = { 0 };

		if (engine_volume_users(engine, *name, NULL) ||
		    !volume_get_known(engine->volumes, *name, &v))
			continue;
		if (volume_remove(v, false, &err) < 0)
			log_warn("volume %s: %s", *name, err.message);
		else
			engine_volume_event(engine, v, "destroy", NULL);
	}
}

void container_mounts_drop(struct engine *engine, const struct container_spec *spec)
{
	autostrv char **names = container_mounts_anonymous(spec);

	engine_volumes_drop(engine, names);
}

int engine_volume_remove(struct engine *engine, struct volume *v, bool force, struct error *err)
{
	autostrv char **ids = NULL;
	autostr struct str text = STR_INIT;
	int r;

	engine_volume_users(engine, volume_name(v), &ids);
	strv_for_each(id, ids)
		str_addf(&text, "%s%s", text.len ? ", " : "", *id);
	if (ids)
		return error_set(err, ERROR_CONFLICT, "remove %s: volume is in use - [%s]",
				 volume_name(v), str_text(&text));
	r = volume_remove(v, force, err);
	if (r == 0)
		engine_volume_event(engine, v, "destroy", NULL);
	return r;
}

int engine_volume_create(struct engine *engine, const struct volume_config *config,
			 struct volume **ret, struct error *err)
{
	bool created;
	int r;

	if (!engine->volumes)
		return error_set(err, ERROR_UNSUPPORTED, "this daemon keeps no volumes");
	r = volume_create(engine->volumes, config, &created, ret, err);
	if (r == 0 && created)
		engine_volume_event(engine, *ret, "create", NULL);
	return r;
}

void engine_volume_event(struct engine *engine, const struct volume *v, const char *action,
			 json_t *attributes)
{
	if (!attributes)
		attributes = json_object();
	json_object_set_new(attributes, "driver", json_string(volume_driver_name(v)));
	engine_emit(engine, "volume", action, volume_name(v), attributes);
}

struct volume_store *engine_volumes(struct engine *engine)
{
	return engine->volumes;
}
