#pragma once
/*
 * Volume plugins: Docker's plugin protocol, version 1. Private to hyperd/volume. Loop thread; calls
 * marked "task" talk to the plugin and wait.
 */
#include "hyperd/volume/volume.h"

struct plugin;

/* Task: finds and activates it. ERROR_NOT_FOUND names where was looked. */
int plugin_find(struct volume_store *volumes, const char *name, struct plugin **ret,
		struct error *err);
/* The same without talking to anybody: a reference, or NULL for want of memory. */
struct plugin *plugin_named(struct volume_store *volumes, const char *name);
struct plugin *plugin_ref(struct plugin *plugin);
void plugin_unref(struct plugin *plugin);
DEFINE_CLEANUP(plugin_unref, struct plugin *);
void plugins_free(struct volume_store *volumes);

const char *plugin_name(const struct plugin *plugin);
const char *plugin_scope(const struct plugin *plugin);
/* Adds the names of those that have been used. */
void plugin_names(struct volume_store *volumes, char ***names);
/* Task: what the plugin says of a volume: mount point and status. */
int plugin_volume_get(struct volume *volume, struct error *err);
/* Task: volumes that plugins have and nobody here has heard of. */
void plugins_list(struct volume_store *volumes, char ***ret_warnings);
