#pragma once
/* YAML as JSON values: the core schema, as far as JSON has words for it. */
#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/* Nodes that a text may come to, what its aliases repeat counted each time. */
#define POD_YAML_MAX_NODES 100000u

/* *ret belongs to the caller. Errors name line and column. */
int pod_yaml_parse(const char *text, size_t len, json_t **ret, struct error *err);
