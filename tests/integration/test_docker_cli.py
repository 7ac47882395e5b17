"""The stock docker CLIs, old and new, drive both kinds of pods."""
import json
import re
import subprocess
import threading

import pytest

from conftest import TIMEOUT_S


@pytest.fixture
def docker(daemon, cli, isolation):
    """docker(ARGS…): run and create get the isolation."""
    def run(*args, **options):
        if args[0] in ("run", "create"):
            args = (args[0], "--isolation", isolation, *args[1:])
        return daemon.docker(*args, cli=cli, **options)
    return run


def inspect(docker, name, template):
    return docker("inspect", "-f", template, name).stdout.strip()


def test_run_shows_output_and_exit_code(docker):
    result = docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert docker("ps", "-aq").stdout == ""


def test_failed_starts_have_dockers_exit_codes(docker):
    missing = docker("run", "--rm", "busybox", "/no/such", check=False)
    assert missing.returncode == 127, missing.stderr
    not_executable = docker("run", "--rm", "busybox", "/etc/passwd", check=False)
    assert not_executable.returncode == 126, not_executable.stderr
    # Process 1 cannot be killed from inside its PID namespace, its child can.
    killed = docker("run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?", check=False)
    assert killed.returncode == 137
    wrong_flag = docker("run", "--rm", "--cgroup-parent", "/x", "busybox", "true", check=False)
    assert wrong_flag.returncode == 125
    assert "HostConfig.CgroupParent is not supported" in wrong_flag.stderr


def test_standard_input_is_half_closed(docker):
    text = "".join(f"line {n}\n" for n in range(5000))
    result = docker("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo end", input=text)
    assert result.stdout == text + "end\n"


def test_environment_user_directory_hostname(docker):
    result = docker("run", "--rm", "-e", "A=b c", "-u", "user", "-w", "/tmp", "--hostname", "somewhere", "busybox", "sh", "-c",
                    "echo $A; id -un; pwd; hostname")
    assert result.stdout == "b c\nuser\n/tmp\nsomewhere\n"


def test_devices(docker, isolation):
    result = docker("run", "--rm", "--device", "/dev/zero:/dev/nothing:r", "busybox", "sh", "-c",
                    "head -c 3 /dev/nothing | od -An -tx1")
    assert result.stdout.split() == ["00", "00", "00"], result.stderr
    for device, word in (("/dev/no-such", "No such file"), ("/etc/passwd", "not a device")):
        refused = docker("run", "--rm", "--device", device, "busybox", "true", check=False)
        assert refused.returncode == 125 and word in refused.stderr, refused.stderr
    other = docker("run", "--rm", "--device", "/dev/fuse", "busybox", "ls", "/dev/fuse", check=False)
    if isolation == "vm":
        assert other.returncode == 125 and "isolation" in other.stderr


def test_detached_logs_wait_remove(docker):
    name = docker("run", "-d", "--name", "web", "--label", "a=b", "busybox", "sh", "-c",
                  "echo one; echo two >&2; exit 3").stdout.strip()
    assert len(name) == 64
    assert docker("wait", "web").stdout == "3\n"
    logs = docker("logs", "web")
    assert (logs.stdout, logs.stderr) == ("one\n", "two\n")
    assert docker("logs", "--tail", "0", "web").stdout == ""
    stamped = docker("logs", "-t", "web").stdout
    assert stamped.endswith("Z one\n") and stamped[:2] == "20"
    assert docker("ps", "-a", "--filter", "label=a=b", "--format", "{{.Names}} {{.Status}}").stdout.startswith("web Exited (3)")
    assert docker("ps", "-q").stdout == ""
    assert inspect(docker, "web", "{{.State.Status}} {{.State.ExitCode}} {{.Config.Image}}") == "exited 3 busybox"
    docker("rm", "web")
    gone = docker("inspect", "web", check=False)
    assert gone.returncode == 1 and "No such" in gone.stderr


def test_logs_follow_ends_with_the_container(docker):
    docker("run", "-d", "--name", "slow", "busybox", "sh", "-c", "echo a; sleep 1; echo b")
    assert docker("logs", "-f", "slow").stdout == "a\nb\n"


def test_exec(docker):
    docker("run", "-d", "--name", "c1", "busybox", "sleep", "1000")
    result = docker("exec", "c1", "sh", "-c", "echo hello; exit 5", check=False)
    assert (result.returncode, result.stdout) == (5, "hello\n")
    assert docker("exec", "-i", "c1", "cat", input="through\n").stdout == "through\n"
    assert docker("exec", "-e", "X=1", "-w", "/tmp", "-u", "1000", "c1", "sh", "-c", "echo $X $PWD; id -u").stdout == "1 /tmp\n1000\n"
    assert docker("exec", "c1", "/no/such", check=False).returncode in (126, 127)
    docker("exec", "-d", "c1", "touch", "/tmp/detached")
    assert "sleep 1000" in docker("top", "c1").stdout
    docker("rm", "-f", "c1")


def test_life(docker):
    docker("create", "--name", "c1", "busybox", "sleep", "1000")
    assert inspect(docker, "c1", "{{.State.Status}}") == "created"
    docker("start", "c1")
    assert inspect(docker, "c1", "{{.State.Status}} {{.State.Running}}") == "running true"
    docker("start", "c1")  # already so: no error
    docker("pause", "c1")
    assert inspect(docker, "c1", "{{.State.Status}}") == "paused"
    docker("unpause", "c1")
    docker("rename", "c1", "d1")
    assert inspect(docker, "d1", "{{.Name}}") == "/d1"
    docker("exec", "d1", "sh", "-c", "echo kept > /kept")
    docker("restart", "-t", "0", "d1")
    assert docker("exec", "d1", "cat", "/kept").stdout == "kept\n"
    assert docker("rm", "d1", check=False).returncode == 1
    docker("kill", "-s", "KILL", "d1")
    assert docker("wait", "d1").stdout == "137\n"
    assert docker("kill", "d1", check=False).returncode == 1
    docker("start", "d1")
    docker("stop", "-t", "0", "d1")
    docker("stop", "d1")
    docker("rm", "d1")


def test_names(docker):
    docker("create", "--name", "taken", "busybox", "true")
    again = docker("create", "--name", "taken", "busybox", "true", check=False)
    assert again.returncode == 1 and "is already in use" in again.stderr
    wrong = docker("create", "--name", "-x", "busybox", "true", check=False)
    assert wrong.returncode != 0
    assert "No such container: nothing" in docker("start", "nothing", check=False).stderr


def test_attach_later(docker, daemon, cli):
    docker("run", "-d", "-i", "--name", "c1", "busybox", "cat")
    client = subprocess.Popen([cli, "attach", "c1"], env=daemon.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client.stdin.write(b"echoed\n")
    client.stdin.flush()
    assert client.stdout.readline() == b"echoed\n"
    # The end of one client's input is its own: the container was not made for one client (docker run -i). The client
    # waits for the container's end all the same.
    client.stdin.close()
    docker("kill", "c1")
    assert client.stdout.read() == b""
    assert client.wait(TIMEOUT_S) == 137


def test_stats_and_limits(docker):
    docker("run", "-d", "--name", "c1", "--memory", "64m", "--cpus", "1", "busybox", "sleep", "1000")
    line = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "c1").stdout)
    assert line["Name"] == "c1" and line["MemUsage"].endswith("/ 64MiB"), line
    assert inspect(docker, "c1", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}") == "67108864 1000000000"


def test_stats_without_a_limit(docker):
    docker("run", "-d", "--name", "c1", "busybox", "sleep", "1000")
    kibibytes = int(docker("exec", "c1", "sed", "-n", "s/^MemTotal: *\\([0-9]*\\) kB/\\1/p", "/proc/meminfo").stdout)
    usage = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "c1").stdout)["MemUsage"]
    number, unit = re.fullmatch(r".* / ([0-9.]+)([KMG])iB", usage).groups()
    assert abs(float(number) * 1024 ** "KMG".index(unit) / kibibytes - 1) < 0.01, (usage, kibibytes)


def test_events(docker, daemon, cli):
    watcher = subprocess.Popen([cli, "events", "--filter", "type=container", "--format", "{{.Action}}"],
                               env=daemon.environment(), stdout=subprocess.PIPE, text=True)
    seen = []

    def read():
        for line in watcher.stdout:
            seen.append(line.strip())
            if line.startswith("destroy"):
                break

    # The subscription is there once an event of ours arrives: make some until it does.
    reader = threading.Thread(target=read)
    reader.start()
    while not seen:
        docker("rm", docker("create", "busybox", "true").stdout.strip())
    reader.join(TIMEOUT_S)
    watcher.terminate()
    watcher.wait()
    assert "destroy" in seen


def test_a_large_output_arrives_whole(docker):
    result = docker("run", "--rm", "busybox", "sh", "-c", "dd if=/dev/zero bs=64k count=160 2>/dev/null | tr '\\0' x")
    assert len(result.stdout) == 160 * 65536 and set(result.stdout) == {"x"}
