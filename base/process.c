#include "base/process.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/task.h"

#define STDERR_KEPT 4096

/* What the child tells through the close-on-exec pipe when it cannot become the program. */
struct failure {
	int errnum;
	char what[96];
};

static void child_fail(int report_fd, int errnum, const char *what)
{
	struct failure failure = { .errnum = errnum };

	strncpy(failure.what, what, sizeof(failure.what) - 1);
	fd_write_all(report_fd, &failure, sizeof(failure));
	_exit(127);
}

/*
 * Puts the descriptors where they belong. All sources are first moved above every target, so that
 * no dup2 closes a source that is still needed.
 */
static int child_place_fds(const struct process_options *o, int *report_fd)
{
	int highest = 2, moved[64];

	if (o->fd_count > ARRAY_SIZE(moved))
		return -E2BIG;
	for (size_t i = 0; i < o->fd_count; i++)
		if (o->fds[i].target > highest)
			highest = o->fds[i].target;
	*report_fd = fcntl(*report_fd, F_DUPFD_CLOEXEC, highest + 1);
	if (*report_fd < 0)
		return -errno;
	for (size_t i = 0; i < o->fd_count; i++) {
		moved[i] = fcntl(o->fds[i].source, F_DUPFD_CLOEXEC, highest + 1);
		if (moved[i] < 0)
			return -errno;
	}
	for (int target = 0; target <= 2; target++) {
		bool named = false;
		int null;

		for (size_t i = 0; i < o->fd_count; i++)
			named |= o->fds[i].target == target;
		if (named)
			continue;
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null < 0)
			return -errno;
		if (null == target)
			fcntl(null, F_SETFD, 0);
		else if (dup2(null, target) < 0)
			return -errno;
		if (null != target)
			close(null);
	}
	for (size_t i = 0; i < o->fd_count; i++)
		if (dup2(moved[i], o->fds[i].target) < 0)
			return -errno;
	return 0;
}

/* Every other descriptor is close-on-exec from birth; this is for those that libraries opened
 * carelessly. */
static void child_close_rest(const struct process_options *o)
{
	int highest = 2;

	for (size_t i = 0; i < o->fd_count; i++)
		if (o->fds[i].target > highest)
			highest = o->fds[i].target;
	syscall(SYS_close_range, (unsigned)highest + 1, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
}

static void child_main(const struct process_options *o, int report_fd)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	const char *what = "setting up the child";
	sigset_t none;
	int r;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);

	r = child_place_fds(o, &report_fd);
	if (r < 0)
		child_fail(report_fd, -r, "placing descriptors");
	child_close_rest(o);
	if (o->cwd && chdir(o->cwd) < 0)
		child_fail(report_fd, errno, "changing directory");
	if (o->setup) {
		r = o->setup(o->setup_arg, &what);
		if (r < 0)
			child_fail(report_fd, -r, what);
	}
	if (o->env)
		execvpe(o->argv[0], (char **)o->argv, (char **)o->env);
	else
		execvp(o->argv[0], (char **)o->argv);
	child_fail(report_fd, errno, "executing it");
}

static pid_t fork_with(unsigned long flags, int cgroup_fd, int *ret_pidfd)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
		uint64_t set_tid, set_tid_size, cgroup;
	} args = {
		.flags = flags | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
	};

	/* Linux 5.7: cheaper by far than moving it afterwards, and it is never outside. */
	if (cgroup_fd > 0) {
		args.flags |= 0x200000000ull; /* CLONE_INTO_CGROUP */
		args.cgroup = (uint64_t)cgroup_fd;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

int process_spawn(const struct process_options *o, struct process *ret, struct error *err)
{
	autoclose int report_read = -1, report_write = -1;
	struct failure failure;
	sigset_t all, old;
	int report[2], pidfd = -1;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return error_errno(err, errno, "starting '%s'", o->argv[0]);
	report_read = report[0];
	report_write = report[1];

	/* No handler of ours may run in the child before it has set the defaults. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork_with(o->clone_flags, o->cgroup_fd, &pidfd);
	if (pid == 0)
		child_main(o, report_write);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return error_errno(err, errno, "starting '%s'", o->argv[0]);

	close(steal_fd(&report_write));
	if (fd_read_exact(report_read, &failure, sizeof(failure)) == 0) {
		waitpid(pid, NULL, 0);
		close(pidfd);
		failure.what[sizeof(failure.what) - 1] = '\0';
		return error_errno(err, failure.errnum, "starting '%s': %s", o->argv[0],
				   failure.what);
	}
	ret->pid = pid;
	ret->pidfd = pidfd;
	return 0;
}

void process_done(struct process *process)
{
	if (process->pidfd >= 0)
		close(process->pidfd);
	process->pidfd = -1;
	process->pid = -1;
}

int process_signal(const struct process *process, int signal)
{
	if (process->pidfd < 0)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int process_reap(struct process *process, int *ret_code)
{
	siginfo_t info = { 0 };

	if (process->pidfd < 0)
		return -ESRCH;
	if (waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG) < 0)
		return -errno;
	if (info.si_pid == 0)
		return -EAGAIN;
	*ret_code = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	process_done(process);
	return 0;
}

int process_wait(struct process *process, uint64_t deadline_ns, int *ret_code, struct error *err)
{
	int r;

	for (;;) {
		r = process_reap(process, ret_code);
		if (r != -EAGAIN)
			break;
		r = task_wait_fd(process->pidfd, EPOLLIN, deadline_ns, NULL);
		if (r < 0)
			break;
	}
	return r < 0 ? error_errno(err, -r, "waiting for process %d", (int)process->pid) : 0;
}

struct run {
	int in, out, err; /* our ends of the pipes, -1 when closed */
	const char *input;
	size_t input_left, max_output;
	struct str output, errors;
};

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Moves what can be moved without waiting; returns whether anything was. */
static int run_pump(struct run *run, struct error *err)
{
	char buf[16384];
	bool moved = false;
	ssize_t n;

	if (run->in >= 0 && run->input_left == 0)
		close_end(&run->in);
	if (run->in >= 0) {
		n = fd_write(run->in, run->input, run->input_left);
		if (n > 0) {
			run->input += n;
			run->input_left -= (size_t)n;
			moved = true;
		} else if (n != -EAGAIN) {
			close_end(&run->in);
			moved = true;
		}
	}
	if (run->out >= 0) {
		n = fd_read(run->out, buf, sizeof(buf));
		if (n > 0)
			str_append(&run->output, buf, (size_t)n);
		else if (n != -EAGAIN)
			close_end(&run->out);
		moved |= n != -EAGAIN;
		if (run->output.len > run->max_output)
			return error_set(err, ERROR_LIMIT, "more than %zu bytes of output",
					 run->max_output);
	}
	if (run->err >= 0) {
		n = fd_read(run->err, buf, sizeof(buf));
		if (n > 0)
			str_append(&run->errors, buf, (size_t)n);
		else if (n != -EAGAIN)
			close_end(&run->err);
		moved |= n != -EAGAIN;
		if (run->errors.len > STDERR_KEPT)
			str_consume(&run->errors, run->errors.len - STDERR_KEPT);
	}
	return moved;
}

/* Waits for one of the pipes in turn; short slices keep it simple and still wake at once for the
 * usual one. */
static int run_transfer(struct run *run, uint64_t deadline_ns, struct error *err)
{
	while (run->out >= 0 || run->err >= 0) {
		uint64_t slice = deadline_in_ms(20);
		int r = run_pump(run, err), fd;

		if (r < 0)
			return r;
		if (r > 0)
			continue;
		if (now_ns() >= deadline_ns)
			return error_set(err, ERROR_TIMEOUT, "no end within its deadline");
		fd = run->out >= 0 ? run->out : run->err;
		r = task_wait_fd(fd, EPOLLIN, slice < deadline_ns ? slice : deadline_ns, NULL);
		if (r < 0 && r != -ETIMEDOUT)
			return error_errno(err, -r, "waiting for its output");
	}
	return 0;
}

static void trim_end(struct str *s)
{
	while (s->len && (s->data[s->len - 1] == '\n' || s->data[s->len - 1] == ' '))
		s->data[--s->len] = '\0';
}

int process_run(const struct process_options *options, const char *input, uint64_t deadline_ns,
		size_t max_output, char **ret_output, struct error *err)
{
	struct process_options o = *options;
	struct process process = PROCESS_INIT;
	struct process_fd fds[64];
	struct run run = { .in = -1, .out = -1, .err = -1, .max_output = max_output };
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, errs[2] = { -1, -1 }, r, code = 0;

	if (options->fd_count + 3 > ARRAY_SIZE(fds))
		return error_errno(err, E2BIG, "starting '%s'", o.argv[0]);
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(errs, O_CLOEXEC) < 0) {
		r = error_errno(err, errno, "starting '%s'", o.argv[0]);
	} else {
		if (options->fd_count)
			memcpy(fds, options->fds, options->fd_count * sizeof(fds[0]));
		fds[o.fd_count++] = (struct process_fd){ in[0], 0 };
		fds[o.fd_count++] = (struct process_fd){ out[1], 1 };
		fds[o.fd_count++] = (struct process_fd){ errs[1], 2 };
		o.fds = fds;
		r = process_spawn(&o, &process, err);
	}
	close_end(&in[0]);
	close_end(&out[1]);
	close_end(&errs[1]);
	run.in = in[1];
	run.out = out[0];
	run.err = errs[0];
	run.input = input;
	run.input_left = input ? strlen(input) : 0;
	if (r == 0) {
		fd_set_nonblocking(run.in, true);
		fd_set_nonblocking(run.out, true);
		fd_set_nonblocking(run.err, true);
		r = run_transfer(&run, deadline_ns, err);
		if (r == 0)
			r = process_wait(&process, deadline_ns, &code, err);
		if (r < 0) {
			bool old = task_shield(true);

			process_signal(&process, SIGKILL);
			process_wait(&process, DEADLINE_NEVER, &code, NULL);
			task_shield(old);
			error_prefix(err, r, "running '%s'", o.argv[0]);
		}
	}
	close_end(&run.in);
	close_end(&run.out);
	close_end(&run.err);
	process_done(&process);
	trim_end(&run.errors);
	if (r == 0 && code != 0)
		r = error_set(err, ERROR_FAILED, "'%s' exited with %d%s%s", o.argv[0], code,
			      run.errors.len ? ": " : "", str_text(&run.errors));
	if (r == 0 && ret_output) {
		*ret_output = str_steal(&run.output);
		if (!*ret_output)
			r = error_nomem(err);
	}
	str_done(&run.output);
	str_done(&run.errors);
	return r;
}

int process_start_time(pid_t pid, unsigned long long *ret)
{
	char path[32], buf[1024], *p;
	autoclose int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = fd_read(fd, buf, sizeof(buf) - 1);
	if (n <= 0)
		return n < 0 ? (int)n : -ENODATA;
	buf[n] = '\0';
	p = strrchr(buf, ')'); /* the name may hold spaces and brackets */
	for (int field = 2; p && field < 22; field++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	return p && sscanf(p, "%llu", ret) == 1 ? 0 : -EINVAL;
}
