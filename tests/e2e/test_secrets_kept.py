"""No secret comes out: known ones are planted wherever one may be, and looked for in all that came out."""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from support.campaign import views
from support.cli import run
from support.demo_processes import get_json, post_json
from support.kafka import ignore
from support.otlp import Collected, collector
from support.secrets_planted import PLANTED, RUN, found, gateway, jobs, proxy_list, won
from tidegate.records import HEADER_ORIGINAL, HEADER_PAGE
from tidegate.topics import Topic
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.stack.stack import Stack, running_stack

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

_SERVICES = ("fetcher", "solver", "storer", "monitor")
# What holds a secret by design; docs/security.md says who may read it.
_WHOLE_JOB = frozenset(
    {
        *(topic for topic in Topic if topic.startswith("urls")),
        *(Topic.CAPTCHA_REQUESTS, Topic.CAPTCHA_SOLUTIONS, Topic.CAPTCHA_TASKS, Topic.DEAD_LETTER),
        Topic.SESSIONS,
    }
)
# Pages are found by their URL, which keeps its query; credentials are not in it.
_URLS_OF_PAGES = ("url", "final_url")
_KINDS = ("recaptcha_v2", "hcaptcha", "turnstile")


def settings(simulator: str, proxies: str) -> dict[str, str]:
    """Return settings with a secret wherever one may be given, and everything told that can be told."""
    secret = PLANTED
    quick = {"poll_first_delay_s": 0.2, "poll_interval_s": 0.2}
    # Each of those that fail is asked first for one kind: an order in doubt is not placed elsewhere.
    first = {kind: {"prices": {kind: 0.0001}} for kind in ("turnstile", "recaptcha_v2")}
    accounts = {
        "capmonster": {"api_key": secret["provider_key"], "base_url": f"{simulator}/capmonster", **quick},
        "2captcha": {
            "api_key": secret["failing_key"],
            "base_url": f"{simulator}/2captcha",
            **quick,
            **first["turnstile"],
        },
        # The older interface has the key in the query of its requests.
        "captchaai": {
            "api_key": secret["refused_key"],
            "base_url": f"{simulator}/captchaai",
            **quick,
            **first["recaptcha_v2"],
        },
    }
    named = {
        "CLICKHOUSE__PASSWORD": secret["clickhouse_password"],
        "FETCHER__ALLOW_PRIVATE": "true",
        "FETCHER__PROXY_COOLDOWN_S": "0",
        "FETCHER__ROBOTS": "ignore",
        "FETCHER__SOLVE_HOSTS": HOST,
        "KAFKA__PASSWORD": secret["kafka_password"],
        "MONITOR__TOKEN": secret["monitor_token"],
        "MONITOR__WEBHOOK": f"http://{HOST}:1/{secret['webhook']}?key={secret['webhook']}",
        "SOLVER__PROVIDERS": json.dumps(accounts),
        "SOLVER__PROXIES": proxies,
        "STORER__BATCH_AGE_S": "0.3",
        "TELEMETRY__LOG_LEVEL": "debug",
        "TELEMETRY__TRACE_RATIO": "1",
    }
    return {f"TIDEGATE_{name}": value for name, value in named.items()}


async def submit(stack: Stack, values: list[bytes]) -> None:
    """Produce records without keys."""
    async with AIOKafkaProducer(bootstrap_servers=stack.bootstrap, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(stack.settings.kafka.prefix + Topic.URLS, value)


async def ended(stack: Stack, count: int) -> list[tuple[str, str, str]]:
    """Wait for so many outcomes; return run, id and outcome of each."""
    client = views(stack)
    rows: list[tuple[str, str, str]] = []
    for _ in range(720):
        answer = await asyncio.to_thread(client.query, "SELECT run, id, outcome FROM jobs")
        rows = [(row[0], row[1], row[2]) for row in answer.result_rows]
        if len(rows) >= count:
            break
        await asyncio.sleep(0.25)  # noqa: TID251 -- real processes, real time
    return rows


async def records(stack: Stack) -> list[ConsumerRecord[bytes, bytes]]:
    """Return every record of every topic."""
    prefix = stack.settings.kafka.prefix
    async with AIOKafkaConsumer(bootstrap_servers=stack.bootstrap, enable_auto_commit=False) as consumer:
        await consumer.topics()
        partitions = [
            TopicPartition(prefix + topic, number)
            for topic in Topic
            for number in consumer.partitions_for_topic(prefix + topic) or ()
        ]
        ends = {each: end for each, end in (await consumer.end_offsets(partitions)).items() if end}
        consumer.assign(list(ends))
        await consumer.seek_to_beginning()
        read: list[ConsumerRecord[bytes, bytes]] = []
        left = set(ends)
        while left:
            for partition, batch in (await consumer.getmany(*left, timeout_ms=5000)).items():
                read += batch
                if batch[-1].offset + 1 >= ends[partition]:
                    left.discard(partition)
        return read


def of_record(record: ConsumerRecord[bytes, bytes], prefix: str) -> Iterator[bytes]:
    """Yield what of a record may hold no secret; what names a page is apart."""
    topic = record.topic.removeprefix(prefix)
    yield record.key or b""
    for name, value in record.headers:
        if name not in (HEADER_ORIGINAL, HEADER_PAGE):
            yield name.encode() + value
    if topic not in _WHOLE_JOB:
        yield record.value or b""


def page_names(record: ConsumerRecord[bytes, bytes]) -> bytes:
    """Return the header that names the page a record holds."""
    return b"".join(value for name, value in record.headers if name == HEADER_PAGE)


def rows(stack: Stack) -> dict[str, bytes]:
    """Return every table's rows, the URLs of pages aside."""
    client = views(stack)
    database = stack.settings.clickhouse.database
    tables = client.query(f"SELECT name, engine FROM system.tables WHERE database = '{database}'").result_rows
    dumped = {}
    for name, engine in tables:
        if engine == "View":
            continue
        less = f" EXCEPT ({', '.join(_URLS_OF_PAGES)})" if name == "pages_log" else ""
        dumped[f"table {name}"] = client.raw_query(f"SELECT *{less} FROM `{name}`", fmt="JSONEachRow")
    return dumped


async def pages(stack: Stack) -> dict[str, bytes]:
    """Return what each service answers about itself, and what the monitor shows and streams."""
    seen = {}
    token = {"Authorization": f"Bearer {PLANTED['monitor_token']}"}
    async with aiohttp.ClientSession() as session:
        for name in _SERVICES:
            port = stack.process(name).spec.env["TIDEGATE_HEALTH__PORT"]
            for path in ("live", "ready", "metrics"):
                async with session.get(f"http://{HOST}:{port}/{path}") as answer:
                    seen[f"{name}/{path}"] = await answer.read()
        assert stack.monitor_url is not None
        for path in ("", "state"):
            async with session.get(stack.monitor_url + path, headers=token) as answer:
                assert answer.status == 200
                seen[f"monitor page /{path}"] = await answer.read()
        async with session.get(stack.monitor_url + "stream", headers=token) as answer:
            seen["monitor stream"] = await answer.content.readuntil(b"\n\n")
    return seen


async def commands(folder: Path, stack: Stack, dead: list[tuple[str, str]], page: str) -> dict[str, bytes]:
    """Return what the command line says, with the services' own settings in its environment."""
    lines = (
        ("job", page),
        ("status",),
        ("doctor",),
        ("dlq", "ls", "--limit", "100"),
        *(("dlq", "show", *each) for each in (min(dead), max(dead))),
    )
    there = ("--data", str(stack.data_dir))
    ran = await asyncio.gather(
        *(asyncio.to_thread(run, folder, *line, *there, env=stack.env) for line in lines)
    )
    assert all(each.out for each in ran)
    return {
        f"tidegate {' '.join(line)}": (each.out + each.err).encode()
        for line, each in zip(lines, ran, strict=True)
    }


def failures(stack: Stack) -> dict[str, int]:
    """Return how many orders each failing provider answered with its failure."""
    vendors = get_json(f"{stack.simulator_url}/control/stats")["vendors"]
    return {
        "2captcha": vendors["2captcha"]["wire"].get("server_error", 0),
        "captchaai": vendors["captchaai"]["refused"],
    }


async def story(stack: Stack, folder: Path, proxy: str) -> dict[str, bytes]:
    """Crawl with two accounts that fail, and return all that is told while the stack runs."""
    assert stack.simulator_url is not None
    assert stack.demo_url is not None
    refusal = {"code": "ERROR_KEY_DOES_NOT_EXIST", "rate": 1, "on": "create"}
    for vendor, fault in (
        ("2captcha", {"server_error": 1, "operations": ["create"]}),
        ("captchaai", {"errors": [refusal]}),
    ):
        await asyncio.to_thread(
            post_json, f"{stack.simulator_url}/control/behaviour", {"vendor": vendor, **fault}
        )
    manifest = await asyncio.to_thread(get_json, f"{stack.demo_url}/manifest.json")
    kinds = {page["protected"]: page["path"] for page in manifest["pages"] if page["listed"]}
    paths = [kinds[kind] for kind in _KINDS]
    values = jobs(stack.demo_url, paths, proxy)
    await submit(stack, values)
    found_rows = await ended(stack, len(values))
    stored = [name for crawl, name, outcome in found_rows if crawl == RUN and outcome == "page"]
    dead = [(crawl, name) for crawl, name, outcome in found_rows if outcome == "dead_letter"]
    assert len(found_rows) == len(values)
    assert len(stored) >= len(paths)
    assert dead
    failed = await asyncio.to_thread(failures, stack)
    assert all(failed.values()), failed
    told = await pages(stack) | await commands(folder, stack, dead, stored[0])
    return told | await asyncio.to_thread(rows, stack)


def judge(
    told: Mapping[str, bytes], read: list[ConsumerRecord[bytes, bytes]], prefix: str, traces: Collected
) -> None:
    """Look for what was planted, and for what was won on the way, in all of it."""
    won_by = {Topic.SESSIONS, Topic.CAPTCHA_SOLUTIONS}
    whole = {record.topic.removeprefix(prefix) for record in read}
    assert won_by <= whole
    needles = PLANTED | won(
        record.value for record in read if record.value and record.topic.removeprefix(prefix) in won_by
    )
    assert len(needles) > len(PLANTED)
    everything = {
        **told,
        **{f"trace {number}": raw for number, raw in enumerate(traces.raw)},
        **{
            f"{record.topic} {record.partition} {record.offset}": b"\n".join(of_record(record, prefix))
            for record in read
        },
    }
    names = {
        f"{record.topic} {record.partition} {record.offset} names": page_names(record) for record in read
    }
    assert traces.raw
    assert {"stats", "solves", "dead-letter", "pages"} <= whole
    less = {place: secret for place, secret in needles.items() if place != "query"}
    assert any(PLANTED["query"].encode() in text for text in names.values())
    out = {where: found(needles, text) for where, text in everything.items()}
    out |= {where: found(less, text) for where, text in names.items()}
    assert {where: secrets for where, secrets in out.items() if secrets} == {}


async def test_no_planted_secret_comes_out_of_a_crawl_with_failing_proxies_providers_and_jobs(
    tmp_path: Path,
) -> None:
    """Neither logs, pages, traces, tables, headers nor commands tell a secret of a job or a setting (O7)."""
    ports = PortPool()
    simulator_port = ports.take()
    simulator = f"http://{HOST}:{simulator_port}"
    async with contextlib.AsyncExitStack() as around:
        endpoint, traces = around.enter_context(collector())
        proxy, address = await around.enter_async_context(gateway())
        listed = tmp_path / "proxies"
        listed.write_text(proxy_list(address))
        options = StackOptions(
            data_dir=tmp_path / "data",
            services=tuple((name, 1) for name in _SERVICES),
            partitions=2,
            env={
                **settings(simulator, proxy_list(address)),
                "TIDEGATE_FETCHER__PROXIES_FILE": str(listed),
                "TIDEGATE_TELEMETRY__OTLP_ENDPOINT": endpoint,
            },
            simulator=True,
            simulator_port=simulator_port,
            demo_site=True,
        )
        stack = await around.enter_async_context(running_stack(options, ignore))
        told = await story(stack, tmp_path, address)
        logs = {path.name: path for path in (stack.data_dir / "logs").iterdir()}
        read = await records(stack)
        assert proxy.through
        assert proxy.refused
    told |= {f"log {name}": path.read_bytes() for name, path in logs.items()}
    judge(told, read, stack.settings.kafka.prefix, traces)
