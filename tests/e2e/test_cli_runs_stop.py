"""``tidegate run cancel`` on a stack at work: spending stops when it returns, and every job has its end."""

import asyncio
from pathlib import Path

import pytest
from support.campaign import get_json, submit, views
from support.demo_processes import post_json
from support.kafka import ignore
from support.money_site import money_site
from tidegate.clock import SystemClock
from tidegate.consume.kafka_reader import KafkaReader
from tidegate.ledger.decisions import Verdict
from tidegate.ledger.entries import Reserve, Stop, read_entry
from tidegate.ledger.machine import Ledger
from tidegate.topics import Topic
from tidegate_cli.commands._run import change_main, create_main
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.ports import HOST
from tidegate_cli.stack.stack import Stack, running_stack

CLOCK = SystemClock()
JOBS, OTHERS = 40, 4
SETTINGS = {
    "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
    "TIDEGATE_FETCHER__ROBOTS": "ignore",
    "TIDEGATE_FETCHER__SOLVE_HOSTS": HOST,
    # One task at a time, of half a second: the command comes in the middle, also on a busy machine.
    "TIDEGATE_SOLVER__CONCURRENCY": "1",
    "TIDEGATE_STORER__BATCH_AGE_S": "0.2",
}


def rows(stack: Stack, run: str) -> dict[str, str]:
    """Return each job of a run with its outcome: ``page``, or the reason of its dead letter."""
    found = views(stack).query(
        "SELECT id, if(outcome = 'page', 'page', reason) FROM jobs WHERE run = {run:String}", {"run": run}
    )
    return {row[0]: row[1] for row in found.result_rows}


def charged(stack: Stack) -> int:
    """Return how many tasks the service charged."""
    return len(get_json(f"{stack.simulator_url}/control/charges")["charges"])


@pytest.mark.embedded
@pytest.mark.timeout(600)
async def test_a_cancelled_run_spends_nothing_more_and_ends_every_job(tmp_path: Path) -> None:
    """M1: no reservation after the command's record is granted; another run goes on."""
    options = StackOptions(data_dir=tmp_path, broker="embedded", simulator=True, env=SETTINGS, partitions=4)
    async with money_site(3) as sites, running_stack(options, ignore) as stack:
        slow = {"vendor": "*", "latency_ms": 500}
        await asyncio.to_thread(post_json, f"{stack.simulator_url}/control/behaviour", slow)
        await create_main("r", budget="5", deadline="1h", data=tmp_path, as_json=True)
        urls = [f"{sites[n % 3]}/r/{n}" for n in range(JOBS)]
        await submit(stack, "r", urls, per_second=200.0)
        while charged(stack) < 3:
            await CLOCK.sleep(0.1)
        await change_main("r", "cancelled", data=tmp_path, as_json=True)
        await submit(stack, "other", [f"{sites[n % 3]}/o/{n}" for n in range(OTHERS)], per_second=200.0)
        for _ in range(600):
            ended = rows(stack, "r")
            others = rows(stack, "other")
            if len(ended) == JOBS and len(others) == OTHERS:
                break
            await CLOCK.sleep(0.2)
        assert set(ended.values()) <= {"page", "cancelled"}
        assert list(ended.values()).count("cancelled") >= JOBS // 4
        assert set(others.values()) == {"page"}
        ledger, stopped, after = Ledger(), False, []
        async for record in KafkaReader(stack.settings.kafka).read(Topic.BUDGET, 0):
            entry = read_entry(record.value)
            decision = ledger.apply(record.offset, record.timestamp_ms, entry).decision
            stopped = stopped or (isinstance(entry, Stop) and entry.run == "r")
            if stopped and isinstance(entry, Reserve) and entry.run == "r" and decision is not None:
                after.append(decision.verdict)
        assert stopped
        assert Verdict.GRANTED not in after
        pages = sum(each == "page" for each in (*ended.values(), *others.values()))
        # What was under way at that moment was paid for: one task at the service, and the answers on their
        # way back, which is one as a rule and a few where the machine is slow.
        assert pages <= charged(stack) <= pages + 5
