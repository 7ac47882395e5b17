#pragma once
/* A record of a log file, read back; private to hyperd/logdriver. */
#include "base/str.h"
#include "hyperd/logdriver/logdriver.h"

struct file_record {
	struct str text, details; /* owned, reused from record to record */
	enum log_stream stream;
	uint64_t time_ns;
};
void file_record_done(struct file_record *record);
/* Adds "key=value" to the details, escaped as Docker shows them. */
void file_record_add_detail(struct file_record *record, const char *key, size_t key_len,
			    const char *value, size_t value_len);
