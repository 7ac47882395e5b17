#include "tests/unit/test.h"

#include "hyperctl/options.h"

struct inner {
	const char *name;
	struct option_list env;
};
struct outer {
	struct inner inner;
	bool detach, interactive, tty, proxy;
	uint64_t memory_bytes, cpus_nano, interval_ns;
	long long count;
};

static const struct option inner_table[] = {
	STRING(0, "name", struct inner, name, "NAME", "a name"),
	LIST('e', "env", struct inner, env, "K=V", "a variable"),
	OPTIONS_END,
};
static const struct option table[] = {
	FLAG('d', "detach", struct outer, detach, "detach"),
	TABLE(inner_table, struct outer, inner),
	FLAG('i', "interactive", struct outer, interactive, "input"),
	FLAG('t', "tty", struct outer, tty, "terminal"),
	FLAG(0, "sig-proxy", struct outer, proxy, "proxy", .initial = "true"),
	SIZE('m', "memory", struct outer, memory_bytes, "SIZE", "memory"),
	CPUS(0, "cpus", struct outer, cpus_nano, "N", "cpus"),
	DURATION(0, "interval", struct outer, interval_ns, "TIME", "interval"),
	NUMBER('n', "count", struct outer, count, "N", "count", .initial = "-1", .min = -1,
	       .max = 9),
	OPTIONS_END,
};

/* Parses LINE, split at spaces. */
static struct outer got;
static char line_copy[256];
static char *words[32];
static bool help;
static struct error err;

static int parse(const char *line, bool mixed)
{
	size_t count = 0;

	options_done(table, &got);
	memset(&got, 0, sizeof(got));
	error_clear(&err);
	strcpy(line_copy, line);
	for (char *p = strtok(line_copy, " "); p; p = strtok(NULL, " "))
		words[count++] = p;
	words[count] = NULL;
	return options_parse(table, &got, words, mixed, &help, &err);
}

static int teardown(void **state)
{
	options_done(table, &got);
	return 0;
}

static void clusters_and_values(void **state)
{
	assert_ok(parse("-dit -eA=1 -e B=2 -e=C=3 --env D=4 --env=E=5 --name=x -m 512m", false),
		  err);
	assert_true(got.detach && got.interactive && got.tty);
	assert_int_equal(got.inner.env.count, 5);
	assert_string_equal(got.inner.env.items[0], "A=1");
	assert_string_equal(got.inner.env.items[1], "B=2");
	assert_string_equal(got.inner.env.items[2], "C=3");
	assert_string_equal(got.inner.env.items[4], "E=5");
	assert_null(got.inner.env.items[5]);
	assert_string_equal(got.inner.name, "x");
	assert_int_equal(got.memory_bytes, 512ull << 20);
	assert_null(words[0]);
	/* A value that follows a cluster of flags. */
	assert_ok(parse("-dite A=1 -itm1g", false), err);
	assert_string_equal(got.inner.env.items[0], "A=1");
	assert_int_equal(got.memory_bytes, 1ull << 30);
}

static void values_may_be_empty_or_look_like_options(void **state)
{
	assert_ok(parse("--name= -e -x", false), err);
	assert_string_equal(got.inner.name, "");
	assert_string_equal(got.inner.env.items[0], "-x");
}

static void defaults_and_flags_with_values(void **state)
{
	assert_ok(parse("", false), err);
	assert_true(got.proxy);
	assert_int_equal(got.count, -1);
	assert_ok(parse("--sig-proxy=false -d=true -t=0", false), err);
	assert_false(got.proxy);
	assert_true(got.detach);
	assert_false(got.tty);
	assert_int_equal(parse("--sig-proxy=maybe", false), -EINVAL);
	assert_contains(err.message, "--sig-proxy");
	assert_contains(err.message, "'maybe'");
}

static void stops_at_the_first_argument_unless_mixed(void **state)
{
	assert_ok(parse("-d image sh -c x --name y", false), err);
	assert_string_equal(words[0], "image");
	assert_string_equal(words[2], "-c");
	assert_string_equal(words[5], "y");
	assert_null(words[6]);
	assert_null(got.inner.name);

	assert_ok(parse("a -d b --name y c", true), err);
	assert_true(got.detach);
	assert_string_equal(got.inner.name, "y");
	assert_string_equal(words[0], "a");
	assert_string_equal(words[1], "b");
	assert_string_equal(words[2], "c");
	assert_null(words[3]);

	assert_ok(parse("a -- -d -", true), err);
	assert_false(got.detach);
	assert_string_equal(words[1], "-d");
	assert_string_equal(words[2], "-");
	/* A mere '-' is an argument: standard input. */
	assert_ok(parse("- -d", true), err);
	assert_string_equal(words[0], "-");
	assert_true(got.detach);
}

static void errors_name_the_option(void **state)
{
	assert_int_equal(parse("--nope", false), -EINVAL);
	assert_string_equal(err.message, "unknown option: --nope");
	assert_int_equal(parse("-dx", false), -EINVAL);
	assert_string_equal(err.message, "unknown option: -x (in -dx)");
	assert_int_equal(parse("--name", false), -EINVAL);
	assert_string_equal(err.message, "--name needs a value (NAME)");
	assert_int_equal(parse("-e", false), -EINVAL);
	assert_string_equal(err.message, "-e needs a value (K=V)");
	assert_int_equal(parse("-m lots", false), -EINVAL);
	assert_contains(err.message, "invalid value of --memory: 'lots'");
	assert_int_equal(parse("-n 10", false), -EINVAL);
	assert_contains(err.message, "from -1 to 9");
	/* A prefix of a name is no name. */
	assert_int_equal(parse("--nam x", false), -EINVAL);
	assert_int_equal(parse("--names x", false), -EINVAL);
}

static void typed_values(void **state)
{
	assert_ok(parse("--cpus 1.5 --interval 1m30s -n 7", false), err);
	assert_int_equal(got.cpus_nano, 1500000000ull);
	assert_int_equal(got.interval_ns, 90000000000ull);
	assert_int_equal(got.count, 7);
}

static void help_is_recognised(void **state)
{
	assert_ok(parse("-d --help --nope", false), err);
	assert_true(help);
	assert_ok(parse("-h", false), err);
	assert_true(help);
	assert_ok(parse("image -h", false), err);
	assert_false(help);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(clusters_and_values, teardown),
		cmocka_unit_test_teardown(values_may_be_empty_or_look_like_options, teardown),
		cmocka_unit_test_teardown(defaults_and_flags_with_values, teardown),
		cmocka_unit_test_teardown(stops_at_the_first_argument_unless_mixed, teardown),
		cmocka_unit_test_teardown(errors_name_the_option, teardown),
		cmocka_unit_test_teardown(typed_values, teardown),
		cmocka_unit_test_teardown(help_is_recognised, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
