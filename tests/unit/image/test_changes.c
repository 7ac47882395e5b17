#include "tests/unit/test.h"

#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/changes.h"

static void check(const char *before, const char *const *changes, const char *after)
{
	autojson json_t *config = json_loads(before, 0, NULL),
			*expected = json_loads(after, 0, NULL);
	struct error err = { 0 };

	assert_non_null(config);
	assert_non_null(expected);
	assert_ok(image_changes_apply(config, (char *const *)changes, &err), err);
	if (!json_equal(config, expected)) {
		autofree char *got = json_dumps(config, JSON_SORT_KEYS);

		fail_msg("%s: got %s, expected %s", changes[0], got, after);
	}
}
#define CHECK(before, after, ...) check(before, (const char *const[]){ __VA_ARGS__, NULL }, after)

static void instructions_change_the_configuration(void **state)
{
	CHECK("{}", "{\"Cmd\":[\"a\",\"b c\"]}", "CMD [\"a\", \"b c\"]");
	CHECK("{}", "{\"Cmd\":[\"/bin/sh\",\"-c\",\"echo $HOME\"]}", "cmd echo $HOME");
	CHECK("{\"Cmd\":[\"old\"]}", "{\"Entrypoint\":[\"/e\"]}", "ENTRYPOINT [\"/e\"]");
	CHECK("{}", "{\"Entrypoint\":[\"/e\"],\"Cmd\":[\"x\"]}", "CMD [\"x\"]",
	      "ENTRYPOINT [\"/e\"]");
	CHECK("{}", "{\"Env\":[\"A=1\",\"B=x y\",\"C=q\"]}", "ENV A=1 B=\"x y\" C='q'");
	CHECK("{}", "{\"Env\":[\"A=one two\"]}", "ENV A one two");
	CHECK("{\"Env\":[\"P=/bin\"]}", "{\"Env\":[\"P=/x:/bin\"]}", "ENV P=/x:$P");
	CHECK("{\"Env\":[\"P=/bin\"]}", "{\"Env\":[\"P=/bin\",\"Q=/bin-d-\",\"R=$P\"]}",
	      "ENV Q=${P}-${N:-d}-${N:+x} R='$P'");
	CHECK("{}", "{\"ExposedPorts\":{\"80/tcp\":{},\"5/udp\":{},\"6/udp\":{}}}",
	      "EXPOSE 80 5-6/UDP");
	CHECK("{\"Labels\":{\"a\":\"1\"}}", "{\"Labels\":{\"a\":\"2\",\"b\":\"c d\"}}",
	      "LABEL a=2 b=\"c d\"");
	CHECK("{}", "{\"User\":\"1:2\",\"StopSignal\":\"SIGINT\"}", "USER 1:2",
	      "STOPSIGNAL SIGINT");
	CHECK("{}", "{\"Volumes\":{\"/a\":{},\"/b\":{}}}", "VOLUME /a /b");
	CHECK("{}", "{\"Volumes\":{\"/a b\":{}}}", "VOLUME [\"/a b\"]");
	CHECK("{}", "{\"WorkingDir\":\"/a/c\"}", "WORKDIR /a/b", "WORKDIR ../c/.");
	CHECK("{}", "{\"WorkingDir\":\"/\"}", "WORKDIR /../..");
	CHECK("{}", "{\"OnBuild\":[\"RUN x\"]}", "ONBUILD RUN x");
	CHECK("{}",
	      "{\"Healthcheck\":{\"Interval\":90000000000,\"Retries\":3,\"Test\":[\"CMD\",\"/"
	      "t\"]}}",
	      "HEALTHCHECK --interval=1m30s --retries=3 CMD [\"/t\"]");
	CHECK("{}", "{\"Healthcheck\":{\"Test\":[\"CMD-SHELL\",\"t || exit 1\"]}}",
	      "HEALTHCHECK CMD t || exit 1");
	CHECK("{}", "{\"Healthcheck\":{\"Test\":[\"NONE\"]}}", "HEALTHCHECK NONE");
}

static void bad_changes_are_named(void **state)
{
	static const char *const bad[] = {
		"",
		"RUN x",
		"FROM x",
		"ENV",
		"ENV A",
		"ENV =x",
		"ENV A=1 B",
		"ENV A=\"x",
		"ENV A=${x",
		"ENV A=${}",
		"EXPOSE",
		"EXPOSE 0",
		"EXPOSE 65536",
		"EXPOSE 80a",
		"EXPOSE 80/icmp",
		"EXPOSE 9-8",
		"EXPOSE 1-65535",
		"LABEL",
		"USER",
		"WORKDIR",
		"VOLUME",
		"VOLUME [1]",
		"STOPSIGNAL",
		"ONBUILD",
		"HEALTHCHECK",
		"HEALTHCHECK CMD",
		"HEALTHCHECK --interval=x CMD a",
		"HEALTHCHECK --interval=99999999999999999h CMD a",
		"HEALTHCHECK --no=1 CMD a",
		"HEALTHCHECK --retries=0 CMD a",
		"CMD a\nUSER root",
		"LABEL a=\xff",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		autojson json_t *config = json_object();
		const char *changes[] = { bad[i], NULL };
		struct error err = { 0 };

		if (image_changes_apply(config, (char *const *)changes, &err) == 0)
			fail_msg("'%s' was accepted", bad[i]);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_contains(err.message, "change \"");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instructions_change_the_configuration),
		cmocka_unit_test(bad_changes_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
