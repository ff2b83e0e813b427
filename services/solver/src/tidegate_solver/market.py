"""All providers at once: who could be asked for a request, whose turn it is, and what became of it.

The decisions are ``router``, ``measures``, ``refusals`` and ``standing``, all of them pure; this keeps one of
each for every provider and asks them with the clock in hand.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

import msgspec
from tidegate.captcha_records import CaptchaRequest, SolutionStatus
from tidegate.clock import Clock
from tidegate.events import Emit
from tidegate.flow.breaker import BreakerPolicy
from tidegate.records import ChallengeKind, Route

from tidegate_solver import events, wire
from tidegate_solver.admission import Admission, Turn, turn_at
from tidegate_solver.measures import Measures
from tidegate_solver.profiles import ErrorKind, KindProfile
from tidegate_solver.provider import Harvest, Provider
from tidegate_solver.refusals import Refusals
from tidegate_solver.router import Candidate, Visit, is_of_the_page, rank
from tidegate_solver.standing import Place, Standing
from tidegate_solver.strength import is_of_the_request

_TICK_S = 1.0
# As many tasks in a row that came to nothing, at two sites or more, and it is the provider's bad day.
_SLUMP = BreakerPolicy(failures=10, reset_s=60.0)
_SEVERAL = 2
_NONSENSE = frozenset({ErrorKind.INPUT, ErrorKind.UNSUPPORTED, ErrorKind.EXPIRED})


class Duty(StrEnum):
    """What a provider has to do, one after the other."""

    TAKE = "takes no order"
    SOLVE = "solves nothing"
    OPEN = "opens nothing"


class MarketPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How the market behaves; the fields are those of the settings. Times in seconds."""

    route: Route = Route.CHEAPEST
    prefer_wait_s: float = 5.0
    site_failures: int = 5
    site_reset_s: float = 600.0
    balance_check_s: float = 60.0
    balance_every_s: float = 600.0
    balance_low: float = 1.0


class Member:
    """A provider, the walls before it, and what is known of it."""

    def __init__(self, provider: Provider, admission: Admission, policy: MarketPolicy, now_s: float) -> None:
        self.provider = provider
        self.admission = admission
        self.measures = Measures()
        self.standing = Standing(policy.balance_check_s)
        self.look_at_s = now_s + policy.balance_every_s
        self.is_looked_at = False
        self.is_low = False
        self.is_out = False
        # The sites at which it failed since it last did not, by what it failed to do.
        self.failed_at: dict[Duty, set[str]] = {duty: set() for duty in Duty}

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.provider.name


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that could solve a request, by which table row, and how long the request may wait for it."""

    member: Member
    kind: KindProfile
    patience_s: float


class NoOffer(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody can be asked: how the request is answered, and why."""

    status: SolutionStatus
    code: str
    message: str


Patience = Callable[[Provider, KindProfile], float]


class Market:
    """The providers of this process, by name."""

    def __init__(
        self,
        members: Sequence[Member],
        policy: MarketPolicy,
        *,
        is_barred: Callable[[str], bool],
        clock: Clock,
        emit: Emit,
    ) -> None:
        self.members: Mapping[str, Member] = {member.name: member for member in members}
        self._policy = policy
        self._is_barred = is_barred
        self._clock = clock
        self._emit = emit
        self._by_provider = Refusals(
            BreakerPolicy(failures=policy.site_failures, reset_s=policy.site_reset_s)
        )
        self._by_site = Refusals(
            BreakerPolicy(failures=2 * policy.site_failures, reset_s=policy.site_reset_s)
        )
        self._slumps = Refusals(_SLUMP)

    def offers(self, request: CaptchaRequest, visit: Visit, patience: Patience) -> list[Offer] | NoOffer:
        """Return who could be asked now, the best first, or why nobody can."""
        sellers = self._sellers(request)
        if isinstance(sellers, NoOffer):
            return sellers
        now_s = self._clock.monotonic()
        in_place = [
            (m, row) for m, row in sellers if not visit.excludes(m.name) and self._why_not(m, now_s) is None
        ]
        if not in_place:
            out = ", ".join(f"{m.name} ({self._why_not(m, now_s) or 'refused it'})" for m, _ in sellers)
            return _none("expired_unbought", "no_provider", f"nobody can be asked now: {out}")
        open_now = [(m, row) for m, row in in_place if m.admission.opens_in_s == 0.0]
        offers = [
            Offer(member=m, kind=row, patience_s=patience(m.provider, row)) for m, row in open_now or in_place
        ]
        in_time = [offer for offer in offers if offer.patience_s > 0]
        if not in_time:
            message = f"a solve would come too late for its {request.lifetime_s:.0f} s"
            return _none("expired_unbought", "expired", message)
        return self._ranked(in_time, request, now_s)

    def _sellers(self, request: CaptchaRequest) -> list[tuple[Member, KindProfile]] | NoOffer:
        """Return who sells such a solve at a price that the job allows, and whose answers the site takes."""
        kind, site, now_s = request.challenge.kind, request.state.site, self._clock.monotonic()
        sold = [(m, row) for m in self.members.values() if (row := m.provider.offer(kind)) is not None]
        if not sold:
            names = ", ".join(self.members)
            return _none("unsolvable", "kind_not_offered", f"{kind.value} is not offered by {names}")
        reached = [(m, row) for m, row in sold if not row.needs_proxy or m.provider.proxy_of(request)]
        if not reached:
            message = f"{kind.value} is solved through the proxy that fetched the page, and there is none"
            return _none("unsolvable", "proxy_needed", message)
        allowed = [(m, row) for m, row in reached if not _is_too_dear(row, request)]
        if not allowed:
            least = min(row.price for _, row in reached)
            message = f"a solve costs up to {least:g} USD, the job allows {request.max_cost:g} USD"
            return _none("refused", "max_cost", message)
        taken = [(m, row) for m, row in allowed if not self._is_refused(m, site, kind, now_s)]
        if not taken or self._by_site.blocks((site, kind), now_s):
            message = f"{site} has taken no answer to {kind.value} for a while, whoever solved it"
            return _none("unsolvable", "site_refuses", message)
        return taken

    def _ranked(self, offers: list[Offer], request: CaptchaRequest, now_s: float) -> list[Offer]:
        by_name = {offer.member.name: offer for offer in offers}
        route = request.route or self._policy.route
        candidates = [_candidate(offer, request, now_s) for offer in offers]
        return [by_name[name] for name in rank(candidates, route)]

    @asynccontextmanager
    async def turn(
        self, offers: Sequence[Offer], request: CaptchaRequest
    ) -> AsyncIterator[tuple[Offer, Turn] | None]:
        """Wait for a turn at the best of them, and after a while at any; None where none came in time."""
        route = request.route or self._policy.route
        by_admission = {offer.member.admission: offer for offer in offers}
        async with turn_at(
            list(by_admission),
            request.challenge.kind,
            max(offer.patience_s for offer in offers),
            clock=self._clock,
            alone_s=0.0 if route is Route.FASTEST else self._policy.prefer_wait_s,
        ) as turn:
            yield None if turn is None else (by_admission[turn.admission], turn)

    def bought(self, member: Member, request: CaptchaRequest) -> None:
        """Take note that a task goes out: where all was refused, it is the one that finds out."""
        now_s, place = self._clock.monotonic(), (request.state.site, request.challenge.kind)
        self._by_provider.bought((member.name, *place), now_s)
        self._by_site.bought(place, now_s)
        for duty in Duty:
            self._slumps.bought((member.name, duty), now_s)

    def rejected(self, member: Member, request: CaptchaRequest, reply: wire.Rejected) -> None:
        """Take note of a refusal to make a task."""
        self._judge_error(member, reply.code, reply.kind)
        if reply.kind is ErrorKind.BUSY or self._is_of_the_account(reply.code, reply.kind):
            return
        # Whatever else it says: who goes on repeating what a vendor calls nonsense gets banned.
        site, kind = request.state.site, request.challenge.kind
        self._done(member, Duty.TAKE, site, kind, well=False)
        if reply.kind in _NONSENSE:
            self._refusal_noted(member, site, kind, well=False)

    def made(self, member: Member, request: CaptchaRequest) -> None:
        """Take note that a task was made."""
        self._done(member, Duty.TAKE, request.state.site, request.challenge.kind, well=True)

    def ended(self, member: Member, request: CaptchaRequest, harvest: Harvest, *, resumed: bool) -> None:
        """Take note of how a task ended."""
        result, kind, site = harvest.result, request.challenge.kind, request.state.site
        solved = isinstance(result, wire.Ready)
        if isinstance(result, wire.Failed):
            self._judge_error(member, result.code, result.kind)
            if self.is_of_the_page(member, request, result.kind):
                return
            if result.kind in _NONSENSE:
                self._refusal_noted(member, site, kind, well=False)
        self._done(member, Duty.SOLVE, site, kind, well=solved)
        if not resumed:
            now_s = self._clock.monotonic()
            member.measures.task_ended(kind, solved=solved, took_s=harvest.took_s, now_s=now_s)

    def judged(self, member: Member, site: str, kind: ChallengeKind, *, accepted: bool) -> None:
        """Take note of a site's verdict on an answer."""
        member.measures.judged(site, kind, accepted=accepted, now_s=self._clock.monotonic())
        self._refusal_noted(member, site, kind, well=accepted)
        self._done(member, Duty.OPEN, site, kind, well=accepted)

    def is_of_the_page(self, member: Member, request: CaptchaRequest, error: ErrorKind) -> bool:
        """Say whether an error would be anybody's answer until the page is fetched again."""
        row = member.provider.offer(request.challenge.kind)
        proxied = row is not None and member.provider.profile.goes_through_proxy(row)
        return is_of_the_page(
            error,
            one_use=request.challenge.lifetime_s is not None,
            proxied=proxied and member.provider.proxy_of(request) is not None,
        )

    def has_other(self, member: Member, request: CaptchaRequest) -> bool:
        """Say whether somebody else sells such solves, for a second opinion."""
        kind = request.challenge.kind
        return any(m is not member and m.provider.offer(kind) is not None for m in self.members.values())

    def is_refusing(self, member: Member, site: str, kind: ChallengeKind) -> bool:
        """Say whether a site has refused this provider's answers so often that they are not bought."""
        return self._is_refused(member, site, kind, self._clock.monotonic())

    async def watch(self) -> None:
        """Look at the accounts until cancelled: of those that are out, often, of the others, now and then.

        Tell on the way who is out: the ledger bars a provider for all solvers, whoever was charged too much.
        """
        async with asyncio.TaskGroup() as looks:
            while True:
                now_s = self._clock.monotonic()
                for member in self.members.values():
                    self._tell_standing(member, now_s)
                    due = member.standing.is_check_due(now_s) or now_s >= member.look_at_s
                    if due and not member.is_looked_at:
                        member.is_looked_at = True
                        looks.create_task(self._look(member), name=f"balance of {member.name}")
                await self._clock.sleep(_TICK_S)

    def _tell_standing(self, member: Member, now_s: float) -> None:
        is_out = self._is_barred(member.name) or member.standing.place(now_s) is Place.OUT
        if is_out != member.is_out:
            member.is_out = is_out
            self._emit(events.ProviderStanding(provider=member.name, out=is_out))

    async def _look(self, member: Member) -> None:
        profile = member.provider.profile
        reply = await member.provider.balance()
        now_s = self._clock.monotonic()
        member.look_at_s = now_s + self._policy.balance_every_s
        member.is_looked_at = False
        match reply:
            case wire.Balance(amount=amount):
                self._emit(events.BalanceRead(provider=member.name, balance=amount))
                low = amount < self._policy.balance_low and not profile.sells_threads
                if low and not member.is_low:
                    self._emit(events.BalanceLow(provider=member.name, balance=amount))
                member.is_low = low
                dearest = max((row.price for row in profile.kinds.values() if row.task_type), default=0.0)
                if member.standing.checked(now_s, well=amount >= dearest):
                    self._emit(events.ProviderBack(provider=member.name, balance=amount))
            case wire.Rejected(code=code, kind=kind):
                self._judge_error(member, code, kind)
                member.standing.checked(now_s, well=False, wait_s=profile.waits.get(code, 0.0))
            case wire.InDoubt():
                member.standing.checked(now_s, well=False)

    def _why_not(self, member: Member, now_s: float) -> str | None:
        """Return why a provider cannot be asked now, whoever wants it; None where it can."""
        if self._is_barred(member.name):
            return "cost_above_price"
        if member.standing.place(now_s) is not Place.IN:
            return member.standing.code
        for duty in Duty:
            if self._slumps.blocks((member.name, duty), now_s):
                return duty.value
        return None

    @staticmethod
    def _is_of_the_account(code: str, kind: ErrorKind) -> bool:
        return kind is ErrorKind.FATAL and not is_of_the_request(code)

    def _judge_error(self, member: Member, code: str, kind: ErrorKind) -> None:
        now_s, wait_s = self._clock.monotonic(), member.provider.profile.waits.get(code, 0.0)
        if self._is_of_the_account(code, kind):
            if member.standing.take_out(code, wait_s, now_s):
                self._emit(events.ProviderOut(provider=member.name, code=code, looks_again=True))
        elif wait_s > 0 and member.standing.pause(code, wait_s, now_s):
            self._emit(events.ProviderPaused(provider=member.name, code=code, wait_s=wait_s))

    def _is_refused(self, member: Member, site: str, kind: ChallengeKind, now_s: float) -> bool:
        return self._by_provider.blocks((member.name, site, kind), now_s)

    def _refusal_noted(self, member: Member, site: str, kind: ChallengeKind, *, well: bool) -> None:
        opened = self._by_provider.ended((member.name, site, kind), self._clock.monotonic(), well=well)
        if opened is not None:
            self._emit(events.SiteRefusal(provider=member.name, site=site, kind=kind.value, refusing=opened))

    def _done(self, member: Member, duty: Duty, site: str, kind: ChallengeKind, *, well: bool) -> None:
        """Count an ending: for the provider where it failed at several sites in a row, else for the site."""
        now_s, sites = self._clock.monotonic(), member.failed_at[duty]
        if well:
            sites.clear()
        elif len(sites) < _SEVERAL:
            sites.add(site)
        if well or len(sites) >= _SEVERAL:
            opened = self._slumps.ended((member.name, duty), now_s, well=well)
            if opened is not None:
                self._emit(events.ProviderSlump(provider=member.name, what=duty, slumped=opened))
        # An order that was taken, or a task that was solved, says nothing of the site yet.
        site_opened = well and duty is Duty.OPEN
        site_failed = not well and len(sites) < _SEVERAL and duty is not Duty.TAKE
        if site_opened or site_failed:
            opened = self._by_site.ended((site, kind), now_s, well=well)
            if opened is not None:
                self._emit(events.SiteUnsolvable(site=site, kind=kind.value, unsolvable=opened))


def _candidate(offer: Offer, request: CaptchaRequest, now_s: float) -> Candidate:
    member, kind = offer.member, request.challenge.kind
    profile = member.provider.profile
    rhythm = profile.rhythm(offer.kind)
    # The soonest that an answer can be seen: who is not known yet is tried.
    assumed_s = rhythm.first_delay_s + rhythm.interval_s
    expected = member.measures.estimate(request.state.site, kind, assumed_s=assumed_s, now_s=now_s)
    return Candidate(
        name=member.name,
        price=offer.kind.price,
        charges_failures=profile.charges_failures,
        solve_rate=expected.solve_rate,
        acceptance=expected.acceptance,
        seconds=expected.seconds,
        sold_before=sum(s.provider == member.name and s.kind is kind for s in request.state.solves),
    )


def _is_too_dear(row: KindProfile, request: CaptchaRequest) -> bool:
    return request.max_cost is not None and row.price > request.max_cost


def _none(status: str, code: str, message: str) -> NoOffer:
    return NoOffer(status=SolutionStatus(status), code=code, message=message)
