#include <string.h>

#include "hyperctl/object.h"
#include "hyperctl/query.h"
#include "hyperctl/stream.h"

struct logs_options {
	bool follow, timestamps, details;
	const char *tail, *since, *until;
};
#define OPT struct logs_options
static const struct option options[] = {
	FLAG('f', "follow", OPT, follow, "Go on with new output until the end"),
	STRING('n', "tail", OPT, tail, "LINES", "Only the last lines", .initial = "all"),
	STRING(0, "since", OPT, since, "TIME",
	       "Only from a time on: 10m, 2026-01-02T15:04:05Z, seconds"),
	STRING(0, "until", OPT, until, "TIME", "Only up to a time"),
	FLAG('t', "timestamps", OPT, timestamps, "Show when each line was written"),
	FLAG(0, "details", OPT, details, "Show labels and environment that the log driver keeps"),
	OPTIONS_END,
};
#undef OPT

static int make_query(const struct logs_options *o, struct str *query, struct error *err)
{
	long long lines;
	int r;

	if (strcmp(o->tail, "all") != 0 && parse_i64(o->tail, -1, INT64_MAX, &lines) < 0)
		return error_set(err, ERROR_INVALID, "--tail '%s': expected a number or 'all'",
				 o->tail);
	query_add(query, "stdout", "1");
	query_add(query, "stderr", "1");
	query_add(query, "tail", o->tail);
	query_add(query, "follow", o->follow ? "1" : NULL);
	query_add(query, "timestamps", o->timestamps ? "1" : NULL);
	query_add(query, "details", o->details ? "1" : NULL);
	r = time_add(query, "since", o->since, err);
	return r < 0 ? r : time_add(query, "until", o->until, err);
}

/* One container's log. */
struct log {
	char *prefix;              /* owned; NULL: none */
	struct response *response; /* owned */
	bool tty;
};

static int log_open_one(const struct ctl *ctl, const struct object *container, const char *query,
			struct log *log, struct error *err)
{
	autofree char *path = strf("%s/logs", container->path);
	struct request request = { .method = "GET", .path = path, .query = query };

	if (!path)
		return error_nomem(err);
	log->tty =
		json_is_true(json_object_get(json_object_get(container->inspect, "Config"), "Tty"));
	return client_open(&ctl->client, &request, &log->response, err);
}

static int log_open_pod(const struct ctl *ctl, const struct object *pod, const char *query,
			struct log *logs, size_t *ret_count, struct error *err)
{
	json_t *list = json_object_get(pod->inspect, "Containers"), *item;
	size_t i;

	json_array_foreach(list, i, item) {
		autoobject struct object container = { 0 };
		const char *id = json_string_value(json_object_get(item, "Id")) ?: "";
		int r = object_find(ctl, id, OBJECT_CONTAINER, &container, err);

		if (r == 0)
			r = log_open_one(ctl, &container, query, &logs[i], err);
		if (r < 0)
			return r;
		*ret_count = i + 1;
		if (json_array_size(list) > 1)
			logs[i].prefix = strf("%s | ", container.name);
	}
	return 0;
}

static int show(struct log *logs, size_t count, struct error *err)
{
	autofree struct stream *streams = calloc(count + 1, sizeof(*streams));
	struct session session = { .streams = streams, .stream_count = count, .input_fd = -1 };
	enum session_end end;
	int r;

	if (!streams)
		return error_nomem(err);
	for (size_t i = 0; i < count; i++)
		streams[i] = (struct stream){ .response = logs[i].response,
					      .framed = !logs[i].tty,
					      .prefix = logs[i].prefix };
	r = session_run(&session, &end, err);
	for (size_t i = 0; i < count; i++)
		stream_done(&streams[i]);
	return r;
}

static int logs_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	autoobject struct object object = { 0 };
	autostr struct str query = STR_INIT;
	struct log *logs;
	size_t count = 0, room;
	int r = make_query(given, &query, err);

	if (r == 0)
		r = object_find(ctl, args[0], OBJECT_ANY, &object, err);
	if (r < 0)
		return r;
	room = object.kind == OBJECT_POD
		       ? json_array_size(json_object_get(object.inspect, "Containers"))
		       : 1;
	logs = calloc(room + 1, sizeof(*logs));
	if (!logs)
		return error_nomem(err);
	if (object.kind == OBJECT_POD) {
		r = log_open_pod(ctl, &object, str_text(&query), logs, &count, err);
	} else {
		r = log_open_one(ctl, &object, str_text(&query), &logs[0], err);
		count = 1;
	}
	if (r == 0)
		r = show(logs, count, err);
	for (size_t i = 0; i < room; i++) {
		response_free(logs[i].response);
		free(logs[i].prefix);
	}
	free(logs);
	return r;
}

const struct command command_logs = {
	.name = "logs",
	.group = "Looking inside",
	.usage = "[OPTIONS] NAME",
	.summary = "Show what a container, or each container of a pod, has written",
	.options = options,
	.options_size = sizeof(struct logs_options),
	.mixed = true,
	.min_args = 1,
	.max_args = 1,
	.run = logs_main,
};
