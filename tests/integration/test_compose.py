"""docker-compose 1.29 from Debian: an application of three services, each container in a VM of its own."""
import os
import shutil
import subprocess

import pytest

from conftest import TIMEOUT_S
from test_network import connect, eventually, free_port, no_rights

FILE = """
version: "3.7"
services:
  db:
    image: busybox
    command: ["nc", "-ll", "-p", "5432", "-e", "cat", "/data/value"]
    volumes: ["data:/data"]
    networks: [back]
  worker:
    image: busybox
    command: ["sh", "-c", "echo forty-two > /data/value; exec sleep 1000"]
    volumes: ["data:/data"]
    networks: [back]
  web:
    image: busybox
    container_name: {project}-front
    command: ["nc", "-ll", "-p", "80", "-e", "nc", "-w", "5", "db", "5432"]
    ports: ["{port}:80"]
    networks: [front, back]
    depends_on: [db, worker]
networks: {{front: {{}}, back: {{}}}}
volumes: {{data: {{}}}}
"""


@pytest.fixture
def compose(daemon, tmp_path):
    if not shutil.which("docker-compose"):
        pytest.skip("docker-compose is not installed")
    reason = no_rights()
    if reason:
        pytest.skip(reason)
    project, port = f"app{os.urandom(3).hex()}", free_port()
    text = FILE.format(project=project, port=port)

    def run(*args, check=True):
        result = subprocess.run(["docker-compose", "-p", project, "-f", "-", *args], cwd=tmp_path, input=text, text=True,
                                capture_output=True, env=daemon.environment(), timeout=TIMEOUT_S, check=False)
        assert not check or result.returncode == 0, result.stdout + result.stderr + daemon.log_text()
        return result

    run.project, run.port = project, port
    yield run
    run("down", "-v", check=False)


def test_an_application_of_three_services(daemon, compose):
    compose("up", "-d")
    eventually(lambda: connect("127.0.0.1", compose.port) == "forty-two", "the front end asks the back end, by name")
    shown = compose("ps").stdout
    assert shown.count(" Up ") == 3 and f"0.0.0.0:{compose.port}->80/tcp" in shown, shown
    assert compose("exec", "-T", "worker", "cat", "/data/value").stdout.strip() == "forty-two"
    compose("up", "-d", "--scale", "worker=2")
    assert compose("ps").stdout.count("worker_") == 2
    compose("pause")
    compose("unpause")
    compose("restart", "-t", "1", "web")
    eventually(lambda: connect("127.0.0.1", compose.port) == "forty-two", "after a restart")
    compose("down", "-v", "-t", "1")
    assert daemon.containers() == []
    assert compose.project not in daemon.docker("network", "ls").stdout + daemon.docker("volume", "ls").stdout
