"""The embedded stack as a whole: real services, real engine, real broker protocol."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.campaign import get_json, settled, submit, views
from support.kafka import ignore
from support.stack import alive, until_gone
from tidegate.clock import SystemClock
from tidegate.errors import ConfigurationError
from tidegate.kafka_admin import site_partitions
from tidegate_cli.stack.folder import addresses
from tidegate_cli.stack.options import DEFAULT_SERVICES, StackOptions
from tidegate_cli.stack.processes import StackError
from tidegate_cli.stack.stack import Stack, running_stack
from tidegate_cli.top.board import lines
from tidegate_cli.top.feed import Feed, session
from tidegate_cli.top.state import decode

CLOCK = SystemClock()
SERVICES = tuple(name for name, _ in DEFAULT_SERVICES)
RUN = "whole"
PAGES = 120
SETTINGS = {
    "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
    "TIDEGATE_FETCHER__SOLVE_HOSTS": "127.0.0.1",
    "TIDEGATE_STORER__BATCH_AGE_S": "1",
}
pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]


async def status(url: str) -> int:
    """Return the status of a GET."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


def stored(stack: Stack) -> tuple[int, int, float]:
    """Return the run's pages, its solves and what they cost, as ClickHouse has them."""
    client, of = views(stack), {"run": RUN}
    ((pages,),) = client.query("SELECT count() FROM pages WHERE run = {run:String}", of).result_rows
    query = "SELECT count(), sum(cost) FROM solves WHERE run = {run:String} AND status = 'solved'"
    ((solves, cost),) = client.query(query, of).result_rows
    return int(pages), int(solves), round(float(cost), 6)


def shown(stack: Stack) -> tuple[int, int, float]:
    """Return the same as the live page shows it, by site and by provider, of the last five minutes."""
    state = get_json(f"{stack.monitor_url}state")
    pages = sum(each["fetches"] - round((each["captcha"] or 0) * each["fetches"]) for each in state["sites"])
    solves = sum(round((each["solved"] or 0) * each["solves"]) for each in state["providers"])
    return pages, solves, round(sum(each["spent"] for each in state["providers"]), 6)


def complaints(stack: Stack) -> list[dict[str, Any]]:
    """Return what the services logged as an error."""
    lines = [line for name in SERVICES for line in stack.process(name).log_path.read_text().splitlines()]
    said = [json.loads(line) for line in lines if line.startswith("{")]
    return [each for each in said if each.get("level") == "error"]


async def lose_the_monitor(stack: Stack) -> None:
    """Kill it in the middle of a run, start it again, and compare what it shows with what is stored."""

    async def pages() -> int:
        return (await asyncio.to_thread(stored, stack))[0]

    listed = get_json(f"{stack.demo_url}/manifest.json")["pages"]
    urls = [f"{stack.demo_url}{page['path']}" for page in listed if page["path"].startswith("/doc/")][:PAGES]
    pids = [stack.process(name).pid for name in SERVICES]
    first = PAGES // 4
    await submit(stack, RUN, urls[:first], per_second=25)
    await settled(views(stack), RUN, first, within_s=120)
    before = await pages()
    stack.kill("monitor", signal.SIGKILL)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(submit(stack, RUN, urls[first:], per_second=25, first=first))
        # Pages come while there is no monitor.
        while await pages() == before:
            await CLOCK.sleep(0.2)
        await stack.restart("monitor")
    await settled(views(stack), RUN, PAGES, within_s=120)
    # Nobody noticed: no process is another one, and nothing was an error.
    assert [stack.process(name).pid for name in SERVICES] == pids
    assert complaints(stack) == []
    said, known = (0, 0, 0.0), await asyncio.to_thread(stored, stack)
    assert known[0] == PAGES
    assert known[1] > 0
    # What the services told last is on its way for a second.
    for _ in range(60):
        said = await asyncio.to_thread(shown, stack)
        if said == known:
            break
        await CLOCK.sleep(0.5)
    assert said == known
    assert stack.monitor_url is not None
    async with session() as connections:
        body = await Feed(connections, stack.monitor_url, "").once()
    assert "Breaker of" in "".join(lines(decode(body), 80))


async def test_the_stack_starts_whole_survives_kills_and_leaves_nothing(tmp_path: Path) -> None:
    """Every part answers, a killed service comes back, and the end leaves no process and no address.

    A monitor that is killed in mid-run is missed by nobody, and comes to ClickHouse's numbers again.
    """
    data = tmp_path / "data"
    options = StackOptions(
        data_dir=data,
        services=(*DEFAULT_SERVICES, ("monitor", 1)),
        simulator=True,
        demo_site=True,
        partitions=3,
        prefix="whole-",
        env=SETTINGS,
    )
    async with running_stack(options, ignore) as stack:
        names = {each.name for each in stack.processes}
        assert names == {"broker", "clickhouse", "simulator", "demo-site", "monitor", *SERVICES}
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
        await lose_the_monitor(stack)
        before = stack.process("fetcher").pid
        stack.kill("fetcher", signal.SIGKILL)
        await stack.restart("fetcher")
        assert stack.process("fetcher").pid != before
        pids = [each.pid for each in stack.processes]
        assert all(alive(pid) for pid in pids)
    assert await until_gone(pids) == []
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
