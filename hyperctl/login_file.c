#include "hyperctl/login_file.h"

#include <fcntl.h>
#include <string.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/str.h"

#define DEFAULT_KEY "https://index.docker.io/v1/"

static int file_dir(char **ret, struct error *err)
{
	const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");

	if ((!dir || !*dir) && (!home || !*home))
		return error_set(err, ERROR_INVALID, "neither DOCKER_CONFIG nor HOME is set");
	*ret = dir && *dir ? strdup(dir) : strf("%s/.docker", home);
	return *ret ? 0 : error_nomem(err);
}

char *login_registry_key(const char *address)
{
	const char *host = address ? address : "";
	autofree char *key = NULL;

	if (str_starts(host, "https://"))
		host += 8;
	else if (str_starts(host, "http://"))
		host += 7;
	key = strndup(host, strcspn(host, "/"));
	if (key && (!*key || !strcmp(key, "docker.io") || !strcmp(key, "index.docker.io") ||
		    !strcmp(key, "registry-1.docker.io")))
		return strdup(DEFAULT_KEY);
	return steal(key);
}

char *login_registry_of(const char *image)
{
	size_t len = strcspn(image, "/");
	autofree char *first = strndup(image, len);

	if (!first)
		return NULL;
	/* As references are read: a host has a dot or a port, or is localhost. */
	if (!image[len] || (!strpbrk(first, ".:") && strcmp(first, "localhost") != 0))
		return strdup(DEFAULT_KEY);
	return login_registry_key(first);
}

/* A missing file is an empty object. */
static int load(const char *dir, json_t **ret, struct error *err)
{
	autofree char *path = strf("%s/config.json", dir);
	struct error why = { 0 };
	int r = path ? json_read(AT_FDCWD, path, LOGIN_FILE_MAX_BYTES, ret, &why)
		     : error_nomem(&why);

	if (r < 0 && why.kind == ERROR_NOT_FOUND) {
		*ret = json_object();
		return *ret ? 0 : error_nomem(err);
	}
	if (r == 0 && !json_is_object(*ret)) {
		json_decref(steal(*ret));
		r = error_set(&why, ERROR_INVALID, "'%s': expected an object", path);
	}
	if (r < 0)
		error_copy(err, &why);
	return r;
}

static int save(const char *dir, const json_t *root, struct error *err)
{
	autoclose int fd = file_open_dir(AT_FDCWD, dir, 0700, err);
	autofree char *text = json_dumps(root, JSON_INDENT(8));
	int r;

	if (fd < 0)
		return fd;
	if (!text)
		return error_nomem(err);
	r = file_write_atomic(fd, "config.json", text, strlen(text), 0600, false, err);
	return r < 0 ? error_prefix(err, r, "'%s'", dir) : 0;
}

/* The entry of KEY; older files have whole addresses as keys. */
static json_t *entry_of(json_t *root, const char *key)
{
	json_t *auths = json_object_get(root, "auths"), *entry = json_object_get(auths, key);
	const char *name;
	json_t *value;

	if (entry)
		return entry;
	json_object_foreach(auths, name, value) {
		autofree char *same = login_registry_key(name);

		if (str_equal(same, key))
			return value;
	}
	return NULL;
}

static char *encode_json(const json_t *object)
{
	autofree char *text = json_dumps(object, JSON_COMPACT);
	char *encoded = text ? base64_encode(text, strlen(text)) : NULL;

	for (char *p = encoded; p && *p; p++)
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
	return encoded;
}

int login_header(const char *key, char **ret, struct error *err)
{
	autojson json_t *root = NULL, *auth = NULL;
	autofree char *dir = NULL, *pair = NULL;
	json_t *entry;
	const char *text;
	size_t len;
	char *colon;
	int r = file_dir(&dir, err);

	*ret = NULL;
	if (r == 0)
		r = load(dir, &root, err);
	if (r < 0)
		return r;
	entry = entry_of(root, key);
	text = json_string_value(json_object_get(entry, "auth"));
	if (!text)
		return 0;
	if (base64_decode(text, strlen(text), &pair, &len) < 0 || strlen(pair) != len ||
	    !(colon = strchr(pair, ':')))
		return error_set(err, ERROR_INVALID,
				 "'%s/config.json': auths.%s.auth: expected base64 of "
				 "user:password",
				 dir, key);
	*colon = '\0';
	auth = json_pack("{s:s, s:s, s:s}", "username", pair, "password", colon + 1,
			 "serveraddress", key);
	text = json_string_value(json_object_get(entry, "identitytoken"));
	if (auth && text)
		json_object_set_new(auth, "identitytoken", json_string(text));
	*ret = auth ? encode_json(auth) : NULL;
	return *ret ? 0 : error_nomem(err);
}

int login_save(const char *key, const char *user, const char *password, const char *token,
	       struct error *err)
{
	autojson json_t *root = NULL;
	autofree char *dir = NULL, *encoded = NULL;
	autofree char *pair = strf("%s:%s", user, token ? "" : password);
	json_t *auths, *entry;
	int r = pair ? file_dir(&dir, err) : error_nomem(err);

	if (r == 0)
		r = load(dir, &root, err);
	if (r < 0)
		return r;
	auths = json_object_get(root, "auths");
	if (!json_is_object(auths)) {
		json_object_set_new(root, "auths", json_object());
		auths = json_object_get(root, "auths");
	}
	encoded = base64_encode(pair, strlen(pair));
	entry = encoded ? json_pack("{s:s}", "auth", encoded) : NULL;
	if (entry && token)
		json_object_set_new(entry, "identitytoken", json_string(token));
	if (!entry || json_object_set_new(auths, key, entry) < 0)
		return error_nomem(err);
	return save(dir, root, err);
}

int login_remove(const char *key, bool *ret_found, struct error *err)
{
	autojson json_t *root = NULL;
	autofree char *dir = NULL;
	int r = file_dir(&dir, err);

	if (r == 0)
		r = load(dir, &root, err);
	if (r < 0)
		return r;
	*ret_found = json_object_del(json_object_get(root, "auths"), key) == 0;
	return *ret_found ? save(dir, root, err) : 0;
}
