#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "hyperctl/format.h"
#include "hyperctl/object.h"
#include "hyperctl/units.h"

struct stats_options {
	bool all, no_stream, no_trunc;
	const char *format;
};
#define OPT struct stats_options
static const struct option options[] = {
	FLAG('a', "all", OPT, all, "Also containers that do not run"),
	FLAG(0, "no-stream", OPT, no_stream, "Print once"),
	FLAG(0, "no-trunc", OPT, no_trunc, "Do not shorten ids"),
	STRING(0, "format", OPT, format, "FORMAT", "json, a template, or 'table TEMPLATE'"),
	OPTIONS_END,
};
#undef OPT

static const struct column columns[] = {
	{ "ID", "CONTAINER ID" }, { "Container", "CONTAINER" }, { "Name", "NAME" },
	{ "Pod", "POD" },         { "CPUPerc", "CPU %" },       { "MemUsage", "MEM USAGE / LIMIT" },
	{ "MemPerc", "MEM %" },   { "NetIO", "NET I/O" },       { "BlockIO", "BLOCK I/O" },
	{ "PIDs", "PIDS" },       { "HostMem", "POD ON HOST" }, { NULL, NULL },
};
static const char table[] = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t"
			    "{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}\t{{.HostMem}}";

#define REFRESH_MS  1000
#define SAMPLES_MAX 1024
/* The first sample has nothing before it to tell a CPU share from. */
#define SAMPLES_NEEDED 2

/* A container that is watched. */
struct watched {
	struct list node;
	char *id, *name, *pod;     /* owned */
	struct response *response; /* owned; NULL: does not run */
	json_t *sample;            /* owned; the last */
	unsigned samples;
	bool listed;
};

struct stats {
	struct ctl *ctl;
	const struct stats_options *options;
	struct list watched;
	char *const *names; /* none: all that run */
};

static json_t *path_get(const json_t *object, const char *a, const char *b)
{
	return json_object_get(json_object_get(object, a), b);
}

static double number(const json_t *value)
{
	return json_number_value(value);
}

/* ------------------------------------------------------------------ which containers */

static void watched_free(struct watched *w)
{
	list_remove(&w->node);
	response_free(w->response);
	json_decref(w->sample);
	free(w->id);
	free(w->name);
	free(w->pod);
	free(w);
}

static int watch(struct stats *stats, const char *id, const char *name, const char *pod,
		 bool running, struct error *err)
{
	struct watched *w;
	autofree char *path = strf("/containers/%s/stats", id);
	struct request request = { .method = "GET", .path = path, .query = "stream=1" };

	if (!path)
		return error_nomem(err);
	list_for_each_entry(w, &stats->watched, node) {
		if (strcmp(w->id, id) == 0) {
			w->listed = true;
			return 0;
		}
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return error_nomem(err);
	list_append(&stats->watched, &w->node);
	w->id = strdup(id);
	w->name = strdup(name + (*name == '/'));
	w->pod = strdup(pod);
	w->listed = true;
	if (!w->id || !w->name || !w->pod)
		return error_nomem(err);
	/* One that ended between the list and now shows as not running. */
	if (running)
		client_open(&stats->ctl->client, &request, &w->response, NULL);
	return 0;
}

static int find_all(struct stats *stats, struct error *err)
{
	autojson json_t *list = NULL;
	json_t *c;
	size_t i;
	int r = client_call(&stats->ctl->client, "GET", "/containers/json",
			    stats->options->all ? "all=1" : NULL, NULL, &list, err);

	json_array_foreach(list, i, c) {
		const char *state = json_string_value(json_object_get(c, "State"));
		json_t *name = json_array_get(json_object_get(c, "Names"), 0);
		const char *pod = json_string_value(path_get(c, "Hyper", "Pod"));

		r = watch(stats, json_string_value(json_object_get(c, "Id")) ?: "",
			  json_string_value(name) ?: "", pod ?: "",
			  str_equal(state, "running") || str_equal(state, "paused"), err);
		if (r < 0)
			break;
	}
	return r;
}

static int find_container(struct stats *stats, const char *name, struct error *err)
{
	autoobject struct object object = { 0 };
	const char *pod;
	int r = object_find(stats->ctl, name, OBJECT_CONTAINER, &object, err);

	if (r < 0)
		return r;
	pod = json_string_value(path_get(object.inspect, "Hyper", "Pod"));
	return watch(stats, object.id, object.name, pod ?: "",
		     json_is_true(path_get(object.inspect, "State", "Running")), err);
}

static int find_named(struct stats *stats, const char *name, struct error *err)
{
	autoobject struct object object = { 0 };
	json_t *container;
	size_t i;
	int r = object_find(stats->ctl, name, OBJECT_ANY, &object, err);

	if (r < 0 || object.kind == OBJECT_CONTAINER)
		return r < 0 ? r : find_container(stats, object.id, err);
	json_array_foreach(json_object_get(object.inspect, "Containers"), i, container) {
		r = find_container(stats, json_string_value(json_object_get(container, "Id")) ?: "",
				   err);
		if (r < 0)
			break;
	}
	return r;
}

/* Finds new containers and forgets those that went away. */
static int find(struct stats *stats, bool first, struct error *err)
{
	struct watched *w, *next;
	int r = 0;

	list_for_each_entry(w, &stats->watched, node)
		w->listed = stats->names[0];
	if (!stats->names[0])
		r = find_all(stats, err);
	for (char *const *name = stats->names; first && r == 0 && *name; name++)
		r = find_named(stats, *name, err);
	list_for_each_entry_safe(w, next, &stats->watched, node)
		if (r == 0 && !w->listed)
			watched_free(w);
	return r;
}

/* ------------------------------------------------------------------ figures */

static double cpu_percent(const json_t *s)
{
	const json_t *now = json_object_get(s, "cpu_stats"),
		     *before = json_object_get(s, "precpu_stats");
	double used = number(path_get(now, "cpu_usage", "total_usage")) -
		      number(path_get(before, "cpu_usage", "total_usage"));
	double system = number(json_object_get(now, "system_cpu_usage")) -
			number(json_object_get(before, "system_cpu_usage"));
	double cpus = number(json_object_get(now, "online_cpus"));
	int64_t read_ns, preread_ns;

	if (!json_object_get(before, "system_cpu_usage") || used <= 0)
		return 0;
	if (system > 0)
		return used / system * (cpus > 0 ? cpus : 1) * 100;
	if (time_parse(json_string_value(json_object_get(s, "read")) ?: "", &read_ns, NULL) < 0 ||
	    time_parse(json_string_value(json_object_get(s, "preread")) ?: "", &preread_ns, NULL) <
		    0 ||
	    read_ns <= preread_ns || preread_ns <= 0)
		return 0;
	return used / (double)(read_ns - preread_ns) * 100;
}

static double memory_used(const json_t *s)
{
	const json_t *memory = json_object_get(s, "memory_stats");
	double usage = number(json_object_get(memory, "usage"));
	double cache = number(path_get(memory, "stats", "total_inactive_file"));

	if (cache == 0)
		cache = number(path_get(memory, "stats", "inactive_file"));
	return cache < usage ? usage - cache : usage;
}

static json_t *pair_text(double a, double b, void (*human)(double, char[static 24]))
{
	char x[24], y[24];

	human(a, x);
	human(b, y);
	return json_sprintf("%s / %s", x, y);
}

static json_t *network_text(const json_t *s)
{
	double in = 0, out = 0;
	const char *key;
	json_t *interface;

	json_object_foreach(json_object_get(s, "networks"), key, interface) {
		in += number(json_object_get(interface, "rx_bytes"));
		out += number(json_object_get(interface, "tx_bytes"));
	}
	return pair_text(in, out, size_human);
}

static json_t *block_text(const json_t *s)
{
	double in = 0, out = 0;
	json_t *entry;
	size_t i;

	json_array_foreach(path_get(s, "blkio_stats", "io_service_bytes_recursive"), i, entry) {
		const char *op = json_string_value(json_object_get(entry, "op")) ?: "";

		if (strcasecmp(op, "read") == 0)
			in += number(json_object_get(entry, "value"));
		if (strcasecmp(op, "write") == 0)
			out += number(json_object_get(entry, "value"));
	}
	return pair_text(in, out, size_human);
}

/* What the container's whole pod takes of the host's memory. */
static json_t *host_memory(struct stats *stats, const struct watched *w)
{
	autofree char *path = strf("/hyper/v1/pods/%s/stats", w->pod);
	autojson json_t *answer = NULL;
	json_t *host, *pss;
	char text[24];

	if (!*w->pod || !path ||
	    client_call(&stats->ctl->client, "GET", path, "stream=0", NULL, &answer, NULL) < 0)
		return json_string("--");
	host = path_get(answer, "Stats", "Host") ?: path_get(answer, "Stats", "host");
	pss = json_object_get(host, "PssBytes") ?: json_object_get(host, "pss_bytes");
	if (!pss)
		return json_string("--");
	size_human_binary(number(pss), text);
	return json_string(text);
}

static json_t *row_of(struct stats *stats, const struct watched *w)
{
	const json_t *s = w->sample;
	double used = memory_used(s), limit = number(path_get(s, "memory_stats", "limit"));
	json_t *row = json_object();
	bool running = s && w->response;

	json_object_set_new(row, "ID",
			    json_stringn(w->id, stats->options->no_trunc ? strlen(w->id)
									 : strnlen(w->id, 12)));
	json_object_set_new(row, "Container", json_string(w->id));
	json_object_set_new(row, "Name", json_string(w->name));
	json_object_set_new(row, "Pod", json_string(w->pod));
	json_object_set_new(row, "CPUPerc",
			    running ? json_sprintf("%.2f%%", cpu_percent(s)) : json_string("--"));
	json_object_set_new(row, "MemUsage",
			    running ? pair_text(used, limit, size_human_binary)
				    : json_string("-- / --"));
	json_object_set_new(row, "MemPerc",
			    running && limit > 0 ? json_sprintf("%.2f%%", used / limit * 100)
						 : json_string("--"));
	json_object_set_new(row, "NetIO", running ? network_text(s) : json_string("--"));
	json_object_set_new(row, "BlockIO", running ? block_text(s) : json_string("--"));
	json_object_set_new(row, "PIDs",
			    running ? json_sprintf("%.0f",
						   number(path_get(s, "pids_stats", "current")))
				    : json_string("--"));
	json_object_set_new(row, "HostMem", running ? host_memory(stats, w) : json_string("--"));
	return row;
}

static int print(struct stats *stats, struct error *err)
{
	autojson json_t *rows = json_array();
	struct watched *w;

	list_for_each_entry(w, &stats->watched, node)
		json_array_append_new(rows, row_of(stats, w));
	if (!stats->options->no_stream && isatty(STDOUT_FILENO))
		fputs("\033[H\033[2J", stdout);
	return rows_print(columns, table, stats->options->format, rows, err);
}

/* ------------------------------------------------------------------ samples */

static void take_samples(struct watched *w)
{
	for (;;) {
		json_t *sample = NULL;
		int r = response_take_json(w->response, &sample, NULL);

		if (r <= 0)
			break;
		json_decref(w->sample);
		w->sample = sample;
		w->samples++;
	}
	if (w->response->reader.ended) {
		response_free(w->response);
		w->response = NULL;
	}
}

static bool sampled(const struct stats *stats)
{
	struct watched *w;

	list_for_each_entry(w, &stats->watched, node)
		if (w->response && w->samples < SAMPLES_NEEDED)
			return false;
	return true;
}

/* Collects samples until the deadline, or when printing ONCE until there are enough. */
static int collect(struct stats *stats, uint64_t deadline_ns, bool once, struct error *err)
{
	while (!once || !sampled(stats)) {
		struct pollfd fds[SAMPLES_MAX];
		struct watched *polled[SAMPLES_MAX], *w;
		uint64_t now = now_ns();
		nfds_t count = 0;
		int timeout = once ? -1 : (int)((deadline_ns - now) / NSEC_PER_MSEC) + 1;

		if (!once && now >= deadline_ns)
			return 0;
		list_for_each_entry(w, &stats->watched, node) {
			if (w->response && count < SAMPLES_MAX) {
				fds[count] =
					(struct pollfd){ .fd = w->response->fd, .events = POLLIN };
				polled[count++] = w;
			}
		}
		if (poll(fds, count, timeout) < 0 && errno != EINTR)
			return error_errno(err, errno, "poll");
		for (nfds_t i = 0; i < count; i++) {
			if (!fds[i].revents)
				continue;
			if (response_fill(polled[i]->response, NULL) < 0)
				polled[i]->response->reader.ended = true;
			take_samples(polled[i]);
		}
	}
	return 0;
}

static int show(struct stats *stats, struct error *err)
{
	struct watched *w;
	int r = find(stats, true, err);

	list_for_each_entry(w, &stats->watched, node)
		if (w->response)
			take_samples(w);
	if (r == 0 && stats->options->no_stream) {
		r = collect(stats, 0, true, err);
		return r < 0 ? r : print(stats, err);
	}
	while (r == 0) {
		r = collect(stats, deadline_in_ms(REFRESH_MS), false, err);
		if (r == 0)
			r = print(stats, err);
		if (r == 0)
			r = find(stats, false, err);
	}
	return r;
}

static int stats_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	struct stats stats = { .ctl = ctl, .options = given, .names = args };
	struct watched *w, *next;
	int r;

	list_init(&stats.watched);
	r = show(&stats, err);
	list_for_each_entry_safe(w, next, &stats.watched, node)
		watched_free(w);
	return r;
}

const struct command command_stats = {
	.name = "stats",
	.group = "Looking inside",
	.usage = "[OPTIONS] [NAME...]",
	.summary = "Show what containers use, and their pods cost the host",
	.options = options,
	.options_size = sizeof(struct stats_options),
	.mixed = true,
	.max_args = -1,
	.run = stats_main,
};
