"""The ledger as a state machine: the log of ``budget`` in, decisions out. Pure.

It is replicated (delivery.md M1): each solver feeds it the same records in the same order and reaches the
same state, so a decision needs no leader and no lock. Therefore it reads no setting and no clock (M2). Limits
are records; "day" is the UTC day of a record's append time; whether a record came too late is judged by two
times that stand in the log. Nothing may change here that would decide an old log differently, unless the
records' version says so.

A reservation's states only advance: refused, or open → settled | voided. One request has at most one open
reservation, so a process that was thought dead and a new owner can never both hold one for it.

What is remembered is bounded. Totals: see ``Totals``. Ended reservations: as long as a copy of their reserve
record may still arrive and be believed, since it has to be answered the same.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from tidegate.errors import IllegalTransitionError
from tidegate.ledger.decisions import (
    GRANTED,
    Applied,
    ChargedMore,
    Decision,
    Dropped,
    Ended,
    LevelReached,
    Note,
    Reservation,
    State,
    Verdict,
)
from tidegate.ledger.entries import Admit, Entry, Limit, Mark, Reserve, Scope, Settle, Stop, StopState, Void
from tidegate.ledger.totals import Key, Totals, keys_of

LATE_MS = 120_000
REMEMBERED_MS = 2 * LATE_MS
MOST_LIMITS = 20_000
MOST_TOTALS = 50_000
MOST_ENDED = 50_000
MOST_STOPPED = 50_000
MOST_PROVIDERS = 1_000
DAYS = 3
LEVELS = (50, 80, 100)
_DAY_MS = 86_400_000


class Ledger:
    """The state after ``next_offset`` records, counted as the log counts."""

    def __init__(self) -> None:
        self.next_offset = 0
        self.spent = 0
        self.in_doubt = 0
        self._limits: dict[Scope, int] = {}
        self._limited: dict[Key, tuple[Scope, ...]] = {}
        self._stopped: OrderedDict[str, StopState] = OrderedDict()
        self._out: OrderedDict[str, None] = OrderedDict()
        self._ever = self._totals(daily=False)
        self._days: OrderedDict[int, Totals] = OrderedDict()
        self._open: dict[str, Reservation] = {}
        self._ended: OrderedDict[str, Ended] = OrderedDict()
        self._levels: dict[Scope, tuple[int, int]] = {}

    @classmethod
    def restored(cls, state: State) -> "Ledger":
        """Return a ledger as it was when ``state`` was taken."""
        ledger = cls()
        ledger.next_offset, ledger.spent, ledger.in_doubt = state.next_offset, state.spent, state.in_doubt
        ledger._limits = dict(state.limits)
        for scope in ledger._limits:
            ledger._index(scope)
        ledger._stopped = OrderedDict(state.stopped)
        ledger._out = OrderedDict.fromkeys(state.providers_out)
        ledger._ever = ledger._totals(state.ever, daily=False)
        ledger._days = OrderedDict((day, ledger._totals(rows, daily=True)) for day, rows in state.days)
        ledger._open = {reservation.request_id: reservation for reservation in state.open}
        ledger._ended = OrderedDict(state.ended)
        ledger._levels = {scope: (day, percent) for scope, day, percent in state.levels}
        return ledger

    def state(self) -> State:
        """Return all of it; equal for equal logs, whatever snapshots they were read from."""
        return State(
            next_offset=self.next_offset,
            spent=self.spent,
            in_doubt=self.in_doubt,
            limits=tuple(self._limits.items()),
            stopped=tuple(self._stopped.items()),
            providers_out=tuple(self._out),
            ever=tuple(self._ever),
            days=tuple((day, tuple(totals)) for day, totals in self._days.items()),
            open=tuple(self._open.values()),
            ended=tuple(self._ended.items()),
            levels=tuple((scope, day, percent) for scope, (day, percent) in self._levels.items()),
        )

    # -- what one may ask ---------------------------------------------------------------------------

    @property
    def limits(self) -> Mapping[Scope, int]:
        """Every limit in force."""
        return MappingProxyType(self._limits)

    @property
    def stopped(self) -> Mapping[str, StopState]:
        """Runs that may not spend."""
        return MappingProxyType(self._stopped)

    @property
    def providers_out(self) -> tuple[str, ...]:
        """Providers that charged more than was reserved."""
        return tuple(self._out)

    @property
    def open(self) -> Mapping[str, Reservation]:
        """Open reservations by request."""
        return MappingProxyType(self._open)

    @property
    def today(self) -> int | None:
        """The UTC day of the latest reservation, None where there was none."""
        return next(reversed(self._days), None)

    def used(self, scope: Scope, day: int | None = None) -> int:
        """Return what is spent or reserved within a scope; of a daily one, that day (the latest one)."""
        key = Key(scope.run, scope.site)
        if not scope.daily:
            return self._ever.get(key)
        day = self.today if day is None else day
        return self._days[day].get(key) if day is not None and day in self._days else 0

    # -- the log ------------------------------------------------------------------------------------

    def apply(self, offset: int, at_ms: int, entry: Entry) -> Applied:
        """Take the next record. Raises IllegalTransitionError for one that was taken before."""
        self.skip(offset)
        match entry:
            case Reserve():
                return self._reserve(entry, at_ms)
            case Settle():
                return self._settle(entry)
            case Void():
                return self._void(entry)
            case Limit():
                return self._limit(entry)
            case Stop():
                return self._stop(entry)
            case Admit():
                self._out.pop(entry.provider, None)
            case Mark():
                pass
        return Applied()

    def skip(self, offset: int) -> None:
        """Pass a record that nobody can read. Raises IllegalTransitionError for one that was taken before."""
        if offset < self.next_offset:
            message = f"record {offset} of the ledger was taken before; the next is {self.next_offset}"
            raise IllegalTransitionError(message)
        self.next_offset = offset + 1

    def _reserve(self, asked: Reserve, at_ms: int) -> Applied:
        self._forget(at_ms)
        known = self._open.get(asked.request_id)
        if known is not None and known.id == asked.id:
            return Applied(decision=GRANTED)
        if (ended := self._ended.get(asked.id)) is not None:
            return Applied(decision=ended.decision)
        day = at_ms // _DAY_MS
        decision = self._decide(asked, at_ms, day)
        if decision is not GRANTED:
            # A clock may be ahead: the record is in time later, when a copy of it must not be granted.
            self._end(asked.id, decision, max(at_ms, asked.sent_at_ms))
            scope = decision.scope
            return Applied(decision=decision, notes=() if scope is None else self._exhausted(scope, day))
        reservation = Reservation(
            id=asked.id,
            request_id=asked.request_id,
            run=asked.run,
            site=asked.site,
            provider=asked.provider,
            amount=asked.amount,
            day=day,
            at_ms=at_ms,
        )
        self._open[asked.request_id] = reservation
        self._begin(day)
        return Applied(decision=GRANTED, notes=self._book(reservation, asked.amount))

    def _decide(self, asked: Reserve, at_ms: int, day: int) -> Decision:
        if abs(at_ms - asked.sent_at_ms) > LATE_MS:
            return Decision(verdict=Verdict.LATE)
        if asked.request_id in self._open:
            return Decision(verdict=Verdict.BUSY)
        if (stop := self._stopped.get(asked.run)) is not None:
            return Decision(verdict=Verdict(stop.value))
        if asked.provider in self._out:
            return Decision(verdict=Verdict.PROVIDER_OUT)
        for scope, limit in self._limits_on(asked.run, asked.site):
            if self.used(scope, day) + asked.amount > limit:
                return Decision(verdict=Verdict.EXHAUSTED, scope=scope)
        return GRANTED

    def _settle(self, settled: Settle) -> Applied:
        reservation = self._close(settled)
        if reservation is None:
            return _dropped("settle", f"request {settled.request_id} has no open reservation {settled.id}")
        self.spent += settled.cost
        self.in_doubt += settled.cost if settled.in_doubt else 0
        notes = self._book(reservation, settled.cost - reservation.amount)
        if settled.cost > reservation.amount:
            self._out[reservation.provider] = None
            while len(self._out) > MOST_PROVIDERS:
                self._out.popitem(last=False)
            charged = ChargedMore(
                provider=reservation.provider,
                request_id=settled.request_id,
                reserved=reservation.amount,
                cost=settled.cost,
            )
            notes = (charged, *notes)
        return Applied(notes=notes)

    def _void(self, voided: Void) -> Applied:
        reservation = self._close(voided)
        if reservation is None:
            return _dropped("void", f"request {voided.request_id} has no open reservation {voided.id}")
        return Applied(notes=self._book(reservation, -reservation.amount))

    def _limit(self, limit: Limit) -> Applied:
        scope = limit.scope
        self._levels.pop(scope, None)
        if limit.amount is None:
            self._limits.pop(scope, None)
            self._index(scope)
            return Applied()
        if scope not in self._limits and len(self._limits) >= MOST_LIMITS:
            return _dropped("limit", f"there are {MOST_LIMITS} limits already; take some away")
        self._limits[scope] = limit.amount
        self._index(scope)
        return Applied(notes=tuple(self._risen(scope, self.today)))

    def _stop(self, stop: Stop) -> Applied:
        self._stopped.pop(stop.run, None)
        if stop.state is not None:
            self._stopped[stop.run] = stop.state
            while len(self._stopped) > MOST_STOPPED:
                self._stopped.popitem(last=False)
        return Applied()

    # -- reservations -------------------------------------------------------------------------------

    def _close(self, ending: Settle | Void) -> Reservation | None:
        reservation = self._open.get(ending.request_id)
        if reservation is None or reservation.id != ending.id:
            return None
        del self._open[ending.request_id]
        self._end(ending.id, Decision(verdict=Verdict.ENDED), reservation.at_ms)
        return reservation

    def _end(self, reservation_id: str, decision: Decision, at_ms: int) -> None:
        self._ended[reservation_id] = Ended(decision=decision, at_ms=at_ms)
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def _forget(self, at_ms: int) -> None:
        """Drop ended reservations whose record, if it came again, would be late."""
        while self._ended:
            oldest = next(iter(self._ended))
            if self._ended[oldest].at_ms + REMEMBERED_MS >= at_ms:
                return
            del self._ended[oldest]

    # -- money --------------------------------------------------------------------------------------

    def _book(self, reservation: Reservation, amount: int) -> tuple[Note, ...]:
        """Add to all sums of a reservation; return the levels that were reached by it."""
        if not amount:
            return ()
        day = self._days.get(reservation.day)
        for key in keys_of(reservation.run, reservation.site):
            self._ever.add(key, amount)
            if day is not None:
                day.add(key, amount)
        if amount <= 0:
            return ()
        notes: list[Note] = []
        for scope, _ in self._limits_on(reservation.run, reservation.site):
            notes += self._risen(scope, reservation.day)
        return tuple(notes)

    def _limits_on(self, run: str, site: str) -> Iterator[tuple[Scope, int]]:
        """Yield the limits that a purchase must keep, the narrowest first."""
        for key in keys_of(run, site):
            for scope in self._limited.get(key, ()):
                yield scope, self._limits[scope]

    def _index(self, scope: Scope) -> None:
        """Note which limits a key has: most have none, and a purchase looks at four of them."""
        key = Key(scope.run, scope.site)
        both = (Scope(run=key.run, site=key.site, daily=daily) for daily in (False, True))
        self._limited[key] = tuple(each for each in both if each in self._limits)
        if not self._limited[key]:
            del self._limited[key]

    def _risen(self, scope: Scope, day: int | None) -> Iterator[LevelReached]:
        limit, used = self._limits[scope], self.used(scope, day)
        reached = max((level for level in LEVELS if used and used * 100 >= limit * level), default=0)
        if reached:
            yield from self._tell(scope, day, reached)

    def _exhausted(self, scope: Scope, day: int) -> tuple[Note, ...]:
        return tuple(self._tell(scope, day, LEVELS[-1]))

    def _tell(self, scope: Scope, day: int | None, percent: int) -> Iterator[LevelReached]:
        """Yield a level the first time that it is reached, of a daily limit each day."""
        of = -1 if day is None or not scope.daily else day
        told_of, told = self._levels.get(scope, (of, 0))
        if told_of != of:
            told = 0
        if percent > told:
            self._levels[scope] = (of, percent)
            yield LevelReached(
                scope=scope, percent=percent, used=self.used(scope, day), limit=self._limits[scope]
            )

    def _begin(self, day: int) -> None:
        """Open a day's totals. The few days last used are kept: a clock that jumped costs none of them."""
        if day not in self._days:
            self._days[day] = self._totals(daily=True)
        self._days.move_to_end(day)
        while len(self._days) > DAYS:
            self._days.popitem(last=False)

    def _totals(self, rows: Iterable[tuple[Key, int]] = (), *, daily: bool) -> Totals:
        def is_limited(key: Key) -> bool:
            return Scope(run=key.run, site=key.site, daily=daily) in self._limits

        return Totals(MOST_TOTALS, is_limited, rows)


def _dropped(kind: str, why: str) -> Applied:
    return Applied(notes=(Dropped(kind=kind, why=why),))
