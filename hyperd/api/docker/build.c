/* POST /build: a context comes in, what a builder says goes out, an image stays. */
#include "hyperd/build/build.h"

#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/image/reference.h"
#include "hyperd/image/registry.h"

#define DOCKER_HUB_SERVER "https://index.docker.io/v1/"

struct build_request {
	struct http_request *request;
	json_t *credentials; /* owned: {"server": {…}}, or NULL */
	char **tags;         /* owned strv: familiar, none twice */
	bool quiet;
	struct str held; /* what is said in a quiet build: told only when it fails */
};

/* ------------------------------------------------------------------ the answer */

static int send_line(struct build_request *build, json_t *line)
{
	autofree char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	autofree char *whole = text ? strf("%s\r\n", text) : NULL;
	struct http_request *request = build->request;
	int r = 0;

	json_decref(line);
	if (!whole)
		return -ENOMEM;
	if (build->quiet) {
		str_add(&build->held, whole);
		return 0;
	}
	if (!request->head_sent)
		r = http_stream_begin(request, 200, "application/json");
	return r < 0 ? r : http_stream_write(request, whole, strlen(whole));
}

/* What a process said to its standard error is red, as Docker has it. */
static int say(void *arg, const char *text, size_t len, bool error)
{
	autofree char *copy =
		strf("%s%.*s%s", error ? "\x1b[91m" : "", (int)len, text, error ? "\x1b[0m" : "");

	return copy ? send_line(arg, json_pack("{s:o}", "stream", api_json_string(copy))) : -ENOMEM;
}

static void stage_done(void *arg, const char *id)
{
	struct build_request *build = arg;

	if (api_version(build->request) >= 30)
		send_line(build, json_pack("{s:{s:s}}", "aux", "ID", id));
}

/* ------------------------------------------------------------------ what a build needs of us */

static int create(void *arg, json_t *body, struct container **ret, struct error *err)
{
	struct build_request *build = arg;
	struct create_request made = { 0 };
	int r = create_request_parse(body, NULL, &made, err);

	if (r == 0)
		r = container_create(api_engine(build->request), steal(made.spec), NULL,
				     made.options, ret, err);
	create_request_done(&made);
	return r;
}

static int find_credentials(struct build_request *build, const char *domain,
			    struct registry_credentials *ret, struct error *err)
{
	json_t *entry =
		json_object_get(build->credentials,
				strcmp(domain, "docker.io") == 0 ? DOCKER_HUB_SERVER : domain);
	autofree char *text = json_is_object(entry) ? json_dumps(entry, JSON_COMPACT) : NULL;

	return text ? registry_credentials_parse(text, strlen(text), ret, err) : 0;
}

static int pull(void *arg, const char *name, const char *platform, struct error *err)
{
	struct build_request *build = arg;
	struct http_request *request = build->request;
	autocredentials struct registry_credentials credentials = { 0 };
	autoreference struct reference reference = { 0 };
	struct image_progress progress = { build->quiet ? NULL : api_pull_progress, request };
	struct pull_options options = {
		.reference = name,
		.platform = platform,
		.credentials = &credentials,
		.progress = &progress,
	};
	int r = reference_parse(name, &reference, err);

	if (r == 0)
		r = find_credentials(build, reference.domain, &credentials, err);
	return r < 0 ? r
		     : image_pull(engine_images(api_engine(request)), api_of(request)->registries,
				  &options, err);
}

/* ------------------------------------------------------------------ the question */

/* A parameter that is JSON; NULL when there is nothing in it. */
static const char *json_text(struct http_request *request, const char *name)
{
	const char *text = http_query(request, name);

	return text && *text && strcmp(text, "null") != 0 ? text : NULL;
}

/* A parameter that is JSON: an object (or list) of strings, where NULLS are allowed, too. */
static int json_query(struct http_request *request, const char *name, bool nulls, json_t **ret,
		      struct error *err)
{
	const char *text = json_text(request, name), *key;
	autojson json_t *object = NULL;
	json_t *value;
	int r;

	if (!text)
		return 0;
	r = json_parse(text, strlen(text), &object, err);
	if (r < 0)
		return error_prefix(err, r, "%s", name);
	if (!json_is_object(object))
		return error_set(err, ERROR_INVALID, "%s: expected an object", name);
	json_object_foreach(object, key, value)
		if (!json_is_string(value) && !(nulls && json_is_null(value)))
			return error_set(err, ERROR_INVALID, "%s: '%.100s': expected a string",
					 name, key);
	*ret = steal(object);
	return 0;
}

/* As Docker: a header that nobody can read is none. */
static json_t *read_credentials(struct http_request *request)
{
	const char *header = http_header(request, "X-Registry-Config");
	autofree char *plain = header ? strdup(header) : NULL, *text = NULL;
	json_t *root = NULL;
	size_t len;

	if (!plain || strlen(plain) > 16 * REGISTRY_AUTH_MAX_BYTES)
		return NULL;
	/* The alphabet for addresses. */
	for (char *p = plain; *p; p++)
		*p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
	if (base64_decode(plain, strlen(plain), &text, &len) < 0)
		return NULL;
	if (json_parse(text, len, &root, NULL) < 0)
		return NULL;
	return root;
}

static int read_tags(struct build_request *build, struct error *err)
{
	autostrv char **asked = http_query_all(build->request, "t");

	strv_for_each(tag, asked) {
		autoreference struct reference reference = { 0 };
		autofree char *familiar = NULL;
		bool known = false;
		int r;

		if (!**tag)
			continue;
		r = reference_parse(*tag, &reference, err);
		if (r == 0 && reference.digest)
			r = error_set(err, ERROR_INVALID, "build tag cannot contain a digest");
		if (r == 0)
			r = reference_add_default_tag(&reference, err);
		if (r < 0)
			return r;
		familiar = reference_familiar(&reference);
		if (!familiar)
			return error_nomem(err);
		strv_for_each(other, build->tags)
			known = known || strcmp(*other, familiar) == 0;
		if (!known && strv_take(&build->tags, steal(familiar)) < 0)
			return error_nomem(err);
	}
	return 0;
}

/* What the containers of RUN may use: members of HostConfig, under the names that they have here.
 */
static const struct {
	const char *query, *member;
	enum { NUMBER, TEXT } kind;
} host_members[] = {
	{ "memory", "Memory", NUMBER },           { "memswap", "MemorySwap", NUMBER },
	{ "cpushares", "CpuShares", NUMBER },     { "cpuperiod", "CpuPeriod", NUMBER },
	{ "cpuquota", "CpuQuota", NUMBER },       { "shmsize", "ShmSize", NUMBER },
	{ "cpusetcpus", "CpusetCpus", TEXT },     { "cpusetmems", "CpusetMems", TEXT },
	{ "cgroupparent", "CgroupParent", TEXT }, { "networkmode", "NetworkMode", TEXT },
	{ "isolation", "Isolation", TEXT },
};

static int make_host_config(struct http_request *request, json_t **ret, struct error *err)
{
	autojson json_t *host = json_object(), *ulimits = NULL;
	autostrv char **hosts = http_query_all(request, "extrahosts");
	const char *text = json_text(request, "ulimits");
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(host_members); i++) {
		const char *value = http_query(request, host_members[i].query);
		int64_t number = 0;

		if (!value || !*value)
			continue;
		if (host_members[i].kind == TEXT) {
			json_object_set_new(host, host_members[i].member, api_json_string(value));
			continue;
		}
		r = http_query_int(request, host_members[i].query, -1, INT64_MAX, &number, err);
		if (r == 0 && number)
			json_object_set_new(host, host_members[i].member, json_integer(number));
	}
	if (r == 0 && text) {
		r = json_parse(text, strlen(text), &ulimits, err);
		if (r < 0)
			return error_prefix(err, r, "error reading ulimit settings");
		json_object_set(host, "Ulimits", ulimits);
	}
	if (r == 0 && hosts)
		json_object_set_new(host, "ExtraHosts", json_from_strv(hosts));
	*ret = steal(host);
	return r;
}

/* What this builder cannot do, and says so. */
static int refuse(struct http_request *request, struct error *err)
{
	static const struct {
		const char *query, *why;
	} refused[] = {
		{ "remote", "a context from elsewhere (remote) is not supported: send it as the "
			    "request's body" },
		{ "securityopt", "The daemon on this platform does not support setting security "
				 "options on build" },
	};
	const char *version = http_query(request, "version");

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		const char *value = http_query(request, refused[i].query);

		if (value && *value)
			return error_set(err, ERROR_INVALID, "%s", refused[i].why);
	}
	if (http_query_bool(request, "squash", false))
		return error_set(err, ERROR_INVALID,
				 "squash is only supported with experimental mode");
	if (version && *version && strcmp(version, "1") != 0)
		return error_set(
			err, ERROR_INVALID,
			strcmp(version, "2") == 0
				? "buildkit is not enabled on daemon: set DOCKER_BUILDKIT=0"
				: "invalid version %.20s",
			version);
	return 0;
}

struct build_question {
	struct build_options options;
	json_t *args, *labels, *host; /* owned */
	char **cache_from;            /* owned strv */
};

static int read_cache_from(struct http_request *request, char ***ret, struct error *err)
{
	const char *text = json_text(request, "cachefrom");
	autojson json_t *root = NULL;
	int r;

	if (!text)
		return 0;
	r = json_parse(text, strlen(text), &root, err);
	if (r == 0 && json_is_array(root)) {
		autojson json_t *object = json_pack("{s:O}", "cachefrom", root);

		return json_get_strv(object, "cachefrom", ret, err);
	}
	return r;
}

static int read_question(struct http_request *request, struct build_question *q, struct error *err)
{
	const char *rm = http_query(request, "rm");
	int r = refuse(request, err);

	if (r == 0)
		r = json_query(request, "buildargs", true, &q->args, err);
	if (r == 0)
		r = json_query(request, "labels", false, &q->labels, err);
	if (r == 0)
		r = read_cache_from(request, &q->cache_from, err);
	if (r == 0)
		r = make_host_config(request, &q->host, err);
	q->options = (struct build_options){
		.dockerfile = http_query(request, "dockerfile"),
		.target = http_query(request, "target"),
		.platform = http_query(request, "platform"),
		.cache_from = q->cache_from,
		.args = q->args,
		.labels = q->labels,
		.host_config = q->host,
		.no_cache = http_query_bool(request, "nocache", false),
		.pull = http_query_bool(request, "pull", false),
		.force_remove = http_query_bool(request, "forcerm", false),
		/* Where nothing is said, containers go. */
		.remove = !rm || !*rm || http_query_bool(request, "rm", true),
	};
	if (q->options.platform && !*q->options.platform)
		q->options.platform = NULL;
	return r;
}

/* ------------------------------------------------------------------ the whole */

static int name_image(struct build_request *build, const char *id, struct error *err)
{
	struct engine *engine = api_engine(build->request);
	autofree char *built = strf("Successfully built %.12s\n", id + strlen("sha256:"));
	int r = built ? 0 : error_nomem(err);

	if (r == 0)
		say(build, built, strlen(built), false);
	strv_for_each(tag, build->tags) {
		autofree char *tagged = strf("Successfully tagged %s\n", *tag);

		if (r == 0)
			r = image_tag(engine_images(engine), id, *tag, err);
		if (r < 0)
			return r;
		engine_emit(engine, "image", "tag", id,
			    json_pack("{s:o}", "name", api_json_string(*tag)));
		if (tagged)
			say(build, tagged, strlen(tagged), false);
	}
	return r;
}

/* The name is given before anything else can remove what has none. */
static int run(struct build_request *build, const struct build_options *options, char **ret_id,
	       struct error *err)
{
	static const struct build_events events = {
		.text = say, .image = stage_done, .create = create, .pull = pull
	};
	autoptr(image_unref) struct image *image = NULL;
	struct http_body_pump *pump;
	struct error body_error = { 0 };
	int fd, r, body;

	r = http_body_pump_begin(build->request, &pump, &fd, err);
	if (r < 0)
		return r;
	r = build_run(api_engine(build->request), api_of(build->request)->jobs, fd, options,
		      &events, build, &image, err);
	body = http_body_pump_end(pump, &body_error);
	if (r < 0 && body < 0)
		error_copy(err, &body_error); /* the cause, not its consequence */
	if (r == 0)
		r = name_image(build, image_id(image), err);
	if (r == 0 && !(*ret_id = strdup(image_id(image))))
		r = error_nomem(err);
	return r;
}

/* A failed RUN's exit code is told, too. */
static int push_error(struct build_request *build, const struct error *err)
{
	struct http_request *request = build->request;
	autojson json_t *line = NULL;

	if (!err->exit_code)
		return api_push_stream_error(request, err);
	line = json_pack("{s:{s:i,s:o},s:o}", "errorDetail", "code", err->exit_code, "message",
			 api_json_string(err->message), "error", api_json_string(err->message));
	return http_stream_push_json(request, line, "\r\n");
}

static int answer(struct build_request *build, int r, const char *id, struct error *err)
{
	struct http_request *request = build->request;

	if (build->quiet) {
		build->quiet = false;
		if (r == 0) {
			autofree char *line = strf("%s\n", id);

			return line ? say(build, line, strlen(line), false) : error_nomem(err);
		}
		if (build->held.len && !request->head_sent &&
		    http_stream_begin(request, 200, "application/json") == 0)
			http_stream_write(request, build->held.data, build->held.len);
	}
	if (r < 0 && request->head_sent) {
		push_error(build, err);
		return 0;
	}
	return r;
}

int docker_build(struct http_request *request, struct error *err)
{
	struct build_request build = { .request = request,
				       .quiet = http_query_bool(request, "q", false) };
	struct build_question question = { 0 };
	autofree char *id = NULL;
	int r = read_question(request, &question, err);

	if (r == 0)
		r = read_tags(&build, err);
	build.credentials = read_credentials(request);
	if (r == 0)
		r = run(&build, &question.options, &id, err);
	r = answer(&build, r, id, err);
	json_decref(build.credentials);
	strv_free(build.tags);
	str_done(&build.held);
	json_decref(question.args);
	json_decref(question.labels);
	json_decref(question.host);
	strv_free(question.cache_from);
	return r;
}

/* The cache is images, which images/prune removes. */
int docker_build_prune(struct http_request *request, struct error *err)
{
	return http_respond_json(request, 200,
				 json_pack("{s:n,s:i}", "CachesDeleted", "SpaceReclaimed", 0));
}
