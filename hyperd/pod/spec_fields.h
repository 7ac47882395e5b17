#pragma once
/*
 * The members of the specification structs as tables: one description serves writing a record,
 * reading it back and freeing. Private to hyperd/pod.
 */
#include <stddef.h>

#include "hyperd/pod/spec.h"

enum field_kind {
	FIELD_STRING,
	FIELD_STRV,
	FIELD_BOOL,
	FIELD_INT, /* int, unsigned, and enums */
	FIELD_INT64,
	FIELD_DOUBLE,
	FIELD_PAIRS,  /* struct spec_pair[], key NULL ends */
	FIELD_BYTES,  /* char * with a size_t length at `other` */
	FIELD_OBJECT, /* an embedded struct described by `fields` */
	FIELD_LIST,   /* an array of structs whose first member is a string, NULL ends */
	FIELD_ARRAY,  /* an array of structs with a size_t count at `other` */
	FIELD_JSON,
};

struct spec_field {
	const char *name; /* in the record; NULL ends a table */
	enum field_kind kind;
	size_t offset;
	size_t other;
	const struct spec_field *fields;
	size_t element_bytes;
};

extern const struct spec_field container_spec_fields[];
extern const struct spec_field pod_spec_fields[];

json_t *spec_fields_to_json(const struct spec_field *fields, const void *object);
int spec_fields_from_json(const struct spec_field *fields, const json_t *json, void *object,
			  struct error *err);
/* What OBJECT's members own; not OBJECT. */
void spec_fields_done(const struct spec_field *fields, void *object);

void spec_pairs_free(struct spec_pair *pairs);
/* Appends a copy; an older value of KEY is replaced. 0 or -ENOMEM. */
int spec_pairs_set(struct spec_pair **pairs, const char *key, const char *value);
const char *spec_pairs_get(const struct spec_pair *pairs, const char *key);
size_t spec_pairs_len(const struct spec_pair *pairs);
json_t *spec_pairs_to_json(const struct spec_pair *pairs);
