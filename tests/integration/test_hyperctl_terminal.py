"""hyperctl in a real terminal (tmux): raw mode and its end, window sizes, detach keys, stopping and dying."""
import json
import os
import signal

import pytest

from hyperctl_fake import HYPERCTL, ID, FakeDaemon, Process
from hyperctl_tmux import DEADLINE_S, fixture_terminal, needs_tmux, pid_of  # pylint: disable=unused-import

pytestmark = needs_tmux


class Echo(Process):
    """A process in a terminal that shows each byte it gets, and ends at 'q'."""

    def __init__(self, code=0):
        super().__init__(self.talk, tty=True, code=code)
        self.typed = b""

    def talk(self, request):
        request.send(b"READY\r\n")
        while (data := request.read()):
            self.typed += data
            request.send(repr(data)[1:].encode() + b"\r\n")
            if b"q" in data:
                return


@pytest.fixture(name="echo")
def fixture_echo(tmp_path):
    echo = Echo(code=9)
    echo.daemon = FakeDaemon(tmp_path, echo.routes())
    yield echo
    echo.started.set()
    echo.daemon.close()
    assert not echo.daemon.failures, echo.daemon.failures


def expect_typed(terminal, echo, expected):
    try:
        terminal.wait("what was typed", lambda: echo.typed == expected)
    except AssertionError as failure:
        raise AssertionError(f"the process got {echo.typed}, not {expected}") from failure


def command(echo, *args):
    return f"{HYPERCTL} -H {echo.daemon.host} {' '.join(args)}; echo EXIT=$?"


def test_what_is_typed_goes_through_raw_and_the_terminal_is_restored(terminal, echo):
    before = terminal.mode()
    terminal.run(command(echo, "run", "-it", "img"))
    terminal.wait("^READY")
    terminal.keys("C-c", "C-z", "C-d")
    terminal.type("é")
    terminal.keys("Enter", "Up", "C-p", "x")
    expect_typed(terminal, echo, b"\x03\x1a\x04\xc3\xa9\r\x1b[A\x10x")
    terminal.keys("q")
    terminal.wait("^EXIT=9")
    assert not echo.signals, "Ctrl-C is a byte here, not a signal"
    assert "é" not in terminal.screen(), "the terminal echoed what the process should have"
    assert terminal.mode() == before


def test_sizes_follow_the_window(terminal, echo):
    terminal.run(command(echo, "run", "-it", "img"))
    terminal.wait("^READY")
    assert echo.created["HostConfig"]["ConsoleSize"] == [30, 100]
    assert echo.resized.wait(DEADLINE_S) and echo.sizes[0] == (30, 100)
    for width, height in ((70, 20), (120, 40)):
        terminal.tmux("resize-window", "-x", str(width), "-y", str(height))
        terminal.wait("the new size", lambda expected=(height, width): echo.sizes[-1] == expected)
    terminal.keys("q")
    terminal.wait("^EXIT=9")


@pytest.mark.parametrize("option,keys", [("", ("C-p", "C-q")), ("--detach-keys=a,ctrl-x", ("a", "C-x"))])
def test_detach_keys(terminal, echo, option, keys):
    before = terminal.mode()
    terminal.run(command(echo, "run", "-it", option, "img"))
    terminal.wait("^READY")
    terminal.type("z")
    expect_typed(terminal, echo, b"z")
    terminal.keys(*keys)
    terminal.wait("^EXIT=0")
    assert echo.typed == b"z", "the keys that detach are not the process's"
    assert terminal.mode() == before


def test_attach_again(terminal, echo):
    echo.started.set()
    terminal.run(command(echo, "attach", "web"))
    terminal.wait("^READY")
    terminal.keys("q")
    terminal.wait("^EXIT=9")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT])
def test_a_signal_that_ends_us_leaves_the_terminal_as_it_was(terminal, echo, number):
    before = terminal.mode()
    terminal.run(command(echo, "run", "-it", "img"))
    terminal.wait("^READY")
    terminal.type("z")
    expect_typed(terminal, echo, b"z")
    os.kill(pid_of(terminal), number)
    terminal.wait(f"^EXIT={128 + number}" if number != signal.SIGINT else "shell> $")
    assert terminal.mode() == before


def test_the_end_of_the_daemon_leaves_the_terminal_as_it_was(terminal, echo):
    def talk(request):
        request.send(b"READY\r\n")
        request.read()

    echo.main = talk
    before = terminal.mode()
    terminal.run(command(echo, "run", "-it", "img"))
    terminal.wait("^READY")
    terminal.type("x")
    terminal.wait("^EXIT=")
    assert terminal.mode() == before


def test_stopped_and_continued(terminal, echo):
    before = terminal.mode()
    terminal.run(f"{HYPERCTL} -H {echo.daemon.host} run -it img")
    terminal.wait("^READY")
    pid = pid_of(terminal)
    os.kill(pid, signal.SIGTSTP)
    terminal.wait("Stopped")
    assert terminal.mode() == before
    echo.sizes.clear()
    terminal.run("clear; fg")
    terminal.wait("the size to be sent again", lambda: echo.sizes)
    terminal.keys("C-c")
    expect_typed(terminal, echo, b"\x03")
    terminal.type("q")
    terminal.wait("shell> $")
    assert terminal.mode() == before


def test_without_t_ctrl_c_is_a_signal_for_the_process(terminal, tmp_path):
    process = Process(lambda request: process.signalled.wait(DEADLINE_S), code=130)
    directory = tmp_path / "fake"
    directory.mkdir()
    daemon = FakeDaemon(directory, process.routes())
    terminal.run(f"{HYPERCTL} -H {daemon.host} run img; echo EXIT=$?")
    terminal.wait("the start", process.started.is_set)
    terminal.keys("C-c")
    terminal.wait("EXIT=130")
    assert process.signals == ["INT"]
    daemon.close()


def test_exec_has_the_size_from_its_birth(terminal, tmp_path):
    bodies = []

    def begin(request):
        bodies.append(json.loads(request.body()))
        request.hijack()
        request.send(b"IN\r\n")
        request.read()

    directory = tmp_path / "fake"
    directory.mkdir()
    daemon = FakeDaemon(directory, [
        ("GET", "/containers/web/json", lambda r: r.json({"Id": ID, "Name": "/web"})),
        ("POST", f"/containers/{ID}/exec", lambda r: (bodies.append(json.loads(r.body())), r.json({"Id": "e1"}, "201 Created"))),
        ("POST", "/exec/e1/start", begin), ("POST", "/exec/e1/resize", lambda r: r.empty("200 OK")),
        ("GET", "/exec/e1/json", lambda r: r.json({"ExitCode": 3, "Running": False}))])
    terminal.run(f"{HYPERCTL} -H {daemon.host} exec -it web sh; echo EXIT=$?")
    terminal.wait("^IN")
    terminal.type("x")
    terminal.wait("^EXIT=3")
    assert bodies[0]["ConsoleSize"] == [30, 100] and bodies[0]["Tty"] is True
    daemon.close()


def test_progress_is_redrawn_in_place(terminal, tmp_path):
    def load(request):
        request.body()
        send = request.chunks()
        for layer in ("aaa", "bbb"):
            send(b'{"status":"Waiting","id":"%s"}\n' % layer.encode())
        for done in range(0, 101, 10):
            for layer in ("aaa", "bbb"):
                send(b'{"status":"Loading layer","progressDetail":{"current":%d,"total":100},"id":"%s"}\n' % (done, layer.encode()))
        send(b'{"stream":"Loaded image: x\\n"}\n')
        send(b"")

    directory = tmp_path / "fake"
    directory.mkdir()
    daemon = FakeDaemon(directory, [("POST", "/images/load", load)])
    terminal.run(f"clear; {HYPERCTL} -H {daemon.host} load -i /dev/null; echo EXIT=$?")
    terminal.wait("^EXIT=0")
    lines = terminal.screen().splitlines()
    at = lines.index("EXIT=0")
    assert lines[at - 3:at] == ["aaa: Loading layer 100B/100B", "bbb: Loading layer 100B/100B", "Loaded image: x"]
    daemon.close()
