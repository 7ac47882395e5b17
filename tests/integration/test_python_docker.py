"""python3-docker, unmodified."""
import io
import tarfile

import pytest

docker = pytest.importorskip("docker", reason="python3-docker is not installed")


@pytest.fixture
def client(daemon, isolation):
    made = docker.DockerClient(base_url=f"unix://{daemon.docker_socket}", timeout=120, version="auto")
    made.isolation = isolation
    yield made
    made.close()


def run(client, *args, **options):
    return client.containers.run("busybox", *args, isolation=client.isolation, **options)


def test_system(client):
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.44"
    info = client.info()
    assert info["OSType"] == "linux" and "Sandbox" in info["Hyper"]
    assert client.df()["Images"]


def test_run_and_errors(client):
    assert run(client, ["echo", "hello"], remove=True) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as raised:
        run(client, ["sh", "-c", "echo why >&2; exit 4"], remove=True)
    assert raised.value.exit_status == 4 and b"why" in raised.value.stderr
    with pytest.raises(docker.errors.ImageNotFound):
        client.containers.create("no/such:1", "true")
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("nothing")


def test_container_object(client):
    container = run(client, ["sleep", "1000"], detach=True, name="c1", labels={"a": "b"}, environment={"X": "y"})
    assert container.status in ("created", "running")
    container.reload()
    assert container.status == "running" and container.labels == {"a": "b"}
    assert client.containers.list(filters={"label": "a=b"}) == [container]
    assert client.containers.list(filters={"name": "nothing"}) == []
    code, output = container.exec_run(["sh", "-c", "echo $X; exit 2"])
    assert (code, output) == (2, b"y\n")
    assert container.exec_run("echo tty", tty=True).output == b"tty\r\n"
    out, err = container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True).output
    assert (out, err) == (b"o\n", b"e\n")
    assert container.stats(stream=False)["memory_stats"]["usage"] > 0
    assert container.top()["Processes"]
    container.pause()
    container.unpause()
    container.rename("d1")
    container.stop(timeout=0)
    assert container.wait()["StatusCode"] == 137
    container.remove()


def test_attach_socket(client):
    container = client.containers.create("busybox", "cat", stdin_open=True, tty=False, isolation=client.isolation)
    stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    stream._sock.sendall(b"over the socket\n")
    frame = b""
    while len(frame) < 24:
        frame += stream._sock.recv(100)
    assert frame == b"\1\0\0\0\0\0\0\x10over the socket\n"
    stream.close()
    container.remove(force=True)


def test_logs(client):
    container = run(client, ["sh", "-c", "echo a; echo b >&2"], detach=True)
    container.wait()
    assert container.logs(stderr=False) == b"a\n"
    assert sorted(container.logs().splitlines()) == [b"a", b"b"]
    assert b"".join(container.logs(stream=True, follow=True, stdout=True, stderr=False)) == b"a\n"
    container.remove()


def test_images(client):
    image = client.images.get("busybox")
    assert "busybox:latest" in image.tags
    assert image.tag("again", "1")
    data = b"".join(client.images.get("again:1").save(named="again:1"))
    assert "manifest.json" in tarfile.open(fileobj=io.BytesIO(data)).getnames()
    client.images.remove("again:1")
    assert [loaded.id for loaded in client.images.load(data)] == [image.id]
    client.images.remove("again:1")
    assert image.history()
