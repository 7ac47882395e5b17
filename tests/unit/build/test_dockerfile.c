#include "tests/unit/test.h"

#include <string.h>

#include "base/str.h"
#include "hyperd/build/dockerfile.h"

static int parse(const char *text, struct dockerfile *ret, struct error *err)
{
	return dockerfile_parse(text, strlen(text), "Dockerfile", ret, err);
}

/* "FROM|busybox RUN|echo a": kinds and arguments. */
static char *outline(const struct dockerfile *file)
{
	autostr struct str out = STR_INIT;

	for (size_t i = 0; i < file->count; i++) {
		const struct instruction *in = &file->instructions[i];

		str_addf(&out, "%s%s", i ? "\n" : "", instruction_name(in->kind));
		strv_for_each(flag, in->flags)
			str_addf(&out, " %s", *flag);
		strv_for_each(arg, in->args)
			str_addf(&out, "|%s", *arg);
		if (in->json)
			str_add(&out, " json");
	}
	return str_steal(&out);
}

static void instructions_are_read(void **state)
{
	static const struct {
		const char *text, *outline;
	} cases[] = {
		{ "FROM a", "FROM|a" },
		{ "from a as b\n", "FROM|a|as|b" },
		{ "  FROM\t a  ", "FROM|a" },
		{ "FROM a\nRUN echo  a   b ", "FROM|a\nRUN|echo  a   b" },
		{ "FROM a\nRUN [\"a\", \"b c\"]", "FROM|a\nRUN|a|b c json" },
		{ "FROM a\nRUN [ \"a\" ] x", "FROM|a\nRUN|[ \"a\" ] x" },
		{ "FROM a\nRUN [a]", "FROM|a\nRUN|[a]" },
		{ "FROM a\nRUN a \\\n  b \\  \n c", "FROM|a\nRUN|a   b  c" },
		{ "FROM a\nRUN a \\\n# comment\n b", "FROM|a\nRUN|a  b" },
		{ "FROM a\nRUN a \\\n\n b", "FROM|a\nRUN|a  b" },
		{ "FROM a\nRUN a # no comment", "FROM|a\nRUN|a # no comment" },
		{ "FROM a\nRUN a \\", "FROM|a\nRUN|a" },
		{ "# escape=`\nFROM a\nRUN c:\\ `\nb", "FROM|a\nRUN|c:\\ b" },
		{ "#\n# escape=`\nFROM a\nRUN b `", "FROM|a\nRUN|b `" },
		{ "# syntax = x/y\n#escape=`\nFROM a", "FROM|a" },
		{ "FROM a\nENV a=b c=\"d e\" f=g\\ h", "FROM|a\nENV|a|b|c|\"d e\"|f|g\\ h" },
		{ "FROM a\nENV a  b c ", "FROM|a\nENV|a|b c" },
		{ "FROM a\nENV a=", "FROM|a\nENV|a|" },
		{ "FROM a\nLABEL \"a b\"=c", "FROM|a\nLABEL|\"a b\"|c" },
		{ "FROM a\nCOPY --from=x --chown=1:2 a b /",
		  "FROM|a\nCOPY --from=x --chown=1:2|a|b|/" },
		{ "FROM a\nCOPY [\"a b\", \"/\"]", "FROM|a\nCOPY|a b|/ json" },
		{ "FROM a\nCOPY --from=\"x\" -- --a /", "FROM|a\nCOPY --from=x|--a|/" },
		{ "FROM a\nARG b\nARG c=d e", "FROM|a\nARG|b\nARG|c=d|e" },
		{ "FROM a\nHEALTHCHECK --retries=3 CMD  a b",
		  "FROM|a\nHEALTHCHECK --retries=3|CMD|a b" },
		{ "FROM a\nHEALTHCHECK CMD [\"a\"]", "FROM|a\nHEALTHCHECK|CMD|a json" },
		{ "FROM a\nHEALTHCHECK none", "FROM|a\nHEALTHCHECK|none" },
		{ "FROM a\nONBUILD COPY a  b", "FROM|a\nONBUILD|COPY a  b" },
		{ "FROM a\nVOLUME a b\nEXPOSE 1 2/udp", "FROM|a\nVOLUME|a|b\nEXPOSE|1|2/udp" },
		{ "\xef\xbb\xbf"
		  "FROM a\r\nUSER b\r\n",
		  "FROM|a\nUSER|b" },
		{ "FROM a\nCMD", "FROM|a\nCMD" },
		{ "FROM a\nRUN echo $((1<<2)) <<< x", "FROM|a\nRUN|echo $((1<<2)) <<< x" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		autodockerfile struct dockerfile file = { 0 };
		autofree char *found = NULL;
		struct error err = { 0 };

		if (parse(cases[i].text, &file, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.message);
		found = outline(&file);
		assert_string_equal(found, cases[i].outline);
	}
}

static void nonsense_is_refused(void **state)
{
	static const struct {
		const char *text, *complaint;
	} cases[] = {
		{ "", "no instructions" },
		{ "# only this", "no instructions" },
		{ "FROM a\nFOO x", "line 2: unknown instruction: FOO" },
		{ "FROM", "FROM requires either one or three" },
		{ "FROM a b", "FROM requires either one or three" },
		{ "FROM a as 1", "invalid name for build stage" },
		{ "FROM a\nCOPY a", "at least two arguments" },
		{ "FROM a\nCOPY --nothing=1 a b", "Unknown flag: nothing" },
		{ "FROM a\nCOPY --from a b", "Missing a value on flag: from" },
		{ "FROM a\nCOPY --from=a --from=b a b", "Duplicate flag" },
		{ "FROM a\nCOPY --chmod=1 a b", "--chmod option requires BuildKit" },
		{ "FROM a\nRUN --mount=type=cache x", "--mount option requires BuildKit" },
		{ "FROM a\nRUN <<EOF\nEOF", "here-document <<EOF" },
		{ "FROM a\nCOPY <<-'EOF' /x\nEOF", "here-document" },
		{ "FROM a\nENV a", "two arguments" },
		{ "FROM a\nENV a=b c", "can't find = in \"c\"" },
		{ "FROM a\nENV =b", "ENV names can not be blank" },
		{ "FROM a\nARG =b", "ARG names can not be blank" },
		{ "FROM a\nRUN [\"a\", 1]", "comprised of strings only" },
		{ "FROM a\nSHELL sh", "JSON form" },
		{ "FROM a\nHEALTHCHECK CMD", "Missing command" },
		{ "FROM a\nHEALTHCHECK NONE x", "takes no arguments" },
		{ "FROM a\nHEALTHCHECK x y", "Unknown type \"X\"" },
		{ "FROM a\nONBUILD ONBUILD RUN a", "Chaining ONBUILD" },
		{ "FROM a\nONBUILD from x", "FROM isn't allowed" },
		{ "# escape=x\nFROM a", "ESCAPE" },
		{ "# escape=`\n# escape=`\nFROM a", "only one escape" },
		{ "FROM \xff", "UTF-8" },
		{ "FROM a\nWORKDIR", "exactly one argument" },
		{ "FROM a\nVOLUME [\"\"]", "empty string" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		autodockerfile struct dockerfile file = { 0 };
		struct error err = { 0 };

		if (parse(cases[i].text, &file, &err) == 0)
			fail_msg("accepted: %s", cases[i].text);
		assert_contains(err.message, cases[i].complaint);
	}
}

static void limits_hold(void **state)
{
	autodockerfile struct dockerfile file = { 0 };
	autostr struct str text = STR_INIT;
	struct error err = { 0 };

	str_add(&text, "FROM a\n");
	for (int i = 0; i < DOCKERFILE_MAX_INSTRUCTIONS; i++)
		str_add(&text, "USER a\n");
	assert_int_equal(parse(str_text(&text), &file, &err) < 0, 1);
	assert_contains(err.message, "more than 4096 instructions");
	while (text.len <= DOCKERFILE_MAX_BYTES)
		str_add(&text, "# 0123456789012345678901234567890123456789\n");
	assert_int_equal(parse(str_text(&text), &file, &err) < 0, 1);
	assert_contains(err.message, "larger than");
}

static void empty_continuations_are_warned_of(void **state)
{
	autodockerfile struct dockerfile file = { 0 };
	struct error err = { 0 };

	assert_ok(parse("FROM a\nRUN b \\\n\n c\n", &file, &err), err);
	assert_int_equal(strv_len(file.warnings), 2);
	assert_contains(file.warnings[0], "RUN b  c");
	assert_int_equal(file.instructions[1].line, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instructions_are_read),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(empty_continuations_are_warned_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
