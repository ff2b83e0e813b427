"""The solver's wiring: objects are built here once and handed on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from tidegate.consume.plan import Fault, Plan
from tidegate.consume.service import Service
from tidegate.errors import ConfigurationError
from tidegate.flow.adaptive_limit import LimitPolicy
from tidegate.flow.breaker import BreakerPolicy
from tidegate.flow.token_bucket import BucketPolicy
from tidegate.flow.unread import UnreadPolicy
from tidegate.process import Context
from tidegate.topics import Topic

from tidegate_solver.admission import Admission, AdmissionPolicy
from tidegate_solver.budget import Budget
from tidegate_solver.budget_watch import watch_budgets
from tidegate_solver.buying import Buyer
from tidegate_solver.catalog import choose_profile
from tidegate_solver.events import ProviderUnverified
from tidegate_solver.handler import Payload, Solver
from tidegate_solver.heartbeat import Pulse
from tidegate_solver.ledger_log import LedgerLog
from tidegate_solver.market import Market, MarketPolicy, Member
from tidegate_solver.profiles import Profile
from tidegate_solver.provider import Provider
from tidegate_solver.purchase import Purchases
from tidegate_solver.settings import HANDLER_DEADLINE_S, ProviderSettings, Settings, SolverSettings
from tidegate_solver.transport import Transport, http_transport
from tidegate_solver.unread_watch import UnreadWatch
from tidegate_solver.verdicts import Verdicts
from tidegate_solver.wire import proxies_by_id

# A request whose handler failed is tried again in place: it may have been bought, and sending its job
# round again would buy it twice. The window holds what is at the service and as much again in waiting.
PLAN = Plan(
    group="solver",
    topics=(Topic.CAPTCHA_REQUESTS,),
    # A verdict waits for no purchase: providers want to hear of it within a minute.
    reserved=(Topic.CAPTCHA_VERDICTS,),
    window=256,
    deadline_s=HANDLER_DEADLINE_S,
    fault=Fault.HOLD,
)


class Seller(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as it is set up: what is known of it, its account, and the way to it."""

    profile: Profile
    account: ProviderSettings
    transport: Transport


@asynccontextmanager
async def build(context: Context[Settings]) -> AsyncIterator[Service[Payload]]:
    """Build the solver on a connection to each of its solving services."""
    settings = context.settings.solver
    async with AsyncExitStack() as connections:
        sellers = []
        for name, account in settings.accounts().items():
            profile = profile_of(name, account, settings.price_file)
            if not account.api_key.get_secret_value():
                raise ConfigurationError(_no_key(name, settings))
            if not profile.verified:
                context.emit(ProviderUnverified(provider=profile.name, note=profile.note))
            transport = await connections.enter_async_context(
                http_transport(
                    profile.base_url,
                    connections=max(100, 2 * account.concurrency),
                    connect_timeout_s=settings.connect_timeout_s,
                    read_timeout_s=settings.read_timeout_s,
                )
            )
            sellers.append(Seller(profile=profile, account=account, transport=transport))
        async with assemble(context, sellers) as service:
            yield service


def profile_of(name: str, account: ProviderSettings, price_file: Path | None = None) -> Profile:
    """Return an account's profile with the operator's overrides. Raises ConfigurationError."""
    profile = choose_profile(
        account.profile or name,
        price_file=price_file,
        base_url=account.base_url,
        prices=account.prices,
        task_types=account.task_types,
        extra_task_fields=account.extra_task_fields,
        first_delay_s=account.poll_first_delay_s,
        interval_s=account.poll_interval_s,
        use_proxies=account.use_proxies,
    )
    return msgspec.structs.replace(profile, name=name)


def _no_key(name: str, settings: SolverSettings) -> str:
    variable = "PROVIDERS" if settings.providers else "API_KEY"
    return f"TIDEGATE_SOLVER__{variable}: {name} needs the api_key of its account, and it is empty"


def walls_of(account: ProviderSettings, settings: SolverSettings) -> AdmissionPolicy:
    """Return the walls before a solving service. Raises ConfigurationError."""
    return AdmissionPolicy(
        limit=LimitPolicy(
            maximum=account.concurrency, minimum=min(account.least_concurrency, account.concurrency)
        ),
        breaker=BreakerPolicy(failures=settings.breaker_failures, reset_s=settings.breaker_reset_s),
        bucket=BucketPolicy(rate_per_s=account.create_rate, burst=account.create_burst),
    )


def market_of(
    context: Context[Settings], sellers: Sequence[Seller], is_barred: Callable[[str], bool]
) -> Market:
    """Return the providers with their walls. Raises ConfigurationError."""
    settings, clock = context.settings.solver, context.clock
    policy = MarketPolicy(
        route=settings.route,
        prefer_wait_s=settings.prefer_wait_s,
        site_failures=settings.site_failures,
        site_reset_s=settings.site_reset_s,
        balance_check_s=settings.balance_check_s,
        balance_every_s=settings.balance_every_s,
        balance_low=settings.balance_low,
    )
    proxies = proxies_by_id({name: url.get_secret_value() for name, url in settings.proxies.items()})
    members = []
    for seller in sellers:
        provider = Provider(
            seller.profile,
            seller.account.api_key.get_secret_value(),
            seller.transport,
            time_limit_s=settings.time_limit_s,
            clock=clock,
            broker_clock=context.broker_clock,
            emit=context.emit,
            proxies=proxies,
        )
        walls = walls_of(seller.account, settings)
        admission = Admission(provider.name, walls, clock=clock, emit=context.emit)
        members.append(Member(provider, admission, policy, clock.monotonic()))
    return Market(members, policy, is_barred=is_barred, clock=clock, emit=context.emit)


def unread_watch_of(context: Context[Settings]) -> UnreadWatch:
    """Return the wall on answers that nobody reads. Raises ConfigurationError."""
    settings = context.settings.solver
    return UnreadWatch(
        UnreadPolicy(mark_s=settings.unread_mark_s, open_s=settings.unread_mark_s / 2),
        context.backlog,
        partitions=context.partitions,
        read_every_s=settings.unread_read_s,
        clock=context.clock,
        broker_clock=context.broker_clock,
        emit=context.emit,
    )


@asynccontextmanager
async def assemble(context: Context[Settings], sellers: Sequence[Seller]) -> AsyncIterator[Solver]:
    """Put the solver together on any transports; wait at the end for purchases that are still under way."""
    settings = context.settings.solver
    pulse = Pulse(context.clock, context.settings.kafka.session_timeout_s, context.membership_age_s)
    async with asyncio.TaskGroup() as owner:
        ticker = owner.create_task(pulse.run(), name="heartbeat")
        log = LedgerLog(
            context.sink, context.reader, clock=context.clock, random=context.random, emit=context.emit
        )
        following = owner.create_task(log.run(), name="ledger")
        telling = owner.create_task(watch_budgets(log, context.clock, context.emit), name="budgets")
        budget = Budget(log, context.broker_clock, context.emit)
        market = market_of(context, sellers, budget.is_barred)
        watch = owner.create_task(market.watch(), name="accounts")
        unread = unread_watch_of(context)
        reading = owner.create_task(unread.run(), name="unread")
        purchases = Purchases(
            owner, context.sink, budget, pulse, broker_clock=context.broker_clock, emit=context.emit
        )
        try:
            await log.restored()
            buyer = Buyer(
                settings,
                market,
                purchases,
                unread,
                clock=context.clock,
                broker_clock=context.broker_clock,
                random=context.random,
                emit=context.emit,
            )
            yield Solver(
                settings,
                buyer,
                budget,
                Verdicts(market, context.broker_clock, context.emit, reports=settings.reports),
                purchases,
                reader=context.reader,
                broker_clock=context.broker_clock,
                emit=context.emit,
            )
        finally:
            # Also after an error: createTask may be out, and its task id belongs into the journal.
            await purchases.close(settings.connect_timeout_s + 2 * settings.read_timeout_s + 5.0)
            ticker.cancel()
            telling.cancel()
            watch.cancel()
            reading.cancel()
            following.cancel()
