"""Tables of measurements: for the terminal, for docs/benchmarks.md, and everything as JSON."""
import dataclasses
import datetime
import os
import platform
import re

from . import statistic


def machine():
    """What the figures depend on, as (name, value) pairs."""
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        model = re.search(r"^model name\s*: (.*)$", cpuinfo.read(), re.MULTILINE)
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        kib = int(re.search(r"^MemTotal:\s+(\d+)", meminfo.read()).group(1))
    return [("date", datetime.date.today().isoformat()),
            ("processor", f"{model.group(1).strip() if model else 'unknown'}, {os.cpu_count()} cores"),
            ("memory", f"{kib / (1 << 20):.1f} GiB"),
            ("kernel", platform.release())]


HEAD = ("", "median", "fastest", "spread", "ratio", "aim", "")


def lines(measurement):
    """One tuple of HEAD's shape for each row."""
    baseline = measurement.row(measurement.baseline)
    aims = {aim.subject: aim for aim in measurement.aims}
    for row in measurement.rows:
        if not row.samples:
            yield (row.label, "-", "-", "-", "-", "", row.note or "not measured")
            continue
        best = max(row.samples) if measurement.unit == "B/s" else row.minimum
        shown = "" if baseline is None or not baseline.samples else f"{statistic.ratio(row, baseline):.2f} ×"
        aim = aims.get(row.key)
        said = [statistic.verdict(aim, measurement)] if aim else []
        yield (row.label, statistic.amount(row.median, measurement.unit),
               statistic.amount(best, measurement.unit), f"± {row.spread * 100:.0f} %", shown,
               statistic.aim_text(aim, measurement) if aim else "",
               "; ".join(said + ([row.note] if row.note else [])))


def rounds(measurement):
    counts = {len(row.samples) for row in measurement.rows if row.samples}
    return "" if not counts else f"{max(counts)} round{'s' if max(counts) > 1 else ''}"


def text(measurement):
    table = [HEAD, *lines(measurement)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    out = [f"{measurement.title}   ({rounds(measurement)}, load {measurement.load:.1f})"]
    for line in table:
        first, *rest = line
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) if number < 4 else cell.ljust(width)
                  for number, (cell, width) in enumerate(zip(rest, widths[1:]))]
        out.append("  " + "  ".join(cells).rstrip())
    return "\n".join(out)


def markdown(measurements, about):
    out = ["| | |", "|---|---|"]
    out += [f"| {name} | {value} |" for name, value in about]
    for measurement in measurements:
        out += ["", f"**{measurement.title}** ({rounds(measurement)})", "",
                "| | median | fastest | spread | ratio | aim | |", "|---|--:|--:|--:|--:|---|---|"]
        out += ["| " + " | ".join(line) + " |" for line in lines(measurement)]
    return "\n".join(out) + "\n"


def as_json(measurements, about):
    return {"about": dict(about), "measurements": [dataclasses.asdict(m) for m in measurements]}


def from_json(document):
    """The inverse, so that tables can be made again from kept figures."""
    def rebuild(entry):
        return statistic.Measurement(**{
            **entry, "rows": [statistic.Row(**row) for row in entry["rows"]],
            "aims": [statistic.Aim(**aim) for aim in entry["aims"]]})
    return [rebuild(entry) for entry in document["measurements"]], list(document["about"].items())
