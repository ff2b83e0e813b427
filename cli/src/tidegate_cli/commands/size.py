"""``tidegate size``: what a rate of pages needs, with the arithmetic."""

from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import AsJson


def size(
    *,
    pages_per_second: Annotated[
        float, typer.Option("--pages-per-second", metavar="N", help="Pages to be stored a second.")
    ],
    page_kib: Annotated[float, typer.Option(help="A body after compression, in KiB.")] = 8.0,
    challenged: Annotated[float, typer.Option(help="Share of pages that meet a challenge.")] = 0.02,
    answer_seconds: Annotated[float, typer.Option(help="How long a site takes to answer.")] = 1.0,
    solve_seconds: Annotated[float, typer.Option(help="How long a solving service takes.")] = 15.0,
    outage_days: Annotated[float, typer.Option(help="How long Kafka keeps records.")] = 14.0,
    kept_days: Annotated[float, typer.Option(help="How long ClickHouse keeps pages.")] = 90.0,
    replication: Annotated[int, typer.Option(help="Replicas of a topic.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Say what a rate needs: pods, partitions, brokers, ClickHouse; each figure with the sum that gives it.

    Asks nobody. The unit costs are those of docs/sizing.md.
    """

    async def main(_: Place) -> int:
        import msgspec  # noqa: PLC0415 -- see main

        from tidegate_cli.exits import Exit  # noqa: PLC0415
        from tidegate_cli.sizing import Load, lines, size  # noqa: PLC0415

        needs = size(
            Load(
                pages_per_second=pages_per_second,
                page_kib=page_kib,
                challenged=challenged,
                answer_s=answer_seconds,
                solve_s=solve_seconds,
                outage_days=outage_days,
                kept_days=kept_days,
                replication=replication,
            )
        )
        typer.echo(msgspec.json.encode(needs).decode() if as_json else "\n".join(lines(needs)))
        return Exit.OK

    execute(main)
