"""How a request is bought: who is asked, what follows a refusal, and the way of a paid task to its answer.

At most one task is bought for a request. Who refuses to make one leaves it to the next provider, at once or
after a pause; a task that fails is answered as failed, and the fetcher asks anew with another id, so that
what a request may cost is never more than one solve.
"""

import random
from collections.abc import Callable

import msgspec
from tidegate.captcha_records import CaptchaRequest, SolutionStatus, TaskState
from tidegate.clock import BrokerClock, Clock
from tidegate.consume.service import Work
from tidegate.events import Emit
from tidegate.ledger.decisions import Verdict
from tidegate.records import Inbound

from tidegate_solver import answers, events, wire
from tidegate_solver.admission import Turn
from tidegate_solver.answers import Answer
from tidegate_solver.budget import Denied
from tidegate_solver.journal import Entry, Journal
from tidegate_solver.market import Market, Member, NoOffer, Offer, Patience
from tidegate_solver.profiles import ErrorKind, KindProfile
from tidegate_solver.provider import Provider, Task
from tidegate_solver.purchase import Bought, Order, Purchases, Result, TooLate
from tidegate_solver.router import Next, Visit
from tidegate_solver.settings import HANDLER_DEADLINE_S, SolverSettings
from tidegate_solver.strength import ending_of_harvest
from tidegate_solver.unread_watch import UnreadWatch
from tidegate_solver.worth import time_to_wait_s

# Kept back from the handler's deadline for what comes after the last poll.
_ENDING_S = 30.0


class _Errand(msgspec.Struct, frozen=True):
    """One request on its way through the providers."""

    work: Work[CaptchaRequest]
    journal: Journal
    visit: Visit
    patience: Patience


class Shut(msgspec.Struct, frozen=True):
    """Nothing was bought: answers for the site lie unread."""


class Buyer:
    """Buys from the market, for every partition."""

    def __init__(
        self,
        settings: SolverSettings,
        market: Market,
        purchases: Purchases,
        unread: UnreadWatch,
        *,
        clock: Clock,
        broker_clock: BrokerClock,
        random: random.Random,
        emit: Emit,
    ) -> None:
        self._settings = settings
        self._market = market
        self._purchases = purchases
        self._unread = unread
        self._clock = clock
        self._broker_clock = broker_clock
        self._random = random
        self._emit = emit

    async def buy(self, work: Work[CaptchaRequest], journal: Journal) -> Answer:
        """Buy an answer for a request that the journal does not know, or say why not."""
        visit, told = Visit(self._settings.create_retries), False
        errand = _Errand(work, journal, visit, self._patience_of(work))
        while True:
            offers = self._market.offers(work.payload, visit, errand.patience)
            if isinstance(offers, NoOffer):
                now_ms = self._broker_clock.now_ms()
                return answers.unbought(offers.status, offers.code, offers.message, now_ms)
            if self._unread.is_shut(work.payload.state.site):
                # What is bought now would die as the others do. Patience may run out meanwhile.
                told = told or self._tell_held(work.payload)
                await self._unread.turned()
                continue
            ended = await self._buy_at_one(errand, offers)
            if isinstance(ended, Answer):
                return ended
            if ended is Next.AGAIN:
                # Its place is free meanwhile: whoever was refused for want of capacity does not sit on some.
                longest_s = max(errand.patience(offer.member.provider, offer.kind) for offer in offers)
                await self._clock.sleep(max(0.0, min(self._pause_s(visit.tries), longest_s)))

    async def _buy_at_one(self, errand: _Errand, offers: list[Offer]) -> Answer | Next:
        """Buy at the first provider whose turn comes; what follows where that one makes no task."""
        request, others = errand.work.payload, len(offers) > 1

        def goes_on(reply: wire.Rejected) -> bool:
            of_the_page = self._market.is_of_the_page(offer.member, request, reply.kind)
            return errand.visit.next_after(reply.kind, others=others, of_the_page=of_the_page) is not Next.END

        async with self._market.turn(offers, request) as found:
            if found is None:
                return self._too_late(errand.work)
            offer, turn = found
            result = await self._buy_from(errand, offer, turn, goes_on)
            if isinstance(result, Bought):
                self._market.made(offer.member, request)
                return await self._harvest(errand.work, offer.member, offer.kind, result.task, turn)
        return self._unbought(errand, offer, result, others=others)

    def _unbought(
        self,
        errand: _Errand,
        offer: Offer,
        result: TooLate | Shut | Denied | wire.InDoubt | wire.Rejected,
        *,
        others: bool,
    ) -> Answer | Next:
        """Return what follows where no task was made, or nobody knows."""
        request, now_ms = errand.work.payload, self._broker_clock.now_ms()
        match result:
            case TooLate():
                return self._too_late(errand.work)
            case Shut():
                return Next.OTHER  # it is waited out first
            case Denied(decision) if decision.verdict is Verdict.PROVIDER_OUT:
                return Next.OTHER  # the market knows it by now
            case Denied(decision):
                return answers.denied(decision, now_ms)
            case wire.InDoubt(message=message):
                return self._in_doubt(request, offer.member.name, offer.kind.price, message)
            case wire.Rejected():
                following = self._refused(request, errand.visit, offer, result, others=others)
                ended = following is Next.END
                return answers.rejected(offer.member.name, result, now_ms) if ended else following

    async def _buy_from(
        self, errand: _Errand, offer: Offer, turn: Turn, goes_on: Callable[[wire.Rejected], bool]
    ) -> Result | Shut:
        provider, request = offer.member.provider, errand.work.payload
        patience_s = errand.patience(provider, offer.kind)
        if patience_s <= 0:
            return TooLate()
        if self._unread.is_shut(request.state.site):
            return Shut()  # while the turn was waited for
        self._market.bought(offer.member, request)
        return await self._purchases.buy(
            Order(
                request=request,
                partition=errand.work.record.partition,
                journal=errand.journal,
                provider=provider,
                offer=offer.kind,
                until_ms=self._broker_clock.now_ms() + int(patience_s * 1000),
                goes_on=goes_on,
                turn=turn,
            )
        )

    def _refused(
        self, request: CaptchaRequest, visit: Visit, offer: Offer, reply: wire.Rejected, *, others: bool
    ) -> Next:
        """Take note that a provider made no task, and say what follows."""
        member = offer.member
        of_the_page = self._market.is_of_the_page(member, request, reply.kind)
        following = visit.refused(member.name, reply.kind, others=others, of_the_page=of_the_page)
        self._market.rejected(member, request, reply)
        self._emit(
            events.CreateRejected(
                request_id=request.request_id,
                provider=member.name,
                code=reply.code,
                error_kind=reply.kind,
                message=reply.message,
                tries=visit.tries,
            )
        )
        return following

    def _tell_held(self, request: CaptchaRequest) -> bool:
        self._emit(events.PurchaseHeld(request_id=request.request_id, site=request.state.site))
        return True

    def _too_late(self, work: Work[CaptchaRequest]) -> Answer:
        return answers.unbought(
            SolutionStatus.EXPIRED_UNBOUGHT,
            "expired",
            f"{self._age_s(work.record):.0f} s old of {work.payload.lifetime_s:.0f} s: "
            "a solve would come too late",
            self._broker_clock.now_ms(),
        )

    async def redo(self, work: Work[CaptchaRequest], entry: Entry) -> Answer:
        """Settle a request that another handler began: poll on, or book it in doubt."""
        request = work.payload
        now_ms = self._broker_clock.now_ms()
        if entry.state is TaskState.RESERVED or entry.task_id is None or entry.created_at_ms is None:
            message = "a task may have been made and its id was lost"
            return self._in_doubt(request, entry.provider, entry.max_cost, message)
        member = self._market.members.get(entry.provider)
        kind = None if member is None else member.provider.profile.kinds.get(request.challenge.kind)
        if member is None or kind is None:
            gone = wire.Failed(code="provider_gone", kind=ErrorKind.LOST, message="is no longer set up here")
            bill = answers.Bill(
                provider=entry.provider,
                task_id=entry.task_id,
                cost=entry.max_cost,
                polls=0,
                created_at_ms=entry.created_at_ms,
                is_certain=False,
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
        return await self._harvest(work, member, msgspec.structs.replace(kind, price=entry.max_cost), task)

    async def _harvest(
        self,
        work: Work[CaptchaRequest],
        member: Member,
        offer: KindProfile,
        task: Task,
        turn: Turn | None = None,
    ) -> Answer:
        """Poll a paid task to its end, whatever has become of the request, and book its cost."""
        request = work.payload
        harvest = await member.provider.harvest(task, offer)
        if turn is not None:
            turn.ending, turn.took_s = ending_of_harvest(harvest), harvest.took_s
        self._market.ended(member, request, harvest, resumed=task.resumed)
        cost = member.provider.cost_of(harvest.result, offer.price)
        if cost > offer.price:
            self._emit(
                events.CostAboveReservation(
                    request_id=request.request_id,
                    provider=member.name,
                    reserved=offer.price,
                    cost=cost,
                )
            )
        bill = answers.Bill(
            provider=member.name,
            task_id=task.task_id,
            cost=cost,
            polls=harvest.polls,
            created_at_ms=task.created_at_ms,
            is_certain=member.provider.is_cost_certain(harvest.result),
        )
        return answers.ended(
            request,
            harvest.result,
            bill,
            age_s=self._age_s(work.record),
            uncertain_s=harvest.uncertain_s,
            now_ms=self._broker_clock.now_ms(),
            hopeless=not self._market.has_other(member, request),
        )

    def _patience_of(self, work: Work[CaptchaRequest]) -> Patience:
        """Return how long a request may wait until it is bought; not above 0: it is too late (C4)."""
        request = work.payload
        ends_s = self._clock.monotonic() + HANDLER_DEADLINE_S - _ENDING_S

        def patience_s(provider: Provider, kind: KindProfile) -> float:
            worth_s = time_to_wait_s(
                age_s=self._age_s(work.record),
                usual_s=provider.usual_s(request.challenge.kind),
                margin_s=self._settings.submit_margin_s,
                lifetime_s=min(request.lifetime_s, self._settings.journal_keep_s),
            )
            return min(worth_s, ends_s - provider.time_limit_s(kind) - self._clock.monotonic())

        return patience_s

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
