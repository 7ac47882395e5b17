#pragma once
/* Sizes, CPU counts, durations and times of day, as people write and read them. */
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "base/str.h"

/* "512m", "1.5g", "64KiB", "1024": bytes, powers of 1024 whatever the spelling, as Docker reads
 * memory. */
int size_parse(const char *text, uint64_t *ret_bytes, struct error *err);
/* "1.5": billionths of a CPU, exactly. */
int cpus_parse(const char *text, uint64_t *ret_nano, struct error *err);
/* "90s", "1h30m", "1.5h", "250ms": nanoseconds. */
int duration_parse(const char *text, uint64_t *ret_ns, struct error *err);
/* RFC 3339: "2026-01-02T03:04:05.678901234Z", an offset, or neither (local time), down to a mere
 * date. */
int time_parse(const char *text, int64_t *ret_ns, struct error *err);
/*
 * What --since and --until take: a duration before NOW_NS, a date, or seconds since 1970 with
 * fraction. Written into TEXT as the API wants it: "SECONDS.NNNNNNNNN".
 */
int since_parse(const char *text, int64_t now_ns, char ret[static 32], struct error *err);

/* "1.24MB": powers of 1000, three digits. "1.205MiB": powers of 1024, four digits. */
void size_human(double bytes, char ret[static 24]);
void size_human_binary(double bytes, char ret[static 24]);
/* "5 seconds", "About a minute", "3 weeks". */
void duration_human(int64_t seconds, char ret[static 32]);
/* "3 weeks ago" from RFC 3339 text or seconds since 1970; "N/A" when it never was. */
void ago_human(int64_t then_ns, int64_t now_ns, char ret[static 40]);
