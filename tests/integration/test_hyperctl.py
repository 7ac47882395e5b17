"""hyperctl as people use it, with the real daemon, on both isolations."""
import json
import os
import subprocess
import tarfile
import time

import pytest

from conftest import HYPERCTL, TIMEOUT_S
from hyperctl_tmux import fixture_terminal, needs_tmux, pid_of  # pylint: disable=unused-import

POD = """
name: web
hostname: web
files:
- {name: greeting, uri: file://greeting}
containers:
- name: one
  image: busybox
  files:
  - {path: /greeting, filename: greeting}
  command: [sh, -c, "cat /greeting; hostname; echo oops >&2"]
- name: two
  image: busybox
  command: [sh, -c, "echo two; exit 5"]
"""


def logged(daemon, expected, *args):
    """Waits until the log is as expected: a process that was started has not written yet."""
    end = time.monotonic() + TIMEOUT_S
    while (text := daemon.hyperctl("logs", *args).stdout) != expected:
        assert time.monotonic() < end, f"the log is {text!r}, not {expected!r}"
        time.sleep(0.02)


def run(daemon, isolation, *args, stdin=None, check=False):
    return daemon.hyperctl("run", "--isolation", isolation, *args, input=stdin, check=check)


def test_run_gives_outputs_and_exit_code(daemon, isolation):
    done = run(daemon, isolation, "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    assert daemon.hyperctl("list", "-aq").stdout == ""


def test_run_that_cannot_has_dockers_exit_codes(daemon, isolation):
    assert run(daemon, isolation, "--rm", "busybox", "no-such-command").returncode == 127
    assert run(daemon, isolation, "--rm", "busybox", "/etc/passwd").returncode == 126
    assert run(daemon, isolation, "--rm", "busybox", "sh", "-c", "sleep 100 & kill -9 $!; wait $!").returncode == 137
    done = run(daemon, isolation, "no-such-image")
    assert done.returncode == 125 and "No such image: no-such-image" in done.stderr
    assert run(daemon, "nonsense", "busybox").returncode == 125


def test_input_reaches_the_process_and_ends(daemon, isolation):
    text = "".join(f"line {i}\n" for i in range(20000))
    done = run(daemon, isolation, "-i", "--rm", "busybox", "sh", "-c", "cat; echo end", stdin=text)
    assert done.stdout == text + "end\n"


def test_options_reach_the_process(daemon, isolation, tmp_path):
    (tmp_path / "env").write_text("FROM_FILE=1\n")
    done = run(daemon, isolation, "--rm", "-e", "A=b", "--env-file", str(tmp_path / "env"), "-w", "/tmp", "-u", "1000:1001", "-h", "name",
               "--ulimit", "nofile=100:200", "--tmpfs", "/t:size=1m", "--label", "k=v", "--entrypoint", "/bin/sh", "busybox", "-c",
               "echo $A $FROM_FILE; pwd; id -u; id -g; hostname; ulimit -n; ulimit -Hn; grep -c ' /t tmpfs' /proc/mounts")
    assert done.stdout.split() == ["b", "1", "/tmp", "1000", "1001", "name", "100", "200", "1"], done.stderr
    done = run(daemon, isolation, "--rm", "--read-only", "busybox", "touch", "/x")
    assert done.returncode == 1 and "Read-only" in done.stderr


def test_life_of_a_container(daemon, isolation):
    made = run(daemon, isolation, "-d", "--name", "bg", "-l", "a=b", "busybox", "sh", "-c", "echo started; exec sleep 1000", check=True)
    container = made.stdout.strip()
    assert len(container) == 64
    listed = daemon.hyperctl("list", "--format", "{{.ID}} {{.Names}} {{.State}} {{.Isolation}} {{.Pod}}").stdout.split()
    assert listed == [container[:12], "bg", "running", isolation, "bg"]
    assert daemon.hyperctl("ps", "-q", "-f", "label=a=b").stdout.strip() == container[:12]
    assert daemon.hyperctl("ps", "-q", "-f", "label=a=c").stdout == ""
    done = daemon.hyperctl("exec", "bg", "sh", "-c", "echo in; exit 3", check=False)
    assert (done.stdout, done.returncode) == ("in\n", 3)
    assert daemon.hyperctl("exec", "-i", "-e", "X=y", "bg", "sh", "-c", "cat; echo $X", input="abc\n").stdout == "abc\ny\n"
    assert daemon.hyperctl("exec", "bg", "no-such-command", check=False).returncode in (126, 127)
    assert "sleep 1000" in daemon.hyperctl("top", "bg").stdout
    assert daemon.hyperctl("inspect", "-f", "{{.State.Status}} {{.Config.Labels.a}}", "bg").stdout == "running b\n"
    logged(daemon, "started\n", "bg")
    assert " started" in daemon.hyperctl("logs", "-t", "--since", "10m", "bg").stdout
    row = daemon.hyperctl("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.HostMem}}").stdout.split()
    assert row[0] == "bg" and row[1] in ("1", "2") and row[2].endswith("iB")
    daemon.hyperctl("pause", "bg")
    assert daemon.hyperctl("inspect", "-f", "{{.State.Status}}", "bg").stdout == "paused\n"
    daemon.hyperctl("unpause", "bg")
    daemon.hyperctl("rename", "bg", "other")
    assert daemon.hyperctl("stop", "-t", "0", "other").stdout == "other\n"
    assert daemon.hyperctl("wait", "other").stdout == "137\n"
    assert daemon.hyperctl("exec", "other", "true", check=False).returncode == 1
    daemon.hyperctl("start", "other")
    logged(daemon, "started\n" * 2, "other")
    daemon.hyperctl("restart", "-t", "0", "other")
    logged(daemon, "started\n" * 3, "other")
    assert daemon.hyperctl("logs", "-n", "1", "other").stdout == "started\n"
    assert daemon.hyperctl("rm", "other", check=False).returncode == 1
    assert daemon.hyperctl("kill", "-s", "KILL", "other").stdout == "other\n"
    daemon.hyperctl("rm", "-f", "other")
    assert daemon.hyperctl("ps", "-aq").stdout == ""


def test_start_attached_and_wait(daemon, isolation):
    daemon.hyperctl("create", "--isolation", isolation, "--name", "cc", "busybox", "sh", "-c", "echo hello; exit 4")
    for _ in range(2):
        done = daemon.hyperctl("start", "-a", "cc", check=False)
        assert (done.stdout, done.returncode) == ("hello\n", 4)


def test_a_pod_from_a_file(daemon, isolation, tmp_path):
    (tmp_path / "greeting").write_text("hello from this side\n")
    (tmp_path / "pod.yaml").write_text(POD)
    done = daemon.hyperctl("run", "--rm", "--timing", "--isolation", isolation, "-f", tmp_path / "pod.yaml", check=False)
    assert done.returncode == 5, done.stderr
    assert sorted(done.stdout.splitlines()) == ["one | hello from this side", "one | web", "two | two"]
    assert "one | oops" in done.stderr.splitlines()
    assert "processes started" in done.stderr and "first output" in done.stderr
    assert daemon.pods() == []


def test_verbs_take_pods(daemon, isolation, tmp_path):
    (tmp_path / "pod.yaml").write_text("name: pp\ncontainers:\n- {name: a, image: busybox, command: [sleep, '1000']}\n"
                                       "- {name: b, image: busybox, command: [sh, -c, 'echo b; exec sleep 1000']}\n")
    daemon.hyperctl("run", "-d", "--isolation", isolation, "-f", tmp_path / "pod.yaml")
    rows = [json.loads(line) for line in daemon.hyperctl("list", "--format", "json").stdout.splitlines()]
    assert sorted((row["Pod"], row["Names"], row["State"]) for row in rows) == [("pp", "pp-a", "running"), ("pp", "pp-b", "running")]
    assert daemon.hyperctl("inspect", "-f", "{{.State}} {{.Isolation}} {{len .Containers}}", "pp").stdout == f"running {isolation} 2\n"
    done = daemon.hyperctl("exec", "pp", "true", check=False)
    assert done.returncode == 1 and "pp-a, pp-b" in done.stderr
    logged(daemon, "pp-b | b\n", "pp")
    top = daemon.hyperctl("top", "pp").stdout
    assert top.count("sleep 1000") == 2 and top.startswith("CONTAINER")
    # A container more, in the same sandbox, and one beside the init.
    assert daemon.hyperctl("run", "--rm", "--pod", "pp", "busybox", "hostname").stdout == daemon.hyperctl("exec", "pp-a", "hostname").stdout
    assert daemon.hyperctl("exec", "--vm", "pp", "/bin/sh", "-c", "echo $$", check=False).returncode in (0, 126, 127)
    daemon.hyperctl("stop", "-t", "0", "pp")
    assert daemon.hyperctl("list", "-q").stdout == ""
    daemon.hyperctl("start", "pp")
    assert len(daemon.hyperctl("list", "-q").stdout.split()) == 2
    daemon.hyperctl("rename", "pp", "qq")
    assert daemon.hyperctl("rm", "qq", check=False).returncode == 1
    daemon.hyperctl("rm", "-f", "qq")
    assert daemon.hyperctl("list", "-aq").stdout == ""


@pytest.mark.parametrize("end", ["itself", "stop", "kill"])
def test_a_pod_in_the_background_is_removed_at_its_end(daemon, isolation, tmp_path, end):
    if end != "itself" and isolation == "vm":
        pytest.skip("the same code as for namespaces")
    seconds = 1 if end == "itself" else 1000
    (tmp_path / "pod.yaml").write_text("name: gone\ncontainers:\n"
                                       f"- {{name: a, image: busybox, command: [sleep, '{seconds}']}}\n"
                                       "- {name: b, image: busybox, command: ['true']}\n")
    daemon.hyperctl("run", "-d", "--rm", "--isolation", isolation, "-f", tmp_path / "pod.yaml")
    if end != "itself":
        daemon.hyperctl(end, *(["-t", "0"] if end == "stop" else []), "gone")
    deadline = time.monotonic() + TIMEOUT_S
    while daemon.pods():
        assert time.monotonic() < deadline, daemon.pods()
        time.sleep(0.02)


def test_a_pod_without_containers_is_listed(daemon, isolation):
    made = daemon.hyperctl("create", "--isolation", isolation, "-f", "-", input="name: empty\n").stdout.strip()
    assert daemon.hyperctl("ps", "-aq").stdout.strip() == made[:12]
    assert daemon.hyperctl("list", "-a").stdout.splitlines()[1].split()[1] == "empty"
    daemon.hyperctl("start", "empty")
    assert "Pod running" in daemon.hyperctl("list").stdout
    daemon.hyperctl("rm", "-f", "empty")


def test_wrong_pod_files_are_refused_with_the_place(daemon):
    done = daemon.hyperctl("run", "-f", "-", input="name: x\ncontainers:\n- {image: busybox, comand: [a]}\n", check=False)
    assert done.returncode == 125 and "comand" in done.stderr
    done = daemon.hyperctl("run", "-f", "-", input="name: [\n", check=False)
    assert done.returncode == 125 and "line" in done.stderr


def test_files_of_a_container(daemon, isolation, tmp_path):
    source = tmp_path / "tree"
    (source / "sub").mkdir(parents=True)
    (source / "we,ird.[x]").write_text("strange\n")
    (source / "link").symlink_to("we,ird.[x]")
    daemon.hyperctl("run", "--name", "box", f"--isolation={isolation}", "busybox", "sh", "-c", "echo hi > /f; rm /bin/ls")
    assert daemon.hyperctl("diff", "box").stdout == "C /bin\nD /bin/ls\nA /f\n"
    daemon.hyperctl("cp", source, "box:/new")
    daemon.hyperctl("cp", f"{source}/.", "box:/tmp")
    daemon.hyperctl("cp", "-L", source / "link", "box:/n&w,")
    assert {"A /n&w,", "A /new/sub", "A /tmp/link"} <= set(daemon.hyperctl("diff", "box").stdout.splitlines())
    daemon.hyperctl("cp", "box:/new", tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["link", "sub", "we,ird.[x]"]
    (tmp_path / "into").mkdir()
    for name in ("box:/f", "box:/new"):
        daemon.hyperctl("cp", name, tmp_path / "into")
    assert (tmp_path / "into/f").read_text() == "hi\n" and (tmp_path / "into/new/link").is_symlink()
    daemon.hyperctl("cp", "-L", "box:/new/link", tmp_path / "followed")
    assert (tmp_path / "followed").read_text() == "strange\n"
    for args, words in ((("box:/nope", tmp_path / "x"), "Could not find the file"), ((source, "box:/f"), "over the file"),
                        ((source / "link", "box:/nope/"), "no such directory"), (("box:/f", "box:/g"), "between containers")):
        refused = daemon.hyperctl("cp", *args, check=False)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr
    daemon.hyperctl("export", "-o", tmp_path / "root.tar", "box")
    with tarfile.open(tmp_path / "root.tar") as archive:
        assert "f" in archive.getnames() and "bin/ls" not in archive.getnames()
    made = daemon.hyperctl("commit", "-m", "why", "-c", 'CMD ["cat", "/f"]', "box", "committed:1").stdout.strip()
    assert daemon.docker("inspect", "-f", "{{.Id}} {{.Comment}}", "committed:1").stdout == f"{made} why\n"
    assert daemon.hyperctl("run", "--rm", f"--isolation={isolation}", "committed:1").stdout == "hi\n"
    daemon.hyperctl("rm", "box")
    daemon.hyperctl("rmi", "committed:1")


def test_images_through_an_archive(daemon, tmp_path):
    archive = tmp_path / "x.tar"
    daemon.hyperctl("tag", "busybox", "copy:1")
    daemon.hyperctl("save", "-o", archive, "copy:1")
    assert daemon.hyperctl("rmi", "copy:1").stdout.startswith("Untagged: ")
    assert "copy" not in daemon.hyperctl("images").stdout
    assert daemon.hyperctl("load", "-i", archive).stdout.strip() == "Loaded image: copy:1"
    rows = [json.loads(line) for line in daemon.hyperctl("images", "--format", "json").stdout.splitlines()]
    ids = {(row["Repository"], row["Tag"]): row["ID"] for row in rows}
    assert ids["copy", "1"] == ids["busybox", "latest"]
    assert daemon.hyperctl("images", "-q", "copy").stdout.strip() == ids["copy", "1"]
    done = daemon.hyperctl("load", input="this is no archive", check=False)
    assert done.returncode == 1 and done.stderr.startswith("hyperctl: ")
    daemon.hyperctl("rmi", "copy:1")


def test_what_the_daemon_says_of_itself(daemon):
    info = daemon.hyperctl("info").stdout
    for word in ("Containers:", "Isolation: vm", "Templates:", "Accel reason:", "Missing:"):
        assert word in info, info
    assert daemon.hyperctl("version", "-f", "{{.Server.ApiVersion}}").stdout == "1.44\n"


def test_events_tell_of_a_run(daemon, isolation):
    watcher = subprocess.Popen([HYPERCTL, "events", "--filter", "type=container", "--format", "{{.Action}}"], env=daemon.environment(),
                               stdout=subprocess.PIPE, text=True)
    try:
        # The watcher watches once it shows an event: one is made until then.
        run(daemon, isolation, "--rm", "--name", "seen", "busybox", "true", check=True)
        seen = set()
        while not {"create", "start", "die"} <= seen:
            line = watcher.stdout.readline().strip()
            assert line
            seen.add(line)
            if "destroy" in seen and not {"create", "start", "die"} <= seen:
                run(daemon, isolation, "--rm", "busybox", "true", check=True)
    finally:
        watcher.kill()
        watcher.wait()
        watcher.stdout.close()


def test_signals_are_passed_on(daemon, isolation):
    child = subprocess.Popen([HYPERCTL, "run", "--rm", "--isolation", isolation, "busybox", "sh", "-c",
                              "trap 'echo got it; exit 12' INT; echo ready; while :; do sleep 1; done"], env=daemon.environment(),
                             stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(2)
    assert child.stdout.read() == "got it\n"
    assert child.wait(TIMEOUT_S) == 12
    child.stdout.close()


# ---------------------------------------------------------------- in a terminal

@needs_tmux
def test_a_shell_in_a_terminal(daemon, isolation, terminal):
    before = terminal.mode()
    terminal.run(f"export HYPER_HOST={daemon.environment()['HYPER_HOST']}; clear")
    terminal.run(f"{HYPERCTL} run -it --rm --name tt --isolation {isolation} busybox sh; echo EXIT=$?")
    terminal.wait(r"^/ # $")
    terminal.run("stty size; echo $((6*7))")
    terminal.wait("^30 100\n42$")
    terminal.tmux("resize-window", "-x", "90", "-y", "25")
    terminal.run("until [ \"$(stty size)\" = '25 90' ]; do usleep 20000; done; echo resized")
    terminal.wait("^resized$")
    # Ctrl-C ends what runs in the shell, not the shell; only once it runs, though.
    terminal.run("sh -c 'echo begun; exec sleep 1000'")
    terminal.wait("^begun$")
    terminal.keys("C-c")
    terminal.run("echo still here")
    terminal.wait("^still here$")
    terminal.run("exit 33")
    terminal.wait("^EXIT=33")
    assert terminal.mode() == before


@needs_tmux
def test_detaching_and_attaching_again(daemon, isolation, terminal):
    before = terminal.mode()
    terminal.run(f"export HYPER_HOST={daemon.environment()['HYPER_HOST']}; clear")
    terminal.run(f"{HYPERCTL} run -it --name tt --isolation {isolation} busybox sh; echo EXIT=$?")
    terminal.wait(r"^/ # $")
    # cat, since a shell at its prompt asks the terminal where its cursor is: an answer that comes after the
    # detaching would be typed into the shell outside.
    terminal.run("kept=alive; echo begun; cat")
    terminal.wait("^begun$")
    terminal.run("heard")
    terminal.wait("^heard\nheard$")
    terminal.keys("C-p", "C-q")
    terminal.wait("^EXIT=0")
    assert terminal.mode() == before
    assert daemon.hyperctl("inspect", "-f", "{{.State.Status}}", "tt").stdout == "running\n"
    terminal.run(f"clear; {HYPERCTL} attach tt; echo EXIT=$?")
    pid_of(terminal)
    terminal.run("more")
    terminal.wait("^more\nmore$")
    terminal.keys("C-d")
    terminal.wait(r"^/ # $")
    terminal.run("echo $kept")
    terminal.wait("^alive")
    terminal.run("exit 3")
    terminal.wait("^EXIT=3")
    assert terminal.mode() == before


@needs_tmux
def test_exec_in_a_terminal(daemon, isolation, terminal):
    run(daemon, isolation, "-d", "--name", "tt", "busybox", "sleep", "1000", check=True)
    terminal.run(f"export HYPER_HOST={daemon.environment()['HYPER_HOST']}; clear")
    terminal.run(f"{HYPERCTL} exec -it tt sh; echo EXIT=$?")
    terminal.wait(r"^/ # $")
    terminal.run("stty size; tty >/dev/null && echo a terminal")
    terminal.wait("^30 100\na terminal$")
    terminal.keys("C-d")
    terminal.wait("^EXIT=0")


@needs_tmux
def test_killing_us_leaves_the_process_and_the_terminal(daemon, isolation, terminal):
    before = terminal.mode()
    terminal.run(f"export HYPER_HOST={daemon.environment()['HYPER_HOST']}; clear")
    terminal.run(f"{HYPERCTL} run -it --name tt --isolation {isolation} busybox sh; echo EXIT=$?")
    terminal.wait(r"^/ # $")
    os.kill(pid_of(terminal), 15)
    terminal.wait("^EXIT=143")
    assert terminal.mode() == before
    assert daemon.hyperctl("inspect", "-f", "{{.State.Status}}", "tt").stdout == "running\n"
