#include <string.h>

#include "hyperctl/object.h"
#include "hyperctl/table.h"

/* Docker's {"Titles": […], "Processes": [[…]]} as lines of cells. */
static void add_processes(struct str *text, const json_t *top, const char *container, bool titles)
{
	json_t *processes = json_object_get(top, "Processes"), *process, *cell;
	size_t i, k;

	if (titles) {
		if (container)
			str_add(text, "CONTAINER\t");
		json_array_foreach(json_object_get(top, "Titles"), k, cell) {
			str_add(text, k ? "\t" : "");
			text_add_safe(text, json_string_value(cell) ?: "");
		}
		str_addc(text, '\n');
	}
	json_array_foreach(processes, i, process) {
		if (container)
			str_addf(text, "%s\t", container);
		json_array_foreach(process, k, cell) {
			str_add(text, k ? "\t" : "");
			text_add_safe(text, json_string_value(cell) ?: "");
		}
		str_addc(text, '\n');
	}
}

static int top_one(struct ctl *ctl, const char *id, const char *label, const char *ps_args,
		   bool titles, struct str *text, struct error *err)
{
	autofree char *path = strf("/containers/%s/top", id);
	autostr struct str query = STR_INIT;
	autojson json_t *top = NULL;
	int r;

	if (!path)
		return error_nomem(err);
	query_add(&query, "ps_args", ps_args);
	r = client_call(&ctl->client, "GET", path, str_text(&query), NULL, &top, err);
	if (r == 0)
		add_processes(text, top, label, titles);
	return r;
}

static int top_pod(struct ctl *ctl, const struct object *pod, const char *ps_args, struct str *text,
		   struct error *err)
{
	json_t *container;
	bool titles = true;
	size_t i;

	json_array_foreach(json_object_get(pod->inspect, "Containers"), i, container) {
		const char *id = json_string_value(json_object_get(container, "Id")) ?: "";
		const char *name = json_string_value(json_object_get(container, "Name")) ?: id;
		const char *state = json_string_value(json_object_get(container, "State"));
		int r;

		if (!str_equal(state, "running"))
			continue;
		r = top_one(ctl, id, name, ps_args, titles, text, err);
		if (r < 0)
			return r;
		titles = false;
	}
	if (titles)
		return error_set(err, ERROR_CONFLICT, "pod \"%s\" has no running container",
				 pod->name);
	return 0;
}

static int top_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	autoobject struct object object = { 0 };
	autostr struct str ps_args = STR_INIT, text = STR_INIT, out = STR_INIT;
	const char *ps = NULL;
	int r = object_find(ctl, args[0], OBJECT_ANY, &object, err);

	if (r < 0)
		return r;
	strv_for_each(arg, args + 1)
		str_addf(&ps_args, "%s%s", ps_args.len ? " " : "", *arg);
	if (ps_args.len)
		ps = str_text(&ps_args);
	r = object.kind == OBJECT_POD ? top_pod(ctl, &object, ps, &text, err)
				      : top_one(ctl, object.id, NULL, ps, true, &text, err);
	if (r < 0)
		return r;
	table_align(str_text(&text), text.len, &out);
	fputs(str_text(&out), stdout);
	return 0;
}

const struct command command_top = {
	.name = "top",
	.group = "Looking inside",
	.usage = "NAME [PS-OPTIONS]",
	.summary = "Show the processes of a container or pod",
	.min_args = 1,
	.max_args = -1,
	.run = top_main,
};
