/* Compiles profiles and runs children under the filters. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/task.h"
#include "hyperd/pod/oci_defaults.h"
#include "hyperd/pod/seccomp_profile.h"

#define DEFAULT_PROFILE "/usr/share/containers/seccomp.json"
#define DEFAULT_CAPS    0xa80425fbull

static struct seccomp_filter *compile(const char *text, uint64_t caps)
{
	struct seccomp_filter *filter = NULL;
	struct error err = { 0 };

	assert_ok(seccomp_compile(text, strlen(text), caps, &filter, &err), err);
	assert_int_equal(filter->len % sizeof(struct sock_filter), 0);
	assert_true(filter->len / sizeof(struct sock_filter) <= BPF_MAXINSNS);
	return filter;
}

static struct seccomp_filter *compile_default(uint64_t caps)
{
	autofree char *text = NULL;
	struct error err = { 0 };

	if (access(DEFAULT_PROFILE, R_OK) != 0) {
		print_message("skipped: no " DEFAULT_PROFILE
			      " (package golang-github-containers-common)\n");
		skip();
	}
	assert_ok(file_read(AT_FDCWD, DEFAULT_PROFILE, 1 << 20, &text, NULL, &err), err);
	return compile(text, caps);
}

/* The errno that NUMBER(A, B) yields under the filter; 0 when it succeeds. */
static int under(const struct seccomp_filter *filter, long number, long a, long b, long c)
{
	struct sock_fprog program = {
		.len = (unsigned short)(filter->len / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)filter->data,
	};
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
			_exit(255);
		if (syscall(number, a, b, c) < 0)
			_exit(errno);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	assert_int_not_equal(WEXITSTATUS(status), 255);
	return WEXITSTATUS(status);
}

static void the_default_profile(void **state)
{
	struct seccomp_filter *filter = compile_default(DEFAULT_CAPS);

	assert_int_equal(under(filter, SYS_getpid, 0, 0, 0), 0);
	assert_int_equal(under(filter, SYS_personality, 0, 0, 0), 0);
	assert_int_equal(under(filter, SYS_personality, 0x1234, 0, 0), ENOSYS);
	assert_int_equal(under(filter, SYS_kexec_load, 0, 0, 0), EPERM);
	assert_int_equal(under(filter, SYS_bpf, 0, 0, 0), EPERM);
	assert_int_equal(under(filter, SYS_init_module, 0, 0, 0), EPERM);
	assert_int_equal(under(filter, 100000, 0, 0, 0), ENOSYS);
	seccomp_filter_unref(filter);
}

/* "includes" and "excludes" follow the capabilities. */
static void capabilities_open_system_calls(void **state)
{
	struct seccomp_filter *filter = compile_default(CAPABILITIES_ALL);

	assert_int_not_equal(under(filter, SYS_bpf, 9999, 0, 0), EPERM);
	assert_int_not_equal(under(filter, SYS_acct, 1, 0, 0), EPERM);
	seccomp_filter_unref(filter);
	filter = compile_default(0);
	assert_int_equal(under(filter, SYS_chroot, (long)"/", 0, 0), EPERM);
	seccomp_filter_unref(filter);
}

static void profiles_of_ones_own(void **state)
{
	struct seccomp_filter *filter = compile(
		"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": ["
		"{\"names\": [\"getppid\", \"no_such_call\"], \"action\": \"SCMP_ACT_ERRNO\","
		" \"errnoRet\": 77},"
		"{\"name\": \"kill\", \"action\": \"SCMP_ACT_ERRNO\", \"args\": ["
		" {\"index\": 1, \"value\": 5, \"op\": \"SCMP_CMP_EQ\"},"
		" {\"index\": 1, \"value\": 6, \"op\": \"SCMP_CMP_EQ\"}]},"
		"{\"names\": [\"getpgid\"], \"action\": \"SCMP_ACT_ERRNO\", \"args\": ["
		" {\"index\": 0, \"value\": 255, \"valueTwo\": 16,"
		" \"op\": \"SCMP_CMP_MASKED_EQ\"}]},"
		"{\"names\": [\"getsid\"], \"action\": \"SCMP_ACT_KILL_PROCESS\"}]}",
		0);

	assert_int_equal(under(filter, SYS_getppid, 0, 0, 0), 77);
	assert_int_equal(under(filter, SYS_kill, 0, 5, 0), EPERM);
	assert_int_equal(under(filter, SYS_kill, 0, 6, 0), EPERM);
	assert_int_equal(under(filter, SYS_kill, getpid(), 0, 0), 0);
	assert_int_equal(under(filter, SYS_getpgid, 0x110, 0, 0), EPERM);
	assert_int_not_equal(under(filter, SYS_getpgid, 0, 0, 0), EPERM);
	assert_int_equal(under(filter, SYS_getsid, 0, 0, 0), 128 + 31);
	seccomp_filter_unref(filter);
}

static void wrong_profiles_are_refused(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "", "seccomp profile: JSON" },
		{ "[]", "expected an object" },
		{ "{}", "defaultAction: action ''" },
		{ "{\"defaultAction\": 5}", "defaultAction" },
		{ "{\"defaultAction\": \"ALLOW\"}", "action 'ALLOW': expected" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": {}}", "syscalls" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [1]}",
		  "syscalls[0]: expected an object" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"action\": \"X\"}]}",
		  "syscalls[0]: action 'X'" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"action\": "
		  "\"SCMP_ACT_KILL\", \"names\": [\"read\"], \"args\": [{\"index\": 9, \"op\": "
		  "\"SCMP_CMP_EQ\"}]}]}",
		  "syscalls[0]: args[0]: index" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"action\": "
		  "\"SCMP_ACT_KILL\", \"names\": [\"read\"], \"args\": [{\"op\": \"=\"}]}]}",
		  "args[0]: op '='" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"archMap\": [7]}", "archMap[0]" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"action\": "
		  "\"SCMP_ACT_KILL\", \"includes\": []}]}",
		  "includes" },
	};
	struct seccomp_filter *filter;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = { 0 };

		assert_true(seccomp_compile(cases[i].text, strlen(cases[i].text), 0, &filter,
					    &err) < 0);
		assert_contains(err.message, cases[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
}

struct world {
	struct loop *loop;
	struct job_pool *jobs;
};

static void cache_task(void *arg)
{
	static const char text[] = "{\"defaultAction\": \"SCMP_ACT_ALLOW\"}";
	struct world *w = arg;
	struct seccomp_cache *cache = NULL;
	struct seccomp_filter *a = NULL, *b = NULL;
	struct error err = { 0 };

	assert_ok(seccomp_cache_new(w->jobs, NULL, &cache, &err), err);
	assert_ok(seccomp_get(cache, text, 1, &a, &err), err);
	assert_ok(seccomp_get(cache, text, 1, &b, &err), err);
	assert_ptr_equal(a, b);
	seccomp_filter_unref(b);
	assert_ok(seccomp_get(cache, text, 2, &b, &err), err);
	assert_ptr_not_equal(a, b);
	seccomp_filter_unref(b);
	assert_true(seccomp_get(cache, NULL, 1, &b, &err) < 0);
	assert_true(seccomp_get(cache, "nonsense", 1, &b, &err) < 0);
	/* More than are kept: those in use stay whole. */
	for (uint64_t caps = 10; caps < 60; caps++) {
		assert_ok(seccomp_get(cache, text, caps, &b, &err), err);
		seccomp_filter_unref(b);
	}
	assert_true(a->len > 0);
	seccomp_filter_unref(a);
	seccomp_cache_free(cache);
}

static void the_cache(void **state)
{
	struct world w;
	struct error err = { 0 };

	assert_ok(loop_new(&w.loop, &err), err);
	assert_ok(job_pool_new(w.loop, 1, &w.jobs, &err), err);
	assert_ok(task_run(w.loop, cache_task, &w, &err), err);
	job_pool_free(w.jobs);
	loop_free(w.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_default_profile),
		cmocka_unit_test(capabilities_open_system_calls),
		cmocka_unit_test(profiles_of_ones_own),
		cmocka_unit_test(wrong_profiles_are_refused),
		cmocka_unit_test(the_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
