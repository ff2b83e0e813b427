"""What is written to ``sessions`` of a visitor, and what is read of it. Pure.

A record is everything that is known of a visitor, so the last one is enough. It goes out beside the outcome
that changed it and is acknowledged before that one's offset is committed: a lease before the request that it
is for, or else a crash between them would have the next owner buy again.
"""

from collections.abc import Iterable

import msgspec
from tidegate import records
from tidegate.outcome import Dead, Defer, Done, Outcome, Outgoing, Retry
from tidegate.records import Inbound
from tidegate.session_records import SessionRecord, Solving, session_key
from tidegate.topics import Topic

from tidegate_fetcher.sessions import TLS_PROFILE, Session
from tidegate_fetcher.single_flight import Lease, Visitor

_READER = records.decoder(SessionRecord)


def written(visitor: Visitor, session: Session | None, leases: Iterable[Lease], now_ms: int) -> Outgoing:
    """Return the record of a visitor; a tombstone where there is nothing to know."""
    site, identity = visitor
    solving = tuple(
        Solving(group=lease.group, run=lease.leader[0], job=lease.leader[1], left_s=lease.left_ms / 1000)
        for lease in leases
    )
    record = SessionRecord(site=site, identity=identity, solving=solving)
    if session is not None and session.passed:
        record = msgspec.structs.replace(
            record,
            user_agent=session.user_agent,
            proxy_id=session.proxy_id,
            tls_profile=TLS_PROFILE,
            cookies=session.jar,
            passed=tuple(sorted(session.passed)),
            left_s=max(0.0, (session.until_ms - now_ms) / 1000),
        )
    known = bool(record.passed or solving)
    return Outgoing(
        topic=Topic.SESSIONS,
        site=site,
        key=session_key(site, identity),
        value=records.encode(record) if known else None,
    )


def read(record: Inbound) -> SessionRecord:
    """Read a record. Raises RecordError."""
    return records.decode(_READER, record.value, "the session")


def session_of(record: SessionRecord, age_s: float, now_ms: int) -> Session | None:
    """Return the session of a record that is ``age_s`` old; None where it has none for us (any more)."""
    left_s = record.left_s - max(0.0, age_s)
    if not record.passed or left_s <= 0 or record.tls_profile != TLS_PROFILE:
        return None
    return Session(
        site=record.site,
        identity=record.identity,
        user_agent=record.user_agent,
        proxy_id=record.proxy_id,
        jar=record.cookies,
        passed=frozenset(record.passed),
        begun_ms=now_ms,
        until_ms=now_ms + int(left_s * 1000),
        published_ms=now_ms,
    )


def beside(outcome: Outcome, written_records: tuple[Outgoing, ...]) -> Outcome:
    """Return an outcome that produces these records first."""
    match outcome:
        case Done():
            return Done((*written_records, *outcome.outgoing))
        case Retry() | Defer() | Dead():
            return msgspec.structs.replace(outcome, besides=(*outcome.besides, *written_records))
