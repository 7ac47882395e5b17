/* Execs: create, start, resize, inspect. */
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/docker/stream.h"

int exec_request_parse(json_t *body, struct exec_spec **ret, struct error *err)
{
	struct exec_spec *spec;
	const char *user, *working_dir, *detach_keys;
	struct detach_keys unused;
	json_t *cmd = json_object_get(body, "Cmd");
	int r = 0;

	if (!json_is_object(body))
		return error_set(err, ERROR_INVALID, "invalid exec configuration: expected a body");
	spec = calloc(1, sizeof(*spec));
	if (!spec)
		return error_nomem(err);
	if (json_is_string(cmd))
		r = strv_add(&spec->args, json_string_value(cmd)) < 0 ? error_nomem(err) : 0;
	else
		r = json_get_strv(body, "Cmd", &spec->args, err);
	if (r == 0)
		r = json_get_strv(body, "Env", &spec->env, err);
	if (r == 0)
		r = json_get_string(body, "User", &user, err);
	if (r == 0)
		r = json_get_string(body, "WorkingDir", &working_dir, err);
	if (r == 0)
		r = json_get_string(body, "DetachKeys", &detach_keys, err);
	if (r == 0)
		r = json_get_bool(body, "Tty", &spec->tty, err);
	if (r == 0)
		r = json_get_bool(body, "Privileged", &spec->privileged, err);
	if (r == 0)
		r = json_get_bool(body, "AttachStdin", &spec->open_stdin, err);
	if (r == 0)
		r = json_get_bool(body, "AttachStdout", &spec->want_stdout, err);
	if (r == 0)
		r = json_get_bool(body, "AttachStderr", &spec->want_stderr, err);
	if (r == 0 && (!spec->args || !spec->args[0]))
		r = error_set(err, ERROR_INVALID, "No exec command specified");
	if (r == 0)
		r = detach_keys_parse(detach_keys, &unused, err);
	if (r == 0) {
		spec->user = user && *user ? strdup(user) : NULL;
		spec->working_dir = working_dir && *working_dir ? strdup(working_dir) : NULL;
		spec->detach_keys = detach_keys && *detach_keys ? strdup(detach_keys) : NULL;
	}
	if (r < 0) {
		exec_spec_free(spec);
		return r;
	}
	*ret = spec;
	return 0;
}

int docker_exec_create(struct http_request *request, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	autoptr(exec_unref) struct exec *exec = NULL;
	autojson json_t *body = NULL;
	struct exec_spec *spec;
	int r = http_body_json(request, &body, err);

	if (r == 0)
		r = api_container(request, &container, err);
	if (r == 0)
		r = exec_request_parse(body, &spec, err);
	if (r == 0)
		r = exec_create(container, spec, &exec, err);
	if (r < 0)
		return r;
	return http_respond_json(request, 201, json_pack("{s:s}", "Id", exec_id(exec)));
}

/* Docker tells why a process could not be started on the stream itself: the exit code follows from
 * inspecting. */
static void tell_on_stream(struct http_request *request, bool tty, const struct error *why)
{
	unsigned char header[STREAM_HEADER_BYTES];
	autofree char *text = strf("%s\r\n", why->message);

	if (!text)
		return;
	stream_header(header, STREAM_STDOUT, strlen(text));
	http_hijack_write(request, header, tty ? 0 : sizeof(header), text, strlen(text));
}

static void initial_size(struct exec *exec, const json_t *body)
{
	json_t *size = json_object_get(body, "ConsoleSize");
	json_int_t rows = json_integer_value(json_array_get(size, 0));
	json_int_t columns = json_integer_value(json_array_get(size, 1));

	if (rows > 0 && columns > 0 && rows <= UINT16_MAX && columns <= UINT16_MAX)
		exec_resize(exec, (unsigned)rows, (unsigned)columns, NULL);
}

/* What can be refused while an answer can still be an error. */
static int check_startable(struct http_request *request, struct exec *exec,
			   const struct exec_status *status, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	int r;

	if (status->started)
		return error_set(err, ERROR_CONFLICT, "Error: Exec command %s %s", exec_id(exec),
				 status->running ? "is already running" : "has already run");
	if (!*status->container_id)
		return 0;
	r = container_get(api_engine(request), status->container_id, &container, err);
	if (r == 0 && container_state(container) != CONTAINER_RUNNING)
		r = error_set(err, ERROR_CONFLICT, "Container %s is %s", status->container_id,
			      container_state(container) == CONTAINER_PAUSED
				      ? "paused, unpause the container before exec"
				      : "not running");
	return r;
}

/*
 * The header goes out before the process is started, as dockerd's does: python3-docker loses what
 * comes in the same piece as the header.
 */
static int start_attached(struct http_request *request, struct exec *exec, const json_t *body,
			  struct error *err)
{
	struct stream_session session = { 0 };
	struct exec_status status;
	int r;

	exec_status(exec, &status);
	r = check_startable(request, exec, &status, err);
	if (r == 0)
		r = detach_keys_parse(status.spec->detach_keys, &session.detach, err);
	if (r < 0)
		return r;
	stream_session_init(&session, request, status.spec->tty, status.spec->open_stdin);
	session.close_stdin = true;
	r = stream_session_begin(&session, err);
	if (r < 0)
		return r;
	r = exec_start(exec, &stream_events, &session, &session.attachment, err);
	if (r < 0) {
		http_hijack_on_room(request, NULL, NULL);
		http_hijack_on_gone(request, NULL, NULL);
		tell_on_stream(request, session.tty, err);
		return r;
	}
	if (session.tty)
		initial_size(exec, body);
	return stream_session_run(&session, err);
}

int docker_exec_start(struct http_request *request, struct error *err)
{
	autoptr(exec_unref) struct exec *exec = NULL;
	autojson json_t *body = NULL;
	bool detach = false;
	int r = http_body_json(request, &body, err);

	if (r == 0)
		r = exec_get(api_engine(request), http_param(request, "id"), &exec, err);
	if (r == 0)
		r = json_get_bool(body, "Detach", &detach, err);
	if (r < 0)
		return r;
	if (detach) {
		r = exec_start(exec, NULL, NULL, NULL, err);
		return r < 0 ? r : http_respond_empty(request, 200);
	}
	return start_attached(request, exec, body, err);
}

int docker_exec_resize(struct http_request *request, struct error *err)
{
	autoptr(exec_unref) struct exec *exec = NULL;
	int64_t rows = 0, columns = 0;
	int r = http_query_int(request, "h", 0, UINT16_MAX, &rows, err);

	if (r == 0)
		r = http_query_int(request, "w", 0, UINT16_MAX, &columns, err);
	if (r == 0)
		r = exec_get(api_engine(request), http_param(request, "id"), &exec, err);
	if (r == 0)
		r = exec_resize(exec, (unsigned)rows, (unsigned)columns, err);
	return r < 0 ? r : http_respond_empty(request, 200);
}

int docker_exec_inspect(struct http_request *request, struct error *err)
{
	autoptr(exec_unref) struct exec *exec = NULL;
	struct exec_status status;
	const struct exec_spec *spec;
	json_t *process;
	int r = exec_get(api_engine(request), http_param(request, "id"), &exec, err);

	if (r < 0)
		return r;
	exec_status(exec, &status);
	spec = status.spec;
	process = json_pack("{s:b,s:s,s:o,s:b}", "tty", (int)spec->tty, "entrypoint", spec->args[0],
			    "arguments", json_from_strv(spec->args + 1), "privileged",
			    (int)spec->privileged);
	if (spec->user)
		json_object_set_new(process, "user", api_json_string(spec->user));
	return http_respond_json(
		request, 200,
		json_pack("{s:s,s:b,s:o,s:o,s:b,s:b,s:b,s:b,s:s,s:s,s:i}", "ID", exec_id(exec),
			  "Running", (int)status.running, "ExitCode",
			  status.started && !status.running ? json_integer(status.exit_code)
							    : json_null(),
			  "ProcessConfig", process, "OpenStdin", (int)spec->open_stdin,
			  "OpenStderr", (int)spec->want_stderr, "OpenStdout",
			  (int)spec->want_stdout, "CanRemove",
			  (int)(status.started && !status.running), "ContainerID",
			  status.container_id, "DetachKeys",
			  spec->detach_keys ? spec->detach_keys : "", "Pid", status.pid));
}
