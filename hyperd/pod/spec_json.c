#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperd/pod/spec_fields.h"

static const void *at(const void *object, size_t offset)
{
	return (const char *)object + offset;
}

static json_t *array_to_json(const struct spec_field *field, const void *object)
{
	const char *items = *(char *const *)at(object, field->offset);
	size_t count = 0;
	json_t *array;

	if (!items)
		return NULL;
	if (field->kind == FIELD_ARRAY)
		count = *(const size_t *)at(object, field->other);
	else
		while (*(char *const *)(items + count * field->element_bytes))
			count++;
	array = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, spec_fields_to_json(field->fields,
								 items + i * field->element_bytes));
	return array;
}

/* NULL: the member has its default and is left out. */
static json_t *field_to_json(const struct spec_field *field, const void *object)
{
	const void *p = at(object, field->offset);

	switch (field->kind) {
	case FIELD_STRING: {
		const char *s = *(char *const *)p;

		/* Unchecked: bytes that are no UTF-8 fail the record instead of losing a member. */
		return s ? json_string_nocheck(s) : NULL;
	}
	case FIELD_STRV: {
		char *const *v = *(char *const *const *)p;
		json_t *array = v ? json_array() : NULL;

		strv_for_each(s, v)
			json_array_append_new(array, json_string_nocheck(*s));
		return array;
	}
	case FIELD_BOOL:
		return *(const bool *)p ? json_true() : NULL;
	case FIELD_INT:
		return json_integer(*(const int *)p); /* 0 is not always the default */
	case FIELD_INT64:
		return *(const int64_t *)p ? json_integer(*(const int64_t *)p) : NULL;
	case FIELD_DOUBLE:
		return *(const double *)p != 0 ? json_real(*(const double *)p) : NULL;
	case FIELD_PAIRS: {
		const struct spec_pair *pairs = *(struct spec_pair *const *)p;

		return pairs ? spec_pairs_to_json(pairs) : NULL;
	}
	case FIELD_BYTES: {
		const char *data = *(char *const *)p;
		autofree char *text =
			data ? base64_encode(data, *(const size_t *)at(object, field->other))
			     : NULL;

		return text ? json_string(text) : NULL;
	}
	case FIELD_OBJECT:
		return spec_fields_to_json(field->fields, p);
	case FIELD_LIST:
	case FIELD_ARRAY:
		return array_to_json(field, object);
	case FIELD_JSON: {
		json_t *json = *(json_t *const *)p;

		return json ? json_incref(json) : NULL;
	}
	}
	return NULL;
}

json_t *spec_fields_to_json(const struct spec_field *fields, const void *object)
{
	json_t *json = json_object();

	for (const struct spec_field *f = fields; json && f->name; f++) {
		json_t *value = field_to_json(f, object);

		if (value && json_object_set_new(json, f->name, value) < 0) {
			json_decref(json);
			return NULL;
		}
	}
	return json;
}

static int pairs_from_json(const json_t *json, const char *key, struct spec_pair **ret,
			   struct error *err)
{
	struct spec_pair *pairs;
	const char *name;
	json_t *object, *value;
	int r = json_get_object(json, key, &object, err);

	if (r < 0 || !object)
		return r;
	pairs = calloc(1, sizeof(*pairs));
	if (!pairs)
		return error_nomem(err);
	json_object_foreach(object, name, value) {
		if (!json_is_string(value))
			r = error_set(err, ERROR_INVALID, "%s: %s: expected a string", key, name);
		else if (spec_pairs_set(&pairs, name, json_string_value(value)) < 0)
			r = error_nomem(err);
		if (r < 0) {
			spec_pairs_free(pairs);
			return r;
		}
	}
	*ret = pairs;
	return 0;
}

static int array_from_json(const struct spec_field *field, const json_t *json, void *object,
			   struct error *err)
{
	json_t *array, *item;
	char *items;
	size_t i;
	int r = json_get_array(json, field->name, &array, err);

	if (r < 0 || !array)
		return r;
	items = calloc(json_array_size(array) + 1, field->element_bytes);
	if (!items)
		return error_nomem(err);
	/* The object owns them from here on, half filled or not. */
	*(char **)at(object, field->offset) = items;
	if (field->kind == FIELD_ARRAY)
		*(size_t *)at(object, field->other) = json_array_size(array);
	json_array_foreach(array, i, item) {
		void *element = items + i * field->element_bytes;

		r = spec_fields_from_json(field->fields, item, element, err);
		/* The terminator of a list is its first missing name. */
		if (r == 0 && field->kind == FIELD_LIST && !*(char **)element)
			r = error_set(err, ERROR_INVALID, "no name");
		if (r < 0)
			return error_prefix(err, r, "%s[%zu]", field->name, i);
	}
	return 0;
}

static int bytes_from_json(const struct spec_field *field, const json_t *json, void *object,
			   struct error *err)
{
	const char *text;
	int r = json_get_string(json, field->name, &text, err);

	if (r < 0 || !text)
		return r;
	r = base64_decode(text, strlen(text), (char **)at(object, field->offset),
			  (size_t *)at(object, field->other));
	if (r == -EINVAL)
		return error_set(err, ERROR_INVALID, "%s: expected base 64", field->name);
	return r < 0 ? error_nomem(err) : 0;
}

static int number_from_json(const struct spec_field *field, const json_t *json, void *p,
			    struct error *err)
{
	int64_t value;
	int r;

	if (!json_object_get(json, field->name))
		return 0; /* keeps its default */
	r = json_get_int(json, field->name, &value, err);
	if (r < 0)
		return r;
	if (field->kind == FIELD_INT64)
		*(int64_t *)p = value;
	else if (value < INT32_MIN || value > UINT32_MAX)
		return error_set(err, ERROR_INVALID, "%s: out of range", field->name);
	else
		*(int *)p = (int)value;
	return 0;
}

static int field_from_json(const struct spec_field *field, const json_t *json, void *object,
			   struct error *err)
{
	void *p = (void *)at(object, field->offset);
	const char *text;
	json_t *value;
	int r;

	switch (field->kind) {
	case FIELD_STRING:
		r = json_get_string(json, field->name, &text, err);
		if (r < 0 || !text)
			return r;
		*(char **)p = strdup(text);
		return *(char **)p ? 0 : error_nomem(err);
	case FIELD_STRV:
		return json_get_strv(json, field->name, p, err);
	case FIELD_BOOL:
		return json_get_bool(json, field->name, p, err);
	case FIELD_INT:
	case FIELD_INT64:
		return number_from_json(field, json, p, err);
	case FIELD_DOUBLE:
		value = json_object_get(json, field->name);
		if (value && !json_is_number(value))
			return error_set(err, ERROR_INVALID, "%s: expected a number", field->name);
		*(double *)p = json_number_value(value);
		return 0;
	case FIELD_PAIRS:
		return pairs_from_json(json, field->name, p, err);
	case FIELD_BYTES:
		return bytes_from_json(field, json, object, err);
	case FIELD_OBJECT:
		r = json_get_object(json, field->name, &value, err);
		if (r < 0 || !value)
			return r;
		r = spec_fields_from_json(field->fields, value, p, err);
		return r < 0 ? error_prefix(err, r, "%s", field->name) : 0;
	case FIELD_LIST:
	case FIELD_ARRAY:
		return array_from_json(field, json, object, err);
	case FIELD_JSON:
		value = json_object_get(json, field->name);
		*(json_t **)p = value ? json_incref(value) : NULL;
		return 0;
	}
	return 0;
}

int spec_fields_from_json(const struct spec_field *fields, const json_t *json, void *object,
			  struct error *err)
{
	if (!json_is_object(json))
		return error_set(err, ERROR_INVALID, "expected an object");
	for (const struct spec_field *f = fields; f->name; f++) {
		int r = field_from_json(f, json, object, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static void array_done(const struct spec_field *field, void *object)
{
	char *items = *(char **)at(object, field->offset);

	for (size_t i = 0; items; i++) {
		void *element = items + i * field->element_bytes;

		if (field->kind == FIELD_ARRAY ? i == *(const size_t *)at(object, field->other)
					       : !*(char **)element)
			break;
		spec_fields_done(field->fields, element);
	}
	free(items);
}

void spec_fields_done(const struct spec_field *fields, void *object)
{
	for (const struct spec_field *f = fields; f->name; f++) {
		void *p = (void *)at(object, f->offset);

		switch (f->kind) {
		case FIELD_STRING:
		case FIELD_BYTES:
			free(*(char **)p);
			break;
		case FIELD_STRV:
			strv_free(*(char ***)p);
			break;
		case FIELD_PAIRS:
			spec_pairs_free(*(struct spec_pair **)p);
			break;
		case FIELD_OBJECT:
			spec_fields_done(f->fields, p);
			break;
		case FIELD_LIST:
		case FIELD_ARRAY:
			array_done(f, object);
			break;
		case FIELD_JSON:
			json_decref(*(json_t **)p);
			break;
		default:
			break;
		}
	}
}
