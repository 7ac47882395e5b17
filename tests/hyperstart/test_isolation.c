/* What a container may see and do: root, mounts, masks, devices, users, capabilities, seccomp. */
#include "tests/hyperstart/pod.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <unistd.h>

#include "base/file.h"

static struct test_pod *pod_of(void **state)
{
	return *state;
}

/* Each line of SCRIPT's output must be there. */
static void expect_lines(struct test_pod *pod, struct spec *s, const char *const *lines)
{
	autofree char *out = container_output(pod, s, 0);

	for (; *lines; lines++) {
		size_t len = strlen(*lines);
		bool found = false;

		for (const char *p = out; *p; p = strchrnul(p, '\n'), p += *p == '\n')
			found |= strncmp(p, *lines, len) == 0 && (p[len] == '\n' || !p[len]);
		if (!found)
			fail_msg("no line '%s' in:\n%s", *lines, out);
	}
}

/* Its own processes only, and control groups that begin with its own. */
static void own_namespaces(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *out = shell_output(pod, "ns",
					  "echo $$; set -- /proc/[0-9]*; echo $#; "
					  "cut -d: -f3 /proc/self/cgroup | sort -u");

	assert_string_equal(out, "1\n1\n/\n");
}

static void standard_mounts(void **state)
{
	static const char *const lines[] = { "/ overlay rw",           "/proc proc rw",
					     "/dev tmpfs rw",          "/dev/pts devpts rw",
					     "/dev/shm tmpfs rw",      "/dev/mqueue mqueue rw",
					     "/sys sysfs ro",          "crw-rw-rw- 1 3 null",
					     "crw-rw-rw- 1 9 urandom", "crw-rw-rw- 5 0 tty",
					     "fd -> /proc/self/fd",    "ptmx -> pts/ptmx",
					     "1777 /dev/shm",          "nosuid,nodev,noexec",
					     "writable shm",           NULL };
	struct test_pod *pod = pod_of(state);
	struct spec s;

	spec_shell(&s, "mounts",
		   "awk '{ split($4, o, \",\"); print $2, $3, o[1] }' /proc/mounts; "
		   "for f in null urandom tty; do "
		   "stat -c '%A %t %T %n' /dev/$f | sed 's,/dev/,,'; done; "
		   "for l in fd ptmx; do echo $l '->' $(readlink /dev/$l); done; "
		   "stat -c '%a %n' /dev/shm; "
		   "awk '$2 == \"/proc\" { sub(\"rw,\", \"\", $4); sub(\",relatime.*\", \"\", $4); "
		   "print $4 }' /proc/mounts; "
		   "echo x > /dev/shm/x && echo writable shm");
	expect_lines(pod, &s, lines);
}

static void host_is_out_of_reach(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *out = shell_output(pod, "reach",
					  "ls / | sort | tr '\\n' ' '; echo; awk '$5 ~ "
					  "\"run/hyper\"' /proc/self/mountinfo | wc -l; "
					  "ls -a /.. | grep -c layers; true");

	assert_contains(out, "bin data dev etc home proc sys tmp");
	assert_contains(out, "\n0\n0\n");
}

static void only_three_descriptors(void **state)
{
	struct test_pod *pod = pod_of(state);
	struct spec s;
	struct running r;
	autofree char *out = NULL, *exec_out = NULL;
	/* ls has the directory itself open as 3. */
	const char *const args[] = { "ls", "/proc/self/fd", NULL };

	spec_args(&s, "fds", args);
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "0\n1\n2\n3\n");
	free(steal(out));
	s.process.terminal = true;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "0  1  2  3\r\n");
	free(steal(out));
	s.process.terminal = false;
	s.create.init_process = true;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "0\n1\n2\n3\n");
	spec_shell(&s, "fdhost", "exec sleep 1000");
	container_run(pod, &s, &r);
	{
		struct running e;

		spec_args(&s, "-", args);
		container_exec(pod, "fdhost", "fds", &s.process, &e);
		assert_int_equal(running_finish(&e, &exec_out), 0);
	}
	assert_string_equal(exec_out, "0\n1\n2\n3\n");
	running_close(&r);
	container_delete(pod, "fdhost");
}

static char *masked[] = { "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware",
			  "/etc/secret", "/data",      "/no/such/path" };
static char *protected[] = { "/proc/sys", "/proc/bus", "/home", "/no/such/path" };

static void mask(struct spec *s)
{
	s->create.masked_paths = masked;
	s->create.n_masked_paths = ARRAY_SIZE(masked);
	s->create.read_only_paths = protected;
	s->create.n_read_only_paths = ARRAY_SIZE(protected);
}

/* Threat 14: for exec too. */
static void masked_and_protected_paths(void **state)
{
	static const char probe[] =
		"wc -c < /etc/secret; ls -A /data | wc -l; wc -c < /proc/timer_list; "
		"touch /data/x 2>/dev/null || echo data kept; "
		"touch /home/x 2>/dev/null || echo home kept; "
		"echo 1 2>/dev/null > /proc/sys/kernel/core_pattern || echo sys kept; "
		"touch /free && echo free";
	static const char want[] = "0\n0\n0\ndata kept\nhome kept\nsys kept\nfree\n";
	struct test_pod *pod = pod_of(state);
	autofree char *out = NULL, *exec_out = NULL;
	struct running r, e;
	struct spec s;

	spec_shell(&s, "masked", probe);
	mask(&s);
	out = container_output(pod, &s, 0);
	assert_string_equal(out, want);
	spec_shell(&s, "maskhost", "exec sleep 1000");
	mask(&s);
	container_run(pod, &s, &r);
	spec_shell(&s, "-", probe);
	container_exec(pod, "maskhost", "probe", &s.process, &e);
	assert_int_equal(running_finish(&e, &exec_out), 0);
	assert_string_equal(exec_out, want);
	running_close(&r);
	container_delete(pod, "maskhost");
}

static void read_only_root(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__Mount tmp = HYPER__MOUNT__INIT, *mounts[] = { &tmp };
	autofree char *out = NULL;
	struct spec s;

	spec_shell(&s, "readonly",
		   "touch /x 2>/dev/null || echo root kept; touch /etc/x 2>/dev/null || echo etc "
		   "kept; "
		   "touch /tmp/x && echo tmp; touch /dev/shm/x && echo shm; cat /data/from-image");
	tmp.destination = "/tmp";
	tmp.type = "tmpfs";
	s.create.mounts = mounts;
	s.create.n_mounts = 1;
	s.create.read_only_root = true;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "root kept\netc kept\ntmp\nshm\nimage\n");
}

static void files_of_the_pod(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *out = NULL;
	struct spec s;

	spec_shell(&s, "podfiles",
		   "cat /etc/resolv.conf /etc/hosts /etc/hostname; echo more >> /etc/hosts; tail "
		   "-n 1 /etc/hosts");
	s.create.resolv_conf = "nameserver 192.0.2.1\n";
	s.create.hosts = "127.0.0.1 localhost\n";
	s.create.hostname_file = "testpod\n";
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "nameserver 192.0.2.1\n127.0.0.1 localhost\ntestpod\nmore\n");
}

static void mounts_of_its_own(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__Mount tmpfs = HYPER__MOUNT__INIT, bind = HYPER__MOUNT__INIT,
		     file = HYPER__MOUNT__INIT, copied = HYPER__MOUNT__INIT;
	Hyper__Mount *mounts[] = { &tmpfs, &bind, &file, &copied };
	char *tmpfs_options[] = { "noexec", "nosuid", "size=1m", "mode=1770" };
	char *read_only[] = { "ro" };
	autofree char *shared = test_pod_path(pod, "disk/shared"),
		      *shared_file = test_pod_path(pod, "disk/shared/file"), *out = NULL;
	struct error err = { 0 };
	struct spec s;

	NEEDS_NAMESPACE_POD("the disk's files are made by the test");
	assert_ok(file_make_dirs(AT_FDCWD, shared, 0755, &err), err);
	assert_ok(file_write_atomic(AT_FDCWD, shared_file, "shared\n", 7, 0644, false, &err), err);
	tmpfs.destination = "/made/for/it";
	tmpfs.type = "tmpfs";
	tmpfs.options = tmpfs_options;
	tmpfs.n_options = 4;
	bind.destination = "/shared";
	bind.type = "bind";
	bind.source = "/disk/shared";
	bind.options = read_only;
	bind.n_options = 1;
	file.destination = "/etc/one-file";
	file.type = "bind";
	file.source = "/disk/shared/file";
	copied.destination = "/data";
	copied.type = "tmpfs";
	copied.copy_up = true;
	spec_shell(&s, "ownmounts",
		   "stat -c %a /made/for/it; grep -c '/made/for/it tmpfs rw,nosuid,noexec' "
		   "/proc/mounts; "
		   "cat /shared/file; touch /shared/x 2>/dev/null || echo kept; "
		   "cat /etc/one-file; echo changed > /etc/one-file; cat /data/from-image; "
		   "touch /data/x && echo writable");
	s.create.mounts = mounts;
	s.create.n_mounts = 4;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "1770\n1\nshared\nkept\nshared\nimage\nwritable\n");
	free(steal(out));
	assert_ok(file_read(AT_FDCWD, shared_file, 64, &out, NULL, &err), err);
	assert_string_equal(out, "changed\n");
}

/* ------------------------------------------------------------------ users and privileges */

static void users(void **state)
{
	static const struct {
		const char *user, *want;
	} cases[] = {
		{ "", "0 0 0 10 /root" },
		{ "user", "1000 1000 1000 10 /home/user" },
		{ "1000", "1000 1000 1000 10 /home/user" },
		{ "user:disk", "1000 6 6 /home/user" },
		{ "4321", "4321 0 0 /" },
		{ "4321:8765", "4321 8765 8765 /" },
		{ "root:10", "0 10 10 /root" },
	};
	struct test_pod *pod = pod_of(state);
	struct spec s;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		autofree char *out = NULL;

		spec_shell(&s, "users", "echo $(id -u) $(id -g) $(id -G) $HOME");
		s.process.user = (char *)cases[i].user;
		out = container_output(pod, &s, 0);
		assert_int_equal(strncmp(out, cases[i].want, strlen(cases[i].want)), 0);
	}
	spec_shell(&s, "groups", "id -G");
	s.process.user = "user";
	s.process.additional_groups = (char *[]){ "disk", "77" };
	s.process.n_additional_groups = 2;
	{
		autofree char *out = container_output(pod, &s, 0);

		assert_string_equal(out, "1000 6 10 77\n");
	}
}

static void user_that_is_not_there(void **state)
{
	struct test_pod *pod = pod_of(state);
	Hyper__ContainerStart start = HYPER__CONTAINER_START__INIT;
	struct spec s;

	spec_shell(&s, "nobody", "true");
	s.process.user = "nobody-here";
	container_create(pod, &s);
	start.id = "nobody";
	client_fails(&pod->client, REQUEST(container_start, CONTAINER_START, &start), ERROR_INVALID,
		     "unable to find user nobody-here");
	container_delete(pod, "nobody");
}

static void capabilities(void **state)
{
	struct test_pod *pod = pod_of(state);
	static const char status[] = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status";
	autofree char *out = NULL;
	struct spec s;

	spec_shell(&s, "caps", status);
	out = container_output(pod, &s, 0);
	assert_contains(out,
			"CapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n"
			"CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0");
	free(steal(out));
	spec_shell(&s, "caps", status);
	s.capabilities.bounding = s.capabilities.effective = s.capabilities.permitted = 1 << 10;
	s.process.no_new_privileges = true;
	out = container_output(pod, &s, 0);
	assert_contains(out, "CapEff:\t0000000000000400\nCapBnd:\t0000000000000400\n");
	assert_contains(out, "NoNewPrivs:\t1");
	free(steal(out));
	/* Another user begins with what is ambient. */
	spec_shell(&s, "caps", status);
	s.process.user = "user";
	s.capabilities.inheritable = s.capabilities.ambient = 1 << 10;
	out = container_output(pod, &s, 0);
	assert_contains(out, "CapPrm:\t0000000000000400\nCapEff:\t0000000000000400\n"
			     "CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000400\n");
	free(steal(out));
	/* None are given that are not asked for. */
	spec_shell(&s, "caps", status);
	s.process.capabilities = NULL;
	out = container_output(pod, &s, 0);
	assert_contains(out, "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n");
}

static void seccomp(void **state)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct test_pod *pod = pod_of(state);
	struct running r, e;
	autofree char *out = NULL;
	struct spec s;

	for (int nnp = 0; nnp < 2; nnp++) {
		spec_shell(&s, "seccomp", "hostname; grep '^Seccomp:' /proc/self/status");
		s.process.no_new_privileges = nnp;
		s.process.seccomp.data = (uint8_t *)filter;
		s.process.seccomp.len = sizeof(filter);
		out = container_output(pod, &s, 0);
		assert_null(strstr(out, "testpod"));
		assert_contains(out, "Seccomp:\t2");
		free(steal(out));
	}
	spec_shell(&s, "seccomphost", "exec sleep 1000");
	container_run(pod, &s, &r);
	spec_shell(&s, "-", "hostname; grep '^Seccomp:' /proc/self/status");
	s.process.seccomp.data = (uint8_t *)filter;
	s.process.seccomp.len = sizeof(filter);
	container_exec(pod, "seccomphost", "e", &s.process, &e);
	assert_int_equal(running_finish(&e, &out), 0);
	assert_contains(out, "Seccomp:\t2");
	running_close(&r);
	container_delete(pod, "seccomphost");
}

static void devices(void **state)
{
	Hyper__DeviceRule none = HYPER__DEVICE_RULE__INIT, make = HYPER__DEVICE_RULE__INIT,
			  null = HYPER__DEVICE_RULE__INIT, zero_read = HYPER__DEVICE_RULE__INIT,
			  full_read = HYPER__DEVICE_RULE__INIT,
			  full_write = HYPER__DEVICE_RULE__INIT;
	Hyper__DeviceRule *rules[] = { &none, &make, &null, &zero_read, &full_read, &full_write };
	Hyper__Device device = HYPER__DEVICE__INIT, *list[] = { &device };
	struct test_pod *pod = pod_of(state);
	autofree char *out = NULL;
	struct spec s;

	none.type = "a";
	none.access = "rwm";
	none.major = none.minor = make.major = make.minor = -1;
	make.allow = null.allow = zero_read.allow = full_read.allow = full_write.allow = true;
	make.type = null.type = zero_read.type = full_read.type = full_write.type = "c";
	make.access = "m";
	null.major = zero_read.major = full_read.major = full_write.major = 1;
	null.minor = 3;
	null.access = "rw";
	zero_read.minor = 5;
	zero_read.access = full_read.access = "r";
	full_read.minor = full_write.minor = 7;
	full_write.access = "w";
	device.path = "/dev/sub/mine";
	device.mode = S_IFCHR | 0640;
	device.major = 1;
	device.minor = 3;
	device.gid = 6;
	spec_shell(&s, "devices",
		   "stat -c '%a %t:%T %g' /dev/sub/mine; "
		   "echo x > /dev/null && echo null; head -c 1 /dev/zero | wc -c; "
		   "(: > /dev/zero) 2>/dev/null || echo zero not written; "
		   "(: <> /dev/full) && echo full both; "
		   "(: < /dev/urandom) 2>/dev/null || echo urandom not read; "
		   "mknod /tmp/n c 1 3 && (: > /tmp/n) && echo made; "
		   "mknod /tmp/disk b 8 0 2>/dev/null || echo no block device; "
		   "mknod /tmp/mem c 1 1 && (: < /tmp/mem) 2>/dev/null || echo no memory");
	s.create.device_rules = rules;
	s.create.n_device_rules = ARRAY_SIZE(rules);
	s.create.devices = list;
	s.create.n_devices = 1;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "640 1:3 6\nnull\n1\nzero not written\nfull both\n"
				 "urandom not read\nmade\nno block device\nno memory\n");
}

static void environment(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *out = NULL;
	struct spec s;

	spec_shell(&s, "env", "env | grep -v -E '^(PWD|SHLVL)=' | sort; pwd; stat -c %U:%a .");
	s.process.env = (char *[]){ "A=1", "PATH=/bin", "EMPTY=" };
	s.process.n_env = 3;
	s.process.cwd = "/made/on/demand";
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "A=1\nEMPTY=\nHOME=/root\nPATH=/bin\n/made/on/demand\nroot:755\n");
	free(steal(out));
	s.process.env = (char *[]){ "HOME=/elsewhere" };
	s.process.n_env = 1;
	s.process.cwd = "";
	spec_shell(&s, "env2", "echo $HOME; pwd");
	s.process.env = (char *[]){ "HOME=/elsewhere" };
	s.process.n_env = 1;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "/elsewhere\n/\n");
}

static void privileged(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *out = NULL;
	struct spec s;

	spec_shell(&s, "privileged",
		   "wc -c < /etc/secret; grep -c ' /sys sysfs rw' /proc/mounts; "
		   "mount -t tmpfs none /tmp && echo mounted");
	mask(&s);
	s.create.privileged = true;
	s.capabilities.bounding = s.capabilities.effective = s.capabilities.permitted = UINT64_MAX;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "9\n1\nmounted\n");
}

/* Two layers with a whiteout between them, and the top layer's mode on "/". */
static void layers(void **state)
{
	struct test_pod *pod = pod_of(state);
	autofree char *dir = test_pod_path(pod, "layers/second"),
		      *whiteout = test_pod_path(pod, "layers/second/etc"),
		      *gone = test_pod_path(pod, "layers/second/etc/secret"), *out = NULL;
	struct error err = { 0 };
	struct spec s;

	assert_ok(file_make_dirs(AT_FDCWD, whiteout, 0755, &err), err);
	if (mknod(gone, S_IFCHR, makedev(0, 0)) < 0)
		print_message("no whiteouts can be made here\n");
	assert_int_equal(chmod(dir, 0751), 0);
	test_pod_add_layer(pod, "second");
	spec_shell(&s, "layers",
		   "test -e /etc/secret || echo gone; stat -c %a /; cat /data/from-image");
	s.layers[1] = "second";
	s.create.n_layers = 2;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "gone\n751\nimage\n");
}

static void many_layers(void **state)
{
	enum { COUNT = 127 };
	struct test_pod *pod = pod_of(state);
	char *names[COUNT + 1];
	autofree char *out = NULL;
	struct error err = { 0 };
	struct spec s;

	names[0] = LAYER;
	for (int i = 1; i < COUNT; i++) {
		autofree char *dir = NULL;

		names[i] = strf("layer-%d", i);
		dir = strf("%s/layers/%s/from/%d", pod->dir, names[i], i);
		assert_ok(file_make_dirs(AT_FDCWD, dir, 0755, &err), err);
		test_pod_add_layer(pod, names[i]);
	}
	spec_shell(&s, "many", "ls /from | wc -l");
	s.create.layers = names;
	s.create.n_layers = COUNT;
	out = container_output(pod, &s, 0);
	assert_string_equal(out, "126\n");
	names[COUNT] = LAYER;
	s.create.n_layers = COUNT + 1;
	container_create_fails(pod, &s, ERROR_LIMIT, "128 layers");
	for (int i = 1; i < COUNT; i++)
		free(names[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_namespaces),
		cmocka_unit_test(standard_mounts),
		cmocka_unit_test(host_is_out_of_reach),
		cmocka_unit_test(only_three_descriptors),
		cmocka_unit_test(masked_and_protected_paths),
		cmocka_unit_test(read_only_root),
		cmocka_unit_test(files_of_the_pod),
		cmocka_unit_test(mounts_of_its_own),
		cmocka_unit_test(users),
		cmocka_unit_test(user_that_is_not_there),
		cmocka_unit_test(capabilities),
		cmocka_unit_test(seccomp),
		cmocka_unit_test(devices),
		cmocka_unit_test(environment),
		cmocka_unit_test(privileged),
		cmocka_unit_test(layers),
		cmocka_unit_test(many_layers),
	};

	test_pod_init(argc, argv);
	return cmocka_run_group_tests(tests, test_pod_setup, test_pod_teardown);
}
