"""Replaces every instance of every service under load; the last line is JSON.

``PYTHONPATH=tests python tests/load/rolling.py``: three instances of each service on Apache Kafka. It says
how long each group stood still. With ``--from COMMIT`` the services of that commit run first, are upgraded
to this tree's, and these are replaced by the commit's again. Exit code 1 where a job is lost or there twice,
or where a group stood still for ten seconds.
"""

import argparse
import asyncio
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec
from support.rolling_campaign import Plan, run


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=float, default=20.0, help="jobs a second")
    parser.add_argument("--instances", type=int, default=3, help="of each service")
    parser.add_argument("--from", dest="commit", default=None, help="a commit or tag of this repository")
    parser.add_argument("--folder", type=Path, default=None, help="where data and logs go, and stay")
    arguments = parser.parse_args()
    for library in ("aiokafka", "clickhouse_connect"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tidegate-rolling-"))
    say(f"data and logs are in {folder}")
    plan = Plan(per_second=arguments.per_second, instances=arguments.instances, commit=arguments.commit)
    rolled = asyncio.run(run(plan, folder, say))
    if rolled.is_good and arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    figures = {"lost": rolled.lost, "duplicates": rolled.duplicates, "good": rolled.is_good}
    say(json.dumps(msgspec.structs.asdict(rolled) | figures))
    return 0 if rolled.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
