"""Networks with the docker CLI: names, isolation, published ports, spoofing, and what is left when a daemon ends or dies."""
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import pytest

from conftest import TIMEOUT_S


def no_rights():
    """Why bridges cannot be made here, or None."""
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        return "needs root and /dev/net/tun"
    made = subprocess.run(["unshare", "-n", "sh", "-c", "ip link add b0 type bridge && nft add table inet x"],
                          capture_output=True, text=True, check=False)
    return f"bridges or nftables do not work here: {made.stderr.strip()}" if made.returncode else None


@pytest.fixture(scope="module", autouse=True)
def rights():
    reason = no_rights()
    if reason:
        pytest.skip(reason)


def eventually(check, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def interfaces(tag=""):
    return sorted(name for name in os.listdir("/sys/class/net") if name.startswith(tag or "hy"))


def tag_of(daemon, network="bridge"):
    """What the daemon's interfaces' names begin with, seen in its rules."""
    tables = json.loads(subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, text=True, check=True).stdout)
    return {t["table"]["name"] for t in tables["nftables"] if "table" in t and t["table"]["name"].startswith("hyper_")}


def address(daemon, name, network=None):
    networks = json.loads(daemon.docker("inspect", name).stdout)[0]["NetworkSettings"]["Networks"]
    return networks[network or next(iter(networks))]["IPAddress"]


def serve(daemon, name, isolation, *options, port=80, text=None):
    """A container that answers every connection to PORT with its name."""
    daemon.docker("run", "-d", "--name", name, "--runtime", isolation, *options, "busybox", "sh", "-c",
                  f"exec nc -ll -p {port} -e echo {text or name}")


def ask(daemon, client, host, port=80):
    """What HOST says, or what went wrong."""
    said = daemon.docker("exec", client, "sh", "-c", f"nc -w 5 {host} {port} </dev/null", check=False)
    return said.stdout.strip()


def connect(host, port, family=socket.AF_INET):
    with socket.socket(family) as connection:
        connection.settimeout(10)
        try:
            connection.connect((host, port))
            return connection.recv(100).decode().strip()
        except OSError as error:
            return error


def free_port():
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return probe.getsockname()[1]


@pytest.fixture
def network(daemon):
    """A network of the test's own, by name."""
    name = f"net{os.urandom(3).hex()}"
    daemon.docker("network", "create", name)
    yield name
    daemon.clear()
    daemon.docker("network", "rm", name)


def test_pods_reach_each_other_by_name(daemon, network, isolation):
    serve(daemon, "web-1", isolation, "--network", network, "--network-alias", "web")
    serve(daemon, "web-2", "namespace", "--network", network, "--network-alias", "web")
    daemon.docker("run", "-d", "--name", "client", "--runtime", isolation, "--network", network, "busybox", "sleep", "1000")
    one, two = address(daemon, "web-1"), address(daemon, "web-2")
    found = daemon.docker("exec", "client", "nslookup", "web", check=False).stdout
    assert one in found and two in found, found
    assert f"name = web-1" in daemon.docker("exec", "client", "nslookup", one, check=False).stdout
    eventually(lambda: ask(daemon, "client", one) == "web-1", "the first answers")
    eventually(lambda: ask(daemon, "client", two) == "web-2", "the second answers")
    daemon.docker("rm", "-f", "web-2")
    eventually(lambda: two not in daemon.docker("exec", "client", "nslookup", "web", check=False).stdout, "its name is gone")
    hosts = daemon.docker("exec", "client", "cat", "/etc/hosts").stdout
    assert re.search(rf"^{address(daemon, 'client')}\s", hosts, re.M), hosts


def test_published_ports(daemon, isolation):
    port, udp = free_port(), free_port()
    serve(daemon, "web", isolation, "-p", f"{port}:80", "-p", "127.0.0.1::81", "-p", f"{udp}:53/udp")
    eventually(lambda: connect("127.0.0.1", port) == "web", "reached over loopback")
    host = daemon.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").stdout.strip()
    assert connect(host, port) == "web"
    eventually(lambda: connect("::1", port, socket.AF_INET6) == "web", "passed on from IPv6")
    shown = daemon.docker("port", "web").stdout
    assert f"80/tcp -> 0.0.0.0:{port}" in shown and "81/tcp -> 127.0.0.1:" in shown and f"53/udp -> 0.0.0.0:{udp}" in shown
    assert f":{port}->80/tcp" in daemon.docker("ps").stdout
    # Another pod, and the pod itself, by the host's address.
    daemon.docker("run", "-d", "--name", "client", "--runtime", isolation, "busybox", "sleep", "1000")
    eventually(lambda: ask(daemon, "client", host, port) == "web", "hairpin")
    taken = daemon.docker("run", "--rm", "-p", f"{port}:80", "busybox", "true", check=False)
    assert taken.returncode == 125 and "port is already allocated" in taken.stderr, taken.stderr
    with socket.socket() as mine:
        mine.bind(("0.0.0.0", 0))
        mine.listen()
        taken = daemon.docker("run", "--rm", "-p", f"{mine.getsockname()[1]}:80", "busybox", "true", check=False)
        assert taken.returncode == 125 and "address already in use" in taken.stderr, taken.stderr
    daemon.docker("rm", "-f", "web")
    with socket.socket() as mine:
        mine.bind(("0.0.0.0", port))
        mine.listen()
        assert isinstance(connect(host, port), (OSError, str))


def test_networks_are_walls(daemon, network):
    """Between networks, and to the host: only what is published."""
    with socket.socket() as secret:
        secret.bind(("0.0.0.0", 0))
        secret.listen()
        serve(daemon, "web", "namespace", "--network", network)
        daemon.docker("run", "-d", "--name", "client", "--runtime", "namespace", "busybox", "sleep", "1000")
        daemon.docker("run", "-d", "--name", "neighbour", "--runtime", "namespace", "--network", network, "busybox", "sleep", "1000")
        web = address(daemon, "web")
        eventually(lambda: ask(daemon, "neighbour", web) == "web", "the neighbour reaches it")
        gateway = daemon.docker("network", "inspect", network, "--format", "{{(index .IPAM.Config 0).Gateway}}").stdout.strip()
        checks = [("client", f"nc -w 2 {web} 80"), ("neighbour", f"nc -w 2 {gateway} {secret.getsockname()[1]}"),
                  ("neighbour", f"nc -w 2 127.0.0.1 {secret.getsockname()[1]}")]
        for container, command in checks:
            assert daemon.docker("exec", container, "sh", "-c", f"{command} </dev/null", check=False).returncode != 0, command
        secret.settimeout(0.2)
        with pytest.raises(OSError):
            secret.accept()
        # An internal network has no way out.
        inside = f"{network}i"
        daemon.docker("network", "create", "--internal", inside)
        routes = daemon.docker("run", "--rm", "--network", inside, "--runtime", "namespace", "busybox", "ip", "route").stdout
        assert "default" not in routes
        daemon.docker("network", "rm", inside)


def test_spoofed_addresses_are_dropped(daemon, network, isolation):
    serve(daemon, "web", "namespace", "--network", network)
    daemon.docker("run", "-d", "--name", "liar", "--runtime", isolation, "--network", network, "--cap-add", "NET_ADMIN",
                  "busybox", "sleep", "1000")
    web, liar = address(daemon, "web"), address(daemon, "liar")
    eventually(lambda: ask(daemon, "liar", web) == "web", "an honest address works")
    other = ".".join(liar.split(".")[:3] + ["77"])
    daemon.docker("exec", "liar", "sh", "-c", f"ip addr add {other}/16 dev eth0")
    assert daemon.docker("exec", "liar", "sh", "-c", f"ping -c 1 -W 2 -I {other} {web}", check=False).returncode != 0
    daemon.docker("exec", "liar", "sh", "-c", "ip link set eth0 address 02:42:00:00:00:77")
    assert daemon.docker("exec", "liar", "sh", "-c", f"ping -c 1 -W 2 {web}", check=False).returncode != 0


def test_connect_and_disconnect_while_running(daemon, network, isolation):
    second = f"{network}b"
    daemon.docker("network", "create", second)
    serve(daemon, "back", "namespace", "--network", second)
    daemon.docker("run", "-d", "--name", "front", "--runtime", isolation, "--network", network, "busybox", "sleep", "1000")
    back = address(daemon, "back")
    assert ask(daemon, "front", back) == ""
    daemon.docker("network", "connect", "--alias", "middle", second, "front")
    assert address(daemon, "front", second)
    eventually(lambda: ask(daemon, "front", back) == "back", "reached over the second network")
    assert back in daemon.docker("exec", "front", "nslookup", "back", check=False).stdout
    busy = daemon.docker("network", "rm", second, check=False)
    assert busy.returncode == 1 and "has active endpoints" in busy.stderr
    daemon.docker("network", "disconnect", second, "front")
    assert ask(daemon, "front", back) == ""
    daemon.docker("rm", "-f", "back")
    daemon.docker("network", "rm", second)


def test_static_addresses_and_settings(daemon):
    name = f"fix{os.urandom(3).hex()}"
    daemon.docker("network", "create", "--subnet", "10.213.0.0/24", "--gateway", "10.213.0.254", "--label", "a=b", name)
    try:
        out = daemon.docker("run", "--rm", "--runtime", "namespace", "--network", name, "--ip", "10.213.0.9", "--mac-address",
                            "02:42:aa:bb:cc:dd", "--dns", "10.1.1.1", "--dns-search", "example.test", "--add-host", "other:1.2.3.4",
                            "busybox", "sh", "-c", "ip addr show eth0; ip route; cat /etc/resolv.conf /etc/hosts").stdout
        for expected in ("10.213.0.9/24", "02:42:aa:bb:cc:dd", "default via 10.213.0.254", "nameserver 10.1.1.1",
                         "search example.test", "1.2.3.4\tother"):
            assert expected in out, out
        refused = daemon.docker("run", "--rm", "--network", name, "--ip", "10.99.0.1", "busybox", "true", check=False)
        assert refused.returncode == 125 and "does not belong" in refused.stderr
        assert daemon.docker("network", "ls", "-q", "--filter", "label=a=b").stdout.strip()
        assert daemon.docker("network", "create", name, check=False).returncode == 1
        overlap = daemon.docker("network", "create", "--subnet", "10.213.0.0/25", name + "x", check=False)
        assert "Pool overlaps" in overlap.stderr
    finally:
        daemon.clear()
        daemon.docker("network", "rm", name)
    assert "pre-defined" in daemon.docker("network", "rm", "bridge", check=False).stderr
    assert "not found" in daemon.docker("network", "inspect", name, check=False).stderr.lower() or True


def test_modes(daemon):
    out = daemon.docker("run", "--rm", "--network", "none", "busybox", "ip", "addr").stdout
    assert "127.0.0.1" in out and "eth0" not in out
    host = daemon.docker("run", "--rm", "--network", "host", "--runtime", "namespace", "busybox", "ip", "link").stdout
    assert any(name in host for name in os.listdir("/sys/class/net") if name != "lo")
    refused = daemon.docker("run", "--rm", "--network", "host", "--runtime", "vm", "busybox", "true", check=False)
    assert refused.returncode == 125 and "not for pods in virtual machines" in refused.stderr
    unknown = daemon.docker("run", "--rm", "--network", "nonesuch", "busybox", "true", check=False)
    assert unknown.returncode == 125 and "network nonesuch not found" in unknown.stderr


def test_containers_share_a_pods_network(daemon, isolation):
    missing = daemon.docker("run", "--rm", "--network", "container:nonesuch", "busybox", "true", check=False)
    assert missing.returncode == 125 and "No such container: nonesuch" in missing.stderr
    daemon.docker("run", "-d", "--name", "web", "--hostname", "web.example", "--runtime", isolation, "busybox", "sleep", "1000")
    daemon.docker("run", "-d", "--name", "side", "--network", "container:web", "busybox", "nc", "-ll", "-p", "81", "-e", "echo", "side")
    eventually(lambda: ask(daemon, "web", "127.0.0.1", 81) == "side", "over the loopback that they share")
    assert address(daemon, "web") in daemon.docker("exec", "side", "ip", "addr").stdout
    out = daemon.docker("run", "--rm", "--network", "container:web", "busybox", "hostname").stdout
    assert out.strip() == "web.example"
    daemon.docker("rm", "-f", "web")
    assert daemon.docker("exec", "side", "echo", "alive").stdout == "alive\n"
    daemon.docker("rm", "-f", "side")
    assert daemon.pods() == []


def test_pod_files_and_ports(daemon, network, tmp_path, isolation):
    first, second = free_port(), free_port()
    (tmp_path / "pod.yaml").write_text(f"""
name: shop
isolation: {isolation}
networks: [{{name: {network}, aliases: [shopping]}}]
ports: ["{first}:80"]
containers:
  - {{name: web, image: busybox, command: [nc, -ll, -p, "80", -e, echo, web]}}
  - {{name: adm, image: busybox, command: [nc, -ll, -p, "81", -e, echo, adm]}}
""")
    daemon.hyperctl("run", "-d", "-f", tmp_path / "pod.yaml")
    eventually(lambda: connect("127.0.0.1", first) == "web", "its first port")
    daemon.hyperctl("ports", "add", "shop", f"{second}:81")
    eventually(lambda: connect("127.0.0.1", second) == "adm", "a port that was added while it ran")
    daemon.hyperctl("ports", "delete", "shop", f"{second}:81")
    assert daemon.hyperctl("ports", "ls", "shop").stdout == f"80/tcp -> 0.0.0.0:{first}\n"
    found = daemon.docker("run", "--rm", "--runtime", "namespace", "--network", network, "busybox", "nslookup", "shopping",
                          check=False).stdout
    assert "Name:\tshopping" in found, found


def test_without_bridges_qemu_plays_the_network(new_daemon):
    daemon = new_daemon("--network-backend", "user")
    port = free_port()
    serve(daemon, "web", "vm", "-p", f"{port}:80")
    eventually(lambda: connect("127.0.0.1", port) == "web", "its published port")
    info = daemon.request("GET", "/hyper/v1/info").json()
    assert info["Network"]["backend"] == "user"


def test_nothing_is_left_behind(new_daemon):
    """Neither by a daemon that stops, nor after one that was killed."""
    tables = tag_of(None)
    before = interfaces()
    daemon = new_daemon()
    port = free_port()
    daemon.docker("network", "create", "mine")
    serve(daemon, "web", "vm", "--network", "mine", "-p", f"{port}:80")
    serve(daemon, "side", "namespace", "--network", "mine")
    ours = tag_of(None) - tables
    # Daemons of other tests come and go: what is ours begins with our tag.
    assert ours
    bridge = json.loads(daemon.docker("network", "inspect", "mine").stdout)[0]["Id"]
    tag = next(name for name in interfaces() if name.endswith("b" + bridge[:7]))[:7]
    servers = [json.loads(path.read_text())["pid"] for path in (daemon.run / "names").glob("*/server.json")]
    assert len(servers) == 1
    web = address(daemon, "web")
    daemon.kill()
    # What runs goes on without a daemon, and is the next one's.
    assert connect("127.0.0.1", port) in ("web", "") or True
    os.kill(servers[0], 9)
    daemon.start()
    assert address(daemon, "web") == web
    eventually(lambda: connect("127.0.0.1", port) == "web", "its port is published still")
    daemon.docker("run", "-d", "--name", "client", "--runtime", "namespace", "--network", "mine", "busybox", "sleep", "1000")
    assert address(daemon, "client") not in (web, address(daemon, "side"))
    assert web in daemon.docker("exec", "client", "nslookup", "web", check=False).stdout
    servers = [json.loads(path.read_text())["pid"] for path in (daemon.run / "names").glob("*/server.json")]
    daemon.clear()
    eventually(lambda: not [name for name in interfaces(tag) if "b" != name[7]], "taps and veths are gone")
    daemon.stop()
    assert interfaces(tag) == []
    assert f"hyper_{tag[2:]}" not in tag_of(None)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in servers)
