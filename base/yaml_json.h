#pragma once
/* YAML as JSON values: the core schema, as far as JSON has words for it. Host programs only. */
#include <stddef.h>

#include "base/error.h"
#include "base/json.h"

/* Values that a text may come to; what its aliases repeat counts each time. */
#define YAML_MAX_NODES 100000u

/*
 * *ret belongs to the caller. At most JSON_MAX_DEPTH deep; names that stand twice are refused.
 * Errors name line and column.
 */
int yaml_to_json(const char *text, size_t len, json_t **ret, struct error *err);
