"""Runs the storer: ``python -m tidegate_storer``; ``migrate`` prepares the database, ``health`` asks.

``grants`` prints the SQL that gives users the least rights.
"""

import sys

# What is in hand, some thousand records with their rows, makes up tens of thousands of objects and comes and
# goes with the batches: at 20,000 the collector walked through it once a thousand pages and found nothing,
# for 26 µs a page and what it drove out of the caches. What an insert held is free without it
# (tests/integration/test_storer_memory.py).
_COLLECT_AFTER = 100_000


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

    return main("storer", Settings, PLAN, build, METRICS, stats=STATS, collect_after=_COLLECT_AFTER)


if __name__ == "__main__":
    sys.exit(run())
