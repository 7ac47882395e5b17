#pragma once
/*
 * References: what people call images. "busybox" means docker.io/library/busybox:latest; the short
 * form is the familiar one, and the one that is shown. Grammar: github.com/distribution/reference.
 * Any thread.
 */
#include <stdbool.h>

#include "base/error.h"

#define REFERENCE_MAX_NAME_BYTES 255

struct reference {
	char *domain; /* owned: "docker.io" */
	char *path;   /* owned: "library/busybox" */
	char *tag;    /* owned, may be NULL */
	char *digest; /* owned, may be NULL */
};

#define autoreference __attribute__((cleanup(reference_done)))

/* Parses TEXT, familiar or whole; adds domain and "library/", but no tag. ERROR_INVALID. */
int reference_parse(const char *text, struct reference *ret, struct error *err);
void reference_done(struct reference *reference);
/* Sets the tag "latest" where there is neither tag nor digest. */
int reference_add_default_tag(struct reference *reference, struct error *err);

/* New strings, NULL when memory ran out. */
char *reference_name(const struct reference *reference);          /* docker.io/library/busybox */
char *reference_familiar_name(const struct reference *reference); /* busybox */
char *reference_familiar(const struct reference *reference);      /* busybox:latest */
