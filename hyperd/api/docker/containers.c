/* What is done to one container: start to remove. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

/* 204, or the error; ERROR_NOT_MODIFIED becomes 304. */
static int done(struct http_request *request, int r)
{
	return r < 0 ? r : http_respond_empty(request, 204);
}

int docker_container_start(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	autojson json_t *body = NULL;
	int r;

	/* Up to 1.23 a HostConfig could come with the start. */
	r = http_body_json(request, &body, err);
	if (r == 0 && json_object_size(body))
		r = error_set(err, ERROR_INVALID,
			      "starting container with non-empty request body was deprecated since "
			      "API v1.22 and removed in v1.24");
	if (r == 0 && http_query(request, "checkpoint") && *http_query(request, "checkpoint"))
		r = error_set(err, ERROR_UNSUPPORTED, "checkpoints are not supported");
	if (r == 0)
		r = api_container(request, &container, err);
	if (r == 0)
		r = container_start(container, err);
	return done(request, r);
}

static int timeout_query(struct http_request *request, int64_t *ret, struct error *err)
{
	*ret = -1;
	return http_query_int(request, "t", -1, INT32_MAX, ret, err);
}

int docker_container_stop(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	const char *signal_name = http_query(request, "signal");
	int64_t timeout_s;
	int signal, r = timeout_query(request, &timeout_s, err);

	if (r == 0 && signal_name && *signal_name)
		r = api_parse_signal(signal_name, &signal, err);
	if (r == 0)
		r = api_container(request, &container, err);
	if (r == 0 && signal_name && *signal_name)
		container_kill(container, signal, NULL); /* the stop follows it up */
	if (r == 0)
		r = container_stop(container, (int)timeout_s, err);
	return done(request, r);
}

int docker_container_restart(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	int64_t timeout_s;
	int r = timeout_query(request, &timeout_s, err);

	if (r == 0)
		r = api_container(request, &container, err);
	if (r == 0)
		r = container_restart(container, (int)timeout_s, err);
	return done(request, r);
}

int docker_container_kill(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	const char *name = http_query(request, "signal");
	int signal = 9, r = 0;

	if (name && *name)
		r = api_parse_signal(name, &signal, err);
	if (r == 0)
		r = api_container(request, &container, err);
	if (r == 0)
		r = container_kill(container, signal, err);
	return done(request, r);
}

static int pause_to(struct http_request *request, bool paused, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	int r = api_container(request, &container, err);

	if (r == 0)
		r = container_pause(container, paused, err);
	return done(request, r);
}

int docker_container_pause(struct http_request *request, struct error *err)
{
	return pause_to(request, true, err);
}

int docker_container_unpause(struct http_request *request, struct error *err)
{
	return pause_to(request, false, err);
}

int docker_container_rename(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	const char *name = http_query(request, "name");
	int r = api_container(request, &container, err);

	if (r == 0 && (!name || !*name))
		r = error_set(err, ERROR_INVALID, "Neither old nor new names may be empty");
	if (r == 0)
		r = container_rename(container, name + (*name == '/'), err);
	return done(request, r);
}

int docker_container_update(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	autojson json_t *body = NULL;
	struct spec_resources resources = { 0 };
	struct restart_policy restart = { 0 };
	bool any = false, any_restart = false;
	int r = http_body_json(request, &body, err);

	if (r == 0)
		r = api_container(request, &container, err);
	if (r == 0)
		r = update_request_parse(body, &resources, &any, &restart, &any_restart, err);
	if (r == 0 && (any || any_restart))
		r = container_update(container, any ? &resources : NULL,
				     any_restart ? &restart : NULL, err);
	free(resources.cpuset_cpus);
	free(resources.cpuset_mems);
	if (r < 0)
		return r;
	return http_respond_json(request, 200, json_pack("{s:[]}", "Warnings"));
}

int docker_container_wait(struct http_request *request, struct error *err)
{
	static const struct {
		const char *name;
		enum wait_condition condition;
	} conditions[] = {
		{ "", WAIT_NOT_RUNNING },
		{ "not-running", WAIT_NOT_RUNNING },
		{ "next-exit", WAIT_NEXT_EXIT },
		{ "removed", WAIT_REMOVED },
	};
	autoptr(container_unref) struct container *container = NULL;
	const char *name = http_query(request, "condition");
	struct container_wait *wait;
	struct error wait_error = { 0 };
	int code = 0, r = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(conditions) && r < 0; i++)
		if (!strcmp(conditions[i].name, name ? name : "")) {
			r = api_container(request, &container, err);
			if (r == 0)
				r = container_wait_begin(container, conditions[i].condition, &wait,
							 err);
			if (r < 0)
				return r;
		}
	if (r < 0)
		return error_set(err, ERROR_INVALID, "invalid condition: \"%.64s\"", name);
	/* The client starts the container once it has seen the header. */
	http_stream_begin(request, 200, "application/json");
	r = container_wait_end(wait, &code, &wait_error);
	if (r == -ECANCELED) {
		error_copy(err, &wait_error);
		return r;
	}
	autojson json_t *answer =
		json_pack("{s:i,s:o}", "StatusCode", code, "Error",
			  r < 0 ? json_pack("{s:o}", "Message", api_json_string(wait_error.message))
				: json_null());
	return http_stream_push_json(request, answer, "\n");
}

int docker_container_remove(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	const struct container_remove_options options = {
		.force = http_query_bool(request, "force", false),
		.volumes = http_query_bool(request, "v", false),
	};
	int r = 0;

	if (http_query_bool(request, "link", false))
		r = error_set(err, ERROR_UNSUPPORTED, "links are not supported");
	if (r == 0)
		r = api_container(request, &container, err);
	if (r == 0)
		r = container_remove(container, &options, err);
	return done(request, r);
}

int docker_container_top(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	const char *args = http_query(request, "ps_args");
	json_t *table;
	int r = api_container(request, &container, err);

	if (r == 0)
		r = container_top(container, args && *args ? args : NULL, &table, err);
	return r < 0 ? r : http_respond_json(request, 200, table);
}

int docker_container_resize(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	int64_t rows = 0, columns = 0;
	int r = http_query_int(request, "h", 0, UINT16_MAX, &rows, err);

	if (r == 0)
		r = http_query_int(request, "w", 0, UINT16_MAX, &columns, err);
	if (r == 0)
		r = api_container(request, &container, err);
	if (r == 0)
		r = container_resize(container, (unsigned)rows, (unsigned)columns, err);
	return r < 0 ? r : http_respond_empty(request, 200);
}
