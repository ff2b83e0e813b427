"""``tidegate simulator``: the simulated solving service on its own."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import exec_module


def simulator(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    latency_ms: Annotated[float, typer.Option(min=0, help="Mean time to solve, in milliseconds.")] = 200.0,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for charges.jsonl, the log of what was charged."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of ids, tokens and latencies.")] = None,
) -> None:
    """Run the simulated solving service.

    Until Ctrl-C; it speaks both wire families, and the demo site takes its tokens. Says which settings make
    a crawl use it.
    """
    from tidegate_cli.stack.parts import simulator_settings  # noqa: PLC0415 -- see main
    from tidegate_cli.stack.ports import HOST, PortPool  # noqa: PLC0415 -- see main

    port = port or PortPool().take()
    for name, value in simulator_settings(f"http://{HOST}:{port}").items():
        typer.echo(f"export {name}={value}", err=True)
    arguments = [f"--port={port}", f"--latency-ms={latency_ms}"]
    if data is not None:
        arguments.append(f"--data={data}")
    if seed is not None:
        arguments.append(f"--seed={seed}")
    exec_module("tidegate_cli.simulator", arguments)
