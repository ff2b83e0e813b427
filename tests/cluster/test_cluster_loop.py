"""The loop closed: a burst calls real fetchers through the lag that KEDA reads, and lets them go again."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from support.cluster import namespace, programs
from support.cluster_loop import Plan, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def say(line: str) -> None:
    """Write a line, for the log of a run."""
    sys.stdout.write(f"{line}\n")


def test_a_burst_calls_fetchers_and_loses_nothing() -> None:
    """Ten times the load: out, drained and in again, without a turn in between; each URL is one page."""
    both = programs()
    plan = Plan()
    with tempfile.TemporaryDirectory() as name, namespace(both) as space:
        Path(name).chmod(0o711)
        looped = asyncio.run(run(plan, space, Path(name), say))
    if record := os.environ.get("TEST_CLUSTER_RECORD"):
        Path(record).write_bytes(msgspec.json.encode(looped) + b"\n")
    say(f"{looped.submitted} URLs, lost {looped.lost}, duplicates {looped.duplicates}")
    assert looped.hooks == ["demo-topics", "demo-migrate"]
    assert (looped.lost, looped.duplicates, looped.dead) == (0, 0, 0)
    assert not looped.killed
    assert not looped.unprobed
    wanted = [each.wanted["fetcher"] for each in looped.moments]
    assert max(wanted) == plan.most
    assert (wanted[0], wanted[-1]) == (1, 1)
    steps = looped.steps("fetcher")
    assert steps == sorted(steps, key=lambda step: step < 0), f"it swings: {steps}"
    assert looped.processes["fetcher"] == plan.most, "no pod went only to be made anew"
