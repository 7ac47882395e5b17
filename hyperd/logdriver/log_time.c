#include "hyperd/logdriver/log_time.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/clock.h"

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back (months from March, so that
 * leap days come last). */
static int64_t days_from_date(int64_t year, unsigned month, unsigned day)
{
	int64_t y = month <= 2 ? year - 1 : year, era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void log_time_format(uint64_t time_ns, char out[LOG_TIME_BYTES])
{
	int64_t days = (int64_t)(time_ns / NSEC_PER_SEC / 86400) + 719468;
	unsigned second = (unsigned)(time_ns / NSEC_PER_SEC % 86400);
	int64_t era = days / 146097, of_era = days - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t m = (5 * of_year + 2) / 153;
	unsigned day = (unsigned)(of_year - (153 * m + 2) / 5 + 1);
	unsigned month = (unsigned)(m < 10 ? m + 3 : m - 9);
	unsigned fraction = (unsigned)(time_ns % NSEC_PER_SEC);
	int n;

	year += era * 400 + (month <= 2);
	n = snprintf(out, LOG_TIME_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u", (unsigned)year % 10000,
		     month, day, second / 3600, second / 60 % 60, second % 60);
	if (fraction) {
		n += snprintf(out + n, LOG_TIME_BYTES - (size_t)n, ".%09u", fraction);
		while (out[n - 1] == '0')
			n--;
	}
	out[n++] = 'Z';
	out[n] = '\0';
}

/* N digits at *P; -1 when they are not there. */
static int digits(const char **p, const char *end, unsigned n)
{
	int value = 0;

	if ((size_t)(end - *p) < n)
		return -1;
	for (; n; n--) {
		char c = *(*p)++;

		if (c < '0' || c > '9')
			return -1;
		value = value * 10 + (c - '0');
	}
	return value;
}

static bool literal(const char **p, const char *end, char c)
{
	if (*p == end || **p != c)
		return false;
	++*p;
	return true;
}

static int parse_zone(const char **p, const char *end, int *ret_seconds)
{
	int sign, hours, minutes;

	*ret_seconds = 0;
	if (literal(p, end, 'Z'))
		return 0;
	sign = literal(p, end, '+') ? 1 : literal(p, end, '-') ? -1 : 0;
	hours = digits(p, end, 2);
	if (!sign || hours < 0 || !literal(p, end, ':'))
		return -EINVAL;
	minutes = digits(p, end, 2);
	if (minutes < 0)
		return -EINVAL;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return 0;
}

int log_time_parse(const char *text, size_t len, uint64_t *ret)
{
	const char *p = text, *end = text + len;
	int year, month, day, hour, minute, second, zone;
	uint64_t fraction = 0, scale = NSEC_PER_SEC;
	int64_t seconds;

	if ((year = digits(&p, end, 4)) < 0 || !literal(&p, end, '-') ||
	    (month = digits(&p, end, 2)) < 1 || month > 12 || !literal(&p, end, '-') ||
	    (day = digits(&p, end, 2)) < 1 || day > 31 || !literal(&p, end, 'T') ||
	    (hour = digits(&p, end, 2)) < 0 || hour > 23 || !literal(&p, end, ':') ||
	    (minute = digits(&p, end, 2)) < 0 || minute > 59 || !literal(&p, end, ':') ||
	    (second = digits(&p, end, 2)) < 0 || second > 60)
		return -EINVAL;
	if (literal(&p, end, '.')) {
		const char *start = p;

		for (; p < end && isdigit((unsigned char)*p); p++) {
			scale /= 10;
			fraction += scale * (uint64_t)(*p - '0');
		}
		if (p == start)
			return -EINVAL;
	}
	if (parse_zone(&p, end, &zone) < 0 || p != end)
		return -EINVAL;
	seconds = days_from_date(year, (unsigned)month, (unsigned)day) * 86400 + hour * 3600 +
		  minute * 60 + second - zone;
	if (seconds < 0 || (uint64_t)seconds > UINT64_MAX / NSEC_PER_SEC - 1)
		return -EINVAL;
	*ret = (uint64_t)seconds * NSEC_PER_SEC + fraction;
	return 0;
}
