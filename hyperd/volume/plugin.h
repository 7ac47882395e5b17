#pragma once
/*
 * Volume plugins: Docker's plugin protocol, version 1
 * (https://docs.docker.com/engine/extend/plugin_api/, plugins_volume/). A plugin is a program of
 * root's that answers JSON over HTTP on a unix socket, or where a .spec or .json file says. It is
 * trusted as the daemon is, but not to live or to answer in time: every call has a deadline.
 *
 * Private to hyperd/volume. Loop thread; calls marked "task" talk to the plugin and wait.
 */
#include "hyperd/volume/volume.h"

struct plugin;

/* Where Docker looks; unix sockets only in the first. */
#define PLUGIN_DIRS      "/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"
#define PLUGIN_TIMEOUT_S 60

/* Task: finds and activates it. ERROR_NOT_FOUND names it. */
int plugin_find(struct volume_store *volumes, const char *name, struct plugin **ret,
		struct error *err);
/* The same without talking to anybody: a reference, or NULL for want of memory. */
struct plugin *plugin_named(struct volume_store *volumes, const char *name);
struct plugin *plugin_ref(struct plugin *plugin);
void plugin_unref(struct plugin *plugin);
DEFINE_CLEANUP(plugin_unref, struct plugin *);

const char *plugin_name(const struct plugin *plugin);
const char *plugin_scope(const struct plugin *plugin);
/* Adds the names of those that have been found. */
void plugin_names(struct volume_store *volumes, char ***names);

/*
 * Task: one call of the protocol ("VolumeDriver.Mount"). REQUEST taken. *ret_answer (may be NULL)
 * is an object, the caller's. What the plugin says in "Err" is ERROR_FAILED with its words; one
 * that does not answer is ERROR_UNAVAILABLE.
 */
int plugin_call(struct plugin *plugin, const char *method, json_t *request, json_t **ret_answer,
		struct error *err);

/* Task: what the plugin says of a volume: mount point and status. */
int plugin_volume_get(struct volume *volume, struct error *err);
/* Task: volumes that plugins have become known; those they have no more are forgotten. */
void plugins_list(struct volume_store *volumes, char ***ret_warnings);

/* ------------------------------------------------------------------ plugin_http.c */

struct plugin_address {
	char *socket_path; /* owned; or */
	char *host, *port; /* owned */
};
void plugin_address_done(struct plugin_address *address);
/* "unix:///run/x.sock", "tcp://127.0.0.1:80", "http://…". */
int plugin_address_parse(const char *text, struct plugin_address *ret, struct error *err);
/* Task: POST /METHOD with BODY; the status, and *ret_body (the caller's) when it is positive. */
int plugin_http(struct job_pool *jobs, const struct plugin_address *address, const char *method,
		const char *body, uint64_t deadline_ns, char **ret_body, struct error *err);
