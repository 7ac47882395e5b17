#pragma once
/*
 * A growing byte string, and arrays of strings. Appending never fails in a way the caller must
 * check each time: a failed allocation is remembered and reported by str_steal(). The buffer is
 * always NUL-terminated.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

struct str {
	char *data; /* owned; NULL while empty */
	size_t len, capacity;
	bool failed; /* out of memory at some point */
};

#define autostr __attribute__((cleanup(str_done)))
#define STR_INIT  \
	{         \
		0 \
	}

void str_done(struct str *s);
void str_clear(struct str *s);
void str_append(struct str *s, const void *data, size_t len);
void str_add(struct str *s, const char *text);
void str_addc(struct str *s, char c);
void str_addf(struct str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_addvf(struct str *s, const char *fmt, va_list ap);
/* Removes N bytes from the front. */
void str_consume(struct str *s, size_t n);
/* The text ("" when empty), borrowed. */
const char *str_text(const struct str *s);
/* The text, owned by the caller, or NULL when memory ran out; S is empty afterwards. */
char *str_steal(struct str *s);

/* printf into new memory; NULL when memory ran out. */
char *strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* strcmp that takes NULL on either side. */
bool str_equal(const char *a, const char *b);

/* NULL-terminated arrays of strings ("strv"), owned whole. */
#define autostrv __attribute__((cleanup(cleanup_strv)))

void strv_free(char **v);
static inline void cleanup_strv(char ***v)
{
	strv_free(*v);
}
size_t strv_len(char *const *v);
/* Appends a copy of S; 0 or -ENOMEM. */
int strv_add(char ***v, const char *s);
int strv_addf(char ***v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends TEXT itself: takes it, even on failure. */
int strv_take(char ***v, char *text);
char **strv_copy(char *const *v);
/* Splits at each SEPARATOR; empty pieces are kept. */
char **strv_split(const char *s, char separator);
#define strv_for_each(pos, v) for (char *const *pos = (v); pos && *pos; pos++)

/* Whole-string numbers: 0, or -EINVAL when S is not a number, -ERANGE when it is outside [min,
 * max]. */
int parse_u64(const char *s, unsigned long long min, unsigned long long max,
	      unsigned long long *ret);
int parse_i64(const char *s, long long min, long long max, long long *ret);
