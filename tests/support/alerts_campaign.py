"""Four alerts on the embedded stack, driven to fire and to clear by what they are there for.

The marks and least samples are the shipped ones; only windows and whiles are shorter, by the setting that any
installation has for it. What fired and cleared is read from the topic ``alerts``, as other programs would.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import Request, urlopen

import msgspec
from aiokafka import AIOKafkaProducer
from support.campaign import get_json
from support.kafka import ignore
from tidegate.clock import SystemClock
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.sites import partition_of, site_of
from tidegate.topics import Topic
from tidegate_cli.demo_site.catalog import COMMON
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.ports import HOST
from tidegate_cli.stack.stack import Stack, running_stack
from tidegate_monitor.alerts import Alert
from tidegate_monitor.watch import decode_alert

CLOCK = SystemClock()
RUN = "alerts"
WINDOW_S = 30.0
SHORT = {
    "captcha_rate": {"window_s": WINDOW_S, "clear_for_s": 4.0},
    "solve_success_low": {"window_s": WINDOW_S, "clear_for_s": 4.0},
    "solve_success_critical": {"window_s": WINDOW_S, "clear_for_s": 4.0},
    "queue_growing": {"window_s": 10.0, "for_s": 20.0, "clear_for_s": 4.0},
    "dead_letters": {"window_s": WINDOW_S, "clear_for_s": 4.0},
}
SETTINGS = {
    "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
    "TIDEGATE_FETCHER__ROBOTS": "ignore",
    "TIDEGATE_FETCHER__SOLVE_HOSTS": HOST,
    "TIDEGATE_STORER__BATCH_AGE_S": "1",
    "TIDEGATE_MONITOR__LAG_EVERY_S": "1",
    "TIDEGATE_MONITOR__ALERTS": json.dumps(SHORT),
}
_CALM_S = WINDOW_S + 10
_LOOK_S = 0.5


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One alert of a scene: its value and sample as it fired and cleared, and how long each took.

    ``fired_s`` is from the beginning of the fault, ``cleared_s`` from its end; None where it did not come.
    """

    rule: str
    fired_s: float | None = None
    fired_at: float | None = None
    fired_of: float | None = None
    cleared_s: float | None = None
    cleared_at: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether it fired and cleared."""
        return self.fired_s is not None and self.cleared_s is not None


class Load:
    """Jobs at a pace, by shares that a scene changes: protected pages, texts that are no URL, plain pages."""

    def __init__(self, stack: Stack, per_second: float) -> None:
        assert stack.demo_url is not None
        pages = get_json(f"{stack.demo_url}/manifest.json")["pages"]
        listed = [page for page in pages if page["listed"] and page["status"] == 200]
        self._base = stack.demo_url
        self._plain = [page["path"] for page in listed if not page["protected"]]
        # Kinds whose token opens one page: each visit is challenged.
        self._protected = [page["path"] for page in listed if page["protected"] in COMMON]
        self._kafka = stack.settings.kafka
        self._per_second = per_second
        self._chance = Random(1)
        self.protected = self.bad = 0.0
        self.count = 0

    async def run(self) -> None:
        """Produce until cancelled."""
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka.bootstrap, acks="all")
        await producer.start()
        began_s, key = CLOCK.monotonic(), site_of(self._base).encode()
        try:
            while True:
                for _ in range(self.count, int((CLOCK.monotonic() - began_s) * self._per_second)):
                    await producer.send(
                        self._kafka.prefix + Topic.URLS,
                        json.dumps({"url": self._url(), "id": f"{self.count:06d}", "run": RUN}).encode(),
                        key=key,
                        partition=partition_of(key, self._kafka.partitions),
                    )
                    self.count += 1
                await CLOCK.sleep(0.05)
        finally:
            await producer.stop()

    def _url(self) -> str:
        draw = self._chance.random()
        if draw < self.bad:
            return "not a url at all"
        pages = self._protected if draw < self.bad + self.protected else self._plain
        return f"{self._base}{self._chance.choice(pages)}"


class Told:
    """What the monitor wrote to the topic ``alerts``: the newest of each alert, and all names that came."""

    def __init__(self, stack: Stack) -> None:
        self._reader = KafkaReader(stack.settings.kafka)
        self.newest: dict[str, Alert] = {}
        self.ever: set[str] = set()

    async def read(self) -> None:
        """Read the topic from its beginning; it is small."""
        newest: dict[str, Alert] = {}
        async for record in self._reader.read(Topic.ALERTS, 0):
            if record.value and (alert := decode_alert(record.value)) is not None:
                newest[alert.rule] = alert
                self.ever.add(alert.rule)
        self.newest = newest

    async def until(self, rule: str, state: str, within_s: float) -> Alert | None:
        """Wait until an alert stands so; None where it did not come to that."""
        until_s = CLOCK.monotonic() + within_s
        while CLOCK.monotonic() < until_s:
            await self.read()
            found = self.newest.get(rule)
            if found is not None and found.state == state:
                return found
            await CLOCK.sleep(_LOOK_S)
        return None


class Scene(msgspec.Struct, frozen=True):
    """A fault, the rules that must tell of it, and how it begins and ends."""

    name: str
    rules: tuple[str, ...]
    begin: Callable[[Stack, Load], Awaitable[None]]
    end: Callable[[Stack, Load], Awaitable[None]]


async def run(
    folder: Path, say: Callable[[str], None], *, per_second: float, within_s: float
) -> list[Change]:
    """Play all scenes on one stack; ``within_s`` is how long an alert may take to fire, and to clear."""
    changes: list[Change] = []
    async with _stack(folder) as stack, asyncio.TaskGroup() as tasks:
        load, told = Load(stack, per_second), Told(stack)
        producing = tasks.create_task(load.run())
        await CLOCK.sleep(_CALM_S)
        await told.read()
        say(f"plain pages for {_CALM_S:.0f} s; fired: {sorted(told.ever) or 'nothing'}")
        for scene in SCENES:
            say(f"{scene.name}: begins")
            changes += await _play(scene, stack, load, told, within_s=within_s, say=say)
        producing.cancel()
    return changes


async def _play(
    scene: Scene, stack: Stack, load: Load, told: Told, *, within_s: float, say: Callable[[str], None]
) -> list[Change]:
    for rule in scene.rules:
        if rule in told.newest and told.newest[rule].state == "fired":
            # It told of an earlier scene's fault, too.
            await told.until(rule, "cleared", within_s)
    began_s = CLOCK.monotonic()
    await scene.begin(stack, load)
    fired, fired_s = {}, {}
    for rule in scene.rules:
        fired[rule] = await told.until(rule, "fired", within_s)
        fired_s[rule] = CLOCK.monotonic() - began_s
        say(f"  {rule} fired: {_shown(fired[rule])}, {fired_s[rule]:.0f} s after the fault began")
    await scene.end(stack, load)
    ended_s = CLOCK.monotonic()
    found = []
    for rule in scene.rules:
        alert = fired[rule]
        if alert is None:
            found.append(Change(rule=rule))
            continue
        cleared = await told.until(rule, "cleared", within_s)
        cleared_s = CLOCK.monotonic() - ended_s
        say(f"  {rule} cleared: {_shown(cleared)}, {cleared_s:.0f} s after the fault ended")
        change = Change(
            rule=rule,
            fired_s=round(fired_s[rule], 1),
            fired_at=round(alert.value, 4),
            fired_of=alert.sample,
            cleared_s=None if cleared is None else round(cleared_s, 1),
            cleared_at=None if cleared is None else round(cleared.value, 4),
        )
        found.append(change)
    return found


def _shown(alert: Alert | None) -> str:
    return "NO" if alert is None else f"{alert.value:.3g} of {alert.sample:.0f}"


@asynccontextmanager
async def _stack(folder: Path) -> AsyncIterator[Stack]:
    services = tuple((name, 1) for name in ("fetcher", "solver", "storer", "monitor"))
    options = StackOptions(
        data_dir=folder, services=services, simulator=True, demo_site=True, partitions=4, env=SETTINGS
    )
    async with running_stack(options, ignore) as stack:
        yield stack


def _behave(stack: Stack, behaviour: Mapping[str, Any]) -> None:
    request = Request(f"{stack.simulator_url}/control/behaviour", msgspec.json.encode(behaviour))
    with urlopen(request, timeout=30) as answer:
        answer.read()


async def _challenges(_: Stack, load: Load) -> None:
    load.protected = 1.0


async def _unsolvable(stack: Stack, load: Load) -> None:
    load.protected = 0.2
    error = {"code": "ERROR_CAPTCHA_UNSOLVABLE", "rate": 0.5, "on": "result"}
    await asyncio.to_thread(_behave, stack, {"errors": [error]})


async def _solvable(stack: Stack, _: Load) -> None:
    # Pages stay protected: it clears by solves that succeed.
    await asyncio.to_thread(_behave, stack, {})


async def _nobody_fetches(stack: Stack, load: Load) -> None:
    load.protected = 0.0
    stack.kill("fetcher", signal.SIGKILL)


async def _fetcher_is_back(stack: Stack, _: Load) -> None:
    await stack.restart("fetcher")


async def _no_urls(_: Stack, load: Load) -> None:
    load.bad = 0.3


async def _plain(_: Stack, load: Load) -> None:
    load.protected = load.bad = 0.0


SCENES = (
    Scene("every page is behind a CAPTCHA", ("captcha_rate",), _challenges, _plain),
    Scene("half of the solves fail", ("solve_success_low", "solve_success_critical"), _unsolvable, _solvable),
    Scene("no fetcher runs", ("queue_growing",), _nobody_fetches, _fetcher_is_back),
    Scene("three in ten jobs are no URL", ("dead_letters",), _no_urls, _plain),
)


def report(changes: list[Change]) -> dict[str, Any]:
    """Return the figures by alert."""
    return {each.rule: msgspec.structs.asdict(each) | {"good": each.is_good} for each in changes}
