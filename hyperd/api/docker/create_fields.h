#pragma once
/* The tables of containers_create.c: each member of the create body, and what is done about it. */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct create_request;

enum create_field_kind {
	/* Put into the container_spec at OFFSET. */
	FIELD_STRING,
	FIELD_STRV,
	FIELD_STRV_OR_STRING,
	FIELD_KEYS,  /* the keys of an object, as a strv */
	FIELD_PAIRS, /* struct spec_pair */
	FIELD_BOOL,
	FIELD_INT,
	FIELD_U32,
	FIELD_I64,
	/* Translated. */
	FIELD_CALL,
	/* Means nothing here, whatever it says; REASON tells why. */
	FIELD_ACCEPTED,
	/* Empty or one of WORDS, which mean what happens anyway. */
	FIELD_ONE_OF,
	/* Refused unless it says nothing. */
	FIELD_REFUSED,
};

struct create_field {
	const char *name;
	enum create_field_kind kind;
	size_t offset;
	int64_t min, max;
	int (*call)(const char *section, const struct create_field *field, const json_t *value,
		    struct create_request *create, struct error *err);
	const char *const *words;
	const char *reason;
	bool updatable; /* may stand in POST /containers/{name}/update */
};

extern const struct create_field create_config_fields[], create_host_fields[],
	create_hyper_fields[];
extern const size_t create_config_field_count, create_host_field_count, create_hyper_field_count;

/* create_mounts.c: all that becomes a mount. */
typeof(int(const char *section, const struct create_field *field, const json_t *value,
	   struct create_request *create, struct error *err)) create_take_volumes,
	create_take_binds, create_take_mounts, create_take_tmpfs;
