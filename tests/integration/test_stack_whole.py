"""The embedded stack as a whole: real services, real engine, real broker protocol."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest
from support.kafka import ignore
from support.stack import alive, until_gone
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError
from tidegate.kafka_admin import site_partitions
from tidegate_cli.stack.folder import addresses
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.processes import StackError
from tidegate_cli.stack.stack import Stack, running_stack

CLOCK = SystemClock()
pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240)]


async def status(url: str) -> int:
    """Return the status of a GET."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


async def test_the_stack_starts_whole_survives_kills_and_leaves_nothing(tmp_path: Path) -> None:
    """Every part answers, a killed service comes back, and the end leaves no process and no address."""
    data = tmp_path / "data"
    options = StackOptions(data_dir=data, simulator=True, demo_site=True, partitions=3, prefix="whole-")
    async with running_stack(options, ignore) as stack:
        names = {each.name for each in stack.processes}
        assert names == {"broker", "clickhouse", "simulator", "demo-site", "fetcher", "solver", "storer"}
        assert stack.settings.kafka.prefix == "whole-"
        assert not stack.settings.kafka.idempotent
        assert await site_partitions(stack.settings) == 3
        assert await status(f"{stack.clickhouse_url}/ping") == 200
        assert stack.demo_url is not None
        assert await status(stack.demo_url) == 200
        found = addresses(data)
        assert found is not None
        assert (found.bootstrap, found.pid) == (stack.bootstrap, os.getpid())
        with pytest.raises(ConfigurationError, match="in use by another stack"):
            async with running_stack(options, ignore):
                pytest.fail("two stacks on one folder")
        before = stack.process("fetcher").pid
        stack.kill("fetcher", signal.SIGKILL)
        await stack.restart("fetcher")
        assert stack.process("fetcher").pid != before
        pids = [each.pid for each in stack.processes]
        assert all(alive(pid) for pid in pids)
    assert await until_gone(pids, 5) == []
    assert addresses(data) is None


async def test_the_death_of_the_broker_in_memory_ends_the_run(tmp_path: Path) -> None:
    """It is never started again behind a run's back, and everything else is stopped."""
    seen: list[Stack] = []

    async def run() -> None:
        options = StackOptions(
            data_dir=tmp_path / "data", services=(("fetcher", 1),), clickhouse_url="http://127.0.0.1:9"
        )
        async with running_stack(options, ignore) as stack:
            seen.append(stack)
            os.kill(stack.process("broker").pid, signal.SIGKILL)
            await asyncio.Event().wait()

    with pytest.raises(StackError, match=r"broker died \(SIGKILL\) and cannot be started again"):
        await asyncio.wait_for(run(), 120)
    assert [each.running for each in seen[0].processes] == [False, False]


async def test_a_service_that_refuses_its_settings_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    """The message of the service reaches the person."""
    options = StackOptions(
        data_dir=tmp_path / "data",
        services=(("fetcher", 1),),
        clickhouse_url="http://127.0.0.1:9",
        env={"TIDEGATE_FETCHER__NONSENSE": "1"},
    )
    with pytest.raises(StackError, match=r"(?s)fetcher ended with exit code 2.*NONSENSE"):
        async with running_stack(options, ignore):
            pytest.fail("it must not start")
