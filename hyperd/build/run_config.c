#include "hyperd/build/run_config.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

json_t *run_config_make(const json_t *base)
{
	/* What Go writes of a configuration that says nothing. */
	json_t *config = json_pack("{s:s,s:s,s:s,s:b,s:b,s:b,s:b,s:b,s:b,s:n,s:n,s:s,s:n,s:s,s:n,"
				   "s:n,s:n}",
				   "Hostname", "", "Domainname", "", "User", "", "AttachStdin", 0,
				   "AttachStdout", 0, "AttachStderr", 0, "Tty", 0, "OpenStdin", 0,
				   "StdinOnce", 0, "Env", "Cmd", "Image", "", "Volumes",
				   "WorkingDir", "", "Entrypoint", "OnBuild", "Labels");
	autojson json_t *copy = base ? json_deep_copy(base) : json_object();
	const char *key;
	json_t *value;

	if (!config || !copy)
		goto fail;
	json_object_foreach(copy, key, value) {
		if (json_is_null(value))
			continue;
		if (json_object_set(config, key, value) < 0)
			goto fail;
	}
	return config;
fail:
	json_decref(config);
	return NULL;
}

char **run_config_strv(const json_t *config, const char *key)
{
	char **v = NULL;

	json_get_strv(config, key, &v, NULL);
	return v;
}

int run_config_set_strv(json_t *config, const char *key, char *const *v, struct error *err)
{
	json_t *list = v ? json_from_strv(v) : json_null();

	return json_object_set_new(config, key, list) < 0
		       ? error_set(err, ERROR_INVALID, "%s: not valid UTF-8", key)
		       : 0;
}

int run_config_set_text(json_t *config, const char *key, const char *text, struct error *err)
{
	return json_object_set_new(config, key, json_string(text)) < 0
		       ? error_set(err, ERROR_INVALID, "%s: not valid UTF-8", key)
		       : 0;
}

int run_config_set_env(json_t *config, const char *name, const char *value, struct error *err)
{
	json_t *env = json_object_get(config, "Env"), *item;
	autofree char *text = strf("%s=%s", name, value);
	size_t i, len = strlen(name);

	if (!text)
		return error_nomem(err);
	if (!json_is_array(env)) {
		env = json_array();
		if (json_object_set_new(config, "Env", env) < 0)
			return error_nomem(err);
	}
	json_array_foreach(env, i, item) {
		const char *have = json_string_value(item);

		if (have && strncmp(have, name, len) == 0 && (have[len] == '=' || !have[len]))
			return json_array_set_new(env, i, json_string(text)) < 0 ? error_nomem(err)
										 : 0;
	}
	return json_array_append_new(env, json_string(text)) < 0 ? error_nomem(err) : 0;
}

int run_config_set_member(json_t *config, const char *map, const char *key, const char *value,
			  struct error *err)
{
	json_t *object = json_object_get(config, map);

	if (!json_is_object(object)) {
		object = json_object();
		if (json_object_set_new(config, map, object) < 0)
			return error_nomem(err);
	}
	return json_object_set_new(object, key, value ? json_string(value) : json_object()) < 0
		       ? error_nomem(err)
		       : 0;
}

char **run_config_shell(const json_t *config)
{
	char **shell = run_config_strv(config, "Shell");

	if (strv_len(shell))
		return shell;
	strv_free(shell);
	shell = NULL;
	if (strv_add(&shell, "/bin/sh") < 0 || strv_add(&shell, "-c") < 0) {
		strv_free(shell);
		return NULL;
	}
	return shell;
}

json_t *run_config_with_comment(const json_t *config, const char *comment, bool joined,
				char **ret_created_by)
{
	autojson json_t *copy = json_deep_copy(config);
	autostrv char **cmd = run_config_shell(config);
	autostr struct str text = STR_INIT;
	int r;

	if (!copy || !cmd)
		return NULL;
	if (joined)
		r = strv_addf(&cmd, "#(nop) %s", comment);
	else
		r = strv_add(&cmd, "#(nop) ") < 0 ? -ENOMEM : strv_add(&cmd, comment);
	if (r < 0 || run_config_set_strv(copy, "Cmd", cmd, NULL) < 0)
		return NULL;
	strv_for_each(word, cmd)
		str_addf(&text, "%s%s", text.len ? " " : "", *word);
	if (ret_created_by) {
		*ret_created_by = str_steal(&text);
		if (!*ret_created_by)
			return NULL;
	}
	return steal(copy);
}

static bool is_nothing(const json_t *value)
{
	return !value || json_is_null(value) || json_is_false(value) ||
	       (json_is_string(value) && !json_string_length(value)) ||
	       (json_is_array(value) && !json_array_size(value)) ||
	       (json_is_object(value) && !json_object_size(value));
}

bool run_config_same(const json_t *a, const json_t *b)
{
	static const char *const compared[] = { "User",   "Tty",     "Cmd",          "Env",
						"Labels", "Volumes", "ExposedPorts", "Entrypoint" };

	if (json_is_true(json_object_get(a, "OpenStdin")) ||
	    json_is_true(json_object_get(b, "OpenStdin")))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(compared); i++) {
		json_t *x = json_object_get(a, compared[i]), *y = json_object_get(b, compared[i]);

		if (is_nothing(x) && is_nothing(y))
			continue;
		if (is_nothing(x) || is_nothing(y) || !json_equal(x, y))
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------ as Go prints */

void go_quote(struct str *out, const char *text)
{
	static const char from[] = "\a\b\f\n\r\t\v\"\\", to[] = "abfnrtv\"\\";

	str_addc(out, '"');
	for (; *text; text++) {
		const char *special = strchr(from, *text);

		if (special)
			str_addf(out, "\\%c", to[special - from]);
		else if ((unsigned char)*text < 0x20 || *text == 0x7f)
			str_addf(out, "\\x%02x", (unsigned char)*text);
		else
			str_addc(out, *text);
	}
	str_addc(out, '"');
}

void go_quote_list(struct str *out, char *const *v)
{
	str_addc(out, '[');
	strv_for_each(item, v) {
		if (item != v)
			str_addc(out, ' ');
		go_quote(out, *item);
	}
	str_addc(out, ']');
}

void go_list(struct str *out, char *const *v)
{
	str_addc(out, '[');
	strv_for_each(item, v)
		str_addf(out, "%s%s", item != v ? " " : "", *item);
	str_addc(out, ']');
}

/* VALUE of units of a billionth of SCALE, without trailing zeros. */
static void fraction(struct str *out, int64_t value, int64_t scale)
{
	char text[24];
	int64_t rest = value % scale;
	int digits = 0;

	str_addf(out, "%lld", (long long)(value / scale));
	for (int64_t s = scale; s > 1; s /= 10)
		digits++;
	if (!rest)
		return;
	snprintf(text, sizeof(text), "%09lld", (long long)rest);
	while (text[strlen(text) - 1] == '0')
		text[strlen(text) - 1] = '\0';
	str_addf(out, ".%s", text + 9 - digits);
}

void go_duration(struct str *out, int64_t ns)
{
	const int64_t second = 1000000000;

	if (ns < second) {
		int64_t scale = ns < 1000 ? 1 : ns < 1000000 ? 1000 : 1000000;

		fraction(out, ns, scale);
		str_add(out, ns == 0 ? "s" : scale == 1 ? "ns" : scale == 1000 ? "µs" : "ms");
		return;
	}
	if (ns >= 3600 * second)
		str_addf(out, "%lldh", (long long)(ns / (3600 * second)));
	if (ns >= 60 * second)
		str_addf(out, "%lldm", (long long)(ns / (60 * second) % 60));
	fraction(out, ns % (60 * second), second);
	str_addc(out, 's');
}
