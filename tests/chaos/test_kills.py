"""SIGKILL of every service in the middle of a crawl: nothing lost, nothing doubled, nothing altered."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from support.campaign import carry_out, get_json, get_text, outcomes, schedule, settled, submit, views
from support.kafka import ignore
from support.oracle import judge
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.stack import Stack, running_stack

SERVICES = ("fetcher", "solver", "storer")
SEED = int(os.environ.get("CHAOS_SEED", "20260"))
KILLS = 10
KILLS_EMBEDDED = 4
JOBS_A_KILL = 120
SETTINGS = {
    "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
    "TIDEGATE_FETCHER__ROBOTS": "ignore",
    "TIDEGATE_FETCHER__SOLVE_HOSTS": "127.0.0.1",
    "TIDEGATE_STORER__BATCH_AGE_S": "0.5",
    # A killed member is noticed after this long; the default would make the test slow, not harder.
    "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "2",
}


async def campaign(stack: Stack, kills_each: int = KILLS) -> None:
    """Submit, kill, wait for the dust to settle, judge; all of it for four seconds a kill of each service."""
    assert stack.demo_url is not None
    assert stack.simulator_url is not None
    listed = get_text(stack.demo_url + "/urls.txt").split()
    jobs = kills_each * JOBS_A_KILL
    urls = [listed[number % len(listed)] for number in range(jobs)]
    run = "kills"
    kills = schedule(SEED, SERVICES, kills_each)
    ids, done = await asyncio.gather(submit(stack, run, urls, per_second=30), carry_out(stack, kills))
    client = views(stack)
    await settled(client, run, len(ids), within_s=240)
    await asyncio.sleep(3)  # noqa: TID251 -- whatever still comes must not come as a second outcome
    manifest: Any = get_json(stack.demo_url + "/manifest.json")
    digests = {page["path"]: page["sha256"] for page in manifest["pages"]}
    served = {
        id_: {digests[url.removeprefix(stack.demo_url)]}
        for id_, url in zip(ids, urls, strict=True)
        if digests.get(url.removeprefix(stack.demo_url))
    }
    verdict = judge(ids, outcomes(client, run), served)
    report = f"seed {SEED}, {done} kills: {verdict}"
    assert verdict.good, report
    assert done == kills_each * len(SERVICES), report
    assert verdict.dead_letters <= jobs * 0.02, report
    # A task is bought once a request, but for kills between createTask and its journal entry (M3).
    rows = client.query(
        "SELECT request_id, count() FROM solves_log WHERE run = 'kills' AND cost > 0 GROUP BY 1"
    ).result_rows
    charges: Any = get_json(stack.simulator_url + "/control/charges")
    bought = len(charges["charges"])
    in_doubt = client.query(
        "SELECT count() FROM solves WHERE run = 'kills' AND error_code = 'in_doubt'"
    ).result_rows[0][0]
    # The figures of a campaign belong in the log of the run.
    print(f"{report}; requests paid {len(rows)}, tasks charged {bought}, in doubt {in_doubt}")  # noqa: T201
    assert bought <= len(rows), f"{report}"


@pytest.mark.kafka
@pytest.mark.timeout(600)
async def test_kills_on_apache_kafka_lose_and_double_nothing(tmp_path: Path) -> None:
    """Ten SIGKILLs a service, all services at once."""
    options = StackOptions(
        data_dir=tmp_path, broker="kafka", simulator=True, demo_site=True, partitions=4, env=SETTINGS
    )
    async with running_stack(options, ignore) as stack:
        await campaign(stack)


@pytest.mark.embedded
@pytest.mark.timeout(600)
async def test_kills_on_the_embedded_broker_lose_and_double_nothing(tmp_path: Path) -> None:
    """Fewer of them on the broker in memory, which keeps no done sets: only more is done again (C7)."""
    options = StackOptions(
        data_dir=tmp_path, broker="embedded", simulator=True, demo_site=True, partitions=4, env=SETTINGS
    )
    async with running_stack(options, ignore) as stack:
        await campaign(stack, KILLS_EMBEDDED)
