#pragma once
/*
 * What went wrong, told once: a kind for machines (it becomes an HTTP status or an exit code at the
 * edge) and a message for people. Functions return 0 or a negative errno and take a `struct error
 * *` last, which may be NULL. Each layer says with error_prefix() what *it* was doing. No
 * allocation: an error can always be reported, and needs no clean-up.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

enum error_kind {
	ERROR_NONE = 0,
	ERROR_FAILED,       /* an operation failed: HTTP 500 */
	ERROR_INVALID,      /* the caller's input is wrong: 400 */
	ERROR_UNAUTHORIZED, /* credentials missing or refused: 401 */
	ERROR_DENIED,       /* 403 */
	ERROR_NOT_FOUND,    /* the named thing does not exist: 404 */
	ERROR_CONFLICT,     /* wrong state, or in use, or the name is taken: 409 */
	ERROR_NOT_MODIFIED, /* nothing to do, it is so already: 304 */
	ERROR_LIMIT,        /* a named limit was reached: 413 or 500 */
	ERROR_TIMEOUT,      /* a named deadline passed */
	ERROR_CANCELED,     /* whoever asked has gone */
	ERROR_UNSUPPORTED,  /* 501 */
	ERROR_UNAVAILABLE,  /* 503 */
	ERROR_KIND_COUNT,
};

struct error {
	enum error_kind kind;
	int exit_code;      /* for failed process starts: 126 or 127 as Docker uses them, else 0 */
	char message[1024]; /* never with a trailing newline; cut with "…" when too long */
};

/* Sets kind and message; returns the negative errno that stands for KIND. */
int error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Sets the message to FMT and the text of ERRNUM (positive); returns -ERRNUM. */
int error_errno(struct error *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "FMT: " before the message; returns R, for `return error_prefix(err, r, …)`. */
int error_prefix(struct error *err, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Out of memory, as an error; returns -ENOMEM. */
int error_nomem(struct error *err);

void error_clear(struct error *err);
void error_copy(struct error *to, const struct error *from);

/* The negative errno that stands for KIND, and the kind that stands for an errno. */
int error_kind_errno(enum error_kind kind);
enum error_kind error_errno_kind(int errnum);
const char *error_kind_name(enum error_kind kind);
