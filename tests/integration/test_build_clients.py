"""Builds as people start them: both docker CLIs, python3-docker, docker-compose, hyperctl; and contexts that mean harm."""
import io
import os
import shutil
import subprocess
import tarfile
import time

import pytest

import conftest
import registry_servers as servers
from build_context import Build, context, query
from conftest import TIMEOUT_S
from registry_servers import PASSWORD, USER, ImageParts

docker = pytest.importorskip("docker")


def write_tree(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.fixture
def old_builder(monkeypatch):
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")


@pytest.fixture
def no_images_left(daemon):
    """Images of the test go, so that others find the lists as they were."""
    yield
    daemon.clear()
    for _ in range(2):
        for image in daemon.request("GET", "/images/json").json():
            for tag in image["RepoTags"] or [image["Id"]]:
                if tag not in ("busybox:latest",):
                    daemon.request("DELETE", f"/images/{image['Id'] if tag.startswith('<none>') else tag}?force=1")
    assert [image["RepoTags"] for image in daemon.request("GET", "/images/json?all=1").json()] == [["busybox:latest"]]


def tags(daemon, all_images=False):
    listed = daemon.request("GET", f"/v1.41/images/json?all={int(all_images)}").json()
    return sorted(tag for image in listed for tag in image["RepoTags"])


def test_docker_cli(daemon, cli, old_builder, no_images_left, tmp_path):
    write_tree(tmp_path, {
        "Dockerfile": "FROM busybox\nARG who=nobody\nCOPY . /ctx\nRUN echo hello $who > /said; ls /ctx\nCMD cat /said\n",
        ".dockerignore": "*.log\n!keep.log\nsecret\n", "x.log": "", "keep.log": "", "secret/key": "", "kept": ""})
    # In namespaces, for speed; test_build.py runs in microVMs what is to be seen there.
    result = daemon.docker("build", "--isolation", "namespace", "-t", "built:1", "-t", "built:2", "--build-arg", "who=people", "--label", "a=b",
                           "--iidfile", daemon.state / "iid", tmp_path, cli=cli)
    assert "Successfully tagged built:1\nSuccessfully tagged built:2" in result.stdout
    said = result.stdout.partition("Running in")[2]
    assert "keep.log\nkept\n" in said and "x.log" not in said and "secret" not in said
    assert daemon.docker("run", "--rm", "--network", "none", "built:2", cli=cli).stdout == "hello people\n"
    # Again: all of it is there; quietly: only the id.
    again = daemon.docker("build", "-q", "--build-arg", "who=people", "--label", "a=b", tmp_path, cli=cli).stdout.strip()
    assert again == (daemon.state / "iid").read_text()
    history = daemon.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", "built:1", cli=cli).stdout.splitlines()
    assert history[0] == "/bin/sh -c #(nop)  LABEL a=b" and history[2].startswith("|1 who=people /bin/sh -c echo hello")
    # Without a directory: a Dockerfile on the standard input, alone and beside a context.
    dockerfile = "FROM busybox\nLABEL from=stdin\n"
    assert "Successfully built" in daemon.docker("build", "-", input=dockerfile, cli=cli).stdout
    out = daemon.docker("build", "-t", "beside", "-f", "-", tmp_path, input=dockerfile + "COPY kept /\n", cli=cli).stdout
    assert "Successfully tagged beside:latest" in out


def test_a_failed_build_is_told(daemon, cli, old_builder, no_images_left, tmp_path):
    write_tree(tmp_path, {"Dockerfile": "FROM busybox\nRUN exit 7\n"})
    result = daemon.docker("build", "--force-rm", "--isolation", "namespace", tmp_path, cli=cli, check=False)
    assert result.returncode == 7
    assert "The command '/bin/sh -c exit 7' returned a non-zero code: 7" in result.stderr
    write_tree(tmp_path, {"Dockerfile": "FROM busybox\nRUNX\n"})
    result = daemon.docker("build", tmp_path, cli=cli, check=False)
    assert result.returncode == 1 and "unknown instruction: RUNX" in result.stderr


def test_images_in_between(daemon, cli, old_builder, no_images_left, tmp_path):
    write_tree(tmp_path, {"Dockerfile": "FROM busybox\nLABEL a=1\nLABEL b=2\n"})
    daemon.docker("build", "-t", "one", tmp_path, cli=cli)
    assert tags(daemon) == ["busybox:latest", "one:latest"]
    assert tags(daemon, all_images=True) == ["<none>:<none>", "busybox:latest", "one:latest"]
    middle = daemon.docker("images", "-aq", "--filter", "since=busybox", cli=cli).stdout.split()
    assert len(middle) == 2
    parent = daemon.docker("inspect", "--format", "{{.Parent}}", "one", cli=cli).stdout.strip()
    refused = daemon.docker("rmi", parent, cli=cli, check=False)
    assert refused.returncode == 1 and "image has dependent child images" in refused.stderr
    # Nothing in between is dangling while it is needed; what lost its name is.
    assert daemon.docker("images", "-q", "--filter", "dangling=true", cli=cli).stdout == ""
    write_tree(tmp_path, {"Dockerfile": "FROM busybox\nLABEL a=1\nLABEL b=3\n"})
    daemon.docker("build", "-t", "one", tmp_path, cli=cli)
    dangling = daemon.docker("images", "-q", "--filter", "dangling=true", cli=cli).stdout.split()
    assert len(dangling) == 1
    assert daemon.docker("image", "prune", "-f", cli=cli).stdout.count("deleted: sha256:") == 1
    # With the name goes what was only there for it.
    removed = daemon.docker("rmi", "one", cli=cli).stdout
    assert removed.count("Deleted: sha256:") == 2
    assert tags(daemon, all_images=True) == ["busybox:latest"]


def test_python_docker(daemon, no_images_left, tmp_path):
    client = docker.DockerClient(base_url=f"unix://{daemon.docker_socket}", timeout=TIMEOUT_S)
    write_tree(tmp_path, {"sub/Dockerfile": "FROM busybox AS one\nLABEL x=y\nFROM one\nLABEL z=$no\n", "f": "f"})
    try:
        image, log = client.images.build(path=str(tmp_path), dockerfile="sub/Dockerfile", tag="py:1", target="one", rm=True,
                                         labels={"more": "labels"}, nocache=True, forcerm=True,
                                         container_limits={"memory": 1 << 28, "memswap": 1 << 29, "cpushares": 100},
                                         shmsize=1 << 20, extra_hosts={"other": "10.0.0.1"})
        assert image.tags == ["py:1"] and image.labels == {"x": "y", "more": "labels"}
        assert any("Successfully built" in line.get("stream", "") for line in log)
        image, _ = client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN true\n"), rm=True, network_mode="none",
                                       isolation="namespace")
        with pytest.raises(docker.errors.BuildError, match="returned a non-zero code: 1"):
            client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN false\n"), forcerm=True, isolation="namespace")
        with pytest.raises(docker.errors.APIError, match="BuildKit|unsupported|invalid|remote"):
            client.images.build(path="https://127.0.0.1:1/context.tar.gz")
    finally:
        client.close()


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
def test_docker_compose(daemon, no_images_left, tmp_path):
    write_tree(tmp_path, {"docker-compose.yml": """version: "2.4"
services:
  web:
    build: {context: ., args: {a: "1"}, labels: {l: m}}
    image: composed
""", "Dockerfile": "FROM busybox\nARG a\nLABEL a=$a\n"})
    for buildkit in ("0", "1"):
        result = subprocess.run(["docker-compose", "build"], cwd=tmp_path, capture_output=True, text=True, check=False,
                                timeout=TIMEOUT_S, env={**daemon.environment(), "COMPOSE_DOCKER_CLI_BUILD": buildkit,
                                                        "DOCKER_BUILDKIT": "0"})
        assert result.returncode == 0, result.stdout + result.stderr
    labels = daemon.request("GET", "/images/composed/json").json()["Config"]["Labels"]
    assert labels["a"] == "1" and labels["l"] == "m"


def wait_until_clean(daemon):
    """Nobody is told when a build without a client has ended."""
    deadline = time.monotonic() + TIMEOUT_S
    while daemon.containers() or list((daemon.data / "image/tmp").iterdir()):
        assert time.monotonic() < deadline, daemon.containers()
        time.sleep(0.05)


def test_a_client_that_leaves(daemon, no_images_left, isolation):
    """In the middle of a RUN: the container goes, and with it what the build had begun."""
    body = context("FROM busybox\nRUN echo be''gan; sleep 1000\n")
    connection = daemon.connect()
    connection.sendall((f"POST /build?{query(isolation=isolation)} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
    said = b""
    while b"began" not in said:
        piece = connection.recv(65536)
        assert piece, said
        said += piece
    assert [c["State"] for c in daemon.containers()] == ["running"]
    connection.close()
    wait_until_clean(daemon)


def test_a_client_that_leaves_while_sending(daemon, no_images_left):
    connection = daemon.connect()
    connection.sendall(b"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + context("FROM busybox\n"))
    connection.close()
    wait_until_clean(daemon)


@pytest.mark.skipif(not os.access(servers.PROGRAM, os.X_OK), reason="docker-registry is not installed")
def test_bases_from_a_registry(daemon, cli, old_builder, no_images_left, tmp_path):
    """FROM and COPY --from pull what is missing, with the credentials that the client has for that registry."""
    registry = servers.Registry(tmp_path / "registry", auth="basic")
    registry.start()
    try:
        registry.put("base", "1", ImageParts([{"from-registry": b"pulled"}]))
        name = f"127.0.0.1:{registry.port}/base:1"
        write_tree(tmp_path / "c", {"Dockerfile": f"FROM {name}\nLABEL a=b\nFROM busybox\nCOPY --from={name} /from-registry /\n"})
        denied = daemon.docker("build", tmp_path / "c", cli=cli, check=False)
        assert denied.returncode != 0
        daemon.docker("login", "-u", USER, "--password-stdin", f"127.0.0.1:{registry.port}", input=PASSWORD, cli=cli)
        out = daemon.docker("build", "--pull", "-t", "taken", tmp_path / "c", cli=cli, check=False)
        # busybox is no image of any registry here: --pull asks for it all the same.
        assert out.returncode != 0 and "Pulling from base" in out.stdout
        assert "Successfully tagged" in daemon.docker("build", "-t", "taken", tmp_path / "c", cli=cli).stdout
        assert name in tags(daemon)
    finally:
        registry.stop()
        daemon.docker("logout", f"127.0.0.1:{registry.port}", cli=cli, check=False)


def hostile(*entries):
    """A context of entries as they are: (name, type, link, data)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, link, data in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


DOCKERFILE = ("Dockerfile", tarfile.REGTYPE, "", b"FROM busybox\nCOPY . /all\nADD a.tar /a\n")


@pytest.mark.parametrize("entries", [
    [("../outside", tarfile.REGTYPE, "", b"x")],
    [("/absolute", tarfile.REGTYPE, "", b"x")],
    [("l", tarfile.SYMTYPE, "/tmp", b""), ("l/through", tarfile.REGTYPE, "", b"x")],
    [("h", tarfile.LNKTYPE, "../../../../etc/passwd", b"")],
], ids=["climbing", "absolute", "through a link", "hard link"])
def test_hostile_contexts(daemon, no_images_left, entries):
    """Refused as a whole (threats 1-3); nothing is built, nothing is left."""
    build = Build(daemon, hostile(DOCKERFILE, ("a.tar", tarfile.REGTYPE, "", b""), *entries))
    assert build.error and "build context" in build.error, build.error
    assert build.id is None
    # The same in an archive that is added.
    build = Build(daemon, hostile(DOCKERFILE, ("a.tar", tarfile.REGTYPE, "", hostile(*entries))))
    assert build.error and "a.tar" in build.error, build.error
    assert list((daemon.data / "image/tmp").iterdir()) == []


def test_links_out_of_a_context(daemon, no_images_left, tmp_path):
    """A Dockerfile, a source or a directory that is a link to the host's files finds none of them."""
    secret = tmp_path / "secret"
    secret.write_text("FROM busybox\nLABEL secret=1\n")
    for what, dockerfile in (("Dockerfile", None), ("source", "FROM busybox\nCOPY source /taken\n"),
                             ("source", "FROM busybox\nCOPY sour* /taken\n"), ("d", "FROM busybox\nCOPY d/secret /taken\n")):
        target = str(tmp_path) if what == "d" else str(secret)
        for link in (target, "../" * 40 + target.lstrip("/")):
            build = Build(daemon, context(dockerfile, {what: ("link", link)}))
            assert build.error and "secret=1" not in str(build.lines), build.lines
    # Copied as a link, a link is a link.
    build = Build(daemon, context("FROM busybox\nCOPY . /all\n", {"source": ("link", str(secret))}))
    assert build.layers()[-1]["all/source"][4] == str(secret)


def test_hyperctl(daemon, no_images_left, tmp_path):
    write_tree(tmp_path, {
        "docker/File": "FROM busybox\nARG FROM_HERE\nARG given\nCOPY . /ctx\nRUN echo $FROM_HERE-$given > /said\n",
        ".dockerignore": "docker\n.dockerignore\nout\n!out/in\n**/*.o\n", "out/not": "", "out/in": "", "a/b/x.o": "", "kept": ""})
    environment = {**daemon.environment(), "FROM_HERE": "here"}
    result = subprocess.run([conftest.HYPERCTL, "build", "-f", tmp_path / "docker/File", "-t", "ours:1", "--label", "a=b",
                             "--build-arg", "FROM_HERE", "--build-arg", "given=there", "--isolation", "namespace", tmp_path],
                            env=environment, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    assert "Successfully tagged ours:1" in result.stdout
    layers = Build.layers(ImageOf(daemon, "ours:1"))
    # The Dockerfile has to be sent; where it lay stays, empty, as with Docker.
    assert sorted(layers[0]) == ["ctx", "ctx/a", "ctx/a/b", "ctx/docker", "ctx/kept", "ctx/out", "ctx/out/in"]
    assert layers[1]["said"][5] == b"here-there\n"
    history = daemon.hyperctl("history", "--no-trunc", "ours:1").stdout
    assert "LABEL a=b" in history and "|2 FROM_HERE=here given=there /bin/sh -c echo" in history
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY nowhere /\n")
    failed = daemon.hyperctl("build", tmp_path, check=False)
    assert failed.returncode == 1 and "stat nowhere: file does not exist" in failed.stderr
    outside = daemon.hyperctl("build", "-f", "/etc/passwd", tmp_path, check=False)
    assert outside.returncode != 0 and "is not in" in outside.stderr


class ImageOf:
    """What Build.layers() needs of an image that was built by other means."""

    def __init__(self, daemon, name):
        self.daemon, self.id = daemon, name
