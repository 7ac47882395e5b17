"""The native paths: pods."""
import json

POD = {
    "id": "web",
    "hostname": "web",
    "containers": [
        {"name": "one", "image": "busybox", "command": ["sh", "-c", "echo one; hostname; sleep 1000"]},
        {"name": "two", "image": "busybox", "command": ["sh", "-c", "echo two; sleep 1000"]},
    ],
}
YAML = """
id: short
containers:
  - name: only
    image: busybox
    command: ["sh", "-c", "exit 6"]
"""


def create(daemon, pod, isolation, **query):
    words = "".join(f"&{key}={value}" for key, value in query.items())
    body = pod if isinstance(pod, str) else json.dumps(pod)
    return daemon.request("POST", f"/hyper/v1/pods?isolation={isolation}{words}", body)


def test_life_of_a_pod(daemon, isolation):
    made = create(daemon, POD, isolation)
    assert made.status == 201, made.body
    pod = made.json()
    assert pod["Name"] == "web" and len(pod["Containers"]) == 2
    one = pod["Containers"][0]["Id"]
    assert create(daemon, POD, isolation).status == 409

    assert daemon.request("POST", "/hyper/v1/pods/web/start").status == 204
    assert daemon.request("POST", "/hyper/v1/pods/web/start").status == 304
    inspected = daemon.request("GET", f"/hyper/v1/pods/{pod['Id'][:12]}/json").json()
    assert inspected["State"] == "running" and inspected["Isolation"] == isolation and not inspected["Solo"]
    shown = daemon.request("GET", f"/containers/{one}/json").json()
    assert shown["Hyper"] == {"Pod": pod["Id"], "PodName": "web", "Solo": False, "Isolation": isolation}
    listed = daemon.request("GET", '/containers/json?all=1&filters={"pod":["web"]}').json()
    assert len(listed) == 2
    # A container stands for its pod.
    assert daemon.request("GET", f"/hyper/v1/pods/{one}/json").json()["Id"] == pod["Id"]

    timing = daemon.request("GET", "/hyper/v1/pods/web/timing").json()
    assert timing["ConnectedNs"] > 0
    stats = daemon.request("GET", "/hyper/v1/pods/web/stats?stream=0").json()
    assert stats["Name"] == "web" and stats["Stats"]
    console = daemon.request("GET", "/hyper/v1/pods/web/console")
    assert console.status == (200 if isolation == "vm" else 501)

    assert daemon.request("POST", "/hyper/v1/pods/web/pause").status == 204
    assert daemon.request("GET", "/hyper/v1/pods/web/json").json()["State"] == "paused"
    assert daemon.request("POST", "/hyper/v1/pods/web/unpause").status == 204
    assert daemon.request("POST", "/hyper/v1/pods/web/rename?name=site").status == 204
    assert daemon.request("DELETE", "/hyper/v1/pods/site").status == 409
    assert daemon.request("POST", "/hyper/v1/pods/site/stop?t=0").status == 204
    assert daemon.request("POST", "/hyper/v1/pods/site/stop?t=0").status == 304
    assert daemon.request("DELETE", "/hyper/v1/pods/site").status == 204
    assert daemon.request("GET", "/hyper/v1/pods/site/json").status == 404
    assert daemon.containers() == []


def test_yaml_and_wait(daemon, isolation):
    assert create(daemon, YAML, isolation).status == 201
    assert daemon.request("POST", "/hyper/v1/pods/short/start").status == 204
    assert daemon.request("POST", "/hyper/v1/pods/short/wait").json()["StatusCode"] == 6


def test_containers_are_added_to_a_pod(daemon, isolation):
    assert create(daemon, {"id": "empty", "containers": []}, isolation).status == 201
    assert daemon.request("POST", "/hyper/v1/pods/empty/start").status == 204
    added = daemon.request("POST", "/hyper/v1/pods/empty/containers?name=late", {"Image": "busybox", "Cmd": ["sleep", "1000"]})
    assert added.status == 201, added.body
    assert daemon.request("POST", "/containers/late/start").status == 204
    through_docker = daemon.request("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "Hyper": {"Pod": "empty"}})
    assert through_docker.status == 201, through_docker.body
    pod = daemon.request("GET", "/hyper/v1/pods/empty/json").json()
    assert pod["State"] == "running" and len(pod["Containers"]) == 2


def test_exec_beside_the_init(daemon, isolation):
    assert create(daemon, POD, isolation).status == 201
    assert daemon.request("POST", "/hyper/v1/pods/web/start").status == 204
    made = daemon.request("POST", "/hyper/v1/pods/web/exec", {"Cmd": ["/no/such"], "AttachStdout": True})
    assert made.status == 201, made.body
    inspected = daemon.request("GET", f"/exec/{made.json()['Id']}/json").json()
    assert not inspected["Running"] and inspected["ContainerID"] == ""


def test_wrong_pod_files(daemon):
    for body, part in (("{", ""), ("a: [", ""), ('{"id":"x","nonsense":1}', "nonsense"),
                       ('{"id":"x","containers":[{"image":5}]}', "image"), ("[]", "")):
        answer = daemon.request("POST", "/hyper/v1/pods", body)
        assert answer.status == 400 and part in answer.message, (body, answer.body)
    missing = daemon.request("POST", "/hyper/v1/pods", {"id": "x", "containers": [{"name": "a", "image": "no/such:1"}]})
    assert missing.status == 404 and "no/such:1" in missing.message
    assert daemon.pods() == []


def test_info(daemon):
    info = daemon.request("GET", "/hyper/v1/info").json()
    assert info["Version"] and info["Engine"] is not None and info["Sandbox"]
