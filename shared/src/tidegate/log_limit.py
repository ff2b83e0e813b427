"""How often a library may log the same thing: while a broker is away, aiokafka repeats itself endlessly."""

import logging
import re

_MOST = 5
_WINDOW_S = 60.0
_MOST_KEYS = 512
_NUMBER = re.compile(r"\d+")


class RepeatLimit(logging.Filter):
    """Lets five records of one logger, level and template through a minute.

    The first one after that says in ``suppressed`` how many were left out. Records with a traceback count
    like any other. Time is the records' own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether this record is written."""
        key = (record.name, record.levelno, _NUMBER.sub("#", str(record.msg)[:200]))
        since, count = self._seen.get(key, (record.created, 0))
        if record.created - since >= _WINDOW_S:
            record.suppressed = max(0, count - _MOST)
            since, count = record.created, 0
        elif not count and len(self._seen) >= _MOST_KEYS:
            self._seen.clear()
        self._seen[key] = (since, count + 1)
        return count < _MOST
