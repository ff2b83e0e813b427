"""All looks at once, each with its time: what one of them cannot reach hides nothing of the others."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from aiokafka.errors import KafkaError
from tidegate.clock import Clock
from tidegate.errors import BrokerError, ConfigurationError, TidegateError
from tidegate.settings import Settings, load
from tidegate_fetcher.settings import Settings as FetcherSettings
from tidegate_solver.settings import Settings as SolverSettings

from tidegate_cli.doctor import accounts, clickhouse, kafka
from tidegate_cli.doctor.finding import Finding, fail, ok

LONGEST_S = 25.0
_TROUBLE = (TidegateError, KafkaError, OSError, TimeoutError)
_KAFKA = "check TIDEGATE_KAFKA__BOOTSTRAP, the network, the user and the certificates"
_CLICKHOUSE = "check TIDEGATE_CLICKHOUSE__URL, the network, the user and the password"

Look: TypeAlias = Callable[[], Awaitable[list[Finding]]]


async def examine(settings: Settings, clock: Clock, *, embedded: bool) -> list[Finding]:
    """Return every finding, in a fixed order. ``embedded``: the services have settings that are not here."""
    findings: list[Finding] = []
    looks: list[tuple[str, str, Look]] = [
        ("brokers", _KAFKA, lambda: kafka.brokers(settings)),
        ("topics", _KAFKA, lambda: kafka.topics(settings)),
        ("broker clock", _KAFKA, lambda: kafka.clock(settings, clock)),
        ("groups", _KAFKA, lambda: kafka.groups(settings)),
        ("clickhouse", _CLICKHOUSE, lambda: clickhouse.clickhouse(settings.clickhouse, clock)),
    ]
    if embedded:
        findings.append(
            ok("accounts", "the stack was given its own; those of this environment are not looked at")
        )
    else:
        try:
            fetcher, solver = load(FetcherSettings).fetcher, load(SolverSettings).solver
        except ConfigurationError as error:
            findings.append(fail("settings", str(error), "mend that variable"))
        else:
            findings += accounts.contact(fetcher)
            looks.append(
                (
                    "proxies",
                    "check TIDEGATE_FETCHER__PROXIES_URL and the network",
                    lambda: accounts.proxies(fetcher),
                )
            )
            looks.append(("providers", "check the network", lambda: accounts.providers(solver, clock)))
    return [*await _all(looks), *findings]


async def _all(looks: Sequence[tuple[str, str, Look]]) -> list[Finding]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_bounded(*each), name=f"look at {each[0]}") for each in looks]
    return [finding for task in tasks for finding in task.result()]


async def _bounded(check: str, mend: str, look: Look) -> list[Finding]:
    try:
        async with asyncio.timeout(LONGEST_S):
            return await look()
    except _TROUBLE as error:
        text = f"no answer within {LONGEST_S:.0f} s" if isinstance(error, TimeoutError) else _sentence(error)
        return [fail(check, text, mend)]


def _sentence(error: BaseException) -> str:
    said = str(error).strip().splitlines()
    text = said[0] if said else type(error).__name__
    return text if isinstance(error, BrokerError) or said else type(error).__name__
