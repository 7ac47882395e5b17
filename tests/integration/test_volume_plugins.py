"""Volume plugins: Docker's protocol with a real one (rclone), and with one of our own that can misbehave."""
import contextlib
import http.server
import json
import os
import shutil
import socketserver
import subprocess
import threading
import time

import pytest


class Plugin(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Keeps volumes as directories of FOLDER; `calls` is what it was asked, `moods` what it does instead of answering."""
    daemon_threads = True

    def __init__(self, path, folder):
        self.folder, self.calls, self.moods, self.volumes = folder, [], {}, {}
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("plugin", 0)

    def answer(self, method, request):
        name = request.get("Name")
        if method == "Plugin.Activate":
            return {"Implements": ["VolumeDriver"]}
        if method == "VolumeDriver.Capabilities":
            return {"Capabilities": {"Scope": "global"}}
        if method == "VolumeDriver.List":
            return {"Volumes": [self.describe(n) for n in self.volumes]}
        if method == "VolumeDriver.Create":
            (self.folder / name).mkdir(exist_ok=True)
            self.volumes[name] = request.get("Opts")
            return {"Err": ""}
        if name not in self.volumes:
            return {"Err": f"volume {name} is not here"}
        if method == "VolumeDriver.Get":
            return {"Volume": self.describe(name)}
        if method == "VolumeDriver.Remove":
            del self.volumes[name]
        if method in ("VolumeDriver.Mount", "VolumeDriver.Path"):
            return {"Mountpoint": str(self.folder / name)}
        return {}

    def describe(self, name):
        return {"Name": name, "Mountpoint": str(self.folder / name), "Status": {"mood": "good"}}

    def methods(self):
        return [method.split(".")[1] for method, _ in self.calls]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        method = self.path.lstrip("/")
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self.server.calls.append((method, request))
        mood = self.server.moods.get(method)
        if mood == "silent":
            time.sleep(20)
            return
        if mood == "gone":
            return
        body = mood if isinstance(mood, bytes) else json.dumps(mood or self.server.answer(method, request)).encode()
        self.send_response(200 if mood is None or isinstance(mood, bytes) else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def plugged(new_daemon, tmp_path):
    """A daemon and a plugin "fake" that it finds."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "kept").mkdir()
    daemon = new_daemon("--volume-plugin-dir", str(tmp_path / "plugins"), "--volume-plugin-timeout", "2")
    plugin = Plugin(tmp_path / "plugins" / "fake.sock", tmp_path / "kept")
    yield daemon, plugin
    plugin.shutdown()
    plugin.server_close()


def test_the_protocol(plugged, tmp_path):
    daemon, plugin = plugged
    daemon.docker("volume", "create", "-d", "fake", "-o", "size=big", "one")
    assert plugin.volumes == {"one": {"size": "big"}} and plugin.methods() == ["Activate", "Capabilities", "Get", "Create"]
    shown = json.loads(daemon.docker("volume", "inspect", "one").stdout)[0]
    assert (shown["Driver"], shown["Scope"], shown["Status"]) == ("fake", "global", {"mood": "good"})
    plugin.calls.clear()
    for isolation in ("namespace", "vm"):
        daemon.docker("run", "--rm", "--isolation", isolation, "-v", "one:/v", "busybox", "sh", "-c", f"echo {isolation} >> /v/f")
    assert (tmp_path / "kept/one/f").read_text() == "namespace\nvm\n"
    mounted = [request["ID"] for method, request in plugin.calls if method == "VolumeDriver.Mount"]
    unmounted = [request["ID"] for method, request in plugin.calls if method == "VolumeDriver.Unmount"]
    assert sorted(mounted) == sorted(unmounted) and len(set(mounted)) == len(mounted)
    # Made by a container, found in a list, removed.
    daemon.docker("create", "--name", "maker", "--volume-driver", "fake", "-v", "two:/v", "busybox", "true")
    plugin.answer("VolumeDriver.Create", {"Name": "theirs"})
    assert sorted(daemon.docker("volume", "ls", "-q", "--filter", "driver=fake").stdout.split()) == ["one", "theirs", "two"]
    assert daemon.docker("volume", "rm", "two", check=False).returncode == 1
    daemon.docker("rm", "maker")
    daemon.docker("volume", "rm", "two", "theirs")
    assert list(plugin.volumes) == ["one"]
    assert "fake" in daemon.request("GET", "/info").json()["Plugins"]["Volume"]
    # What is in a .spec and a .json file leads to it too.
    for name, text in (("s.spec", f"unix://{tmp_path}/plugins/fake.sock"), ("j.json", json.dumps({"Name": "j", "Addr": f"unix://{tmp_path}/plugins/fake.sock"}))):
        (tmp_path / "plugins" / name).write_text(text)
        daemon.docker("volume", "create", "-d", name.split(".")[0], f"by-{name[0]}")
    # After a crash the daemon knows them.
    daemon.kill()
    daemon.start()
    assert json.loads(daemon.docker("volume", "inspect", "one").stdout)[0]["Options"] == {"size": "big"}
    daemon.docker("volume", "rm", "one", "by-s", "by-j")


def test_plugins_that_misbehave(plugged, tmp_path):
    daemon, plugin = plugged
    daemon.docker("volume", "create", "-d", "fake", "one")

    def run():
        return daemon.docker("run", "--rm", "--isolation", "namespace", "-v", "one:/v", "busybox", "true", check=False)

    plugin.moods["VolumeDriver.Mount"] = {"Err": "the array is on fire"}
    assert "the array is on fire" in run().stderr
    for mood in ("gone", b"{", b'{"Mountpoint": "relative"}', b"[]", b"x" * 5000000):
        plugin.moods["VolumeDriver.Mount"] = mood
        failed = run()
        assert failed.returncode != 0 and 'plugin "fake"' in failed.stderr, mood
    # One that never answers costs its own caller the time-out, and nobody else anything.
    plugin.moods["VolumeDriver.Mount"] = "silent"
    began, waiting = time.monotonic(), []
    thread = threading.Thread(target=lambda: waiting.append(run()))
    thread.start()
    daemon.docker("run", "--rm", "--isolation", "namespace", "busybox", "true")
    thread.join(60)
    assert "did not answer in time" in waiting[0].stderr and time.monotonic() - began < 60
    plugin.moods.clear()
    assert run().returncode == 0
    # Dead: said at once; known volumes stay known, and force forgets them.
    plugin.shutdown()
    plugin.server_close()
    failed = run()
    assert failed.returncode != 0 and "connecting" in failed.stderr
    assert "connecting" in (daemon.request("GET", "/volumes").json()["Warnings"] or [""])[0]
    assert daemon.docker("volume", "rm", "one", check=False).returncode == 1
    daemon.docker("volume", "rm", "-f", "one")
    os.unlink(tmp_path / "plugins" / "fake.sock")
    missing = daemon.request("POST", "/volumes/create", {"Name": "xx", "Driver": "fake"})
    assert missing.status == 404 and 'plugin "fake" not found' in missing.message


def test_rclone(new_daemon, tmp_path):
    if not shutil.which("rclone") or not os.path.exists("/dev/fuse"):
        pytest.skip("needs rclone and /dev/fuse")
    for name in ("plugins", "remote", "base"):
        (tmp_path / name).mkdir()
    (tmp_path / "rclone.conf").write_text(f"[there]\ntype = alias\nremote = {tmp_path}/remote\n")
    socket = tmp_path / "plugins/rclone.sock"
    daemon = new_daemon("--volume-plugin-dir", str(tmp_path / "plugins"))
    with open(tmp_path / "log", "wb") as log:
        rclone = subprocess.Popen(["rclone", "serve", "docker", "--config", tmp_path / "rclone.conf", "--socket-addr", socket, "--base-dir", tmp_path / "base",
                                   "--cache-dir", tmp_path / "cache"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not socket.exists():
            assert time.monotonic() < deadline and rclone.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        # An unprivileged QEMU serves it: FUSE must let others in.
        daemon.docker("volume", "create", "-d", "rclone", "-o", "remote=there:sub", "-o", "allow-other=true", "-o", "vfs-cache-mode=off", "far")
        daemon.docker("run", "--rm", "--isolation", "namespace", "-v", "far:/f", "busybox", "sh", "-c", "echo namespace > /f/a; mkdir /f/d")
        assert daemon.docker("run", "--rm", "--isolation", "vm", "-v", "far:/f", "busybox", "sh", "-c", "cat /f/a; echo vm > /f/d/b").stdout == "namespace\n"
        assert (tmp_path / "remote/sub/a").read_text() == "namespace\n"
        deadline = time.monotonic() + 60
        while not (tmp_path / "remote/sub/d/b").exists():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        daemon.docker("volume", "rm", "far")
    finally:
        rclone.terminate()
        rclone.wait(30)
        for line in open("/proc/self/mountinfo", encoding="utf-8"):
            if str(tmp_path) in line:
                with contextlib.suppress(OSError):
                    subprocess.run(["umount", "-l", line.split()[4]], check=False)
