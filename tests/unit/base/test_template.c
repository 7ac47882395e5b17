#include "tests/unit/test.h"

#include "base/template.h"

static struct error err;
static const char data_text[] =
	"{\"Name\": \"/web\", \"Id\": \"abc\", \"Count\": 3, \"Up\": true, \"None\": null, "
	"\"Zero\": 0,"
	" \"State\": {\"Status\": \"running\", \"Codes\": [1, 2, 3]}, \"Empty\": [],"
	" \"Config\": {\"Labels\": {\"com.x/y\": \"v\"}, \"Cmd\": [\"sh\", \"-c\"]},"
	" \"LabelMap\": {\"k\": \"v1\"}, \"Size\": 1.5}";

static void gives(const char *template, const char *expected)
{
	autojson json_t *data = json_loads(data_text, 0, NULL);
	autostr struct str out = STR_INIT;
	int r = template_print("--format", template, data, &out, &err);

	if (r < 0)
		fail_msg("%s: %s", template, err.message);
	assert_string_equal(str_text(&out), expected);
}

static void fails(const char *template, const char *message)
{
	autojson json_t *data = json_loads(data_text, 0, NULL);
	autostr struct str out = STR_INIT;

	if (template_print("--format", template, data, &out, &err) != -EINVAL)
		fail_msg("%s gave '%s'", template, str_text(&out));
	assert_contains(err.message, message);
	assert_contains(err.message, "--format");
}

static void members(void **state)
{
	gives("", "");
	gives("plain", "plain");
	gives("{{.Name}}\\t{{.Count}}\\n", "/web\t3\n");
	gives("{{ .State.Status }}", "running");
	gives("{{.Id}}{{.ID}}{{.id}}", "abcabcabc");
	gives("{{.Up}} {{.None}} {{.Size}}", "true <no value> 1.5");
	gives("{{.State.Codes}} {{.Config.Labels}}", "[1 2 3] map[com.x/y:v]");
	gives("{{$.Name}}", "/web");
	gives("{{/* nothing */}}x", "x");
	gives("a {{- \"b\" -}} c", "abc");
}

static void functions(void **state)
{
	gives("{{json .State}}", "{\"Status\":\"running\",\"Codes\":[1,2,3]}");
	gives("{{json .Name}} {{.Name | json}}", "\"/web\" \"/web\"");
	gives("{{upper .Id}} {{lower \"ABC\"}}", "ABC abc");
	gives("{{title \"ab cd\"}} {{truncate .State.Status 3}} {{truncate .Id 9}}",
	      "Ab Cd run abc");
	gives("{{truncate \"a\xc3\xa4\" 2}}", "a");
	gives("{{len .State.Codes}} {{len .Name}} {{.Empty | len}}", "3 4 0");
	gives("{{join .Config.Cmd \" \"}}", "sh -c");
	gives("{{index .Config.Labels \"com.x/y\"}} {{index .State.Codes 1}}", "v 2");
	gives("{{index .Config.Labels \"no\"}}", "<no value>");
	gives("{{index (split \"a,b,c\" \",\") 2}}", "c");
	gives("{{(index .State.Codes 0)}}", "1");
	gives("{{eq .Id \"abc\"}} {{ne .Count 3}} {{not .Up}}", "true false false");
	gives("{{eq .Id \"x\" \"abc\"}}", "true");
	gives("{{and .Up .Id}} {{or .None .Zero \"d\"}}", "abc d");
	gives("{{.Label \"k\"}}|{{.Label \"none\"}}", "v1|");
	gives("{{print .Id}}", "abc");
	gives("{{`raw \\n`}}", "raw \\n");
}

static void structures(void **state)
{
	gives("{{if .Up}}yes{{else}}no{{end}}", "yes");
	gives("{{if .Zero}}yes{{else}}no{{end}}", "no");
	gives("{{if .Empty}}yes{{end}}.", ".");
	gives("{{range .State.Codes}}<{{.}}>{{end}}", "<1><2><3>");
	gives("{{range .Empty}}x{{else}}none{{end}}", "none");
	gives("{{range .Config.Cmd}}{{if eq . \"sh\"}}S{{else}}{{.}}{{end}},{{end}}", "S,-c,");
	gives("{{range .State.Codes}}{{$.Id}}{{end}}", "abcabcabc");
	gives("{{with .State}}{{.Status}}{{end}}", "running");
	gives("{{with .None}}x{{else}}{{.Id}}{{end}}", "abc");
	gives("{{range .Config.Labels}}{{.}}{{end}}", "v");
	/* What is not executed need not exist. */
	gives("{{if .Zero}}{{.Nope.Nope}}{{end}}ok", "ok");
}

static void mistakes(void **state)
{
	fails("{{.Nope}}", "no field .Nope; there are: Name, Id");
	fails("{{.State.Nope}}", ".Nope; there are: Status, Codes");
	fails("{{.Name.X}}", ".X: what it is looked for in is a plain value");
	fails("{{.None.X}}", "empty");
	fails("{{.State.Codes.X}}", "a list");
	fails("{{.Name", "expected '}}'");
	fails("{{", "expected a value");
	fails("{{}}", "expected a value");
	fails("{{foo .Name}}", "unknown function at 'foo");
	fails("{{json}}", "expected a value");
	fails("{{json .Name .Id}}", "json takes 1 value, not 2");
	fails("{{.Name .Id}}", "expected a function");
	fails("{{if .Up}}x", "expected {{end}}");
	fails("x{{end}}", "{{end}} without a beginning");
	fails("{{else}}", "{{else}} without a beginning");
	fails("{{if .Up}}a{{else}}b{{else}}c{{end}}", "second {{else}}");
	fails("{{\"abc}}", "not closed");
	fails("{{/* abc}}", "not closed");
	fails("{{(.Name}}", "expected ')'");
	fails("{{range .Name}}{{end}}", "needs a list");
	fails("{{$x}}", "variables");
	fails("{{.Name | nope}}", "unknown function");
}

static void nesting_is_bounded(void **state)
{
	autostr struct str text = STR_INIT;

	for (int i = 0; i < 1000; i++)
		str_add(&text, "{{if .Up}}");
	fails(str_text(&text), "too deep");
	str_clear(&text);
	str_add(&text, "{{");
	for (int i = 0; i < 1000; i++)
		str_add(&text, "(");
	fails(str_text(&text), "too deep");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members),
		cmocka_unit_test(functions),
		cmocka_unit_test(structures),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(nesting_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
