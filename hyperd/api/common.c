#include <fnmatch.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

const char *api_time(uint64_t realtime_ns, char text[API_TIME_BYTES])
{
	time_t seconds = (time_t)(realtime_ns / NSEC_PER_SEC);
	struct tm tm;
	size_t n;

	if (!realtime_ns)
		return "0001-01-01T00:00:00Z";
	n = strftime(text, API_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
	snprintf(text + n, API_TIME_BYTES - n, ".%09lluZ",
		 (unsigned long long)(realtime_ns % NSEC_PER_SEC));
	return text;
}

json_t *api_json_time(uint64_t realtime_ns)
{
	char text[API_TIME_BYTES];

	return json_string(api_time(realtime_ns, text));
}

/* "1577836800", "1577836800.000000001" */
static bool parse_seconds(const char *text, uint64_t *ret_ns)
{
	unsigned long long seconds, fraction = 0;
	const char *dot = strchr(text, '.');
	char whole[24], digits[10] = "000000000";
	size_t n;

	if (dot) {
		n = strlen(dot + 1);
		if ((size_t)(dot - text) >= sizeof(whole) || strspn(dot + 1, "0123456789") != n)
			return false;
		memcpy(whole, text, (size_t)(dot - text));
		whole[dot - text] = 0;
		memcpy(digits, dot + 1, n < 9 ? n : 9);
		fraction = strtoull(digits, NULL, 10);
		text = whole;
	}
	if (parse_u64(text, 0, UINT64_MAX / NSEC_PER_SEC - 1, &seconds) < 0)
		return false;
	*ret_ns = seconds * NSEC_PER_SEC + fraction;
	return true;
}

/* Go's time.ParseDuration: "1h30m", "10s", "1.5h", "300ms". */
static bool parse_duration(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = { { "ns", 1 },  { "us", 1e3 }, { "ms", 1e6 },
		      { "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 } };
	double total = 0;

	if (!*text)
		return false;
	while (*text) {
		size_t digits = strspn(text, "0123456789."), unit_len, i;
		double value;

		if (!digits)
			return false;
		value = strtod(text, NULL);
		text += digits;
		unit_len = strcspn(text, "0123456789.");
		for (i = 0; i < ARRAY_SIZE(units); i++)
			if (strlen(units[i].unit) == unit_len &&
			    !strncmp(units[i].unit, text, unit_len))
				break;
		if (i == ARRAY_SIZE(units))
			return false;
		total += value * units[i].ns;
		text += unit_len;
	}
	if (total > 9e18)
		return false;
	*ret_ns = (uint64_t)total;
	return true;
}

/* 2006-01-02[T15:04[:05[.999999999]]][Z|±07:00], without a zone in the daemon's own. */
static bool parse_rfc3339(const char *text, uint64_t *ret_ns)
{
	static const char *const forms[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H",
					     "%Y-%m-%d" };
	struct tm tm;
	const char *end = NULL;
	char digits[10] = "000000000";
	int hours, minutes;
	bool zone = true;
	char sign;
	time_t t;

	for (size_t i = 0; i < ARRAY_SIZE(forms) && !end; i++) {
		memset(&tm, 0, sizeof(tm));
		end = strptime(text, forms[i], &tm);
	}
	if (!end)
		return false;
	if (*end == '.') {
		size_t n = strspn(end + 1, "0123456789");

		memcpy(digits, end + 1, n < 9 ? n : 9);
		end += 1 + n;
	}
	if (!strcmp(end, "Z")) {
		t = timegm(&tm);
	} else if (sscanf(end, "%c%2d:%2d", &sign, &hours, &minutes) == 3 &&
		   (sign == '+' || sign == '-')) {
		t = timegm(&tm) - (sign == '+' ? 1 : -1) * (hours * 3600 + minutes * 60);
	} else {
		zone = false;
		tm.tm_isdst = -1;
		t = mktime(&tm);
	}
	if (!zone && *end)
		return false;
	if (t < 0)
		t = 0;
	*ret_ns = (uint64_t)t * NSEC_PER_SEC + strtoull(digits, NULL, 10);
	return true;
}

int api_parse_time(const char *text, uint64_t *ret_ns, struct error *err)
{
	uint64_t ns, now = realtime_ns();

	*ret_ns = 0;
	if (!text || !*text)
		return 0;
	if (parse_seconds(text, &ns)) {
		*ret_ns = ns;
	} else if (*text != '-' && parse_duration(text, &ns)) {
		*ret_ns = ns < now ? now - ns : 0;
	} else if (*text == '-' && parse_duration(text + 1, &ns)) {
		*ret_ns = now + ns;
	} else if (parse_rfc3339(text, &ns)) {
		*ret_ns = ns;
	} else {
		return error_set(err, ERROR_INVALID,
				 "'%.64s': expected a time: seconds since 1970, RFC 3339, or a "
				 "duration such as 10m",
				 text);
	}
	return 0;
}

int api_parse_signal(const char *text, int *ret, struct error *err)
{
	const char *name = strncasecmp(text, "SIG", 3) ? text : text + 3;
	unsigned long long number;

	if (parse_u64(text, 1, 64, &number) == 0) {
		*ret = (int)number;
		return 0;
	}
	for (int i = 1; i < 32; i++) {
		const char *abbreviation = sigabbrev_np(i);

		if (abbreviation && !strcasecmp(abbreviation, name)) {
			*ret = i;
			return 0;
		}
	}
	/* The guest's numbers, as Docker's table has them: RTMIN is 34. */
	if (!strncasecmp(name, "RTMIN", 5) &&
	    (!name[5] || (name[5] == '+' && parse_u64(name + 6, 0, 30, &number) == 0))) {
		*ret = 34 + (name[5] ? (int)number : 0);
		return 0;
	}
	if (!strncasecmp(name, "RTMAX", 5) &&
	    (!name[5] || (name[5] == '-' && parse_u64(name + 6, 0, 30, &number) == 0))) {
		*ret = 64 - (name[5] ? (int)number : 0);
		return 0;
	}
	return error_set(err, ERROR_INVALID, "Invalid signal: %.64s", text);
}

json_t *api_json_string(const char *text)
{
	json_t *json = json_string(text ? text : "");
	autofree char *copy = NULL;

	if (json)
		return json;
	copy = strdup(text);
	for (char *p = copy; p && *p; p++)
		if (*p & 0x80)
			*p = '?';
	return copy ? json_string(copy) : NULL;
}

json_t *api_json_pairs(const struct spec_pair *pairs)
{
	json_t *object = json_object();

	for (; pairs && pairs->key; pairs++)
		json_object_set_new(object, pairs->key, api_json_string(pairs->value));
	return object;
}

json_t *api_json_strv(char *const *v)
{
	return v ? json_from_strv(v) : json_null();
}

int api_push_stream_error(struct http_request *request, const struct error *error)
{
	json_t *text = api_json_string(error->message);
	autojson json_t *json =
		json_pack("{s:{s:O},s:o}", "errorDetail", "message", text, "error", text);

	return json ? http_stream_push_json(request, json, "\r\n") : -ENOMEM;
}

bool api_glob(const char *pattern, const char *text)
{
	return fnmatch(pattern, text, FNM_PATHNAME) == 0;
}

bool api_labels_match(const json_t *labels, char *const *values)
{
	strv_for_each(value, values) {
		const char *equals = strchr(*value, '=');
		autofree char *key =
			equals ? strndup(*value, (size_t)(equals - *value)) : strdup(*value);
		const char *have = key ? json_string_value(json_object_get(labels, key)) : NULL;

		if (!have || (equals && strcmp(have, equals + 1)))
			return false;
	}
	return true;
}

/* github.com/docker/go-units, HumanDuration */
char *api_human_duration(uint64_t ns)
{
	uint64_t seconds = ns / NSEC_PER_SEC, minutes = seconds / 60;
	uint64_t hours = (seconds + 1800) / 3600;

	if (seconds < 1)
		return strdup("Less than a second");
	if (seconds == 1)
		return strdup("1 second");
	if (seconds < 60)
		return strf("%d seconds", (int)seconds);
	if (minutes == 1)
		return strdup("About a minute");
	if (minutes < 60)
		return strf("%d minutes", (int)minutes);
	if (hours == 1)
		return strdup("About an hour");
	if (hours < 48)
		return strf("%d hours", (int)hours);
	if (hours < 24 * 7 * 2)
		return strf("%d days", (int)(hours / 24));
	if (hours < 24 * 30 * 2)
		return strf("%d weeks", (int)(hours / 24 / 7));
	if (hours < 24 * 365 * 2)
		return strf("%d months", (int)(hours / 24 / 30));
	return strf("%d years", (int)(hours / 24 / 365));
}

int api_container(struct http_request *request, struct container **ret, struct error *err)
{
	return container_get(api_engine(request), http_param(request, "name"), ret, err);
}
