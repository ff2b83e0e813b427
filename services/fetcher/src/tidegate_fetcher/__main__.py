"""Runs the fetcher: ``python -m tidegate_fetcher``; with ``health`` it asks a running one."""

import sys

from tidegate.process import main

from tidegate_fetcher.app import PLAN, build
from tidegate_fetcher.metrics import METRICS
from tidegate_fetcher.settings import Settings
from tidegate_fetcher.stats import STATS

if __name__ == "__main__":
    sys.exit(main("fetcher", Settings, PLAN, build, METRICS, stats=STATS))
