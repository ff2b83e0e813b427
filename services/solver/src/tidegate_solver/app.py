"""The solver's wiring: objects are built here once and handed on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.captcha_records import CaptchaRequest
from tidegate.consume.plan import Fault, Plan
from tidegate.consume.service import Service
from tidegate.errors import ConfigurationError
from tidegate.flow.adaptive_limit import LimitPolicy
from tidegate.flow.breaker import BreakerPolicy
from tidegate.flow.token_bucket import BucketPolicy
from tidegate.process import Context
from tidegate.topics import Topic

from tidegate_solver.admission import Admission, AdmissionPolicy
from tidegate_solver.events import ProviderUnverified
from tidegate_solver.handler import Solver
from tidegate_solver.heartbeat import Pulse
from tidegate_solver.profiles import Profile, choose_profile
from tidegate_solver.provider import Provider
from tidegate_solver.purchase import Purchases
from tidegate_solver.settings import HANDLER_DEADLINE_S, Settings, SolverSettings
from tidegate_solver.transport import Transport, http_transport

# A request whose handler failed is tried again in place: it may have been bought, and sending its job
# round again would buy it twice. The window holds what is at the service and as much again in waiting.
PLAN = Plan(
    group="solver",
    topics=(Topic.CAPTCHA_REQUESTS,),
    window=256,
    deadline_s=HANDLER_DEADLINE_S,
    fault=Fault.HOLD,
)


@asynccontextmanager
async def build(context: Context[Settings]) -> AsyncIterator[Service[CaptchaRequest]]:
    """Build the solver on a connection to its solving service."""
    settings = context.settings.solver
    profile = profile_of(settings)
    if not settings.api_key.get_secret_value():
        raise ConfigurationError(f"TIDEGATE_SOLVER__API_KEY is empty: {profile.name} needs the account's key")
    if not profile.verified:
        context.emit(ProviderUnverified(provider=profile.name, note=profile.note))
    async with (
        http_transport(
            profile.base_url,
            connections=max(100, 2 * settings.concurrency),
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.read_timeout_s,
        ) as transport,
        assemble(context, profile, transport) as service,
    ):
        yield service


def profile_of(settings: SolverSettings) -> Profile:
    """Return the chosen profile with the operator's overrides. Raises ConfigurationError."""
    return choose_profile(
        settings.provider,
        base_url=settings.base_url,
        prices=settings.prices,
        task_types=settings.task_types,
        extra_task_fields=settings.extra_task_fields,
        first_delay_s=settings.poll_first_delay_s,
        interval_s=settings.poll_interval_s,
    )


def walls_of(settings: SolverSettings) -> AdmissionPolicy:
    """Return the walls before the solving service. Raises ConfigurationError."""
    return AdmissionPolicy(
        limit=LimitPolicy(
            maximum=settings.concurrency, minimum=min(settings.least_concurrency, settings.concurrency)
        ),
        breaker=BreakerPolicy(failures=settings.breaker_failures, reset_s=settings.breaker_reset_s),
        bucket=BucketPolicy(rate_per_s=settings.create_rate, burst=settings.create_burst),
    )


@asynccontextmanager
async def assemble(
    context: Context[Settings], profile: Profile, transport: Transport
) -> AsyncIterator[Solver]:
    """Put the solver together on any transport; wait at the end for purchases that are still under way."""
    settings = context.settings.solver
    provider = Provider(
        profile,
        settings.api_key.get_secret_value(),
        transport,
        time_limit_s=settings.time_limit_s,
        clock=context.clock,
        broker_clock=context.broker_clock,
        emit=context.emit,
    )
    admission = Admission(profile.name, walls_of(settings), clock=context.clock, emit=context.emit)
    pulse = Pulse(context.clock, context.settings.kafka.session_timeout_s, context.membership_age_s)
    async with asyncio.TaskGroup() as owner:
        ticker = owner.create_task(pulse.run(), name="heartbeat")
        purchases = Purchases(owner, context.sink, pulse, context.broker_clock, context.emit)
        try:
            yield Solver(
                settings,
                provider,
                admission,
                purchases,
                context.reader,
                clock=context.clock,
                broker_clock=context.broker_clock,
                random=context.random,
                emit=context.emit,
            )
        finally:
            # Also after an error: createTask may be out, and its task id belongs into the journal.
            await purchases.close(settings.connect_timeout_s + 2 * settings.read_timeout_s + 5.0)
            ticker.cancel()
