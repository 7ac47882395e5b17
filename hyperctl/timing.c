#include "hyperctl/timing.h"

#include "base/clock.h"
#include "hyperctl/table.h"

void timing_begin(struct timing *timing, const struct client *client, bool wanted)
{
	*timing = (struct timing){ .client = wanted ? client : NULL, .begin_ns = now_ns() };
}

/*
 * Asked at each point from the start on and not only at the end: with --rm it is gone by then. The
 * last answer counts.
 */
static void ask(struct timing *timing)
{
	autofree char *name = path_encode(timing->object);
	autofree char *path = name ? strf("/hyper/v1/pods/%s/timing", name) : NULL;
	json_t *answer = NULL;

	if (!path || client_call(timing->client, "GET", path, NULL, NULL, &answer, NULL) < 0)
		return;
	json_decref(timing->daemon);
	timing->daemon = answer;
}

void timing_mark(struct timing *timing, enum timing_point point)
{
	if (!timing->client)
		return;
	timing->points_ns[point] = now_ns();
	if (timing->object && point >= TIMING_STARTED)
		ask(timing);
}

static void row(struct str *text, const char *what, uint64_t ns, uint64_t before_ns)
{
	if (!ns)
		return;
	str_addf(text, "%s\t%.1f\t", what, (double)ns / 1e6);
	if (ns >= before_ns)
		str_addf(text, "+%.1f", (double)(ns - before_ns) / 1e6);
	str_addc(text, '\n');
}

static void daemon_rows(const struct timing *timing, struct str *text)
{
	static const struct {
		const char *member, *what;
	} rows[] = {
		{ "TemplateNs", "template ready" },   { "SpawnedNs", "sandbox spawned" },
		{ "ConnectedNs", "init answers" },    { "LayersNs", "layers mounted" },
		{ "StartedNs", "processes started" }, { "FirstOutputNs", "first output" },
	};
	uint64_t before = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *value = json_object_get(timing->daemon, rows[i].member);
		uint64_t ns = (uint64_t)json_integer_value(value);

		row(text, rows[i].what, ns, before);
		before = ns ?: before;
	}
}

static bool flag(const struct timing *timing, const char *member)
{
	return json_is_true(json_object_get(timing->daemon, member));
}

void timing_print(const struct timing *timing)
{
	static const char *const points[] = { "created", "started", "first output", "ended" };
	autostr struct str text = STR_INIT, out = STR_INIT;
	uint64_t before = 0;
	const char *accel;

	if (!timing->client || !timing->points_ns[TIMING_CREATED])
		return;
	str_add(&text, "SINCE THE COMMAND\tMS\tSTEP\n");
	for (size_t i = 0; i < TIMING_POINTS; i++) {
		uint64_t ns = timing->points_ns[i] ? timing->points_ns[i] - timing->begin_ns : 0;

		row(&text, points[i], ns, before);
		before = ns ?: before;
	}
	if (timing->daemon) {
		accel = json_string_value(json_object_get(timing->daemon, "Accel"));
		str_add(&text, "IN HYPERD, SINCE THE START\tMS\tSTEP\n");
		daemon_rows(timing, &text);
		if (accel && *accel)
			str_addf(&text, "(%s%s%s%s)\n", accel,
				 flag(timing, "TemplateBuilt") ? ", a template was built" : "",
				 flag(timing, "FromPool") ? ", from the pool" : "",
				 flag(timing, "RetriedWithTCG") ? ", tried again with TCG" : "");
	}
	table_align(str_text(&text), text.len, &out);
	fflush(stdout);
	fputs(str_text(&out), stderr);
}

void timing_done(struct timing *timing)
{
	json_decref(timing->daemon);
	timing->daemon = NULL;
}
