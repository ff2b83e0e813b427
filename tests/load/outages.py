"""Takes ClickHouse, the broker and the solving service away for a minute each; the last line is JSON.

``PYTHONPATH=tests python tests/load/outages.py``: everything must flow as before within 15 seconds of the
return, by itself; after the solving service's within the breaker's reset and 15 seconds. Exit code 1 where it
does not.
"""

import argparse
import asyncio
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from support.outages_campaign import SUBJECTS, Plan, report, run


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SUBJECTS, default=None, help="one subject instead of all")
    parser.add_argument("--away", type=float, default=60.0, help="seconds that each is away")
    parser.add_argument("--per-second", type=float, default=20.0, help="jobs a second")
    parser.add_argument("--folder", type=Path, default=None, help="where data and logs go, and stay")
    arguments = parser.parse_args()
    # Our own clients of what is away have nothing to say that is not known.
    for library in ("aiokafka", "clickhouse_connect"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tidegate-outages-"))
    say(f"data and logs are in {folder}")
    plan = Plan(
        subjects=SUBJECTS if arguments.only is None else (arguments.only,),
        away_s=arguments.away,
        per_second=arguments.per_second,
    )
    recoveries = asyncio.run(run(plan, folder, say))
    good = all(each.is_good for each in recoveries)
    if good and arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    say(json.dumps({"away_s": plan.away_s, **report(recoveries), "good": good}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
