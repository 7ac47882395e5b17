#pragma once
/*
 * Images: what containers are made from. An image is named by its id ("sha256:…", the digest of its
 * configuration) and by references ("busybox:latest"); its layers are named by diff id (digest of
 * the uncompressed tar) and shared between images and counted. Each layer is kept twice, made once:
 * unpacked as a directory (overlayfs whiteouts) for namespace pods, and as a read-only EROFS file
 * for VM pods.
 *
 * Objects are referenced on the loop thread; unpacking, hashing and EROFS building run as jobs and
 * confined children, so the calls that may take long are for tasks. Sources: OCI image
 * specification 1.0 (config, manifest, index, layer), Docker image specification 1.2
 * (docker-archive).
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/job.h"
#include "hyperd/store/store.h"

/* Limits that an archive of strangers meets; each refusal names the limit. */
#define IMAGE_MAX_LAYERS         127
#define IMAGE_MAX_CONFIG_BYTES   (4u << 20)
#define IMAGE_MAX_MANIFEST_BYTES (4u << 20)
#define LAYER_MAX_ENTRIES        1000000u
#define LAYER_MAX_PATH_BYTES     4095u
#define LAYER_MAX_DEPTH          256u /* of directories: removing a tree holds a descriptor a level */
#define LAYER_MAX_HEADER_BYTES   (1u << 20)
#define LAYER_MAX_BYTES_DEFAULT  (64ull << 30)

struct image_store;
struct image;

struct layer {
	char diff_id[80]; /* "sha256:<64 hex digits>" */
	char *directory;  /* absolute path of the unpacked tree */
	char *erofs_path; /* absolute path of the EROFS file */
	uint64_t erofs_bytes;
	uint64_t size_bytes; /* of the uncompressed content: what `docker images` counts */
};

/* OCI image config, "config" member. All members NULL/empty when missing. */
struct image_config {
	char **entrypoint, **cmd, **env; /* strv */
	char *user, *working_dir, *stop_signal;
	char **volumes, **exposed_ports;   /* strv: the keys */
	char **label_keys, **label_values; /* strv pairs */
	json_t *healthcheck;               /* as given, or NULL */
};

int image_store_open(struct store *store, struct job_pool *jobs, struct image_store **ret,
		     struct error *err);
void image_store_free(struct image_store *images);
/* What one layer may hold at most; LAYER_MAX_BYTES_DEFAULT and LAYER_MAX_ENTRIES until set. */
void image_store_set_limits(struct image_store *images, uint64_t max_layer_bytes,
			    uint64_t max_layer_entries);

/*
 * Finds by reference ("busybox", "busybox:1.37", "name@sha256:…"), by id, or by unambiguous id
 * prefix of hex digits. *ret is a reference for image_unref(); the image and its layers stay on
 * disk while it is held.
 */
int image_get(struct image_store *images, const char *name, struct image **ret, struct error *err);
struct image *image_ref(struct image *image);
void image_unref(struct image *image);
DEFINE_CLEANUP(image_unref, struct image *);

const char *image_id(const struct image *image);       /* "sha256:…" */
char *const *image_tags(const struct image *image);    /* strv of "name:tag"; may be empty */
char *const *image_digests(const struct image *image); /* strv of "name@sha256:…" */
const struct image_config *image_config(const struct image *image);
const json_t *image_config_json(const struct image *image); /* the whole configuration as given */
size_t image_layer_count(const struct image *image);
const struct layer *image_layer(const struct image *image, size_t i); /* 0 is the lowest */
uint64_t image_size_bytes(const struct image *image);
uint64_t image_created_ns(const struct image *image); /* realtime; 0 when unknown */
/* The image that it was built on or committed from, borrowed; NULL when there is none here. */
struct image *image_parent(struct image_store *images, const struct image *image);
bool image_has_children(struct image_store *images, const struct image *image);

/* Progress of long work, called on the loop thread: STATUS as Docker words it, TOTAL 0 when
 * unknown. */
struct image_progress {
	void (*update)(void *arg, const char *id, const char *status, uint64_t current,
		       uint64_t total);
	void *arg;
};

/*
 * Tasks. Read an archive from FD (borrowed; a tar, gzip, zstd or plain; or an OCI layout directory
 * descriptor). *ret_ids: strv of what was loaded, references where it had some, else ids. Nothing
 * half stored is left on failure.
 */
int image_load(struct image_store *images, int fd, const struct image_progress *progress,
	       char ***ret_names, struct error *err);

/* Makes a one-layer image of a root file system tar. CHANGES: Dockerfile instructions (CMD,
 * ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR, STOPSIGNAL, HEALTHCHECK…); REFERENCE and
 * MESSAGE may be NULL. */
int image_import(struct image_store *images, int fd, const char *reference, char *const *changes,
		 const char *message, const struct image_progress *progress, struct image **ret,
		 struct error *err);

/* Writes a docker-archive that is also an OCI layout (as Docker does from 25 on) of the images
 * NAMES to FD. */
int image_save(struct image_store *images, char *const *names, int fd, struct error *err);

int image_tag(struct image_store *images, const char *name, const char *new_reference,
	      struct error *err);

/*
 * An image made of another: its layers and one more, its history and one more entry, and a
 * configuration of its own. All borrowed, for the time of the call.
 */
struct workdir;
struct image_derivation {
	struct image *parent;         /* NULL: of nothing */
	json_t *config;               /* the new "config" member */
	json_t *container_config;     /* of the container that made the layer; may be NULL */
	const char *container_id;     /* may be NULL */
	const char *author, *comment; /* may be NULL */
	const char *created_by;       /* what its entry in the history says; may be NULL */
	/* The layer's archive: the file FILE of WORK; FILE NULL: it adds none. */
	const struct workdir *work;
	const char *file;
};
/* Task. Without names; the store remembers the parent. */
int image_derive(struct image_store *images, const struct image_derivation *derivation,
		 struct image **ret, struct error *err);
/* Where layers' archives are made: workdir_new(), in layer_store.h. */
struct layer_store *image_store_layers(struct image_store *images);

/*
 * Docker's rules: a reference is untagged, and the image goes with its last one; an id with several
 * references needs FORCE; an image in use is refused, and so is one that others were built on.
 * PRUNE takes along the nameless images that it was built on and nothing else needs. *ret_report
 * (may be NULL): array of {"Untagged": …} and {"Deleted": …}. IN_USE is asked with the image id and
 * returns the name of a user, or NULL.
 */
int image_remove(struct image_store *images, const char *name, bool force, bool prune,
		 const char *(*in_use)(const char *image_id, void *arg), void *arg,
		 json_t **ret_report, struct error *err);

/* Calls FN for each image, in no particular order. */
void image_each(struct image_store *images, void (*fn)(struct image *image, void *arg), void *arg);

/* Removes what no image needs any more: half-made layers after a crash, unreferenced layers. */
int image_store_collect(struct image_store *images, struct error *err);
