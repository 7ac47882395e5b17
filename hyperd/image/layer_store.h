#pragma once
/*
 * Layers on disk: DATA-ROOT/image/l/N/ with the unpacked tree "d", the EROFS file "erofs" and the
 * archive as it came, "blob". The names are short because overlayfs takes all of an image's layers
 * in one page of mount options. The archive is kept so that saving and pushing give back the very
 * bytes that were loaded; its price is the layer's size once more, compressed if it came so.
 *
 * A layer is made in DATA-ROOT/image/tmp/N, renamed as a whole, and then recorded (kind "layer"):
 * what a crash leaves is either whole or not recorded, and layer_store_collect() removes it. Layers
 * are counted by the images that use them. Loop thread; the calls that make layers are for tasks.
 */
#include <stdint.h>

#include "base/list.h"
#include "base/task.h"
#include "hyperd/image/digest.h"
#include "hyperd/image/image.h"
#include "hyperd/image/layer_writer.h"

struct layer_store;

/* Where something is being made; removed with all it holds. */
struct workdir {
	struct list node;           /* of the store's open ones */
	struct layer_store *layers; /* borrowed */
	char name[24];
	int fd;     /* owned */
	char *path; /* owned, absolute */
};

struct layer_entry {
	struct layer layer;
	struct list node;
	struct layer_store *layers; /* borrowed */
	unsigned refs;
	bool ready;    /* else a task is making it */
	char name[24]; /* of its directory */
	char blob_digest[DIGEST_TEXT_BYTES];
	uint64_t blob_bytes;
	char *blob_path; /* owned, absolute */
	/* What compressing an uncompressed archive for a registry gave last time; "" when nobody
	 * has. */
	char packed_digest[DIGEST_TEXT_BYTES];
	uint64_t packed_bytes;
};

int layer_store_open(struct store *store, struct job_pool *jobs, struct layer_store **ret,
		     struct error *err);
void layer_store_free(struct layer_store *layers);
void layer_store_set_limits(struct layer_store *layers, const struct layer_limits *limits);

/* The ready layer of that diff id with a new reference, or NULL. */
struct layer_entry *layer_find(struct layer_store *layers, const char *diff_id);
/*
 * Task. The layer DIFF_ID, made of the archive NAME in FROM unless it is there; another task that
 * makes it is waited for. BLOB_DIGEST (may be NULL) is checked when it is made. DIFF_ID NULL takes
 * the layer as it comes.
 */
int layer_make(struct layer_store *layers, const char *diff_id, const struct workdir *from,
	       const char *name, const char *blob_digest, struct layer_entry **ret,
	       struct error *err);
/* Keeps what compressing the layer's archive gave. */
int layer_note_packed(struct layer_entry *entry, const char *digest, uint64_t bytes,
		      struct error *err);
/* The last one makes the layer garbage: it is out of use at once, and off the disk by the next
 * collection. */
void layer_unref(struct layer_entry *entry);

int workdir_new(struct layer_store *layers, struct workdir **ret, struct error *err);
/* Task. */
void workdir_free(struct workdir *workdir);
DEFINE_CLEANUP(workdir_free, struct workdir *);

/* Task. Removes what no record and no task holds. */
int layer_store_collect(struct layer_store *layers, struct error *err);
