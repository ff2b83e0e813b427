"""One solving service: creates tasks, asks after them, and tells what became of the money.

Several of these stand behind the ``market``; the walls before each one are in ``admission``.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
from tidegate.captcha_records import CaptchaRequest
from tidegate.clock import BrokerClock, Clock
from tidegate.events import Emit
from tidegate.records import ChallengeKind

from tidegate_solver import wire
from tidegate_solver.createtask import CreateTask
from tidegate_solver.events import ErrorCodeUnknown, PollTroubled
from tidegate_solver.inphp import InPhp
from tidegate_solver.polling import PollPlan
from tidegate_solver.profiles import ErrorKind, Family, KindProfile, Profile, Window
from tidegate_solver.transport import NoAnswerError, NotSentError, Transport
from tidegate_solver.turns import Turns
from tidegate_solver.worth import USUAL_S, SolveTimes

_BUSY_PAUSE_S = 5.0
_FAMILIES: Mapping[Family, Callable[[Profile, str], wire.Family]] = {
    Family.CREATE_TASK: CreateTask,
    Family.IN_PHP: InPhp,
}


Refusal = TypeVar("Refusal", wire.Rejected, wire.Failed)

# Codes of our own: the task goes on at the vendor's, and nobody here asks after it any more.
GIVEN_UP = frozenset({"poll_cap", "time_limit"})


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task at the service. ``created_at_ms`` by the broker's clock; ``resumed`` from the journal."""

    request_id: str
    kind: ChallengeKind
    task_id: str
    created_at_ms: int
    resumed: bool = False
    ready: wire.Ready | None = None


class Harvest(msgspec.Struct, frozen=True, kw_only=True):
    """What polling brought.

    ``uncertain_s`` is how long before the end it was still not there, ``took_s`` the task's age at the end;
    ``troubled`` says that polls got no answer, so that it may have been ready much earlier.
    """

    result: wire.Ready | wire.Failed
    polls: int
    uncertain_s: float = 0.0
    took_s: float = 0.0
    troubled: bool = False


class Provider:
    """A profile, its account's key and a transport.

    ``time_limit_s`` takes the place of the profile's limits; ``proxies`` are the fetcher's, by their id.
    """

    def __init__(
        self,
        profile: Profile,
        key: str,
        transport: Transport,
        *,
        time_limit_s: float | None,
        clock: Clock,
        broker_clock: BrokerClock,
        emit: Emit,
        proxies: Mapping[str, wire.Proxy] | None = None,
    ) -> None:
        self.profile = profile
        self.name = profile.name
        self._time_limit_s = time_limit_s
        self._key = key
        self._transport = transport
        self._wire = _FAMILIES[profile.family](profile, key)
        self._clock = clock
        self._broker_clock = broker_clock
        self._emit = emit
        self._proxies = proxies or {}
        self._turns = Turns()
        self._times = {kind: SolveTimes(usual_s) for kind, usual_s in USUAL_S.items()}

    def offer(self, kind: ChallengeKind) -> KindProfile | None:
        """Return how a kind is asked for and at what price, None where it is not sold here."""
        return self.profile.offer(kind)

    def proxy_of(self, request: CaptchaRequest) -> wire.Proxy | None:
        """Return the proxy that the request's page was fetched through, if this service can use it."""
        proxy = self._proxies.get(request.identity.proxy_id or "")
        return proxy if proxy is not None and proxy.suits(self.profile) else None

    def time_limit_s(self, kind: KindProfile) -> float:
        """Return the longest life of a task of that kind, counted from its creation."""
        return self.profile.rhythm(kind).time_limit_s if self._time_limit_s is None else self._time_limit_s

    def usual_s(self, kind: ChallengeKind) -> float:
        """Return the time within which 95 % of solves of that kind end."""
        usual_s = self._times[kind].p95_s(self._clock.monotonic())
        offer = self.profile.kinds.get(kind)
        return usual_s if offer is None else min(usual_s, self.time_limit_s(offer))

    async def create(self, request: CaptchaRequest, kind: KindProfile) -> wire.CreateReply:
        """Make a task once and say what the answer proves. Never raises for the service's trouble."""
        call = self._wire.create(kind, request, self.proxy_of(request))
        try:
            status, reply = await self._transport.send(call)
        except NotSentError as error:
            return wire.Rejected(code=error.code, kind=ErrorKind.BUSY, message=str(error))
        except NoAnswerError as error:
            return wire.InDoubt(message=f"createTask was sent and got {error}")
        result = self._wire.read_create(kind, status, reply)
        return self._clean(result) if isinstance(result, wire.Rejected) else result

    async def balance(self) -> wire.BalanceReply:
        """Ask what the account has left. Never raises for the service's trouble."""
        try:
            status, reply = await self._transport.send(self._wire.balance())
        except (NotSentError, NoAnswerError) as error:
            return wire.InDoubt(message=str(error))
        result = self._wire.read_balance(status, reply)
        return self._clean(result) if isinstance(result, wire.Rejected) else result

    def takes_reports(self, kind: ChallengeKind, *, good: bool) -> bool:
        """Say whether the vendor wants this word on a token of that kind."""
        return self.profile.reports.call_for(kind, good=good) is not None

    async def report(
        self, task_id: str, kind: ChallengeKind, *, good: bool
    ) -> wire.Rejected | wire.InDoubt | None:
        """Give a word on a token, once; None where it was taken. Never raises for the service's trouble."""
        call = self._wire.report(task_id, kind, good=good)
        if call is None:
            return None
        try:
            status, reply = await self._transport.send(call)
        except (NotSentError, NoAnswerError) as error:
            return wire.InDoubt(message=str(error))
        result = self._wire.read_report(status, reply)
        return self._clean(result) if isinstance(result, wire.Rejected) else result

    async def harvest(self, task: Task, kind: KindProfile) -> Harvest:
        """Poll a task until it ends, its time limit passes or the vendor's cap is met.

        All counts from the task's creation (M5). A resumed task whose time is over is asked after once
        more: its answer may still lie there, and it is paid for.
        """
        plan = self.profile.poll_plan(kind, self._time_limit_s)
        if task.ready is not None:
            return Harvest(result=task.ready, polls=0)
        age_s = max(0.0, (self._broker_clock.now_ms() - task.created_at_ms) / 1000)
        created_s = self._clock.monotonic() - age_s
        polls = plan.made_by(age_s) if task.resumed else 0
        # Where the last process stood in its rhythm is not known: as if it had polled just now.
        last_s = age_s if task.resumed and polls else None
        once_more = task.resumed and not self._is_gone(age_s)
        troubled = False
        while True:
            due_s = plan.next_after(last_s)
            if not plan.may_poll(due_s, polls) and not (once_more and polls < plan.cap):
                return self._given_up(task, plan, polls, created_s, troubled=troubled)
            once_more = False
            await self._clock.sleep(max(0.0, created_s + due_s - self._clock.monotonic()))
            await self._turns.mine()
            last_s = self._clock.monotonic() - created_s
            polls += 1
            result = await self._poll(task, kind)
            if not isinstance(result, wire.Pending):
                took_s = self._clock.monotonic() - created_s
                if isinstance(result, wire.Ready) and not task.resumed:
                    self._times[task.kind].observe(took_s, self._clock.monotonic())
                uncertain_s = min(took_s, plan.interval_s)
                return Harvest(
                    result=result, polls=polls, uncertain_s=uncertain_s, took_s=took_s, troubled=troubled
                )
            troubled = troubled or result.trouble is not None
            if result.busy:
                last_s += max(0.0, _BUSY_PAUSE_S - plan.interval_s)

    def _given_up(
        self, task: Task, plan: PollPlan, polls: int, created_s: float, *, troubled: bool
    ) -> Harvest:
        now_s = self._clock.monotonic()
        if not task.resumed:
            self._times[task.kind].observe(now_s - created_s, now_s)
        if polls >= plan.cap:
            code, message = "poll_cap", f"not ready after {polls} polls, the most that the service allows"
        else:
            code, message = "time_limit", f"not ready after {plan.time_limit_s:.0f} s"
        failed = wire.Failed(code=code, kind=ErrorKind.RETRY, message=message)
        return Harvest(result=failed, polls=polls, took_s=now_s - created_s, troubled=troubled)

    async def _poll(self, task: Task, kind: KindProfile) -> wire.ResultReply:
        call = self._wire.result(task.task_id)
        try:
            status, reply = await self._transport.send(call)
        except (NotSentError, NoAnswerError) as error:
            result: wire.ResultReply = wire.Pending(trouble=str(error))
        else:
            result = self._wire.read_result(kind, status, reply)
        if isinstance(result, wire.Pending) and result.trouble is not None:
            trouble = self._scrub(result.trouble)
            self._emit(PollTroubled(request_id=task.request_id, provider=self.name, trouble=trouble))
        return self._clean(result) if isinstance(result, wire.Failed) else result

    def cost_of(self, result: wire.Ready | wire.Failed, kind_price: float) -> float:
        """Return what a task that was made is booked at, in US dollars.

        The reply's own figure; else the price, also for a failure unless the vendor says that it is free. A
        task that was given up here may still be solved there, and charged.
        """
        if result.cost is not None:
            return result.cost
        return 0.0 if isinstance(result, wire.Failed) and self._is_free(result) else kind_price

    def is_cost_certain(self, result: wire.Ready | wire.Failed) -> bool:
        """Say whether ``cost_of`` is what the vendor charges, or only the most that it may (M3)."""
        if isinstance(result, wire.Ready) or result.cost is not None:
            return True
        given_up = result.kind is ErrorKind.LOST or result.code in GIVEN_UP
        return self._is_free(result) or (self.profile.charges_failures and not given_up)

    def _is_free(self, result: wire.Failed) -> bool:
        return result.code not in GIVEN_UP and self.profile.is_uncharged(result.code)

    def _is_gone(self, age_s: float) -> bool:
        """Say whether the vendor has certainly thrown a result of that age away."""
        window_s = self.profile.result_window_s
        return 0 < window_s < age_s and self.profile.result_window_from is Window.CREATED

    def _clean(self, result: Refusal) -> Refusal:
        """Take the account's key out of a refusal, and report a code that nobody listed."""
        code, message = self._scrub(result.code), self._scrub(result.message)
        if result.kind is ErrorKind.UNKNOWN:
            self._emit(ErrorCodeUnknown(provider=self.name, code=code, message=message))
        return msgspec.structs.replace(result, code=code, message=message)

    def _scrub(self, text: str) -> str:
        """Take the account's key out of a text that the service wrote."""
        return scrubber(self._key)(text)


def scrubber(key: str) -> Callable[[str], str]:
    """Return a function that makes a stranger's text fit for logs and records: no key, one line."""

    def scrub(text: str) -> str:
        clean = text.replace(key, "***") if key else text
        return "".join(c if c.isprintable() else " " for c in clean)

    return scrub
