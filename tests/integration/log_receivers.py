"""Receivers of logs for the tests: rsyslog, graygelf and a Fluentd server of npm's, and simple ones that fail on purpose."""
import contextlib
import functools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time

import pytest

RSYSLOGD = "/usr/sbin/rsyslogd"
# Packages of npm are installed once for the machine, beside the kernels that the build keeps.
NPM_DIRECTORY = pathlib.Path("/var/cache/hyper/npm-log-receivers")
NPM_PACKAGES = ["graygelf@2", "@fluent-org/logger@1"]
NPM_S = 100
DEADLINE_S = 120


def wait_for(condition, what):
    """Waits for a true value and returns it."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what() if callable(what) else what}: not within {DEADLINE_S} s")
        time.sleep(0.02)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Program:
    """A receiver that runs as a program and writes what it gets, a line each, to a file."""

    def __init__(self, command, output, env=None, ready=None):
        self.output = pathlib.Path(output)
        self.errors = self.output.with_suffix(".err")
        with open(self.output.with_suffix(".out"), "wb") as out, open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=env)
        try:
            wait_for(lambda: self.process.poll() is not None or ready(), f"{command[0]} is ready")
            assert self.process.poll() is None, self.errors.read_text()
        except AssertionError:
            self.stop()
            raise

    def lines(self):
        return self.output.read_text(errors="replace").splitlines() if self.output.exists() else []

    def wait_lines(self, count, containing=""):
        def there():
            found = [line for line in self.lines() if containing in line]
            return found if len(found) >= count else None
        return wait_for(there, lambda: f"{count} lines with '{containing}' in {self.lines()}\n{self.errors.read_text()}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Rsyslog(Program):
    """On UDP, TCP, TLS and a Unix socket. Each line: how rsyslog understood it, then as it came."""

    def __init__(self, directory):
        if not os.access(RSYSLOGD, os.X_OK):
            pytest.skip("rsyslog is not installed")
        self.udp, self.tcp, self.tls = free_port(socket.SOCK_DGRAM), free_port(), free_port()
        self.socket = directory / "syslog.sock"
        self.certificate = directory / "cert.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(directory / "key.pem"),
                        "-out", str(self.certificate)], check=True, capture_output=True)
        configuration = directory / "rsyslog.conf"
        output = directory / "syslog.log"
        tls = ""
        self.has_tls = bool(list(pathlib.Path("/usr/lib").glob("*/rsyslog/lmnsd_ossl.so")))
        if self.has_tls:
            tls = f"""input(type="imtcp" address="127.0.0.1" port="{self.tls}" ruleset="all" StreamDriver.Name="ossl"
                StreamDriver.Mode="1" StreamDriver.AuthMode="anon")"""
        configuration.write_text(f"""
            global(workDirectory="{directory}" maxMessageSize="64k" defaultNetstreamDriverCAFile="{self.certificate}"
                defaultNetstreamDriverCertFile="{self.certificate}" defaultNetstreamDriverKeyFile="{directory}/key.pem")
            module(load="imudp") module(load="imtcp") module(load="imuxsock" SysSock.Use="off")
            template(name="line" type="string"
                string="%syslogfacility-text%.%syslogseverity-text%|%app-name%|%procid%|%msg:::drop-last-lf%|%rawmsg%\\n")
            ruleset(name="all") {{ action(type="omfile" file="{output}" template="line" flushOnTXEnd="on") }}
            input(type="imudp" address="127.0.0.1" port="{self.udp}" ruleset="all")
            input(type="imtcp" address="127.0.0.1" port="{self.tcp}" ruleset="all")
            input(type="imuxsock" socket="{self.socket}" ruleset="all" useSpecialParser="off" ParseHostname="on"
                UsePIDFromSystem="off")
            {tls}
            """)
        super().__init__([RSYSLOGD, "-n", "-C", "-f", str(configuration), "-i", str(directory / "rsyslog.pid")], output,
                         ready=self.listens)

    def listens(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.tcp), 1):
            return self.socket.exists()
        return False


@functools.lru_cache
def npm_failure():
    """Why npm's packages cannot be had, or None; asked once a run."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "node or npm is not installed"
    modules = NPM_DIRECTORY / "node_modules"
    if (modules / "graygelf").exists() and (modules / "@fluent-org/logger").exists():
        return None
    NPM_DIRECTORY.mkdir(parents=True, exist_ok=True)
    try:
        result = subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1",
                                 "--fetch-timeout=30000", *NPM_PACKAGES], cwd=NPM_DIRECTORY, capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, timeout=NPM_S, check=False)
    except subprocess.TimeoutExpired:
        return f"npm did not install graygelf and @fluent-org/logger within {NPM_S} s"
    return "npm does not install graygelf and @fluent-org/logger: " + result.stderr[-300:] if result.returncode else None


def npm_modules():
    """Where npm's packages are; skips when they cannot be had."""
    if npm_failure():
        pytest.skip(npm_failure())
    return NPM_DIRECTORY / "node_modules"


class Node(Program):
    """A script of a few lines that appends JSON lines to OUT."""

    PRELUDE = """
        const fs = require('fs');
        const put = (value) => fs.appendFileSync(process.env.OUT, JSON.stringify(value) + '\\n');
        const ready = () => fs.writeFileSync(process.env.READY, '');
        """

    def __init__(self, directory, name, script, **variables):
        modules = npm_modules()
        directory.mkdir(exist_ok=True)
        output, mark = directory / f"{name}.json", directory / f"{name}.ready"
        env = {**os.environ, "NODE_PATH": str(modules), "OUT": str(output), "READY": str(mark),
               **{key: str(value) for key, value in variables.items()}}
        super().__init__(["node", "-e", self.PRELUDE + script], output, env=env, ready=mark.exists)

    def messages(self, count, containing=""):
        return [json.loads(line) for line in self.wait_lines(count, containing)]


def graygelf(directory):
    port = free_port(socket.SOCK_DGRAM)
    node = Node(directory, "gelf", """
        const server = require('graygelf/server')();
        server.on('message', put);
        server.listen(Number(process.env.PORT), '127.0.0.1');
        server._udp.on('listening', ready);
        """, PORT=port)
    node.port = port
    return node


def fluent_server(directory):
    port = free_port()
    node = Node(directory, "fluent", """
        const { FluentServer } = require('@fluent-org/logger');
        const server = new FluentServer({ listenOptions: { port: Number(process.env.PORT), host: '127.0.0.1' } });
        server.on('entry', (tag, time, record) => put({ tag, time: String(time), nanos: time && time.nano, record }));
        server.listen().then(ready);
        """, PORT=port)
    node.port = port
    return node


class Plain:
    """A TCP receiver in the test: takes one connection at a time, reads when it is let, dies and comes back."""

    def __init__(self, read=True):
        self.port, self.data, self.connections = free_port(), b"", 0
        self.reading = threading.Event()
        self.listener = self.peer = self.thread = None
        if read:
            self.reading.set()

    def start(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What it does not read is held by the sender soon.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, args=(self.listener,), daemon=True)
        self.thread.start()
        return self

    def serve(self, listener):
        while True:
            try:
                self.peer, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            with self.peer, contextlib.suppress(OSError):
                while True:
                    self.reading.wait()
                    piece = self.peer.recv(65536)
                    if not piece:
                        break
                    self.data += piece

    def stop(self):
        for one in (self.listener, self.peer):
            if one:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self.reading.set()
        if self.thread:
            self.thread.join(10)
        self.listener = self.peer = None

    def wait_for(self, text, count=1):
        return wait_for(lambda: self.data.count(text) >= count, lambda: f"{count} times {text} in {self.data[-2000:]}")


class Datagrams:
    """A Unix datagram socket in the test, as journald's."""

    def __init__(self, path):
        self.path, self.messages = pathlib.Path(path), []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
            if data == b"stop":
                return
            for one in descriptors:
                with open(one, "rb") as file:
                    file.seek(0)
                    data += file.read()
            self.messages.append(data)

    def stop(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.sendto(b"stop", str(self.path))
        self.thread.join(10)
        self.socket.close()
        self.path.unlink()
