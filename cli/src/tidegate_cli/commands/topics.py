"""``tidegate topics``: the declared topics at the broker."""

from typing import Annotated

import typer

from tidegate_cli.commands._execute import Place, execute

app = typer.Typer(help="The topics at the broker.", no_args_is_help=True)


@app.callback()
def topics() -> None:
    """The topics at the broker."""


@app.command()
def apply(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; the exit code is 6 where something differs.")
    ] = False,
    mend: Annotated[
        bool, typer.Option("--mend", help="Also alter settings that differ, where the broker can.")
    ] = False,
) -> None:
    """Create missing topics and compare the others.

    Partition and replica counts of a topic that exists are never altered.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._topics import topics_main  # noqa: PLC0415 -- see main

        return await topics_main(check=check, mend=mend)

    execute(main)


@app.command()
def acls(
    *,
    bootstrap: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Brokers, as kafka-acls is to find them.")
    ] = "localhost:9092",
    prefix: Annotated[str, typer.Option(help="The installation's prefix of topics and groups.")] = "",
    principal: Annotated[
        str, typer.Option(help="How a role is called on the brokers; {role} is its name here.")
    ] = "User:tidegate-{role}",
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="The administrator's settings, for --command-config.")
    ] = None,
    strimzi: Annotated[
        str | None, typer.Option(metavar="CLUSTER", help="Print KafkaUser resources of that cluster instead.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="The namespace of these resources.")] = None,
) -> None:
    """Print who may do what with topics and groups, as kafka-acls commands or for Strimzi.

    Asks nobody and changes nothing. The roles are those of docs/security.md.
    """

    async def main(_: Place) -> int:
        import msgspec  # noqa: PLC0415 -- see main
        from tidegate.topic_access import commands, users  # noqa: PLC0415

        if strimzi is None:
            lines = commands(prefix=prefix, bootstrap=bootstrap, principal=principal, config=config)
            typer.echo("\n".join(lines))
        else:
            # JSON is YAML, too.
            found = users(prefix=prefix, cluster=strimzi, namespace=namespace)
            documents = (msgspec.json.format(msgspec.json.encode(each), indent=2).decode() for each in found)
            typer.echo("\n---\n".join(documents))
        return 0

    execute(main)
