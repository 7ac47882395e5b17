#include "hyperctl/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"

static struct {
	int fd;
	bool raw;
	struct termios saved;
} terminal = { .fd = -1 };

/* Signals that end the program by default. */
static const int fatal_signals[] = {
	SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGPIPE, SIGALRM, SIGUSR1,
	SIGUSR2, SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT,
};

void terminal_restore(void)
{
	if (!terminal.raw)
		return;
	terminal.raw = false;
	/* TCSADRAIN: what the process printed last is shown before the mode changes. */
	tcsetattr(terminal.fd, TCSADRAIN, &terminal.saved);
}

/* Only async-signal-safe calls; TCSANOW, since draining may never end here. */
static void on_fatal_signal(int signal)
{
	if (terminal.raw)
		tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
	raise(signal); /* SA_RESETHAND: now with its default action */
}

static int set_raw(struct error *err)
{
	struct termios raw = terminal.saved;

	cfmakeraw(&raw);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(terminal.fd, TCSADRAIN, &raw) < 0)
		return error_errno(err, errno, "setting the terminal to raw mode");
	terminal.raw = true;
	return 0;
}

int terminal_raw(int fd, struct error *err)
{
	static bool prepared;
	struct sigaction action = {
		.sa_handler = on_fatal_signal,
		.sa_flags = (int)SA_RESETHAND | SA_NODEFER,
	};

	if (tcgetattr(fd, &terminal.saved) < 0)
		return error_errno(err, errno, "reading the terminal's mode");
	terminal.fd = fd;
	if (!prepared) {
		atexit(terminal_restore);
		for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++) {
			struct sigaction old;

			/* One that the caller ignores (nohup) stays ignored. */
			if (sigaction(fatal_signals[i], NULL, &old) == 0 &&
			    old.sa_handler == SIG_DFL)
				sigaction(fatal_signals[i], &action, NULL);
		}
		prepared = true;
	}
	return set_raw(err);
}

void terminal_raw_again(void)
{
	if (terminal.fd >= 0)
		set_raw(NULL);
}

bool terminal_size(int fd, unsigned *ret_rows, unsigned *ret_columns)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
		return false;
	*ret_rows = size.ws_row;
	*ret_columns = size.ws_col;
	return true;
}
