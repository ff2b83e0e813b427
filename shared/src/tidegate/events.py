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
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import msgspec

from tidegate.log_limit import RepeatLimit


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events. The class name in snake case is the event's name in the log.

    The log leaves out what an event has by default. So a field that may be None has None as its default, and
    no field has another one.
    """

    level: ClassVar[str] = "info"


Emit: TypeAlias = Callable[[Event], None]

T = TypeVar("T")

# Nobody reads a log or a figure faster than that.
_GATHERED_S = 0.01
_UNHURRIED = ("debug", "info")


class Gathered(Generic[T]):
    """Does what is not urgent for many at a time, a hundredth of a second late.

    Between other things the same costs several times as much for each: nothing of it is in the processor's
    caches, and a line of the log takes a write of its own. Where no loop runs, all is done at once.
    """

    def __init__(self, do: Callable[[Sequence[T]], None]) -> None:
        """Take what is done with those that were gathered, in their order."""
        self._do = do
        self._waiting: deque[T] = deque()

    def add(self, each: T, *, at_once: bool = False) -> None:
        """Take one, from any thread; ``at_once`` does it now, after those that wait."""
        is_first = not self._waiting
        self._waiting.append(each)
        if at_once:
            self.flush()
        elif is_first:
            try:
                asyncio.get_running_loop().call_later(_GATHERED_S, self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Do what waits."""
        taken: list[T] = []
        # Another thread may take some of them.
        with contextlib.suppress(IndexError):
            while self._waiting:
                taken.append(self._waiting.popleft())
        if taken:
            self._do(taken)


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

    def head_of(kind: type[Event]) -> bytes | None:
        """Return how the lines of a kind go on after their time; None where it is not wanted."""
        if logging.getLevelNamesMapping()[kind.level.upper()] < least:
            return None
        return b"," + encode({"level": kind.level, "event": name_of(kind), "service": service})[1:-1]

    def write(told: Sequence[tuple[datetime, bytes, Event]]) -> None:
        lines = []
        for at, head, event in told:
            fields = encode(event)
            comma = b"," if len(fields) > len(b"{}") else b""
            lines.append(b'{"timestamp":%b%b%b%b\n' % (encode(at), head, comma, fields[1:]))
        sys.stderr.write(b"".join(lines).decode())

    gathered = Gathered(write)
    # What is told last, when no loop runs any more.
    atexit.register(gathered.flush)

    def emit(event: Event) -> None:
        kind = type(event)
        if kind not in heads:
            heads[kind] = head_of(kind)
        head = heads[kind]
        if head is not None:
            gathered.add((datetime.now(UTC), head, event), at_once=kind.level not in _UNHURRIED)

    return emit


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
