"""Runs the storer: ``python -m tidegate_storer``; ``migrate`` prepares the database, ``health`` asks.

``grants`` prints the SQL that gives users the least rights.
"""

import sys


def run() -> int:
    """Do what the arguments say; `migrate` imports nothing of Kafka, because a start waits for it."""
    if sys.argv[1:] == ["migrate"]:
        from tidegate_storer.migrate import command  # noqa: PLC0415 -- see above

        return command()
    if sys.argv[1:] == ["grants"]:
        from tidegate.settings import load  # noqa: PLC0415 -- see above

        from tidegate_storer.grants import script  # noqa: PLC0415 -- see above
        from tidegate_storer.settings import Settings as Everything  # noqa: PLC0415 -- see above

        server = load(Everything).clickhouse
        sys.stdout.write(script(server.database, server.cluster or None) + "\n")
        return 0
    from tidegate.process import main  # noqa: PLC0415 -- see above

    from tidegate_storer.app import PLAN, build  # noqa: PLC0415 -- see above
    from tidegate_storer.metrics import METRICS  # noqa: PLC0415 -- see above
    from tidegate_storer.settings import Settings  # noqa: PLC0415 -- see above
    from tidegate_storer.stats import STATS  # noqa: PLC0415 -- see above

    return main("storer", Settings, PLAN, build, METRICS, stats=STATS)


if __name__ == "__main__":
    sys.exit(run())
