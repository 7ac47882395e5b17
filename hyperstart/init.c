#include "hyperstart/init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/capability.h>

#include "base/str.h"

#define CANNOT_WAIT 127

static volatile pid_t init_child;

static void forward(int signal)
{
	kill(init_child, signal);
}

static bool is_forwarded(int signal)
{
	switch (signal) {
	case SIGCHLD:
	case SIGKILL:
	case SIGSTOP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGSEGV:
	case SIGBUS:
	case SIGFPE:
	case SIGILL:
		return false;
	default:
		return true;
	}
}

static _Noreturn void serve(pid_t child)
{
	struct sigaction action = { .sa_handler = forward, .sa_flags = SA_RESTART };

	init_child = child;
	for (int sig = 1; sig <= 64; sig++)
		if (is_forwarded(sig))
			sigaction(sig, &action, NULL); /* refused for the C library's own */
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);

		if (pid == child)
			_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
		if (pid < 0 && errno != EINTR)
			_exit(CANNOT_WAIT);
	}
}

/* Keeps what signalling another user's process takes. */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 1u << CAP_KILL, 1u << CAP_KILL, 0 }, { 0 } };

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (cap != CAP_KILL)
			prctl(PR_CAPBSET_DROP, cap);
	syscall(SYS_capset, &header, data);
}

_Noreturn void init_become(int exe_fd, pid_t main)
{
	char pid[16];
	char *argv[] = { (char *)"init", (char *)"--init", pid, NULL };
	char *env[] = { NULL };

	snprintf(pid, sizeof(pid), "%d", (int)main);
	drop_capabilities();
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	syscall(SYS_close_range, 3u, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
	syscall(SYS_execveat, exe_fd, "", argv, env, AT_EMPTY_PATH);
	/* A program that is not static finds no loader in a container. */
	syscall(SYS_close_range, 0u, ~0u, 0);
	serve(main);
}

int init_main(const char *pid)
{
	unsigned long long child;

	if (parse_u64(pid, 1, 1 << 22, &child) < 0)
		return 2;
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "init");
	syscall(SYS_close_range, 0u, ~0u, 0);
	serve((pid_t)child);
}
