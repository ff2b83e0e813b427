"""Which of two rows of the same identity counts: the rule of outcomes as numbers. Pure.

A ReplacingMergeTree keeps the row with the highest version, so the version is the rule (delivery.md O1): a
page beats a dead letter; among pages the first in log order wins, among dead letters the last. It is made
from nothing but where the record stands in the log, so a redo makes the same version again.

With equal versions the later *insert* wins, which would be luck. Hence equal versions must come from the
same record only: partition and offset are part of the version, not just the time.
"""

from tidegate.captcha_records import SolutionStatus, SolveRecord
from tidegate.records import Inbound

PAGE_BIT = 1 << 127
_HIGHEST = PAGE_BIT - 1
_OFFSET_BITS, _PARTITION_BITS = 63, 16


def order(record: Inbound) -> int:
    """Return the place of a record in log order, below 2^127: append time, offset, partition."""
    time = min(max(record.timestamp_ms, 0), (1 << 48) - 1)
    offset = record.offset & ((1 << _OFFSET_BITS) - 1)
    partition = record.partition & ((1 << _PARTITION_BITS) - 1)
    return (time << (_OFFSET_BITS + _PARTITION_BITS)) | (offset << _PARTITION_BITS) | partition


def page_version(record: Inbound) -> int:
    """Return a version above every dead letter's, and the higher the earlier the page."""
    return PAGE_BIT | (_HIGHEST - order(record))


def dead_version(record: Inbound) -> int:
    """Return a version below every page's, and the higher the later the dead letter."""
    return order(record)


def solve_version(record: Inbound, solve: SolveRecord) -> int:
    """Return a version by which what was paid for is never hidden: solved, then paid, then the last."""
    solved = solve.status is SolutionStatus.SOLVED
    # The order's top bit is bit 126, and no time of this age reaches the two bits below it.
    return (solved << 127) | ((solve.cost > 0) << 126) | (order(record) & ((1 << 126) - 1))
