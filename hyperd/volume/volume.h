#pragma once
/*
 * Volumes: named directories that outlive containers. A driver keeps them: `local` in the data
 * root (or wherever its options say), plugins wherever they like. The store remembers name, driver,
 * options and labels, one record each, and says where a volume is on the host while somebody uses
 * it; how it then gets into a sandbox is not its business.
 *
 * Who uses a volume is known above; here only the mounts of running pods are counted. Objects are
 * referenced; loop thread; calls marked "task" wait.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/job.h"
#include "base/loop.h"
#include "hyperd/store/store.h"

struct volume_store;
struct volume;

#define VOLUME_NAME_MAX 200
/* What Docker marks volumes with that were made for one container. */
#define VOLUME_ANONYMOUS_LABEL "com.docker.volume.anonymous"

struct volume_config {
	const char *name;   /* NULL or "": one is made up, and the volume is anonymous */
	const char *driver; /* NULL or "": "local" */
	const json_t *options, *labels; /* objects of strings; may be NULL */
};

struct volume_store_config {
	char *const *plugin_dirs;  /* strv of where plugins are looked for; NULL: Docker's */
	unsigned plugin_timeout_s; /* for each call; 0: the default */
};
/* Task: reads the records. */
int volume_store_open(struct loop *loop, struct store *store, struct job_pool *jobs,
		      const struct volume_store_config *config, struct volume_store **ret,
		      struct error *err);
void volume_store_free(struct volume_store *volumes);
/* Task, once all running pods have said what they use: lets go of mounts that nobody uses. */
void volume_store_sweep(struct volume_store *volumes);

/*
 * Task. A volume of that name and driver that is there already is returned as it is, as Docker
 * does; one of another driver is ERROR_CONFLICT. *ret_created may be NULL.
 */
int volume_create(struct volume_store *volumes, const struct volume_config *config,
		  bool *ret_created, struct volume **ret, struct error *err);
/* Task: may ask plugins. ERROR_NOT_FOUND with Docker's text. */
int volume_get(struct volume_store *volumes, const char *name, struct volume **ret,
	       struct error *err);
/* The same without asking anybody: a reference, or false. */
bool volume_get_known(struct volume_store *volumes, const char *name, struct volume **ret);
struct volume *volume_ref(struct volume *volume);
void volume_unref(struct volume *volume);
DEFINE_CLEANUP(volume_unref, struct volume *);
/* FN must not wait. */
void volume_each(struct volume_store *volumes, void (*fn)(struct volume *volume, void *arg),
		 void *arg);
/* Task: takes over what plugins have; what they say goes to *ret_warnings (strv, may be NULL). */
void volume_store_refresh(struct volume_store *volumes, char ***ret_warnings);

const char *volume_name(const struct volume *volume);
const char *volume_driver_name(const struct volume *volume);
const json_t *volume_labels(const struct volume *volume);
const json_t *volume_options(const struct volume *volume);
uint64_t volume_created_ns(const struct volume *volume); /* realtime; 0: unknown */
/* Where it is or will be on the host; "" when only its driver knows. */
const char *volume_mountpoint(const struct volume *volume);
const json_t *volume_status(const struct volume *volume); /* of its plugin; may be NULL */
bool volume_is_anonymous(const struct volume *volume);
const char *volume_scope(const struct volume *volume); /* "local" or "global" */
/* strv of the drivers that are there: "local" and the plugins in use; the caller's. */
char **volume_drivers(struct volume_store *volumes);

/* Task. Whether somebody uses it is the caller's question. FORCE: gone for us, whatever its driver
 * says. */
int volume_remove(struct volume *volume, bool force, struct error *err);

/* Task: makes the volume reachable for USER (an id) and says where. Each user mounts once. */
int volume_mount(struct volume *volume, const char *user, const char **ret_path, struct error *err);
/* An earlier daemon mounted it for USER. */
void volume_adopt(struct volume *volume, const char *user);
/* Task: USER's use is over; logs what goes wrong. */
void volume_unmount(struct volume *volume, const char *user);

/*
 * A volume that is a disk (local driver, option "format"): a VM mounts it, one pod at a time, and
 * the host never does. volume_mount() says where its image is.
 */
struct volume_disk {
	bool qcow2;
	const char *file_system, *options; /* "ext4"; mount(8) words, "" when there are none */
};
/* False when it is none. Strings are the volume's. */
bool volume_is_disk(const struct volume *volume, struct volume_disk *ret);

/* Task: bytes on disk; -1 when only its driver knows. */
int volume_usage(struct volume *volume, int64_t *ret_bytes, struct error *err);

/*
 * Task: what the image has at PATH, if that is a directory and the volume is still empty, becomes
 * the volume's content, with owners and modes. LAYERS: unpacked trees, lowest first. A confined
 * child does the work.
 */
int volume_fill(struct volume *volume, char *const *layers, const char *path, struct error *err);

/* ------------------------------------------------------------------ host_tree.c */

struct host_tree_options {
	bool read_only;
	bool recursive; /* with what is mounted below it */
	bool slave;     /* mounts made later on the host appear in it */
	bool inert;     /* no devices, set-id bits and execution for who has it mounted */
};
/*
 * A detached mount of a file or directory of the host (open_tree(2)), to be handed to a sandbox:
 * nothing is mounted anywhere, and it goes with its last descriptor. SUBPATH is looked up
 * below PATH, following no link out of it; NULL or "": PATH itself, whose links are followed. Task:
 * a file system whose server is dead makes this one wait, and nobody else.
 */
int host_tree_open(struct job_pool *jobs, const char *path, const char *subpath,
		   const struct host_tree_options *options, int *ret_fd, bool *ret_is_directory,
		   struct error *err);
