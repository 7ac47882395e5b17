"""Pods in QEMU through libvirt: inside hyperd (qemu:///embed), and by a libvirtd of the test's own."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

import conftest

pytestmark = pytest.mark.skipif(not (shutil.which("libvirtd") and shutil.which("virsh")),
                                reason="libvirt-daemon-system and libvirt-clients are not installed")

# In namespaces of its own, with a process 1 that reaps: libvirtd's state is in fixed places, and it waits for its children
# to be gone.
LIBVIRTD = """
for dir in /etc/libvirt /run/libvirt /var/lib/libvirt /var/cache/libvirt; do mkdir -p $dir; done
mount --bind "$1/etc" /etc/libvirt
for dir in /run/libvirt /var/lib/libvirt /var/cache/libvirt; do mount -t tmpfs -o mode=755 hyper $dir; done
touch "$1/ready"
while sleep 1000; do :; done
"""


def wait_for(condition, what):
    deadline = time.monotonic() + conftest.TIMEOUT_S
    while True:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            value = condition()
            if value:
                return value
        assert time.monotonic() < deadline, f"waited too long: {what}"
        time.sleep(0.1)


class Libvirtd:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="lv", dir="/tmp"))
        (self.dir / "etc").mkdir()
        (self.dir / "sock").mkdir()
        (self.dir / "etc/libvirtd.conf").write_text(f'unix_sock_dir = "{self.dir}/sock"\nauth_unix_rw = "none"\n')
        # root: a libvirtd whose user may not open /dev/kvm asks QEMU anew, each time, whether it may.
        (self.dir / "etc/qemu.conf").write_text('user = "root"\ngroup = "root"\nstdio_handler = "file"\ncgroup_controllers = []\n')
        self.uri = f"qemu+unix:///system?socket={self.dir}/sock/libvirt-sock"
        self.holder = subprocess.Popen(["unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "bash", "-ec", LIBVIRTD, "-", self.dir],
                                       start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for((self.dir / "ready").exists, "namespaces for libvirtd")
        self.daemon = None

    def inside(self):
        """The first process of the namespaces."""
        return pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()[0]

    def start(self):
        self.log = open(self.dir / "log", "ab")
        self.daemon = subprocess.Popen(["nsenter", "-t", self.inside(), "-m", "-p", "libvirtd", "--config",
                                        self.dir / "etc/libvirtd.conf", "--pid-file", self.dir / "pid"],
                                       stdout=self.log, stderr=self.log, start_new_session=True)
        wait_for(lambda: self.virsh("version"), "libvirtd")
        return self

    def kill(self):
        """libvirtd itself: nsenter waits for it."""
        children = pathlib.Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children").read_text().split()
        for pid in children or [self.daemon.pid]:
            os.kill(int(pid), signal.SIGKILL)
        self.daemon.wait()
        self.log.close()

    def virsh(self, *args):
        return subprocess.run(["virsh", "-c", self.uri, *map(str, args)], check=True, capture_output=True, text=True,
                              timeout=conftest.TIMEOUT_S, stdin=subprocess.DEVNULL).stdout

    def domains(self):
        return set(self.virsh("list", "--all", "--name").split())

    def remove(self):
        if self.daemon and self.daemon.poll() is None:
            with contextlib.suppress(OSError):
                self.kill()
        self.holder.kill()
        self.holder.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture(scope="module")
def libvirtd():
    made = Libvirtd()
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture(scope="module", params=["embed", "system"])
def lv(request, images):
    """A daemon whose pods run in QEMU through libvirt; lv.libvirtd where there is one."""
    reason = conftest.missing()
    if reason:
        pytest.skip(reason)
    args = ["--hypervisor", "libvirt-qemu", "--debug", "--libvirt-uri"]
    libvirtd = request.getfixturevalue("libvirtd") if request.param == "system" else None
    daemon = conftest.Daemon(args=args + [libvirtd.uri if libvirtd else "qemu:///embed"])
    daemon.libvirtd = libvirtd
    daemon.state.chmod(0o711)  # a machine's user finds its libvirt's files here
    try:
        daemon.start()
        daemon.import_image(images / "busybox.tar", "busybox")
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.log_text()
        assert not daemon.complaints()
        assert not daemon.traces.all()
        assert not libvirtd or not {name for name in libvirtd.domains() if name.startswith("hyper-")}
    finally:
        with contextlib.suppress(RuntimeError):
            daemon.stop()
        daemon.remove()


def state(daemon, name):
    return daemon.request("GET", f"/containers/{name}/json").json()["State"]


def test_the_cycle_of_a_container(lv):
    """What the direct driver's pods do: codes, both directions of a stream, exec, pause, a layer that lasts."""
    data = os.urandom(300_000).hex()
    out = lv.docker("run", "-i", "--name", "one", "busybox", "sh", "-c", "cat; echo kept >/file; exit 7", check=False, input=data)
    assert out.returncode == 7, out.stderr + lv.log_text()
    assert out.stdout == data
    lv.docker("rm", "one")
    lv.docker("run", "-d", "--name", "two", "--runtime", "hyper-libvirt-qemu", "busybox", "sh", "-c",
              "cat /file 2>/dev/null; echo kept >/file; exec sleep 1000")
    assert lv.docker("exec", "two", "uname", "-r").stdout.strip().endswith("-hyper")
    pod = lv.pods()[0]
    assert pod["Hypervisor"] == "libvirt-qemu"
    stats = lv.request("GET", "/containers/two/stats?stream=0").json()
    assert stats["memory_stats"]["usage"] > 0
    lv.docker("pause", "two")
    assert state(lv, "two")["Paused"]
    lv.docker("unpause", "two")
    assert lv.docker("exec", "two", "cat", "/file").stdout == "kept\n"
    if lv.libvirtd:
        names = {name for name in lv.libvirtd.domains() if name.startswith("hyper-")}
        assert names == {f"hyper-{pod['Id'][:12]}"}
        xml = lv.libvirtd.dir / "domain.xml"
        xml.write_text(lv.libvirtd.virsh("dumpxml", *names))
        subprocess.run(["virt-xml-validate", xml, "domain"], check=True, capture_output=True)
    lv.docker("restart", "-t", "1", "two")
    wait_for(lambda: lv.docker("logs", "two").stdout == "kept\n", "the restarted container")
    lv.docker("rm", "-f", "two")


def test_two_containers_and_layers_on_disks(lv):
    pod = {"id": "both", "transport": "disk", "containers": [
        {"name": "web", "image": "busybox", "command": ["sh", "-c", "exec nc -l -p 80 -e echo answer"]},
        {"name": "ask", "image": "busybox", "command": ["sh", "-c", "until nc 127.0.0.1 80; do sleep 0.1; done"]}]}
    out = lv.hyperctl("run", "--rm", "-f", "/dev/stdin", input=json.dumps(pod))
    assert "answer" in out.stdout, out.stderr + lv.log_text()
    table = lv.request("GET", "/info").json()["Hyper"]["Sandbox"]["hypervisors"]
    assert table["libvirt-qemu"]["state"] == "in use" and not table["libvirt-qemu"]["features"]["templates"]


def test_a_killed_daemon_is_followed_by_one_that_adopts(lv):
    lv.docker("run", "-d", "--name", "stays", "busybox", "sh", "-c", "echo begun; exec sleep 1000")
    started = state(lv, "stays")["StartedAt"]
    lv.kill()
    lv.start()
    assert state(lv, "stays")["StartedAt"] == started and state(lv, "stays")["Running"], lv.log_text()
    assert lv.docker("exec", "stays", "echo", "again").stdout == "again\n"
    # Killed behind its back.
    if lv.libvirtd:
        lv.libvirtd.virsh("destroy", f"hyper-{lv.pods()[0]['Id'][:12]}")
    else:
        machines = [pid for pid, command in lv.traces.processes().items() if command.startswith("/usr/bin/qemu")]
        os.kill(*machines, signal.SIGKILL)
    wait_for(lambda: not state(lv, "stays")["Running"], "the end to be seen")
    assert "sandbox died" in state(lv, "stays")["Error"]
    lv.docker("rm", "-f", "stays")


def test_libvirtd_dies_and_returns(lv):
    if not lv.libvirtd:
        pytest.skip("there is no libvirtd")
    lv.docker("run", "-d", "--name", "goes-on", "busybox", "sleep", "1000")
    lv.docker("run", "-d", "--name", "ends", "busybox", "sleep", "1000")
    lv.libvirtd.kill()
    assert lv.docker("exec", "goes-on", "echo", "here").stdout == "here\n"
    refused = lv.docker("run", "--rm", "busybox", "true", check=False)
    assert refused.returncode == 125 and "libvirtd" in refused.stderr, refused.stderr
    # Its machine is ended without libvirt.
    lv.docker("kill", "ends")
    wait_for(lambda: not state(lv, "ends")["Running"], "the killed container")
    lv.libvirtd.start()
    wait_for(lambda: "connected again" in lv.log_text(), "the connection")
    assert lv.docker("run", "--rm", "busybox", "echo", "new").stdout == "new\n"
    lv.docker("rm", "-f", "goes-on", "ends")
    wait_for(lambda: not {name for name in lv.libvirtd.domains() if name.startswith("hyper-")}, "domains to be gone")


def test_a_foreign_domain_keeps_its_name(lv):
    if not lv.libvirtd:
        pytest.skip("nobody else has domains there")
    lv.docker("create", "--name", "late", "busybox", "echo", "ran")
    name = f"hyper-{lv.pods()[0]['Id'][:12]}"
    xml = lv.libvirtd.dir / "foreign.xml"
    xml.write_text(f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>"
                   "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>")
    lv.libvirtd.virsh("define", xml)
    try:
        assert lv.docker("start", "-a", "late").stdout == "ran\n"
        lv.kill()
        lv.start()
        assert name in lv.libvirtd.domains()
    finally:
        lv.libvirtd.virsh("undefine", name)
        lv.docker("rm", "-f", "late")


def test_without_libvirt_there_is_a_way_out(new_daemon):
    daemon = new_daemon("--libvirt-uri", "qemu+unix:///system?socket=/nonexistent/libvirt-sock")
    refused = daemon.docker("run", "--rm", "--runtime", "hyper-libvirt-qemu", "busybox", "true", check=False)
    assert refused.returncode == 125 and "libvirt-daemon-system" in refused.stderr, refused.stderr
    # The daemon's own pods do not care.
    assert daemon.docker("run", "--rm", "busybox", "echo", "fine").stdout == "fine\n"
