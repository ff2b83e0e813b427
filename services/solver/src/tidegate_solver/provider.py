"""One solving service: creates tasks, asks after them, and tells what became of the money.

Later work puts several of these behind a router; the walls before each one are in ``admission``.
"""

from collections.abc import Callable

import msgspec
from tidegate.captcha_records import CaptchaRequest
from tidegate.clock import BrokerClock, Clock
from tidegate.events import Emit
from tidegate.records import ChallengeKind

from tidegate_solver import wire
from tidegate_solver.events import ErrorCodeUnknown, PollTroubled
from tidegate_solver.polling import PollPlan
from tidegate_solver.profiles import ErrorKind, KindProfile, Profile
from tidegate_solver.transport import NoAnswerError, NotSentError, Transport
from tidegate_solver.worth import FACTS, SolveTimes

_BUSY_PAUSE_S = 5.0


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
    """A profile, its account's key and a transport."""

    def __init__(
        self,
        profile: Profile,
        key: str,
        transport: Transport,
        *,
        time_limit_s: float,
        clock: Clock,
        broker_clock: BrokerClock,
        emit: Emit,
    ) -> None:
        self.profile = profile
        self.name = profile.name
        self.time_limit_s = time_limit_s
        self._key = key
        self._transport = transport
        self._clock = clock
        self._broker_clock = broker_clock
        self._emit = emit
        self._times = {kind: SolveTimes(facts.usual_s) for kind, facts in FACTS.items()}

    def offer(self, kind: ChallengeKind) -> KindProfile | None:
        """Return how a kind is asked for and at what price, None where it is not sold here."""
        return self.profile.offer(kind)

    def usual_s(self, kind: ChallengeKind) -> float:
        """Return the time within which 95 % of solves of that kind end."""
        return min(self._times[kind].p95_s(self._clock.monotonic()), self.time_limit_s)

    async def create(self, request: CaptchaRequest, kind: KindProfile) -> wire.CreateReply:
        """Send createTask once and say what its answer proves. Never raises for the service's trouble."""
        body = wire.create_body(self.profile, kind, self._key, request.challenge)
        try:
            status, reply = await self._transport.post(wire.CREATE, body)
        except NotSentError as error:
            return wire.Rejected(code=error.code, kind=ErrorKind.BUSY, message=str(error))
        except NoAnswerError as error:
            return wire.InDoubt(message=f"createTask was sent and got {error}")
        result = wire.read_create(self.profile, kind, status, reply)
        match result:
            case wire.Rejected():
                self._note_unknown(result)
                return msgspec.structs.replace(
                    result, code=self._scrub(result.code), message=self._scrub(result.message)
                )
            case _:
                return result

    async def harvest(self, task: Task, kind: KindProfile) -> Harvest:
        """Poll a task until it ends, its time limit passes or the vendor's cap is met.

        All counts from the task's creation (M5). A resumed task whose time is over is asked after once
        more: its answer may still lie there, and it is paid for.
        """
        plan = self.profile.poll_plan(kind, self.time_limit_s)
        if task.ready is not None:
            return Harvest(result=task.ready, polls=0)
        age_s = max(0.0, (self._broker_clock.now_ms() - task.created_at_ms) / 1000)
        created_s = self._clock.monotonic() - age_s
        polls = plan.made_by(age_s) if task.resumed else 0
        # Where the last process stood in its rhythm is not known: as if it had polled just now.
        last_s = age_s if task.resumed and polls else None
        once_more = task.resumed
        troubled = False
        while True:
            due_s = plan.next_after(last_s)
            if not plan.may_poll(due_s, polls) and not (once_more and polls < plan.cap):
                return self._given_up(task, plan, polls, created_s, troubled=troubled)
            once_more = False
            await self._clock.sleep(max(0.0, created_s + due_s - self._clock.monotonic()))
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
        body = wire.result_body(self.profile, self._key, task.task_id)
        try:
            status, reply = await self._transport.post(wire.RESULT, body)
        except (NotSentError, NoAnswerError) as error:
            result: wire.ResultReply = wire.Pending(trouble=str(error))
        else:
            result = wire.read_result(self.profile, kind, status, reply)
        if isinstance(result, wire.Pending) and result.trouble is not None:
            trouble = self._scrub(result.trouble)
            self._emit(PollTroubled(request_id=task.request_id, provider=self.name, trouble=trouble))
        if isinstance(result, wire.Failed):
            self._note_unknown(result)
            return msgspec.structs.replace(
                result, code=self._scrub(result.code), message=self._scrub(result.message)
            )
        return result

    def cost_of(self, result: wire.Ready | wire.Failed, kind_price: float) -> float:
        """Return what a task that was made is booked at, in US dollars.

        The reply's own figure; else the price, also for a failure unless the vendor says that it is free.
        """
        if result.cost is not None:
            return result.cost
        if isinstance(result, wire.Failed) and result.code in self.profile.uncharged_failures:
            return 0.0
        return kind_price

    def _note_unknown(self, result: wire.Rejected | wire.Failed) -> None:
        if result.kind is ErrorKind.UNKNOWN:
            code, message = self._scrub(result.code), self._scrub(result.message)
            self._emit(ErrorCodeUnknown(provider=self.name, code=code, message=message))

    def _scrub(self, text: str) -> str:
        """Take the account's key out of a text that the service wrote."""
        return scrubber(self._key)(text)


def scrubber(key: str) -> Callable[[str], str]:
    """Return a function that makes a stranger's text fit for logs and records: no key, one line."""

    def scrub(text: str) -> str:
        clean = text.replace(key, "***") if key else text
        return "".join(c if c.isprintable() else " " for c in clean)

    return scrub
