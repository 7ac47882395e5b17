#include "hyperd/image/push_layer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/fd.h"

#define CHUNK_BYTES  (256u << 10)
#define GZIP_WINDOW  (15 + 16)
#define MAX_MOUNTS   3 /* repositories that are asked for one blob */
#define OCI_LAYER    "application/vnd.oci.image.layer.v1.tar"
#define DOCKER_LAYER "application/vnd.docker.image.rootfs.diff.tar.gzip"

enum upload_state { UPLOAD_MISSING, UPLOAD_EXISTS, UPLOAD_MOUNTED, UPLOAD_DONE };

/* One blob on its way; of the thread while a job runs. */
struct upload {
	const struct layer_target *target;
	const char *digest;
	uint64_t size_bytes;
	const void *data; /* borrowed, or NULL: fd */
	int fd;           /* borrowed; -1 with no data: only look */
	enum upload_state state;
	const char *mounted_from; /* borrowed */
	char *location;           /* owned: where to send it */
	_Atomic uint64_t sent;
	bool again;
	int64_t retry_after_s;
	struct error *err;
};

static int answered(struct upload *upload, const struct transfer_response *response,
		    const char *what)
{
	upload->again = registry_status_passes(response->status);
	upload->retry_after_s = response->retry_after_s;
	return registry_answer_error(response, what, upload->err);
}

static int look(struct upload *upload)
{
	autofree char *url = strf("/v2/%s/blobs/%s", upload->target->path, upload->digest);
	struct transfer_request request = { .method = "HEAD", .url = url };
	autoresponse struct transfer_response response = { 0 };
	int r;

	if (!url)
		return error_nomem(upload->err);
	r = registry_session_run(upload->target->session, &request, &response, &upload->again,
				 upload->err);
	if (r < 0)
		return r;
	if (response.status == 200) {
		upload->state = UPLOAD_EXISTS;
		return 0;
	}
	return response.status == 404 ? 0 : answered(upload, &response, "HEAD");
}

/* Begins an upload; with FROM, asks for the blob of that repository first of all. */
static int open_upload(struct upload *upload, const char *from)
{
	autofree char *url = from ? strf("/v2/%s/blobs/uploads/?mount=%s&from=%s",
					 upload->target->path, upload->digest, from)
				  : strf("/v2/%s/blobs/uploads/", upload->target->path);
	struct transfer_request request = { .method = "POST",
					    .url = url,
					    .max_bytes = TRANSFER_MAX_ERROR_BYTES };
	autoresponse struct transfer_response response = { 0 };
	int r;

	if (!url)
		return error_nomem(upload->err);
	r = registry_session_run(upload->target->session, &request, &response, &upload->again,
				 upload->err);
	if (r < 0)
		return r;
	if (response.status == 201 && from) {
		upload->state = UPLOAD_MOUNTED;
		upload->mounted_from = from;
		return 0;
	}
	if (response.status == 202 && response.location) {
		free(steal(upload->location));
		r = transfer_resolve(response.url, response.location, &upload->location,
				     upload->err);
		return r < 0 ? error_prefix(upload->err, r, "the upload's location") : 0;
	}
	/* Not being able to mount is no failure. */
	return from ? 0 : answered(upload, &response, "POST");
}

static int send_blob(struct upload *upload)
{
	static const char *const headers[] = { "Content-Type: application/octet-stream", NULL };
	autofree char *url = strf("%s%cdigest=%s", upload->location,
				  strchr(upload->location, '?') ? '&' : '?', upload->digest);
	struct transfer_request request = {
		.method = "PUT",
		.url = url,
		.headers = headers,
		.body = upload->data,
		.body_fd = upload->fd,
		.body_bytes = upload->size_bytes,
		.max_bytes = TRANSFER_MAX_ERROR_BYTES,
		.sent_bytes = &upload->sent,
	};
	autoresponse struct transfer_response response = { 0 };
	int r;

	if (!url)
		return error_nomem(upload->err);
	r = registry_session_run(upload->target->session, &request, &response, &upload->again,
				 upload->err);
	if (r < 0)
		return r;
	if (response.status != 201 && response.status != 204)
		return answered(upload, &response, "PUT");
	if (digest_is_valid(response.content_digest) &&
	    strcmp(response.content_digest, upload->digest) != 0)
		return error_set(upload->err, ERROR_INVALID, "the registry stored it as %s",
				 response.content_digest);
	upload->state = UPLOAD_DONE;
	return 0;
}

static int upload_job(void *arg)
{
	struct upload *upload = arg;
	size_t mounts = 0;
	int r = look(upload);

	if (r < 0 || upload->state != UPLOAD_MISSING || (!upload->data && upload->fd < 0))
		return r;
	strv_for_each(from, upload->target->mounts) {
		if (mounts++ == MAX_MOUNTS || upload->location)
			break;
		r = open_upload(upload, *from);
		if (r < 0 || upload->state == UPLOAD_MOUNTED)
			return r;
	}
	if (!upload->location)
		r = open_upload(upload, NULL);
	return r < 0 ? r : send_blob(upload);
}

static int upload_run(struct upload *upload, void (*tick)(void *arg), void *tick_arg)
{
	struct registry_session *session = upload->target->session;
	unsigned attempt = 0;

	for (;;) {
		int r;

		upload->again = false;
		upload->retry_after_s = 0;
		free(steal(upload->location));
		atomic_store(&upload->sent, 0);
		r = registry_session_job(session, upload_job, upload, tick, tick_arg);
		if (r == 0 || !upload->again || registry_session_canceled(session) ||
		    ++attempt == REGISTRY_MAX_ATTEMPTS) {
			free(steal(upload->location));
			return r;
		}
		r = registry_session_pause(session, attempt, upload->retry_after_s, upload->err);
		if (r < 0)
			return r;
	}
}

int blob_push(const struct layer_target *target, const char *digest, const void *data, size_t len,
	      struct error *err)
{
	struct upload upload = { .target = target,
				 .digest = digest,
				 .size_bytes = len,
				 .data = data,
				 .fd = -1,
				 .err = err };
	int r = upload_run(&upload, NULL, NULL);

	return r < 0 ? error_prefix(err, r, "blob %s", digest) : 0;
}

/* ------------------------------------------------------------------ compressing */

/* The same bytes each time: a gzip header of zlib's has neither name nor time. */
struct pack {
	int from_fd, to_fd; /* borrowed */
	const struct registry_session *session;
	char digest[DIGEST_TEXT_BYTES];
	uint64_t size_bytes;
	struct error *err;
};

static int pack_write(struct pack *pack, struct digest_stream *digest, const void *data, size_t len)
{
	int r = fd_write_all(pack->to_fd, data, len);

	if (r < 0)
		return error_errno(pack->err, -r, "compressing");
	pack->size_bytes += len;
	return digest_stream_update(digest, data, len, pack->err);
}

static int pack_stream(struct pack *pack, z_stream *z, struct digest_stream *digest)
{
	autofree unsigned char *in = malloc(CHUNK_BYTES), *out = malloc(CHUNK_BYTES);
	int flush = Z_NO_FLUSH, r = 0;

	if (!in || !out)
		return error_nomem(pack->err);
	while (r == 0 && flush == Z_NO_FLUSH) {
		ssize_t n = fd_read(pack->from_fd, in, CHUNK_BYTES);

		if (n < 0)
			return error_errno(pack->err, (int)-n, "compressing");
		if (registry_session_canceled(pack->session))
			return error_set(pack->err, ERROR_CANCELED, "canceled");
		flush = n == 0 ? Z_FINISH : Z_NO_FLUSH;
		z->next_in = in;
		z->avail_in = (unsigned)n;
		do {
			z->next_out = out;
			z->avail_out = CHUNK_BYTES;
			if (deflate(z, flush) == Z_STREAM_ERROR)
				return error_set(pack->err, ERROR_FAILED, "compressing");
			r = pack_write(pack, digest, out, CHUNK_BYTES - z->avail_out);
		} while (r == 0 && z->avail_out == 0);
	}
	return r;
}

static int pack_job(void *arg)
{
	struct pack *pack = arg;
	autoptr(digest_stream_free) struct digest_stream *digest = NULL;
	z_stream z = { 0 };
	int r = digest_stream_new(&digest, pack->err);

	if (r < 0)
		return r;
	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return error_nomem(pack->err);
	r = pack_stream(pack, &z, digest);
	deflateEnd(&z);
	return r == 0 ? digest_stream_final(digest, pack->digest, pack->err) : r;
}

/* ------------------------------------------------------------------ layers */

struct layer_push {
	const struct layer_target *target;
	struct workdir *work; /* borrowed */
	struct layer_entry *entry;
	struct blob_descriptor *descriptor; /* to be filled in */
	bool as_it_is;
	size_t index;
	char id[13];   /* as it is shown */
	char what[96]; /* for errors */
	struct upload upload;
	uint64_t told;
	struct registry_task task;
};

static void tell(const struct layer_push *push, const char *status, uint64_t current,
		 uint64_t total)
{
	const struct image_progress *progress = push->target->progress;

	if (progress && progress->update)
		progress->update(progress->arg, push->id, status, current, total);
}

static void tell_sent(void *arg)
{
	struct layer_push *push = arg;
	uint64_t now = atomic_load(&push->upload.sent);

	if (now == push->told)
		return;
	push->told = now;
	tell(push, "Pushing", now, push->upload.size_bytes);
}

/* By its first bytes; 0, 'g' or 'z'. */
static int compression_of(int fd)
{
	unsigned char magic[4] = { 0 };

	if (pread(fd, magic, sizeof(magic), 0) < 0)
		return 0;
	if (magic[0] == 0x1f && magic[1] == 0x8b)
		return 'g';
	return memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0 ? 'z' : 0;
}

static void describe(struct layer_push *push, const char *type, const char *digest, uint64_t bytes)
{
	push->descriptor->media_type = type;
	memcpy(push->descriptor->digest, digest, DIGEST_TEXT_BYTES);
	push->descriptor->size_bytes = bytes;
}

/* Sends what DESCRIPTOR describes; FD -1: only looks whether it is there. */
static int send_layer(struct layer_push *push, int fd)
{
	push->upload = (struct upload){ .target = push->target,
					.digest = push->descriptor->digest,
					.size_bytes = push->descriptor->size_bytes,
					.fd = fd,
					.err = &push->task.err };
	return upload_run(&push->upload, fd < 0 ? NULL : tell_sent, push);
}

static int pack_layer(struct layer_push *push, int blob, int *ret_fd)
{
	struct pack pack = { .from_fd = blob,
			     .session = push->target->session,
			     .err = &push->task.err };
	char name[24];
	int r;

	snprintf(name, sizeof(name), "%zu", push->index);
	pack.to_fd = *ret_fd =
		openat(push->work->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (pack.to_fd < 0)
		return error_errno(&push->task.err, errno, "compressing");
	r = registry_session_job(push->target->session, pack_job, &pack, NULL, NULL);
	if (r < 0)
		return r;
	describe(push, DOCKER_LAYER, pack.digest, pack.size_bytes);
	/* Only to save the work next time. */
	layer_note_packed(push->entry, pack.digest, pack.size_bytes, NULL);
	return 0;
}

static int push_packed(struct layer_push *push, int blob)
{
	autoclose int fd = -1;
	int r;

	if (*push->entry->packed_digest) {
		describe(push, DOCKER_LAYER, push->entry->packed_digest, push->entry->packed_bytes);
		r = send_layer(push, -1);
		if (r < 0 || push->upload.state == UPLOAD_EXISTS)
			return r;
	}
	r = pack_layer(push, blob, &fd);
	return r < 0 ? r : send_layer(push, fd);
}

static int push_one(struct layer_push *push)
{
	autoclose int blob = open(push->entry->blob_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	autofree char *mounted = NULL;
	int kind, r;

	if (blob < 0)
		return error_errno(&push->task.err, errno, "the layer's archive");
	kind = compression_of(blob);
	if (push->as_it_is || kind) {
		describe(push, kind == 'z' ? OCI_LAYER "+zstd" : DOCKER_LAYER,
			 push->entry->blob_digest, push->entry->blob_bytes);
		r = send_layer(push, blob);
	} else {
		r = push_packed(push, blob);
	}
	if (r < 0)
		return r;
	switch (push->upload.state) {
	case UPLOAD_EXISTS:
		tell(push, "Layer already exists", 0, 0);
		break;
	case UPLOAD_MOUNTED:
		mounted = strf("Mounted from %s", push->upload.mounted_from);
		tell(push, mounted ? mounted : "Mounted", 0, 0);
		break;
	default:
		tell_sent(push);
		tell(push, "Pushed", 0, 0);
	}
	return 0;
}

static void layer_task(void *arg)
{
	struct layer_push *push = arg;
	int r = push_one(push);

	registry_task_end(push->target->session, &push->task, r, push->what);
}

/* A layer may be in an image more than once. */
static size_t first_use(const struct image *image, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (image->layers[j] == image->layers[i])
			return j;
	return i;
}

static int run_all(const struct layer_target *target, struct image *image, bool as_they_are,
		   struct workdir *work, struct blob_descriptor *ret, struct error *err)
{
	size_t count = image->layer_count;
	autofree struct layer_push *pushes = calloc(count + 1, sizeof(*pushes));
	autofree struct registry_task **tasks = calloc(count + 1, sizeof(struct registry_task *));
	int r = 0, joined;

	if (!pushes || !tasks)
		return error_nomem(err);
	for (size_t i = count; i-- > 0;) {
		struct layer_push *push = &pushes[i];

		*push = (struct layer_push){ .target = target,
					     .work = work,
					     .entry = image->layers[i],
					     .descriptor = &ret[i],
					     .as_it_is = as_they_are,
					     .index = i };
		tasks[i] = &push->task;
		snprintf(push->id, sizeof(push->id), "%s", digest_hex(push->entry->layer.diff_id));
		snprintf(push->what, sizeof(push->what), "layer %s", push->entry->layer.diff_id);
		tell(push, "Preparing", 0, 0);
	}
	for (size_t i = 0; r == 0 && i < count; i++) {
		if (first_use(image, i) != i)
			continue;
		if (i >= REGISTRY_UPLOAD_THREADS)
			tell(&pushes[i], "Waiting", 0, 0);
		r = registry_task_spawn(tasks[i], layer_task, &pushes[i], err);
	}
	if (r < 0)
		registry_session_cancel(target->session);
	joined = registry_tasks_join(target->session, tasks, count, r < 0 ? NULL : err);
	for (size_t i = 0; i < count; i++)
		ret[i] = ret[first_use(image, i)];
	return r < 0 ? r : joined;
}

int layers_push(const struct layer_target *target, struct image *image, bool as_they_are,
		struct blob_descriptor *ret, struct error *err)
{
	struct workdir *work = NULL;
	int r = workdir_new(target->images->layers, &work, err);
	bool old;

	if (r < 0)
		return r;
	r = run_all(target, image, as_they_are, work, ret, err);
	old = task_shield(true);
	workdir_free(work);
	task_shield(old);
	return r;
}
