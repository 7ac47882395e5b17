#include "hyperd/volume/plugin.h"

#include <string.h>

#include "base/str.h"
#include "hyperd/volume/driver.h"

struct plugin {
	struct list node;
	unsigned refs;
	char *name;
};

struct plugin *plugin_named(struct volume_store *volumes, const char *name)
{
	struct plugin *p;

	list_for_each_entry(p, &volumes->plugins, node) {
		if (strcmp(p->name, name) == 0)
			return plugin_ref(p);
	}
	p = calloc(1, sizeof(*p));
	if (p)
		p->name = strdup(name);
	if (!p || !p->name) {
		free(p);
		return NULL;
	}
	p->refs = 1;
	list_append(&volumes->plugins, &p->node);
	return p;
}

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
	free(p);
}

void plugins_free(struct volume_store *volumes)
{
}

int plugin_find(struct volume_store *volumes, const char *name, struct plugin **ret,
		struct error *err)
{
	return error_set(
		err, ERROR_NOT_FOUND,
		"create volume: error looking up volume plugin %s: plugin \"%s\" not found", name,
		name);
}

const char *plugin_name(const struct plugin *p)
{
	return p->name;
}

const char *plugin_scope(const struct plugin *p)
{
	return "local";
}

void plugin_names(struct volume_store *volumes, char ***names)
{
}

int plugin_volume_get(struct volume *v, struct error *err)
{
	return 0;
}

void plugins_list(struct volume_store *volumes, char ***ret_warnings)
{
}

static int missing(struct volume *v, struct error *err)
{
	return error_set(err, ERROR_NOT_FOUND, "volume %s: its plugin \"%s\" is not there", v->name,
			 v->plugin->name);
}

static int plugin_mount(struct volume *v, const char *user, bool first, struct error *err)
{
	return missing(v, err);
}

const struct volume_driver plugin_driver = {
	.create = missing,
	.remove = missing,
	.mount = plugin_mount,
	.unmount = plugin_mount,
};
