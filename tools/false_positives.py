#!/usr/bin/env python
"""Looks for challenges where there are none: ``python tools/false_positives.py DIR...``.

Every HTML file below the folders is looked at as an answer of status 200. Prints how many there were, how
many passed the screen, what was found, and the CPU time of a page; ends with 1 where anything was found.
On Debian, /usr/share/doc with a few packages of documentation has thousands.
"""

# ruff: noqa: T201 -- what it prints is the answer

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tidegate.captcha_records import Challenge
from tidegate_fetcher import signatures
from tidegate_fetcher.detection import Detector
from tidegate_fetcher.screen import Screen
from yarl import URL

_HEADERS = {"Content-Type": "text/html; charset=utf-8"}


def pages(folders: list[Path]) -> Iterator[Path]:
    """Yield every HTML file below the folders, each once, links not followed."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if (
                path.suffix.lower() in (".html", ".htm", ".xhtml")
                and path.is_file()
                and not path.is_symlink()
            ):
                yield path


def main() -> int:
    """Look at every page; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--status", type=int, default=200, help="the status of every answer")
    arguments = parser.parse_args()
    table = signatures.load()
    detector, screen = Detector(table), Screen(table.screens())
    count = size = passed = found = 0
    screening = looking = 0
    for path in pages(arguments.folders):
        body = path.read_bytes()
        started = time.process_time_ns()
        hit = bool(screen.rows(body))
        screened = time.process_time_ns()
        finding = detector.find(
            body, status=arguments.status, headers=_HEADERS, url=URL(f"https://docs.example/{path.name}")
        )
        looking += time.process_time_ns() - screened
        screening += screened - started
        count, size, passed = count + 1, size + len(body), passed + hit
        if finding is not None:
            found += 1
            name = finding.kind if isinstance(finding, Challenge) else finding.name
            print(f"{path}: {name} ({', '.join(finding.signatures)})")
    if not count:
        print("No pages there.")
        return 2
    print(
        f"{count} pages of {size / count / 1024:.1f} KiB; {passed} passed the screen; {found} found. "
        f"Screen {screening / count / 1000:.1f} us a page, all {looking / count / 1000:.1f} us."
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
