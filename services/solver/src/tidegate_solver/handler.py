"""The solver's logic: every request gets its answer, and a solve is paid for once.

A request is looked up in the journal first: what was answered is answered again, a task that exists is
polled on, a reservation without a task id is settled in doubt (M3, M4). Only a request that the journal
does not know is bought, and only where its kind is sold, its price allowed and its life long enough (C4).

Solver trouble is never the runtime's ``Retry`` or ``Dead``: the answer says what happened and the fetcher
decides (C2). What is published goes out in a fixed order, by the runtime, one after the other: the solve's
cost, the answer, the end of the ledger's reservation, and last the journal's ``answered``. Whatever is lost
by a crash in between, the redo finds ``task`` in the journal and publishes all of it again, without a
purchase; and ``answered`` never stands for an answer that nobody was given (M4), nor for a reservation that
nobody would ever end. Producing after ``handle`` has returned also keeps these records out of reach of the
handler's deadline.
"""

import asyncio
from typing import TypeAlias

import msgspec
from tidegate import records
from tidegate.captcha_records import CaptchaRequest, SolutionStatus, SolutionVerdict
from tidegate.clock import BrokerClock
from tidegate.consume.attempt import where
from tidegate.consume.service import Work
from tidegate.errors import BrokerError, IllegalTransitionError
from tidegate.events import Emit
from tidegate.outcome import Done, Outcome, Outgoing
from tidegate.process import PartitionReader
from tidegate.records import Inbound, Job, stray_job
from tidegate.topics import Topic

from tidegate_solver import answers, events
from tidegate_solver.answers import Answer
from tidegate_solver.budget import Budget
from tidegate_solver.buying import Buyer
from tidegate_solver.journal import Entry, Journal
from tidegate_solver.journal_log import entry_record, restore
from tidegate_solver.purchase import Purchases
from tidegate_solver.settings import SolverSettings
from tidegate_solver.verdicts import Verdicts, decode_verdict

Payload: TypeAlias = CaptchaRequest | SolutionVerdict

_REQUEST = records.decoder(CaptchaRequest)


class _Leader(msgspec.Struct, frozen=True):
    """The first record that asks under an id, while it is in flight: others get its answer, or take over."""

    work: Work[CaptchaRequest]
    answer: asyncio.Future[Answer | None]

    def is_copy(self, other: Work[CaptchaRequest]) -> bool:
        """Say whether another record is of the very same job: not one that was submitted again.

        The leader's own record, handed out anew after a rebalance, is none: its first handler may be dying.
        """
        mine, its = self.work.record, other.record
        of_one_job = self.work.payload.state.accepted_at_ms == other.payload.state.accepted_at_ms
        return of_one_job and (mine.partition, mine.offset) != (its.partition, its.offset)


class Solver:
    """The service. One instance a process; journals by partition."""

    def __init__(
        self,
        settings: SolverSettings,
        buyer: Buyer,
        budget: Budget,
        verdicts: Verdicts,
        purchases: Purchases,
        *,
        reader: PartitionReader,
        broker_clock: BrokerClock,
        emit: Emit,
    ) -> None:
        self._settings = settings
        self._buyer = buyer
        self._budget = budget
        self._verdicts = verdicts
        self._purchases = purchases
        self._reader = reader
        self._broker_clock = broker_clock
        self._emit = emit
        self._journals: dict[int, Journal] = {}
        self._leaders: dict[str, _Leader] = {}

    def decode(self, record: Inbound) -> Work[Payload]:
        """Read a request, or a verdict on an answer. Raises RecordError where it is neither."""
        if record.topic == Topic.CAPTCHA_VERDICTS:
            verdict = decode_verdict(record)
            return Work(record, stray_job(record, verdict.site), verdict)
        request = records.decode(_REQUEST, record.value, "a captcha request")
        return Work(record, Job(request.original, request.state), request)

    async def prepare(self, partition: int) -> None:
        """Read the partition's journal, after what an earlier assignment of it left unfinished here."""
        await self._purchases.settled_partition(partition)
        journal = Journal(
            keep_ms=int(self._settings.journal_keep_s * 1000), max_answered=self._settings.journal_entries
        )
        restored = await restore(self._reader, partition, journal, self._broker_clock)
        # What its former owner reserved stands in the ledger; so it must be known here as it is now.
        await self._budget.catch_up()
        self._journals[partition] = journal
        self._emit(
            events.JournalRestored(
                partition=partition,
                records=restored.records,
                entries=len(journal),
                unreadable=restored.unreadable,
            )
        )

    def release(self, partition: int) -> None:
        """Forget a partition's journal: its next owner goes on with the log."""
        self._journals.pop(partition, None)

    async def handle(self, work: Work[Payload]) -> Outcome:
        """Answer a request, or take note of a verdict."""
        match work.payload:
            case SolutionVerdict() as verdict:
                await self._verdicts.take(verdict)
                return Done()
            case CaptchaRequest() as request:
                return await self._answer(Work(work.record, work.job, request))

    async def _answer(self, work: Work[CaptchaRequest]) -> Outcome:
        """Answer a request. A second record with an id that is in flight gets the first one's answer."""
        request = work.payload
        while (leader := self._leaders.get(request.request_id)) is not None:
            answer = await asyncio.shield(leader.answer)
            if answer is not None:
                # The leader's record stands for the job until its answer is published.
                copy = leader.is_copy(work)
                return Done((self._repeat(request, answer, answered_before=copy),))
        mine: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._leaders[request.request_id] = _Leader(work, mine)
        try:
            outgoing, answer = await self._settle(work)
            mine.set_result(answer)
            return Done(outgoing)
        finally:
            del self._leaders[request.request_id]
            if not mine.done():
                mine.set_result(None)  # cancelled or faulted: the next in line takes over

    async def _settle(self, work: Work[CaptchaRequest]) -> tuple[tuple[Outgoing, ...], Answer]:
        request, partition = work.payload, work.record.partition
        await self._purchases.settled(request.request_id)
        journal = self._journals.get(partition)
        if journal is None:
            message = f"partition {partition} is worked on but was not prepared"
            raise IllegalTransitionError(message)
        self._trim(partition, journal)
        known = journal.get(request.request_id)
        if known is not None and known.answer is not None:
            left = self._budget.leftover(request.request_id)
            # Another job may have the same id: one that was submitted again.
            same = known.accepted_at_ms == request.state.accepted_at_ms
            return (self._repeat(request, known.answer, answered_before=same), *left), known.answer
        try:
            answer = await (
                self._buyer.buy(work, journal) if known is None else self._buyer.redo(work, known)
            )
        except BrokerError:
            raise
        except Exception as error:  # noqa: BLE001 -- our own fault must not cost the request its answer (C2)
            self._emit(
                events.HandlerFaulted(
                    request_id=request.request_id, error=f"{type(error).__name__}, {where(error)}"
                )
            )
            answer = self._faulted(journal.get(request.request_id), error)
        # Who began it may have published its answer, and died before the journal said so.
        return self._publish(work, journal, answer, repeated=known is not None), answer

    def _publish(
        self, work: Work[CaptchaRequest], journal: Journal, answer: Answer, *, repeated: bool
    ) -> tuple[Outgoing, ...]:
        request, record = work.payload, work.record
        site = request.state.site
        solve = answers.solve_record(request, answer, record.timestamp_ms)
        outgoing = [
            Outgoing(topic=Topic.SOLVES, site=site, value=records.encode(solve)),
            self._solution(request, answer, repeated=repeated),
        ]
        known = journal.get(request.request_id)
        outgoing += self._budget.closing(request.request_id, known, answer)
        if known is not None:
            entry = journal.answer(request.request_id, answer)
            outgoing.append(entry_record(site, record.partition, request.request_id, entry))
        self._emit(
            events.SolveAnswered(
                request_id=request.request_id,
                site=site,
                kind=request.challenge.kind,
                status=answer.status,
                provider=answer.provider,
                task_id=answer.task_id,
                cost=answer.cost,
                polls=answer.polls,
                seconds=self._age_s(record),
                error_code=answer.error_code,
                message=answer.message,
            )
        )
        return tuple(outgoing)

    def _age_s(self, record: Inbound) -> float:
        """Return seconds since the broker took the record, by the broker's clock (T1)."""
        return max(0.0, (self._broker_clock.now_ms() - record.timestamp_ms) / 1000)

    def _faulted(self, entry: Entry | None, error: Exception) -> Answer:
        return Answer(
            status=SolutionStatus.FAILED,
            message=f"the solver failed: {type(error).__name__}",
            provider=None if entry is None else entry.provider,
            task_id=None if entry is None else entry.task_id,
            cost=0.0 if entry is None else entry.max_cost,
            error_code="internal",
            created_at_ms=None if entry is None else entry.created_at_ms,
            answered_at_ms=self._broker_clock.now_ms(),
            in_doubt=entry is not None,
        )

    def _repeat(self, request: CaptchaRequest, answer: Answer, *, answered_before: bool = False) -> Outgoing:
        self._emit(events.AnswerRepeated(request_id=request.request_id, status=answer.status))
        return self._solution(request, answer, repeated=True, answered_before=answered_before)

    def _solution(
        self, request: CaptchaRequest, answer: Answer, *, repeated: bool, answered_before: bool = False
    ) -> Outgoing:
        solution = answers.solution(
            request,
            answer,
            self._broker_clock.now_ms(),
            repeated=repeated,
            answered_before=answered_before,
        )
        return Outgoing(
            topic=Topic.CAPTCHA_SOLUTIONS, site=request.state.site, value=records.encode(solution)
        )

    def _trim(self, partition: int, journal: Journal) -> None:
        for reason, dropped in zip(
            ("age", "count"), journal.forget(self._broker_clock.now_ms()), strict=True
        ):
            if dropped:
                self._emit(events.JournalTrimmed(partition=partition, dropped=dropped, reason=reason))
