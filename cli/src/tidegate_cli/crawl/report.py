"""What a crawl ends with: the figures, the sentence, and the exit code they mean. Pure."""

import math

import msgspec

from tidegate_cli.exits import Exit


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The result of a run.

    ``submitted`` counts distinct ids. ``lost`` are submitted ids without an outcome, ``duplicates`` rows in
    the public views beyond one an id, ``invented`` ids with an outcome that nobody submitted. ``cost`` is in
    US dollars, ``seconds`` go from the start of submission to the last outcome, ``first_page_seconds`` from
    the start of the command to the first page row. ``stopped`` says why a run ended early.
    """

    submitted: int
    pages: int
    dead_letters: int
    captchas: int
    solved: int
    cost: float
    lost: int
    duplicates: int
    seconds: float
    invented: int = 0
    run: str = ""
    pages_per_second: float = 0.0
    first_page_seconds: float | None = None
    dead_letters_by_reason: dict[str, int] = {}
    solved_by_kind: dict[str, int] = {}
    bad_lines: int = 0
    repeated_ids: int = 0
    lost_sample: tuple[str, ...] = ()
    invented_sample: tuple[str, ...] = ()
    stopped: str | None = None
    data: str = ""
    database: str = ""
    checks: "DemoChecks | None" = None

    @property
    def dead_share(self) -> float:
        """Dead letters as a share of all outcomes; 0 without outcomes."""
        outcomes = self.pages + self.dead_letters
        return self.dead_letters / outcomes if outcomes else 0.0

    def exit_code(self, max_dead_share: float) -> Exit:
        """Return the exit code; the gravest finding decides."""
        if self.lost or self.duplicates or self.invented or self.stopped:
            return Exit.INCOMPLETE
        if self.checks is not None and self.checks.problems:
            return Exit.CHECK_FAILED
        if self.dead_share > max_dead_share:
            return Exit.DEAD_LETTERS
        return Exit.OK

    def to_json(self) -> str:
        """Return the report on one line."""
        rounded = msgspec.structs.replace(
            self,
            cost=round(self.cost, 6),
            seconds=round(self.seconds, 3),
            pages_per_second=round(self.pages_per_second, 2),
            first_page_seconds=None if self.first_page_seconds is None else round(self.first_page_seconds, 3),
        )
        fields = {k: v for k, v in msgspec.structs.asdict(rounded).items() if v is not None}
        checks = fields.pop("checks", None)
        if checks is not None:
            fields.update(msgspec.structs.asdict(checks))
        return msgspec.json.encode(fields).decode()


class DemoChecks(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo found out by comparing stored bodies with what its site says it served."""

    bodies_checked: int
    bodies_differing: int
    problems: tuple[str, ...] = ()


def findings(report: Report, max_dead_share: float) -> tuple[str, ...]:
    """Return, as sentences, what is not as it should be."""
    found: list[str] = []
    if report.stopped:
        found.append(report.stopped)
    if report.lost:
        found.append(f"{_jobs(report.lost)} no outcome{_such_as(report.lost_sample)}.")
    if report.duplicates:
        found.append(f"{report.duplicates} rows are there twice.")
    if report.invented:
        found.append(
            f"{report.invented} outcomes belong to no submitted job{_such_as(report.invented_sample)}."
        )
    if report.dead_share > max_dead_share:
        found.append(
            f"{percent(report.dead_share)} of the jobs are dead letters, more than {percent(max_dead_share)}"
            " (--max-dead-share)."
        )
    if report.checks is not None:
        found.extend(report.checks.problems)
    return tuple(found)


def _jobs(count: int) -> str:
    return "1 job has" if count == 1 else f"{count:,} jobs have"


def _such_as(sample: tuple[str, ...]) -> str:
    return f", such as {', '.join(sample)}" if sample else ""


def percent(share: float) -> str:
    """Return a share as a percentage that does not round a difference away."""
    digits = 0 if math.isclose(share * 100, round(share * 100)) else 1
    return f"{share * 100:.{digits}f} %"
