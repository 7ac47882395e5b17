"""
The participants: each knows how one command line client is told to run, exec, keep idle, list, load and read logs.
Methods return argument vectors; what they need on disk is made before the clock starts.
"""
import json
import os
import pathlib
import subprocess

from .daemon import DOCKER_CLI

IMAGE = "busybox"


class Tool:
    """One client with one way of running. Docker's words are the default; hyperctl has nearly the same."""

    def __init__(self, key, label, daemon, client, env=None, run_flags=(), words=None):
        self.key, self.label, self.daemon = key, label, daemon
        self.client, self.run_flags = list(client), list(run_flags)
        self.env = {**os.environ, **(env or {})}
        self.words = {"ps": ["ps", "-a"], **(words or {})}

    def run(self, *command, image=IMAGE, flags=()):
        return [*self.client, "run", "--rm", *self.run_flags, *flags, image, *command]

    def keep(self, name, *command, flags=()):
        """In the foreground, kept after its end, for `logs`."""
        return [*self.client, "run", "--name", name, *self.run_flags, *flags, IMAGE, *command]

    def idle(self, name):
        return [*self.client, "run", "-d", "--name", name, *self.run_flags, IMAGE, "sleep", "1000000"]

    def create(self, name):
        return [*self.client, "create", "--name", name, *self.run_flags, IMAGE, "true"]

    def exec(self, name, *command):
        return [*self.client, "exec", name, *command]

    def remove(self, *names):
        return [*self.client, "rm", "-f", *names]

    def ps(self):
        return [*self.client, *self.words["ps"]]

    def logs(self, name):
        return [*self.client, "logs", name]

    def load(self, path):
        return [*self.client, "load", "-i", str(path)]

    def rmi(self, tag):
        return [*self.client, "rmi", "-f", tag]

    def settle(self, pods=0):
        self.daemon.settle(pods)

    def pod_pids(self):
        return self.daemon.pod_pids()


def docker_tool(key, label, daemon, run_flags=()):
    return Tool(key, label, daemon, [DOCKER_CLI, "-H", f"unix://{daemon.socket}"],
                env={"DOCKER_CONFIG": str(daemon.work / "client")}, run_flags=run_flags)


def hyper_tool(key, label, daemon, build, isolation):
    """Without a network: what it is compared with, runc and `docker --network none`, has none either."""
    return Tool(key, label, daemon, [str(build / "hyperctl/hyperctl")], env={"HYPER_HOST": f"unix://{daemon.socket}"},
                run_flags=["--isolation", isolation, "--network", "none"],
                words={"ps": ["list", "-a"]})


class RuncTool:
    """
    runc on bundles, a bundle for each container: root by absolute path, cgroups below the benchmark's own. It has no
    images, daemon or logs.
    """

    def __init__(self, work, root, cgroup):
        self.key, self.label, self.daemon = "runc", "runc", None
        self.env = dict(os.environ)
        self.work = pathlib.Path(work) / "runc"
        self.work.mkdir()
        self._root, self._cgroup, self._count = root, cgroup, 0
        self._client = ["runc", "--root", str(self.work / "state")]
        self._names = set()
        template = self.work / "template"
        template.mkdir()
        subprocess.run(["runc", "spec"], cwd=template, check=True)
        self._config = json.loads((template / "config.json").read_text())

    def _bundle(self, name, command):
        config = json.loads(json.dumps(self._config))
        config["process"]["args"] = list(command)
        config["process"]["terminal"] = False
        config["root"] = {"path": str(self._root), "readonly": False}
        config["linux"]["cgroupsPath"] = f"/{self._cgroup}/runc/{name}"
        bundle = self.work / name
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(config))
        return str(bundle)

    def run(self, *command, flags=()):
        self._count += 1
        name = f"r{self._count}"
        return [*self._client, "run", "-b", self._bundle(name, command), name]

    def idle(self, name):
        self._names.add(name)
        return [*self._client, "run", "-d", "-b", self._bundle(name, ("sleep", "1000000")), name]

    def exec(self, name, *command):
        return [*self._client, "exec", name, *command]

    def remove(self, *names):
        """One name at a time is all that runc takes."""
        self._names -= set(names)
        return ["sh", "-c", 'client=$1; state=$2; shift 2; for name; do "$client" --root "$state" delete -f "$name"'
                ' || exit 1; done', "sh", "runc", str(self.work / "state"), *names]

    def settle(self, pods=0):
        """runc ends after its container has."""

    def pod_pids(self):
        pids = []
        for name in self._names:
            state = self.work / "state" / name / "state.json"
            pids.append(json.loads(state.read_text())["init_process_pid"])
        return pids

    def stop(self):
        if self._names:
            subprocess.run(self.remove(*self._names), check=False)
