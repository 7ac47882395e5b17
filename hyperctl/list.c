#include <string.h>

#include "base/clock.h"
#include "hyperctl/command.h"
#include "hyperctl/format.h"
#include "hyperctl/query.h"
#include "hyperctl/units.h"

struct list_options {
	bool all, quiet, no_trunc;
	const char *format;
	struct option_list filters;
};
#define OPT struct list_options
static const struct option options[] = {
	FLAG('a', "all", OPT, all, "Also what does not run"),
	FLAG('q', "quiet", OPT, quiet, "Only ids"),
	FLAG(0, "no-trunc", OPT, no_trunc, "Do not shorten ids and commands"),
	LIST('f', "filter", OPT, filters, "KEY=VALUE",
	     "Only those: name, id, label, status, pod, isolation, ancestor, exited, …"),
	STRING(0, "format", OPT, format, "FORMAT", "json, a template, or 'table TEMPLATE'"),
	OPTIONS_END,
};
#undef OPT

static const struct column columns[] = {
	{ "ID", "CONTAINER ID" },     { "Pod", "POD" },         { "PodID", "POD ID" },
	{ "Image", "IMAGE" },         { "Command", "COMMAND" }, { "CreatedAt", "CREATED AT" },
	{ "RunningFor", "CREATED" },  { "Status", "STATUS" },   { "State", "STATE" },
	{ "Isolation", "ISOLATION" }, { "Ports", "PORTS" },     { "Labels", "LABELS" },
	{ "Names", "NAMES" },         { NULL, NULL },
};
static const char table[] = "{{.ID}}\t{{.Pod}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t"
			    "{{.Status}}\t{{.Isolation}}\t{{.Names}}";

#define ID_SHORT      12
#define COMMAND_SHORT 20

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "";
}

static json_t *short_text(const struct list_options *o, const char *text, size_t max)
{
	size_t len = strlen(text);

	if (o->no_trunc || len <= max)
		return json_string(text);
	if (max != ID_SHORT) {
		/* Not inside a UTF-8 sequence; the ellipsis takes one character. */
		for (max--; max && ((unsigned char)text[max] & 0xc0) == 0x80; max--)
			;
		return json_sprintf("%.*s…", (int)max, text);
	}
	return json_stringn(text, max);
}

static json_t *command_text(const struct list_options *o, const char *command)
{
	autojson json_t *cut = short_text(o, command, COMMAND_SHORT);

	return json_sprintf("\"%s\"", json_string_value(cut) ?: "");
}

static json_t *labels_text(const json_t *labels)
{
	autostr struct str s = STR_INIT;
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)labels, key, value)
		str_addf(&s, "%s%s=%s", s.len ? "," : "", key, json_string_value(value) ?: "");
	return json_string(str_text(&s));
}

static json_t *names_text(const json_t *names)
{
	autostr struct str s = STR_INIT;
	json_t *name;
	size_t i;

	json_array_foreach(names, i, name) {
		const char *text = json_string_value(name) ?: "";

		str_addf(&s, "%s%s", i ? "," : "", text + (*text == '/'));
	}
	return json_string(str_text(&s));
}

static json_t *ports_text(const json_t *ports)
{
	autostr struct str s = STR_INIT;
	json_t *port;
	size_t i;

	json_array_foreach(ports, i, port) {
		json_t *public = json_object_get(port, "PublicPort");

		str_add(&s, i ? ", " : "");
		if (json_integer_value(public))
			str_addf(&s, "%s:%lld->", text_of(port, "IP"),
				 (long long)json_integer_value(public));
		str_addf(&s, "%lld/%s",
			 (long long)json_integer_value(json_object_get(port, "PrivatePort")),
			 text_of(port, "Type"));
	}
	return json_string(str_text(&s));
}

static json_t *time_text(int64_t ns)
{
	time_t seconds = (time_t)(ns / (int64_t)NSEC_PER_SEC);
	struct tm tm;
	char text[64] = "";

	if (localtime_r(&seconds, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z %Z", &tm);
	return json_string(text);
}

static json_t *row_of(const struct list_options *o, const json_t *c)
{
	json_t *hyper = json_object_get(c, "Hyper");
	int64_t created_ns =
		json_integer_value(json_object_get(c, "Created")) * (int64_t)NSEC_PER_SEC;
	json_t *row = json_object();
	char ago[40];

	ago_human(created_ns, (int64_t)realtime_ns(), ago);
	json_object_set_new(row, "ID", short_text(o, text_of(c, "Id"), ID_SHORT));
	json_object_set_new(row, "Pod", json_string(text_of(hyper, "PodName")));
	json_object_set_new(row, "PodID", short_text(o, text_of(hyper, "Pod"), ID_SHORT));
	json_object_set_new(row, "Image", json_string(text_of(c, "Image")));
	json_object_set_new(row, "Command", command_text(o, text_of(c, "Command")));
	json_object_set_new(row, "CreatedAt", time_text(created_ns));
	json_object_set_new(row, "RunningFor", json_string(ago));
	json_object_set_new(row, "Status", json_string(text_of(c, "Status")));
	json_object_set_new(row, "State", json_string(text_of(c, "State")));
	json_object_set_new(row, "Isolation", json_string(text_of(hyper, "Isolation")));
	json_object_set_new(row, "Ports", ports_text(json_object_get(c, "Ports")));
	json_object_set_new(row, "Labels", labels_text(json_object_get(c, "Labels")));
	json_object_set_new(row, "Names", names_text(json_object_get(c, "Names")));
	json_object_set(row, "LabelMap", json_object_get(c, "Labels") ?: json_null());
	return row;
}

/* A pod that has no containers still has a sandbox and a name. */
static json_t *empty_pod_row(const struct list_options *o, const json_t *pod)
{
	json_t *row = row_of(o, NULL), *labels = json_object_get(pod, "Labels");
	const char *state = text_of(pod, "State");
	int64_t created_ns = 0;
	char ago[40];

	time_parse(text_of(pod, "Created"), &created_ns, NULL);
	ago_human(created_ns, (int64_t)realtime_ns(), ago);
	json_object_set_new(row, "ID", json_string("-"));
	json_object_set_new(row, "Pod", json_string(text_of(pod, "Name")));
	json_object_set_new(row, "PodID", short_text(o, text_of(pod, "Id"), ID_SHORT));
	json_object_set_new(row, "Image", json_string("-"));
	json_object_set_new(row, "Command", json_string("-"));
	json_object_set_new(row, "CreatedAt", time_text(created_ns));
	json_object_set_new(row, "RunningFor", json_string(ago));
	json_object_set_new(row, "Status", json_sprintf("Pod %s", state));
	json_object_set_new(row, "State", json_string(state));
	json_object_set_new(row, "Isolation", json_string(text_of(pod, "Isolation")));
	json_object_set_new(row, "Labels", labels_text(labels));
	json_object_set(row, "LabelMap", labels ?: json_null());
	return row;
}

/* The containers of a pod stand together, where its newest one stands. */
static void add_pod_rows(const struct list_options *o, const json_t *containers, size_t first,
			 json_t *rows)
{
	json_t *container = json_array_get(containers, first);
	const char *pod = text_of(json_object_get(container, "Hyper"), "Pod");

	json_array_append_new(rows, row_of(o, container));
	for (size_t i = first + 1; *pod && i < json_array_size(containers); i++) {
		json_t *other = json_array_get(containers, i);

		if (strcmp(text_of(json_object_get(other, "Hyper"), "Pod"), pod) == 0)
			json_array_append_new(rows, row_of(o, other));
	}
}

static bool pod_listed(const json_t *containers, size_t before, const char *pod)
{
	for (size_t i = 0; *pod && i < before; i++)
		if (strcmp(text_of(json_object_get(json_array_get(containers, i), "Hyper"), "Pod"),
			   pod) == 0)
			return true;
	return false;
}

/*
 * Pods without containers. Filters that speak of containers leave them out, and so does a daemon
 * that knows no pods.
 */
static int add_empty_pods(struct ctl *ctl, const struct list_options *o, json_t *rows,
			  struct error *err)
{
	static const char *const shared[] = { "name=", "id=", "label=", "status=", "isolation=" };
	autostr struct str query = STR_INIT;
	autojson json_t *pods = NULL;
	json_t *pod;
	size_t i;
	int r;

	for (i = 0; i < o->filters.count; i++) {
		size_t k = 0;

		while (k < ARRAY_SIZE(shared) && !str_starts(o->filters.items[i], shared[k]))
			k++;
		if (k == ARRAY_SIZE(shared))
			return 0;
	}
	query_add(&query, "all", o->all ? "1" : "0");
	query_add(&query, "solo", "0");
	r = filters_add(&query, &o->filters, err);
	if (r == 0)
		r = client_call(&ctl->client, "GET", "/hyper/v1/pods", str_text(&query), NULL,
				&pods, err);
	if (r < 0)
		return err->kind == ERROR_NOT_FOUND || err->kind == ERROR_INVALID ? 0 : r;
	json_array_foreach(pods, i, pod)
		if (!json_array_size(json_object_get(pod, "Containers")))
			json_array_append_new(rows, empty_pod_row(o, pod));
	return 0;
}

static void print_ids(const json_t *rows)
{
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		const char *id = text_of(row, "ID");

		puts(strcmp(id, "-") == 0 ? text_of(row, "PodID") : id);
	}
}

static int list_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct list_options *o = given;
	autojson json_t *containers = NULL, *rows = json_array();
	autostr struct str query = STR_INIT;
	int r;

	query_add(&query, "all", o->all ? "1" : "0");
	r = filters_add(&query, &o->filters, err);
	if (r == 0)
		r = client_call(&ctl->client, "GET", "/containers/json", str_text(&query), NULL,
				&containers, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < json_array_size(containers); i++) {
		json_t *hyper = json_object_get(json_array_get(containers, i), "Hyper");

		if (!pod_listed(containers, i, text_of(hyper, "Pod")))
			add_pod_rows(o, containers, i, rows);
	}
	r = add_empty_pods(ctl, o, rows, err);
	if (r < 0)
		return r;
	if (o->quiet && !o->format) {
		print_ids(rows);
		return 0;
	}
	return rows_print(columns, table, o->format, rows, err);
}

const struct command command_list = {
	.name = "list",
	.aliases = "ps ls",
	.group = "Looking inside",
	.usage = "[OPTIONS]",
	.summary = "List pods and their containers",
	.options = options,
	.options_size = sizeof(struct list_options),
	.mixed = true,
	.max_args = 0,
	.run = list_main,
};
