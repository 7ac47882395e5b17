#include "hyperd/image/registry.h"

#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/manifest.h"
#include "hyperd/image/reference.h"
#include "hyperd/image/registry_session.h"

/* ------------------------------------------------------------------ logging in */

int registry_login(struct registries *registries, const struct registry_credentials *credentials,
		   char **ret_identity_token, struct error *err)
{
	autoptr(registry_session_free) struct registry_session *session = NULL;
	autofree char *domain = registry_domain_of_address(credentials->server_address);
	struct session_options options = {
		.domain = domain,
		.credentials = credentials,
		.threads = 1,
		.want_refresh_token = true,
		.skip_mirrors = true,
	};
	const char *token;
	int r;

	*ret_identity_token = NULL;
	if (!domain)
		return error_nomem(err);
	r = registry_session_new(registries, &options, &session, err);
	if (r == 0)
		r = registry_session_connect(session, err);
	if (r < 0)
		return error_prefix(err, r, "login attempt to %.200s failed", domain);
	token = registry_session_refresh_token(session);
	if (token && !(*ret_identity_token = strdup(token)))
		return error_nomem(err);
	return 0;
}

/* ------------------------------------------------------------------ what there is */

static void add_platform(json_t *platforms, const json_t *from)
{
	static const char *const keys[] = { "architecture", "os", "os.version", "variant" };
	json_t *platform = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (json_is_string(json_object_get(from, keys[i])))
			json_object_set(platform, keys[i], json_object_get(from, keys[i]));
	json_array_append_new(platforms, platform);
}

static int index_platforms(const struct registry_manifest *manifest, json_t *platforms,
			   struct error *err)
{
	autojson json_t *root = NULL;
	json_t *manifests, *item;
	size_t i;
	int r = json_parse(manifest->text, manifest->len, &root, err);

	if (r == 0)
		r = json_get_array(root, "manifests", &manifests, err);
	if (r < 0)
		return r;
	json_array_foreach(manifests, i, item)
		if (json_object_get(item, "platform"))
			add_platform(platforms, json_object_get(item, "platform"));
	return 0;
}

static int image_platform(struct registry_session *session, const char *path,
			  const struct registry_manifest *manifest, json_t *platforms,
			  struct error *err)
{
	struct manifest_image image = { 0 };
	autofree char *text = NULL;
	autojson json_t *root = NULL;
	int r = manifest_image_parse(manifest->text, manifest->len, &image, err);

	if (r < 0)
		return r;
	r = registry_blob_get(session, path, image.config_digest, (uint64_t)image.config_bytes,
			      IMAGE_MAX_CONFIG_BYTES, &text, err);
	if (r == 0)
		r = json_parse(text, (size_t)image.config_bytes, &root, err);
	if (r == 0)
		add_platform(platforms, root);
	manifest_image_done(&image);
	return r;
}

static int describe(struct registry_session *session, const struct reference *reference,
		    json_t **ret, struct error *err)
{
	automanifest_text struct registry_manifest manifest = { 0 };
	autojson json_t *platforms = json_array(), *root = NULL;
	const char *wanted = reference->digest ? reference->digest : reference->tag, *type = NULL;
	enum manifest_kind kind;
	int r = registry_manifest_get(session, reference->path, wanted, &manifest, err);

	if (r == 0)
		r = manifest_kind_find(manifest.text, manifest.len, manifest.media_type, &kind,
				       err);
	if (r == 0)
		r = kind == MANIFEST_INDEX
			    ? index_platforms(&manifest, platforms, err)
			    : image_platform(session, reference->path, &manifest, platforms, err);
	if (r == 0)
		r = json_parse(manifest.text, manifest.len, &root, err);
	if (r == 0)
		r = json_get_string(root, "mediaType", &type, err);
	if (r < 0)
		return r;
	if (!type)
		type = manifest.media_type;
	*ret = json_pack("{s:{s:s, s:s, s:I}, s:O}", "Descriptor", "mediaType", type ? type : "",
			 "digest", manifest.digest, "size", (json_int_t)manifest.len, "Platforms",
			 platforms);
	return *ret ? 0 : error_nomem(err);
}

int registry_describe(struct registries *registries, const char *text,
		      const struct registry_credentials *credentials, json_t **ret,
		      struct error *err)
{
	autoreference struct reference reference = { 0 };
	autoptr(registry_session_free) struct registry_session *session = NULL;
	autostrv char **scopes = NULL;
	struct session_options options = { .credentials = credentials,
					   .threads = 1,
					   .skip_mirrors = true };
	int r = reference_parse(text, &reference, err);

	if (r == 0)
		r = reference_add_default_tag(&reference, err);
	if (r < 0)
		return r;
	if (strv_addf(&scopes, "repository:%s:pull", reference.path) < 0)
		return error_nomem(err);
	options.domain = reference.domain;
	options.scopes = scopes;
	r = registry_session_new(registries, &options, &session, err);
	if (r == 0)
		r = registry_session_connect(session, err);
	if (r == 0)
		r = describe(session, &reference, ret, err);
	return r < 0 ? error_prefix(err, r, "asking for %.300s", text) : 0;
}
