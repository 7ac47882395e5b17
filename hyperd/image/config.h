#pragma once
/*
 * The configuration of an image: the JSON whose digest is the image's id. It comes from strangers:
 * each member is checked for its type, and the error names it. Sources: OCI image specification 1.0
 * config.md, Docker image specification 1.2. Any thread.
 */
#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "hyperd/image/image.h"

struct config_file {
	json_t *root;                  /* owned: everything, as given */
	struct image_config config;    /* owned: its "config" member */
	char **diff_ids;               /* owned strv, lowest layer first */
	const char *os, *architecture; /* borrowed from root, NULL when missing */
	uint64_t created_ns;           /* realtime; 0 when missing */
};

#define autoconfig __attribute__((cleanup(config_file_done)))

int config_file_parse(const char *text, size_t len, struct config_file *ret, struct error *err);
void config_file_done(struct config_file *file);

/* The "config" member alone (NULL: all empty). */
int image_config_parse(const json_t *object, struct image_config *ret, struct error *err);
void image_config_done(struct image_config *config);

/* RFC 3339 with nanoseconds: 0, or -EINVAL. Times before 1970 count as 0. */
int time_parse(const char *text, uint64_t *ret_ns);
/* New string, NULL when memory ran out. */
char *time_format(uint64_t ns);
