"""Where a job is and how it came there, put together from its rows and its waiting records. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from tidegate.records import JobState
from tidegate.topics import DELAYS, HELD, LANES, Topic
from tidegate.tracing import trace_id

from tidegate_cli.jobs.rows import JobRows
from tidegate_cli.jobs.waiting import Sighting


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to the job; epoch milliseconds, the broker's clock where a record says it."""

    at_ms: int
    what: str


class JobReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one job. ``state`` is ``page``, ``dead_letter`` or ``waiting``.

    ``where`` says it in a sentence; ``attempts`` are retries by class; ``solve_cost`` in US dollars.
    """

    run: str
    id: str
    state: str
    where: str
    url: str
    site: str
    attempts: dict[str, int]
    hop: int
    solve_cost: float
    trace_id: str
    history: tuple[Step, ...]


def report(run: str, job_id: str, rows: JobRows | None, sightings: Sequence[Sighting]) -> JobReport | None:
    """Return what is known of one job, None where that is nothing. ``sightings`` are the oldest first."""
    waiting = [sighting for sighting in sightings if not sighting.done]
    last = waiting[-1] if waiting else None
    row = None if rows is None else rows.page or rows.dead
    outcome = None if rows is None else rows.outcome
    if rows is None or (outcome is None and not rows.solves):
        if not sightings:
            return None
        last = last or sightings[-1]
    state = None if last is None else last.state
    if outcome == "page" or (outcome is not None and last is None):
        now, where = outcome, _outcome(rows)
    elif last is not None:
        again = "" if outcome is None else " It is being done again: until then its dead letter counts."
        now, where = "waiting", f"{_place(last)}{again}"
    else:
        now = "waiting"
        where = "Not found: a captcha was asked for, and no record of the job waits. Look again in a moment."
    trace = (row.trace_id if row is not None else "") or _trace(last)
    return JobReport(
        run=run,
        id=job_id,
        state=now,
        where=where,
        url="" if row is None else row.url,
        site=row.site if row is not None else "" if state is None else state.site,
        attempts=_attempts(row.attempts if row is not None else None, state),
        hop=row.hop if row is not None else 0 if state is None else state.hop,
        solve_cost=sum(solve.cost for solve in rows.solves) if rows is not None else 0.0,
        trace_id=trace,
        history=_history(rows, sightings),
    )


def _outcome(rows: JobRows | None) -> str:
    assert rows is not None
    if rows.page is not None:
        return f"It has its page: HTTP {rows.page.status}, {rows.page.length:,} bytes."
    if rows.dead is not None:
        return f"It is a dead letter: {rows.dead.reason}. More: tidegate dlq show"
    return f"Its outcome was a {rows.outcome}; the row itself has expired."


def _place(sighting: Sighting) -> str:
    place = f"{sighting.topic}[{sighting.partition}] at {sighting.offset}"
    topic = Topic(sighting.topic)
    if topic in LANES.values():
        return f"It waits for a fetcher, or is in its hands: {place}."
    if topic in HELD.values():
        return f"It is put aside while sites that ask for captchas are held back: {place}."
    if topic in DELAYS:
        return f"It waits for its next try: {place}."
    return {
        Topic.CAPTCHA_REQUESTS: f"Its captcha waits for the solver, or is being solved: {place}.",
        Topic.CAPTCHA_SOLUTIONS: f"Its captcha is answered; a fetcher goes on with it: {place}.",
        Topic.PAGES: f"Its page is there and waits for the storer: {place}.",
        Topic.DEAD_LETTER: f"It was given up; its dead letter waits for the storer: {place}.",
    }[topic]


def _attempts(stored: dict[str, int] | None, state: JobState | None) -> dict[str, int]:
    return dict(stored if stored is not None else {} if state is None else state.attempts)


def _trace(sighting: Sighting | None) -> str:
    if sighting is None or sighting.trace is None:
        return ""
    return trace_id({"traceparent": sighting.trace}) or ""


def _time(ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"  # anybody may have written the header


def _history(rows: JobRows | None, sightings: Sequence[Sighting]) -> tuple[Step, ...]:
    steps: dict[tuple[int, str], Step] = {}

    def add(at_ms: int | None, what: str) -> None:
        if at_ms is not None:
            steps[at_ms, what] = Step(at_ms=at_ms, what=what)

    for sighting in sightings:
        state = sighting.state
        if state is not None:
            add(state.accepted_at_ms, "accepted")
        elif sighting.topic in LANES.values():
            add(sighting.at_ms, "accepted")
        due = "" if state is None or state.due_at_ms is None else f", due {_time(state.due_at_ms)}"
        add(sighting.at_ms, f"record on {sighting.topic}[{sighting.partition}] at {sighting.offset}{due}")
    for solve in () if rows is None else rows.solves:
        add(solve.requested_ms, f"captcha asked for: {solve.kind}")
        add(solve.created_ms, f"captcha bought from {solve.provider}: {solve.kind}")
        why = f" ({solve.error_code})" if solve.error_code else ""
        add(solve.answered_ms, f"captcha answered: {solve.status}{why}, ${solve.cost:.4f}")
    page, dead = (None, None) if rows is None else (rows.page, rows.dead)
    if page is not None:
        met = f" after {page.challenges} challenge{'s' * (page.challenges != 1)}" if page.challenges else ""
        add(page.accepted_ms, "accepted")
        add(page.fetched_ms, f"fetched: HTTP {page.status}{met}")
        where = f"{page.record_topic}[{page.record_partition}] at {page.record_offset}"
        add(page.recorded_ms, f"page on {where}, then stored")
    if dead is not None:
        add(dead.accepted_ms, "accepted")
        add(dead.dead_ms, f"given up by the {dead.service}: {dead.reason} ({dead.error_class})")
        where = f"{dead.record_topic}[{dead.record_partition}] at {dead.record_offset}"
        add(dead.recorded_ms, f"dead letter on {where}, then stored")
    return tuple(sorted(steps.values(), key=lambda step: step.at_ms))
