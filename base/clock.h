#pragma once
/* Times: monotonic nanoseconds for deadlines, realtime nanoseconds for what people read. */
#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC  1000000000ull
#define NSEC_PER_MSEC 1000000ull

/* No deadline. */
#define DEADLINE_NEVER UINT64_MAX

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static inline uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

/* The monotonic time MS milliseconds from now. */
static inline uint64_t deadline_in_ms(uint64_t ms)
{
	return now_ns() + ms * NSEC_PER_MSEC;
}
