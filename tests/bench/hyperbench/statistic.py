"""Samples, their middle and spread, ratios of interleaved samples, and aims. No input or output here."""
import dataclasses
import statistics


@dataclasses.dataclass
class Row:
    """What one participant showed in one measurement; samples in order of the rounds."""
    key: str
    label: str
    samples: list
    note: str = ""

    @property
    def median(self):
        return statistics.median(self.samples)

    @property
    def minimum(self):
        return min(self.samples)

    def quartiles(self):
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        q1, _, q3 = statistics.quantiles(self.samples, n=4, method="inclusive")
        return q1, q3

    @property
    def spread(self):
        """Half the distance between the quartiles, as a share of the median: "±" in the tables."""
        q1, q3 = self.quartiles()
        return (q3 - q1) / 2 / self.median if self.median else 0.0


@dataclasses.dataclass
class Aim:
    """SUBJECT's median is to be at most LIMIT, or with REFERENCE at most LIMIT times REFERENCE's."""
    subject: str
    limit: float
    reference: str = ""


@dataclasses.dataclass
class Measurement:
    key: str
    title: str
    unit: str  # "s", "B", "B/s"
    rows: list = dataclasses.field(default_factory=list)
    aims: list = dataclasses.field(default_factory=list)
    baseline: str = ""  # key of the row that the ratio column compares with
    load: float = 0.0   # of the machine when it began

    def row(self, key):
        return next((row for row in self.rows if row.key == key), None)


def ratio(row, reference):
    """
    The median of the ratios round by round. The rounds of two interleaved participants saw the same machine, so this
    drifts less with other load than the ratio of the medians. Unequal numbers of rounds fall back to the latter.
    """
    if len(row.samples) == len(reference.samples) and all(reference.samples):
        return statistics.median(a / b for a, b in zip(row.samples, reference.samples))
    return row.median / reference.median if reference.median else float("inf")


def aim_text(aim, measurement):
    if not aim.reference:
        return "≤ " + amount(aim.limit, measurement.unit)
    reference = measurement.row(aim.reference)
    return f"≤ {aim.limit:g} × {reference.label if reference else aim.reference}"


def verdict(aim, measurement):
    """"met (0.41 ×)", "missed by 12 % (0.67 ×)", or why it cannot be said."""
    subject = measurement.row(aim.subject)
    if subject is None or not subject.samples:
        return "not measured"
    if aim.reference:
        reference = measurement.row(aim.reference)
        if reference is None or not reference.samples:
            return "nothing to compare with"
        value = ratio(subject, reference)
        shown = f"{value:.2f} ×"
    else:
        value = subject.median
        shown = amount(value, measurement.unit)
    if value <= aim.limit:
        return f"met ({shown})"
    return f"missed by {(value / aim.limit - 1) * 100:.0f} % ({shown})"


def amount(value, unit):
    """A value as people read it, three significant digits."""
    if unit == "s":
        if value < 1:
            return f"{digits(value * 1e3)} ms"
        return f"{digits(value)} s"
    for scale, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if abs(value) >= scale:
            return f"{digits(value / scale)} {name}" + ("/s" if unit == "B/s" else "")
    return f"{value:.0f} " + unit


def digits(value):
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
