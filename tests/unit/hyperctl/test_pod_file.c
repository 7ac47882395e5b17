#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "hyperctl/pod_file.h"

static struct error err;
static char dir[] = "/tmp/hyperctl-test-pod-XXXXXX";

static int setup(void **state)
{
	int fd;

	if (!mkdtemp(dir))
		return -1;
	fd = open(dir, O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || file_write_atomic(fd, "hello", "hi\0\n", 4, 0600, false, NULL) < 0)
		return -1;
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	return file_remove_tree(AT_FDCWD, dir, NULL);
}

static int resolve(const char *text, char **ret)
{
	size_t len;

	return pod_file_resolve(text, strlen(text), dir, ret, &len, &err);
}

/* A pod file without files of this side is not touched: not even its comments. */
static void goes_as_it_is(void **state)
{
	static const char text[] = "# a pod\nname: x\ncontainers: [{image: 'y'}]\n\t broken: {";
	autofree char *got = NULL;

	assert_ok(resolve(text, &got), err);
	assert_string_equal(got, text);
}

static void takes_files_in(void **state)
{
	autofree char *got = NULL;
	autojson json_t *is = NULL, *expected = NULL;

	assert_ok(resolve("name: x\n"
			  "resource: {memory: 128, vcpu: 1.5}\n"
			  "tty: false\n"
			  "note: ~\n"
			  "quoted: '128'\n"
			  "text: |\n  a\n  b\n"
			  "containers:\n"
			  "- files:\n"
			  "  - {path: /a, uri: 'file://hello', mode: '0644'}\n"
			  "  - {path: /b, content: 'file://hello'}\n"
			  "  command: [echo, 'file://hello']\n",
			  &got),
		  err);
	is = json_loads(got, JSON_REJECT_DUPLICATES, NULL);
	expected = json_loads(
		"{\"name\":\"x\",\"resource\":{\"memory\":128,\"vcpu\":1.5},\"tty\":false,\"note\":"
		"null,"
		"\"quoted\":\"128\",\"text\":\"a\\nb\\n\",\"containers\":[{\"files\":["
		"{\"path\":\"/"
		"a\",\"content\":\"aGkACg==\",\"mode\":\"0644\",\"encoding\":\"base64\"},"
		"{\"path\":\"/b\",\"content\":\"file://hello\"}],\"command\":[\"echo\",\"file://"
		"hello\"]}]}",
		0, NULL);
	assert_non_null(expected);
	if (!json_equal(is, expected))
		fail_msg("got %s", got);
}

static void takes_json_too(void **state)
{
	autofree char *got = NULL,
		      *text = strf("{\"files\": [{\"uri\": \"file://%s/hello\"}]}", dir);

	assert_ok(resolve(text, &got), err);
	assert_string_equal(got,
			    "{\"files\":[{\"content\":\"aGkACg==\",\"encoding\":\"base64\"}]}");
}

static void says_what_is_wrong(void **state)
{
	autofree char *got = NULL;

	assert_int_equal(resolve("files:\n- uri: file://missing\n", &got), -ENOENT);
	assert_contains(err.message, "missing");
	assert_contains(err.message, "item 1");
	assert_int_equal(resolve("a: file://x\nb: [\n", &got), -EINVAL);
	assert_contains(err.message, "line ");
	assert_int_equal(resolve("a: file://x\na: 2\n", &got), -EINVAL);
	assert_contains(err.message, "line 2");
	assert_contains(err.message, "twice");
	assert_null(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_as_it_is),
		cmocka_unit_test(takes_files_in),
		cmocka_unit_test(takes_json_too),
		cmocka_unit_test(says_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
