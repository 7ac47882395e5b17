#include "hyperstart/layer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "hyperstart/agent.h"
#include "hyperstart/block.h"

#define DIGEST_MAX 256
/* LAYERS_DIR/4294967295.erofs */
#define LAYER_PATH_MAX 64
/* Memory left free when a layer has been received. */
#define SPARE_BYTES (4u << 20)

struct layer {
	struct list node;
	struct agent *agent; /* borrowed */
	char *digest;        /* owned */
	unsigned number, users;
	bool complete, mounted;

	/* While it is received, and for its size afterwards. */
	int fd; /* owned, or -1 */
	uint64_t size_bytes, received_bytes;
	struct mux_stream *stream; /* owned, or NULL */
	int write_error;           /* positive errno */
	struct request *waiting;   /* borrowed: its LayerAdd, once its turn has come */
};

static void layer_path(const struct layer *layer, const char *suffix, char *path)
{
	snprintf(path, LAYER_PATH_MAX, LAYERS_DIR "/%u%s", layer->number, suffix);
}

static void layer_free(struct layer *layer)
{
	char path[LAYER_PATH_MAX];

	if (!layer)
		return;
	list_remove(&layer->node);
	mux_stream_close(layer->stream);
	if (layer->fd >= 0)
		close(layer->fd);
	layer_path(layer, "", path);
	if (layer->mounted)
		umount2(path, MNT_DETACH);
	if (unlink(path) < 0)
		rmdir(path);
	layer_path(layer, ".erofs", path);
	unlink(path);
	free(layer->digest);
	free(layer);
}

static struct layer *find_any(struct agent *agent, const char *digest)
{
	struct layer *layer;

	list_for_each_entry(layer, &agent->layers, node) {
		if (strcmp(layer->digest, digest) == 0)
			return layer;
	}
	return NULL;
}

struct layer *layer_find(struct agent *agent, const char *digest)
{
	struct layer *layer = find_any(agent, digest);

	return layer && layer->complete ? layer : NULL;
}

unsigned layer_number(const struct layer *layer)
{
	return layer->number;
}

const char *layer_digest(const struct layer *layer)
{
	return layer->digest;
}

void layer_use(struct layer *layer)
{
	layer->users++;
}

void layer_unuse(struct layer *layer)
{
	layer->users--;
}

static int layer_new(struct agent *agent, const char *digest, struct layer **ret, struct error *err)
{
	struct layer *layer;

	if (!*digest || strlen(digest) > DIGEST_MAX)
		return error_set(err, ERROR_INVALID, "the digest is empty or longer than %d bytes",
				 DIGEST_MAX);
	layer = calloc(1, sizeof(*layer));
	if (!layer)
		return error_nomem(err);
	list_init(&layer->node);
	layer->agent = agent;
	layer->number = ++agent->last_layer;
	layer->fd = -1;
	layer->digest = strdup(digest);
	if (!layer->digest) {
		layer_free(layer);
		return error_nomem(err);
	}
	list_append(&agent->layers, &layer->node);
	*ret = layer;
	return 0;
}

/* ------------------------------------------------------------------ from a stream */

static int mount_received(struct layer *layer, struct error *err)
{
	char file[LAYER_PATH_MAX], path[LAYER_PATH_MAX];

	layer_path(layer, ".erofs", file);
	layer_path(layer, "", path);
	if (layer->write_error)
		return error_errno(err, layer->write_error, "keeping the layer in memory");
	if (mkdir(path, 0755) < 0)
		return error_errno(err, errno, "making '%s'", path);
	if (mount(file, path, "erofs", MS_RDONLY | MS_NOATIME, NULL) < 0)
		return error_errno(err, errno, "mounting the EROFS file of %llu bytes",
				   (unsigned long long)layer->size_bytes);
	layer->mounted = layer->complete = true;
	return 0;
}

static int layer_finish(struct layer *layer, struct error *err)
{
	int r = mount_received(layer, err);

	if (r < 0) {
		error_prefix(err, r, "layer '%s'", layer->digest);
		layer_free(layer);
	}
	return r;
}

/* The stream has brought it all, or failed: a LayerAdd that waits is answered. */
static void layer_ended(struct layer *layer)
{
	struct request *request = steal(layer->waiting);
	Hyper__Reply reply = HYPER__REPLY__INIT;
	struct error err = { 0 };

	if (layer->fd >= 0)
		close(steal_fd(&layer->fd));
	if (!request)
		return;
	if (layer_finish(layer, &err) < 0)
		request_fail(request, &err);
	else
		request_reply(request, &reply);
}

static void stream_data(struct mux_stream *stream, const uint8_t *data, size_t len)
{
	struct layer *layer = mux_stream_owner(stream);
	int r = 0;

	if (len > layer->size_bytes - layer->received_bytes)
		r = -EFBIG;
	else
		r = fd_write_all(layer->fd, data, len);
	if (r < 0) {
		layer->write_error = -r;
		layer->stream = NULL;
		mux_stream_reset(stream, -r);
		layer_ended(layer);
		return;
	}
	layer->received_bytes += len;
	mux_stream_ack(stream, len);
	if (layer->received_bytes == layer->size_bytes) {
		/* The stream stays open until the host has had its last acknowledgement. */
		layer_ended(layer);
	}
}

static void stream_eof(struct mux_stream *stream)
{
	struct layer *layer = mux_stream_owner(stream);

	layer->stream = NULL;
	mux_stream_close(stream);
	if (layer->received_bytes == layer->size_bytes)
		return;
	layer->write_error = ENODATA;
	layer_ended(layer);
}

static void stream_writable(struct mux_stream *stream)
{
}

static void stream_reset(struct mux_stream *stream, int errnum)
{
	stream_eof(stream);
}

static const struct mux_stream_events stream_events = {
	.data = stream_data,
	.eof = stream_eof,
	.writable = stream_writable,
	.reset = stream_reset,
};

/* What can be had without swapping or killing; a file system's free space says nothing about it. */
static uint64_t memory_available(void)
{
	static const char key[] = "MemAvailable:";
	autofree char *text = NULL;
	const char *p;

	if (file_read(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL, NULL) < 0)
		return UINT64_MAX;
	p = strstr(text, key);
	return p ? strtoull(p + strlen(key), NULL, 10) * 1024 : UINT64_MAX;
}

static int receive_begin(struct layer *layer, const Hyper__LayerStream *source, struct error *err)
{
	char path[LAYER_PATH_MAX];
	uint64_t available = memory_available();
	int r;

	if (source->size_bytes == 0)
		return error_set(err, ERROR_INVALID, "a layer of 0 bytes");
	if (available < SPARE_BYTES || source->size_bytes > available - SPARE_BYTES)
		return error_set(err, ERROR_LIMIT,
				 "%llu bytes do not fit into the guest's memory: send it on a disk",
				 (unsigned long long)source->size_bytes);
	layer->size_bytes = source->size_bytes;
	layer_path(layer, ".erofs", path);
	layer->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	if (layer->fd < 0)
		return error_errno(err, errno, "creating '%s'", path);
	r = mux_stream_open(layer->agent->mux, source->stream, &stream_events, layer, 0, 0,
			    &layer->stream);
	if (r < 0)
		return error_set(err, ERROR_INVALID, "stream %u: %s", source->stream, strerror(-r));
	return 0;
}

/* ------------------------------------------------------------------ from elsewhere */

static int mount_disk(struct layer *layer, const char *serial, struct error *err)
{
	char device[BLOCK_PATH_MAX], path[LAYER_PATH_MAX];
	int r = block_find(serial, device, err);

	if (r < 0)
		return r;
	layer_path(layer, "", path);
	if (mkdir(path, 0755) < 0)
		return error_errno(err, errno, "making '%s'", path);
	if (mount(device, path, "erofs", MS_RDONLY | MS_NOATIME, NULL) < 0)
		return error_errno(err, errno, "mounting EROFS disk '%s'", serial);
	layer->mounted = layer->complete = true;
	return 0;
}

static int link_directory(struct layer *layer, const char *directory, struct error *err)
{
	char path[LAYER_PATH_MAX];
	struct stat st;

	if (directory[0] != '/')
		return error_set(err, ERROR_INVALID, "directory '%s': not an absolute path",
				 directory);
	if (stat(directory, &st) < 0)
		return error_errno(err, errno, "directory '%s'", directory);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, ERROR_INVALID, "'%s' is no directory", directory);
	layer_path(layer, "", path);
	if (symlink(directory, path) < 0)
		return error_errno(err, errno, "linking '%s'", path);
	layer->complete = true;
	return 0;
}

/* ------------------------------------------------------------------ requests */

int layer_add_arrive(struct request *request, struct error *err)
{
	const Hyper__LayerAdd *add = request->body->layer_add;
	struct layer *layer;
	int r;

	if (add->source_case != HYPER__LAYER_ADD__SOURCE_STREAM ||
	    find_any(request->agent, add->digest))
		return 0;
	r = layer_new(request->agent, add->digest, &layer, err);
	if (r < 0)
		return r;
	r = receive_begin(layer, add->stream, err);
	if (r < 0) {
		error_prefix(err, r, "layer '%s'", add->digest);
		layer_free(layer);
		return r;
	}
	request->layer = layer;
	return 0;
}

static int add_at_once(struct agent *agent, const Hyper__LayerAdd *add, struct error *err)
{
	struct layer *layer;
	int r = layer_new(agent, add->digest, &layer, err);

	if (r < 0)
		return r;
	if (add->source_case == HYPER__LAYER_ADD__SOURCE_BLOCK_SERIAL)
		r = mount_disk(layer, add->block_serial, err);
	else if (add->source_case == HYPER__LAYER_ADD__SOURCE_DIRECTORY)
		r = link_directory(layer, add->directory, err);
	else
		r = error_set(err, ERROR_INVALID, "no source was given");
	if (r < 0) {
		error_prefix(err, r, "layer '%s'", add->digest);
		layer_free(layer);
	}
	return r;
}

int layer_add_handle(struct request *request, struct error *err)
{
	const Hyper__LayerAdd *add = request->body->layer_add;
	struct layer *layer = request->layer;

	if (!layer) {
		layer = find_any(request->agent, add->digest);
		if (layer && !layer->complete)
			return error_set(err, ERROR_CONFLICT, "layer '%s' is being added",
					 add->digest);
		return layer ? 0 : add_at_once(request->agent, add, err);
	}
	request->layer = NULL;
	if (layer->fd < 0)
		return layer_finish(layer, err); /* it has all come already */
	layer->waiting = request;
	request_block(request);
	return REQUEST_KEPT;
}

int layer_remove_handle(struct request *request, struct error *err)
{
	const char *digest = request->body->layer_remove->digest;
	struct layer *layer = find_any(request->agent, digest);

	if (!layer)
		return error_set(err, ERROR_NOT_FOUND, "no layer '%s'", digest);
	if (layer->users || !layer->complete)
		return error_set(err, ERROR_CONFLICT, "layer '%s' is in use", digest);
	layer_free(layer);
	return 0;
}

void layer_abandon_unfinished(struct agent *agent)
{
	struct layer *layer, *next;

	list_for_each_entry_safe(layer, next, &agent->layers, node) {
		struct request *request = layer->waiting;
		struct error err = { 0 };

		if (layer->complete) {
			/* Its stream belonged to the host that has gone. */
			mux_stream_close(steal(layer->stream));
			continue;
		}
		error_set(&err, ERROR_CANCELED, "layer '%s': the host has gone", layer->digest);
		layer_free(layer);
		if (request)
			request_fail(request, &err);
	}
}

void layer_free_all(struct agent *agent)
{
	struct layer *layer, *next;

	list_for_each_entry_safe(layer, next, &agent->layers, node) {
		layer_free(layer);
	}
}

int layer_list(struct agent *agent, char ***ret, size_t *ret_count)
{
	struct layer *layer;
	size_t n = 0;

	list_for_each_entry(layer, &agent->layers, node) {
		n += layer->complete;
	}
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	*ret_count = n;
	n = 0;
	list_for_each_entry(layer, &agent->layers, node) {
		if (layer->complete)
			(*ret)[n++] = layer->digest;
	}
	return 0;
}

uint64_t layer_bytes(struct agent *agent)
{
	struct layer *layer;
	uint64_t bytes = 0;

	list_for_each_entry(layer, &agent->layers, node) {
		bytes += layer->received_bytes;
	}
	return bytes;
}
