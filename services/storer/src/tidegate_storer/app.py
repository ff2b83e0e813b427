"""Wiring: what the storer consumes, and what it is built from."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidegate.clock import Clock
from tidegate.consume.plan import Fault, Plan
from tidegate.consume.service import Service
from tidegate.errors import ClickHouseError, ConfigurationError
from tidegate.events import Emit
from tidegate.process import Context
from tidegate.topics import Topic

from tidegate_storer.allowance import Allowance
from tidegate_storer.batch import Limits
from tidegate_storer.batch_writer import BatchWriter
from tidegate_storer.batching import Batching
from tidegate_storer.clickhouse import ClickHouse, connected
from tidegate_storer.events import ClickHouseAway, StorerReady
from tidegate_storer.handler import StorerService
from tidegate_storer.parser_pool import ParserPool
from tidegate_storer.parsers import installed
from tidegate_storer.reading import Item
from tidegate_storer.schema import check_schema
from tidegate_storer.settings import Settings

# The window holds what is parsed, what fills a batch and the batches in flight. A handler waits for as long
# as ClickHouse is away, so it has no deadline; what it raised would be a bug, and redone in place, because
# a dead letter that fails must not make another one (delivery.md O5).
PLAN = Plan(
    group="storer",
    topics=(Topic.PAGES, Topic.SOLVES, Topic.DEAD_LETTER),
    window=2_048,
    deadline_s=None,
    fault=Fault.HOLD,
)

_LONGEST_WAIT_S = 15.0
_MIGRATION_POLL_S = 0.1


@asynccontextmanager
async def build(context: Context[Settings]) -> AsyncIterator[Service[Item]]:
    """Build the storer. Raises ConfigurationError when the schema is not the one it needs."""
    settings = context.settings.storer
    registry = installed()
    async with connected(
        context.settings.clickhouse, timeout_s=settings.insert_timeout_s, quorum=settings.insert_quorum
    ) as clickhouse:
        version = await _schema(clickhouse, context.clock, context.emit, settings.schema_wait_s)
        writer = BatchWriter(clickhouse, clock=context.clock, random=context.random, emit=context.emit)
        batching = Batching(
            writer.write,
            limits=Limits(rows=settings.batch_rows, size=settings.batch_bytes, age_s=settings.batch_age_s),
            in_flight=settings.batches_in_flight,
            clock=context.clock,
            emit=context.emit,
        )
        pool = ParserPool(
            workers=settings.parser_workers,
            timeout_s=settings.parser_timeout_s,
            memory_mb=settings.parser_memory_mb,
            registry=registry,
            clock=context.clock,
            emit=context.emit,
        )
        async with pool.running(), batching.running():
            context.emit(StorerReady(schema_version=version, parsers=", ".join(sorted(registry))))
            yield StorerService(
                put=batching.put,
                parse=pool.parse,
                allowance=Allowance(settings.bytes_in_hand),
                max_body_bytes=settings.max_body_bytes,
            )


async def _schema(clickhouse: ClickHouse, clock: Clock, emit: Emit, patience_s: float) -> int:
    """Check the schema; wait for a server that is away, for then nothing can be said about it."""
    wait = 0.5
    until = clock.monotonic() + patience_s
    while True:
        try:
            return await check_schema(clickhouse)
        except ClickHouseError as error:
            emit(ClickHouseAway(error=str(error)[:500], wait_s=wait))
            await clock.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)
        except ConfigurationError:
            if clock.monotonic() >= until:
                raise
            await clock.sleep(_MIGRATION_POLL_S)
