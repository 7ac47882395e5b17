#include "hyperd/image/registry.h"

#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/image/image_private.h"
#include "hyperd/image/push_layer.h"
#include "hyperd/image/registry_session.h"

#define DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"
#define DOCKER_LAYER    "application/vnd.docker.image.rootfs.diff.tar.gzip"
#define OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define OCI_CONFIG      "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER       "application/vnd.oci.image.layer.v1.tar"
#define MAX_MOUNTS      4

struct push {
	struct image_store *images;
	const struct push_options *options;
	struct reference reference;       /* owned */
	struct registry_session *session; /* owned */
	struct layer_target target;
	char **mounts; /* owned strv */
	char **scopes; /* owned strv */
};

/* A manifest to be sent. All owned. */
struct outgoing {
	char *text;
	size_t len;
	char *media_type;
	char digest[DIGEST_TEXT_BYTES];
};

static void tell_text(const struct push *push, char *status)
{
	const struct image_progress *progress = push->options->progress;

	if (status && progress && progress->update)
		progress->update(progress->arg, "", status, 0, 0);
	free(status);
}

/* ------------------------------------------------------------------ manifests */

/* Docker's format where it can say what there is: every registry knows that one. */
static bool needs_oci(const struct blob_descriptor *layers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(layers[i].media_type, DOCKER_LAYER) != 0)
			return true;
	return false;
}

static int make_manifest(const struct image *image, const struct blob_descriptor *layers,
			 struct outgoing *ret, struct error *err)
{
	bool oci = needs_oci(layers, image->layer_count);
	autojson json_t *root =
		json_pack("{s:i, s:s, s:{s:s, s:I, s:s}, s:[]}", "schemaVersion", 2, "mediaType",
			  oci ? OCI_MANIFEST : DOCKER_MANIFEST, "config", "mediaType",
			  oci ? OCI_CONFIG : DOCKER_CONFIG, "size", (json_int_t)image->config_len,
			  "digest", image->id, "layers");
	json_t *array = json_object_get(root, "layers");

	for (size_t i = 0; i < image->layer_count; i++) {
		const char *type = layers[i].media_type;

		if (oci && strcmp(type, DOCKER_LAYER) == 0)
			type = OCI_LAYER "+gzip";
		if (json_array_append_new(array, json_pack("{s:s, s:I, s:s}", "mediaType", type,
							   "size", (json_int_t)layers[i].size_bytes,
							   "digest", layers[i].digest)) < 0)
			return error_nomem(err);
	}
	ret->text = root ? json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	ret->media_type = strdup(oci ? OCI_MANIFEST : DOCKER_MANIFEST);
	if (!ret->text || !ret->media_type)
		return error_nomem(err);
	ret->len = strlen(ret->text);
	return 0;
}

static int copy_manifest(const struct image *image, struct outgoing *ret, struct error *err)
{
	autojson json_t *root = NULL;
	const char *type = NULL;
	int r = json_parse(image->manifest, image->manifest_len, &root, err);

	if (r == 0)
		r = json_get_string(root, "mediaType", &type, err);
	if (r < 0)
		return r;
	ret->media_type = strdup(type ? type : OCI_MANIFEST);
	ret->text = malloc(image->manifest_len + 1);
	if (!ret->media_type || !ret->text)
		return error_nomem(err);
	memcpy(ret->text, image->manifest, image->manifest_len + 1);
	ret->len = image->manifest_len;
	return 0;
}

static int put_manifest(struct push *push, const struct outgoing *manifest, const char *tag,
			struct error *err)
{
	autofree char *url = strf("/v2/%s/manifests/%s", push->reference.path, tag);
	autofree char *type = strf("Content-Type: %s", manifest->media_type);
	const char *headers[] = { type, NULL };
	struct transfer_request request = {
		.method = "PUT",
		.url = url,
		.headers = headers,
		.body = manifest->text,
		.body_bytes = manifest->len,
		.max_bytes = TRANSFER_MAX_ERROR_BYTES,
	};
	autoresponse struct transfer_response response = { 0 };
	int r;

	if (!url || !type)
		return error_nomem(err);
	r = registry_session_call(push->session, &request, &response, err);
	if (r == 0 && (response.status < 200 || response.status > 299))
		r = registry_answer_error(&response, "manifest", err);
	if (r == 0 && digest_is_valid(response.content_digest) &&
	    strcmp(response.content_digest, manifest->digest) != 0)
		r = error_set(err, ERROR_INVALID, "the registry stored manifest %s as %s",
			      manifest->digest, response.content_digest);
	return r;
}

/* ------------------------------------------------------------------ one tag */

static int note_digest(struct push *push, const char *digest, const char *id, struct error *err)
{
	struct reference by_digest = push->reference;
	autofree char *key = NULL;
	autojson json_t *change = NULL;

	by_digest.digest = (char *)digest;
	key = reference_key(&by_digest);
	change = key ? json_pack("{s:s}", key, id) : NULL;
	if (!change)
		return error_nomem(err);
	/* Removed meanwhile: then nobody is left to have that name. */
	return image_by_id(push->images, id) ? references_change(push->images, change, err) : 0;
}

static int push_blobs(struct push *push, struct image *image, struct outgoing *manifest,
		      struct error *err)
{
	autofree struct blob_descriptor *layers = calloc(image->layer_count + 1, sizeof(*layers));
	bool fits = image_manifest_fits(image);
	int r;

	if (!layers)
		return error_nomem(err);
	r = layers_push(&push->target, image, fits, layers, err);
	if (r == 0)
		r = blob_push(&push->target, image->id, image->config_text, image->config_len, err);
	if (r < 0)
		return r;
	r = fits ? copy_manifest(image, manifest, err)
		 : make_manifest(image, layers, manifest, err);
	return r < 0 ? r : digest_data(manifest->text, manifest->len, manifest->digest, err);
}

static int push_tag(struct push *push, struct image *image, const char *tag, struct error *err)
{
	struct outgoing manifest = { 0 };
	int r = push_blobs(push, image, &manifest, err);

	if (r == 0)
		r = put_manifest(push, &manifest, tag, err);
	if (r == 0)
		r = note_digest(push, manifest.digest, image->id, err);
	if (r == 0) {
		tell_text(push,
			  strf("%s: digest: %s size: %zu", tag, manifest.digest, manifest.len));
		if (push->options->pushed)
			push->options->pushed(push->options->arg, tag, manifest.digest,
					      manifest.len);
	}
	free(manifest.text);
	free(manifest.media_type);
	return r;
}

/* ------------------------------------------------------------------ what to push */

/* The repository's tags, or the one that was asked for. */
static int find_tags(struct push *push, char ***ret, struct error *err)
{
	autofree char *name = reference_name(&push->reference);
	autofree char *familiar = reference_familiar(&push->reference);
	autostrv char **tags = NULL;
	bool any = false;
	const char *key;
	json_t *value;

	if (!name || !familiar)
		return error_nomem(err);
	json_object_foreach(push->images->references, key, value) {
		const char *tag = key + strlen(name);

		if (!str_starts(key, name) || *tag != ':')
			continue;
		any = true;
		if (push->reference.tag && strcmp(tag + 1, push->reference.tag) != 0)
			continue;
		if (strv_add(&tags, tag + 1) < 0)
			return error_nomem(err);
	}
	if (!any) {
		free(familiar);
		familiar = reference_familiar_name(&push->reference);
		return error_set(err, ERROR_NOT_FOUND,
				 "An image does not exist locally with the tag: %s",
				 familiar ? familiar : name);
	}
	if (!tags)
		return error_set(err, ERROR_NOT_FOUND, "tag does not exist: %s", familiar);
	*ret = steal(tags);
	return 0;
}

static struct image *image_of_tag(struct push *push, const char *tag)
{
	struct reference by_tag = push->reference;

	by_tag.tag = (char *)tag;
	return image_by_reference(push->images, &by_tag);
}

static bool shares_a_layer(const struct image *a, const struct image *b)
{
	for (size_t i = 0; i < a->layer_count; i++)
		for (size_t j = 0; j < b->layer_count; j++)
			if (a->layers[i] == b->layers[j])
				return true;
	return false;
}

static int add_mount(struct push *push, const struct reference *other, struct error *err)
{
	if (strcmp(other->domain, push->reference.domain) != 0 ||
	    strcmp(other->path, push->reference.path) == 0 || strv_len(push->mounts) == MAX_MOUNTS)
		return 0;
	strv_for_each(have, push->mounts)
		if (strcmp(*have, other->path) == 0)
			return 0;
	return strv_add(&push->mounts, other->path) < 0 ||
			       strv_addf(&push->scopes, "repository:%s:pull", other->path) < 0
		       ? error_nomem(err)
		       : 0;
}

/*
 * Repositories of the same registry that images with a common layer came from or went to, as their
 * digests tell: the registry may have our layers there.
 */
static int find_mounts(struct push *push, char *const *tags, struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach(push->images->references, key, value) {
		autoreference struct reference reference = { 0 };
		struct image *other = image_by_id(push->images, json_string_value(value) ?: "");
		int r = 0;

		if (!other || !strchr(key, '@') || reference_parse(key, &reference, NULL) < 0)
			continue;
		strv_for_each(tag, tags) {
			struct image *image = image_of_tag(push, *tag);

			if (r == 0 && image && shares_a_layer(image, other))
				r = add_mount(push, &reference, err);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int push_tags(struct push *push, char *const *tags, struct error *err)
{
	push->target = (struct layer_target){ .images = push->images,
					      .session = push->session,
					      .path = push->reference.path,
					      .mounts = push->mounts,
					      .progress = push->options->progress };
	strv_for_each(tag, tags) {
		autoptr(image_unref) struct image *image = image_of_tag(push, *tag);
		int r;

		if (!image)
			continue; /* untagged meanwhile */
		image_ref(image);
		r = push_tag(push, image, *tag, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int push_all(struct push *push, struct registries *registries, struct error *err)
{
	autostrv char **tags = NULL;
	struct session_options options = {
		.domain = push->reference.domain,
		.credentials = push->options->credentials,
		.threads = REGISTRY_UPLOAD_THREADS,
		.skip_mirrors = true,
	};
	int r = find_tags(push, &tags, err);

	if (r < 0)
		return r;
	if (strv_addf(&push->scopes, "repository:%s:pull,push", push->reference.path) < 0)
		return error_nomem(err);
	r = find_mounts(push, tags, err);
	if (r < 0)
		return r;
	options.scopes = push->scopes;
	r = registry_session_new(registries, &options, &push->session, err);
	if (r == 0)
		r = registry_session_connect(push->session, err);
	if (r == 0) {
		r = push_tags(push, tags, err);
		if (r < 0)
			r = error_prefix(err, r, "pushing to %s/%s",
					 registry_session_url(push->session), push->reference.path);
	}
	registry_session_free(steal(push->session));
	return r;
}

int image_push(struct image_store *images, struct registries *registries,
	       const struct push_options *options, struct error *err)
{
	struct push push = { .images = images, .options = options };
	autofree char *name = NULL;
	struct error own = { 0 };
	int r = reference_parse(options->name, &push.reference, &own);

	if (r == 0 && push.reference.digest)
		r = error_set(&own, ERROR_INVALID, "cannot push a digest reference");
	if (r == 0 && !(name = reference_name(&push.reference)))
		r = error_nomem(&own);
	if (r == 0) {
		tell_text(&push, strf("The push refers to repository [%s]", name));
		r = push_all(&push, registries, &own);
	}
	reference_done(&push.reference);
	strv_free(push.mounts);
	strv_free(push.scopes);
	if (r < 0 && own.kind == ERROR_NONE)
		error_errno(&own, -r, "pushing %.300s", options->name);
	if (r < 0)
		error_copy(err, &own);
	return r;
}
