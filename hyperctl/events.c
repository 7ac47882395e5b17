#include "hyperctl/command.h"

#include <string.h>

#include "base/clock.h"
#include "hyperctl/format.h"
#include "hyperctl/query.h"
#include "hyperctl/table.h"

struct events_options {
	const char *since, *until, *format;
	struct option_list filters;
};
#define OPT struct events_options
static const struct option options[] = {
	STRING(0, "since", OPT, since, "TIME", "Also what happened since then"),
	STRING(0, "until", OPT, until, "TIME", "Stop at that time"),
	LIST('f', "filter", OPT, filters, "KEY=VALUE",
	     "Only those: type, event, container, image, pod, label"),
	STRING(0, "format", OPT, format, "FORMAT", "json or a template"),
	OPTIONS_END,
};
#undef OPT

/* "2026-01-02T15:04:05.678901234+01:00 container start ID (image=busybox, name=web)" */
static void print_event(const json_t *event)
{
	json_t *actor = json_object_get(event, "Actor"), *value;
	int64_t ns = json_integer_value(json_object_get(event, "timeNano"));
	time_t seconds = (time_t)(ns / (int64_t)NSEC_PER_SEC);
	autostr struct str text = STR_INIT, safe = STR_INIT;
	char when[64] = "", zone[8] = "";
	const char *key, *separator = " (";
	struct tm tm;

	if (localtime_r(&seconds, &tm)) {
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
		strftime(zone, sizeof(zone), "%z", &tm);
	}
	str_addf(&text, "%s.%09lld%.3s:%.2s %s %s %s", when,
		 (long long)(ns % (int64_t)NSEC_PER_SEC), zone, zone + (strlen(zone) == 5 ? 3 : 0),
		 json_string_value(json_object_get(event, "Type")) ?: "",
		 json_string_value(json_object_get(event, "Action")) ?: "",
		 json_string_value(json_object_get(actor, "ID")) ?: "");
	json_object_foreach(json_object_get(actor, "Attributes"), key, value) {
		str_addf(&text, "%s%s=%s", separator, key, json_string_value(value) ?: "");
		separator = ", ";
	}
	if (*separator == ',')
		str_addc(&text, ')');
	text_add_safe(&safe, str_text(&text));
	puts(str_text(&safe));
}

static int print_one(const struct events_options *o, const json_t *event, struct error *err)
{
	int r = 0;

	if (!o->format)
		print_event(event);
	else if (strcmp(o->format, "json") == 0)
		r = value_print("json", event, err);
	else
		r = row_print(o->format, event, err);
	fflush(stdout);
	return r;
}

static int events_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct events_options *o = given;
	autoptr(response_free) struct response *response = NULL;
	autostr struct str query = STR_INIT;
	struct request request = { .method = "GET", .path = "/events" };
	int r = time_add(&query, "since", o->since, err);

	if (r == 0)
		r = time_add(&query, "until", o->until, err);
	if (r == 0)
		r = filters_add(&query, &o->filters, err);
	if (r == 0 && o->format && strcmp(o->format, "json") != 0)
		r = template_check("--format", o->format, err);
	request.query = str_text(&query);
	if (r == 0)
		r = client_open(&ctl->client, &request, &response, err);
	while (r == 0) {
		autojson json_t *event = NULL;

		r = response_next_json(response, &event, err);
		if (r <= 0)
			break;
		r = print_one(o, event, err);
	}
	return r;
}

const struct command command_events = {
	.name = "events",
	.group = "Looking inside",
	.usage = "[OPTIONS]",
	.summary = "Show what happens, as it happens",
	.options = options,
	.options_size = sizeof(struct events_options),
	.mixed = true,
	.max_args = 0,
	.run = events_main,
};
