#include "hyperd/build/build_args.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static const char *const proxies[] = {
	"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY",
	"ftp_proxy",  "NO_PROXY",   "no_proxy",    "ALL_PROXY",   "all_proxy",
};

static bool is_proxy(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(proxies); i++)
		if (strcmp(proxies[i], name) == 0)
			return true;
	return false;
}

int build_args_init(struct build_args *args, json_t *given, struct error *err)
{
	*args = (struct build_args){ .given = given,
				     .before = json_object(),
				     .declared = json_object(),
				     .referenced = json_object() };
	if (args->before && args->declared && args->referenced)
		return 0;
	build_args_done(args);
	return error_nomem(err);
}

void build_args_done(struct build_args *args)
{
	json_decref(args->before);
	json_decref(args->declared);
	json_decref(args->referenced);
	*args = (struct build_args){ 0 };
}

void build_args_next_stage(struct build_args *args)
{
	json_object_clear(args->declared);
}

int build_args_declare(struct build_args *args, const char *name, const char *value, bool before,
		       struct error *err)
{
	json_t *to = before ? args->before : args->declared;

	if (json_object_set_new(to, name, value ? json_string(value) : json_null()) < 0 ||
	    json_object_set_new(args->referenced, name, json_true()) < 0)
		return error_nomem(err);
	return 0;
}

/* What the client gave, else the default, else what stood before the first FROM. */
static const char *value_of(const struct build_args *args, json_t *from, const char *name)
{
	const char *given = json_string_value(json_object_get(args->given, name));
	const char *value = json_string_value(json_object_get(from, name));

	if (given)
		return given;
	return value ? value : json_string_value(json_object_get(args->before, name));
}

static bool is_set(char *const *env, const char *name)
{
	size_t len = strlen(name);

	strv_for_each(entry, env)
		if (strncmp(*entry, name, len) == 0 && (*entry)[len] == '=')
			return true;
	return false;
}

static int add_env(const struct build_args *args, json_t *from, const char *name,
		   char *const *without, char ***ret, struct error *err)
{
	const char *value = value_of(args, from, name);

	if (!value || is_set(without, name) || is_set(*ret, name))
		return 0;
	return strv_addf(ret, "%s=%s", name, value) < 0 ? error_nomem(err) : 0;
}

static int add_all(const struct build_args *args, json_t *from, char *const *without, char ***ret,
		   struct error *err)
{
	const char *name;
	json_t *value;
	int r = 0;

	json_object_foreach(from, name, value)
		if (r == 0)
			r = add_env(args, from, name, without, ret, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(proxies); i++)
		r = add_env(args, from, proxies[i], without, ret, err);
	return r;
}

int build_args_env(const struct build_args *args, char *const *env, char ***ret, struct error *err)
{
	autostrv char **seen = NULL;
	int r = add_all(args, args->declared, env, &seen, err);

	strv_for_each(entry, seen)
		if (r == 0 && strv_add(ret, *entry) < 0)
			r = error_nomem(err);
	return r;
}

int build_args_env_before(const struct build_args *args, char ***ret, struct error *err)
{
	return add_all(args, args->before, NULL, ret, err);
}

bool build_args_counts(const struct build_args *args, const char *name)
{
	return json_object_get(args->declared, name) || !is_proxy(name);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **build_args_unused(const struct build_args *args)
{
	char **unused = NULL;
	const char *name;
	json_t *value;

	json_object_foreach(args->given, name, value)
		if (!json_object_get(args->referenced, name) && !is_proxy(name))
			strv_add(&unused, name);
	if (unused)
		qsort(unused, strv_len(unused), sizeof(*unused), by_bytes);
	return unused;
}
