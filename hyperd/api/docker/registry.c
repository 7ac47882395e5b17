/* Images to and from registries: pull, push, log in, ask. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/image/reference.h"
#include "hyperd/image/registry.h"

#define BAR_COLUMNS 50

/* "1.234MB", as Docker's clients and daemon write sizes. */
static void human_size(uint64_t bytes, char text[static 16])
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB" };
	double value = (double)bytes;
	size_t i = 0;

	while (value >= 1000 && i + 1 < ARRAY_SIZE(units)) {
		value /= 1000;
		i++;
	}
	snprintf(text, 16, "%.4g%s", value, units[i]);
}

/* "[=====>      ]  1.2MB/5MB": for clients that do not draw it themselves. */
static json_t *bar(uint64_t current, uint64_t total)
{
	unsigned full = current >= total
				? BAR_COLUMNS
				: (unsigned)((double)current / (double)total * BAR_COLUMNS);
	autostr struct str text = STR_INIT;
	char now[16], all[16];

	human_size(current, now);
	human_size(total, all);
	str_addc(&text, '[');
	for (unsigned i = 0; i < full; i++)
		str_addc(&text, '=');
	str_addc(&text, '>');
	for (unsigned i = full; i < BAR_COLUMNS; i++)
		str_addc(&text, ' ');
	str_addf(&text, "] %8s/%s", now, all);
	return api_json_string(str_text(&text));
}

static void stream_begin(struct http_request *request)
{
	if (!request->head_sent)
		http_stream_begin(request, 200, "application/json");
}

/* Without an id it is a remark on the whole, and "Pulling from" one on a tag: neither has a
 * progress. */
void api_pull_progress(void *arg, const char *id, const char *status, uint64_t current,
		       uint64_t total)
{
	struct http_request *request = arg;
	autojson json_t *line = json_object();
	bool layer = id && *id && !str_starts(status, "Pulling from ");

	stream_begin(request);
	json_object_set_new(line, "status", api_json_string(status));
	if (layer)
		json_object_set_new(line, "progressDetail",
				    total ? json_pack("{s:I,s:I}", "current", (json_int_t)current,
						      "total", (json_int_t)total)
					  : json_object());
	if (layer && total)
		json_object_set_new(line, "progress", bar(current, total));
	if (id && *id)
		json_object_set_new(line, "id", api_json_string(id));
	http_stream_push_json(request, line, "\r\n");
}

/* An error once progress has gone out: a last object in the stream, and a complete answer. */
static int stream_result(struct http_request *request, int r, struct error *err)
{
	if (r < 0 && request->head_sent) {
		api_push_stream_error(request, err);
		return 0;
	}
	return r;
}

/* As Docker: a header that nobody can read is none, since old clients send such. */
static void read_credentials(struct http_request *request, struct registry_credentials *ret)
{
	struct error err = { 0 };

	if (registry_credentials_decode(http_header(request, "X-Registry-Auth"), ret, &err) < 0) {
		*ret = (struct registry_credentials){ 0 };
		log_debug("%s: %s", request->path, err.message);
	}
}

static void emit(struct http_request *request, const char *action, const char *reference)
{
	autoreference struct reference parsed = { 0 };
	autofree char *name = NULL;

	if (reference_parse(reference, &parsed, NULL) == 0)
		name = reference_familiar_name(&parsed);
	engine_emit(api_engine(request), "image", action, reference,
		    json_pack("{s:o}", "name", api_json_string(name ? name : reference)));
}

/* ------------------------------------------------------------------ pull */

static void pulled(void *arg, const char *reference, const struct image *image)
{
	emit(arg, "pull", reference);
}

/* fromImage and tag, which may be a digest, in one. */
static char *reference_of(const char *name, const char *tag)
{
	autofree char *bare = strdup(name);
	size_t len = strlen(name);

	if (bare && len && bare[len - 1] == ':')
		bare[len - 1] = '\0';
	if (!bare || !tag || !*tag)
		return steal(bare);
	return strf("%s%s%s", bare, strchr(tag, ':') ? "@" : ":", tag);
}

int docker_image_pull(struct http_request *request, struct error *err)
{
	autocredentials struct registry_credentials credentials = { 0 };
	autoreference struct reference parsed = { 0 };
	autofree char *reference =
		reference_of(http_query(request, "fromImage"), http_query(request, "tag"));
	struct image_progress progress = { api_pull_progress, request };
	struct pull_options options = {
		.reference = reference,
		.platform = http_query(request, "platform"),
		.credentials = &credentials,
		.progress = &progress,
		.pulled = pulled,
		.arg = request,
	};
	int r;

	if (!reference)
		return error_nomem(err);
	r = reference_parse(reference, &parsed, err);
	if (r < 0)
		return r;
	/* A mere name is all of its tags; clients that want one of them name it. */
	options.all_tags = !parsed.tag && !parsed.digest;
	read_credentials(request, &credentials);
	r = image_pull(engine_images(api_engine(request)), api_of(request)->registries, &options,
		       err);
	/* As Docker: at a 401 its newer clients ask on the terminal. */
	if (r < 0 && err->kind == ERROR_UNAUTHORIZED)
		err->kind = ERROR_FAILED;
	return stream_result(request, r, err);
}

/* ------------------------------------------------------------------ push */

struct push_answer {
	struct http_request *request;
	const char *name;
};

static void pushed(void *arg, const char *tag, const char *digest, uint64_t size_bytes)
{
	struct push_answer *answer = arg;
	autofree char *reference = strf("%s:%s", answer->name, tag);
	autojson json_t *line =
		json_pack("{s:{},s:{s:o,s:s,s:I}}", "progressDetail", "aux", "Tag",
			  api_json_string(tag), "Digest", digest, "Size", (json_int_t)size_bytes);

	http_stream_push_json(answer->request, line, "\r\n");
	if (reference)
		emit(answer->request, "push", reference);
}

int docker_image_push(struct http_request *request, struct error *err)
{
	autocredentials struct registry_credentials credentials = { 0 };
	autoreference struct reference parsed = { 0 };
	const char *name = http_param(request, "name"), *tag = http_query(request, "tag");
	autofree char *reference = tag && *tag ? strf("%s:%s", name, tag) : strdup(name);
	struct image_progress progress = { api_pull_progress, request };
	struct push_answer answer = { request };
	autofree char *familiar = NULL;
	struct push_options options = {
		.name = reference,
		.credentials = &credentials,
		.progress = &progress,
		.pushed = pushed,
		.arg = &answer,
	};
	int r;

	if (!reference)
		return error_nomem(err);
	r = reference_parse(reference, &parsed, err);
	if (r < 0)
		return r;
	answer.name = familiar = reference_familiar_name(&parsed);
	if (!familiar)
		return error_nomem(err);
	read_credentials(request, &credentials);
	r = image_push(engine_images(api_engine(request)), api_of(request)->registries, &options,
		       err);
	return stream_result(request, r, err);
}

/* ------------------------------------------------------------------ login, distribution */

int docker_auth(struct http_request *request, struct error *err)
{
	autocredentials struct registry_credentials credentials = { 0 };
	autofree char *body = NULL, *token = NULL;
	size_t len;
	int r = http_body_text(request, REGISTRY_AUTH_MAX_BYTES, &body, &len, err);

	if (r == 0)
		r = registry_credentials_parse(body, len, &credentials, err);
	if (r == 0)
		r = registry_login(api_of(request)->registries, &credentials, &token, err);
	if (r < 0)
		return r;
	return http_respond_json(request, 200,
				 json_pack("{s:o,s:s}", "IdentityToken",
					   api_json_string(token ? token : ""), "Status",
					   "Login Succeeded"));
}

int docker_distribution(struct http_request *request, struct error *err)
{
	autocredentials struct registry_credentials credentials = { 0 };
	json_t *answer = NULL;
	int r;

	read_credentials(request, &credentials);
	r = registry_describe(api_of(request)->registries, http_param(request, "name"),
			      &credentials, &answer, err);
	return r < 0 ? r : http_respond_json(request, 200, answer);
}

/* ------------------------------------------------------------------ info */

static json_t *index_config(const char *name, json_t *mirrors, bool secure, bool official)
{
	return json_pack("{s:o,s:o,s:b,s:b}", "Name", api_json_string(name), "Mirrors", mirrors,
			 "Secure", secure, "Official", official);
}

json_t *api_registry_config(const struct api *api)
{
	json_t *networks = json_pack("[s]", "127.0.0.0/8"), *indexes = json_object();

	json_object_set_new(indexes, REGISTRY_DEFAULT_DOMAIN,
			    index_config(REGISTRY_DEFAULT_DOMAIN,
					 json_from_strv(api->registry_mirrors), true, true));
	strv_for_each(insecure, api->insecure_registries) {
		if (strchr(*insecure, '/'))
			json_array_append_new(networks, api_json_string(*insecure));
		else
			json_object_set_new(indexes, *insecure,
					    index_config(*insecure, json_array(), false, false));
	}
	return json_pack("{s:[],s:[],s:o,s:o,s:o}", "AllowNondistributableArtifactsCIDRs",
			 "AllowNondistributableArtifactsHostnames", "IndexConfigs", indexes,
			 "InsecureRegistryCIDRs", networks, "Mirrors",
			 json_from_strv(api->registry_mirrors));
}
