#include "hyperctl/pod_file.h"

#include <ctype.h>
#include <fcntl.h>
#include <libgen.h>
#include <math.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#define NODES_MAX         100000u
#define CONTENT_MAX_BYTES (8u << 20)

static const char file_scheme[] = "file://";

/* ------------------------------------------------------------------ YAML as JSON */

struct convert {
	yaml_document_t document;
	unsigned nodes; /* also what aliases repeat */
	struct error *err;
};

static int wrong(const struct convert *convert, const yaml_node_t *node, const char *what)
{
	return error_set(convert->err, ERROR_INVALID, "line %zu, column %zu: %s",
			 node->start_mark.line + 1, node->start_mark.column + 1, what);
}

/* YAML's core schema, as far as JSON has words for it. */
static json_t *plain_scalar(const char *text)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };
	static const char *const trues[] = { "true", "True", "TRUE" };
	static const char *const falses[] = { "false", "False", "FALSE" };
	long long number;
	double real;
	char *end;

	for (size_t i = 0; i < ARRAY_SIZE(nulls); i++)
		if (strcmp(text, nulls[i]) == 0)
			return json_null();
	for (size_t i = 0; i < ARRAY_SIZE(trues); i++) {
		if (strcmp(text, trues[i]) == 0)
			return json_true();
		if (strcmp(text, falses[i]) == 0)
			return json_false();
	}
	if (parse_i64(text, INT64_MIN, INT64_MAX, &number) == 0)
		return json_integer(number);
	if ((isdigit((unsigned char)*text) || strchr("-+.", *text)) &&
	    strspn(text, "0123456789+-.eE") == strlen(text)) {
		real = strtod(text, &end);
		if (!*end && end != text && isfinite(real))
			return json_real(real);
	}
	return json_string(text);
}

static int convert_node(struct convert *convert, int index, unsigned depth, json_t **ret);

static int convert_mapping(struct convert *convert, const yaml_node_t *node, unsigned depth,
			   json_t **ret)
{
	autojson json_t *object = json_object();

	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++) {
		yaml_node_t *key = yaml_document_get_node(&convert->document, pair->key);
		json_t *value = NULL;
		const char *name;
		int r;

		if (!key || key->type != YAML_SCALAR_NODE)
			return wrong(convert, key ?: node, "expected a name");
		name = (const char *)key->data.scalar.value;
		if (json_object_get(object, name))
			return wrong(convert, key, "the name stands here twice");
		r = convert_node(convert, pair->value, depth, &value);
		if (r < 0)
			return r;
		if (json_object_set_new(object, name, value) < 0)
			return wrong(convert, key, "not UTF-8");
	}
	*ret = steal(object);
	return 0;
}

static int convert_node(struct convert *convert, int index, unsigned depth, json_t **ret)
{
	yaml_node_t *node = yaml_document_get_node(&convert->document, index);
	autojson json_t *array = NULL;

	if (!node)
		return error_set(convert->err, ERROR_INVALID, "the file is empty");
	if (depth > JSON_MAX_DEPTH || ++convert->nodes > NODES_MAX)
		return wrong(convert, node, "nested too deep, or too large");
	switch (node->type) {
	case YAML_SCALAR_NODE:
		*ret = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE
			       ? plain_scalar((const char *)node->data.scalar.value)
			       : json_stringn((const char *)node->data.scalar.value,
					      node->data.scalar.length);
		return *ret ? 0 : wrong(convert, node, "not UTF-8");
	case YAML_MAPPING_NODE:
		return convert_mapping(convert, node, depth + 1, ret);
	case YAML_SEQUENCE_NODE:
		array = json_array();
		for (yaml_node_item_t *item = node->data.sequence.items.start;
		     item < node->data.sequence.items.top; item++) {
			json_t *value = NULL;
			int r = convert_node(convert, *item, depth + 1, &value);

			if (r < 0)
				return r;
			json_array_append_new(array, value);
		}
		*ret = steal(array);
		return 0;
	default:
		return wrong(convert, node, "unexpected");
	}
}

static int yaml_to_json(const char *text, size_t len, json_t **ret, struct error *err)
{
	struct convert convert = { .err = err };
	yaml_parser_t parser;
	yaml_node_t *root;
	int r;

	if (!yaml_parser_initialize(&parser))
		return error_nomem(err);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &convert.document)) {
		r = error_set(err, ERROR_INVALID, "line %zu, column %zu: %s",
			      parser.problem_mark.line + 1, parser.problem_mark.column + 1,
			      parser.problem ?: "not YAML");
		yaml_parser_delete(&parser);
		return r;
	}
	root = yaml_document_get_root_node(&convert.document);
	r = root ? convert_node(&convert, 1, 0, ret)
		 : error_set(err, ERROR_INVALID, "the file is empty");
	yaml_document_delete(&convert.document);
	yaml_parser_delete(&parser);
	return r;
}

/* ------------------------------------------------------------------ files of this side */

static json_t *base64(const char *data, size_t len)
{
	autofree unsigned char *text = malloc(len / 3 * 4 + 5);
	int n;

	if (!text)
		return NULL;
	n = EVP_EncodeBlock(text, (const unsigned char *)data, (int)len);
	return json_stringn((const char *)text, (size_t)n);
}

/* One item of a "files" list: what its "uri" names on this side becomes its content, as base64. */
static int resolve_file(json_t *file, const char *dir, struct error *err)
{
	const char *uri = json_string_value(json_object_get(file, "uri"));
	autofree char *path = NULL, *content = NULL;
	json_t *encoded;
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
	encoded = base64(content, len);
	if (!encoded)
		return error_nomem(err);
	json_object_del(file, "uri");
	json_object_set_new(file, "content", encoded);
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
