#include "hyperd/logdriver/json_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "hyperd/logdriver/json_record.h"

/* ------------------------------------------------------------------ options */

static const char *const option_names[] = {
	"max-file", "max-size",  "compress", "labels", "labels-regex",
	"env",      "env-regex", "tag",      "mode",   "max-buffer-size",
};

/* Docker's units.FromHumanSize: decimal units. */
static int parse_size(const char *text, uint64_t *ret, struct error *err)
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
			scale *= 1000;
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

static int parse_bool(const char *text, bool *ret, struct error *err)
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

struct json_options {
	uint64_t max_bytes;
	unsigned max_files;
	bool compress;
};

static int parse_options(const struct log_option *options, struct json_options *ret,
			 struct error *err)
{
	const char *text;
	unsigned long long files;
	int r;

	*ret = (struct json_options){ .max_files = 1 };
	for (const struct log_option *o = options; o && o->key; o++) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(option_names); i++)
			known |= strcmp(o->key, option_names[i]) == 0;
		if (!known)
			return error_set(err, ERROR_INVALID,
					 "unknown log opt '%s' for json-file log driver", o->key);
	}
	if ((text = log_option_get(options, "max-size"))) {
		if (*text == '-')
			return error_set(err, ERROR_INVALID, "max-size must be a positive number");
		r = parse_size(text, &ret->max_bytes, err);
		if (r < 0)
			return r;
		if (ret->max_bytes == 0)
			return error_set(err, ERROR_INVALID, "max-size must be a positive number");
	}
	if ((text = log_option_get(options, "max-file"))) {
		r = parse_u64(*text == '-' ? text + 1 : text, 0, 100000, &files);
		if (r < 0)
			return error_set(err, ERROR_INVALID,
					 "strconv.Atoi: parsing \"%s\": invalid syntax", text);
		if (*text == '-' || files < 1)
			return error_set(err, ERROR_INVALID, "max-file cannot be less than 1");
		ret->max_files = (unsigned)files;
	}
	if ((text = log_option_get(options, "compress"))) {
		r = parse_bool(text, &ret->compress, err);
		if (r < 0)
			return r;
		if (ret->compress && (ret->max_files == 1 || ret->max_bytes == 0))
			return error_set(err, ERROR_INVALID,
					 "compress cannot be true when max-file is less than 2 or "
					 "max-size is not set");
	}
	return 0;
}

static int json_check(const struct log_option *options, struct error *err)
{
	static const char *const patterns[] = { "labels-regex", "env-regex" };
	struct json_options parsed;

	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		const char *text = log_option_get(options, patterns[i]);
		regex_t regex;

		if (!text)
			continue;
		if (regcomp(&regex, text, REG_EXTENDED | REG_NOSUB) != 0)
			return error_set(err, ERROR_INVALID,
					 "%s '%s': expected a regular expression", patterns[i],
					 text);
		regfree(&regex);
	}
	return parse_options(options, &parsed, err);
}

/* ------------------------------------------------------------------ attributes */

static void add_attr(struct str *attrs, const char *key, size_t key_len, const char *value)
{
	str_addc(attrs, attrs->len ? ',' : '{');
	str_addc(attrs, '"');
	json_escape(attrs, key, key_len);
	str_add(attrs, "\":\"");
	json_escape(attrs, value, strlen(value));
	str_addc(attrs, '"');
}

static bool selected(const char *names, const regex_t *regex, const char *key, size_t len)
{
	autofree char *name = strndup(key, len);

	for (const char *p = names; p && *p;) {
		size_t n = strcspn(p, ",");

		if (n == len && strncmp(p, key, n) == 0)
			return true;
		p += n + (p[n] == ',');
	}
	return regex && name && regexec(regex, name, 0, NULL, 0) == 0;
}

/* Docker's tag templates, as far as they name the container. */
static void add_tag(struct str *attrs, const char *template, const struct log_config *config)
{
	autostr struct str text = STR_INIT;
	const struct {
		const char *name, *value;
		size_t max;
	} words[] = {
		{ "{{.ID}}", config->container_id, 12 },
		{ "{{.FullID}}", config->container_id, 64 },
		{ "{{.Name}}", config->container_name, 4096 },
		{ "{{.ImageName}}", config->image_name, 4096 },
		{ "{{.DaemonName}}", "docker", 4096 },
	};

	for (const char *p = template; *p;) {
		size_t i;

		for (i = 0; i < ARRAY_SIZE(words); i++)
			if (str_starts(p, words[i].name))
				break;
		if (i == ARRAY_SIZE(words)) {
			str_addc(&text, *p++);
			continue;
		}
		if (words[i].value)
			str_append(&text, words[i].value, strnlen(words[i].value, words[i].max));
		p += strlen(words[i].name);
	}
	add_attr(attrs, "tag", 3, str_text(&text));
}

/* `"attrs":{…},` for every record, or "". */
static char *make_attrs(const struct log_config *config)
{
	const char *labels = log_option_get(config->options, "labels");
	const char *env = log_option_get(config->options, "env");
	const char *labels_pattern = log_option_get(config->options, "labels-regex");
	const char *env_pattern = log_option_get(config->options, "env-regex");
	const char *tag = log_option_get(config->options, "tag");
	autostr struct str attrs = STR_INIT;
	regex_t regex;
	bool have;

	have = labels_pattern && regcomp(&regex, labels_pattern, REG_EXTENDED | REG_NOSUB) == 0;
	for (const struct log_option *l = config->labels; l && l->key; l++)
		if (selected(labels, have ? &regex : NULL, l->key, strlen(l->key)))
			add_attr(&attrs, l->key, strlen(l->key), l->value);
	if (have)
		regfree(&regex);
	have = env_pattern && regcomp(&regex, env_pattern, REG_EXTENDED | REG_NOSUB) == 0;
	strv_for_each(e, config->env) {
		size_t n = strcspn(*e, "=");

		if ((*e)[n] && selected(env, have ? &regex : NULL, *e, n))
			add_attr(&attrs, *e, n, *e + n + 1);
	}
	if (have)
		regfree(&regex);
	if (tag && *tag)
		add_tag(&attrs, tag, config);
	if (!attrs.len)
		return strdup("");
	return strf("\"attrs\":%s},", str_text(&attrs));
}

/* ------------------------------------------------------------------ opening and closing */

static void json_close(struct log *log)
{
	struct json_log *j = json_log(log);

	json_state_close(j);
	if (j->fd >= 0)
		close(j->fd);
	if (j->dir_fd >= 0)
		close(j->dir_fd);
	j->fd = j->dir_fd = -1;
}

static void json_free(struct log *log)
{
	struct json_log *j = json_log(log);

	json_close(log);
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		str_done(&j->streams[i].line);
	str_done(&j->batch);
	free(j->name);
	free(j->path);
	free(j->attrs);
	free(j);
}

/* A machine that lost power may leave half a record: the next one begins on a line of its own. */
static int end_torn_record(struct json_log *j, struct error *err)
{
	char last;

	if (j->size == 0 || pread(j->fd, &last, 1, (off_t)j->size - 1) != 1 || last == '\n')
		return 0;
	if (fd_write_all(j->fd, "\n", 1) < 0)
		return error_errno(err, EIO, "writing '%s'", j->path);
	j->size++;
	return 0;
}

static int open_files(struct json_log *j, const char *directory, struct error *err)
{
	bool known = false;
	int r;

	j->dir_fd = file_open_dir(AT_FDCWD, directory, 0700, err);
	if (j->dir_fd < 0)
		return j->dir_fd;
	r = json_open_current(j, err);
	if (r == 0)
		r = json_state_open(j, &known, err);
	if (r == 0 && known)
		r = json_state_recover(j, err);
	if (r == 0)
		r = end_torn_record(j, err);
	if (r == 0)
		json_state_save(j);
	return r;
}

static int json_open(const struct log_config *config, struct log **ret, struct error *err)
{
	struct json_log *j = calloc(1, sizeof(*j));
	struct json_options options;
	int r;

	if (!j)
		return error_nomem(err);
	j->fd = j->dir_fd = -1;
	j->loop = config->loop;
	j->jobs = config->jobs;
	/* Rotated files of an earlier daemon count as older than this one. */
	r = parse_options(config->options, &options, err);
	j->max_bytes = options.max_bytes;
	j->max_files = options.max_files;
	j->compress = options.compress;
	j->rotation = options.max_files;
	j->name = strf("%s-json.log", config->container_id);
	j->path = strf("%s/%s-json.log", config->directory, config->container_id);
	j->attrs = make_attrs(config);
	if (r == 0 && (!j->name || !j->path || !j->attrs))
		r = error_nomem(err);
	if (r == 0)
		r = open_files(j, config->directory, err);
	if (r < 0) {
		json_free(&j->log);
		return error_prefix(err, r, "log of container %.12s", config->container_id);
	}
	*ret = &j->log;
	return 0;
}

static const char *json_path(const struct log *log)
{
	return json_log(log)->path;
}

static int json_begin(struct log *log, struct error *err)
{
	struct json_log *j = json_log(log);

	for (int i = 0; i < LOG_STREAM_COUNT; i++) {
		str_clear(&j->streams[i].line);
		j->streams[i].continued = false;
		j->streams[i].recorded = j->streams[i].stored = 0;
	}
	json_state_save(j);
	return 0;
}

/* ------------------------------------------------------------------ writing */

/* The batch goes out whole or not at all: half a record would spoil the file. */
static int write_batch(struct json_log *j, struct error *err)
{
	int r = 0;

	if (j->batch.len) {
		if (j->batch.failed) {
			r = error_nomem(err);
			str_done(&j->batch);
		} else {
			r = fd_write_all(j->fd, j->batch.data, j->batch.len);
		}
		if (r < 0) {
			error_errno(err, -r, "writing '%s'; output was lost", j->path);
			if (ftruncate(j->fd, (off_t)j->size) < 0)
				trace(log, "truncating '%s': %s", j->path, strerror(errno));
		} else {
			j->size += j->batch.len;
		}
		str_clear(&j->batch);
	}
	/* Lost or not, it is not to come again: the container must be able to go on. */
	for (int i = 0; i < LOG_STREAM_COUNT; i++)
		j->streams[i].stored = j->streams[i].recorded;
	json_state_save(j);
	return r;
}

static bool is_full(const struct json_log *j)
{
	return j->max_bytes && j->size + j->batch.len >= j->max_bytes && !j->compressing;
}

static void note_failure(struct json_log *j, int r, const struct error *why)
{
	if (r < 0 && j->failure.kind == ERROR_NONE)
		error_copy(&j->failure, why);
}

static void add_record(struct json_log *j, enum log_stream stream, uint64_t time_ns,
		       const char *data, size_t len)
{
	struct error err = { 0 };

	/* As Docker: a file is full when it has reached the limit before a record is added. */
	if (is_full(j) && j->size + j->batch.len > 0) {
		note_failure(j, write_batch(j, &err), &err);
		note_failure(j, json_rotate(j, &err), &err);
	}
	/* All records of what arrived together bear one time. */
	if (time_ns != j->time_ns) {
		log_time_format(time_ns, j->time);
		j->time_ns = time_ns;
	}
	json_record_add(&j->batch, stream, j->time, j->attrs, data, len);
	j->streams[stream].recorded += len;
	if (j->batch.len >= JSON_BATCH_BYTES)
		note_failure(j, write_batch(j, &err), &err);
}

/* How much of a line without an end makes a record: no UTF-8 sequence is cut that need not be. */
static size_t piece_of(const char *data)
{
	size_t n = JSON_LINE_BYTES;

	while (n > JSON_LINE_BYTES - 3 && ((unsigned char)data[n] & 0xc0) == 0x80)
		n--;
	return ((unsigned char)data[n] & 0xc0) == 0x80 ? JSON_LINE_BYTES : n;
}

static void add_piece(struct json_log *j, enum log_stream stream, uint64_t time_ns,
		      const char *data, size_t len, bool continued)
{
	/* All pieces of a line bear the time of its first. */
	if (!j->streams[stream].continued)
		j->streams[stream].line_time_ns = time_ns;
	add_record(j, stream, j->streams[stream].line_time_ns, data, len);
	j->streams[stream].continued = continued;
}

/* Makes records of what is complete in DATA; returns how much that was. */
static size_t add_complete(struct json_log *j, enum log_stream stream, uint64_t time_ns,
			   const char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		const char *start = data + done;
		const char *newline = memchr(start, '\n', len - done);
		size_t n = newline ? (size_t)(newline - start) + 1 : len - done;

		if (n > JSON_LINE_BYTES) {
			n = piece_of(start);
			add_piece(j, stream, time_ns, start, n, true);
		} else if (newline) {
			add_piece(j, stream, time_ns, start, n, false);
		} else {
			break;
		}
		done += n;
	}
	return done;
}

static void json_write(struct log *log, enum log_stream stream, uint64_t time_ns, const char *data,
		       size_t len)
{
	struct json_log *j = json_log(log);
	struct str *line = &j->streams[stream].line;

	/* A begun line is completed first, with no more of DATA than it needs. */
	while (line->len && len) {
		const char *newline = memchr(data, '\n', len);
		size_t n = newline ? (size_t)(newline - data) + 1 : len;
		size_t done;

		if (n > JSON_LINE_BYTES)
			n = JSON_LINE_BYTES;
		str_append(line, data, n);
		data += n;
		len -= n;
		done = add_complete(j, stream, j->streams[stream].line_time_ns, line->data,
				    line->len);
		str_consume(line, done);
	}
	if (len) {
		size_t done = add_complete(j, stream, time_ns, data, len);

		if (done < len && !j->streams[stream].continued)
			j->streams[stream].line_time_ns = time_ns;
		str_append(line, data + done, len - done);
	}
}

static void json_end(struct log *log, enum log_stream stream, uint64_t time_ns)
{
	struct json_log *j = json_log(log);
	struct str *line = &j->streams[stream].line;

	if (line->len)
		add_record(j, stream, j->streams[stream].line_time_ns, line->data, line->len);
	str_clear(line);
	j->streams[stream].continued = false;
}

static int json_flush(struct log *log, struct error *err)
{
	struct json_log *j = json_log(log);
	struct error why = { 0 };
	int r = 0;

	if (j->fd < 0)
		return 0;
	if (j->batch.len)
		note_failure(j, write_batch(j, &why), &why);
	if (j->failure.kind != ERROR_NONE) {
		error_copy(err, &j->failure);
		error_clear(&j->failure);
		r = -EIO;
	}
	return r;
}

static uint64_t json_stored(const struct log *log, enum log_stream stream)
{
	return json_log(log)->streams[stream].stored;
}

static const char *json_partial(const struct log *log, enum log_stream stream, size_t *ret_len)
{
	const struct str *line = &json_log(log)->streams[stream].line;

	*ret_len = line->len;
	return str_text(line);
}

const struct log_driver log_driver_json_file = {
	.name = "json-file",
	.check = json_check,
	.open = json_open,
	.close = json_close,
	.free = json_free,
	.begin = json_begin,
	.write = json_write,
	.end = json_end,
	.flush = json_flush,
	.stored = json_stored,
	.partial = json_partial,
	.path = json_path,
	.read = json_log_read,
};
