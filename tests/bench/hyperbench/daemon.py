"""The daemons that are measured: dockerd, and hyperd with and without a pool. Each in a World of its own."""
import http.client
import json
import os
import pathlib
import shutil
import socket

from . import process
from .world import World

DOCKER_CLI = "/usr/bin/docker"  # Debian's, as old as its dockerd; any newer one on the machine may differ in cost
QUIET_DEADLINE_S = 30


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def api_get(path, request):
    connection = UnixConnection(path)
    try:
        connection.request("GET", request)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise process.CommandFailed(f"GET {request}: {answer.status} {body[:300]!r}")
        return json.loads(body)
    finally:
        connection.close()


class Daemon:
    """What both have in common: a socket that speaks Docker's API, and processes of their own beside the pods'."""

    name = ""
    own_names = ()  # of the daemon's processes, as opposed to those of containers

    def __init__(self, work):
        self.work = pathlib.Path(work) / self.name
        self.work.mkdir(mode=0o711)
        self.socket = str(self.work / "api.sock")
        self.world = None

    def answers(self):
        try:
            api_get(self.socket, "/version")
            return True
        except (OSError, process.CommandFailed, http.client.HTTPException):
            return False

    def pod_pids(self):
        """Processes that exist because of pods: everything but the daemon itself."""
        table = process.processes()
        return [pid for pid in self.world.pids()
                if pid in table and table[pid][0] not in self.own_names]

    def own_pids(self):
        table = process.processes()
        return [pid for pid in self.world.pids() if pid in table and table[pid][0] in self.own_names]

    def settle(self, pods=0):
        """Waits until what the last command left to do is done: no process too many."""

    def stop(self):
        if self.world:
            self.world.stop()


class DockerDaemon(Daemon):
    name = "dockerd"
    own_names = ("dockerd", "containerd")

    def __init__(self, work, cgroup):
        super().__init__(work)
        self.world = World("dockerd", work, [
            "dockerd", "-H", f"unix://{self.socket}", "--data-root", str(self.work / "data"),
            "--exec-root", str(self.work / "exec"), "--pidfile", str(self.work / "pid"),
            "--cgroup-parent", f"/{cgroup}/docker", "--log-level", "error"], network=True)

    def settle(self, pods=0):
        """A container is a shim and a process."""
        process.wait_until(lambda: len(self.pod_pids()) <= 2 * pods, QUIET_DEADLINE_S,
                           "dockerd's shims ending")


class HyperDaemon(Daemon):
    own_names = ("hyperd",)

    def __init__(self, work, build, cgroup, warm=0, name="hyperd", extra=(), traced=False):
        self.name = name
        super().__init__(work)
        self.warm = warm
        self._idle = None
        program = str(build / "hyperd/hyperd")
        argv = [program, "--data-root", str(self.work / "data"), "--run-root", str(self.work / "run"),
                "-H", f"unix://{self.socket}", "--pidfile", str(self.work / "pid"),
                "--kernel", str(build / "vmlinux"), "--initramfs", str(build / "initramfs.cpio"),
                "--hyperstart", str(build / "hyperstart/hyperstart"), *extra]
        if warm:
            argv += ["--warm", str(warm)]
        if "--cgroup-parent" in process.run_output([program, "--help"]):
            argv += ["--cgroup-parent", f"/{cgroup}/{name}"]
        env = {**os.environ, "HYPER_TRACE": "sandbox"} if traced else None
        self.world = World(name, work, argv, network=True, env=env)

    def info(self):
        return api_get(self.socket, "/hyper/v1/info")

    def ready_clones(self):
        return sum(kind["ready"] for kind in self.info()["Sandbox"]["pool"])

    def remember_idle(self):
        """Called when no pod exists: as many processes as now is quiet."""
        self._idle = len(self.pod_pids())

    def settle(self, pods=0):
        if self._idle is not None and pods == 0:
            process.wait_until(lambda: len(self.pod_pids()) <= self._idle, QUIET_DEADLINE_S,
                               f"{self.name}'s pods ending")
        if self.warm:
            process.wait_until(lambda: self.ready_clones() >= self.warm, QUIET_DEADLINE_S,
                               f"{self.name}'s pool filling")


def versions(build):
    """Versions of what is measured, for the head of the table; absent programs are left out."""
    commands = {"docker": [DOCKER_CLI, "--version"], "containerd": ["containerd", "--version"],
                "runc": ["runc", "--version"], "QEMU": ["qemu-system-x86_64", "--version"]}
    if build:
        commands["hyper"] = [str(build / "hyperd/hyperd"), "--version"]
    found = {}
    for name, argv in commands.items():
        if shutil.which(argv[0]) or os.access(argv[0], os.X_OK):
            found[name] = process.run_output(argv).splitlines()[0].strip()
    return found
