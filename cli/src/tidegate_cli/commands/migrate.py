"""``tidegate migrate``: the schema in ClickHouse."""

from typing import Annotated

import typer

from tidegate_cli.commands._execute import exec_module


def migrate(
    *,
    print_users: Annotated[
        bool, typer.Option("--print-users", help="Print SQL for users with the least rights; change nothing.")
    ] = False,
) -> None:
    """Make the tables, or bring them up to date.

    In the ClickHouse that TIDEGATE_CLICKHOUSE__URL names.
    """
    exec_module("tidegate_storer", ["grants" if print_users else "migrate"])
