"""Typed events: what logic says happened. Logs, spans and metrics are made from them elsewhere.

Logic never formats a log line. It calls ``emit(SomethingHappened(...))``; the process was given a log
writer, a test gives ``list.append``. An event holds no secret: URLs without credentials, no cookies,
no tokens, no keys.
"""

import asyncio
import atexit
import contextlib
import logging
import re
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeAlias

import msgspec

from tidegate.log_limit import RepeatLimit


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events. The class name in snake case is the event's name in the log.

    The log leaves out what an event has by default. So a field that may be None has None as its default, and
    no field has another one.
    """

    level: ClassVar[str] = "info"


Emit: TypeAlias = Callable[[Event], None]

# A write for each line takes longer than all else that is done for it. Nobody reads faster than that.
_GATHERED_S = 0.01
_UNHURRIED = ("debug", "info")


def name_of(event: type[Event]) -> str:
    """Return ``record_done`` for ``RecordDone``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event.__name__).lower()


def log_emitter(service: str, level: str = "info") -> Emit:
    """Return an emitter that writes one JSON line per event to standard error.

    Standard-library logging (aiokafka's, say) goes to the same place in the same form, limited where it
    repeats itself.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(service))
    handler.addFilter(RepeatLimit())
    root = logging.getLogger()
    root.handlers = [handler]
    # Foreign libraries report their routine at INFO; what they warn of is worth a line.
    root.setLevel(max(least, logging.WARNING))
    encode = msgspec.json.Encoder().encode
    heads: dict[type[Event], bytes | None] = {}
    lines = _Lines()

    def head_of(kind: type[Event]) -> bytes | None:
        """Return how the lines of a kind go on after their time; None where it is not wanted."""
        if logging.getLevelNamesMapping()[kind.level.upper()] < least:
            return None
        return b"," + encode({"level": kind.level, "event": name_of(kind), "service": service})[1:-1]

    def emit(event: Event) -> None:
        kind = type(event)
        if kind not in heads:
            heads[kind] = head_of(kind)
        head = heads[kind]
        if head is None:
            return
        fields = encode(event)
        comma = b"," if len(fields) > len(b"{}") else b""
        lines.add(
            b'{"timestamp":%b%b%b%b\n' % (encode(datetime.now(UTC)), head, comma, fields[1:]),
            at_once=kind.level not in _UNHURRIED,
        )

    return emit


class _Lines:
    """Gathers lines for a moment and writes them together: at once where something is wrong."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        atexit.register(self.write)

    def add(self, line: bytes, *, at_once: bool) -> None:
        """Take a line, from any thread."""
        is_first = not self._lines
        self._lines.append(line)
        try:
            loop = None if at_once else asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None:
            self.write()
        elif is_first:
            loop.call_later(_GATHERED_S, self.write)

    def write(self) -> None:
        """Write what there is."""
        taken: list[bytes] = []
        # Another thread may take some of them.
        with contextlib.suppress(IndexError):
            while self._lines:
                taken.append(self._lines.popleft())
        if taken:
            sys.stderr.write(b"".join(taken).decode())


class _JsonFormatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": "library_log",
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if suppressed := getattr(record, "suppressed", 0):
            line["suppressed"] = suppressed
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
