/* The driver gelf: the Graylog extended log format 1.1, JSON over UDP (compressed, in chunks) or
 * TCP. */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <zlib.h>

#include "base/clock.h"
#include "hyperd/logdriver/attributes.h"
#include "hyperd/logdriver/json_record.h"
#include "hyperd/logdriver/options.h"
#include "hyperd/logdriver/remote.h"

/* Go-gelf's: what goes over the internet without being cut. */
#define CHUNK_BYTES        1420u
#define CHUNK_HEADER_BYTES 12u
#define CHUNKS_MAX         128u
#define LEVEL_ERROR        3
#define LEVEL_INFO         6

/* ------------------------------------------------------------------ options */

static const char *const option_names[] = {
	"gelf-address",
	"gelf-compression-level",
	"gelf-compression-type",
	"gelf-tcp-max-reconnect",
	"gelf-tcp-reconnect-delay",
	"tag",
	"labels",
	"labels-regex",
	"env",
	"env-regex",
	NULL,
};

static const char *const schemes[] = { "udp", "tcp", NULL };

struct gelf_options {
	int level;
	int window_bits; /* zlib's: what kind of compression; 0: none */
	long long max_reconnect, reconnect_delay_s;
};

static int parse_target(const struct log_option *options, struct link_target *ret,
			struct error *err)
{
	static const char *const known[] = { "tcp://",  "tcp+tls://",  "udp://",
					     "unix://", "unixgram://", NULL };
	const char *address = log_option_filled(options, "gelf-address");
	bool is_url = false;
	int r;

	if (!address)
		return error_set(err, ERROR_INVALID, "gelf-address is a required parameter");
	for (const char *const *prefix = known; *prefix; prefix++)
		is_url |= str_starts(address, *prefix);
	if (!is_url)
		return error_set(err, ERROR_INVALID,
				 "gelf-address should be in form proto://address, got %s", address);
	if (!str_starts(address, "udp://") && !str_starts(address, "tcp://"))
		return error_set(err, ERROR_INVALID, "gelf: endpoint needs to be TCP or UDP");
	r = link_target_parse(address, schemes, NULL, ret);
	if (r == -EINVAL)
		return error_set(err, ERROR_INVALID,
				 "gelf: please provide gelf-address as proto://host:port");
	return r < 0 ? error_nomem(err) : 0;
}

static int bad_value(const struct log_option *o, struct error *err)
{
	return error_set(err, ERROR_INVALID,
			 "unknown value \"%s\" for log opt \"%s\" for gelf "
			 "log driver",
			 o->value, o->key);
}

static int parse_compression(const struct log_option *o, struct gelf_options *ret,
			     struct error *err)
{
	static const struct {
		const char *name;
		int window_bits;
	} types[] = { { "gzip", MAX_WBITS + 16 }, { "zlib", MAX_WBITS }, { "none", 0 } };
	long long level;

	if (strcmp(o->key, "gelf-compression-level") == 0) {
		if (log_parse_int(o->value, &level, NULL) < 0 || level < -1 || level > 9)
			return bad_value(o, err);
		ret->level = (int)level;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (strcmp(types[i].name, o->value) == 0) {
			ret->window_bits = types[i].window_bits;
			return 0;
		}
	}
	return bad_value(o, err);
}

static int parse_option(const struct log_option *o, enum link_kind kind, struct gelf_options *ret,
			struct error *err)
{
	bool reconnect = strcmp(o->key, "gelf-tcp-max-reconnect") == 0;
	long long number;

	if (str_starts(o->key, "gelf-compression-")) {
		if (kind != LINK_UDP)
			return error_set(err, ERROR_INVALID,
					 "compression is only supported on UDP");
		return parse_compression(o, ret, err);
	}
	if (!str_starts(o->key, "gelf-tcp-"))
		return 0;
	if (kind != LINK_TCP)
		return error_set(err, ERROR_INVALID, "\"%s\" is only valid for TCP", o->key);
	if (log_parse_int(o->value, &number, NULL) < 0 || number < 0)
		return error_set(err, ERROR_INVALID, "\"%s\" must be a positive integer", o->key);
	*(reconnect ? &ret->max_reconnect : &ret->reconnect_delay_s) = number;
	return 0;
}

static int parse_options(const struct log_option *options, struct link_target *target,
			 struct gelf_options *ret, struct error *err)
{
	int r = parse_target(options, target, err);

	*ret = (struct gelf_options){
		.level = Z_BEST_SPEED,
		.window_bits = MAX_WBITS + 16,
		.max_reconnect = 3,
		.reconnect_delay_s = 1,
	};
	for (const struct log_option *o = options; r == 0 && o && o->key; o++) {
		if (!log_option_known(option_names, o->key))
			return error_set(err, ERROR_INVALID,
					 "unknown log opt \"%s\" for gelf log driver", o->key);
		r = parse_option(o, target->kind, ret, err);
	}
	return r;
}

static int gelf_check(const struct log_option *options, struct error *err)
{
	struct link_target target = { 0 };
	struct gelf_options parsed;
	int r = parse_options(options, &target, &parsed, err);

	link_target_done(&target);
	return r < 0 ? r : remote_check(options, err);
}

/* ------------------------------------------------------------------ the format */

struct gelf {
	struct str head, tail; /* of the JSON object, around text, time and level */
	bool udp, compressing;
	z_stream z;
	struct str json, packed;
	uint64_t time_ms; /* what `times` are for */
	char times[LOG_STREAM_COUNT][64];
};

/* What arrived together has one text. */
static void set_time(struct gelf *g, uint64_t time_ns)
{
	static const int levels[] = { [LOG_STDOUT] = LEVEL_INFO, [LOG_STDERR] = LEVEL_ERROR };
	uint64_t ms = time_ns / NSEC_PER_MSEC;

	if (g->time_ms == ms && g->times[0][0])
		return;
	g->time_ms = ms;
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		snprintf(g->times[i], sizeof(g->times[i]),
			 "\",\"timestamp\":%llu.%03u,\"level\":%d", (unsigned long long)(ms / 1000),
			 (unsigned)(ms % 1000), levels[i]);
}

static void add_json(struct gelf *g, struct str *to, const struct log_line *line)
{
	set_time(g, line->time_ns);
	str_append(to, str_text(&g->head), g->head.len);
	json_escape(to, line->data, log_line_text_len(line));
	str_add(to, g->times[line->stream]);
	str_append(to, str_text(&g->tail), g->tail.len);
}

/* The stream and its buffers serve every message: nothing is allocated for a line. */
static bool compress_json(struct gelf *g)
{
	char block[4096];

	str_clear(&g->packed);
	deflateReset(&g->z);
	g->z.next_in = (Bytef *)g->json.data;
	g->z.avail_in = (uInt)g->json.len;
	for (;;) {
		int e;

		g->z.next_out = (Bytef *)block;
		g->z.avail_out = sizeof(block);
		e = deflate(&g->z, Z_FINISH);
		str_append(&g->packed, block, sizeof(block) - g->z.avail_out);
		if (e == Z_STREAM_END)
			return !g->packed.failed;
		if (e != Z_OK)
			return false;
	}
}

static void add_chunks(struct remote_log *r, const struct str *data)
{
	const size_t room = CHUNK_BYTES - CHUNK_HEADER_BYTES;
	size_t count = (data->len + room - 1) / room;
	char header[CHUNK_HEADER_BYTES] = { 0x1e, 0x0f };

	/* As go-gelf: what would be more is not sent. */
	if (count > CHUNKS_MAX)
		return;
	(void)!getrandom(header + 2, 8, 0);
	header[11] = (char)count;
	for (size_t i = 0; i < count; i++) {
		size_t n = data->len - i * room < room ? data->len - i * room : room;
		struct str *to = remote_message_begin(r);

		header[10] = (char)i;
		str_append(to, header, sizeof(header));
		str_append(to, data->data + i * room, n);
		remote_message_end(r);
	}
}

static void gelf_encode(struct remote_log *r, const struct log_line *line)
{
	struct gelf *g = r->encoder;
	const struct str *data = &g->json;
	struct str *to;

	/* Graylog refuses an empty text, Docker does not send it. */
	if (!log_line_text_len(line))
		return;
	if (!g->udp) {
		to = remote_message_begin(r);
		add_json(g, to, line);
		str_addc(to, 0);
		remote_message_end(r);
		return;
	}
	str_clear(&g->json);
	add_json(g, &g->json, line);
	if (g->compressing) {
		if (!compress_json(g))
			return;
		data = &g->packed;
	}
	if (data->len > CHUNK_BYTES) {
		add_chunks(r, data);
		return;
	}
	to = remote_message_begin(r);
	str_append(to, data->data, data->len);
	remote_message_end(r);
}

/* ------------------------------------------------------------------ the driver */

static void add_field(struct str *to, const char *key, const char *value)
{
	str_add(to, *key == '_' ? ",\"" : ",\"_");
	json_escape(to, key, strlen(key));
	str_add(to, "\":\"");
	json_escape(to, value ? value : "", value ? strlen(value) : 0);
	str_addc(to, '"');
}

static int make_fields(const struct log_config *config, struct gelf *g, struct error *err)
{
	struct log_option *attributes = NULL;
	char created[LOG_TIME_BYTES];
	autofree char *tag = NULL;
	int e = log_tag(config, "{{.ID}}", &tag, err);

	if (e == 0)
		e = log_attributes(config, false, &attributes, err);
	if (e < 0)
		return e;
	log_time_format(config->created_ns, created);
	str_add(&g->head, "{\"version\":\"1.1\",\"host\":\"");
	json_escape(&g->head, config->hostname ? config->hostname : "",
		    config->hostname ? strlen(config->hostname) : 0);
	str_add(&g->head, "\",\"short_message\":\"");
	add_field(&g->tail, "_command", config->command);
	add_field(&g->tail, "_container_id", config->container_id);
	add_field(&g->tail, "_container_name", config->container_name);
	add_field(&g->tail, "_created", created);
	add_field(&g->tail, "_image_id", config->image_id);
	add_field(&g->tail, "_image_name", config->image_name);
	add_field(&g->tail, "_tag", tag);
	for (const struct log_option *a = attributes; a->key; a++)
		add_field(&g->tail, a->key, a->value);
	log_attributes_free(attributes);
	str_addc(&g->tail, '}');
	return g->head.failed || g->tail.failed ? error_nomem(err) : 0;
}

static void gelf_free(void *encoder)
{
	struct gelf *g = encoder;

	if (g->compressing)
		deflateEnd(&g->z);
	str_done(&g->head);
	str_done(&g->tail);
	str_done(&g->json);
	str_done(&g->packed);
	free(g);
}

static int gelf_prepare(const struct log_config *config, struct remote_log *r, struct error *err)
{
	struct gelf *g = calloc(1, sizeof(*g));
	struct gelf_options options;
	int e;

	r->encoder = g;
	if (!g)
		return error_nomem(err);
	e = parse_options(config->options, &r->target, &options, err);
	if (e == 0)
		e = make_fields(config, g, err);
	if (e < 0)
		return e;
	g->udp = r->target.kind == LINK_UDP;
	r->retry = (struct remote_retry){
		.wait_ms = (uint64_t)options.reconnect_delay_s * 1000,
		.max_wait_ms = (uint64_t)options.reconnect_delay_s * 1000,
		.factor = 1,
		.attempts = (uint64_t)options.max_reconnect,
	};
	if (r->retry.wait_ms < 100)
		r->retry.wait_ms = r->retry.max_wait_ms = 100;
	if (!g->udp || !options.window_bits)
		return 0;
	if (deflateInit2(&g->z, options.level, Z_DEFLATED, options.window_bits, 8,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return error_nomem(err);
	g->compressing = true;
	return 0;
}

static const struct remote_kind gelf_kind = {
	.prepare = gelf_prepare,
	.encode = gelf_encode,
	.encoder_free = gelf_free,
};

static int gelf_open(const struct log_config *config, struct log **ret, struct error *err)
{
	return remote_open(config, &gelf_kind, ret, err);
}

const struct log_driver log_driver_gelf =
	REMOTE_DRIVER("gelf", gelf_check, gelf_open, remote_begin);
