"""``tidegate status``: how far every service is, and what each run has."""

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import AsJson, StackOrAddresses


def status(
    data: StackOrAddresses = None,
    as_json: AsJson = False,
) -> None:
    """Show topics, lag, services and the latest runs."""

    async def main(_: Place) -> int:
        from tidegate_cli.commands._status import status_main  # noqa: PLC0415 -- see main

        return await status_main(data=data, as_json=as_json)

    execute(main)
