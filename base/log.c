#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

static const char *log_program = "hyper";
static enum log_level log_threshold = LOG_LEVEL_INFO;

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

void log_open(const char *program, enum log_level level)
{
	log_program = program;
	log_threshold = level;
}

void log_set_level(enum log_level level)
{
	log_threshold = level;
}

int log_level_parse(const char *name, enum log_level *ret)
{
	if (strcasecmp(name, "fatal") == 0)
		name = "error";
	if (strcasecmp(name, "warning") == 0)
		name = "warn";
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (strcasecmp(name, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* One write a line, so that lines of several processes do not mix. */
static void print_line(const char *label, const char *fmt, va_list ap)
{
	char line[2048], when[80];
	struct timespec ts;
	struct tm tm;
	size_t n;
	int r;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	/* Not strftime(): locales and time zones would come with it into the guest's init. */
	snprintf(when, sizeof(when), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
		 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	r = snprintf(line, sizeof(line), "%s.%06ldZ %s %s: ", when, ts.tv_nsec / 1000, log_program,
		     label);
	n = r > 0 ? (size_t)r : 0;
	r = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	if (r > 0)
		n += (size_t)r < sizeof(line) - n - 1 ? (size_t)r : sizeof(line) - n - 2;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nowhere left to say so */
}

void log_print(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > log_threshold)
		return;
	va_start(ap, fmt);
	print_line(level_names[level], fmt, ap);
	va_end(ap);
}

bool trace_enabled(const char *category)
{
	static const char *wanted;
	const char *p;
	size_t len;

	if (!wanted) {
		wanted = getenv("HYPER_TRACE");
		if (!wanted)
			wanted = "";
	}
	if (!*wanted)
		return false;
	if (strcmp(wanted, "all") == 0)
		return true;
	len = strlen(category);
	for (p = wanted; (p = strstr(p, category)); p += len)
		if ((p == wanted || p[-1] == ',') && (p[len] == '\0' || p[len] == ','))
			return true;
	return false;
}

void trace_print(const char *category, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line(category, fmt, ap);
	va_end(ap);
}
