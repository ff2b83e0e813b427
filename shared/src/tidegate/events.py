"""Typed events: what logic says happened. Logs, spans and metrics are made from them elsewhere.

Logic never formats a log line. It calls ``emit(SomethingHappened(...))``; the process was given a log
writer, a test gives ``list.append``. An event holds no secret: URLs without credentials, no cookies,
no tokens, no keys.
"""

import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeAlias

import msgspec

from tidegate.log_limit import RepeatLimit


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events. The class name in snake case is the event's name in the log."""

    level: ClassVar[str] = "info"


Emit: TypeAlias = Callable[[Event], None]


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
    kinds: dict[type[Event], tuple[str, str] | None] = {}

    def emit(event: Event) -> None:
        kind = type(event)
        if kind not in kinds:
            wanted = logging.getLevelNamesMapping()[kind.level.upper()] >= least
            kinds[kind] = (name_of(kind), kind.level) if wanted else None
        named = kinds[kind]
        if named is None:
            return
        line: dict[str, Any] = {"timestamp": datetime.now(UTC), "level": named[1], "event": named[0]}
        line["service"] = service
        for field in event.__struct_fields__:
            value = getattr(event, field)
            if value is not None:
                line[field] = value
        sys.stderr.write(encode(line).decode() + "\n")

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
