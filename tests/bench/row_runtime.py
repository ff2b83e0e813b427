"""The runtime's row: consume, do nothing, commit; against a bare loop of the Kafka client."""

from itertools import repeat

from bench.consumers import PARTITIONS, RECORD, TOPIC
from bench.report import RowSpec, Spec
from bench.rig import Rig, make_topic, put, run_module
from tidegate.outcome import Outgoing

COUNT = 150_000
SPEC = RowSpec(
    name="runtime",
    title="the consumer runtime with a handler that does nothing",
    how=f"{COUNT:,} records of 81 bytes from {PARTITIONS} partitions: bounded in hand, done in any order, "
    "each offset tracked, committed every half second. The peer is a loop of aiokafka's `getmany` that looks "
    "at each record and commits as often. CPU time of the process, its start left out. `traced` adds the "
    "service's own tracing at 1 %; `in memory` takes the Kafka client away.",
    figures=(
        Spec("runtime", "µs/record", "lower", must=25.0, aim=12.0),
        Spec("bare getmany loop", "µs/record", "lower"),
        Spec("runtime ÷ bare loop", "", "lower"),
        Spec("runtime, traced", "µs/record", "lower"),
        Spec("runtime, in memory", "µs/record", "lower"),
    ),
)


async def measure(rig: Rig) -> dict[str, float]:
    """Measure each consumer once, on the same records."""
    prefix, _ = rig.fresh()
    await make_topic(rig.bootstrap, prefix + TOPIC)
    record = Outgoing(topic=TOPIC, site="shop.example", value=RECORD)
    spread = (
        Outgoing(topic=TOPIC, site=record.site, value=RECORD, partition=number % PARTITIONS)
        for number, record in enumerate(repeat(record, COUNT))
    )
    await put(rig.bootstrap, prefix, spread)

    async def one(kind: str) -> float:
        # Each has a group of its own, and reads all of them.
        arguments = (kind, rig.bootstrap, prefix, str(COUNT))
        return float(await run_module("bench.consumers", *arguments, log=rig.folder / "consumers.log"))

    bare, runtime = await one("bare"), await one("runtime")
    return {
        "runtime": runtime,
        "bare getmany loop": bare,
        "runtime ÷ bare loop": runtime / bare,
        "runtime, traced": await one("traced"),
        "runtime, in memory": await one("memory"),
    }
