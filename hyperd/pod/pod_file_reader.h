#pragma once
/*
 * Reading a pod file's tree by tables: one row a field. Private to the pod file's parser:
 * pod_file_reader.c reads plain values and words refusals, pod_file_files.c reads files and
 * volumes, pod_file.c holds the tables.
 *
 * A function that returns an error leaves the path where it stands: it is in the message.
 */
#include <jansson.h>
#include <stddef.h>

#include "base/error.h"
#include "base/str.h"
#include "hyperd/pod/spec.h"

#define POD_FILE_CONTENT_MAX_BYTES (8u << 20)

struct pod_file_reader {
	struct str path; /* "containers[1].ulimits[0].soft" */
	const char *file_dir;
	struct pod_spec *pod;
	const json_t *files, *volumes; /* borrowed from the tree */
	struct error *err;
};

struct pod_file_rule {
	const char *name; /* NULL ends a table */
	/* VALUE is not null. TARGET is the struct that the table is about. */
	int (*read)(struct pod_file_reader *rd, const json_t *value, void *target,
		    const struct pod_file_rule *rule);
	size_t offset;
	long long min, max;
	const struct pod_file_rule *fields;
};

/* Refuses VALUE (NULL: what is missing) at the present path; EXPECTED says what would do. */
int pod_file_wrong(struct pod_file_reader *rd, const json_t *value, const char *expected);
size_t pod_file_enter(struct pod_file_reader *rd, const char *name);
size_t pod_file_enter_item(struct pod_file_reader *rd, size_t index);
void pod_file_leave(struct pod_file_reader *rd, size_t mark);
int pod_file_read_fields(struct pod_file_reader *rd, const json_t *object, void *target,
			 const struct pod_file_rule *rules);
/* The member of TARGET that the rule is about. */
void *pod_file_member(void *target, const struct pod_file_rule *rule);
/* NULL when it is no string, or one with a NUL. */
const char *pod_file_text_of(const json_t *value);
int pod_file_set_text(struct pod_file_reader *rd, char **to, const char *text);
int pod_file_read_text(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule);
int pod_file_read_filled_text(struct pod_file_reader *rd, const json_t *value, void *target,
			      const struct pod_file_rule *rule);
int pod_file_read_absolute(struct pod_file_reader *rd, const json_t *value, void *target,
			   const struct pod_file_rule *rule);
int pod_file_read_bool(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule);
int pod_file_read_number(struct pod_file_reader *rd, const json_t *value, long long min,
			 long long max, long long *ret);
int pod_file_read_int(struct pod_file_reader *rd, const json_t *value, void *target,
		      const struct pod_file_rule *rule);
int pod_file_read_strv(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule);
int pod_file_read_pairs(struct pod_file_reader *rd, const json_t *value, void *target,
			const struct pod_file_rule *rule);
int pod_file_read_object(struct pod_file_reader *rd, const json_t *value, void *target,
			 const struct pod_file_rule *rule);
int pod_file_read_name(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule);

int pod_file_read_container_files(struct pod_file_reader *rd, const json_t *value, void *target,
				  const struct pod_file_rule *rule);
int pod_file_read_pod_files(struct pod_file_reader *rd, const json_t *value, void *target,
			    const struct pod_file_rule *rule);
int pod_file_read_pod_volumes(struct pod_file_reader *rd, const json_t *value, void *target,
			      const struct pod_file_rule *rule);
int pod_file_read_network(struct pod_file_reader *rd, const json_t *value, void *target,
			  const struct pod_file_rule *rule);
int pod_file_read_networks(struct pod_file_reader *rd, const json_t *value, void *target,
			   const struct pod_file_rule *rule);
int pod_file_read_ports(struct pod_file_reader *rd, const json_t *value, void *target,
			const struct pod_file_rule *rule);
int pod_file_read_container_volumes(struct pod_file_reader *rd, const json_t *value, void *target,
				    const struct pod_file_rule *rule);
