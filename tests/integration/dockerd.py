"""A real dockerd beside ours, for differential tests: what does Docker itself answer to the same request?

`dockerd` is one daemon a run, in mount, PID and network namespaces of its own (tests/bench has the same for figures), so
that its bridge and its firewall rules never meet the machine's, and everything it started goes with it. Where it cannot
start, the tests that ask for it are skipped with the reason. It finds the image "busybox"; tests remove what they made.

    def test_same(daemon, dockerd): assert daemon.request(...).status == dockerd.request(...).status
"""
import contextlib
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

import conftest

sys.path.insert(0, str(conftest.ROOT / "tests/bench"))
from hyperbench import process, world  # noqa: E402

PROGRAMS = ("dockerd", "containerd", "runc", "unshare", "setpriv")


class Dockerd(conftest.Daemon):
    """Docker's daemon behind the same methods as ours: docker(), request(), import_image(), containers(), clear()."""

    def __init__(self):
        self.state = pathlib.Path(tempfile.mkdtemp(prefix="dd", dir="/tmp"))
        self.state.chmod(0o711)
        self.cgroup = f"hyper-bench-{os.getpid()}-dockerd"
        self.socket = self.docker_socket = self.state / "api.sock"
        (self.state / "hyperd.log").touch()
        self.world = None

    def start(self):
        # The kernel's overlayfs where Docker finds it usable, as its users have it.
        self.world = world.World("dockerd", self.state, [
            "dockerd", "-H", f"unix://{self.socket}", "--data-root", str(self.state / "data"),
            "--exec-root", str(self.state / "exec"), "--pidfile", str(self.state / "pid"),
            "--cgroup-parent", f"/{self.cgroup}", "--log-level", "error"], network=True)
        self.world.wait_ready(self.answers)
        return self

    def answers(self):
        with contextlib.suppress(OSError), self.connect() as connection:
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200" in connection.recv(100)
        return False

    def log_text(self):
        return self.world.log_end() if self.world else ""

    def version(self):
        return self.request("GET", "/version").json()["Version"]

    def clear(self):
        for container in self.containers():
            self.request("DELETE", f"/containers/{container['Id']}?force=1&v=1")

    def remove_images(self, keep=("busybox:latest",)):
        """Removes every image but KEEP, with what it was built from."""
        for image in self.request("GET", "/images/json").json():
            if not set(image["RepoTags"] or ()) & set(keep):
                self.request("DELETE", f"/images/{image['Id']}?force=1")
        for image in self.request("GET", "/images/json").json():
            for tag in set(image["RepoTags"] or ()) - set(keep):
                self.request("DELETE", f"/images/{tag}")

    def stop(self):
        if self.world:
            self.world.stop()
        world.remove_cgroups(self.cgroup)

    def remove(self):
        shutil.rmtree(self.state, ignore_errors=True)


def start_dockerd(images):
    """A running one with busybox, or None and why not."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        return None, "needs root" if not missing else f"not installed: {', '.join(missing)}"
    made = Dockerd()
    try:
        made.start()
        made.import_image(images / "busybox.tar", "busybox")
        return made, None
    except (process.CommandFailed, OSError, AssertionError) as error:
        reason = f"dockerd does not run here: {error}"
        made.stop()
        made.remove()
        return None, reason


@pytest.fixture(scope="session")
def shared_dockerd(images):
    made, reason = start_dockerd(images)
    if not made:
        pytest.skip(reason)
    yield made
    made.clear()
    made.stop()
    made.remove()


@pytest.fixture
def dockerd(shared_dockerd):
    """The run's dockerd, without containers before and after."""
    yield shared_dockerd
    shared_dockerd.clear()
