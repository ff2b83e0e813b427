#!/usr/bin/env python
"""Writes docs/scaling.md and its drawings from the chart's policies, by simulation.

A test holds the written page against the simulation; after a change of the chart run ``make docs``.
"""

import sys
from pathlib import Path

from support.scaling_days import charts, page

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> int:
    """Write the page and the drawings."""
    (DOCS / "scaling").mkdir(exist_ok=True)
    for name, drawing in charts().items():
        (DOCS / "scaling" / name).write_text(drawing, encoding="utf-8")
    (DOCS / "scaling.md").write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{DOCS / 'scaling.md'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
