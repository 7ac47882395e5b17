"""
What is measured, one function a case, listed in CASES. A case takes the Bench (participants, rounds, files) and
returns Measurements. Participants take turns within a round and each round begins with another one, so that load from
elsewhere and caches grown warm fall on all alike.
"""
import concurrent.futures
import datetime
import os
import sys

from . import daemon, image, process
from .statistic import Aim, Measurement, Row

QUIET_TICKS_INTERVAL_S = 0.3
QUIET_DEADLINE_S = 20
MIB = 1 << 20


class Bench:
    def __init__(self, tools, rounds, quick, files, new_hyperd=None):
        """TOOLS by key; FILES: paths "big" (or a maker), sizes; NEW_HYPERD: makes a daemon on an empty state."""
        self.tools, self.rounds, self.quick = tools, rounds, quick
        self.files, self.new_hyperd = files, new_hyperd
        self.failed = []

    def pick(self, *keys):
        return [self.tools[key] for key in keys if key in self.tools]

    def fail(self, measurement, row, error):
        row.samples.clear()
        row.note = f"failed: {str(error)[-120:]}"
        self.failed.append(f"{measurement.key}: {row.label}: {error}")
        print(f"bench: {self.failed[-1]}", file=sys.stderr, flush=True)


def begin(key, title, unit, aims=(), baseline=""):
    return Measurement(key, title, unit, aims=list(aims), baseline=baseline, load=os.getloadavg()[0])


def interleave(bench, measurement, tools, measure, rounds=None, warm_up=1, pods=0):
    """
    Fills MEASUREMENT's rows: MEASURE(tool) gives one sample. One that fails is left out from then on. The first
    WARM_UP rounds do not count.
    """
    rows = {tool.key: Row(tool.key, tool.label, []) for tool in tools}
    measurement.rows += rows.values()
    running = list(tools)
    for number in range(-warm_up, rounds or bench.rounds):
        turn = number % len(running) if running else 0
        for tool in running[turn:] + running[:turn]:
            try:
                tool.settle(pods)
                sample = measure(tool)
                if number >= 0:
                    rows[tool.key].samples.append(sample)
            except (process.CommandFailed, TimeoutError, OSError) as error:
                bench.fail(measurement, rows[tool.key], error)
                running.remove(tool)
    return measurement


class Idle:
    """Idle containers of several tools, which may share a daemon, removed at the end whatever happens."""

    def __init__(self, tools):
        self.tools = list(tools)
        self._counts = {tool.key: 0 for tool in tools}

    def grow(self, tool, count):
        while self._counts[tool.key] < count:
            number = self._counts[tool.key]
            self._counts[tool.key] += 1
            process.run_timed(tool.idle(self.name(tool, number)), tool.env)

    @staticmethod
    def name(tool, number=0):
        return f"idle-{tool.key}-{number}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for tool in self.tools:
            names = [self.name(tool, number) for number in range(self._counts[tool.key])]
            if names:
                process.Command(tool.remove(*names), tool.env).wait(check=False)


def with_idle(bench, measurement, tools):
    """An Idle with one container for each tool, without the tools whose container does not start."""
    idle = Idle(tools)
    for tool in list(idle.tools):
        try:
            idle.grow(tool, 1)
        except (process.CommandFailed, OSError) as error:
            row = Row(tool.key, tool.label, [])
            measurement.rows.append(row)
            bench.fail(measurement, row, error)
            idle.tools.remove(tool)
    return idle


# ------------------------------------------------------------------ starting

START_TOOLS = ("docker", "docker-none", "runc", "vm", "vm-warm", "namespace")


def case_start(bench):
    measurement = begin("start", "Whole command: `run --rm busybox true`", "s", baseline="docker-none", aims=[
        Aim("vm", 0.6, "docker-none"), Aim("vm-warm", 0.35, "docker-none"), Aim("namespace", 2, "runc")])
    interleave(bench, measurement, bench.pick(*START_TOOLS),
               lambda tool: process.run_timed(tool.run("true"), tool.env))
    return [measurement]


def case_output(bench):
    measurement = begin("output", "Spawn → first answer from inside: first byte of `run --rm busybox echo ready`", "s",
                        baseline="docker-none")
    interleave(bench, measurement, bench.pick(*START_TOOLS),
               lambda tool: process.run_first_byte(tool.run("echo", "ready"), tool.env))
    return [measurement]


MILESTONES = (("TemplateNs", "template found"), ("SpawnedNs", "spawned"), ("ConnectedNs", "agent answered"),
              ("LayersNs", "layers mounted"), ("StartedNs", "process started"))


def case_milestones(bench):
    """Where our time goes, as hyperd itself tells it: since the start was asked for."""
    measurements = []
    for tool in bench.pick("vm", "vm-warm", "namespace"):
        measurement = begin(f"milestones-{tool.key}", f"{tool.label}: milestones since the start was asked for", "s")
        rows = {member: Row(member, label, []) for member, label in MILESTONES}
        rows["answer"] = Row("answer", "spawned → agent answered", [])
        measurement.rows = list(rows.values())
        try:
            for _ in range(bench.rounds):
                tool.settle()
                process.run_timed(tool.idle("milestones"), tool.env)
                timing = daemon.api_get(tool.daemon.socket, "/hyper/v1/pods/milestones/timing")
                process.run_timed(tool.remove("milestones"), tool.env)
                for member, _ in MILESTONES:
                    rows[member].samples.append(timing[member] / 1e9)
                rows["answer"].samples.append((timing["ConnectedNs"] - timing["SpawnedNs"]) / 1e9)
        except (process.CommandFailed, TimeoutError, OSError, KeyError) as error:
            bench.fail(measurement, rows["answer"], error)
            process.Command(tool.remove("milestones"), tool.env).wait(check=False)
        measurements.append(measurement)
    return measurements


def case_cold(bench):
    """A daemon on an empty state each time: no template, so the first pod boots one. The daemon traces its steps."""
    measurement = begin("cold", "Cold: first VM on an empty state", "s", aims=[Aim("boot", 0.8)])
    boot = Row("boot", "guest booted from nothing: QEMU asked for → agent ready", [])
    template = Row("template", "template of the image ready: booted, saved, cloned, image added, saved", [])
    whole = Row("whole", "whole command", [])
    measurement.rows = [boot, template, whole]
    if not bench.new_hyperd:
        return []
    try:
        for _ in range(min(bench.rounds, 5)):
            with bench.new_hyperd() as tool:
                whole.samples.append(process.run_timed(tool.idle("cold"), tool.env))
                timing = daemon.api_get(tool.daemon.socket, "/hyper/v1/pods/cold/timing")
                template.samples.append(timing["TemplateNs"] / 1e9)
                boot.samples.append(trace_interval(tool.daemon.world.log.read_text(errors="replace"),
                                                   "building template", "the agent has answered"))
    except (process.CommandFailed, TimeoutError, OSError, KeyError) as error:
        bench.fail(measurement, boot, error)
    return [measurement]


def trace_interval(log, begin_text, end_text):
    """
    Seconds between the first line of a trace that has END_TEXT and the last one with BEGIN_TEXT before it: an image's
    template asks for a base template first, and only that one boots.
    """
    began = None
    for line in log.splitlines():
        stamp = line.partition(" ")[0].rstrip("Z")
        if end_text in line and began:
            return (datetime.datetime.fromisoformat(stamp) - began).total_seconds()
        if begin_text in line:
            began = datetime.datetime.fromisoformat(stamp)
    raise process.CommandFailed(f"no '{begin_text}' and '{end_text}' in the trace")


def case_exec(bench):
    measurement = begin("exec", "Whole command: `exec CONTAINER true`", "s", baseline="docker-none")
    tools = bench.pick("docker-none", "runc", "vm", "namespace")
    with with_idle(bench, measurement, tools) as idle:
        interleave(bench, measurement, idle.tools,
                   lambda tool: process.run_timed(tool.exec(Idle.name(tool), "true"), tool.env), pods=1)
    return [measurement]


def case_twenty(bench):
    pods, at_a_time = (6, 3) if bench.quick else (20, 8)
    tools = bench.pick(*START_TOOLS)
    rounds = min(bench.rounds, 3)

    def in_a_row(tool):
        return sum(process.run_timed(tool.run("true"), tool.env) for _ in range(pods))

    def at_once(tool):
        commands = [tool.run("true") for _ in range(pods)]
        with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
            began = process.time.monotonic()
            list(pool.map(lambda argv: process.run_timed(argv, tool.env), commands))
            return process.time.monotonic() - began

    row = begin("row", f"{pods} × `run --rm busybox true`, one after the other", "s", baseline="docker-none")
    interleave(bench, row, tools, in_a_row, rounds, warm_up=0)
    once = begin("at-once", f"{pods} × `run --rm busybox true`, {at_a_time} at a time", "s", baseline="docker-none")
    interleave(bench, once, tools, at_once, rounds, warm_up=0)
    return [row, once]


# ------------------------------------------------------------------ memory

def wait_quiet(pids):
    """Until the processes have used no CPU time for a moment: started pods finish their work after the command did."""
    last = None

    def quiet():
        nonlocal last
        table = process.processes()
        now = {pid: table[pid][2] for pid in pids() if pid in table}
        same, last = now == last, now
        return same
    process.wait_until(quiet, QUIET_DEADLINE_S, "idle pods coming to rest", QUIET_TICKS_INTERVAL_S)


def case_memory(bench):
    """
    What the host pays for idle pods: sums over every process that exists because of them. PSS counts a page shared by
    n processes as 1/n: other QEMUs on the machine, not ours, would make it look smaller.
    """
    steps = (1, 3, 5) if bench.quick else (1, 10, 20)
    tools = bench.pick("docker-none", "runc", "vm", "namespace")
    totals = {key: begin(f"{key}-total", f"{name} of {', '.join(map(str, steps))} idle pods together", "B")
              for key, name in (("pss", "PSS"), ("private", "Private memory"))}
    further = {
        "pss": begin("pss", f"PSS per further idle pod (pod 2 to {steps[-1]})", "B", baseline="docker-none",
                     aims=[Aim("vm", 28 * MIB)]),
        "private": begin("private", f"Private memory per idle pod, of {steps[-1]}", "B", baseline="docker-none")}
    # What is private with one pod becomes shared with the second: a difference would say less than nothing.
    further_cost = {"pss": lambda seen: (seen[-1] - seen[0]) / (steps[-1] - steps[0]),
                    "private": lambda seen: seen[-1] / steps[-1]}
    for tool in tools:
        rows = {key: Row(tool.key, tool.label, []) for key in further}
        seen = {key: [] for key in further}
        with Idle([tool]) as idle:
            try:
                tool.settle()
                before = process.memory(tool.pod_pids())
                for count in steps:
                    idle.grow(tool, count)
                    wait_quiet(tool.pod_pids)
                    now = process.memory(tool.pod_pids())
                    for key in further:
                        seen[key].append(now[key] - before[key])
            except (process.CommandFailed, TimeoutError, OSError) as error:
                for key in further:
                    bench.fail(further[key], rows[key], error)
            else:
                for key in further:
                    rows[key].samples.append(further_cost[key](seen[key]))
                    totals[key].rows += [Row(f"{tool.key}-{count}", f"{tool.label}: {count}", [value])
                                         for count, value in zip(steps, seen[key])]
        for key in further:
            further[key].rows.append(rows[key])
    return [further["pss"], further["private"], totals["pss"], totals["private"]]


# ------------------------------------------------------------------ output and logs

def case_stdout(bench):
    """A big output, first discarded by the client with logging off, then through the default log and read back."""
    size_mib = 64 if bench.quick else 1024
    title = f"{size_mib} MiB" if bench.quick else "1 GiB"
    rounds = min(bench.rounds, 3)
    zeroes = ("dd", "if=/dev/zero", "bs=65536", f"count={size_mib * 16}", "status=none")
    path = "/" + image.LINES_FILE
    cat = ("sh", "-c", f"cat $(yes {path} | head -n {size_mib})")

    def plain(tool):
        flags = ("--log-driver", "none") if tool.daemon else ()
        return process.run_timed(tool.run(*zeroes, flags=flags), tool.env)

    def logged(tool):
        process.Command(tool.remove("logged"), tool.env).wait(check=False)
        return process.run_timed(tool.keep("logged", *cat), tool.env)

    def logs(tool):
        took, count = process.run_counting(tool.logs("logged"), tool.env)
        if count != size_mib * image.LINES_FILE_BYTES:
            raise process.CommandFailed(f"{tool.label}: {count} bytes came back, {size_mib} MiB went in")
        return took

    def exact(tool):
        """Before any time is taken: not one byte is missing."""
        _, count = process.run_counting(tool.run("dd", "if=/dev/zero", "bs=65536", "count=256", "status=none"), tool.env)
        if count != 16 * MIB:
            raise process.CommandFailed(f"{tool.label}: {count} of {16 * MIB} bytes arrived")

    out = begin("stdout", f"{title} of zeroes through standard output to /dev/null, no log", "s", baseline="docker-none")
    tools = bench.pick("docker-none", "runc", "vm", "namespace")
    for tool in list(tools):
        try:
            exact(tool)
        except process.CommandFailed as error:
            out.rows.append(Row(tool.key, tool.label, []))
            bench.fail(out, out.rows[-1], error)
            tools.remove(tool)
    interleave(bench, out, tools, plain, rounds, warm_up=0)
    through = begin("stdout-logged", f"{title} of 99-byte lines through standard output and the default log", "s",
                    baseline="docker-none")
    tools = [tool for tool in tools if tool.daemon]
    back = begin("logs", f"`logs` of {title}", "s", baseline="docker-none",
                 aims=[Aim("vm", 1, "docker-none"), Aim("namespace", 1, "docker-none")])
    try:
        interleave(bench, through, tools, logged, rounds, warm_up=0)
        tools = [tool for tool in tools if through.row(tool.key).samples]
        interleave(bench, back, tools, logs, rounds, warm_up=0, pods=1)
    finally:
        for tool in tools:
            process.Command(tool.remove("logged"), tool.env).wait(check=False)
    return [out, through, back]


# ------------------------------------------------------------------ Docker's clients on both endpoints

def case_endpoint(bench):
    """The same docker client, once with dockerd behind it and once with hyperd."""
    tools = bench.pick("docker", "docker-vm")
    run = begin("endpoint-run", "docker CLI: `docker run --rm busybox true`", "s", baseline="docker",
                aims=[Aim("docker-vm", 0.6, "docker")])
    interleave(bench, run, tools, lambda tool: process.run_timed(tool.run("true"), tool.env))
    execs = begin("endpoint-exec", "docker CLI: `docker exec CONTAINER true`", "s", baseline="docker",
                  aims=[Aim("docker-vm", 0.4, "docker")])
    with with_idle(bench, execs, tools) as idle:
        interleave(bench, execs, idle.tools,
                   lambda tool: process.run_timed(tool.exec(Idle.name(tool), "true"), tool.env), pods=1)
    return [run, execs]


def case_load(bench):
    size_mib = 20 if bench.quick else 200
    measurement = begin("load", f"docker CLI: load of a {size_mib} MB image until its first container has answered", "s",
                        baseline="docker", aims=[Aim("docker-vm", 1, "docker")])
    path = bench.files.big(size_mib * 1000 * 1000)

    def load_and_run(tool):
        try:
            took = process.run_timed(tool.load(path), tool.env)
            return took + process.run_first_byte(tool.run("echo", "ready", image="big"), tool.env)
        finally:
            tool.settle()
            process.Command(tool.rmi("big"), tool.env).wait(check=False)

    interleave(bench, measurement, bench.pick("docker", "docker-vm"), load_and_run, min(bench.rounds, 3), warm_up=0)
    return [measurement]


def case_ps(bench):
    count = 50 if bench.quick else 500
    measurement = begin("ps", f"docker CLI: `docker ps -a` with {count} stopped containers", "s", baseline="docker",
                        aims=[Aim("docker-vm", 1, "docker")])
    tools = bench.pick("docker", "docker-vm")
    made = []
    try:
        for tool in tools:
            for number in range(count):
                process.run_timed(tool.create(f"stopped{number}"), tool.env)
            made.append(tool)
        interleave(bench, measurement, made, lambda tool: process.run_timed(tool.ps(), tool.env), pods=1)
    except process.CommandFailed as error:
        measurement.rows.append(Row(tool.key, tool.label, []))
        bench.fail(measurement, measurement.rows[-1], error)
    finally:
        for tool in tools:
            names = [f"stopped{number}" for number in range(count)]
            process.Command(tool.remove(*names), tool.env).wait(check=False)
    return [measurement]


def case_resident(bench):
    """Last of all: what the daemons hold after everything above."""
    measurement = begin("resident", "Resident memory of the daemon after all of the above", "B", baseline="docker",
                        aims=[Aim("vm", 20e6), Aim("vm-warm", 20e6)])
    for tool in bench.pick("docker", "vm", "vm-warm"):
        rss = process.memory(tool.daemon.own_pids())["rss"]
        names = " and ".join(tool.daemon.own_names)
        measurement.rows.append(Row(tool.key, f"{names} ({tool.label})", [rss]))
    return [measurement]


CASES = {
    "start": case_start, "output": case_output, "milestones": case_milestones, "cold": case_cold, "exec": case_exec,
    "memory": case_memory, "twenty": case_twenty, "stdout": case_stdout, "endpoint": case_endpoint, "load": case_load,
    "ps": case_ps, "resident": case_resident,
}
