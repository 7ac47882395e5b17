#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "hyperctl/container_options.h"

static struct error err;

/* The body of "OPTIONS… IMAGE…", or NULL with the error set. */
static json_t *body_of(const char *line)
{
	struct container_options options = { 0 };
	autostrv char **words = strv_split(line, ' ');
	size_t count = strv_len(words);
	autofree char **args = calloc(count + 1, sizeof(*args));
	json_t *body = NULL;
	bool help;

	memcpy(args, words, count * sizeof(*args));
	error_clear(&err);
	if (options_parse(container_option_table, &options, args, false, &help, &err) == 0)
		container_body(&options, args, true, &body, &err);
	options_done(container_option_table, &options);
	return body;
}

static void expect(const char *line, const char *path, const char *json)
{
	autojson json_t *body = body_of(line), *expected = NULL;
	autostrv char **keys = strv_split(path, '.');
	json_t *value = body;
	autofree char *text = NULL;

	if (!body)
		fail_msg("%s: %s", line, err.message);
	strv_for_each(key, keys)
		value = json_object_get(value, *key);
	expected = json_loads(json, JSON_DECODE_ANY, NULL);
	text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("nothing");
	if (!json_equal(value, expected))
		fail_msg("%s: %s is %s, not %s", line, path, text, json);
}

static void refused(const char *line, const char *message)
{
	autojson json_t *body = body_of(line);

	if (body)
		fail_msg("%s was taken", line);
	assert_contains(err.message, message);
}

static void translates(void **state)
{
	setenv("FROM_HERE", "yes", 1);
	unsetenv("NOT_HERE");
	expect("img", "Image", "\"img\"");
	expect("img sh -c x", "Cmd", "[\"sh\", \"-c\", \"x\"]");
	expect("-it img", "OpenStdin", "true");
	expect("-it img", "StdinOnce", "true");
	expect("-t img", "OpenStdin", "false");
	expect("-e A=1 -e FROM_HERE -e NOT_HERE -e B= img", "Env",
	       "[\"A=1\", \"FROM_HERE=yes\", \"B=\"]");
	expect("-l a=b -l c img", "Labels", "{\"a\": \"b\", \"c\": \"\"}");
	expect("--entrypoint x img", "Entrypoint", "[\"x\"]");
	expect("--entrypoint= img", "Entrypoint", "[\"\"]");
	expect("-w /x -u 1:2 -h h img", "Hostname", "\"h\"");
	expect("-m 300m img", "HostConfig.Memory", "314572800");
	expect("--cpus 1.5 img", "HostConfig.NanoCpus", "1500000000");
	expect("--ulimit nofile=10:20 --ulimit core=0 --ulimit nproc=unlimited img",
	       "HostConfig.Ulimits",
	       "[{\"Name\":\"nofile\",\"Soft\":10,\"Hard\":20},{\"Name\":\"core\",\"Soft\":0,"
	       "\"Hard\":0},"
	       "{\"Name\":\"nproc\",\"Soft\":-1,\"Hard\":-1}]");
	expect("--sysctl a.b=1 img", "HostConfig.Sysctls", "{\"a.b\": \"1\"}");
	expect("--restart on-failure:3 img", "HostConfig.RestartPolicy",
	       "{\"Name\": \"on-failure\", \"MaximumRetryCount\": 3}");
	expect("img", "HostConfig.RestartPolicy", "{\"Name\": \"no\", \"MaximumRetryCount\": 0}");
	expect("--tmpfs /run --tmpfs /t:size=1m,ro img", "HostConfig.Tmpfs",
	       "{\"/run\": \"\", \"/t\": \"size=1m,ro\"}");
	expect("-v /a:/b:ro -v data:/d -v /anon img", "HostConfig.Binds",
	       "[\"/a:/b:ro\", \"data:/d\"]");
	expect("-v /a:/b:ro -v data:/d -v /anon img", "Volumes", "{\"/anon\": {}}");
	expect("--volumes-from a --volumes-from b:ro img", "HostConfig.VolumesFrom",
	       "[\"a\", \"b:ro\"]");
	expect("--mount type=bind,src=/a,dst=/b,ro,bind-propagation=rslave img",
	       "HostConfig.Mounts",
	       "[{\"Type\":\"bind\",\"Source\":\"/a\",\"Target\":\"/b\",\"ReadOnly\":true,"
	       "\"BindOptions\":{\"Propagation\":\"rslave\"}}]");
	expect("--mount source=v,target=/v,volume-opt=a=b=c,volume-nocopy img", "HostConfig.Mounts",
	       "[{\"Type\":\"volume\",\"Source\":\"v\",\"Target\":\"/v\",\"VolumeOptions\":{"
	       "\"NoCopy\":true,\"DriverConfig\":{\"Name\":\"\",\"Options\":{\"a\":\"b=c\"}}}}]");
	expect("--mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700 img", "HostConfig.Mounts",
	       "[{\"Type\":\"tmpfs\",\"Target\":\"/t\",\"TmpfsOptions\":{\"SizeBytes\":1048576,"
	       "\"Mode\":448}}]");
	expect("--log-driver json-file --log-opt max-size=1m img", "HostConfig.LogConfig",
	       "{\"Type\": \"json-file\", \"Config\": {\"max-size\": \"1m\"}}");
	expect("--rm --read-only --privileged --init img", "HostConfig.AutoRemove", "true");
	expect("--read-only img", "HostConfig.ReadonlyRootfs", "true");
	expect("--init img", "HostConfig.Init", "true");
	expect("--cap-add A --cap-drop B --cap-drop C img", "HostConfig.CapDrop", "[\"B\", \"C\"]");
	expect("--stop-timeout 0 img", "StopTimeout", "0");
	expect("--pids-limit -1 img", "HostConfig.PidsLimit", "-1");
	expect("--dns 1.1.1.1 --dns-opt x --dns-option y img", "HostConfig.DnsOptions",
	       "[\"x\", \"y\"]");
	expect("--add-host a:1.2.3.4 img", "HostConfig.ExtraHosts", "[\"a:1.2.3.4\"]");
	expect("--isolation vm --vcpus 2 --machine q35 --transport disk img", "Hyper",
	       "{\"Isolation\":\"vm\",\"Machine\":\"q35\",\"Transport\":\"disk\",\"VCPUs\":2}");
	expect("--pod web img", "Hyper.Pod", "\"web\"");
	expect("--security-opt seccomp=unconfined --security-opt no-new-privileges img",
	       "HostConfig.SecurityOpt", "[\"seccomp=unconfined\", \"no-new-privileges\"]");
}

static void leaves_out_what_was_not_said(void **state)
{
	autojson json_t *body = body_of("img");
	json_t *host = json_object_get(body, "HostConfig");

	assert_non_null(body);
	assert_null(json_object_get(body, "Hyper"));
	assert_null(json_object_get(body, "Cmd"));
	assert_null(json_object_get(body, "Entrypoint"));
	assert_null(json_object_get(body, "StopTimeout"));
	assert_null(json_object_get(host, "Memory"));
	assert_null(json_object_get(host, "PidsLimit"));
	assert_null(json_object_get(host, "Init"));
}

static void refuses(void **state)
{
	refused("--mount type=bind,src=/a img", "target is required");
	refused("--mount nonsense=1,dst=/a img", "unexpected key 'nonsense'");
	refused("--mount src=,dst=/a img", "'src': expected a value");
	refused("-e =1 img", "'=1': expected KEY=VALUE");
	refused("--ulimit nofile img", "'nofile'");
	refused("--ulimit nofile=20:10 img", "above the hard one");
	refused("--ulimit nofile=x img", "'nofile=x'");
	refused("--sysctl a img", "--sysctl 'a'");
	refused("--log-opt a img", "--log-opt 'a'");
	refused("--restart on-failure:x img", "--restart 'on-failure:x'");
	refused("--security-opt seccomp=/does/not/exist img", "/does/not/exist");
	refused("--env-file /does/not/exist img", "/does/not/exist");
	refused("--label =x img", "--label '=x'");
}

static void reads_env_files(void **state)
{
	char path[] = "/tmp/hyperctl-test-env-XXXXXX";
	autofree char *line = NULL;
	FILE *f = fdopen(mkstemp(path), "w");

	fputs("# comment\nA=1\n\n  B=two words \r\nFROM_HERE\n", f);
	fclose(f);
	setenv("FROM_HERE", "x", 1);
	line = strf("--env-file %s -e A=2 img", path);
	expect(line, "Env", "[\"A=1\", \"B=two words \", \"FROM_HERE=x\", \"A=2\"]");
	f = fopen(path, "w");
	fputs("A=1\nB C=1\n", f);
	fclose(f);
	refused(line, "line 2");
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(translates),
		cmocka_unit_test(leaves_out_what_was_not_said),
		cmocka_unit_test(refuses),
		cmocka_unit_test(reads_env_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
