#include "hyperd/image/manifest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/digest.h"
#include "hyperd/image/image.h"

#define INDEX_MAX_DEPTH  3
#define INDEX_MAX_IMAGES 256

static const char blob_prefix[] = "blobs/sha256/";

static const char *const index_types[] = {
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
};
static const char *const manifest_types[] = {
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.v2+json",
};
/* The compression is found by looking, so these say only that it is a layer we can hold. */
static const char *const layer_types[] = {
	"application/vnd.oci.image.layer.v1.tar",
	"application/vnd.oci.image.layer.v1.tar+gzip",
	"application/vnd.oci.image.layer.v1.tar+zstd",
	"application/vnd.docker.image.rootfs.diff.tar",
	"application/vnd.docker.image.rootfs.diff.tar.gzip",
	"application/vnd.docker.image.rootfs.diff.tar.zstd",
};
/* Both say the same in different archives; the first is the whole name. */
static const char *const name_annotations[] = {
	"io.containerd.image.name",
	"org.opencontainers.image.ref.name",
};

struct descriptor {
	const char *media_type, *digest; /* borrowed */
	int64_t size_bytes;
	json_t *platform, *annotations; /* borrowed */
};

static bool one_of(const char *text, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (str_equal(text, list[i]))
			return true;
	return false;
}

char *manifest_blob_name(const char *digest)
{
	return strf("%s%s", blob_prefix, digest_hex(digest));
}

void manifest_image_done(struct manifest_image *image)
{
	free(image->config_name);
	free(image->config_digest);
	free(image->manifest);
	free(image->manifest_digest);
	for (size_t i = 0; i < image->layer_count; i++) {
		free(image->layers[i].name);
		free(image->layers[i].digest);
	}
	free(image->layers);
	strv_free(image->references);
	*image = (struct manifest_image){ 0 };
}

void manifest_list_done(struct manifest_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		manifest_image_done(&list->images[i]);
	free(list->images);
	*list = (struct manifest_list){ 0 };
}

/* Takes what IMAGE holds, even on failure. */
static int list_add(struct manifest_list *list, struct manifest_image *image, struct error *err)
{
	struct manifest_image *grown;

	if (list->count == INDEX_MAX_IMAGES) {
		manifest_image_done(image);
		return error_set(err, ERROR_LIMIT, "more than %d images", INDEX_MAX_IMAGES);
	}
	grown = reallocarray(list->images, list->count + 1, sizeof(*grown));
	if (!grown) {
		manifest_image_done(image);
		return error_nomem(err);
	}
	grown[list->count++] = *image;
	list->images = grown;
	*image = (struct manifest_image){ 0 };
	return 0;
}

static int add_layer(struct manifest_image *image, char *name, const char *digest,
		     int64_t size_bytes, struct error *err)
{
	struct manifest_layer *layer;

	if (!name || (digest && !(digest = strdup(digest)))) {
		free(name);
		return error_nomem(err);
	}
	layer = &image->layers[image->layer_count++];
	*layer = (struct manifest_layer){ .name = name,
					  .digest = (char *)digest,
					  .size_bytes = size_bytes };
	return 0;
}

static int make_layers(struct manifest_image *image, size_t count, struct error *err)
{
	if (count > IMAGE_MAX_LAYERS)
		return error_set(err, ERROR_LIMIT, "%zu layers, more than %d", count,
				 IMAGE_MAX_LAYERS);
	image->layers = calloc(count + 1, sizeof(*image->layers));
	return image->layers ? 0 : error_nomem(err);
}

static int descriptor_parse(json_t *object, struct descriptor *ret, struct error *err)
{
	int r;

	if (!json_is_object(object))
		return error_set(err, ERROR_INVALID, "expected a descriptor object");
	r = json_get_string(object, "mediaType", &ret->media_type, err);
	if (r == 0)
		r = json_get_string(object, "digest", &ret->digest, err);
	if (r == 0)
		r = digest_check("digest", ret->digest, err);
	if (r == 0)
		r = json_get_int(object, "size", &ret->size_bytes, err);
	if (r == 0 && (!json_object_get(object, "size") || ret->size_bytes < 0))
		r = error_set(err, ERROR_INVALID, "size: expected a number of bytes");
	if (r == 0)
		r = json_get_object(object, "platform", &ret->platform, err);
	if (r == 0)
		r = json_get_object(object, "annotations", &ret->annotations, err);
	return r;
}

/* Reads a blob that is JSON, and makes sure that it is what its descriptor says. */
static int read_blob(const struct manifest_source *source, const struct descriptor *d, char **ret,
		     size_t *ret_len, struct error *err)
{
	autofree char *name = manifest_blob_name(d->digest), *text = NULL;
	char found[DIGEST_TEXT_BYTES];
	size_t len;
	int r;

	if (!name)
		return error_nomem(err);
	r = source->read(source->arg, name, IMAGE_MAX_MANIFEST_BYTES, &text, &len, err);
	if (r < 0)
		return r;
	if ((int64_t)len != d->size_bytes)
		return error_set(err, ERROR_INVALID, "'%s' has %zu bytes, its descriptor says %lld",
				 name, len, (long long)d->size_bytes);
	r = digest_data(text, len, found, err);
	if (r < 0)
		return r;
	if (strcmp(found, d->digest) != 0)
		return error_set(err, ERROR_INVALID, "'%s' does not match its digest: it is %s",
				 name, found);
	*ret = steal(text);
	*ret_len = len;
	return 0;
}

static int platform_matches(const json_t *platform, bool *ret, struct error *err)
{
	const char *os, *architecture;
	int r;

	*ret = true;
	if (!platform)
		return 0;
	r = json_get_string(platform, "os", &os, err);
	if (r == 0)
		r = json_get_string(platform, "architecture", &architecture, err);
	if (r < 0)
		return error_prefix(err, r, "platform");
	*ret = str_equal(os, "linux") && str_equal(architecture, "amd64");
	return 0;
}

static int parse_manifest(struct manifest_image *image, const json_t *root, struct error *err)
{
	struct descriptor d = { 0 };
	json_t *layers, *item;
	size_t i;
	int r;

	r = descriptor_parse(json_object_get(root, "config"), &d, err);
	if (r < 0)
		return error_prefix(err, r, "config");
	image->config_name = manifest_blob_name(d.digest);
	image->config_digest = strdup(d.digest);
	image->config_bytes = d.size_bytes;
	if (!image->config_name || !image->config_digest)
		return error_nomem(err);
	r = json_get_array(root, "layers", &layers, err);
	if (r == 0)
		r = make_layers(image, json_array_size(layers), err);
	if (r < 0)
		return r;
	json_array_foreach(layers, i, item) {
		r = descriptor_parse(item, &d, err);
		if (r == 0 && d.media_type &&
		    !one_of(d.media_type, layer_types, ARRAY_SIZE(layer_types)))
			r = error_set(err, ERROR_UNSUPPORTED,
				      "media type '%.100s' is no layer we know", d.media_type);
		if (r == 0)
			r = add_layer(image, manifest_blob_name(d.digest), d.digest, d.size_bytes,
				      err);
		if (r < 0)
			return error_prefix(err, r, "layers[%zu]", i);
	}
	return 0;
}

/* "1.37" alone is no name: Docker keeps such images untagged too. */
static int add_reference(struct manifest_image *image, const json_t *annotations, struct error *err)
{
	for (size_t i = 0; annotations && i < ARRAY_SIZE(name_annotations); i++) {
		const char *name;
		int r = json_get_string(annotations, name_annotations[i], &name, err);

		if (r < 0)
			return error_prefix(err, r, "annotations");
		if (!name || !*name || (i == 1 && !strpbrk(name, ":/")))
			continue;
		return strv_add(&image->references, name) < 0 ? error_nomem(err) : 0;
	}
	return 0;
}

struct walk {
	const struct manifest_source *source;
	struct manifest_list *list;
	const json_t *annotations; /* of the entry of index.json that led here */
	unsigned others;           /* entries for other platforms */
};

static int walk_index(struct walk *walk, const json_t *root, unsigned depth, struct error *err);

static int walk_manifest(struct walk *walk, const struct descriptor *d, char *text, size_t len,
			 const json_t *root, struct error *err)
{
	struct manifest_image image = { .manifest = text, .manifest_len = len };
	int r;

	image.manifest_digest = strdup(d->digest);
	r = image.manifest_digest ? parse_manifest(&image, root, err) : error_nomem(err);
	if (r == 0)
		r = add_reference(&image, walk->annotations, err);
	if (r < 0) {
		manifest_image_done(&image);
		return error_prefix(err, r, "manifest %s", d->digest);
	}
	return list_add(walk->list, &image, err);
}

static int walk_blob(struct walk *walk, const struct descriptor *d, unsigned depth,
		     struct error *err)
{
	autojson json_t *root = NULL;
	autofree char *text = NULL;
	const char *type = NULL;
	size_t len = 0;
	int r = read_blob(walk->source, d, &text, &len, err);

	if (r == 0)
		r = json_parse(text, len, &root, err);
	if (r == 0)
		r = json_get_string(root, "mediaType", &type, err);
	if (r < 0)
		return error_prefix(err, r, "manifest %s", d->digest);
	if (!type)
		type = d->media_type;
	if (one_of(type, index_types, ARRAY_SIZE(index_types)))
		return walk_index(walk, root, depth + 1, err);
	if (!one_of(type, manifest_types, ARRAY_SIZE(manifest_types)))
		return error_set(err, ERROR_UNSUPPORTED, "manifest %s: media type '%.100s'",
				 d->digest, type ? type : "");
	return walk_manifest(walk, d, steal(text), len, root, err);
}

/* At the top each entry is an image of its own; below, the entries are one image's platforms. */
static int walk_index(struct walk *walk, const json_t *root, unsigned depth, struct error *err)
{
	json_t *manifests, *item;
	size_t i;
	int r;

	if (depth > INDEX_MAX_DEPTH)
		return error_set(err, ERROR_LIMIT, "indexes nested deeper than %d",
				 INDEX_MAX_DEPTH);
	if (!json_is_object(root))
		return error_set(err, ERROR_INVALID, "index: expected an object");
	r = json_get_array(root, "manifests", &manifests, err);
	if (r < 0)
		return error_prefix(err, r, "index");
	if (json_array_size(manifests) > INDEX_MAX_IMAGES)
		return error_set(err, ERROR_LIMIT, "index: more than %d manifests",
				 INDEX_MAX_IMAGES);
	json_array_foreach(manifests, i, item) {
		struct descriptor d = { 0 };
		bool matches = true;

		r = descriptor_parse(item, &d, err);
		if (r == 0)
			r = platform_matches(d.platform, &matches, err);
		if (r < 0)
			return error_prefix(err, r, "manifests[%zu]", i);
		if (!matches) {
			walk->others++;
			continue;
		}
		if (depth == 0)
			walk->annotations = d.annotations;
		r = walk_blob(walk, &d, depth, err);
		if (r < 0 || depth > 0)
			return r;
	}
	return 0;
}

static int read_oci(const struct manifest_source *source, const char *text, size_t len,
		    struct manifest_list *list, struct error *err)
{
	struct walk walk = { .source = source, .list = list };
	autojson json_t *root = NULL;
	int r = json_parse(text, len, &root, err);

	if (r == 0)
		r = walk_index(&walk, root, 0, err);
	if (r < 0)
		return error_prefix(err, r, "index.json");
	if (list->count == 0 && walk.others)
		return error_set(err, ERROR_NOT_FOUND, "index.json: no image for linux/amd64");
	if (list->count == 0)
		return error_set(err, ERROR_INVALID, "index.json: no images");
	return 0;
}

/* A member below blobs/sha256/ is named by its digest. */
static const char *digest_of_name(const char *name, char digest[DIGEST_TEXT_BYTES + 16])
{
	if (!str_starts(name, blob_prefix) ||
	    strlen(name + strlen(blob_prefix)) != DIGEST_HEX_BYTES)
		return NULL;
	strcpy(digest, "sha256:");
	strcat(digest, name + strlen(blob_prefix));
	return digest_is_valid(digest) ? digest : NULL;
}

static int parse_docker_image(const json_t *object, struct manifest_image *image, struct error *err)
{
	char digest[DIGEST_TEXT_BYTES + 16];
	autostrv char **layers = NULL;
	const char *config, *found;
	int r;

	if (!json_is_object(object))
		return error_set(err, ERROR_INVALID, "expected an object");
	r = json_get_string(object, "Config", &config, err);
	if (r == 0 && !config)
		r = error_set(err, ERROR_INVALID, "Config: missing");
	if (r == 0)
		r = json_get_strv(object, "Layers", &layers, err);
	if (r == 0)
		r = json_get_strv(object, "RepoTags", &image->references, err);
	if (r == 0)
		r = make_layers(image, strv_len(layers), err);
	if (r < 0)
		return r;
	found = digest_of_name(config, digest);
	image->config_name = strdup(config);
	image->config_digest = found ? strdup(found) : NULL;
	image->config_bytes = -1;
	if (!image->config_name || (found && !image->config_digest))
		return error_nomem(err);
	strv_for_each(layer, layers) {
		r = add_layer(image, strdup(*layer), digest_of_name(*layer, digest), -1, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_docker(const char *text, size_t len, struct manifest_list *list, struct error *err)
{
	autojson json_t *root = NULL;
	json_t *item;
	size_t i;
	int r = json_parse(text, len, &root, err);

	if (r == 0 && (!json_is_array(root) || json_array_size(root) == 0))
		r = error_set(err, ERROR_INVALID, "expected an array of images");
	if (r < 0)
		return error_prefix(err, r, "manifest.json");
	json_array_foreach(root, i, item) {
		struct manifest_image image = { 0 };

		r = parse_docker_image(item, &image, err);
		if (r < 0) {
			manifest_image_done(&image);
			return error_prefix(err, r, "manifest.json[%zu]", i);
		}
		r = list_add(list, &image, err);
		if (r < 0)
			return error_prefix(err, r, "manifest.json");
	}
	return 0;
}

/*
 * An archive can be both. Docker's half names the images, as it does for Docker; the OCI half has
 * the manifest, whose bytes are worth keeping when it is about the same configuration.
 */
static void adopt_manifests(struct manifest_list *list, struct manifest_list *oci)
{
	for (size_t i = 0; i < list->count; i++) {
		struct manifest_image *image = &list->images[i];

		for (size_t j = 0; j < oci->count; j++) {
			struct manifest_image *other = &oci->images[j];

			if (image->manifest || !other->manifest || !image->config_digest ||
			    strcmp(image->config_digest, other->config_digest) != 0)
				continue;
			image->manifest = steal(other->manifest);
			image->manifest_len = other->manifest_len;
			image->manifest_digest = steal(other->manifest_digest);
		}
	}
}

int manifest_list_read(const struct manifest_source *source, struct manifest_list *ret,
		       struct error *err)
{
	automanifest struct manifest_list list = { 0 }, oci = { 0 };
	autofree char *docker_text = NULL, *oci_text = NULL;
	size_t docker_len = 0, oci_len = 0;
	struct error why = { 0 };
	int r;

	r = source->read(source->arg, "manifest.json", IMAGE_MAX_MANIFEST_BYTES, &docker_text,
			 &docker_len, &why);
	if (r < 0 && why.kind != ERROR_NOT_FOUND) {
		error_copy(err, &why);
		return r;
	}
	r = source->read(source->arg, "index.json", IMAGE_MAX_MANIFEST_BYTES, &oci_text, &oci_len,
			 &why);
	if (r < 0 && why.kind != ERROR_NOT_FOUND) {
		error_copy(err, &why);
		return r;
	}
	if (!docker_text && !oci_text)
		return error_set(err, ERROR_INVALID,
				 "neither manifest.json (a Docker archive) nor index.json (an OCI "
				 "layout) is in it");
	r = docker_text ? read_docker(docker_text, docker_len, &list, err)
			: read_oci(source, oci_text, oci_len, &list, err);
	if (r < 0)
		return r;
	if (docker_text && oci_text && read_oci(source, oci_text, oci_len, &oci, NULL) == 0)
		adopt_manifests(&list, &oci);
	*ret = list;
	list = (struct manifest_list){ 0 };
	return 0;
}

/* ------------------------------------------------------------------ from registries */

int manifest_kind_find(const char *text, size_t len, const char *media_type,
		       enum manifest_kind *ret, struct error *err)
{
	autojson json_t *root = NULL;
	const char *type = NULL;
	bool index, image;
	int64_t version;
	int r = json_parse(text, len, &root, err);

	if (r == 0 && !json_is_object(root))
		r = error_set(err, ERROR_INVALID, "expected an object");
	if (r == 0)
		r = json_get_string(root, "mediaType", &type, err);
	if (r == 0)
		r = json_get_int(root, "schemaVersion", &version, err);
	if (r < 0)
		return error_prefix(err, r, "manifest");
	if (version == 1)
		return error_set(err, ERROR_UNSUPPORTED,
				 "manifest: Docker's schema 1 is too old: push the image again");
	if (!type)
		type = media_type;
	index = one_of(type, index_types, ARRAY_SIZE(index_types));
	image = one_of(type, manifest_types, ARRAY_SIZE(manifest_types));
	if (!index && !image)
		return error_set(err, ERROR_UNSUPPORTED, "manifest: media type '%.100s'",
				 type ? type : "");
	if ((json_object_get(root, "manifests") &&
	     (json_object_get(root, "layers") || json_object_get(root, "config"))) ||
	    (one_of(media_type, index_types, ARRAY_SIZE(index_types)) && image) ||
	    (one_of(media_type, manifest_types, ARRAY_SIZE(manifest_types)) && index))
		return error_set(err, ERROR_INVALID,
				 "manifest: it claims to be an index and an image");
	*ret = index ? MANIFEST_INDEX : MANIFEST_IMAGE;
	return 0;
}

int manifest_image_parse(const char *text, size_t len, struct manifest_image *ret,
			 struct error *err)
{
	struct manifest_image image = { .manifest_len = len };
	autojson json_t *root = NULL;
	char digest[DIGEST_TEXT_BYTES];
	int r = json_parse(text, len, &root, err);

	if (r == 0 && !json_is_object(root))
		r = error_set(err, ERROR_INVALID, "expected an object");
	if (r == 0)
		r = digest_data(text, len, digest, err);
	if (r == 0 &&
	    (!(image.manifest = malloc(len + 1)) || !(image.manifest_digest = strdup(digest))))
		r = error_nomem(err);
	if (r == 0) {
		memcpy(image.manifest, text, len);
		image.manifest[len] = '\0';
		r = parse_manifest(&image, root, err);
	}
	if (r < 0) {
		manifest_image_done(&image);
		return error_prefix(err, r, "manifest");
	}
	*ret = image;
	return 0;
}

int manifest_index_choose(const char *text, size_t len, const struct platform *platform,
			  char **ret_digest, int64_t *ret_bytes, struct error *err)
{
	autojson json_t *root = NULL;
	json_t *manifests = NULL, *item;
	size_t i;
	int r = json_parse(text, len, &root, err);

	if (r == 0)
		r = json_get_array(root, "manifests", &manifests, err);
	if (r == 0 && json_array_size(manifests) > INDEX_MAX_IMAGES)
		r = error_set(err, ERROR_LIMIT, "more than %d manifests", INDEX_MAX_IMAGES);
	if (r < 0)
		return error_prefix(err, r, "index");
	json_array_foreach(manifests, i, item) {
		struct descriptor d = { 0 };
		bool wanted = true;

		r = descriptor_parse(item, &d, err);
		if (r == 0 && d.platform)
			r = platform_match(d.platform, platform, &wanted, err);
		if (r < 0)
			return error_prefix(err, r, "index: manifests[%zu]", i);
		if (!wanted)
			continue;
		*ret_bytes = d.size_bytes;
		*ret_digest = strdup(d.digest);
		return *ret_digest ? 0 : error_nomem(err);
	}
	return error_set(err, ERROR_NOT_FOUND,
			 "no matching manifest for %s/%s%s%s in the manifest list entries",
			 platform->os, platform->architecture, *platform->variant ? "/" : "",
			 platform->variant);
}
