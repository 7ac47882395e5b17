#pragma once
/*
 * Variables in the words of a Dockerfile, quotes and escapes: $NAME, ${NAME}, ${NAME:-other},
 * ${NAME:+other}, ${NAME:?complaint} and the same without the colon, as a shell would take them.
 * Nothing is ever run. Source: Dockerfile reference, "Environment replacement". Any thread.
 */
#include "base/error.h"

/* Expands WORD with ENV (strv of NAME=VALUE; the first of a name counts). *ret is the caller's. */
int expand_word(const char *word, char *const *env, char escape, char **ret, struct error *err);
/* The same, cut into words at blanks that are not quoted; appended to *ret. */
int expand_words(const char *word, char *const *env, char escape, char ***ret, struct error *err);
