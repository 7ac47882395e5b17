#pragma once
/* Times as text, as Go's RFC3339Nano has them. Private to hyperd/logdriver. */
#include <stddef.h>
#include <stdint.h>

/* "2024-01-02T03:04:05.678901234Z", trailing zeros of the fraction cut. */
#define LOG_TIME_BYTES 40
void log_time_format(uint64_t time_ns, char out[LOG_TIME_BYTES]);
/* 0 or -EINVAL. */
int log_time_parse(const char *text, size_t len, uint64_t *ret);
