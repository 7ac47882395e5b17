#pragma once
/*
 * What is made of a container's files: tar archives out of and into it, the list of its changes,
 * images. Tasks.
 */
#include "hyperd/image/tar.h"
#include "hyperd/pod/files.h"

/* Docker's {"Path": "/etc", "Kind": 0 changed, 1 added, 2 deleted}. */
int container_changes(struct container *container, json_t **ret, struct error *err);

/* Its whole root as a tar, without what is mounted in it. */
int container_export(struct container *container, tar_sink_fn *write, void *arg, struct error *err);

/* What a path leads to; its last part is not followed, unless it ends in "/" or "/.". */
struct path_stat {
	char *name, *link; /* owned; the link's end */
	uint32_t mode;     /* with the type's bits */
	uint64_t size_bytes;
	int64_t mtime_s;
	uint32_t mtime_ns;
};
void path_stat_done(struct path_stat *stat);
int container_path_stat(struct container *container, const char *path, struct path_stat *ret,
			struct error *err);

/*
 * The tree at PATH as a tar, its names beginning with the path's last part. BEGIN is told what it
 * is before the first byte.
 */
struct archive_events {
	int (*begin)(void *arg, const struct path_stat *stat, struct error *err);
	tar_sink_fn *write;
	void *arg;
};
int container_archive_get(struct container *container, const char *path,
			  const struct archive_events *events, struct error *err);

/* Unpacks a tar (also compressed) into the directory PATH. */
struct archive_put {
	const char *path;
	bool keep_kinds; /* Docker's noOverwriteDirNonDir */
	bool own;        /* copyUIDGID: everything becomes the container user's */
};
int container_archive_put(struct container *container, const struct archive_put *put,
			  tar_source_fn *read, void *arg, struct error *err);

struct container_sizes {
	uint64_t changed_bytes; /* Docker's SizeRw */
	uint64_t root_bytes;    /* SizeRootFs */
};
int container_sizes(struct container *container, struct container_sizes *ret, struct error *err);

/*
 * What the container has changed as a layer's archive: the new file NAME in WORK (layer_store.h).
 * *ret_empty: nothing, and there may be no file. With PAUSE a running container stands still
 * meanwhile.
 */
struct workdir;
int container_layer(struct container *container, bool pause, const struct workdir *work,
		    const char *name, bool *ret_empty, struct error *err);

/* An image of the container's image and its changes. */
struct commit_options {
	json_t *config;                     /* borrowed: the image's "config" */
	json_t *container_config;           /* borrowed: what ran; NULL: config */
	const char *author, *comment;       /* may be NULL */
	const char *created_by, *reference; /* NULL: the command; nameless */
	bool pause;
};
int container_commit(struct container *container, const struct commit_options *options,
		     struct image **ret, struct error *err);
