#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "hyperd/sandbox/factory.h"

#define END_DEADLINE_MS 15000

char *place_parent_dir(const struct sandbox_factory *factory)
{
	return strf("%s/sandboxes", factory->run_root);
}

static struct place *place_find(const struct sandbox_factory *factory, const char *name)
{
	struct place *place;

	list_for_each_entry(place, &factory->places, node) {
		if (strcmp(place->name, name) == 0)
			return place;
	}
	return NULL;
}

static bool uid_taken(const struct sandbox_factory *factory, uid_t uid)
{
	struct place *place;

	list_for_each_entry(place, &factory->places, node) {
		if (place->uid == uid)
			return true;
	}
	return false;
}

/* Goes round the range, so that a uid rests as long as possible before somebody else has it. */
static int take_uid(struct sandbox_factory *factory, uid_t *ret, struct error *err)
{
	for (unsigned i = 0; i < factory->uid_count; i++) {
		uid_t uid = factory->uid_first + factory->uid_next;

		factory->uid_next = (factory->uid_next + 1) % factory->uid_count;
		if (!uid_taken(factory, uid)) {
			*ret = uid;
			return 0;
		}
	}
	return error_set(err, ERROR_LIMIT, "all %u user ids for sandboxes are in use",
			 factory->uid_count);
}

static struct place *place_alloc(struct sandbox_factory *factory, const char *name)
{
	struct place *place = calloc(1, sizeof(*place));
	autofree char *parent = place_parent_dir(factory);

	if (!place)
		return NULL;
	place->factory = factory;
	place->name = strdup(name);
	place->run_dir = parent ? strf("%s/%s", parent, name) : NULL;
	list_init(&place->node);
	if (!place->name || !place->run_dir) {
		place_detach(place);
		return NULL;
	}
	return place;
}

void place_detach(struct place *place)
{
	if (!place)
		return;
	list_remove(&place->node);
	cgroup_free(place->cgroup);
	free(place->name);
	free(place->run_dir);
	free(place);
}

/* Control groups begin with one of an earlier sandbox of that name removed: it was not adopted. */
static int remove_leftovers(struct sandbox_factory *factory, const char *name, bool delegated,
			    struct error *err)
{
	autoptr(cgroup_free) struct cgroup *old = NULL;
	int r = cgroup_open(factory->cgroups, name, delegated, &old, err);

	return r < 0 ? r : cgroup_destroy(old, deadline_in_ms(END_DEADLINE_MS), err);
}

int place_new(struct sandbox_factory *factory, const char *name, bool wants_uid, bool delegated,
	      const struct cgroup_limits *limits, struct place **ret, struct error *err)
{
	struct place *place;
	int r;

	if (place_find(factory, name))
		return error_set(err, ERROR_CONFLICT, "sandbox '%s' is running already", name);
	place = place_alloc(factory, name);
	if (!place)
		return error_nomem(err);
	list_append(&factory->places, &place->node);
	r = wants_uid ? take_uid(factory, &place->uid, err) : 0;
	if (r == 0)
		r = remove_leftovers(factory, name, delegated, err);
	if (r == 0)
		r = cgroup_new(factory->cgroups, name, delegated, limits, &place->cgroup, err);
	if (r == 0)
		r = file_remove_tree(AT_FDCWD, place->run_dir, err);
	/* Root's alone: whoever may enter here may speak to agents. */
	if (r == 0 && mkdir(place->run_dir, 0700) < 0)
		r = error_errno(err, errno, "making '%s'", place->run_dir);
	if (r < 0) {
		place_remove(place);
		return r;
	}
	*ret = place;
	return 0;
}

int place_adopt(struct sandbox_factory *factory, const char *name, uid_t uid, bool delegated,
		struct place **ret, struct error *err)
{
	struct place *place;
	int r;

	if (place_find(factory, name))
		return error_set(err, ERROR_CONFLICT, "sandbox '%s' is adopted already", name);
	place = place_alloc(factory, name);
	if (!place)
		return error_nomem(err);
	place->uid = uid;
	list_append(&factory->places, &place->node);
	r = cgroup_open(factory->cgroups, name, delegated, &place->cgroup, err);
	if (r < 0) {
		place_detach(place);
		return r;
	}
	*ret = place;
	return 0;
}

void place_remove(struct place *place)
{
	struct error err = { 0 };
	bool shielded;

	if (!place)
		return;
	shielded = task_self() ? task_shield(true) : false;
	if (place->cgroup &&
	    cgroup_destroy(place->cgroup, deadline_in_ms(END_DEADLINE_MS), &err) < 0)
		log_warn("sandbox '%s': %s", place->name, err.message);
	if (file_remove_tree(AT_FDCWD, place->run_dir, &err) < 0)
		log_warn("sandbox '%s': %s", place->name, err.message);
	if (task_self())
		task_shield(shielded);
	place_detach(place);
}

/* ------------------------------------------------------------------ what earlier daemons left */

static int sweep_cgroups(struct sandbox_factory *factory, struct error *err)
{
	autostrv char **names = NULL;
	int r = cgroup_list(factory->cgroups, &names, err), first = 0;

	if (r < 0)
		return r;
	strv_for_each(name, names) {
		struct error one = { 0 };

		if (place_find(factory, *name))
			continue;
		trace(sandbox, "sweeping control group '%s'", *name);
		/* Delegated or not: where its processes are is found out by looking. */
		r = remove_leftovers(factory, *name, true, &one);
		if (r < 0 && first == 0) {
			first = r;
			error_copy(err, &one);
		}
	}
	return first;
}

static int sweep_dirs(struct sandbox_factory *factory, struct error *err)
{
	autofree char *parent = place_parent_dir(factory);
	autostrv char **names = NULL;
	autoclosedir DIR *dir = parent ? opendir(parent) : NULL;
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return parent && errno == ENOENT ? 0
		       : parent                  ? error_errno(err, errno, "'%s'", parent)
						 : error_nomem(err);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && !place_find(factory, entry->d_name) &&
		    strv_add(&names, entry->d_name) < 0)
			return error_nomem(err);
	strv_for_each(name, names) {
		trace(sandbox, "sweeping directory '%s'", *name);
		r = file_remove_tree(dirfd(dir), *name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int place_sweep(struct sandbox_factory *factory, struct error *err)
{
	int r = sweep_cgroups(factory, err);

	return r < 0 ? r : sweep_dirs(factory, err);
}
