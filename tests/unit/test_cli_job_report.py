"""``tidegate job``: whose record it is, and what a report says of it."""

import msgspec
import pytest
from support.storer import EPOCH_MS, job_state
from tidegate.captcha_records import CaptchaRequest, Challenge, Identity, request_id
from tidegate.outcome import Outgoing
from tidegate.records import ChallengeKind, Inbound, default_id, encode, job_headers, origin_of
from tidegate.topics import DELAYS, HELD, LANES, Topic
from tidegate_cli.jobs.identity import identity_of
from tidegate_cli.jobs.report import JobReport, report
from tidegate_cli.jobs.rows import DeadRow, JobRows, PageRow, SolveRow
from tidegate_cli.jobs.waiting import READERS, Sighting

_TRACE = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"


def record(topic: str, value: bytes, **headers: bytes) -> Inbound:
    """Return a consumed record."""
    return Inbound(
        topic=topic, partition=1, offset=7, timestamp_ms=EPOCH_MS, key=None, value=value, headers=headers
    )


def sighting(topic: str = Topic.URLS, *, done: bool = False, at_ms: int = EPOCH_MS + 5) -> Sighting:
    """Return a record of job-1 that was found."""
    state = job_state(attempts={"network": 2})
    return Sighting(
        run="run",
        id="job-1",
        topic=topic,
        partition=1,
        offset=7,
        at_ms=at_ms,
        done=done,
        trace=_TRACE,
        state=state,
    )


def rows(
    *, page: PageRow | None = None, dead: DeadRow | None = None, solves: tuple[SolveRow, ...] = ()
) -> JobRows:
    """Return what ClickHouse has."""
    outcome = "page" if page else "dead_letter" if dead else None
    return JobRows(run="run", id="job-1", outcome=outcome, page=page, dead=dead, solves=solves)


_COMMON = {
    "url": "https://shop.example/job-1",
    "site": "shop.example",
    "lane": "normal",
    "attempts": {"blocked": 1},
    "hop": 2,
    "solve_cost": 0.002,
    "accepted_ms": EPOCH_MS,
    "recorded_ms": EPOCH_MS + 90,
    "record_partition": 1,
    "record_offset": 3,
    "trace_id": "c" * 32,
}
PAGE = msgspec.convert(
    {**_COMMON, "status": 200, "challenges": 1, "length": 10, "proxy_id": "", "fetched_ms": EPOCH_MS + 80,
     "record_topic": "pages"},
    PageRow,
)  # fmt: skip
DEAD = msgspec.convert(
    {**_COMMON, "reason": "shed", "error_class": "refused", "message": "m", "service": "fetcher",
     "last_status": 0, "dead_ms": EPOCH_MS + 85, "record_topic": "dead-letter"},
    DeadRow,
)  # fmt: skip
SOLVE = SolveRow(
    request_id="r",
    kind="turnstile",
    status="solved",
    provider="capsolver",
    cost=0.002,
    error_code="",
    requested_ms=EPOCH_MS + 10,
    created_ms=EPOCH_MS + 20,
    answered_ms=EPOCH_MS + 60,
    trace_id="",
)


def known(*arguments: object) -> JobReport:
    """Return a report of job-1."""
    found = report("run", "job-1", *arguments)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "run", "job_id"),
    [
        (b'{"url":"https://a.example","id":"x","run":"spring","new":1}', "spring", "x"),
        (b"\xef\xbb\xbf https://a.example", "default", None),
        (b'{"url":"https://a.example"}', "default", None),
        (b'{"id": 5', "default", None),
    ],
)
def test_an_intake_record_is_known_by_its_words_or_its_place(
    value: bytes, run: str, job_id: str | None
) -> None:
    """As the fetcher will name it (O3)."""
    one = record(Topic.URLS, value)
    assert identity_of(one)[:2] == (run, job_id or default_id(origin_of(one)))


def test_a_record_between_services_is_known_by_its_state() -> None:
    """In the header, or embedded in a captcha record."""
    state = job_state("é")
    delayed = record(Topic.RETRY_1M, b"https://a.example", **dict(job_headers(state)))
    assert identity_of(delayed) == ("run", "é", state)
    request = CaptchaRequest(
        request_id=request_id(state),
        challenge=Challenge(kind=ChallengeKind.HCAPTCHA, page_url="https://a.example", params={}),
        identity=Identity(user_agent="u"),
        lifetime_s=60,
        original=b"https://a.example",
        state=state,
    )
    assert identity_of(record(Topic.CAPTCHA_REQUESTS, encode(request))) == ("run", "é", state)


def test_whatever_holds_a_job_is_looked_at() -> None:
    """A topic of custody that is not read would make a waiting job look lost."""
    holders = {*LANES.values(), *HELD.values(), *DELAYS, Topic.CAPTCHA_REQUESTS, Topic.CAPTCHA_SOLUTIONS}
    assert set(READERS) == holders | {Topic.PAGES, Topic.DEAD_LETTER}
    assert Outgoing.__struct_fields__[0] == "topic"


@pytest.mark.parametrize("topic", sorted(READERS))
def test_a_job_without_an_outcome_waits_on_its_topic(topic: Topic) -> None:
    """With the place, its tries and its trace; an earlier record is history."""
    found = known(rows(), [sighting(Topic.URLS, done=True, at_ms=EPOCH_MS), sighting(topic)])
    assert found.state == "waiting"
    assert f"{topic}[1] at 7" in found.where
    assert (found.attempts, found.trace_id) == ({"network": 2}, "a" * 32)
    assert found.history[0].what == "accepted"


def test_a_delayed_record_says_in_words_when_it_is_due() -> None:
    """Even one whose state names a year that no calendar has."""
    for due_ms, said in ((EPOCH_MS, "due 2026-01-01 00:00:00"), (2**62, f"due {2**62} ms")):
        waits = msgspec.structs.replace(
            sighting(Topic.RETRY_1M),
            state=msgspec.structs.replace(job_state(), due_at_ms=due_ms),
        )
        assert known(rows(), [waits]).history[-1].what.endswith(said)


def test_a_page_is_the_end_whatever_waits() -> None:
    """Copies of a job that was done collapse under its page (O1)."""
    found = known(rows(page=PAGE, solves=(SOLVE,)), [sighting(Topic.PAGES)])
    assert (found.state, found.solve_cost, found.trace_id) == ("page", 0.002, "c" * 32)
    assert "HTTP 200" in found.where
    told = [step.what.split(":")[0] for step in found.history]
    assert told == [
        "accepted", "record on pages[1] at 7", "captcha asked for", "captcha bought from capsolver",
        "captcha answered", "fetched", "page on pages[1] at 3, then stored",
    ]  # fmt: skip


def test_a_dead_letter_that_is_replayed_waits_again() -> None:
    """Until then the dead letter counts."""
    assert known(rows(dead=DEAD), []).state == "dead_letter"
    again = known(rows(dead=DEAD), [sighting(Topic.URLS)])
    assert again.state == "waiting"
    assert "its dead letter counts" in again.where


def test_nothing_is_said_of_a_job_that_nobody_knows() -> None:
    """No rows, no records."""
    assert report("run", "job-1", rows(), []) is None
    assert report("run", "job-1", None, []) is None


def test_a_solve_without_a_record_is_said_to_be_not_found() -> None:
    """It is between two topics while it was looked for."""
    found = known(rows(solves=(SOLVE,)), [])
    assert found.state == "waiting"
    assert "Look again" in found.where
