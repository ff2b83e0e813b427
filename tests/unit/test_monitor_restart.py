"""A monitor that starts again, leads or follows others, and a broker that is not what it was."""

import msgspec
from tidegate.alert_rules import load
from tidegate.process import instance_name
from tidegate.stats import Part, StatsDelta
from tidegate_monitor.app import start_name
from tidegate_monitor.engine import Engine

START_MS = 1_700_000_000_000


def record(service: str, instance: str, **sums: float) -> bytes:
    """Return a record of ``stats``."""
    parts = {"service": {"": Part(sums=sums)}}
    return msgspec.json.encode(StatsDelta(service=service, instance=instance, seconds=1.0, parts=parts))


def engine(instance: str = "m1") -> Engine:
    """Return one that begins at the start."""
    return Engine(instance, load(), wall_ms=START_MS)


def test_a_monitor_does_not_take_an_earlier_start_for_itself() -> None:
    """In a container all starts have one host and process id: that says nothing."""
    earlier, now = start_name(), start_name()
    assert now.startswith(instance_name())
    one = engine(now)
    assert not one.take(record("monitor", earlier), 0, START_MS - 3_600_000, 0.0).caught_up
    assert one.take(record("monitor", now), 1, START_MS, 0.0).caught_up
