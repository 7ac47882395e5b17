"""A shell in a real terminal: a tmux of the test's own."""
import os
import re
import shutil
import subprocess
import time

import pytest

DEADLINE_S = 60
needs_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")


class Terminal:
    """A shell in a window of a tmux of its own."""

    def __init__(self, directory):
        self.directory, self.socket = directory, str(directory / "tmux")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30",
                  "env", "PS1=shell> ", "HISTFILE=", "bash", "--norc", "--noprofile")
        self.wait("shell> ")

    def tmux(self, *args):
        return subprocess.run(["tmux", "-S", self.socket, *args], capture_output=True, text=True, timeout=DEADLINE_S,
                              check=True, env={**os.environ, "TMUX": "", "LC_ALL": "C.UTF-8"}).stdout

    def screen(self):
        return self.tmux("capture-pane", "-p", "-J", "-S", "-200")

    def wait(self, pattern, what=None):
        """Waits until PATTERN is on the screen (or WHAT() says so); returns the match."""
        end = time.monotonic() + DEADLINE_S
        while True:
            found = what() if what else re.search(pattern, self.screen(), re.M)
            if found:
                return found
            assert time.monotonic() < end, f"waited in vain for {pattern!r}; the screen:\n{self.screen()}"
            time.sleep(0.02)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def keys(self, *names):
        self.tmux("send-keys", *names)

    def run(self, command):
        self.type(command)
        self.keys("Enter")

    def mode(self):
        """The terminal's settings but its size, asked by a program in it; only meaningful at the shell's prompt."""
        path = self.directory / f"mode{time.monotonic_ns()}"
        self.run(f"clear; stty -a | tail -n +2 >{path}; mv {path} {path}.done")
        self.wait("the terminal's mode", lambda: os.path.exists(f"{path}.done"))
        return open(f"{path}.done", encoding="utf-8").read()

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, timeout=DEADLINE_S, check=False)


@pytest.fixture(name="terminal")
def fixture_terminal(tmp_path):
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def pid_of(terminal):
    """The hyperctl that runs in the terminal, once there is one."""
    shell = terminal.tmux("list-panes", "-F", "#{pane_pid}").strip()

    def look():
        children = open(f"/proc/{shell}/task/{shell}/children", encoding="ascii").read().split()
        return [int(pid) for pid in children if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "hyperctl"]

    return terminal.wait("hyperctl to run", look)[0]
