"""Reads how far the services are behind and tells it as the monitor's own values.

It comes back to every monitor through ``stats``, so that all know the same, and a new one knows the last
minutes, too. Asked of the broker, because whoever is behind may be dead.
"""

from tidegate.backlog import Backlog
from tidegate.clock import Clock
from tidegate.events import Emit
from tidegate.stats import TOPIC
from tidegate.telemetry.tally import Tallies
from tidegate.topics import Topic

from tidegate_monitor.engine import Engine
from tidegate_monitor.events import LagKnown, LagsUnread

READERS: tuple[tuple[Topic, str], ...] = (
    (Topic.URLS_HIGH, "fetcher"),
    (Topic.URLS, "fetcher"),
    (Topic.URLS_LOW, "fetcher"),
    (Topic.CAPTCHA_REQUESTS, "solver"),
    (Topic.CAPTCHA_SOLUTIONS, "fetcher"),
    (Topic.PAGES, "storer"),
    (Topic.SOLVES, "storer"),
    (Topic.DEAD_LETTER, "storer"),
)


async def watch_lags(
    backlog: Backlog, engine: Engine, tallies: Tallies, *, every_s: float, clock: Clock, emit: Emit
) -> None:
    """Read until cancelled, where this monitor is the one that tells others."""
    told = False
    while True:
        if engine.is_leader(clock.monotonic()):
            try:
                for topic, group in READERS:
                    standing = await backlog.read(topic, group)
                    tallies.put(TOPIC, topic, "lag", float(max(0, standing.end - standing.done)))
                told = False
            except Exception as error:  # noqa: BLE001 -- alerts and page go on without these values
                if not told:
                    told = True
                    emit(LagsUnread(error=str(error) or repr(error)))
        else:
            # Whoever tells now would be contradicted by our last ones for ever.
            for topic, _ in READERS:
                tallies.forget(TOPIC, topic, "lag")
        now_ms = engine.now_ms(clock.monotonic())
        # Of every monitor, so that a metric of one that told others before is not a value of then.
        for name, lags in sorted(engine.board.last(TOPIC, "lag", now_ms).items()):
            emit(LagKnown(topic=name, records=int(max(lags))))
        await clock.sleep(every_s)
