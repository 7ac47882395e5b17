#include <string.h>
#include <unistd.h>

#include "hyperctl/attached.h"
#include "hyperctl/pod_file.h"
#include "hyperctl/run.h"
#include "hyperctl/timing.h"

struct pod_container {
	const char *id, *name;     /* borrowed from the answers */
	json_t *inspect;           /* owned */
	char *path;                /* owned */
	char *prefix;              /* owned; NULL with a single container */
	struct response *response; /* owned */
};

struct pod_session {
	const struct client *client; /* borrowed */
	const struct run_options *options;
	json_t *pod; /* owned; the answer of create */
	char *path;  /* owned */
	size_t count;
	struct pod_container *containers; /* owned */
	struct response *wait;            /* owned */
	bool tty;                         /* of the first container, which input goes to */
	struct timing timing;
};

int pod_create(const struct client *client, const char *file,
	       const struct container_options *options, bool remove, json_t **ret,
	       struct error *err)
{
	autoptr(response_free) struct response *response = NULL;
	autostr struct str query = STR_INIT;
	autofree char *text = NULL;
	struct request request = {
		.method = "POST",
		.path = "/hyper/v1/pods",
		.content_type = "application/x-yaml",
	};
	json_t *warning;
	size_t i;
	int r = pod_file_load(file, &text, &request.body_len, err);

	if (r < 0)
		return r;
	query_add(&query, "name", options->name);
	query_add(&query, "isolation", options->isolation);
	query_add(&query, "hypervisor", options->hypervisor);
	query_add(&query, "machine", options->machine);
	query_add(&query, "transport", options->transport);
	if (remove)
		query_add(&query, "rm", "1");
	if (options->vcpus)
		query_addf(&query, "vcpus", "%lld", options->vcpus);
	if (options->memory_bytes)
		query_addf(&query, "memoryBytes", "%llu",
			   (unsigned long long)options->memory_bytes);
	request.body = text;
	request.query = str_text(&query);
	r = client_open(client, &request, &response, err);
	if (r == 0)
		r = response_json(response, ret, err);
	if (r == 0 && !json_is_string(json_object_get(*ret, "Id"))) {
		json_decref(steal(*ret));
		return error_set(err, ERROR_FAILED, "the daemon named no pod");
	}
	if (r < 0)
		return r;
	json_array_foreach(json_object_get(*ret, "Warnings"), i, warning)
		complain("warning: %s", json_string_value(warning) ?: "");
	return 0;
}

/* ------------------------------------------------------------------ attached */

/* What a prefix shows: the container's name without the pod's. */
static const char *short_name(const struct pod_session *session, const char *name)
{
	const char *pod = json_string_value(json_object_get(session->pod, "Name")) ?: "";
	size_t n = strlen(pod);

	return n && strncmp(name, pod, n) == 0 && name[n] == '-' && name[n + 1] ? name + n + 1
										: name;
}

static int make_prefixes(struct pod_session *session, struct error *err)
{
	int width = 0;

	for (size_t i = 0; i < session->count; i++) {
		int n = (int)strlen(short_name(session, session->containers[i].name));

		width = n > width ? n : width;
	}
	for (size_t i = 0; session->count > 1 && i < session->count; i++) {
		struct pod_container *c = &session->containers[i];

		c->prefix = strf("%-*s | ", width, short_name(session, c->name));
		if (!c->prefix)
			return error_nomem(err);
	}
	return 0;
}

static int containers_find(struct pod_session *session, struct error *err)
{
	json_t *list = json_object_get(session->pod, "Containers"), *item;
	size_t i;

	session->containers = calloc(json_array_size(list) + 1, sizeof(*session->containers));
	if (!session->containers)
		return error_nomem(err);
	json_array_foreach(list, i, item) {
		struct pod_container *c = &session->containers[i];
		autofree char *path = NULL;
		int r;

		session->count = i + 1;
		c->id = json_string_value(json_object_get(item, "Id")) ?: "";
		c->name = json_string_value(json_object_get(item, "Name")) ?: "";
		c->name += *c->name == '/';
		c->path = strf("/containers/%s", c->id);
		path = strf("/containers/%s/json", c->id);
		if (!c->path || !path)
			return error_nomem(err);
		r = client_call(session->client, "GET", path, NULL, NULL, &c->inspect, err);
		if (r < 0)
			return r;
	}
	return make_prefixes(session, err);
}

static bool config_flag(const struct pod_container *container, const char *key)
{
	return json_is_true(json_object_get(json_object_get(container->inspect, "Config"), key));
}

static int attach_all(struct pod_session *session, struct error *err)
{
	for (size_t i = 0; i < session->count; i++) {
		struct pod_container *c = &session->containers[i];
		struct attached attached = {
			.client = session->client,
			.path = c->path,
			.input = i == 0 && session->options->container.interactive,
		};
		int r = attached_open(&attached, session->options->detach_keys, err);

		c->response = attached.stream;
		if (r < 0)
			return error_prefix(err, r, "container \"%s\"", c->name);
	}
	return 0;
}

static int start(const struct pod_session *session, struct error *err)
{
	autofree char *path = strf("%s/start", session->path);

	if (!path)
		return error_nomem(err);
	return client_call(session->client, "POST", path, NULL, NULL, NULL, err);
}

static void resized(unsigned rows, unsigned columns, void *arg)
{
	struct pod_session *session = arg;

	process_resize(session->client, session->containers[0].path, rows, columns);
}

static void signaled(int signal, void *arg)
{
	struct pod_session *session = arg;

	process_signal(session->client, session->path, signal);
}

static void first_output(void *arg)
{
	struct pod_session *session = arg;

	timing_mark(&session->timing, TIMING_OUTPUT);
}

static int show(struct pod_session *session, struct error *err)
{
	const struct run_options *o = session->options;
	autofree struct stream *streams = calloc(session->count + 1, sizeof(*streams));
	struct session loop = {
		.streams = streams,
		.stream_count = session->count,
		.wait = session->wait,
		.input_fd = o->container.interactive && session->count ? STDIN_FILENO : -1,
		.raw = session->tty && o->container.interactive && isatty(STDIN_FILENO),
		.resized = session->tty ? resized : NULL,
		.signaled = o->sig_proxy && !session->tty ? signaled : NULL,
		.first_output = first_output,
		.arg = session,
	};
	enum session_end end;
	int r;

	if (!streams)
		return error_nomem(err);
	detach_keys_parse(o->detach_keys, &loop.keys, err);
	for (size_t i = 0; i < session->count; i++) {
		streams[i].response = session->containers[i].response;
		streams[i].framed = !config_flag(&session->containers[i], "Tty");
		streams[i].prefix = session->containers[i].prefix;
	}
	r = session_run(&loop, &end, err);
	for (size_t i = 0; i < session->count; i++)
		stream_done(&streams[i]);
	timing_mark(&session->timing, TIMING_ENDED);
	if (r < 0)
		return r;
	if (end == SESSION_DETACHED)
		return 0;
	return wait_result(session->wait, err);
}

static int run_attached(struct pod_session *session, struct error *err)
{
	struct attached attached = { .client = session->client, .path = session->path };
	int r = containers_find(session, err);

	if (r == 0 && session->count) {
		session->tty = config_flag(&session->containers[0], "Tty");
		r = attached_check_terminal(session->tty, session->options->container.interactive,
					    err);
	}
	if (r == 0)
		r = attach_all(session, err);
	if (r == 0)
		r = start(session, err);
	if (r < 0) {
		start_failure_code(err, EXIT_DAEMON_FAILED);
		return r;
	}
	timing_mark(&session->timing, TIMING_STARTED);
	/* A pod that has ended meanwhile answers at once, with its exit code. */
	r = attached_open_wait(&attached, NULL, err);
	session->wait = attached.wait;
	return r < 0 ? r : show(session, err);
}

static void session_done(struct pod_session *session)
{
	for (size_t i = 0; i < session->count; i++) {
		struct pod_container *c = &session->containers[i];

		response_free(c->response);
		json_decref(c->inspect);
		free(c->path);
		free(c->prefix);
	}
	free(session->containers);
	response_free(session->wait);
	json_decref(session->pod);
	free(session->path);
	timing_done(&session->timing);
}

static int run(struct pod_session *session, struct error *err)
{
	const struct run_options *o = session->options;
	const char *id = json_string_value(json_object_get(session->pod, "Id"));
	int r;

	timing_mark(&session->timing, TIMING_CREATED);
	session->timing.object = id;
	session->path = strf("/hyper/v1/pods/%s", id);
	if (!session->path)
		return error_nomem(err);
	if (!o->detach)
		return run_attached(session, err);
	r = start(session, err);
	if (r < 0)
		start_failure_code(err, EXIT_DAEMON_FAILED);
	else
		puts(id);
	return r;
}

/* --rm of a pod in the foreground: whoever ran it removes it, when all it says has been read. */
static void remove_pod(struct pod_session *session)
{
	struct error err = { 0 };

	if (client_call(session->client, "DELETE", session->path, "force=1", NULL, NULL, &err) <
		    0 &&
	    err.kind != ERROR_NOT_FOUND)
		complain("removing the pod: %s", err.message);
}

int pod_run(struct ctl *ctl, const struct run_options *options, struct error *err)
{
	struct pod_session session = { .client = &ctl->client, .options = options };
	int r;

	timing_begin(&session.timing, &ctl->client, options->timing);
	r = pod_create(&ctl->client, options->file, &options->container,
		       options->container.remove && options->detach, &session.pod, err);
	if (r == 0) {
		r = run(&session, err);
		timing_print(&session.timing);
		if (options->container.remove && session.path && (r < 0 || !options->detach))
			remove_pod(&session);
	}
	session_done(&session);
	return r;
}
