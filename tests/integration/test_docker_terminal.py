"""The docker CLI on a real terminal."""
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pytest

from conftest import TIMEOUT_S


class Terminal:
    def __init__(self, command, environment, rows=30, columns=100):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(command, env=environment, stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.text = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, part):
        deadline = time.monotonic() + TIMEOUT_S
        while part.encode() not in self.text:
            assert time.monotonic() < deadline, f"no {part!r} in {self.text!r}"
            if select.select([self.master], [], [], 1)[0]:
                try:
                    self.text += os.read(self.master, 4096)
                except OSError:
                    break
        assert part.encode() in self.text, self.text
        self.text = self.text.partition(part.encode())[2]

    def end(self):
        status = self.process.wait(TIMEOUT_S)
        os.close(self.master)
        return status


@pytest.fixture
def terminal(daemon, cli):
    made = []

    def make(*args):
        made.append(Terminal([cli, *args], daemon.environment()))
        return made[-1]
    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_a_shell(terminal, isolation):
    shell = terminal("run", "-it", "--rm", "--isolation", isolation, "busybox", "sh")
    shell.expect("#")
    shell.type("tty; echo $((40+2))\r")
    shell.expect("/dev/pts/")
    shell.expect("42")
    shell.resize(50, 120)
    # The new size arrives through another request: ask until it has.
    shell.type("until stty size | grep -q '50 120'; do :; done; echo re''sized\r")
    shell.expect("resized")
    shell.type("exit 9\r")
    assert shell.end() == 9


def test_detach_and_attach(terminal, daemon, isolation):
    shell = terminal("run", "-it", "--name", "sh1", "--isolation", isolation, "busybox", "sh")
    shell.expect("#")
    shell.type("X=kept; echo se''t\r")
    shell.expect("set")
    shell.type("\x10\x11")
    assert shell.end() == 0
    again = terminal("attach", "--detach-keys", "ctrl-a,x", "sh1")
    again.type("echo $X-here\r")
    again.expect("kept-here")
    again.type("\x01x")
    assert again.end() in (0, 1)  # "read escape sequence": the CLI counts it as an error of attach
    assert daemon.docker("inspect", "-f", "{{.State.Running}}", "sh1").stdout == "true\n"


def test_exec_with_a_terminal(terminal, daemon, isolation):
    daemon.docker("run", "-d", "--name", "sl1", "--isolation", isolation, "busybox", "sleep", "1000")
    shell = terminal("exec", "-it", "sl1", "sh")
    shell.expect("#")
    shell.type("ps -o comm | grep sl''eep; exit 4\r")
    shell.expect("sleep")
    assert shell.end() == 4
