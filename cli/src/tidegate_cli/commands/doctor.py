"""``tidegate doctor``: what is wrong with an installation, and how to mend it."""

from tidegate_cli.commands._execute import Place, execute
from tidegate_cli.commands._options import AsJson, StackOrAddresses


def doctor(
    data: StackOrAddresses = None,
    as_json: AsJson = False,
) -> None:
    """Look at brokers, topics, ClickHouse, clocks, solving services and proxies.

    Each line is ok, warn or fail, and says what to do. The exit code is 6 where something fails, 0 with
    warnings only. Solving services are asked for their balance; nothing is bought, and no secret is printed.
    One empty record goes to the topic `stats`, to learn the broker's time.
    """

    async def main(_: Place) -> int:
        from tidegate_cli.commands._doctor import doctor_main  # noqa: PLC0415 -- see main

        return await doctor_main(data=data, as_json=as_json)

    execute(main)
