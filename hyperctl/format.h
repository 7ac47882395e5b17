#pragma once
/*
 * Output in the caller's shape: the part of Go's templates that people use with Docker's --format.
 *
 *   {{.Name}}  {{.State.Status}}  {{.}}        members; the first letters' case may differ
 *   {{json .X}} {{upper .X}} {{lower .X}} {{len .X}} {{join .X ", "}} {{split .X ","}}
 *   {{index .X "key" 0}}  {{eq .X "a"}} {{ne .X "a"}} {{not .X}} {{and .X .Y}} {{or .X .Y}}
 *   {{.X | json}}  {{(index .X 0).Y}}  {{"text"}}
 *   {{if .X}}…{{else}}…{{end}}  {{range .X}}…{{else}}…{{end}}  {{with .X}}…{{end}}  {{$}} the whole
 *   {{- and -}} trim white space.
 *
 * No variables, no definitions, no printf. A member that does not exist is an error that names
 * those that do. In plain text, \t and \n stand for tab and newline.
 */
#include <stddef.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

/* Checks TEMPLATE's syntax without any data. */
int template_check(const char *template, struct error *err);
/* Appends TEMPLATE, filled in with DATA, to OUT. */
int template_print(const char *template, const json_t *data, struct str *out, struct error *err);

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
