#include "hyperd/pod/pod_yaml.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <yaml.h>

#include "base/json.h"
#include "base/str.h"

struct conversion {
	yaml_document_t document;
	unsigned nodes;
	struct error *err;
};

static int wrong(const struct conversion *c, const yaml_node_t *node, const char *what)
{
	return error_set(c->err, ERROR_INVALID, "YAML, line %zu, column %zu: %s",
			 node->start_mark.line + 1, node->start_mark.column + 1, what);
}

static json_t *plain_scalar(const char *text)
{
	static const struct {
		const char *text;
		char kind;
	} words[] = {
		{ "", 'n' },      { "~", 'n' },     { "null", 'n' },  { "Null", 'n' },
		{ "NULL", 'n' },  { "true", 't' },  { "True", 't' },  { "TRUE", 't' },
		{ "false", 'f' }, { "False", 'f' }, { "FALSE", 'f' },
	};
	const char *digits = *text == '+' ? text + 1 : text;
	long long number;
	double real;
	char *end;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(text, words[i].text) == 0)
			return words[i].kind == 'n' ? json_null()
						    : json_boolean(words[i].kind == 't');
	if (parse_i64(digits, INT64_MIN, INT64_MAX, &number) == 0)
		return json_integer(number);
	if ((isdigit((unsigned char)*text) || strchr("-+.", *text)) &&
	    strspn(text, "0123456789+-.eE") == strlen(text)) {
		real = strtod(text, &end);
		if (!*end && end != text && isfinite(real))
			return json_real(real);
	}
	return json_string(text);
}

static int convert(struct conversion *c, int index, unsigned depth, json_t **ret);

static int convert_mapping(struct conversion *c, const yaml_node_t *node, unsigned depth,
			   json_t **ret)
{
	autojson json_t *object = json_object();
	const yaml_node_pair_t *pair = node->data.mapping.pairs.start;

	if (!object)
		return error_nomem(c->err);
	for (; pair < node->data.mapping.pairs.top; pair++) {
		yaml_node_t *key = yaml_document_get_node(&c->document, pair->key);
		json_t *value = NULL;
		const char *name;
		int r;

		if (!key || key->type != YAML_SCALAR_NODE)
			return wrong(c, key ? key : node, "expected a name");
		name = (const char *)key->data.scalar.value;
		if (strlen(name) != key->data.scalar.length)
			return wrong(c, key, "a name with a NUL character");
		if (json_object_get(object, name))
			return wrong(c, key, "this name stands here twice");
		r = convert(c, pair->value, depth, &value);
		if (r < 0)
			return r;
		if (json_object_set_new(object, name, value) < 0)
			return wrong(c, key, "a name that is no UTF-8");
	}
	*ret = steal(object);
	return 0;
}

static int convert_sequence(struct conversion *c, const yaml_node_t *node, unsigned depth,
			    json_t **ret)
{
	autojson json_t *array = json_array();
	const yaml_node_item_t *item = node->data.sequence.items.start;

	if (!array)
		return error_nomem(c->err);
	for (; item < node->data.sequence.items.top; item++) {
		json_t *value = NULL;
		int r = convert(c, *item, depth, &value);

		if (r < 0)
			return r;
		json_array_append_new(array, value);
	}
	*ret = steal(array);
	return 0;
}

static int convert_scalar(struct conversion *c, const yaml_node_t *node, json_t **ret)
{
	const char *text = (const char *)node->data.scalar.value;
	size_t len = node->data.scalar.length;
	bool plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

	if (strlen(text) != len)
		return wrong(c, node, "a NUL character is not allowed");
	*ret = plain ? plain_scalar(text) : json_stringn(text, len);
	return *ret ? 0 : wrong(c, node, "text that is no UTF-8");
}

static int convert(struct conversion *c, int index, unsigned depth, json_t **ret)
{
	yaml_node_t *node = yaml_document_get_node(&c->document, index);

	if (!node)
		return error_set(c->err, ERROR_INVALID, "YAML: the text is empty");
	if (depth >= JSON_MAX_DEPTH)
		return wrong(c, node, "nested too deep");
	if (++c->nodes > POD_YAML_MAX_NODES)
		return wrong(c, node, "too many values");
	switch (node->type) {
	case YAML_SCALAR_NODE:
		return convert_scalar(c, node, ret);
	case YAML_MAPPING_NODE:
		return convert_mapping(c, node, depth + 1, ret);
	case YAML_SEQUENCE_NODE:
		return convert_sequence(c, node, depth + 1, ret);
	default:
		return wrong(c, node, "expected a value");
	}
}

int pod_yaml_parse(const char *text, size_t len, json_t **ret, struct error *err)
{
	struct conversion c = { .err = err };
	yaml_parser_t parser;
	int r;

	if (!yaml_parser_initialize(&parser))
		return error_nomem(err);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &c.document)) {
		r = error_set(err, ERROR_INVALID, "YAML, line %zu, column %zu: %s",
			      parser.problem_mark.line + 1, parser.problem_mark.column + 1,
			      parser.problem ? parser.problem : "not YAML");
		yaml_parser_delete(&parser);
		return r;
	}
	r = convert(&c, 1, 0, ret);
	yaml_document_delete(&c.document);
	yaml_parser_delete(&parser);
	return r;
}
