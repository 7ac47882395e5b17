#pragma once
/*
 * Text in the caller's shape: the part of Go's templates that people use with Docker's --format and
 * in the tags of its log drivers.
 *
 *   {{.Name}}  {{.State.Status}}  {{.}}        members; the first letters' case may differ
 *   {{json .X}} {{upper .X}} {{lower .X}} {{len .X}} {{join .X ", "}} {{split .X ","}}
 *   {{title .X}} {{truncate .X 3}}
 *   {{index .X "key" 0}}  {{eq .X "a"}} {{ne .X "a"}} {{not .X}} {{and .X .Y}} {{or .X .Y}}
 *   {{.X | json}}  {{(index .X 0).Y}}  {{"text"}}
 *   {{if .X}}…{{else}}…{{end}}  {{range .X}}…{{else}}…{{end}}  {{with .X}}…{{end}}  {{$}} the whole
 *   {{- and -}} trim white space.
 *
 * No variables, no definitions, no printf. A member that does not exist is an error that names
 * those that do. In plain text, \t and \n stand for tab and newline.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

/* Checks TEMPLATE's syntax without any data. NAME begins the errors: "--format". */
int template_check(const char *name, const char *template, struct error *err);
/* Appends TEMPLATE, filled in with DATA, to OUT. */
int template_print(const char *name, const char *template, const json_t *data, struct str *out,
		   struct error *err);
