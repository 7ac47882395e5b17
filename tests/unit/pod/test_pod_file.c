#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "hyperd/pod/spec_fields.h"

static struct pod_spec *parse(const char *text)
{
	struct pod_spec *spec = NULL;
	struct error err = { 0 };

	assert_ok(pod_file_parse(text, strlen(text), NULL, &spec, &err), err);
	return spec;
}

static const char full[] =
	"id: web\n"
	"hostname: host-1\n"
	"labels: {tier: front}\n"
	"resource:\n"
	"  vcpu: 2\n"
	"  memory: 256\n"
	"dns: [10.0.0.1]\n"
	"dnsOptions: [ndots:2]\n"
	"dnsSearch: [example.org]\n"
	"restartPolicy: on-failure:3\n"
	"log:\n"
	"  type: json-file\n"
	"  config: {max-size: 10m}\n"
	"sysctl: {net.core.somaxconn: '1024'}\n"
	"isolation: namespace\n"
	"machine: q35\n"
	"transport: disk\n"
	"files:\n"
	"  - name: motd\n"
	"    content: |\n"
	"      hello\n"
	"  - {name: bin, encoding: base64, content: AAEC, mode: '0400', user: me}\n"
	"volumes:\n"
	"  - name: data\n"
	"  - {name: host, source: /srv}\n"
	"containers:\n"
	"  - name: a\n"
	"    image: box\n"
	"    command: [sh, -c, 'exit 3']\n"
	"    entrypoint: []\n"
	"    workdir: /w\n"
	"    envs:\n"
	"      - {env: A, value: x=y}\n"
	"      - B=2\n"
	"    user: '1000:1000'\n"
	"    files:\n"
	"      - {path: /etc/motd, filename: motd}\n"
	"      - {path: /opt/, filename: bin, mode: '0755', group: staff}\n"
	"      - {path: /inline, content: x}\n"
	"    ulimits:\n"
	"      - {name: nofile, soft: 10, hard: 20}\n"
	"      - {name: core, hard: unlimited}\n"
	"    sysctl: {kernel.sem: '1 2 3 4'}\n"
	"    readOnly: true\n"
	"    stopSignal: SIGINT\n"
	"    labels: {x: 'y'}\n"
	"    tty: true\n"
	"    volumes:\n"
	"      - {volume: data, path: /data}\n"
	"      - {volume: host, path: /host, readOnly: true}\n"
	"  - image: box\n"
	"    envs: {C: '3'}\n";

static void every_field_is_read(void **state)
{
	struct pod_spec *p = parse(full);
	struct container_spec *c = p->containers[0];

	assert_string_equal(p->name, "web");
	assert_string_equal(p->hostname, "host-1");
	assert_string_equal(spec_pairs_get(p->labels, "tier"), "front");
	assert_int_equal(p->vcpus, 2);
	assert_int_equal(p->memory_bytes, 256 << 20);
	assert_string_equal(p->dns[0], "10.0.0.1");
	assert_int_equal(p->restart.max_retries, 3);
	assert_string_equal(p->log_driver, "json-file");
	assert_string_equal(spec_pairs_get(p->log_options, "max-size"), "10m");
	assert_int_equal(p->isolation, ISOLATION_NAMESPACE);
	assert_true(p->isolation_set);
	assert_string_equal(p->machine, "q35");
	assert_int_equal(p->transport, TRANSPORT_DISK);
	assert_int_equal(p->container_count, 2);
	assert_string_equal(c->name, "a");
	assert_string_equal(c->cmd[2], "exit 3");
	assert_true(c->cmd_set);
	assert_string_equal(c->env[0], "A=x=y");
	assert_string_equal(c->env[1], "B=2");
	assert_int_equal(c->file_count, 3);
	assert_string_equal(c->files[0].content, "hello\n");
	assert_int_equal(c->files[0].mode, 0644);
	assert_string_equal(c->files[1].path, "/opt/bin");
	assert_memory_equal(c->files[1].content, "\0\1\2", 3);
	assert_int_equal(c->files[1].mode, 0755);
	assert_string_equal(c->files[1].user, "0:staff");
	assert_string_equal(c->files[2].content, "x");
	assert_int_equal(c->ulimits[0].hard, 20);
	assert_int_equal(c->ulimits[1].soft, -1);
	assert_true(c->read_only);
	assert_true(c->tty);
	assert_int_equal(c->mounts[0].type, MOUNT_VOLUME);
	assert_string_equal(c->mounts[0].source, "data");
	assert_int_equal(c->mounts[1].type, MOUNT_BIND);
	assert_string_equal(c->mounts[1].source, "/srv");
	assert_true(c->mounts[1].read_only);
	assert_string_equal(p->containers[1]->env[0], "C=3");
	assert_int_equal(p->containers[1]->stop_timeout_s, -1);
	pod_spec_free(p);
}

static void json_is_as_good(void **state)
{
	struct pod_spec *p = parse(" {\"name\": \"j\", \"containers\": [{\"image\": \"box\"}]}");

	assert_string_equal(p->name, "j");
	pod_spec_free(p);
	p = parse("{}"); /* a pod without containers is legal */
	assert_int_equal(p->container_count, 0);
	pod_spec_free(p);
}

static void memory(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "64", 64ull << 20 },          { "'64'", 64ull << 20 }, { "64M", 64ull << 20 },
		{ "64MiB", 64ull << 20 },       { "1g", 1ull << 30 },    { "65536k", 64ull << 20 },
		{ "'33554432b'", 32ull << 20 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		autofree char *text = strf("resource: {memory: %s}", good[i].text);
		struct pod_spec *p = parse(text);

		assert_int_equal(p->memory_bytes, good[i].bytes);
		pod_spec_free(p);
	}
}

/* The path, the value and what was expected are in each refusal. */
static void what_is_wrong_is_told(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "", "pod file: YAML: the text is empty" },
		{ "[]", "pod file: expected an object" },
		{ "just text", "pod file: expected an object" },
		{ "{\"a\": 1,}", "pod file: JSON, line 1" },
		{ "{\"name\": \"a\", \"name\": \"b\"}", "duplicate" },
		{ "a: [", "pod file: YAML, line" },
		{ "name: x\nname: y",
		  "pod file: YAML, line 2, column 1: this name stands here twice" },
		{ "colour: red",
		  "pod file: colour: unknown field: expected one of id, name, hostname" },
		{ "containers: [{image: box, comand: [x]}]",
		  "pod file: containers[0].comand: unknown field: expected one of name, image" },
		{ "name: 7", "pod file: name: 7: expected a name" },
		{ "name: -x", "pod file: name: \"-x\": expected a name" },
		{ "{id: aa, name: bb}", "pod file: name: \"bb\": expected the same as" },
		{ "hostname: 'a b'", "pod file: hostname: \"a b\": expected a host name" },
		{ "labels: [x]", "pod file: labels: [\"x\"]: expected an object of strings" },
		{ "labels: {a: 1}", "pod file: labels.a: 1: expected a string" },
		{ "resource: {vcpu: 0}",
		  "pod file: resource.vcpu: 0: expected a whole number from 1 to 255" },
		{ "resource: {vcpu: two}", "pod file: resource.vcpu: \"two\": expected a whole" },
		{ "resource: {memory: 1}", "pod file: resource.memory: 1: expected MiB from 16" },
		{ "resource: {memory: 12x}", "pod file: resource.memory: \"12x\": expected MiB" },
		{ "resource: {memory: 99999999999999999999G}", "expected MiB" },
		{ "resource: {memory: -5}", "expected MiB" },
		{ "resource: {disk: 1}", "pod file: resource.disk: unknown field" },
		{ "resource: 7", "pod file: resource: 7: expected an object" },
		{ "tty: yes please", "pod file: tty: \"yes please\": expected true or false" },
		{ "dns: 10.0.0.1", "pod file: dns: \"10.0.0.1\": expected a list of strings" },
		{ "dns: [1]", "pod file: dns[0]: 1: expected a string" },
		{ "restartPolicy: sometimes",
		  "pod file: restartPolicy: \"sometimes\": expected no, always" },
		{ "log: {kind: x}",
		  "pod file: log.kind: unknown field: expected one of type, config" },
		{ "sysctl: {kernel.panic: '1'}", "pod file: sysctl.kernel.panic: \"1\": expected" },
		{ "isolation: jail", "pod file: isolation: \"jail\": expected \"vm\"" },
		{ "machine: pc", "pod file: machine: \"pc\": expected \"microvm\" or \"q35\"" },
		{ "transport: mule", "pod file: transport: \"mule\"" },
		{ "containers: {}", "pod file: containers: {}: expected a list" },
		{ "containers: [7]", "pod file: containers[0]: 7: expected an object" },
		{ "containers: [{}]", "pod file: containers[0]: expected an \"image\"" },
		{ "containers: [{image: ''}]", "pod file: containers[0].image: \"\": expected" },
		{ "containers: [{name: ab, image: x}, {name: ab, image: x}]",
		  "pod file: containers[1]: \"ab\": expected another name" },
		{ "containers: [{image: x, command: 'sh -c x'}]",
		  "pod file: containers[0].command: \"sh -c x\": expected a list of strings" },
		{ "containers: [{image: x, workdir: w}]",
		  "pod file: containers[0].workdir: \"w\": expected an absolute path" },
		{ "containers: [{image: x, envs: [A]}]",
		  "pod file: containers[0].envs[0]: \"A\": expected" },
		{ "containers: [{image: x, envs: [{env: A}]}]", "containers[0].envs[0]" },
		{ "containers: [{image: x, envs: {A: 1}}]",
		  "pod file: containers[0].envs.A: 1: expected a string" },
		{ "containers: [{image: x, ulimits: [{name: nofiles, soft: 1}]}]",
		  "pod file: containers[0].ulimits[0].name: \"nofiles\": expected" },
		{ "containers: [{image: x, ulimits: [{name: nofile}]}]",
		  "expected a name, and soft or hard" },
		{ "containers: [{image: x, ulimits: [{name: nofile, soft: 5, hard: 4}]}]",
		  "expected a soft limit not above the hard one" },
		{ "containers: [{image: x, stopSignal: SIGFOO}]",
		  "pod file: containers[0].stopSignal: \"SIGFOO\": expected" },
		{ "containers: [{image: x, files: [{path: /a, filename: b}]}]",
		  "pod file: containers[0].files[0]: \"b\": expected the name of one of the "
		  "pod's" },
		{ "containers: [{image: x, files: [{path: a, content: b}]}]",
		  "pod file: containers[0].files[0].path: \"a\": expected an absolute path" },
		{ "containers: [{image: x, files: [{content: b}]}]", "expected a \"path\"" },
		{ "files: [{name: a}]", "pod file: files[0]: {\"name\":\"a\"}: expected either" },
		{ "files: [{name: a, content: x, encoding: gzip}]",
		  "pod file: files[0].encoding: \"gzip\": expected" },
		{ "files: [{name: a, content: '!', encoding: base64}]",
		  "pod file: files[0]: \"!\": expected base64" },
		{ "files: [{name: a, content: x, mode: 644}]",
		  "pod file: files[0].mode: 644: expected an octal mode in quotes" },
		{ "files: [{name: a, content: x}, {name: a, content: y}]", "files[1]" },
		{ "files: [{name: a, uri: 'http://x'}]",
		  "pod file: files[0].uri: \"http://x\": expected file://PATH" },
		{ "files: [{name: a, uri: 'file:///etc/passwd'}]",
		  "pod file: files[0]: \"file:///etc/passwd\": files are read by the client" },
		{ "containers: [{image: x, volumes: [{volume: v, path: /v}]}]",
		  "pod file: containers[0].volumes[0]: \"v\": expected the name of one of the" },
		{ "volumes: [{source: /x}]",
		  "pod file: volumes[0]: {\"source\":\"/x\"}: expected a" },
		{ "? [a]\n: b", "expected a name" },
		{ "a: &x [*x]", "YAML" },
	};
	struct pod_spec *spec;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = { 0 };

		if (pod_file_parse(cases[i].text, strlen(cases[i].text), NULL, &spec, &err) == 0)
			fail_msg("'%s' was taken", cases[i].text);
		assert_int_equal(err.kind, ERROR_INVALID);
		if (!strstr(err.message, cases[i].message))
			fail_msg("'%s': '%s' does not contain '%s'", cases[i].text, err.message,
				 cases[i].message);
	}
}

static void files_of_the_client(void **state)
{
	static const char text[] = "files: [{name: f, uri: 'file://part/f.txt'}]\n"
				   "containers: [{image: x, files: [{path: /f, filename: f}]}]\n";
	char dir[] = "/tmp/hyper-test-XXXXXX";
	autofree char *path = NULL;
	struct pod_spec *spec = NULL;
	struct error err = { 0 };

	assert_non_null(mkdtemp(dir));
	path = strf("%s/part", dir);
	assert_ok(file_make_dirs(AT_FDCWD, path, 0700, &err), err);
	free(steal(path));
	path = strf("%s/part/f.txt", dir);
	assert_ok(file_write_atomic(AT_FDCWD, path, "text", 4, 0600, false, &err), err);
	assert_ok(pod_file_parse(text, strlen(text), dir, &spec, &err), err);
	assert_string_equal(spec->containers[0]->files[0].content, "text");
	pod_spec_free(spec);
	assert_true(pod_file_parse(text, strlen(text), "/nonexistent", &spec, &err) < 0);
	file_remove_tree(AT_FDCWD, dir, NULL);
}

/* Aliases that would unfold to more than memory holds, and depth without end. */
static void bombs(void **state)
{
	autostr struct str text = STR_INIT, deep = STR_INIT;
	struct pod_spec *spec;
	struct error err = { 0 };

	str_add(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 10; i++)
		str_addf(&text, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n",
			 i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1,
			 i - 1);
	assert_true(pod_file_parse(text.data, text.len, NULL, &spec, &err) < 0);
	assert_contains(err.message, "too many values");
	for (int i = 0; i < 500; i++)
		str_add(&deep, "[");
	assert_true(pod_file_parse(deep.data, deep.len, NULL, &spec, &err) < 0);
	str_clear(&deep);
	for (int i = 0; i < 500; i++)
		str_add(&deep, "{\"a\":");
	assert_true(pod_file_parse(deep.data, deep.len, NULL, &spec, &err) < 0);
	assert_contains(err.message, "nested deeper");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_is_read),
		cmocka_unit_test(json_is_as_good),
		cmocka_unit_test(memory),
		cmocka_unit_test(what_is_wrong_is_told),
		cmocka_unit_test(files_of_the_client),
		cmocka_unit_test(bombs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
