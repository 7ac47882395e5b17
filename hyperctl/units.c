#include "hyperctl/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

/*
 * A decimal number as an integer of SCALE units: "1.5" with scale 1000 is 1500. Digits beyond the
 * scale are cut. *ret_end is the first character after it.
 */
static int decimal_parse(const char *text, uint64_t scale, uint64_t *ret, const char **ret_end)
{
	unsigned __int128 whole = 0, part = 0, divisor = 1;
	const char *p = text;
	bool digits = false;

	for (; isdigit((unsigned char)*p); p++) {
		whole = whole * 10 + (unsigned)(*p - '0');
		digits = true;
		if (whole > UINT64_MAX)
			return -ERANGE;
	}
	if (*p == '.') {
		for (p++; isdigit((unsigned char)*p); p++) {
			digits = true;
			if (divisor >= 1000000000000000000ull)
				continue;
			part = part * 10 + (unsigned)(*p - '0');
			divisor *= 10;
		}
	}
	if (!digits)
		return -EINVAL;
	whole = whole * scale + part * scale / divisor;
	if (whole > UINT64_MAX)
		return -ERANGE;
	*ret = (uint64_t)whole;
	*ret_end = p;
	return 0;
}

int size_parse(const char *text, uint64_t *ret_bytes, struct error *err)
{
	static const char letters[] = "bkmgtp";
	const char *unit = text, *end, *letter;
	uint64_t scale = 1;
	int r;

	unit += strspn(unit, "0123456789.");
	end = unit;
	if (*end == ' ')
		end++;
	if (*end) {
		letter = strchr(letters, tolower((unsigned char)*end));
		if (!letter)
			goto wrong;
		scale = 1ull << (10 * (letter - letters));
		end++;
		if (scale > 1 && *end == 'i')
			end++;
		if (scale > 1 && tolower((unsigned char)*end) == 'b')
			end++;
		if (*end)
			goto wrong;
	}
	r = decimal_parse(text, scale, ret_bytes, &end);
	if (r == 0 && *ret_bytes > INT64_MAX)
		r = -ERANGE;
	if (r == -ERANGE)
		return error_set(err, ERROR_INVALID, "'%s' is too large a size", text);
	if (r == 0 && end == unit)
		return 0;
wrong:
	return error_set(err, ERROR_INVALID, "'%s': expected a size such as 512m or 1.5g", text);
}

int cpus_parse(const char *text, uint64_t *ret_nano, struct error *err)
{
	const char *end;
	int r = decimal_parse(text, 1000000000, ret_nano, &end);

	if (r < 0 || *end || *ret_nano > INT64_MAX)
		return error_set(err, ERROR_INVALID,
				 "'%s': expected a number of CPUs such as 2 or 0.5", text);
	return 0;
}

int duration_parse(const char *text, uint64_t *ret_ns, struct error *err)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 },
		{ "us", 1000 },
		{ "µs", 1000 },
		{ "ms", NSEC_PER_MSEC },
		{ "s", NSEC_PER_SEC },
		{ "m", 60 * NSEC_PER_SEC },
		{ "h", 3600 * NSEC_PER_SEC },
	};
	const char *p = text;
	uint64_t sum = 0;

	if (strcmp(text, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	do {
		uint64_t value;
		const char *unit;
		size_t len, i;

		/* The unit is looked at first: it is the scale. */
		unit = p + strspn(p, "0123456789.");
		len = strcspn(unit, "0123456789.");
		for (i = 0; i < ARRAY_SIZE(units); i++)
			if (strlen(units[i].name) == len && memcmp(units[i].name, unit, len) == 0)
				break;
		if (i == ARRAY_SIZE(units) || decimal_parse(p, units[i].ns, &value, &p) < 0 ||
		    p != unit || __builtin_add_overflow(sum, value, &sum) || sum > INT64_MAX)
			return error_set(err, ERROR_INVALID,
					 "'%s': expected a duration such as 10s, 5m or 1h30m",
					 text);
		p = unit + len;
	} while (*p);
	*ret_ns = sum;
	return 0;
}

/* Exactly COUNT digits. */
static int digits(const char **p, int count, int min, int max, int *ret)
{
	int value = 0;

	for (int i = 0; i < count; i++, (*p)++) {
		if (!isdigit((unsigned char)**p))
			return -EINVAL;
		value = value * 10 + (**p - '0');
	}
	*ret = value;
	return value < min || value > max ? -EINVAL : 0;
}

static int fraction(const char **p, int64_t *ret_ns)
{
	int64_t scale = NSEC_PER_SEC / 10;

	*ret_ns = 0;
	if (!isdigit((unsigned char)**p))
		return -EINVAL;
	for (; isdigit((unsigned char)**p); (*p)++, scale /= 10)
		*ret_ns += scale * (**p - '0');
	return 0;
}

/* "Z", "+01:00", "-0730". */
static int offset(const char **p, int *ret_seconds)
{
	int sign = **p == '-' ? -1 : 1, hours, minutes;

	*ret_seconds = 0;
	if (**p == 'Z') {
		(*p)++;
		return 0;
	}
	(*p)++;
	if (digits(p, 2, 0, 23, &hours) < 0)
		return -EINVAL;
	if (**p == ':')
		(*p)++;
	if (digits(p, 2, 0, 59, &minutes) < 0)
		return -EINVAL;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return 0;
}

static int time_scan(const char *p, int64_t *ret_ns)
{
	struct tm tm = { .tm_isdst = -1 };
	int64_t ns = 0;
	time_t seconds;
	int zone;

	if (digits(&p, 4, 0, 9999, &tm.tm_year) < 0 || *p++ != '-' ||
	    digits(&p, 2, 1, 12, &tm.tm_mon) < 0 || *p++ != '-' ||
	    digits(&p, 2, 1, 31, &tm.tm_mday) < 0)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	if (*p == 'T' || *p == 't' || *p == ' ') {
		p++;
		if (digits(&p, 2, 0, 23, &tm.tm_hour) < 0)
			return -EINVAL;
		if (*p == ':' && (p++, digits(&p, 2, 0, 59, &tm.tm_min)) < 0)
			return -EINVAL;
		if (*p == ':' && (p++, digits(&p, 2, 0, 60, &tm.tm_sec)) < 0)
			return -EINVAL;
		if (*p == '.' && (p++, fraction(&p, &ns)) < 0)
			return -EINVAL;
	}
	if (*p) {
		if (!strchr("Z+-", *p) || offset(&p, &zone) < 0 || *p)
			return -EINVAL;
		seconds = timegm(&tm) - zone;
	} else {
		seconds = mktime(&tm);
	}
	/* Years that do not fit into 64 bits of nanoseconds: "never" (year 1) above all. */
	if (seconds < -9000000000ll || seconds > 9000000000ll) {
		*ret_ns = seconds < 0 ? INT64_MIN : INT64_MAX;
		return 0;
	}
	*ret_ns = seconds * (int64_t)NSEC_PER_SEC + ns;
	return 0;
}

int time_parse(const char *text, int64_t *ret_ns, struct error *err)
{
	if (time_scan(text, ret_ns) < 0)
		return error_set(err, ERROR_INVALID,
				 "'%s': expected a time such as 2026-01-02T15:04:05Z", text);
	return 0;
}

int since_parse(const char *text, int64_t now_ns, char ret[static 32], struct error *err)
{
	const char *p = text;
	uint64_t ago_ns;
	int64_t ns;

	/* Seconds since 1970 go on as they are: a double would lose nanoseconds. */
	p += strspn(p, "0123456789");
	if (*p == '.')
		p += 1 + strspn(p + 1, "0123456789");
	if (*text && !*p && isdigit((unsigned char)*text) && strlen(text) < 32) {
		strcpy(ret, text);
		return 0;
	}
	if (duration_parse(text, &ago_ns, NULL) == 0)
		ns = now_ns - (int64_t)ago_ns;
	else if (time_scan(text, &ns) < 0)
		return error_set(err, ERROR_INVALID,
				 "'%s': expected a duration such as 10m, a time such as "
				 "2026-01-02T15:04:05Z, or seconds since 1970",
				 text);
	if (ns < 0)
		ns = 0;
	snprintf(ret, 32, "%lld.%09lld", (long long)(ns / (int64_t)NSEC_PER_SEC),
		 (long long)(ns % (int64_t)NSEC_PER_SEC));
	return 0;
}

static void human(double bytes, double step, const char *const *units, size_t count, int precision,
		  char ret[static 24])
{
	/* What rounds up to a fourth digit takes the next unit: "1MB", never "1e+03kB". */
	double limit = precision == 3 ? 999.5 : step;
	size_t i = 0;

	while (bytes >= limit && i + 1 < count) {
		bytes /= step;
		i++;
	}
	snprintf(ret, 24, "%.*g%s", precision, bytes, units[i]);
}

void size_human(double bytes, char ret[static 24])
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB" };

	human(bytes, 1000, units, ARRAY_SIZE(units), 3, ret);
}

void size_human_binary(double bytes, char ret[static 24])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };

	human(bytes, 1024, units, ARRAY_SIZE(units), 4, ret);
}

void duration_human(int64_t seconds, char ret[static 32])
{
	long long s = seconds, hours = (s + 1800) / 3600;

	if (s < 1)
		strcpy(ret, "Less than a second");
	else if (s == 1)
		strcpy(ret, "1 second");
	else if (s < 60)
		snprintf(ret, 32, "%lld seconds", s);
	else if (s < 120)
		strcpy(ret, "About a minute");
	else if (s < 3600)
		snprintf(ret, 32, "%lld minutes", s / 60);
	else if (hours == 1)
		strcpy(ret, "About an hour");
	else if (hours < 48)
		snprintf(ret, 32, "%lld hours", hours);
	else if (hours < 24 * 7 * 2)
		snprintf(ret, 32, "%lld days", hours / 24);
	else if (hours < 24 * 30 * 2)
		snprintf(ret, 32, "%lld weeks", hours / 24 / 7);
	else if (hours < 24 * 365 * 2)
		snprintf(ret, 32, "%lld months", hours / 24 / 30);
	else
		snprintf(ret, 32, "%lld years", hours / 24 / 365);
}

void ago_human(int64_t then_ns, int64_t now_ns, char ret[static 40])
{
	char duration[32];

	if (then_ns <= 0) {
		strcpy(ret, "N/A");
		return;
	}
	duration_human((now_ns - then_ns) / (int64_t)NSEC_PER_SEC, duration);
	snprintf(ret, 40, "%s ago", duration);
}
