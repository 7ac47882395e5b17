#include <string.h>

#include "base/clock.h"
#include "hyperctl/command.h"
#include "hyperctl/format.h"
#include "hyperctl/units.h"

struct history_options {
	bool quiet, no_trunc;
	const char *format;
};
static const struct option options[] = {
	STRING(0, "format", struct history_options, format, "FORMAT",
	       "json, a template, or 'table TEMPLATE'"),
	FLAG(0, "no-trunc", struct history_options, no_trunc, "Do not shorten anything"),
	FLAG('q', "quiet", struct history_options, quiet, "Only ids"),
	OPTIONS_END,
};

static const struct column columns[] = {
	{ "ID", "IMAGE" },  { "CreatedSince", "CREATED" }, { "CreatedBy", "CREATED BY" },
	{ "Size", "SIZE" }, { "Comment", "COMMENT" },      { NULL, NULL },
};
static const char table[] = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

#define ID_SHORT         12
#define CREATED_BY_SHORT 45

static const char *text_of(const json_t *entry, const char *key)
{
	return json_string_value(json_object_get(entry, key)) ?: "";
}

/* Cut between characters, not in one. */
static json_t *shortened(const char *text, size_t max)
{
	size_t len = max;

	if (strlen(text) <= max)
		return json_string(text);
	while (len && ((unsigned char)text[len - 1] & 0xc0) == 0x80)
		len--;
	return json_sprintf("%.*s…", (int)(len ? len - 1 : 0), text);
}

static json_t *row_of(const struct history_options *o, const json_t *entry)
{
	int64_t created_ns =
		json_integer_value(json_object_get(entry, "Created")) * (int64_t)NSEC_PER_SEC;
	const char *id = text_of(entry, "Id"), *by = text_of(entry, "CreatedBy");
	const char *hex = str_starts(id, "sha256:") ? id + strlen("sha256:") : id;
	char ago[40], size[24];

	ago_human(created_ns, (int64_t)realtime_ns(), ago);
	size_human(json_number_value(json_object_get(entry, "Size")), size);
	return json_pack("{s:o,s:s,s:o,s:s,s:s}", "ID",
			 o->no_trunc ? json_string(id)
				     : json_stringn(hex, *hex == '<' ? strlen(hex)
								     : strnlen(hex, ID_SHORT)),
			 "CreatedSince", ago, "CreatedBy",
			 o->no_trunc ? json_string(by) : shortened(by, CREATED_BY_SHORT), "Size",
			 size, "Comment", text_of(entry, "Comment"));
}

static int history_main(struct ctl *ctl, const void *given, char **args, struct error *err)
{
	const struct history_options *o = given;
	autojson json_t *history = NULL, *rows = json_array();
	autofree char *name = path_encode(args[0]);
	autofree char *path = name ? strf("/images/%s/history", name) : NULL;
	json_t *entry;
	size_t i;
	int r;

	if (!path)
		return error_nomem(err);
	r = client_call(&ctl->client, "GET", path, NULL, NULL, &history, err);
	if (r < 0)
		return r;
	json_array_foreach(history, i, entry)
		json_array_append_new(rows, row_of(o, entry));
	if (!o->quiet || o->format)
		return rows_print(columns, table, o->format, rows, err);
	json_array_foreach(rows, i, entry)
		puts(text_of(entry, "ID"));
	return 0;
}

const struct command command_history = {
	.name = "history",
	.group = "Images",
	.usage = "[OPTIONS] IMAGE",
	.summary = "Show how an image was made",
	.options = options,
	.options_size = sizeof(struct history_options),
	.mixed = true,
	.min_args = 1,
	.max_args = 1,
	.run = history_main,
};
