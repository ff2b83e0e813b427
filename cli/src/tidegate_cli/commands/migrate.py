"""``tidegate migrate``: the schema in ClickHouse."""

from tidegate_cli.commands._execute import exec_module


def migrate() -> None:
    """Make the tables, or bring them up to date.

    In the ClickHouse that TIDEGATE_CLICKHOUSE__URL names.
    """
    exec_module("tidegate_storer", ["migrate"])
