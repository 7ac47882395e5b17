#pragma once
/* Base 64 (RFC 4648, section 4), as file contents travel in pod files and records. */
#include <stddef.h>

/* NUL-terminated, owned by the caller; NULL when memory ran out. */
char *base64_encode(const void *data, size_t len);
/*
 * White space is skipped, the padding may be missing. 0, -ENOMEM, or -EINVAL. *ret has a NUL behind
 * its *ret_len bytes.
 */
int base64_decode(const char *text, size_t len, char **ret, size_t *ret_len);
