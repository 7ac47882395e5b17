"""hyperd itself: options, configuration, signals, a second one."""
import json
import os
import re
import signal
import socket
import subprocess

from conftest import HYPERD, TIMEOUT_S, read_all


def hyperd(*args, **options):
    return subprocess.run([str(HYPERD), *args], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options)


def test_help_and_version():
    assert "--data-root DIR" in hyperd("--help").stdout
    assert hyperd("--version").stdout.startswith("hyperd ")


def test_options_are_refused_by_name(tmp_path):
    unknown = hyperd("--nonsense")
    assert unknown.returncode == 2 and "'--nonsense'" in unknown.stderr
    for args, word in ((["--isolation", "air"], "--isolation"), (["-H", "ftp://x"], "ftp://x"), (["--warm", "x"], "--warm"),
                       (["--log-level", "x"], "--log-level"), (["--data-root"], "--data-root"),
                       (["--tlsverify"], "--tls"), (["stray"], "stray"), (["--disk-size", "big"], "--disk-size")):
        result = hyperd(*args, "--validate")
        assert result.returncode == 2 and word in result.stderr, (args, result.stderr)
    config = tmp_path / "hyperd.json"
    for text, word in (('{"nonsense": 1}', '"nonsense"'), ('{"debug": "x"}', "debug"), ("{", "line"), ('{"hosts": [1]}', "hosts"),
                       ('{"help": true}', '"help"')):
        config.write_text(text)
        result = hyperd("--config-file", str(config), "--validate")
        assert result.returncode == 2 and word in result.stderr, (text, result.stderr)
    config.write_text(json.dumps({"hosts": ["unix:///tmp/x.sock"], "debug": True, "log-opts": {"max-size": "1m"}, "warm": 1,
                                  "disk-size": "1G", "exec-root": "/run/x"}))
    assert hyperd("--config-file", str(config), "--validate").returncode == 0
    assert hyperd("--config-file", str(tmp_path / "missing"), "--validate").returncode == 2


def test_needs_root(tmp_path):
    if os.geteuid() != 0:
        return
    result = hyperd("--data-root", str(tmp_path), user=65534)
    assert result.returncode == 1 and "needs root" in result.stderr


def test_a_second_daemon_is_refused(new_daemon):
    daemon = new_daemon(image=False)
    second = subprocess.run(daemon.command("-H", f"unix://{daemon.state}/other.sock", "--pidfile", f"{daemon.state}/other.pid"),
                            capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert second.returncode == 1 and str(daemon.data) in second.stderr, second.stderr
    assert daemon.request("GET", "/_ping").status == 200


def test_signals_and_pidfile(new_daemon):
    daemon = new_daemon(image=False)
    pidfile = daemon.run / "hyperd.pid"
    assert int(pidfile.read_text()) == daemon.process.pid
    assert not daemon.request("GET", "/info").json()["Debug"]
    daemon.config.write_text('{"debug": true}')
    daemon.process.send_signal(signal.SIGHUP)
    while not daemon.request("GET", "/info").json()["Debug"]:
        assert daemon.process.poll() is None
    assert daemon.socket.stat().st_mode & 0o777 == 0o660
    assert daemon.stop() == 0
    assert not pidfile.exists() and not daemon.socket.exists()


def tcp_port(daemon):
    return re.search(r"listening on tcp://.*port (\d+)", daemon.log_text()).group(1)


def test_plain_tcp_warns(new_daemon):
    daemon = new_daemon(start=False)
    daemon.args = ["-H", f"unix://{daemon.socket}", "-H", "tcp://127.0.0.1:0"]
    daemon.start()
    assert "everybody who can reach this port" in daemon.log_text()
    with socket.create_connection(("127.0.0.1", tcp_port(daemon)), TIMEOUT_S) as connection:
        connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        assert read_all(connection).endswith(b"OK")


def make_certificates(directory):
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True, timeout=TIMEOUT_S)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=CA",
            "-keyout", "ca-key.pem", "-out", "ca.pem")
    (directory / "server.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, extra in (("server", ["-extfile", "server.ext"]), ("client", [])):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}-key.pem", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2",
                "-out", f"{name}.pem", *extra)


def test_tls_with_client_certificates(new_daemon, tmp_path):
    make_certificates(tmp_path)
    daemon = new_daemon(start=False)
    daemon.args = ["-H", f"unix://{daemon.socket}", "-H", "tcp://127.0.0.1:0", "--tlsverify", "--tlscacert", f"{tmp_path}/ca.pem",
                   "--tlscert", f"{tmp_path}/server.pem", "--tlskey", f"{tmp_path}/server-key.pem"]
    daemon.start()
    port = tcp_port(daemon)

    def docker(*args):
        return subprocess.run(["docker", "-H", f"tcp://127.0.0.1:{port}", *args], capture_output=True, text=True, check=False,
                              timeout=TIMEOUT_S, env={**os.environ, "DOCKER_CONFIG": str(tmp_path)})
    good = docker("--tlsverify", "--tlscacert", f"{tmp_path}/ca.pem", "--tlscert", f"{tmp_path}/client.pem",
                  "--tlskey", f"{tmp_path}/client-key.pem", "version")
    assert good.returncode == 0, good.stderr
    assert docker("--tls", "version").returncode != 0
    assert docker("version").returncode != 0


def test_socket_activation(new_daemon):
    """As systemd does it: the socket is descriptor 3, and LISTEN_PID is the daemon's own."""
    daemon = new_daemon(start=False)
    daemon.args = ["-H", "fd://"]
    daemon.run.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(daemon.socket))
    listener.listen()
    daemon.command = lambda *args, plain=daemon.command: [
        "/usr/bin/python3", "-c", "import os, sys; os.dup2(int(sys.argv[1]), 3, True);"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); os.execv(sys.argv[2], sys.argv[2:])",
        str(listener.fileno()), *plain(*args)]
    daemon.start(pass_fds=[listener.fileno()])
    listener.close()
    assert daemon.request("GET", "/_ping").status == 200
    assert daemon.stop() == 0
    assert daemon.socket.exists()  # systemd's, not ours
    daemon.socket.unlink()


def test_clients_hear_the_end_of_their_container_when_the_daemon_stops(new_daemon):
    daemon = new_daemon("--isolation", "namespace")
    script = 'trap "echo bye; exit 5" TERM; echo ready; while :; do sleep 0.1; done'
    client = subprocess.Popen(["/usr/bin/docker", "run", "--rm", "busybox", "sh", "-c", script], env=daemon.environment(),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert client.stdout.readline() == "ready\n"
    assert daemon.stop() == 0
    out, _ = client.communicate(timeout=TIMEOUT_S)
    assert out == "bye\n" and client.returncode == 5
