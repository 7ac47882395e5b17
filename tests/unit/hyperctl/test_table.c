#include "tests/unit/test.h"

#include "hyperctl/table.h"

static void aligned(const char *text, const char *expected)
{
	autostr struct str out = STR_INIT;

	table_align(text, strlen(text), &out);
	assert_string_equal(str_text(&out), expected);
}

static void aligns(void **state)
{
	aligned("", "");
	aligned("A\tB\n", "A         B\n");
	aligned("NAME\tIMAGE\tX\na-very-long-name\tb\tc\n", "NAME               IMAGE     X\n"
							    "a-very-long-name   b         c\n");
	/* The last column is not padded, and what is there only in some lines does no harm. */
	aligned("A\tB\nlonger than ten\n1234567890123\tx\n",
		"A               B\nlonger than ten\n1234567890123   x\n");
	/* Characters count, not bytes. */
	aligned("ääääääää\tx\nbbbbbbbb\ty\n", "ääääääää   x\nbbbbbbbb   y\n");
	aligned("\t\tx\n", "                    x\n");
	aligned("no end\tof line", "no end    of line\n");
}

static void hides_controls(void **state)
{
	autostr struct str out = STR_INIT;

	text_add_safe(&out, "a\033[31mb\nc\x7f\xc2\x9b"
			    "d ü");
	assert_string_equal(str_text(&out), "a?[31mb?c??d ü");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aligns),
		cmocka_unit_test(hides_controls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
