"""hyperctl against a fake daemon: exit codes, streams, half-close, errors, and daemons that misbehave."""
import json
import os
import signal
import subprocess
import threading

import pytest

from hyperctl_fake import HYPERCTL, ID, POD, FakeDaemon, Process, frame

DEADLINE_S = 30


@pytest.fixture(name="serve")
def fixture_serve(tmp_path):
    daemons = []

    def serve(*routes):
        daemons.append(FakeDaemon(tmp_path, routes))
        return daemons[-1]

    yield serve
    for daemon in daemons:
        daemon.close()
        assert not daemon.failures, daemon.failures


def hyperctl(daemon, *args, stdin=b"", env=None):
    host = daemon if isinstance(daemon, str) else daemon.host
    return subprocess.run([HYPERCTL, "-H", host, *args], input=stdin, capture_output=True, timeout=DEADLINE_S,
                          env={**os.environ, **(env or {})}, check=False)


def start(daemon, *args):
    return subprocess.Popen([HYPERCTL, "-H", daemon.host, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


# ---------------------------------------------------------------- finding the daemon

def test_no_daemon_says_where_and_how(tmp_path):
    done = hyperctl(f"unix://{tmp_path}/none.sock", "list")
    assert done.returncode == 1
    assert f"unix://{tmp_path}/none.sock".encode() in done.stderr and b"systemctl start hyperd" in done.stderr
    assert hyperctl(f"unix://{tmp_path}/none.sock", "run", "x").returncode == 125


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_permission_denied_says_so(serve, tmp_path):
    daemon = serve()
    os.chmod(daemon.path, 0o600)
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        os.chmod(directory, 0o755)

    done = subprocess.run(["/usr/bin/python3", "-c",
                           "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
                           "try: s.connect(sys.argv[1])\nexcept PermissionError: sys.exit(0)\nsys.exit(1)", daemon.path], check=False)
    if done.returncode:
        pytest.skip("the socket's mode does not keep others out here")
    # The program itself may stand where nobody else may look: it is opened before the user changes.
    program = os.open(HYPERCTL, os.O_RDONLY)
    done = subprocess.run([f"/proc/self/fd/{program}", "-H", daemon.host, "list"], capture_output=True, pass_fds=[program],
                          user=65534, group=65534, extra_groups=[], timeout=DEADLINE_S, check=False)
    os.close(program)
    assert done.returncode == 1
    assert b"permission denied" in done.stderr and b"group" in done.stderr


def test_host_from_the_environment_and_over_tcp(serve):
    daemon = serve(("GET", "/version", lambda r: r.json({"Version": "9.9"})))
    done = subprocess.run([HYPERCTL, "version"], env={"HYPER_HOST": daemon.host}, capture_output=True, timeout=DEADLINE_S,
                          check=False)
    assert b"9.9" in done.stdout and done.returncode == 0
    assert hyperctl("tcp://127.0.0.1:1", "list").returncode == 1
    done = hyperctl("gopher://x", "list")
    assert done.returncode == 125 and b"gopher://x" in done.stderr


# ---------------------------------------------------------------- errors

@pytest.mark.parametrize("status,message", [("400 Bad Request", "bad"), ("404 Not Found", "No such image: x"),
                                            ("409 Conflict", "name taken"), ("500 Internal Server Error", "oh no"),
                                            ("503 Service Unavailable", "later")])
def test_messages_of_the_daemon_are_printed(serve, status, message):
    daemon = serve(("POST", "/containers/create", lambda r: (r.body(), r.error(status, message))))
    done = hyperctl(daemon, "run", "x")
    assert done.returncode == 125
    assert done.stderr.startswith(b"hyperctl: " + message.encode())
    assert hyperctl(daemon, "create", "x").returncode == 1


@pytest.mark.parametrize("message,code", [('exec: "x": executable file not found in $PATH', 127),
                                          ("exec /x: no such file or directory", 127),
                                          ("exec /x: permission denied", 126),
                                          ("exec /tmp: is a directory", 126),
                                          ("out of memory", 125)])
def test_a_failed_start_has_dockers_exit_codes(serve, message, code):
    process = Process(lambda r: None)
    routes = [r for r in process.routes() if not r[1].endswith("/start")]
    daemon = serve(*routes, ("POST", f"/containers/{ID}/start", lambda r: r.error("400 Bad Request", message)))
    done = hyperctl(daemon, "run", "x")
    assert done.returncode == code
    assert message.encode() in done.stderr
    assert hyperctl(daemon, "run", "-d", "x").returncode == code


def test_escape_sequences_in_messages_are_made_harmless(serve):
    daemon = serve(("GET", "/containers/json", lambda r: r.error("500 Oops", "bad \x1b[2J\x07 line\nsecond")))
    done = hyperctl(daemon, "list")
    assert b"\x1b" not in done.stderr and b"\x07" not in done.stderr
    assert b"line\nsecond" in done.stderr


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[]",
                                    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[[[",
                                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
                                    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>",
                                    b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200000],
                         ids=["nothing", "half a header", "not HTTP", "short body", "not JSON", "not chunked", "not JSON in an error", "huge header"])
def test_broken_answers_end_in_an_error(serve, answer):
    daemon = serve(("GET", "/containers/json", lambda r: r.send(answer)))
    done = hyperctl(daemon, "list")
    assert done.returncode == 1
    assert done.stderr.startswith(b"hyperctl: ")
    assert done.stdout == b""


def test_several_names_go_on_after_a_failure(serve):
    daemon = serve(("POST", "/containers/(a|c)/stop", lambda r: r.empty()),
                   ("POST", "/containers/b/stop", lambda r: r.error("500 Oops", "b is stuck")))
    done = hyperctl(daemon, "stop", "-t", "3", "a", "b", "c")
    assert done.returncode == 1
    assert done.stdout == b"a\nc\n"
    assert done.stderr == b"hyperctl: b is stuck\n"


# ---------------------------------------------------------------- pods and containers share verbs

def test_a_name_that_is_no_container_is_a_pod(serve):
    daemon = serve(("POST", "/hyper/v1/pods/web/stop", lambda r: r.empty()),
                   ("DELETE", "/hyper/v1/pods/web", lambda r: r.empty()),
                   ("POST", "/hyper/v1/pods/web/wait", lambda r: r.json({"StatusCode": 3, "Error": None})))
    assert hyperctl(daemon, "stop", "web").stdout == b"web\n"
    assert daemon.seen == ["POST /containers/web/stop", "POST /hyper/v1/pods/web/stop"]
    assert hyperctl(daemon, "rm", "-f", "pod/web").returncode == 0
    assert daemon.seen[2:] == ["DELETE /hyper/v1/pods/web"]
    assert hyperctl(daemon, "wait", "web").stdout == b"3\n"
    done = hyperctl(daemon, "stop", "container/web")
    assert done.returncode == 1 and done.stderr == b"hyperctl: no such container: web\n"
    done = hyperctl(daemon, "stop", "other")
    assert done.stderr == b"hyperctl: no such container or pod: other\n"


def test_already_so_is_success(serve):
    daemon = serve(("POST", "/containers/a/start", lambda r: r.empty("304 Not Modified")))
    done = hyperctl(daemon, "start", "a")
    assert (done.returncode, done.stdout) == (0, b"a\n")


def test_names_cannot_leave_their_place_in_the_path(serve):
    daemon = serve()
    for name in ("..", "a/../../images/json", "a?force=1", "a#b", "%2e%2e"):
        assert hyperctl(daemon, "rm", name).returncode == 1
    assert "GET /images/json" not in daemon.seen
    assert all(not path.endswith("?force=1") or "/containers/a?force=1" in path or "/pods/a?force=1" in path for path in daemon.seen)


def test_exec_in_a_pod_of_several_containers_names_them(serve):
    pod = {"Id": POD, "Name": "web", "Containers": [{"Id": ID, "Name": "web-a"}, {"Id": ID, "Name": "web-b"}]}
    daemon = serve(("GET", "/hyper/v1/pods/web/json", lambda r: r.json(pod)))
    done = hyperctl(daemon, "exec", "web", "true")
    assert done.returncode == 1
    assert b"web-a, web-b" in done.stderr


# ---------------------------------------------------------------- attached

@pytest.mark.parametrize("upgraded", [True, False])
def test_run_separates_the_outputs_and_returns_the_exit_code(serve, upgraded):
    def main(request):
        request.send(frame(1, b"out") + frame(2, b"err") + frame(1, b"") + frame(1, b"put\n"))

    process = Process(main, code=7, upgraded=upgraded)
    done = hyperctl(serve(*process.routes()), "run", "-e", "A=1", "img", "cmd", "-x")
    assert (done.stdout, done.stderr, done.returncode) == (b"output\n", b"err", 7)
    assert process.order == ["attach", "wait", "start"]
    assert process.created["Cmd"] == ["cmd", "-x"] and process.created["Env"] == ["A=1"]


def test_frames_cut_anywhere_and_output_that_comes_with_the_header(serve):
    data = frame(1, b"hello ") + frame(2, b"E") + frame(1, b"world")

    def main(request):
        for i in range(len(data)):
            request.send(data[i:i + 1])

    done = hyperctl(serve(*Process(main).routes()), "run", "img")
    assert (done.stdout, done.stderr) == (b"hello world", b"E")


def test_the_end_of_input_reaches_the_process_while_output_goes_on(serve):
    got = []

    def main(request):
        while (data := request.read()):
            got.append(data)
        request.send(frame(1, b"after the end"))

    done = hyperctl(serve(*Process(main).routes()), "run", "-i", "img", stdin=b"x" * 300000)
    assert len(b"".join(got)) == 300000
    assert done.stdout == b"after the end" and done.returncode == 0


def test_without_i_no_input_is_sent(serve):
    queries = []
    process = Process(lambda r: None)
    inner = process.attach
    process.attach = lambda r: (queries.append(r.query), inner(r))
    assert hyperctl(serve(*process.routes()), "run", "img", stdin=b"abc").returncode == 0
    assert queries[0]["stdin"] == "0"
    assert process.created["OpenStdin"] is False


def test_a_process_that_takes_no_input_still_gives_output(serve):
    def main(request):
        import socket
        request.socket.shutdown(socket.SHUT_RD)
        request.send(frame(1, b"still here"))

    done = hyperctl(serve(*Process(main).routes()), "run", "-i", "img", stdin=b"y" * 5000000)
    assert done.stdout == b"still here" and done.returncode == 0


def test_much_output_arrives_whole(serve):
    block = bytes(range(256)) * 256

    def main(request):
        for _ in range(200):
            request.send(frame(1, block))

    done = hyperctl(serve(*Process(main).routes()), "run", "img")
    assert done.stdout == block * 200


def test_a_reader_that_stops_stops_only_reading_and_signals_still_pass(serve):
    sent = threading.Event()
    process = Process(lambda r: None)

    def main(request):
        request.send(frame(1, b"z" * 4000000))
        sent.set()
        process.signalled.wait(DEADLINE_S)

    process.main = main
    child = start(serve(*process.routes()), "run", "img")
    assert child.stdout.read(1) == b"z"
    # Nobody reads now: the pipe is full. A signal goes through nevertheless.
    child.send_signal(signal.SIGUSR1)
    assert process.signalled.wait(DEADLINE_S)
    assert process.signals == ["USR1"]
    assert len(child.stdout.read()) == 3999999
    child.stdin.close()
    assert child.wait(DEADLINE_S) == 0
    assert sent.is_set()


def test_signals_are_passed_on_and_the_exit_code_is_the_processs(serve):
    process = Process(lambda r: None, code=130)
    begun = threading.Event()

    def main(request):
        request.send(frame(1, b"ready\n"))
        begun.set()
        process.signalled.wait(DEADLINE_S)

    process.main = main
    child = start(serve(*process.routes()), "run", "img")
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGINT)
    assert child.wait(DEADLINE_S) == 130
    assert process.signals == ["INT"]


def test_without_sig_proxy_a_signal_ends_only_us(serve):
    process = Process(lambda r: None)
    left = threading.Event()

    def main(request):
        request.send(frame(1, b"ready\n"))
        request.read()
        left.set()

    process.main = main
    child = start(serve(*process.routes()), "run", "--sig-proxy=false", "img")
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE_S) == -signal.SIGTERM
    assert left.wait(DEADLINE_S)
    assert not process.signals


def test_the_third_interrupt_ends_us_though_the_process_ignores_them(serve):
    process = Process(lambda r: None)

    def main(request):
        request.send(frame(1, b"ready\n"))
        request.read()

    process.main = main
    child = start(serve(*process.routes()), "run", "img")
    assert child.stdout.readline() == b"ready\n"
    for count in range(1, 4):
        process.signalled.clear()
        child.send_signal(signal.SIGINT)
        if count < 3:
            assert process.signalled.wait(DEADLINE_S)
    assert child.wait(DEADLINE_S) == 125
    assert process.signals == ["INT", "INT"]


def test_output_cut_inside_a_frame_is_an_error(serve):
    done = hyperctl(serve(*Process(lambda r: r.send(frame(1, b"abc")[:-1])).routes()), "run", "img")
    assert done.returncode == 125
    assert b"middle of the output" in done.stderr


def test_an_error_of_waiting_is_told(serve):
    process = Process(lambda r: None)

    def wait(request):
        request.json({"StatusCode": 0, "Error": {"Message": "it went away"}})

    process.wait = wait
    done = hyperctl(serve(*process.routes()), "run", "img")
    assert done.returncode == 125 and b"it went away" in done.stderr


def test_t_without_a_terminal_is_refused_before_anything_is_made(serve):
    daemon = serve()
    done = hyperctl(daemon, "run", "-it", "img")
    assert done.returncode == 1 and b"not a TTY" in done.stderr
    assert not daemon.seen


# ---------------------------------------------------------------- exec

def exec_routes(main, code=0, running=False):
    bodies = {}

    def create(request):
        bodies["create"] = json.loads(request.body())
        request.json({"Id": "e1"}, "201 Created")

    def begin(request):
        bodies["start"] = json.loads(request.body())
        if bodies["start"]["Detach"]:
            request.empty("200 OK")
            return
        request.hijack()
        main(request)

    return bodies, [("GET", "/containers/web/json", lambda r: r.json({"Id": ID, "Name": "/web"})),
                    ("POST", f"/containers/{ID}/exec", create), ("POST", "/exec/e1/start", begin),
                    ("GET", "/exec/e1/json", lambda r: r.json({"ExitCode": None if running else code, "Running": running}))]


def test_exec_returns_the_exit_code(serve):
    bodies, routes = exec_routes(lambda r: r.send(frame(1, b"hi\n")), code=42)
    done = hyperctl(serve(*routes), "exec", "-e", "A=b", "-w", "/x", "-u", "me", "web", "cmd", "-i")
    assert (done.stdout, done.returncode) == (b"hi\n", 42)
    assert bodies["create"] == {"Cmd": ["cmd", "-i"], "Env": ["A=b"], "Tty": False, "AttachStdin": False, "AttachStdout": True,
                                "AttachStderr": True, "User": "me", "WorkingDir": "/x"}


def test_exec_sends_input_and_its_end(serve):
    def main(request):
        whole = b""
        while (data := request.read()):
            whole += data
        request.send(frame(1, whole.upper()))

    _, routes = exec_routes(main)
    assert hyperctl(serve(*routes), "exec", "-i", "web", "cat", stdin=b"abc").stdout == b"ABC"


def test_exec_detached_returns_at_once(serve):
    bodies, routes = exec_routes(None)
    assert hyperctl(serve(*routes), "exec", "-d", "web", "cmd").returncode == 0
    assert bodies["start"]["Detach"] is True and bodies["create"]["AttachStdout"] is False


def test_exec_vm_goes_to_the_pod(serve):
    bodies, routes = exec_routes(lambda r: r.send(frame(1, b"in the VM")))
    daemon = serve(("GET", "/hyper/v1/pods/web/json", lambda r: r.json({"Id": POD, "Name": "web"})),
                   ("POST", f"/hyper/v1/pods/{POD}/exec", routes[1][2]), *routes[2:])
    done = hyperctl(daemon, "exec", "--vm", "web")
    assert done.stdout == b"in the VM"
    assert bodies["create"]["Cmd"] == ["/bin/sh"] and bodies["create"]["AttachStdin"] is True


# ---------------------------------------------------------------- logs, listing, images

def test_logs_of_a_pod_are_prefixed(serve):
    other = "abad1dea" + "0" * 56
    pod = {"Id": POD, "Name": "web", "Containers": [{"Id": ID, "Name": "web-a"}, {"Id": other, "Name": "web-b"}]}

    def logs(request):
        send = request.chunks()
        if request.match[1] == ID:
            send(frame(1, b"one\ntw") + frame(2, b"oops\n"))
            send(frame(1, b"o\nrest"))
        else:
            send(frame(1, b"b\n"))
        send(b"")

    daemon = serve(("GET", "/hyper/v1/pods/web/json", lambda r: r.json(pod)),
                   ("GET", f"/containers/({ID}|{other})/json", lambda r: r.json(
                       {"Id": r.match[1], "Name": "/web-a" if r.match[1] == ID else "/web-b", "Config": {"Tty": False}})),
                   ("GET", f"/containers/({ID}|{other})/logs", logs))
    done = hyperctl(daemon, "logs", "web")
    assert sorted(done.stdout.splitlines()) == [b"web-a | one", b"web-a | rest", b"web-a | two", b"web-b | b"]
    assert done.stderr == b"web-a | oops\n"


def test_logs_pass_their_options(serve):
    queries = []
    daemon = serve(("GET", "/containers/web/json", lambda r: r.json({"Id": ID, "Name": "/web", "Config": {"Tty": True}})),
                   ("GET", f"/containers/{ID}/logs", lambda r: (queries.append(r.query), r.send(
                       b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nraw of a terminal"))))
    done = hyperctl(daemon, "logs", "-ft", "--details", "-n", "5", "--since", "1767323045.5", "--until", "2026-01-02T03:04:05Z", "web")
    assert done.stdout == b"raw of a terminal"
    assert queries == [{"stdout": "1", "stderr": "1", "tail": "5", "follow": "1", "timestamps": "1", "details": "1",
                        "since": "1767323045.5", "until": "1767323045.000000000"}]
    assert hyperctl(daemon, "logs", "--tail", "x", "web").returncode == 1
    assert b"'soon'" in hyperctl(daemon, "logs", "--since", "soon", "web").stderr


def listing():
    def container(number, name, pod, pod_name):
        return {"Id": f"{number}" + "0" * 63, "Names": ["/" + name], "Image": "img", "Command": "sleep \x1b[31m1000 and a long tail",
                "Created": 1767323045, "State": "running", "Status": "Up 2 minutes", "Ports": [], "Labels": {"k": "v"},
                "Hyper": {"Pod": pod, "PodName": pod_name, "Solo": pod_name == name, "Isolation": "vm"}}

    return [container(3, "web-b", POD, "web"), container(2, "solo", "5" * 64, "solo"), container(1, "web-a", POD, "web")]


def test_list_groups_pods_and_shows_empty_ones(serve):
    empty = {"Id": "e" * 64, "Name": "empty", "State": "running", "Isolation": "namespace", "Created": "2026-01-02T03:04:05Z",
             "Labels": {}, "Containers": []}
    daemon = serve(("GET", "/containers/json", lambda r: r.json(listing())), ("GET", "/hyper/v1/pods", lambda r: r.json([empty])))
    done = hyperctl(daemon, "list")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[-1] for line in lines[1:4]] == ["web-b", "web-a", "solo"]
    assert lines[0].split() == ["CONTAINER", "ID", "POD", "IMAGE", "COMMAND", "CREATED", "STATUS", "ISOLATION", "NAMES"]
    assert lines[4].startswith("-") and "empty" in lines[4] and "Pod running" in lines[4]
    assert "\x1b" not in done.stdout.decode() and '"sleep ?[31m1000 and…"' in lines[1]
    assert all(line.index("img") == lines[0].index("IMAGE") for line in lines[1:4])
    assert hyperctl(daemon, "ps", "-q").stdout.split() == [b"300000000000", b"100000000000", b"200000000000", b"eeeeeeeeeeee"]
    assert hyperctl(daemon, "ps", "--format", '{{.Names}}\\t{{.Label "k"}}').stdout.splitlines()[0] == b"web-b\tv"
    rows = [json.loads(line) for line in hyperctl(daemon, "ps", "--format", "json").stdout.splitlines()]
    assert [row["Pod"] for row in rows] == ["web", "web", "solo", "empty"]
    done = hyperctl(daemon, "ps", "--format", "{{.Nmaes}}")
    assert done.returncode == 1 and b"no field .Nmaes; there are: ID, Pod" in done.stderr


def test_filters_are_sent_as_the_api_takes_them(serve):
    queries = []
    daemon = serve(("GET", "/containers/json", lambda r: (queries.append(r.query), r.json([]))))
    assert hyperctl(daemon, "ps", "-a", "-f", "label=a=b", "-f", "label=c", "--filter", "ancestor=x").returncode == 0
    assert queries[0]["all"] == "1"
    assert json.loads(queries[0]["filters"]) == {"label": {"a=b": True, "c": True}, "ancestor": {"x": True}}
    assert hyperctl(daemon, "ps", "-f", "nonsense").returncode == 1


def test_load_streams_the_archive(serve, tmp_path):
    got = []
    archive = tmp_path / "x.tar"
    archive.write_bytes(os.urandom(700000))

    def load(request):
        got.append(request.body())
        send = request.chunks()
        send(b'{"stream":"Loaded image: a:1\\n"}\r\n')
        send(b'{"stream":"Loaded image: b:1\\n"}\r\n')
        send(b"")

    daemon = serve(("POST", "/images/load", load))
    done = hyperctl(daemon, "load", "-i", str(archive))
    assert (done.returncode, done.stdout) == (0, b"Loaded image: a:1\nLoaded image: b:1\n")
    assert got[0] == archive.read_bytes()
    assert hyperctl(daemon, "load", stdin=b"tar").returncode == 0
    assert got[1] == b"tar"


def test_progress_may_come_while_the_archive_is_still_sent(serve, tmp_path):
    got = []
    archive = tmp_path / "x.tar"
    archive.write_bytes(os.urandom(3000000))

    def load(request):
        send = request.chunks()
        send(b'{"status":"Reading"}\n')
        got.append(request.body())
        send(b'{"stream":"Loaded image: a:1\\n"}\r\n')
        send(b"")

    done = hyperctl(serve(("POST", "/images/load", load)), "load", "-i", str(archive))
    assert (done.returncode, done.stdout) == (0, b"Reading\nLoaded image: a:1\n")
    assert got[0] == archive.read_bytes()


def test_an_archive_that_cannot_be_read_is_a_failure(serve, tmp_path):
    ended = threading.Event()

    def load(request):
        try:
            request.body()
        except (ValueError, OSError):
            pass
        ended.set()

    done = hyperctl(serve(("POST", "/images/load", load)), "load", "-i", "/proc/self/mem")
    assert done.returncode == 1 and b"reading the archive" in done.stderr
    assert ended.wait(DEADLINE_S)


def test_an_early_refusal_of_an_upload_is_told(serve, tmp_path):
    archive = tmp_path / "x.tar"
    archive.write_bytes(b"\0" * 30000000)
    daemon = serve(("POST", "/images/load", lambda r: r.error("400 Bad Request", "not a tar archive")))
    done = hyperctl(daemon, "load", "-i", str(archive))
    assert done.returncode == 1 and b"not a tar archive" in done.stderr


def test_an_error_inside_the_progress_is_a_failure(serve):
    def load(request):
        request.body()
        send = request.chunks()
        send(b'{"status":"Loading layer","id":"abc"}\n{"errorDetail":{"message":"disk full"},"error":"disk full"}\n')
        send(b"")

    done = hyperctl(serve(("POST", "/images/load", load)), "load", stdin=b"x")
    assert done.returncode == 1 and b"disk full" in done.stderr


def test_save_leaves_the_old_file_when_it_fails(serve, tmp_path):
    target = tmp_path / "out.tar"
    target.write_bytes(b"old")
    daemon = serve(("GET", "/images/get", lambda r: r.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
                    if r.query["names"] == "bad" else r.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")))
    assert hyperctl(daemon, "save", "-o", str(target), "bad").returncode == 1
    assert target.read_bytes() == b"old" and os.listdir(tmp_path).count("out.tar") == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith("out.tar.")]
    assert hyperctl(daemon, "save", "-o", str(target), "good").returncode == 0
    assert target.read_bytes() == b"new"
    assert hyperctl(daemon, "save", "good").stdout == b"new"


def test_import_prints_the_id(serve):
    queries = []

    def create(request):
        queries.append((request.query, request.body()))
        send = request.chunks()
        send(b'{"status":"sha256:abc"}\r\n')
        send(b"")

    daemon = serve(("POST", "/images/create", create))
    done = hyperctl(daemon, "import", "-m", "msg", "-c", "CMD x", "-", "host:5000/a/b:tag", stdin=b"tar")
    assert done.stdout == b"sha256:abc\n"
    assert queries == [({"fromSrc": "-", "repo": "host:5000/a/b", "tag": "tag", "message": "msg", "changes": "CMD x"}, b"tar")]


def test_inspect_finds_every_kind_and_goes_on(serve):
    daemon = serve(("GET", "/containers/a/json", lambda r: r.json({"Id": "1", "Name": "/a"})),
                   ("GET", "/hyper/v1/pods/b/json", lambda r: r.json({"Id": "2", "Name": "b"})),
                   ("GET", "/images/c/d:1/json", lambda r: r.json({"Id": "3"})))
    done = hyperctl(daemon, "inspect", "a", "b", "c/d:1", "none")
    assert done.returncode == 1 and b"no such container, pod or image: none" in done.stderr
    assert [item["Id"] for item in json.loads(done.stdout)] == ["1", "2", "3"]
    assert hyperctl(daemon, "inspect", "-f", "{{.Id}}", "a", "b").stdout == b"1\n2\n"
    assert hyperctl(daemon, "inspect", "--type", "pod", "a").returncode == 1
    assert hyperctl(daemon, "inspect", "--type", "cow", "a").returncode == 1


# ---------------------------------------------------------------- pods from files

POD_FILE = b"""
name: demo
containers:
- {name: a, image: x}
- {name: b, image: x}
"""


class PodDaemon:
    """A pod of two containers that write something and end."""

    def __init__(self, code=0):
        self.ids = {"demo-a": "a" * 64, "demo-b": "b" * 64}
        self.started, self.body, self.query, self.removed, self.code = threading.Event(), None, None, False, code

    def routes(self):
        return [("POST", "/hyper/v1/pods", self.create),
                ("GET", "/containers/(a+|b+)/json", lambda r: r.json({"Id": r.match[1], "Name": "/demo-" + r.match[1][0],
                                                                      "Config": {"Tty": False, "OpenStdin": False}})),
                ("POST", "/containers/(a+|b+)/attach", self.attach),
                ("POST", f"/hyper/v1/pods/{POD}/start", lambda r: (self.started.set(), r.empty())),
                ("POST", f"/hyper/v1/pods/{POD}/wait", lambda r: r.json({"StatusCode": self.code, "Error": None})),
                ("GET", f"/hyper/v1/pods/{POD}/timing", lambda r: r.json(
                    {"TemplateNs": 0, "SpawnedNs": 30000000, "ConnectedNs": 80000000, "LayersNs": 81000000, "StartedNs": 90000000,
                     "FirstOutputNs": 95500000, "TemplateBuilt": False, "FromPool": True, "RetriedWithTCG": False, "Accel": "tcg"})),
                ("DELETE", f"/hyper/v1/pods/{POD}", self.remove)]

    def create(self, request):
        self.body, self.query = request.body(), request.query
        request.json({"Id": POD, "Name": "demo", "Warnings": ["careful"],
                      "Containers": [{"Id": i, "Name": n} for n, i in self.ids.items()]}, "201 Created")

    def attach(self, request):
        request.hijack()
        self.started.wait(DEADLINE_S)
        name = request.match[1][0].encode()
        request.send(frame(1, b"I am " + name + b"\nsecond") + frame(1, b" line\n"))

    def remove(self, request):
        self.removed = True
        request.empty()


def test_run_of_a_pod_file_shows_its_containers(serve):
    pod = PodDaemon(code=4)
    done = hyperctl(serve(*pod.routes()), "run", "--rm", "--timing", "--isolation", "vm", "--memory", "64m", "-f", "-", stdin=POD_FILE)
    assert done.returncode == 4
    assert sorted(done.stdout.splitlines()) == [b"a | I am a", b"a | second line", b"b | I am b", b"b | second line"]
    assert pod.body == POD_FILE
    assert pod.query == {"isolation": "vm", "memoryBytes": str(64 << 20)}
    assert pod.removed
    assert b"warning: careful" in done.stderr
    assert b"first output" in done.stderr and b"95.5" in done.stderr and b"(tcg, from the pool)" in done.stderr


def test_run_of_a_pod_file_in_the_background(serve):
    pod = PodDaemon()
    done = hyperctl(serve(*pod.routes()), "run", "-d", "-f", "-", stdin=POD_FILE)
    assert done.stdout == POD.encode() + b"\n" and pod.started.is_set() and not pod.removed


def test_create_of_a_pod_file_takes_its_files_along(serve, tmp_path):
    pod = PodDaemon()
    (tmp_path / "secret").write_bytes(b"s3cret")
    (tmp_path / "pod.yaml").write_bytes(b"name: demo\ncontainers:\n- image: x\n  files:\n  - {path: /s, uri: file://secret}\n")
    done = hyperctl(serve(*pod.routes()), "create", "-f", str(tmp_path / "pod.yaml"))
    assert done.stdout == POD.encode() + b"\n" and not pod.started.is_set()
    assert json.loads(pod.body)["containers"][0]["files"] == [{"path": "/s", "content": "czNjcmV0", "encoding": "base64"}]


def test_a_pod_file_with_an_image_is_one_too_many(serve):
    daemon = serve()
    assert hyperctl(daemon, "run", "-f", "x", "image").returncode == 125
    assert hyperctl(daemon, "run", "-f", "/does/not/exist").returncode == 125
    assert not daemon.seen


# ---------------------------------------------------------------- the rest

def test_stats_once(serve):
    def stats(request):
        send = request.chunks()
        sample = {"read": "2026-01-02T03:04:05Z", "cpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000, "online_cpus": 2},
                  "precpu_stats": {}, "memory_stats": {"usage": 3 << 20, "limit": 64 << 20, "stats": {"total_inactive_file": 1 << 20}},
                  "pids_stats": {"current": 3}, "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 2000}},
                  "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 5000}, {"op": "write", "value": 6000}]}}
        send(json.dumps(sample).encode() + b"\n")
        sample["precpu_stats"] = {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000}
        sample["cpu_stats"] = {"cpu_usage": {"total_usage": 350}, "system_cpu_usage": 2000, "online_cpus": 2}
        send(json.dumps(sample).encode() + b"\n")
        request.read()

    daemon = serve(("GET", "/containers/json", lambda r: r.json(listing()[1:2])), ("GET", "/containers/20+/stats", stats),
                   ("GET", "/hyper/v1/pods/5+/stats", lambda r: r.json({"Stats": {"host": {"pss_bytes": 28 << 20}}})))
    done = hyperctl(daemon, "stats", "--no-stream", "--format",
                    "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.MemPerc}}|{{.NetIO}}|{{.BlockIO}}|{{.PIDs}}|{{.HostMem}}")
    assert done.stdout == "solo|50.00%|2MiB / 64MiB|3.12%|1kB / 2kB|5kB / 6kB|3|28MiB\n".encode()


def test_events_are_printed_as_they_come(serve):
    go_on = threading.Event()

    def events(request):
        send = request.chunks()
        event = {"Type": "container", "Action": "start", "Actor": {"ID": "abc", "Attributes": {"name": "web", "image": "x"}},
                 "time": 1767323045, "timeNano": 1767323045000000001}
        send(json.dumps(event).encode() + b"\n")
        go_on.wait(DEADLINE_S)
        event["Action"] = "die"
        send(json.dumps(event).encode() + b"\r\n")
        send(b"")

    daemon = serve(("GET", "/events", events))
    child = subprocess.Popen([HYPERCTL, "-H", daemon.host, "events"], stdout=subprocess.PIPE, env={**os.environ, "TZ": "UTC"})
    assert child.stdout.readline() == b"2026-01-02T03:04:05.000000001+00:00 container start abc (name=web, image=x)\n"
    go_on.set()
    assert b"container die abc" in child.stdout.read()
    assert child.wait(DEADLINE_S) == 0


def test_info_shows_all_that_the_daemon_tells(serve):
    info = {"Name": "host", "ServerVersion": "1", "Containers": 3, "Warnings": ["no swap limit"],
            "Hyper": {"Version": "1", "Engine": {"DefaultIsolation": "vm", "Pods": {"Running": 2}},
                      "Sandbox": {"Accelerator": "tcg", "Reason": "KVM emulates", "TemplatesMax": 8, "MemoryBytes": 134217728,
                                  "Templates": [{"Key": "abc", "Image": None}], "LimitsMissing": ["CAP_SYS_RESOURCE"], "Pool": []}}}
    done = hyperctl(serve(("GET", "/info", lambda r: r.json(info))), "info")
    text = done.stdout.decode()
    for line in ("Containers: 3", "  Default isolation: vm", "    Running: 2", "  Accelerator: tcg", "  Reason: KVM emulates",
                 "  Memory bytes: 128MiB", "    1:\n      Key: abc", "  Limits missing: CAP_SYS_RESOURCE", "  Pool: none"):
        assert line in text, text
    assert done.stderr == b"hyperctl: no swap limit\n"


def test_a_full_disk_is_told(serve):
    daemon = serve(("GET", "/containers/json", lambda r: r.json([])))
    with open("/dev/full", "wb") as full:
        done = subprocess.run([HYPERCTL, "-H", daemon.host, "list"], stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1 and b"No space left" in done.stderr


def test_completion_completes():
    top = os.path.join(os.path.dirname(__file__), "..", "..")
    script = ('source completion/hyperctl.bash; hyperctl() { echo web db; }\n'
              'ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hyperctl; echo "${COMPREPLY[*]}"; }\n'
              'ask hyperctl st; ask hyperctl run --isolation ""; ask hyperctl -H x stop w; ask hyperctl run -i ""; ask hyperctl rm --fo')
    done = subprocess.run(["bash", "-c", script], cwd=top, capture_output=True, timeout=DEADLINE_S, check=False)
    assert done.stdout.decode().splitlines() == ["start stop stats", "vm namespace", "web", "web db", "--force"], done.stderr
