#include "hyperd/image/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/digest.h"

/* No DST, no leap seconds; at most nine digits of fraction count. */
int time_parse(const char *text, uint64_t *ret_ns)
{
	struct tm tm = { 0 };
	long fraction = 0, scale = 100000000, offset = 0;
	const char *p;
	time_t seconds;
	int used = 0;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6)
		return -EINVAL;
	p = text + used;
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10)
			fraction += (*p - '0') * scale;
	if (*p == '+' || *p == '-') {
		int hours, minutes;

		if (sscanf(p + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || p[1 + used])
			return -EINVAL;
		offset = (hours * 60L + minutes) * 60 * (*p == '+' ? 1 : -1);
	} else if (strcmp(p, "Z") != 0) {
		return -EINVAL;
	}
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	seconds = timegm(&tm) - offset;
	*ret_ns = seconds > 0 ? (uint64_t)seconds * NSEC_PER_SEC + (uint64_t)fraction : 0;
	return 0;
}

char *time_format(uint64_t ns)
{
	time_t seconds = (time_t)(ns / NSEC_PER_SEC);
	char date[64];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	return strf("%s.%09lluZ", date, (unsigned long long)(ns % NSEC_PER_SEC));
}

static int get_text(const json_t *object, const char *key, char **ret, struct error *err)
{
	const char *text;
	int r = json_get_string(object, key, &text, err);

	if (r < 0 || !text || !*text)
		return r;
	*ret = strdup(text);
	return *ret ? 0 : error_nomem(err);
}

/* Sets as Docker writes them: {"80/tcp": {}}. */
static int get_keys(const json_t *object, const char *key, char ***ret, struct error *err)
{
	json_t *set, *value;
	const char *name;
	int r = json_get_object(object, key, &set, err);

	if (r < 0 || !set)
		return r;
	json_object_foreach(set, name, value) {
		if (!json_is_object(value) && !json_is_null(value))
			return error_set(err, ERROR_INVALID, "%s: '%s': expected an empty object",
					 key, name);
		if (strv_add(ret, name) < 0)
			return error_nomem(err);
	}
	return 0;
}

static int get_labels(const json_t *object, struct image_config *config, struct error *err)
{
	json_t *labels, *value;
	const char *name;
	int r = json_get_object(object, "Labels", &labels, err);

	if (r < 0 || !labels)
		return r;
	json_object_foreach(labels, name, value) {
		const char *text = json_string_value(value);

		if (!text || strlen(text) != json_string_length(value))
			return error_set(err, ERROR_INVALID, "Labels: '%s': expected a string",
					 name);
		if (strv_add(&config->label_keys, name) < 0 ||
		    strv_add(&config->label_values, text) < 0)
			return error_nomem(err);
	}
	return 0;
}

static int get_healthcheck(const json_t *object, json_t **ret, struct error *err)
{
	static const char *const numbers[] = { "Interval", "Timeout", "StartPeriod",
					       "StartInterval", "Retries" };
	autostrv char **test = NULL;
	json_t *check;
	int64_t number;
	int r = json_get_object(object, "Healthcheck", &check, err);

	if (r < 0 || !check)
		return r;
	r = json_get_strv(check, "Test", &test, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(numbers); i++) {
		r = json_get_int(check, numbers[i], &number, err);
		if (r == 0 && number < 0)
			r = error_set(err, ERROR_INVALID, "%s: expected 0 or more", numbers[i]);
	}
	if (r < 0)
		return error_prefix(err, r, "Healthcheck");
	*ret = json_incref(check);
	return 0;
}

int image_config_parse(const json_t *object, struct image_config *ret, struct error *err)
{
	struct image_config config = { 0 };
	const struct {
		const char *key;
		char **to;
	} texts[] = {
		{ "User", &config.user },
		{ "WorkingDir", &config.working_dir },
		{ "StopSignal", &config.stop_signal },
	};
	const struct {
		const char *key;
		char ***to;
	} lists[] = {
		{ "Entrypoint", &config.entrypoint },
		{ "Cmd", &config.cmd },
		{ "Env", &config.env },
	}, sets[] = {
		{ "Volumes", &config.volumes },
		{ "ExposedPorts", &config.exposed_ports },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++)
		r = get_text(object, texts[i].key, texts[i].to, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(lists); i++)
		r = json_get_strv(object, lists[i].key, lists[i].to, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sets); i++)
		r = get_keys(object, sets[i].key, sets[i].to, err);
	if (r == 0)
		r = get_labels(object, &config, err);
	if (r == 0)
		r = get_healthcheck(object, &config.healthcheck, err);
	if (r < 0) {
		image_config_done(&config);
		return r;
	}
	*ret = config;
	return 0;
}

void image_config_done(struct image_config *config)
{
	strv_free(config->entrypoint);
	strv_free(config->cmd);
	strv_free(config->env);
	free(config->user);
	free(config->working_dir);
	free(config->stop_signal);
	strv_free(config->volumes);
	strv_free(config->exposed_ports);
	strv_free(config->label_keys);
	strv_free(config->label_values);
	json_decref(config->healthcheck);
	*config = (struct image_config){ 0 };
}

static int get_diff_ids(struct config_file *file, struct error *err)
{
	const char *type;
	json_t *rootfs;
	int r = json_get_object(file->root, "rootfs", &rootfs, err);

	if (r < 0)
		return r;
	if (!rootfs)
		return error_set(err, ERROR_INVALID, "rootfs: missing");
	r = json_get_string(rootfs, "type", &type, err);
	if (r == 0 && type && strcmp(type, "layers") != 0)
		r = error_set(err, ERROR_UNSUPPORTED, "type '%.40s': expected 'layers'", type);
	if (r == 0)
		r = json_get_strv(rootfs, "diff_ids", &file->diff_ids, err);
	if (r == 0 && strv_len(file->diff_ids) > IMAGE_MAX_LAYERS)
		r = error_set(err, ERROR_LIMIT, "diff_ids: %zu layers, more than %d",
			      strv_len(file->diff_ids), IMAGE_MAX_LAYERS);
	strv_for_each(id, file->diff_ids)
		if (r == 0)
			r = digest_check("diff_ids", *id, err);
	return r < 0 ? error_prefix(err, r, "rootfs") : 0;
}

static int parse_members(struct config_file *file, struct error *err)
{
	const char *created;
	json_t *config;
	int r;

	if (!json_is_object(file->root))
		return error_set(err, ERROR_INVALID, "expected an object");
	r = json_get_string(file->root, "os", &file->os, err);
	if (r == 0)
		r = json_get_string(file->root, "architecture", &file->architecture, err);
	if (r == 0)
		r = json_get_string(file->root, "created", &created, err);
	if (r < 0)
		return r;
	if (file->os && *file->os && strcmp(file->os, "linux") != 0)
		return error_set(err, ERROR_UNSUPPORTED,
				 "an image for '%.40s'; only linux runs here", file->os);
	if (created && *created && time_parse(created, &file->created_ns) < 0)
		return error_set(err, ERROR_INVALID,
				 "created: '%.60s': expected a time as in RFC 3339", created);
	r = get_diff_ids(file, err);
	if (r == 0)
		r = json_get_object(file->root, "config", &config, err);
	if (r == 0) {
		r = image_config_parse(config, &file->config, err);
		if (r < 0)
			error_prefix(err, r, "config");
	}
	return r;
}

int config_file_parse(const char *text, size_t len, struct config_file *ret, struct error *err)
{
	struct config_file file = { 0 };
	int r;

	if (len > IMAGE_MAX_CONFIG_BYTES)
		return error_set(err, ERROR_LIMIT, "image configuration: larger than %u bytes",
				 IMAGE_MAX_CONFIG_BYTES);
	r = json_parse(text, len, &file.root, err);
	if (r == 0)
		r = parse_members(&file, err);
	if (r < 0) {
		config_file_done(&file);
		return error_prefix(err, r, "image configuration");
	}
	*ret = file;
	return 0;
}

void config_file_done(struct config_file *file)
{
	image_config_done(&file->config);
	strv_free(file->diff_ids);
	json_decref(file->root);
	*file = (struct config_file){ 0 };
}
