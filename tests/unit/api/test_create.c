/* Docker's create body: what each kind of field does with right and wrong values. */
#include "tests/unit/test.h"

#include "base/json.h"
#include "base/str.h"
#include "hyperd/api/api.h"

static int parse(const char *text, struct create_request *ret, struct error *err)
{
	autojson json_t *body = NULL;
	struct error parse_error = { 0 };

	assert_ok(json_parse(text, strlen(text), &body, &parse_error), parse_error);
	return create_request_parse(body, NULL, ret, err);
}

static void refused(const char *text, enum error_kind kind, const char *part)
{
	struct create_request create;
	struct error err = { 0 };

	if (parse(text, &create, &err) == 0) {
		create_request_done(&create);
		fail_msg("accepted: %s", text);
	}
	if (err.kind != kind)
		fail_msg("%s: %s", text, err.message);
	assert_contains(err.message, part);
}

static void what_the_cli_sends(void **state)
{
	static const char text[] =
		"{\"Hostname\":\"h\",\"User\":\"u:g\",\"Tty\":true,\"OpenStdin\":true,"
		"\"StdinOnce\":true,"
		"\"Env\":[\"A=b\",\"C\"],\"Cmd\":[\"echo\",\"hi\"],\"Image\":\"busybox\","
		"\"Volumes\":{\"/v\":{}},"
		"\"WorkingDir\":\"/w\",\"Entrypoint\":[\"/"
		"e\"],\"Labels\":{\"k\":\"v\"},\"StopSignal\":\"SIGINT\","
		"\"StopTimeout\":3,\"OnBuild\":null,\"HostConfig\":{\"Binds\":null,\"NetworkMode\":"
		"\"default\","
		"\"PortBindings\":{},\"RestartPolicy\":{\"Name\":\"on-failure\","
		"\"MaximumRetryCount\":4},"
		"\"ConsoleSize\":[24,80],\"CapAdd\":[\"NET_ADMIN\"],\"CapDrop\":null,\"Dns\":[\"1."
		"1.1.1\"],"
		"\"Memory\":314572800,\"NanoCpus\":2000000000,\"PidsLimit\":-1,\"OomScoreAdj\":500,"
		"\"Ulimits\":[{\"Name\":\"nofile\",\"Soft\":10,\"Hard\":20}],\"MemorySwappiness\":-"
		"1,"
		"\"Tmpfs\":{\"/"
		"run\":\"rw,size=64m,mode=755\"},\"SecurityOpt\":[\"no-new-privileges\","
		"\"seccomp=unconfined\"],\"Sysctls\":{\"net.core.somaxconn\":\"5\"},\"ShmSize\":"
		"1048576,"
		"\"LogConfig\":{\"Type\":\"json-file\",\"Config\":{\"max-size\":\"1m\"}},\"Init\":"
		"true,"
		"\"Isolation\":\"vm\",\"CpuPercent\":0,\"MaskedPaths\":null},"
		"\"NetworkingConfig\":{\"EndpointsConfig\":{\"default\":{}}}}";
	struct create_request create;
	struct container_spec *spec;
	struct error err = { 0 };

	assert_ok(parse(text, &create, &err), err);
	spec = create.spec;
	assert_string_equal(spec->image, "busybox");
	assert_string_equal(spec->hostname, "h");
	assert_string_equal(spec->user, "u:g");
	assert_true(spec->tty && spec->open_stdin && spec->stdin_once && spec->init);
	assert_string_equal(spec->env[1], "C");
	assert_true(spec->cmd_set && spec->entrypoint_set);
	assert_string_equal(spec->cmd[1], "hi");
	assert_string_equal(spec->entrypoint[0], "/e");
	assert_string_equal(spec->labels[0].value, "v");
	assert_null(spec->labels[1].key);
	assert_string_equal(spec->stop_signal, "SIGINT");
	assert_int_equal(spec->stop_timeout_s, 3);
	assert_int_equal(spec->restart.kind, RESTART_ON_FAILURE);
	assert_int_equal(spec->restart.max_retries, 4);
	assert_string_equal(spec->cap_add[0], "NET_ADMIN");
	assert_int_equal(spec->resources.memory_bytes, 314572800);
	assert_true(spec->resources.cpus == 2.0);
	assert_int_equal(spec->resources.pids, -1);
	assert_int_equal(spec->oom_score_adj, 500);
	assert_string_equal(spec->ulimits[0].name, "nofile");
	assert_int_equal(spec->ulimits[0].hard, 20);
	assert_null(spec->ulimits[1].name);
	assert_int_equal(spec->mount_count, 2);
	assert_int_equal(spec->mounts[0].type, MOUNT_VOLUME);
	assert_int_equal(spec->mounts[1].type, MOUNT_TMPFS);
	assert_int_equal(spec->mounts[1].size_bytes, 64 << 20);
	assert_int_equal(spec->mounts[1].mode, 0755);
	assert_true(spec->no_new_privileges);
	assert_string_equal(spec->seccomp, "unconfined");
	assert_string_equal(spec->log_options[0].key, "max-size");
	assert_int_equal(spec->shm_bytes, 1 << 20);
	assert_int_equal(create.options->vcpus, 2);
	assert_true(create.options->isolation_set);
	assert_int_equal(create.options->isolation, ISOLATION_VM);
	assert_non_null(json_object_get(spec->docker, "HostConfig"));
	create_request_done(&create);
}

static void lenient_forms(void **state)
{
	struct create_request create;
	struct error err = { 0 };

	/* Other cases, lone strings, [] for nothing, unknown members of Config. */
	assert_ok(parse("{\"image\":\"a\",\"cmd\":\"true\",\"Entrypoint\":[],\"_query\":{},"
			"\"hostconfig\":{\"memory\":8388608}}",
			&create, &err),
		  err);
	assert_true(create.spec->cmd_set);
	assert_false(create.spec->entrypoint_set);
	create_request_done(&create);
}

static void what_is_not_supported_says_so(void **state)
{
	static const char *const hosts[] = {
		"\"PidMode\":\"host\"",    "\"IpcMode\":\"host\"", "\"UTSMode\":\"host\"",
		"\"CgroupParent\":\"/x\"", "\"CpuPercent\":50",    "\"MemorySwappiness\":60",
		"\"UsernsMode\":\"host\"",
	};

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		autofree char *text = strf("{\"Image\":\"a\",\"HostConfig\":{%s}}", hosts[i]);

		refused(text, ERROR_UNSUPPORTED, "HostConfig.");
	}
	refused("{\"Image\":\"a\",\"HostConfig\":{\"PortBindings\":{\"80/xyz\":[]}}}",
		ERROR_INVALID, "invalid proto: xyz");
	refused("{\"Image\":\"a\",\"HostConfig\":{\"PortBindings\":{\"0/tcp\":[]}}}", ERROR_INVALID,
		"invalid port");
	refused("{\"Image\":\"a\",\"HostConfig\":{\"PortBindings\":{\"1/"
		"tcp\":[{\"HostPort\":\"9-8\"}]}}}",
		ERROR_INVALID, "invalid port");
}

static void networks_become_the_pods(void **state)
{
	static const char text[] =
		"{\"Image\":\"a\",\"MacAddress\":\"02:11:22:33:44:55\",\"HostConfig\":{"
		"\"NetworkMode\":\"front\","
		"\"PortBindings\":{\"80/"
		"tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"8000-8010\"}],\"53/udp\":[]}},"
		"\"NetworkingConfig\":{\"EndpointsConfig\":{\"front\":{\"Aliases\":[\"web\"],"
		"\"IPAMConfig\":"
		"{\"IPv4Address\":\"172.30.0.9\"}}}}}";
	autojson json_t *body = json_loads(text, 0, NULL);
	struct create_request create = { 0 };
	struct error err = { 0 };
	const struct pod_spec *spec;

	assert_ok(create_request_parse(body, NULL, &create, &err), err);
	spec = create.options;
	assert_int_equal(spec->network_count, 1);
	assert_string_equal(spec->networks[0].network, "front");
	assert_string_equal(spec->networks[0].aliases[0], "web");
	assert_string_equal(spec->networks[0].ipv4, "172.30.0.9");
	assert_string_equal(spec->networks[0].mac, "02:11:22:33:44:55");
	assert_int_equal(spec->port_count, 2);
	assert_string_equal(spec->ports[0].host_ip, "127.0.0.1");
	assert_int_equal(spec->ports[0].host_first, 8000);
	assert_int_equal(spec->ports[0].host_last, 8010);
	assert_int_equal(spec->ports[0].port, 80);
	assert_string_equal(spec->ports[1].protocol, "udp");
	assert_int_equal(spec->ports[1].host_first, 0);
	create_request_done(&create);
}

static void wrong_values(void **state)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
		{ "{}", "no image" },
		{ "{\"Image\":\"\"}", "no image" },
		{ "{\"Image\":7}", "Config.Image: expected a string" },
		{ "{\"Image\":\"a\",\"Env\":\"x\"}", "Config.Env" },
		{ "{\"Image\":\"a\",\"Env\":[5]}", "Config.Env" },
		{ "{\"Image\":\"a\",\"Tty\":\"yes\"}", "Config.Tty" },
		{ "{\"Image\":\"a\",\"StopSignal\":\"NONE\"}", "Invalid signal: NONE" },
		{ "{\"Image\":\"a\",\"StopTimeout\":99999999999}", "Config.StopTimeout" },
		{ "{\"Image\":\"a\",\"Volumes\":{\"relative\":{}}}", "invalid mount path" },
		{ "{\"Image\":\"a\",\"Labels\":{\"a\":5}}", "Config.Labels" },
		{ "{\"Image\":\"a\",\"Healthcheck\":{\"Test\":[\"MAYBE\"]}}", "MAYBE" },
		{ "{\"Image\":\"a\",\"Healthcheck\":{\"Interval\":5}}", "less than 1ms" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Memory\":-1}}", "HostConfig.Memory" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Memory\":1.5}}", "HostConfig.Memory" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Memory\":1000}}", "6MB" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"MemorySwap\":5}}", "Memoryswap" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Memory\":9000000,\"MemorySwap\":5}}",
		  "memoryswap" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"NanoCpus\":5}}", "CPUs" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"NanoCpus\":1000000000,\"CpuQuota\":5}}",
		  "Conflicting" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"OomScoreAdj\":1001}}", "OomScoreAdj" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Nonsense\":1}}", "HostConfig.Nonsense" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Ulimits\":[{\"Name\":\"a\",\"Soft\":3,"
		  "\"Hard\":2}]"
		  "}}",
		  "3 > 2" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"maybe\"}}}",
		  "maybe" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"on-failure:3\"}}"
		  "}",
		  "on-failure:3" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"always\","
		  "\"MaximumRetryCount\":1}}}",
		  "retry count" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"SecurityOpt\":[\"apparmor=mine\"]}}",
		  "apparmor=mine" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Runtime\":\"kata\"}}", "Unknown runtime" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Runtime\":\"hyper-kata\"}}",
		  "Unknown runtime" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Runtime\":\"hyper-qemu\"},"
		  "\"Hyper\":{\"Isolation\":\"namespace\"}}",
		  "disagree" },
		{ "{\"Image\":\"a\",\"Hyper\":{\"Hypervisor\":\"kata\"}}",
		  "\"kata\": expected auto" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Runtime\":\"vm\",\"Isolation\":\"namespace\"}"
		  "}",
		  "disagree" },
		{ "{\"Image\":\"a\",\"HostConfig\":{\"Tmpfs\":{\"/a\":\"size=x\"}}}", "size=x" },
		{ "{\"Image\":\"a\",\"Hyper\":{\"Nonsense\":1}}", "Hyper.Nonsense" },
		{ "{\"Image\":\"a\",\"Hyper\":{\"VCPUs\":1000}}", "Hyper.VCPUs" },
		{ "{\"Image\":\"a\",\"Hyper\":{\"Pod\":\"p\",\"VCPUs\":1}}", "existing pod" },
		{ "{\"Image\":\"a\",\"Hyper\":{\"Files\":[{\"Path\":\"/"
		  "a\",\"Content\":\"%%%%\"}]}}",
		  "base64" },
		{ "{\"Image\":\"a\",\"Hyper\":{\"Files\":[{\"Path\":\"a\"}]}}", "absolute" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refused(cases[i].text, ERROR_INVALID, cases[i].part);
}

static void files_are_decoded(void **state)
{
	struct create_request create;
	struct error err = { 0 };

	assert_ok(parse("{\"Image\":\"a\",\"Hyper\":{\"Files\":[{\"Path\":\"/"
			"a\",\"Content\":\"YWJjZA==\"},"
			"{\"Path\":\"/b\",\"Mode\":448}]}}",
			&create, &err),
		  err);
	assert_int_equal(create.spec->file_count, 2);
	assert_int_equal(create.spec->files[0].content_bytes, 4);
	assert_memory_equal(create.spec->files[0].content, "abcd", 4);
	assert_int_equal(create.spec->files[0].mode, 0644);
	assert_int_equal(create.spec->files[1].mode, 0700);
	assert_null(json_object_get(create.spec->docker, "Hyper"));
	create_request_done(&create);
}

static int update(const char *text, struct spec_resources *resources, struct error *err)
{
	autojson json_t *body = NULL;
	struct restart_policy restart;
	bool any, any_restart;
	int r;

	assert_int_equal(json_parse(text, strlen(text), &body, NULL), 0);
	r = update_request_parse(body, resources, &any, &restart, &any_restart, err);
	if (r == 0) {
		free(resources->cpuset_cpus);
		free(resources->cpuset_mems);
	}
	return r;
}

static void updates(void **state)
{
	struct spec_resources resources = { 0 };
	struct error err = { 0 };

	assert_ok(update("{\"Memory\":8388608,\"CpusetCpus\":\"0\",\"BlkioWeight\":0,"
			 "\"RestartPolicy\":{\"Name\":\"\"}}",
			 &resources, &err),
		  err);
	assert_int_equal(resources.memory_bytes, 8388608);
	assert_int_equal(update("{\"Privileged\":true}", &resources, &err), -EINVAL);
	assert_contains(err.message, "Privileged cannot be changed");
	assert_int_equal(update("{\"Memory\":\"x\"}", &resources, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_cli_sends),
		cmocka_unit_test(lenient_forms),
		cmocka_unit_test(what_is_not_supported_says_so),
		cmocka_unit_test(networks_become_the_pods),
		cmocka_unit_test(wrong_values),
		cmocka_unit_test(files_are_decoded),
		cmocka_unit_test(updates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
