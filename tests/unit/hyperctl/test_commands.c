#include "tests/unit/test.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/str.h"
#include "hyperctl/command.h"

struct seen {
	const struct command *command;
	const char *names[128];
	char letters[128];
	size_t count;
};

static void check_option(const struct option *option, void *arg)
{
	struct seen *seen = arg;

	assert_non_null(option->help);
	assert_true(*option->help);
	if (!isupper((unsigned char)*option->help) && !islower((unsigned char)*option->help))
		fail_msg("%s --%s: odd help", seen->command->name, option->name);
	if (option->kind != OPTION_FLAG)
		assert_non_null(option->value);
	for (size_t i = 0; i < seen->count; i++) {
		if (strcmp(seen->names[i], option->name) == 0)
			fail_msg("%s: --%s twice", seen->command->name, option->name);
		if (option->letter && seen->letters[i] == option->letter)
			fail_msg("%s: -%c twice", seen->command->name, option->letter);
	}
	assert_true(seen->count < 128);
	seen->names[seen->count] = option->name;
	seen->letters[seen->count++] = option->letter;
}

static void each_command_is_whole(void **state)
{
	for (size_t i = 0; commands[i]; i++) {
		const struct command *c = commands[i];
		struct seen seen = { .command = c };

		assert_non_null(c->name);
		assert_non_null(c->summary);
		assert_non_null(c->usage);
		assert_non_null(c->run);
		assert_true(c->max_args < 0 || c->max_args >= c->min_args);
		assert_int_equal(!c->options, !c->options_size);
		if (c->options)
			options_each(c->options, check_option, &seen);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(commands[k]->name, c->name);
		assert_ptr_equal(command_find(c->name), c);
	}
}

static void finds_and_suggests(void **state)
{
	assert_ptr_equal(command_find("ps"), &command_list);
	assert_ptr_equal(command_find("ls"), &command_list);
	assert_null(command_find("lis"));
	assert_null(command_find(""));
	assert_ptr_equal(command_suggest("strat"), &command_start);
	assert_ptr_equal(command_suggest("inpsect"), &command_inspect);
	assert_ptr_equal(command_suggest("exce"), &command_exec);
	assert_ptr_equal(command_suggest("vers"), &command_version);
	assert_null(command_suggest("frobnicate"));
	assert_null(command_suggest("a-name-that-is-longer-than-any-command-has-ever-been"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_command_is_whole),
		cmocka_unit_test(finds_and_suggests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
