"""The fetcher's wiring: objects are built here once and handed on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.captcha_records import Challenge
from tidegate.consume.plan import Plan
from tidegate.consume.retries import policy_of
from tidegate.consume.service import Service
from tidegate.errors import ConfigurationError
from tidegate.process import Context
from tidegate.topics import DELAYS, HELD, LANES, Topic

from tidegate_fetcher import signatures
from tidegate_fetcher.addresses import AddressRules
from tidegate_fetcher.challenges import Challenges
from tidegate_fetcher.client import HttpClient
from tidegate_fetcher.connections import Connections
from tidegate_fetcher.detection import Detector
from tidegate_fetcher.exchange import Response
from tidegate_fetcher.handler import Fetcher
from tidegate_fetcher.health_watch import HealthWatch
from tidegate_fetcher.identities import Identities
from tidegate_fetcher.limiter import SiteLimiter
from tidegate_fetcher.looking import Looker
from tidegate_fetcher.pages import PageWriter
from tidegate_fetcher.policy import HostRules, Policy
from tidegate_fetcher.policy_watch import PolicyWatch
from tidegate_fetcher.proxies import Proxies
from tidegate_fetcher.proxy_pool import ProxyPool
from tidegate_fetcher.proxy_source import source_of
from tidegate_fetcher.robots import Robots
from tidegate_fetcher.run_watch import RunWatch
from tidegate_fetcher.session_memory import SessionMemory
from tidegate_fetcher.session_pool import SessionPool
from tidegate_fetcher.sessions import SessionPolicy
from tidegate_fetcher.settings import FetcherSettings, Settings
from tidegate_fetcher.single_flight import FlightPolicy, Flights
from tidegate_fetcher.site_limits import SiteLimits
from tidegate_fetcher.site_policies import SitePolicies, at_most_every
from tidegate_fetcher.site_slots import SiteRule
from tidegate_fetcher.slot_memory import SlotMemory
from tidegate_fetcher.spending import Spending
from tidegate_fetcher.standstill import Standstill
from tidegate_fetcher.tasks import Task
from tidegate_fetcher.tenures import Tenures
from tidegate_fetcher.walls import Walls

HANDLER_DEADLINE_S = 120.0
# A solve that was bought at the very end of its request's life takes about as long as solving services allow.
_LONGEST_SOLVE_S = 120.0
PLAN = Plan(
    group="fetcher",
    reserved=(Topic.CAPTCHA_SOLUTIONS,),
    topics=tuple(LANES.values()),
    held=tuple(HELD.values()),
    delays=tuple(DELAYS),
    deadline_s=HANDLER_DEADLINE_S,
)


@asynccontextmanager
async def build(context: Context[Settings]) -> AsyncIterator[Service[Task]]:
    """Build the fetcher with its connections, which are closed at the end. Raises ConfigurationError."""
    settings = context.settings.fetcher
    _check(settings)
    addresses = AddressRules(allow_private=settings.allow_private, denied=settings.denied_networks)
    policies = SitePolicies(settings.site_policy())
    policy_watch = PolicyWatch(settings.policy_file, policies, context.clock, context.emit)
    policy = Policy(
        allowed_ports=frozenset(settings.allowed_ports),
        allow_private=settings.allow_private,
        solve_hosts=HostRules(settings.solve_hosts),
        sites=policies,
    )
    proxies = Proxies(
        ProxyPool(settings.proxy_policy()),
        source_of(settings),
        reread_s=settings.proxies_reread_s,
        clock=context.clock,
        random=context.random,
        emit=context.emit,
    )
    connections = Connections(
        addresses,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        proxies_kept=settings.proxies_kept,
        trusted=proxies.is_ours,
    )

    def client(robots: Robots | None) -> HttpClient:
        return HttpClient(
            connections,
            policy,
            addresses,
            clock=context.clock,
            broker_clock=context.broker_clock,
            max_body_bytes=settings.max_body_bytes,
            max_redirects=settings.max_redirects,
            total_s=settings.total_timeout_s,
            large_bodies=settings.large_bodies,
            robots=robots,
        )

    detector = Detector(signatures.load())

    def is_challenge(response: Response) -> bool:
        found = detector.find(
            response.body, status=response.status, headers=response.headers, url=response.url
        )
        return isinstance(found, Challenge)

    delays: dict[str, float] = {}
    health = HealthWatch(context.reader, context.clock, context.broker_clock)
    limiter = SiteLimiter(
        SiteLimits(
            lambda site: health.slowed(site, _rule(policies.of(site).rule, delays.get(site))),
            wait_s=settings.site_wait_s,
            pace=settings.pace(),
        ),
        context.clock,
        settings.site_wait_s,
        context.emit,
    )
    walls = Walls(settings.walls(), context.backlog, context.clock, context.emit, proxies.has_room)
    watch = RunWatch(context.reader, context.clock, context.emit)
    standstill = Standstill(context.clock)
    spending = Spending(holds=settings.budget_exhausted == "hold", recheck_s=settings.budget_recheck_s)
    identities = Identities(
        SessionPool(most=settings.sessions_kept),
        Flights(FlightPolicy(lease_s=settings.captcha_lifetime_s + _LONGEST_SOLVE_S)),
        SessionPolicy(),
        user_agent=settings.user_agent,
        emit=context.emit,
    )
    async with connections, asyncio.TaskGroup() as owner:
        await policy_watch.begin()
        await proxies.begin()
        await watch.restore()
        reading = owner.create_task(walls.run(), name="walls")
        watching = owner.create_task(watch.run(), name="runs")
        slowing = owner.create_task(health.run(), name="site health")
        following = owner.create_task(policy_watch.run(), name="policy")
        rereading = owner.create_task(proxies.run(), name="proxies")
        ticking = owner.create_task(standstill.run(), name="standstill")
        robots = Robots(
            client(None).send,
            policies,
            delays,
            spawn=owner.create_task,
            clock=context.clock,
            ttl_s=settings.robots_ttl_s,
            is_challenge=is_challenge,
            answered=limiter.answered,
        )
        yield Fetcher(
            looker=Looker(client(robots), detector, policy, policies),
            standstill=standstill,
            proxies=proxies,
            limiter=limiter,
            slots=SlotMemory(context.reader, limiter, context.broker_clock, rates=policies.has_rates),
            identities=identities,
            sessions=SessionMemory(
                context.reader,
                identities,
                context.broker_clock,
                partitions=context.partitions,
                emit=context.emit,
            ),
            challenges=Challenges(
                policy,
                max_solves=settings.max_solves_per_job,
                lifetime_s=settings.captcha_lifetime_s,
                retries=policy_of(context.settings.retries),
                spending=spending,
            ),
            writer=PageWriter(settings.zstd_level),
            walls=walls,
            watch=watch,
            tenures=Tenures(context.clock, context.broker_clock),
            broker_clock=context.broker_clock,
            partitions=context.partitions,
            policies=policies,
            max_job_bytes=settings.max_job_bytes,
            submit_margin_s=settings.submit_margin_s,
            emit=context.emit,
        )
        reading.cancel()
        watching.cancel()
        slowing.cancel()
        rereading.cancel()
        following.cancel()
        ticking.cancel()


def _rule(rule: SiteRule, delay_s: float | None) -> SiteRule:
    """Return a site's rule with the delay that its robots.txt asks for."""
    return rule if delay_s is None else at_most_every(rule, delay_s)


def _check(settings: FetcherSettings) -> None:
    """Refuse time-outs that the handler's deadline would cut short: a resumed page takes two requests."""
    longest = 2 * settings.total_timeout_s + settings.site_wait_s
    if longest > HANDLER_DEADLINE_S - 5:
        message = (
            f"TIDEGATE_FETCHER__TOTAL_TIMEOUT_S: two requests of {settings.total_timeout_s:g} s and "
            f"a wait of {settings.site_wait_s:g} s do not fit in the handler's {HANDLER_DEADLINE_S:g} s"
        )
        raise ConfigurationError(message)
