#include "hyperd/image/changes.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"

#define MAX_CHANGE_BYTES 65536
#define MAX_PORT_RANGE   1000

static int bad(struct error *err, const char *what)
{
	return error_set(err, ERROR_INVALID, "%s", what);
}

/* jansson's setters fail when memory runs out, and for text that is not UTF-8. */
static int stored(int r, struct error *err)
{
	return r < 0 ? bad(err, "not valid UTF-8") : 0;
}

static const char *skip_blanks(const char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

static json_t *child(json_t *config, const char *key, json_t *fresh)
{
	json_t *have = json_object_get(config, key);

	if (json_is_object(have) || json_is_array(have)) {
		json_decref(fresh);
		return have;
	}
	return json_object_set_new(config, key, fresh) < 0 ? NULL : json_object_get(config, key);
}

/* What NAME is in the image's environment so far; borrowed, NULL when it is not set. */
static const char *env_value(const json_t *config, const char *name, size_t len)
{
	json_t *env = json_object_get(config, "Env"), *item;
	size_t i;

	json_array_foreach(env, i, item) {
		const char *text = json_string_value(item);

		if (text && strncmp(text, name, len) == 0 && text[len] == '=')
			return text + len + 1;
	}
	return NULL;
}

static size_t name_length(const char *p)
{
	size_t n = 0;

	while (isalnum((unsigned char)p[n]) || p[n] == '_')
		n++;
	return n;
}

/* $NAME, ${NAME}, ${NAME:-other}, ${NAME:+other}; P stands at the dollar. */
static int expand(const json_t *config, const char **p, struct str *out, struct error *err)
{
	const char *name = *p + 1, *value, *end;
	bool braces = *name == '{';
	size_t len;

	len = name_length(name += braces);
	value = env_value(config, name, len);
	end = name + len;
	if (len == 0 && !braces) {
		str_addc(out, '$');
		(*p)++;
		return 0;
	}
	if (!braces) {
		str_add(out, value ? value : "");
		*p = end;
		return 0;
	}
	if (len == 0)
		return bad(err, "a variable without a name");
	if (end[0] == ':' && (end[1] == '-' || end[1] == '+')) {
		const char *other = end + 2, *close = strchr(other, '}');
		bool use_other = (value && *value) == (end[1] == '+');

		if (!close)
			return bad(err, "a '${' without its '}'");
		if (use_other)
			str_append(out, other, (size_t)(close - other));
		else if (end[1] == '-')
			str_add(out, value);
		*p = close + 1;
		return 0;
	}
	if (*end != '}')
		return bad(err, "a '${' without its '}'");
	str_add(out, value ? value : "");
	*p = end + 1;
	return 0;
}

/* One word up to a blank or STOP: quotes and backslashes taken off, variables put in. */
static int word(const json_t *config, const char **at, char stop, struct str *out,
		struct error *err)
{
	const char *p = *at;
	char quote = 0;

	str_clear(out);
	while (*p) {
		if (!quote && (*p == ' ' || *p == '\t' || *p == stop))
			break;
		if (quote ? *p == quote : *p == '"' || *p == '\'') {
			quote = quote ? 0 : *p;
			p++;
		} else if (*p == '\\' && quote != '\'') {
			if (quote && p[1] != quote && p[1] != '$' && p[1] != '\\')
				str_addc(out, '\\');
			if (p[1])
				str_addc(out, p[1]);
			p += p[1] ? 2 : 1;
		} else if (*p == '$' && quote != '\'') {
			int r = expand(config, &p, out, err);

			if (r < 0)
				return r;
		} else {
			str_addc(out, *p++);
		}
	}
	if (quote)
		return bad(err, "a quote that is not closed");
	if (out->failed || out->len > MAX_CHANGE_BYTES)
		return bad(err, "too long");
	*at = p;
	return 0;
}

/* The whole of ARGS as one word with blanks in it. */
static int one_value(const json_t *config, const char *args, struct str *out, struct error *err)
{
	autostr struct str piece = STR_INIT;

	str_clear(out);
	for (args = skip_blanks(args); *args; args = skip_blanks(args)) {
		int r = word(config, &args, ' ', &piece, err);

		if (r < 0)
			return r;
		if (out->len)
			str_addc(out, ' ');
		str_add(out, str_text(&piece));
	}
	return out->failed ? error_nomem(err) : 0;
}

/* ["a", "b"]: a new reference; NULL for anything else, which is for the shell. */
static json_t *exec_form(const char *args)
{
	autojson json_t *list = *args == '[' ? json_loads(args, 0, NULL) : NULL;
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (!json_is_string(item))
			return NULL;
	return json_is_array(list) ? steal(list) : NULL;
}

static int set_command(json_t *config, const char *key, const char *args, struct error *err)
{
	json_t *list = *args ? exec_form(args) : json_array();

	if (!list)
		list = json_pack("[sss]", "/bin/sh", "-c", args);
	return stored(json_object_set_new(config, key, list), err);
}

struct changes {
	json_t *config;
	bool cmd_set; /* by one of these changes */
};

static int change_cmd(struct changes *c, const char *args, struct error *err)
{
	c->cmd_set = true;
	return set_command(c->config, "Cmd", args, err);
}

/* A new entry point makes the old arguments meaningless. */
static int change_entrypoint(struct changes *c, const char *args, struct error *err)
{
	if (!c->cmd_set)
		json_object_del(c->config, "Cmd");
	return set_command(c->config, "Entrypoint", args, err);
}

static int env_set(json_t *config, const char *name, const char *value, struct error *err)
{
	json_t *env = child(config, "Env", json_array()), *item;
	autofree char *text = strf("%s=%s", name, value);
	size_t i, len = strlen(name);

	if (!text)
		return error_nomem(err);
	json_array_foreach(env, i, item) {
		const char *have = json_string_value(item);

		if (have && strncmp(have, name, len) == 0 && have[len] == '=')
			return stored(json_array_set_new(env, i, json_string(text)), err);
	}
	return stored(json_array_append_new(env, json_string(text)), err);
}

static int label_set(json_t *config, const char *name, const char *value, struct error *err)
{
	return stored(json_object_set_new(child(config, "Labels", json_object()), name,
					  json_string(value)),
		      err);
}

/* NAME=VALUE…, or the old form: NAME and all the rest as its value. */
static int pairs(json_t *config, const char *args,
		 int (*set)(json_t *config, const char *name, const char *value, struct error *err),
		 struct error *err)
{
	autostr struct str name = STR_INIT, value = STR_INIT;
	bool first = true;
	int r;

	if (!*args)
		return bad(err, "expected NAME=VALUE");
	for (args = skip_blanks(args); *args; args = skip_blanks(args), first = false) {
		r = word(config, &args, '=', &name, err);
		if (r < 0)
			return r;
		if (name.len == 0)
			return bad(err, "expected NAME=VALUE: the name is empty");
		if (*args != '=') {
			args = skip_blanks(args);
			if (!first || !*args)
				return bad(err, "expected NAME=VALUE");
			r = one_value(config, args, &value, err);
			return r < 0 ? r : set(config, str_text(&name), str_text(&value), err);
		}
		args++;
		r = word(config, &args, ' ', &value, err);
		if (r == 0)
			r = set(config, str_text(&name), str_text(&value), err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int change_env(struct changes *c, const char *args, struct error *err)
{
	return pairs(c->config, args, env_set, err);
}

static int change_label(struct changes *c, const char *args, struct error *err)
{
	return pairs(c->config, args, label_set, err);
}

static int expose_one(json_t *config, char *text, struct error *err)
{
	static const char *const protocols[] = { "tcp", "udp", "sctp" };
	char *protocol = strchr(text, '/'), *dash;
	const char *known = NULL;
	unsigned long long first, last;

	if (protocol)
		*protocol++ = '\0';
	else
		protocol = "tcp";
	for (size_t i = 0; i < ARRAY_SIZE(protocols) && !known; i++)
		if (strcasecmp(protocol, protocols[i]) == 0)
			known = protocols[i];
	if (!known)
		return bad(err, "expected a protocol of tcp, udp or sctp");
	dash = strchr(text, '-');
	if (dash)
		*dash++ = '\0';
	if (parse_u64(text, 1, 65535, &first) < 0 ||
	    parse_u64(dash ? dash : text, first, 65535, &last) < 0)
		return bad(err, "expected a port from 1 to 65535, or a range of them");
	if (last - first >= MAX_PORT_RANGE)
		return bad(err, "a range of more than 1000 ports");
	for (; first <= last; first++) {
		char key[32];

		snprintf(key, sizeof(key), "%llu/%s", first, known);
		json_object_set_new(child(config, "ExposedPorts", json_object()), key,
				    json_object());
	}
	return 0;
}

static int change_expose(struct changes *c, const char *args, struct error *err)
{
	autostr struct str text = STR_INIT;

	if (!*args)
		return bad(err, "expected PORT[/PROTOCOL]");
	for (args = skip_blanks(args); *args; args = skip_blanks(args)) {
		int r = word(c->config, &args, ' ', &text, err);
		autofree char *copy = r < 0 ? NULL : strdup(str_text(&text));

		if (r < 0)
			return r;
		r = copy ? expose_one(c->config, copy, err) : error_nomem(err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int volume_add(json_t *config, const char *path, struct error *err)
{
	if (!*path)
		return bad(err, "expected a path");
	return stored(json_object_set_new(child(config, "Volumes", json_object()), path,
					  json_object()),
		      err);
}

static int change_volume(struct changes *c, const char *args, struct error *err)
{
	autojson json_t *list = *args == '[' ? json_loads(args, 0, NULL) : NULL;
	autostr struct str text = STR_INIT;
	json_t *item;
	size_t i;
	int r = 0;

	if (!*args)
		return bad(err, "expected a path");
	if (json_is_array(list)) {
		json_array_foreach(list, i, item)
			if (r == 0)
				r = volume_add(c->config,
					       json_is_string(item) ? json_string_value(item) : "",
					       err);
		return r;
	}
	for (args = skip_blanks(args); r == 0 && *args; args = skip_blanks(args)) {
		r = word(c->config, &args, ' ', &text, err);
		if (r == 0)
			r = volume_add(c->config, str_text(&text), err);
	}
	return r;
}

static int set_value(struct changes *c, const char *key, const char *args, struct error *err)
{
	autostr struct str text = STR_INIT;
	int r = one_value(c->config, args, &text, err);

	if (r == 0 && text.len == 0)
		r = bad(err, "expected a value");
	if (r < 0)
		return r;
	return stored(json_object_set_new(c->config, key, json_string(str_text(&text))), err);
}

static int change_user(struct changes *c, const char *args, struct error *err)
{
	return set_value(c, "User", args, err);
}

static int change_stopsignal(struct changes *c, const char *args, struct error *err)
{
	return set_value(c, "StopSignal", args, err);
}

/* Joined to the old one when relative; "." and ".." taken out. */
static int change_workdir(struct changes *c, const char *args, struct error *err)
{
	const char *old = json_string_value(json_object_get(c->config, "WorkingDir"));
	autostr struct str text = STR_INIT, clean = STR_INIT;
	autofree char *whole = NULL;
	autostrv char **parts = NULL;
	int r = one_value(c->config, args, &text, err);

	if (r == 0 && text.len == 0)
		r = bad(err, "expected a path");
	if (r < 0)
		return r;
	whole = text.data[0] == '/' ? strdup(text.data) : strf("%s/%s", old ? old : "", text.data);
	parts = whole ? strv_split(whole, '/') : NULL;
	if (!parts)
		return error_nomem(err);
	strv_for_each(part, parts) {
		if (!**part || strcmp(*part, ".") == 0)
			continue;
		if (strcmp(*part, "..") == 0) {
			while (clean.len && clean.data[--clean.len] != '/')
				;
			if (clean.data)
				clean.data[clean.len] = '\0';
			continue;
		}
		str_addf(&clean, "/%s", *part);
	}
	return stored(json_object_set_new(c->config, "WorkingDir",
					  json_string(clean.len ? clean.data : "/")),
		      err);
}

static int change_onbuild(struct changes *c, const char *args, struct error *err)
{
	if (!*args)
		return bad(err, "expected an instruction");
	return stored(json_array_append_new(child(c->config, "OnBuild", json_array()),
					    json_string(args)),
		      err);
}

/* Durations as Go writes them: 1m30s, 500ms, 1.5h; nanoseconds. */
static int parse_duration(const char *text, json_int_t *ret)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = { { "ns", 1 },  { "us", 1e3 }, { "ms", 1e6 },
		      { "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 } };
	double total = 0;

	if (!*text)
		return -EINVAL;
	while (*text) {
		size_t i, len = strspn(text, "0123456789.");
		char number[32], *end;

		if (len == 0 || len >= sizeof(number))
			return -EINVAL;
		memcpy(number, text, len);
		number[len] = '\0';
		text += len;
		len = strcspn(text, "0123456789.");
		for (i = 0; i < ARRAY_SIZE(units); i++)
			if (strlen(units[i].unit) == len && strncmp(text, units[i].unit, len) == 0)
				break;
		if (i == ARRAY_SIZE(units))
			return -EINVAL;
		total += strtod(number, &end) * units[i].ns;
		if (*end || total > 9e18)
			return -EINVAL;
		text += len;
	}
	*ret = (json_int_t)total;
	return 0;
}

static int health_option(json_t *check, const char *option, struct error *err)
{
	static const struct {
		const char *name, *key;
	} durations[] = { { "interval=", "Interval" },
			  { "timeout=", "Timeout" },
			  { "start-period=", "StartPeriod" },
			  { "start-interval=", "StartInterval" } };
	json_int_t ns;
	unsigned long long retries;

	if (str_starts(option, "retries=")) {
		if (parse_u64(option + strlen("retries="), 1, 1000000, &retries) < 0)
			return bad(err, "--retries: expected a number from 1");
		json_object_set_new(check, "Retries", json_integer((json_int_t)retries));
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(durations); i++) {
		if (!str_starts(option, durations[i].name))
			continue;
		if (parse_duration(option + strlen(durations[i].name), &ns) < 0)
			return error_set(err, ERROR_INVALID, "--%s: expected a duration like 1m30s",
					 durations[i].name);
		json_object_set_new(check, durations[i].key, json_integer(ns));
		return 0;
	}
	return error_set(err, ERROR_INVALID, "--%.60s: no such option", option);
}

static int health_test(json_t *check, const char *args, struct error *err)
{
	autojson json_t *list = NULL;
	json_t *test;

	if (strcasecmp(args, "NONE") == 0)
		return stored(json_object_set_new(check, "Test", json_pack("[s]", "NONE")), err);
	if (strncasecmp(args, "CMD", 3) != 0 || (args[3] != ' ' && args[3] != '\t'))
		return bad(err, "expected NONE or CMD and a command");
	args = skip_blanks(args + 3);
	if (!*args)
		return bad(err, "expected a command after CMD");
	list = exec_form(args);
	if (list) {
		test = json_pack("[s]", "CMD");
		json_array_extend(test, list);
	} else {
		test = json_pack("[ss]", "CMD-SHELL", args);
	}
	return stored(json_object_set_new(check, "Test", test), err);
}

static int change_healthcheck(struct changes *c, const char *args, struct error *err)
{
	autojson json_t *check = json_object();
	autostr struct str option = STR_INIT;
	int r = 0;

	while (r == 0 && str_starts(args, "--")) {
		args += 2;
		r = word(c->config, &args, ' ', &option, err);
		if (r == 0)
			r = health_option(check, str_text(&option), err);
		args = skip_blanks(args);
	}
	if (r == 0)
		r = health_test(check, args, err);
	return r < 0 ? r : stored(json_object_set(c->config, "Healthcheck", check), err);
}

static const struct {
	const char *name;
	int (*apply)(struct changes *c, const char *args, struct error *err);
} instructions[] = {
	{ "CMD", change_cmd },
	{ "ENTRYPOINT", change_entrypoint },
	{ "ENV", change_env },
	{ "EXPOSE", change_expose },
	{ "HEALTHCHECK", change_healthcheck },
	{ "LABEL", change_label },
	{ "ONBUILD", change_onbuild },
	{ "STOPSIGNAL", change_stopsignal },
	{ "USER", change_user },
	{ "VOLUME", change_volume },
	{ "WORKDIR", change_workdir },
};

static int apply(struct changes *c, const char *change, struct error *err)
{
	const char *name = skip_blanks(change);
	size_t len = strcspn(name, " \t");
	autofree char *args = strdup(skip_blanks(name + len));

	if (!args)
		return error_nomem(err);
	if (strlen(change) > MAX_CHANGE_BYTES)
		return bad(err, "longer than 65536 bytes");
	if (strchr(change, '\n'))
		return bad(err, "one instruction a change, without line breaks");
	for (size_t end = strlen(args); end && (args[end - 1] == ' ' || args[end - 1] == '\t');)
		args[--end] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(instructions); i++)
		if (strlen(instructions[i].name) == len &&
		    strncasecmp(instructions[i].name, name, len) == 0)
			return instructions[i].apply(c, args, err);
	return bad(err, "expected CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, "
			"STOPSIGNAL, USER, VOLUME or WORKDIR");
}

int image_changes_apply(json_t *config, char *const *changes, struct error *err)
{
	struct changes c = { .config = config };

	strv_for_each(change, changes) {
		int r = apply(&c, *change, err);

		if (r < 0)
			return error_prefix(err, r, "change \"%.200s\"", *change);
	}
	return 0;
}
