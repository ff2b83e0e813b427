"""Typed events: what logic says happened. Logs, spans and metrics are made from them elsewhere.

Logic never formats a log line. It calls ``emit(SomethingHappened(...))``; the process was given a log
writer, a test gives ``list.append``. An event holds no secret: URLs without credentials, no cookies,
no tokens, no keys.
"""

import logging
import re
import sys
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import msgspec
import structlog


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events. The class name in snake case is the event's name in the log."""

    level: ClassVar[str] = "info"


Emit: TypeAlias = Callable[[Event], None]


def name_of(event: type[Event]) -> str:
    """Return ``record_done`` for ``RecordDone``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event.__name__).lower()


def log_emitter(service: str, level: str = "info") -> Emit:
    """Return an emitter that writes one JSON line per event to standard error.

    Standard-library logging (aiokafka's, say) goes to the same place in the same form.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.add_log_level,
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    logger = structlog.get_logger().bind(service=service)
    names: dict[type[Event], str] = {}

    def emit(event: Event) -> None:
        kind = type(event)
        name = names.get(kind)
        if name is None:
            name = names[kind] = name_of(kind)
        fields: dict[str, Any] = msgspec.structs.asdict(event)
        getattr(logger, kind.level)(name, **{k: v for k, v in fields.items() if v is not None})

    return emit
