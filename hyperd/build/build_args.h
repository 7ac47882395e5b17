#pragma once
/*
 * Build arguments: what the client gave (--build-arg), what stands before the first FROM, and what
 * the stage at hand has declared with ARG. Only what was declared is seen, but for the proxies,
 * which every build may have. Source: Dockerfile reference, "ARG". Loop thread.
 */
#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct build_args {
	json_t *given;      /* borrowed: {"name": "value" or null}; may be NULL */
	json_t *before;     /* owned: those before the first FROM */
	json_t *declared;   /* owned: those of the stage at hand */
	json_t *referenced; /* owned: names that some ARG has named */
};

int build_args_init(struct build_args *args, json_t *given, struct error *err);
void build_args_done(struct build_args *args);
/* A new stage begins: what the last one declared is out of sight. */
void build_args_next_stage(struct build_args *args);
/* VALUE NULL: none by default. BEFORE: it stands before the first FROM. */
int build_args_declare(struct build_args *args, const char *name, const char *value, bool before,
		       struct error *err);
/* NAME=VALUE of all that are seen and not in ENV (strv), appended to *ret. */
int build_args_env(const struct build_args *args, char *const *env, char ***ret, struct error *err);
/* The same of those before the first FROM. */
int build_args_env_before(const struct build_args *args, char ***ret, struct error *err);
/* Whether NAME belongs into the history: it was declared, or is no proxy. */
bool build_args_counts(const struct build_args *args, const char *name);
/* The given ones that nobody asked for, sorted; strv of the caller's, NULL when there are none. */
char **build_args_unused(const struct build_args *args);
