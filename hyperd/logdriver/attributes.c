#include "hyperd/logdriver/attributes.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/template.h"
#include "hyperd/logdriver/options.h"

static int compile(const char *name, const char *text, regex_t *ret, struct error *err)
{
	if (regcomp(ret, text, REG_EXTENDED | REG_NOSUB) != 0)
		return error_set(err, ERROR_INVALID, "%s '%s': expected a regular expression", name,
				 text);
	return 0;
}

int log_attributes_check(const struct log_option *options, struct error *err)
{
	static const char *const patterns[] = { "labels-regex", "env-regex" };
	const char *tag = log_option_filled(options, "tag");

	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		const char *text = log_option_filled(options, patterns[i]);
		regex_t regex;

		if (!text)
			continue;
		if (compile(patterns[i], text, &regex, err) < 0)
			return -EINVAL;
		regfree(&regex);
	}
	return tag ? template_check("log-tag", tag, err) : 0;
}

/* ------------------------------------------------------------------ labels and variables */

static bool is_named(const char *names, const char *key, size_t len)
{
	for (const char *p = names; p && *p;) {
		size_t n = strcspn(p, ",");

		if (n == len && strncmp(p, key, n) == 0)
			return true;
		p += n + (p[n] == ',');
	}
	return false;
}

struct choice {
	const char *names; /* borrowed; may be NULL */
	bool have_regex;
	regex_t regex;
};

static int choice_init(struct choice *c, const struct log_option *options, const char *names,
		       const char *pattern, struct error *err)
{
	const char *text = log_option_filled(options, pattern);

	c->names = log_option_get(options, names);
	c->have_regex = text;
	return text ? compile(pattern, text, &c->regex, err) : 0;
}

static void add_chosen(const struct choice *c, json_t *all, const char *key, size_t len,
		       const char *value)
{
	autofree char *name = strndup(key, len);

	if (name && (is_named(c->names, key, len) ||
		     (c->have_regex && regexec(&c->regex, name, 0, NULL, 0) == 0)))
		json_object_set_new_nocheck(all, name, json_stringn_nocheck(value, strlen(value)));
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(((const struct log_option *)a)->key, ((const struct log_option *)b)->key);
}

static int make_list(json_t *all, struct log_option **ret, struct error *err)
{
	struct log_option *list = calloc(json_object_size(all) + 1, sizeof(*list));
	const char *key;
	json_t *value;
	size_t n = 0;

	if (!list)
		return error_nomem(err);
	json_object_foreach(all, key, value) {
		list[n].key = strdup(key);
		list[n].value = strdup(json_string_value(value));
		if (!list[n].key || !list[n++].value) {
			log_attributes_free(list);
			return error_nomem(err);
		}
	}
	if (n)
		qsort(list, n, sizeof(*list), compare_keys);
	*ret = list;
	return 0;
}

int log_attributes(const struct log_config *config, bool with_tag, struct log_option **ret,
		   struct error *err)
{
	autofree char *tag = NULL;
	autojson json_t *all = json_object();
	struct choice labels, env;
	int r = choice_init(&labels, config->options, "labels", "labels-regex", err);

	if (r < 0)
		return r;
	r = choice_init(&env, config->options, "env", "env-regex", err);
	for (const struct log_option *l = config->labels; r == 0 && l && l->key; l++)
		add_chosen(&labels, all, l->key, strlen(l->key), l->value);
	strv_for_each(e, config->env) {
		size_t n = strcspn(*e, "=");

		if (r == 0 && (*e)[n])
			add_chosen(&env, all, *e, n, *e + n + 1);
	}
	if (labels.have_regex)
		regfree(&labels.regex);
	if (r == 0 && env.have_regex)
		regfree(&env.regex);
	/* No tag that nobody asked for. */
	if (r == 0 && with_tag && log_option_filled(config->options, "tag")) {
		r = log_tag(config, "", &tag, err);
		if (r == 0)
			json_object_set_new_nocheck(all, "tag", json_string_nocheck(tag));
	}
	return r < 0 ? r : make_list(all, ret, err);
}

void log_attributes_free(struct log_option *attributes)
{
	for (struct log_option *a = attributes; a && a->key; a++) {
		free((char *)a->key);
		free((char *)a->value);
	}
	free(attributes);
}

/* ------------------------------------------------------------------ the tag */

#define TEXT_MAX 4096u

static void set(json_t *object, const char *name, const char *value, size_t max)
{
	size_t len = value ? strnlen(value, max) : 0;
	json_t *text = json_stringn(value ? value : "", len);

	json_object_set_new(object, name, text ? text : json_string(""));
}

static void set_labels(json_t *object, const struct log_option *labels)
{
	json_t *map = json_object();

	for (; labels && labels->key; labels++)
		json_object_set_new(map, labels->key, json_string(labels->value));
	json_object_set_new(object, "ContainerLabels", map);
}

int log_tag(const struct log_config *config, const char *template, char **ret, struct error *err)
{
	const char *tag = log_option_filled(config->options, "tag");
	const char *image = config->image_id ? config->image_id : "";
	autofree char *slashed = strf("/%s", config->container_name ? config->container_name : "");
	autostr struct str text = STR_INIT;
	autojson json_t *info = json_object();
	int r;

	if (str_starts(image, "sha256:"))
		image += strlen("sha256:");
	set(info, "ID", config->container_id, 12);
	set(info, "FullID", config->container_id, TEXT_MAX);
	set(info, "ContainerID", config->container_id, TEXT_MAX);
	set(info, "Name", config->container_name, TEXT_MAX);
	set(info, "ContainerName", slashed, TEXT_MAX);
	set(info, "ImageID", image, 12);
	set(info, "ImageFullID", image, TEXT_MAX);
	set(info, "ContainerImageID", image, TEXT_MAX);
	set(info, "ImageName", config->image_name, TEXT_MAX);
	set(info, "ContainerImageName", config->image_name, TEXT_MAX);
	set(info, "Command", config->command, TEXT_MAX);
	set(info, "Hostname", config->hostname, TEXT_MAX);
	set(info, "DaemonName", "docker", TEXT_MAX);
	set_labels(info, config->labels);
	r = template_print("log-tag", tag ? tag : template, info, &text, err);
	if (r < 0)
		return r;
	*ret = str_steal(&text);
	if (!*ret)
		*ret = strdup("");
	return *ret ? 0 : error_nomem(err);
}
