"""The rules of a solving service, the same behind every wire format. Pure: ``now`` is a parameter.

A task that will be solved is charged when it is accepted; one that fails is charged only by vendors that
charge failures; one that never gets ready is not. Polls are counted per task; more than the vendor allows
ban the key.
"""

import math
from collections.abc import Mapping
from random import Random
from types import MappingProxyType

import msgspec

from tidegate_cli.simulator.behaviour import Behaviour, Operation, Wire, draw_wire
from tidegate_cli.simulator.charges import Accounts, Charge, ChargeLog
from tidegate_cli.simulator.codes import Fault
from tidegate_cli.simulator.offences import Offence, Offences
from tidegate_cli.simulator.tasks import Order, Task, TaskBook
from tidegate_cli.simulator.tokens import Token, TokenBook, Verdict
from tidegate_cli.simulator.vendors import VENDORS, Vendor, Window

_GOOD = Behaviour()
_MOST_BANS = 10_000
_TOLERANCE = 0.99


class Refused(msgspec.Struct, frozen=True):
    """A refusal in the vendor's spelling."""

    code: str


class Pending(msgspec.Struct, frozen=True):
    """The task is being solved."""


class Ready(msgspec.Struct, frozen=True):
    """The task is solved. Times are epoch milliseconds."""

    task: Task
    created_ms: int
    ready_ms: int


class Figures(msgspec.Struct, kw_only=True):
    """What happened at one vendor so far; ``created`` are the tasks that were accepted."""

    requests: int = 0
    created: int = 0
    refused: int = 0
    failed: int = 0
    delivered: int = 0
    polls: int = 0
    early_polls: int = 0
    most_polls: int = 0
    bans: int = 0
    most_in_flight: int = 0
    reported_good: int = 0
    reported_bad: int = 0
    reported_late: int = 0
    offences: dict[str, int] = {}
    wire: dict[str, int] = {}


class Verified(msgspec.Struct, kw_only=True):
    """What sites verified so far; refusals by error code."""

    accepted: int = 0
    refused: dict[str, int] = {}


class SolvingService:
    """Everything the simulator knows. ``epoch_ms`` is the wall clock at monotonic zero."""

    def __init__(
        self,
        *,
        random: Random,
        charges: ChargeLog,
        accounts: Accounts,
        latency_ms: float = 200.0,
        epoch_ms: float = 0.0,
        most_tasks: int = 100_000,
        most_tokens: int = 50_000,
    ) -> None:
        self._random = random
        self._latency_ms = latency_ms
        self._epoch_ms = epoch_ms
        self._behaviours: dict[str, Behaviour] = {}
        self._banned_until: dict[tuple[str, str], float] = {}
        self._figures = {name: Figures() for name in VENDORS}
        self.charges = charges
        self.accounts = accounts
        self.tasks = TaskBook(random, most_tasks)
        self.tokens = TokenBook(random, most_tokens)
        self._offences = Offences()
        self.verified = Verified()

    @property
    def figures(self) -> Mapping[str, Figures]:
        """What happened so far, by vendor."""
        return MappingProxyType(self._figures)

    def behaviour(self, vendor: str) -> Behaviour:
        """Return the behaviour in force."""
        return self._behaviours.get(vendor, _GOOD)

    def behave(self, vendor: str, behaviour: Behaviour) -> None:
        """Put a behaviour in force for the requests and tasks to come; ``*`` means every vendor."""
        for name in VENDORS if vendor == "*" else (vendor,):
            self._behaviours[name] = behaviour

    def wire(self, vendor: Vendor, operation: Operation) -> Wire:
        """Draw what goes wrong on the wire with one request."""
        figures = self._figures[vendor.name]
        figures.requests += 1
        wire = draw_wire(self.behaviour(vendor.name), operation, self._random)
        if wire is not Wire.FINE:
            figures.wire[wire] = figures.wire.get(wire, 0) + 1
        return wire

    def create(self, vendor: Vendor, key: str, order: Order | Fault, now: float) -> Task | Refused:
        """Accept an order, or say why not.

        A Fault in place of the order is refused after the key was looked at.
        """
        figures = self._figures[vendor.name]
        refused = self._refusal(vendor, key, Operation.CREATE, now)
        if refused is None:
            self._break(vendor, key, self._offences.ordered(vendor, key, now), now)
            refused = self._order_refusal(vendor, key, order, now)
        if refused is not None or isinstance(order, Fault):
            figures.refused += 1
            return self._refused_order(vendor, key, refused or self._refused(vendor, Fault.BAD_REQUEST), now)
        self._offences.accepted(vendor, key)
        price = vendor.prices[order.kind.name]
        task = self._new_task(vendor, order, now)
        if (task.failure and vendor.charges_failures) or (not task.failure and task.ready_at < math.inf):
            self._charge(vendor, key, task, price, now)
        self.tasks.add(task)
        figures.created += 1
        figures.failed += bool(task.failure)
        figures.most_in_flight = max(figures.most_in_flight, self.tasks.in_flight(vendor.name, now))
        return task

    def result(self, vendor: Vendor, key: str, task_id: str, now: float) -> Pending | Ready | Refused:
        """Answer a poll, and count it."""
        refused = self._refusal(vendor, key, Operation.RESULT, now)
        if refused is not None:
            return refused
        task = self.tasks.get(vendor.name, task_id, now)
        if task is None:
            return self._refused(vendor, Fault.NO_SUCH_TASK)
        refused = self._count_poll(vendor, key, task, now)
        if refused is not None:
            return refused
        if now < task.ready_at:
            return Pending()
        if task.ended:
            self._break(vendor, key, Offence.POLLED_AFTER_END, now)
        task.ended = True
        if task.failure:
            return Refused(task.failure)
        return self._delivered(vendor, task)

    def at_once(self, vendor: Vendor, task: Task, now: float) -> Ready:
        """Return the answer to a task that its vendor solves while the client waits."""
        task.ready_at, task.ended = now, True
        return self._delivered(vendor, task)

    def _delivered(self, vendor: Vendor, task: Task) -> Ready:
        if not task.token:
            task.token = self._token(task)
            self._figures[vendor.name].delivered += 1
        return Ready(task, self.wall_ms(task.created_at), self.wall_ms(task.ready_at))

    def balance(self, vendor: Vendor, key: str, now: float) -> int | Refused:
        """Return a key's balance in micro-dollars."""
        refused = self._refusal(vendor, key, Operation.BALANCE, now)
        if refused is not None:
            return refused
        return 0 if self.behaviour(vendor.name).zero_balance else self.accounts.balance(key) or 0

    def report(self, vendor: Vendor, key: str, task_id: str, *, good: bool, now: float) -> Refused | None:
        """Take a client's word on a token; one word a task counts."""
        refused = self._refusal(vendor, key, Operation.REPORT, now)
        if refused is not None:
            return refused
        task = self.tasks.get(vendor.name, task_id, now)
        if task is None:
            return self._refused(vendor, Fault.NO_SUCH_TASK)
        figures = self._figures[vendor.name]
        if vendor.report_window_s and now > task.ready_at + vendor.report_window_s:
            figures.reported_late += 1
            return Refused("REPORT_NOT_RECORDED")
        if task.report:
            # Only the older family says that it was told before.
            return self._refused(vendor, Fault.REPORTED_BEFORE) if vendor.report_window_s else None
        task.report = "good" if good else "bad"
        figures.reported_good += good
        figures.reported_bad += not good
        return None

    def verify(
        self,
        token: str,
        sitekey: str,
        host: str,
        now: float,
        *,
        invisible: bool | None = None,
        address: str = "",
        agent: str = "",
    ) -> Verdict:
        """Verify a token for a site, once; a clearance for the visitor who showed it."""
        verdict = self.tokens.redeem(
            token, sitekey, host, now, invisible=invisible, address=address, agent=agent
        )
        if verdict.success:
            self.verified.accepted += 1
        for code in verdict.error_codes:
            self.verified.refused[code] = self.verified.refused.get(code, 0) + 1
        return verdict

    def wall_ms(self, now: float) -> int:
        """Return epoch milliseconds of a monotonic moment."""
        return int(self._epoch_ms + now * 1000)

    def _refused(self, vendor: Vendor, fault: Fault) -> Refused:
        return Refused(vendor.codes[fault])

    def _refusal(self, vendor: Vendor, key: str, operation: Operation, now: float) -> Refused | None:
        if self.accounts.balance(key) is None:
            return self._refused(vendor, Fault.KEY_UNKNOWN)
        if self._banned_until.get((vendor.name, key), -math.inf) > now:
            self._offend(vendor, Offence.WHILE_BANNED)
            return self._refused(vendor, Fault.BANNED)
        if operation is not Operation.RESULT:  # a result's error is drawn once, with its task
            code = self.behaviour(vendor.name).refusal(operation, self._random)
            return Refused(code) if code else None
        return None

    def _order_refusal(self, vendor: Vendor, key: str, order: Order | Fault, now: float) -> Refused | None:
        """Say what is wrong with an order, or with the account that gives it."""
        behaviour = self.behaviour(vendor.name)
        fault = None
        threads = behaviour.threads if vendor.sells_threads else math.inf
        if behaviour.zero_balance or self.tasks.in_flight(vendor.name, now) >= threads:
            fault = Fault.ZERO_BALANCE
        elif self.tasks.full(now):
            fault = Fault.NO_SLOT
        elif isinstance(order, Fault):
            fault = order
        elif order.kind.name in behaviour.unsupported:
            fault = Fault.NOT_SUPPORTED
        elif (self.accounts.balance(key) or 0) < vendor.prices[order.kind.name]:
            fault = Fault.ZERO_BALANCE
        return None if fault is None else self._refused(vendor, fault)

    def _refused_order(self, vendor: Vendor, key: str, refused: Refused, now: float) -> Refused:
        """Take note of a refused order, which may be one too many."""
        dead = refused.code in (vendor.codes[Fault.KEY_UNKNOWN], vendor.codes[Fault.ZERO_BALANCE])
        busy = refused.code in (vendor.codes[Fault.NO_SLOT], vendor.codes[Fault.TOO_FAST])
        if vendor.sells_threads and refused.code == vendor.codes[Fault.ZERO_BALANCE]:
            dead, busy = False, True
        offence = self._offences.refused(vendor, key, refused.code, now, dead=dead, busy=busy)
        self._break(vendor, key, offence, now)
        return refused

    def _offend(self, vendor: Vendor, offence: Offence) -> None:
        counts = self._figures[vendor.name].offences
        counts[offence] = counts.get(offence, 0) + 1

    def _break(self, vendor: Vendor, key: str, offence: Offence | None, now: float) -> None:
        """Count a broken rule, and ban for it where the behaviour says so."""
        if offence is None:
            return
        self._offend(vendor, offence)
        if self.behaviour(vendor.name).enforce_bans and offence is not Offence.POLLED_AFTER_END:
            self._ban(vendor, key, now)

    def _new_task(self, vendor: Vendor, order: Order, now: float) -> Task:
        behaviour = self.behaviour(vendor.name)
        took_s = behaviour.took_s(self._latency_ms, self._random)
        never = behaviour.never_ready > 0 and self._random.random() < behaviour.never_ready
        ready_at = math.inf if never else now + took_s
        counted_from = now if never or vendor.window_from is Window.CREATED else ready_at
        return Task(
            id=self.tasks.new_uuid() if vendor.uuid_ids else self.tasks.new_number(),
            vendor=vendor.name,
            order=order,
            created_at=now,
            ready_at=ready_at,
            expires_at=counted_from + vendor.window_s,
            failure="" if never else behaviour.refusal(Operation.RESULT, self._random),
            wrong=behaviour.wrong_token > 0 and self._random.random() < behaviour.wrong_token,
        )

    def _charge(self, vendor: Vendor, key: str, task: Task, price: int, now: float) -> None:
        task.cost_micros = price
        self.accounts.take(key, price)
        self.charges.add(
            Charge(
                order=self.charges.total + 1,
                task_id=task.id,
                vendor=vendor.name,
                kind=task.order.kind.name,
                sitekey=task.order.sitekey,
                url=task.order.url,
                cost_micros=price,
                time_ms=self.wall_ms(now),
            )
        )

    def _count_poll(self, vendor: Vendor, key: str, task: Task, now: float) -> Refused | None:
        since = task.created_at if task.polled_at is None else task.polled_at
        # Clocks and the way here may make a client's five seconds a little less.
        early = now - since < vendor.least_interval_s * _TOLERANCE
        task.polls += 1
        task.early_polls += early
        task.polled_at = now
        figures = self._figures[vendor.name]
        figures.polls += 1
        figures.early_polls += early
        figures.most_polls = max(figures.most_polls, task.polls)
        if early:
            self._offend(vendor, Offence.EARLY_POLL)
        if task.polls > vendor.most_polls:
            self._offend(vendor, Offence.TOO_MANY_POLLS)
            self._ban(vendor, key, now)
            return self._refused(vendor, Fault.BANNED)
        if early and self.behaviour(vendor.name).enforce_intervals:
            return self._refused(vendor, Fault.TOO_FAST)
        return None

    def _ban(self, vendor: Vendor, key: str, now: float) -> None:
        if len(self._banned_until) >= _MOST_BANS:
            self._banned_until = {who: until for who, until in self._banned_until.items() if until > now}
        self._banned_until[vendor.name, key] = now + vendor.ban_s
        self._figures[vendor.name].bans += 1

    def _token(self, task: Task) -> str:
        order = task.order
        if order.shown and not task.wrong:
            return order.shown
        if task.wrong:
            return self.tokens.forge(order.kind)
        return self.tokens.issue(
            Token(
                kind=order.kind,
                sitekey=order.sitekey,
                host=order.host,
                action=order.action,
                cdata=order.cdata,
                invisible=order.invisible,
                address=order.address,
                agent=order.agent,
                solved_at=task.ready_at,
            )
        )
