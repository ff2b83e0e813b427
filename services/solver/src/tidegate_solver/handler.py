"""The solver's logic: every request gets its answer, and a solve is paid for once.

A request is looked up in the journal first: what was answered is answered again, a task that exists is
polled on, a reservation without a task id is settled in doubt (M3, M4). Only a request that the journal
does not know is bought, and only where its kind is sold, its price allowed and its life long enough (C4).

Solver trouble is never the runtime's ``Retry`` or ``Dead``: the answer says what happened and the fetcher
decides (C2). What is published goes out in a fixed order, by the runtime, one after the other: the solve's
cost, the answer, and last the journal's ``answered``. Whatever is lost by a crash in between, the redo finds
``task`` in the journal and publishes all of it again, without a purchase; and ``answered`` never stands for
an answer that nobody was given (M4). Producing after ``handle`` has returned also keeps these records out of
reach of the handler's deadline.
"""

import asyncio
import random

import msgspec
from tidegate import records
from tidegate.captcha_records import CaptchaRequest, SolutionStatus, TaskState
from tidegate.clock import BrokerClock, Clock
from tidegate.consume.attempt import where
from tidegate.consume.service import Work
from tidegate.errors import BrokerError, IllegalTransitionError
from tidegate.events import Emit
from tidegate.outcome import Done, Outcome, Outgoing
from tidegate.process import PartitionReader
from tidegate.records import Inbound, Job
from tidegate.topics import Topic

from tidegate_solver import answers, events, wire
from tidegate_solver.admission import Admission, Turn
from tidegate_solver.answers import Answer
from tidegate_solver.journal import Entry, Journal
from tidegate_solver.journal_log import entry_record, restore
from tidegate_solver.profiles import ErrorKind, KindProfile
from tidegate_solver.provider import Provider, Task
from tidegate_solver.purchase import Bought, Order, Purchases, TooLate, is_retryable
from tidegate_solver.settings import HANDLER_DEADLINE_S, SolverSettings
from tidegate_solver.strength import ending_of_harvest
from tidegate_solver.worth import time_to_wait_s

_REQUEST = records.decoder(CaptchaRequest)

# Kept back from the handler's deadline for what comes after the last poll.
_ENDING_S = 30.0


class Solver:
    """The service. One instance a process; journals by partition."""

    def __init__(
        self,
        settings: SolverSettings,
        provider: Provider,
        admission: Admission,
        purchases: Purchases,
        reader: PartitionReader,
        *,
        clock: Clock,
        broker_clock: BrokerClock,
        random: random.Random,
        emit: Emit,
    ) -> None:
        self._settings = settings
        self._provider = provider
        self._admission = admission
        self._purchases = purchases
        self._reader = reader
        self._clock = clock
        self._broker_clock = broker_clock
        self._random = random
        self._emit = emit
        self._journals: dict[int, Journal] = {}
        self._leaders: dict[str, asyncio.Future[Answer | None]] = {}

    def decode(self, record: Inbound) -> Work[CaptchaRequest]:
        """Read a request. Raises RecordError where it is none."""
        request = records.decode(_REQUEST, record.value, "a captcha request")
        return Work(record, Job(request.original, request.state), request)

    async def prepare(self, partition: int) -> None:
        """Read the partition's journal, after what an earlier assignment of it left unfinished here."""
        await self._purchases.settled_partition(partition)
        journal = Journal(
            keep_ms=int(self._settings.journal_keep_s * 1000), max_answered=self._settings.journal_entries
        )
        restored = await restore(self._reader, partition, journal, self._broker_clock)
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

    async def handle(self, work: Work[CaptchaRequest]) -> Outcome:
        """Answer a request. A second record with an id that is in flight gets the first one's answer."""
        request = work.payload
        while (leader := self._leaders.get(request.request_id)) is not None:
            answer = await asyncio.shield(leader)
            if answer is not None:
                return Done((self._repeat(request, answer),))
        mine = self._leaders[request.request_id] = asyncio.get_running_loop().create_future()
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
            return (self._repeat(request, known.answer),), known.answer
        try:
            answer = await (self._buy(work, journal) if known is None else self._redo(work, known))
        except BrokerError:
            raise
        except Exception as error:  # noqa: BLE001 -- our own fault must not cost the request its answer (C2)
            self._emit(
                events.HandlerFaulted(
                    request_id=request.request_id, error=f"{type(error).__name__}, {where(error)}"
                )
            )
            answer = self._faulted(journal.get(request.request_id), error)
        return self._publish(work, journal, answer), answer

    def _publish(self, work: Work[CaptchaRequest], journal: Journal, answer: Answer) -> tuple[Outgoing, ...]:
        request, record = work.payload, work.record
        site = request.state.site
        solve = answers.solve_record(request, answer, record.timestamp_ms)
        outgoing = [
            Outgoing(topic=Topic.SOLVES, site=site, value=records.encode(solve)),
            self._solution(request, answer),
        ]
        if journal.get(request.request_id) is not None:
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

    async def _buy(self, work: Work[CaptchaRequest], journal: Journal) -> Answer:
        """Buy an answer for a request that the journal does not know, or say why not."""
        request, record = work.payload, work.record
        provider = self._provider  # the router's place: it will choose by route, price and acceptance
        offer = provider.offer(request.challenge.kind)
        now_ms = self._broker_clock.now_ms()
        if offer is None:
            message = f"{provider.name} does not offer {request.challenge.kind.value}"
            return answers.unbought(SolutionStatus.UNSOLVABLE, "kind_not_offered", message, now_ms)
        if request.max_cost is not None and offer.price > request.max_cost:
            message = f"a solve costs up to {offer.price:g} USD, the job allows {request.max_cost:g} USD"
            return answers.unbought(SolutionStatus.REFUSED, "max_cost", message, now_ms)
        ends_s = self._clock.monotonic() + HANDLER_DEADLINE_S - _ENDING_S - provider.time_limit_s
        tries = 0
        while (patience_s := self._patience_s(work, ends_s)) > 0:
            async with self._admission.turn(request.challenge.kind, patience_s) as turn:
                patience_s = self._patience_s(work, ends_s)
                if turn is None or patience_s <= 0:
                    break
                tries += 1
                last_try = tries > self._settings.create_retries
                result = await self._purchases.buy(
                    Order(
                        request=request,
                        partition=record.partition,
                        journal=journal,
                        provider=provider,
                        offer=offer,
                        until_ms=self._broker_clock.now_ms() + int(patience_s * 1000),
                        last_try=last_try,
                        turn=turn,
                    )
                )
                match result:
                    case Bought(task):
                        return await self._harvest(work, offer, task, turn)
                    case wire.InDoubt(message=message):
                        return self._in_doubt(request, provider.name, offer.price, message)
                    case TooLate():
                        break
            self._note_rejected(request, result, tries)
            if last_try or not is_retryable(result):
                return answers.rejected(provider.name, result, self._broker_clock.now_ms())
            # Its place is free meanwhile: whoever was refused for want of capacity does not sit on some.
            await self._clock.sleep(min(self._pause_s(tries), patience_s))
        return answers.unbought(
            SolutionStatus.EXPIRED_UNBOUGHT,
            "expired",
            f"{self._age_s(record):.0f} s old of {request.lifetime_s:.0f} s: a solve would come too late",
            self._broker_clock.now_ms(),
        )

    async def _redo(self, work: Work[CaptchaRequest], entry: Entry) -> Answer:
        """Settle a request that another handler began: poll on, or book it in doubt."""
        request = work.payload
        now_ms = self._broker_clock.now_ms()
        if entry.state is TaskState.RESERVED or entry.task_id is None or entry.created_at_ms is None:
            message = "a task may have been made and its id was lost"
            return self._in_doubt(request, entry.provider, entry.max_cost, message)
        kind = self._provider.profile.kinds.get(request.challenge.kind)
        if entry.provider != self._provider.name or kind is None:
            gone = wire.Failed(code="provider_gone", kind=ErrorKind.LOST, message="is no longer set up here")
            bill = answers.Bill(
                provider=entry.provider,
                task_id=entry.task_id,
                cost=entry.max_cost,
                polls=0,
                created_at_ms=entry.created_at_ms,
            )
            age_s = self._age_s(work.record)
            return answers.ended(request, gone, bill, age_s=age_s, uncertain_s=0.0, now_ms=now_ms)
        task = Task(
            request_id=request.request_id,
            kind=request.challenge.kind,
            task_id=entry.task_id,
            created_at_ms=entry.created_at_ms,
            resumed=True,
        )
        self._emit(
            events.TaskResumed(
                request_id=request.request_id,
                task_id=entry.task_id,
                age_s=max(0.0, (now_ms - entry.created_at_ms) / 1000),
            )
        )
        return await self._harvest(work, msgspec.structs.replace(kind, price=entry.max_cost), task)

    async def _harvest(
        self, work: Work[CaptchaRequest], offer: KindProfile, task: Task, turn: Turn | None = None
    ) -> Answer:
        """Poll a paid task to its end, whatever has become of the request, and book its cost."""
        request = work.payload
        harvest = await self._provider.harvest(task, offer)
        if turn is not None:
            turn.ending, turn.took_s = ending_of_harvest(harvest), harvest.took_s
        cost = self._provider.cost_of(harvest.result, offer.price)
        if cost > offer.price:
            self._emit(
                events.CostAboveReservation(
                    request_id=request.request_id,
                    provider=self._provider.name,
                    reserved=offer.price,
                    cost=cost,
                )
            )
        bill = answers.Bill(
            provider=self._provider.name,
            task_id=task.task_id,
            cost=cost,
            polls=harvest.polls,
            created_at_ms=task.created_at_ms,
        )
        return answers.ended(
            request,
            harvest.result,
            bill,
            age_s=self._age_s(work.record),
            uncertain_s=harvest.uncertain_s,
            now_ms=self._broker_clock.now_ms(),
        )

    def _patience_s(self, work: Work[CaptchaRequest], ends_s: float) -> float:
        """Return how long a request may wait until it is bought; not above 0: it is too late (C4)."""
        request = work.payload
        worth_s = time_to_wait_s(
            age_s=self._age_s(work.record),
            usual_s=self._provider.usual_s(request.challenge.kind),
            margin_s=self._settings.submit_margin_s,
            lifetime_s=min(request.lifetime_s, self._settings.journal_keep_s),
        )
        return min(worth_s, ends_s - self._clock.monotonic())

    def _age_s(self, record: Inbound) -> float:
        """Return seconds since the broker took the record, by the broker's clock (T1)."""
        return max(0.0, (self._broker_clock.now_ms() - record.timestamp_ms) / 1000)

    def _pause_s(self, tries: int) -> float:
        wait_s = self._settings.create_retry_wait_s * 2.0 ** (tries - 1)
        return wait_s + self._random.uniform(0, wait_s / 4)

    def _in_doubt(self, request: CaptchaRequest, provider: str, max_cost: float, message: str) -> Answer:
        self._emit(
            events.SpentInDoubt(
                request_id=request.request_id, provider=provider, cost=max_cost, message=message
            )
        )
        return answers.in_doubt(provider, max_cost, message, self._broker_clock.now_ms())

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
        )

    def _repeat(self, request: CaptchaRequest, answer: Answer) -> Outgoing:
        self._emit(events.AnswerRepeated(request_id=request.request_id, status=answer.status))
        return self._solution(request, answer)

    def _solution(self, request: CaptchaRequest, answer: Answer) -> Outgoing:
        solution = answers.solution(request, answer, self._broker_clock.now_ms())
        return Outgoing(
            topic=Topic.CAPTCHA_SOLUTIONS, site=request.state.site, value=records.encode(solution)
        )

    def _note_rejected(self, request: CaptchaRequest, reply: wire.Rejected, tries: int) -> None:
        self._emit(
            events.CreateRejected(
                request_id=request.request_id,
                provider=self._provider.name,
                code=reply.code,
                error_kind=reply.kind,
                message=reply.message,
                tries=tries,
            )
        )

    def _trim(self, partition: int, journal: Journal) -> None:
        for reason, dropped in zip(
            ("age", "count"), journal.forget(self._broker_clock.now_ms()), strict=True
        ):
            if dropped:
                self._emit(events.JournalTrimmed(partition=partition, dropped=dropped, reason=reason))
