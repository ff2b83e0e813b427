"""Runs the monitor: ``python -m tidegate_monitor``; with ``health`` it asks a running one."""

import sys

from tidegate_monitor.app import main

if __name__ == "__main__":
    sys.exit(main())
