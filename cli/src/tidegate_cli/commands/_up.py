"""The work of ``tidegate up``, with everything heavy imported."""

import asyncio
import os
from pathlib import Path

from rich.console import Console
from tidegate.clock import SystemClock
from tidegate.settings import Settings, load

from tidegate_cli.commands._crawl import checked_hosts, choose_broker, choose_services, data_dir
from tidegate_cli.commands._execute import Place
from tidegate_cli.crawl.display import Display
from tidegate_cli.crawl.session import service_env
from tidegate_cli.exits import Exit
from tidegate_cli.installation import by_address, mark_latest
from tidegate_cli.stack.options import StackOptions
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.stack.stack import Stack, running_stack


async def up_main(
    *,
    data: Path,
    solve: tuple[str, ...],
    allow_private: bool,
    demo_site: bool,
    simulator: bool,
    broker: str | None,
    place: Place,
) -> int:
    """Start the stack, say where everything is, and wait to be interrupted."""
    clock = SystemClock()
    load(Settings)
    place.data = data_dir(data, "up")
    mark_latest(place.data)
    bootstrap, clickhouse_url = by_address()
    demo_port = PortPool().take() if demo_site else 0
    hosts = checked_hosts(solve) + ((f"{HOST}:{demo_port}",) if demo_site else ())
    options = StackOptions(
        data_dir=place.data,
        broker=choose_broker(broker, bootstrap),
        clickhouse_url=clickhouse_url,
        services=choose_services(hosts, os.environ, simulated=simulator or demo_site),
        env=service_env(allow_private=allow_private or demo_site, solve=hosts, environment=os.environ),
        simulator=simulator or demo_site,
        demo_site=demo_site,
        demo_port=demo_port,
    )
    place.when_interrupted = Exit.OK
    with Display(Console(stderr=True), clock) as display:
        async with running_stack(options, display.stack_event, clock=clock) as stack:
            with display.until_stopped():
                display.pause()
                _say_where(display, stack, place.data)
                await asyncio.Event().wait()
    return 0


def _say_where(display: Display, stack: Stack, data: Path) -> None:
    lines = [
        ("live page", stack.monitor_url),
        ("Kafka", stack.bootstrap),
        ("ClickHouse", stack.clickhouse_url),
        ("solving service", stack.simulator_url),
        ("demo site", stack.demo_url),
        ("data and logs", str(data)),
    ]
    for name, value in lines:
        if value:
            display.say(f"  [dim]{name:<16}[/] {value}")
    example = f"{stack.demo_url}/urls.txt" if stack.demo_url else "https://example.com/"
    display.say("\n[dim]In another terminal:[/]")
    if stack.demo_url:
        display.say(f"  curl -s {example} | tidegate submit --data {data} -")
    else:
        display.say(f"  tidegate submit --data {data} {example}")
    display.say(f"  tidegate status --data {data}")
    display.say(f'  tidegate sql --data {data} "SELECT url, status, title FROM pages LIMIT 10"')  # noqa: S608 -- shown, not run
    display.say("\nCtrl-C stops everything; the results stay.")
