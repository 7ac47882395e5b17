"""The benchmark's own arithmetic and parsers. Times are not tested."""
import json
import os
import pathlib
import sys
import tarfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from hyperbench import case, image, process, report, world  # noqa: E402
from hyperbench.statistic import Aim, Measurement, Row, aim_text, amount, ratio, verdict  # noqa: E402


def test_row_middle_and_spread():
    row = Row("a", "A", [5.0, 1.0, 3.0, 2.0, 4.0])
    assert (row.median, row.minimum, row.quartiles()) == (3.0, 1.0, (2.0, 4.0))
    assert row.spread == pytest.approx(1 / 3)


def test_row_with_one_sample_has_no_spread():
    assert Row("a", "A", [2.0]).spread == 0


def test_ratio_pairs_rounds_so_that_drift_cancels():
    # The machine becomes ten times slower: each round says 0.5, the medians of unequal rounds would not.
    slow, fast = Row("s", "S", [2.0, 4.0, 20.0]), Row("f", "F", [1.0, 2.0, 10.0])
    assert ratio(fast, slow) == 0.5
    drifting = Row("d", "D", [1.0, 100.0, 2.0]), Row("e", "E", [2.0, 100.0, 100.0])
    assert ratio(*drifting) == 0.5
    assert drifting[0].median / drifting[1].median == 0.02


def test_ratio_of_unequal_rounds_is_that_of_the_medians():
    assert ratio(Row("a", "A", [4.0]), Row("b", "B", [1.0, 2.0, 3.0])) == 2.0


@pytest.mark.parametrize("samples, said", [
    ([0.6, 1.2], "met (0.60 ×)"), ([0.9, 1.8], "missed by 50 % (0.90 ×)"), ([], "not measured")])
def test_verdict_of_a_ratio(samples, said):
    measurement = Measurement("m", "M", "s", [Row("vm", "VM", samples), Row("docker", "docker", [1.0, 2.0])])
    assert verdict(Aim("vm", 0.6, "docker"), measurement) == said


def test_verdict_without_reference_or_subject():
    measurement = Measurement("m", "M", "B", [Row("vm", "VM", [30 << 20])])
    assert verdict(Aim("vm", 0.6, "docker"), measurement) == "nothing to compare with"
    assert verdict(Aim("none", 1), measurement) == "not measured"
    assert verdict(Aim("vm", 28 << 20), measurement) == "missed by 7 % (30.0 MiB)"
    assert verdict(Aim("vm", 30 << 20), measurement) == "met (30.0 MiB)"
    assert aim_text(Aim("vm", 28 << 20), measurement) == "≤ 28.0 MiB"


@pytest.mark.parametrize("value, unit, text", [
    (0.2341, "s", "234 ms"), (0.01234, "s", "12.3 ms"), (0.001234, "s", "1.23 ms"), (1.5, "s", "1.50 s"),
    (512, "B", "512 B"), (28 * 1024 * 1024, "B", "28.0 MiB"), (1 << 30, "B/s", "1.00 GiB/s"), (-2048, "B", "-2.00 KiB")])
def test_amount(value, unit, text):
    assert amount(value, unit) == text


def test_stat_of_a_process_with_a_hard_name():
    tail = "S 42 " + " ".join(str(number) for number in range(5, 53))
    assert process.parse_stat(f"77 (a) b (c) {tail}") == (77, "a) b (c", 42, 14 + 15)


def test_stat_of_this_process():
    table = process.processes()
    assert table[os.getpid()][1] == os.getppid()
    assert os.getpid() in process.descendants(os.getppid(), table)


def test_descendants_are_found_however_deep():
    table = {1: ("init", 0, 0), 5: ("a", 1, 0), 9: ("b", 5, 0), 7: ("other", 2, 0)}
    assert sorted(process.descendants(1, table)) == [5, 9]


ROLLUP = """55d0c0000000-7ffd00000000 ---p 00000000 00:00 0                          [rollup]
Rss:                3000 kB
Pss:                1000 kB
Pss_Dirty:           500 kB
Shared_Clean:       2000 kB
Private_Clean:       100 kB
Private_Dirty:       300 kB
"""


def test_rollup():
    assert process.parse_rollup(ROLLUP) == {"rss": 3000 << 10, "pss": 1000 << 10, "private": 400 << 10}


def test_memory_of_nothing_and_of_this_process():
    assert process.memory([]) == {"rss": 0, "pss": 0, "private": 0}
    mine = process.memory([os.getpid()])
    assert 0 < mine["private"] <= mine["pss"] <= mine["rss"]


def test_commands_report_failure_with_their_words():
    assert process.run_timed(["true"]) > 0
    with pytest.raises(process.CommandFailed, match="exit code 3: it broke"):
        process.run_timed(["sh", "-c", "echo it broke >&2; exit 3"])
    with pytest.raises(process.CommandFailed, match="killed after"):
        process.Command(["sleep", "1000"]).wait(deadline_s=0.01)


def test_commands_count_and_capture():
    assert process.run_counting(["head", "-c", "100000", "/dev/zero"])[1] == 100000
    assert process.run_output(["echo", "word"]) == "word\n"
    with pytest.raises(process.CommandFailed, match="no output"):
        process.run_first_byte(["true"])


class Stub:
    """A participant whose samples are known; FAILS_AT is the call that breaks."""

    def __init__(self, key, fails_at=None):
        self.key = self.label = key
        self.calls, self.fails_at = 0, fails_at

    def settle(self, pods=0):
        pass


def interleaved(tools, rounds=4):
    order = []

    def measure(tool):
        order.append(tool.key)
        tool.calls += 1
        if tool.calls == tool.fails_at:
            raise process.CommandFailed("broken")
        return float(tool.calls)

    bench = case.Bench({tool.key: tool for tool in tools}, rounds, True, None)
    measurement = case.interleave(bench, case.begin("m", "M", "s"), tools, measure)
    return bench, measurement, order


def test_participants_take_turns_and_warm_up_does_not_count():
    _, measurement, order = interleaved([Stub("a"), Stub("b"), Stub("c")], rounds=3)
    assert order == ["c", "a", "b", "a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert [row.samples for row in measurement.rows] == [[2.0, 3.0, 4.0]] * 3


def test_one_that_fails_is_left_out_and_told(capsys):
    bench, measurement, _ = interleaved([Stub("a"), Stub("b", fails_at=3)])
    assert measurement.row("a").samples == [2.0, 3.0, 4.0, 5.0]
    assert measurement.row("b").samples == [] and "broken" in measurement.row("b").note
    assert len(bench.failed) == 1 and "broken" in capsys.readouterr().err


def test_tables_survive_json():
    measurement = Measurement("start", "Start", "s", [Row("vm", "VM", [0.1, 0.2]), Row("d", "docker", [0.2, 0.4]),
                                                      Row("x", "broken", [], "failed: why")],
                              [Aim("vm", 0.6, "d")], "d", 0.5)
    again, about = report.from_json(json.loads(json.dumps(report.as_json([measurement], [("kernel", "6")]))))
    assert again == [measurement] and about == [("kernel", "6")]
    for table in (report.text(again[0]), report.markdown(again, about)):
        assert "0.50 ×" in table and "met" in table and "failed: why" in table and "≤ 0.6 × docker" in table


TRACE = """\
2026-01-02T03:04:05.100000Z hyperd info: hyperd 0.1.0 is ready
2026-01-02T03:04:06.000000Z hyperd sandbox: building template 92
2026-01-02T03:04:06.250000Z hyperd sandbox: building template 8a
2026-01-02T03:04:07.000000Z hyperd sandbox: template-8a-2: the agent has answered
2026-01-02T03:04:09.000000Z hyperd sandbox: template-92-4: the agent has answered
"""


def test_the_boot_is_the_base_template_s():
    assert case.trace_interval(TRACE, "building template", "the agent has answered") == 0.75
    with pytest.raises(process.CommandFailed):
        case.trace_interval(TRACE, "building template", "something else")


def test_the_lines_are_exactly_one_mebibyte():
    content = image.lines_content()
    assert len(content) == 1 << 20 and content.endswith(b"\n")
    assert max(map(len, content.split(b"\n"))) < 100


@pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="busybox-static is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="unpacking files of several owners needs root")
def test_images(tmp_path):
    archive, root = image.make_root(tmp_path)
    assert (root / "bin/sh").stat().st_ino == (root / "bin/busybox").stat().st_ino
    assert (root / image.LINES_FILE).read_bytes() == image.lines_content()
    with tarfile.open(archive) as tar:
        assert tar.getmember(image.LINES_FILE).size == image.LINES_FILE_BYTES
    image.make_big(root, tmp_path / "one.tar", 300000, "big:latest")
    image.make_big(root, tmp_path / "two.tar", 300000, "big:latest")
    with tarfile.open(tmp_path / "one.tar") as one, tarfile.open(tmp_path / "two.tar") as two:
        manifest = json.load(one.extractfile("manifest.json"))[0]
        assert manifest["RepoTags"] == ["big:latest"] and json.load(two.extractfile("manifest.json")) == [manifest]
        with tarfile.open(fileobj=one.extractfile(manifest["Layers"][0])) as layer:
            assert sum(member.size for member in layer if member.name.startswith("data/")) == 300000


def test_leftovers_of_a_killed_run_are_swept_and_those_of_a_living_one_are_not(tmp_path):
    work, cgroups = tmp_path / "work", tmp_path / "cgroup"
    ended = process.Command(["true"])
    ended.wait()
    dead, alive = f"hyper-bench-{ended.pid}", f"hyper-bench-{os.getpid()}"
    for name in (dead, alive):
        (work / name).mkdir(parents=True)
        (cgroups / "memory" / name / "docker" / "one").mkdir(parents=True)
    world.sweep(work, cgroups)
    assert [path.name for path in work.iterdir()] == [alive]
    assert [path.name for path in (cgroups / "memory").iterdir()] == [alive]
