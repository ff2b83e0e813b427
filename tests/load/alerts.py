"""Drives four alerts to fire and to clear on one embedded stack; the last line is JSON.

``PYTHONPATH=tests python tests/load/alerts.py``: CAPTCHA rate above 40 %, solve success below 95 % and below
90 %, a queue that grows, dead letters above 5 %. Marks and least samples are the shipped ones, windows are
shorter. Exit code 1 where one did not fire or did not clear.
"""

import argparse
import asyncio
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from support.alerts_campaign import SHORT, report, run


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 -- the program's output


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=float, default=20.0, help="jobs a second")
    parser.add_argument(
        "--within", type=float, default=150.0, help="seconds that firing or clearing may take"
    )
    parser.add_argument("--folder", type=Path, default=None, help="where data and logs go, and stay")
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tidegate-alerts-"))
    say(f"data and logs are in {folder}")
    changes = asyncio.run(run(folder, say, per_second=arguments.per_second, within_s=arguments.within))
    good = all(each.is_good for each in changes)
    if good and arguments.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    say(json.dumps({"settings": SHORT, **report(changes), "good": good}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
