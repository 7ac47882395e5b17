#pragma once
/* What --format prints: JSON, templates (base/template.h), and tables made of templates. */
#include "base/template.h"

/* A list's columns: the member's name in rows and its heading in tables. */
struct column {
	const char *name, *heading;
};
/*
 * Prints ROWS (an array of objects of strings) on standard output: as FORMAT says ("json", "table
 * TEMPLATE", TEMPLATE), or when it is NULL as the table INITIAL (a template).
 */
int rows_print(const struct column *columns, const char *initial, const char *format,
	       const json_t *rows, struct error *err);
/* One row without heading; for streams. Ends with a newline. */
int row_print(const char *format, const json_t *row, struct error *err);
/* Prints VALUE as --format says: "json" or a template. */
int value_print(const char *format, const json_t *value, struct error *err);
