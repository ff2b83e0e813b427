"""Tells others of alerts (topic, webhook) and of sites' healths (topic). What fails is told and left."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import aiohttp
import msgspec
from tidegate.clock import Clock
from tidegate.consume.service import Sink
from tidegate.errors import TidegateError
from tidegate.events import Emit
from tidegate.outcome import Outgoing
from tidegate.site_health import SiteHealth
from tidegate.topics import Topic

from tidegate_monitor.alerts import Alert
from tidegate_monitor.events import PublishFailed, WebhookFailed

_MOST_WAITING = 1_000
_PAUSES_S = (1.0, 5.0)

T = TypeVar("T")


class Outlet:
    """Two bounded queues, each with a task of its own, so that a slow webhook keeps no topic waiting."""

    def __init__(self, sink: Sink, webhook: "Webhook | None", emit: Emit) -> None:
        self._sink = sink
        self._webhook = webhook
        self._emit = emit
        self._records: asyncio.Queue[Outgoing] = asyncio.Queue(_MOST_WAITING)
        self._posts: asyncio.Queue[Alert] = asyncio.Queue(_MOST_WAITING)

    def tell(self, alerts: Sequence[Alert], healths: Sequence[SiteHealth]) -> None:
        """Put into the queues; the oldest goes where one is full."""
        for alert in alerts:
            _put(self._records, _outgoing(Topic.ALERTS, alert.key, msgspec.json.encode(alert)))
            if self._webhook is not None:
                _put(self._posts, alert)
        for health in healths:
            _put(self._records, _outgoing(Topic.SITE_HEALTH, health.site, msgspec.json.encode(health)))

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._produce(), name="alerts topic")
            group.create_task(self._post(), name="webhook")

    async def _produce(self) -> None:
        while True:
            record = await self._records.get()
            try:
                await self._sink.send(record)
            except TidegateError as error:
                self._emit(PublishFailed(topic=record.topic, error=str(error)))

    async def _post(self) -> None:
        while True:
            alert = await self._posts.get()
            if self._webhook is not None and (error := await self._webhook.post(alert)):
                self._emit(WebhookFailed(rule=alert.rule, subject=alert.subject, error=error))


class Webhook:
    """Posts an alert as JSON: ``text`` for people, ``alert`` for programs. Three tries."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timeout_s: float, clock: Clock) -> None:
        self._session = session
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._clock = clock

    async def post(self, alert: Alert) -> str | None:
        """Return why it could not be posted; None where it was. The address is a secret and not in it."""
        body = msgspec.json.encode({"text": sentence(alert), "alert": alert})
        error = ""
        for pause_s in (0.0, *_PAUSES_S):
            await self._clock.sleep(pause_s)
            try:
                async with self._session.post(
                    self._url,
                    data=body,
                    headers={"Content-Type": "application/json"},
                    timeout=self._timeout,
                    allow_redirects=False,
                ) as answer:
                    if answer.status < 300:
                        return None
                    error = f"status {answer.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as failure:
                error = type(failure).__name__
        return error


def sentence(alert: Alert) -> str:
    """Return an alert in a line."""
    whose = f" ({alert.subject})" if alert.subject else ""
    state = alert.severity if alert.state == "fired" else "over"
    return f"[{state}] {alert.summary}{whose} Now {alert.value:.4g}. {alert.action}"


def _outgoing(topic: Topic, key: str, value: bytes) -> Outgoing:
    return Outgoing(topic=topic, site="", key=key.encode(), value=value, headers=(), partition=0)


def _put(queue: asyncio.Queue[T], item: T) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(item)
