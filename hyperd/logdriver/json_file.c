/* The driver json-file: Docker's default, a JSON object a line. */
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "hyperd/logdriver/attributes.h"
#include "hyperd/logdriver/file_log.h"
#include "hyperd/logdriver/json_record.h"
#include "hyperd/logdriver/options.h"

#define BLOCK_BYTES (64u * 1024)

/* ------------------------------------------------------------------ options */

static const char *const option_names[] = { "max-file",  "max-size",     "compress",
					    "labels",    "labels-regex", "env",
					    "env-regex", "tag",          NULL };

static int parse_options(const struct log_option *options, struct file_log_options *ret,
			 struct error *err)
{
	const char *text;
	long long files;
	int r;

	*ret = (struct file_log_options){ .max_files = 1 };
	for (const struct log_option *o = options; o && o->key; o++)
		if (!log_option_known(option_names, o->key))
			return error_set(err, ERROR_INVALID,
					 "unknown log opt '%s' for json-file log driver", o->key);
	if ((text = log_option_get(options, "max-size"))) {
		if (*text == '-')
			return error_set(err, ERROR_INVALID, "max-size must be a positive number");
		r = log_parse_size(text, &ret->max_bytes, err);
		if (r < 0)
			return r;
		if (ret->max_bytes == 0)
			return error_set(err, ERROR_INVALID, "max-size must be a positive number");
	}
	if ((text = log_option_get(options, "max-file"))) {
		r = log_parse_int(text, &files, err);
		if (r < 0)
			return r;
		if (files < 1)
			return error_set(err, ERROR_INVALID, "max-file cannot be less than 1");
		ret->max_files = (unsigned)files;
	}
	if ((text = log_option_get(options, "compress"))) {
		r = log_parse_bool(text, &ret->compress, err);
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
	struct file_log_options parsed;
	int r = log_attributes_check(options, err);

	return r < 0 ? r : parse_options(options, &parsed, err);
}

/* ------------------------------------------------------------------ the format */

static void json_add(struct file_log *j, const struct log_line *line)
{
	/* All records of what arrived together bear one time. */
	if (line->time_ns != j->time_ns) {
		log_time_format(line->time_ns, j->time);
		j->time_ns = line->time_ns;
	}
	json_record_add(&j->batch, line->stream, j->time, str_text(&j->attrs), line->data,
			line->len);
}

static ssize_t json_cut(const char *text, size_t len)
{
	const char *newline = memchr(text, '\n', len);

	return newline ? newline - text + 1 : 0;
}

static int json_parse_record(const char *text, size_t len, struct file_record *ret)
{
	return json_record_parse(text, len - 1, ret);
}

static int json_find_tail(int fd, uint64_t end, uint64_t *left, uint64_t *ret, struct error *err)
{
	autofree char *block = malloc(BLOCK_BYTES);
	uint64_t at = end;

	if (!block)
		return error_nomem(err);
	while (at > 0) {
		size_t n = at < BLOCK_BYTES ? (size_t)at : BLOCK_BYTES;
		ssize_t got = pread(fd, block, n, (off_t)(at - n));

		if (got != (ssize_t)n)
			return error_errno(err, got < 0 ? errno : EIO, "reading the log");
		for (size_t i = n; i > 0; i--) {
			uint64_t after = at - n + i;

			/* The newline at the very end ends the last record. */
			if (block[i - 1] != '\n' || after == end)
				continue;
			if (--*left == 0) {
				*ret = after;
				return 0;
			}
		}
		at -= n;
	}
	if (end > 0)
		--*left;
	*ret = 0;
	return 0;
}

static int json_mend(struct file_log *j, struct error *err)
{
	char last;

	if (pread(j->fd, &last, 1, (off_t)j->size - 1) != 1 || last == '\n')
		return 0;
	if (fd_write_all(j->fd, "\n", 1) < 0)
		return error_errno(err, EIO, "writing '%s'", j->path);
	j->size++;
	return 0;
}

static const struct file_format json_format = {
	.add = json_add,
	.cut = json_cut,
	.parse = json_parse_record,
	.find_tail = json_find_tail,
	.mend = json_mend,
};

/* ------------------------------------------------------------------ the driver */

static void add_attr(struct str *attrs, const char *key, const char *value)
{
	str_add(attrs, attrs->len ? "," : "\"attrs\":{");
	str_addc(attrs, '"');
	json_escape(attrs, key, strlen(key));
	str_add(attrs, "\":\"");
	json_escape(attrs, value, strlen(value));
	str_addc(attrs, '"');
}

/* `"attrs":{…},` for every record, or nothing. */
static int make_attrs(const struct log_config *config, struct str *ret, struct error *err)
{
	struct log_option *attributes = NULL;
	int r = log_attributes(config, true, &attributes, err);

	if (r < 0)
		return r;
	for (const struct log_option *a = attributes; a->key; a++)
		add_attr(ret, a->key, a->value);
	log_attributes_free(attributes);
	if (ret->len)
		str_add(ret, "},");
	return 0;
}

static int json_open(const struct log_config *config, struct log **ret, struct error *err)
{
	autofree char *name = strf("%s-json.log", config->container_id);
	autostr struct str attrs = STR_INIT;
	struct file_log_options options;
	int r = parse_options(config->options, &options, err);

	if (r == 0 && !name)
		r = error_nomem(err);
	if (r == 0)
		r = make_attrs(config, &attrs, err);
	if (r < 0)
		return r;
	options.name = name;
	return file_log_open(config, &json_format, &options, &attrs, ret, err);
}

static const char *json_path(const struct log *log)
{
	return file_log(log)->path;
}

const struct log_driver log_driver_json_file = {
	.name = "json-file",
	.check = json_check,
	.open = json_open,
	.close = file_log_close,
	.free = file_log_free,
	.begin = file_log_begin,
	.write = file_log_write,
	.end = file_log_end,
	.flush = file_log_flush,
	.stored = file_log_stored,
	.partial = file_log_partial,
	.path = json_path,
	.read = file_log_read,
};
