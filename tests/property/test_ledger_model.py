"""The ledger against a model so naive that it is plainly right, and every replay of it against itself."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tidegate.errors import ConfigurationError, IllegalTransitionError, RecordError
from tidegate.ledger.decisions import Applied, ChargedMore, Decision, LevelReached, Verdict
from tidegate.ledger.entries import (
    Admit,
    Entry,
    Limit,
    Mark,
    Reserve,
    Scope,
    Settle,
    Stop,
    StopState,
    Void,
    entry_record,
    read_entry,
)
from tidegate.ledger.machine import LATE_MS, LEVELS, REMEMBERED_MS, Ledger
from tidegate.ledger.snapshot import read_snapshot, snapshot_record

DAY_MS = 86_400_000
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2

RUNS = st.sampled_from(["spring", "autumn"])
SITES = st.sampled_from(["a.test", "b.test"])
PROVIDERS = st.sampled_from(["one", "two"])
REQUESTS = st.sampled_from([f"request-{number}" for number in range(6)])
AMOUNTS = st.integers(0, 40)
SCOPES = st.builds(Scope, run=st.none() | RUNS, site=st.none() | SITES, daily=st.booleans())

SENT_AGO_MS = (0, 0, 0, -LATE_MS, LATE_MS, LATE_MS + 1, -LATE_MS - 1, -3 * LATE_MS)
WISHES = st.fixed_dictionaries(
    {"request_id": REQUESTS, "run": RUNS, "site": SITES, "provider": PROVIDERS, "amount": AMOUNTS}
)


class Wanted:
    """A reserve record as the model remembers it: everything, for ever."""

    def __init__(self, record: Reserve, at_ms: int, decision: Decision) -> None:
        self.record = record
        self.at_ms = at_ms
        self.decision = decision
        self.open = decision.verdict is Verdict.GRANTED
        self.counts = record.amount if self.open else 0
        self.in_doubt = False


class Model:
    """Adds everything up anew each time."""

    def __init__(self) -> None:
        self.wanted: dict[str, Wanted] = {}
        self.limits: dict[Scope, int] = {}
        self.stopped: dict[str, StopState] = {}
        self.out: set[str] = set()

    def used(self, scope: Scope, day: int) -> int:
        """Add up all that falls into a scope."""
        return sum(
            each.counts
            for each in self.wanted.values()
            if scope.run in (None, each.record.run)
            and scope.site in (None, each.record.site)
            and (not scope.daily or each.at_ms // DAY_MS == day)
        )

    def reserve(self, record: Reserve, at_ms: int) -> set[tuple[Verdict, Scope | None]]:
        """Return every answer that is right: a copy of an old record may be forgotten, and is late then."""
        known = self.wanted.get(record.id)
        if known is not None:
            if known.open:
                return {(Verdict.GRANTED, None)}
            ended = known.decision.verdict is Verdict.GRANTED
            answer = (Verdict.ENDED, None) if ended else (known.decision.verdict, known.decision.scope)
            late = {(Verdict.LATE, None)} if at_ms > known.at_ms + REMEMBERED_MS else set()
            return {answer} | late
        right: set[tuple[Verdict, Scope | None]]
        if abs(at_ms - record.sent_at_ms) > LATE_MS:
            right = {(Verdict.LATE, None)}
        elif any(each.open and each.record.request_id == record.request_id for each in self.wanted.values()):
            right = {(Verdict.BUSY, None)}
        elif record.run in self.stopped:
            right = {(Verdict(self.stopped[record.run].value), None)}
        elif record.provider in self.out:
            right = {(Verdict.PROVIDER_OUT, None)}
        else:
            right = {
                (Verdict.EXHAUSTED, scope)
                for scope, limit in self.limits.items()
                if scope.run in (None, record.run)
                and scope.site in (None, record.site)
                and self.used(scope, at_ms // DAY_MS) + record.amount > limit
            } or {(Verdict.GRANTED, None)}
        return right

    def close(self, reservation_id: str, request_id: str, cost: int, *, in_doubt: bool) -> Wanted | None:
        """End a reservation that is open."""
        known = self.wanted.get(reservation_id)
        if known is None or not known.open or known.record.request_id != request_id:
            return None
        known.open, known.counts, known.in_doubt = False, cost, in_doubt
        return known


class LedgerMachine(RuleBasedStateMachine):
    """Writes any record in any order and compares what the ledger makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.model = Model()
        self.log: list[tuple[int, bytes]] = []
        self.answers: list[Applied] = []
        self.reserves: list[Reserve] = []
        self.now_ms = NOON_MS

    def write(self, entry: Entry) -> Applied:
        """Append a record and take it."""
        value = entry_record(entry).value
        assert value is not None
        assert read_entry(value) == entry
        self.log.append((self.now_ms, value))
        applied = self.ledger.apply(len(self.log) - 1, self.now_ms, entry)
        self.answers.append(applied)
        return applied

    @rule(wish=WISHES, sent_ago_ms=st.sampled_from(SENT_AGO_MS))
    def reserve(self, wish: dict[str, Any], sent_ago_ms: int) -> None:
        """A new reservation is decided as the model decides it."""
        sent_at_ms = self.now_ms - sent_ago_ms
        record = Reserve(by="p", id=f"p-{len(self.reserves)}", sent_at_ms=sent_at_ms, **wish)
        self.reserves.append(record)
        self._reserve(record)

    @rule(which=st.integers(0, 1000))
    def reserve_again(self, which: int) -> None:
        """A copy of any record that was ever written is answered the same, and books nothing twice."""
        if self.reserves:
            self._reserve(self.reserves[which % len(self.reserves)])

    def _reserve(self, record: Reserve) -> None:
        right = self.model.reserve(record, self.now_ms)
        decision = self.write(record).decision
        assert decision is not None
        assert (decision.verdict, decision.scope) in right
        if record.id not in self.model.wanted:
            self.model.wanted[record.id] = Wanted(record, self.now_ms, decision)

    @rule(which=st.integers(0, 1000), cost=AMOUNTS, in_doubt=st.booleans())
    def settle(self, which: int, cost: int, in_doubt: bool) -> None:
        """The actual cost is booked; above the reservation it takes the provider out (M2)."""
        open_ones = [each.record for each in self.model.wanted.values() if each.open]
        if open_ones:
            record = open_ones[which % len(open_ones)]
            self._settle(record, record.request_id, cost, in_doubt=in_doubt)

    @rule(which=st.integers(0, 1000), request_id=st.none() | REQUESTS, cost=AMOUNTS)
    def settle_anything(self, which: int, request_id: str | None, cost: int) -> None:
        """What is not open, or is another request's, cannot be settled."""
        if self.reserves:
            record = self.reserves[which % len(self.reserves)]
            self._settle(record, request_id or record.request_id, cost, in_doubt=False)

    @rule(which=st.integers(0, 1000), other=st.integers(0, 1000), cost=AMOUNTS)
    def settle_late(self, which: int, other: int, cost: int) -> None:
        """Whoever was thought dead ends what it had reserved, and not what its successor has (M3)."""
        open_ones = [each.record for each in self.model.wanted.values() if each.open]
        if open_ones:
            successor = open_ones[which % len(open_ones)]
            others = [record for record in self.reserves if record.id != successor.id]
            if others:
                record = others[other % len(others)]
                self._settle(record, successor.request_id, cost, in_doubt=False)

    def _settle(self, record: Reserve, request_id: str, cost: int, *, in_doubt: bool) -> None:
        applied = self.write(
            Settle(by="p", id=record.id, request_id=request_id, cost=cost, in_doubt=in_doubt)
        )
        closed = self.model.close(record.id, request_id, cost, in_doubt=in_doubt)
        more = closed is not None and cost > record.amount
        assert any(isinstance(note, ChargedMore) for note in applied.notes) == more
        if more:
            self.model.out.add(record.provider)

    @rule(which=st.integers(0, 1000))
    def void(self, which: int) -> None:
        """What was not spent is free again."""
        if self.reserves:
            record = self.reserves[which % len(self.reserves)]
            self.write(Void(by="p", id=record.id, request_id=record.request_id))
            self.model.close(record.id, record.request_id, 0, in_doubt=False)

    @rule(scope=SCOPES, amount=st.none() | st.integers(0, 100))
    def limit(self, scope: Scope, amount: int | None) -> None:
        """A limit counts what was spent before it, too."""
        self.write(Limit(by="p", scope=scope, amount=amount))
        if amount is None:
            self.model.limits.pop(scope, None)
        else:
            self.model.limits[scope] = amount

    @rule(run=RUNS, state=st.none() | st.sampled_from(StopState))
    def stop(self, run: str, state: StopState | None) -> None:
        """A stopped run reserves nothing from that record on."""
        self.write(Stop(by="p", run=run, state=state))
        self.model.stopped.pop(run, None)
        if state is not None:
            self.model.stopped[run] = state

    @rule(provider=PROVIDERS)
    def admit(self, provider: str) -> None:
        """A person lets a provider in again."""
        self.write(Admit(by="p", provider=provider))
        self.model.out.discard(provider)

    @rule()
    def mark(self) -> None:
        """A mark changes nothing but the place."""
        before = self.ledger.state()
        self.write(Mark(by="p", id="m"))
        after = self.ledger.state()
        assert {**_fields(before), "next_offset": 0} == {**_fields(after), "next_offset": 0}

    @rule(passed_ms=st.sampled_from([1, 60_000, LATE_MS, REMEMBERED_MS + 1, DAY_MS // 2, DAY_MS]))
    def wait(self, passed_ms: int) -> None:
        """Time is the log's."""
        self.now_ms += passed_ms

    @rule()
    def take_an_old_record(self) -> None:
        """A record is never taken twice."""
        if self.log:
            before = self.ledger.state()
            with pytest.raises(IllegalTransitionError):
                self.ledger.apply(len(self.log) - 1, self.now_ms, Mark(by="p", id="m"))
            assert self.ledger.state() == before

    @invariant()
    def books_what_the_model_books(self) -> None:
        """Every sum, now; and what is known to be spent, in doubt, and still open."""
        day = self.now_ms // DAY_MS
        for run in (None, "spring", "autumn"):
            for site in (None, "a.test", "b.test"):
                for daily in (False, True):
                    scope = Scope(run=run, site=site, daily=daily)
                    assert self.ledger.used(scope, day) == self.model.used(scope, day)
        every = self.model.wanted.values()
        closed = [each for each in every if not each.open]
        assert self.ledger.spent == sum(each.counts for each in closed)
        assert self.ledger.in_doubt == sum(each.counts for each in closed if each.in_doubt)
        assert {each.id for each in self.ledger.open.values()} == {
            each.record.id for each in every if each.open
        }

    def teardown(self) -> None:
        """M1: whatever offset a snapshot was cut at, the rest of the log is decided the same."""
        ledger = Ledger()
        for cut in range(len(self.log) + 1):
            value = snapshot_record(ledger).value
            assert value is not None
            again = read_snapshot(value)
            assert again is not None
            assert again.state() == ledger.state()
            for offset in range(cut, len(self.log)):
                assert self._replayed(again, offset) == self.answers[offset]
            assert again.state() == self.ledger.state()
            if cut < len(self.log):
                # A prefix decides what the whole decides: nothing that comes later takes anything back.
                assert self._replayed(ledger, cut) == self.answers[cut]

    def _replayed(self, ledger: Ledger, offset: int) -> Applied:
        at_ms, value = self.log[offset]
        return ledger.apply(offset, at_ms, read_entry(value))


def _fields(state: Any) -> dict[str, Any]:
    return {name: getattr(state, name) for name in state.__struct_fields__}


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(0, 200),
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100), st.integers(0, 2)), max_size=40),
)
def test_a_budget_is_never_passed_while_nobody_charges_more_than_was_reserved(
    limit: int, steps: list[tuple[int, int, int]]
) -> None:
    """Spent and reserved together stay within the limit, and each level is told once, in order."""
    ledger = Ledger()
    scope = Scope(run="r")
    ledger.apply(0, NOON_MS, Limit(by="p", scope=scope, amount=limit))
    told: list[int] = []
    for number, (amount, share, ending) in enumerate(steps):
        asked = Reserve(
            by="p",
            id=f"p-{number}",
            request_id=str(number),
            run="r",
            site="s",
            provider="one",
            amount=amount,
            sent_at_ms=NOON_MS,
        )
        entries: list[Entry] = [asked]
        if ending == 1:
            entries.append(Settle(by="p", id=asked.id, request_id=str(number), cost=amount * share // 100))
        elif ending == 2:
            entries.append(Void(by="p", id=asked.id, request_id=str(number)))
        for entry in entries:
            applied = ledger.apply(ledger.next_offset, NOON_MS, entry)
            told += [note.percent for note in applied.notes if isinstance(note, LevelReached)]
            assert ledger.used(scope) <= limit
    assert told == sorted(set(told))
    assert set(told) <= set(LEVELS)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ENTRY_FIELDS = ("version", "by", "id", "request_id", "run", "site", "provider", "amount", "cost", "scope")


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(["limit", "reserve", "settle", "void", "stop", "admit", "mark", "gift"]),
    fields=st.dictionaries(st.sampled_from(ENTRY_FIELDS), VALUES),
    cut=st.integers(0, 40),
)
def test_whatever_stands_in_the_log_is_read_by_all_or_ignored_by_all(
    kind: str, fields: dict[str, Any], cut: int
) -> None:
    """M1: no record makes a reader fail in a way of its own."""
    value = json.dumps({"kind": kind, "version": 1, "by": "x", **fields}).encode()
    ledgers = [Ledger(), Ledger()]
    for written in (value, value[:-cut] if cut else value, value[cut:]):
        outcomes: set[type] = set()
        for ledger in ledgers:
            try:
                ledger.apply(ledger.next_offset, NOON_MS, read_entry(written))
            except (RecordError, ConfigurationError) as error:
                outcomes.add(type(error))
                ledger.skip(ledger.next_offset)
            else:
                outcomes.add(Applied)
        assert len(outcomes) == 1
    assert ledgers[0].state() == ledgers[1].state()
    assert read_snapshot(snapshot_record(ledgers[0]).value or b"") is not None
