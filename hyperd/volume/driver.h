#pragma once
/* What a volume driver does. Private to hyperd/volume. */
#include "base/list.h"
#include "base/task.h"
#include "hyperd/volume/volume.h"

struct plugin;

struct volume_user {
	char *id;
	struct list node;
};

struct volume {
	struct list node;
	unsigned refs;
	struct volume_store *store; /* borrowed */
	const struct volume_driver *driver;
	struct plugin *plugin; /* referenced; NULL: the local driver's */
	char *name;
	char *mountpoint; /* "" while only the driver knows */
	json_t *options, *labels;
	json_t *status; /* NULL */
	uint64_t created_ns;
	bool removed, recorded;
	struct list users;       /* of volume_user.node */
	struct task_mutex mutex; /* one call to the driver at a time */
};

struct volume_store {
	struct loop *loop; /* borrowed, as these */
	struct store *store;
	struct job_pool *jobs;
	char *root;         /* owned: DATA-ROOT/volumes */
	char **plugin_dirs; /* owned; NULL: Docker's */
	unsigned plugin_timeout_s;
	struct list volumes; /* each holds a reference */
	struct list plugins;
};

/* All tasks, under the volume's mutex. */
struct volume_driver {
	/* Checks options; makes what it needs; sets the mount point if it is known. */
	int (*create)(struct volume *volume, struct error *err);
	int (*remove)(struct volume *volume, struct error *err);
	/* For each user, FIRST or further; sets the mount point. */
	int (*mount)(struct volume *volume, const char *user, bool first, struct error *err);
	int (*unmount)(struct volume *volume, const char *user, bool last, struct error *err);
};

extern const struct volume_driver local_driver, plugin_driver;

/* disk.c */
char *volume_disk_path(const struct volume *volume); /* the caller's */
int volume_disk_create(struct volume *volume, struct error *err);

/* local.c: what a volume's directory is called, and whether something is mounted on it. */
char *local_mountpoint(const struct volume_store *volumes, const char *name);
int local_mounted(const struct volume *volume);

/* volume_store.c */
struct volume *volume_find(struct volume_store *volumes, const char *name);
/* The list holds a reference. */
void volume_register(struct volume *volume);
/* Out of the list; whoever holds it finds it removed. */
void volume_forget(struct volume *volume);
/* One that is known from elsewhere (a plugin's list), without a record. Takes nothing. */
struct volume *volume_new(struct volume_store *volumes, const char *name, const char *driver,
			  struct plugin *plugin, const json_t *options, const json_t *labels);
