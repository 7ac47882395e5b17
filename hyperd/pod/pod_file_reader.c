#include "hyperd/pod/pod_file_reader.h"

#include <stdio.h>
#include <string.h>

#include "hyperd/pod/names.h"
#include "hyperd/pod/spec_fields.h"

/* ------------------------------------------------------------------ refusing */

/* "pod file: containers[0].tty: "yes": expected true or false" */
int pod_file_wrong(struct pod_file_reader *rd, const json_t *value, const char *expected)
{
	autofree char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	if (!value)
		return error_set(rd->err, ERROR_INVALID, "pod file: %s: expected %s",
				 str_text(&rd->path), expected);
	return error_set(rd->err, ERROR_INVALID, "pod file: %s: %.80s%s: expected %s",
			 str_text(&rd->path), text ? text : "",
			 text && strlen(text) > 80 ? "…" : "", expected);
}

size_t pod_file_enter(struct pod_file_reader *rd, const char *name)
{
	size_t mark = rd->path.len;

	str_addf(&rd->path, "%s%.100s", mark ? "." : "", name);
	return mark;
}

size_t pod_file_enter_item(struct pod_file_reader *rd, size_t index)
{
	size_t mark = rd->path.len;

	str_addf(&rd->path, "[%zu]", index);
	return mark;
}

void pod_file_leave(struct pod_file_reader *rd, size_t mark)
{
	rd->path.len = mark;
	if (rd->path.data)
		rd->path.data[mark] = '\0';
}

static int unknown_field(struct pod_file_reader *rd, const struct pod_file_rule *rules)
{
	autostr struct str known = STR_INIT;

	for (const struct pod_file_rule *rule = rules; rule->name; rule++)
		str_addf(&known, "%s%s", known.len ? ", " : "", rule->name);
	return error_set(rd->err, ERROR_INVALID, "pod file: %s: unknown field: expected one of %s",
			 str_text(&rd->path), str_text(&known));
}

int pod_file_read_fields(struct pod_file_reader *rd, const json_t *object, void *target,
			 const struct pod_file_rule *rules)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return pod_file_wrong(rd, object, "an object");
	json_object_foreach((json_t *)object, name, value) {
		const struct pod_file_rule *rule = rules;
		size_t mark = pod_file_enter(rd, name);
		int r = 0;

		while (rule->name && strcmp(rule->name, name) != 0)
			rule++;
		if (!rule->name)
			r = unknown_field(rd, rules);
		else if (!json_is_null(value))
			r = rule->read(rd, value, target, rule);
		if (r < 0)
			return r;
		pod_file_leave(rd, mark);
	}
	return 0;
}

/* ------------------------------------------------------------------ plain values */

void *pod_file_member(void *target, const struct pod_file_rule *rule)
{
	return (char *)target + rule->offset;
}

const char *pod_file_text_of(const json_t *value)
{
	const char *text = json_string_value(value);

	return text && strlen(text) == json_string_length(value) ? text : NULL;
}

int pod_file_set_text(struct pod_file_reader *rd, char **to, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return error_nomem(rd->err);
	free(*to);
	*to = copy;
	return 0;
}

int pod_file_read_text(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	return text ? pod_file_set_text(rd, pod_file_member(target, rule), text)
		    : pod_file_wrong(rd, value, "a string");
}

int pod_file_read_filled_text(struct pod_file_reader *rd, const json_t *value, void *target,
			      const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	if (!text || !*text)
		return pod_file_wrong(rd, value, "a string that is not empty");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

int pod_file_read_absolute(struct pod_file_reader *rd, const json_t *value, void *target,
			   const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);

	if (!text || *text != '/')
		return pod_file_wrong(rd, value, "an absolute path");
	return pod_file_set_text(rd, pod_file_member(target, rule), text);
}

int pod_file_read_bool(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule)
{
	if (!json_is_boolean(value))
		return pod_file_wrong(rd, value, "true or false");
	*(bool *)pod_file_member(target, rule) = json_is_true(value);
	return 0;
}

int pod_file_read_number(struct pod_file_reader *rd, const json_t *value, long long min,
			 long long max, long long *ret)
{
	char expected[80];

	snprintf(expected, sizeof(expected), "a whole number from %lld to %lld", min, max);
	if (!json_is_integer(value) || json_integer_value(value) < min ||
	    json_integer_value(value) > max)
		return pod_file_wrong(rd, value, expected);
	*ret = json_integer_value(value);
	return 0;
}

int pod_file_read_int(struct pod_file_reader *rd, const json_t *value, void *target,
		      const struct pod_file_rule *rule)
{
	long long number = 0;
	int r = pod_file_read_number(rd, value, rule->min, rule->max, &number);

	if (r == 0)
		*(int *)pod_file_member(target, rule) = (int)number;
	return r;
}

int pod_file_read_strv(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule)
{
	char ***v = pod_file_member(target, rule);
	json_t *item;
	size_t i;

	if (!json_is_array(value))
		return pod_file_wrong(rd, value, "a list of strings");
	json_array_foreach(value, i, item) {
		size_t mark = pod_file_enter_item(rd, i);

		if (!pod_file_text_of(item))
			return pod_file_wrong(rd, item, "a string");
		if (strv_add(v, pod_file_text_of(item)) < 0)
			return error_nomem(rd->err);
		pod_file_leave(rd, mark);
	}
	return 0;
}

int pod_file_read_pairs(struct pod_file_reader *rd, const json_t *value, void *target,
			const struct pod_file_rule *rule)
{
	const char *name;
	json_t *item;

	if (!json_is_object(value))
		return pod_file_wrong(rd, value, "an object of strings");
	json_object_foreach((json_t *)value, name, item) {
		size_t mark = pod_file_enter(rd, name);

		if (!pod_file_text_of(item))
			return pod_file_wrong(rd, item, "a string");
		if (spec_pairs_set(pod_file_member(target, rule), name, pod_file_text_of(item)) < 0)
			return error_nomem(rd->err);
		pod_file_leave(rd, mark);
	}
	return 0;
}

int pod_file_read_object(struct pod_file_reader *rd, const json_t *value, void *target,
			 const struct pod_file_rule *rule)
{
	return pod_file_read_fields(rd, value, target, rule->fields);
}

int pod_file_read_name(struct pod_file_reader *rd, const json_t *value, void *target,
		       const struct pod_file_rule *rule)
{
	const char *text = pod_file_text_of(value);
	char **to = pod_file_member(target, rule);

	if (!text || name_check("pod", text, NULL) < 0)
		return pod_file_wrong(rd, value,
				      "a name of [a-zA-Z0-9_.-], that "
				      "begins with a letter or digit");
	if (*to && strcmp(*to, text) != 0)
		return pod_file_wrong(rd, value, "the same as \"id\" when both are given");
	return pod_file_set_text(rd, to, text);
}
