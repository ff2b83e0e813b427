"""Faust reads the statistics from a broker: all of them, from the beginning, with their append times."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from support.kafka import ignore, local_tansu
from tidegate.clock import SystemClock
from tidegate.consume.runtime_events import JobDead
from tidegate.errors import BrokerError
from tidegate.kafka_admin import apply_topics
from tidegate.settings import KafkaSettings, Settings
from tidegate.stats import decode
from tidegate.telemetry.stats_sink import StatsSink
from tidegate.telemetry.tally import Tallies
from tidegate_monitor.stream import read_stats

pytestmark = pytest.mark.embedded


async def test_what_a_service_tells_comes_to_a_monitor_that_starts_later(tmp_path: Path) -> None:
    """What was there at the start and what comes after it, each once and in order."""
    clock, seen, stale = SystemClock(), list[tuple[bytes, int, int]](), asyncio.Event()
    async with local_tansu(tmp_path) as broker:
        kafka = KafkaSettings(bootstrap=broker.bootstrap, idempotent=False, partitions=1)
        await apply_topics(Settings(kafka=kafka))
        tallies = Tallies("fetcher", "host:1", (), dead=JobDead)
        tallies.note(JobDead(run="r", job_id="j", site="s", reason="shed", message="m"))
        began_ms = clock.wall_ms()
        telling = asyncio.ensure_future(StatsSink(kafka, tallies, clock, ignore).run())
        await clock.sleep(2.5)

        def take(value: bytes, offset: int, at_ms: int) -> None:
            seen.append((value, offset, at_ms))
            if len(seen) == 5:
                stale.set()

        with pytest.raises(BrokerError):
            await read_stats(kafka, take, clock, stale.is_set)
        telling.cancel()
    assert [offset for _, offset, _ in seen[:5]] == [0, 1, 2, 3, 4]
    first = decode(seen[0][0])
    assert first is not None
    assert [note.job_id for note in first.dead] == ["j"]
    assert 0 <= seen[0][2] - began_ms < 60_000
    assert msgspec.json.decode(seen[4][0])["instance"] == "host:1"
