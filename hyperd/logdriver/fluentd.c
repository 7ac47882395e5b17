/* The driver fluentd: the forward protocol, one event a message, acknowledged where it is asked
 * for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "hyperd/logdriver/attributes.h"
#include "hyperd/logdriver/msgpack.h"
#include "hyperd/logdriver/options.h"
#include "hyperd/logdriver/remote.h"

/* Docker's defaults. */
#define BUFFER_LIMIT  (1024u * 1024)
#define RETRY_WAIT_MS 1000
#define RETRY_MAX_MS  60000
#define RETRY_FACTOR  1.5
#define MAX_RETRIES   INT32_MAX
#define DEFAULT_PORT  "24224"
/* Docker counts buffered events only; a container that writes long lines is not to fill the host's
 * memory. */
#define ASYNC_MAX_BYTES (64u << 20)
/* Between attempts of an asynchronous log, which has no other limit. */
#define ASYNC_RETRY_MAX_MS 5000

/* ------------------------------------------------------------------ options */

static const char *const option_names[] = {
	"env",
	"env-regex",
	"labels",
	"labels-regex",
	"tag",
	"fluentd-address",
	"fluentd-async",
	"fluentd-async-connect", /* older name of fluentd-async */
	"fluentd-async-reconnect-interval",
	"fluentd-buffer-limit",
	"fluentd-max-retries",
	"fluentd-request-ack",
	"fluentd-retry-wait",
	"fluentd-sub-second-precision",
	"fluentd-write-timeout",
	"fluentd-read-timeout",
	NULL,
};

struct fluentd_options {
	bool async, sub_second, request_ack;
	uint64_t buffer_limit, max_retries;
	int64_t retry_wait_ns, read_timeout_ns, write_timeout_ns, reconnect_ns;
};

static int address_error(const char *address, const char *why, struct error *err)
{
	return error_set(err, ERROR_INVALID, "invalid fluentd-address (%s): %s", address, why);
}

static int parse_target(const struct log_option *options, struct link_target *ret,
			struct error *err)
{
	static const char *const schemes[] = { "tcp", "tls", "unix", NULL };
	const char *given = log_option_filled(options, "fluentd-address");
	autofree char *address = NULL;
	const char *rest;
	int r;

	given = given ? given : "tcp://127.0.0.1:" DEFAULT_PORT;
	address = strstr(given, "://") ? strdup(given) : strf("tcp://%s", given);
	if (!address)
		return error_nomem(err);
	rest = strstr(address, "://") + 3;
	if (str_starts(address, "unix://")) {
		if (!rest[strspn(rest, "/")])
			return address_error(given, "path is empty", err);
	} else if (!str_starts(address, "tcp://") && !str_starts(address, "tls://")) {
		return error_set(err, ERROR_INVALID,
				 "invalid fluentd-address (%s): unsupported scheme: '%.*s'", given,
				 (int)(rest - 3 - address), address);
	} else if (strchr(rest, '/')) {
		return address_error(given, "should not contain a path element", err);
	}
	r = link_target_parse(address, schemes, DEFAULT_PORT, ret);
	if (r == -EINVAL)
		return address_error(given, "invalid port", err);
	return r < 0 ? error_nomem(err) : 0;
}

static int parse_duration(const struct log_option *options, const char *key, int64_t *ret,
			  struct error *err)
{
	const char *text = log_option_filled(options, key);

	if (!text)
		return 0;
	if (log_parse_duration(text, ret, err) < 0)
		return error_prefix(err, -EINVAL, "invalid value for %s: value must be a duration",
				    key);
	if (*ret < 0)
		return error_set(err, ERROR_INVALID,
				 "invalid value for %s: value must be a duration that is "
				 "non-negative",
				 key);
	return 0;
}

static int parse_bools(const struct log_option *options, struct fluentd_options *ret,
		       struct error *err)
{
	const struct {
		const char *key;
		bool *at;
	} bools[] = {
		{ "fluentd-async-connect", &ret->async },
		{ "fluentd-async", &ret->async },
		{ "fluentd-sub-second-precision", &ret->sub_second },
		{ "fluentd-request-ack", &ret->request_ack },
	};
	int r = 0;

	if (log_option_filled(options, "fluentd-async") &&
	    log_option_filled(options, "fluentd-async-connect"))
		return error_set(err, ERROR_INVALID,
				 "conflicting options: cannot specify both 'fluentd-async' and "
				 "'fluentd-async-connect'");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(bools); i++) {
		const char *text = log_option_filled(options, bools[i].key);

		if (text)
			r = log_parse_bool(text, bools[i].at, err);
	}
	return r;
}

static int parse_interval(const struct log_option *options, int64_t *ret, struct error *err)
{
	static const char key[] = "fluentd-async-reconnect-interval";
	const char *text = log_option_filled(options, key);
	int64_t ns = 0;

	if (!text)
		return 0;
	if (log_parse_duration(text, &ns, err) < 0)
		return error_prefix(err, -EINVAL, "invalid value for %s", key);
	if (ns && (ns < (int64_t)(100 * NSEC_PER_MSEC) || ns > (int64_t)(10 * NSEC_PER_SEC)))
		return error_set(err, ERROR_INVALID,
				 "invalid value for %s: value (\"%s\") must be between 100ms and "
				 "10s",
				 key, text);
	*ret = ns;
	return 0;
}

static int parse_options(const struct log_option *options, struct fluentd_options *ret,
			 struct error *err)
{
	const char *limit = log_option_filled(options, "fluentd-buffer-limit");
	const char *wait = log_option_filled(options, "fluentd-retry-wait");
	const char *retries = log_option_filled(options, "fluentd-max-retries");
	unsigned long long number;
	int r = 0;

	*ret = (struct fluentd_options){
		.buffer_limit = BUFFER_LIMIT,
		.max_retries = MAX_RETRIES,
		.retry_wait_ns = (int64_t)(RETRY_WAIT_MS * NSEC_PER_MSEC),
	};
	if (limit)
		r = log_parse_ram(limit, &ret->buffer_limit, err);
	if (r == 0 && wait)
		r = log_parse_duration(wait, &ret->retry_wait_ns, err);
	if (r == 0 && retries) {
		if (parse_u64(retries, 0, UINT32_MAX, &number) < 0)
			return error_set(err, ERROR_INVALID,
					 "strconv.ParseUint: parsing \"%s\": invalid syntax",
					 retries);
		if (number > INT32_MAX)
			return error_set(err, ERROR_INVALID,
					 "invalid fluentd-max-retries: value out of range");
		ret->max_retries = number;
	}
	if (r == 0)
		r = parse_bools(options, ret, err);
	if (r == 0)
		r = parse_interval(options, &ret->reconnect_ns, err);
	if (r == 0)
		r = parse_duration(options, "fluentd-write-timeout", &ret->write_timeout_ns, err);
	if (r == 0)
		r = parse_duration(options, "fluentd-read-timeout", &ret->read_timeout_ns, err);
	return r;
}

static int fluentd_check(const struct log_option *options, struct error *err)
{
	struct link_target target = { 0 };
	struct fluentd_options parsed;
	int r;

	for (const struct log_option *o = options; o && o->key; o++)
		if (!log_option_known(option_names, o->key))
			return error_set(err, ERROR_INVALID,
					 "unknown log opt '%s' for fluentd log driver", o->key);
	r = parse_target(options, &target, err);
	link_target_done(&target);
	if (r == 0)
		r = parse_options(options, &parsed, err);
	return r < 0 ? r : remote_check(options, err);
}

/* ------------------------------------------------------------------ the format */

/* "0123456789abcdef" twice: the log's own and the message's number. */
#define CHUNK_ID_BYTES 32

struct fluentd {
	bool sub_second, request_ack;
	struct str tag;    /* the array's head and the tag */
	struct str fields; /* those that are the same for every line */
	size_t field_count;
	uint64_t nonce;
};

static void add_pair(struct str *to, const char *key, const char *value)
{
	msgpack_add_text(to, key, strlen(key));
	msgpack_add_text(to, value, strlen(value));
}

static void add_partial(struct str *to, const struct log_line *line)
{
	char ordinal[16];

	snprintf(ordinal, sizeof(ordinal), "%u", line->ordinal);
	add_pair(to, "partial_message", "true");
	add_pair(to, "partial_id", line->id);
	add_pair(to, "partial_ordinal", ordinal);
	add_pair(to, "partial_last", line->last ? "true" : "false");
}

static void fluentd_encode(struct remote_log *r, const struct log_line *line)
{
	struct fluentd *f = r->encoder;
	struct str *to = remote_message_begin(r);

	str_append(to, f->tag.data, f->tag.len);
	if (f->sub_second)
		msgpack_add_time(to, line->time_ns);
	else
		msgpack_add_uint(to, line->time_ns / NSEC_PER_SEC);
	msgpack_add_map(to, f->field_count + 2 + (line->ordinal ? 4 : 0));
	str_append(to, str_text(&f->fields), f->fields.len);
	add_pair(to, "source", line->stream == LOG_STDERR ? "stderr" : "stdout");
	msgpack_add_text(to, "log", 3);
	msgpack_add_text(to, line->data, log_line_text_len(line));
	if (line->ordinal)
		add_partial(to, line);
	msgpack_add_map(to, f->request_ack);
	if (f->request_ack) {
		char id[CHUNK_ID_BYTES + 1];

		snprintf(id, sizeof(id), "%016llx%016llx", (unsigned long long)f->nonce,
			 (unsigned long long)remote_message_id(r));
		add_pair(to, "chunk", id);
	}
	remote_message_end(r);
}

static ssize_t fluentd_acknowledged(struct remote_log *r, const char *text, size_t len,
				    uint64_t *ret_id)
{
	const struct fluentd *f = r->encoder;
	unsigned long long nonce, id;
	char copy[CHUNK_ID_BYTES + 1];
	const char *ack;
	size_t ack_len;
	ssize_t n = msgpack_find(text, len, "ack", &ack, &ack_len);

	if (n <= 0)
		return n;
	if (!ack || ack_len != CHUNK_ID_BYTES)
		return -EINVAL;
	memcpy(copy, ack, ack_len);
	copy[ack_len] = '\0';
	if (sscanf(copy, "%16llx%16llx", &nonce, &id) != 2 || nonce != f->nonce)
		return -EINVAL;
	*ret_id = id;
	return n;
}

/* ------------------------------------------------------------------ the driver */

static bool is_ours(const char *key)
{
	static const char *const names[] = { "container_id",    "container_name",
					     "source",          "log",
					     "partial_message", "partial_id",
					     "partial_ordinal", "partial_last" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], key) == 0)
			return true;
	return false;
}

static int make_fields(const struct log_config *config, struct fluentd *f, struct error *err)
{
	struct log_option *attributes = NULL;
	autofree char *tag = NULL, *name = NULL;
	int e = log_tag(config, "{{.ID}}", &tag, err);

	if (e == 0)
		e = log_attributes(config, false, &attributes, err);
	if (e < 0)
		return e;
	msgpack_add_array(&f->tag, 4);
	msgpack_add_text(&f->tag, tag, strlen(tag));
	/* With the slash that Docker's names have inside. */
	name = strf("/%s", config->container_name ? config->container_name : "");
	add_pair(&f->fields, "container_id", config->container_id);
	add_pair(&f->fields, "container_name", name ? name : "");
	f->field_count = 2;
	for (const struct log_option *a = attributes; a->key; a++) {
		/* A key stands once in a map: what the line says counts more. */
		if (is_ours(a->key))
			continue;
		add_pair(&f->fields, a->key, a->value);
		f->field_count++;
	}
	log_attributes_free(attributes);
	return f->tag.failed || f->fields.failed || !name ? error_nomem(err) : 0;
}

static void fluentd_free(void *encoder)
{
	struct fluentd *f = encoder;

	str_done(&f->tag);
	str_done(&f->fields);
	free(f);
}

static void set_policy(struct remote_log *r, const struct fluentd_options *o)
{
	r->acks = o->request_ack;
	r->ack_timeout_ms = (uint64_t)o->read_timeout_ns / NSEC_PER_MSEC;
	r->write_timeout_ms = (uint64_t)o->write_timeout_ns / NSEC_PER_MSEC;
	r->lazy = o->async;
	r->retry = (struct remote_retry){
		.wait_ms = o->retry_wait_ns > 0 ? (uint64_t)o->retry_wait_ns / NSEC_PER_MSEC : 1,
		.max_wait_ms = o->async ? ASYNC_RETRY_MAX_MS : RETRY_MAX_MS,
		.factor = RETRY_FACTOR,
		.attempts = o->async ? 1 : o->max_retries,
	};
	if (!o->async)
		return;
	r->non_blocking = true;
	r->reconnect_ms = (uint64_t)o->reconnect_ns / NSEC_PER_MSEC;
	r->max_messages = o->buffer_limit;
	r->max_bytes = ASYNC_MAX_BYTES;
}

static int fluentd_prepare(const struct log_config *config, struct remote_log *r, struct error *err)
{
	struct fluentd *f = calloc(1, sizeof(*f));
	struct fluentd_options options;
	int e;

	r->encoder = f;
	if (!f)
		return error_nomem(err);
	e = parse_target(config->options, &r->target, err);
	if (e == 0)
		e = parse_options(config->options, &options, err);
	if (e == 0)
		e = make_fields(config, f, err);
	if (e < 0)
		return e;
	f->sub_second = options.sub_second;
	f->request_ack = options.request_ack;
	(void)!getrandom(&f->nonce, sizeof(f->nonce), 0);
	set_policy(r, &options);
	return 0;
}

static const struct remote_kind fluentd_kind = {
	.prepare = fluentd_prepare,
	.encode = fluentd_encode,
	.encoder_free = fluentd_free,
	.acknowledged = fluentd_acknowledged,
};

static int fluentd_open(const struct log_config *config, struct log **ret, struct error *err)
{
	return remote_open(config, &fluentd_kind, ret, err);
}

const struct log_driver log_driver_fluentd =
	REMOTE_DRIVER("fluentd", fluentd_check, fluentd_open, remote_begin);
