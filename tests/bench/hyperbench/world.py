"""
A daemon in namespaces of its own: mount, PID and, where asked, network. The PID namespace is what makes cleaning up
certain: when its init goes, the kernel ends everything in it, whatever state a measurement was left in.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess

from . import process

DAEMON_UP_DEADLINE_S = 60
DAEMON_DOWN_DEADLINE_S = 30

# The shell stays as the namespace's init, for it reaps; a daemon that is init itself would have to.
PRELUDE = """
mount -t tmpfs tmpfs /run || exit 1
if [ "$1" = net ]; then ip link set lo up || exit 1; fi
shift
"$@" &
wait $!
"""


class World:
    def __init__(self, name, work, argv, network=False, env=None):
        """ARGV is the daemon; its output goes to WORK/NAME.log."""
        self.name = name
        self.log = pathlib.Path(work) / f"{name}.log"
        flags = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if network:
            flags.append("--net")
        with open(self.log, "wb") as log:
            self._unshare = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", *flags, "sh", "-c", PRELUDE, "init",
                 "net" if network else "-", *argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        self.daemon_pid = None

    def wait_ready(self, answers):
        def ready():
            if self._unshare.poll() is not None:
                raise process.CommandFailed(f"{self.name} ended while starting: {self.log_end()}")
            return answers()
        try:
            process.wait_until(ready, DAEMON_UP_DEADLINE_S, f"{self.name} answering")
        except TimeoutError as error:
            raise process.CommandFailed(f"{error}: {self.log_end()}") from None
        self.daemon_pid = self._children(self._init_pid())[0]

    def log_end(self):
        return self.log.read_text(errors="replace")[-1500:].strip()

    def _children(self, parent):
        return sorted(pid for pid, (_, above, _) in process.processes().items() if above == parent)

    def _init_pid(self):
        return self._children(self._unshare.pid)[0]

    def pids(self):
        """Every process in it but its init, as this process sees them, those in deeper namespaces too."""
        table = process.processes()
        inits = [pid for pid, (_, parent, _) in table.items() if parent == self._unshare.pid]
        return [pid for init in inits for pid in process.descendants(init, table)]

    def stop(self):
        """Asks the daemon to end in order; what does not end in time is killed with the namespace."""
        if self._unshare.poll() is None and self.daemon_pid:
            try:
                os.kill(self.daemon_pid, signal.SIGTERM)
                self._unshare.wait(DAEMON_DOWN_DEADLINE_S)
            except ProcessLookupError:
                pass
            except subprocess.TimeoutExpired:
                print(f"{self.name}: did not end within {DAEMON_DOWN_DEADLINE_S} s, killed", flush=True)
        if self._unshare.poll() is None:
            for pid in self._children(self._unshare.pid):
                os.kill(pid, signal.SIGKILL)
            self._unshare.kill()
        self._unshare.wait()


def remove_cgroups(name, root="/sys/fs/cgroup"):
    """Removes /NAME and what is below it from every hierarchy (v1, v2 and hybrid); returns what stayed."""
    stayed = []
    tops = [pathlib.Path(root) / name, *pathlib.Path(root).glob(f"*/{name}")]
    for top in tops:
        if not top.is_dir():
            continue
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError as error:
                stayed.append(f"{directory}: {error.strerror}")
    return stayed


def own_name():
    """Of this run's directory and cgroup: tells a later run whether its owner still lives."""
    return f"hyper-bench-{os.getpid()}"


def sweep(work, root="/sys/fs/cgroup"):
    """Removes directories and cgroups of runs that were killed with SIGKILL. Their processes ended with them."""
    names = {path.name for pattern in ("hyper-bench-*", "*/hyper-bench-*") for path in pathlib.Path(root).glob(pattern)}
    names |= {path.name for path in pathlib.Path(work).glob("hyper-bench-*")}
    for name in sorted(names):
        match = re.fullmatch(r"hyper-bench-(\d+)", name)
        if match and not pathlib.Path(f"/proc/{match.group(1)}").exists():
            remove_cgroups(name, root)
            shutil.rmtree(pathlib.Path(work) / name, ignore_errors=True)
