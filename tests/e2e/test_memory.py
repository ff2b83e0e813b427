"""Memory over a long crawl: what a service holds does not grow with what it has handled."""

import asyncio
from pathlib import Path

import psutil
import pytest
from support.campaign import get_text, submit, views
from support.kafka import ignore
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.stack import Stack, running_stack

SERVICES = ("fetcher", "solver", "storer")
PAGES = 6_000
EARLY = 2_000
Sample = tuple[int, dict[str, int]]


def resident(stack: Stack, service: str) -> int:
    """Return the bytes that a service holds, its own worker processes included."""
    process = psutil.Process(stack.process(service).pid)
    family = [process, *process.children(recursive=True)]
    return sum(each.memory_info().rss for each in family)


def count(stack: Stack, run: str) -> int:
    """Return how many jobs of the run have an outcome."""
    rows = views(stack).query("SELECT count() FROM jobs WHERE run = {run:String}", {"run": run}).result_rows
    return int(rows[0][0])


async def watch(stack: Stack, run: str, pages: int) -> list[Sample]:
    """Sample until all jobs have an outcome."""
    samples: list[Sample] = []
    while True:
        done = await asyncio.to_thread(count, stack, run)
        samples.append((done, {service: resident(stack, service) for service in SERVICES}))
        if done >= pages:
            return samples
        await asyncio.sleep(0.1)  # noqa: TID251 -- real processes, real time


def highest(samples: list[Sample], least: int, most: int) -> dict[str, int]:
    """Return the highest reading of each service while the count was in a range, and of the first beyond it.

    A single reading says as much of where a batch stood as of what a service holds. On a busy machine the
    count may leap over the whole range.
    """
    from_there = [sample for sample in samples if sample[0] >= least]
    readings = [held for done, held in from_there if done <= most]
    readings += [held for done, held in from_there if done > most][:1]
    return {service: max(held[service] for held in readings) for service in SERVICES}


@pytest.mark.embedded
@pytest.mark.timeout(600)
async def test_memory_does_not_grow_with_the_pages_handled(tmp_path: Path) -> None:
    """At 6,000 pages each service holds what it held at 2,000, within a fifth."""
    settings = {
        "TIDEGATE_FETCHER__ALLOW_PRIVATE": "true",
        "TIDEGATE_FETCHER__ROBOTS": "ignore",
        "TIDEGATE_FETCHER__SOLVE_HOSTS": "127.0.0.1",
        "TIDEGATE_STORER__BATCH_AGE_S": "1",
    }
    options = StackOptions(data_dir=tmp_path, simulator=True, demo_site=True, partitions=4, env=settings)
    async with running_stack(options, ignore) as stack:
        assert stack.demo_url is not None
        listed = get_text(stack.demo_url + "/urls.txt").split()
        urls = [listed[number % len(listed)] for number in range(PAGES)]
        async with asyncio.TaskGroup() as group:
            submission = group.create_task(submit(stack, "memory", urls, per_second=2000))
            samples = await watch(stack, "memory", PAGES)
            await submission
        # What is in hand in mid-run is bounded by settings and judged by the peak; a leak stays.
        await asyncio.sleep(3)  # noqa: TID251 -- real processes, real time
        late = {service: resident(stack, service) for service in SERVICES}
    early = highest(samples, EARLY - 500, EARLY + 500)
    peak = highest(samples, 0, PAGES)
    figures = {
        s: f"{early[s] >> 20} MiB, at the end {late[s] >> 20}, at most {peak[s] >> 20}" for s in SERVICES
    }
    print(figures)  # noqa: T201 -- the figures of a run belong in its log
    for service in SERVICES:
        assert late[service] <= early[service] * 1.2, figures
        assert peak[service] <= 300 << 20, figures
