"""``tidegate up``: start the stack and keep it running."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute


def up(
    *,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for results and logs.", show_default=True)
    ] = Path(".tidegate/up"),
    solve: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Solve CAPTCHAs on this host; may be repeated."),
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private", help="Admit loopback and private addresses, and any port: servers of your own."
        ),
    ] = False,
    demo_site: Annotated[
        bool,
        typer.Option(
            "--demo-site",
            help="Serve the demo site, too, with solving allowed on it and private addresses admitted.",
        ),
    ] = False,
    simulator: Annotated[
        bool, typer.Option("--simulator", help="Start the simulated solving service, too, and use it.")
    ] = False,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="embedded|kafka",
            help="embedded: in memory. kafka: Apache Kafka, started here (needs Java 17 and Maven). Default: "
            "TIDEGATE_KAFKA__BOOTSTRAP where it is set, else embedded.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start the stack and keep it running until Ctrl-C.

    Submit to it with `tidegate submit` or any Kafka producer; ask it with `tidegate sql` and
    `tidegate status`.
    """

    async def main(place: Place) -> int:
        from tidegate_cli.commands._up import up_main  # noqa: PLC0415 -- see main

        return await up_main(
            data=data,
            solve=tuple(solve or ()),
            allow_private=allow_private,
            demo_site=demo_site,
            simulator=simulator,
            broker=broker,
            place=place,
        )

    execute(main)
