#pragma once
/*
 * The configuration that a build carries from step to step: an image's "config" member, with all
 * the members that Docker writes, in Go's zero values where nothing was said. Loop thread.
 */
#include <jansson.h>

#include "base/str.h"
#include "hyperd/build/dockerfile.h"

/* A copy of BASE (NULL: nothing said), made complete. NULL when memory ran out. */
json_t *run_config_make(const json_t *base);

/* The environment and other lists as a strv of the caller's; NULL when there is none. */
char **run_config_strv(const json_t *config, const char *key);
int run_config_set_strv(json_t *config, const char *key, char *const *v, struct error *err);
int run_config_set_text(json_t *config, const char *key, const char *text, struct error *err);
/* "NAME=VALUE" in place of another value of NAME. */
int run_config_set_env(json_t *config, const char *name, const char *value, struct error *err);
/* Into a map: Labels (VALUE NULL: an empty object, as Volumes has). */
int run_config_set_member(json_t *config, const char *map, const char *key, const char *value,
			  struct error *err);
/* SHELL's, or /bin/sh -c; strv of the caller's. */
char **run_config_shell(const json_t *config);

/*
 * What made an image, as its container's configuration has it: a copy of CONFIG with the command
 * "SHELL… #(nop) " and COMMENT, which is an argument of its own or, with JOINED, the end of the
 * one before. *ret_created_by (may be NULL) is the command as one text.
 */
json_t *run_config_with_comment(const json_t *config, const char *comment, bool joined,
				char **ret_created_by);
/* Whether two containers' configurations would have made the same image of the same parent. */
bool run_config_same(const json_t *a, const json_t *b);

/* Go's %q of one string, and of a list: ["a" "b"]. */
void go_quote(struct str *out, const char *text);
void go_quote_list(struct str *out, char *const *v);
/* Go's %v of a list: [a b]. */
void go_list(struct str *out, char *const *v);
/* Go's duration: "1m30s". */
void go_duration(struct str *out, int64_t ns);
