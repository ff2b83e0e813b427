"""Dead letters: the job's original bytes and, in headers, why it ended. Pure.

Our own header ``tidegate-dead`` says it for us; Spring's ``kafka_dlt-*`` headers say it for the tools that
already know them (numbers in big-endian bytes, as Spring writes them).
"""

import hashlib

from tidegate.outcome import Dead, Outgoing
from tidegate.records import HEADER_DEAD, HEADER_PAGE, DeadMeta, Job, encode, job_headers
from tidegate.sites import without_values
from tidegate.topics import MAX_RECORD_BYTES, Topic

MAX_MESSAGE_CHARACTERS = 2_000
# Room for headers and the batch envelope below the topic's max.message.bytes.
_MAX_VALUE_BYTES = MAX_RECORD_BYTES - (1 << 20)


def dead_letter(job: Job, dead: Dead, *, service: str, group: str, now_ms: int) -> Outgoing:
    """Build the dead letter of a job; a value that would not fit is cut, with length and hash (C9)."""
    state, value = job.state, job.original
    message = dead.message[:MAX_MESSAGE_CHARACTERS]
    too_long = len(value) > _MAX_VALUE_BYTES
    meta = DeadMeta(
        reason=dead.reason,
        error_class=dead.error_class,
        message=message,
        service=service,
        dead_at_ms=now_ms,
        last_status=dead.last_status,
        # Whoever finds out why a job ended reads headers; the query's values are in the value, for a replay.
        final_url=None if dead.final_url is None else without_values(dead.final_url),
        body_hash=dead.body_hash,
        truncated_length=len(value) if too_long else None,
        original_hash=hashlib.blake2b(value, digest_size=16).hexdigest() if too_long else None,
    )
    # Without it a replay fetches again; the job's bytes come first (C9).
    page = dead.page if dead.page and len(value) + len(dead.page) <= _MAX_VALUE_BYTES else None
    origin = state.origin
    return Outgoing(
        topic=Topic.DEAD_LETTER,
        site=state.site,
        value=value[:_MAX_VALUE_BYTES],
        headers=(
            (HEADER_DEAD, encode(meta)),
            *job_headers(state),
            *(((HEADER_PAGE, page),) if page is not None else ()),
            ("kafka_dlt-original-topic", origin.topic.encode()),
            ("kafka_dlt-original-partition", origin.partition.to_bytes(4, "big", signed=True)),
            ("kafka_dlt-original-offset", origin.offset.to_bytes(8, "big", signed=True)),
            ("kafka_dlt-original-timestamp", origin.timestamp_ms.to_bytes(8, "big", signed=True)),
            ("kafka_dlt-original-consumer-group", group.encode()),
            ("kafka_dlt-exception-fqcn", f"tidegate.{dead.reason}".encode()),
            ("kafka_dlt-exception-message", message.encode()),
        ),
    )
