/* The driver syslog: BSD's format (RFC 3164) and the newer one (RFC 5424), as Docker writes them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "hyperd/logdriver/attributes.h"
#include "hyperd/logdriver/options.h"
#include "hyperd/logdriver/remote.h"

#define SEVERITY_ERROR 3
#define SEVERITY_INFO  6

/* ------------------------------------------------------------------ options */

static const char *const option_names[] = {
	"env",
	"env-regex",
	"labels",
	"labels-regex",
	"tag",
	"syslog-address",
	"syslog-facility",
	"syslog-format",
	"syslog-tls-ca-cert",
	"syslog-tls-cert",
	"syslog-tls-key",
	"syslog-tls-skip-verify",
	NULL,
};

static const char *const schemes[] = { "udp", "tcp", "tcp+tls", "unix", "unixgram", NULL };

/* In the order of their codes; those between ftp and local0 have no name here. */
static const char *const facilities[24] = {
	"kern",   "user",   "mail",     "daemon", "auth",   "syslog", "lpr",    "news",
	"uucp",   "cron",   "authpriv", "ftp",    NULL,     NULL,     NULL,     NULL,
	"local0", "local1", "local2",   "local3", "local4", "local5", "local6", "local7",
};
#define FACILITY_DAEMON 3

enum format { FORMAT_UNIX, FORMAT_3164, FORMAT_5424, FORMAT_5424_MICRO };

static const char *const formats[] = {
	[FORMAT_UNIX] = "",
	[FORMAT_3164] = "rfc3164",
	[FORMAT_5424] = "rfc5424",
	[FORMAT_5424_MICRO] = "rfc5424micro",
};

struct syslog {
	enum format format;
	unsigned facility;
	bool framed;                      /* RFC 5425: each message behind its length */
	char *hostname, *tag;             /* owned */
	uint64_t time_second;             /* what the texts below are for */
	char heads[LOG_STREAM_COUNT][48]; /* "<30>Jan  2 15:04:05", "<30>1 2006-01-02T15:04:05" */
	char zone[8]; /* "Z", "+01:00" or "": what stands behind a time's fraction */
	char *middle; /* owned: what stands between time and text */
	size_t middle_len;
	struct str scratch;
};

static int parse_facility(const char *text, unsigned *ret, struct error *err)
{
	unsigned long long number;

	*ret = FACILITY_DAEMON;
	if (!text)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(facilities); i++) {
		if (facilities[i] && strcmp(facilities[i], text) == 0) {
			*ret = (unsigned)i;
			return 0;
		}
	}
	if (parse_u64(text, 0, 23, &number) < 0)
		return error_set(err, ERROR_INVALID, "invalid syslog facility");
	*ret = (unsigned)number;
	return 0;
}

static int parse_format(const char *text, enum format *ret, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		if (strcmp(formats[i], text ? text : "") == 0) {
			*ret = (enum format)i;
			return 0;
		}
	}
	return error_set(err, ERROR_INVALID, "Invalid syslog format");
}

static int copy_option(const struct log_option *options, const char *key, char **ret)
{
	const char *text = log_option_filled(options, key);

	if (text && !(*ret = strdup(text)))
		return -ENOMEM;
	return 0;
}

static int parse_target(const struct log_option *options, struct link_target *ret,
			struct error *err)
{
	const char *address = log_option_filled(options, "syslog-address");
	int r;

	if (!address) {
		ret->kind = LINK_SYSLOG;
		return 0;
	}
	r = link_target_parse(address, schemes, "514", ret);
	if (r == -EINVAL)
		return error_set(err, ERROR_INVALID,
				 "syslog-address should be in form proto://address, got %s",
				 address);
	if (r == 0)
		r = copy_option(options, "syslog-tls-ca-cert", &ret->ca);
	if (r == 0)
		r = copy_option(options, "syslog-tls-cert", &ret->certificate);
	if (r == 0)
		r = copy_option(options, "syslog-tls-key", &ret->key);
	/* As Docker: it is enough that it is there. */
	ret->skip_verify = log_option_get(options, "syslog-tls-skip-verify");
	return r < 0 ? error_nomem(err) : 0;
}

static int check_path(const struct link_target *target, struct error *err)
{
	struct stat st;

	if (target->path && stat(target->path, &st) < 0)
		return error_set(err, ERROR_INVALID, "stat %s: %s", target->path,
				 errno == ENOENT ? "no such file or directory" : strerror(errno));
	return 0;
}

static int syslog_check(const struct log_option *options, struct error *err)
{
	struct link_target target = { 0 };
	unsigned facility;
	enum format format;
	int r;

	for (const struct log_option *o = options; o && o->key; o++)
		if (!log_option_known(option_names, o->key))
			return error_set(err, ERROR_INVALID,
					 "unknown log opt '%s' for syslog log driver", o->key);
	r = parse_target(options, &target, err);
	if (r == 0)
		r = check_path(&target, err);
	link_target_done(&target);
	if (r == 0)
		r = parse_facility(log_option_filled(options, "syslog-facility"), &facility, err);
	if (r == 0)
		r = parse_format(log_option_filled(options, "syslog-format"), &format, err);
	return r < 0 ? r : remote_check(options, err);
}

/* ------------------------------------------------------------------ the format */

static bool is_newer(const struct syslog *s)
{
	return s->format == FORMAT_5424 || s->format == FORMAT_5424_MICRO;
}

/* The texts of a second are made once for all its lines. */
static void set_time(struct syslog *s, uint64_t time_ns)
{
	static const unsigned severities[] = {
		[LOG_STDOUT] = SEVERITY_INFO, [LOG_STDERR] = SEVERITY_ERROR
	};
	time_t second = (time_t)(time_ns / NSEC_PER_SEC);
	struct tm tm;
	unsigned offset;

	if (s->time_second == (uint64_t)second && s->heads[0][0])
		return;
	s->time_second = (uint64_t)second;
	localtime_r(&second, &tm);
	for (int i = 0; i < LOG_STREAM_COUNT; i++) {
		char *head = s->heads[i];
		size_t n =
			(size_t)snprintf(head, sizeof(s->heads[i]), is_newer(s) ? "<%u>1 " : "<%u>",
					 s->facility << 3 | severities[i]);

		strftime(head + n, sizeof(s->heads[i]) - n,
			 is_newer(s) ? "%Y-%m-%dT%H:%M:%S" : "%b %e %H:%M:%S", &tm);
	}
	offset = (unsigned)labs(tm.tm_gmtoff) / 60;
	if (!is_newer(s))
		s->zone[0] = '\0';
	else if (offset == 0)
		strcpy(s->zone, "Z");
	else
		snprintf(s->zone, sizeof(s->zone), "%c%02u:%02u", tm.tm_gmtoff < 0 ? '-' : '+',
			 offset / 60 % 24, offset % 60);
}

/* As Go's ".999999": no zeros at its end. */
static void add_micros(struct str *to, uint64_t time_ns)
{
	unsigned micros = (unsigned)(time_ns % NSEC_PER_SEC / 1000);
	char text[8];
	int n;

	if (!micros)
		return;
	n = snprintf(text, sizeof(text), ".%06u", micros);
	while (text[n - 1] == '0')
		n--;
	str_append(to, text, (size_t)n);
}

static void add_message(struct syslog *s, struct str *to, const struct log_line *line)
{
	set_time(s, line->time_ns);
	str_add(to, s->heads[line->stream]);
	if (s->format == FORMAT_5424_MICRO)
		add_micros(to, line->time_ns);
	str_add(to, s->zone);
	str_append(to, s->middle, s->middle_len);
	str_append(to, line->data, log_line_text_len(line));
	str_addc(to, '\n');
}

static void syslog_encode(struct remote_log *r, const struct log_line *line)
{
	struct syslog *s = r->encoder;
	struct str *to = remote_message_begin(r);

	if (s->framed) {
		str_clear(&s->scratch);
		add_message(s, &s->scratch, line);
		str_addf(to, "%zu ", s->scratch.len);
		str_append(to, str_text(&s->scratch), s->scratch.len);
	} else {
		add_message(s, to, line);
	}
	remote_message_end(r);
}

static char *make_middle(const struct syslog *s)
{
	switch (s->format) {
	case FORMAT_UNIX:
		return strf(" %s[%d]: ", s->tag, (int)getpid());
	case FORMAT_3164:
		return strf(" %s %s[%d]: ", s->hostname, s->tag, (int)getpid());
	default:
		return strf(" %s %s %d %s - ", s->hostname, s->tag, (int)getpid(), s->tag);
	}
}

/* ------------------------------------------------------------------ the driver */

static void syslog_free(void *encoder)
{
	struct syslog *s = encoder;

	free(s->hostname);
	free(s->tag);
	free(s->middle);
	str_done(&s->scratch);
	free(s);
}

static int syslog_prepare(const struct log_config *config, struct remote_log *r, struct error *err)
{
	struct syslog *s = calloc(1, sizeof(*s));
	int e;

	r->encoder = s;
	if (!s)
		return error_nomem(err);
	e = parse_target(config->options, &r->target, err);
	if (e == 0)
		e = parse_facility(log_option_filled(config->options, "syslog-facility"),
				   &s->facility, err);
	if (e == 0)
		e = parse_format(log_option_filled(config->options, "syslog-format"), &s->format,
				 err);
	if (e == 0)
		e = log_tag(config, "{{.ID}}", &s->tag, err);
	if (e < 0)
		return e;
	s->framed = r->target.kind == LINK_TLS && is_newer(s);
	s->hostname =
		strdup(config->hostname && *config->hostname ? config->hostname : "localhost");
	s->middle = s->hostname ? make_middle(s) : NULL;
	if (!s->middle)
		return error_nomem(err);
	s->middle_len = strlen(s->middle);
	return 0;
}

static const struct remote_kind syslog_kind = {
	.prepare = syslog_prepare,
	.encode = syslog_encode,
	.encoder_free = syslog_free,
};

static int syslog_open(const struct log_config *config, struct log **ret, struct error *err)
{
	return remote_open(config, &syslog_kind, ret, err);
}

const struct log_driver log_driver_syslog =
	REMOTE_DRIVER("syslog", syslog_check, syslog_open, remote_begin);
