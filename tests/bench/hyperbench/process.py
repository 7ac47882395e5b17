"""Timed commands, process trees and their memory, all read from /proc."""
import os
import re
import select
import signal
import tempfile
import time

COMMAND_DEADLINE_S = 600


class CommandFailed(Exception):
    pass


def wait_until(predicate, deadline_s, what, interval_s=0.01):
    """Polls things that tell nobody when they change (another program's /proc, its API)."""
    end = time.monotonic() + deadline_s
    while not predicate():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline_s} s")
        time.sleep(interval_s)


class Command:
    """
    One command from spawn to exit. Times are taken around posix_spawn and waitid on a pidfd: subprocess polls with
    growing pauses when it has a deadline, which would show in the figures.
    """

    def __init__(self, argv, env=None, stdout=None):
        """STDOUT: None for /dev/null, or a descriptor."""
        self.argv = argv
        self._stderr = tempfile.TemporaryFile()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0),
                   (os.POSIX_SPAWN_DUP2, null if stdout is None else stdout, 1),
                   (os.POSIX_SPAWN_DUP2, self._stderr.fileno(), 2)]
        try:
            self.began = time.monotonic()
            self.pid = os.posix_spawnp(argv[0], argv, env or os.environ, file_actions=actions)
        finally:
            os.close(null)

    def wait(self, deadline_s=COMMAND_DEADLINE_S, check=True):
        """Seconds from spawn to exit; raises with the command's own words when it failed."""
        pidfd = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(deadline_s * 1000):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise CommandFailed(f"{self}: killed after {deadline_s} s")
            took = time.monotonic() - self.began
            _, status = os.waitpid(self.pid, 0)
        finally:
            os.close(pidfd)
        code = os.waitstatus_to_exitcode(status)
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip()
        self._stderr.close()
        if check and code != 0:
            raise CommandFailed(f"{self}: exit code {code}: {said[-600:]}")
        return took

    def __str__(self):
        return " ".join(self.argv)[:200]


def run_timed(argv, env=None):
    return Command(argv, env).wait()


def run_first_byte(argv, env=None):
    """Seconds from spawn to the first byte on the command's standard output; waits for its end."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            command = Command(argv, env, writer)
        finally:
            os.close(writer)
        first = os.read(reader, 1)
        took = time.monotonic() - command.began
        while os.read(reader, 65536):
            pass
    finally:
        os.close(reader)
    command.wait()
    if not first:
        raise CommandFailed(f"{command}: no output")
    return took


def run_counting(argv, env=None):
    """Seconds and the number of bytes that came through the command's standard output."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            command = Command(argv, env, writer)
        finally:
            os.close(writer)
        total = 0
        while chunk := os.read(reader, 1 << 20):
            total += len(chunk)
    finally:
        os.close(reader)
    return command.wait(), total


def run_output(argv, env=None):
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        command = Command(argv, env, writer)
    finally:
        os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read().decode(errors="replace")
    command.wait()
    return text


def parse_stat(text):
    """(pid, name, parent, utime + stime in ticks) of /proc/PID/stat; the name may hold spaces and parentheses."""
    head, _, tail = text.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = tail.split()
    return int(pid), name, int(fields[1]), int(fields[11]) + int(fields[12])


def processes():
    """{pid: (name, parent, ticks)} of everything visible."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                pid, name, parent, ticks = parse_stat(stat.read())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        found[pid] = (name, parent, ticks)
    return found


def descendants(root, table):
    """Pids below ROOT (not itself) in a table of processes()."""
    children = {}
    for pid, (_, parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found, stack = [], [root]
    while stack:
        below = children.get(stack.pop(), [])
        found += below
        stack += below
    return found


def parse_rollup(text):
    """{"rss", "pss", "private"} in bytes, of /proc/PID/smaps_rollup."""
    values = {name: int(kib) * 1024
              for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return {"rss": values["Rss"], "pss": values["Pss"],
            "private": values["Private_Clean"] + values["Private_Dirty"]}


def memory(pids):
    """The sum of parse_rollup() over PIDS."""
    total = {"rss": 0, "pss": 0, "private": 0}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                values = parse_rollup(rollup.read())
        except (FileNotFoundError, ProcessLookupError):
            continue
        for name, value in values.items():
            total[name] += value
    return total
