/* A container's files: changes, export, archive, commit. */
#include <string.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "hyperd/api/api.h"
#include "hyperd/image/changes.h"
#include "hyperd/pod/container_files.h"

int docker_container_changes(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	json_t *changes = NULL;
	int r = api_container(request, &container, err);

	if (r == 0)
		r = container_changes(container, &changes, err);
	if (r < 0)
		return r;
	/* Go's empty list. */
	if (!json_array_size(changes)) {
		json_decref(changes);
		changes = json_null();
	}
	return http_respond_json(request, 200, changes);
}

static int send_archive(void *arg, const void *data, size_t len, struct error *err)
{
	struct http_request *request = arg;
	bool export = request->method == HTTP_GET_BIT && !http_query(request, "path");
	int r = 0;

	if (!request->head_sent)
		r = http_stream_begin(request, 200,
				      export ? "application/octet-stream" : "application/x-tar");
	if (r == 0)
		r = http_stream_write(request, data, len);
	return r < 0 ? error_errno(err, -r, "sending the archive") : 0;
}

int docker_container_export(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	int r = api_container(request, &container, err);

	return r < 0 ? r : container_export(container, send_archive, request, err);
}

void api_add_sizes(json_t *object, struct container *container)
{
	struct container_sizes sizes = { 0 };
	struct error err = { 0 };

	if (container_sizes(container, &sizes, &err) < 0 && err.kind != ERROR_NOT_FOUND)
		log_warn("container %s: its size: %s", container_name(container), err.message);
	json_object_set_new(object, "SizeRw", json_integer((json_int_t)sizes.changed_bytes));
	json_object_set_new(object, "SizeRootFs", json_integer((json_int_t)sizes.root_bytes));
}

/* ------------------------------------------------------------------ archive */

/* As Go's os.FileMode has them, which Docker's clients read. */
static uint32_t go_mode(uint32_t mode)
{
	static const struct {
		uint32_t format, go;
	} formats[] = {
		{ S_IFDIR, 1u << 31 }, { S_IFLNK, 1u << 27 },
		{ S_IFBLK, 1u << 26 }, { S_IFCHR, 1u << 26 | 1u << 21 },
		{ S_IFIFO, 1u << 25 }, { S_IFSOCK, 1u << 24 },
	};
	uint32_t go = mode & 0777;

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if ((mode & S_IFMT) == formats[i].format)
			go |= formats[i].go;
	if (mode & S_ISUID)
		go |= 1u << 23;
	if (mode & S_ISGID)
		go |= 1u << 22;
	if (mode & S_ISVTX)
		go |= 1u << 20;
	return go;
}

static int add_stat_header(struct http_request *request, const struct path_stat *stat,
			   struct error *err)
{
	uint64_t ns =
		stat->mtime_s < 0 ? 0 : (uint64_t)stat->mtime_s * NSEC_PER_SEC + stat->mtime_ns;
	autojson json_t *json =
		json_pack("{s:o, s:I, s:I, s:o, s:o}", "name", api_json_string(stat->name), "size",
			  (json_int_t)stat->size_bytes, "mode", (json_int_t)go_mode(stat->mode),
			  "mtime", api_json_time(ns), "linkTarget", api_json_string(stat->link));
	autofree char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	autofree char *encoded = text ? base64_encode(text, strlen(text)) : NULL;

	if (!encoded || http_add_header(request, "X-Docker-Container-Path-Stat", "%s", encoded) < 0)
		return error_nomem(err);
	return 0;
}

static int path_query(struct http_request *request, const char **ret, struct error *err)
{
	*ret = http_query(request, "path");
	if (!*ret || !**ret)
		return error_set(err, ERROR_INVALID, "bad parameter: 'path' cannot be empty");
	return 0;
}

static int archive_head(struct http_request *request, struct container *container, const char *path,
			struct error *err)
{
	struct path_stat stat = { 0 };
	int r = container_path_stat(container, path, &stat, err);

	if (r == 0)
		r = add_stat_header(request, &stat, err);
	path_stat_done(&stat);
	return r < 0 ? r : http_respond_empty(request, 200);
}

static int archive_begin(void *arg, const struct path_stat *stat, struct error *err)
{
	return add_stat_header(arg, stat, err);
}

static ssize_t read_body(void *arg, void *buf, size_t len, struct error *err)
{
	return http_body_read(arg, buf, len, err);
}

static int archive_put(struct http_request *request, struct container *container, const char *path,
		       struct error *err)
{
	const struct archive_put put = {
		.path = path,
		.keep_kinds = http_query_bool(request, "noOverwriteDirNonDir", false),
		.own = http_query_bool(request, "copyUIDGID", false),
	};
	int r = container_archive_put(container, &put, read_body, request, err);

	return r < 0 ? r : http_respond(request, 200, NULL, "", 0);
}

int docker_container_archive(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	struct archive_events events = { .begin = archive_begin,
					 .write = send_archive,
					 .arg = request };
	const char *path;
	int r = path_query(request, &path, err);

	if (r == 0)
		r = api_container(request, &container, err);
	if (r < 0)
		return r;
	if (request->method == HTTP_PUT_BIT)
		return archive_put(request, container, path, err);
	if (request->method == HTTP_HEAD_BIT)
		return archive_head(request, container, path, err);
	return container_archive_get(container, path, &events, err);
}

/* ------------------------------------------------------------------ commit */

/* Docker: what the body leaves empty is the container's. */
static int merge_config(json_t *config, const json_t *own, struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)own, key, value) {
		json_t *asked = json_object_get(config, key);
		bool empty = !asked || json_is_null(asked) || json_is_false(asked) ||
			     (json_is_string(asked) && !json_string_length(asked)) ||
			     (json_is_array(asked) && !json_array_size(asked)) ||
			     (json_is_object(asked) && !json_object_size(asked));

		if (empty && json_object_set(config, key, value) < 0)
			return error_nomem(err);
	}
	return 0;
}

static char *commit_reference(struct http_request *request)
{
	const char *repo = http_query(request, "repo"), *tag = http_query(request, "tag");

	if (!repo || !*repo)
		return NULL;
	return tag && *tag ? strf("%s:%s", repo, tag) : strdup(repo);
}

int docker_commit(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	autoptr(image_unref) struct image *image = NULL;
	autojson json_t *config = NULL, *own = NULL;
	autostrv char **changes = http_query_all(request, "changes");
	autofree char *reference = commit_reference(request);
	const char *name = http_query(request, "container");
	struct commit_options options = {
		.author = http_query(request, "author"),
		.comment = http_query(request, "comment"),
		.reference = reference,
		.pause = http_query_bool(request, "pause", true),
	};
	int r = http_body_json(request, &config, err);

	if (r == 0 && config && !json_is_object(config) && !json_is_null(config))
		r = error_set(err, ERROR_INVALID, "expected an object as the configuration");
	if (r == 0 && (!name || !*name))
		r = error_set(err, ERROR_INVALID, "invalid name or ID supplied: \"\"");
	if (r == 0)
		r = container_get(api_engine(request), name, &container, err);
	if (r < 0)
		return r;
	if (!json_is_object(config)) {
		json_decref(config);
		config = NULL;
	}
	own = api_container_config(container);
	/* As Docker: the changes are to the body's configuration, or else to the container's. */
	if (!config)
		config = json_deep_copy(own);
	r = config && own ? image_changes_apply(config, changes, err) : error_nomem(err);
	if (r == 0)
		r = merge_config(config, own, err);
	options.config = config;
	options.container_config = own;
	if (r == 0)
		r = container_commit(container, &options, &image, err);
	if (r < 0)
		return r;
	return http_respond_json(request, 201, json_pack("{s:s}", "Id", image_id(image)));
}
