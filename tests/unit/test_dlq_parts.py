"""Dead letters: which are meant, what becomes of each, and how a replay goes about it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import pytest
from backports import zstd
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console
from tidegate.consume.dead_letters import dead_letter
from tidegate.consume.service import Ack
from tidegate.errors import BrokerError, ConfigurationError, RecordError
from tidegate.outcome import Dead, ErrorClass, Outgoing, Reason
from tidegate.records import (
    HEADER_DEAD,
    HEADER_JOB,
    HEADER_ORIGINAL,
    HEADER_PAGE,
    HEADER_REPLAY_OF,
    HEADER_TRACE,
    ChallengeKind,
    Inbound,
    Job,
    JobState,
    Lane,
    Origin,
    PageMeta,
    SolveSummary,
    body_hash,
    encode,
    job_state,
)
from tidegate.testing.manual_clock import ManualClock
from tidegate.topics import MAX_RECORD_BYTES, Topic
from tidegate_cli.dlq.advice import ADVICE, advice_for
from tidegate_cli.dlq.letters import Letter
from tidegate_cli.dlq.replay import Refusal, Replay, Why, fetched_again, judge, parsed_again
from tidegate_cli.dlq.replayer import Pacer, Replayer, Step
from tidegate_cli.dlq.selection import Selection, condition, duration_s, selection_of
from tidegate_cli.dlq.show import age, show_step
from tidegate_cli.terminal import printable

TRACE = b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
NEW = b"00-fedcba9876543210fedcba9876543210-0123456789abcdef-01"
BODY = b"<html>the body"
ORIGINAL = b'{"url":"https://a.example/x","headers":{"Authorization":"s3cr3t"}}'
PAGE = PageMeta(
    url="https://a.example/x",
    final_url="https://a.example/y",
    status=200,
    content_type="text/html",
    length=len(BODY),
    body_hash=body_hash(BODY),
    fetched_at_ms=5,
    elapsed_ms=6,
    metadata=msgspec.Raw(b'{"row":1}'),
)
STATE = JobState(
    run="r",
    id="i",
    site="a.example",
    lane=Lane.HIGH,
    origin=Origin(topic="urls-high", partition=3, offset=9, timestamp_ms=1_000),
    accepted_at_ms=1_000,
    due_at_ms=2_000,
    attempts={"server_error": 3},
    hop=4,
    deferrals=7,
    solves=(SolveSummary(request_id="q", kind=ChallengeKind.TURNSTILE, provider="p", cost=0.5),),
)


def died(
    original: bytes = ORIGINAL,
    state: JobState = STATE,
    *,
    offset: int = 5,
    parsed: bool = False,
    trace: bytes | None = TRACE,
) -> tuple[Letter, Inbound]:
    """Return a dead letter as the runtime writes it: its row, and its record on the topic."""
    dead = Dead(
        reason=Reason.PARSE_ERROR if parsed else Reason.RETRIES_EXHAUSTED,
        error_class=ErrorClass.PARSE_ERROR if parsed else ErrorClass.SERVER_ERROR,
        message="m",
        body_hash=PAGE.body_hash if parsed else None,
        page=encode(PAGE) if parsed else None,
    )
    written = dead_letter(Job(original, state), dead, service="fetcher", group="fetcher", now_ms=3_000)
    headers = dict(written.headers) | ({} if trace is None else {HEADER_TRACE: trace})
    assert written.value is not None
    record = Inbound(
        topic=Topic.DEAD_LETTER,
        partition=1,
        offset=offset,
        timestamp_ms=3_000,
        key=b"a.example",
        value=written.value,
        headers=headers,
    )
    letter = Letter(
        run=state.run,
        id=state.id,
        site=state.site,
        reason=dead.reason,
        error_class=dead.error_class,
        last_status=503,
        url="https://a.example/x",
        message="m",
        service="fetcher",
        hop=state.hop,
        recorded_ms=3_000,
        record_partition=1,
        record_offset=offset,
        original_length=len(original),
        original_hash=hashlib.blake2b(original, digest_size=16).hexdigest(),
        body_hash=dead.body_hash or "",
    )
    return letter, record


def replayable(letter: Letter, record: Inbound) -> Replay:
    """Return the replay of a dead letter that has one."""
    verdict = judge(letter, record)
    assert isinstance(verdict, Replay)
    return verdict


def refused(letter: Letter, record: Inbound | None) -> Why:
    """Return why a dead letter has none."""
    verdict = judge(letter, record)
    assert isinstance(verdict, Refusal)
    assert verdict.message.endswith(".")
    return verdict.why


# -- which ---------------------------------------------------------------------------------------------


def test_filters_become_a_condition_with_parameters() -> None:
    """Values never stand in the text; ages count from the moment that is given."""
    selection = selection_of(
        runs=["r'; DROP"],
        reasons=["parse_error,shed"],
        classes=["blocked"],
        sites=["a.example", "b.example:8080"],
        older_than="1h",
        newer_than="1d",
    )
    found = condition(selection, 100_000_000)
    assert found.sql == (
        "run IN {run:Array(String)} AND reason IN {reason:Array(String)}"
        " AND error_class IN {error_class:Array(String)} AND site IN {site:Array(String)}"
        " AND recorded_at <= fromUnixTimestamp64Milli({older_ms:Int64})"
        " AND recorded_at >= fromUnixTimestamp64Milli({newer_ms:Int64})"
    )
    assert found.parameters == {
        "run": ["r'; DROP"],
        "reason": ["parse_error", "shed"],
        "error_class": ["blocked"],
        "site": ["a.example", "b.example:8080"],
        "older_ms": 96_400_000,
        "newer_ms": 13_600_000,
    }


def test_without_a_filter_everything_is_meant() -> None:
    """The replay asks for --all then."""
    assert selection_of().everything
    assert condition(Selection(), 0).sql == "1"
    assert not selection_of(older_than="0s").everything


@pytest.mark.parametrize(
    "options",
    [
        {"reasons": ["no_such_reason"]},
        {"classes": ["no_such_class"]},
        {"sites": ["https://a.example/"]},
        {"older_than": "yesterday"},
        {"newer_than": "-1h"},
        {"older_than": "2h", "newer_than": "1h"},
    ],
)
def test_a_filter_that_can_match_nothing_is_refused(options: dict[str, Any]) -> None:
    """A misspelt reason must not look like good news."""
    with pytest.raises(ConfigurationError):
        selection_of(**options)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("7d", 604_800), ("1w", 604_800)]
)
def test_ages_are_written_as_people_write_them(text: str, seconds: float) -> None:
    """A number and a unit."""
    assert duration_s("--older-than", text) == seconds


def test_there_is_advice_for_every_reason() -> None:
    """Also for one that a newer version wrote."""
    assert set(ADVICE) == set(Reason)
    assert all(each.text.endswith(".") for each in ADVICE.values())
    assert advice_for("of_another_version").text


# -- what becomes of one -------------------------------------------------------------------------------


def test_a_replay_keeps_the_identity_adds_a_hop_and_resets_the_attempts() -> None:
    """On the job's own lane, with its original bytes and nothing of the dead letter's headers (O6)."""
    outgoing = fetched_again(replayable(*died()), NEW)
    headers = dict(outgoing.headers)
    assert (outgoing.topic, outgoing.site, outgoing.value) == (Topic.URLS_HIGH, "a.example", ORIGINAL)
    assert set(headers) == {HEADER_JOB, HEADER_TRACE, HEADER_REPLAY_OF}
    assert (headers[HEADER_TRACE], headers[HEADER_REPLAY_OF]) == (NEW, TRACE)
    assert job_state(headers) == msgspec.structs.replace(
        STATE, hop=5, attempts={}, deferrals=0, due_at_ms=None
    )


def test_a_replay_says_what_it_is_also_where_nothing_was_traced() -> None:
    """The fetcher counts the deadline from it."""
    headers = dict(fetched_again(replayable(*died(trace=None)), None).headers)
    assert headers[HEADER_REPLAY_OF] == b""
    assert HEADER_TRACE not in headers


def test_a_kept_body_goes_back_to_the_storer_as_the_page_it_was() -> None:
    """So it is parsed again without a fetch (O6)."""
    replay = replayable(*died(parsed=True))
    assert replay.page == PAGE
    outgoing = parsed_again(replay, PAGE, BODY, NEW)
    headers = dict(outgoing.headers)
    assert (outgoing.topic, outgoing.site) == (Topic.PAGES, "a.example")
    assert outgoing.value is not None
    assert zstd.decompress(outgoing.value) == BODY
    assert msgspec.json.decode(headers[HEADER_PAGE], type=PageMeta) == PAGE
    assert headers[HEADER_ORIGINAL] == ORIGINAL
    state = job_state(headers)
    assert state is not None
    assert (state.hop, state.attempts) == (5, {})


def test_a_page_that_is_not_the_kept_bodys_is_not_used() -> None:
    """Nor one that cannot be read, nor one without a body; the job is fetched again then."""
    letter, record = died(parsed=True)
    other = encode(msgspec.structs.replace(PAGE, body_hash="other"))
    for header in (other, b"{", None):
        headers = {name: value for name, value in record.headers.items() if name != HEADER_PAGE}
        changed = headers if header is None else {**headers, HEADER_PAGE: header}
        assert replayable(letter, msgspec.structs.replace(record, headers=changed)).page is None


@pytest.mark.parametrize("original", [b"https://b.example:8443/p", b' {"url": "https://b.example:8443/p"}'])
def test_a_job_that_died_without_a_site_gets_it(original: bytes) -> None:
    """Its record goes to that site's partition (O2, S1)."""
    state = msgspec.structs.replace(STATE, site="")
    assert fetched_again(replayable(*died(original, state)), None).site == "b.example:8443"
    assert fetched_again(replayable(*died(b"nonsense", state)), None).site == ""


def test_what_the_topic_keeps_no_longer_cannot_be_replayed() -> None:
    """Nor where another record stands in its place: a broker that began again at offset 0 (O3)."""
    letter, record = died()
    assert refused(letter, None) is Why.GONE
    assert refused(msgspec.structs.replace(letter, id="other"), record) is Why.GONE
    assert refused(msgspec.structs.replace(letter, original_hash="other"), record) is Why.GONE


def test_a_truncated_original_cannot_be_replayed() -> None:
    """Half a job is none (C9)."""
    original = b"x" * (MAX_RECORD_BYTES + 1)
    assert refused(*died(original)) is Why.TRUNCATED


def test_what_is_no_job_cannot_be_replayed() -> None:
    """A record between the services, an empty one, one that Tidegate did not write, one it cannot read."""
    origin = msgspec.structs.replace(STATE.origin, topic="captcha-solutions")
    assert refused(*died(state=msgspec.structs.replace(STATE, origin=origin))) is Why.NO_JOB
    assert refused(*died(b" ")) is Why.NO_JOB
    letter, record = died()
    for headers in ({}, {HEADER_JOB: record.headers[HEADER_JOB]}, {**record.headers, HEADER_DEAD: b"{"}):
        assert refused(letter, msgspec.structs.replace(record, headers=headers)) is Why.NO_JOB


# -- how it goes ---------------------------------------------------------------------------------------


class Sinkhole:
    """Takes records; refuses those of a value, fails when told."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.taken: list[Outgoing] = []
        self.moments: list[float] = []
        self.too_large: bytes | None = None
        self.fails = False

    async def send(self, record: Outgoing) -> Ack:
        """Take a record."""
        if self.fails:
            raise BrokerError("away")
        if self.too_large is not None and record.value == self.too_large:
            raise RecordError(Reason.BODY_TOO_LARGE, "It does not fit urls-high.")
        self.taken.append(record)
        self.moments.append(self._clock.monotonic())
        return Ack(0, len(self.taken), 0)


class Case:
    """A topic with dead letters, a sink, and a replayer between them."""

    def __init__(self, *jobs: tuple[Letter, Inbound], bodies: dict[str, bytes] | None = None) -> None:
        self.clock = ManualClock()
        self.sink = Sinkhole(self.clock)
        self.jobs = jobs
        self.records = {record.offset: record for _, record in jobs}
        self.bodies = bodies or {}
        self.steps: list[Step] = []

    async def pages(self) -> AsyncIterator[list[Letter]]:
        """Yield the rows, three a page."""
        letters = [letter for letter, _ in self.jobs]
        for first in range(0, len(letters), 3):
            yield letters[first : first + 3]

    async def read(self, partition: int, offsets: Iterable[int]) -> AsyncIterator[tuple[int, Inbound | None]]:
        """Yield the records that are left."""
        assert partition == 1
        for offset in sorted(offsets):
            yield offset, self.records.get(offset)

    async def body(self, digest: str) -> bytes | None:
        """Return a body."""
        return self.bodies.get(digest)

    def replayer(self, *, dry_run: bool = False, **options: Any) -> Replayer:
        """Build the replayer."""
        return Replayer(
            read=self.read,
            body=self.body,
            sink=None if dry_run else self.sink,
            clock=self.clock,
            tracer=TracerProvider().get_tracer("test"),
            tell=self.steps.append,
            **options,
        )


def many(count: int) -> list[tuple[Letter, Inbound]]:
    """Return dead letters of different jobs."""
    return [
        died(b"https://a.example/%d" % n, msgspec.structs.replace(STATE, id=f"{n:03}"), offset=n)
        for n in range(count)
    ]


async def test_every_dead_letter_is_replayed_once_or_named() -> None:
    """The tally adds up."""
    case = Case(*many(7))
    del case.records[2]
    case.sink.too_large = b"https://a.example/4"
    tally = await case.replayer().run(case.pages())
    assert sorted(record.value or b"" for record in case.sink.taken) == [
        b"https://a.example/%d" % n for n in (0, 1, 3, 5, 6)
    ]
    assert (tally.matched, tally.replayed, tally.refused) == (7, 5, {"gone": 1, "too_large": 1})
    assert len(case.steps) == 7


async def test_a_dry_run_produces_nothing() -> None:
    """And says the same."""
    case = Case(*many(4), died(parsed=True, offset=9), bodies={PAGE.body_hash: BODY})
    dry = await case.replayer(dry_run=True).run(case.pages())
    assert case.sink.taken == []
    assert [step.action for step in case.steps] == ["fetch"] * 4 + ["parse"]
    done = await case.replayer().run(case.pages())
    assert (dry.fetch, dry.parse, dry.dry_run) == (done.fetch, done.parse, not done.dry_run) == (4, 1, True)


@pytest.mark.parametrize("limit", [1, 3, 5, 7, 100])
async def test_a_limit_is_kept_across_pages(limit: int) -> None:
    """The oldest come first."""
    case = Case(*many(7))
    tally = await case.replayer(limit=limit).run(case.pages())
    assert tally.matched == len(case.sink.taken) == min(limit, 7)


async def test_a_rate_spreads_the_jobs_evenly() -> None:
    """Two a second: seven jobs take three seconds."""
    case = Case(*many(7))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(case.replayer(rate=2.0).run(case.pages()))
        for _ in range(1_000):
            await asyncio.sleep(0)  # noqa: TID251 -- lets the replayer run; no time passes
            if case.clock._sleepers:
                case.clock.advance(0.5)
            if task.done():
                break
    assert case.sink.moments == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]


def test_a_pace_does_not_catch_up_what_was_slow() -> None:
    """A burst after a pause would be what the rate is to prevent."""
    pacer = Pacer(10)
    assert [pacer.wait_s(0.0), round(pacer.wait_s(0.0), 3)] == [0.0, 0.1]
    assert pacer.wait_s(60.0) == 0.0
    assert round(pacer.wait_s(60.0), 3) == 0.1
    assert Pacer(None).wait_s(5.0) == 0.0


async def test_a_body_that_is_gone_is_fetched_again_and_so_is_one_on_request() -> None:
    """The step says so."""
    case = Case(died(parsed=True))
    await case.replayer().run(case.pages())
    assert [record.topic for record in case.sink.taken] == [Topic.URLS_HIGH]
    assert [(step.action, bool(step.message)) for step in case.steps] == [("fetch", True)]
    case = Case(died(parsed=True), bodies={PAGE.body_hash: BODY})
    await case.replayer(refetch=True).run(case.pages())
    assert [record.topic for record in case.sink.taken] == [Topic.URLS_HIGH]


async def test_each_replay_has_a_trace_of_its_own() -> None:
    """And names the old one."""
    case = Case(*many(2))
    await case.replayer().run(case.pages())
    traces = {dict(record.headers)[HEADER_TRACE][3:35] for record in case.sink.taken}
    assert len(traces | {TRACE[3:35]}) == 3
    assert {dict(record.headers)[HEADER_REPLAY_OF] for record in case.sink.taken} == {TRACE}


async def test_a_broker_that_goes_away_ends_the_replay() -> None:
    """With an error, and without counting what was not acknowledged."""
    case = Case(*many(2))
    case.sink.fails = True
    replayer = case.replayer()
    with pytest.raises(ExceptionGroup) as caught:
        await replayer.run(case.pages())
    assert caught.group_contains(BrokerError)
    assert replayer.tally.replayed == 0


# -- how it looks --------------------------------------------------------------------------------------


def test_nothing_that_a_site_wrote_moves_the_terminal() -> None:
    """Escape sequences and rich's markup are shown as they are."""
    assert printable("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\x0ac"
    assert printable("abcdef", 3) == "abc…"
    console = Console(width=200, record=True, force_terminal=False)
    step = Step(run="[red]r[/]", id="\x1b]0;x", reason="r", url="u", action="gone", message="[bold]m")
    show_step(step, console)
    assert "[red]r[/] \\x1b]0;x" in console.export_text()


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s ago"), (119, "119 s ago"), (7200, "2 h ago"), (900_000, "10 d ago")]
)
def test_ages_are_shown_in_one_unit(seconds: int, text: str) -> None:
    """The largest of which there are two."""
    assert age(0, seconds * 1000) == text
