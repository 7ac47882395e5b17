#include "tests/unit/test.h"

#include "base/str.h"
#include "base/yaml_json.h"

static struct error err;

static void gives(const char *text, const char *json)
{
	autojson json_t *is = NULL, *expected = json_loads(json, JSON_DECODE_ANY, NULL);
	autofree char *dumped = NULL;

	assert_non_null(expected);
	assert_ok(yaml_to_json(text, strlen(text), &is, &err), err);
	dumped = json_dumps(is, JSON_COMPACT | JSON_ENCODE_ANY);
	if (!json_equal(is, expected))
		fail_msg("%s is %s, not %s", text, dumped, json);
}

static void refused(const char *text, size_t len, const char *message)
{
	json_t *value = NULL;

	if (yaml_to_json(text, len, &value, &err) != -EINVAL)
		fail_msg("%s was taken", text);
	assert_null(value);
	assert_contains(err.message, message);
}

static void scalars(void **state)
{
	gives("[1, -2, +3, 1.5, 1e3, 0644]", "[1, -2, 3, 1.5, 1000.0, 644]");
	gives("[true, False, ~, null, ]", "[true, false, null, null]");
	gives("['1', \"true\", \"~\", yes, 1.2.3, 0x10, -, +, .]",
	      "[\"1\", \"true\", \"~\", \"yes\", \"1.2.3\", \"0x10\", \"-\", \"+\", \".\"]");
	gives("a: |\n  x\n  y\nb: >\n  x\n  y\n", "{\"a\": \"x\\ny\\n\", \"b\": \"x y\\n\"}");
	gives("[.inf, .nan, 99999999999999999999]", "[\".inf\", \".nan\", 1e20]");
}

static void structures(void **state)
{
	gives("{\"json\": [1, {\"is\": \"yaml\"}]}", "{\"json\": [1, {\"is\": \"yaml\"}]}");
	gives("a:\n- b: 1\n  c: 2\n- d\n", "{\"a\": [{\"b\": 1, \"c\": 2}, \"d\"]}");
	gives("a: &x {k: v}\nb: *x\n", "{\"a\": {\"k\": \"v\"}, \"b\": {\"k\": \"v\"}}");
	gives("1: a\n", "{\"1\": \"a\"}");
}

#define REFUSED(text, message) refused(text, sizeof(text) - 1, message)

static void mistakes(void **state)
{
	REFUSED("", "empty");
	REFUSED("# only a comment\n", "empty");
	REFUSED("a: 1\na: 2\n", "line 2, column 1: this name stands here twice");
	REFUSED("a: [\n", "line ");
	REFUSED("? [complex]\n: v\n", "expected a name");
	REFUSED("\"a\\0b\": 1", "NUL");
	REFUSED("a: \"b\\0\"", "NUL");
	REFUSED("a: *nowhere\n", "line ");
	REFUSED("\xff\xfe\xfd", "");
}

/* Aliases that repeat aliases, and one within itself. */
static void bounds(void **state)
{
	autostr struct str text = STR_INIT;

	str_add(&text, "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
	for (int i = 1; i < 10; i++) {
		str_addf(&text, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			str_addf(&text, "%s*a%d", k ? "," : "", i - 1);
		str_add(&text, "]\n");
	}
	refused(text.data, text.len, "too many values");
	REFUSED("&a [*a]", "too deep");
	str_clear(&text);
	for (int i = 0; i < 1000; i++)
		str_addc(&text, '[');
	refused(text.data, text.len, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scalars),
		cmocka_unit_test(structures),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
