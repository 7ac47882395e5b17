/* Images and containers that attack: threats 10 to 16, 19 and 21. Each gets a clear error or sees
 * nothing, and nothing outside its root changes. */
#include "tests/hyperstart/pod.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static struct test_pod *pod_of(void **state)
{
	return *state;
}

/* A layer over busybox's whose PATH is a link to TARGET. */
static void layer_with_link(struct test_pod *pod, const char *name, const char *path,
			    const char *target)
{
	autofree char *link = strf("%s/layers/%s/%s", pod->dir, name, path), *parent = strdup(link);
	struct error err = { 0 };

	*strrchr(parent, '/') = '\0';
	assert_ok(file_make_dirs(AT_FDCWD, parent, 0755, &err), err);
	assert_int_equal(symlink(target, link), 0);
	test_pod_add_layer(pod, name);
}

static void use_layer(struct spec *s, const char *name)
{
	s->layers[1] = (char *)name;
	s->create.n_layers = 2;
}

/* 10: what the standard mounts go to must be plain directories. */
static void linked_mount_points(void **state)
{
	static const struct {
		const char *name, *path, *target;
	} cases[] = {
		{ "linkproc", "proc", "/tmp" },
		{ "linkdev", "dev", "/etc" },
		{ "linksys", "sys", "../../../../etc" },
		{ "linkpts", "dev", "data" },
	};
	struct test_pod *pod = pod_of(state);
	struct spec s;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		layer_with_link(pod, cases[i].name, cases[i].path, cases[i].target);
		spec_shell(&s, cases[i].name, "true");
		use_layer(&s, cases[i].name);
		container_create_fails(pod, &s, ERROR_INVALID, "symbolic link");
	}
	/* The pod lives on. */
	free(shell_output(pod, "linked", "true"));
}

/* 10: nothing goes over /proc, not even through a link of the image's. */
static void mounts_on_proc(void **state)
{
	static const char *const paths[] = { "/proc",   "/proc/self", "/proc/sys/kernel",
					     "/detour", "//proc/.",   "/data/../proc" };
	struct test_pod *pod = pod_of(state);
	Hyper__Mount m = HYPER__MOUNT__INIT, *mounts[] = { &m };
	struct spec s;

	layer_with_link(pod, "detour", "detour", "/proc/1");
	m.type = "tmpfs";
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		m.destination = (char *)paths[i];
		spec_shell(&s, "onproc", "true");
		use_layer(&s, "detour");
		s.create.mounts = mounts;
		s.create.n_mounts = 1;
		container_create_fails(pod, &s, ERROR_INVALID, "/proc");
		s.create.n_mounts = 0;
		s.create.volumes = (char *[]){ (char *)paths[i] };
		s.create.n_volumes = 1;
		container_create_fails(pod, &s, ERROR_INVALID, "/proc");
	}
}

/* 11: links in the image on the way to a mount point lead nowhere but into the container. */
static void mount_points_through_links(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__Mount m = HYPER__MOUNT__INIT, *mounts[] = { &m };
	autofree char *outside = test_pod_path(pod, "disk/outside"), *out = NULL;
	struct error err = { 0 };
	struct spec s;

	NEEDS_NAMESPACE_POD("the disk's files are made by the test");
	assert_ok(file_make_dirs(AT_FDCWD, outside, 0755, &err), err);
	layer_with_link(pod, "upward", "way", "../../../../../disk/outside");
	m.type = "bind";
	m.source = "/disk/outside";
	m.destination = "/way/in";
	spec_shell(&s, "through", "touch /way/in/file; ls /disk/outside/in; ls /disk/outside");
	use_layer(&s, "upward");
	s.create.mounts = mounts;
	s.create.n_mounts = 1;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "file\nin\n");
	free(steal(out));
	out = strf("%s/file", outside);
	assert_int_equal(access(out, F_OK), 0); /* through the mount, and only there */
	free(steal(out));
	out = strf("%s/in", outside);
	assert_int_equal(access(out, F_OK), -1);
}

/* 11: the agent's own files over the image's: a link at /etc/hosts must not lead out. */
static void linked_etc_files(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *out = NULL;
	struct spec s;

	layer_with_link(pod, "etchosts", "etc/hosts", "/run/hyper/../../../../etc/passwd");
	spec_shell(&s, "etclink", "cat /etc/hosts; head -n 1 /etc/passwd");
	use_layer(&s, "etchosts");
	s.create.hosts = "127.0.0.1 mine\n";
	/* The link's own target: inside the container, where it is made. */
	out = container_output(pod, &s, 0);
	assert_contains(out, "127.0.0.1 mine");
}

/* 12: the working directory is no way to a descriptor of the agent's. */
static void working_directory_of_a_descriptor(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
	char cwd[64];
	struct spec s;

	layer_with_link(pod, "cwdlink", "way-out", "/proc/self/fd/3");
	for (int fd = 0; fd < 24; fd++) {
		Hyper__Envelope *e;

		if (fd)
			snprintf(cwd, sizeof(cwd), "/proc/self/fd/%d", fd);
		else
			strcpy(cwd, "/way-out");
		spec_shell(&s, "cwd", "pwd; ls");
		use_layer(&s, "cwdlink");
		s.process.cwd = cwd;
		container_create(pod, &s);
		start.id = "cwd";
		e = client_call(&pod->client, REQUEST(container_start, CONTAINER_START, &start));
		if (!e->reply->failure)
			fail_msg("started in %s", cwd);
		assert_contains(e->reply->failure->message, "working directory");
		hyper__envelope__free_unpacked(e, NULL);
		container_delete(pod, "cwd");
	}
}

/* 13: /proc/PID/exe of whatever can be seen is never a program of ours that can be written. */
static void program_cannot_be_overwritten(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running main_process, r;
	autofree char *out = NULL;
	struct spec s;

	spec_shell(&s, "overwrite",
		   "while :; do for p in /proc/[0-9]*; do "
		   "if (: >> $p/exe) 2>/dev/null; then echo WRITTEN $p; exit 1; fi; "
		   "case $(readlink $p/exe) in *hyperstart*) "
		   "grep -q Agent $p/environ 2>/dev/null; (cat $p/mem >/dev/null) 2>/dev/null && "
		   "echo READ $p;; esac; done; test -e /stop && exit 0; done");
	/* With every capability that the agent has itself, CAP_SYS_PTRACE included. */
	s.capabilities.bounding = s.capabilities.effective = s.capabilities.permitted = UINT64_MAX;
	s.create.init_process = true;
	container_run(pod, &s, &main_process);
	for (int i = 0; i < 30; i++) {
		Hyper__Process process = HYPER__PROCESS__INIT;
		char *args[] = { "true" }, exec[16];

		process.args = args;
		process.n_args = 1;
		snprintf(exec, sizeof(exec), "e%d", i);
		container_exec(pod, "overwrite", exec, &process, &r);
		assert_int_equal(running_finish(&r, NULL), 0);
	}
	spec_shell(&s, "-", "touch /stop");
	container_exec(pod, "overwrite", "stop", &s.process, &r);
	assert_int_equal(running_finish(&r, NULL), 0);
	assert_int_equal(running_finish(&main_process, &out), 0);
	assert_null(strstr(out, "WRITTEN"));
	container_delete(pod, "overwrite");
}

/* 15: passwd and group files that are anything but. */
static void hostile_user_files(void **state)
{
	static const struct {
		const char *name, *make, *user, *part;
	} cases[] = {
		{ "fifo", "rm /etc/passwd; mkfifo /etc/passwd", "user", "no regular file" },
		{ "dir", "rm /etc/passwd; mkdir /etc/passwd", "user", "" },
		{ "huge", "head -c 5000000 /dev/zero > /etc/passwd", "user", "larger than" },
		{ "binary", "head -c 100000 /dev/urandom > /etc/passwd", "user", "unable to find" },
		{ "device", "rm /etc/passwd; ln -s /dev/zero /etc/passwd", "user",
		  "no regular file" },
		{ "loop", "rm /etc/passwd; ln -s passwd /etc/passwd", "user",
		  "opening the container's '/etc/passwd'" },
		{ "colons", "echo ':::::::::::' > /etc/passwd; echo 'user' >> /etc/passwd", "user",
		  "unable to find" },
		{ "numbers", "echo 'user:x:99999999999:-1::/:' > /etc/passwd", "user",
		  "unable to find" },
		{ "negative", "true", "-1", "unable to find" },
		{ "overflow", "true", "4294967296", "unable to find" },
		{ "nogroup", "true", "user:nothing", "unable to find group" },
	};
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerExec e = HYPER__CONTAINER_EXEC__INIT;
	struct running main_process, r;
	struct spec s;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		spec_shell(&s, "userfiles", "exec sleep 1000");
		container_run(pod, &s, &main_process);
		spec_shell(&s, "-", cases[i].make);
		container_exec(pod, "userfiles", "make", &s.process, &r);
		assert_int_equal(running_finish(&r, NULL), 0);
		spec_shell(&s, "-", "true");
		s.process.user = (char *)cases[i].user;
		e.container = "userfiles";
		e.exec = "as";
		e.process = &s.process;
		{
			uint32_t id = client_post(&pod->client,
						  REQUEST(container_exec, CONTAINER_EXEC, &e));
			Hyper__Envelope *reply = client_reply(&pod->client, id);

			if (!reply->reply->failure)
				fail_msg("%s: ran", cases[i].name);
			assert_contains(reply->reply->failure->message, cases[i].part);
			hyper__envelope__free_unpacked(reply, NULL);
		}
		running_close(&main_process);
		container_delete(pod, "userfiles");
	}
}

/* 15: HOME and the shell of a hostile file are only words. */
static void hostile_home(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *out = NULL;
	struct running main_process, r;
	struct spec s;

	spec_shell(&s, "home", "exec sleep 1000");
	container_run(pod, &s, &main_process);
	spec_shell(&s, "-", "echo 'evil:x:0:0::/proc/self/fd/3:/proc/self/exe' > /etc/passwd");
	container_exec(pod, "home", "make", &s.process, &r);
	assert_int_equal(running_finish(&r, NULL), 0);
	spec_shell(&s, "-", "echo $HOME; pwd");
	s.process.user = "evil";
	container_exec(pod, "home", "as", &s.process, &r);
	assert_int_equal(running_finish(&r, &out), 0);
	assert_string_equal(out, "/proc/self/fd/3\n/\n");
	running_close(&main_process);
	container_delete(pod, "home");
}

/* 18 and 11 for FileWrite: paths through links, /proc and pipes. */
static void file_writes_stay_inside(void **state)
{
	struct test_pod *pod = pod_of(state);
	static const char *const links[][2] = {
		{ "up", "../../../../../../tmp" },
		{ "magic", "/proc/self/root" },
		{ "agent", "/proc/1/root/disk" },
	};
	Hyper__FileWrite f = HYPER__FILE_WRITE__INIT;
	struct running main_process, r;
	autofree char *out = NULL;
	struct spec s;

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		autofree char *name = strf("write-%s", links[i][0]);

		layer_with_link(pod, name, links[i][0], links[i][1]);
	}
	spec_shell(&s, "writes", "mkfifo /pipe; echo ready; exec sleep 1000");
	s.layers[1] = "write-up";
	s.layers[2] = "write-magic";
	s.layers[3] = "write-agent";
	s.create.n_layers = 4;
	container_run(pod, &s, &main_process);
	client_until(&pod->client, main_process.out.data.len >= 6);
	f.container = "writes";
	f.data.data = (uint8_t *)"x";
	f.data.len = 1;
	f.path = "/up/from-host";
	client_ok(&pod->client, REQUEST(file_write, FILE_WRITE, &f));
	f.path = "/../../../tmp/dots";
	client_ok(&pod->client, REQUEST(file_write, FILE_WRITE, &f));
	f.path = "/magic/tmp/file";
	client_fails(&pod->client, REQUEST(file_write, FILE_WRITE, &f), ERROR_FAILED,
		     "file '/magic");
	f.path = "/agent/file";
	client_fails(&pod->client, REQUEST(file_write, FILE_WRITE, &f), ERROR_FAILED,
		     "file '/agent");
	f.path = "/pipe";
	client_fails(&pod->client, REQUEST(file_write, FILE_WRITE, &f), ERROR_FAILED,
		     "file '/pipe'");
	f.path = "/dev/null";
	client_fails(&pod->client, REQUEST(file_write, FILE_WRITE, &f), ERROR_FAILED, "file '/dev");
	f.path = "relative";
	client_fails(&pod->client, REQUEST(file_write, FILE_WRITE, &f), ERROR_INVALID, "absolute");
	spec_shell(&s, "-", "ls /tmp");
	container_exec(pod, "writes", "ls", &s.process, &r);
	assert_int_equal(running_finish(&r, &out), 0);
	assert_string_equal(out, "dots\nfrom-host\n");
	assert_int_equal(access("/tmp/from-host", F_OK), -1);
	running_close(&main_process);
	container_delete(pod, "writes");
}

/* 19: a container plants a link in what it shares; the next mount must not follow it out. */
static void links_in_shared_sources(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__Mount m = HYPER__MOUNT__INIT, *mounts[] = { &m };
	autofree char *shared = test_pod_path(pod, "disk/planted"), *out = NULL;
	struct error err = { 0 };
	struct spec s;

	NEEDS_NAMESPACE_POD("the disk's files are made by the test");
	assert_ok(file_make_dirs(AT_FDCWD, shared, 0777, &err), err);
	m.type = "bind";
	m.source = "/disk/planted";
	m.destination = "/shared";
	spec_shell(&s, "plant", "ln -s / /shared/root; ln -s ../.. /shared/up");
	s.create.mounts = mounts;
	s.create.n_mounts = 1;
	out = container_output(pod, &s, 0);
	m.source = "/disk/planted/root";
	container_create_fails(pod, &s, ERROR_FAILED, "/disk/planted/root");
	m.source = "/disk/planted/up/layers";
	container_create_fails(pod, &s, ERROR_FAILED, "/disk/planted/up");
}

/* The agent's socket, its files and other containers are nowhere to be found, by inode or name. */
static void neighbours_are_out_of_reach(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct running neighbour;
	autofree char *out = NULL;
	struct spec s;

	spec_shell(&s, "neighbour", "echo secret-of-neighbour > /mine; exec sleep 1000");
	container_run(pod, &s, &neighbour);
	out = shell_output(pod, "curious",
			   "kill -9 -1 2>/dev/null; ls /proc | grep -c '^[0-9]'; "
			   "find / -xdev -name mine 2>/dev/null; "
			   "cat /proc/*/root/mine 2>/dev/null; echo done");
	assert_null(strstr(out, "secret"));
	assert_contains(out, "done");
	signal_process(pod, "neighbour", "", SIGKILL, false);
	assert_int_equal(running_finish(&neighbour, NULL), 137);
	container_delete(pod, "neighbour");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linked_mount_points),
		cmocka_unit_test(mounts_on_proc),
		cmocka_unit_test(mount_points_through_links),
		cmocka_unit_test(linked_etc_files),
		cmocka_unit_test(working_directory_of_a_descriptor),
		cmocka_unit_test(program_cannot_be_overwritten),
		cmocka_unit_test(hostile_user_files),
		cmocka_unit_test(hostile_home),
		cmocka_unit_test(file_writes_stay_inside),
		cmocka_unit_test(links_in_shared_sources),
		cmocka_unit_test(neighbours_are_out_of_reach),
	};

	test_pod_init(argc, argv);
	return cmocka_run_group_tests(tests, test_pod_setup, test_pod_teardown);
}
