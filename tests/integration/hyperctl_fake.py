"""A daemon made of Python functions, for tests of what hyperctl does with answers that a real one seldom gives."""
import json
import os
import pathlib
import re
import socket
import threading
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HYPER_BUILD_DIR", TOP / "build"))
HYPERCTL = str(BUILD / "hyperctl" / "hyperctl")
if not os.path.exists(HYPERCTL):
    raise RuntimeError(f"{HYPERCTL} is not built; HYPER_BUILD_DIR names the build directory")

ID = "c0ffee" + "0" * 58
POD = "beef" + "0" * 60


class Request:
    """One request on its connection; answers are written by the handler."""

    def __init__(self, connection):
        self.socket = connection
        self.file = connection.makefile("rb")
        line = self.file.readline().decode()
        if not line:
            raise EOFError
        self.method, target, _ = line.split(" ", 2)
        parsed = urllib.parse.urlsplit(target)
        self.path = urllib.parse.unquote(parsed.path)
        self.raw_path = parsed.path
        self.query = dict(urllib.parse.parse_qsl(parsed.query, keep_blank_values=True))
        self.headers = {}
        while (line := self.file.readline().strip()):
            name, value = line.decode().split(":", 1)
            self.headers[name.lower()] = value.strip()
        self.match = None

    def body(self):
        if self.headers.get("transfer-encoding") == "chunked":
            whole = b""
            while (size := int(self.file.readline(), 16)):
                whole += self.file.read(size)
                self.file.readline()
            self.file.readline()
            return whole
        return self.file.read(int(self.headers.get("content-length", 0)))

    def send(self, data):
        self.socket.sendall(data)

    def json(self, value, status="200 OK"):
        data = json.dumps(value).encode()
        self.send(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

    def error(self, status, message):
        self.json({"message": message}, status)

    def empty(self, status="204 No Content"):
        self.send(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    def hijack(self, upgraded=True):
        head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n" if upgraded else "HTTP/1.1 200 OK\r\n"
        self.send((head + "Content-Type: application/vnd.docker.raw-stream\r\n\r\n").encode())

    def chunks(self):
        """Begins a chunked answer; the returned function sends one chunk, and ends it when given b""."""
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        return lambda data: self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def read(self, size=65536):
        """What the client has typed: raw bytes after a hijack, b"" at its end."""
        return self.file.read1(size)


def frame(stream, data):
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


class FakeDaemon:
    """Serves ROUTES: (method, pattern of the whole path, function(request)), the first that fits."""

    def __init__(self, directory, routes):
        self.path = str(directory / "fake.sock")
        self.routes = list(routes)
        self.seen = []  # "METHOD /path?query" in the order of arrival
        self.failures = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.host = "unix://" + self.path
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            try:
                request = Request(connection)
                self.seen.append(f"{request.method} {request.path}")
                for method, pattern, function in self.routes:
                    request.match = re.fullmatch(pattern, request.path)
                    if request.match and request.method == method:
                        function(request)
                        break
                else:
                    request.error("404 Not Found", f"no route for {request.method} {request.path}")
                connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError, EOFError, OSError):
                pass  # the client left
            except Exception as failure:  # pylint: disable=broad-except
                self.failures.append(failure)

    def close(self):
        """The thread ends before the descriptor does: its number may be another daemon's at once."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join()
        self.listener.close()


class Process:
    """Routes for one container whose process is the function `main(request)`, run on its attach."""

    def __init__(self, main, tty=False, code=0, upgraded=True):
        self.main, self.tty, self.code, self.upgraded = main, tty, code, upgraded
        self.started, self.ended = threading.Event(), threading.Event()
        self.created, self.sizes, self.signals, self.order = None, [], [], []
        self.signalled, self.resized = threading.Event(), threading.Event()

    def routes(self):
        return [
            ("POST", "/containers/create", self.create),
            ("GET", f"/containers/({ID}|web)/json", self.inspect),
            ("POST", f"/containers/({ID}|web)/attach", self.attach),
            ("POST", f"/containers/({ID}|web)/wait", self.wait),
            ("POST", f"/containers/({ID}|web)/start", self.start),
            ("POST", f"/containers/({ID}|web)/resize", self.resize),
            ("POST", f"/containers/({ID}|web)/kill", self.kill),
        ]

    def create(self, request):
        self.created = json.loads(request.body())
        self.tty = self.created.get("Tty", False)
        request.json({"Id": ID, "Warnings": []}, "201 Created")

    def inspect(self, request):
        request.json({"Id": ID, "Name": "/web", "State": {"Running": True, "Paused": False},
                      "Config": {"Tty": self.tty, "OpenStdin": True}, "HostConfig": {"AutoRemove": False}})

    def attach(self, request):
        self.order.append("attach")
        request.hijack(self.upgraded)
        self.started.wait(20)
        self.main(request)
        self.ended.set()

    def wait(self, request):
        self.order.append("wait")
        send = request.chunks()
        self.ended.wait(20)
        send(json.dumps({"StatusCode": self.code}).encode())
        send(b"")

    def start(self, request):
        self.order.append("start")
        request.empty()
        self.started.set()

    def resize(self, request):
        self.sizes.append((int(request.query["h"]), int(request.query["w"])))
        request.empty("200 OK")
        self.resized.set()

    def kill(self, request):
        self.signals.append(request.query["signal"])
        request.empty()
        self.signalled.set()
