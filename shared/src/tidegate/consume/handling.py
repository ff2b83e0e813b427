"""One record, from its bytes to what is produced for it: decode, handle, settle, produce.

An outcome is acted on here and nowhere else. When ``handle`` returns True, everything that the outcome asks
for has been acknowledged by the broker, and the record's offset may be finished.
"""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from tidegate.clock import BrokerClock, Clock
from tidegate.consume import delays
from tidegate.consume.attempt import attempt, where
from tidegate.consume.fault_limit import FaultLimit
from tidegate.consume.plan import Plan
from tidegate.consume.runtime_events import HandlerFaulted
from tidegate.consume.service import BatchSink, Service, Sifting, Work
from tidegate.consume.settling import Settlement, delayed, settle
from tidegate.errors import RecordError
from tidegate.events import Emit, Event
from tidegate.outcome import Dead, Done, ErrorClass, Outcome, Outgoing, Reason
from tidegate.records import HEADER_TRACE, Inbound, Job, stray_job
from tidegate.salvage import unread_job
from tidegate.shared_deadline import SharedDeadline
from tidegate.topics import DELAYS, Topic
from tidegate.tracing import Tracing

P = TypeVar("P")

# Jobs, and pages of a usual size. A large one keeps its slot to its end: while the broker is away all that is
# in hand waits, and a window of them is enough.
_SMALL_BYTES = 64 << 10
# Thousands of those that are answered at once may be in hand beside all others.
_SIFTED_BYTES = 16 << 10


def nothing() -> None:
    """Do nothing."""


class AtOnce(NamedTuple):
    """What is to be produced for a record that needed no handler, with its trace, and the event of it."""

    job: Job
    outgoing: Outgoing
    event: Event | None


class Handling(Generic[P]):
    """What becomes of a record by its service's say."""

    def __init__(
        self,
        *,
        plan: Plan,
        service: Service[P],
        sink: BatchSink,
        clock: Clock,
        broker_clock: BrokerClock,
        emit: Emit,
        tracing: Tracing,
        limit: FaultLimit,
    ) -> None:
        self._plan = plan
        self._service = service
        self._sifting: Sifting[P] | None = service if isinstance(service, Sifting) else None
        self._sink = sink
        self._clock = clock
        self._broker_clock = broker_clock
        self._emit = emit
        self._tracing = tracing
        self._limit = limit
        self._deadline = SharedDeadline(plan.deadline_s)

    async def handle(
        self, record: Inbound, *, alone: bool = False, handled: Callable[[], None] = nothing
    ) -> bool:
        """Handle a record and produce what its outcome asks for; ``alone`` where its partition waits for it.

        ``handled`` is called when the handler is done with it and something small is about to be produced.
        Returns False, and nothing was produced, where that would be a dead letter for a fault of ours and
        there were too many of those (C11). Raises FatalProduceError where the fate of what was produced can
        never be known.
        """
        with self._tracing.handling(record) as trace:
            job: Job | None = None
            outcome: Outcome
            try:
                work = self._service.decode(record)
                if alone:
                    work = msgspec.structs.replace(work, alone=True)
                job = work.job
                left_s = self._left_to_wait(work)
                if left_s > 0:
                    outcome = Done((delayed(job.original, job.state, left_s),))
                else:
                    outcome = await attempt(
                        self._service,
                        work,
                        self._plan,
                        self._deadline,
                        clock=self._clock,
                        emit=self._emit,
                    )
            except RecordError as error:
                job = error.job or job or unread_job(record)
                outcome = Dead(reason=error.reason, error_class=ErrorClass.BAD_INPUT, message=error.message)
            return await self._perform(job, outcome, trace, handled)

    @property
    def may_sift(self) -> bool:
        """Whether the service has anything to say of a record at once, as things are."""
        return self._sifting is not None and self._sifting.sifts()

    def at_once(self, record: Inbound) -> AtOnce | None:
        """Return what is to be produced for a record without its handler; None where it needs one.

        Asked only while it ``may_sift``. Whatever is out of the ordinary takes the ordinary way, which says
        what is wrong with it.
        """
        sifting = self._sifting
        if sifting is None or record.topic in self._plan.reserved:
            return None
        sifted = self._sifted(record, sifting) if len(record.value) <= _SIFTED_BYTES else None
        if sifted is None:
            return None
        job, settlement = sifted
        if settlement.our_fault or len(settlement.outgoing) != 1:
            return None
        outgoing = settlement.outgoing[0]
        if HEADER_TRACE in record.headers or outgoing.topic == Topic.DEAD_LETTER:
            with (
                self._tracing.handling(record) as trace,
                self._tracing.sending(outgoing, trace) as outgoing,
            ):
                pass
        # Else its trace begins where it is handled: nothing is to be seen of it before.
        return AtOnce(job, outgoing, settlement.event)

    def _sifted(self, record: Inbound, sifting: Sifting[P]) -> tuple[Job, Settlement] | None:
        try:
            work = self._service.decode(record)
            left_s = self._left_to_wait(work)
            if left_s > 0:
                return work.job, Settlement((delayed(work.job.original, work.job.state, left_s),))
            outcome = sifting.sift(work)
        except RecordError:
            return None
        except Exception as error:  # noqa: BLE001 -- judged where the handler's own are, should it fail, too
            self._emit(
                HandlerFaulted(
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    error=f"the record could not be sifted: {type(error).__name__}, {where(error)}",
                )
            )
            return None
        if outcome is None:
            return None
        return work.job, settle(work.job, outcome, self._plan, self._broker_clock.now_ms())

    async def produce_all(self, answers: Sequence[AtOnce]) -> None:
        """Produce what records were answered with, in their order; returns when the broker has all of it.

        Raises FatalProduceError where the fate of what was produced can never be known.
        """
        try:
            await self._sink.send_batch([answer.outgoing for answer in answers])
        except RecordError:
            for answer in answers:
                await self._produce_alone(answer)
        for answer in answers:
            if answer.event is not None:
                self._emit(answer.event)

    async def _produce_alone(self, answer: AtOnce) -> None:
        try:
            await self._sink.send(answer.outgoing)
        except RecordError as error:
            await self._produce(self._too_large(answer.job, error), None)

    async def condemn(self, record: Inbound, message: str, *, unread: bool) -> None:
        """Dead-letter a record that kills the process, without handling it (C10).

        ``unread`` does not even decode it, where that may be what kills: its job is then known by where the
        record stands alone.
        """
        with self._tracing.handling(record) as trace:
            job = stray_job(record) if unread else self._job_of(record)
            if record.topic == Topic.DEAD_LETTER:
                # What kills whoever reads it must not be handed to the same reader again.
                job = Job(b"", job.state)
            dead = Dead(reason=Reason.CRASHED_THE_SERVICE, error_class=ErrorClass.INTERNAL, message=message)
            await self._produce(settle(job, dead, self._plan, self._broker_clock.now_ms()), trace)

    def _job_of(self, record: Inbound) -> Job:
        try:
            return self._service.decode(record).job
        except RecordError as error:
            return error.job or unread_job(record)

    def _left_to_wait(self, work: Work[P]) -> float:
        """A wait longer than its class goes on through another one, at no attempt (T2)."""
        if work.record.topic not in DELAYS:
            return 0.0
        return delays.remaining_s(work.job.state, self._broker_clock.now_ms())

    async def _perform(
        self, job: Job, outcome: Outcome, trace: bytes | None, handled: Callable[[], None]
    ) -> bool:
        """Produce what the outcome asks for, one after the other, each acknowledged (C5)."""
        if isinstance(outcome, Done) and not outcome.outgoing:
            return True
        settlement = settle(job, outcome, self._plan, self._broker_clock.now_ms())
        if settlement.our_fault and not self._limit.admits(self._clock.monotonic()):
            return False
        if sum(len(each.value or b"") for each in settlement.outgoing) <= _SMALL_BYTES:
            handled()
        try:
            await self._produce(settlement, trace)
        except RecordError as error:
            # Too large for its topic: only a dead letter, which is cut to fit, can take it.
            await self._produce(self._too_large(job, error), trace)
        return True

    def _too_large(self, job: Job, error: RecordError) -> Settlement:
        dead = Dead(reason=error.reason, error_class=ErrorClass.REFUSED, message=error.message)
        return settle(job, dead, self._plan, self._broker_clock.now_ms())

    async def _produce(self, settlement: Settlement, trace: bytes | None) -> None:
        for outgoing in settlement.outgoing:
            with self._tracing.sending(outgoing, trace) as record:
                await self._sink.send(record)
        if settlement.event is not None:
            self._emit(settlement.event)
