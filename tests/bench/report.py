"""What benchmarks found, as values: medians, verdicts, comparison with an earlier run, the page. Pure."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

Better = Literal["lower", "higher"]
Verdict = Literal["aim", "must", "missed", ""]

# What two runs of the same code differ by on a machine that others use too.
_NOISE = 0.10


class Spec(msgspec.Struct, frozen=True):
    """A figure of a row: what it is called, its unit, which way is better, and what it is held to."""

    name: str
    unit: str
    better: Better
    must: float | None = None
    aim: float | None = None


class RowSpec(msgspec.Struct, frozen=True):
    """A row: its name on the command line, its title, how it is measured, its figures."""

    name: str
    title: str
    how: str
    figures: tuple[Spec, ...]


class Figure(msgspec.Struct, frozen=True):
    """A figure as measured, one sample a repetition."""

    spec: Spec
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """The distance from the least to the greatest sample, as a share of the median."""
        return (max(self.samples) - min(self.samples)) / abs(self.median) if self.median else 0.0

    @property
    def verdict(self) -> Verdict:
        """Which of its limits the median keeps; nothing where it has none."""
        if self.spec.must is None:
            return ""
        if self.spec.aim is not None and self._keeps(self.spec.aim):
            return "aim"
        return "must" if self._keeps(self.spec.must) else "missed"

    def _keeps(self, limit: float) -> bool:
        return self.median <= limit if self.spec.better == "lower" else self.median >= limit


class Row(msgspec.Struct, frozen=True):
    """A row as measured. ``broker`` names what the records went through."""

    spec: RowSpec
    broker: str
    figures: tuple[Figure, ...]


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured, in words that say nothing of whose it is, and what else it did.

    ``load`` is how many processes wanted a core before the measurement began. ``reference_ms`` is the CPU
    time of a fixed piece of work: how fast the machine was at that time, whatever it is called.
    """

    cores: int
    memory_gib: int
    python: str
    system: str
    load: float
    reference_ms: float

    @property
    def busy(self) -> bool:
        """Whether others had so much of it that figures by the clock mean nothing."""
        return self.load > self.cores / 2


class Run(msgspec.Struct, frozen=True):
    """All rows of the latest run of each, by name."""

    machine: Machine
    rows: dict[str, Row]


def figures(spec: RowSpec, repetitions: Iterable[Mapping[str, float]]) -> tuple[Figure, ...]:
    """Return a row's figures. Raises KeyError where a repetition lacks one."""
    taken = list(repetitions)
    return tuple(Figure(each, tuple(found[each.name] for found in taken)) for each in spec.figures)


def merged(before: Run | None, machine: Machine, rows: Iterable[Row]) -> Run:
    """Return the new rows beside those that were not measured this time."""
    known = {} if before is None else before.rows
    return Run(machine, known | {row.spec.name: row for row in rows})


def change(before: Figure, after: Figure) -> str:
    """Say ``better``, ``worse`` or ``same``, with the difference where it is more than noise.

    Noise is a tenth, or as far as the samples of either run lie apart.
    """
    if not before.median:
        return "same"
    share = after.median / before.median - 1
    if abs(share) <= max(_NOISE, before.spread, after.spread):
        return "same"
    improved = (share < 0) == (after.spec.better == "lower")
    return f"{'better' if improved else 'worse'} by {abs(share):.0%}"


def compared(before: Run | None, rows: Iterable[Row]) -> list[str]:
    """Return a line for each figure: the median, its limits, and how it compares with the earlier run."""
    lines = []
    for row in rows:
        old = None if before is None else before.rows.get(row.spec.name)
        known = (
            {} if old is None or old.broker != row.broker else {each.spec.name: each for each in old.figures}
        )
        for figure in row.figures:
            verdict = {"aim": "meets the aim", "must": "meets the must", "missed": "MISSES THE MUST", "": ""}
            parts = [
                f"{row.spec.name}: {figure.spec.name} {shown(figure.median)} {figure.spec.unit}".rstrip()
            ]
            parts += [text for text in (verdict[figure.verdict],) if text]
            if figure.spec.name in known:
                parts.append(change(known[figure.spec.name], figure))
            lines.append(", ".join(parts))
    return lines


def paced(before: Run | None, machine: Machine) -> list[str]:
    """Return what is to be known of the machine before its figures are compared with earlier ones."""
    lines = []
    if machine.busy:
        lines.append(
            f"The machine was busy: {machine.load:.1f} processes wanted its {machine.cores} cores "
            "before we began. CPU times are too high, and what is measured by the clock means nothing."
        )
    if before is not None and before.machine.reference_ms:
        share = machine.reference_ms / before.machine.reference_ms - 1
        if abs(share) > _NOISE:
            slower = "slower" if share > 0 else "faster"
            lines.append(f"The machine is {abs(share):.0%} {slower} than at the run before: compare ratios.")
    return lines


def shown(value: float) -> str:
    """Return a number with as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def page(run: Run) -> str:
    """Return the document in Markdown."""
    machine, version = run.machine, run.machine.python
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; `make bench BENCH=runtime` measures one row anew and leaves the others.",
        "Every row is measured against a peer or a limit in the same run, because only ratios mean something",
        "on another machine. A figure is the median of its repetitions, with the least and the greatest",
        "beside it. CPU time is user and system time of the named process and its children, memory what the",
        "process holds and what its children hold beside what they share with it.",
        "",
        f"Machine: {machine.cores} cores, {machine.memory_gib} GiB, {machine.system}, Python {version}; a",
        f"fixed piece of work took {machine.reference_ms:.1f} ms of its CPU.",
        f"When the latest run began, {machine.load:.1f} other processes wanted a core: the machine was",
        "**busy, so CPU times are too high and ratios are what counts**." if machine.busy else "idle enough.",
        "",
        "| Row | Figure | Median | Least … greatest | Must | Aim | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in run.rows.values():
        for figure in row.figures:
            spec = figure.spec
            lines.append(
                f"| {row.spec.name} | {spec.name} | {_with(figure.median, spec)} "
                f"| {shown(min(figure.samples))} … {shown(max(figure.samples))} "
                f"| {_limit(spec.must, spec)} | {_limit(spec.aim, spec)} | {_word(figure)} |"
            )
    lines += ["", "## How each row is measured", ""]
    for row in run.rows.values():
        lines += [f"**{row.spec.name}: {row.spec.title}** (broker: {row.broker}). {row.spec.how}", ""]
    return "\n".join(lines)


def _with(value: float, spec: Spec) -> str:
    return f"{shown(value)} {spec.unit}".rstrip()


def _limit(limit: float | None, spec: Spec) -> str:
    if limit is None:
        return ""
    return f"{'≤' if spec.better == 'lower' else '≥'} {limit:g}"


def _word(figure: Figure) -> str:
    return {"aim": "aim met", "must": "must met", "missed": "**missed**", "": ""}[figure.verdict]
