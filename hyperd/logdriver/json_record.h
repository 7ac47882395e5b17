#pragma once
/*
 * One line of Docker's json-file format:
 *	{"log":"…\n","stream":"stdout","attrs":{"k":"v"},"time":"2024-01-02T03:04:05.678901234Z"}
 * Text is escaped as Go's encoding/json does, so that what reads Docker's files reads ours. Bytes
 * that are no UTF-8 become U+FFFD, in Docker's as in ours.
 */
#include "base/str.h"
#include "hyperd/logdriver/file_record.h"
#include "hyperd/logdriver/log_time.h"
#include "hyperd/logdriver/logdriver.h"

void json_escape(struct str *to, const char *text, size_t len);
/* ATTRS: `"attrs":{…},` or "". TIME: as formatted. */
void json_record_add(struct str *to, enum log_stream stream, const char *time, const char *attrs,
		     const char *data, size_t len);

/* LINE without its newline. 0, or -EINVAL when it is damaged. */
int json_record_parse(const char *line, size_t len, struct file_record *ret);
