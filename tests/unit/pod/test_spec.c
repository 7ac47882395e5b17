/* Specifications: records of them, restart policies, names, defaults. */
#include "tests/unit/test.h"

#include <signal.h>

#include "base/json.h"
#include "base/str.h"
#include "hyperd/pod/internal.h"
#include "hyperd/pod/oci_defaults.h"

static void container_specs_come_back(void **state)
{
	struct container_spec *spec = container_spec_new(), *back = NULL;
	autojson json_t *json = NULL, *again = NULL;
	struct error err = { 0 };

	spec->name = strdup("web");
	spec->image = strdup("box");
	spec->entrypoint = calloc(1, sizeof(char *)); /* empty, not missing */
	strv_add(&spec->cmd, "sh");
	spec->stop_timeout_s = 0;
	spec->tty = true;
	spec->masked_paths = calloc(1, sizeof(char *));
	spec_pairs_set(&spec->labels, "a", "1");
	spec_pairs_set(&spec->labels, "b", "");
	spec->ulimits = calloc(2, sizeof(*spec->ulimits));
	spec->ulimits[0] = (struct spec_ulimit){ strdup("nofile"), 10, -1 };
	spec->files = calloc(1, sizeof(*spec->files));
	spec->file_count = 1;
	spec->files[0] = (struct spec_file){ .path = strdup("/x"),
					     .content = memcpy(malloc(4), "a\0b", 4),
					     .content_bytes = 3,
					     .mode = 0755,
					     .user = strdup("me") };
	spec->mounts = calloc(1, sizeof(*spec->mounts));
	spec->mount_count = 1;
	spec->mounts[0] = (struct spec_mount){ .type = MOUNT_BIND,
					       .source = strdup("/h"),
					       .destination = strdup("/c"),
					       .read_only = true };
	spec->resources.cpus = 1.5;
	spec->resources.memory_swap_bytes = -1;
	spec->resources.memory_bytes = 1ull << 40;
	spec->restart = (struct restart_policy){ RESTART_ON_FAILURE, 4 };
	spec->health.interval_ns = 12345;
	spec->oom_score_adj = -500;
	spec->docker = json_pack("{s:i}", "Any", 1);

	json = container_spec_to_json(spec);
	assert_non_null(json);
	assert_ok(container_spec_from_json(json, &back, &err), err);
	again = container_spec_to_json(back);
	assert_true(json_equal(json, again));
	assert_int_equal(back->stop_timeout_s, 0);
	assert_non_null(back->entrypoint);
	assert_null(back->entrypoint[0]);
	assert_non_null(back->masked_paths);
	assert_null(back->read_only_paths);
	assert_null(back->env);
	assert_memory_equal(back->files[0].content, "a\0b", 3);
	assert_int_equal(back->files[0].content_bytes, 3);
	assert_int_equal(back->ulimits[0].hard, -1);
	assert_null(back->ulimits[1].name);
	assert_int_equal(back->oom_score_adj, -500);
	assert_string_equal(spec_pairs_get(back->labels, "b"), "");
	assert_int_equal(back->resources.memory_swap_bytes, -1);
	container_spec_free(back);
	container_spec_free(spec);
}

static void damaged_specs_are_refused(void **state)
{
	static const char *const bad[] = {
		"[]",
		"{\"name\": 1}",
		"{\"env\": [1]}",
		"{\"ulimits\": [{\"soft\": 1}]}",
		"{\"files\": [{\"content\": \"!\"}]}",
		"{\"labels\": {\"a\": 1}}",
		"{\"resources\": []}",
		"{\"resources\": {\"cpus\": \"two\"}}",
		"{\"stopTimeoutS\": 99999999999}",
	};
	struct container_spec *spec;
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		autojson json_t *json = NULL;

		assert_ok(json_parse(bad[i], strlen(bad[i]), &json, &err), err);
		assert_int_equal(container_spec_from_json(json, &spec, &err), -EINVAL);
	}
}

static void restart_policies(void **state)
{
	static const char *const good[] = { "no", "always", "on-failure", "on-failure:3",
					    "unless-stopped" };
	static const char *const bad[] = { "never",        "always:3",      "on-failure:",
					   "on-failure:x", "on-failure:-1", "No" };
	struct restart_policy policy;
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		autofree char *text = NULL;

		assert_ok(restart_policy_parse(good[i], &policy, &err), err);
		text = restart_policy_text(&policy);
		assert_string_equal(text, good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(restart_policy_parse(bad[i], &policy, &err), -EINVAL);
}

static void when_a_container_restarts(void **state)
{
	const struct restart_policy no = { RESTART_NO }, always = { RESTART_ALWAYS };
	const struct restart_policy failure = { RESTART_ON_FAILURE, 2 };
	const struct restart_policy unless = { RESTART_UNLESS_STOPPED };

	/* policy, code, stopped by hand, canceled, daemon has come back, restarts so far */
	assert_false(restart_wanted(&no, 1, false, false, false, 0));
	assert_true(restart_wanted(&always, 0, false, false, false, 99));
	assert_false(restart_wanted(&always, 0, true, true, false, 0));
	assert_true(restart_wanted(&always, 0, true, false, true, 0));
	assert_true(restart_wanted(&unless, 0, false, false, false, 0));
	assert_false(restart_wanted(&unless, 0, true, false, true, 0));
	assert_true(restart_wanted(&failure, 1, false, false, false, 1));
	assert_false(restart_wanted(&failure, 1, false, false, false, 2));
	assert_false(restart_wanted(&failure, 0, false, false, false, 0));
}

static void the_back_off_doubles(void **state)
{
	uint64_t wait = 0, expected = 100 * NSEC_PER_MSEC;

	for (int i = 0; i < 20; i++) {
		wait = restart_backoff(wait, 0);
		assert_int_equal(wait, expected);
		expected = expected * 2 > 60 * NSEC_PER_SEC ? 60 * NSEC_PER_SEC : expected * 2;
	}
	assert_int_equal(restart_backoff(wait, 10 * NSEC_PER_SEC), 100 * NSEC_PER_MSEC);
	assert_int_equal(restart_backoff(wait, 9 * NSEC_PER_SEC), 60 * NSEC_PER_SEC);
}

static void names_and_ids(void **state)
{
	static const char *const bad[] = { "", "a", "-ab", "a b", "a/b", ".ab", "ä" };
	char a[ID_BYTES + 1], b[ID_BYTES + 1];
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(name_check("container", bad[i], &err), -EINVAL);
	assert_int_equal(name_check("container", "a1_.-", &err), 0);
	assert_int_equal(name_check("pod", "a", &err), 0);
	for (unsigned i = 0; i < 200; i++) {
		autofree char *name = name_make(i);

		assert_int_equal(name_check("container", name, &err), 0);
	}
	assert_ok(id_make(a, &err), err);
	assert_ok(id_make(b, &err), err);
	assert_string_not_equal(a, b);
	assert_int_equal(id_match(a, a), 2);
	b[12] = '\0';
	memcpy(b, a, 12);
	assert_int_equal(id_match(a, b), 1);
	assert_int_equal(id_match(a, ""), 0);
}

/* ------------------------------------------------------------------ images and specifications */

static void args_are(char **entrypoint, char **cmd, const struct image_config *image,
		     const char *expected)
{
	struct container_spec *spec = container_spec_new();
	struct process_config config = { 0 };
	autostr struct str joined = STR_INIT;
	struct error err = { 0 };

	spec->entrypoint = entrypoint ? strv_copy(entrypoint) : NULL;
	spec->cmd = cmd ? strv_copy(cmd) : NULL;
	if (!expected) {
		assert_int_equal(process_config_make(spec, image, &config, &err), -EINVAL);
		assert_string_equal(err.message, "No command specified");
	} else {
		assert_ok(process_config_make(spec, image, &config, &err), err);
		strv_for_each(arg, config.args)
			str_addf(&joined, "%s%s", joined.len ? " " : "", *arg);
		assert_string_equal(str_text(&joined), expected);
		process_config_done(&config);
	}
	container_spec_free(spec);
}

static char *words(const char *text)
{
	return (char *)text;
}

static void entrypoint_and_command(void **state)
{
	char *e[] = { words("E"), NULL }, *c[] = { words("C"), NULL };
	char *ie[] = { words("ie"), NULL }, *ic[] = { words("ic"), NULL };
	char *clear[] = { words(""), NULL };
	const struct image_config image = { .entrypoint = ie, .cmd = ic };
	const struct image_config only_cmd = { .cmd = ic };

	args_are(NULL, NULL, &image, "ie ic");
	args_are(NULL, c, &image, "ie C");
	args_are(e, NULL, &image, "E");
	args_are(e, c, &image, "E C");
	args_are(clear, c, &image, "C");
	args_are(clear, NULL, &image, NULL);
	args_are(NULL, NULL, &only_cmd, "ic");
	args_are(NULL, NULL, NULL, NULL);
}

static void environment_labels_and_the_rest(void **state)
{
	char *env[] = { words("PATH=/i"), words("A=image"), words("B=image"), NULL };
	char *keys[] = { words("x"), words("y"), NULL }, *values[] = { words("1"), words("2") };
	char *cmd[] = { words("sh"), NULL };
	autojson json_t *health = json_pack("{s:[s,s], s:I, s:i}", "Test", "CMD", "true",
					    "Interval", (json_int_t)5, "Retries", 9);
	const struct image_config image = {
		.env = env,
		.cmd = cmd,
		.label_keys = keys,
		.label_values = values,
		.user = words("iu"),
		.working_dir = words("/iw"),
		.stop_signal = words("SIGQUIT"),
		.healthcheck = health,
	};
	struct container_spec *spec = container_spec_new();
	struct process_config config = { 0 };
	struct error err = { 0 };

	strv_add(&spec->env, "A=mine");
	strv_add(&spec->env, "B");
	strv_add(&spec->env, "C=new");
	spec_pairs_set(&spec->labels, "y", "mine");
	spec->user = strdup("me");
	spec->health.retries = 2;
	assert_ok(process_config_make(spec, &image, &config, &err), err);
	assert_int_equal(strv_len(config.env), 3);
	assert_string_equal(config.env[0], "PATH=/i");
	assert_string_equal(config.env[1], "A=mine");
	assert_string_equal(config.env[2], "C=new");
	assert_string_equal(spec_pairs_get(config.labels, "x"), "1");
	assert_string_equal(spec_pairs_get(config.labels, "y"), "mine");
	assert_string_equal(config.user, "me");
	assert_string_equal(config.working_dir, "/iw");
	assert_int_equal(config.stop_signal, SIGQUIT);
	assert_string_equal(config.health.test[1], "true");
	assert_int_equal(config.health.interval_ns, 5);
	assert_int_equal(config.health.retries, 2);
	process_config_done(&config);

	strv_add(&spec->health.test, "NONE");
	assert_ok(process_config_make(spec, &image, &config, &err), err);
	assert_null(config.health.test);
	process_config_done(&config);
	container_spec_free(spec);
}

static uint64_t caps(const char *add, const char *drop, bool privileged)
{
	autostrv char **a = strv_split(add, ' '), **d = strv_split(drop, ' ');
	uint64_t mask = 0;
	struct error err = { 0 };

	if (!*add) {
		free(a[0]);
		a[0] = NULL;
	}
	if (!*drop) {
		free(d[0]);
		d[0] = NULL;
	}
	assert_ok(capabilities_make(a, d, privileged, &mask, &err), err);
	return mask;
}

static void capabilities(void **state)
{
	char *bad[] = { words("CAP_FLY"), NULL };
	uint64_t mask;
	struct error err = { 0 };

	assert_int_equal(caps("", "", false), 0xa80425fb); /* as /proc shows it under Docker */
	assert_int_equal(caps("SYS_ADMIN", "", false), 0xa80425fb | 1 << 21);
	assert_int_equal(caps("", "cap_chown", false), 0xa80425fa);
	assert_int_equal(caps("", "ALL", false), 0);
	assert_int_equal(caps("chown", "ALL", false), 1);
	assert_int_equal(caps("ALL", "CHOWN", false), CAPABILITIES_ALL & ~1ull);
	assert_int_equal(caps("", "", true), CAPABILITIES_ALL);
	assert_int_equal(capabilities_make(bad, NULL, false, &mask, &err), -EINVAL);
	assert_string_equal(err.message, "CapAdd: invalid capability: \"CAP_FLY\"");
}

static void signals_and_sysctls(void **state)
{
	struct error err = { 0 };
	int n;

	assert_ok(signal_parse("SIGTERM", &n, &err), err);
	assert_int_equal(n, SIGTERM);
	assert_ok(signal_parse("usr1", &n, &err), err);
	assert_int_equal(n, SIGUSR1);
	assert_ok(signal_parse("9", &n, &err), err);
	assert_int_equal(n, 9);
	assert_ok(signal_parse("SIGRTMIN+3", &n, &err), err);
	assert_int_equal(n, 37);
	assert_ok(signal_parse("RTMAX", &n, &err), err);
	assert_int_equal(n, 64);
	assert_int_equal(signal_parse("0", &n, &err), -EINVAL);
	assert_int_equal(signal_parse("65", &n, &err), -EINVAL);
	assert_int_equal(signal_parse("SIGWHAT", &n, &err), -EINVAL);
	assert_string_equal(err.message, "Invalid signal: SIGWHAT");
	assert_int_equal(sysctl_check("net.core.somaxconn", &err), 0);
	assert_int_equal(sysctl_check("kernel.shmmax", &err), 0);
	assert_int_equal(sysctl_check("kernel.panic", &err), -EINVAL);
	assert_int_equal(sysctl_check("net../../vm.x", &err), -EINVAL);
}

static void what_a_specification_may_not_say(void **state)
{
	struct container_spec *spec = container_spec_new();
	struct error err = { 0 };

	assert_int_equal(container_spec_check(spec, &err), 0);
	spec->resources.memory_bytes = 1 << 20;
	assert_int_equal(container_spec_check(spec, &err), -EINVAL);
	assert_string_equal(err.message, "Minimum memory limit allowed is 6MB");
	spec->resources.memory_bytes = 0;
	spec->working_dir = strdup("relative");
	assert_int_equal(container_spec_check(spec, &err), -EINVAL);
	assert_contains(err.message, "needs to be an absolute path");
	spec->working_dir[0] = '/';
	spec->auto_remove = true;
	spec->restart.kind = RESTART_ALWAYS;
	assert_int_equal(container_spec_check(spec, &err), -EINVAL);
	assert_string_equal(err.message, "can't create 'AutoRemove' container with restart policy");
	spec->auto_remove = false;
	spec_pairs_set(&spec->sysctls, "kernel.panic", "1");
	assert_int_equal(container_spec_check(spec, &err), -EINVAL);
	container_spec_free(spec);
}

/* Each state can be reached and left; the tables are closed. */
static void state_tables(void **state)
{
	assert_true(container_state_may_become(CONTAINER_CREATED, CONTAINER_STARTING));
	assert_false(container_state_may_become(CONTAINER_CREATED, CONTAINER_RUNNING));
	assert_false(container_state_may_become(CONTAINER_EXITED, CONTAINER_RUNNING));
	assert_false(container_state_may_become(CONTAINER_STOPPING, CONTAINER_RESTARTING));
	assert_true(pod_state_may_become(POD_FAILED, POD_STARTING));
	assert_false(pod_state_may_become(POD_STOPPED, POD_RUNNING));
	assert_false(pod_state_may_become(POD_CREATED, POD_STOPPED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(container_specs_come_back),
		cmocka_unit_test(damaged_specs_are_refused),
		cmocka_unit_test(restart_policies),
		cmocka_unit_test(when_a_container_restarts),
		cmocka_unit_test(the_back_off_doubles),
		cmocka_unit_test(names_and_ids),
		cmocka_unit_test(entrypoint_and_command),
		cmocka_unit_test(environment_labels_and_the_rest),
		cmocka_unit_test(capabilities),
		cmocka_unit_test(signals_and_sysctls),
		cmocka_unit_test(what_a_specification_may_not_say),
		cmocka_unit_test(state_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
