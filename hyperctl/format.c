#include "hyperctl/format.h"

#include <string.h>
#include <unistd.h>

#include "hyperctl/table.h"

static int put(const struct str *out, struct error *err)
{
	if (out->failed)
		return error_nomem(err);
	if (fwrite(str_text(out), 1, out->len, stdout) != out->len || fflush(stdout) != 0)
		return error_errno(err, errno, "writing the output");
	return 0;
}

/* Escape sequences of strangers do not reach a terminal; pipes get what there is. */
static json_t *row_safe(const json_t *row)
{
	json_t *copy = json_object(), *value;
	const char *key;

	json_object_foreach((json_t *)row, key, value) {
		autostr struct str s = STR_INIT;

		if (!json_is_string(value)) {
			json_object_set(copy, key, value);
			continue;
		}
		text_add_safe(&s, json_string_value(value));
		json_object_set_new(copy, key, json_string(str_text(&s)));
	}
	return copy;
}

static int row_add(const char *template, const json_t *row, struct str *out, struct error *err)
{
	autojson json_t *safe = row_safe(row);
	int r = template_print("--format", template, safe, out, err);

	if (r == 0)
		str_addc(out, '\n');
	return r;
}

static json_t *headings(const struct column *columns)
{
	json_t *row = json_object();

	for (; columns->name; columns++)
		json_object_set_new(row, columns->name, json_string(columns->heading));
	json_object_set_new(row, "LabelMap", json_string("LABELS"));
	return row;
}

static int table_print(const struct column *columns, const char *template, const json_t *rows,
		       struct error *err)
{
	autojson json_t *heading = headings(columns);
	autostr struct str text = STR_INIT, out = STR_INIT;
	json_t *row;
	size_t i;
	int r = row_add(template, heading, &text, err);

	if (r < 0)
		return r;
	json_array_foreach(rows, i, row) {
		r = row_add(template, row, &text, err);
		if (r < 0)
			return r;
	}
	table_align(str_text(&text), text.len, &out);
	return put(&out, err);
}

int rows_print(const struct column *columns, const char *initial, const char *format,
	       const json_t *rows, struct error *err)
{
	autostr struct str out = STR_INIT;
	json_t *row;
	size_t i;
	int r;

	if (!format || strcmp(format, "table") == 0)
		return table_print(columns, initial, rows, err);
	if (str_starts(format, "table "))
		return table_print(columns, format + 6, rows, err);
	r = strcmp(format, "json") == 0 ? 0 : template_check("--format", format, err);
	if (r < 0)
		return r;
	json_array_foreach(rows, i, row) {
		if (strcmp(format, "json") == 0) {
			autofree char *text = json_dumps(row, JSON_COMPACT);

			str_addf(&out, "%s\n", text ? text : "");
			continue;
		}
		r = row_add(format, row, &out, err);
		if (r < 0)
			return r;
	}
	return put(&out, err);
}

int row_print(const char *format, const json_t *row, struct error *err)
{
	autostr struct str out = STR_INIT;
	int r = row_add(format, row, &out, err);

	return r < 0 ? r : put(&out, err);
}

int value_print(const char *format, const json_t *value, struct error *err)
{
	autostr struct str out = STR_INIT;
	int r = 0;

	if (strcmp(format, "json") == 0)
		format = "{{json .}}";
	r = template_print("--format", format, value, &out, err);
	str_addc(&out, '\n');
	return r < 0 ? r : put(&out, err);
}
