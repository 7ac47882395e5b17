#include "base/json.h"

#include <string.h>

#include "base/file.h"
#include "base/str.h"

/* Brackets are counted before parsing: the parser recurses. */
static bool too_deep(const char *text, size_t len)
{
	unsigned depth = 0;
	bool string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				string = false;
		} else if (c == '"') {
			string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > JSON_MAX_DEPTH)
				return true;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return false;
}

int json_parse(const char *text, size_t len, json_t **ret, struct error *err)
{
	json_error_t e;
	json_t *root;

	if (too_deep(text, len))
		return error_set(err, ERROR_INVALID, "JSON is nested deeper than %d",
				 JSON_MAX_DEPTH);
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (!root)
		return error_set(err, ERROR_INVALID, "JSON, line %d, column %d: %s", e.line,
				 e.column, e.text);
	*ret = root;
	return 0;
}

int json_read(int dir_fd, const char *path, size_t max, json_t **ret, struct error *err)
{
	autofree char *text = NULL;
	size_t len;
	int r = file_read(dir_fd, path, max, &text, &len, err);

	if (r < 0)
		return r;
	r = json_parse(text, len, ret, err);
	return r < 0 ? error_prefix(err, r, "'%s'", path) : 0;
}

int json_write(int dir_fd, const char *path, const json_t *root, bool sync, struct error *err)
{
	autofree char *text = json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS);

	if (!text)
		return error_nomem(err);
	return file_write_atomic(dir_fd, path, text, strlen(text), 0600, sync, err);
}

static int wrong_type(const char *key, const char *expected, const json_t *value, struct error *err)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",  [JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number", [JSON_REAL] = "a fraction", [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",      [JSON_NULL] = "null",
	};

	return error_set(err, ERROR_INVALID, "%s: expected %s, not %s", key, expected,
			 names[json_typeof(value)]);
}

static const json_t *member(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

int json_get_string(const json_t *object, const char *key, const char **ret, struct error *err)
{
	const json_t *value = member(object, key);

	*ret = NULL;
	if (!value)
		return 0;
	if (!json_is_string(value))
		return wrong_type(key, "a string", value, err);
	*ret = json_string_value(value);
	if (strlen(*ret) != json_string_length(value))
		return error_set(err, ERROR_INVALID, "%s: a NUL character is not allowed", key);
	return 0;
}

int json_get_bool(const json_t *object, const char *key, bool *ret, struct error *err)
{
	const json_t *value = member(object, key);

	*ret = false;
	if (!value)
		return 0;
	if (!json_is_boolean(value))
		return wrong_type(key, "true or false", value, err);
	*ret = json_is_true(value);
	return 0;
}

int json_get_int(const json_t *object, const char *key, int64_t *ret, struct error *err)
{
	const json_t *value = member(object, key);

	*ret = 0;
	if (!value)
		return 0;
	if (!json_is_integer(value))
		return wrong_type(key, "a whole number", value, err);
	*ret = json_integer_value(value);
	return 0;
}

int json_get_object(const json_t *object, const char *key, json_t **ret, struct error *err)
{
	const json_t *value = member(object, key);

	*ret = NULL;
	if (!value)
		return 0;
	if (!json_is_object(value))
		return wrong_type(key, "an object", value, err);
	*ret = (json_t *)value;
	return 0;
}

int json_get_array(const json_t *object, const char *key, json_t **ret, struct error *err)
{
	const json_t *value = member(object, key);

	*ret = NULL;
	if (!value)
		return 0;
	if (!json_is_array(value))
		return wrong_type(key, "an array", value, err);
	*ret = (json_t *)value;
	return 0;
}

int json_get_strv(const json_t *object, const char *key, char ***ret, struct error *err)
{
	autostrv char **v = NULL;
	json_t *array, *item;
	size_t i;
	int r = json_get_array(object, key, &array, err);

	*ret = NULL;
	if (r < 0 || !array)
		return r;
	v = calloc(1, sizeof(*v));
	if (!v)
		return error_nomem(err);
	json_array_foreach(array, i, item) {
		const char *s = json_string_value(item);

		if (!s || strlen(s) != json_string_length(item))
			return error_set(err, ERROR_INVALID, "%s[%zu]: expected a string", key, i);
		if (strv_add(&v, s) < 0)
			return error_nomem(err);
	}
	*ret = steal(v);
	return 0;
}

json_t *json_from_strv(char *const *v)
{
	json_t *array = json_array();

	strv_for_each(s, v)
		if (json_array_append_new(array, json_string(*s)) < 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}
