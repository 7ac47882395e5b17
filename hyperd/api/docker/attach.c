/* POST /containers/{name}/attach, and GET …/attach/ws: the same over a WebSocket */
#include "hyperd/api/docker/stream.h"

static int attach(struct http_request *request, bool websocket, struct error *err)
{
	autoptr(container_unref) struct container *container = NULL;
	const struct attach_options options = {
		.want_stdin = http_query_bool(request, "stdin", false),
		.want_stdout = http_query_bool(request, "stdout", false),
		.want_stderr = http_query_bool(request, "stderr", false),
		.logs = http_query_bool(request, "logs", false),
		.stream = http_query_bool(request, "stream", false),
	};
	struct stream_session session = { 0 };
	const struct container_spec *spec;
	int r = api_container(request, &container, err);

	if (r == 0)
		r = detach_keys_parse(http_query(request, "detachKeys"), &session.detach, err);
	if (r < 0)
		return r;
	spec = container_spec(container);
	if (container_state(container) == CONTAINER_PAUSED)
		return error_set(err, ERROR_CONFLICT,
				 "container %s is paused, unpause the container before attach",
				 http_param(request, "name"));
	if (container_state(container) == CONTAINER_RESTARTING)
		return error_set(err, ERROR_CONFLICT,
				 "container %s is restarting, wait until the container is running",
				 http_param(request, "name"));
	stream_session_init(&session, request, spec->tty, options.want_stdin && options.stream);
	session.websocket = websocket;
	session.close_stdin = spec->stdin_once;
	r = container_attach(container, &options, &stream_events, &session, &session.attachment,
			     err);
	if (r < 0)
		return r;
	r = stream_session_begin(&session, err);
	if (r < 0) {
		attachment_detach(session.attachment);
		return r;
	}
	return stream_session_run(&session, err);
}

int docker_container_attach(struct http_request *request, struct error *err)
{
	return attach(request, false, err);
}

int docker_container_attach_websocket(struct http_request *request, struct error *err)
{
	return attach(request, true, err);
}
