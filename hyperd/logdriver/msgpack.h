#pragma once
/*
 * The little of MessagePack that Fluentd's forward protocol needs: maps and arrays of texts, a
 * time, and reading the acknowledgement back. Written here because Debian's library of the same
 * name brings all of Boost along for these hundred lines.
 */
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"

void msgpack_add_array(struct str *to, size_t count);
void msgpack_add_map(struct str *to, size_t count);
void msgpack_add_text(struct str *to, const char *text, size_t len);
void msgpack_add_uint(struct str *to, uint64_t value);
/* Fluentd's EventTime: seconds and nanoseconds. */
void msgpack_add_time(struct str *to, uint64_t time_ns);

/*
 * One value at the front of DATA: how long it is, 0 when it is not all there, -EINVAL when it is
 * none or nested too deep. When it is a map with the text KEY to a text, that is *ret, borrowed;
 * NULL otherwise.
 */
ssize_t msgpack_find(const char *data, size_t len, const char *key, const char **ret,
		     size_t *ret_len);
