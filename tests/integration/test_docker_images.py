"""Images through the docker CLI, python3-docker and skopeo."""
import json
import shutil
import subprocess
import tarfile

import pytest

from conftest import SHARED_IMAGES, TIMEOUT_S


@pytest.fixture
def docker(daemon, cli):
    def run(*args, **options):
        return daemon.docker(*args, cli=cli, **options)
    before = {image["Id"] for image in daemon.request("GET", "/images/json").json()}
    yield run
    daemon.clear()
    for image in daemon.request("GET", "/images/json").json():
        if image["Id"] not in before:
            daemon.request("DELETE", f"/images/{image['Id']}?force=1")


def test_list_inspect_history_tag_remove(docker):
    assert "busybox" in docker("images", "--format", "{{.Repository}}").stdout.split()
    docker("tag", "busybox", "other:1")
    assert docker("images", "-q", "other").stdout == docker("images", "-q", "busybox").stdout
    inspected = json.loads(docker("inspect", "other:1").stdout)[0]
    assert "other:1" in inspected["RepoTags"] and inspected["RootFS"]["Layers"]
    assert docker("history", "-q", "busybox").stdout.strip()
    assert "Untagged: other:1" in docker("rmi", "other:1").stdout
    missing = docker("rmi", "other:1", check=False)
    assert missing.returncode == 1 and "No such image: other:1" in missing.stderr


def test_an_image_in_use_is_not_removed(docker, images):
    docker("import", images / "bash.tar", "bash:1")
    docker("create", "--name", "user", "bash:1", "true")
    refused = docker("rmi", "bash:1", check=False)
    assert refused.returncode == 1 and "conflict" in refused.stderr
    docker("rm", "user")
    assert "Deleted: sha256:" in docker("rmi", "bash:1").stdout


def test_save_and_load(docker, tmp_path):
    archive = tmp_path / "busybox.tar"
    docker("tag", "busybox", "saved:1")
    image = docker("images", "-q", "--no-trunc", "saved:1").stdout
    docker("save", "-o", archive, "saved:1")
    with tarfile.open(archive) as tar:
        assert "manifest.json" in tar.getnames()
    docker("rmi", "saved:1")
    assert docker("load", "-i", archive).stdout == "Loaded image: saved:1\n"
    assert docker("images", "-q", "--no-trunc", "saved:1").stdout == image


def test_broken_archives_are_refused(docker, tmp_path):
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"this is no archive" * 100)
    result = docker("load", "-i", broken, check=False)
    assert result.returncode == 1 and result.stderr
    assert docker("import", broken, "broken:1", check=False).returncode == 1
    assert docker("images", "-q", "broken").stdout == ""


def test_import_with_changes(docker, images):
    docker("import", "-c", "CMD echo from-image", "-c", "ENV A=b", images / "bash.tar", "changed:1")
    assert docker("run", "--rm", "--isolation", "namespace", "changed:1").stdout == "from-image\n"
    assert docker("inspect", "-f", "{{.Config.Env}}", "changed:1").stdout == "[A=b]\n"


def test_missing_images_are_named(docker):
    result = docker("run", "--rm", "no/such:1", check=False)
    assert result.returncode == 125
    assert "no/such:1" in result.stderr or "no/such" in result.stderr


@pytest.mark.skipif(not SHARED_IMAGES.exists(), reason=f"{SHARED_IMAGES} is missing")
def test_images_that_others_made(docker):
    docker("load", "-i", SHARED_IMAGES / "busybox-musl.oci.tar")
    docker("import", SHARED_IMAGES / "alpine-minirootfs-3.20.tar.gz", "alpine:3.20")
    result = docker("run", "--rm", "--isolation", "namespace", "alpine:3.20", "cat", "/etc/alpine-release")
    assert result.stdout.startswith("3.20")


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_copies_both_ways(daemon, docker, tmp_path):
    def skopeo(*args):
        subprocess.run(["skopeo", "--insecure-policy", *args], env=daemon.environment(), check=True, timeout=TIMEOUT_S,
                       capture_output=True)
    host = f"unix://{daemon.docker_socket}"
    layout = f"oci:{tmp_path}/layout:latest"
    skopeo("copy", "--src-daemon-host", host, "docker-daemon:busybox:latest", layout)
    skopeo("copy", "--dest-daemon-host", host, layout, "docker-daemon:copied:1")
    assert docker("run", "--rm", "--isolation", "namespace", "copied:1", "echo", "ok").stdout == "ok\n"
