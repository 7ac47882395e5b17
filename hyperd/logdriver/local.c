#include "hyperd/logdriver/local.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "hyperd/logdriver/attributes.h"
#include "hyperd/logdriver/file_log.h"
#include "hyperd/logdriver/local_record.h"
#include "hyperd/logdriver/options.h"

/* Docker's. */
#define DEFAULT_MAX_BYTES 20000000u
#define DEFAULT_MAX_FILES 5

#define CACHE_PREFIX "cache-"

static const char *const option_names[] = { "max-file",  "max-size",     "compress",
					    "labels",    "labels-regex", "env",
					    "env-regex", "tag",          NULL };

/* ------------------------------------------------------------------ options */

static int parse_options(const struct log_option *options, struct file_log_options *ret,
			 struct error *err)
{
	const char *text;
	long long files;

	*ret = (struct file_log_options){
		.max_bytes = DEFAULT_MAX_BYTES,
		.max_files = DEFAULT_MAX_FILES,
		.compress = true,
	};
	for (const struct log_option *o = options; o && o->key; o++)
		if (!log_option_known(option_names, o->key))
			return error_set(err, ERROR_INVALID,
					 "unknown log opt '%s' for log driver local", o->key);
	if ((text = log_option_get(options, "max-size"))) {
		if (*text == '-')
			return error_set(err, ERROR_INVALID, "max-size must not be negative");
		if (log_parse_size(text, &ret->max_bytes, err) < 0)
			return error_prefix(err, -EINVAL, "invalid value for max-size: %s", text);
	}
	if ((text = log_option_get(options, "max-file"))) {
		if (log_parse_int(text, &files, err) < 0)
			return error_prefix(err, -EINVAL, "invalid value for max-file: %s", text);
		if (files < 0)
			return error_set(err, ERROR_INVALID, "max-file must not be negative");
		ret->max_files = files ? (unsigned)files : 1;
	}
	if ((text = log_option_get(options, "compress")) &&
	    log_parse_bool(text, &ret->compress, err) < 0)
		return error_prefix(err, -EINVAL, "invalid boolean value for compress");
	if (ret->compress && ret->max_files <= 1)
		return error_set(err, ERROR_INVALID,
				 "compression cannot be enabled when max file count is 1");
	return 0;
}

static int local_check(const struct log_option *options, struct error *err)
{
	struct file_log_options parsed;
	int r = log_attributes_check(options, err);

	return r < 0 ? r : parse_options(options, &parsed, err);
}

/* ------------------------------------------------------------------ the format */

static void local_add(struct file_log *j, const struct log_line *line)
{
	local_record_add(&j->batch, line, &j->attrs);
}

/* The record that ends at END: where it begins, or -EINVAL. */
static int64_t record_before(int fd, uint64_t end)
{
	uint32_t head, tail;
	uint64_t size;

	if (end < 2 * sizeof(tail) || pread(fd, &tail, sizeof(tail), (off_t)(end - 4)) != 4)
		return -EINVAL;
	size = be32toh(tail);
	if (size == 0 || size > LOCAL_RECORD_MAX_BYTES || end < size + 8 ||
	    pread(fd, &head, sizeof(head), (off_t)(end - size - 8)) != 4 || head != tail)
		return -EINVAL;
	return (int64_t)(end - size - 8);
}

static int local_find_tail(int fd, uint64_t end, uint64_t *left, uint64_t *ret, struct error *err)
{
	uint64_t at = end;

	while (*left && at > 0) {
		int64_t before = record_before(fd, at);

		/* What stands before a damaged record cannot be found from here. */
		if (before < 0) {
			*left = 0;
			break;
		}
		at = (uint64_t)before;
		--*left;
	}
	*ret = at;
	return 0;
}

static int local_mend(struct file_log *j, struct error *err)
{
	uint64_t at = 0;
	uint32_t head, tail;

	if (record_before(j->fd, j->size) >= 0)
		return 0;
	while (pread(j->fd, &head, sizeof(head), (off_t)at) == 4) {
		uint64_t size = be32toh(head);

		if (size == 0 || size > LOCAL_RECORD_MAX_BYTES ||
		    pread(j->fd, &tail, sizeof(tail), (off_t)(at + 4 + size)) != 4 || tail != head)
			break;
		at += size + 8;
	}
	if (ftruncate(j->fd, (off_t)at) < 0)
		return error_errno(err, errno, "truncating '%s'", j->path);
	j->size = at;
	return 0;
}

static const struct file_format local_format = {
	.add = local_add,
	.cut = local_record_cut,
	.parse = local_record_parse,
	.find_tail = local_find_tail,
	.mend = local_mend,
};

/* ------------------------------------------------------------------ the driver */

static int make_attrs(const struct log_config *config, struct str *ret, struct error *err)
{
	struct log_option *attributes = NULL;
	int r = log_attributes(config, true, &attributes, err);

	if (r < 0)
		return r;
	for (const struct log_option *a = attributes; a->key; a++)
		local_record_add_attr(ret, a->key, a->value);
	log_attributes_free(attributes);
	return 0;
}

static int open_named(const struct log_config *config, const char *name, struct log **ret,
		      struct error *err)
{
	autostr struct str attrs = STR_INIT;
	struct file_log_options options;
	int r = parse_options(config->options, &options, err);

	options.name = name;
	if (r == 0)
		r = make_attrs(config, &attrs, err);
	return r < 0 ? r : file_log_open(config, &local_format, &options, &attrs, ret, err);
}

static int local_open(const struct log_config *config, struct log **ret, struct error *err)
{
	autofree char *directory = strf("%s/local-logs", config->directory);
	struct log_config own = *config;

	if (!directory)
		return error_nomem(err);
	own.directory = directory;
	return open_named(&own, "container.log", ret, err);
}

/* No path: as Docker, nobody is to rely on these files' format. */
const struct log_driver log_driver_local = {
	.name = "local",
	.check = local_check,
	.open = local_open,
	.close = file_log_close,
	.free = file_log_free,
	.begin = file_log_begin,
	.write = file_log_write,
	.end = file_log_end,
	.flush = file_log_flush,
	.stored = file_log_stored,
	.partial = file_log_partial,
	.read = file_log_read,
};

/* ------------------------------------------------------------------ the cache */

/* The options that begin with "cache-", without it; names and values borrowed. */
static struct log_option *cache_options(const struct log_option *options)
{
	size_t count = 0, n = 0;
	struct log_option *list;

	for (const struct log_option *o = options; o && o->key; o++)
		count++;
	list = calloc(count + 1, sizeof(*list));
	for (const struct log_option *o = options; list && o && o->key; o++) {
		if (str_starts(o->key, CACHE_PREFIX) && strcmp(o->key, "cache-disabled") != 0)
			list[n++] = (struct log_option){ o->key + strlen(CACHE_PREFIX), o->value };
	}
	return list;
}

int local_check_cache(const struct log_option *options, struct error *err)
{
	autofree struct log_option *own = cache_options(options);

	return own ? local_check(own, err) : error_nomem(err);
}

int local_open_cache(const struct log_config *config, struct log **ret, struct error *err)
{
	autofree struct log_option *own = cache_options(config->options);
	struct log_config cache = *config;
	int r;

	if (!own)
		return error_nomem(err);
	cache.options = own;
	r = open_named(&cache, "container-cached.log", ret, err);
	if (r == 0)
		(*ret)->driver = &log_driver_local;
	return r;
}
