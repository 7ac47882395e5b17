/* Images of containers: what a container has changed becomes a layer on its image. */
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"
#include "hyperd/image/layer_store.h"
#include "hyperd/image/reference.h"
#include "hyperd/pod/container_files.h"
#include "hyperd/pod/container_tar.h"
#include "hyperd/pod/internal.h"

/* Written to a file in one go. */
#define WRITE_BYTES (256u << 10)

#define LAYER_FILE "layer"

struct layer_file {
	struct container *container;
	bool freeze;
	int fd;
	char *buffer; /* owned */
	size_t len;
	struct error *err;
};

static int write_job(void *arg)
{
	struct layer_file *file = arg;

	return fd_write_all(file->fd, file->buffer, file->len);
}

static int flush_file(struct layer_file *file, struct error *err)
{
	int r = file->len ? job_run(file->container->engine->jobs, write_job, file) : 0;

	file->len = 0;
	return r < 0 ? error_errno(err, -r, "storing the layer") : 0;
}

static int file_sink(void *arg, const void *data, size_t len, struct error *err)
{
	struct layer_file *file = arg;
	const char *from = data;
	int r = 0;

	while (r == 0 && len) {
		size_t n = WRITE_BYTES - file->len;

		if (n > len)
			n = len;
		memcpy(file->buffer + file->len, from, n);
		file->len += n;
		from += n;
		len -= n;
		if (file->len == WRITE_BYTES)
			r = flush_file(file, err);
	}
	return r;
}

static int write_changes(struct layer_file *file, bool *ret_empty, struct error *err)
{
	const struct files_options options = { .task = HYPER__FILES_TASK__FILES_LAYER,
					       .freeze = file->freeze };
	struct tar_out out = { .write = file_sink, .arg = file, .top = "", .layer = true };
	autoptr(files_close) struct files *files = NULL;
	int r = files_open(file->container, &options, &files, err);

	if (r < 0)
		return r;
	r = tar_out_all(&out, files, err);
	if (r == 0)
		r = flush_file(file, err);
	*ret_empty = out.entries == 0;
	return r;
}

int container_layer(struct container *c, bool pause, const struct workdir *work, const char *name,
		    bool *ret_empty, struct error *err)
{
	autoclose int fd = -1;
	autofree char *buffer = NULL;
	struct layer_file file = { .container = c, .freeze = pause };

	*ret_empty = true;
	/* One that has never had a sandbox has changed nothing. */
	if (!c->pod->storage_used && !c->pod->sandbox)
		return 0;
	fd = openat(work->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	buffer = malloc(WRITE_BYTES);
	if (fd < 0)
		return error_errno(err, errno, "storing the layer");
	if (!buffer)
		return error_nomem(err);
	file.fd = fd;
	file.buffer = buffer;
	return write_changes(&file, ret_empty, err);
}

/* ------------------------------------------------------------------ the image */

/* Docker: what ran is what the history says made the layer. */
static char *command_line(const json_t *config)
{
	autostr struct str text = STR_INIT;
	json_t *word;
	size_t i;

	json_array_foreach(json_object_get(config, "Cmd"), i, word)
		str_addf(&text, "%s%s", i ? " " : "", json_string_value(word) ?: "");
	return str_steal(&text);
}

static int derive(struct container *c, const struct commit_options *options,
		  const struct workdir *work, struct image **ret, struct error *err)
{
	struct image_derivation from = {
		.parent = c->image,
		.config = options->config,
		.container_config =
			options->container_config ? options->container_config : options->config,
		.container_id = c->id,
		.author = options->author,
		.comment = options->comment,
		.created_by = options->created_by,
		.work = work,
		.file = LAYER_FILE,
	};
	autofree char *command = NULL;
	bool empty;
	int r = container_layer(c, options->pause, work, LAYER_FILE, &empty, err);

	if (r < 0)
		return r;
	if (empty)
		from.file = NULL;
	if (!from.created_by)
		from.created_by = command = command_line(from.container_config);
	return image_derive(c->engine->images, &from, ret, err);
}

/* All that can be wrong with a name is found before anything is read. */
static int check_reference(const char *text, struct error *err)
{
	autoreference struct reference reference = { 0 };
	int r = text && *text ? reference_parse(text, &reference, err) : 0;

	if (r == 0 && reference.digest)
		r = error_set(err, ERROR_INVALID,
			      "refusing to create a tag with a digest reference");
	return r;
}

int container_commit(struct container *c, const struct commit_options *options, struct image **ret,
		     struct error *err)
{
	const char *reference = options->reference && *options->reference ? options->reference : "";
	const char *keys[] = { "comment", options->comment ? options->comment : "", "imageID",
			       "",        *reference ? "imageRef" : NULL,           reference,
			       NULL };
	struct layer_store *layers = image_store_layers(c->engine->images);
	autoptr(image_unref) struct image *image = NULL;
	struct workdir *work = NULL;
	bool old;
	int r = check_reference(reference, err);

	if (r == 0)
		r = workdir_new(layers, &work, err);
	if (r < 0)
		return r;
	r = derive(c, options, work, &image, err);
	old = task_shield(true);
	workdir_free(work);
	if (r < 0)
		layer_store_collect(layers, NULL);
	task_shield(old);
	if (r == 0 && *reference)
		r = image_tag(c->engine->images, image_id(image), reference, err);
	if (r < 0)
		return r;
	keys[3] = image_id(image);
	container_event(c, "commit", keys);
	*ret = steal(image);
	return 0;
}
