"""URLs and rubbish from clients that know nothing of Tidegate, onto both brokers."""

import asyncio
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer
from support.campaign import views
from support.cli import served
from support.kafka import Broker, ignore
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.stack import Stack, running_stack

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

Produce = Callable[[str, str, bytes], None]
PAGES = {
    "/first": b"<!DOCTYPE html><title>First</title><p>before",
    "/last": b"<!DOCTYPE html><title>Last</title><p>after",
}
LINK_LOCAL = "link-local, where cloud metadata lives"
# 169.254/16 is refused even where private addresses are admitted, as this test's own pages need.
BAD = {
    b"not a url": ("not_a_url", "This is not a URL: it has no scheme such as https://."),
    b"file:///etc/passwd": (
        "scheme_not_allowed",
        "URLs with the scheme 'file' are not fetched, only http and https.",
    ),
    b"http://169.254.169.254/latest": (
        "address_refused",
        f"The address of 169.254.169.254 is {LINK_LOCAL}, which is not connected to.",
    ),
    b"\xff\xfe\x00 no text": ("not_a_url", "This is neither a URL nor JSON: it is not even UTF-8 text."),
    b"\xff" * 10_000_000: ("job_too_large", "The record has 10000000 bytes; a job may have 1048576."),
}


def with_confluent(bootstrap: str, topic: str, value: bytes) -> None:
    """Produce with librdkafka, its partitioner and no key, and wait for the acknowledgement."""
    refused: list[object] = []

    def told(error: object, _: Message) -> None:
        if error is not None:
            refused.append(error)

    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 12_000_000})
    producer.produce(topic, value, on_delivery=told)
    assert producer.flush(60) == 0
    assert not refused


def with_kcat(folder: Path) -> Produce:
    """Return what produces a file as one record with kcat."""

    def produce(bootstrap: str, topic: str, value: bytes) -> None:
        file = folder / "record"
        file.write_bytes(value)
        command = ["kcat", "-P", "-b", bootstrap, "-t", topic, "-X", "message.max.bytes=12000000", str(file)]
        subprocess.run(command, check=True, timeout=60)

    return produce


async def rows(stack: Stack, count: int) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    """Wait for so many outcomes; return title and digest by URL, reason and message by the job's digest."""
    client = views(stack)
    for _ in range(360):
        jobs = await asyncio.to_thread(client.query, "SELECT count() FROM jobs")
        if jobs.result_rows[0][0] >= count:
            break
        await asyncio.sleep(0.5)  # noqa: TID251 -- real processes, real time
    pages = client.query("SELECT url, title, lower(hex(SHA256(body))) FROM pages_with_bodies").result_rows
    dead = client.query("SELECT original_hash, reason, message FROM dead_letters").result_rows
    return {row[0]: (row[1], row[2]) for row in pages}, {row[0]: (row[1], row[2]) for row in dead}


async def story(stack: Stack, site: str, produce: Produce) -> None:
    """A URL, every sort of rubbish, and a URL again, which shows that the consumer goes on."""
    topic = stack.settings.kafka.prefix + "urls"
    for value in (f"{site}/first".encode(), *BAD, f"{site}/last".encode()):
        await asyncio.to_thread(produce, stack.bootstrap, topic, value)
    pages, dead = await rows(stack, len(PAGES) + len(BAD))
    assert pages == {
        site + path: (body.split(b"title>")[1][:-2].decode(), hashlib.sha256(body).hexdigest())
        for path, body in PAGES.items()
    }
    expected = {hashlib.blake2b(value, digest_size=16).hexdigest(): said for value, said in BAD.items()}
    assert dead == expected


def options(folder: Path, broker: str = "embedded", prefix: str | None = None) -> StackOptions:
    """Return a stack without a solver: nothing here is behind a challenge."""
    return StackOptions(
        data_dir=folder,
        services=(("fetcher", 1), ("storer", 1)),
        partitions=3,
        env={"TIDEGATE_FETCHER__ALLOW_PRIVATE": "true", "TIDEGATE_STORER__BATCH_AGE_S": "0.3"},
        broker=broker,
        prefix=prefix,
    )


async def test_what_confluent_kafka_produces_onto_the_embedded_broker_gets_its_rows(tmp_path: Path) -> None:
    """Bare URLs become pages; each sort of rubbish a dead letter with a sentence; nothing stops."""
    with served(PAGES) as site:
        async with running_stack(options(tmp_path / "data"), ignore) as stack:
            await story(stack, site, with_confluent)


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
async def test_what_kcat_produces_onto_apache_kafka_gets_its_rows(
    tmp_path: Path, kafka: Broker, topic_prefix: str
) -> None:
    """The same from librdkafka's own tool, whose partitioner is not ours (S1)."""
    with served(PAGES) as site:
        there = options(tmp_path / "data", broker=kafka.bootstrap, prefix=topic_prefix)
        async with running_stack(there, ignore) as stack:
            await story(stack, site, with_kcat(tmp_path))
