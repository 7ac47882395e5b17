"""The real hyperd on roots of its own, real clients, and a look at what is left behind.

One daemon serves a whole run; each test finds it without containers and pods and leaves it so. Tests that need a daemon
of their own (to kill it, to configure it) call `new_daemon(...)`. HYPER_BUILD_DIR names the build (default: build/).
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HYPER_BUILD_DIR", ROOT / "build")).resolve()
SHARED_IMAGES = ROOT.parent / "shared" / "images"
HYPERD, HYPERCTL = BUILD / "hyperd/hyperd", BUILD / "hyperctl/hyperctl"
ISOLATIONS = ("vm", "namespace")
# A start under emulation takes a second, a template a few; a sanitized daemon several times as long.
TIMEOUT_S = 120



def interrupted(signum, _frame):
    """Ends the run as Ctrl-C does, so that fixtures clean up."""
    raise KeyboardInterrupt(signal.Signals(signum).name)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: left out by ./run-tests --quick")
    # A background job of a shell ignores these two, and so would every client that the tests start and signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, interrupted)
    signal.signal(signal.SIGTERM, interrupted)


def missing():
    """Why the daemon cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for path in (HYPERD, BUILD / "hyperstart/hyperstart", BUILD / "vmlinux", BUILD / "initramfs.cpio"):
        if not path.exists():
            return f"{path} is missing: run tools/build"
    return None


def docker_clis():
    """The docker CLIs of this machine, one of each version."""
    found = {}
    for path in ("/usr/bin/docker", "/usr/local/bin/docker"):
        if os.access(path, os.X_OK):
            out = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            found.setdefault(out.split(",")[0], path)
    return list(found.values())


class Traces:
    """What a daemon may leave behind on the host, found by its roots and its cgroup's name."""

    def __init__(self, state, cgroup):
        self.state, self.cgroup = str(state), cgroup

    def processes(self):
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                groups = (entry / "cgroup").read_text()
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if stat[0] != "Z" and (self.state in command or f"/{self.cgroup}/" in groups):
                found[int(entry.name)] = command.strip()[:200]
        return found

    def mounts(self):
        return [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if self.state in line]

    def cgroups(self):
        return [str(path) for top in pathlib.Path("/sys/fs/cgroup").glob(f"**/{self.cgroup}")
                for path in top.glob("**/") if path != top]

    def sockets(self):
        return [str(path) for path in pathlib.Path(self.state).rglob("*") if path.is_socket()]

    def all(self):
        kinds = {"processes": self.processes(), "mounts": self.mounts(), "cgroups": self.cgroups(),
                 "sockets": self.sockets()}
        return {kind: found for kind, found in kinds.items() if found}


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def message(self):
        return self.json()["message"]


class Daemon:
    def __init__(self, state=None, args=(), config=None):
        # Unix sockets have room for 108 bytes.
        self.state = pathlib.Path(state or tempfile.mkdtemp(prefix="hy", dir="/tmp"))
        self.cgroup = f"hyper-test-{os.path.basename(self.state)}"
        self.data, self.run = self.state / "data", self.state / "run"
        self.socket, self.docker_socket = self.run / "hyper.sock", self.run / "docker.sock"
        self.args, self.process = list(args), None
        self.traces = Traces(self.state, self.cgroup)
        self.config = self.state / "hyperd.json"
        self.config.write_text(json.dumps(config or {}))

    def command(self, *args):
        return [str(HYPERD), "--data-root", str(self.data), "--run-root", str(self.run),
                "--config-file", str(self.config), "--cgroup-parent", "/" + self.cgroup, *self.args, *args]

    def start(self, *args, **options):
        self.log = open(self.state / "hyperd.log", "ab")
        self.process = subprocess.Popen(self.command(*args), stdout=self.log, stderr=self.log, start_new_session=True,
                                        **options)
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), self.connect() as connection:
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                if b"200" in connection.recv(100):
                    return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("hyperd did not start:\n" + self.log_text())
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)

    def complaints(self):
        """What sanitizers have said."""
        return re.findall(r".*(?:runtime error|AddressSanitizer:|LeakSanitizer:).*", (self.state / "hyperd.log").read_text(errors="replace"))

    def log_text(self):
        return (self.state / "hyperd.log").read_text(errors="replace")[-8000:]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise RuntimeError("hyperd did not stop:\n" + self.log_text()) from None
        if self.process:
            self.log.close()
        return self.process.returncode if self.process else None

    def kill(self):
        """SIGKILL, as a crash."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def remove(self):
        for pid in self.traces.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for line in reversed(self.traces.mounts()):
            subprocess.run(["umount", "-l", line.split()[4]], check=False)
        shutil.rmtree(self.state, ignore_errors=True)
        for top in pathlib.Path("/sys/fs/cgroup").glob(f"**/{self.cgroup}"):
            for path in sorted(top.glob("**/"), key=lambda p: -len(str(p))):
                with contextlib.suppress(OSError):
                    path.rmdir()

    def connect(self, path=None):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(str(path or self.socket))
        except OSError:
            connection.close()
            raise
        return connection

    def request(self, method, path, body=None, headers=()):
        """One request on a connection of its own; BODY: bytes, text, or what becomes JSON."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        data = body.encode() if isinstance(body, str) else body or b""
        head = [f"{method} {path} HTTP/1.1", "Host: hyper", "Connection: close", *headers]
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        with self.connect() as connection:
            connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + data)
            return parse_answer(read_all(connection))

    def environment(self):
        return {**os.environ, "DOCKER_HOST": f"unix://{self.docker_socket}", "HYPER_HOST": f"unix://{self.socket}",
                "DOCKER_CONFIG": str(self.state / "docker-config"), "LC_ALL": "C"}

    def docker(self, *args, cli="/usr/bin/docker", check=True, stdin=subprocess.DEVNULL, **options):
        """Runs the docker CLI; with text output."""
        if isinstance(options.get("input"), str) or "input" in options:
            stdin = None
        result = subprocess.run([cli, *map(str, args)], env=self.environment(), capture_output=True, text=True, check=False,
                                timeout=TIMEOUT_S, **({} if stdin is None else {"stdin": stdin}), **options)
        if check and result.returncode != 0:
            raise AssertionError(f"docker {args}: exit {result.returncode}\n{result.stdout}\n{result.stderr}\n"
                                 + self.log_text())
        return result

    def hyperctl(self, *args, check=True, **options):
        result = subprocess.run([str(HYPERCTL), *map(str, args)], env=self.environment(), capture_output=True, text=True,
                                check=False, timeout=TIMEOUT_S, **options)
        if check and result.returncode != 0:
            raise AssertionError(f"hyperctl {args}: exit {result.returncode}\n{result.stdout}\n{result.stderr}\n"
                                 + self.log_text())
        return result

    def import_image(self, tar, name):
        answer = self.request("POST", f"/images/create?fromSrc=-&repo={name}", pathlib.Path(tar).read_bytes())
        assert answer.status == 200 and b"error" not in answer.body, answer.body

    def containers(self):
        return self.request("GET", "/containers/json?all=1").json()

    def pods(self):
        return self.request("GET", "/hyper/v1/pods").json()

    def clear(self):
        """Removes every container and pod."""
        for pod in self.pods():
            answer = self.request("DELETE", f"/hyper/v1/pods/{pod['Id']}?force=1")
            assert answer.status in (204, 404), answer.body
        for volume in self.request("GET", "/volumes").json()["Volumes"]:
            self.request("DELETE", f"/volumes/{volume['Name']}?force=1")
        assert self.containers() == []


def read_all(connection):
    data = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece


def parse_answer(data):
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    if headers.get("transfer-encoding") == "chunked":
        chunks, rest = b"", body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            size = int(size.split(b";")[0], 16)
            if size == 0:
                break
            chunks, rest = chunks + rest[:size], rest[size + 2:]
        body = chunks
    return Answer(int(lines[0].split()[1]), headers, body)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A directory with busybox.tar and bash.tar."""
    directory = tmp_path_factory.mktemp("images")
    subprocess.run([str(ROOT / "images/build-demo"), str(directory)], check=True, timeout=TIMEOUT_S)
    return directory


@pytest.fixture(scope="session")
def shared_daemon(images):
    reason = missing()
    if reason:
        pytest.skip(reason)
    made = Daemon(args=["--debug"])
    try:
        made.start()
        made.import_image(images / "busybox.tar", "busybox")
        yield made
        made.clear()
        status = made.stop()
        left = made.traces.all()
        assert status == 0, made.log_text()
        assert not made.complaints()
        assert not left, f"left behind: {json.dumps(left, indent=1)}\n{made.log_text()}"
    finally:
        with contextlib.suppress(RuntimeError):
            made.stop()
        made.remove()


@pytest.fixture
def daemon(shared_daemon):
    """The run's daemon, without containers and pods before and after."""
    if shared_daemon.process.poll() is not None:
        raise RuntimeError("hyperd has died:\n" + shared_daemon.log_text())
    yield shared_daemon
    if shared_daemon.process.poll() is not None:
        raise RuntimeError("hyperd has died:\n" + shared_daemon.log_text())
    shared_daemon.clear()


@pytest.fixture
def new_daemon(images):
    """new_daemon(*ARGS, config={…}, image=True): a daemon of the test's own, checked for leaks when it ends."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    made = []

    def make(*args, config=None, image=True, start=True):
        daemon = Daemon(args=args, config=config)
        made.append(daemon)
        if start:
            daemon.start()
        if start and image:
            daemon.import_image(images / "busybox.tar", "busybox")
        return daemon

    yield make
    left, complaints = {}, []
    for daemon in made:
        try:
            if daemon.process and daemon.process.poll() is None:
                daemon.clear()
            daemon.stop()
            left.update(daemon.traces.all())
            complaints += daemon.complaints()
        finally:
            daemon.remove()
    assert not left, f"left behind: {json.dumps(left, indent=1)}"
    assert not complaints


@pytest.fixture(params=ISOLATIONS)
def isolation(request):
    return request.param


@pytest.fixture(params=docker_clis() or ["/usr/bin/docker"])
def cli(request):
    if not os.access(request.param, os.X_OK):
        pytest.skip(f"{request.param}: no docker CLI on this machine")
    return request.param


# A real dockerd to compare with; it builds on the classes above.
from dockerd import dockerd, shared_dockerd  # noqa: E402,F401
