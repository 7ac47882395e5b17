#include "base/template.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/*
 * The template is interpreted from its text, twice: first without executing, for its syntax, then
 * with data. `pos` walks over the text; blocks recurse.
 */
#define TEMPLATE_DEPTH_MAX 32
#define ARGUMENTS_MAX      8

struct run {
	const char *name; /* of the template, in errors */
	const char *text, *pos;
	const json_t *root;
	bool execute;
	unsigned depth;
	struct str *out;
	struct error *err;
};

static int wrong(const struct run *run, const char *what)
{
	const char *begin = run->pos;
	int n = 0;

	while (begin[n] && begin[n] != '\n' && n < 24)
		n++;
	if (!n)
		return error_set(run->err, ERROR_INVALID, "%s: %s at the end", run->name, what);
	return error_set(run->err, ERROR_INVALID, "%s: %s at '%.*s'", run->name, what, n, begin);
}

static void skip_space(struct run *run)
{
	while (isspace((unsigned char)*run->pos))
		run->pos++;
}

/* ------------------------------------------------------------------ values */

static bool value_true(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return json_object_size(value) > 0;
	case JSON_ARRAY:
		return json_array_size(value) > 0;
	case JSON_STRING:
		return json_string_length(value) > 0;
	case JSON_INTEGER:
		return json_integer_value(value) != 0;
	case JSON_REAL:
		return json_real_value(value) != 0;
	case JSON_TRUE:
		return true;
	default:
		return false;
	}
}

/* As Go's %v writes it. */
static void value_add(struct str *out, const json_t *value)
{
	const char *key, *space = "";
	json_t *member;
	size_t i;

	switch (json_typeof(value)) {
	case JSON_STRING:
		str_append(out, json_string_value(value), json_string_length(value));
		break;
	case JSON_INTEGER:
		str_addf(out, "%lld", (long long)json_integer_value(value));
		break;
	case JSON_REAL:
		str_addf(out, "%.15g", json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		str_add(out, json_is_true(value) ? "true" : "false");
		break;
	case JSON_NULL:
		str_add(out, "<no value>");
		break;
	case JSON_ARRAY:
		str_addc(out, '[');
		json_array_foreach(value, i, member) {
			str_add(out, space);
			value_add(out, member);
			space = " ";
		}
		str_addc(out, ']');
		break;
	case JSON_OBJECT:
		str_add(out, "map[");
		json_object_foreach((json_t *)value, key, member) {
			str_addf(out, "%s%s:", space, key);
			value_add(out, member);
			space = " ";
		}
		str_addc(out, ']');
		break;
	}
}

static json_t *value_text(const json_t *value)
{
	autostr struct str s = STR_INIT;

	value_add(&s, value);
	return json_stringn(str_text(&s), s.len);
}

static int no_member(const struct run *run, const json_t *object, const char *name)
{
	autostr struct str names = STR_INIT;
	const char *key;
	json_t *member;

	if (!json_is_object(object))
		return error_set(run->err, ERROR_INVALID,
				 "%s: .%s: what it is looked for in is %s, no object", run->name,
				 name,
				 json_is_null(object)    ? "empty"
				 : json_is_array(object) ? "a list"
							 : "a plain value");
	json_object_foreach((json_t *)object, key, member)
		str_addf(&names, "%s%s", names.len ? ", " : "", key);
	return error_set(run->err, ERROR_INVALID, "%s: no field .%s; there are: %s", run->name,
			 name, names.len ? str_text(&names) : "none");
}

/* Docker's templates say .ID where its JSON says Id: letters' case counts only when it must. */
static json_t *member_get(const json_t *object, const char *name)
{
	json_t *member = json_object_get(object, name), *value;
	const char *key;

	if (member)
		return member;
	json_object_foreach((json_t *)object, key, value)
		if (strcasecmp(key, name) == 0)
			return value;
	return NULL;
}

/* ------------------------------------------------------------------ functions */

static json_t *call_json(json_t *const *args, size_t count)
{
	autofree char *text = json_dumps(args[0], JSON_COMPACT | JSON_ENCODE_ANY);

	return json_string(text ? text : "");
}

static json_t *call_case(json_t *value, int (*convert)(int))
{
	autostr struct str s = STR_INIT;

	value_add(&s, value);
	for (size_t i = 0; i < s.len; i++)
		s.data[i] = (char)convert((unsigned char)s.data[i]);
	return json_stringn(str_text(&s), s.len);
}

static json_t *call_upper(json_t *const *args, size_t count)
{
	return call_case(args[0], toupper);
}

static json_t *call_lower(json_t *const *args, size_t count)
{
	return call_case(args[0], tolower);
}

/* Each word's first letter in upper case. */
static json_t *call_title(json_t *const *args, size_t count)
{
	autostr struct str s = STR_INIT;

	value_add(&s, args[0]);
	for (size_t i = 0; i < s.len; i++)
		if (i == 0 || isspace((unsigned char)s.data[i - 1]))
			s.data[i] = (char)toupper((unsigned char)s.data[i]);
	return json_stringn(str_text(&s), s.len);
}

/* The first bytes, but no half of a character. */
static json_t *call_truncate(json_t *const *args, size_t count)
{
	json_int_t max = json_integer_value(args[1]);
	autostr struct str s = STR_INIT;
	size_t len;

	value_add(&s, args[0]);
	len = max >= 0 && (size_t)max < s.len ? (size_t)max : s.len;
	while (len && len < s.len && ((unsigned char)s.data[len] & 0xc0) == 0x80)
		len--;
	return json_stringn(str_text(&s), len);
}

static json_t *call_len(json_t *const *args, size_t count)
{
	switch (json_typeof(args[0])) {
	case JSON_OBJECT:
		return json_integer((json_int_t)json_object_size(args[0]));
	case JSON_ARRAY:
		return json_integer((json_int_t)json_array_size(args[0]));
	case JSON_STRING:
		return json_integer((json_int_t)json_string_length(args[0]));
	default:
		return json_integer(0);
	}
}

static json_t *call_index(json_t *const *args, size_t count)
{
	json_t *value = args[0];

	for (size_t i = 1; i < count && value; i++) {
		if (json_is_object(value) && json_is_string(args[i]))
			value = json_object_get(value, json_string_value(args[i]));
		else if (json_is_array(value) && json_is_integer(args[i]))
			value = json_array_get(value, (size_t)json_integer_value(args[i]));
		else
			value = NULL;
	}
	return value ? json_incref(value) : json_null();
}

static json_t *call_join(json_t *const *args, size_t count)
{
	autostr struct str s = STR_INIT;
	json_t *item;
	size_t i;

	json_array_foreach(args[0], i, item) {
		if (i)
			value_add(&s, args[1]);
		value_add(&s, item);
	}
	return json_stringn(str_text(&s), s.len);
}

static json_t *call_split(json_t *const *args, size_t count)
{
	const char *text = json_string_value(args[0]), *separator = json_string_value(args[1]);
	json_t *list = json_array();

	while (text && separator && *separator) {
		const char *end = strstr(text, separator);

		json_array_append_new(list, json_stringn(text, end ? (size_t)(end - text)
								   : strlen(text)));
		text = end ? end + strlen(separator) : NULL;
	}
	return list;
}

static bool equal(json_t *a, json_t *b)
{
	autojson json_t *x = value_text(a), *y = value_text(b);

	return json_equal(x, y);
}

static json_t *call_eq(json_t *const *args, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (equal(args[0], args[i]))
			return json_true();
	return json_false();
}

static json_t *call_ne(json_t *const *args, size_t count)
{
	return json_boolean(!equal(args[0], args[1]));
}

static json_t *call_not(json_t *const *args, size_t count)
{
	return json_boolean(!value_true(args[0]));
}

static json_t *call_and(json_t *const *args, size_t count)
{
	size_t i = 0;

	while (i + 1 < count && value_true(args[i]))
		i++;
	return json_incref(args[i]);
}

static json_t *call_or(json_t *const *args, size_t count)
{
	size_t i = 0;

	while (i + 1 < count && !value_true(args[i]))
		i++;
	return json_incref(args[i]);
}

static const struct function {
	const char *name;
	size_t min, max;
	json_t *(*call)(json_t *const *args, size_t count); /* a new reference */
} functions[] = {
	{ "json", 1, 1, call_json },
	{ "upper", 1, 1, call_upper },
	{ "lower", 1, 1, call_lower },
	{ "title", 1, 1, call_title },
	{ "truncate", 2, 2, call_truncate },
	{ "len", 1, 1, call_len },
	{ "index", 1, ARGUMENTS_MAX, call_index },
	{ "join", 2, 2, call_join },
	{ "split", 2, 2, call_split },
	{ "eq", 2, ARGUMENTS_MAX, call_eq },
	{ "ne", 2, 2, call_ne },
	{ "not", 1, 1, call_not },
	{ "and", 1, ARGUMENTS_MAX, call_and },
	{ "or", 1, ARGUMENTS_MAX, call_or },
	{ "print", 1, 1, NULL },
	{ "println", 1, 1, NULL },
};

/* ------------------------------------------------------------------ expressions */

static int pipeline(struct run *run, const json_t *data, json_t **ret);

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* ".A.B" after an operand; *value (owned) is replaced by what it leads to. */
static int members(struct run *run, json_t **value)
{
	while (*run->pos == '.' && is_word(run->pos[1])) {
		const char *begin = ++run->pos;
		json_t *member;
		char name[128];

		/* A '-' can stand inside names, but "-}}" ends the action. */
		while (is_word(*run->pos) && !str_starts(run->pos, "-}}"))
			run->pos++;
		if ((size_t)(run->pos - begin) >= sizeof(name))
			return wrong(run, "too long a name");
		memcpy(name, begin, (size_t)(run->pos - begin));
		name[run->pos - begin] = '\0';
		if (!run->execute)
			continue;
		/* `.Label "key"`, as Docker's lists have it: a method there, a member here. */
		member = member_get(*value, strcmp(name, "Label") == 0 ? "LabelMap" : name);
		if (!member)
			return no_member(run, *value, name);
		json_incref(member);
		json_decref(*value);
		*value = member;
	}
	return 0;
}

static int quoted(struct run *run, json_t **ret)
{
	autostr struct str s = STR_INIT;
	char quote = *run->pos++;

	while (*run->pos && *run->pos != quote) {
		if (*run->pos == '\\' && quote == '"' && run->pos[1]) {
			run->pos++;
			str_addc(&s, *run->pos == 't' ? '\t' : *run->pos == 'n' ? '\n' : *run->pos);
		} else {
			str_addc(&s, *run->pos);
		}
		run->pos++;
	}
	if (!*run->pos)
		return wrong(run, "a quote is not closed");
	run->pos++;
	*ret = json_stringn(str_text(&s), s.len);
	return *ret ? 0
		    : error_set(run->err, ERROR_INVALID, "%s: text that is not UTF-8", run->name);
}

/* 0; 1 when no operand begins here. */
static int operand(struct run *run, const json_t *data, json_t **ret)
{
	int r = 0;

	if (*run->pos == '.') {
		*ret = json_incref((json_t *)data);
		if (!is_word(run->pos[1]))
			run->pos++;
	} else if (*run->pos == '$') {
		*ret = json_incref((json_t *)run->root);
		run->pos++;
		if (is_word(*run->pos))
			return wrong(run, "variables are not supported");
	} else if (*run->pos == '"' || *run->pos == '`') {
		return quoted(run, ret);
	} else if (isdigit((unsigned char)*run->pos) ||
		   (*run->pos == '-' && isdigit((unsigned char)run->pos[1]))) {
		char *end;

		*ret = json_integer(strtoll(run->pos, &end, 10));
		run->pos = end;
		return 0;
	} else if (*run->pos == '(') {
		if (++run->depth > TEMPLATE_DEPTH_MAX)
			return wrong(run, "nested too deep");
		run->pos++;
		r = pipeline(run, data, ret);
		run->depth--;
		if (r == 0 && *run->pos != ')')
			r = wrong(run, "expected ')'");
		if (r < 0)
			return r;
		run->pos++;
	} else {
		return 1;
	}
	return members(run, ret);
}

static const struct function *function_at(struct run *run)
{
	size_t n = 0;

	while (isalpha((unsigned char)run->pos[n]))
		n++;
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
		if (strlen(functions[i].name) == n && memcmp(functions[i].name, run->pos, n) == 0)
			return &functions[i];
	return NULL;
}

static int call(struct run *run, const struct function *function, bool label, json_t **args,
		size_t count, json_t **ret)
{
	if (label && count == 2) {
		/* In a heading, which has no labels, the key stands for itself. */
		*ret = !run->execute || json_is_string(args[0]) ? json_incref(args[1])
								: call_index(args, count);
		if (run->execute && json_is_null(*ret)) {
			json_decref(*ret);
			*ret = json_string("");
		}
		return 0;
	}
	if (!function) {
		if (count != 1)
			return wrong(run, "expected a function before several values");
		*ret = json_incref(args[0]);
		return 0;
	}
	if (count < function->min || count > function->max)
		return error_set(run->err, ERROR_INVALID, "%s: %s takes %zu value%s%s, not %zu",
				 run->name, function->name, function->min,
				 function->min == 1 ? "" : "s",
				 function->max > function->min ? " or more" : "", count);
	*ret = run->execute && function->call ? function->call(args, count) : json_incref(args[0]);
	return *ret ? 0 : error_nomem(run->err);
}

/* A function and its values, or one value. PIPED (borrowed, may be NULL) is the last of its values.
 */
static int command(struct run *run, const json_t *data, json_t *piped, json_t **ret)
{
	json_t *args[ARGUMENTS_MAX + 1] = { 0 };
	const struct function *function;
	bool label = false;
	size_t count = 0;
	int r = 0;

	skip_space(run);
	function = function_at(run);
	if (function)
		run->pos += strlen(function->name);
	else if (isalpha((unsigned char)*run->pos))
		return wrong(run, "unknown function");
	for (;;) {
		const char *begin;

		skip_space(run);
		begin = run->pos;
		if (count == ARGUMENTS_MAX) {
			r = wrong(run, "too many values");
			break;
		}
		r = operand(run, data, &args[count]);
		if (r == 0) {
			if (count == 0 && run->pos - begin >= 6 &&
			    memcmp(run->pos - 6, ".Label", 6) == 0)
				label = true;
			count++;
			continue;
		}
		if (args[count])
			count++; /* to be freed */
		break;
	}
	if (r > 0) {
		r = 0;
		if (piped)
			args[count++] = json_incref(piped);
		r = count ? call(run, function, label, args, count, ret)
			  : wrong(run, "expected a value");
	}
	for (size_t i = 0; i < count; i++)
		json_decref(args[i]);
	return r;
}

static int pipeline(struct run *run, const json_t *data, json_t **ret)
{
	autojson json_t *value = NULL;
	int r = command(run, data, NULL, &value);

	for (skip_space(run); r == 0 && *run->pos == '|'; skip_space(run)) {
		json_t *next = NULL;

		run->pos++;
		r = command(run, data, value, &next);
		json_decref(value);
		value = next;
	}
	if (r == 0)
		*ret = steal(value);
	return r;
}

/* ------------------------------------------------------------------ actions */

enum ending { END_OF_TEXT, END_ELSE, END_END };

static int block(struct run *run, const json_t *data, enum ending *ret);

static bool keyword(struct run *run, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(run->pos, word, n) != 0 || isalnum((unsigned char)run->pos[n]))
		return false;
	run->pos += n;
	return true;
}

static int close_action(struct run *run)
{
	bool trim;

	skip_space(run);
	trim = str_starts(run->pos, "-}}");
	if (trim)
		run->pos++;
	if (!str_starts(run->pos, "}}"))
		return wrong(run, *run->pos ? "unexpected text" : "expected '}}'");
	run->pos += 2;
	if (trim)
		skip_space(run);
	return 0;
}

/* The text up to the next {{else}} or {{end}}, executed or skipped. */
static int branch(struct run *run, const json_t *data, bool execute, enum ending *ret)
{
	bool outer = run->execute;
	int r;

	run->execute = outer && execute;
	r = block(run, data, ret);
	run->execute = outer;
	if (r == 0 && *ret == END_OF_TEXT)
		return wrong(run, "expected {{end}}");
	return r;
}

static int range_body(struct run *run, const json_t *list, enum ending *ret)
{
	const char *begin = run->pos, *key;
	json_t *item;
	size_t i;
	int r = 0;

	if (json_is_array(list)) {
		json_array_foreach(list, i, item) {
			run->pos = begin;
			r = branch(run, item, true, ret);
			if (r < 0)
				return r;
		}
	} else {
		json_object_foreach((json_t *)list, key, item) {
			run->pos = begin;
			r = branch(run, item, true, ret);
			if (r < 0)
				return r;
		}
	}
	return r;
}

enum structure { STRUCTURE_IF, STRUCTURE_WITH, STRUCTURE_RANGE };

/* {{if}}, {{with}} and {{range}}, whose keyword has been read. */
static int structure(struct run *run, const json_t *data, enum structure kind)
{
	autojson json_t *value = NULL;
	enum ending ending = END_OF_TEXT;
	bool taken;
	int r;

	if (++run->depth > TEMPLATE_DEPTH_MAX)
		return wrong(run, "nested too deep");
	r = pipeline(run, data, &value);
	if (r == 0)
		r = close_action(run);
	if (r < 0)
		return r;
	taken = run->execute && value_true(value);
	if (taken && kind == STRUCTURE_RANGE) {
		if (!json_is_array(value) && !json_is_object(value))
			return wrong(run, "range needs a list");
		r = range_body(run, value, &ending);
	} else {
		r = branch(run, kind == STRUCTURE_WITH ? value : data, taken, &ending);
	}
	if (r == 0 && ending == END_ELSE) {
		r = branch(run, data, run->execute && !taken, &ending);
		if (r == 0 && ending == END_ELSE)
			return wrong(run, "a second {{else}}");
	}
	run->depth--;
	return r;
}

/* After "{{". *ret is set for {{else}} and {{end}}, else left. */
static int action(struct run *run, const json_t *data, enum ending *ret)
{
	autojson json_t *value = NULL;
	int r;

	if (str_starts(run->pos, "- "))
		run->pos++;
	skip_space(run);
	if (str_starts(run->pos, "/*")) {
		const char *end = strstr(run->pos, "*/");

		if (!end)
			return wrong(run, "a comment is not closed");
		run->pos = end + 2;
		return close_action(run);
	}
	if (keyword(run, "end")) {
		*ret = END_END;
		return close_action(run);
	}
	if (keyword(run, "else")) {
		*ret = END_ELSE;
		return close_action(run);
	}
	if (keyword(run, "if"))
		return structure(run, data, STRUCTURE_IF);
	if (keyword(run, "with"))
		return structure(run, data, STRUCTURE_WITH);
	if (keyword(run, "range"))
		return structure(run, data, STRUCTURE_RANGE);
	r = pipeline(run, data, &value);
	if (r == 0)
		r = close_action(run);
	if (r == 0 && run->execute)
		value_add(run->out, value);
	return r;
}

static void plain(struct run *run, size_t len, bool trim)
{
	const char *p = run->pos, *end = p + len;

	run->pos = end;
	if (!run->execute)
		return;
	while (trim && end > p && isspace((unsigned char)end[-1]))
		end--;
	for (; p < end; p++) {
		if (*p == '\\' && p + 1 < end && (p[1] == 't' || p[1] == 'n'))
			str_addc(run->out, *++p == 't' ? '\t' : '\n');
		else
			str_addc(run->out, *p);
	}
}

static int block(struct run *run, const json_t *data, enum ending *ret)
{
	*ret = END_OF_TEXT;
	while (*run->pos) {
		const char *open = strstr(run->pos, "{{");
		int r;

		plain(run, open ? (size_t)(open - run->pos) : strlen(run->pos),
		      open && str_starts(open, "{{- "));
		if (!open)
			break;
		run->pos += 2;
		r = action(run, data, ret);
		if (r < 0 || *ret != END_OF_TEXT)
			return r;
	}
	return 0;
}

static int execute(const char *name, const char *template, const json_t *data, bool really,
		   struct str *out, struct error *err)
{
	autojson json_t *nothing = json_null();
	struct run run = {
		.name = name,
		.text = template,
		.pos = template,
		.root = data ? data : nothing,
		.execute = really,
		.out = out,
		.err = err,
	};
	enum ending ending = END_OF_TEXT;
	int r = block(&run, run.root, &ending);

	if (r == 0 && ending != END_OF_TEXT)
		return error_set(err, ERROR_INVALID, "%s: {{%s}} without a beginning", name,
				 ending == END_END ? "end" : "else");
	return r;
}

int template_check(const char *name, const char *template, struct error *err)
{
	return execute(name, template, NULL, false, NULL, err);
}

int template_print(const char *name, const char *template, const json_t *data, struct str *out,
		   struct error *err)
{
	int r = template_check(name, template, err);

	return r < 0 ? r : execute(name, template, data, true, out, err);
}
