"""``tidegate kafka``: Apache Kafka on this machine, without a container engine."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute


def kafka(
    nodes: Annotated[int, typer.Option(help="Brokers to start: 1 or 3.")] = 1,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the first broker; 0 takes a free one.")
    ] = 9092,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for its data, kept between starts.")
    ] = Path(".tidegate/kafka"),
) -> None:
    """Run Apache Kafka here, for development.

    Keeps it running until Ctrl-C. Needs Java 17 and Maven; what is missing of Kafka itself is fetched
    once. The first line of standard output is the address, for TIDEGATE_KAFKA__BOOTSTRAP.
    """

    async def main(place: Place) -> int:
        from tidegate_cli.commands._kafka import kafka_main  # noqa: PLC0415 -- see main

        return await kafka_main(nodes=nodes, port=port, data=data, place=place)

    execute(main)
