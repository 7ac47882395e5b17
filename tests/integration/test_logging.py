"""Log drivers, against real receivers and against ones that fail."""
import contextlib
import json
import os
import pathlib
import re
import subprocess
import time

import pytest

import log_receivers
from log_receivers import Datagrams, Plain, Rsyslog, wait_for

JOURNAL = pathlib.Path("/run/systemd/journal/socket")


@pytest.fixture(scope="module")
def rsyslog(tmp_path_factory):
    receiver = Rsyslog(tmp_path_factory.mktemp("rsyslog"))
    yield receiver
    receiver.stop()


@pytest.fixture
def receiver():
    """receiver(make, …): what make(…) gives, stopped in the end."""
    with contextlib.ExitStack() as stack:
        def start(make, *args, **options):
            made = make(*args, **options)
            stack.callback(made.stop)
            return made
        yield start


def logged(daemon, driver, options, *command, isolation="namespace", flags=(), check=True):
    """Runs a container with these log options."""
    opts = [part for key, value in options.items() for part in ("--log-opt", f"{key}={value}")]
    return daemon.docker("run", "--isolation", isolation, "--network", "none", *flags, "--log-driver", driver, *opts, "busybox",
                         *command, check=check)


def docker_logs(daemon, name, *flags):
    return daemon.docker("logs", *flags, name).stdout


# ---------------------------------------------------------------- local

def test_local_keeps_output_as_it_was(daemon, isolation):
    script = "printf 'a\\377\\001b\\n'; echo two >&2; head -c 20000 /dev/zero | tr '\\0' x; echo; printf end"
    logged(daemon, "local", {"max-size": "1m", "labels": "tier"}, "sh", "-c", script, isolation=isolation,
           flags=["--name", "kept", "--label", "tier=front", "-d"])
    daemon.docker("wait", "kept")
    result = subprocess.run(["/usr/bin/docker", "logs", "kept"], env=daemon.environment(), capture_output=True, check=True,
                            timeout=60)
    assert result.stdout == b"a\xff\x01b\n" + b"x" * 20000 + b"\nend"
    assert result.stderr == b"two\n"
    assert docker_logs(daemon, "kept", "--tail", "1") == "end"
    assert daemon.docker("inspect", "-f", "{{.HostConfig.LogConfig.Type}} {{.LogPath}}", "kept").stdout == "local \n"


def test_local_follows_and_rotates(daemon):
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
    logged(daemon, "local", {"max-size": "20k", "max-file": "2"}, "sh", "-c", script, flags=["--name", "many", "-d"])
    lines = docker_logs(daemon, "many", "-f").splitlines()
    assert lines[-1] == "line 2999"
    kept = docker_logs(daemon, "many").splitlines()
    assert 100 < len(kept) < 3000 and kept == [f"line {n}" for n in range(3000 - len(kept), 3000)]


# ---------------------------------------------------------------- syslog

@pytest.mark.parametrize("transport", ["udp", "tcp", "tcp+tls", "unix"])
def test_syslog_reaches_rsyslog(daemon, rsyslog, transport):
    if transport == "tcp+tls" and not rsyslog.has_tls:
        pytest.skip("rsyslog-openssl is not installed")
    address = {"udp": f"udp://127.0.0.1:{rsyslog.udp}", "tcp": f"tcp://127.0.0.1:{rsyslog.tcp}",
               "tcp+tls": f"tcp+tls://localhost:{rsyslog.tls}", "unix": f"unixgram://{rsyslog.socket}"}[transport]
    formats = {"udp": ["", "rfc3164"], "tcp": ["rfc5424", "rfc5424micro"], "tcp+tls": ["rfc5424"], "unix": ["rfc3164"]}
    for style in formats[transport]:
        tag = f"t-{transport}-{style}"
        options = {"syslog-address": address, "syslog-facility": "local5", "tag": tag + ".{{.Name}}"}
        if style:
            options["syslog-format"] = style
        if transport == "tcp+tls":
            options["syslog-tls-ca-cert"] = rsyslog.certificate
        name = f"s-{transport.replace('+', '-')}-{style}"
        result = logged(daemon, "syslog", options, "sh", "-c", "echo to out; sleep 0.1; echo to err >&2", flags=["--name", name])
        assert (result.stdout, result.stderr) == ("to out\n", "to err\n")
        first, second = rsyslog.wait_lines(2, tag)
        assert first.startswith(f"local5.info|{tag}.{name}|") and second.startswith(f"local5.err|{tag}.{name}|")
        assert first.split("|")[3].strip() == "to out" and second.split("|")[3].strip() == "to err"
        assert int(first.split("|")[2])
        if style == "rfc5424micro":
            assert re.search(r"\dT\d\d:\d\d:\d\d\.\d+", first), first
        assert docker_logs(daemon, name) == "to out\n"


def test_syslog_from_a_vm(daemon, rsyslog):
    logged(daemon, "syslog", {"syslog-address": f"tcp://127.0.0.1:{rsyslog.tcp}", "tag": "vm-{{.ImageName}}"}, "sh", "-c",
           "i=0; while [ $i -lt 500 ]; do echo number $i; i=$((i+1)); done", isolation="vm", flags=["--name", "far"])
    lines = rsyslog.wait_lines(500, "|vm-busybox|")
    assert [line.split("|")[3].strip() for line in lines] == [f"number {n}" for n in range(500)]
    assert len(docker_logs(daemon, "far").splitlines()) == 500


def test_a_start_says_the_name_of_then(daemon, rsyslog):
    logged(daemon, "syslog", {"syslog-address": f"tcp://127.0.0.1:{rsyslog.tcp}", "tag": "named-{{.Name}}"}, "echo", "here",
           flags=["--name", "before"])
    daemon.docker("rename", "before", "after")
    daemon.docker("start", "-a", "after")
    rsyslog.wait_lines(1, "|named-before|")
    rsyslog.wait_lines(1, "|named-after|")
    assert docker_logs(daemon, "after") == "here\nhere\n"


def test_a_certificate_nobody_knows_is_refused(daemon, rsyslog):
    if not rsyslog.has_tls:
        pytest.skip("rsyslog-openssl is not installed")
    options = {"syslog-address": f"tcp+tls://127.0.0.1:{rsyslog.tls}", "syslog-format": "rfc5424", "tag": "unverified"}
    result = logged(daemon, "syslog", options, "true", check=False)
    assert result.returncode == 125 and "failed to initialize logging driver" in result.stderr
    assert "self-signed certificate" in result.stderr
    logged(daemon, "syslog", {**options, "syslog-tls-skip-verify": "true"}, "echo", "taken")
    rsyslog.wait_lines(1, "|unverified|")


# ---------------------------------------------------------------- gelf and fluentd

def test_gelf_reaches_graygelf(daemon, receiver, tmp_path):
    server = receiver(log_receivers.graygelf, tmp_path)
    for kind in ("gzip", "zlib", "none"):
        # 12000 random digits do not fit into one datagram of 1420 bytes, compressed or not.
        logged(daemon, "gelf", {"gelf-address": f"udp://127.0.0.1:{server.port}", "gelf-compression-type": kind, "tag": kind,
                                "env": "COLOR", "labels-regex": "^ti"}, "sh", "-c",
               "echo short; echo; head -c 6000 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; echo bad >&2",
               flags=["-e", "COLOR=red", "--label", "tier=front", "--name", f"gelf-{kind}"])
        found = server.messages(3, f'"_tag":"{kind}"')
        assert [len(message["short_message"]) for message in found if message["level"] == 6] == [5, 12000]
        assert [message["short_message"] for message in found if message["level"] == 3] == ["bad"]
        message = found[0]
        assert message["version"] == "1.1" and message["host"] == os.uname().nodename
        assert message["_COLOR"] == "red" and message["_tier"] == "front" and message["_image_name"] == "busybox"
        assert message["_container_name"] == f"gelf-{kind}" and message["_command"].startswith("sh -c")
        assert abs(message["timestamp"] - time.time()) < 600
        text = daemon.docker("logs", f"gelf-{kind}").stdout
        assert text.splitlines()[2] in [one["short_message"] for one in found]


def test_gelf_over_tcp(daemon, receiver):
    server = receiver(lambda: Plain().start())
    logged(daemon, "gelf", {"gelf-address": f"tcp://127.0.0.1:{server.port}"}, "sh", "-c", "echo one; echo two")
    server.wait_for(b"\0", 2)
    messages = [json.loads(part) for part in server.data.split(b"\0")[:-1]]
    assert [message["short_message"] for message in messages] == ["one", "two"]


def test_fluentd_reaches_a_server(daemon, receiver, tmp_path):
    server = receiver(log_receivers.fluent_server, tmp_path)
    base = {"fluentd-address": f"127.0.0.1:{server.port}", "tag": "t.{{.Name}}"}
    logged(daemon, "fluentd", {**base, "env": "COLOR"}, "sh", "-c", "echo one; echo two >&2", flags=["-e", "COLOR=red", "--name", "plain"])
    events = server.messages(2, '"t.plain"')
    by_source = {event["record"]["source"]: event["record"] for event in events}
    assert by_source["stdout"]["log"] == "one" and by_source["stderr"]["log"] == "two"
    assert by_source["stdout"]["COLOR"] == "red" and by_source["stdout"]["container_name"] == "/plain"
    assert len(by_source["stdout"]["container_id"]) == 64

    logged(daemon, "fluentd", {**base, "fluentd-request-ack": "true", "fluentd-sub-second-precision": "true"}, "sh", "-c",
           "i=0; while [ $i -lt 1000 ]; do echo $i; i=$((i+1)); done", flags=["--name", "acked"])
    events = server.messages(1000, '"t.acked"')
    assert [event["record"]["log"] for event in events] == [str(n) for n in range(1000)]

    # A line of 40000 bytes comes in three pieces that say so.
    logged(daemon, "fluentd", {**base, "fluentd-async": "true"}, "sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo",
           flags=["--name", "long"])
    pieces = [event["record"] for event in server.messages(3, '"t.long"')]
    assert [piece["partial_ordinal"] for piece in pieces] == ["1", "2", "3"]
    assert [piece["partial_last"] for piece in pieces] == ["false", "false", "true"]
    assert len({piece["partial_id"] for piece in pieces}) == 1
    assert "".join(piece["log"] for piece in pieces) == "x" * 40000
    assert docker_logs(daemon, "long") == "x" * 40000 + "\n"


# ---------------------------------------------------------------- journald

def journal_entries(data):
    """A datagram of systemd's native protocol as a dictionary."""
    found, at = {}, 0
    while at < len(data):
        end = data.index(b"\n", at)
        line = data[at:end]
        if b"=" in line:
            key, _, value = line.partition(b"=")
            at = end + 1
        else:
            size = int.from_bytes(data[end + 1:end + 9], "little")
            key, value = line, data[end + 9:end + 9 + size]
            at = end + 10 + size
        found[key.decode()] = value
    return found


def test_journald(daemon, receiver):
    options = {"tag": "j/{{.Name}}", "labels": "my.tier"}
    if JOURNAL.exists():
        pytest.skip("a journald of the machine's own runs here; the test brings a socket in its place")
    refused = logged(daemon, "journald", options, "true", check=False)
    assert refused.returncode == 125 and "journald is not enabled on this host" in refused.stderr
    made = not JOURNAL.parent.exists()
    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    try:
        server = receiver(Datagrams, JOURNAL)
        logged(daemon, "journald", options, "sh", "-c", "echo one; echo two >&2; head -c 20000 /dev/zero | tr '\\0' x; echo",
               flags=["--name", "journal", "--label", "my.tier=front\nend"])
        wait_for(lambda: len(server.messages) >= 4, lambda: f"four entries in {server.messages}")
        entries = [journal_entries(message) for message in server.messages]
        texts = {entry["MESSAGE"][:3]: entry for entry in entries}
        assert texts[b"one"]["PRIORITY"] == b"6" and texts[b"two"]["PRIORITY"] == b"3"
        assert texts[b"one"]["SYSLOG_IDENTIFIER"] == b"j/journal" and texts[b"one"]["MY_TIER"] == b"front\nend"
        assert texts[b"one"]["CONTAINER_NAME"] == b"journal" and len(texts[b"one"]["CONTAINER_ID"]) == 12
        pieces = [entry for entry in entries if "CONTAINER_PARTIAL_ID" in entry]
        assert [piece.get("CONTAINER_PARTIAL_MESSAGE") for piece in pieces] == [b"true", None]
        assert b"".join(piece["MESSAGE"] for piece in pieces) == b"x" * 20000
        assert "one" in docker_logs(daemon, "journal")
    finally:
        if made:
            with contextlib.suppress(OSError):
                JOURNAL.parent.rmdir()


# ---------------------------------------------------------------- faults

def test_a_receiver_that_is_down_at_the_start(daemon, receiver):
    server = Plain()
    for driver, key in (("syslog", "syslog-address"), ("gelf", "gelf-address"), ("fluentd", "fluentd-address")):
        refused = logged(daemon, driver, {key: f"tcp://127.0.0.1:{server.port}"}, "true", check=False)
        assert refused.returncode == 125
        assert (f"failed to initialize logging driver: dial tcp 127.0.0.1:{server.port}: connect: connection refused"
                in refused.stderr)
    # Asynchronously it starts, and what was said comes when the receiver does.
    logged(daemon, "fluentd", {"fluentd-address": f"tcp://127.0.0.1:{server.port}", "fluentd-async": "true",
                               "fluentd-retry-wait": "50ms"}, "echo", "early", flags=["--name", "early"])
    assert docker_logs(daemon, "early") == "early\n"
    receiver(server.start)
    server.wait_for(b"early")


def test_a_receiver_that_dies_and_comes_back(daemon, receiver):
    server = receiver(lambda: Plain().start())
    logged(daemon, "syslog", {"syslog-address": f"tcp://127.0.0.1:{server.port}"}, "sh", "-c", "while read x; do echo got $x; done",
           flags=["-d", "-i", "--name", "talker"])
    attach = subprocess.Popen(["/usr/bin/docker", "attach", "talker"], env=daemon.environment(), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)

    def say(text):
        attach.stdin.write(text + "\n")
        attach.stdin.flush()
        assert attach.stdout.readline() == f"got {text}\n"

    try:
        say("one")
        server.wait_for(b": got one\n")
        server.stop()
        # Nothing stops the container, and the buffer holds what it says.
        for n in range(50):
            say(f"meanwhile {n}")
        server.start()
        server.wait_for(b": got meanwhile 49\n")
        say("after")
        server.wait_for(b": got after\n")
    finally:
        daemon.docker("kill", "talker")
        attach.stdin.close()
        attach.wait(60)
    numbers = re.findall(rb": got meanwhile (\d+)\n", server.data)
    assert numbers == [str(n).encode() for n in range(50)]
    assert len(docker_logs(daemon, "talker").splitlines()) == 52


def test_a_slow_receiver_holds_a_blocking_container_only(daemon, receiver):
    server = receiver(lambda: Plain(read=False).start())
    address = {"syslog-address": f"tcp://127.0.0.1:{server.port}"}
    # Much more than what sockets and windows hold.
    script = "head -c 12000000 /dev/zero | tr '\\0' x | fold -w 10000; echo; echo done"
    logged(daemon, "syslog", {**address, "mode": "non-blocking", "max-buffer-size": "64k"}, "sh", "-c", script,
           flags=["--name", "hasty", "-d"])
    assert daemon.docker("wait", "hasty").stdout == "0\n"
    daemon.docker("rm", "-f", "hasty")
    server.stop()
    server = receiver(lambda: Plain(read=False).start())
    address = {"syslog-address": f"tcp://127.0.0.1:{server.port}"}
    logged(daemon, "syslog", address, "sh", "-c", script, flags=["--name", "patient", "-d"])
    wait_for(lambda: server.connections, "a connection")
    time.sleep(1)
    assert daemon.docker("inspect", "-f", "{{.State.Running}}", "patient").stdout == "true\n"
    server.reading.set()
    assert daemon.docker("wait", "patient").stdout == "0\n"
    server.wait_for(b": done\n")
    assert server.data.count(b"x" * 10000) == 1200


def test_a_daemon_that_is_killed_loses_and_doubles_nothing(new_daemon, receiver, isolation):
    server = receiver(lambda: Plain(read=False).start())
    daemon = new_daemon()
    # More than the sockets hold: the rest is with the pod's agent when the daemon dies.
    script = f"p={'x' * 3000}; i=0; while [ $i -lt 2500 ]; do echo $i $p; i=$((i+1)); done; sleep 1000"
    logged(daemon, "syslog", {"syslog-address": f"tcp://127.0.0.1:{server.port}", "tag": "x"}, "sh", "-c", script,
           flags=["--name", "survivor", "-d"], isolation=isolation)
    wait_for(lambda: server.connections, "a connection")
    time.sleep(1)
    daemon.kill()
    server.reading.set()
    daemon.start()
    server.wait_for(b": 2499 x")
    numbers = [int(n) for n in re.findall(rb": (\d+) x{3000}\n", server.data)]
    # What the kernel had half when the daemon died is sent again, whole; the rest comes once, in order.
    assert sorted(set(numbers)) == list(range(2500))
    assert len(numbers) <= 2500 + 64, len(numbers)
    wait_for(lambda: len(docker_logs(daemon, "survivor").splitlines()) == 2500, "the cache has every line")
    assert [int(line.split()[0]) for line in docker_logs(daemon, "survivor").splitlines()] == list(range(2500))


# ---------------------------------------------------------------- settings

def test_without_cache_logs_are_refused(daemon, receiver):
    server = receiver(lambda: Plain().start())
    logged(daemon, "syslog", {"syslog-address": f"tcp://127.0.0.1:{server.port}", "cache-disabled": "true"}, "echo", "away",
           flags=["--name", "away"])
    server.wait_for(b": away\n")
    refused = daemon.docker("logs", "away", check=False)
    assert refused.returncode == 1 and "configured logging driver does not support reading" in refused.stderr


@pytest.mark.parametrize("driver, options, message", [
    ("syslog", {"x": "y"}, "unknown log opt 'x' for syslog log driver"),
    ("gelf", {}, "gelf-address is a required parameter"),
    ("gelf", {"gelf-address": "udp://127.0.0.1:1", "x": "y"}, 'unknown log opt "x" for gelf log driver'),
    ("fluentd", {"x": "y"}, "unknown log opt 'x' for fluentd log driver"),
    ("local", {"x": "y"}, "unknown log opt 'x' for log driver local"),
    ("carrier-pigeon", {}, "logger: no log driver named 'carrier-pigeon' is registered"),
    ("syslog", {"max-buffer-size": "1m"}, "max-buffer-size option is only supported with 'mode=non-blocking'"),
])
def test_wrong_options_are_refused_in_dockers_words(daemon, driver, options, message):
    result = logged(daemon, driver, options, "true", check=False)
    assert result.returncode == 125 and message in result.stderr


def test_the_daemons_own_driver_and_pod_files(new_daemon, receiver, tmp_path):
    server = receiver(lambda: Plain().start())
    daemon = new_daemon("--isolation", "namespace", config={
        "log-driver": "syslog", "log-opts": {"syslog-address": f"tcp://127.0.0.1:{server.port}", "tag": "daemon/{{.Name}}"}})
    names = daemon.docker("info", "-f", "{{json .Plugins.Log}} {{.LoggingDriver}}").stdout
    assert names == '["fluentd","gelf","journald","json-file","local","syslog"] syslog\n'
    daemon.docker("run", "--network", "none", "--name", "plain", "busybox", "echo", "by default")
    server.wait_for(b" daemon/plain[")
    assert daemon.docker("inspect", "-f", "{{.HostConfig.LogConfig.Type}}", "plain").stdout == "syslog\n"
    pod = {"id": "logged", "log": {"type": "syslog", "config": {"syslog-address": f"tcp://127.0.0.1:{server.port}",
                                                                "tag": "pod/{{.ImageName}}", "syslog-format": "rfc5424"}},
           "containers": [{"name": "a", "image": "busybox", "command": ["echo", "from a pod"]}]}
    file = tmp_path / "pod.json"
    file.write_text(json.dumps(pod))
    daemon.hyperctl("run", "-f", str(file))
    server.wait_for(b" pod/busybox - from a pod\n")
