/* The driver journald: systemd's native protocol, a datagram an entry. */
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "hyperd/logdriver/attributes.h"
#include "hyperd/logdriver/log_time.h"
#include "hyperd/logdriver/options.h"
#include "hyperd/logdriver/remote.h"

#define SOCKET_PATH    "/run/systemd/journal/socket"
#define PRIORITY_ERROR "3"
#define PRIORITY_INFO  "6"

static const char *const option_names[] = { "labels",    "labels-regex", "env",
					    "env-regex", "tag",          NULL };

static int journald_check(const struct log_option *options, struct error *err)
{
	for (const struct log_option *o = options; o && o->key; o++)
		if (!log_option_known(option_names, o->key))
			return error_set(err, ERROR_INVALID,
					 "unknown log opt '%s' for journald log driver", o->key);
	return remote_check(options, err);
}

/* ------------------------------------------------------------------ the format */

struct journald {
	struct str fields; /* those that are the same for every line */
};

/* A value of one line stands behind "=", any other behind its length. */
static void add_field(struct str *to, const char *key, const char *value, size_t len)
{
	uint64_t le = htole64(len);

	str_add(to, key);
	if (!memchr(value, '\n', len)) {
		str_addc(to, '=');
	} else {
		str_addc(to, '\n');
		str_append(to, &le, sizeof(le));
	}
	str_append(to, value, len);
	str_addc(to, '\n');
}

static void journald_encode(struct remote_log *r, const struct log_line *line)
{
	struct journald *j = r->encoder;
	struct str *to = remote_message_begin(r);
	char time[LOG_TIME_BYTES];

	log_time_format(line->time_ns, time);
	str_append(to, str_text(&j->fields), j->fields.len);
	str_add(to, "PRIORITY=");
	str_add(to, line->stream == LOG_STDERR ? PRIORITY_ERROR : PRIORITY_INFO);
	str_add(to, "\nSYSLOG_TIMESTAMP=");
	str_add(to, time);
	str_addc(to, '\n');
	if (line->ordinal) {
		if (!line->last)
			str_add(to, "CONTAINER_PARTIAL_MESSAGE=true\n");
		str_addf(to,
			 "CONTAINER_PARTIAL_ID=%s\nCONTAINER_PARTIAL_ORDINAL=%u\n"
			 "CONTAINER_PARTIAL_LAST=%s\n",
			 line->id, line->ordinal, line->last ? "true" : "false");
	}
	add_field(to, "MESSAGE", line->data, log_line_text_len(line));
	remote_message_end(r);
}

/* ------------------------------------------------------------------ the driver */

/* Upper case letters, digits and underscores, none of these at the front. */
static void add_attribute(struct str *to, const char *key, const char *value)
{
	autostr struct str name = STR_INIT;

	for (; *key; key++) {
		char c = isalnum((unsigned char)*key) ? (char)toupper((unsigned char)*key) : '_';

		if (c != '_' || name.len)
			str_addc(&name, c);
	}
	if (name.len)
		add_field(to, str_text(&name), value, strlen(value));
}

static int make_fields(const struct log_config *config, struct journald *j, struct error *err)
{
	struct log_option *attributes = NULL;
	autofree char *tag = NULL;
	int e = log_tag(config, "{{.ID}}", &tag, err);

	if (e == 0)
		e = log_attributes(config, false, &attributes, err);
	if (e < 0)
		return e;
	add_field(&j->fields, "CONTAINER_ID", config->container_id,
		  strnlen(config->container_id, 12));
	add_attribute(&j->fields, "CONTAINER_ID_FULL", config->container_id);
	add_attribute(&j->fields, "CONTAINER_NAME", config->container_name);
	add_attribute(&j->fields, "CONTAINER_TAG", tag);
	add_attribute(&j->fields, "IMAGE_NAME", config->image_name ? config->image_name : "");
	add_attribute(&j->fields, "SYSLOG_IDENTIFIER", tag);
	for (const struct log_option *a = attributes; a->key; a++)
		add_attribute(&j->fields, a->key, a->value);
	log_attributes_free(attributes);
	return j->fields.failed ? error_nomem(err) : 0;
}

static void journald_free(void *encoder)
{
	struct journald *j = encoder;

	str_done(&j->fields);
	free(j);
}

static int journald_prepare(const struct log_config *config, struct remote_log *r,
			    struct error *err)
{
	struct journald *j = calloc(1, sizeof(*j));

	r->encoder = j;
	if (!j)
		return error_nomem(err);
	r->target.kind = LINK_UNIXGRAM;
	r->target.path = strdup(SOCKET_PATH);
	if (!r->target.path)
		return error_nomem(err);
	return make_fields(config, j, err);
}

/* Docker's words, before there is a connection to fail. */
static int journald_begin(struct log *log, struct error *err)
{
	if (access(SOCKET_PATH, F_OK) < 0)
		return error_set(err, ERROR_FAILED,
				 "failed to initialize logging driver: journald is not enabled on "
				 "this host");
	return remote_begin(log, err);
}

static const struct remote_kind journald_kind = {
	.prepare = journald_prepare,
	.encode = journald_encode,
	.encoder_free = journald_free,
};

static int journald_open(const struct log_config *config, struct log **ret, struct error *err)
{
	return remote_open(config, &journald_kind, ret, err);
}

const struct log_driver log_driver_journald =
	REMOTE_DRIVER("journald", journald_check, journald_open, journald_begin);
