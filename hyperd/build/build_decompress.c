/*
 * Packings that we have no reader for, taken off by the programs that everybody uses: children that
 * keep two descriptors, the packed file and an empty one, and nothing else. They run as nobody, in
 * namespaces of their own (nothing to signal or connect to), with limits on what they may write and
 * use. What they write is checked as any other archive is.
 */
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/process.h"
#include "base/task.h"
#include "hyperd/build/build_private.h"

#define NOBODY       65534
#define MEMORY_BYTES (512ull << 20)
#define CPU_SECONDS  3600
#define DEADLINE_MS  (60 * 60 * 1000)

static int confine(void *arg, const char **ret_what)
{
	static const struct {
		int resource;
		rlim_t value;
	} limits[] = {
		{ RLIMIT_CPU, CPU_SECONDS }, { RLIMIT_FSIZE, BUILD_MAX_CONTEXT_BYTES },
		{ RLIMIT_AS, MEMORY_BYTES }, { RLIMIT_CORE, 0 },
		{ RLIMIT_NOFILE, 16 },
	};

	*ret_what = "limits";
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct rlimit limit = { limits[i].value, limits[i].value };

		if (setrlimit((__rlimit_resource_t)limits[i].resource, &limit) < 0)
			return -errno;
	}
	*ret_what = "becoming nobody";
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return -errno;
	*ret_what = "no_new_privs";
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int build_decompress(const char *program, int from, int to, struct error *err)
{
	const char *argv[] = { program, "-dc", NULL };
	const char *env[] = { "PATH=/usr/bin:/bin", NULL };
	const struct process_fd fds[] = { { from, STDIN_FILENO }, { to, STDOUT_FILENO } };
	const struct process_options options = {
		.argv = argv,
		.env = env,
		.fds = fds,
		.fd_count = ARRAY_SIZE(fds),
		.setup = confine,
		.clone_flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID,
		.cwd = "/",
	};
	struct process child = PROCESS_INIT;
	int code = 0, r = process_spawn(&options, &child, err);
	bool old;

	if (r < 0)
		return error_prefix(err, r, "%s", program);
	r = process_wait(&child, deadline_in_ms(DEADLINE_MS), &code, err);
	if (r < 0) {
		old = task_shield(true);
		process_signal(&child, SIGKILL);
		process_wait(&child, DEADLINE_NEVER, &code, NULL);
		task_shield(old);
	} else if (code != 0) {
		r = error_set(err, ERROR_INVALID, "%s cannot unpack it (exit code %d)", program,
			      code);
	}
	process_done(&child);
	return r;
}
