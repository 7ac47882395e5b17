#include "hyperd/image/image_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/manifest.h"
#include "hyperd/image/tar.h"

#define CHUNK_BYTES (1u << 20)

/* Where the archive goes. What can keep us waiting is waited for by the task, a file is written by
 * a job. */
struct output {
	struct job_pool *jobs; /* borrowed */
	int fd;                /* borrowed */
	bool waits, socket;
	struct error *err;
	const char *data;
	size_t len;
};

/* One image of the archive, with the names that go with it. */
struct saved {
	struct image *image; /* owned reference */
	char **references;   /* owned strv of keys; may be empty */
	char *manifest;      /* owned */
	size_t manifest_len;
	char manifest_digest[DIGEST_TEXT_BYTES];
};

struct save {
	struct image_store *images;
	struct output out;
	struct saved *saved; /* owned */
	size_t count;
	char **written; /* owned strv: digests that are in the archive already */
};

static int write_file_job(void *arg)
{
	struct output *out = arg;
	int r = fd_write_all(out->fd, out->data, out->len);

	return r < 0 ? error_errno(out->err, -r, "writing the archive") : 0;
}

static int output_write(struct output *out, const void *data, size_t len, struct error *err)
{
	const char *p = data;

	if (!out->waits) {
		out->data = data;
		out->len = len;
		out->err = err;
		return job_run(out->jobs, write_file_job, out);
	}
	while (len > 0) {
		ssize_t n = out->socket ? send(out->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT)
					: write(out->fd, p, len);
		int r;

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return error_errno(err, errno, "writing the archive");
		r = task_wait_fd(out->fd, EPOLLOUT, DEADLINE_NEVER, NULL);
		if (r < 0)
			return error_errno(err, -r, "writing the archive");
	}
	return 0;
}

static int put_header(struct output *out, const char *name, uint64_t size_bytes, struct error *err)
{
	struct tar_entry entry = {
		.type = TAR_FILE, .path = name, .mode = 0644, .size_bytes = size_bytes
	};
	unsigned char block[TAR_BLOCK_BYTES];
	int r = tar_header(block, &entry, err);

	return r < 0 ? r : output_write(out, block, sizeof(block), err);
}

static int put_padding(struct output *out, uint64_t size_bytes, struct error *err)
{
	static const char zeros[TAR_BLOCK_BYTES];

	return output_write(out, zeros, tar_padding(size_bytes), err);
}

static int put_text(struct output *out, const char *name, const char *text, size_t len,
		    struct error *err)
{
	int r = put_header(out, name, len, err);

	if (r == 0)
		r = output_write(out, text, len, err);
	return r == 0 ? put_padding(out, len, err) : r;
}

static int put_json(struct output *out, const char *name, const json_t *root, struct error *err)
{
	autofree char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);

	return text ? put_text(out, name, text, strlen(text), err) : error_nomem(err);
}

struct blob_read {
	int fd;
	char *buf;
	off_t offset;
	ssize_t len;
	struct error *err;
};

static int read_blob_job(void *arg)
{
	struct blob_read *b = arg;

	b->len = pread(b->fd, b->buf, CHUNK_BYTES, b->offset);
	return b->len < 0 ? error_errno(b->err, errno, "reading a layer") : 0;
}

static int put_blob(struct output *out, const char *name, const char *path, uint64_t size_bytes,
		    struct error *err)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	autofree char *buf = malloc(CHUNK_BYTES);
	struct blob_read b = { .fd = fd, .buf = buf, .err = err };
	int r;

	if (!buf)
		return error_nomem(err);
	if (fd < 0)
		return error_errno(err, errno, "reading a layer");
	r = put_header(out, name, size_bytes, err);
	while (r == 0 && (uint64_t)b.offset < size_bytes) {
		r = job_run(out->jobs, read_blob_job, &b);
		if (r == 0 && (b.len == 0 || (uint64_t)(b.offset + b.len) > size_bytes))
			r = error_set(err, ERROR_FAILED, "the stored layer %s has changed", name);
		if (r == 0)
			r = output_write(out, buf, (size_t)b.len, err);
		b.offset += b.len;
	}
	return r == 0 ? put_padding(out, size_bytes, err) : r;
}

static bool first_time(struct save *save, const char *digest)
{
	strv_for_each(w, save->written)
		if (strcmp(*w, digest) == 0)
			return false;
	strv_add(&save->written, digest);
	return true;
}

/* Named by how its first bytes look, as when it was read. */
static const char *media_type(const struct layer_entry *layer)
{
	autoclose int fd = open(layer->blob_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	unsigned char magic[4] = { 0 };

	if (fd >= 0 && pread(fd, magic, sizeof(magic), 0) < 0)
		return NULL;
	if (magic[0] == 0x1f && magic[1] == 0x8b)
		return "application/vnd.oci.image.layer.v1.tar+gzip";
	if (memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0)
		return "application/vnd.oci.image.layer.v1.tar+zstd";
	return "application/vnd.oci.image.layer.v1.tar";
}

/* The manifest that the image came with still says the truth when its layers are the archives we
 * kept. */
bool image_manifest_fits(const struct image *image)
{
	autojson json_t *root = NULL;
	json_t *layers, *item;
	size_t i;

	if (!image->manifest || json_parse(image->manifest, image->manifest_len, &root, NULL) < 0)
		return false;
	layers = json_object_get(root, "layers");
	if (json_array_size(layers) != image->layer_count)
		return false;
	json_array_foreach(layers, i, item)
		if (!str_equal(json_string_value(json_object_get(item, "digest")),
			       image->layers[i]->blob_digest))
			return false;
	return true;
}

static int make_manifest(struct saved *saved, struct error *err)
{
	const struct image *image = saved->image;
	autojson json_t *root = NULL;
	json_t *layers;

	if (image_manifest_fits(image)) {
		saved->manifest = malloc(image->manifest_len + 1);
		if (!saved->manifest)
			return error_nomem(err);
		memcpy(saved->manifest, image->manifest, image->manifest_len + 1);
		saved->manifest_len = image->manifest_len;
	} else {
		root = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:[]}", "schemaVersion", 2,
				 "mediaType", "application/vnd.oci.image.manifest.v1+json",
				 "config", "mediaType", "application/vnd.oci.image.config.v1+json",
				 "digest", image->id, "size", (json_int_t)image->config_len,
				 "layers");
		layers = json_object_get(root, "layers");
		for (size_t i = 0; i < image->layer_count; i++) {
			const char *type = media_type(image->layers[i]);

			json_array_append_new(layers,
					      json_pack("{s:s, s:s, s:I}", "mediaType",
							type ? type : "", "digest",
							image->layers[i]->blob_digest, "size",
							(json_int_t)image->layers[i]->blob_bytes));
		}
		saved->manifest = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
		if (!saved->manifest)
			return error_nomem(err);
		saved->manifest_len = strlen(saved->manifest);
	}
	return digest_data(saved->manifest, saved->manifest_len, saved->manifest_digest, err);
}

static int put_blobs(struct save *save, struct saved *saved, struct error *err)
{
	const struct image *image = saved->image;
	int r = 0;

	for (size_t i = 0; r == 0 && i < image->layer_count; i++) {
		const struct layer_entry *layer = image->layers[i];
		autofree char *name = manifest_blob_name(layer->blob_digest);

		if (!name)
			return error_nomem(err);
		if (first_time(save, layer->blob_digest))
			r = put_blob(&save->out, name, layer->blob_path, layer->blob_bytes, err);
	}
	if (r == 0 && first_time(save, image->id)) {
		autofree char *name = manifest_blob_name(image->id);

		r = name ? put_text(&save->out, name, image->config_text, image->config_len, err)
			 : error_nomem(err);
	}
	if (r == 0 && first_time(save, saved->manifest_digest)) {
		autofree char *name = manifest_blob_name(saved->manifest_digest);

		r = name ? put_text(&save->out, name, saved->manifest, saved->manifest_len, err)
			 : error_nomem(err);
	}
	return r;
}

static json_t *index_entry(const struct saved *saved, const char *key)
{
	const char *architecture = saved->image->file.architecture, *type = NULL;
	autojson json_t *root = NULL;
	json_t *entry;

	/* One that came from a registry may be of Docker's kind. */
	if (json_parse(saved->manifest, saved->manifest_len, &root, NULL) == 0)
		json_get_string(root, "mediaType", &type, NULL);
	entry = json_pack("{s:s, s:s, s:I, s:{s:s, s:s}}", "mediaType",
			  type ? type : "application/vnd.oci.image.manifest.v1+json", "digest",
			  saved->manifest_digest, "size", (json_int_t)saved->manifest_len,
			  "platform", "os", "linux", "architecture",
			  architecture && *architecture ? architecture : "amd64");

	if (key)
		json_object_set_new(entry, "annotations",
				    json_pack("{s:s, s:s}", "io.containerd.image.name", key,
					      "org.opencontainers.image.ref.name",
					      strrchr(key, ':') + 1));
	return entry;
}

static int put_index(struct save *save, struct error *err)
{
	autojson json_t *root = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType",
					  "application/vnd.oci.image.index.v1+json", "manifests");
	json_t *manifests = json_object_get(root, "manifests");

	for (size_t i = 0; i < save->count; i++) {
		const struct saved *saved = &save->saved[i];

		strv_for_each(key, saved->references)
			json_array_append_new(manifests, index_entry(saved, *key));
		if (!saved->references)
			json_array_append_new(manifests, index_entry(saved, NULL));
	}
	return put_json(&save->out, "index.json", root, err);
}

/* Docker's half. */
static int put_manifest_json(struct save *save, struct error *err)
{
	autojson json_t *root = json_array();

	for (size_t i = 0; i < save->count; i++) {
		const struct saved *saved = &save->saved[i];
		autofree char *config = manifest_blob_name(saved->image->id);
		json_t *tags = json_array(), *layers = json_array();

		strv_for_each(key, saved->references) {
			autoreference struct reference reference = { 0 };
			autofree char *familiar = NULL;

			if (reference_parse(*key, &reference, NULL) == 0 &&
			    (familiar = reference_familiar(&reference)))
				json_array_append_new(tags, json_string(familiar));
		}
		for (size_t j = 0; j < saved->image->layer_count; j++) {
			autofree char *name =
				manifest_blob_name(saved->image->layers[j]->blob_digest);

			json_array_append_new(layers, json_string(name ? name : ""));
		}
		json_array_append_new(root,
				      json_pack("{s:s, s:o, s:o}", "Config", config ? config : "",
						"RepoTags", tags, "Layers", layers));
	}
	return put_json(&save->out, "manifest.json", root, err);
}

static int put_all(struct save *save, struct error *err)
{
	static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	static const char end[2 * TAR_BLOCK_BYTES];
	int r = 0;

	for (size_t i = 0; r == 0 && i < save->count; i++) {
		r = make_manifest(&save->saved[i], err);
		if (r == 0)
			r = put_blobs(save, &save->saved[i], err);
	}
	if (r == 0)
		r = put_index(save, err);
	if (r == 0)
		r = put_manifest_json(save, err);
	if (r == 0)
		r = put_text(&save->out, "oci-layout", layout, strlen(layout), err);
	return r == 0 ? output_write(&save->out, end, sizeof(end), err) : r;
}

/* The place of IMAGE in the archive; the same image under several names is in it once. */
static int add_image(struct save *save, struct image *image, struct saved **ret, struct error *err)
{
	struct saved *grown;

	for (size_t i = 0; i < save->count; i++)
		if (save->saved[i].image == image) {
			*ret = &save->saved[i];
			return 0;
		}
	grown = reallocarray(save->saved, save->count + 1, sizeof(*grown));
	if (!grown)
		return error_nomem(err);
	save->saved = grown;
	grown[save->count] = (struct saved){ .image = image_ref(image) };
	*ret = &grown[save->count++];
	return 0;
}

static int add_key(struct saved *saved, const char *key, struct error *err)
{
	strv_for_each(have, saved->references)
		if (strcmp(*have, key) == 0)
			return 0;
	return strv_add(&saved->references, key) < 0 ? error_nomem(err) : 0;
}

/* "busybox" alone means every tag that the repository has. */
static int add_repository(struct save *save, const struct reference *reference, bool *ret_any,
			  struct error *err)
{
	autofree char *name = reference_name(reference);
	const char *key;
	json_t *value;
	int r = 0;

	if (!name)
		return error_nomem(err);
	json_object_foreach(save->images->references, key, value) {
		struct image *image = image_by_id(save->images, json_string_value(value) ?: "");
		struct saved *saved;

		if (r < 0 || !image || !str_starts(key, name) || key[strlen(name)] != ':')
			continue;
		*ret_any = true;
		r = add_image(save, image, &saved, err);
		if (r == 0)
			r = add_key(saved, key, err);
	}
	return r;
}

static int add_name(struct save *save, const char *name, struct error *err)
{
	autoreference struct reference reference = { 0 };
	autoptr(image_unref) struct image *image = NULL;
	struct saved *saved;
	bool any = false;
	int r;

	if (reference_parse(name, &reference, NULL) == 0) {
		if (!reference.tag && !reference.digest) {
			r = add_repository(save, &reference, &any, err);
			if (r < 0 || any)
				return r;
		} else if (image_by_reference(save->images, &reference)) {
			autofree char *key = reference_key(&reference);

			r = key ? add_image(save, image_by_reference(save->images, &reference),
					    &saved, err)
				: error_nomem(err);
			return r == 0 && !reference.digest ? add_key(saved, key, err) : r;
		}
	}
	r = image_get(save->images, name, &image, err);
	return r == 0 ? add_image(save, image, &saved, err) : r;
}

int image_save(struct image_store *images, char *const *names, int fd, struct error *err)
{
	struct save save = { .images = images, .out = { .jobs = images->jobs, .fd = fd } };
	struct stat st;
	int flags, r = 0;

	if (!names || !*names)
		return error_set(err, ERROR_INVALID, "saving: expected the name of an image");
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "saving");
	save.out.waits = !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
	save.out.socket = S_ISSOCK(st.st_mode);
	strv_for_each(name, names)
		if (r == 0)
			r = add_name(&save, *name, err);
	/* A pipe may be blocking for whoever gave it to us: only while we write is it not. */
	flags = fcntl(fd, F_GETFL);
	if (save.out.waits && !save.out.socket)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	if (r == 0)
		r = put_all(&save, err);
	if (save.out.waits && !save.out.socket)
		fcntl(fd, F_SETFL, flags);
	for (size_t i = 0; i < save.count; i++) {
		image_unref(save.saved[i].image);
		strv_free(save.saved[i].references);
		free(save.saved[i].manifest);
	}
	free(save.saved);
	strv_free(save.written);
	return r < 0 ? error_prefix(err, r, "saving") : 0;
}
