#include "hyperd/image/layer_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperd/image/erofs.h"
#include "hyperd/image/unpack.h"

#define LAYER_KIND      "layer"
#define LAYER_VERSION   1
#define LAYERS_DIR      "image/l"
#define TEMPORARY_DIR   "image/tmp"
#define PARALLEL_UNPACK 2

struct layer_store {
	struct store *store;   /* borrowed */
	struct job_pool *jobs; /* borrowed */
	struct layer_limits limits;
	struct list entries;         /* of struct layer_entry */
	struct list workdirs;        /* of struct workdir, in use */
	int layers_fd, temporary_fd; /* owned */
	uint64_t next_name;
	unsigned unpacking;
	struct cond changed; /* an entry became ready or went, or an unpacking ended */
};

static void entry_free(struct layer_entry *entry)
{
	if (!entry)
		return;
	list_remove(&entry->node);
	free(entry->layer.directory);
	free(entry->layer.erofs_path);
	free(entry->blob_path);
	free(entry);
}
DEFINE_CLEANUP(entry_free, struct layer_entry *);

static int entry_new(struct layer_store *layers, const char *diff_id, struct layer_entry **ret,
		     struct error *err)
{
	struct layer_entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return error_nomem(err);
	list_init(&entry->node);
	entry->layers = layers;
	snprintf(entry->layer.diff_id, sizeof(entry->layer.diff_id), "%.*s", DIGEST_TEXT_BYTES,
		 diff_id);
	*ret = entry;
	return 0;
}

static int entry_set_paths(struct layer_entry *entry, struct error *err)
{
	const char *root = store_path(entry->layers->store);

	entry->layer.directory = strf("%s/" LAYERS_DIR "/%s/d", root, entry->name);
	entry->layer.erofs_path = strf("%s/" LAYERS_DIR "/%s/erofs", root, entry->name);
	entry->blob_path = strf("%s/" LAYERS_DIR "/%s/blob", root, entry->name);
	return entry->layer.directory && entry->layer.erofs_path && entry->blob_path
		       ? 0
		       : error_nomem(err);
}

/* Names are numbers in base 36, never used twice while hyperd runs. */
static void make_name(struct layer_store *layers, char *name, size_t size)
{
	char digits[16];
	size_t at = sizeof(digits) - 1;
	uint64_t n = layers->next_name++;

	digits[at] = '\0';
	do
		digits[--at] = "0123456789abcdefghijklmnopqrstuvwxyz"[n % 36];
	while ((n /= 36) && at > 0);
	snprintf(name, size, "%s", digits + at);
}

static int note_names(struct layer_store *layers, int dir_fd, struct error *err)
{
	autoclosedir DIR *dir = NULL;
	struct dirent *e;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return error_errno(err, errno, "reading the layers' directory");
	while ((e = readdir(dir))) {
		char *end;
		uint64_t n = strtoull(e->d_name, &end, 36);

		if (*end == '\0' && n < UINT64_MAX && n >= layers->next_name)
			layers->next_name = n + 1;
	}
	return 0;
}

static int record_parse(struct layer_store *layers, const char *id, json_t *record,
			struct layer_entry **ret, struct error *err)
{
	autoptr(entry_free) struct layer_entry *entry = NULL;
	const char *name = NULL, *blob = NULL;
	int64_t erofs_bytes = 0, size_bytes = 0, blob_bytes = 0, packed_bytes = 0;
	const char *packed = NULL;
	char diff_id[DIGEST_TEXT_BYTES + 256], path[128];
	int r;

	snprintf(diff_id, sizeof(diff_id), "sha256:%s", id);
	r = digest_check("layer", diff_id, err);
	if (r == 0)
		r = json_get_string(record, "name", &name, err);
	if (r == 0)
		r = json_get_string(record, "blob", &blob, err);
	if (r == 0)
		r = json_get_int(record, "erofs_bytes", &erofs_bytes, err);
	if (r == 0)
		r = json_get_int(record, "size_bytes", &size_bytes, err);
	if (r == 0)
		r = json_get_int(record, "blob_bytes", &blob_bytes, err);
	if (r == 0)
		r = digest_check("blob", blob, err);
	if (r == 0)
		r = json_get_string(record, "packed", &packed, err);
	if (r == 0)
		r = json_get_int(record, "packed_bytes", &packed_bytes, err);
	if (r == 0 && packed)
		r = digest_check("packed", packed, err);
	if (r == 0 && (!name || strlen(name) >= sizeof(entry->name) || strchr(name, '/')))
		r = error_set(err, ERROR_INVALID, "name: expected a short one");
	if (r == 0)
		r = entry_new(layers, diff_id, &entry, err);
	if (r < 0)
		return r;
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	snprintf(entry->blob_digest, sizeof(entry->blob_digest), "%s", blob);
	entry->layer.erofs_bytes = (uint64_t)erofs_bytes;
	entry->layer.size_bytes = (uint64_t)size_bytes;
	entry->blob_bytes = (uint64_t)blob_bytes;
	snprintf(entry->packed_digest, sizeof(entry->packed_digest), "%s", packed ? packed : "");
	entry->packed_bytes = (uint64_t)packed_bytes;
	r = entry_set_paths(entry, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/erofs", name);
	if (faccessat(layers->layers_fd, path, F_OK, 0) < 0)
		return error_errno(err, errno, "'%s'", path);
	entry->ready = true;
	*ret = steal(entry);
	return 0;
}

static void load_record(const char *id, json_t *record, void *arg)
{
	struct layer_store *layers = arg;
	struct layer_entry *entry = NULL;
	struct error err = { 0 };

	if (record_parse(layers, id, record, &entry, &err) < 0) {
		/* Gone by another hand: the images that need it say so when they are looked for. */
		trace(image, "layer %s dropped: %s", id, err.message);
		record_delete(layers->store, LAYER_KIND, id, NULL);
		return;
	}
	list_append(&layers->entries, &entry->node);
}

int layer_store_open(struct store *store, struct job_pool *jobs, struct layer_store **ret,
		     struct error *err)
{
	struct layer_store *layers = calloc(1, sizeof(*layers));
	int r;

	if (!layers)
		return error_nomem(err);
	layers->store = store;
	layers->jobs = jobs;
	layers->limits = (struct layer_limits){ LAYER_MAX_BYTES_DEFAULT, LAYER_MAX_ENTRIES };
	list_init(&layers->entries);
	list_init(&layers->workdirs);
	cond_init(&layers->changed);
	layers->temporary_fd = -1;
	r = layers->layers_fd = file_open_dir(store_dir_fd(store), LAYERS_DIR, 0700, err);
	if (r >= 0)
		r = layers->temporary_fd =
			file_open_dir(store_dir_fd(store), TEMPORARY_DIR, 0700, err);
	if (r >= 0)
		r = note_names(layers, layers->layers_fd, err);
	if (r >= 0)
		r = note_names(layers, layers->temporary_fd, err);
	if (r >= 0)
		r = record_each(store, LAYER_KIND, LAYER_VERSION, load_record, NULL, layers, err);
	if (r < 0) {
		layer_store_free(layers);
		return error_prefix(err, r, "layers");
	}
	*ret = layers;
	return 0;
}

void layer_store_free(struct layer_store *layers)
{
	struct layer_entry *entry, *next;

	if (!layers)
		return;
	list_for_each_entry_safe(entry, next, &layers->entries, node)
		entry_free(entry);
	if (layers->layers_fd >= 0)
		close(layers->layers_fd);
	if (layers->temporary_fd >= 0)
		close(layers->temporary_fd);
	free(layers);
}

void layer_store_set_limits(struct layer_store *layers, const struct layer_limits *limits)
{
	layers->limits = *limits;
}

int workdir_new(struct layer_store *layers, struct workdir **ret, struct error *err)
{
	struct workdir *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w)
		return error_nomem(err);
	w->layers = layers;
	make_name(layers, w->name, sizeof(w->name));
	list_append(&layers->workdirs, &w->node);
	w->fd = file_open_dir(layers->temporary_fd, w->name, 0700, err);
	if (w->fd < 0)
		r = w->fd;
	w->path = strf("%s/" TEMPORARY_DIR "/%s", store_path(layers->store), w->name);
	if (r == 0 && !w->path)
		r = error_nomem(err);
	if (r < 0) {
		workdir_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

struct removal {
	int dir_fd;
	const char *name;
	struct error *err;
};

static int remove_job(void *arg)
{
	struct removal *removal = arg;

	return file_remove_tree(removal->dir_fd, removal->name, removal->err);
}

void workdir_free(struct workdir *w)
{
	struct removal removal;

	if (!w)
		return;
	removal = (struct removal){ w->layers->temporary_fd, w->name, NULL };
	if (w->fd >= 0)
		close(w->fd);
	job_run(w->layers->jobs, remove_job, &removal);
	list_remove(&w->node);
	free(w->path);
	free(w);
}

static struct layer_entry *lookup(struct layer_store *layers, const char *diff_id)
{
	struct layer_entry *entry;

	list_for_each_entry(entry, &layers->entries, node)
		if (strcmp(entry->layer.diff_id, diff_id) == 0)
			return entry;
	return NULL;
}

struct layer_entry *layer_find(struct layer_store *layers, const char *diff_id)
{
	struct layer_entry *entry = lookup(layers, diff_id);

	if (!entry || !entry->ready)
		return NULL;
	entry->refs++;
	return entry;
}

static int sync_job(void *arg)
{
	int *fd = arg;

	return syncfs(*fd) < 0 ? -errno : 0;
}

static int save_record(struct layer_entry *entry, struct error *err)
{
	autojson json_t *record =
		json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", entry->name, "blob",
			  entry->blob_digest, "blob_bytes", (json_int_t)entry->blob_bytes,
			  "size_bytes", (json_int_t)entry->layer.size_bytes, "erofs_bytes",
			  (json_int_t)entry->layer.erofs_bytes);

	if (!record ||
	    (*entry->packed_digest &&
	     (json_object_set_new(record, "packed", json_string(entry->packed_digest)) < 0 ||
	      json_object_set_new(record, "packed_bytes",
				  json_integer((json_int_t)entry->packed_bytes)) < 0)))
		return error_nomem(err);
	return record_save(entry->layers->store, LAYER_KIND, digest_hex(entry->layer.diff_id),
			   LAYER_VERSION, record, true, err);
}

int layer_note_packed(struct layer_entry *entry, const char *digest, uint64_t bytes,
		      struct error *err)
{
	snprintf(entry->packed_digest, sizeof(entry->packed_digest), "%s", digest);
	entry->packed_bytes = bytes;
	return save_record(entry, err);
}

/* From here on the layer exists, also for the next hyperd. */
static int commit(struct layer_store *layers, struct workdir *work, struct layer_entry *entry,
		  struct error *err)
{
	char path[64];
	struct stat st;
	int r;

	snprintf(entry->name, sizeof(entry->name), "%s", work->name);
	if (fstatat(work->fd, "erofs", &st, 0) < 0)
		return error_errno(err, errno, "the layer's EROFS file");
	entry->layer.erofs_bytes = (uint64_t)st.st_size;
	r = entry_set_paths(entry, err);
	if (r < 0)
		return r;
	r = job_run(layers->jobs, sync_job, &work->fd);
	if (r < 0)
		return error_errno(err, -r, "writing the layer to disk");
	snprintf(path, sizeof(path), "%s", work->name);
	if (renameat(layers->temporary_fd, work->name, layers->layers_fd, path) < 0)
		return error_errno(err, errno, "putting the layer in its place");
	r = save_record(entry, err);
	if (r < 0)
		/* Back, so that it goes with the rest. */
		renameat(layers->layers_fd, path, layers->temporary_fd, work->name);
	return r;
}

static int check_digest(const char *what, const char *found, const char *expected,
			struct error *err)
{
	if (!expected || strcmp(found, expected) == 0)
		return 0;
	return error_set(err, ERROR_INVALID, "%s: the content is %s, not %s as promised", what,
			 found, expected);
}

/* Makes the tree, the EROFS file and the archive's copy in WORK; fills in what ENTRY tells of them.
 */
static int build(struct layer_store *layers, struct workdir *work, const struct workdir *from,
		 const char *name, const char *diff_id, const char *blob_digest,
		 struct layer_entry *entry, struct error *err)
{
	autoclose int blob = -1, dir = -1;
	struct unpack_result result;
	int r;

	if (linkat(from->fd, name, work->fd, "blob", 0) < 0)
		return error_errno(err, errno, "the layer's archive");
	blob = openat(work->fd, "blob", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (blob < 0)
		return error_errno(err, errno, "the layer's archive");
	dir = file_open_dir(work->fd, "d", 0755, err);
	if (dir < 0)
		return dir;
	/* The root's own time, where the archive says nothing of it. */
	if (futimens(dir, (struct timespec[2]){ { 0 }, { 0 } }) < 0)
		return error_errno(err, errno, "the layer's directory");
	r = layer_unpack(layers->jobs, blob, dir, &layers->limits, &result, err);
	if (r == 0)
		r = check_digest("layer archive", result.blob_digest, blob_digest, err);
	if (r == 0)
		r = check_digest("layer", result.diff_id, diff_id, err);
	if (r == 0)
		r = erofs_build(work->path, "d", "erofs", result.diff_id, err);
	if (r < 0)
		return r;
	snprintf(entry->layer.diff_id, sizeof(entry->layer.diff_id), "%s", result.diff_id);
	memcpy(entry->blob_digest, result.blob_digest, sizeof(entry->blob_digest));
	entry->blob_bytes = result.blob_bytes;
	entry->layer.size_bytes = result.content_bytes;
	return 0;
}

static int build_in_turn(struct layer_store *layers, struct workdir *work,
			 const struct workdir *from, const char *name, const char *diff_id,
			 const char *blob_digest, struct layer_entry *entry, struct error *err)
{
	int r = 0;

	while (r == 0 && layers->unpacking >= PARALLEL_UNPACK)
		r = cond_wait(&layers->changed, DEADLINE_NEVER);
	if (r < 0)
		return error_errno(err, -r, "waiting for other layers");
	layers->unpacking++;
	r = build(layers, work, from, name, diff_id, blob_digest, entry, err);
	layers->unpacking--;
	cond_broadcast(&layers->changed);
	return r;
}

/* Waits while another task makes DIFF_ID; *ret is it, ready, or NULL when nobody has or makes it.
 */
static int wait_for(struct layer_store *layers, const char *diff_id, struct layer_entry **ret,
		    struct error *err)
{
	struct layer_entry *entry;

	while ((entry = lookup(layers, diff_id)) && !entry->ready) {
		int r = cond_wait(&layers->changed, DEADLINE_NEVER);

		if (r < 0)
			return error_errno(err, -r, "waiting for layer %s", diff_id);
	}
	*ret = entry;
	return 0;
}

/*
 * The entry is in the list while it is made, so that nobody else begins; without DIFF_ID it gets
 * there only when its digest is known.
 */
static int make_new(struct layer_store *layers, const char *diff_id, const struct workdir *from,
		    const char *name, const char *blob_digest, struct layer_entry **ret,
		    struct error *err)
{
	autoptr(workdir_free) struct workdir *work = NULL;
	struct layer_entry *entry = NULL, *have = NULL;
	int r = entry_new(layers, diff_id ? diff_id : "", &entry, err);

	if (r < 0)
		return r;
	if (diff_id)
		list_append(&layers->entries, &entry->node);
	r = workdir_new(layers, &work, err);
	if (r == 0)
		r = build_in_turn(layers, work, from, name, diff_id, blob_digest, entry, err);
	if (r == 0 && !diff_id) {
		r = wait_for(layers, entry->layer.diff_id, &have, err);
		if (r == 0 && !have)
			list_append(&layers->entries, &entry->node);
	}
	if (r == 0 && !have)
		r = commit(layers, work, entry, err);
	if (r < 0 || have) {
		entry_free(entry);
		entry = have;
	}
	if (r == 0) {
		entry->ready = true;
		entry->refs++;
		*ret = entry;
	}
	cond_broadcast(&layers->changed);
	return r;
}

int layer_make(struct layer_store *layers, const char *diff_id, const struct workdir *from,
	       const char *name, const char *blob_digest, struct layer_entry **ret,
	       struct error *err)
{
	struct layer_entry *entry = NULL;
	int r = diff_id ? wait_for(layers, diff_id, &entry, err) : 0;

	if (r < 0)
		return r;
	if (!entry)
		return make_new(layers, diff_id, from, name, blob_digest, ret, err);
	entry->refs++;
	*ret = entry;
	return 0;
}

/* The record goes first: from then on the directory is garbage whatever happens. */
void layer_unref(struct layer_entry *entry)
{
	if (!entry || --entry->refs)
		return;
	record_delete(entry->layers->store, LAYER_KIND, digest_hex(entry->layer.diff_id), NULL);
	entry_free(entry);
}

static bool in_use(struct layer_store *layers, bool temporary, const char *name)
{
	struct layer_entry *entry;
	struct workdir *work;

	list_for_each_entry(work, &layers->workdirs, node)
		if (strcmp(work->name, name) == 0)
			return true;
	if (temporary)
		return false;
	list_for_each_entry(entry, &layers->entries, node)
		if (strcmp(entry->name, name) == 0)
			return true;
	return false;
}

static int collect_dir(struct layer_store *layers, int dir_fd, bool temporary, struct error *err)
{
	autostrv char **names = NULL;
	autoclosedir DIR *dir = NULL;
	struct dirent *e;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return error_errno(err, errno, "reading the layers' directory");
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.' && strv_add(&names, e->d_name) < 0)
			return error_nomem(err);
	strv_for_each(name, names) {
		struct removal removal = { dir_fd, *name, err };
		int r;

		/* Asked anew each time: other tasks ran while the last one was removed. */
		if (in_use(layers, temporary, *name))
			continue;
		r = job_run(layers->jobs, remove_job, &removal);
		if (r < 0)
			return r;
	}
	return 0;
}

int layer_store_collect(struct layer_store *layers, struct error *err)
{
	struct layer_entry *entry, *next;
	int r;

	list_for_each_entry_safe(entry, next, &layers->entries, node) {
		if (entry->refs || !entry->ready)
			continue;
		entry->refs = 1;
		layer_unref(entry);
	}
	r = collect_dir(layers, layers->layers_fd, false, err);
	return r == 0 ? collect_dir(layers, layers->temporary_fd, true, err) : r;
}
