"""Volumes, bind mounts and tmpfs with the docker CLI, on both backends: threats.md 19-23 by number."""
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest


@pytest.fixture
def run(daemon, isolation):
    def run(*args, **options):
        return daemon.docker("run", "--rm", "--isolation", isolation, *args, **options)

    return run


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    return folder


def eventually(check, seconds=60):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_is_shared_is_seen_by_both_sides(daemon, run, isolation, shared):
    (shared / "f").write_text("host\n")
    (shared / "one").write_text("a file\n")
    daemon.docker("run", "-d", "--name", "both", "--isolation", isolation, "-v", f"{shared}:/s", "-v", f"{shared}/one:/etc/one:ro",
                  "--mount", f"type=bind,src={shared},dst=/ro,readonly", "busybox", "sleep", "1000")
    out = daemon.docker("exec", "both", "sh", "-c", "cat /s/f /etc/one; echo guest > /s/g; mkdir /s/d; rm /s/f; exec 2>/dev/null; "
                        "touch /ro/x || echo refused; echo >> /etc/one || echo refused; cat /ro/g").stdout
    assert out.split("\n") == ["host", "a file", "refused", "refused", "guest", ""]
    assert (shared / "g").read_text() == "guest\n" and not (shared / "f").exists() and (shared / "d").is_dir()
    (shared / "g").write_text("host again\n")
    (shared / "d" / "new").write_text("new\n")
    assert daemon.docker("exec", "both", "cat", "/s/g", "/s/d/new").stdout == "host again\nnew\n"
    mounts = {m["Destination"]: m for m in json.loads(daemon.docker("inspect", "both").stdout)[0]["Mounts"]}
    assert mounts["/s"] == {"Type": "bind", "Source": str(shared), "Destination": "/s", "Mode": "", "RW": True, "Propagation": "rprivate"}
    assert mounts["/etc/one"]["Mode"] == "ro" and not mounts["/etc/one"]["RW"] and not mounts["/ro"]["RW"]
    # After a restart, and after the daemon's word only, it is the same.
    daemon.docker("restart", "-t", "0", "both")
    assert daemon.docker("exec", "both", "cat", "/s/g").stdout == "host again\n"


def test_owners_and_modes(run, shared):
    shared.chmod(0o777)
    run("-v", f"{shared}:/s", "busybox", "sh", "-c", "cd /s; echo secret > f; chown 1000:2000 f; chmod 600 f; mkdir g; chown :77 g; chmod 2775 g; "
        "ln -s f l; ln f h; chown -h 5:6 l")
    out = run("-u", "1234:55", "-v", f"{shared}:/s", "busybox", "sh", "-c", "cd /s; touch mine; mkdir dir; cat f; touch g/no; true", check=False)
    assert "Permission denied" in out.stderr and "secret" not in out.stdout
    assert run("-u", "1000:77", "-v", f"{shared}:/s", "busybox", "sh", "-c", "cd /s; cat f; touch g/in; chmod 640 f").stdout == "secret\n"
    owners = {p.name: (p.lstat().st_uid, p.lstat().st_gid, p.lstat().st_mode & 0o7777) for p in shared.iterdir() if p.name != "l"}
    assert owners == {"f": (1000, 2000, 0o640), "h": (1000, 2000, 0o640), "g": (0, 77, 0o2775), "mine": (1234, 55, 0o644), "dir": (1234, 55, 0o755)}
    assert ((shared / "l").lstat().st_uid, os.readlink(shared / "l")) == (5, "f") and (shared / "g/in").stat().st_gid == 77


def test_19_links_in_a_share_do_not_lead_out(run, shared, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("host's secret\n")
    (shared / "out").symlink_to(secret)
    (shared / "up").symlink_to("../secret")
    (shared / "dir").symlink_to(tmp_path)
    out = run("-v", f"{shared}:/s", "busybox", "sh", "-c", "for f in out up dir/secret ../secret ../../secret; do cat /s/$f; done 2>/dev/null; "
              "ln -s / /s/root; cat /s/root/etc/hostname >/dev/null && echo own root; rm /s/up; ln -s ../../../../etc/passwd /s/up; "
              "echo x >> /s/out; cd /s; echo pwned > ../pwned; true", check=False)
    assert out.stdout == "own root\n" and secret.read_text() == "host's secret\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret", "shared"]


def test_19_a_link_swapped_while_it_is_read(daemon, run, isolation, shared, tmp_path):
    """The guest swaps a file and a link to the host's; what the host's side serves is never the link's target."""
    secret = tmp_path / "secret"
    secret.write_text("host's secret\n")
    out = run("-v", f"{shared}:/s", "busybox", "sh", "-c", f"cd /s; mkdir a; echo mine > a/secret; ln -s {tmp_path} b; "
              "(for i in $(seq 40); do mv a c; mv b a; mv a b; mv c a; done) & for i in $(seq 60); do cat a/secret; done 2>/dev/null | sort -u; wait")
    assert "host's" not in out.stdout


def test_20_read_only_holds_against_the_guests_root(daemon, run, isolation, shared):
    (shared / "f").write_text("keep\n")
    # In a VM its own root; with namespaces a container that may mount is root on the host, as with Docker.
    if isolation == "namespace":
        out = run("-v", f"{shared}:/s:ro", "busybox", "sh", "-c", "mount -o remount,rw /s; echo changed > /s/f", check=False)
    else:
        out = run("--privileged", "-v", f"{shared}:/s:ro", "busybox", "sh", "-c", "mount -o remount,rw /s; echo changed > /s/f; rm /s/f; "
                  "mkdir /m; mount -t 9p -o trans=virtio,version=9p2000.L shares /m; ls /m; for d in /m/*; do echo changed > $d/f; rm $d/f; chmod 777 $d; done; "
                  "touch /m/new; mkdir /m/dir", check=False)
    assert "Read-only file system" in out.stderr or "Operation not permitted" in out.stderr or "ermission denied" in out.stderr
    assert (shared / "f").read_text() == "keep\n" and [p.name for p in shared.iterdir()] == ["f"]


def test_22_a_vm_that_serves_files_cannot_change_the_rest(daemon, shared):
    """QEMU keeps capabilities for shares: nothing else that it can name or has open may be written."""
    daemon.docker("run", "-d", "--name", "walls", "--isolation", "vm", "-v", f"{shared}:/s", "busybox", "sleep", "1000")
    pods = [p for p, c in daemon.traces.processes().items() if "qemu-system" in c]
    serving = []
    for pid in pods:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        bits = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
        assert bits in (0, 0b11011) and "NoNewPrivs:\t1" in status
        if bits:
            serving.append(pid)
    assert len(serving) == 1
    pid = serving[0]
    # By the mounts that it has: all that can be written is the shares and its own /proc.
    writable = [line.split()[4] for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if "rw" in line.split()[5].split(",")]
    assert all(path.startswith("/shares/") or path == "/proc" for path in writable), writable
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(fd)
        info = pathlib.Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
        flags = int(info.split("flags:")[1].split()[0], 8)
        # What is open for reading must not be openable for writing by who may override modes.
        if target.startswith("/") and flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_PATH and fd.stat().st_mode & 0o170000 == 0o100000:
            with pytest.raises(OSError) as refused:
                os.close(os.open(fd, os.O_RDWR))
            assert refused.value.errno == 30, (fd, target)


def test_volumes_by_the_cli(daemon, run):
    assert daemon.docker("volume", "create", "--label", "a=b", "data").stdout == "data\n"
    assert daemon.docker("volume", "create", "data").stdout == "data\n"
    shown = json.loads(daemon.docker("volume", "inspect", "data").stdout)[0]
    assert shown["Labels"] == {"a": "b"} and shown["Driver"] == "local" and shown["Scope"] == "local"
    assert os.path.isdir(shown["Mountpoint"])
    run("-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/f")
    assert run("--mount", "source=data,target=/e", "busybox", "cat", "/e/f").stdout == "kept\n"
    assert (pathlib.Path(shown["Mountpoint"]) / "f").read_text() == "kept\n"
    daemon.docker("create", "--name", "user", "-v", "data:/d", "busybox", "true")
    used = daemon.docker("volume", "rm", "data", check=False)
    assert used.returncode == 1 and "volume is in use" in used.stderr
    assert daemon.docker("volume", "ls", "-q", "--filter", "dangling=false").stdout == "data\n"
    assert daemon.docker("volume", "ls", "-q", "--filter", "label=a=c").stdout == ""
    usage = {v["Name"]: v["UsageData"] for v in daemon.request("GET", "/system/df").json()["Volumes"]}
    assert usage["data"]["RefCount"] == 1 and usage["data"]["Size"] > 0
    daemon.docker("rm", "user")
    daemon.docker("volume", "rm", "data")
    assert not os.path.exists(shown["Mountpoint"])
    missing = daemon.docker("volume", "inspect", "data", check=False)
    assert "no such volume" in missing.stderr.lower()
    for name in ("../x", "a/b", "x", ".x", "a" * 300):
        assert daemon.request("POST", "/volumes/create", {"Name": name}).status == 400, name
    assert daemon.request("POST", "/volumes/create", {"Name": "other", "Driver": "no-such"}).status == 404
    assert daemon.request("DELETE", "/volumes/none").status == 404 and daemon.request("DELETE", "/volumes/none?force=1").status == 204


def test_new_volumes_have_the_images_content(daemon, run):
    out = run("-v", "conf:/etc", "busybox", "sh", "-c", "stat -c '%u:%g %a' /etc /etc/passwd /etc/shadow; echo mine >> /etc/passwd").stdout
    assert out == run("busybox", "stat", "-c", "%u:%g %a", "/etc", "/etc/passwd", "/etc/shadow").stdout
    # Only the first time.
    assert run("-v", "conf:/etc", "busybox", "tail", "-n1", "/etc/passwd").stdout == "mine\n"
    assert run("-v", "empty:/etc:nocopy", "busybox", "ls", "/etc/group", check=False).returncode != 0
    # What an image calls a directory may be a link anywhere: it is looked up in the image.
    assert run("-v", "none:/no/such/path", "busybox", "ls", "/no/such/path").stdout == ""


def test_anonymous_volumes(daemon, isolation):
    daemon.docker("run", "-d", "--name", "anon", "--isolation", isolation, "-v", "/a", "busybox", "sleep", "1000")
    mount = json.loads(daemon.docker("inspect", "anon").stdout)[0]["Mounts"][0]
    assert mount["Type"] == "volume" and len(mount["Name"]) == 64 and mount["Destination"] == "/a"
    daemon.docker("run", "--rm", "--isolation", isolation, "--volumes-from", "anon:ro", "busybox", "sh", "-c", "touch /a/x", check=False)
    daemon.docker("run", "--rm", "--isolation", isolation, "--volumes-from", "anon", "busybox", "sh", "-c", "echo y > /a/y")
    assert daemon.docker("exec", "anon", "ls", "/a").stdout == "y\n"
    daemon.docker("rm", "-f", "anon")
    assert daemon.docker("volume", "ls", "-q").stdout == mount["Name"] + "\n"
    assert mount["Name"] in daemon.docker("volume", "prune", "-f").stdout
    daemon.docker("run", "--rm", "--isolation", isolation, "-v", "/a", "busybox", "true")
    eventually(lambda: daemon.docker("volume", "ls", "-q").stdout == "")
    daemon.docker("create", "--name", "anon", "-v", "/a", "busybox", "true")
    daemon.docker("rm", "-v", "anon")
    assert daemon.docker("volume", "ls", "-q").stdout == ""


def test_local_driver_options(daemon, run, shared):
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,mode=700", "mem")
    assert run("-v", "mem:/m", "busybox", "sh", "-c", "df -k /m | tail -n1 | awk '{print $2}'; stat -c %a /m; touch /m/x").stdout.split()[-1] == "700"
    assert run("-v", "mem:/m", "busybox", "ls", "/m").stdout == ""
    (shared / "f").write_text("there\n")
    daemon.docker("volume", "create", "-o", "type=none", "-o", f"device={shared}", "-o", "o=bind,ro", "dir")
    out = run("-v", "dir:/d", "busybox", "sh", "-c", "cat /d/f; touch /d/x || echo refused")
    assert out.stdout == "there\nrefused\n"
    assert not daemon.traces.mounts()
    daemon.docker("volume", "rm", "dir")
    assert (shared / "f").exists()
    for options in ({"size": "1g"}, {"type": "tmpfs"}, {"nonsense": "1"}, {"device": "/x"}):
        assert daemon.request("POST", "/volumes/create", {"Name": "bad", "DriverOpts": options}).status in (400, 501), options
    daemon.docker("volume", "create", "-o", "type=none", "-o", "device=/no/such", "-o", "o=bind", "gone")
    failed = daemon.docker("run", "-v", "gone:/g", "busybox", "true", check=False)
    assert failed.returncode == 125 and "no such file" in failed.stderr.lower()


def test_what_is_refused(daemon, isolation, shared):
    def refused(*args):
        result = daemon.docker("create", "--isolation", isolation, *args, "busybox", "true", check=False)
        assert result.returncode != 0, args
        return result.stderr

    assert "bind source path does not exist" in refused("--mount", "type=bind,src=/no/such,dst=/x")
    assert "Duplicate mount point" in refused("-v", f"{shared}:/x", "--tmpfs", "/x/")
    assert "never reaches the host" in refused("-v", f"{shared}:/x:rshared")
    assert "invalid mode" in refused("-v", f"{shared}:/x:nonsense")
    assert "No such container" in refused("--volumes-from", "nobody")
    assert "can't be '/'" in refused("-v", f"{shared}:/x/..")
    if isolation == "vm":
        assert "when it was started" in refused("-v", f"{shared}:/x:rslave")
    # As Docker: what -v names and is not there becomes a directory.
    daemon.docker("create", "-v", f"{shared}/made:/x", "busybox", "true")
    assert (shared / "made").is_dir()
    # A failed create leaves no volume behind.
    assert daemon.docker("create", "-v", "/a", "busybox", check=False).returncode != 0
    assert daemon.docker("volume", "ls", "-q").stdout == ""
    # Nothing may lie over /proc.
    failed = daemon.docker("run", "--rm", "--isolation", isolation, "-v", f"{shared}:/proc/self", "busybox", "true", check=False)
    assert failed.returncode != 0 and "/proc" in failed.stderr


def test_mounts_of_the_host(daemon, tmp_path):
    """With namespaces, what is mounted below a shared directory comes along, and with rslave what is mounted later."""
    shared = tmp_path / "top"
    (shared / "sub").mkdir(parents=True)
    (shared / "late").mkdir()
    subprocess.run(["mount", "--bind", shared, shared], check=True)
    subprocess.run(["mount", "--make-shared", shared], check=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "sub"], check=True)
        (shared / "sub" / "f").write_text("below\n")
        for name, mode in (("slave", "rslave"), ("private", "rprivate")):
            daemon.docker("run", "-d", "--name", name, "--isolation", "namespace", "-v", f"{shared}:/s:{mode}", "busybox", "sleep", "1000")
        out = daemon.docker("run", "--rm", "--isolation", "vm", "-v", f"{shared}:/s:ro", "busybox", "sh", "-c", "cat /s/sub/f; touch /s/sub/x || echo refused").stdout
        assert out == "below\nrefused\n"
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "late"], check=True)
        (shared / "late" / "f").write_text("late\n")
        assert daemon.docker("exec", "slave", "cat", "/s/sub/f", "/s/late/f").stdout == "below\nlate\n"
        assert daemon.docker("exec", "private", "sh", "-c", "cat /s/sub/f; ls /s/late").stdout == "below\n"
        daemon.docker("rm", "-f", "slave", "private")
    finally:
        subprocess.run(["umount", "-R", "-l", shared], check=False)


def test_pod_files(daemon, isolation, shared):
    (shared / "f").write_text("host\n")
    pod = {"name": "vols", "isolation": isolation, "volumes": [{"name": "vol-a"}, {"name": "host", "source": str(shared)}],
           "containers": [{"name": "one", "image": "busybox", "command": ["sh", "-c", "cat /h/f > /a/copy; sleep 1000"],
                           "volumes": [{"volume": "vol-a", "path": "/a"}, {"volume": "host", "path": "/h", "readOnly": True}]},
                          {"name": "two", "image": "busybox", "command": ["sleep", "1000"], "volumes": [{"volume": "vol-a", "path": "/b"}]}]}
    answer = daemon.request("POST", "/hyper/v1/pods", pod)
    assert answer.status == 201, answer.body
    assert daemon.request("POST", "/hyper/v1/pods/vols/start").status == 204
    eventually(lambda: daemon.docker("exec", "vols-two", "cat", "/b/copy", check=False).stdout == "host\n")
    assert daemon.docker("exec", "vols-one", "touch", "/h/x", check=False).returncode != 0


def test_a_killed_daemon_finds_its_volumes_again(new_daemon, isolation):
    daemon = new_daemon()
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "mem")
    daemon.docker("run", "-d", "--name", "keeper", "--isolation", isolation, "-v", "mem:/m", "-v", "data:/d", "busybox", "sh", "-c", "echo a > /m/a; sleep 1000")
    daemon.kill()
    daemon.start()
    assert daemon.docker("run", "--rm", "--isolation", isolation, "-v", "mem:/m", "busybox", "cat", "/m/a").stdout == "a\n"
    assert "in use" in daemon.docker("volume", "rm", "data", check=False).stderr
    daemon.docker("exec", "keeper", "touch", "/d/x")
    daemon.docker("rm", "-f", "keeper")
    assert not daemon.traces.mounts()
    daemon.docker("volume", "rm", "data", "mem")


def test_what_was_synced_survives_the_death_of_its_vm(daemon, shared):
    script = ("for f in /s /v /b /; do echo > $f/log; done; i=0; while :; do i=$((i+1)); for f in /s /v /b /; do echo $i >> $f/log; sync $f/log; done; "
              "echo $i; done")
    daemon.docker("volume", "create", "-o", "format=raw", "-o", "size=32m", "block")
    daemon.docker("run", "-d", "--name", "writer", "--isolation", "vm", "-v", f"{shared}:/s", "-v", "kept:/v", "-v", "block:/b", "busybox", "sh", "-c", script)
    eventually(lambda: len(daemon.docker("logs", "writer").stdout.split()) >= 20)
    (pid,) = [p for p, c in daemon.traces.processes().items() if "qemu-system" in c]
    os.kill(pid, 9)
    eventually(lambda: json.loads(daemon.docker("inspect", "writer").stdout)[0]["State"]["Status"] == "exited")
    said = int(daemon.docker("logs", "writer").stdout.split()[-1])
    volume = json.loads(daemon.docker("volume", "inspect", "kept").stdout)[0]["Mountpoint"]
    block = daemon.docker("run", "--rm", "--isolation", "vm", "-v", "block:/b", "busybox", "cat", "/b/log").stdout
    daemon.docker("cp", "writer:/log", shared / "from-disk")
    texts = [path.read_text() for path in (shared / "log", pathlib.Path(volume) / "log", shared / "from-disk")]
    for text in (*texts, block):
        assert [int(line) for line in text.split()][:said] == list(range(1, said + 1))
    daemon.docker("rm", "writer")
    daemon.docker("volume", "rm", "kept", "block")


def test_volumes_that_are_disks(daemon, tmp_path):
    def run(*args, **options):
        return daemon.docker("run", "--rm", "--isolation", "vm", *args, **options)

    daemon.docker("volume", "create", "-o", "format=raw", "-o", "size=32m", "made")
    out = run("-v", "made:/d", "busybox", "sh", "-c", "grep -c ' /d ext4 rw' /proc/mounts; mkfifo /d/fifo; echo one > /d/f").stdout
    assert out == "1\n"
    assert "Read-only" in run("-v", "made:/d:ro", "busybox", "sh", "-c", "cat /d/f; touch /d/x", check=False).stderr
    # One pod at a time, and none without a VM.
    daemon.docker("run", "-d", "--name", "holder", "--isolation", "vm", "-v", "made:/d", "busybox", "sleep", "1000")
    taken = run("-v", "made:/d", "busybox", "true", check=False)
    assert taken.returncode != 0 and "only one can" in taken.stderr
    refused = daemon.docker("create", "--isolation", "namespace", "-v", "made:/d", "busybox", "true", check=False)
    assert "for pods in VMs" in refused.stderr
    daemon.docker("restart", "-t", "0", "holder")
    assert daemon.docker("exec", "holder", "cat", "/d/f").stdout == "one\n"
    # threats.md 21: what is mounted for a container is no device for it, nor is another disk of its pod.
    reads = daemon.docker("exec", "holder", "sh", "-c", "for d in vda vdb; do IFS=: read major minor < /sys/block/$d/dev; mknod /$d b $major $minor; "
                          "dd if=/$d of=/dev/null bs=512 count=1 && echo readable; done", check=False)
    assert "readable" not in reads.stdout and reads.stderr.count("Operation not permitted") == 2, reads.stderr
    daemon.docker("rm", "-f", "holder")
    raw, qcow2, built_on = tmp_path / "raw", tmp_path / "qcow2", tmp_path / "built-on"
    with open(raw, "wb") as image:
        image.truncate(32 << 20)
    for options, status in (({"format": "vdi", "size": "10m"}, 400), ({"format": "raw"}, 400), ({"format": "raw", "size": "1k"}, 400),
                            ({"format": "qcow2", "device": str(raw)}, 400), ({"format": "raw", "device": "/no/such"}, 400),
                            ({"format": "raw", "device": "/dev/null"}, 400), ({"format": "qcow2", "size": "10m"}, 501)):
        assert daemon.request("POST", "/volumes/create", {"Name": "bad", "DriverOpts": options}).status == status, options
    if not shutil.which("qemu-img"):
        pytest.skip("needs qemu-img")
    subprocess.run(["mkfs.ext4", "-q", "-F", raw], check=True)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], check=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", qcow2, built_on], check=True)
    refused = daemon.request("POST", "/volumes/create", {"Name": "bad", "DriverOpts": {"format": "qcow2", "device": str(built_on)}})
    assert refused.status == 501 and "built on another file" in refused.message
    pod = {"name": "disks", "isolation": "vm", "volumes": [{"name": "quick", "source": str(qcow2), "format": "qcow2"}],
           "containers": [{"name": "one", "image": "busybox", "command": ["sh", "-c", "dd if=/dev/urandom of=/q/f bs=1M count=8; sync; sleep 1000"],
                           "volumes": [{"volume": "quick", "path": "/q"}]},
                          {"name": "two", "image": "busybox", "command": ["sleep", "1000"], "volumes": [{"volume": "quick", "path": "/same"}]}]}
    answer = daemon.request("POST", "/hyper/v1/pods", pod)
    assert answer.status == 201 and daemon.request("POST", "/hyper/v1/pods/disks/start").status == 204, answer.body
    eventually(lambda: daemon.docker("exec", "disks-two", "stat", "-c", "%s", "/same/f", check=False).stdout == "8388608\n")
    assert daemon.request("DELETE", "/hyper/v1/pods/disks?force=1").status == 204
    subprocess.run(["qemu-img", "check", "-q", qcow2], check=True)
    daemon.docker("volume", "rm", "made", "quick")
    assert qcow2.exists()
