#include "hyperd/image/pull_layer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

/* A connection that brought this much before it broke was worth having. */
#define PROGRESS_WORTH_BYTES (1u << 20)

struct layers {
	const struct layer_source *source;
	struct workdir *work; /* owned: where archives are downloaded to */
	unsigned running;     /* downloads; at most as many as the session has threads */
	struct cond changed;
};

/* One layer, by a task of its own. */
struct layer_pull {
	struct layers *layers;
	const struct manifest_layer *descriptor;
	const char *diff_id;
	char id[13];                      /* as it is shown */
	char what[DIGEST_TEXT_BYTES + 8]; /* for errors */
	char file[24];
	struct layer_entry *entry;
	struct registry_task task;

	/* Of the download's thread while a job runs. */
	int fd;
	char *url; /* owned */
	struct digest_stream *digest;
	uint64_t offset, total;
	_Atomic uint64_t received;
	uint64_t told; /* of received */
	bool again;
	int64_t retry_after_s;
};

static void tell(const struct layer_pull *pull, const char *status, uint64_t current,
		 uint64_t total)
{
	const struct image_progress *progress = pull->layers->source->progress;

	if (progress && progress->update)
		progress->update(progress->arg, pull->id, status, current, total);
}

static void tell_received(void *arg)
{
	struct layer_pull *pull = arg;
	uint64_t now = atomic_load(&pull->received);

	if (now == pull->told)
		return;
	pull->told = now;
	tell(pull, "Downloading", now, pull->total);
}

/* ------------------------------------------------------------------ the thread's part */

static int restart(struct layer_pull *pull, struct error *err)
{
	digest_stream_free(steal(pull->digest));
	pull->offset = 0;
	atomic_store(&pull->received, 0);
	if (ftruncate(pull->fd, 0) < 0 || lseek(pull->fd, 0, SEEK_SET) < 0)
		return error_errno(err, errno, "emptying the download");
	return digest_stream_new(&pull->digest, err);
}

/* "bytes 100-199/200" has to go on where we are. */
static bool range_fits(const struct layer_pull *pull, const char *text)
{
	unsigned long long first, last, total;
	char rest;

	if (!text)
		return false;
	if (sscanf(text, "bytes %llu-%llu/%llu%c", &first, &last, &total, &rest) == 3)
		return first == pull->offset && last < pull->total && total == pull->total;
	return sscanf(text, "bytes %llu-%llu/*%c", &first, &last, &rest) == 2 &&
	       first == pull->offset && last < pull->total;
}

static int download_begin(void *arg, const struct transfer_response *response, struct error *err)
{
	struct layer_pull *pull = arg;
	int r = 0;

	if (response->status == 206) {
		if (range_fits(pull, response->content_range))
			return 0;
		return error_set(err, ERROR_INVALID,
				 "asked for what follows byte %llu, got '%.80s'",
				 (unsigned long long)pull->offset,
				 response->content_range ? response->content_range : "");
	}
	if (response->status != 200)
		return error_set(err, ERROR_INVALID, "unexpected status %ld", response->status);
	/* Those who do not know ranges begin anew. */
	if (pull->offset > 0)
		r = restart(pull, err);
	if (r == 0 && response->content_length >= 0 &&
	    (uint64_t)response->content_length != pull->total)
		r = error_set(err, ERROR_INVALID,
			      "it has %lld bytes, its descriptor in the manifest says %llu",
			      (long long)response->content_length, (unsigned long long)pull->total);
	return r;
}

static int download_receive(void *arg, const void *data, size_t len, struct error *err)
{
	struct layer_pull *pull = arg;
	int r;

	if (len > pull->total - pull->offset)
		return error_set(err, ERROR_LIMIT,
				 "it does not end after the %llu bytes that its descriptor says",
				 (unsigned long long)pull->total);
	r = fd_write_all(pull->fd, data, len);
	if (r < 0)
		return error_errno(err, -r, "writing the download");
	r = digest_stream_update(pull->digest, data, len, err);
	if (r < 0)
		return r;
	pull->offset += len;
	atomic_store(&pull->received, pull->offset);
	return 0;
}

static int download_job(void *arg)
{
	struct layer_pull *pull = arg;
	char range[64];
	const char *headers[] = { range, NULL };
	struct transfer_request request = {
		.method = "GET",
		.url = pull->url,
		.headers = pull->offset ? headers : NULL,
		.begin = download_begin,
		.receive = download_receive,
		.arg = pull,
	};
	autoresponse struct transfer_response response = { 0 };
	int r;

	snprintf(range, sizeof(range), "Range: bytes=%llu-", (unsigned long long)pull->offset);
	if (lseek(pull->fd, (off_t)pull->offset, SEEK_SET) < 0)
		return error_errno(&pull->task.err, errno, "the download");
	r = registry_session_run(pull->layers->source->session, &request, &response, &pull->again,
				 &pull->task.err);
	pull->retry_after_s = r == 0 ? response.retry_after_s : 0;
	if (r < 0)
		return r;
	if (response.status == 416 && pull->offset) {
		pull->again = true;
		r = restart(pull, &pull->task.err);
		return r < 0 ? r
			     : error_set(&pull->task.err, ERROR_FAILED, "the range was refused");
	}
	if (response.status != 200 && response.status != 206) {
		pull->again = registry_status_passes(response.status);
		return registry_answer_error(&response, "GET", &pull->task.err);
	}
	if (pull->offset < pull->total) {
		pull->again = true;
		return error_set(&pull->task.err, ERROR_FAILED, "it ended after %llu of %llu bytes",
				 (unsigned long long)pull->offset, (unsigned long long)pull->total);
	}
	return 0;
}

/* ------------------------------------------------------------------ the task's part */

static int check_sum(struct layer_pull *pull)
{
	char found[DIGEST_TEXT_BYTES];
	int r;

	tell(pull, "Verifying Checksum", 0, 0);
	r = digest_stream_final(pull->digest, found, &pull->task.err);
	if (r == 0 && strcmp(found, pull->descriptor->digest) != 0)
		r = error_set(&pull->task.err, ERROR_INVALID,
			      "filesystem layer verification failed for digest %s: it is %s",
			      pull->descriptor->digest, found);
	return r;
}

/* Goes on where the last connection broke, as long as connections bring something. */
static int download(struct layer_pull *pull)
{
	struct registry_session *session = pull->layers->source->session;
	unsigned attempt = 0;

	for (;;) {
		uint64_t before = pull->offset;
		int r;

		pull->again = false;
		r = registry_session_job(session, download_job, pull, tell_received, pull);
		if (r == 0)
			break;
		if (!pull->again || registry_session_canceled(session))
			return r;
		if (pull->offset >= before + PROGRESS_WORTH_BYTES)
			attempt = 0;
		if (++attempt == REGISTRY_MAX_ATTEMPTS)
			return r;
		tell(pull, "Retrying", 0, 0);
		r = registry_session_pause(session, attempt, pull->retry_after_s, &pull->task.err);
		if (r < 0)
			return r;
	}
	tell_received(pull);
	return check_sum(pull);
}

static int download_in_turn(struct layer_pull *pull)
{
	struct layers *layers = pull->layers;
	int r = 0;

	if (layers->running == REGISTRY_DOWNLOAD_THREADS)
		tell(pull, "Waiting", 0, 0);
	while (r == 0 && layers->running == REGISTRY_DOWNLOAD_THREADS)
		r = cond_wait(&layers->changed, DEADLINE_NEVER);
	if (r < 0)
		return error_errno(&pull->task.err, -r, "waiting for other downloads");
	layers->running++;
	r = download(pull);
	layers->running--;
	cond_broadcast(&layers->changed);
	return r;
}

static int fetch(struct layer_pull *pull)
{
	const struct layer_source *source = pull->layers->source;
	int r;

	pull->url = strf("/v2/%s/blobs/%s", source->path, pull->descriptor->digest);
	if (!pull->url)
		return error_nomem(&pull->task.err);
	pull->fd = openat(pull->layers->work->fd, pull->file,
			  O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (pull->fd < 0)
		return error_errno(&pull->task.err, errno, "creating a file for the download");
	r = digest_stream_new(&pull->digest, &pull->task.err);
	return r < 0 ? r : download_in_turn(pull);
}

static int fetch_and_make(struct layer_pull *pull)
{
	struct image_store *images = pull->layers->source->images;
	int r = fetch(pull);

	if (r < 0)
		return r;
	tell(pull, "Download complete", 0, 0);
	tell(pull, "Extracting", 0, pull->total);
	r = layer_make(images->layers, pull->diff_id, pull->layers->work, pull->file,
		       pull->descriptor->digest, &pull->entry, &pull->task.err);
	/* Its content has a second name by now, or is there already. */
	unlinkat(pull->layers->work->fd, pull->file, 0);
	if (r < 0)
		return r;
	tell(pull, "Extracting", pull->total, pull->total);
	tell(pull, "Pull complete", 0, 0);
	return 0;
}

/* Another pull may be at the same layer: then it is waited for, and its result used. */
struct ongoing {
	struct list node;
	const char *diff_id;
};

static bool is_ongoing(struct image_store *images, const char *diff_id)
{
	struct ongoing *ongoing;

	list_for_each_entry(ongoing, &images->downloads, node)
		if (strcmp(ongoing->diff_id, diff_id) == 0)
			return true;
	return false;
}

static int pull_one(struct layer_pull *pull)
{
	struct image_store *images = pull->layers->source->images;
	struct ongoing mine = { .diff_id = pull->diff_id };
	bool waited = false;
	int r;

	while (is_ongoing(images, pull->diff_id)) {
		if (!waited)
			tell(pull, "Waiting", 0, 0);
		waited = true;
		r = cond_wait(&images->downloads_changed, DEADLINE_NEVER);
		if (r < 0)
			return error_errno(&pull->task.err, -r, "waiting for another download");
	}
	pull->entry = layer_find(images->layers, pull->diff_id);
	if (pull->entry) {
		tell(pull, "Already exists", 0, 0);
		return 0;
	}
	list_append(&images->downloads, &mine.node);
	r = fetch_and_make(pull);
	list_remove(&mine.node);
	cond_broadcast(&images->downloads_changed);
	return r;
}

static void layer_task(void *arg)
{
	struct layer_pull *pull = arg;

	int r = pull_one(pull);

	registry_task_end(pull->layers->source->session, &pull->task, r, pull->what);
	if (pull->fd >= 0)
		close(steal_fd(&pull->fd));
	digest_stream_free(steal(pull->digest));
	free(steal(pull->url));
}

static void layer_pull_init(struct layers *layers, size_t i, struct layer_pull *pull)
{
	const struct layer_source *source = layers->source;

	*pull = (struct layer_pull){
		.layers = layers,
		.descriptor = &source->manifest->layers[i],
		.diff_id = source->diff_ids[i],
		.fd = -1,
		.total = (uint64_t)source->manifest->layers[i].size_bytes,
	};
	snprintf(pull->what, sizeof(pull->what), "layer %s", pull->descriptor->digest);
	snprintf(pull->id, sizeof(pull->id), "%s", digest_hex(pull->descriptor->digest));
	snprintf(pull->file, sizeof(pull->file), "%zu", i);
}

static int check_sizes(const struct layer_source *source, struct error *err)
{
	for (size_t i = 0; i < source->manifest->layer_count; i++) {
		const struct manifest_layer *layer = &source->manifest->layers[i];

		if (layer->size_bytes < 0 ||
		    (uint64_t)layer->size_bytes > source->images->limits.max_bytes)
			return error_set(err, ERROR_LIMIT,
					 "layer %s: %lld bytes, more than a layer may have (%llu)",
					 layer->digest, (long long)layer->size_bytes,
					 (unsigned long long)source->images->limits.max_bytes);
	}
	return 0;
}

int layers_pull(const struct layer_source *source, struct layer_entry **ret, size_t *ret_count,
		struct error *err)
{
	size_t count = source->manifest->layer_count, started = 0;
	autofree struct layer_pull *pulls = calloc(count + 1, sizeof(*pulls));
	autofree struct registry_task **tasks = calloc(count + 1, sizeof(struct registry_task *));
	struct layers layers = { .source = source };
	int r, joined;
	bool old;

	*ret_count = 0;
	if (!pulls || !tasks)
		return error_nomem(err);
	cond_init(&layers.changed);
	r = check_sizes(source, err);
	if (r == 0)
		r = workdir_new(source->images->layers, &layers.work, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		layer_pull_init(&layers, i, &pulls[i]);
		tell(&pulls[i], "Pulling fs layer", 0, 0);
	}
	while (r == 0 && started < count) {
		tasks[started] = &pulls[started].task;
		r = registry_task_spawn(tasks[started], layer_task, &pulls[started], err);
		if (r == 0)
			started++;
	}
	if (r < 0)
		registry_session_cancel(source->session);
	joined = registry_tasks_join(source->session, tasks, started, r < 0 ? NULL : err);
	for (size_t i = 0; i < started; i++)
		if (pulls[i].entry)
			ret[(*ret_count)++] = pulls[i].entry;
	old = task_shield(true);
	workdir_free(layers.work);
	task_shield(old);
	return r < 0 ? r : joined;
}
