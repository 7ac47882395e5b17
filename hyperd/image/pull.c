#include "hyperd/image/registry.h"

#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/task.h"
#include "hyperd/image/image_private.h"
#include "hyperd/image/manifest.h"
#include "hyperd/image/pull_layer.h"
#include "hyperd/image/registry_session.h"

#define INDEX_MAX_DEPTH 3

struct pull {
	struct image_store *images;
	const struct pull_options *options;
	struct registry_session *session; /* owned */
	struct reference reference;       /* owned; of the tag or digest being pulled */
	struct platform platform;
};

static void tell(const struct pull *pull, const char *id, const char *status)
{
	const struct image_progress *progress = pull->options->progress;

	if (progress && progress->update)
		progress->update(progress->arg, id, status, 0, 0);
}

static void tell_text(const struct pull *pull, const char *id, char *status)
{
	if (status)
		tell(pull, id, status);
	free(status);
}

static const char *wanted(const struct pull *pull)
{
	return pull->reference.digest ? pull->reference.digest : pull->reference.tag;
}

/* ------------------------------------------------------------------ manifests */

/* Docker's words for what is missing, which clients match. */
static int manifest_error(const struct pull *pull, int r, struct error *err)
{
	autofree char *familiar = reference_familiar(&pull->reference);
	autofree char *name = reference_familiar_name(&pull->reference);
	const char *said;

	if (!err || !familiar || !name ||
	    (err->kind != ERROR_NOT_FOUND && err->kind != ERROR_DENIED))
		return r;
	said = str_starts(err->message, "manifest: ") ? err->message + 10 : err->message;
	if (err->kind == ERROR_DENIED) {
		autofree char *text = strdup(said);

		return error_set(err, ERROR_NOT_FOUND,
				 "pull access denied for %s, repository does not exist or may "
				 "require 'docker login': %s",
				 name, text ? text : "");
	}
	memmove(err->message, said, strlen(said) + 1);
	if (str_starts(err->message, "name unknown"))
		return error_prefix(err, r, "repository %s not found", name);
	return error_prefix(err, r, "manifest for %s not found", familiar);
}

/* The image's own manifest below TOP, which is an index of platforms, or is it already. */
static int descend(struct pull *pull, struct registry_manifest *top, struct manifest_image *ret,
		   struct error *err)
{
	automanifest_text struct registry_manifest below = { 0 };
	const struct registry_manifest *now = top;

	for (unsigned depth = 0; depth <= INDEX_MAX_DEPTH; depth++) {
		struct registry_manifest next = { 0 };
		autofree char *digest = NULL;
		enum manifest_kind kind;
		int64_t size_bytes;
		int r = manifest_kind_find(now->text, now->len, now->media_type, &kind, err);

		if (r < 0)
			return r;
		if (kind == MANIFEST_IMAGE)
			return manifest_image_parse(now->text, now->len, ret, err);
		r = manifest_index_choose(now->text, now->len, &pull->platform, &digest,
					  &size_bytes, err);
		if (r == 0)
			r = registry_manifest_get(pull->session, pull->reference.path, digest,
						  &next, err);
		if (r < 0)
			return r;
		registry_manifest_done(&below);
		below = next;
		now = &below;
		if ((int64_t)below.len != size_bytes)
			return error_set(err, ERROR_INVALID,
					 "manifest %s has %zu bytes, the index says %lld", digest,
					 below.len, (long long)size_bytes);
	}
	return error_set(err, ERROR_LIMIT, "indexes nested deeper than %d", INDEX_MAX_DEPTH);
}

/* ------------------------------------------------------------------ the image */

static int check_config(struct image *image, const struct manifest_image *manifest,
			struct error *err)
{
	const char *os = image->file.os;

	if (strv_len(image->file.diff_ids) == 0)
		return error_set(err, ERROR_INVALID, "the image has no layers");
	if (strv_len(image->file.diff_ids) != manifest->layer_count)
		return error_set(err, ERROR_INVALID,
				 "the manifest has %zu layers, the configuration %zu",
				 manifest->layer_count, strv_len(image->file.diff_ids));
	if (os && *os && strcmp(os, "linux") != 0)
		return error_set(err, ERROR_INVALID,
				 "image operating system \"%.32s\" cannot be used on this platform",
				 os);
	return 0;
}

/* A new image, complete but not in the store. */
static int make_image(struct pull *pull, struct manifest_image *manifest, struct image **ret,
		      struct error *err)
{
	autoptr(image_unref) struct image *image = NULL;
	struct layer_source source = {
		.images = pull->images,
		.session = pull->session,
		.path = pull->reference.path,
		.manifest = manifest,
		.progress = pull->options->progress,
	};
	int r = image_new(&image, err);

	if (r == 0)
		r = registry_blob_get(pull->session, pull->reference.path, manifest->config_digest,
				      (uint64_t)manifest->config_bytes, IMAGE_MAX_CONFIG_BYTES,
				      &image->config_text, err);
	if (r < 0)
		return r;
	image->config_len = (size_t)manifest->config_bytes;
	strcpy(image->id, manifest->config_digest);
	r = config_file_parse(image->config_text, image->config_len, &image->file, err);
	if (r == 0)
		r = check_config(image, manifest, err);
	if (r < 0)
		return r;
	image->layers = calloc(manifest->layer_count + 1, sizeof(*image->layers));
	if (!image->layers)
		return error_nomem(err);
	source.diff_ids = image->file.diff_ids;
	r = layers_pull(&source, image->layers, &image->layer_count, err);
	if (r < 0)
		return r;
	image->manifest = steal(manifest->manifest);
	image->manifest_len = manifest->manifest_len;
	*ret = steal(image);
	return 0;
}

/* The names that lead to the image from now on. */
static int make_change(const struct pull *pull, const char *digest, const char *id,
		       json_t **ret_change, struct error *err)
{
	struct reference by_digest = pull->reference, by_tag = pull->reference;
	autofree char *digest_key = NULL, *tag_key = NULL;
	autojson json_t *change = json_object();

	by_digest.digest = (char *)digest;
	by_tag.digest = NULL;
	digest_key = reference_key(&by_digest);
	if (!change || !digest_key || json_object_set_new(change, digest_key, json_string(id)) < 0)
		return error_nomem(err);
	if (!pull->reference.digest) {
		tag_key = reference_key(&by_tag);
		if (!tag_key || json_object_set_new(change, tag_key, json_string(id)) < 0)
			return error_nomem(err);
	}
	*ret_change = steal(change);
	return 0;
}

/* Does not wait. */
static int write_down(struct pull *pull, struct image *image, const char *digest, struct error *err)
{
	autojson json_t *change = NULL;
	bool added = false;
	int r = make_change(pull, digest, image->id, &change, err);

	if (r == 0 && !image_by_id(pull->images, image->id)) {
		r = image_store_add(pull->images, image, err);
		added = r == 0;
	}
	if (r == 0)
		r = references_change(pull->images, change, err);
	if (r < 0 && added)
		image_store_drop(pull->images, image);
	return r;
}

static void tell_result(const struct pull *pull, const char *digest, bool is_new)
{
	autofree char *familiar = reference_familiar(&pull->reference);

	tell_text(pull, "", strf("Digest: %s", digest));
	tell_text(pull, "",
		  strf("Status: %s for %s",
		       is_new ? "Downloaded newer image" : "Image is up to date",
		       familiar ? familiar : ""));
}

/* The reference at the present endpoint. */
static int pull_here(struct pull *pull, struct error *err)
{
	automanifest_text struct registry_manifest top = { 0 };
	autoptr(image_unref) struct image *image = NULL;
	struct manifest_image manifest = { 0 };
	struct image *have, *before;
	autofree char *familiar = NULL;
	bool is_new;
	int r = registry_manifest_get(pull->session, pull->reference.path, wanted(pull), &top, err);

	if (r < 0)
		return manifest_error(pull, r, err);
	tell_text(pull, wanted(pull), strf("Pulling from %s", pull->reference.path));
	r = descend(pull, &top, &manifest, err);
	if (r < 0)
		return r;
	have = image_by_id(pull->images, manifest.config_digest);
	if (have)
		image = image_ref(have);
	else
		r = make_image(pull, &manifest, &image, err);
	manifest_image_done(&manifest);
	if (r < 0)
		return r;
	before = image_by_reference(pull->images, &pull->reference);
	is_new = !before || strcmp(before->id, image->id) != 0;
	r = write_down(pull, image, top.digest, err);
	if (r < 0)
		return r;
	tell_result(pull, top.digest, is_new);
	familiar = reference_familiar(&pull->reference);
	if (pull->options->pulled && familiar)
		pull->options->pulled(pull->options->arg, familiar, image);
	return 0;
}

/* Which image and which registry an error is about, unless it says so. */
static int tell_where(const struct pull *pull, int r, struct error *err)
{
	autofree char *familiar = reference_familiar(&pull->reference);
	autofree char *name = reference_familiar_name(&pull->reference);

	if (err && (err->kind == ERROR_CANCELED || (name && strstr(err->message, name))))
		return r;
	return error_prefix(err, r, "pulling %s from %s", familiar ? familiar : "",
			    registry_session_url(pull->session));
}

/* A mirror that cannot give it is passed over. */
static int pull_one(struct pull *pull, struct error *err)
{
	for (;;) {
		int r = pull_here(pull, err);

		if (r == 0)
			return 0;
		r = tell_where(pull, r, err);
		if (task_canceled() || !registry_session_has_next(pull->session))
			return r;
		r = registry_session_connect(pull->session, err);
		if (r < 0)
			return r;
		error_clear(err);
	}
}

/* ------------------------------------------------------------------ all tags */

static int take_tags(const struct transfer_response *response, char ***tags, struct error *err)
{
	autojson json_t *root = NULL;
	autostrv char **some = NULL;
	int r = json_parse(str_text(&response->body), response->body.len, &root, err);

	if (r == 0)
		r = json_get_strv(root, "tags", &some, err);
	if (r < 0)
		return error_prefix(err, r, "the list of tags");
	strv_for_each(tag, some) {
		if (strv_len(*tags) == REGISTRY_MAX_TAGS)
			return error_set(err, ERROR_LIMIT, "more than %d tags", REGISTRY_MAX_TAGS);
		if (strv_add(tags, *tag) < 0)
			return error_nomem(err);
	}
	return 0;
}

/* Link: </v2/x/tags/list?last=b&n=2>; rel="next" */
static char *next_page(const char *link)
{
	const char *open = link ? strchr(link, '<') : NULL,
		   *close = open ? strchr(open, '>') : NULL;

	return close && strstr(close, "next") ? strndup(open + 1, (size_t)(close - open - 1))
					      : NULL;
}

static int list_tags(struct pull *pull, char ***ret, struct error *err)
{
	autofree char *url = strf("/v2/%s/tags/list", pull->reference.path);
	autostrv char **tags = NULL;

	for (unsigned page = 0; url && page < REGISTRY_MAX_TAGS; page++) {
		autoresponse struct transfer_response response = { 0 };
		struct transfer_request request = { .method = "GET",
						    .url = url,
						    .max_bytes = IMAGE_MAX_MANIFEST_BYTES };
		autofree char *next = NULL, *absolute = NULL;
		int r = registry_session_call(pull->session, &request, &response, err);

		if (r == 0 && response.status != 200)
			return manifest_error(pull,
					      registry_answer_error(&response, "manifest", err),
					      err);
		if (r == 0)
			r = take_tags(&response, &tags, err);
		next = r == 0 ? next_page(response.link) : NULL;
		if (next)
			r = transfer_resolve(response.url, next, &absolute, err);
		if (r < 0)
			return r;
		free(url);
		url = steal(absolute);
	}
	*ret = steal(tags);
	return 0;
}

static int pull_all(struct pull *pull, struct error *err)
{
	autostrv char **tags = NULL;
	int r = list_tags(pull, &tags, err);

	if (r < 0)
		return tell_where(pull, r, err);
	strv_for_each(tag, tags) {
		autoreference struct reference check = { 0 };
		autofree char *text = NULL;

		free(pull->reference.tag);
		pull->reference.tag = strdup(*tag);
		text = pull->reference.tag ? reference_familiar(&pull->reference) : NULL;
		if (!text)
			return error_nomem(err);
		r = reference_parse(text, &check, err);
		if (r == 0)
			r = pull_one(pull, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ------------------------------------------------------------------ */

static int pull_with_session(struct pull *pull, struct registries *registries, struct error *err)
{
	autostrv char **scopes = NULL;
	struct session_options options = {
		.domain = pull->reference.domain,
		.credentials = pull->options->credentials,
		.threads = REGISTRY_DOWNLOAD_THREADS,
	};
	int r;

	if (strv_addf(&scopes, "repository:%s:pull", pull->reference.path) < 0)
		return error_nomem(err);
	options.scopes = scopes;
	r = registry_session_new(registries, &options, &pull->session, err);
	if (r == 0)
		r = registry_session_connect(pull->session, err);
	if (r < 0)
		r = manifest_error(pull, r, err);
	else if (pull->options->all_tags)
		r = pull_all(pull, err);
	else
		r = pull_one(pull, err);
	registry_session_free(steal(pull->session));
	return r;
}

int image_pull(struct image_store *images, struct registries *registries,
	       const struct pull_options *options, struct error *err)
{
	struct pull pull = { .images = images, .options = options };
	struct error own = { 0 };
	bool old;
	int r = reference_parse(options->reference, &pull.reference, &own);

	if (r == 0 && !options->all_tags)
		r = reference_add_default_tag(&pull.reference, &own);
	if (r == 0)
		r = platform_parse(options->platform, &pull.platform, &own);
	if (r == 0)
		r = pull_with_session(&pull, registries, &own);
	if (r < 0) {
		/* Layers that came whole belong to no image. */
		old = task_shield(true);
		layer_store_collect(images->layers, NULL);
		task_shield(old);
		if (own.kind == ERROR_NONE)
			error_errno(&own, -r, "pulling %.300s", options->reference);
		error_copy(err, &own);
	}
	reference_done(&pull.reference);
	return r;
}
