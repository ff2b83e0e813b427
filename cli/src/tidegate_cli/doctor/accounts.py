"""Looks at what the services are to work with: accounts at solving services, proxies, the user agent."""

import asyncio

from tidegate.clock import BrokerClock, Clock
from tidegate.errors import ConfigurationError
from tidegate.proxies import parse
from tidegate_fetcher.proxy_source import source_of
from tidegate_fetcher.settings import DEFAULT_USER_AGENT, FetcherSettings
from tidegate_solver import wire
from tidegate_solver.app import profile_of
from tidegate_solver.provider import Provider
from tidegate_solver.settings import ProviderSettings, SolverSettings
from tidegate_solver.transport import http_transport

from tidegate_cli.doctor import judge
from tidegate_cli.doctor.finding import Finding, fail, ok, warn


async def providers(settings: SolverSettings, clock: Clock) -> list[Finding]:
    """Judge each account, all of them at once."""
    async with asyncio.TaskGroup() as group:
        looks = [
            group.create_task(_provider(name, account, settings, clock), name=f"look at {name}")
            for name, account in settings.accounts().items()
        ]
    return [finding for look in looks for finding in look.result()]


async def _provider(
    name: str, account: ProviderSettings, settings: SolverSettings, clock: Clock
) -> list[Finding]:
    check = f"provider {name}"
    try:
        profile = profile_of(name, account, settings.price_file)
    except ConfigurationError as error:
        return [fail(check, str(error), "mend that setting of the solver")]
    key = account.api_key.get_secret_value()
    if not key:
        mend = "set TIDEGATE_SOLVER__API_KEY_FILE (or PROVIDERS_FILE), if challenges are to be solved"
        return [warn(check, "no key is set here: no solver can start with these settings", mend)]
    findings = []
    if not profile.verified:
        findings.append(
            warn(check, f"its profile was never tried at the vendor: {profile.note}", "try it small")
        )
    async with http_transport(
        profile.base_url,
        connections=1,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    ) as transport:
        provider = Provider(
            profile,
            key,
            transport,
            time_limit_s=None,
            clock=clock,
            broker_clock=BrokerClock(clock),
            emit=lambda _: None,
        )
        reply = await provider.balance()
    match reply:
        case wire.Balance(amount=amount):
            findings.append(judge.balance(check, amount, settings.balance_low, threads=profile.sells_threads))
        case wire.Rejected(code=code):
            findings.append(fail(check, f"the balance was refused: {code}", "check the key and the account"))
        case wire.InDoubt(message=message):
            mend = "check the address, the network and the vendor's status page"
            findings.append(fail(check, f"no answer: {message}", mend))
    return findings


async def proxies(settings: FetcherSettings) -> list[Finding]:
    """Judge the list of proxies; the proxies themselves are not asked."""
    source = source_of(settings)
    if source is None:
        return [ok("proxies", "none are set: requests go out directly, or by their job's own proxy")]
    try:
        listed = parse(await source.read() or b"")
    except ConfigurationError as error:
        return [fail("proxies", str(error), "mend TIDEGATE_FETCHER__PROXIES_FILE or __PROXIES_URL")]
    return judge.proxies(listed)


def contact(settings: FetcherSettings) -> list[Finding]:
    """Judge whether sites know whom to write to."""
    if settings.user_agent != DEFAULT_USER_AGENT:
        return [ok("user agent", settings.user_agent)]
    mend = "put a contact into TIDEGATE_FETCHER__USER_AGENT: who can write to you need not block you"
    return [warn("user agent", "it names no contact", mend)]
