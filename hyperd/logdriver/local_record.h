#pragma once
/*
 * A record of Docker's "local" format: its size as four bytes, big-endian, a LogEntry of Docker's
 * (protobuf: 1 source, 2 time_nano, 3 line, 4 partial, 5 {1 last, 2 id, 3 ordinal}, 6 attrs {1 key,
 * 2 value}), and its size again, so that a file is also read from its end.
 */
#include <sys/types.h>

#include "hyperd/logdriver/file_record.h"
#include "hyperd/logdriver/lines.h"

/* Docker's limit, too. */
#define LOCAL_RECORD_MAX_BYTES 1000000u

/* ATTRS as made by local_record_add_attr(). */
void local_record_add(struct str *to, const struct log_line *line, const struct str *attrs);
void local_record_add_attr(struct str *attrs, const char *key, const char *value);
/* How long the record at TEXT is: 0 when it is not all there, -EINVAL when it is none. */
ssize_t local_record_cut(const char *text, size_t len);
/* 0 or -EINVAL. */
int local_record_parse(const char *text, size_t len, struct file_record *ret);
