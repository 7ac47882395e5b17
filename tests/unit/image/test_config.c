#include "tests/unit/test.h"

#include "base/json.h"
#include "base/str.h"
#include "hyperd/image/config.h"

#define LAYER "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ROOT  "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" LAYER "\"]}"

static void every_member_is_read(void **state)
{
	static const char text[] =
		"{\"created\":\"2024-05-06T07:08:09.5+01:00\",\"os\":\"linux\",\"architecture\":"
		"\"amd64\",\"config\":{\"Entrypoint\":[\"/e\"],\"Cmd\":[\"a\",\"b\"],\"Env\":"
		"[\"A=1\"],\"User\":\"u:g\",\"WorkingDir\":\"/w\",\"StopSignal\":\"SIGQUIT\","
		"\"Volumes\":{\"/data\":{}},\"ExposedPorts\":{\"80/tcp\":{}},\"Labels\":{\"k\":"
		"\"v\"},\"Healthcheck\":{\"Test\":[\"CMD\",\"x\"],\"Interval\":5},\"OnBuild\":null"
		"}," ROOT "}";
	autoconfig struct config_file file = { 0 };
	struct error err = { 0 };

	assert_ok(config_file_parse(text, strlen(text), &file, &err), err);
	assert_string_equal(file.config.entrypoint[0], "/e");
	assert_string_equal(file.config.cmd[1], "b");
	assert_string_equal(file.config.env[0], "A=1");
	assert_string_equal(file.config.user, "u:g");
	assert_string_equal(file.config.working_dir, "/w");
	assert_string_equal(file.config.stop_signal, "SIGQUIT");
	assert_string_equal(file.config.volumes[0], "/data");
	assert_string_equal(file.config.exposed_ports[0], "80/tcp");
	assert_string_equal(file.config.label_keys[0], "k");
	assert_string_equal(file.config.label_values[0], "v");
	assert_non_null(json_object_get(file.config.healthcheck, "Interval"));
	assert_string_equal(file.diff_ids[0], LAYER);
	assert_true(file.created_ns == 1714975689500000000ull);
}

static void what_is_missing_is_empty(void **state)
{
	static const char *const texts[] = {
		"{" ROOT "}",
		"{\"config\":null," ROOT "}",
		"{\"config\":{\"Cmd\":null,\"Labels\":null,\"User\":\"\"},\"created\":\"\"," ROOT
		"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		autoconfig struct config_file file = { 0 };
		struct error err = { 0 };

		assert_ok(config_file_parse(texts[i], strlen(texts[i]), &file, &err), err);
		assert_null(file.config.cmd);
		assert_null(file.config.user);
		assert_null(file.config.label_keys);
		assert_null(file.config.healthcheck);
		assert_int_equal(file.created_ns, 0);
	}
}

static void wrong_types_are_named(void **state)
{
	static const struct {
		const char *text, *complaint;
	} cases[] = {
		{ "[]", "expected an object" },
		{ "", "JSON" },
		{ "{\"os\":1," ROOT "}", "os: expected a string" },
		{ "{\"os\":\"windows\"," ROOT "}", "windows" },
		{ "{\"created\":\"yesterday\"," ROOT "}", "created" },
		{ "{\"config\":[]," ROOT "}", "config: expected an object" },
		{ "{\"config\":{\"Cmd\":\"sh\"}," ROOT "}", "config: Cmd" },
		{ "{\"config\":{\"Cmd\":[1]}," ROOT "}", "Cmd[0]" },
		{ "{\"config\":{\"Cmd\":[\"a\\u0000b\"]}," ROOT "}", "JSON" },
		{ "{\"config\":{\"Env\":{}}," ROOT "}", "Env" },
		{ "{\"config\":{\"User\":7}," ROOT "}", "User" },
		{ "{\"config\":{\"Volumes\":[\"/x\"]}," ROOT "}", "Volumes" },
		{ "{\"config\":{\"Volumes\":{\"/x\":1}}," ROOT "}", "'/x'" },
		{ "{\"config\":{\"Labels\":{\"a\":1}}," ROOT "}", "Labels: 'a'" },
		{ "{\"config\":{\"Healthcheck\":1}," ROOT "}", "Healthcheck" },
		{ "{\"config\":{\"Healthcheck\":{\"Test\":1}}," ROOT "}", "Test" },
		{ "{\"config\":{\"Healthcheck\":{\"Retries\":-1}}," ROOT "}", "Retries" },
		{ "{}", "rootfs: missing" },
		{ "{\"rootfs\":3}", "rootfs" },
		{ "{\"rootfs\":{\"type\":\"plain\"}}", "'plain'" },
		{ "{\"rootfs\":{\"diff_ids\":[\"sha256:../..\"]}}", "diff_ids" },
		{ "{\"rootfs\":{\"diff_ids\":\"x\"}}", "diff_ids" },
		{ "{" ROOT "," ROOT "}", "JSON" },
	};
	autostr struct str deep = STR_INIT, many = STR_INIT;
	autoconfig struct config_file file = { 0 };
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (config_file_parse(cases[i].text, strlen(cases[i].text), &file, &err) == 0)
			fail_msg("accepted: %s", cases[i].text);
		assert_contains(err.message, "image configuration: ");
		assert_contains(err.message, cases[i].complaint);
	}
	str_add(&deep, "{\"a\":");
	for (int i = 0; i < 100000; i++)
		str_addc(&deep, '[');
	assert_true(config_file_parse(deep.data, deep.len, &file, &err) < 0);
	assert_contains(err.message, "deeper");

	str_add(&many, "{\"rootfs\":{\"diff_ids\":[\"" LAYER "\"");
	for (int i = 0; i < IMAGE_MAX_LAYERS; i++)
		str_add(&many, ",\"" LAYER "\"");
	str_add(&many, "]}}");
	assert_true(config_file_parse(many.data, many.len, &file, &err) < 0);
	assert_int_equal(err.kind, ERROR_LIMIT);
}

static void times(void **state)
{
	autofree char *text = time_format(1714975689500000001ull);
	uint64_t ns;

	assert_string_equal(text, "2024-05-06T06:08:09.500000001Z");
	assert_int_equal(time_parse(text, &ns), 0);
	assert_true(ns == 1714975689500000001ull);
	assert_int_equal(time_parse("0001-01-01T00:00:00Z", &ns), 0);
	assert_int_equal(ns, 0);
	assert_int_equal(time_parse("2024-05-06", &ns), -EINVAL);
	assert_int_equal(time_parse("2024-05-06T07:08:09", &ns), -EINVAL);
	assert_int_equal(time_parse("2024-05-06T07:08:09+1", &ns), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_member_is_read),
		cmocka_unit_test(what_is_missing_is_empty),
		cmocka_unit_test(wrong_types_are_named),
		cmocka_unit_test(times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
