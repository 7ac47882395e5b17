#pragma once
/* Names of pods and containers: which are allowed, and made-up ones. */
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define NAME_MAX_BYTES 200
/* 64 hex digits. */
#define ID_BYTES 64

/* [a-zA-Z0-9][a-zA-Z0-9_.-]+ as Docker has it. WHAT: "container", or "pod", which may be one
 * character. */
int name_check(const char *what, const char *name, struct error *err);
/* "quiet_harbour": owned by the caller. ATTEMPT above 0 adds a digit. NULL when memory ran out. */
char *name_make(unsigned attempt);
/* From the kernel's generator. */
int id_make(char id[ID_BYTES + 1], struct error *err);
/* How good a match ID is for TEXT: 2 the same, 1 a prefix, 0 none. */
int id_match(const char *id, const char *text);
