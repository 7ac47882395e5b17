#pragma once
/* Jansson with our errors and cleanup attributes; host programs only. */
#include <jansson.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

static inline void cleanup_json(json_t **j)
{
	json_decref(*j);
}
/* `json_auto_t *` is jansson's own attribute of the same meaning. */
#define autojson __attribute__((cleanup(cleanup_json)))

/* Nesting and size that any input of strangers may have. */
#define JSON_MAX_DEPTH 64

/* Parses text; duplicate keys are refused, the error names line and column. */
int json_parse(const char *text, size_t len, json_t **ret, struct error *err);
/* Reads and parses a file of at most MAX bytes. ERROR_NOT_FOUND when missing. */
int json_read(int dir_fd, const char *path, size_t max, json_t **ret, struct error *err);
/* Writes ROOT as file_write_atomic() does. */
int json_write(int dir_fd, const char *path, const json_t *root, bool sync, struct error *err);

/*
 * Typed members. A missing or null member yields the default (0, false, NULL) and 0; one of another
 * type yields ERROR_INVALID that names KEY and what was expected. Strings and objects are borrowed
 * from OBJECT.
 */
int json_get_string(const json_t *object, const char *key, const char **ret, struct error *err);
int json_get_bool(const json_t *object, const char *key, bool *ret, struct error *err);
int json_get_int(const json_t *object, const char *key, int64_t *ret, struct error *err);
int json_get_object(const json_t *object, const char *key, json_t **ret, struct error *err);
int json_get_array(const json_t *object, const char *key, json_t **ret, struct error *err);
/* An array of strings as a strv, owned by the caller; NULL when missing. */
int json_get_strv(const json_t *object, const char *key, char ***ret, struct error *err);
json_t *json_from_strv(char *const *v);
