"""The work of ``tidegate kafka``, with everything heavy imported."""

import asyncio
from pathlib import Path

from rich.console import Console
from tidegate.clock import SystemClock

from tidegate_cli.commands._execute import Place
from tidegate_cli.crawl.display import Display
from tidegate_cli.exits import Exit
from tidegate_cli.stack.broker_kafka import LocalKafka


async def kafka_main(*, nodes: int, port: int, data: Path, place: Place) -> int:
    """Start Apache Kafka, say where it is, and wait to be interrupted."""
    place.when_interrupted = Exit.OK
    clock = SystemClock()
    with Display(Console(stderr=True), clock) as display:
        kafka = LocalKafka(data, emit=display.stack_event, nodes=nodes, port=port)
        display.status("Starting Apache Kafka")
        await kafka.start()
        try:
            display.pause()
            print(kafka.bootstrap, flush=True)  # noqa: T201 -- what a script reads
            display.say(
                f"Apache Kafka runs at [bold]{kafka.bootstrap}[/]; Ctrl-C ends it, "
                f"its data stays in {data}.\n"
                f"  export TIDEGATE_KAFKA__BOOTSTRAP={kafka.bootstrap}"
            )
            await asyncio.Event().wait()
        finally:
            display.say("[dim]Stopping[/]")
            await kafka.stop()
    return 0
