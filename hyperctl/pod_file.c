#include "hyperctl/pod_file.h"

#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/yaml_json.h"

#define CONTENT_MAX_BYTES (8u << 20)

static const char file_scheme[] = "file://";

/* One item of a "files" list: what its "uri" names on this side becomes its content, as base64. */
static int resolve_file(json_t *file, const char *dir, struct error *err)
{
	const char *uri = json_string_value(json_object_get(file, "uri"));
	autofree char *path = NULL, *content = NULL, *encoded = NULL;
	size_t len;
	int r;

	/* What else stands there the daemon refuses, with its place in the file. */
	if (!uri || !str_starts(uri, file_scheme) || json_object_get(file, "content"))
		return 0;
	uri += strlen(file_scheme);
	path = *uri == '/' ? strdup(uri) : strf("%s/%s", dir, uri);
	if (!path)
		return error_nomem(err);
	r = file_read(AT_FDCWD, path, CONTENT_MAX_BYTES, &content, &len, err);
	if (r < 0)
		return r;
	encoded = base64_encode(content, len);
	if (!encoded)
		return error_nomem(err);
	json_object_del(file, "uri");
	json_object_set_new(file, "content", json_string(encoded));
	json_object_set_new(file, "encoding", json_string("base64"));
	return 0;
}

static int resolve(json_t *value, const char *dir, struct error *err)
{
	json_t *item, *file;
	const char *key;
	size_t i;
	int r = 0;

	json_array_foreach(value, i, item) {
		r = resolve(item, dir, err);
		if (r < 0)
			return r;
	}
	json_object_foreach(value, key, item) {
		if (strcmp(key, "files") != 0) {
			r = resolve(item, dir, err);
			if (r < 0)
				return r;
			continue;
		}
		json_array_foreach(item, i, file) {
			r = resolve_file(file, dir, err);
			if (r < 0)
				return error_prefix(err, r, "files, item %zu", i + 1);
		}
	}
	return 0;
}

int pod_file_resolve(const char *text, size_t len, const char *dir, char **ret, size_t *ret_len,
		     struct error *err)
{
	autojson json_t *root = NULL;
	int r;

	if (!memmem(text, len, file_scheme, strlen(file_scheme))) {
		*ret = malloc(len + 1);
		if (!*ret)
			return error_nomem(err);
		memcpy(*ret, text, len);
		(*ret)[len] = '\0';
		*ret_len = len;
		return 0;
	}
	r = yaml_to_json(text, len, &root, err);
	if (r == 0)
		r = resolve(root, dir, err);
	if (r < 0)
		return r;
	*ret = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
	*ret_len = *ret ? strlen(*ret) : 0;
	return *ret ? 0 : error_nomem(err);
}

int pod_file_load(const char *path, char **ret, size_t *ret_len, struct error *err)
{
	bool from_stdin = strcmp(path, "-") == 0;
	autofree char *text = NULL, *copy = strdup(path);
	size_t len;
	int r;

	if (!copy)
		return error_nomem(err);
	r = from_stdin ? file_read_fd(STDIN_FILENO, POD_FILE_MAX_BYTES, &text, &len, err)
		       : file_read(AT_FDCWD, path, POD_FILE_MAX_BYTES, &text, &len, err);
	if (r == 0)
		r = pod_file_resolve(text, len, from_stdin ? "." : dirname(copy), ret, ret_len,
				     err);
	return r < 0 ? error_prefix(err, r, "pod file %s", from_stdin ? "(standard input)" : path)
		     : 0;
}
