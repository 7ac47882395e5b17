"""The API's edge, byte by byte: what no well-behaved client sends, and what some do."""
import pathlib
import re
import socket
import subprocess

import pytest

from conftest import HYPERD, parse_answer, read_all


def raw(daemon, data, half_close=True):
    with daemon.connect() as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def test_ping_and_headers(daemon):
    for prefix in ("", "/v1.20", "/v1.44"):
        answer = daemon.request("GET", prefix + "/_ping")
        assert (answer.status, answer.body) == (200, b"OK")
        assert answer.headers["api-version"] == "1.44" and answer.headers["ostype"] == "linux"
    assert parse_answer(raw(daemon, b"HEAD /_ping HTTP/1.1\r\n\r\n")).body == b""


def test_versions_are_refused_in_dockers_words(daemon):
    new = daemon.request("GET", "/v1.99/info")
    assert (new.status, new.message) == (400, "client version 1.99 is too new. Maximum supported API version is 1.44")
    old = daemon.request("GET", "/v1.10/info")
    assert old.status == 400
    assert old.message == ("client version 1.10 is too old. Minimum supported API version is 1.20, please upgrade your "
                           "client to a newer version")


def test_unknown_paths(daemon):
    for method, path in (("GET", "/nothing"), ("DELETE", "/info"), ("GET", "/v1.41/nothing"), ("GET", "/")):
        answer = daemon.request(method, path)
        assert (answer.status, answer.message) == (404, "page not found")
    swarm = daemon.request("GET", "/v1.41/services")
    assert swarm.status == 503 and swarm.message.startswith("This node is not a swarm manager.")
    assert daemon.request("GET", "/plugins").json() == []


def test_malformed_requests(daemon):
    assert b" 400 " in raw(daemon, b"\x16\x03\x01\x00 TLS\r\n\r\n")
    assert b" 400 " in raw(daemon, b"GET /info HTTP/1.1\r\nno colon\r\n\r\n")
    assert b" 431 " in raw(daemon, b"GET /info HTTP/1.1\r\n" + b"A: " + b"x" * (2 << 20) + b"\r\n\r\n", False)
    assert b" 414 " in raw(daemon, b"GET /info?" + b"x" * (2 << 20) + b" HTTP/1.1\r\n\r\n", False)
    assert b" 413 " in raw(daemon, b"POST /containers/create HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", False)
    assert daemon.request("GET", "/_ping").status == 200


def test_wrong_bodies(daemon):
    create = "/containers/create"
    for body in ("{", "[]", "5", '{"Image":5}', '{"Image":"busybox","Cmd":{}}', '{"Image":"busybox","HostConfig":[]}',
                 '{"Image":"busybox","HostConfig":{"Memory":-1}}', '{"Image":"busybox","HostConfig":{"Memory":1}}',
                 '{"Image":"busybox","HostConfig":{"NanoCpus":99999999999999}}', "[" * 1000,
                 '{"Image":"busybox","HostConfig":{"Memory":99999999999999999999999}}',
                 '{"Image":"busybox","HostConfig":{"Nonsense":1}}', '{"Image":"busybox","Env":["=x"]}',
                 '{"Image":"busybox","HostConfig":{"RestartPolicy":{"Name":"sometimes"}}}',
                 '{"Image":"busybox","HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}}'):
        answer = daemon.request("POST", create, body)
        assert answer.status == 400 and answer.message, (body, answer.body)
    assert daemon.request("POST", create).status == 400
    assert daemon.request("POST", create, {"Image": "no/such:1"}).message == "No such image: no/such:1"
    refused = daemon.request("POST", create, {"Image": "busybox", "HostConfig": {"UsernsMode": "host"}})
    assert refused.status == 501 and "HostConfig.UsernsMode" in refused.message
    unsaid = daemon.request("POST", create, {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Binds": None, "Links": [], "CpuCount": 0}})
    assert unsaid.status == 201


def test_names_are_never_paths(daemon):
    for name in ("..", "../../etc", "..%2f..%2fetc%2fpasswd", "a%00b", "%2e%2e", "x" * 5000):
        for path in (f"/containers/{name}/json", f"/images/{name}/json", f"/hyper/v1/pods/{name}/json", f"/exec/{name}/json"):
            assert daemon.request("GET", path).status in (400, 404), path
    assert daemon.request("POST", "/containers/create?name=../x", {"Image": "busybox"}).status == 400


def test_wrong_queries(daemon):
    for path in ("/containers/json?filters=x", "/containers/json?filters={%22nonsense%22:[%22x%22]}",
                 "/containers/json?limit=x", "/events?since=never&until=1", "/images/json?filters=[]",
                 "/containers/json?filters={%22status%22:[%22asleep%22]}"):
        answer = daemon.request("GET", path)
        assert answer.status == 400 and answer.message, path


def create(daemon, isolation, **body):
    answer = daemon.request("POST", "/containers/create",
                            {"Image": "busybox", "HostConfig": {"Isolation": isolation}, **body})
    assert answer.status == 201, answer.body
    return answer.json()["Id"]


def test_wait_answers_its_header_at_once(daemon, isolation):
    container = create(daemon, isolation, Cmd=["sh", "-c", "exit 9"])
    with daemon.connect() as waiter:
        waiter.sendall(f"POST /containers/{container}/wait?condition=next-exit HTTP/1.1\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += waiter.recv(1000)
        assert b" 200 " in head
        assert daemon.request("POST", f"/containers/{container}/start").status == 204
        body = head.partition(b"\r\n\r\n")[2]
        while b"0\r\n\r\n" not in body:
            body += waiter.recv(1000)
    assert b'"StatusCode":9' in body


def attach(daemon, container, upgrade):
    connection = daemon.connect()
    headers = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
    # The first input comes in the same piece as the head.
    connection.sendall(f"POST /containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n{headers}\r\n"
                       "early\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1000)
    return connection, data.partition(b"\r\n\r\n")


def test_hijack_with_and_without_upgrade(daemon, isolation):
    for upgrade in (True, False):
        container = create(daemon, isolation, Cmd=["cat"], OpenStdin=True, StdinOnce=True)
        connection, (head, _, rest) = attach(daemon, container, upgrade)
        with connection:
            assert head.startswith(b"HTTP/1.1 101 UPGRADED" if upgrade else b"HTTP/1.1 200 OK")
            assert b"vnd.docker" in head
            assert daemon.request("POST", f"/containers/{container}/start").status == 204
            connection.sendall(b"late\n")
            connection.shutdown(socket.SHUT_WR)
            out = rest + read_all(connection)
        payload = b""
        while out:
            assert out[:4] == b"\1\0\0\0"
            size = int.from_bytes(out[4:8], "big")
            payload, out = payload + out[8:8 + size], out[8 + size:]
        assert payload == b"early\nlate\n"


def test_a_client_that_leaves_frees_what_it_held(daemon, isolation):
    container = create(daemon, isolation, Cmd=["sh", "-c", "yes"], OpenStdin=True)
    assert daemon.request("POST", f"/containers/{container}/start").status == 204
    paths = [f"POST /containers/{container}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\n\r\n",
             f"GET /containers/{container}/logs?follow=1&stdout=1 HTTP/1.1\r\n\r\n",
             f"POST /containers/{container}/wait HTTP/1.1\r\n\r\n", "GET /events HTTP/1.1\r\n\r\n",
             f"GET /containers/{container}/stats HTTP/1.1\r\n\r\n",
             "POST /images/load HTTP/1.1\r\nContent-Length: 100000\r\n\r\nxxx"]
    for path in paths:
        with daemon.connect() as connection:
            connection.sendall(path.encode())
            if "load" not in path:
                connection.recv(100)
    assert daemon.request("POST", f"/containers/{container}/kill").status == 204
    assert daemon.request("POST", f"/containers/{container}/wait").status == 200


def test_pipelined_requests(daemon):
    data = raw(daemon, b"GET /_ping HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\n\r\nGET /_ping HTTP/1.1\r\n\r\n")
    assert data.count(b"HTTP/1.1 200 OK") == 3 and data.endswith(b"OK")


def test_everything_in_the_query_string(daemon, isolation):
    """dockerode repeats the create body in the request line."""
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Isolation": isolation}}
    query = "Image=busybox&Cmd=%5B%22true%22%5D&HostConfig=" + "x" * 10000
    answer = daemon.request("POST", f"/containers/create?name=c1&{query}", body)
    assert answer.status == 201


def resident_bytes(daemon):
    text = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024


def test_a_client_that_does_not_read_costs_little(daemon):
    """Five megabytes of short lines are 25 of frames: they wait in the log's file, not in the daemon."""
    if "sanitizers" in subprocess.run([str(HYPERD), "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("a sanitizer keeps freed memory")
    container = create(daemon, "namespace", Cmd=["sh", "-c", "yes | head -c 5000000"])
    assert daemon.request("POST", f"/containers/{container}/start").status == 204
    assert daemon.request("POST", f"/containers/{container}/wait").json()["StatusCode"] == 0
    before = resident_bytes(daemon)
    with daemon.connect() as idle:
        idle.sendall(f"GET /containers/{container}/logs?stdout=1 HTTP/1.1\r\n\r\n".encode())
        assert idle.recv(20)
        # Others are served meanwhile; each answer lets the loop run its rounds.
        for _ in range(200):
            assert daemon.request("GET", "/_ping").status == 200
        assert resident_bytes(daemon) - before < 8 << 20
