"""Money, snapshots, totals and runs, each by itself."""

from decimal import Decimal

import msgspec
import pytest
from tidegate.errors import ConfigurationError, RecordError
from tidegate.ledger import machine
from tidegate.ledger.decisions import Applied, Dropped, LevelReached, Verdict
from tidegate.ledger.entries import Limit, Reserve, Scope, entry_record, read_entry
from tidegate.ledger.machine import LATE_MS, LEVELS, MOST_LIMITS, REMEMBERED_MS, Ledger
from tidegate.ledger.snapshot import EVERY, farthest, is_due, read_snapshot, snapshot_record
from tidegate.ledger.totals import Key, Totals
from tidegate.money import format_usd, micros, parse_usd
from tidegate.records import Inbound
from tidegate.runs import Run, RunRecord, Runs, RunState, run_record

NOON_MS = 1_700_000_000_000
DAY_MS = 86_400_000


def asked(number: int, amount: int, **changes: str | int) -> Reserve:
    """Return a reserve record of its own request."""
    fields = {"run": "r", "site": "s", "provider": "one", "sent_at_ms": NOON_MS, **changes}
    return Reserve(by="p", id=f"p-{number}", request_id=f"request-{number}", amount=amount, **fields)  # type: ignore[arg-type]


def took(ledger: Ledger, entry: Limit | Reserve, at_ms: int = NOON_MS) -> Applied:
    """Append a record."""
    return ledger.apply(ledger.next_offset, at_ms, entry)


@pytest.mark.parametrize(
    ("usd", "amount"),
    [(0.003, 3000), (0.1 + 0.2, 300_001), (Decimal("0.0000001"), 1), (25, 25_000_000), (0.0, 0)],
)
def test_a_price_is_rounded_up_to_a_millionth(usd: float | Decimal, amount: int) -> None:
    """What is booked is never below what is charged (M9)."""
    assert micros(usd) == amount


@pytest.mark.parametrize("usd", [-1.0, float("nan"), float("inf"), 1e12])
def test_what_is_no_amount_is_refused(usd: float) -> None:
    """A service's reply may hold any number."""
    with pytest.raises(ValueError, match="not an amount"):
        micros(usd)


def test_amounts_that_people_write_are_read_exactly_and_written_back() -> None:
    """No float comes between."""
    for text, shown in (("25", "25.00"), ("$0.5", "0.50"), ("0.0025", "0.0025"), ("1000000", "1000000.00")):
        assert format_usd(parse_usd(text)) == shown
    assert format_usd(-2_500_000) == "-2.50"
    for text in ("", "-1", "ten", "nan", "0.0000001", "1e30"):
        with pytest.raises(ValueError, match=r"US dollars|finer"):
            parse_usd(text)


def test_each_level_of_a_daily_limit_is_told_once_a_day() -> None:
    """50, 80 and 100 percent; a refused request counts as 100."""
    ledger = Ledger()
    took(ledger, Limit(by="p", scope=Scope(site="s", daily=True), amount=100))
    told = []
    for number, day in enumerate([0] * 6 + [1] * 6):
        at_ms = NOON_MS + day * DAY_MS
        applied = took(ledger, asked(number, 30, sent_at_ms=at_ms), at_ms)
        told += [(day, note.percent) for note in applied.notes if isinstance(note, LevelReached)]
    assert told == [(day, level) for day in (0, 1) for level in LEVELS]


def test_a_limit_on_what_was_spent_already_is_told_at_once() -> None:
    """Who sets a limit below the spending hears of it, and nothing more is granted."""
    ledger = Ledger()
    took(ledger, asked(0, 90))
    applied = took(ledger, Limit(by="p", scope=Scope(), amount=100))
    assert [note.percent for note in applied.notes if isinstance(note, LevelReached)] == [80]
    decision = took(ledger, asked(1, 11)).decision
    assert decision is not None
    assert (decision.verdict, decision.scope) == (Verdict.EXHAUSTED, Scope())


@pytest.mark.parametrize("ahead_ms", [LATE_MS + 1, 10 * LATE_MS])
def test_a_reservation_from_the_future_is_not_granted_to_nobody_when_its_time_comes(ahead_ms: int) -> None:
    """Its sender, whose clock is ahead, was told "late" and holds nothing; a copy changes nothing."""
    ledger = Ledger()
    early = asked(0, 30, sent_at_ms=NOON_MS + ahead_ms)
    for at_ms in (0, REMEMBERED_MS + 1, ahead_ms, ahead_ms + LATE_MS, ahead_ms + REMEMBERED_MS + 1):
        decision = took(ledger, early, NOON_MS + at_ms).decision
        assert decision is not None
        assert decision.verdict is Verdict.LATE
    assert not ledger.open


def test_a_clock_that_is_years_ahead_makes_the_ledger_remember_no_more_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Refusals behind one from the far future wait for it, up to the number that is kept."""
    monkeypatch.setattr(machine, "MOST_ENDED", 100)
    ledger = Ledger()
    took(ledger, asked(0, 1, sent_at_ms=NOON_MS + 400 * DAY_MS))
    for number in range(1, 102):
        took(ledger, asked(number, 1, sent_at_ms=0))
    assert len(ledger.state().ended) == 100
    later_ms = NOON_MS + REMEMBERED_MS + 1
    took(ledger, asked(102, 1, sent_at_ms=later_ms), later_ms)
    assert len(ledger.state().ended) == 0


def test_limits_are_bounded() -> None:
    """The one too many is refused in so many words, and those in force stay."""
    ledger = Ledger()
    for number in range(MOST_LIMITS):
        took(ledger, Limit(by="p", scope=Scope(run=str(number)), amount=1))
    (note,) = took(ledger, Limit(by="p", scope=Scope(run="more"), amount=1)).notes
    assert isinstance(note, Dropped)
    assert took(ledger, Limit(by="p", scope=Scope(run="0"), amount=2)).notes == ()
    assert len(ledger.limits) == MOST_LIMITS


def test_totals_forget_the_least_used_that_has_no_limit() -> None:
    """Bounded in number; what a limit rests on is never forgotten."""
    limited = Key("kept", None)
    totals = Totals(3, lambda key: key == limited)
    for run in ("kept", "a", "b", "c", "d"):
        totals.add(Key(run, None), 5)
    assert [key.run for key, _ in totals] == ["c", "kept", "d"]
    totals.add(Key("c", None), -9)
    assert totals.get(Key("c", None)) == 0
    assert len(totals) == 2


def test_a_record_of_a_newer_version_ends_the_reader_and_garbage_does_not() -> None:
    """Who cannot read a record must not decide any more; what nobody can read all ignore alike (M1)."""
    for value in (b'{"kind":"gift","version":2}', b'{"kind":"mark","version":2,"by":"p","id":"m"}'):
        with pytest.raises(ConfigurationError, match="newest version"):
            read_entry(value)
    for value in (b"", b"\xff", b"[]", b'{"kind":"limit","version":1}', b'{"kind":"gift","version":1}'):
        with pytest.raises(RecordError):
            read_entry(value)


def test_the_snapshot_that_reaches_farthest_is_taken() -> None:
    """A slow solver may write an older one later; one that cannot be read is passed over."""
    ledger = Ledger()
    values = []
    for number in range(3):
        took(ledger, asked(number, 1))
        values.append(snapshot_record(ledger).value or b"")
    assert farthest([values[2], values[0], b"no snapshot", values[1][:-5]]).state() == ledger.state()
    assert farthest([]).next_offset == 0
    assert read_snapshot(b"") is None
    assert [offset for offset in range(2 * EVERY) if is_due(offset)] == [EVERY - 1, 2 * EVERY - 1]


def test_ledger_records_go_to_the_one_partition() -> None:
    """Whatever the installation's partition count is."""
    record = entry_record(Limit(by="p", scope=Scope(run="r"), amount=1))
    assert (record.topic, record.partition) == ("budget", 0)


def _inbound(record: RunRecord | None, at_ms: int, run: str = "spring") -> Inbound:
    value = b"" if record is None else run_record(record).value or b""
    return Inbound(
        topic="runs",
        partition=0,
        offset=0,
        timestamp_ms=at_ms,
        key=run.encode(),
        value=value,
        headers={},
    )


def test_a_runs_deadline_counts_from_its_first_record() -> None:
    """A later record carries the creation's time; a run that nobody created is running."""
    runs = Runs()
    first = RunRecord(run="spring", deadline_s=60.0)
    runs.apply(_inbound(first, NOON_MS))
    later = msgspec.structs.replace(first, state=RunState.PAUSED, created_at_ms=NOON_MS)
    runs.apply(_inbound(later, NOON_MS + 30_000))
    run = runs.get("spring")
    assert isinstance(run, Run)
    assert (run.deadline_ms, run.changed_at_ms) == (NOON_MS + 60_000, NOON_MS + 30_000)
    assert (runs.state("spring"), runs.state("autumn")) == (RunState.PAUSED, RunState.RUNNING)
    runs.apply(_inbound(None, NOON_MS + 31_000))
    assert len(runs) == 0
    with pytest.raises(RecordError, match="a run's record"):
        runs.apply(msgspec.structs.replace(_inbound(first, NOON_MS), value=b"{"))
