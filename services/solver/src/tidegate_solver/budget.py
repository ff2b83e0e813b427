"""What the solver asks of the ledger: money before a purchase, and the end of a reservation after it.

Every reservation ends in one of three ways (M3). ``void``: createTask was refused for certain, or never sent.
``settle``: the task ended, and this is what it cost. ``settle`` in doubt, at the maximum: nobody knows, as
where a process died between createTask and the journal's entry, or left a reservation behind that no journal
knows of.
"""

import msgspec
from tidegate.captcha_records import CaptchaRequest, TaskState
from tidegate.clock import BrokerClock
from tidegate.events import Emit
from tidegate.ledger.decisions import Decision, Reservation, Verdict
from tidegate.ledger.entries import Reserve, Settle, Void, entry_record
from tidegate.money import MICROS, MOST_MICROS, micros
from tidegate.outcome import Outgoing

from tidegate_solver.answers import Answer
from tidegate_solver.events import LeftoverSettled, PurchaseDenied
from tidegate_solver.journal import Entry
from tidegate_solver.ledger_log import LedgerLog

# A record that was late, or met a leftover, is worth another try; more is somebody else's trouble.
_TRIES = 3
_AGAIN = frozenset({Verdict.LATE, Verdict.BUSY})


class Granted(msgspec.Struct, frozen=True):
    """Up to the amount asked for may be spent, once, by whoever holds this."""

    id: str
    request_id: str


class Denied(msgspec.Struct, frozen=True):
    """Nothing may be spent."""

    decision: Decision


class Budget:
    """Money for purchases."""

    def __init__(self, log: LedgerLog, broker_clock: BrokerClock, emit: Emit) -> None:
        self._log = log
        self._broker_clock = broker_clock
        self._emit = emit

    async def catch_up(self) -> None:
        """Wait until the ledger is known as it was at the call: what a former owner reserved is in it."""
        await self._log.catch_up()

    def is_barred(self, provider: str) -> bool:
        """Say whether a provider charged more than was reserved, and nobody has admitted it since."""
        return provider in self._log.ledger.providers_out

    async def reserve(self, request: CaptchaRequest, provider: str, price: float) -> Granted | Denied:
        """Reserve the price of one task. As ``LedgerLog.decided`` raises."""
        decision = Decision(verdict=Verdict.LATE)
        for _ in range(_TRIES):
            left = self._log.ledger.open.get(request.request_id)
            if left is not None:
                self._note_leftover(left)
                await self._log.append(self._doubted(left))
            entry = Reserve(
                by=self._log.name,
                id=self._log.next_id(),
                request_id=request.request_id,
                run=request.state.run,
                site=request.state.site,
                provider=provider,
                amount=micros(price),
                sent_at_ms=self._broker_clock.now_ms(),
            )
            answered = await self._log.decided(entry)
            assert answered is not None  # every reserve record is decided
            decision = answered
            if decision.verdict is Verdict.GRANTED:
                return Granted(entry.id, entry.request_id)
            if decision.verdict not in _AGAIN:
                break
        self._emit(
            PurchaseDenied(
                request_id=request.request_id,
                provider=provider,
                reason=decision.verdict,
                scope=None if decision.scope is None else str(decision.scope),
            )
        )
        return Denied(decision)

    async def void(self, granted: Granted) -> None:
        """Give money back for which nothing was sent, or nothing taken. As ``LedgerLog.append`` raises."""
        await self._log.append(Void(by=self._log.name, id=granted.id, request_id=granted.request_id))

    def closing(self, request_id: str, entry: Entry | None, answer: Answer) -> tuple[Outgoing, ...]:
        """Return the record that ends a request's open reservation, none where it has none.

        ``entry`` is the journal's before the answer. The record must be acknowledged before the journal's
        ``answered``: after that nobody would look for the reservation any more.
        """
        left = self._log.ledger.open.get(request_id)
        if left is None:
            return ()
        closing: Settle | Void
        if entry is not None and entry.state is TaskState.TASK:
            closing = Settle(
                by=self._log.name,
                id=left.id,
                request_id=request_id,
                # A service's reply may name any number.
                cost=micros(min(answer.cost, MOST_MICROS / MICROS)),
                in_doubt=answer.in_doubt,
            )
        elif entry is not None and not answer.in_doubt:
            closing = Void(by=self._log.name, id=left.id, request_id=request_id)
        else:
            if entry is None:
                self._note_leftover(left)
            closing = self._doubted(left)
        return (entry_record(closing),)

    def leftover(self, request_id: str) -> tuple[Outgoing, ...]:
        """Return the record that settles in doubt what is still reserved for a request that was answered.

        A process that stood still may have reserved anew for it, and gone: no journal knows of that (M3).
        """
        left = self._log.ledger.open.get(request_id)
        if left is None:
            return ()
        self._note_leftover(left)
        return (entry_record(self._doubted(left)),)

    def _note_leftover(self, left: Reservation) -> None:
        cost = left.amount / MICROS
        self._emit(LeftoverSettled(request_id=left.request_id, provider=left.provider, cost=cost))

    def _doubted(self, left: Reservation) -> Settle:
        return Settle(
            by=self._log.name, id=left.id, request_id=left.request_id, cost=left.amount, in_doubt=True
        )
