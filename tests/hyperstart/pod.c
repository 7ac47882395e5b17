#include "tests/hyperstart/pod.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/process.h"
#include "base/task.h"
#include "hyperd/cgroup/cgroup.h"
#include "hyperd/sandbox/namespace_launch.h"

#define SKIP_CODE   77
#define LISTEN_FD   3
#define GROUP_NAME  "pod"
#define BUSYBOX     "/bin/busybox"
#define DEADLINE_MS 20000
/* Docker's default set. */
#define DEFAULT_CAPABILITIES 0xa80425fbull

static const char *program;
static bool vm;
static bool dynamic; /* a sanitizer's build: needs the host's libraries in its root */

static const char *const applets[] = {
	"sh",    "cat",   "echo",     "ls",       "id",      "env",    "sleep",  "dd",
	"mkdir", "rm",    "stat",     "kill",     "ps",      "mount",  "umount", "touch",
	"ln",    "head",  "wc",       "tr",       "grep",    "stty",   "seq",    "yes",
	"true",  "false", "hostname", "mknod",    "chmod",   "chown",  "awk",    "cut",
	"sort",  "find",  "printf",   "readlink", "test",    "expr",   "sed",    "tail",
	"df",    "pwd",   "md5sum",   "nice",     "timeout", "mkfifo",
};

/* ------------------------------------------------------------------ whether it can be */

static void skip_all(const char *why)
{
	dprintf(STDERR_FILENO, "SKIPPED: %s\n", why);
	exit(SKIP_CODE);
}

static bool is_dynamic(const char *path)
{
	autofree char *data = NULL;
	size_t len;

	return file_read(AT_FDCWD, path, 64u << 20, &data, &len, NULL) == 0 &&
	       memmem(data, len < 4096 ? len : 4096, "ld-linux", 8);
}

static struct test_pod *current;

/* Told to end (a timeout): what lives outside this process goes first. */
static void interrupted(int sig)
{
	if (current)
		test_pod_stop(current);
	_exit(128 + sig);
}

void test_pod_init(int argc, char **argv)
{
	if (argc < 2) {
		dprintf(STDERR_FILENO, "usage: %s HYPERSTART [TEST-PATTERN]\n", argv[0]);
		exit(2);
	}
	program = argv[1];
	vm = str_starts(program, "vm:");
	dynamic = !vm && is_dynamic(program);
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	if (geteuid() != 0)
		skip_all("namespace pods need root");
	if (access(BUSYBOX, X_OK) < 0)
		skip_all("no static busybox at " BUSYBOX);
	if (vm && test_vm_init(program + 3))
		skip_all(test_vm_init(program + 3));
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, interrupted);
	signal(SIGINT, interrupted);
}

/* ------------------------------------------------------------------ control groups */

struct host_groups {
	struct loop *loop;
	struct cgroup_host *host;
	struct cgroup *cgroup;
	Hyper__KeyValue values[CGROUP_HIERARCHIES], *list[CGROUP_HIERARCHIES];
	char *sources[CGROUP_HIERARCHIES]; /* owned, as the keys and values are */
	size_t count;
	struct error err;
};

static int add_group(const char *controllers, const char *path, void *arg)
{
	struct host_groups *g = arg;
	size_t i = g->count++;

	hyper__key_value__init(&g->values[i]);
	g->values[i].key = strdup(controllers);
	g->values[i].value = strf("/" NAMESPACE_CGROUPS "/%zu", i);
	g->sources[i] = strdup(path);
	g->list[i] = &g->values[i];
	return 0;
}

static struct host_groups *groups_new(void)
{
	struct host_groups *g = calloc(1, sizeof(*g));
	autofree char *parent = strf("/hyper-test-%d", (int)getpid());
	struct cgroup_limits none = { 0 };

	assert_ok(loop_new(&g->loop, &g->err), g->err);
	assert_ok(cgroup_host_open(parent, &g->host, &g->err), g->err);
	assert_ok(cgroup_new(g->host, GROUP_NAME, true, &none, &g->cgroup, &g->err), g->err);
	assert_int_equal(cgroup_delegated_each(g->cgroup, add_group, g), 0);
	return g;
}

static void destroy(void *arg)
{
	struct host_groups *g = arg;

	if (cgroup_destroy(g->cgroup, deadline_in_ms(DEADLINE_MS), &g->err) < 0)
		dprintf(STDERR_FILENO, "removing control groups: %s\n", g->err.message);
	loop_stop(g->loop);
}

static void groups_free(struct host_groups *g)
{
	if (task_spawn(g->loop, "destroy", destroy, g, NULL, &g->err) == 0)
		loop_run(g->loop, &g->err);
	cgroup_free(g->cgroup);
	cgroup_host_remove(g->host);
	cgroup_host_free(g->host);
	loop_free(g->loop);
	for (size_t i = 0; i < g->count; i++) {
		free(g->values[i].key);
		free(g->values[i].value);
		free(g->sources[i]);
	}
	free(g);
}

/* ------------------------------------------------------------------ the pod's files */

char *test_pod_path(const struct test_pod *pod, const char *name)
{
	char *path = strf("%s/%s", pod->dir, name);

	assert_non_null(path);
	return path;
}

static void make_dir(const char *parent, const char *name)
{
	autofree char *path = strf("%s/%s", parent, name);
	struct error err = { 0 };

	assert_ok(file_make_dirs(AT_FDCWD, path, 0755, &err), err);
}

static void write_text(const char *parent, const char *name, const char *text, mode_t mode)
{
	autofree char *path = strf("%s/%s", parent, name);
	struct error err = { 0 };

	assert_ok(file_write_atomic(AT_FDCWD, path, text, strlen(text), mode, false, &err), err);
	assert_int_equal(chmod(path, mode), 0);
}

static void make_busybox_layer(const char *layer)
{
	static const char *const dirs[] = { "bin", "etc", "tmp", "home/user", "data" };
	autofree char *program_path = strf("%s/bin/busybox", layer), *data = NULL;
	struct error err = { 0 };
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		make_dir(layer, dirs[i]);
	assert_ok(file_read(AT_FDCWD, BUSYBOX, 16u << 20, &data, &len, &err), err);
	assert_ok(file_write_atomic(AT_FDCWD, program_path, data, len, 0755, false, &err), err);
	for (size_t i = 0; i < ARRAY_SIZE(applets); i++) {
		autofree char *link = strf("%s/bin/%s", layer, applets[i]);

		assert_int_equal(symlink("busybox", link), 0);
	}
	write_text(layer, "etc/passwd",
		   "root:x:0:0:root:/root:/bin/sh\n"
		   "user:x:1000:1000:A User:/home/user:/bin/sh\n",
		   0644);
	write_text(layer, "etc/group", "root:x:0:\nuser:x:1000:\nwheel:x:10:root,user\ndisk:x:6:\n",
		   0644);
	write_text(layer, "etc/secret", "keep out\n", 0600);
	write_text(layer, "data/from-image", "image\n", 0644);
	write_text(layer, "bin/not-executable", "#!/bin/sh\n", 0644);
	write_text(layer, "bin/no-interpreter", "#!/bin/nothing\n", 0755);
}

/* ------------------------------------------------------------------ starting it */

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int seal_program(void)
{
	int fd = memfd_create("hyperstart", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	autofree char *data = NULL;
	struct error err = { 0 };
	size_t len;

	assert_ok(file_read(AT_FDCWD, program, 64u << 20, &data, &len, &err), err);
	assert_int_equal(fd_write_all(fd, data, len), 0);
	assert_int_equal(fchmod(fd, 0500), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS,
			       F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL),
			 0);
	return fd;
}

static void launch(struct test_pod *pod, int listen_fd)
{
	static const char *const argv[] = { "hyperstart", "--listen", "3", NULL };
	struct host_groups *g = pod->groups;
	autofree char *jail = test_pod_path(pod, "jail"), *disk = test_pod_path(pod, "disk"),
		      *layers = test_pod_path(pod, "layers");
	struct namespace_bind binds[CGROUP_HIERARCHIES + 4] = {
		{ .source = disk, .target = NAMESPACE_DISK },
		{ .source = layers, .target = NAMESPACE_LAYERS, .read_only = true },
	};
	struct process_fd fds[] = { { listen_fd, LISTEN_FD }, { STDERR_FILENO, STDERR_FILENO } };
	struct namespace_launch l = { .jail_dir = jail, .binds = binds, .argv = argv };
	struct process_options options = { .argv = argv,
					   .fds = fds,
					   .fd_count = ARRAY_SIZE(fds),
					   .setup = namespace_enter,
					   .setup_arg = &l,
					   .clone_flags = namespace_clone_flags(false) };
	struct cgroup_joining joining;
	struct process process;
	struct error err = { 0 };

	l.bind_count = 2;
	for (size_t i = 0; i < g->count; i++) {
		struct namespace_bind *b = &binds[l.bind_count++];

		b->source = g->sources[i];
		snprintf(b->target, sizeof(b->target), "%s", g->values[i].value + 1);
	}
	if (dynamic) {
		binds[l.bind_count++] = (struct namespace_bind){ "/lib", "lib", true };
		binds[l.bind_count++] = (struct namespace_bind){ "/lib64", "lib64", true };
	}
	l.program_fd = seal_program();
	assert_ok(cgroup_joining_open(g->cgroup, &joining, &err), err);
	l.joining = &joining;
	options.cgroup_fd = joining.birth_fd;
	assert_ok(process_spawn(&options, &process, &err), err);
	assert_int_equal(cgroup_join_late(&joining, process.pid), 0);
	cgroup_joining_close(&joining);
	pod->pid = process.pid;
	close(process.pidfd);
	close(l.program_fd);
}

static void set_up(struct test_pod *pod)
{
	Hyper__PodSetup setup = HYPER__POD_SETUP__INIT;
	Hyper__CgroupRoot root = HYPER__CGROUP_ROOT__INIT;
	Hyper__DiskSetup disk = HYPER__DISK_SETUP__INIT;

	setup.hostname = "testpod";
	setup.loopback = true;
	setup.machine_id = "0123456789abcdef0123456789abcdef";
	setup.cgroup = &root;
	root.unified = cgroup_is_unified(pod->groups->host);
	root.directories = pod->groups->list;
	root.n_directories = pod->groups->count;
	client_ok(&pod->client, REQUEST(pod_setup, POD_SETUP, &setup));
	disk.directory = "/" NAMESPACE_DISK;
	client_ok(&pod->client, REQUEST(disk_setup, DISK_SETUP, &disk));
}

bool test_pod_is_vm(void)
{
	return vm;
}

void test_pod_add_layer(struct test_pod *pod, const char *name)
{
	Hyper__LayerAdd add = HYPER__LAYER_ADD__INIT;
	autofree char *directory = strf("/" NAMESPACE_LAYERS "/%s", name);

	if (vm) {
		test_vm_add_layer(pod, name);
		return;
	}
	add.digest = (char *)name;
	add.source_case = HYPER__LAYER_ADD__SOURCE_DIRECTORY;
	add.directory = directory;
	client_ok(&pod->client, REQUEST(layer_add, LAYER_ADD, &add));
}

struct test_pod *test_pod_start(void)
{
	static const char *const dirs[] = { "jail", "disk", "layers" };
	struct test_pod *pod = calloc(1, sizeof(*pod));
	char template[] = "/tmp/hyper-test-init.XXXXXX";
	autofree char *layer = NULL;
	int listen_fd;

	assert_non_null(pod);
	current = pod;
	pod->client.fd = -1;
	pod->dir = strdup(mkdtemp(template));
	/* An overlay's upper directory cannot be on another overlay, as /tmp may be. */
	assert_int_equal(mount("test", pod->dir, "tmpfs", 0, "mode=755"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		make_dir(pod->dir, dirs[i]);
	layer = test_pod_path(pod, "layers/" LAYER);
	make_busybox_layer(layer);
	pod->socket = test_pod_path(pod, "agent.sock");
	if (vm) {
		test_vm_launch(pod);
		client_connect(&pod->client, pod->socket, false);
		test_vm_set_up(pod);
		return pod;
	}
	pod->groups = groups_new();
	listen_fd = listen_at(pod->socket);
	launch(pod, listen_fd);
	close(listen_fd);
	client_connect(&pod->client, pod->socket, false);
	set_up(pod);
	test_pod_add_layer(pod, LAYER);
	return pod;
}

int test_pod_wait(struct test_pod *pod)
{
	int status;

	assert_int_equal(waitpid(pod->pid, &status, 0), pod->pid);
	pod->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void test_pod_stop(struct test_pod *pod)
{
	if (!pod)
		return;
	if (pod->client.mux)
		client_done(&pod->client);
	if (pod->pid > 0) {
		kill(pod->pid, SIGKILL);
		waitpid(pod->pid, NULL, 0);
	}
	if (pod->groups)
		groups_free(pod->groups);
	umount2(pod->dir, MNT_DETACH);
	rmdir(pod->dir);
	free(pod->dir);
	free(pod->socket);
	free(pod);
	current = NULL;
}

int test_pod_setup(void **state)
{
	*state = test_pod_start();
	return 0;
}

int test_pod_teardown(void **state)
{
	test_pod_stop(current);
	return 0;
}

/* ------------------------------------------------------------------ containers */

void spec_args(struct spec *s, const char *id, const char *const *args)
{
	memset(s, 0, sizeof(*s));
	hyper__container_create__init(&s->create);
	hyper__process__init(&s->process);
	hyper__capabilities__init(&s->capabilities);
	hyper__limits__init(&s->limits);
	s->create.id = (char *)id;
	s->layers[0] = LAYER;
	s->create.layers = s->layers;
	s->create.n_layers = 1;
	s->create.process = &s->process;
	s->create.limits = &s->limits;
	s->process.args = s->args;
	for (; *args; args++)
		s->args[s->process.n_args++] = (char *)*args;
	s->process.capabilities = &s->capabilities;
	s->capabilities.bounding = s->capabilities.effective = s->capabilities.permitted =
		DEFAULT_CAPABILITIES;
}

void spec_shell(struct spec *s, const char *id, const char *script)
{
	const char *const args[] = { "sh", "-c", script, NULL };

	spec_args(s, id, args);
}

void container_create(struct test_pod *pod, struct spec *s)
{
	client_ok(&pod->client, REQUEST(container_create, CONTAINER_CREATE, &s->create));
}

void container_create_fails(struct test_pod *pod, struct spec *s, enum error_kind kind,
			    const char *part)
{
	client_fails(&pod->client, REQUEST(container_create, CONTAINER_CREATE, &s->create), kind,
		     part);
}

static void open_streams(struct running *r, struct test_pod *pod, Hyper__ProcessStreams *streams)
{
	memset(r, 0, sizeof(*r));
	r->pod = pod;
	client_stream_open(&r->in, &pod->client);
	client_stream_open(&r->out, &pod->client);
	client_stream_open(&r->err, &pod->client);
	hyper__process_streams__init(streams);
	streams->stdin = r->in.id;
	streams->stdout = r->out.id;
	streams->stderr = r->err.id;
}

void container_start(struct test_pod *pod, const char *id, struct running *ret)
{
	Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
	Hyper__ProcessStreams streams;

	open_streams(ret, pod, &streams);
	ret->id = id;
	ret->exec = "";
	start.id = (char *)id;
	start.streams = &streams;
	client_ok(&pod->client, REQUEST(container_start, CONTAINER_START, &start));
}

void container_run(struct test_pod *pod, struct spec *s, struct running *ret)
{
	container_create(pod, s);
	container_start(pod, s->create.id, ret);
}

void container_exec(struct test_pod *pod, const char *id, const char *exec,
		    const Hyper__Process *process, struct running *ret)
{
	Hyper__ContainerExec e = HYPER__CONTAINER_EXEC__INIT;
	Hyper__ProcessStreams streams;

	open_streams(ret, pod, &streams);
	ret->id = id;
	ret->exec = exec;
	e.container = (char *)id;
	e.exec = (char *)exec;
	e.process = (Hyper__Process *)process;
	e.streams = &streams;
	client_ok(&pod->client, REQUEST(container_exec, CONTAINER_EXEC, &e));
}

void running_close(struct running *r)
{
	client_stream_close(&r->in);
	client_stream_close(&r->out);
	client_stream_close(&r->err);
}

uint32_t running_finish(struct running *r, char **ret_out)
{
	uint32_t code = client_exit(&r->pod->client, r->id, r->exec);

	client_stream_wait_eof(&r->out);
	client_stream_wait_eof(&r->err);
	str_append(&r->out.data, str_text(&r->err.data), r->err.data.len);
	if (ret_out) {
		*ret_out = r->out.data.len ? str_steal(&r->out.data) : strdup("");
		assert_non_null(*ret_out);
	}
	running_close(r);
	return code;
}

void container_delete(struct test_pod *pod, const char *id)
{
	Hyper__ContainerDelete d = HYPER__CONTAINER_DELETE__INIT;

	d.id = (char *)id;
	d.disk = true;
	client_ok(&pod->client, REQUEST(container_delete, CONTAINER_DELETE, &d));
}

char *container_output(struct test_pod *pod, struct spec *s, uint32_t code)
{
	struct running r;
	char *out;
	uint32_t got;

	container_run(pod, s, &r);
	got = running_finish(&r, &out);
	if (got != code)
		fail_msg("'%s' ended with %u, expected %u; it said: %s", s->create.id, got, code,
			 out);
	container_delete(pod, s->create.id);
	return out;
}

char *shell_output(struct test_pod *pod, const char *id, const char *script)
{
	struct spec s;

	spec_shell(&s, id, script);
	return container_output(pod, &s, 0);
}

void signal_process(struct test_pod *pod, const char *id, const char *exec, int signal, bool all)
{
	Hyper__ProcessSignal s = HYPER__PROCESS_SIGNAL__INIT;

	s.container = (char *)id;
	s.exec = (char *)exec;
	s.signal = (uint32_t)signal;
	s.all = all;
	client_ok(&pod->client, REQUEST(process_signal, PROCESS_SIGNAL, &s));
}
