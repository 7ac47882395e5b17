"""Containers' files: diff, export, cp, commit, sizes; of running, stopped and paused containers, on both backends."""
import hashlib
import io
import json
import os
import pathlib
import subprocess
import tarfile
import time

import pytest

from conftest import TIMEOUT_S


def tar_of(*members):
    """(name, content, attribute=value, …) each."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content, attributes in members:
            info = tarfile.TarInfo(name)
            for key, value in attributes.items():
                setattr(info, key, value)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {m.name: m for m in archive}


class Client:
    """One isolation's containers; each of their names ends in the backend's."""

    def __init__(self, daemon, isolation):
        self.daemon, self.isolation, self.docker = daemon, isolation, daemon.docker

    def run(self, name, script, *options):
        self.docker("run", "--name", name, "--network", "none", "--runtime", self.isolation, *options, "busybox", "sh", "-c", script)

    def start(self, name, script, *options):
        self.docker("run", "-d", "--name", name, "--network", "none", "--runtime", self.isolation, *options, "busybox", "sh", "-c", script)

    def create(self, name, script="true", *options):
        self.docker("create", "--name", name, "--network", "none", "--runtime", self.isolation, *options, "busybox", "sh", "-c", script)

    def put(self, name, path, data, query=""):
        return self.daemon.request("PUT", f"/containers/{name}/archive?path={path}{query}", data)

    def get(self, name, path):
        return self.daemon.request("GET", f"/containers/{name}/archive?path={path}")

    def output(self, name, *command):
        return self.docker("exec", name, *command).stdout


@pytest.fixture
def client(daemon, isolation):
    return Client(daemon, isolation)


COUNT = "echo $i > /new; mv /new {}"  # whole at any time


def wait_for(client, name, path):
    for _ in range(400):
        if client.get(name, path).status == 200:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {path} in {name}")


def goes_on(client, name, path):
    """Whether the number in the file grows, within a time that is long enough for any machine."""
    script = f"read x < {path}; for n in $(seq 200); do read y < {path}; test $y -gt $x && exit 0; sleep 0.05; done; exit 1"
    return client.docker("exec", name, "sh", "-c", script, check=False).returncode == 0


CHANGES = """echo hi > /root/x; mkdir -p /d/e/f; ln /root/x /d/hard; ln -s /root/x /d/soft; rm /bin/ls; mkfifo /d/pipe
chmod 700 /tmp; rm -r /var/www; mkdir /var/www; echo new > /var/www/n; rm -rf /home; touch /etc/passwd; sync"""


def test_diff_commit_export(client, tmp_path):
    client.run("made", CHANGES)
    assert client.docker("diff", "made").stdout.splitlines() == [
        "C /bin", "D /bin/ls", "A /d", "A /d/e", "A /d/e/f", "A /d/hard", "A /d/pipe", "A /d/soft", "C /etc", "C /etc/passwd",
        "D /home", "C /root", "A /root/x", "C /tmp", "C /var", "C /var/www", "D /var/www/index.html", "A /var/www/n"]
    [listed] = client.daemon.request("GET", "/containers/json?all=1&size=1").json()
    assert listed["SizeRw"] == 3 + 4 + 210 and listed["SizeRootFs"] > listed["SizeRw"]

    made = client.docker("commit", "-a", "somebody", "-m", "a message", "-c", 'CMD ["cat", "/root/x"]', "-c", "ENV A=b", "made",
                         "committed:1").stdout.strip()
    image, base = (client.daemon.request("GET", f"/images/{name}/json").json() for name in ("committed:1", "busybox"))
    assert image["Id"] == made and image["Parent"] == base["Id"]
    assert (image["Author"], image["Comment"], image["Config"]["Cmd"]) == ("somebody", "a message", ["cat", "/root/x"])
    assert "A=b" in image["Config"]["Env"]
    assert image["RootFS"]["Layers"][:-1] == base["RootFS"]["Layers"]
    history = client.daemon.request("GET", "/images/committed:1/history").json()
    assert history[0]["CreatedBy"].startswith("sh -c echo hi") and history[0]["Size"] == 3 + 4 + 210

    # What is in the layer, and that its digests are right wherever it goes.
    client.docker("save", "-o", tmp_path / "image.tar", "committed:1")
    with tarfile.open(tmp_path / "image.tar") as archive:
        [manifest] = json.load(archive.extractfile("manifest.json"))
        config = archive.extractfile(manifest["Config"]).read()
        layer = archive.extractfile(manifest["Layers"][-1]).read()
    assert "sha256:" + hashlib.sha256(config).hexdigest() == made
    assert json.loads(config)["rootfs"]["diff_ids"][-1] == "sha256:" + hashlib.sha256(layer).hexdigest()
    held = members(layer)
    assert {"bin/.wh.ls", "d/e/f", "d/hard", "d/pipe", "d/soft", ".wh.home", "var/www/.wh..wh..opq", "var/www/n"} <= set(held)
    assert not {"dev", "proc", "sys", "etc/hosts", "etc/resolv.conf", "etc/hostname", "home"} & set(held)
    assert held["root/x"].islnk() and held["root/x"].linkname == "d/hard" and held["tmp"].mode & 0o7777 == 0o700

    # The same image on the other backend, which reads the layer in its other form.
    other = "namespace" if client.isolation == "vm" else "vm"
    seen = client.docker("run", "--rm", "--network", "none", "--runtime", other, "committed:1", "sh", "-c",
                         "cat /root/x /var/www/n; test -e /bin/ls || find /d /home /var/www 2>/dev/null | sort").stdout
    assert seen.split() == ["hi", "new", "/d", "/d/e", "/d/e/f", "/d/hard", "/d/pipe", "/d/soft", "/var/www", "/var/www/n"]

    exported = members(subprocess.run(["/usr/bin/docker", "export", "made"], env=client.daemon.environment(), check=True,
                                      capture_output=True, timeout=TIMEOUT_S).stdout)
    assert {"bin", "bin/busybox", "d/soft", "root/x", "etc/passwd", "dev", "proc"} <= set(exported)
    assert not {"bin/ls", "home", "proc/1", "dev/null"} & set(exported)
    client.docker("rm", "made")
    client.docker("rmi", "committed:1")


def test_commit_of_nothing(client):
    client.create("idle")
    assert client.docker("diff", "idle").stdout == ""
    client.docker("commit", "idle", "same:1")
    image, base = (client.daemon.request("GET", f"/images/{name}/json").json() for name in ("same:1", "busybox"))
    assert image["RootFS"] == base["RootFS"] and image["Id"] != base["Id"]
    client.docker("rmi", "same:1")
    # A name that cannot be given is refused before anything is made.
    refused = client.docker("commit", "idle", "UPPER:1", check=False)
    assert refused.returncode != 0 and "lower" in refused.stderr
    refused = client.daemon.request("POST", "/commit?container=idle&changes=FOO+bar")
    assert refused.status == 400 and "FOO" in refused.message
    assert client.daemon.request("POST", "/commit?container=nobody").status == 404
    assert client.daemon.request("POST", "/commit").status == 400


def test_commit_while_it_writes(client):
    """Nothing moves while it is read: of two files that are written in turn, the second is never ahead."""
    client.start("busy", f"echo 0 > /a; echo 0 > /z; i=0; while :; do i=$((i+1)); {COUNT.format('/a')}; {COUNT.format('/z')}; done")
    wait_for(client, "busy", "/z")
    client.docker("commit", "busy", "still:1")
    a, z = client.docker("run", "--rm", "--network", "none", "--runtime", client.isolation, "still:1", "cat", "/a", "/z").stdout.split()
    assert int(z) <= int(a) <= int(z) + 1
    assert goes_on(client, "busy", "/a")
    client.docker("rm", "-f", "busy")
    client.docker("rmi", "still:1")


def test_cp(client, cli, tmp_path):
    def cp(*args, **options):
        return client.docker("cp", *args, cli=cli, **options)

    source = tmp_path / "tree"
    (source / "sub/empty").mkdir(parents=True)
    (source / "file").write_text("content\n")
    (source / "file").chmod(0o4750)
    os.utime(source / "file", (1000000, 1000000))
    os.symlink("../file", source / "sub/link")
    (source / ("n" * 200)).write_text("long\n")
    big = os.urandom(3 << 20)
    (source / "big").write_bytes(big)

    # Before the first start, as test suites hand files to their containers.
    client.create("box", "cat /in/file; sleep 1000")
    cp(source, "box:/in")
    client.docker("start", "box")
    assert client.output("box", "stat", "-c", "%a %s %Y", "/in/file") == "4750 8 1000000\n"
    assert client.output("box", "readlink", "/in/sub/link") == "../file\n"
    # Running: into a directory, over a file, to a new name, from standard input.
    cp(source / "file", "box:/tmp")
    cp(source / "file", "box:/tmp/other")
    cp(f"{source}/.", "box:/tmp/")
    subprocess.run([cli, "cp", "-", "box:/tmp"], input=tar_of(("piped", b"p", {})), env=client.daemon.environment(), check=True,
                   timeout=TIMEOUT_S)
    assert client.output("box", "ls", "/tmp").split() == sorted(["big", "file", "n" * 200, "other", "piped", "sub"])
    # Out of it: a file, a directory, what a link leads to, a stream.
    cp("box:/tmp/file", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "content\n"
    cp("box:/tmp", tmp_path / "whole")
    assert (tmp_path / "whole/big").read_bytes() == big and os.readlink(tmp_path / "whole/sub/link") == "../file"
    cp("box:/tmp/sub/.", tmp_path / "content")
    assert sorted(os.listdir(tmp_path / "content")) == ["empty", "link"]
    cp("-L", "box:/tmp/sub/link", tmp_path / "followed")
    assert (tmp_path / "followed").read_text() == "content\n"
    stream = subprocess.run([cli, "cp", "box:/tmp/sub", "-"], env=client.daemon.environment(), check=True, capture_output=True,
                            timeout=TIMEOUT_S).stdout
    assert set(members(stream)) == {"sub", "sub/empty", "sub/link"}
    # Docker's refusals.
    for args, words in (((source / "file", "box:/nowhere/x"), "no"), (("box:/nowhere", tmp_path / "y"), "/nowhere"),
                        ((source, "box:/in/file"), "cannot"), (("nobody:/x", tmp_path / "y"), "No such container")):
        refused = cp(*args, check=False)
        assert refused.returncode != 0 and words in refused.stderr, (args, refused.stderr)

    # Stopped: the same files, and what is written is there at the next start.
    client.docker("stop", "-t", "0", "box")
    cp(source / "file", "box:/in/late")
    cp("box:/in/late", tmp_path / "late")
    assert (tmp_path / "late").read_text() == "content\n"
    client.docker("start", "box")
    assert client.output("box", "cat", "/in/late") == "content\n"
    client.docker("rm", "-f", "box")


def test_archive_details(client):
    client.run("box", "mkdir /d; echo hi > /d/f; ln -s /d /dl; ln -s f /d/l; mkdir -p /a/b; mkfifo /d/p; ln -s /etc /d/out")

    def stat(path):
        answer = client.daemon.request("HEAD", f"/containers/box/archive?path={path}")
        assert answer.status == 200 and answer.body == b"", path
        # The header's name and value come in lower case from the tests' parser, so the clients' own is asked.
        return answer

    assert stat("/d/f") and stat("/") and stat("d/") and stat("/dl/f")
    for path, status in (("/nope", 404), ("/d/f/x", 404), ("", 400), ("/proc/self/root/etc", 404), ("/proc/1", 404)):
        assert client.get("box", path).status == status, path
    assert list(members(client.get("box", "/dl").body)) == ["dl"]
    assert list(members(client.get("box", "/dl/").body)) == ["dl", "dl/f", "dl/l", "dl/out", "dl/p"]
    assert list(members(client.get("box", "/../d/./f").body)) == ["f"]
    assert list(members(client.get("box", "/a/.").body)) == [".", "./b"]

    one = tar_of(("new", b"abc", {"mode": 0o640, "uid": 12, "gid": 13, "mtime": 1000}))
    assert client.put("box", "/d", one).status == 200
    new = members(client.get("box", "/d/new").body)["new"]
    assert (new.mode & 0o7777, new.uid, new.gid, new.mtime) == (0o640, 12, 13, 1000)
    # Through a link to a directory, and a compressed one.
    assert client.put("box", "/dl", one).status == 200
    subprocess.run(["gzip", "-k"], input=one, check=True, capture_output=True)
    assert client.put("box", "/a", subprocess.run(["gzip"], input=one, check=True, capture_output=True).stdout).status == 200
    assert "b" in {n.rpartition("/")[2] for n in members(client.get("box", "/a/").body)}

    directory = {"type": tarfile.DIRTYPE}
    for path, query, body, status, words in (
            ("/nope", "", one, 404, "Could not find the file /nope in container"),
            ("/d/f", "", one, 400, "extraction point is not a directory"),
            ("/d", "&noOverwriteDirNonDir=1", tar_of(("f", b"", directory)), 400, "cannot overwrite non-directory"),
            ("/", "&noOverwriteDirNonDir=1", tar_of(("d", b"x", {})), 400, "cannot overwrite directory"),
            ("/d", "", tar_of(("../../x", b"1", {})), 400, "climbs"),
            ("/d", "", tar_of(("h", b"", {"type": tarfile.LNKTYPE, "linkname": "../../etc/passwd"})), 400, "climbs"),
            ("/d", "", b"garbage" * 200, 400, "tar"),
            ("/d", "", one[:700], 400, "cut off")):
        answer = client.put("box", path, body, query)
        assert answer.status == status and words in answer.message, (path, query, answer.body)
    # What can be replaced is; a directory's own content stays.
    assert client.put("box", "/d", tar_of(("f", b"", directory), ("sub", b"", directory), ("/abs/x", b"1", {}))).status == 200
    assert {"d/f", "d/sub", "d/abs/x"} <= set(members(client.get("box", "/d").body))
    client.docker("rm", "box")


def test_read_only_root_and_owners(client):
    client.start("ro", "sleep 1000", "--read-only", "--tmpfs", "/t")
    one = tar_of(("new", b"abc", {"uid": 5}))
    refused = client.put("ro", "/etc", one)
    assert refused.status == 403 and "marked read-only" in refused.message
    assert client.put("ro", "/t", one).status == 200
    assert client.output("ro", "cat", "/t/new") == "abc"
    client.docker("rm", "-f", "ro")
    client.start("user", "sleep 1000", "--user", "user")
    assert client.put("user", "/tmp", one, "&copyUIDGID=1").status == 200
    assert client.output("user", "stat", "-c", "%u", "/tmp/new") == "1000\n"
    client.docker("rm", "-f", "user")


def test_volumes(client, tmp_path):
    """What is mounted in a container is part of cp, and of nothing else; a volume is free again afterwards."""
    (tmp_path / "here").write_text("host\n")
    client.run("box", "echo in > /v/x", "-v", "files-volume:/v", "-v", f"{tmp_path}:/b", "-v", f"{tmp_path}:/ro:ro")
    assert "v/x" in members(client.get("box", "/v").body) and "/b/here" in members(client.get("box", "/").body)
    one = tar_of(("new", b"abc", {}))
    assert client.put("box", "/v", one).status == client.put("box", "/b", one).status == 200
    assert (tmp_path / "new").read_text() == "abc"
    refused = client.put("box", "/ro", one)
    assert refused.status == 403 and refused.message == "mounted volume is marked read-only"
    assert client.docker("diff", "box").stdout == "A /b\nA /ro\nA /v\n"
    exported = client.daemon.request("GET", "/containers/box/export").body
    assert {"v", "b", "ro"} <= set(members(exported)) and not {"v/x", "b/here"} & set(members(exported))
    client.docker("rm", "box")
    client.docker("volume", "rm", "files-volume")


def test_links_stay_inside(client, tmp_path):
    """Whatever a container's links say, cp reads and writes in the container only."""
    marker = pathlib.Path("/tmp") / f"hyper-outside-{os.getpid()}"
    marker.write_text("the host's\n")
    try:
        client.start("evil", f"""ln -s / /out; ln -s ../../../../../../tmp /up; ln -s /proc/1/root /proot; ln -s /proc/self/cwd /cwd
            mkdir /swap; touch /ready; while :; do ln -sfn /../../../../tmp /swap2; mv -T /swap2 /s 2>/dev/null || rm -rf /s
            rm -rf /s; mkdir /s; echo mine > /s/{marker.name}; rm -rf /s; done""")
        wait_for(client, "evil", "/ready")
        for path in (f"/out/tmp/{marker.name}", f"/up/{marker.name}", f"/proot/tmp/{marker.name}", f"/out{marker}"):
            assert client.get("evil", path).status == 404, path
        one = tar_of((marker.name, b"written\n", {}))
        for path in ("/out/tmp", "/up"):
            assert client.put("evil", path, one).status == 200
        assert client.put("evil", "/proot/tmp", one).status in (404, 500)
        # Through a link that the archive itself brings, and one that is exchanged for a directory all the time.
        link = {"type": tarfile.SYMTYPE, "linkname": "/tmp"}
        assert client.put("evil", "/root", tar_of(("l", b"", link), (f"l/{marker.name}", b"written\n", {}))).status == 200
        for _ in range(15):
            answer = client.get("evil", f"/s/{marker.name}")
            assert answer.status in (200, 404), answer.body
            assert b"the host's" not in answer.body
            client.put("evil", "/", tar_of((f"s/{marker.name}", b"written\n", {})))
        assert marker.read_text() == "the host's\n"
        assert client.output("evil", "cat", f"/tmp/{marker.name}") == "written\n"
        client.docker("rm", "-f", "evil")
    finally:
        marker.unlink()


def test_paused(client):
    client.start("box", f"echo 1 > /f; i=0; while :; do i=$((i+1)); {COUNT.format('/n')}; done")
    wait_for(client, "box", "/n")
    client.docker("pause", "box")
    assert members(client.get("box", "/f").body)
    assert client.put("box", "/", tar_of(("late", b"x", {}))).status == 200
    assert "A /late" in client.docker("diff", "box").stdout
    assert client.docker("ps", "--format", "{{.Status}}").stdout.strip().endswith("(Paused)")
    client.docker("unpause", "box")
    assert goes_on(client, "box", "/n") and client.output("box", "cat", "/late") == "x"
    client.docker("rm", "-f", "box")


def test_client_that_leaves(client):
    """In the middle of an archive in either direction: nothing goes on, nothing is held."""
    client.run("box", "dd if=/dev/zero of=/big bs=1M count=24 2>/dev/null")
    for _ in range(2):
        connection = client.daemon.connect()
        connection.sendall(b"GET /containers/box/archive?path=/big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1000)
        connection.close()
        connection = client.daemon.connect()
        connection.sendall(b"PUT /containers/box/archive?path=/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
                           + tar_of(("cut", b"y" * 400000, {}))[:100000])
        connection.close()
    client.docker("start", "box")
    assert client.docker("wait", "box").stdout == "0\n"
    client.docker("rm", "box")


def test_start_while_it_is_served(client):
    """A start takes over the sandbox that was there for the files; what is read meanwhile is read to the end."""
    client.run("box", "test -e /big || dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; echo $0 >> /runs")
    with client.daemon.connect() as connection:
        # HTTP/1.0: an answer without chunks.
        connection.sendall(b"GET /containers/box/archive?path=/big HTTP/1.0\r\nHost: x\r\n\r\n")
        begin = connection.recv(1000)
        client.docker("start", "-a", "box")
        answer = begin + b"".join(iter(lambda: connection.recv(1 << 20), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0] and members(body)["big"].size == 8 << 20
    assert len(body) == (8 << 20) + 3 * 512
    assert members(client.get("box", "/runs").body)["runs"].size == 6
    client.docker("rm", "box")


def test_copied_into_before_the_start_on_a_network(client):
    """What served the files has no network, the container that starts at once has its own."""
    def create(name, *options):
        client.docker("create", "--name", name, "--runtime", client.isolation, *options, "busybox", "sh", "-c", "cat /copied; ip link")

    create("plain")
    plain = client.docker("start", "-a", "plain").stdout
    create("copied")
    assert client.put("copied", "/", tar_of(("copied", b"here\n", {}))).status == 200
    output = client.docker("start", "-a", "copied").stdout
    assert output.startswith("here\n") and output.count("state UP") == plain.count("state UP")
    client.docker("rm", "plain", "copied")


def test_killed_daemon_keeps_what_was_copied(new_daemon, isolation):
    """The sandbox that took the files goes with the daemon; they do not."""
    daemon = new_daemon()
    client = Client(daemon, isolation)
    client.create("box", "cat /copied")
    assert client.put("box", "/", tar_of(("copied", b"still here\n", {}))).status == 200
    daemon.kill()
    daemon.start()
    assert client.docker("start", "-a", "box").stdout == "still here\n"


def test_python_docker(client):
    docker = pytest.importorskip("docker", reason="python3-docker is not installed")
    made = docker.DockerClient(base_url=f"unix://{client.daemon.docker_socket}", timeout=TIMEOUT_S, version="auto")
    container = made.containers.create("busybox", "true", isolation=client.isolation, network_mode="none")
    assert container.put_archive("/tmp", tar_of(("a", b"1234", {"mode": 0o600})))
    stream, stat = container.get_archive("/tmp/a")
    assert stat["name"] == "a" and stat["size"] == 4 and stat["mode"] == 0o600 and stat["linkTarget"] == ""
    assert members(b"".join(stream))["a"].size == 4
    assert container.diff() == [{"Path": "/tmp", "Kind": 0}, {"Path": "/tmp/a", "Kind": 1}]
    with pytest.raises(docker.errors.NotFound):
        container.get_archive("/nope")
    assert "tmp/a" in members(b"".join(container.export()))
    image = container.commit("pyc", "1", message="m", author="a", changes="LABEL x=y", conf={"User": "user"})
    assert image.labels == {"x": "y"} and image.attrs["Config"]["User"] == "user"
    made.images.remove("pyc:1")
    container.remove()
    made.close()
