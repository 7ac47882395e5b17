"""The fixture itself: a dockerd that answers and runs a container, or a skip that says why."""


def test_dockerd_runs_a_container(dockerd):
    assert dockerd.docker("run", "--rm", "--network", "none", "busybox", "echo", "hello").stdout == "hello\n"
    assert dockerd.request("GET", "/images/busybox/json").status == 200
