#pragma once
/*
 * The patterns of a .dockerignore file: which names of a build context are left out. A line each;
 * "#" begins a comment, "!" takes names in again, the last line that fits counts. "*" and "?" stay
 * within a component, "**" goes through any number of them, a name is left out with the directory
 * that holds it. Any thread.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

#define IGNORE_MAX_BYTES    (1u << 20)
#define IGNORE_MAX_PATTERNS 10000

struct ignore;

int ignore_parse(const char *text, size_t len, struct ignore **ret, struct error *err);
void ignore_free(struct ignore *ignore);
DEFINE_CLEANUP(ignore_free, struct ignore *);

/* PATH: of the context, without a leading slash. IGNORE NULL: nothing is left out. */
bool ignore_match(const struct ignore *ignore, const char *path);
/* Whether a "!" line could take something in that lies in the directory PATH. */
bool ignore_may_hold(const struct ignore *ignore, const char *path);

/* One pattern of the kind above against a whole name. */
bool ignore_pattern_match(const char *pattern, const char *path);
