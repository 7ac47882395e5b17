#include "hyperd/logdriver/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

const char *log_option_get(const struct log_option *options, const char *key)
{
	for (; options && options->key; options++)
		if (strcmp(options->key, key) == 0)
			return options->value;
	return NULL;
}

const char *log_option_filled(const struct log_option *options, const char *key)
{
	const char *text = log_option_get(options, key);

	return text && *text ? text : NULL;
}

/* Options of the daemon's own, which no driver sees. */
static const char *const common_names[] = {
	"mode",           "max-buffer-size", "cache-disabled", "cache-max-size",
	"cache-max-file", "cache-compress",  "cache-labels",   "cache-labels-regex",
	"cache-env",      "cache-env-regex", "cache-tag",
};

bool log_option_known(const char *const *names, const char *key)
{
	for (; names && *names; names++)
		if (strcmp(*names, key) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(common_names); i++)
		if (strcmp(common_names[i], key) == 0)
			return true;
	return false;
}

/* ------------------------------------------------------------------ values */

int log_parse_bool(const char *text, bool *ret, struct error *err)
{
	static const char *const yes[] = { "1", "t", "T", "TRUE", "true", "True" };
	static const char *const no[] = { "0", "f", "F", "FALSE", "false", "False" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*ret = strcmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return error_set(err, ERROR_INVALID, "strconv.ParseBool: parsing \"%s\": invalid syntax",
			 text);
}

static int parse_scaled(const char *text, double step, uint64_t *ret, struct error *err)
{
	static const char units[] = "kmgtp";
	const char *p;
	char *end;
	double value = strtod(text, &end), scale = 1;

	if (end == text || !isdigit((unsigned char)*text) ||
	    strspn(text, "0123456789.") != (size_t)(end - text))
		return error_set(err, ERROR_INVALID, "invalid size: '%s'", text);
	if (*end == ' ')
		end++;
	p = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
	if (p) {
		for (long i = 0; i <= p - units; i++)
			scale *= step;
		end++;
	}
	if (tolower((unsigned char)*end) == 'i')
		end++;
	if (tolower((unsigned char)*end) == 'b')
		end++;
	if (*end || value * scale > 1e18)
		return error_set(err, ERROR_INVALID, "invalid size: '%s'", text);
	*ret = (uint64_t)(value * scale);
	return 0;
}

int log_parse_size(const char *text, uint64_t *ret, struct error *err)
{
	return parse_scaled(text, 1000, ret, err);
}

int log_parse_ram(const char *text, uint64_t *ret, struct error *err)
{
	return parse_scaled(text, 1024, ret, err);
}

int log_parse_int(const char *text, long long *ret, struct error *err)
{
	if (parse_i64(*text == '+' ? text + 1 : text, INT32_MIN, INT32_MAX, ret) < 0)
		return error_set(err, ERROR_INVALID, "strconv.Atoi: parsing \"%s\": invalid syntax",
				 text);
	return 0;
}

static const struct unit {
	const char *name;
	double ns;
} units[] = {
	/* Longer names before those they begin with. */
	{ "ns", 1 },   { "us", 1e3 }, { "\xc2\xb5s", 1e3 }, { "\xce\xbcs", 1e3 },
	{ "ms", 1e6 }, { "s", 1e9 },  { "m", 60e9 },        { "h", 3600e9 },
};

static int bad_duration(const char *text, struct error *err)
{
	return error_set(err, ERROR_INVALID, "time: invalid duration \"%s\"", text);
}

int log_parse_duration(const char *text, int64_t *ret_ns, struct error *err)
{
	const char *p = text;
	bool negative = *p == '-';
	double total = 0;

	if (*p == '-' || *p == '+')
		p++;
	if (strcmp(p, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	if (!*p)
		return bad_duration(text, err);
	while (*p) {
		size_t n = strspn(p, "0123456789."), i;
		char *end;
		double value = strtod(p, &end);

		if (!n || end != p + n)
			return bad_duration(text, err);
		p = end;
		if (!*p)
			return error_set(err, ERROR_INVALID,
					 "time: missing unit in duration \"%s\"", text);
		for (i = 0; i < ARRAY_SIZE(units); i++)
			if (str_starts(p, units[i].name))
				break;
		if (i == ARRAY_SIZE(units))
			return error_set(err, ERROR_INVALID,
					 "time: unknown unit \"%.*s\" in duration \"%s\"",
					 (int)strcspn(p, "0123456789."), p, text);
		p += strlen(units[i].name);
		total += value * units[i].ns;
	}
	if (!(total < 9e18))
		return bad_duration(text, err);
	*ret_ns = (int64_t)(negative ? -total : total);
	return 0;
}

/* ------------------------------------------------------------------ every driver's */

int log_options_check_common(const struct log_option *options, struct error *err)
{
	const char *mode = log_option_filled(options, "mode");
	const char *size = log_option_get(options, "max-buffer-size");
	const char *disabled = log_option_filled(options, "cache-disabled");
	uint64_t bytes;
	bool on;

	if (mode && strcmp(mode, "blocking") != 0 && strcmp(mode, "non-blocking") != 0)
		return error_set(err, ERROR_INVALID, "logger: logging mode not supported: %s",
				 mode);
	if (size && (!mode || strcmp(mode, "non-blocking") != 0))
		return error_set(err, ERROR_INVALID,
				 "logger: max-buffer-size option is only supported with "
				 "'mode=non-blocking'");
	if (size && log_parse_ram(size, &bytes, err) < 0)
		return error_prefix(err, -EINVAL, "error parsing option max-buffer-size");
	if (disabled && log_parse_bool(disabled, &on, NULL) < 0)
		return error_set(err, ERROR_INVALID, "invalid value for option cache-disabled: %s",
				 disabled);
	return 0;
}
