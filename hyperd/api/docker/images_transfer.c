/* Images in and out: load, import, save. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

/* Progress as Docker's clients draw it; told to the client as it happens, without waiting for it.
 */
static void progress_update(void *arg, const char *id, const char *status, uint64_t current,
			    uint64_t total)
{
	struct http_request *request = arg;
	autojson json_t *line = json_object();

	if (!request->head_sent)
		http_stream_begin(request, 200, "application/json");
	json_object_set_new(line, "status", api_json_string(status));
	if (id && *id)
		json_object_set_new(line, "id", api_json_string(id));
	json_object_set_new(line, "progressDetail",
			    total ? json_pack("{s:I,s:I}", "current", (json_int_t)current, "total",
					      (json_int_t)total)
				  : json_object());
	http_stream_push_json(request, line, "\r\n");
}

static int push_member(struct http_request *request, const char *key, const char *value)
{
	autojson json_t *line = json_pack("{s:o}", key, api_json_string(value));

	if (!request->head_sent)
		http_stream_begin(request, 200, "application/json");
	return http_stream_push_json(request, line, "\r\n");
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

int docker_image_load(struct http_request *request, struct error *err)
{
	struct image_progress progress = { progress_update, request };
	struct http_body_pump *pump;
	autostrv char **names = NULL;
	struct error body_error = { 0 };
	int fd, r, body;

	r = http_body_pump_begin(request, &pump, &fd, err);
	if (r < 0)
		return r;
	r = image_load(engine_images(api_engine(request)), fd,
		       http_query_bool(request, "quiet", true) ? NULL : &progress, &names, err);
	body = http_body_pump_end(pump, &body_error);
	if (r < 0 && body < 0)
		error_copy(err, &body_error); /* the cause, not its consequence */
	strv_for_each(name, names) {
		bool id = str_starts(*name, "sha256:");
		autofree char *text = strf("Loaded image%s: %s\n", id ? " ID" : "", *name);

		if (r == 0)
			push_member(request, "stream", text ? text : "");
		engine_emit(api_engine(request), "image", "load", *name,
			    json_pack("{s:s}", "name", *name));
	}
	return stream_result(request, r, err);
}

static char *import_reference(struct http_request *request)
{
	const char *repo = http_query(request, "repo"), *tag = http_query(request, "tag");

	if (!repo || !*repo)
		return NULL;
	return tag && *tag ? strf("%s:%s", repo, tag) : strdup(repo);
}

static int import(struct http_request *request, struct error *err)
{
	autofree char *reference = import_reference(request);
	autostrv char **changes = http_query_all(request, "changes");
	autoptr(image_unref) struct image *image = NULL;
	struct image_progress progress = { progress_update, request };
	struct http_body_pump *pump;
	struct error body_error = { 0 };
	int fd, r, body;

	r = http_body_pump_begin(request, &pump, &fd, err);
	if (r < 0)
		return r;
	r = image_import(engine_images(api_engine(request)), fd, reference, changes,
			 http_query(request, "message"), &progress, &image, err);
	body = http_body_pump_end(pump, &body_error);
	if (r < 0 && body < 0)
		error_copy(err, &body_error);
	if (r == 0) {
		push_member(request, "status", image_id(image));
		engine_emit(api_engine(request), "image", "import", image_id(image),
			    json_pack("{s:s}", "name", image_id(image)));
	}
	return stream_result(request, r, err);
}

int docker_image_create(struct http_request *request, struct error *err)
{
	const char *from_image = http_query(request, "fromImage");
	const char *from_src = http_query(request, "fromSrc");

	if (from_image && *from_image)
		return docker_image_pull(request, err);
	if (!from_src || strcmp(from_src, "-"))
		return error_set(err, ERROR_INVALID,
				 "import: expected the archive in the request's body (fromSrc=-)");
	return import(request, err);
}

int docker_image_save(struct http_request *request, struct error *err)
{
	autostrv char **names = http_query_all(request, "names");
	struct http_answer_pump *pump;
	const char *name = http_param(request, "name");
	int fd, r;

	if (*name && strv_add(&names, name) < 0)
		return error_nomem(err);
	if (!names || !names[0])
		return error_set(err, ERROR_INVALID, "no image is named: names is empty");
	r = http_answer_pump_begin(request, "application/x-tar", &pump, &fd, err);
	if (r < 0)
		return r;
	r = image_save(engine_images(api_engine(request)), names, fd, err);
	return http_answer_pump_end(pump, r, err);
}
